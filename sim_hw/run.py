"""`orbitnode run`: orbits of the whole system in virtual time, with live progress, a summary and a report.

Whatever ends a run before its end, wrong input, a fault, a full disk or Ctrl-C, leaves the results of the last one as
they were (sim_hw/report/outputs.py). The first Ctrl-C, SIGTERM or SIGHUP ends it between two steps and in order, and
says what is kept; a second one ends it at once. The exit code is 130 then.
"""

# Phases, and what an end in each of them leaves behind:
#
#     prepare     read missions, look for everything that can be found wrong; then take the output folder and build the
#                 run. Until the folder is taken nothing is written; a fault here touches no result
#     fly         boot, advance in steps of _STEP_S, end in order. Streams and archive grow in out/partial
#     write       summary, report and dictionary, then the results take the place of the last run's, summary last
#     show        the closing table, and an error if an operator's script failed: the results are whole all the same
#
# A signal is not an exception here but a flag, looked at between two steps (`ending`), because an exception in the
# middle of a step could leave a spacecraft half way through a command. While the run ends and while results take their
# place further signals are ignored (`ending.deaf`): the first takes a moment, and half a move would leave a mixture.
#
# Everything of wall time is in this file: progress, and the figure in the summary. It reaches no decision of the run.

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, TextIO, cast

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flight.core.errors import OrbitnodeError, UsageError
from flight.core.nanoseconds import NS, ns
from flight.linux.ending_signals import EndingAsked, ending_asked
from flight.mission import MISSIONS, load
from flight.text.plain_stream import PlainStream
from flight.text.plain_text import json_text, plain
from flight.text.plural import plural
from ground.cli.terminal.console import PlainConsole
from ground.procedures.procedure import load_file
from ground.xtce.document import xtce_document
from payloads.assets.cache import scene_path
from sim_hw.config import SimConfig
from sim_hw.machine.faults import KINDS, PlannedFault, fault_plans
from sim_hw.mission_run import MissionRun, check_fleet
from sim_hw.payload_watch import check_payload, payload_progress
from sim_hw.report.closing_table import closing_table
from sim_hw.report.outputs import RunFolder
from sim_hw.report.run_report import report
from sim_hw.report.summary import RunFacts, summarise, summarise_fleet
from sim_hw.spacecraft_run import SpacecraftRun, check_spacecraft, run_faults
from sim_hw.world.scenes import FolderSource, SyntheticClouds, TileSource, load_scene

HELP = "orbits of the whole system in virtual time"

