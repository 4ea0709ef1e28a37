"""The ground over a boot of the node: packets that come twice, and commands that the boot ended."""

from __future__ import annotations

from flight.dictionary import Dictionary
from flight.fields import Value
from flight.link.pus import PusTm, RequestId
from flight.link.stack import FlightLink, LinkConfig
from flight.mission import MISSIONS, load
from flight.node import dictionary_of
from ground.session import GroundSession
from ground.station import Change, GroundStation

S = 10**9
EPOCH_NS = 2_152_000_000 * S
NODE: Dictionary = dictionary_of(load(MISSIONS / "orbit.toml"))


class Bench:
    """A station, and the node's end of the link with packets made by hand."""

    def __init__(self) -> None:
        self.link = FlightLink(LinkConfig())
        self.station = GroundStation(NODE, GroundSession(LinkConfig()), epoch_tai_ns=EPOCH_NS)
        self.seen: list[object] = []
        self.station.listen(lambda change, what: self.seen.append(what) if change is Change.PACKET else None)
        self.sequence = 0

    def made(self, service: int, subtype: int, data: bytes, at_s: float) -> bytes:
        self.sequence += 1
        return PusTm(1, self.sequence, service, subtype, data, EPOCH_NS + round(at_s * S)).encode()

    def down(self, packet: bytes, now_s: float, vcid: int = 0) -> None:
        assert self.link.queue(vcid, packet)
        while self.link.has_packets():
            self.station.on_downlink(self.link.next_unit(), round(now_s * S))

    def beacon(self, boot_count: int, uptime_s: int, at_s: float) -> bytes:
        structure = next(s for s in NODE.structures if s.name == "node")
        values: list[Value] = [0] * len(structure.fields)
        values[:2] = [boot_count, uptime_s]
        return self.made(3, 25, structure.sid.to_bytes(2, "big") + structure.layout.encode(values), at_s)

    def boot_event(self, boot_count: int, at_s: float) -> bytes:
        event = next(e for e in NODE.events if e.name == "boot")
        data = event.number.to_bytes(2, "big") + event.layout.encode([boot_count, "a test", "abcd"])
        return self.made(5, event.subtype, data, at_s)


def test_a_packet_that_comes_again_is_taken_once() -> None:
    bench = Bench()
    packet = bench.beacon(3, 10, 5.0)
    bench.down(packet, 6.0)
    bench.down(packet, 900.0, vcid=1)  # played back after a power cut
    bench.down(bench.beacon(3, 20, 15.0), 901.0)
    assert len(bench.seen) == 2
    assert bench.station.counters()["station.packets_duplicate"] == 1


def test_volatile_commands_end_with_the_boot_that_the_beacon_tells() -> None:
    bench = Bench()
    bench.down(bench.beacon(3, 10, 5.0), 6.0)
    volatile, _ = bench.station.send("ping", {}, 7 * S, bypass=True)
    durable, _ = bench.station.send("payload_power", {"state": 1}, 7 * S, bypass=True)
    for record in (volatile, durable):
        bench.down(bench.made(1, 1, RequestId(record.apid, record.seq).encode(), 8.0), 9.0)
    bench.down(bench.beacon(4, 5, 20.0), 20.0)
    assert (volatile.outcome, volatile.reason) == ("lost", "the node booted again (boot 4)")
    assert durable.is_open
    bench.down(bench.made(1, 7, RequestId(durable.apid, durable.seq).encode(), 21.0), 21.0)
    assert durable.outcome == "completed"


def test_commands_sent_after_the_boot_are_not_ended_by_news_of_it() -> None:
    bench = Bench()
    bench.down(bench.beacon(3, 10, 5.0), 6.0)
    before, _ = bench.station.send("ping", {}, 7 * S, bypass=True)
    after, _ = bench.station.send("ping", {}, 14 * S, bypass=True)
    bench.down(bench.boot_event(4, 10.0), 15.0, vcid=1)
    assert (before.outcome, after.outcome) == ("lost", "")
    bench.down(bench.beacon(3, 12, 7.0), 16.0, vcid=1)
    assert after.is_open
