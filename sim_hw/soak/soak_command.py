"""`orbitnode sim link`: a soak of a mission's link in virtual time. Edge code: it shows progress and reads wall time.

The exit code is 0 if every command arrived once and in order and every counter is explained, else 1. With reboots a
command may also end as lost, if that was said of it. With --forge none of the attacker's frames may be taken.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, replace
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flight.core.errors import OrbitnodeError, UsageError
from flight.core.nanoseconds import NS, ns
from flight.link.tm_tc_stack import LinkConfig
from flight.linux.ending_signals import EndingAsked, ending_asked
from flight.mission import MISSIONS, Mission, load
from flight.text.plain_text import json_text, plain
from ground.cli.terminal.console import PlainConsole
from sim_hw.config import SimConfig
from sim_hw.soak.account import Account, account_of
from sim_hw.soak.link_soak import LinkSoak, SoakPlan

DEFAULT_MISSION = MISSIONS / "orbit.toml"
COMMANDS_PER_DAY = 10_000
_HOURS_MAX, _COMMANDS_MAX, _REBOOTS_MAX, _FORGED_MAX = 2400.0, 1_000_000, 10_000, 100.0
# Beyond these nothing comes through that could be soaked. With 1 bit in 100 inverted no frame is left that a code could
# mend, and to look for frames in noise takes minutes; with most frames lost, a gap looks like a restart of the node.
_BIT_ERROR_RATE_MAX, _DROP_FRAC_MAX = 0.01, 0.5
_STEP_S = 60.0  # of virtual time between two looks at signals and progress
_PROGRESS_S = 4 * 3600.0  # of virtual time between two lines that do not go to a terminal


def plan_of(args: argparse.Namespace) -> SoakPlan:
    """Return what the command line asks for; raises UsageError."""
    given = {
        "hours": args.hours, "bit_error_rate": args.ber, "drop_frac": args.drop, "seed": args.seed,
        "reboots": args.reboots, "forged": args.forge,
    }  # fmt: skip
    plan = SoakPlan(**{name: value for name, value in given.items() if value is not None})
    if not 0.0 < plan.hours <= _HOURS_MAX:
        raise UsageError(f"--hours is {plan.hours:g}, should be above 0 and at most {_HOURS_MAX:g}")
    if not 0.0 <= plan.bit_error_rate <= _BIT_ERROR_RATE_MAX:
        raise UsageError(f"--ber is {plan.bit_error_rate:g}, should be 0 .. {_BIT_ERROR_RATE_MAX:g}")
    if not 0.0 <= plan.drop_frac <= _DROP_FRAC_MAX:
        raise UsageError(f"--drop is {plan.drop_frac:g}, should be 0 .. {_DROP_FRAC_MAX:g}")
    if not 0 <= plan.seed < 2**63:
        raise UsageError(f"--seed is {plan.seed}, should be 0 .. 2^63 - 1")
    if not 0 <= plan.reboots <= _REBOOTS_MAX:
        raise UsageError(f"--reboots is {plan.reboots}, should be 0 .. {_REBOOTS_MAX:,}")
    if not 0.0 <= plan.forged <= _FORGED_MAX:
        raise UsageError(f"--forge is {plan.forged:g}, should be 0 .. {_FORGED_MAX:g}")
    commands = max(1, round(COMMANDS_PER_DAY * plan.hours / 24.0)) if args.commands is None else args.commands
    if not 1 <= commands <= _COMMANDS_MAX:
        raise UsageError(f"--commands is {commands}, should be 1 .. {_COMMANDS_MAX:,}")
    return replace(plan, commands=commands)


def run(args: argparse.Namespace) -> int:
    """Fly the soak and show its account. Raises OrbitnodeError if it cannot begin, KeyboardInterrupt if interrupted."""
    begun_s = time.monotonic()
    plan = plan_of(args)
    soak = soak_of(load(args.mission or DEFAULT_MISSION, {"sim": SimConfig}), plan)
    with ending_asked() as ending:
        fly(soak, PlainConsole(stderr=True, quiet=args.json), ending)
        ending.check()
    account = account_of(soak)
    wall_s = time.monotonic() - begun_s
    if args.json:
        print(json_text(document_of(account) | {"wall_s": round(wall_s, 1)}, indent=2))
    else:
        PlainConsole().print(_table(account))
        held = sum(row.holds for row in account.rows)
        print(plain(f"{held} of {len(account.rows)} counters and sums hold; {wall_s:.1f} s"))
    for failure in account.failures:
        print(plain(f"does not add up: {failure}"), file=sys.stderr)
    if account.unfinished:
        print(plain(f"not done: {account.unfinished}"), file=sys.stderr)
    return 1 if account.failures or account.unfinished else 0


def soak_of(mission: Mission, plan: SoakPlan) -> LinkSoak:
    """Return a soak of the mission's first link with a way up; raises OrbitnodeError if it has none, or no pass."""
    for link in mission.links:
        if isinstance(link.config, LinkConfig):
            sim: SimConfig = mission.sections["sim"]
            return LinkSoak(plan, link.config, link.rate_bps, sim.acquisition_s, sim.world)
    raise OrbitnodeError(f"{mission.path}: no link has a way up; name a mission with a [[link]] of kind tm-tc")


