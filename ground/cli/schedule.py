"""`orbitnode schedule`: commands for a later time; put them on board, list, move and delete them."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from flight.text.plain_text import json_text
from ground.cli.api.client import GroundClient, add_connection_arguments, output
from ground.cli.cmd import report_rows
from ground.operator import COMPLETED

if TYPE_CHECKING:
    from rich.table import Table

# Every action is one command of the node's schedule, ST[11] of ECSS-E-ST-70-41C, and its outcome is that command's.
# `insert` alone is a request of its own kind: only the ground can number the command within it, and only the ground
# knows how far the on-board clock is off, by which `+SECONDS` counts and the command will be released.
#
# A scheduled command is named by its request id. Ids of this ground are APID:SEQ; those of another one have its source
# in front, as `list` shows them, since two grounds may have given out the same counts.

HELP = "schedule commands on board, list, move and delete them"

_COLUMNS = {"list": "summarise_schedule", "report": "report_schedule"}
_ACTIONS = {
    "list": ("", "show release time and request id of every scheduled command"),
    "report": ("", "show the commands themselves as well, in hexadecimal"),
    "insert": ("AT COMMAND [key=value ...]", "have a command executed at a time"),
    "delete": ("APID:SEQ ...", "take out scheduled commands, named as `list` shows them"),
    "shift": ("SECONDS [APID:SEQ ...]", "move these commands, or all, by whole seconds, + later or - sooner"),
    "enable": ("", "release scheduled commands at their time"),
    "disable": ("", "delete them unexecuted at their time"),
}
_TIMES = "AT is UTC such as 2026-03-20T10:00:00Z, or +SECONDS from now on board."
_GROUPED = ("insert", "enable", "disable")
_OFFSET_MAX_S = 2**31 - 1  # the argument is an i32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `orbitnode schedule`."""
    # One flat parser: an option may stand anywhere between the words, as it may for every other command.
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(["actions:", *_usage(), "", _TIMES])
    parser.add_argument("action", choices=_ACTIONS, metavar="ACTION", help=", ".join(_ACTIONS))
    parser.add_argument("words", nargs="*", metavar="WORD", help="what the action takes, see below")
    parser.add_argument("--group", type=_number, metavar="N",
                        help="insert: into this group (default 0); enable, disable: this group alone")  # fmt: skip
    parser.add_argument("--sub-schedule", type=_number, metavar="N", help="the same for a sub-schedule")
    add_connection_arguments(parser)
    parser.set_defaults(parser=parser)


def _usage() -> list[str]:
    return [f"  {f'{name} {words}':33} {text}" for name, (words, text) in _ACTIONS.items()]


def execute(args: argparse.Namespace) -> int:
    """Do the action. Return 0 if its command completed, else 1. Raises OrbitnodeError if the ground refuses it."""
    parser: argparse.ArgumentParser = args.parser
    try:
        request = _request_of(args)
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    # Nothing is shown before the end: what counts is the outcome, and a table needs all rows to know its columns.
    with GroundClient(args.port, faithful=args.json) as client:
        lines = list(client.lines(**request))
    last = lines[-1]
    rows = report_rows([line["values"] for line in lines if "values" in line])
    if args.json:
        print(json_text({**last, "activities": rows} if args.action in _COLUMNS else last))
    elif last["outcome"] == COMPLETED and args.action in _COLUMNS:
        output().print(_table(rows) if rows else "nothing is scheduled")
    else:
        _print_outcome(last)
    return 0 if last["outcome"] == COMPLETED else 1


def _request_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the request to the ground process. Raises ArgumentTypeError for wrong use."""
    action, words = args.action, args.words
    grouped = args.group is not None or args.sub_schedule is not None
    if grouped and action not in _GROUPED:
        raise argparse.ArgumentTypeError(f"{action}: --group and --sub-schedule belong to {', '.join(_GROUPED)}")
    match action:
        case "insert" if len(words) >= 2:
            at, name, *texts = words
            # Group 0 always exists on board, and so does every sub-schedule: neither has to be created first.
            return {"do": "schedule", "name": name, "texts": texts, "at": at, "group": args.group or 0,
                    "sub_schedule": args.sub_schedule or 0}  # fmt: skip
        case "delete" if words:
            return _command("delete_activities", requests=[_request_id(word) for word in words])
        case "shift" if len(words) >= 2:
            requests = [_request_id(word) for word in words[1:]]
            return _command("shift_activities", offset_s=_offset(words[0]), requests=requests)
        case "shift" if words:
            return _command("shift_schedule", offset_s=_offset(words[0]))
        case "enable" | "disable" if not words:
            return _switch(args, action)
        case "list" | "report" if not words:
            return _command(_COLUMNS[action])
        case _:
            raise argparse.ArgumentTypeError(f"{action} takes {_ACTIONS[action][0] or 'no words'}")


def _switch(args: argparse.Namespace, action: str) -> dict[str, Any]:
    if args.group is not None and args.sub_schedule is not None:
        raise argparse.ArgumentTypeError(f"{action} takes --group or --sub-schedule, not both")
    if args.group is not None:
        return _command(f"{action}_groups", groups=[[args.group]])
    if args.sub_schedule is not None:
        return _command(f"{action}_sub_schedules", sub_schedules=[[args.sub_schedule]])
    return _command(f"{action}_schedule")


def _command(name: str, **arguments: object) -> dict[str, Any]:
    return {"do": "command", "name": name, "arguments": arguments}


def _table(rows: list[dict[str, Any]]) -> Table:
    """Return the table with a row per activity; its request id is written as `delete` and `shift` take it."""
    from rich.table import Table

    rows = [_named(row) for row in rows]
    table = Table(box=None, pad_edge=False)
    for column in rows[0]:
        table.add_column(column, justify="left" if column in ("release_time", "request") else "right")
    for row in rows:
        table.add_row(*map(str, row.values()))
    return table


def _named(row: dict[str, Any]) -> dict[str, Any]:
    if "seq" not in row or "apid" not in row:  # a dictionary of another version: the row is shown as it came
        return row
    others = {name: value for name, value in row.items() if name not in ("source", "apid", "seq")}
    source = f"{row['source']}:" if row.get("source") else ""
    return {"request": f"{source}{row['apid']}:{row['seq']}", **others}


def _print_outcome(answer: dict[str, Any]) -> None:
    text = f"{answer['name']} {answer['outcome']}"
    if "scheduled" in answer and answer["outcome"] == COMPLETED:
        text = (
            f"command {answer['scheduled']} is scheduled for {answer['release']} as {answer['apid']}:{answer['seq']}, "
            f"by the on-board clock: {answer['clock_ahead_s']:+.3f} s against the ground's, "
            f"by {answer['clock_known_by']}"
        )
    reason = f": {answer['reason']}" if answer["reason"] else ""
    output().print(text + reason, soft_wrap=True)


def _request_id(text: str) -> list[int]:
    """Return [source, APID, count] of `APID:SEQ`, or of `SOURCE:APID:SEQ` for a command of another ground."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(part.isdecimal() and len(part) <= 5 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a request id, which is APID:SEQ such as 1:42")
    # Without a source the command is one of this ground, whose source id is 0.
    return [*[0] * (3 - len(parts)), *map(int, parts)]


def _number(text: str) -> int:
    if not (text.isdecimal() and len(text) <= 3 and int(text) <= 255):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number in 0 .. 255")
    return int(text)


def _offset(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,10}", text) or abs(int(text)) > _OFFSET_MAX_S:
        raise argparse.ArgumentTypeError(f"{text!r}: should be whole seconds, at most {_OFFSET_MAX_S}")
    return int(text)
