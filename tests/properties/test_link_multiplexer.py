"""The multiplexer's promises: priority, minimum shares, and the same packets over TM and AOS frames."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.link.aos_frame import VC_COUNTS, VC_IDLE, AosFormat, AosFrame
from flight.link.downlink import Multiplexer
from flight.link.extract import VcExtractor
from flight.link.space_packet import SpacePacket
from flight.link.tm_frame import IDLE_DATA, TmFormat, TmFrame

TM = TmFormat(0x1AB, 64)
AOS = AosFormat(0x1AB, 64)


def packet(octets: int, seq: int = 0) -> bytes:
    return SpacePacket(5, seq, (seq.to_bytes(2, "big") * octets)[: octets - 6]).encode()


def vcid_of(frame: bytes) -> int:
    return TmFrame.decode(frame, 64).vcid


def flooded(shares: dict[int, float], frames: int) -> Multiplexer:
    """Three channels that all have more than `frames` frames to send."""
    down = Multiplexer(TM, (0, 1, 2), 7, 1 << 20, 1 << 30, shares)
    for vcid in (0, 1, 2):
        for _ in range(frames + 1):
            assert down.queue(vcid, packet(52))
    return down


def test_without_shares_priority_is_strict():
    down = flooded({}, 50)
    assert {vcid_of(down.next_frame(bytes(4))) for _ in range(50)} == {0}


def test_shares_of_three_flooded_channels():
    down = flooded({1: 0.25, 2: 0.1}, 400)
    order = [vcid_of(down.next_frame(bytes(4))) for _ in range(400)]
    got = Counter(order)
    assert got.total() == 400
    assert (100 - got[1], 40 - got[2]) in {(0, 0), (0, 1), (1, 0), (1, 1)}
    # Spread out, not in bursts: no channel waits much longer than its share says.
    assert [order[i : i + 8].count(1) for i in range(0, 400, 8)].count(0) == 0


@settings(max_examples=80)
@given(
    shares=st.tuples(*[st.integers(0, 33)] * 3),
    arrivals=st.lists(st.lists(st.integers(0, 2), max_size=4), min_size=1, max_size=60),
)
def test_whoever_waits_gets_its_share_but_for_a_frame_a_channel(shares, arrivals):
    down = Multiplexer(TM, (0, 1, 2), 7, 1 << 20, 1 << 30, {vcid: share / 100 for vcid, share in enumerate(shares)})
    waited = [0, 0, 0]  # frames since the channel began to wait without a pause
    got = [0, 0, 0]
    for batch in arrivals:
        for vcid in batch:
            down.queue(vcid, packet(52))
        waiting = [vcid for vcid in (0, 1, 2) if down.channels[vcid].octets]
        chosen = vcid_of(down.next_frame(bytes(4)))
        for vcid in (0, 1, 2):
            if vcid not in waiting:
                waited[vcid] = got[vcid] = 0
                continue
            waited[vcid] += 1
            got[vcid] += chosen == vcid
            assert got[vcid] > waited[vcid] * shares[vcid] / 100 - 3 - 1
        assert (chosen == 7) == (not waiting)


def test_shares_of_more_than_all_are_our_own_mistake():
    with pytest.raises(AssertionError):
        Multiplexer(TM, (0, 1), 7, 10, 1 << 20, {0: 0.6, 1: 0.5})
    with pytest.raises(AssertionError):
        Multiplexer(TM, (0, 1), 7, 10, 1 << 20, {3: 0.5})


aos_formats = st.builds(
    AosFormat,
    spacecraft_id=st.integers(0, 1023),
    frame_octets=st.integers(40, 90),
    insert_octets=st.integers(0, 12),
    has_ocf=st.booleans(),
    has_fecf=st.booleans(),
)


@settings(max_examples=80)
@given(
    fmt=aos_formats,
    sizes=st.lists(st.integers(7, 200), max_size=20),
    start=st.integers(0, VC_COUNTS - 1),
    data=st.data(),
)
def test_packets_over_aos_frames_and_what_is_lost_with_some(fmt, sizes, start, data):
    down = Multiplexer(fmt, (6, 16), VC_IDLE, 1000, 1 << 20)
    down.channels[16].count = start
    sent = [packet(octets, seq) for seq, octets in enumerate(sizes)]
    assert all(down.queue(16, one) for one in sent)
    ocf = bytes(4) if fmt.has_ocf else None
    frames = []
    if not fmt.insert_octets:
        while down.has_packets():
            frames.append(AosFrame.decode(down.next_frame(ocf), fmt))
        idle = AosFrame.decode(down.next_frame(ocf), fmt)
        assert (idle.vcid, idle.first_header_pointer) == (VC_IDLE, IDLE_DATA)
    lost = data.draw(st.sets(st.integers(0, 40), max_size=3))
    extractor = VcExtractor(VC_COUNTS)
    got = [one for i, frame in enumerate(frames) if i not in lost for one in extractor.take(frame)[1]]
    if not lost & set(range(len(frames))):
        assert got == (sent if frames else [])
        assert extractor.missed == 0
    rest = iter(sent)
    assert all(one in rest for one in got)
    assert extractor.inconsistent == 0
