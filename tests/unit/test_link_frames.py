"""Telemetry frames from queue to packet, bad frames by reason, CLTUs that are damaged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flight.core.errors import DecodeError
from flight.kernels import crc16
from flight.link.actions import PacketReceived, SendUnit, UnitRejected
from flight.link.coding.cltu import CODEBLOCKS_MAX, CltuReceiver, decode_cltu, encode_cltu
from flight.link.coding.tm_coding import TmCoding
from flight.link.link import LinkCounters, Role
from flight.link.pus import PusTc, PusTm
from flight.link.security.link_security import REASONS as SECURITY_REASONS
from flight.link.space_packet import SpacePacket
from flight.link.tc.clcw import Clcw
from flight.link.tc.farm import FarmCounters
from flight.link.tc.tc_frame import TcFrame
from flight.link.tm.extract import PacketExtractor
from flight.link.tm.tm_frame import IDLE_DATA, NO_PACKET_START, FrameError, TmFrame
from flight.link.tm_tc_stack import REJECTED, FlightLink, LinkConfig
from ground.link.tm_tc_session import GroundSession
from hal.udp_radio import UNIT_OCTETS_MAX
from tests.link_ends import BARE, packets_of, unit_of

CONFIG = LinkConfig(coding="frame", frame_octets=64)  # 52 octets of data
CLCW = Clcw(0, 0, no_rf=True, no_bit_lock=True)


def packet(octets: int, seq: int = 0) -> bytes:
    return SpacePacket(5, seq, bytes((seq & 0xFF,)) * (octets - 6)).encode()


def frames_of(link: FlightLink, count: int) -> list[TmFrame]:
    return [TmFrame.decode(unit_of(link), 64) for _ in range(count)]


def test_one_packet_then_idle() -> None:
    link = FlightLink(CONFIG)
    assert link.queue(Role.REALTIME, packet(20))
    assert link.backlog_octets(Role.REALTIME) == 20
    first, idle = frames_of(link, 2)
    assert link.backlog_octets(Role.REALTIME) == 0
    assert (first.vcid, first.first_header_pointer, first.data[:20]) == (0, 0, packet(20))
    assert SpacePacket.decode(first.data[20:]).apid == 2047
    assert (idle.vcid, idle.first_header_pointer) == (7, IDLE_DATA)
    assert (first.master_count, idle.master_count, idle.vc_count) == (0, 1, 0)
    assert Clcw.decode(first.ocf or b"") == CLCW


def test_packet_over_three_frames_and_its_pointers() -> None:
    link = FlightLink(CONFIG)
    link.queue(Role.PRODUCTS, packet(120))
    link.queue(Role.PRODUCTS, packet(30, seq=1))
    frames = frames_of(link, 3)
    assert [frame.first_header_pointer for frame in frames] == [0, NO_PACKET_START, 16]
    assert [frame.vc_count for frame in frames] == [0, 1, 2]
    extractor = PacketExtractor()
    assert [one for frame in frames for one in extractor.take(frame)[1]] == [packet(120), packet(30, seq=1)]


def test_packet_that_ends_with_the_frame_has_the_next_start_at_zero() -> None:
    link = FlightLink(CONFIG)
    for octets in (104, 52):
        link.queue(Role.PRODUCTS, packet(octets))
    assert [frame.first_header_pointer for frame in frames_of(link, 3)] == [0, NO_PACKET_START, 0]


@pytest.mark.parametrize("left", range(1, 7))
def test_remainder_shorter_than_an_idle_packet_runs_into_the_next_frame(left: int) -> None:
    link = FlightLink(CONFIG)
    link.queue(Role.REALTIME, packet(52 - left))
    assert link.has_packets()
    first = frames_of(link, 1)[0]
    assert not link.has_packets()
    assert frames_of(link, 1)[0].vcid == 7
    link.queue(Role.REALTIME, packet(30, seq=1))
    second = frames_of(link, 1)[0]
    assert second.first_header_pointer == 7 - left
    extractor = PacketExtractor()
    assert extractor.take(first)[1] == [packet(52 - left)]
    assert extractor.take(second)[1] == [packet(30, seq=1)]
    assert extractor.channels[0].idle_packets == 2


def test_priority_is_strict_and_queues_are_bounded() -> None:
    link = FlightLink(LinkConfig(coding="frame", frame_octets=64, queue_packets=3, queue_octets=65542))
    for role in (Role.PRODUCTS, Role.PLAYBACK, Role.REALTIME):
        assert all(link.queue(role, packet(52, seq)) for seq in range(3))
        assert not link.queue(role, packet(52))
    assert [frame.vcid for frame in frames_of(link, 10)] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 7]
    assert link.counters.packets_refused == 3
    assert link.counters.packets_queued == 9
    assert (link.counters.units_sent, link.counters.idle_frames) == (10, 1)
    assert link.queue(Role.REALTIME, packet(65542))
    assert not link.queue(Role.REALTIME, packet(7))
    (send,) = link.next_unit()
    assert isinstance(send, SendUnit) and send.realtime_count == 3


def test_a_higher_channel_cuts_in_between_two_pieces_of_a_packet() -> None:
    link = FlightLink(CONFIG)
    link.queue(Role.PRODUCTS, packet(100))
    extractor = PacketExtractor()
    assert extractor.take(frames_of(link, 1)[0]) == (0, [])
    link.queue(Role.REALTIME, packet(40, seq=9))
    assert extractor.take(frames_of(link, 1)[0]) == (0, [packet(40, seq=9)])
    assert extractor.take(frames_of(link, 1)[0]) == (0, [packet(100)])


def test_lost_frame_costs_only_the_packets_it_touched() -> None:
    link = FlightLink(CONFIG)
    for seq in range(6):
        link.queue(Role.PLAYBACK, packet(40, seq))
    frames = frames_of(link, 5)
    extractor = PacketExtractor()
    results = [extractor.take(frame) for index, frame in enumerate(frames) if index != 1]
    got = [one[6] for _, packets in results for one in packets]
    # Octets 52..103 are gone: packets 1 (40..79) and 2 (80..119).
    assert got == [0, 3, 4, 5]
    assert [missed for missed, _ in results] == [0, 1, 0, 0]
    assert extractor.master_missed == 1
    channel = extractor.channels[1]
    assert (channel.broken, channel.missed, channel.inconsistent) == (1, 1, 0)
    assert extractor.take(frame(vcid=1, vc_count=5, first_header_pointer=IDLE_DATA)) == (0, [])


def test_counts_go_on_over_a_pass() -> None:
    link = FlightLink(CONFIG)
    link.acquired()
    frames_of(link, 3)
    link.carrier_lost()
    assert frames_of(link, 1)[0].master_count == 3


def frame(**changes: Any) -> TmFrame:
    values = dict(
        spacecraft_id=1, vcid=0, master_count=0, vc_count=0, first_header_pointer=0, data=packet(52), ocf=bytes(4)
    )
    return TmFrame(**{**values, **changes})


def sealed(body: bytes) -> bytes:
    return body + crc16(body).to_bytes(2, "big")


def test_bad_frames_by_reason() -> None:
    good = frame().encode(64)
    assert TmFrame.decode(good, 64) == frame()
    bad = {
        "length": good[:-1],
        "crc": good[:30] + bytes((good[30] ^ 1,)) + good[31:],
        "version": sealed(bytes((good[0] | 0x40,)) + good[1:-2]),
        "status": sealed(good[:4] + bytes((good[4] | 0x80,)) + good[5:-2]),
        "pointer": sealed(good[:4] + (0x1800 | 52).to_bytes(2, "big") + good[6:-2]),
    }
    for reason, raw in bad.items():
        with pytest.raises(FrameError) as caught:
            TmFrame.decode(raw, 64)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("frames", "broken", "packets"),
    [
        # the packet in hand should have ended before the pointer
        ([frame(data=packet(100)[:52]), frame(vc_count=1, first_header_pointer=20, data=bytes(20) + packet(32))], 1, 1),
        # it runs over the pointer
        ([frame(data=packet(60)[:52]), frame(vc_count=1, first_header_pointer=20, data=bytes(20) + packet(32))], 1, 1),
        # it ends, and yet no packet is said to start
        ([frame(data=packet(60)[:52]), frame(vc_count=1, first_header_pointer=NO_PACKET_START, data=bytes(52))], 1, 0),
        # a packet header of another version, of all bits and of the last
        ([frame(data=b"\xff" * 52)], 0, 0),
        ([frame(data=b"\x20" * 52)], 0, 0),
    ],
)
def test_frames_that_contradict_themselves_are_counted(frames: list[TmFrame], broken: int, packets: int) -> None:
    extractor = PacketExtractor()
    got = [one for each in frames for one in extractor.take(each)[1]]
    assert got == [packet(32)] * packets
    channel = extractor.channels[0]
    assert (channel.inconsistent, channel.broken) == (1, broken)


def test_packets_of_any_length_over_frames_of_any_length() -> None:
    whole = b"".join(packet(octets, seq) for seq, octets in enumerate((7, 262, 263, 300, 600, 8)))
    starts = [0, 7, 269, 532, 832, 1432]
    for size in (50, 51, 52, 700, 1440):
        extractor, got = PacketExtractor(), []
        for count, at in enumerate(range(0, len(whole), size)):
            pointer = next((one - at for one in starts if at <= one < at + size), NO_PACKET_START)
            one = frame(master_count=count, vc_count=count, first_header_pointer=pointer, data=whole[at : at + size])
            missed, packets = extractor.take(one)
            assert missed == 0
            got += packets
        assert b"".join(got) == whole and len(got) == 6


def test_packets_of_one_apid_alone_are_idle() -> None:
    """133.0-B-2, 4.1.3.3.4.4: all ones. Of either type."""
    extractor = PacketExtractor()
    apids = (0x7FF, 0x7FE, 0x0FF, 0x700, 0x3FF, 0)
    packets = [SpacePacket(apid, 0, b"x", is_command=command).encode() for command in (False, True) for apid in apids]
    assert extractor.take(frame(data=b"".join(packets)))[1] == packets[1:6] + packets[7:]
    assert (extractor.channels[0].idle_packets, extractor.channels[0].inconsistent) == (2, 0)


def test_header_over_the_frame_border() -> None:
    whole = packet(49) + packet(40, 1)
    first = frame(data=whole[:52])
    second = frame(vc_count=1, first_header_pointer=37, data=whole[52:] + packet(15, 2))
    extractor = PacketExtractor()
    assert extractor.take(first)[1] == [packet(49)]
    assert extractor.take(second)[1] == [packet(40, 1), packet(15, 2)]


# Of the last frame heard and of the next: master and channel count, and whether the next tells of a restart.
RESTARTS = {
    "the first frames after boot": ((100, 50), (0, 0), True),
    "the sixteenth after boot": ((100, 50), (15, 15), True),
    "the seventeenth is too far from boot": ((100, 50), (16, 16), False),
    "a channel cannot be ahead of all": ((100, 50), (3, 4), False),
    "counts that go on round": ((255, 255), (0, 0), False),
    "fifteen lost": ((250, 250), (10, 10), False),
    "sixteen lost": ((250, 250), (11, 11), True),
    "as many lost of the channel as of all": ((250, 250), (0, 0), False),
    "more lost of the channel than of all": ((250, 249), (0, 0), True),
    "nothing lost of the channel": ((100, 255), (3, 0), False),
    "one lost of the channel": ((100, 254), (3, 0), True),
}  # fmt: skip


@pytest.mark.parametrize("case", RESTARTS)
def test_a_restart_is_what_lost_frames_hardly_explain(case: str) -> None:
    (master, channel), (next_master, next_channel), expected = RESTARTS[case]
    extractor = PacketExtractor()
    heard = frame(master_count=master, vc_count=channel)
    following = frame(master_count=next_master, vc_count=next_channel)
    assert not extractor.is_restart(heard) and not extractor.is_restart(following)
    extractor.take(heard)
    assert extractor.is_restart(following) is expected
    # Of a channel that was not heard before nothing is known.
    assert not extractor.is_restart(frame(vcid=1, master_count=next_master, vc_count=next_channel))


def test_a_frame_of_a_rare_channel_missing_since_long_before_is_no_restart() -> None:
    """All gaps since the channel's last frame explain it, not the last one alone."""
    extractor = PacketExtractor()
    extractor.take(frame(master_count=240, vc_count=1))
    extractor.take(frame(vcid=1, master_count=241, vc_count=100))
    # Lost: 242, which was of channel 0.
    for count in range(243, 261):
        extractor.take(frame(vcid=1, master_count=count & 0xFF, vc_count=count - 142))
    late = frame(master_count=5, vc_count=3)
    assert not extractor.is_restart(late)
    assert extractor.is_restart(frame(master_count=5, vc_count=4)), "more than were lost of all channels together"
    assert extractor.take(late)[0] == 1
    extractor.restart()
    extractor.take(frame(master_count=250, vc_count=9))
    assert not extractor.is_restart(frame(master_count=252, vc_count=10)), "too far from boot"
    assert extractor.is_restart(frame(master_count=0, vc_count=0)), "what was lost before the restart counts no more"


