"""Packets out of batches of frames: the live path's extractor and a plain model of AOS say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import example, given
from hypothesis import strategies as st

from flight.kernels import AosLink, BatchExtractor, TmLink, Verdict, crc16
from flight.kernels._kernels import ffi, lib
from flight.link.space_packet import SpacePacket, idle_packet
from flight.link.tm.extract import PacketExtractor
from flight.link.tm.tm_frame import IDLE_DATA, NO_PACKET_START, FrameError, TmFrame
from tests.recordings import packet_zones

SPACECRAFT = 0x1AB
REASONS = {"crc": Verdict.CRC, "version": Verdict.VERSION, "status": Verdict.STATUS, "pointer": Verdict.POINTER}


@dataclass
class Model:
    """What `BatchExtractor` must give, made of the live path's parts, a frame at a time."""

    link: TmLink | AosLink
    extractor: PacketExtractor

    def take(self, frames: Sequence[bytes], marks: bytes) -> tuple[list[tuple[int, ...]], list[tuple[bytes, int, int]]]:
        """Of each frame channel count, channel, verdict, missed; of each packet octets, frame, channel."""
        rows: list[tuple[int, ...]] = []
        packets: list[tuple[bytes, int, int]] = []
        for index, (raw, mark) in enumerate(zip(frames, marks, strict=True)):
            read = self.read_aos if isinstance(self.link, AosLink) else self.read_tm
            verdict, frame, mask, vcid, vc_count = read(raw)
            if mark:
                verdict = Verdict.MARKED
            missed = 0
            if verdict is Verdict.GOOD:
                missed, ended = self.accept(frame, mask)
                packets += [(packet, index, vcid) for packet in ended]
            elif verdict is Verdict.VCID and isinstance(self.link, TmLink):
                self.extractor.pass_over(TmFrame(0, vcid, raw[2], vc_count, 0, b"", None))
            rows.append((vc_count, vcid, verdict, missed))
        return rows, packets

    def accept(self, frame: TmFrame, _mask: int) -> tuple[int, list[bytes]]:
        return self.extractor.take(frame)

    def read_tm(self, raw: bytes) -> tuple[Verdict, TmFrame, int, int, int]:
        first = int.from_bytes(raw[:2], "big")
        nothing = TmFrame(0, 0, 0, 0, 0, b"", None)
        verdict, frame = Verdict.GOOD, nothing
        try:
            frame = TmFrame.decode(raw, len(raw), has_fecf=self.link.has_fecf)
        except FrameError as error:
            verdict = REASONS[error.reason]
        # What the live path asks last is asked here before the data field is looked at.
        if verdict in (Verdict.GOOD, Verdict.STATUS, Verdict.POINTER):
            if self.link.spacecraft_id not in (None, first >> 4 & 0x3FF):
                verdict = Verdict.SPACECRAFT
            elif self.link.vcids is not None and first >> 1 & 7 not in self.link.vcids:
                verdict = Verdict.VCID
        return verdict, frame, 0xFF, first >> 1 & 7, raw[3]

    def read_aos(self, raw: bytes) -> tuple[Verdict, TmFrame, int, int, int]:
        link = self.link
        assert isinstance(link, AosLink)
        bits = f"{int.from_bytes(raw[:6], 'big'):048b}"
        version, low, vcid, count = (int(bits[a:b], 2) for a, b in ((0, 2), (2, 10), (10, 16), (16, 40)))
        uses_cycle, high, cycle = int(bits[41]), int(bits[42:44], 2), int(bits[44:48], 2)
        spacecraft = high << 8 | low
        mask = 0xFFFFFFF if uses_cycle else 0xFFFFFF
        count |= cycle << 24 if uses_cycle else 0
        start = 6 + 2 * link.has_header_control + link.insert_octets + link.security_header_octets
        end = len(raw) - link.security_trailer_octets - 4 * link.has_ocf - 2 * link.has_fecf
        pointer = int.from_bytes(raw[start : start + 2], "big") & 0x7FF
        data = raw[start + 2 : end]
        frame = TmFrame(spacecraft, vcid, 0, count, pointer, data, None)
        if link.has_fecf and crc16(raw):
            verdict = Verdict.CRC
        elif version != 1:
            verdict = Verdict.VERSION
        elif link.spacecraft_id not in (None, spacecraft):
            verdict = Verdict.SPACECRAFT
        elif vcid != 63 and link.vcids is not None and vcid not in link.vcids:
            verdict = Verdict.VCID
        elif vcid != 63 and len(data) <= pointer < IDLE_DATA:
            verdict = Verdict.POINTER
        else:
            verdict = Verdict.GOOD
        return verdict, frame, mask, vcid, count


