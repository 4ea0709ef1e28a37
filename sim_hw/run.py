"""`orbitnode run`: orbits of the whole system in virtual time, with live progress, a summary and a report."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flight.core.nanoseconds import NS, ns
from flight.mission import MISSIONS, load
from ground.procedures.procedure import load_file
from ground.telemetry.xtce import xtce_document
from payloads.assets import scene_path
from payloads.manager import InferenceManager
from payloads.pools import check_models
from sim_hw.config import SimConfig
from sim_hw.machine.faults import KINDS, FaultPlan, PlannedFault
from sim_hw.mission_run import MissionRun
from sim_hw.report.outputs import OutputFolder
from sim_hw.report.run_report import report
from sim_hw.report.summary import summarise
from sim_hw.world.scenes import FolderSource, SyntheticClouds, TileSource, load_scene

HELP = "orbits of the whole system in virtual time"

_STEP_S = 5.0
_ORBITS_MAX = 1000.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = "; ".join(f"{kind}: {text}" for kind, text in KINDS.items())
    parser.add_argument("--orbits", type=_orbits, default=1.0, metavar="N", help="how many orbits (default 1)")
    parser.add_argument("--seed", type=_seed, default=11, metavar="N", help="all randomness of the run (default 11)")
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="results (default out)")
    parser.add_argument("--mission", type=Path, default=MISSIONS / "orbit.toml", metavar="FILE", help="mission file")
    parser.add_argument(
        "--scenes", type=Path, metavar="DIR", help="real tiles (.npz, GeoTIFF) instead of simulated ones"
    )
    parser.add_argument("--procedure", metavar="FILE[:FUNCTION]", help="what the operator does, in place of sim.script")
    parser.add_argument("--fault", action="append", default=[], metavar="KIND@S", help=f"plan a fault; {kinds}")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON, nothing else")


def execute(args: argparse.Namespace) -> int:
    begun_s = time.monotonic()
    faults = FaultPlan([PlannedFault.parse(text) for text in args.fault])
    procedure = None if args.procedure is None else load_file(args.procedure)
    mission = load(args.mission, {"sim": SimConfig})
    source: TileSource
    source = FolderSource(args.scenes) if args.scenes else SyntheticClouds(load_scene(scene_path()), args.seed)
    if (app := mission.app(InferenceManager)) is not None:
        check_models(app.config)  # no model, no run: said before the results of the last one are replaced
    out = OutputFolder(args.out)
    duration_s = args.orbits * mission.sections["sim"].orbit_min * 60
    run = MissionRun(mission, source, out, seed=args.seed, duration_s=duration_s, faults=faults, procedure=procedure)
    console = Console(stderr=True, quiet=args.json)
    try:
        run.start()
        fly(run, console)
    finally:
        run.finish()
    if out.log.fault:
        console.print(f"{out.path('node.log')} is not whole: {out.log.fault}", highlight=False, soft_wrap=True)
    summary = summarise(run, wall_s=time.monotonic() - begun_s, orbits=args.orbits)
    summary["scenes"] = str(args.scenes) if args.scenes else "synthetic"
    out.write_text("dictionary.xml", xtce_document(run.dictionary))
    out.write_json("dictionary.json", run.dictionary.document())
    out.write_json("summary.json", summary)
    report(run, summary, out.path("report.html"))
    run.archive_file.close()
    if args.json:
        print(json.dumps(summary, indent=2))
    else:
        Console().print(table(summary))
        print(f"report: {out.path('report.html')}")
    return 0


def fly(run: MissionRun, console: Console) -> None:
    """Advance to the end with a live line on a terminal, or a line every ten minutes of the run elsewhere."""
    total_s = run.end_ns / NS
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("orbit", total=total_s, state="")
        at_s, told_s = 0.0, 0.0
        while at_s < total_s:
            at_s = min(total_s, at_s + _STEP_S)
            run.advance(ns(at_s))
            progress.update(task, completed=at_s, state=_state(run, at_s))
            if not console.is_terminal and at_s - told_s >= 600:
                told_s = at_s
                console.print(_state(run, at_s), highlight=False, soft_wrap=True)


def _state(run: MissionRun, at_s: float) -> str:
    """One line: time, Sun, contact, charge, heat, tiles, frames."""
    sun = "sun    " if run.world.sun_frac(run.loop.now_ns()) > 0.5 else "eclipse"
    contact = "contact" if run.station.in_contact else "       "
    node = run.spacecraft.node
    app = node.app(InferenceManager) if node is not None else None
    tiles = f"{app.counters.screened}/{app.counters.captured}" if app else "-"
    reading = run.world.read_power()
    return (
        f"{at_s / 60:5.1f} min {sun} {contact} charge {100 * reading.soc_frac:3.0f} % "
        f"board {run.world.temperature_c('board'):4.1f} degC tiles {tiles:>7} frames {run.session.counters.frames:6d}"
    )


def table(summary: Mapping[str, Any]) -> Table:
    """The closing table."""
    tiles, link, commands, octets = (summary[part] for part in ("tiles", "link", "commands", "bytes"))
    accuracy, energy, inference = (summary[part] for part in ("cloud_accuracy", "energy", "inference"))
    made = Table(
        title=f"{summary['mission']}: {summary['orbits']:g} orbit(s), seed {summary['seed']}", show_header=False
    )
    made.add_column(style="bold")
    made.add_column(overflow="fold")

    def reasons(counts: Mapping[str, int]) -> str:
        return ", ".join(f"{name} {n}" for name, n in counts.items() if n) or "none"

    made.add_row("wall time", f"{summary['wall_s']:.1f} s for {summary['mission_s'] / 60:.0f} min")
    made.add_row(
        "tiles",
        f"{tiles['captured']} captured = {tiles['screened']} screened ({tiles['cloudy']} cloudy) "
        f"+ {tiles['dropped']} dropped + {tiles['pending']} pending",
    )
    made.add_row("delayed", reasons(tiles["delayed_by_reason"]))
    made.add_row("dropped", reasons(tiles["dropped_by_reason"]))
    mean = accuracy["mean"]
    made.add_row("cloud accuracy", "no truth" if mean is None else f"{mean:.3f} over {accuracy['tiles']} tiles")
    made.add_row(
        "octets",
        f"{octets['raw'] / 1e6:.1f} MB raw, {octets['product'] / 1e6:.1f} MB product, "
        f"{octets['downlinked'] / 1e6:.1f} MB downlinked in {summary['files']['received']} files, "
        f"{summary['files']['incomplete']} incomplete",
    )
    made.add_row("energy", f"{energy['energy_wh']['consumed']:.1f} Wh in all, {energy['tile_j'] or 0:.1f} J a tile")
    made.add_row(
        "inference", f"{inference['count']} tiles, median {inference['median_ms']} ms, p99 {inference['p99_ms']} ms"
    )
    made.add_row("charge", f"lowest {summary['soc']['min']:.2f}, at the end {summary['soc']['end']:.2f}")
    made.add_row("board", f"hottest {summary['temperature_c']['board_max']:.1f} degC")
    made.add_row(
        "frames", f"{link['frames_sent']} sent = {link['frames_received']} received + {link['frames_lost']} lost"
    )
    coding = link["coding"]
    if coding.get("codewords"):
        made.add_row(
            "coding",
            f"{coding['code'].upper()} at a bit error rate of {coding['bit_error_rate']:g}: "
            f"{coding['symbols_corrected']} wrong symbols corrected"
            + (f", {coding['channel_symbol_errors']} by the inner code before" if coding["channel_symbols"] else "")
            + f", {link['frames_lost_to_bit_errors']} frames lost to it",
        )
    made.add_row(
        "commands",
        f"{commands['sent']} sent, {commands['completed']} completed, {commands['rejected']} rejected, "
        f"{commands['failed']} failed, {commands['lost']} lost, {commands['retransmitted']} frames sent again",
    )
    scheduler, recorder = summary["scheduler"], summary["recorder"]
    busiest = max(summary["tasks"], key=lambda task: (task["cpu_permille"], task["steps"]), default=None)
    made.add_row(
        "tasks",
        f"{len(summary['tasks'])}, {scheduler['steps']} steps, {scheduler['late']} late, {scheduler['skipped']} "
        f"skipped, {scheduler['overruns']} overruns" + (f", busiest {busiest['name']}" if busiest else ""),
    )
    fills = ", ".join(f"{one['name']} {one['fill_frac']:.0%} full" for one in recorder["stores"])
    made.add_row(
        "recorder",
        f"{recorder['recorded']} recorded, {recorder['played_back']} played back, "
        f"{recorder['overwritten']} overwritten; {fills}",
    )
    made.add_row("events", reasons(summary["events"]))
    failures = summary["worker"]["failures"]
    if sum(failures.values()):
        made.add_row("worker", f"{reasons(failures)}; {summary['worker']['retried']} jobs retried")
    if summary["worker"]["hang_limit_fired"]:
        made.add_row("worker", "a wall-clock limit fired: this digest is not reproducible")
    if summary["boots"] > 1:
        made.add_row("boots", f"{summary['boots']}: the node lost power")
    for failure in summary["script_failures"]:
        made.add_row("script", f"failed: {failure}")
    made.add_row("digest", summary["digest"])
    return made


def _orbits(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= _ORBITS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of orbits in 0 .. {_ORBITS_MAX:g}")
    return value


def _seed(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number in 0 .. 2^63 - 1")
    return value
