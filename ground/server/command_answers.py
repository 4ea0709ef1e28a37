"""The API's answers to commands and to files that go up: each stage as it comes, then the outcome."""

# Both answers are the same loop: show what has not been shown, end if there is an outcome, else wait for a change. The
# station announces changes to listeners, and a listener only sets an event: it is called in the middle of the station's
# work, and the client may be slow. The listener is there before the command is given, since a command that the ground
# refuses has its outcome at once.
#
# Reports that come while a command is open are taken for its answers. PUS reports of data name no request, so a report
# that another client asked for at the same moment shows up here too.

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flight.contract.dictionary import Dictionary
from flight.core.nanoseconds import NS
from ground.changes import Change, Packet
from ground.commands.commanding import describe_field, find_command, parse_arguments
from ground.commands.release_time import release_tai_ns
from ground.operator import CommandRecord
from ground.server.connection import Connection
from ground.server.requests import WAIT_S_MAX
from ground.server.telemetry_answers import report_rows
from ground.station import GroundStation
from ground.telemetry.decoder import REPORT, TIME_REPORT, VERIFICATION

Transmit = Callable[[list[bytes]], None]
_NO_ANSWERS = (VERIFICATION, TIME_REPORT[0])  # services whose reports come while a command is open, asked for or not


def command_list(dictionary: Dictionary) -> list[dict[str, Any]]:
    """Return every command with its arguments, for people to choose from."""
    return [
        {"name": c.name, "text": c.text,
         "arguments": [{"name": f.name, "is": describe_field(f), "text": f.text,
                        "default": f.label(f.default) if f.labels and f.default is not None else f.default}
                       for f in c.arguments]}
        for c in dictionary.commands
    ]  # fmt: skip


async def command(station: GroundStation, transmit: Transmit, request: dict[str, Any], client: Connection) -> None:
    """Send a command; answer with a line per stage and per report of data as they come, then with the outcome.

    Raises OrbitnodeError if the ground refuses it, ConnectionError if the client goes.
    """
    changed = asyncio.Event()
    record: CommandRecord | None = None

    def on_change(change: Change, what: object) -> None:
        if change is Change.COMMAND:
            changed.set()
        elif change is Change.PACKET and isinstance(what, Packet) and what.decoded is not None:
            packet = what.decoded
            if record is not None and packet.kind == REPORT and packet.service not in _NO_ANSWERS:
                for values in report_rows(station, packet):
                    client.offer({"report": packet.name, "values": values})

    with listening(station, on_change):
        record, about, cltus = give(station, request, time.monotonic_ns())
        transmit(cltus)
        shown = 0

        def has_moved() -> bool:
            return not record.is_open or len(record.stages) > shown

        while True:
            for stage in record.stages[shown:]:
                ms = (stage.now_ns - record.stages[0].now_ns) / 1e6
                client.put({"stage": stage.name, "ms": round(ms, 3), "detail": stage.detail})
            shown = len(record.stages)
            if not record.is_open:
                break
            await client.drain()
            await client.until(has_moved, changed, WAIT_S_MAX)  # a bound only: the tracker ends every command in time
    trip_ns = record.round_trip_ns
    client.put(
        {"done": True, "number": record.number, "name": record.name, "arguments": dict(record.arguments),
         "outcome": record.outcome, "reason": record.reason, "code": record.code,
         "round_trip_ms": None if trip_ns is None else round(trip_ns / 1e6, 3)} | about
    )  # fmt: skip


def give(
    station: GroundStation, request: dict[str, Any], now_ns: int
) -> tuple[CommandRecord, dict[str, Any], list[bytes]]:
    """Send a command, or insert one into the schedule; return its record, further facts for the answer, and CLTUs.

    Raises OrbitnodeError.
    """
    name, arguments = request.get("name", ""), dict(request.get("arguments", {}))
    if "texts" in request:
        arguments |= parse_arguments(find_command(station.dictionary, name), request["texts"])
    if request["do"] == "schedule":
        clock = station.onboard_clock(now_ns)
        release_ns = release_tai_ns(request.get("at", ""), clock.onboard_ns, station.leap_seconds)
        record, scheduled, cltus = station.schedule(
            name, arguments, release_ns, now_ns,
            group=request.get("group", 0), sub_schedule=request.get("sub_schedule", 0),
        )  # fmt: skip
        about = {"scheduled": scheduled.number, "apid": scheduled.apid, "seq": scheduled.seq,
                 "release": station.utc_text(release_ns), "clock_known_by": clock.known_by,
                 "clock_ahead_s": round(clock.ahead_ns / NS, 3)}  # fmt: skip
        return record, about, cltus
    record, cltus = station.send(
        name, arguments, now_ns, raw=request.get("raw", False),
        bypass=request.get("bypass", False), timeout_s=request.get("timeout_s"),
    )  # fmt: skip
    return record, {}, cltus


@contextmanager
def listening(station: GroundStation, on_change: Callable[[Change, object], None]) -> Iterator[None]:
    """Have the station call `on_change` at every change while the block runs."""
    station.listen(on_change)
    try:
        yield
    finally:
        station.unlisten(on_change)
