"""Packets longer than a frame: cut into segments, put together on board, given up by reason; floods of commands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.core.nanoseconds import NS
from flight.link.actions import ControlFlood, LinkAction, PacketReceived, UnitRejected
from flight.link.coding.cltu import encode_cltu
from flight.link.segments import Reassembler, SegmentError, SegmentFlags, cut_packet, segment_header
from flight.link.space_packet import SpacePacket
from flight.link.tc.tc_frame import UNLOCK, TcFrame, set_vr_command
from flight.link.tm_tc_stack import FlightLink, LinkConfig
from tests.link_ends import packets_of

CONFIG = LinkConfig(tc_segment_header=True, tc_map=5, tc_packet_octets=2000)


def packet(octets: int) -> bytes:
    return SpacePacket(1, 7, bytes(index % 251 for index in range(octets - 6)), is_command=True).encode()


def test_a_segment_header_has_its_bits_where_the_standard_has_them() -> None:
    """232.0-B-4, 4.1.3.2.2.2: sequence flags, then the MAP id."""
    assert [segment_header(flags, 5).hex() for flags in SegmentFlags] == ["05", "45", "85", "c5"]
    assert segment_header(SegmentFlags.UNSEGMENTED, 63) == b"\xff"


def test_a_packet_that_fits_is_not_cut_and_a_longer_one_is_full_but_for_the_last() -> None:
    assert cut_packet(packet(100), 100, 5) == [b"\xc5" + packet(100)]
    parts = cut_packet(packet(101), 40, 5)
    assert [(part[0], len(part)) for part in parts] == [(0x45, 41), (0x05, 41), (0x85, 22)]
    assert [part[0] for part in cut_packet(packet(80), 40, 5)] == [0x45, 0x85]


@given(st.integers(7, 3000), st.integers(1, 1100), st.integers(0, 63))
def test_what_was_cut_is_put_together(octets: int, room_octets: int, map_id: int) -> None:
    whole, reassembler = packet(octets), Reassembler(3000)
    *parts, last = cut_packet(whole, room_octets, map_id)
    assert all(reassembler.take(part, in_sequence=True) is None for part in parts)
    assert reassembler.take(last, in_sequence=True) == whole
    assert reassembler.held_octets == 0


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=40)), max_size=60), st.integers(7, 60))
def test_whatever_comes_is_taken_or_refused_and_never_more_is_held(
    frames: list[tuple[bool, bytes]], octets_max: int
) -> None:
    reassembler, reasons = Reassembler(octets_max), set()
    for in_sequence, data in frames:
        try:
            reassembler.take(data, in_sequence=in_sequence)
        except SegmentError as error:
            reasons.add(error.reason)
        assert reasons <= {"segment", "packet", "long"}
        assert reassembler.held_octets <= octets_max


class Board:
    """A node's end that takes AD and BD frames of any data."""

    def __init__(self, config: LinkConfig = CONFIG) -> None:
        self.config = config
        self.link = FlightLink(config)
        self.now_ns = 0

    def take(self, data: bytes, *, bypass: bool = False, control: bool = False) -> list[LinkAction]:
        seq = 0 if bypass else self.link.farm.vr
        frame = TcFrame(self.config.spacecraft_id, self.config.tc_vcid, seq, data, bypass, control)
        return self.link.on_uplink(encode_cltu(frame.encode()), self.now_ns)

    def take_all(self, parts: list[bytes]) -> list[LinkAction]:
        return [action for part in parts for action in self.take(part)]


def rejected(*reasons: str) -> list[LinkAction]:
    return [UnitRejected(reason) for reason in reasons]


def parts_of(octets: int, map_id: int = 5) -> list[bytes]:
    return list(cut_packet(packet(octets), CONFIG.tc_room_octets(), map_id))


def test_a_packet_longer_than_a_frame_arrives_whole_and_once() -> None:
    board = Board()
    first, last = parts_of(1500)
    assert board.take(first) == []
    assert board.take(last) == [PacketReceived(0, packet(1500))]
    assert board.link.counters.tc_packets == 1


def test_an_unsegmented_frame_may_carry_several_packets() -> None:
    board = Board()
    assert packets_of(board.take(b"\xc5" + packet(20) + packet(30))) == [packet(20), packet(30)]


def test_maps_do_not_touch_each_other_and_neither_does_a_bypass_frame() -> None:
    board = Board()
    a, b = parts_of(1017, map_id=0), parts_of(1030, map_id=9)
    assert (len(a), len(b)) == (2, 2)
    assert board.take_all([a[0], b[0][:600]]) == []  # both are held
    board = Board()
    assert board.take(a[0]) == []
    assert board.take(b"\xc0" + packet(20), bypass=True) == [PacketReceived(0, packet(20))]
    assert board.take(b"\xc9" + packet(30)) == [PacketReceived(0, packet(30))]
    assert board.take(a[1]) == [PacketReceived(0, packet(1017))]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x05more", "segment"),
        (b"\x85last", "segment"),
        (b"\xc5", "segment"),
        (b"\x45" + packet(1000)[:4] + b"\xff\xff", "long"),
        (b"\x45" + packet(20), "packet"),
        (b"\x45" + packet(20) + b"x", "packet"),
    ],
)
def test_a_segment_that_cannot_be_taken_is_refused_by_reason(data: bytes, reason: str) -> None:
    board = Board()
    assert board.take(data) == rejected(reason)
    assert board.link.counters.uplink_rejected[reason] == 1
    assert board.take_all(parts_of(1500)) == [PacketReceived(0, packet(1500))], "the next packet is whole"


