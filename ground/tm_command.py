"""`orbitnode tm`: the latest telemetry with units, labels and limit states, once or live."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ground.client import GroundClient, add_connection_arguments
from ground.limits import NORMAL, RED, YELLOW

HELP = "show the latest telemetry"

_COLOURS = {RED: "bold red", YELLOW: "yellow", NORMAL: ""}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", default="", metavar="NAME", help="structure or parameter, such as power.soc_frac"
    )
    parser.add_argument("--follow", action="store_true", help="go on showing values as they come, until Ctrl-C")
    add_connection_arguments(parser)


def execute(args: argparse.Namespace) -> int:
    """0; 1 where there is no value of that name yet."""
    with GroundClient(args.port) as client:
        values: dict[str, dict[str, Any]] = client.ask(do="latest", name=args.name)["values"]
        if args.follow:
            return _follow(args, client, values)
    if args.json:
        print(json.dumps(values))
    elif values:
        Console().print(_table(values))
    else:
        Console(stderr=True).print(f"no value of {args.name or 'any parameter'} has been received yet", highlight=False)
    return 0 if values else 1


def _follow(args: argparse.Namespace, client: GroundClient, values: dict[str, dict[str, Any]]) -> int:
    packets = client.lines(do="follow", what="packets", name=args.name)
    if args.json:
        for packet in packets:
            if packet.get("kind") == "housekeeping":
                print(json.dumps(packet), flush=True)
        return 0
    # A second connection asks for values: the first one is busy with the stream that says when.
    with Live(_table(values), auto_refresh=False) as live, GroundClient(args.port) as asking:
        for packet in packets:
            if packet.get("kind") == "housekeeping":
                live.update(_table(asking.ask(do="latest", name=args.name)["values"]), refresh=True)
    return 0


def _table(values: dict[str, dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("parameter")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("state")
    table.add_column("age", justify="right")
    for name, one in values.items():
        value = one["value"]
        shown = f"{value:,.6g}" if isinstance(value, float) else str(value)
        table.add_row(name, shown, one["unit"], one["state"], _age(one["age_s"]), style=_COLOURS.get(one["state"], ""))
    return table


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
