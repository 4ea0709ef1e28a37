"""`orbitnode leap-seconds`: the tables of leap seconds of ground and node, and how to send the node what it lacks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from flight.core.errors import OrbitnodeError
from flight.core.utc.leap_seconds import LeapRow, LeapSeconds
from flight.core.utc.utc_time import date_of
from flight.text.plain_text import json_text, plain
from ground.cli.api.client import GroundClient, add_connection_arguments, age
from ground.cli.cmd import command
from ground.leap_second_file import read_table

HELP = "show the leap seconds that ground and node know, send the node newer ones"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `orbitnode leap-seconds`."""
    parser.add_argument("--send", action="store_true", help="send the node what it lacks of the table")
    parser.add_argument("--file", type=Path, metavar="FILE",
                        help="take this leap-seconds.list of IERS in place of the ground's table")  # fmt: skip
    add_connection_arguments(parser)
    parser.set_defaults(parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Show both tables; with `--send` send the difference. Return 0, or 1 if the node did not take it.

    Raises OrbitnodeError.
    """
    given = None if args.file is None else read_table(args.file)
    with GroundClient(args.port, faithful=args.json) as client:
        answer = client.ask(do="leap_seconds")
        table = LeapSeconds.from_document(answer) if given is None else given
        node, age_s = _of_node(client)
        if not args.send:
            _show(table, node, age_s, args)
            if answer["old"]:
                print("orbitnode: the ground's table is old: set ground.leap_seconds to a newer leap-seconds.list, and "
                      "start it again", file=sys.stderr)  # fmt: skip
            return 0
        if node is None:
            raise OrbitnodeError("nothing of the node's table has come down: `orbitnode cmd report_hk leap_seconds`")
        if fault := contradiction(table, node):
            raise OrbitnodeError(fault)
        rows = [row for row in table.rows if row.mjd > node["last_mjd"]]
        if not rows and table.expires_mjd <= node["expires_mjd"]:
            print("orbitnode: the node knows all of it", file=sys.stderr)
            return 0
        # The node checks it, and refuses what does not continue its own table.
        request = {"name": "add_leap_seconds", "arguments": {
            "expires_mjd": max(table.expires_mjd, node["expires_mjd"]), "leap_seconds": [list(row) for row in rows],
        }}  # fmt: skip
        return 0 if command(client, request, args.json) else 1


def contradiction(table: LeapSeconds, node: Mapping[str, int]) -> str:
    """Return how a table contradicts what the node's structure "leap_seconds" says of its own; "" if it does not.

    Of the node's rows only the last one comes down, so that is what can be compared.
    """
    last, until = LeapRow(node["last_mjd"], node["last_tai_utc_s"]), min(table.expires_mjd, node["expires_mjd"])
    known = [row for row in table.rows if row.mjd <= until]
    if last.mjd > until or last == known[-1]:
        return ""
    return (
        f"the node says {_line(last, node['expires_mjd'])}; this table says {_line(known[-1], table.expires_mjd)}: "
        "`orbitnode cmd reset_leap_seconds` if the node is wrong"
    )


def _of_node(client: GroundClient) -> tuple[dict[str, int] | None, float]:
    """Return the newest values of the node's structure "leap_seconds", None if none has come down, and their age."""
    values: dict[str, dict[str, Any]] = client.ask(do="latest", name="leap_seconds")["values"]
    raw = {name.partition(".")[2]: value["raw"] for name, value in values.items()}
    return raw or None, max((value["age_s"] for value in values.values()), default=0.0)


def _show(table: LeapSeconds, node: dict[str, int] | None, age_s: float, args: argparse.Namespace) -> None:
    if args.json:
        print(json_text({"table": table.document(), "node": node}))
        return
    where = "ground" if args.file is None else str(args.file)
    lines = [f"{where}: {_line(table.rows[-1], table.expires_mjd)}"]
    if node is None:
        lines.append("node:   nothing has come down yet, `orbitnode cmd report_hk leap_seconds` asks for it")
    else:
        last = LeapRow(node["last_mjd"], node["last_tai_utc_s"])
        lines.append(
            f"node:   {_line(last, node['expires_mjd'])}{'; it is old' if node['old'] else ''}, "
            f"reported {age(age_s)} ago"
        )
        if fault := contradiction(table, node):
            lines.append(fault)
        elif last.mjd < table.rows[-1].mjd or node["expires_mjd"] < table.expires_mjd:
            lines.append("the node lacks some of it: `orbitnode leap-seconds --send` sends it")
    for line in lines:
        print(plain(line))


def _line(last: LeapRow, expires_mjd: int) -> str:
    return f"TAI - UTC is {last.tai_utc_s} s from {_day(last.mjd)} on, known until {_day(expires_mjd)}"


def _day(mjd: int) -> date:
    try:
        return date_of(mjd)
    except ValueError as error:
        raise OrbitnodeError(f"node: {error}") from None