@pytest.mark.parametrize("flags", [0x05, 0x45, 0x85])
def test_a_part_in_a_bypass_frame_is_refused_and_the_packet_under_way_stays(flags: int) -> None:
    board = Board()
    first, last = parts_of(1500)
    board.take(first)
    assert board.take(bytes((flags,)) + first[1:20], bypass=True) == rejected("segment")
    assert board.take(last) == [PacketReceived(0, packet(1500))]


@pytest.mark.parametrize("again", [b"\xc5" + packet(20), parts_of(1500)[0]])
def test_another_packet_on_the_map_ends_one_that_is_not_whole(again: bytes) -> None:
    board = Board()
    board.take(parts_of(1300)[0])
    assert board.take(again)[0] == UnitRejected("unfinished")


def test_a_last_part_that_does_not_make_the_length_is_refused() -> None:
    for short in (1, 30):
        board = Board()
        first, last = parts_of(1500)
        board.take(first)
        assert board.take(last[:-short]) == rejected("packet")
    board = Board()
    board.take(parts_of(1500)[0])
    assert board.take(b"\x05" + bytes(600)) == rejected("packet"), "more than the packet has, and not the last"


def test_all_packets_that_are_not_whole_share_one_bound() -> None:
    board = Board()
    assert board.take(parts_of(1900, map_id=1)[0]) == []
    assert board.take(parts_of(1900, map_id=2)[0]) == rejected("long")
    board.take(parts_of(1900, map_id=1)[1])
    assert board.take(parts_of(1900, map_id=2)[0]) == []


def test_set_vr_gives_up_what_is_not_whole_unless_it_moves_nothing() -> None:
    board = Board()
    first, last = parts_of(1500)
    board.take(first)
    assert board.take(set_vr_command(board.link.farm.vr), bypass=True, control=True) == []
    assert board.take(UNLOCK, bypass=True, control=True) == []
    assert board.take(last) == [PacketReceived(0, packet(1500))]
    board.take(first)
    assert board.take(set_vr_command(77), bypass=True, control=True) == rejected("unfinished")
    assert board.take(last) == rejected("segment")


def test_a_carrier_that_goes_away_keeps_what_the_ground_was_told_is_on_board() -> None:
    board = Board()
    first, last = parts_of(1500)
    board.take(first)
    board.link.carrier_lost()
    assert board.take(last) == [PacketReceived(0, packet(1500))]


def test_without_segment_headers_a_frame_begins_with_a_packet() -> None:
    board = Board(LinkConfig())
    assert board.take(packet(20)) == [PacketReceived(0, packet(20))]
    assert board.take(b"\xc5" + packet(20)) == rejected("packet")
    assert (LinkConfig().tc_room_octets(), LinkConfig().tc_room_octets(30)) == (1017, 987)
    assert (CONFIG.tc_room_octets(), CONFIG.tc_room_octets(26)) == (1016, 990)
    assert (LinkConfig().tc_packet_max(30), CONFIG.tc_packet_max(30)) == (987, 2000)


# Control commands beyond the rate


def test_a_flood_of_control_commands_is_refused_counted_and_told_once() -> None:
    board = Board(LinkConfig(bc_rate_per_min=10))
    told = [board.take(UNLOCK, bypass=True, control=True) for _ in range(14)]
    assert told == [[]] * 10 + [[UnitRejected("control_rate"), ControlFlood(10)]] + [rejected("control_rate")] * 3
    assert board.link.farm.b_counter == 10 % 4, "FARM-1 did not see the others"
    assert (board.link.counters.control_commands, board.link.counters.uplink_rejected["control_rate"]) == (10, 4)
    assert board.take(packet(20), bypass=True) == [PacketReceived(0, packet(20))], "only control commands are held back"


def test_a_flood_that_goes_on_gets_what_the_rate_brings_and_is_not_told_again() -> None:
    board = Board(LinkConfig(bc_rate_per_min=10))
    told: list[LinkAction] = []
    for _ in range(600):
        board.now_ns += NS
        told += board.take(UNLOCK, bypass=True, control=True)
    assert told.count(ControlFlood(10)) == 1
    assert board.link.counters.control_commands == 10 + 600 // 6 - 1
    board.now_ns += 60 * NS  # a quiet minute
    told = [action for _ in range(11) for action in board.take(UNLOCK, bypass=True, control=True)]
    assert told == [UnitRejected("control_rate"), ControlFlood(10)]


def test_a_clock_that_stands_or_goes_back_fills_nothing() -> None:
    board = Board(LinkConfig(bc_rate_per_min=1))
    board.now_ns = 100 * NS
    assert board.take(UNLOCK, bypass=True, control=True) == []
    for now_ns in (100 * NS, 0, 50 * NS):
        board.now_ns = now_ns
        assert board.take(UNLOCK, bypass=True, control=True)[0] == UnitRejected("control_rate")
