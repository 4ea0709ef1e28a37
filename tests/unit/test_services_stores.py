"""The outbox: bounded, in order, accounted for."""

from __future__ import annotations

import itertools
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.link.cfdp.class1_pdu import FileData, Metadata, decode_pdu
from flight.link.cfdp.numbers import EPOCH_BITS
from flight.link.cfdp.transfers import CfdpConfig, CfdpReceiver, FileReceived
from flight.link.space_packet import SpacePacket
from flight.services.files.outbox import Outbox, OutboxConfig

SEGMENT = 1000


class Sink:
    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def emit(self, name: str, *values: Any) -> None:
        self.events.append((name, *values))


def outbox(boot: int = 1, epoch: int = 0, **config: Any) -> tuple[Outbox, Sink]:
    sink = Sink()
    return Outbox(OutboxConfig(**config), 3, SEGMENT, boot, sink, epoch), sink


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
    assert [(one.name, one.data) for one in got if isinstance(one, FileReceived)] == files
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
    files: list[int] = []  # octets of each; its packets are metadata, segments, end
    packets: list[SpacePacket] = []
    for act, n in steps:
        if act == "put":
            accepted = box.put("f", bytes(n))
            taken_in += n * accepted
            refused += not accepted
            files += [n] * accepted
        else:
            packets += drain(box, n)
        assert box.backlog_octets <= 100_000
        assert 0 <= box.room_octets == 100_000 - box.backlog_octets
        assert box.refused == refused
        ends = list(itertools.accumulate(2 + -(-octets // SEGMENT) for octets in files))
        done = sum(end <= len(packets) for end in ends)
        begun = sum(start < len(packets) for start in [0, *ends][: len(files)])
        assert (box.sent, box.waiting, box.begun) == (done, len(files) - done, begun)
        out = sum(len(pdu.data) for one in packets if isinstance(pdu := decode_pdu(one.data), FileData))
        assert box.backlog_octets == sum(files) - out
    packets += drain(box)
    for packet in packets:
        receiver.on_pdu(packet.data, 0)
    assert receiver.counters.files_received == len(files) == box.sent
    assert [packet.seq for packet in packets] == list(range(len(packets))), "counted from 0 at each boot, none left out"
    assert box.sent_octets == taken_in
    assert box.backlog_octets == box.waiting == 0


def test_packets_are_counted_and_the_count_wraps() -> None:
    box, _ = outbox()
    box._sequence = 0x3FFE  # noqa: SLF001 - just before it goes round
    box.put("f", bytes(3 * SEGMENT))
    assert [packet.seq for packet in drain(box)] == [0x3FFE, 0x3FFF, 0, 1, 2]


def file_numbers(box: Outbox, files: int = 3) -> list[int]:
    """Transaction numbers of so many files."""
    seen: dict[int, None] = {}
    for _ in range(files):
        assert box.put("f", b"x")
        seen |= {decode_pdu(packet.data).transaction.number: None for packet in drain(box)}
    return list(seen)


def test_transaction_numbers_of_different_boots_differ() -> None:
    seen: set[int] = set()
    for boot, epoch in itertools.product((0, 1, 2, 32_767), (5, 50, 2**48 - 2)):
        mine = set(file_numbers(outbox(boot, epoch)[0]))  # the last epoch wraps within its boot
        assert len(mine) == 3 and not seen & mine
        assert all(number >> 48 == boot for number in mine)
        seen |= mine


def test_products_beyond_what_one_boot_had_numbers_for_arrive_and_so_do_those_of_the_next() -> None:
    """65,536 and 500 more in one boot, 2,000 in the next one: through what numbers and what knows numbers again."""
    receiver, got = CfdpReceiver(CfdpConfig()), 0
    for boot, files in ((1, 65_536 + 500), (2, 2_000)):
        box, _ = outbox(boot)
        for number in range(files):
            assert box.put(f"{boot}-{number}", b"")
            while (raw := box.take()) is not None:
                got += sum(isinstance(one, FileReceived) for one in receiver.on_pdu(raw[6:], 0))
    assert (got, receiver.counters.late, receiver.ignored(0)) == (65_536 + 500 + 2_000, 0, [])


def test_products_of_a_boot_whose_count_comes_again_arrive() -> None:
    receiver, random = CfdpReceiver(CfdpConfig()), Random(1)
    for _ in range(20):
        box, _ = outbox(1, random.getrandbits(EPOCH_BITS))
        assert box.put("screen-0-1.obsp", b"same name, same size")
        got = [one for packet in drain(box) for one in receiver.on_pdu(packet.data, 0)]
        assert [one.name for one in got] == ["screen-0-1.obsp"]
    assert receiver.counters.late == 0


@pytest.mark.parametrize(("named", "kind"), [("crc-32", 3), ("modular", 0)])
def test_files_go_down_with_the_checksum_that_the_mission_names(named: str, kind: int) -> None:
    box, _ = outbox(checksum=named)
    assert box.put("a", b"abcdefg" * 40)
    packets = drain(box)
    receiver = CfdpReceiver(CfdpConfig())
    actions = [action for packet in packets for action in receiver.on_pdu(packet.data, 0)]
    assert [action.data for action in actions if isinstance(action, FileReceived)] == [b"abcdefg" * 40]
    metadata = decode_pdu(packets[0].data)
    assert isinstance(metadata, Metadata) and metadata.checksum_type == kind