def test_a_restart_ends_the_packet_in_hand_and_misses_nothing() -> None:
    extractor = PacketExtractor()
    extractor.take(frame(master_count=70, vc_count=30, data=packet(100)[:52]))
    extractor.restart()
    again = frame(master_count=2, vc_count=1, first_header_pointer=0)
    assert not extractor.is_restart(again)
    assert extractor.take(again) == (0, [packet(52)])
    channel = extractor.channels[0]
    assert (channel.broken, channel.inconsistent, channel.missed, extractor.master_missed) == (1, 0, 0, 0)
    assert (channel.frames, channel.packets) == (2, 1)


# Uplink


def ping(seq: int = 0) -> bytes:
    return PusTc(1, seq, 17, 1, b"").encode()


def cltu(seq: int, data: bytes, spacecraft_id: int = 0x1AB, vcid: int = 0) -> bytes:
    return encode_cltu(TcFrame(spacecraft_id, vcid, seq, data).encode())


def test_uplink_delivers_in_order_whatever_the_split() -> None:
    link = FlightLink(CONFIG)
    stream = cltu(0, ping(0) + ping(1)) + b"\x55" * 9 + cltu(1, ping(2))
    got = [one for octet in stream for one in packets_of(link.on_uplink(bytes((octet,)), 5))]
    assert got == [ping(0), ping(1), ping(2)]
    assert link.last_uplink_ns == 5
    assert (link.counters.cltus, link.counters.tc_frames, link.counters.tc_packets) == (2, 2, 3)