_STEP_S = 5.0  # of virtual time between two looks at signals and progress
_PROGRESS_S = 600.0  # of virtual time between two lines of progress that do not go to a terminal
_ORBITS_MAX = 1000.0  # of 95 minutes: two months


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `orbitnode run` to its parser."""
    kinds = "; ".join(f"{kind}: {text}" for kind, text in KINDS.items())
    parser.add_argument("--orbits", type=_orbits, default=1.0, metavar="N", help="how many orbits (default 1)")
    parser.add_argument(
        "--seed", type=_seed, default=11, metavar="N", help="seed of all randomness of the run (default 11)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out"), metavar="DIR", help="folder for the results (default out)"
    )
    parser.add_argument(
        "--mission", type=Path, action="append", metavar="FILE",
        help="mission file of a spacecraft; several fly together (default: the orbit mission)",
    )  # fmt: skip
    parser.add_argument(
        "--scenes", type=Path, metavar="DIR", help="real tiles (.npz, GeoTIFF) instead of simulated ones"
    )
    parser.add_argument(
        "--procedure", metavar="FILE[:FUNCTION]",
        help="what the operator of the first spacecraft does, in place of sim.script",
    )  # fmt: skip
    parser.add_argument(
        "--fault", type=_fault, action="append", default=[], metavar="[NODE:]KIND@S",
        help=f"plan a fault of the first spacecraft, or of NODE; {kinds}",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the summary as JSON, nothing else")


def execute(args: argparse.Namespace) -> int:
    """Fly the run and show what came of it.

    Raises OrbitnodeError for whatever keeps the run from beginning or ends it early, with the results of the last run
    in place; and at the end, if an operator's script or procedure failed.
    """
    begun_s = time.monotonic()
    with ending_asked() as ending:
        flight = _Flight()
        try:
            run = _prepare(args, ending)
            with closing(run.out):
                flight.run = run
                _fly_to_the_end(run, PlainConsole(stderr=True, quiet=args.json), ending)
                scenes = str(args.scenes) if args.scenes else "synthetic"
                facts = RunFacts(args.seed, args.orbits, time.monotonic() - begun_s, scenes)
                whole, table = _write(run, facts, ending)
        except KeyboardInterrupt:
            with ending.deaf():
                print(plain(f"orbitnode run: {flight.what_is_kept(args.out)}"), file=sys.stderr)
                raise
    _show(run, whole, table, as_json=args.json)
    _check_scripts(run)
    return 0


class _Flight:
    """How far a run has come, for whoever interrupts it."""

    run: MissionRun | None = None

    def what_is_kept(self, folder: Path) -> str:
        """Say in one line what an interrupted run leaves in `folder`."""
        if self.run is None:
            return f"interrupted before it began; no result in {folder} was touched"
        minutes = f"{self.run.loop.now_ns() / NS / 60:.1f} of {self.run.end_ns / NS / 60:.1f} min"
        out = self.run.out
        whole = "the results of the run before" if out.has_results else "no results of a whole run"
        return f"interrupted after {minutes}; {out.partial} has what came until then, {folder} {whole}"


def _prepare(args: argparse.Namespace, ending: EndingAsked) -> MissionRun:
    """Look for everything that can be found wrong before a file is written, then build the run.

    Raises OrbitnodeError.
    """
    faults: list[PlannedFault] = args.fault
    procedure = None if args.procedure is None else load_file(args.procedure)
    missions = [
        load(path, {"sim": SimConfig}, check=partial(run_faults, scripted=place > 0 or procedure is None))
        for place, path in enumerate(args.mission or [MISSIONS / "orbit.toml"])
    ]
    check_fleet(missions)
    names = [mission.node.name for mission in missions]
    duration_s = args.orbits * missions[0].sections["sim"].orbit_min * 60
    plans = fault_plans(faults, names, duration_s)
    tiles = _tiles(args.scenes)
    for place, mission in enumerate(missions):
        check_payload(mission)
        check_spacecraft(mission, scripted=place > 0 or procedure is None)
    ending.check()
    out = RunFolder(args.out, names)
    with ExitStack() as undo:
        undo.callback(out.close)
        run = MissionRun(missions, tiles, out, seed=args.seed, duration_s=duration_s, faults=plans, procedure=procedure)
        undo.pop_all()
    return run


def _fly_to_the_end(run: MissionRun, console: PlainConsole, ending: EndingAsked) -> None:
    """Boot, fly and end in order, with every process given back; raises KeyboardInterrupt if a signal asked for it."""
    try:
        run.start()
        with redirect_stdout(cast("TextIO", PlainStream(sys.stdout))):  # for what an operator's script prints
            fly(run, console, ending)
    finally:
        with ending.deaf():
            run.finish()
    ending.check()


def _check_scripts(run: MissionRun) -> None:
    """Raise OrbitnodeError if an operator's script or procedure failed: whoever started the run asked for it."""
    failures = [(craft.name, failure) for craft in run.spacecraft for failure in craft.ground.script_failures]
    if failures:
        texts = [f"{name}: {failure}" if run.out.is_shared else failure for name, failure in failures]
        raise OrbitnodeError(f"the operator's procedure failed: {'; '.join(texts)}")


def _tiles(scenes: Path | None) -> Callable[[int], TileSource]:
    """Return what a camera sees, by the seed of its spacecraft; raises OrbitnodeError if `scenes` has no tiles."""
    if scenes is not None:
        folder = FolderSource(scenes)
        return lambda _: folder
    scene = load_scene(scene_path())
    return lambda seed: SyntheticClouds(scene, seed)