def fly(soak: LinkSoak, console: PlainConsole, ending: EndingAsked) -> None:
    """Advance to the end, or until a signal asks for it, and show progress."""
    total_s = soak.end_ns / NS
    state = TextColumn("{task.fields[state]}", markup=False)
    columns = (BarColumn(), state, TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("link", total=total_s, state="")
        at_s, shown_s = 0.0, 0.0
        while at_s < total_s and not ending.asked:
            at_s = min(total_s, at_s + _STEP_S)
            soak.advance(ns(at_s))
            progress.update(bar, completed=at_s, state=_state(soak, at_s))
            if not console.is_terminal and at_s - shown_s >= _PROGRESS_S:
                shown_s = at_s
                console.print(_state(soak, at_s), soft_wrap=True)


def _state(soak: LinkSoak, at_s: float) -> str:
    contact = "contact" if soak.ground.in_contact else "       "
    frames = soak.up.offered + soak.down.offered
    return (
        f"{at_s / 3600:6.2f} h {contact} arrived {soak.commands.newest + 1:,} of {soak.plan.commands:,} "
        f"frames {frames:,} findings {soak.findings.total}"
    )


def document_of(account: Account) -> dict[str, Any]:
    """Return the account, JSON-ready."""
    return {
        "ok": not (account.failures or account.unfinished),
        **account.figures,
        "rows": [asdict(row) | {"holds": row.holds} for row in account.rows],
        "findings": list(account.findings),
        "findings_total": account.findings_total,
    }


def _table(account: Account) -> Table:
    figures = account.figures
    passes, seed = figures["passes"], figures["seed"]
    table = Table(
        title=f"link soak: {figures['hours']:g} h, {passes} {'pass' if passes == 1 else 'passes'} "
        f"({figures['contact_s'] / 3600:.2f} h), bit error rate {figures['bit_error_rate']:g}, "
        f"{figures['drop_frac']:.1%} of units dropped, {figures['coding']}, "
        f"up {figures['uplink_security']}, down {figures['downlink_security']}, seed {seed}"
    )
    for head in ("what", "how many", "of them"):
        table.add_column(head, justify="right" if head == "how many" else "left")
    commands, up, down = figures["commands"], figures["up"], figures["down"]
    ends = ("acknowledged", "lost", "rejected", "open", "not sent")
    rows: list[tuple[str, int, dict[str, int]]] = [
        ("commands", commands["asked"], {name: commands[name] for name in ("arrived", *ends)}),
        ("CLTUs", up["cltus"], {}),
        ("frames up, why sent", sum(up["sent"].values()), up["sent"]),
        ("frames up, what became of them", sum(up["became"].values()), up["became"]),
        ("retransmissions, why", sum(up["retransmitted_because"].values()), up["retransmitted_because"]),
        ("alerts", sum(up["alerts"].values()), up["alerts"]),
        ("frames down, what became of them", sum(down["became"].values()), down["became"]),
        ("telemetry packets", down["packets_whole"] + down["packets_broken"],
         {"whole": down["packets_whole"], "broken by a lost frame": down["packets_broken"]}),
    ]  # fmt: skip
    if any(figures["reboots"].values()):
        reboots = {name.replace("_", " "): count for name, count in figures["reboots"].items()}
        rows.append(("reboots", reboots["node"] + reboots["ground"], reboots))
    if commands["lost_because"]:
        rows.append(("commands lost, why", commands["lost"], commands["lost_because"]))
    rows += _security_rows(figures)
    for name, total, parts in rows:
        shown = (f"{part.replace('_', ' ')} {count:,}" for part, count in parts.items() if count)
        table.add_row(name, f"{total:,}", ", ".join(shown))
    return table


def _security_rows(figures: dict[str, Any]) -> list[tuple[str, int, dict[str, int]]]:
    """Return the rows about link security; none if the link is clear both ways."""
    rows: list[tuple[str, int, dict[str, int]]] = []
    for end in ("node", "ground"):
        counters, security = figures[f"{end}_counters"], figures["security"][end]
        if "security.protected" not in counters:
            continue
        refused = {
            f"refused, {name.rpartition(' ')[2]}": count
            for name, count in counters.items()
            if name.startswith("security.refused")
        }
        checked = counters["security.accepted"] + sum(refused.values())
        rows += [
            (f"{end}: frames protected", counters["security.protected"], {}),
            (f"{end}: frames checked", checked, {"accepted": counters["security.accepted"], **refused}),
            (f"{end}: records stored, frames waited", security["stores"], security),
        ]
    for way in ("up", "down"):
        forged = figures["security"][f"forged_{way}"]
        if forged["sent"]:
            rows += [
                (f"forged {way}", sum(forged["sent"].values()), forged["sent"]),
                (f"forged {way}, what became of them", sum(forged["became"].values()), forged["became"]),
            ]
    return rows