class AosModel(Model):
    """The counts of AOS are longer than those of the live path: the gap is told to it as one of TM."""

    def __init__(self, link: AosLink) -> None:
        super().__init__(link, PacketExtractor())
        self.expected: dict[int, int] = {}
        self.missed: dict[int, int] = {}

    def accept(self, frame: TmFrame, mask: int) -> tuple[int, list[bytes]]:
        vcid = frame.vcid
        if vcid == 63:
            return 0, []
        missed = (frame.vc_count - self.expected.get(vcid, frame.vc_count)) & mask
        self.expected[vcid] = frame.vc_count + 1 & mask
        self.missed[vcid] = self.missed.get(vcid, 0) + missed
        channel = self.extractor.channels.get(vcid)
        before = (channel._expected or 0) if channel is not None else 0  # noqa: SLF001 - the model stands on the same numbers
        short = replace(frame, vc_count=before + (missed > 0) & 0xFF)
        return missed, self.extractor.take(short)[1]


def check(link: TmLink | AosLink, frames: Sequence[bytes], marks: bytes, cuts: Sequence[int]) -> BatchExtractor:
    """The kernel, given the frames in batches that end at `cuts`, and the model agree on everything."""
    model = AosModel(link) if isinstance(link, AosLink) else Model(link, PacketExtractor())
    ours = BatchExtractor(link)
    ends = sorted({min(cut, len(frames)) for cut in cuts} | {len(frames)})
    verdicts = dict.fromkeys(Verdict, 0)
    delivered: dict[int, int] = {}
    start = 0
    for end in ends:
        batch, batch_marks = frames[start:end], marks[start:end]
        columns, packets = ours.extract(b"".join(batch), marks=batch_marks)
        rows, wanted = model.take(batch, batch_marks)
        got = list(zip(columns.vc_count, columns.vcid, columns.verdict, columns.missed, strict=True))
        assert got == rows
        assert [(bytes(p), f, v) for p, f, v in zip(packets, packets.frame, packets.vcid, strict=True)] == wanted
        assert packets.octets == b"".join(packet for packet, _, _ in wanted)
        for packet, apid, seq, flags in zip(packets, packets.apid, packets.seq, packets.flags, strict=True):
            assert int.from_bytes(packet[:2], "big") == flags >> 2 << 11 | apid
            assert int.from_bytes(packet[2:4], "big") == (flags & 3) << 14 | seq
        for packet, vcid in zip(packets, packets.vcid, strict=True):
            delivered[vcid] = delivered.get(vcid, 0) + len(packet)
        for _, _, verdict, _ in rows:
            verdicts[Verdict(verdict)] += 1
        start = end
    assert ours.verdicts == verdicts
    for vcid, counters in ours.channels.items():
        # Every octet of a channel's good frames is in one class.
        data = counters.packet_octets + counters.idle_octets + counters.lost_octets + counters.hand_octets
        assert data + counters.overhead_octets == counters.frames * link.frame_octets
        assert counters.packet_octets == delivered.get(vcid, 0)
        if vcid < 63:
            live = model.extractor.channels[vcid]
            missed = model.missed[vcid] if isinstance(model, AosModel) else live.missed
            assert (counters.packets, counters.idle_packets, counters.broken) == (
                live.packets, live.idle_packets, live.broken,
            )  # fmt: skip
            assert (counters.inconsistent, counters.frames, counters.missed) == (
                live.inconsistent, live.frames, missed,
            )  # fmt: skip
    if isinstance(link, TmLink):
        assert ours.master_missed == model.extractor.master_missed
        assert ours.channels.keys() == model.extractor.channels.keys()
    held = sum(len(channel._partial) for channel in model.extractor.channels.values())  # noqa: SLF001 - a bound on what is kept
    assert ours._link.hand_octets == held  # noqa: SLF001 - a bound on what is kept
    return ours


packets = st.one_of(
    st.builds(SpacePacket, st.integers(0, 2047), st.integers(0, 0x3FFF), st.binary(min_size=1, max_size=40)).map(
        SpacePacket.encode
    ),
    st.integers(7, 30).map(idle_packet),
)


