"""Outbox and recorder: bounded, accounted for, and what they hold over power cuts and storage that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.core.journal import Journal
from flight.core.scheduler import Scheduler, ns
from flight.link.cfdp import CfdpConfig, CfdpReceiver
from flight.link.space_packet import SpacePacket
from flight.mission import MISSIONS, load
from flight.node import _recorder_journal
from flight.services.files import Outbox, OutboxConfig
from flight.services.recorder import Recorder, RecorderConfig
from sim_hw.disk import Disk
from sim_hw.loop import VirtualLoop
from sim_hw.platform import SimPlatform
from sim_hw.world import World, WorldConfig

SEGMENT = 1000


class Sink:
    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def emit(self, name: str, *values: Any) -> None:
        self.events.append((name, *values))


def outbox(boot: int = 1, **config: int) -> tuple[Outbox, Sink]:
    sink = Sink()
    return Outbox(OutboxConfig(**config), 3, SEGMENT, boot, sink), sink


def drain(box: Outbox, most: int = 10_000) -> list[SpacePacket]:
    packets: list[SpacePacket] = []
    while len(packets) < most and (raw := box.take()) is not None:
        packets.append(SpacePacket.decode(raw))
    return packets


def test_files_arrive_at_a_receiver_in_order_with_their_names() -> None:
    box, _ = outbox()
    files = [("a.bin", bytes(range(256)) * 10), ("empty", b""), ("b", b"x" * SEGMENT)]
    for name, octets in files:
        assert box.put(name, octets)
    receiver, got = CfdpReceiver(CfdpConfig()), []
    for packet in drain(box):
        assert (packet.apid, packet.has_secondary, packet.is_command) == (3, False, False)
        got += receiver.on_pdu(packet.data, 0)
    assert [(one.name, one.data) for one in got] == files
    assert (box.sent, box.sent_octets, box.backlog_octets, box.take()) == (3, 2560 + SEGMENT, 0, None)


def test_a_full_outbox_refuses_with_an_event_by_octets_and_by_files() -> None:
    box, sink = outbox(capacity_octets=100_000)
    assert box.put("a", bytes(60_000))
    assert box.room_octets == 40_000
    assert not box.put("b", bytes(40_001))
    assert box.put("c", bytes(40_000))
    assert box.room_octets == 0
    assert not box.put("d", b"x")
    assert box.put("nothing", b"")
    assert sink.events == [("outbox_full", "b", 40_001, 60_000), ("outbox_full", "d", 1, 100_000)]
    assert box.refused == 2
    box, sink = outbox(files=2)
    assert [box.put("f", b"x") for _ in range(3)] == [True, True, False]
    assert box.room_octets == 0
    drain(box, 1)  # the first one is under way: its place in the row is free
    assert box.put("f", b"x")


@given(
    st.lists(st.one_of(st.integers(0, 40_000).map(lambda n: ("put", n)), st.integers(1, 60).map(lambda n: ("take", n))))
)
def test_octets_in_are_octets_waiting_plus_octets_out(steps: list[tuple[str, int]]) -> None:
    box, _ = outbox(capacity_octets=100_000)
    receiver = CfdpReceiver(CfdpConfig())
    taken_in = refused = 0
    for act, n in steps:
        if act == "put":
            accepted = box.put("f", bytes(n))
            taken_in += n * accepted
            refused += not accepted
        else:
            for packet in drain(box, n):
                receiver.on_pdu(packet.data, 0)
        assert box.backlog_octets <= 100_000
        assert 0 <= box.room_octets == 100_000 - box.backlog_octets
        assert box.refused == refused
    for packet in drain(box):
        receiver.on_pdu(packet.data, 0)
    assert box.sent_octets == taken_in
    assert box.backlog_octets == 0


def test_packets_are_counted_and_the_count_wraps() -> None:
    box, _ = outbox()
    box._sequence = 0x3FFE
    box.put("f", bytes(3 * SEGMENT))
    assert [packet.seq for packet in drain(box)] == [0x3FFE, 0x3FFF, 0, 1, 2]


def numbers(box: Outbox) -> list[int]:
    """Transaction numbers of a file each."""
    for _ in range(3):
        box.put("f", b"x")
    return [int.from_bytes(packet.data[6:10], "big") for packet in drain(box)]


def test_transaction_numbers_of_different_boots_differ() -> None:
    seen: set[int] = set()
    for boot in (0, 1, 2, 65_535):
        box, _ = outbox(boot)
        mine = set(numbers(box))
        assert len(mine) == 3
        assert all(number >> 16 == boot for number in mine)
        assert not seen & mine
        seen |= mine


def test_the_numbers_of_the_last_boot_of_a_cycle_wrap() -> None:
    box, _ = outbox(0x3FFFF)
    box._transaction = 0xFFFF_FFFE
    assert sorted(set(numbers(box))) == [0, 1, 0xFFFF_FFFF]


# Recorder


class Bench:
    """A recorder on a simulated disk, over boots."""

    def __init__(self, capacity_octets: int = 10_000, disk_octets: int = 64_000_000) -> None:
        self.loop = VirtualLoop()
        self.disk = Disk(Random(1), capacity_octets=disk_octets)
        self.config = RecorderConfig(capacity_octets)
        self.mission = replace(load(MISSIONS / "orbit.toml"), recorder=self.config)
        self.failures: list[Exception] = []
        self.boot()

    def boot(self) -> Recorder:
        platform = SimPlatform("n", self.loop, World(WorldConfig()), self.disk, Random(1))
        self.journal: Journal = _recorder_journal(self.mission, platform)
        self.recorder = Recorder(self.config, self.journal)
        self.scheduler = Scheduler(platform, platform.cpu_ns, lambda _, error: self.failures.append(error))
        self.scheduler.spawn("recorder", self.recorder.run)
        return self.recorder

    def reboot(self) -> Recorder:
        self.disk.cut()
        self.close()
        return self.boot()

    def close(self) -> None:
        self.loop.run_until(self.loop.now_ns())  # a task that never began cannot be closed quietly
        self.scheduler.close()

    def run(self, duration_s: float) -> None:
        self.loop.run_until(self.loop.now_ns() + ns(duration_s))
        assert self.failures == []


@pytest.fixture
def make() -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def one(capacity_octets: int = 10_000, disk_octets: int = 64_000_000) -> Bench:
        benches.append(Bench(capacity_octets, disk_octets))
        return benches[-1]

    yield one
    for bench in benches:
        bench.close()


def everything(recorder: Recorder) -> list[bytes]:
    out = []
    while (packet := recorder.take()) is not None:
        out.append(packet)
    return out


def test_packets_come_back_in_order_and_are_counted(make: Callable[..., Bench]) -> None:
    bench = make()
    packets = [bytes((i,)) * 30 for i in range(20)]
    for packet in packets:
        bench.recorder.store(packet)
    assert (len(bench.recorder), bench.recorder.octets) == (20, 600)
    assert everything(bench.recorder) == packets
    assert (bench.recorder.recorded, bench.recorder.played_back, bench.recorder.overwritten) == (20, 20, 0)
    assert (len(bench.recorder), bench.recorder.octets) == (0, 0)


def test_the_oldest_give_way(make: Callable[..., Bench]) -> None:
    bench = make(10_000)
    packets = [i.to_bytes(2, "big") * 50 for i in range(150)]
    for packet in packets:
        bench.recorder.store(packet)
        assert bench.recorder.octets <= 10_000
    assert bench.recorder.overwritten == 50
    assert everything(bench.recorder) == packets[50:]


@pytest.mark.parametrize("octets", [21, 25, 60, 1100])
def test_whatever_memory_holds_and_was_synced_survives_a_power_cut(make: Callable[..., Bench], octets: int) -> None:
    bench = make(400_000)
    count = 3 * 400_000 // octets
    for i in range(count):
        bench.recorder.store(i.to_bytes(4, "big") + bytes(octets - 4))
    bench.run(11)
    held = [int.from_bytes(packet[:4], "big") for packet in bench.recorder._packets]
    again = bench.reboot()
    back = [int.from_bytes(packet[:4], "big") for packet in everything(again)]
    assert back == held


def test_what_was_played_back_does_not_come_again(make: Callable[..., Bench]) -> None:
    bench = make()
    for i in range(5):
        bench.recorder.store(bytes((i,)) * 30)
    bench.run(6)
    everything(bench.recorder)
    bench.run(6)
    assert len(bench.reboot()) == 5, "taken is not gone: the link may still hold it"
    everything(bench.recorder)
    bench.recorder.played_out()
    bench.run(6)
    assert len(bench.reboot()) == 0


def test_a_full_disk_costs_durability_and_nothing_else(make: Callable[..., Bench]) -> None:
    bench = make(disk_octets=1000)
    packets = [bytes((i,)) * 100 for i in range(40)]
    for packet in packets:
        bench.recorder.store(packet)
    bench.run(30)
    assert bench.recorder.storage_faults == 31  # nine records of 108 octets fit
    assert everything(bench.recorder) == packets
    bench.recorder.played_out()
    bench.recorder.store(b"x" * 30)
    assert bench.recorder.storage_faults == 31  # playing back made room