def test_two_frames_in_one_cltu() -> None:
    link = FlightLink(CONFIG)
    both = TcFrame(0x1AB, 0, 0, ping(0)).encode() + TcFrame(0x1AB, 0, 1, ping(1)).encode()
    assert packets_of(link.on_uplink(encode_cltu(both), 0)) == [ping(0), ping(1)]


def test_the_shortest_frame_at_the_end_of_a_cltu() -> None:
    """Its one octet is not a packet, but it is a frame and not fill."""
    link = FlightLink(CONFIG)
    first, second = packet(13), TcFrame(0x1AB, 0, 1, b"x").encode()
    assert len(second) == 8
    assert link.on_uplink(encode_cltu(TcFrame(0x1AB, 0, 0, first).encode() + second), 0) == [
        PacketReceived(0, first),
        UnitRejected("packet"),
    ]
    assert link.counters.tc_frames == 2
    assert (link.counters.uplink_rejected["packet"], link.counters.uplink_rejected["frame"]) == (1, 0)


@pytest.mark.parametrize("randomized", [False, True])
@pytest.mark.parametrize("errors", ["correct", "detect"])
def test_the_uplink_is_coded_as_the_link_says(errors: str, randomized: bool) -> None:
    link = FlightLink(LinkConfig(frame_octets=64, cltu_errors=errors, tc_randomizer=randomized))
    whole = encode_cltu(TcFrame(0x1AB, 0, 0, ping()).encode(), randomized=randomized)
    damaged = whole[:4] + bytes((whole[4] ^ 1,)) + whole[5:]
    told = PacketReceived(0, ping()) if errors == "correct" else UnitRejected("cltu")
    assert link.on_uplink(damaged, 0) == [told]
    assert (link.counters.cltu_corrected, link.counters.uplink_rejected["cltu"]) == (
        (1, 0) if errors == "correct" else (0, 1)
    )  # fmt: skip
    other = FlightLink(LinkConfig(frame_octets=64, cltu_errors=errors, tc_randomizer=randomized))
    assert other.on_uplink(whole, 0) == [PacketReceived(0, ping())]


