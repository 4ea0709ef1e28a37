"""An operator behind the API: the calls of ground.operator.Operator as requests of one connection."""

# What came since the operator's last command is kept here and not at the client (ADR 0032). Were packets streamed to
# the client, and commands sent over a second connection, a command's outcome could overtake the reports that belong to
# it, and a client that computes for a while would lose packets. Here both happen in one thread, in the order in which
# the station announces them.
#
# A record is answered once, as it is when it ends: over a wire it cannot go on changing as it does within the station.

from __future__ import annotations

import asyncio
import time
from typing import Any

from flight.core.nanoseconds import NS
from ground.changes import Change, Packet
from ground.commands.arrivals import Arrivals
from ground.commands.names import check_packet_name
from ground.exact_values import jsonable_all, not_finite
from ground.operator import CommandRecord
from ground.server.command_answers import Transmit
from ground.server.connection import ApiCounters, Connection
from ground.server.requests import WAIT_S_MAX
from ground.station import GroundStation


class Operating:
    """One client's session, from its request `operate` until `close`."""

    def __init__(self, station: GroundStation, transmit: Transmit, client: Connection, counters: ApiCounters) -> None:
        self._counters = counters
        self._station = station
        self._transmit = transmit
        self._client = client
        self._arrivals = Arrivals()
        self._changed = asyncio.Event()
        station.listen(self._on_change)

    def close(self) -> None:
        """Stop listening to the station."""
        self._station.unlisten(self._on_change)

    def begin(self, command_timeout_s: float) -> dict[str, Any]:
        """Return what a client must know: now on the ground's timeline, and how long a command may take.

        Now is also there as UTC and as TAI, with the leap seconds by which the ground tells one from the other.
        """
        now_ns, station = time.monotonic_ns(), self._station
        tai_ns = station.tai_ns(now_ns)
        return {"now_s": now_ns / NS, "time": station.utc_text(tai_ns), "tai_ns": tai_ns,
                "leap_seconds": station.leap_seconds.document(),
                "mission": self._station.dictionary.mission, "command_timeout_s": command_timeout_s}  # fmt: skip

    async def send(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a command, wait until its record has ended, and return that. Raises OrbitnodeError."""
        record, cltus = self._station.send(
            request.get("name", ""), request.get("arguments", {}), time.monotonic_ns(), raw=request.get("raw", False)
        )
        # Forgotten only when the command was accepted: a refused one changes nothing. Before it goes up, so that
        # nothing of its answers is lost.
        self._arrivals.clear()
        self._transmit(cltus)
        # WAIT_S_MAX is a bound only: the tracker ends every command in time.
        await self._client.until(lambda: not record.is_open, self._changed, WAIT_S_MAX)
        return {"record": _document(record)}

    async def wait_for(self, name: str, timeout_s: float) -> dict[str, Any]:
        """Return the values of the next packet called `name`, None if none comes in time. Raises OrbitnodeError."""
        check_packet_name(self._station.dictionary, name)
        await self._client.until(lambda: self._arrivals.has(name), self._changed, timeout_s)
        values = self._arrivals.take(name)
        if values is None:
            return {"values": None}
        return {"values": jsonable_all(values), "not_finite": not_finite(values)}

    async def wait_contact(self, timeout_s: float) -> dict[str, Any]:
        """Wait until the node is heard, but no longer than `timeout_s`; return whether it is."""
        await self._client.until(lambda: self._station.in_contact, self._changed, timeout_s)
        return {"contact": self._station.in_contact}

    def _on_change(self, change: Change, what: object) -> None:
        if change is Change.PACKET and isinstance(what, Packet) and what.decoded is not None:
            self._counters.forgotten_packets += not self._arrivals.add(what.decoded.name, what.decoded.values)
        if change in (Change.PACKET, Change.COMMAND, Change.CONTACT):
            self._changed.set()


def _document(record: CommandRecord) -> dict[str, Any]:
    """Return a record ready for JSON, its stages on the ground's timeline."""
    return {
        "number": record.number, "name": record.name, "apid": record.apid, "seq": record.seq,
        "arguments": jsonable_all(record.arguments), "not_finite": not_finite(record.arguments),
        "outcome": record.outcome, "reason": record.reason, "code": record.code,
        "stages": [{"name": s.name, "now_ns": s.now_ns, "detail": s.detail} for s in record.stages],
    }  # fmt: skip
