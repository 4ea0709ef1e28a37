"""What the API says of commands and files that go up: each stage as it comes, then the outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flight.contract.dictionary import Dictionary
from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS, utc_text
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
_NO_ANSWERS = (VERIFICATION, TIME_REPORT[0])  # what comes while a command is open without answering it


def command_list(dictionary: Dictionary) -> list[dict[str, Any]]:
    """Every command with its arguments, for people to choose from."""
    return [
        {"name": c.name, "text": c.text,
         "arguments": [{"name": f.name, "is": describe_field(f), "text": f.text,
                        "default": f.label(f.default) if f.labels and f.default is not None else f.default}
                       for f in c.arguments]}
        for c in dictionary.commands
    ]  # fmt: skip


async def command(station: GroundStation, transmit: Transmit, request: dict[str, Any], client: Connection) -> None:
    """Send a command; a line for each stage and each report of data as they come, then the outcome."""
    changed = asyncio.Event()
    record: CommandRecord | None = None

    def on_change(change: Change, what: object) -> None:
        if change is Change.COMMAND:
            changed.set()
        elif change is Change.PACKET and isinstance(what, Packet) and what.decoded is not None:
            packet = what.decoded
            if record is not None and packet.kind == REPORT and packet.service not in _NO_ANSWERS:
                for values in report_rows(station.dictionary, packet):
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
            await client.until(has_moved, changed, WAIT_S_MAX)  # the tracker ends it in time
    trip_ns = record.round_trip_ns
    client.put(
        {"done": True, "number": record.number, "name": record.name, "arguments": dict(record.arguments),
         "outcome": record.outcome, "reason": record.reason, "code": record.code,
         "round_trip_ms": None if trip_ns is None else round(trip_ns / 1e6, 3)} | about
    )  # fmt: skip


def give(
    station: GroundStation, request: dict[str, Any], now_ns: int
) -> tuple[CommandRecord, dict[str, Any], list[bytes]]:
    """Send a command, or the insertion of one into the schedule: record, what more to say, CLTUs.

    Raises OrbitnodeError.
    """
    name, arguments = request.get("name", ""), dict(request.get("arguments", {}))
    if "texts" in request:
        arguments |= parse_arguments(find_command(station.dictionary, name), request["texts"])
    if request["do"] == "schedule":
        clock = station.onboard_clock(now_ns)
        release_ns = release_tai_ns(request.get("at", ""), clock.onboard_ns)
        record, scheduled, cltus = station.schedule(
            name, arguments, release_ns, now_ns,
            group=request.get("group", 0), sub_schedule=request.get("sub_schedule", 0),
        )  # fmt: skip
        about = {"scheduled": scheduled.number, "apid": scheduled.apid, "seq": scheduled.seq,
                 "release": utc_text(release_ns), "clock_known_by": clock.known_by,
                 "clock_ahead_s": round(clock.ahead_ns / NS, 3)}  # fmt: skip
        return record, about, cltus
    record, cltus = station.send(
        name, arguments, now_ns, raw=request.get("raw", False),
        bypass=request.get("bypass", False), timeout_s=request.get("timeout_s"),
    )  # fmt: skip
    return record, {}, cltus


async def upload(
    station: GroundStation, transmit: Transmit, request: dict[str, Any], client: Connection, timeout_s: float
) -> None:
    """Send a file up; a line whenever more of it has arrived, then the outcome. `timeout_s`: if none is asked for."""
    try:
        octets = bytes.fromhex(request.get("octets", ""))
    except ValueError:
        raise OrbitnodeError("request: octets are hexadecimal") from None
    changed = asyncio.Event()

    def on_change(change: Change, _what: object) -> None:
        if change is Change.UPLOAD:
            changed.set()

    with listening(station, on_change):
        given_s = request.get("timeout_s", timeout_s)
        made, cltus = station.upload(request.get("name", ""), octets, time.monotonic_ns(), given_s)
        transmit(cltus)
        arrived = 0

        def has_moved() -> bool:
            return bool(made.outcome) or made.acknowledged > arrived

        while True:
            if made.acknowledged > arrived:
                arrived = made.acknowledged
                client.put({"arrived": arrived, "of": made.pdus})
            if made.outcome:
                break
            await client.drain()
            await client.until(has_moved, changed, WAIT_S_MAX)  # `timeout_s` without any of it arriving ends it
    end = {"outcome": made.outcome, "reason": made.reason, "said": made.said, "transaction": made.number}
    client.put({"done": True, "name": made.name, **end})


@contextmanager
def listening(station: GroundStation, on_change: Callable[[Change, object], None]) -> Iterator[None]:
    """Tell `on_change` of every change meanwhile."""
    station.listen(on_change)
    try:
        yield
    finally:
        station.unlisten(on_change)