def test_a_link_that_has_done_nothing_has_counted_nothing() -> None:
    rejected = dict.fromkeys((*REJECTED, *SECURITY_REASONS), 0)
    link = FlightLink(CONFIG)
    assert link.counters == LinkCounters(uplink_rejected=rejected)
    assert link.farm.counters == FarmCounters(*[0] * 11)
    assert LinkCounters() == LinkCounters(0, 0, 0, 0, 0, 0, 0, 0, 0, {})


def test_uplink_refuses_by_reason() -> None:
    link = FlightLink(CONFIG)
    bad_frame = bytearray(TcFrame(0x1AB, 0, 0, ping()).encode())
    bad_frame[9] ^= 1
    for octets, reason in (
        (cltu(0, ping(), spacecraft_id=0x1AC), "spacecraft"),
        (cltu(0, ping(), vcid=1), "vcid"),
        (encode_cltu(bytes(bad_frame)), "frame"),
        (b"\xeb\x90" + b"\xc5" * 8, "cltu"),
        (cltu(0, b"\x18\x01\xc0\x00\x00\x09"), "packet"),
        (cltu(1, b"\xff" * 8), "packet"),
    ):
        assert link.on_uplink(octets, 0) == [UnitRejected(reason)]
    counted = {reason: count for reason, count in link.counters.uplink_rejected.items() if count}
    assert counted == {"cltu": 1, "frame": 1, "spacecraft": 1, "vcid": 1, "packet": 2}
    assert packets_of(link.on_uplink(cltu(2, ping()), 0)) == [ping()]


