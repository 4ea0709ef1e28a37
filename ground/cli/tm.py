"""`orbitnode tm`: the latest telemetry with units, labels and limit states, once or live.

Three names are not structures but views of their own: `tasks` asks the node for its executive's tasks
(ground/cli/tasks.py), `time` begins with what the ground knows of the on-board clock, and `ground` shows what the
ground process itself counts: frames, packets, what was refused, and what was lost on the way and where.
"""

# `--follow` has two connections. A connection that follows is busy with its stream until it ends, so the values that a
# table needs, all of a structure with states and ages, are asked for over a second one. The stream only says when.

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from flight.text.plain_text import json_text
from ground.cli import tasks
from ground.cli.api.client import GroundClient, add_connection_arguments, age, output

if TYPE_CHECKING:
    from rich.table import Table

HELP = "show the latest telemetry"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `orbitnode tm`."""
    parser.add_argument(
        "name",
        nargs="?",
        default="",
        metavar="NAME",
        help="structure or parameter, such as power.soc_frac; or tasks, time, ground",
    )
    parser.add_argument("--follow", action="store_true", help="go on showing values as they come, until Ctrl-C")
    tasks.add_arguments(parser)
    add_connection_arguments(parser)
    parser.set_defaults(parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Show telemetry. Return 0, or 1 if there is no value of that name yet. Raises OrbitnodeError."""
    if not tasks.EVERY_S_MIN <= args.every <= tasks.EVERY_S_MAX:
        args.parser.error(f"--every {args.every:g} is outside {tasks.EVERY_S_MIN:g} .. {tasks.EVERY_S_MAX:g} s")
    if args.name == "tasks":
        return tasks.execute(args)
    if args.task or args.once:
        args.parser.error("one name at a time, such as power.soc_frac; TASK and --once belong to `orbitnode tm tasks`")
    if args.name == "time" and not args.follow:
        return _time(args)
    if args.name == "ground" and not args.follow:
        return _ground(args)
    # Asked for before following as well: a mistyped name is then an error at once, not a stream that stays silent.
    with GroundClient(args.port, faithful=args.json) as client:
        values: dict[str, dict[str, Any]] = client.ask(do="latest", name=args.name)["values"]
        if args.follow:
            return _follow(args, client, values)
        undecoded: int = client.ask(do="status")["undecoded"]
    if args.json:
        print(json_text(values))
    elif values:
        output().print(_table(values))
    else:
        _notice(_nothing(args.name))
    # To stderr, with --json too: somebody who misses values should learn of it without having to look for the cause.
    if undecoded:
        waits = "packet waits" if undecoded == 1 else "packets wait"
        _notice(f"{undecoded:,} {waits} undecoded: start the ground with the dictionary of the node's version")
    return 0 if values else 1


def _notice(text: str) -> None:
    from ground.cli.terminal.console import PlainConsole

    PlainConsole(stderr=True).print(text, soft_wrap=True)


def _nothing(name: str) -> str:
    text = f"no value of {name or 'any parameter'} has been received yet"
    # A structure defined from ground is only decoded once its definition has been reported.
    if not name.startswith("hk-"):
        return text
    structure = name.partition(".")[0]
    return f"{text}; `orbitnode cmd report_hk_definition {structure}` shows what it holds"


