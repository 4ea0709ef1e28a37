"""`orbitnode schedule`: commands for a later time; put them on board, list, move and delete them."""

from __future__ import annotations

import argparse
import json
import re
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flight.core.log import utc_text
from ground.client import GroundClient, add_connection_arguments
from ground.operator import COMPLETED

HELP = "schedule commands on board, list, move and delete them"

_ROW = re.compile(r"activities\[(\d+)\]\.(\w+)")
_COLUMNS = {"list": "summarise_schedule", "report": "report_schedule"}
_OFFSET_MAX_S = 2**31 - 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    shown = actions.add_parser("list", help="release time and request id of every scheduled command")
    whole = actions.add_parser("report", help="the same with the commands themselves, in hexadecimal")
    insert = actions.add_parser("insert", help="have a command executed at its time")
    insert.add_argument("at", metavar="AT", help="UTC such as 2026-03-20T10:00:00Z, or +SECONDS from now on board")
    insert.add_argument("name", metavar="COMMAND", help="command, for example ping")
    insert.add_argument("arguments", nargs="*", metavar="key=value", help="its arguments")
    insert.add_argument("--group", type=_number, default=0, metavar="N", help="default 0")
    insert.add_argument("--sub-schedule", type=_number, default=0, metavar="N", help="default 0")
    delete = actions.add_parser("delete", help="take scheduled commands out")
    delete.add_argument("requests", nargs="+", type=_request, metavar="APID:SEQ", help="as `list` shows them")
    shift = actions.add_parser("shift", help="move scheduled commands in time")
    shift.add_argument("offset", type=_offset, metavar="SECONDS", help="whole seconds, + later or - sooner")
    shift.add_argument("requests", nargs="*", type=_request, metavar="APID:SEQ", help="which, none for all")
    switches = [
        actions.add_parser("enable", help="release scheduled commands at their time"),
        actions.add_parser("disable", help="delete them unexecuted at their time"),
    ]
    for one in switches:
        chosen = one.add_mutually_exclusive_group()
        chosen.add_argument("--group", type=_number, metavar="N", help="this group alone")
        chosen.add_argument("--sub-schedule", type=_number, metavar="N", help="this sub-schedule alone")
    for one in (shown, whole, insert, delete, shift, *switches):
        add_connection_arguments(one)


def execute(args: argparse.Namespace) -> int:
    """0 where the command completed, 1 where it did not. Raises OrbitnodeError where the ground refuses it."""
    with GroundClient(args.port) as client:
        lines = list(client.lines(**_asked(args)))
    last = lines[-1]
    rows = [row for line in lines for row in _rows(line.get("values", {}))]
    if args.json:
        print(json.dumps({**last, "activities": rows} if args.action in _COLUMNS else last))
    elif last["outcome"] == COMPLETED and args.action in _COLUMNS:
        Console(highlight=False).print(_table(rows) if rows else "nothing is scheduled")
    else:
        _tell(last)
    return 0 if last["outcome"] == COMPLETED else 1


def _asked(args: argparse.Namespace) -> dict[str, Any]:
    """The request to the ground process."""
    match args.action:
        case "insert":
            return {"do": "schedule", "name": args.name, "texts": args.arguments, "at": args.at, "group": args.group,
                    "sub_schedule": args.sub_schedule}  # fmt: skip
        case "delete":
            return _command("delete_activities", requests=args.requests)
        case "shift" if args.requests:
            return _command("shift_activities", offset_s=args.offset, requests=args.requests)
        case "shift":
            return _command("shift_schedule", offset_s=args.offset)
        case "enable" | "disable" if args.group is not None:
            return _command(f"{args.action}_groups", groups=[[args.group]])
        case "enable" | "disable" if args.sub_schedule is not None:
            return _command(f"{args.action}_sub_schedules", sub_schedules=[[args.sub_schedule]])
        case "enable" | "disable":
            return _command(f"{args.action}_schedule")
        case action:
            return _command(_COLUMNS[action])


def _command(name: str, **arguments: object) -> dict[str, Any]:
    return {"do": "command", "name": name, "arguments": arguments}


def _rows(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The activities of one report, in its order, with the release time as UTC."""
    rows: dict[int, dict[str, Any]] = {}
    for key, value in values.items():
        found = _ROW.fullmatch(key)
        if found:
            shown = utc_text(value) if found[2] == "release_time" else value
            rows.setdefault(int(found[1]), {})[found[2]] = shown
    return list(rows.values())


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in rows[0]:
        table.add_column(column, justify="left" if column in ("release_time", "request") else "right")
    for row in rows:
        table.add_row(*map(str, row.values()))
    return table


def _tell(last: dict[str, Any]) -> None:
    text = f"{last['name']} {last['outcome']}"
    if "scheduled" in last and last["outcome"] == COMPLETED:
        text = f"command {last['scheduled']} is scheduled for {last['release']} as {last['apid']}:{last['seq']}"
    reason = f": {last['reason']}" if last["reason"] else ""
    Console(highlight=False).print(escape(text + reason), soft_wrap=True)


def _request(text: str) -> list[int]:
    """`APID:SEQ`, or `SOURCE:APID:SEQ` for a command of another ground."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(part.isdecimal() and len(part) <= 5 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}, should be APID:SEQ such as 1:42")
    return [*[0] * (3 - len(parts)), *map(int, parts)]


def _number(text: str) -> int:
    if not (text.isdecimal() and len(text) <= 3 and int(text) <= 255):
        raise argparse.ArgumentTypeError(f"{text!r}, should be in 0 .. 255")
    return int(text)


def _offset(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,10}", text) or abs(int(text)) > _OFFSET_MAX_S:
        raise argparse.ArgumentTypeError(f"{text!r}, should be whole seconds")
    return int(text)