def test_carrier_lost_forgets_half_a_cltu_and_says_so_in_the_clcw() -> None:
    link = FlightLink(CONFIG)
    whole = cltu(0, ping())
    link.on_uplink(whole[:-20], 0)
    assert not Clcw.decode(frames_of(link, 1)[0].ocf or b"").no_rf
    link.carrier_lost()
    report = Clcw.decode(frames_of(link, 1)[0].ocf or b"")
    assert (report.no_rf, report.no_bit_lock) == (True, True)
    assert packets_of(link.on_uplink(whole[-20:], 0)) == []
    assert packets_of(link.on_uplink(whole, 0)) == [ping()]


def test_what_came_is_told_in_its_order() -> None:
    link = FlightLink(CONFIG)
    stream = cltu(0, ping(0)) + cltu(1, ping(1), vcid=5) + cltu(1, ping(2) + b"\x18\x01\xc0")
    told = [PacketReceived(0, ping(0)), UnitRejected("vcid"), PacketReceived(0, ping(2)), UnitRejected("packet")]
    assert link.on_uplink(stream, 0) == told
    assert link.on_uplink(b"", 0) == []


def test_units_of_the_real_time_channel_have_their_count() -> None:
    link = FlightLink(CONFIG)
    counts: list[int | None] = []
    for role in (Role.REALTIME, Role.PLAYBACK, Role.REALTIME, None, Role.PRODUCTS, *[Role.REALTIME] * 255):
        if role is not None:
            link.queue(role, packet(52))
        (send,) = link.next_unit()
        assert isinstance(send, SendUnit)
        frame = TmFrame.decode(send.octets, 64)
        assert send.realtime_count == (frame.vc_count if frame.vcid == 0 else None)
        counts.append(send.realtime_count)
    assert counts == [0, None, 1, None, None, *range(2, 256), 0]