def fly(run: MissionRun, console: PlainConsole, ending: EndingAsked) -> None:
    """Advance to the end, or until a signal asks for it, and show progress.

    On a terminal there is a live line per spacecraft, elsewhere a line for each ten minutes of the run.
    """
    total_s = run.end_ns / NS
    columns = (_text("{task.description}"), BarColumn(), _text("{task.fields[state]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        lines = {
            progress.add_task(craft.name if run.out.is_shared else "orbit", total=total_s, state=""): craft
            for craft in run.spacecraft
        }
        at_s, shown_s = 0.0, 0.0
        while at_s < total_s and not ending.asked:
            at_s = min(total_s, at_s + _STEP_S)
            run.advance(ns(at_s))
            for line, craft in lines.items():
                progress.update(line, completed=at_s, state=progress_line(craft, at_s))
            if not console.is_terminal and at_s - shown_s >= _PROGRESS_S:
                shown_s = at_s
                for craft in run.spacecraft:
                    whose = f"{craft.name}: " if run.out.is_shared else ""
                    console.print(whose + progress_line(craft, at_s), soft_wrap=True)


def _text(form: str) -> TextColumn:
    return TextColumn(form, markup=False)  # names may have brackets


def progress_line(run: SpacecraftRun, at_s: float) -> str:
    """Return one line: time, Sun, contact, charge, temperature, tiles, frames."""
    sun = "sun    " if run.world.sun_frac(run.loop.now_ns()) > 0.5 else "eclipse"
    contact = "contact" if run.station.in_contact else "       "
    tiles = payload_progress(run.spacecraft.node)
    reading = run.world.read_power()
    return (
        f"{at_s / 60:5.1f} min {sun} {contact} charge {100 * reading.soc_frac:3.0f} % "
        f"board {run.world.temperature_c('board'):4.1f} degC tiles {tiles:>7} frames {run.session.counters.frames:6d}"
    )


def _write(run: MissionRun, facts: RunFacts, ending: EndingAsked) -> tuple[dict[str, Any], Table]:
    """Write what came of each spacecraft and of all, and put it in place.

    Returns the summary, and the table that closes the run. Raises OrbitnodeError, and KeyboardInterrupt if a signal
    asked for the end.
    """
    summaries = {craft.name: summarise(craft, facts) for craft in run.spacecraft}
    for craft in run.spacecraft:
        ending.check()
        craft.out.write_text("dictionary.xml", xtce_document(craft.dictionary))
        craft.out.write_json("dictionary.json", craft.dictionary.document())
        craft.out.write_json("summary.json", summaries[craft.name])
        report(craft, summaries[craft.name], craft.out.path("report.html"))
    whole: dict[str, Any] = summaries[run.spacecraft[0].name]
    title, caption = str(whole["mission"]), ""
    if run.out.is_shared:
        whole = summarise_fleet(run, facts, summaries)
        run.out.write_summary(whole)
        title, caption = f"{len(summaries)} spacecraft", f"digest of the run: {whole['digest']}"
    title = f"{title}: {facts.orbits:g} {plural(facts.orbits, 'orbit')}, seed {facts.seed}"
    table = closing_table(title, summaries, caption)
    ending.check()
    with ending.deaf():
        run.archive.close()
        run.out.complete()
    return whole, table


def _show(run: MissionRun, whole: dict[str, Any], table: Table, *, as_json: bool) -> None:
    """Print what came of the run on stdout, and on stderr what is not as it should be."""
    notices = PlainConsole(stderr=True, quiet=as_json)
    for craft in run.spacecraft:
        if craft.out.log.fault:
            notices.print(f"{craft.out.path('node.log')} is not whole: {craft.out.log.fault}", soft_wrap=True)
    if as_json:
        print(json_text(whole, indent=2))
        return
    PlainConsole().print(table)
    for craft in run.spacecraft:
        print(plain(f"report: {craft.out.path('report.html')}"))


def _orbits(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= _ORBITS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} should be a number above 0, at most {_ORBITS_MAX:,g}")
    return value


def _seed(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number in 0 .. 2^63 - 1")
    return value


def _fault(text: str) -> PlannedFault:
    try:
        return PlannedFault.parse(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
