"""Packets out of batches of transfer frames, TM or AOS, and the account of what is missing."""

# This is the second of two ways through the downlink (ADR 0016). A live session takes frames one by one and acts on
# each (flight/link/tm/extract.py); a recording is a day of frames and wants columns. Both keep the same rules about
# gaps, broken and contradictory packets, and a property test holds this one to the other on any frames.
#
# The kernel asks for room in which it can always take one more frame, and the wrapper gives room for the worst that the
# frames of a call can hold: at most one packet per 7 octets, and no more octets than there are. So one call takes
# all of them. Room that is not written takes no memory.
#
# Between calls the kernel keeps, for each channel, the count that it expects and the beginning of a packet. Both live
# in structs of this object: the C code has no state of its own.

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from flight.kernels._kernels import ffi, lib
from flight.kernels.binding import NULL, OCTETS, KernelError, ReadBuffer, from_buffer, new_octets

_extract_packets = lib.ob_extract_packets
_FRAME_COLUMN_OCTETS = lib.OB_FRAME_COLUMN_OCTETS
_PACKET_COLUMN_OCTETS = lib.OB_EXTRACTED_COLUMN_OCTETS
_PACKET_OCTETS_MAX = lib.OB_PACKET_OCTETS_MAX
_PACKET_OCTETS_MIN = 7
ENCAPSULATION_OCTETS_MAX: int = lib.OB_ENCAPSULATION_OCTETS_MAX  # what claims to be longer is taken for damage


class Verdict(IntEnum):
    """What became of a frame: taken, or refused with a reason. Of several reasons the first in this order counts."""

    GOOD = lib.OB_FRAME_GOOD
    MARKED = lib.OB_FRAME_MARKED
    CRC = lib.OB_FRAME_CRC
    VERSION = lib.OB_FRAME_VERSION
    SPACECRAFT = lib.OB_FRAME_SPACECRAFT
    VCID = lib.OB_FRAME_VCID
    STATUS = lib.OB_FRAME_STATUS
    LENGTH = lib.OB_FRAME_LENGTH
    POINTER = lib.OB_FRAME_POINTER


@dataclass(frozen=True, slots=True)
class TmLink:
    """Managed parameters of a link of TM transfer frames (CCSDS 132.0-B-3, 4.1 and 5).

    frame_octets: length of every frame, at least 13. A frame's own flags say whether it has a secondary header, which
        is passed over, and an operational control field.
    spacecraft_id: 0..1023; None takes frames of any.
    vcids: the virtual channels that carry packets, 0..7; None for all.
    has_fecf: frames end with frame error control.
    security_header_octets, security_trailer_octets: of CCSDS 355.0-B-2 around the data field, passed over.
    has_encapsulation: encapsulation packets (CCSDS 133.1-B-3) may stand among the space packets; they are passed over
        and counted. Without it a frame in which one begins is inconsistent.
    """

    frame_octets: int
    spacecraft_id: int | None = None
    vcids: Iterable[int] | None = None
    has_fecf: bool = True
    security_header_octets: int = 0
    security_trailer_octets: int = 0
    has_encapsulation: bool = False


@dataclass(frozen=True, slots=True)
class AosLink:
    """Managed parameters of a link of AOS transfer frames whose channels carry M_PDUs (CCSDS 732.0-B-4, 4.1 and 5).

    frame_octets: length of every frame.
    spacecraft_id: 0..1023; None takes frames of any.
    vcids: the virtual channels that carry packets, 0..62; None for all. Channel 63 is idle data and always taken.
    has_fecf: frames end with frame error control.
    has_ocf: every frame has an operational control field.
    has_header_control: frame header error control follows the primary header; it is passed over.
    insert_octets: length of the insert zone, which is passed over.
    security_header_octets, security_trailer_octets: of CCSDS 355.0-B-2 around the data field, passed over.
    has_encapsulation: encapsulation packets (CCSDS 133.1-B-3) may stand among the space packets; they are passed over
        and counted. Without it a frame in which one begins is inconsistent.
    """

    frame_octets: int
    spacecraft_id: int | None = None
    vcids: Iterable[int] | None = None
    has_fecf: bool = False
    has_ocf: bool = False
    has_header_control: bool = False
    insert_octets: int = 0
    security_header_octets: int = 0
    security_trailer_octets: int = 0
    has_encapsulation: bool = False


@dataclass(frozen=True, slots=True)
class ChannelCounters:
    """What came over one virtual channel.

    Packets delivered, idle packets left out, packets of which only a part arrived (`broken`), frames whose pointer or
    packet headers contradict each other (`inconsistent`), good frames, frames missed, and encapsulation packets by
    their protocol id, 1..7 (only the ids that occurred).

    Every octet of its good frames is in exactly one of six: of packets delivered; idle (idle packets and idle frames'
    data); of encapsulation packets; lost (parts of packets, and data that contradict the headers); overhead (all but
    data); or in hand, the beginning of a packet that has not come to its end.
    """

    packets: int
    idle_packets: int
    broken: int
    inconsistent: int
    frames: int
    missed: int
    encapsulated: dict[int, int]
    packet_octets: int
    idle_octets: int
    encapsulated_octets: int
    lost_octets: int
    overhead_octets: int
    hand_octets: int