def zone(draw: st.DrawFn, octets: int, stream: bytearray) -> tuple[int, bytes]:
    """The next packet zone of a channel, mostly of packets that follow each other, sometimes of anything."""
    kind = draw(st.sampled_from(("packets",) * 8 + ("idle", "none", "any")))
    if kind == "any":
        data = draw(st.binary(min_size=octets, max_size=octets))
        return draw(st.integers(0, octets) | st.sampled_from((IDLE_DATA, NO_PACKET_START))), data
    if kind == "idle":
        return IDLE_DATA, bytes(octets)
    # `stream` is what is left of a packet that began in an earlier frame.
    pointer = len(stream) if len(stream) < octets else NO_PACKET_START
    while len(stream) < octets:
        stream += draw(packets)
    data = bytes(stream[:octets])
    del stream[:octets]
    return (NO_PACKET_START if kind == "none" else pointer), data


@st.composite
def tm_batches(draw: st.DrawFn) -> tuple[TmLink, list[bytes], bytes, list[int]]:
    octets = draw(st.integers(13, 60))
    link = TmLink(
        octets,
        draw(st.sampled_from((SPACECRAFT, SPACECRAFT, None))),
        draw(st.sampled_from((None, (0, 1, 7), (1,)))),
        draw(st.booleans()),
    )
    counts: dict[int, int] = {}
    streams: dict[int, bytearray] = {}
    frames: list[bytes] = []
    for master in range(draw(st.integers(0, 25))):
        vcid = draw(st.sampled_from((0, 0, 0, 1, 1, 7)))
        ocf = draw(st.sampled_from((b"ocf.", b"ocf.", None)))
        room = octets - 6 - 4 * (ocf is not None) - 2 * link.has_fecf
        pointer, data = zone(draw, room, streams.setdefault(vcid, bytearray()))
        count = counts[vcid] = counts.get(vcid, 250) + draw(st.sampled_from((1,) * 8 + (2, 3, 0, 200))) & 0xFF
        spacecraft = draw(st.sampled_from((SPACECRAFT,) * 12 + (5,)))
        raw = TmFrame(spacecraft, vcid, master, count, pointer & 0x7FF, data, ocf).encode(
            octets if link.has_fecf else octets + 2
        )[:octets]
        damage = draw(st.sampled_from((None,) * 8 + ("bit", "header")))
        if damage is not None:
            altered = bytearray(raw)
            bit = draw(st.integers(0, 8 * (6 if damage == "header" else octets) - 1))
            if damage == "header" and bit == 32:
                bit = 33  # a secondary header is not the live path's
            altered[bit // 8] ^= 0x80 >> bit % 8
            if damage == "header" and link.has_fecf:
                altered[-2:] = crc16(altered[:-2]).to_bytes(2, "big")
            elif bit == 32 and not link.has_fecf:
                altered[4] ^= 0x80
            raw = bytes(altered)
        frames.append(raw)
    marks = bytes(draw(st.sampled_from((0,) * 15 + (1, 255))) for _ in frames)
    return link, frames, marks, draw(st.lists(st.integers(0, 25), max_size=4))


@given(tm_batches())
def test_tm_batches_are_what_the_live_path_takes(batch: tuple[TmLink, list[bytes], bytes, list[int]]) -> None:
    check(*batch)


@given(st.lists(st.binary(min_size=13, max_size=13), max_size=40), st.lists(st.integers(0, 40), max_size=3))
def test_tm_frames_of_any_octets(raws: list[bytes], cuts: list[int]) -> None:
    # Version 0 and no secondary header, or hardly one would pass.
    frames = [bytes((raw[0] & 0x3F, raw[1], raw[2], raw[3], raw[4] & 0x3F, *raw[5:])) for raw in raws]
    check(TmLink(13, has_fecf=False), frames, bytes(len(frames)), cuts)


@st.composite
def aos_batches(draw: st.DrawFn) -> tuple[AosLink, list[bytes], bytes, list[int]]:
    has_fecf, has_ocf, has_control = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    insert, room = draw(st.sampled_from((0, 0, 3))), draw(st.integers(1, 50))
    head, tail = draw(st.sampled_from(((0, 0), (0, 0), (5, 0), (6, 8))))  # of link security
    octets = 8 + 2 * has_control + insert + head + room + tail + 4 * has_ocf + 2 * has_fecf
    link = AosLink(
        octets,
        draw(st.sampled_from((SPACECRAFT, None))),
        draw(st.sampled_from((None, (0, 6, 16), (6,)))),
        has_fecf,
        has_ocf,
        has_control,
        insert,
        head,
        tail,
    )
    uses_cycle = draw(st.booleans())
    counts: dict[int, int] = {}
    streams: dict[int, bytearray] = {}
    frames: list[bytes] = []
    for _ in range(draw(st.integers(0, 25))):
        vcid = draw(st.sampled_from((6, 6, 6, 16, 16, 0, 63)))
        pointer, data = zone(draw, room, streams.setdefault(vcid, bytearray()))
        step = draw(st.sampled_from((1,) * 8 + (2, 300, 0)))
        count = counts[vcid] = counts.get(vcid, 0xFFFFFA) + step & 0xFFFFFFF
        spacecraft = draw(st.sampled_from((SPACECRAFT,) * 12 + (5,)))
        version = draw(st.sampled_from((1,) * 12 + (0,)))
        replay = draw(st.integers(0, 1))
        signalling = replay << 7 | uses_cycle << 6 | spacecraft >> 8 << 4 | (count >> 24 if uses_cycle else 0)
        raw = b"".join((
            (version << 14 | (spacecraft & 0xFF) << 6 | vcid).to_bytes(2, "big"),
            (count & 0xFFFFFF).to_bytes(3, "big"),
            bytes((signalling,)),
            b"hc" * has_control,
            b"i" * insert,
            b"h" * head,
            (draw(st.integers(0, 31)) << 11 | pointer & 0x7FF).to_bytes(2, "big"),
            data,
            b"t" * tail,
            b"ocf." * has_ocf,
        ))  # fmt: skip
        raw += crc16(raw).to_bytes(2, "big") * has_fecf
        if draw(st.sampled_from((False,) * 12 + (True,))):
            at = draw(st.integers(0, octets - 1))
            raw = raw[:at] + bytes((raw[at] ^ 0x10,)) + raw[at + 1 :]
        frames.append(raw)
    marks = bytes(draw(st.sampled_from((0,) * 15 + (1,))) for _ in frames)
    return link, frames, marks, draw(st.lists(st.integers(0, 25), max_size=4))


@given(aos_batches())
def test_aos_batches_are_their_model(batch: tuple[AosLink, list[bytes], bytes, list[int]]) -> None:
    check(*batch)


@given(tm_batches(), st.integers(1, 30))
@example((TmLink(13), [], b"", []), 1)
def test_a_stride_only_moves_the_frames_apart(batch: tuple[TmLink, list[bytes], bytes, list[int]], gap: int) -> None:
    link, frames, marks, _ = batch
    close, apart = BatchExtractor(link), BatchExtractor(link)
    want = close.extract(b"".join(frames), marks=marks)
    octets = bytes(gap).join(frames)
    got = apart.extract(octets, stride=link.frame_octets + gap, marks=marks)
    assert got == want
    assert BatchExtractor(link).extract(
        octets + bytes(gap if frames else 0), stride=link.frame_octets + gap, marks=marks
    ) == want  # fmt: skip


@given(tm_batches())
def test_where_the_room_ends_the_next_call_goes_on(batch: tuple[TmLink, list[bytes], bytes, list[int]]) -> None:
    """In C with just the room that a frame needs: nothing is lost, and every call takes a frame."""
    link, frames, marks, _ = batch
    octets = link.frame_octets
    _, want = BatchExtractor(link).extract(b"".join(frames), marks=marks)
    tight = BatchExtractor(link)
    packets_max, out_octets = 1 + octets // 7, lib.OB_PACKET_OCTETS_MAX + octets
    array, result = ffi.typeof("uint8_t[]"), ffi.new("ob_extraction *")
    got: list[bytes] = []
    start = 0
    while start < len(frames):
        data, count = b"".join(frames[start:]), len(frames) - start
        out = bytearray(out_octets)
        columns = bytearray(packets_max * lib.OB_EXTRACTED_COLUMN_OCTETS)
        taken = lib.ob_extract_packets(
            tight._link, tight._channels, 8, data, len(data), count, octets, marks[start:],  # noqa: SLF001 - the kernel's own arguments
            ffi.from_buffer(array, bytearray(11 * count)), 11 * count, ffi.from_buffer(array, out), out_octets,
            ffi.from_buffer(array, columns), len(columns), packets_max, result,
        )  # fmt: skip
        assert taken > 0
        offset, length = memoryview(columns)[: 8 * packets_max].cast("Q"), memoryview(columns)[8 * packets_max :]
        lengths = length[: 4 * packets_max].cast("I")
        got += [bytes(out[offset[i] : offset[i] + lengths[i]]) for i in range(result.packets)]
        start += taken
    assert got == [bytes(packet) for packet in want]


# Encapsulation packets among the space packets


def encapsulation_packet(protocol: int, header_octets: int, data: bytes) -> bytes:
    """Of CCSDS 133.1-B-3, 4.1.2, with a header of 2, 4 or 8 octets."""
    length = (header_octets + len(data)).to_bytes(header_octets // 2, "big")
    first = 7 << 5 | protocol << 2 | header_octets.bit_length() - 1
    return bytes((first,)) + bytes(header_octets // 2 - 1) + length + data


IDLE_OCTET = b"\xe0"
encapsulated = st.one_of(
    st.just(IDLE_OCTET),
    st.builds(encapsulation_packet, st.integers(0, 7), st.sampled_from((2, 4, 8)), st.binary(max_size=90)),
)


def tm_frames(stream: Sequence[bytes], room: int) -> list[bytes]:
    """These packets in frames of one channel, one after the other, idle octets behind the last."""
    return [
        TmFrame(SPACECRAFT, 0, count & 0xFF, count & 0xFF, pointer, data, b"ocf.").encode(room + 12)
        for count, (pointer, data) in enumerate(packet_zones(stream, room, IDLE_OCTET))
    ]


@given(st.lists(packets | encapsulated, max_size=30), st.integers(1, 60), st.lists(st.integers(0, 90), max_size=4),
       st.sets(st.integers(0, 40), max_size=2))  # fmt: skip
@example([encapsulation_packet(4, 8, bytes(200)), idle_packet(9)], 3, [1, 2, 3, 4], set())
def test_encapsulation_packets_are_passed_over_and_counted(
    stream: list[bytes], room: int, cuts: list[int], missing: set[int]
) -> None:
    frames = tm_frames(stream, room)
    ours = BatchExtractor(TmLink(room + 12, has_encapsulation=True))
    got: list[bytes] = []
    ends = sorted({min(cut, len(frames)) for cut in cuts} | {len(frames)})
    for start, end in zip([0, *ends], ends, strict=False):
        _, found = ours.extract(b"".join(frames[at] for at in range(start, end) if at not in missing))
        got += [bytes(one) for one in found]
    wanted = [one for one in stream if one[0] >> 5 == 0 and SpacePacket.decode(one).apid != 0x7FF]
    lost = {at for at in missing if at < len(frames)}
    assert all(one in wanted for one in got)
    if not frames or len(lost) == len(frames):
        assert ours.channels == {}
        return
    (counters,) = ours.channels.values()
    data = counters.packet_octets + counters.idle_octets + counters.encapsulated_octets + counters.lost_octets
    assert data + counters.hand_octets + counters.overhead_octets == (len(frames) - len(lost)) * (room + 12)
    assert counters.inconsistent == 0
    others = [one for one in stream if one[0] >> 5 == 7 and one[0] >> 2 & 7]
    if not lost:
        assert got == wanted
        assert counters.encapsulated == {
            protocol: count for protocol in range(8) if (count := sum(one[0] >> 2 & 7 == protocol for one in others))
        }
        assert counters.encapsulated_octets == sum(map(len, others))
        assert (counters.lost_octets, counters.broken, counters.hand_octets) == (0, 0, 0)
    assert sum(counters.encapsulated.values()) <= len(others)


def test_what_is_not_an_encapsulation_packet_is_inconsistent() -> None:
    too_long = b"\xef" + bytes(3) + (lib.OB_ENCAPSULATION_OCTETS_MAX + 1).to_bytes(4, "big")
    for data in (b"\xe4" + bytes(40), b"\xe9\x01" + bytes(40), too_long + bytes(40), b"\xc0" + bytes(40)):
        frame = TmFrame(SPACECRAFT, 0, 0, 0, 0, data, b"ocf.").encode(len(data) + 12)
        ours = BatchExtractor(TmLink(len(frame), has_encapsulation=True))
        ours.extract(frame)
        (counters,) = ours.channels.values()
        assert (counters.inconsistent, counters.lost_octets, counters.encapsulated) == (1, len(data), {}), data[:8]
    frame = TmFrame(SPACECRAFT, 0, 0, 0, 0, IDLE_OCTET * 20, b"ocf.").encode(32)
    ours = BatchExtractor(TmLink(32))
    ours.extract(frame)
    assert ours.channels[0].inconsistent == 1, "a link that has none"
