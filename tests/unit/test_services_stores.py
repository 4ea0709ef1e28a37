"""The outbox: bounded, in order, accounted for."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flight.link.cfdp import CfdpConfig, CfdpReceiver
from flight.link.space_packet import SpacePacket
from flight.services.files import Outbox, OutboxConfig

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
