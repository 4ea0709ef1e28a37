"""The multiplexer's promises: priority, minimum shares, and the same packets over TM and AOS frames; and a plain model
of all that it does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.link.space_packet import SpacePacket, idle_packet
from flight.link.tm.aos_frame import VC_COUNTS, VC_IDLE, AosFormat, AosFrame
from flight.link.tm.downlink import Multiplexer
from flight.link.tm.extract import VcExtractor
from flight.link.tm.tm_frame import IDLE_DATA, NO_PACKET_START, TmFormat, TmFrame

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
            assert down.channels[vcid].queue(packet(52))
    return down


def test_without_shares_priority_is_strict() -> None:
    down = flooded({}, 50)
    assert {vcid_of(down.next_frame(bytes(4))) for _ in range(50)} == {0}


def test_shares_of_three_flooded_channels() -> None:
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
def test_whoever_waits_gets_its_share_but_for_a_frame_a_channel(
    shares: tuple[int, int, int], arrivals: list[list[int]]
) -> None:
    down = Multiplexer(TM, (0, 1, 2), 7, 1 << 20, 1 << 30, {vcid: share / 100 for vcid, share in enumerate(shares)})
    waited = [0, 0, 0]  # frames since the channel began to wait without a pause
    got = [0, 0, 0]
    for batch in arrivals:
        for vcid in batch:
            down.channels[vcid].queue(packet(52))
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


def test_shares_of_more_than_all_are_our_own_mistake() -> None:
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
def test_packets_over_aos_frames_and_what_is_lost_with_some(
    fmt: AosFormat, sizes: list[int], start: int, data: st.DataObject
) -> None:
    down = Multiplexer(fmt, (6, 16), VC_IDLE, 1000, 1 << 20)
    down.channels[16].count = start
    sent = [packet(octets, seq) for seq, octets in enumerate(sizes)]
    assert all(down.channels[16].queue(one) for one in sent)
    ocf = bytes(4) if fmt.has_ocf else None
    frames = []
    if not fmt.insert_octets:
        while down.has_packets():
            frames.append(AosFrame.decode(down.next_frame(ocf), fmt))
            assert len(frames) <= sum(sizes), "a frame carries at least an octet"
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


class ShortFrames:
    """Frames of ten octets of data, whose channels count to five, laid out one field after the other."""

    data_octets = 10
    vc_counts = 5

    def encode(
        self, vcid: int, master_count: int, vc_count: int, first_header_pointer: int, data: bytes, ocf: bytes | None
    ) -> bytes:
        assert len(data) == self.data_octets
        return bytes((vcid, master_count, vc_count)) + first_header_pointer.to_bytes(2, "big") + data + (ocf or b"")


@dataclass
class Piece:
    octets: bytes
    idle: bool = False
    begun: bool = False


@dataclass
class Line:
    """One channel of the model: its packets, the first of which may have begun."""

    share: Fraction
    credit: Fraction = Fraction()
    pieces: list[Piece] = field(default_factory=list)
    frames: int = 0
    accepted: int = 0
    refused: int = 0

    def backlog(self) -> int:
        return sum(len(piece.octets) for piece in self.pieces if not piece.idle)

    def fill(self, size: int) -> tuple[int, bytes, int]:
        pointer, data, idle_octets = NO_PACKET_START, b"", 0
        while len(data) < size:
            if not self.pieces:
                self.pieces.append(Piece(idle_packet(max(size - len(data), 7)), idle=True))
                idle_octets += len(self.pieces[0].octets)
            piece = self.pieces[0]
            if not piece.begun and pointer == NO_PACKET_START:
                pointer = len(data)
            room = size - len(data)
            data += piece.octets[:room]
            piece.octets, piece.begun = piece.octets[room:], True
            if not piece.octets:
                self.pieces.pop(0)
        return pointer, data, idle_octets


def chosen(lines: list[Line]) -> Line | None:
    """Whose turn it is: of those with a share that are owed a frame the one that is owed most, else the first."""
    waiting = [line for line in lines if line.backlog()]
    for line in lines:
        line.credit = line.credit + line.share if line in waiting else Fraction()
    owed = max((line for line in waiting if line.credit >= 1), key=lambda line: line.credit, default=None)
    if owed is not None:
        owed.credit -= 1
        return owed
    if waiting:
        waiting[0].credit = Fraction()
        return waiting[0]
    return None


# In 1/10,000. Of some a frame comes together without rest, of some not.
all_shares = st.tuples(*[st.sampled_from((0, 1250, 2500, 3333, 4999))] * 3).filter(lambda shares: sum(shares) <= 10_000)


def check(shares: tuple[int, ...], steps: list[tuple[int, int] | int], packets_max: int, octets_max: int) -> None:
    """Steps: a packet for a channel, or so many frames."""
    fracs = {4 + i: share / 10_000 for i, share in enumerate(shares)}
    down = Multiplexer(ShortFrames(), (4, 5, 6), 7, packets_max, octets_max, fracs)
    lines = [Line(Fraction(share, 10_000)) for share in shares]
    frames = idle_frames = idle_octets = 0
    for seq, step in enumerate(steps):
        if isinstance(step, tuple):
            line, raw = lines[step[0]], packet(step[1], seq)
            waiting = sum(not piece.begun for piece in line.pieces)
            fits = waiting < packets_max and line.backlog() + len(raw) <= octets_max
            line.pieces += [Piece(raw)] * fits
            line.accepted += fits
            line.refused += not fits
            assert down.channels[4 + step[0]].queue(raw) is fits
        for _ in range(step if isinstance(step, int) else 0):
            assert down.has_packets() is any(line.backlog() for line in lines)
            turn = chosen(lines)
            if turn is None:
                head, pointer, data = (7, frames % 256, idle_frames % 5), IDLE_DATA, b"\x55" * 10
                idle_frames += 1
            else:
                head = (4 + lines.index(turn), frames % 256, turn.frames % 5)
                turn.frames += 1
                pointer, data, more = turn.fill(10)
                idle_octets += more
            frames += 1
            assert down.next_frame(b"ocf.") == bytes(head) + pointer.to_bytes(2, "big") + data + b"ocf."
        for line, channel in zip(lines, down.channels.values(), strict=True):
            assert (channel.octets, channel.frames) == (line.backlog(), line.frames)
            assert (channel.accepted, channel.refused) == (line.accepted, line.refused)
    assert (down.frames, down.idle_frames, down.idle_octets) == (frames, idle_frames, idle_octets)


@settings(max_examples=200)
@given(all_shares, st.lists(st.tuples(st.integers(0, 2), st.integers(7, 25)) | st.integers(1, 4), max_size=60))
def test_the_multiplexer_does_what_the_model_does(shares: tuple[int, ...], steps: list[tuple[int, int] | int]) -> None:
    check(shares, steps, 3, 60)


WAITING = [(0, 25), (1, 25), (2, 25)]


@pytest.mark.parametrize("first", [0, 1250, 2500, 3333, 4999])
def test_channels_that_wait_long_and_by_turns(first: int) -> None:
    """Each with every share: all at once, the later ones alone for a while, and the first one again."""
    steps: list[tuple[int, int] | int] = [
        *WAITING * 8,
        30,
        *WAITING[1:] * 4,
        7,
        *WAITING[:1] * 2,
        40,
        *WAITING[2:] * 3,
        5,
        *WAITING * 4,
        60,
    ]
    for second, third in product((0, 1250, 2500, 3333, 4999), repeat=2):
        if first + second + third <= 10_000:
            check((first, second, third), steps, 100, 10_000)
