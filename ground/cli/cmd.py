"""`orbitnode cmd`: send one command and wait for its completion."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from flight.core.errors import OrbitnodeError
from flight.text.plain_text import json_text
from ground.cli.api.client import GroundClient, add_connection_arguments, output
from ground.operator import COMPLETED

if TYPE_CHECKING:
    from rich.table import Table

# The command line knows nothing of the mission: names and types are the ground's, which has the dictionary. So a
# mistyped name is an answer of the ground, and a new command needs no new client.
#
# An answer is a line per stage, one or more lines per report, then the outcome. With --json these lines are passed on
# as they come. For people the stages are shown as they come, and the reports as tables at the end.

HELP = "send a command to the node and wait for its completion"

_IN_ROW = re.compile(r"(\w+)\[(\d+)\]\.(\w+)")  # a value within a row, as the decoder names it: `entries[2].first`
_COLOURS = {"completed": "green", "failed": "red", "lost": "red", "rejected": "yellow", "timed out": "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `orbitnode cmd`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="command, for example ping")
    parser.add_argument("arguments", nargs="*", metavar="key=value", help="its arguments")
    parser.add_argument("--list", action="store_true", help="show the arguments of NAME, or of every command")
    parser.add_argument("--raw", action="store_true", help="skip the ground's range checks")
    parser.add_argument(
        "--bypass", action="store_true", help="send once and at once, without COP-1's order and repetition (BD service)"
    )
    parser.add_argument("--timeout", type=float, metavar="S", help="seconds to wait for the final report")
    add_connection_arguments(parser)
    parser.set_defaults(parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Send the command of the command line. Return 0 if it completed, else 1. Raises OrbitnodeError."""
    if args.list:
        return _list(args)
    if args.name is None:
        args.parser.error("which command? `orbitnode cmd --list` shows them")
    if args.timeout is not None and not 0 < args.timeout <= 86400:
        args.parser.error(f"--timeout {args.timeout:g}: should be above 0 and at most 86400 s")
    # Arguments travel as texts: only the ground has the dictionary that says what type each of them is.
    request: dict[str, Any] = {"name": args.name, "texts": args.arguments, "raw": args.raw}
    if args.bypass:
        request["bypass"] = True
    if args.timeout is not None:
        request["timeout_s"] = args.timeout
    with GroundClient(args.port, faithful=args.json) as client:
        return 0 if command(client, request, args.json) else 1


def command(client: GroundClient, request: dict[str, Any], as_json: bool) -> bool:
    """Send a command; show its stages as they come, then what the node reports in answer, then the outcome.

    Return True if it completed. Raises OrbitnodeError if the ground refuses it.
    """
    from rich.text import Text

    console = output()
    last: dict[str, Any] = {}  # the line with "done" after the loop: `lines` ends with it or raises
    reports: dict[str, list[dict[str, Any]]] = {}
    for last in client.lines(do="command", **request):
        if as_json:
            print(json_text(last), flush=True)
        elif "stage" in last:
            colour = _COLOURS.get(last["stage"], "cyan")
            console.print(Text.assemble(f"{last['ms']:9.1f} ms  ", (last["stage"], colour)))
        elif "report" in last:
            reports.setdefault(last["report"], []).append(last["values"])
    # Reports are gathered and shown at the end: one table needs all rows to know its columns and their widths.
    if not as_json:
        for name, rows in reports.items():
            table_rows = report_rows(rows)
            console.print(_report_table(name, table_rows) if table_rows else f"{name}: none")
        listed = last["name"].removeprefix("list_")
        if last["outcome"] == COMPLETED and not reports and listed != last["name"]:
            console.print(f"no {listed.replace('_', ' ')}")  # what would list nothing is not sent at all
        trip = "" if last["round_trip_ms"] is None else f" in {last['round_trip_ms']:.1f} ms"
        reason = f": {last['reason']}" if last["reason"] else ""
        colour = _COLOURS.get(last["outcome"], "red")
        end = Text.assemble((f"{last['name']} {last['outcome']}{trip}", colour), reason)
        console.print(end, soft_wrap=True)
    return bool(last["outcome"] == COMPLETED)


def report_rows(packets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the values of report packets as rows of a table.

    Each row that a packet carries becomes one, with the packet's other values repeated in it. A packet without rows
    becomes one row.
    """
    table_rows: list[dict[str, Any]] = []
    for values in packets:
        alone: dict[str, Any] = {}
        rows: dict[tuple[str, int], dict[str, Any]] = {}
        for key, value in values.items():
            found = _IN_ROW.fullmatch(key)
            if found is None:
                alone[key] = value
            else:
                rows.setdefault((found[1], int(found[2])), {})[found[3]] = value
        table_rows += [alone | row for row in rows.values()] or ([alone] if alone else [])
    return table_rows


def _report_table(name: str, rows: list[dict[str, Any]]) -> Table:
    """Return the table of what the node reported in answer."""
    from rich.table import Table

    table = Table(title=name, title_justify="left", box=None, pad_edge=False)
    columns = list(dict.fromkeys(column for row in rows for column in row))  # in the order of their first appearance
    for column in columns:
        table.add_column(column, justify="left" if isinstance(rows[0].get(column), str) else "right")
    for row in rows:
        values = [row.get(column, "") for column in columns]
        table.add_row(*(f"{v:,.6g}" if isinstance(v, float) else str(v) for v in values))
    return table


def _list(args: argparse.Namespace) -> int:
    with GroundClient(args.port, faithful=args.json) as client:
        commands = client.ask(do="commands")["commands"]
    if args.name is not None:
        known = [described["name"] for described in commands]
        if args.name not in known:
            from ground.commands.names import choices  # here: only a mistyped name needs it

            raise OrbitnodeError(f"unknown command {args.name!r}, {choices(args.name, known)}")
        commands = [described for described in commands if described["name"] == args.name]
    if args.json:
        print(json_text(commands))
        return 0
    from rich.text import Text

    console = output()
    for described in commands:
        console.print(Text.assemble((described["name"], "bold"), f"  {described['text']}"), soft_wrap=True)
        for argument in described["arguments"]:
            default = "" if argument["default"] is None else f", default {argument['default']}"
            text = f"  ({argument['text']})" if argument["text"] else ""
            line = f"    {argument['name']}: {argument['is']}{default}{text}"
            console.print(line, soft_wrap=True)
    return 0