@dataclass(frozen=True, slots=True)
class FrameColumns:
    """The headers of n transfer frames and what became of them, one column per field, each of n numbers.

    The columns are views of one buffer: indexing, slicing and `numpy.asarray` copy nothing. Of a frame whose verdict
    is not GOOD they are what its header says, right or wrong, and its `missed` is 0.

    vc_count: count of the virtual channel, uint32: TM 0..255; AOS 24 bits, 28 if the cycle is in use.
    missed: frames of this virtual channel that are missing just before this one, modulo the count, uint32.
    vcid: virtual channel, uint8.
    master_count: count of the master channel, uint8; AOS has none, 0.
    verdict: numbers of `Verdict`, uint8.
    """

    vc_count: memoryview[int]
    missed: memoryview[int]
    vcid: memoryview[int]
    master_count: memoryview[int]
    verdict: memoryview[int]

    def __len__(self) -> int:
        return len(self.verdict)


@dataclass(frozen=True, slots=True)
class ExtractedPackets:
    """n space packets in the order in which they end, one column per field, each of n numbers. Idle ones are left out.

    The columns are views: indexing, slicing and `numpy.asarray` copy nothing. Iterating gives each packet's octets,
    as does indexing, as views of `octets`.

    octets: the packets, one after the other.
    offset: the octet of `octets` at which the packet starts, uint64.
    length: the whole packet, primary header included, octets, 7..65542, uint32.
    frame: index in the batch of the frame in which the packet ended, uint32.
    apid: 0..2046, uint16.
    seq: sequence count 0..16383, uint16.
    flags: bit 3 telecommand, bit 2 secondary header present, bits 1-0 sequence flags (3 is unsegmented), uint8.
    vcid: virtual channel, uint8.
    """

    octets: memoryview[int]
    offset: memoryview[int]
    length: memoryview[int]
    frame: memoryview[int]
    apid: memoryview[int]
    seq: memoryview[int]
    flags: memoryview[int]
    vcid: memoryview[int]

    def __len__(self) -> int:
        return len(self.flags)

    def __getitem__(self, index: int) -> memoryview[int]:
        start = self.offset[index]
        return self.octets[start : start + self.length[index]]

    def __iter__(self) -> Iterator[memoryview[int]]:
        octets = self.octets
        for start, length in zip(self.offset, self.length, strict=True):
            yield octets[start : start + length]


