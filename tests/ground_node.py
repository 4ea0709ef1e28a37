"""A small node for the ground's tests: a real link end that serves the telecommands of the test dictionary."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any, Protocol

from flight.contract.fields import Value
from flight.contract.parameter_table import decode_table
from flight.core.nanoseconds import NS
from flight.link.link import Role
from flight.link.pus import ACK_START, PusTc, PusTm
from flight.link.space_packet import SpacePacket
from flight.link.tm_tc_stack import FlightLink
from tests.field_values import rows
from tests.file_ends import FileEnd, pdus_of
from tests.ground_dictionary import make
from tests.link_ends import BARE, packets_of, unit_of

EPOCH_NS = 2_152_000_000 * NS
LIGHT_NS = 5_000_000
FRAME_NS = NS // 4
_BACKLOG_OCTETS = 4000  # of PDUs ahead of the next frame


class Clock(Protocol):
    """A time, and calls at a time; the virtual loop is one."""

    def now_ns(self) -> int:
        """Return the time now, ns."""

    def call_at(self, t_ns: int, call: Callable[[], None]) -> object:
        """Make the call at that time."""


class Antenna(Protocol):
    """Whoever hears the node."""

    def receive(self, octets: bytes) -> None:
        """Take octets of the downlink."""


class LittleNode:
    """A node that is heard during `passes` (seconds). It receives commands in `mute` and never answers them."""

    def __init__(self, loop: Clock, passes: list[tuple[float, float]]) -> None:
        self.loop, self.passes = loop, passes
        self.link = FlightLink(BARE)
        self.dictionary = make()
        self.operator: Antenna | None = None
        self.end = FileEnd()
        self._in_contact = False
        self.jobs: list[int] = []
        self.values = {7: 0.3, 8: 0.8, 9: 5.0}
        self.done: list[str] = []
        self.mute: set[str] = set()
        self.seq = 0
        loop.call_at(0, self._frame)

    @property
    def heard(self) -> bool:
        """Whether the node is heard now."""
        return any(a <= self.loop.now_ns() / NS < b for a, b in self.passes)

    @property
    def files(self) -> list[tuple[str, bytes]]:
        """Name and content of the files that came up."""
        return self.end.files

    def look(self) -> None:
        """Go on with transfers of files, and queue their PDUs as far as the link has room."""
        now_ns = self.loop.now_ns()
        if self.heard != self._in_contact:
            self._in_contact = self.heard
            self.end.set_contact(self.heard, now_ns)
        self.end.on_time(now_ns)
        self.end.store(now_ns)
        while self.link.backlog_octets(Role.PRODUCTS) < _BACKLOG_OCTETS:
            pdu = self.end.entity.next_pdu(now_ns)
            if pdu is None:
                break
            self.seq = (self.seq + 1) % 16384
            assert self.link.queue(Role.PRODUCTS, SpacePacket(3, self.seq, pdu).encode())

    def _frame(self) -> None:
        self.look()
        if self.heard and self.operator is not None:
            unit, operator = unit_of(self.link), self.operator
            self.loop.call_at(self.loop.now_ns() + LIGHT_NS, lambda: operator.receive(unit))
        self.loop.call_at(self.loop.now_ns() + FRAME_NS, self._frame)

    def transmit(self, cltu: bytes) -> None:
        """Send a CLTU to the node, which gets it after the light time if it is in a pass."""
        if self.heard:
            self.loop.call_at(self.loop.now_ns() + LIGHT_NS, lambda: self._uplink(cltu))

    def _uplink(self, cltu: bytes) -> None:
        for packet in packets_of(self.link.on_uplink(cltu, self.loop.now_ns())):
            if packet[:2] == b"\x10\x03":
                self.end.on_pdu(packet[6:], self.loop.now_ns())
            else:
                self._command(PusTc.decode(packet))

    def tm(self, apid: int, service: int, subtype: int, data: bytes = b"", role: Role = Role.REALTIME) -> None:
        """Queue a telemetry packet."""
        self.seq = (self.seq + 1) % 16384
        octets = PusTm(apid, self.seq, service, subtype, data, EPOCH_NS + self.loop.now_ns()).encode()
        assert self.link.queue(role, octets)

    def event(self, name: str, *values: Value) -> None:
        """Queue the event of that name."""
        one = next(e for e in self.dictionary.events if e.name == name)
        self.tm(one.apid, 5, one.subtype, one.number.to_bytes(2, "big") + one.layout.encode(values))

    def file(self, name: str, data: bytes, drop: int = -1) -> None:
        """Queue the PDUs of a file, without number `drop`."""
        for index, pdu in enumerate(pdus_of(name, data, zlib.crc32(name.encode()))):
            if index != drop:
                assert self.link.queue(Role.PRODUCTS, SpacePacket(3, index, pdu).encode())

    def _command(self, tc: PusTc) -> None:
        kind = (tc.apid, tc.service, tc.subtype)
        served = [c for c in self.dictionary.commands if (c.apid, c.service, c.subtype) == kind]
        if tc.service == 8:
            served = [c for c in served if c.function == int.from_bytes(tc.data[:2], "big")]
        command = served[0]
        values = command.layout.decode(tc.data[2:] if tc.service == 8 else tc.data)
        if command.name in self.mute:
            return
        request = tc.request_id.encode()
        if command.name == "set_parameters" and not all(0.1 <= value <= 0.9 for _, value in rows(values[0])):
            self.tm(tc.apid, 1, 2, request + b"\x00\x02\x00")
            return
        if command.name == "load_parameter_table" and values[0] not in [name for name, _ in self.files]:
            self.tm(tc.apid, 1, 2, request + b"\x00\x02\x00")
            return
        self.tm(tc.apid, 1, 1, request)
        if tc.ack & ACK_START and tc.apid == 1:
            self.tm(tc.apid, 1, 3, request)
        self.done.append(command.name)
        self._effect(command.name, values)
        self.tm(tc.apid, 1, 7, request)

    def _report_power(self) -> None:
        """Report the power now, and then every five seconds."""
        if self.heard:
            self.tm(1, 3, 25, b"\x00\x01" + self.dictionary.structures[0].layout.encode((0.5, 8.0, 2, 0)))
        self.loop.call_at(self.loop.now_ns() + 5 * NS, self._report_power)

    def _effect(self, name: str, values: tuple[Any, ...]) -> None:
        if name == "ping":
            self.tm(1, 17, 2)
        elif name == "load_parameter_table":
            numbers = {s.name: s.number for s in self.dictionary.settings}
            table = decode_table(self.files[-1][1], self.dictionary.settings)
            self.values.update({numbers[key]: value for key, value in table.items()})
        elif name == "set_parameters":
            self.values.update(values[0])
        elif name == "report_parameters":
            rows = [(number, self.values[number]) for (number,) in values[0]]
            self.tm(1, 20, 2, bytes((len(rows),)) + b"".join(struct.pack(">Hd", *row) for row in rows))
        elif name == "set_hk_period":
            self._report_power()
        elif name == "submit_job":
            self.jobs.append(len(self.jobs) + 1)
        elif name == "cancel_job":
            self.jobs.remove(values[0])
        elif name == "list_jobs":
            for job in self.jobs:
                self.tm(2, 128, 6, job.to_bytes(4, "big") + b"\x00\x00")
