"""Every codec of the link: what is encoded decodes to itself, and any octets give a value or a DecodeError."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS
from flight.link.coding.cltu import CltuReceiver, decode_cltu, encode_cltu
from flight.link.coding.tm_coding import CODINGS, TmEncoder
from flight.link.pus import PusTc, PusTm, RequestId
from flight.link.space_packet import SpacePacket, idle_packet
from flight.link.tc.clcw import Clcw
from flight.link.tc.tc_frame import TcFrame
from flight.link.time.time_code import decode_cuc, encode_cuc
from flight.link.tm.aos_frame import AosFormat, AosFrame
from flight.link.tm.downlink import Multiplexer
from flight.link.tm.extract import PacketExtractor
from flight.link.tm.tm_frame import TmFormat, TmFrame
from flight.link.tm_tc_stack import FlightLink, LinkConfig
from ground.link.actions import SendCltu
from ground.link.tm_tc_session import GroundSession
from tests.link_ends import packets_of

U2, U8, U16, U32 = st.integers(0, 3), st.integers(0, 255), st.integers(0, 65535), st.integers(0, 2**32 - 1)
APID, SEQ = st.integers(0, 0x7FF), st.integers(0, 0x3FFF)
CUC_TICKS = st.integers(0, 2**48 - 1)

packets = st.builds(
    SpacePacket,
    apid=APID,
    seq=SEQ,
    data=st.binary(min_size=1, max_size=300),
    is_command=st.booleans(),
    has_secondary=st.booleans(),
)
pus_tm = st.builds(
    PusTm,
    apid=APID,
    seq=SEQ,
    service=U8,
    subtype=U8,
    data=st.binary(max_size=300),
    time_ns=CUC_TICKS.map(lambda ticks: decode_cuc(ticks.to_bytes(6, "big"))),
    counter=U16,
    destination=U16,
    time_status=st.integers(0, 15),
)
pus_tc = st.builds(
    PusTc,
    apid=APID,
    seq=SEQ,
    service=U8,
    subtype=U8,
    data=st.binary(max_size=300),
    ack=st.integers(0, 15),
    source=U16,
)
request_ids = st.builds(RequestId, apid=APID, seq=SEQ)
tm_frames = st.builds(
    TmFrame,
    spacecraft_id=st.sampled_from([0x1AB, 0, 1023]),
    vcid=st.integers(0, 7),
    master_count=U8,
    vc_count=U8,
    first_header_pointer=st.one_of(st.integers(0, 51), st.sampled_from([0x7FE, 0x7FF])),
    data=st.binary(min_size=52, max_size=52),
    ocf=st.binary(min_size=4, max_size=4),
)
AOS = AosFormat(0x1AB, 64, insert_octets=3)
aos_frames = st.builds(
    AosFrame,
    spacecraft_id=st.integers(0, 1023),
    vcid=st.integers(0, 62),
    vc_count=st.integers(0, 2**24 - 1),
    first_header_pointer=st.one_of(st.integers(0, AOS.data_octets - 1), st.sampled_from([0x7FE, 0x7FF])),
    data=st.binary(min_size=AOS.data_octets, max_size=AOS.data_octets),
    ocf=st.binary(min_size=4, max_size=4),
    replay=st.booleans(),
    cycle=st.none() | st.integers(0, 15),
    insert=st.binary(min_size=3, max_size=3),
)
tc_frames = st.builds(
    TcFrame,
    spacecraft_id=st.sampled_from([0x1AB, 0, 1023]),
    vcid=st.sampled_from([0, 63]),
    seq=U8,
    data=st.binary(min_size=1, max_size=1017),
    bypass=st.just(True),
    control=st.booleans(),
)
clcws = st.builds(
    Clcw,
    vcid=st.integers(0, 63),
    report_value=U8,
    lockout=st.booleans(),
    wait=st.booleans(),
    retransmit=st.booleans(),
    no_rf=st.booleans(),
    no_bit_lock=st.booleans(),
    farm_b_counter=U2,
    status=st.integers(0, 7),
)

ROUND_TRIPS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "space packet": (packets, SpacePacket.encode, SpacePacket.decode),
    "PUS telemetry": (pus_tm, PusTm.encode, PusTm.decode),
    "PUS telecommand": (pus_tc, PusTc.encode, PusTc.decode),
    "request id": (request_ids, RequestId.encode, RequestId.decode),
    "TM frame": (tm_frames, lambda frame: frame.encode(64), lambda raw: TmFrame.decode(raw, 64)),
    "AOS frame": (aos_frames, lambda frame: frame.encode(AOS), lambda raw: AosFrame.decode(raw, AOS)),
    "TC frame": (tc_frames, TcFrame.encode, TcFrame.decode),
    "CLCW": (clcws, Clcw.encode, Clcw.decode),
}
DECODERS: dict[str, Callable[[bytes], Any]] = {
    **{name: decode for name, (_, _, decode) in ROUND_TRIPS.items()},
    "CUC": decode_cuc,
    "CLTU": decode_cltu,
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
@settings(max_examples=40)
@given(data=st.data())
def test_round_trip(name: str, data: st.DataObject) -> None:
    values, encode, decode = ROUND_TRIPS[name]
    value = data.draw(values)
    assert decode(encode(value)) == value


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=40)
@given(raw=st.binary(max_size=80))
def test_any_octets_give_a_value_or_a_decode_error(name: str, raw: bytes) -> None:
    with contextlib.suppress(DecodeError):
        DECODERS[name](raw)


@pytest.mark.parametrize("name", ROUND_TRIPS)
@settings(max_examples=40)
@given(data=st.data())
def test_changed_octets_give_a_value_or_a_decode_error(name: str, data: st.DataObject) -> None:
    values, encode, decode = ROUND_TRIPS[name]
    raw = bytearray(encode(data.draw(values)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for octets in (bytes(raw), bytes(raw[:cut])):
        with contextlib.suppress(DecodeError):
            decode(octets)


@given(CUC_TICKS)
def test_time_code_round_trip(ticks: int) -> None:
    raw = ticks.to_bytes(6, "big")
    assert encode_cuc(decode_cuc(raw)) == raw


@given(st.integers(0, (2**32 - 1) * NS))
def test_time_code_loses_less_than_its_resolution(tai_ns: int) -> None:
    assert 0 <= tai_ns - decode_cuc(encode_cuc(tai_ns)) <= 15259


@given(st.integers(7, 3000))
def test_idle_packet_has_the_length_asked_for(octets: int) -> None:
    packet = SpacePacket.decode(idle_packet(octets))
    assert (len(packet.encode()), packet.apid) == (octets, 2047)


def cut(octets: bytes, data: st.DataObject, pieces: int) -> list[bytes]:
    at = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=pieces)))
    return [octets[a:b] for a, b in zip([0, *at], [*at, len(octets)], strict=True)]


@settings(max_examples=40)
@given(frames=st.lists(st.binary(min_size=1, max_size=60), max_size=4), data=st.data())
def test_cltu_receiver_takes_any_split_one_wrong_bit_a_codeblock_and_idle_between(
    frames: list[bytes], data: st.DataObject
) -> None:
    stream = b""
    for frame in frames:
        cltu = bytearray(encode_cltu(frame))
        assert decode_cltu(bytes(cltu))[: len(frame)] == frame
        for block in range(2, len(cltu) - 8, 8):
            bit = data.draw(st.one_of(st.none(), st.integers(0, 62)))
            if bit is not None:
                cltu[block + bit // 8] ^= 0x80 >> bit % 8
        stream += b"\x55" * data.draw(st.integers(0, 20)) + bytes(cltu)
    receiver = CltuReceiver()
    got = [unit for piece in cut(stream, data, 6) for unit in receiver.feed(piece)]
    assert [unit[: len(frame)] for unit, frame in zip(got, frames, strict=True)] == frames


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_cltu_receiver_survives_anything_and_takes_the_next_cltu_after_its_idle_time(pieces: list[bytes]) -> None:
    receiver = CltuReceiver()
    for piece in pieces:
        receiver.feed(piece)
    receiver.reset()
    assert receiver.feed(encode_cltu(b"telecommand")) == [b"telecommand" + b"\x55" * 3]


def sized(seq: int, octets: int) -> bytes:
    """A packet of exactly `octets` whose content names it."""
    return SpacePacket(5, seq, (seq.to_bytes(2, "big") * octets)[: octets - 6]).encode()


@settings(max_examples=80, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 2), st.integers(7, 200)), max_size=40),
    early=st.integers(0, 60),
    lost=st.sets(st.integers(0, 80), max_size=20),
)
def test_what_is_not_lost_arrives_in_order_and_losses_are_counted(
    sizes: list[tuple[int, int]], early: int, lost: set[int]
) -> None:
    down = Multiplexer(TmFormat(0x1AB, 64), (0, 1, 2), 7, 1000, 1 << 20)
    frames: list[bytes] = []
    want: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
    for seq, (vcid, octets) in enumerate(sizes):
        packet = sized(seq, octets)
        assert down.channels[vcid].queue(packet)
        want[vcid].append(packet)
        if len(frames) < early:
            frames.append(down.next_frame(bytes(4)))
    while down.has_packets():
        frames.append(down.next_frame(bytes(4)))
    frames.append(down.next_frame(bytes(4)))
    assert all(channel.octets == 0 for channel in down.channels.values())

    extractor = PacketExtractor()
    got: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
    touched: dict[int, int] = {}
    for index, raw in enumerate(frames):
        frame = TmFrame.decode(raw, 64)
        if index in lost:
            touched[frame.vcid] = touched.get(frame.vcid, 0) + 1
            continue
        _, packets = extractor.take(frame)
        if frame.vcid != 7:
            got[frame.vcid] += packets
        else:
            assert not packets
    for vcid, packets in want.items():
        if vcid not in touched:
            assert got[vcid] == packets
            continue
        # A subsequence: nothing made up, nothing twice, order kept.
        rest = iter(packets)
        assert all(packet in rest for packet in got[vcid])
        # A frame of 52 octets of data touches at most 8 + 1 packets.
        assert len(packets) - len(got[vcid]) <= 9 * touched[vcid]
    assert all(one.inconsistent == 0 for one in extractor.channels.values())


@settings(max_examples=80)
@given(st.lists(tm_frames, max_size=8))
def test_extractor_survives_any_frames(frames: list[TmFrame]) -> None:
    extractor = PacketExtractor()
    for frame in frames:
        for packet in extractor.take(frame)[1]:
            assert len(packet) == (packet[4] << 8 | packet[5]) + 7


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=130), max_size=6), st.sampled_from(CODINGS), st.booleans(), st.data())
def test_both_ends_survive_any_octets(pieces: list[bytes], coding: str, inner: bool, data: st.DataObject) -> None:
    config = LinkConfig(frame_octets=64, coding=coding, interleave=4, convolutional=inner and coding != "frame")
    encoder = TmEncoder(config.tm_coding) if config.tm_coding is not None else None
    ground, flight = GroundSession(config), FlightLink(config)
    ground.initiate(0)
    for now_ns, piece in enumerate(pieces):
        # Noise, and units whose error control fits but whose content is anything.
        frame = data.draw(tm_frames).encode(64)
        for octets in (piece, frame if encoder is None else encoder.encode(frame)):
            for action in ground.on_downlink(octets, now_ns):
                if isinstance(action, SendCltu):
                    flight.on_uplink(action.octets, now_ns)
        for octets in (piece, encode_cltu(data.draw(tc_frames).encode())):
            for packet in packets_of(flight.on_uplink(octets, now_ns)):
                assert len(packet) >= 7
        ground.on_time(now_ns * 10**10)
