"""`orbitnode cmd`: send one command and wait for its completion."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from flight.core.errors import OrbitnodeError
from flight.text.plain_text import json_text
from ground.cli.client import GroundClient, add_connection_arguments, output
from ground.operator import COMPLETED

if TYPE_CHECKING:
    from rich.table import Table

HELP = "send a command to the node and wait for its completion"

_IN_ROW = re.compile(r"(\w+)\[(\d+)\]\.(\w+)")
_COLOURS = {"completed": "green", "failed": "red", "lost": "red", "rejected": "yellow", "timed out": "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="command, for example ping")
    parser.add_argument("arguments", nargs="*", metavar="key=value", help="its arguments")
    parser.add_argument("--list", action="store_true", help="show the arguments of NAME, or of every command")
    parser.add_argument("--raw", action="store_true", help="skip the ground's range checks")
    parser.add_argument(
        "--bypass", action="store_true", help="send once and at once, without COP-1's order and repetition (BD service)"
    )
    parser.add_argument("--timeout", type=float, metavar="S", help="how long to wait for the final report")
    add_connection_arguments(parser)
    parser.set_defaults(parser=parser)


def execute(args: argparse.Namespace) -> int:
    """0 where the command completed, 1 where it did not."""
    if args.list:
        return _list(args)
    if args.name is None:
        args.parser.error("which command? `orbitnode cmd --list` shows them")
    if args.timeout is not None and not 0 < args.timeout <= 86400:
        args.parser.error(f"--timeout {args.timeout:g}, should be above 0 and at most 86400 s")
    request: dict[str, Any] = {"name": args.name, "texts": args.arguments, "raw": args.raw}
    if args.bypass:
        request["bypass"] = True
    if args.timeout is not None:
        request["timeout_s"] = args.timeout
    with GroundClient(args.port, faithful=args.json) as client:
        return 0 if command(client, request, args.json) else 1


def command(client: GroundClient, request: dict[str, Any], as_json: bool) -> bool:
    """Send a command and show its stages as they come, what the node reports in answer, and the outcome; True where
    it completed.
    """
    from rich.text import Text

    console = output()
    last: dict[str, Any] = {}
    reports: dict[str, list[dict[str, Any]]] = {}
    for last in client.lines(do="command", **request):
        if as_json:
            print(json_text(last), flush=True)
        elif "stage" in last:
            colour = _COLOURS.get(last["stage"], "cyan")
            console.print(Text.assemble(f"{last['ms']:9.1f} ms  ", (last["stage"], colour)))
        elif "report" in last:
            reports.setdefault(last["report"], []).append(last["values"])
    if not as_json:
        for name, rows in reports.items():
            told = report_rows(rows)
            console.print(_report_table(name, told) if told else f"{name}: none")
        trip = "" if last["round_trip_ms"] is None else f" in {last['round_trip_ms']:.1f} ms"
        reason = f": {last['reason']}" if last["reason"] else ""
        colour = _COLOURS.get(last["outcome"], "red")
        end = Text.assemble((f"{last['name']} {last['outcome']}{trip}", colour), reason)
        console.print(end, soft_wrap=True)
    return bool(last["outcome"] == COMPLETED)


def report_rows(packets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The values of reports as rows for a table: one for each row that a packet carries, with what stands beside the
    rows in each; one a packet where it carries none.
    """
    told: list[dict[str, Any]] = []
    for values in packets:
        alone: dict[str, Any] = {}
        rows: dict[tuple[str, int], dict[str, Any]] = {}
        for key, value in values.items():
            found = _IN_ROW.fullmatch(key)
            if found is None:
                alone[key] = value
            else:
                rows.setdefault((found[1], int(found[2])), {})[found[3]] = value
        told += [alone | row for row in rows.values()] or ([alone] if alone else [])
    return told


def _report_table(name: str, rows: list[dict[str, Any]]) -> Table:
    """What the node reported in answer."""
    from rich.table import Table

    table = Table(title=name, title_justify="left", box=None, pad_edge=False)
    columns = list(dict.fromkeys(column for row in rows for column in row))
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
        known = [one["name"] for one in commands]
        if args.name not in known:
            from ground.commands.names import choices

            raise OrbitnodeError(f"unknown command {args.name!r}, {choices(args.name, known)}")
        commands = [one for one in commands if one["name"] == args.name]
    if args.json:
        print(json_text(commands))
        return 0
    from rich.text import Text

    console = output()
    for one in commands:
        console.print(Text.assemble((one["name"], "bold"), f"  {one['text']}"), soft_wrap=True)
        for argument in one["arguments"]:
            default = "" if argument["default"] is None else f", default {argument['default']}"
            text = f"  ({argument['text']})" if argument["text"] else ""
            line = f"    {argument['name']}: {argument['is']}{default}{text}"
            console.print(line, soft_wrap=True)
    return 0
