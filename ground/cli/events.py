"""`orbitnode events`: the node's events, newest last, once or live."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from flight.contract.dictionary import SEVERITIES
from flight.text.plain_text import json_text
from ground.cli.api.client import GroundClient, add_connection_arguments, output

if TYPE_CHECKING:
    from rich.console import Console

HELP = "show the node's events"

_LIMIT_DIGITS = 9  # more would not be a number of events but a slip of the finger
_COLOURS = {"info": "", "low": "cyan", "medium": "yellow", "high": "bold red"}  # by severity, ST[05]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `orbitnode events`."""
    parser.add_argument("--severity", choices=SEVERITIES, default="", help="only events of this severity")
    parser.add_argument("--limit", type=_limit, default=50, metavar="N", help="show the newest N (default 50)")
    parser.add_argument("--follow", action="store_true", help="go on showing events as they come, until Ctrl-C")
    add_connection_arguments(parser)
    parser.set_defaults(parser=parser)


def _limit(text: str) -> int:
    if not (text.isdecimal() and len(text) <= _LIMIT_DIGITS and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} should be a whole number from 1 to {10**_LIMIT_DIGITS - 1:,}")
    return int(text)


def execute(args: argparse.Namespace) -> int:
    """Show the newest events, and with `--follow` those that come. Return 0. Raises OrbitnodeError."""
    with GroundClient(args.port, faithful=args.json) as client:
        console = output()
        for event in client.ask(do="events", limit=args.limit, severity=args.severity)["events"]:
            _show(console, event, args.json)
        # One connection, two requests: an event that comes between the two answers is not shown here.
        if args.follow:
            for event in client.lines(do="follow", what="events"):
                if args.severity in ("", event.get("severity")):
                    _show(console, event, args.json)
    return 0


def _show(console: Console, event: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json_text(event), flush=True)
        return
    from rich.text import Text

    line = f"{event['time']}  {event['severity']:<6}  {event['event']}: {event['text']}"
    console.print(Text(line, style=_COLOURS.get(event["severity"], "")), soft_wrap=True)
