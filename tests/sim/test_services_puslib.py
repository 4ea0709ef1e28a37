"""puslib, another implementation of ECSS-E-ST-70-41C, on the other side of housekeeping and events.

Its services on board get the telecommands that our node gets, octet for octet, and must say the same; its packet
classes read our telemetry.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flight.contract.dictionary import hk_parameters
from flight.contract.fields import Field
from flight.core.nanoseconds import NS, ns
from flight.services.board.power import Power
from ground.telemetry.decoder import Decoder
from tests.sim.conftest import MakeRig, Rig

puslib = pytest.importorskip("puslib")
from puslib.ident import PusIdent  # noqa: E402
from puslib.parameter import Real32Parameter, UInt8Parameter, UInt16Parameter, UInt32Parameter  # noqa: E402
from puslib.services import (  # noqa: E402
    EventReporting,
    FunctionManagement,
    Housekeeping,
    PusService17,
    RequestVerification,
)
from puslib.streams.buffer import QueuedOutput  # noqa: E402

IN_PASS_S = 120.0
SID = 300
NAMES = ("thermal.heater", "power.payload", "node.boot_count", "power.soc_frac", "power.eps_faults")
TYPES = {"u8": UInt8Parameter, "u16": UInt16Parameter, "u32": UInt32Parameter, "f32": Real32Parameter}
ACK = puslib.AckFlag.ACCEPTANCE | puslib.AckFlag.START_OF_EXECUTION | puslib.AckFlag.COMPLETION


class Interval(Real32Parameter):  # type: ignore[misc] # puslib has no types
    """A collection interval in seconds. puslib cannot read a real number if more octets follow it."""

    @classmethod
    def from_bytes(cls, buffer: bytes) -> float:
        return float(super().from_bytes(buffer[:4]))


@pytest.fixture
def policy() -> Iterator[Any]:
    """puslib's own choices made like ours: PUS-C, counts of one octet, intervals in seconds as f32."""
    before, made = puslib.get_policy(), puslib.PusPolicy()
    saved = (made.common.pus_version, made.housekeeping.count_type, made.housekeeping.collection_interval_type,
             made.common.tm.time.has_preamble)  # fmt: skip
    made.common.pus_version = 2
    made.housekeeping.count_type = UInt8Parameter
    made.housekeeping.collection_interval_type = Interval
    made.common.tm.time.has_preamble = False
    puslib.set_policy(made)
    yield made
    # The attributes are those of classes, and shared.
    (made.common.pus_version, made.housekeeping.count_type, made.housekeeping.collection_interval_type,
     made.common.tm.time.has_preamble) = saved  # fmt: skip
    puslib.set_policy(before)


def theirs(raw: bytes) -> Any:
    """Our telemetry packet, read by puslib."""
    return puslib.PusTmPacket.deserialize(raw, cuc_time=puslib.CucTime(has_preamble=False))