class BatchExtractor:
    """All virtual channels of one link, its frames taken a batch at a time.

    `flight.link.tm.extract` takes frames one by one as they arrive. This takes any number at once, with the same
    packets and the same account: a gap in a channel's count drops the packet in hand, and the search goes on at the
    next first header pointer, so that only packets with octets in missing frames are lost. Packets that span frames
    are kept from batch to batch. Memory: 64 KiB for each channel on which packets span frames, and a batch's results.
    """

    def __init__(self, link: TmLink | AosLink) -> None:
        """Begin a link; raises ValueError if a parameter is out of its range."""
        is_aos = isinstance(link, AosLink)
        self.link = link
        self._count = lib.OB_AOS_CHANNELS if is_aos else lib.OB_TM_CHANNELS
        vcids = range(self._count) if link.vcids is None else sorted(link.vcids)
        if any(not 0 <= vcid < self._count for vcid in vcids):
            raise ValueError(f"virtual channels {list(vcids)} are not all within 0..{self._count - 1}")
        if link.spacecraft_id is not None and not 0 <= link.spacecraft_id < 0x400:
            raise ValueError(f"spacecraft id {link.spacecraft_id} is outside 0..1023")
        if not 0 < link.frame_octets <= lib.OB_FRAME_OCTETS_MAX:
            raise ValueError(f"frame length {link.frame_octets} is outside 1..{lib.OB_FRAME_OCTETS_MAX} octets")
        flags = lib.OB_LINK_FECF * link.has_fecf | lib.OB_LINK_ENCAPSULATION * link.has_encapsulation
        insert_octets = 0
        if isinstance(link, AosLink):
            flags |= lib.OB_LINK_OCF * link.has_ocf | lib.OB_LINK_HEADER_CONTROL * link.has_header_control
            insert_octets = link.insert_octets
        if not 0 <= insert_octets < link.frame_octets:
            raise ValueError(f"insert zone of {insert_octets} octets does not fit frames of {link.frame_octets}")
        security = (link.security_header_octets, link.security_trailer_octets)
        if not all(0 <= octets < link.frame_octets for octets in security):
            raise ValueError(
                f"security header and trailer of {security} octets do not fit frames of {link.frame_octets}"
            )
        self._channels = ffi.new("ob_channel[]", self._count)
        self._link = ffi.new(
            "ob_link *",
            {
                "service": lib.OB_LINK_AOS if is_aos else lib.OB_LINK_TM,
                "frame_octets": link.frame_octets,
                "spacecraft_id": lib.OB_SPACECRAFT_ANY if link.spacecraft_id is None else link.spacecraft_id,
                "flags": flags,
                "insert_octets": insert_octets,
                "security_header_octets": link.security_header_octets,
                "security_trailer_octets": link.security_trailer_octets,
                "vcids": sum(1 << vcid for vcid in set(vcids)),
            },
        )
        self.extract(b"")  # so that C refuses a link without meaning here, not at the first frame

    def extract(
        self, frames: ReadBuffer, *, stride: int | None = None, marks: ReadBuffer | None = None
    ) -> tuple[FrameColumns, ExtractedPackets]:
        """Return the headers of a batch of frames, and the packets that they completed.

        frames: of the link's `frame_octets` each, one after the other; with `stride` each starts so many octets
            after the one before, such as decoded codeblocks with their check symbols.
        marks: one octet per frame; not 0 says that the frame is bad, such as one that could not be corrected.

        Any octets are taken as frames. Raises KernelError if `frames` does not end with a frame or `stride` is less
        than a frame, ValueError if there are not as many `marks` as frames.
        """
        link = self._link
        source = frames if type(frames) is bytes else from_buffer(OCTETS, frames)
        octets, frame_octets = len(source), link.frame_octets
        step = frame_octets if stride is None else stride
        # The last frame may lack what the stride has beyond it.
        count = (octets + step - frame_octets) // step if octets >= frame_octets and step > 0 else 0
        if step < frame_octets or octets not in (count * step, (count - 1) * step + frame_octets):
            raise KernelError("extract", lib.OB_E_LAYOUT)
        if marks is not None and len(marks) != count:
            raise ValueError(f"extract: marks has {len(marks)} octets, should have one per frame, {count}")
        # Room for the worst that these frames can hold: pages that nothing is written to are never made.
        packets_max = (count or 1) * (1 + frame_octets // _PACKET_OCTETS_MIN)
        out_octets = max(link.hand_octets + count * frame_octets, _PACKET_OCTETS_MAX + frame_octets)
        frame_octets_out, packet_octets_out = count * _FRAME_COLUMN_OCTETS, packets_max * _PACKET_COLUMN_OCTETS
        frame_block, out, packet_block = (
            new_octets(OCTETS, size) for size in (frame_octets_out, out_octets, packet_octets_out)
        )
        result = ffi.new("ob_extraction *")
        taken = _extract_packets(
            link, self._channels, self._count, source, octets, count, step,
            NULL if marks is None else from_buffer(OCTETS, marks),
            frame_block, frame_octets_out, out, out_octets, packet_block, packet_octets_out, packets_max, result,
        )  # fmt: skip
        if taken < 0:
            raise KernelError("extract", taken)
        assert taken == count, (taken, count)
        return (
            _frame_columns(memoryview(ffi.buffer(frame_block)), count),
            _packet_columns(memoryview(ffi.buffer(packet_block)), packets_max, result.packets,
                            memoryview(ffi.buffer(out))[: result.octets]),
        )  # fmt: skip

    def restart(self) -> None:
        """Begin again, as the sender does: no frame is missed, and a packet in hand never ends. Counters stay."""
        lib.ob_restart_link(self._link, self._channels, self._count)

    @property
    def channels(self) -> dict[int, ChannelCounters]:
        """The counters of every virtual channel of which a good frame has come."""
        every = ((vcid, self._channels[vcid]) for vcid in range(self._count))
        return {
            vcid: ChannelCounters(
                c.packets,
                c.idle_packets,
                c.broken,
                c.inconsistent,
                c.frames,
                c.missed,
                {protocol: count for protocol, count in enumerate(c.encapsulated) if count},
                c.packet_octets,
                c.idle_octets,
                c.encapsulated_octets,
                c.lost_octets,
                c.overhead_octets,
                c.hand_octets,
            )
            for vcid, c in every
            if c.frames
        }

    @property
    def verdicts(self) -> dict[Verdict, int]:
        """How many frames had each verdict."""
        return {verdict: self._link.verdicts[verdict] for verdict in Verdict}

    @property
    def master_missed(self) -> int:
        """The sum of gaps in the count of the master channel, each modulo 256; 0 for AOS, which has no such count."""
        return self._link.master_missed


def _frame_columns(block: memoryview[int], count: int) -> FrameColumns:
    return FrameColumns(
        block[: 4 * count].cast("I"),
        block[4 * count : 8 * count].cast("I"),
        block[8 * count : 9 * count],
        block[9 * count : 10 * count],
        block[10 * count :],
    )


def _packet_columns(block: memoryview[int], room: int, count: int, octets: memoryview[int]) -> ExtractedPackets:
    """Return the first `count` rows of columns that have room for `room`."""
    return ExtractedPackets(
        octets,
        block[: 8 * count].cast("Q"),
        block[8 * room : 8 * room + 4 * count].cast("I"),
        block[12 * room : 12 * room + 4 * count].cast("I"),
        block[16 * room : 16 * room + 2 * count].cast("H"),
        block[18 * room : 18 * room + 2 * count].cast("H"),
        block[20 * room : 20 * room + count],
        block[21 * room : 21 * room + count],
    )