def test_a_role_that_the_link_does_not_carry_has_no_channel() -> None:
    link = FlightLink(replace(CONFIG, carries=("realtime", "playback")))
    assert link.roles == {Role.REALTIME, Role.PLAYBACK}
    assert not link.queue(Role.PRODUCTS, packet(20)) and link.backlog_octets(Role.PRODUCTS) == 0
    assert link.counters.packets_refused == 0 and not link.has_packets()
    session = GroundSession(replace(CONFIG, carries=("realtime", "playback")))
    assert session.vcids == (0, 1, 7)
    foreign = FlightLink(CONFIG)
    foreign.queue(Role.PRODUCTS, packet(20))
    assert session.on_downlink(unit_of(foreign), 0) == [UnitRejected("vcid")]


def test_hold_makes_the_farm_wait() -> None:
    link = FlightLink(CONFIG)
    link.hold(True)
    assert packets_of(link.on_uplink(cltu(0, ping()), 0)) == []
    report = Clcw.decode(frames_of(link, 1)[0].ocf or b"")
    assert (report.wait, report.retransmit, report.report_value) == (True, True, 0)
    link.hold(False)
    assert not Clcw.decode(link.clcw).wait
    assert packets_of(link.on_uplink(cltu(0, ping()), 0)) == [ping()]


def test_cltu_without_end_is_bounded() -> None:
    receiver = CltuReceiver()
    block = encode_cltu(bytes(7))[2:10]
    receiver.feed(b"\xeb\x90" + block * (CODEBLOCKS_MAX + 5))
    assert (receiver.aborted, receiver.open) == (1, False)
    assert receiver.feed(encode_cltu(b"1234567")) == [b"1234567"]


def test_start_sequence_with_one_wrong_bit() -> None:
    damaged = bytearray(encode_cltu(b"1234567"))
    damaged[1] ^= 0x10
    assert CltuReceiver().feed(bytes(damaged)) == [b"1234567"]
    assert decode_cltu(bytes(damaged)) == b"1234567"


def test_two_wrong_bits_in_a_codeblock_are_noticed() -> None:
    damaged = bytearray(encode_cltu(b"1234567"))
    damaged[3] ^= 0x11
    with pytest.raises(DecodeError, match="more than one error"):
        decode_cltu(bytes(damaged))


def test_lost_tail_costs_no_more_than_its_neighbour() -> None:
    receiver = CltuReceiver()
    got = receiver.feed(encode_cltu(b"1234567")[:-8] + b"".join(encode_cltu(b"abcdefg") for _ in range(3)))
    assert got[-2:] == [b"abcdefg"] * 2


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (PusTm(1, 0, 3, 25, b"1234", 0).encode()[:-1], "length field"),
        (PusTc(1, 0, 17, 1, bytes(20)).encode(), "telemetry packet expected"),
        (SpacePacket(1, 0, bytes(20)).encode(), "without secondary header"),
        (sealed(SpacePacket(1, 0, bytes(20), has_secondary=True).encode()[:-2]), "PUS version 0"),
        (PusTm(1, 0, 3, 25, b"", 0).encode()[:-1] + b"\0", "error control"),
    ],
)
def test_bad_telemetry_packets(raw: bytes, text: str) -> None:
    with pytest.raises(DecodeError, match=text):
        PusTm.decode(raw)


def test_contradictory_configuration() -> None:
    faults = dict(LinkConfig(coding="frame", farm_window=11, fop_window=6, vc_playback=0).faults())
    assert set(faults) == {"farm_window", "fop_window", "vc_playback"}
    assert BARE.faults() == LinkConfig().faults() == LinkConfig(coding="cadu", convolutional=True).faults() == []