def _time(args: argparse.Namespace) -> int:
    """Show what the time reports say of the on-board clock. Return 1 if there were too few of them yet."""
    with GroundClient(args.port, faithful=args.json) as client:
        values: dict[str, dict[str, Any]] = client.ask(do="latest", name="correlation")["values"]
        counters: dict[str, int] = client.ask(do="status")["counters"]
        reported: dict[str, dict[str, Any]] = client.ask(do="latest", name="time")["values"]
    counts = {name: counters.get(f"correlation.{name}", 0) for name in ("pairs", "outliers", "unmatched", "jumps")}
    if args.json:
        print(json_text({"correlation": values, "counters": counts, "node": reported}))
        return 0 if values else 1
    console = output()
    if values:
        known = {name.partition(".")[2]: sample["value"] for name, sample in values.items()}
        console.print(
            f"on-board clock {known['offset_us'] / 1e6:+.6f} s ± {known['offset_sigma_us']:.0f} us against ground, "
            f"gains {known['drift_ppb'] / 1e3:+.3f} ± {known['drift_sigma_ppb'] / 1e3:.3f} us per second\n"
            f"from {known['pairs']:.0f} pairs that scatter by {known['scatter_us']:.0f} us (one standard deviation), "
            f"{age(values['correlation.offset_us']['age_s'])} ago",
            soft_wrap=True,
        )
    else:
        console.print("no correlation yet: it takes three time reports", soft_wrap=True)
    console.print("since the ground started: " + ", ".join(f"{name} {n}" for name, n in counts.items()), soft_wrap=True)
    if reported:
        console.print(_table(reported))
    return 0 if values else 1


def _ground(args: argparse.Namespace) -> int:
    """Show the state of the ground process and every counter of it that is not zero. Return 0."""
    with GroundClient(args.port, faithful=args.json) as client:
        state: dict[str, Any] = client.ask(do="status")
    if args.json:
        print(json_text({name: value for name, value in state.items() if name != "done"}))
        return 0
    from rich.table import Table

    # Most counters count what went wrong: among all their zeros the others would not be seen.
    counters: dict[str, int] = state.pop("counters")
    others = {name: n for name, n in state.items() if isinstance(n, int) and not isinstance(n, bool)}
    table = Table(box=None, pad_edge=False)
    table.add_column("counter")
    table.add_column("value", justify="right")
    for name, number in (counters | others).items():
        if number:
            table.add_row(name, f"{number:,}")
    console = output()
    console.print("contact" if state["contact"] else "no contact")
    if state.get("log_fault"):
        console.print(f"its log: {state['log_fault']}", soft_wrap=True)
    console.print(table)
    return 0


def _follow(args: argparse.Namespace, client: GroundClient, values: dict[str, dict[str, Any]]) -> int:
    packets = client.lines(do="follow", what="packets", name=args.name)
    if args.json:
        for packet in packets:
            if packet.get("kind") == "housekeeping":
                print(json_text(packet), flush=True)
        return 0
    from rich.live import Live

    console = output()
    with GroundClient(args.port, faithful=args.json) as asking:
        if not console.is_terminal:
            console.print(_table(values))
            # No terminal: a table per packet, flushed, so that a pipe sees each of them when it comes.
            for packet in packets:
                if packet.get("kind") == "housekeeping":
                    console.print(_table(asking.ask(do="latest", name=args.name)["values"]))
                    console.file.flush()
            return 0
        with Live(_table(values), auto_refresh=False, console=console) as live:
            for packet in packets:
                if packet.get("kind") == "housekeeping":
                    live.update(_table(asking.ask(do="latest", name=args.name)["values"]), refresh=True)
    return 0


def _table(values: dict[str, dict[str, Any]]) -> Table:
    from rich.table import Table

    from ground.telemetry.limits import RED, YELLOW

    colours = {RED: "bold red", YELLOW: "yellow"}
    table = Table(box=None, pad_edge=False)
    table.add_column("parameter")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("limit state")
    table.add_column("age", justify="right")
    for name, sample in values.items():
        value = sample["value"]
        # A text of the downlink, or a name of somebody's dictionary, is shown as it is: only floats are rounded.
        shown = f"{value:,.6g}" if isinstance(value, float) else str(value)
        if value == sample["raw"] == "nan":
            shown = "NaN"  # JSON has none, so it came as a text
        style = colours.get(sample["state"], "")
        state = sample["state"] if sample["has_limits"] else "-"
        table.add_row(name, shown, sample["unit"], state, age(sample["age_s"]), style=style)
    return table