class Peer:
    """Both spacecraft: ours on the simulated radio, and puslib's services with the same parameters and events."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.out = QueuedOutput()
        ident, self.parameters = PusIdent(1), {}
        for number, one in hk_parameters(rig.dictionary.structures).items():
            if one.type in TYPES:
                self.parameters[number] = TYPES[one.type]()
        verification = RequestVerification(ident, QueuedOutput())
        self.housekeeping = Housekeeping(ident, verification, self.out, self.parameters)
        self.events = EventReporting(ident, verification, self.out)
        for event in rig.dictionary.events:
            if event.apid == 1:
                self.events.add(event.number)
        self.sequence = 500

    def send(self, service: int, subtype: int, data: bytes) -> int:
        """The telecommand to both; its sequence count."""
        self.sequence += 1
        packet = puslib.PusTcPacket.create(
            apid=1, name=self.sequence, pus_version=2, ack_flags=ACK, source=0, service_type=service,
            service_subtype=subtype, data=data,
        )  # fmt: skip
        self.rig.send_packet(bytes(packet))
        (self.housekeeping if service == 3 else self.events).enqueue(packet)
        (self.housekeeping if service == 3 else self.events).process()
        return self.sequence

    def packets(self) -> list[Any]:
        """Our telemetry; a packet without a secondary header (time, files) is none of PUS."""
        return [theirs(raw) for raw in self.rig.raw if raw[0] & 8]

    def stages(self, sequence: int) -> list[int]:
        return [p.subservice for p in self.packets()
                if p.service == 1 and int.from_bytes(p.source_data[2:4], "big") & 0x3FFF == sequence]  # fmt: skip

    def ours(self, service: int, subtype: int) -> list[Any]:
        return [p for p in self.packets() if (p.service, p.subservice) == (service, subtype)]


def u16(number: int) -> bytes:
    return bytes(UInt16Parameter(number))


def listed(*entries: bytes) -> bytes:
    return bytes(UInt8Parameter(len(entries))) + b"".join(entries)


@pytest.fixture
def peer(make_rig: MakeRig, policy: Any) -> Peer:  # noqa: ARG001 - in force while the peer is made and used
    rig = make_rig()
    rig.until(IN_PASS_S)
    return Peer(rig)


def numbered(peer: Peer) -> dict[int, Field]:
    known = hk_parameters(peer.rig.dictionary.structures)
    return {number: one for name in NAMES for number, one in known.items() if one.name == name}


def test_housekeeping_is_defined_and_reported_as_puslib_does(peer: Peer) -> None:
    fields = numbered(peer)
    period = bytes(Real32Parameter(0.5))
    numbers = [
        peer.send(3, 1, u16(SID) + period + listed(*map(u16, fields)) + listed()),
        peer.send(3, 5, listed(u16(SID))),
        peer.send(3, 31, listed(u16(SID) + bytes(Real32Parameter(1.5)))),
        peer.send(3, 9, listed(u16(SID))),
        peer.send(3, 33, listed(u16(SID))),
    ]
    peer.rig.until(IN_PASS_S + 12)
    assert [peer.stages(one) for one in numbers] == [[1, 3, 7]] * 5
    definition, properties = peer.out.get(), peer.out.get()
    # puslib leaves out the periodic generation status that 8.3.2.10 has after the structure's number.
    assert peer.ours(3, 10)[-1].source_data == u16(SID) + b"\1" + definition.source_data[2:]
    assert peer.ours(3, 35)[-1].source_data == properties.source_data

    decoder = Decoder(peer.rig.dictionary)
    for raw in peer.rig.raw:
        decoder.recall(raw)
    report = next(p for p in reversed(peer.ours(3, 25)) if p.source_data[:2] == u16(SID))
    values = decoder.decode(bytes(report)).raw
    for number, one in fields.items():
        peer.parameters[number].value = values[one.name]
    peer.send(3, 27, listed(u16(SID)))
    assert peer.out.get().source_data == report.source_data
    assert (report.apid, report.destination) == (1, 0)
    first_ns = peer.rig.world.start_tai_ns
    assert first_ns < float(report.time) * NS < first_ns + ns(IN_PASS_S + 12)


def test_disabled_events_are_listed_as_puslib_does(peer: Peer) -> None:
    off = peer.send(5, 6, listed(u16(22), u16(20), u16(30)))
    on = peer.send(5, 5, listed(u16(20)))
    asked = peer.send(5, 7, b"")
    peer.rig.until(IN_PASS_S + 6)
    assert [peer.stages(one) for one in (off, on, asked)] == [[1, 3, 7]] * 3
    assert peer.ours(5, 8)[-1].source_data == peer.out.get().source_data == listed(u16(22), u16(30))


def test_puslib_reads_our_events(peer: Peer) -> None:
    boot = next(p for p in peer.ours(5, 1) if p.source_data[:2] == u16(1))
    assert (boot.service, boot.subservice, boot.apid) == (5, 1, 1)
    assert boot.source_data[2:6] == bytes(UInt32Parameter(1))


def test_functions_and_the_connection_test_are_verified_as_puslib_does(peer: Peer) -> None:
    """The same telecommands to puslib's ST[08] and ST[17]: the same reports of ST[01] and ST[17], octet for octet. It
    never reports a start.
    """
    ident, out = PusIdent(1), QueuedOutput()
    ack = puslib.AckFlag.ACCEPTANCE | puslib.AckFlag.COMPLETION
    verification = RequestVerification(ident, out)
    test, functions = PusService17(ident, verification, out), FunctionManagement(ident, verification)
    functions.add(lambda _mode: True, 1, [UInt8Parameter])
    for number, (service, data) in enumerate(((17, b""), (8, u16(1) + b"\2"))):
        packet = puslib.PusTcPacket.create(
            apid=1, name=900 + number, pus_version=2, ack_flags=ack, source=0, service_type=service, service_subtype=1,
            data=data,
        )  # fmt: skip
        peer.rig.send_packet(bytes(packet))
        (test if service == 17 else functions).enqueue(packet)
        (test if service == 17 else functions).process()
    peer.rig.until(IN_PASS_S + 6)
    said = [out.get() for _ in range(out.size)]
    for service in (1, 17):
        theirs_said = sorted((p.subservice, bytes(p.source_data or b"")) for p in said if p.service == service)
        ours = [p for p in peer.packets() if p.service == service]
        assert sorted((p.subservice, bytes(p.source_data or b"")) for p in ours) == theirs_said
    assert peer.rig.node.part(Power).mode.name == "nominal"