@pytest.mark.parametrize("convolutional", [False, True])
@pytest.mark.parametrize("randomizer", ["short", "long", "none"])
@pytest.mark.parametrize(("coding", "parity"), [("cadu", 0), ("rs(255,223)", 32), ("rs(255,239)", 16)])
def test_a_link_is_coded_as_its_configuration_says(
    coding: str, parity: int, randomizer: str, convolutional: bool
) -> None:
    config = LinkConfig(0x1AB, 1000, coding, 4, randomizer, convolutional)
    assert config.tm_coding == TmCoding(1000, parity, 4, randomizer, convolutional)
    assert config.unit_octets == (1000 + 4 + 4 * parity) * (2 if convolutional else 1)
    assert LinkConfig(0x1AB, 1000, "frame", 4, randomizer, convolutional).tm_coding is None


@pytest.mark.parametrize("first", ["vc_realtime", "vc_playback", "vc_products", "vc_idle"])
@pytest.mark.parametrize("second", ["vc_realtime", "vc_playback", "vc_products", "vc_idle"])
def test_no_two_uses_of_a_link_share_a_channel(first: str, second: str) -> None:
    names = ["vc_realtime", "vc_playback", "vc_products", "vc_idle"]
    channels: dict[str, Any] = {name: index for index, name in enumerate(names)} | {first: 6, second: 6}
    config = LinkConfig(**channels)
    earlier, later = sorted((first, second), key=names.index)
    right = [(later, f"is 6 like {earlier}, each channel should have its own")]
    assert config.faults() == (right if first != second else [])


@pytest.mark.parametrize(("window", "allowed"), [(2, 1), (20, 10), (254, 127)])
def test_the_window_of_fop_is_half_that_of_farm_at_most(window: int, allowed: int) -> None:
    """232.1-B-2: PW and NW are W / 2, and a sender that has more under way locks the receiver out."""
    assert LinkConfig(farm_window=window, fop_window=allowed).faults() == []
    assert [key for key, _ in LinkConfig(farm_window=window, fop_window=allowed + 1).faults()] == ["fop_window"]


@pytest.mark.parametrize(
    ("changes", "key", "text"),
    [
        (dict(coding="rs(255,223)", interleave=6), "interleave", "one of 1, 2, 3, 4, 5, 8"),
        (dict(coding="rs(255,223)", frame_octets=1116), "interleave", "multiples of 5 up to 1115 octets fit"),
        (dict(coding="rs(255,239)", interleave=8, frame_octets=2048), "interleave", "up to 1912 octets fit"),
        (dict(convolutional=True), "convolutional", 'should go with coding = "cadu"'),
        (dict(playback_min_frac=0.5, products_min_frac=0.41), "products_min_frac", "at most 0.9 together"),
    ],
)
def test_contradictory_coding(changes: dict[str, Any], key: str, text: str) -> None:
    ((name, said),) = LinkConfig(**{"coding": "frame"} | changes).faults()
    assert name == key
    assert text in said


@pytest.mark.parametrize("fracs", [(0.00305, 0.89695), (0.45, 0.45), (0.9, 0.0), (1 / 3, 1 / 3)])
def test_least_shares_that_are_no_fault_make_a_link(fracs: tuple[float, float]) -> None:
    config = LinkConfig(coding="frame", playback_min_frac=fracs[0], products_min_frac=fracs[1])
    assert config.faults() == []
    FlightLink(config)


def test_a_frame_of_a_channel_that_is_not_wanted_is_not_missed() -> None:
    extractor = PacketExtractor()
    for count in range(6):
        one = frame(vcid=count % 2, master_count=count, vc_count=count // 2)
        if one.vcid:
            extractor.pass_over(one)
        else:
            assert extractor.take(one)[0] == 0
    assert extractor.master_missed == 0


def test_a_datagram_takes_the_longest_unit() -> None:
    config = LinkConfig(frame_octets=2048, coding="cadu", convolutional=True)
    assert len(unit_of(FlightLink(config))) == config.unit_octets == UNIT_OCTETS_MAX
    assert (
        LinkConfig(frame_octets=1912, coding="rs(255,239)", interleave=8, convolutional=True).unit_octets
        < UNIT_OCTETS_MAX
    )
