"""Space packets laid one after the other, as columns of their primary headers and back."""

# A stream has no index: to know how many packets it has is to walk it, and the columns must be allocated before. Short
# streams are walked twice, which their place in the cache makes cheap. For long ones the beginning is counted and the
# number estimated, with a sixteenth to spare; only if that was too little is the whole stream counted, and split again.
# Room that is not written takes no memory, so a guess that is too high costs nothing.

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from flight.kernels._kernels import ffi, lib
from flight.kernels.binding import (
    HALVES,
    NULL,
    OCTETS,
    WORDS,
    Column,
    KernelError,
    ReadBuffer,
    column_of,
    from_buffer,
    new_octets,
)

if TYPE_CHECKING:
    from flight.kernels._kernels import _Pointer

_count_packets = lib.ob_count_packets
_split_packets = lib.ob_split_packets
_encode_packets = lib.ob_encode_packets
_HEADER_OCTETS = 6
_COLUMN_OCTETS = lib.OB_PACKET_COLUMN_OCTETS


class Stop(IntEnum):
    """Why `split_packets` ended: the stream did, inside a packet, or at a version number that is not 0."""

    END = lib.OB_STOP_END
    TRUNCATED = lib.OB_STOP_TRUNCATED
    VERSION = lib.OB_STOP_VERSION


PacketData = ReadBuffer | Sequence[ReadBuffer]

# Three instances exist; looking one up is cheaper than the enumeration's call.
_STOPS = (Stop.END, Stop.TRUNCATED, Stop.VERSION)


@dataclass(frozen=True, slots=True)
class PacketColumns:
    """The primary headers of n space packets (CCSDS 133.0-B-2, 4.1.3), one column per field, each of n numbers.

    The columns are views of one buffer: indexing, slicing and `numpy.asarray` copy nothing.

    offset: the octet of the stream at which the packet starts, uint64.
    length: the whole packet, primary header included, octets, 7..65542, uint32.
    apid: 0..2047, uint16.
    seq: sequence count 0..16383, uint16.
    flags: bit 3 telecommand, bit 2 secondary header present, bits 1-0 sequence flags (3 is unsegmented), uint8.
    consumed: octets of whole packets, which is the place at which the next packet starts.
    stop: what ended the walk.
    """

    offset: memoryview[int]
    length: memoryview[int]
    apid: memoryview[int]
    seq: memoryview[int]
    flags: memoryview[int]
    consumed: int
    stop: Stop

    def __len__(self) -> int:
        return len(self.flags)


def split_packets(data: ReadBuffer, *, lead_octets: int = 0, any_version: bool = False) -> PacketColumns:
    """Split a stream of space packets, laid one after the other, into columns of their primary headers.

    Any octets will do: the walk ends before the first packet that is not whole (`Stop.TRUNCATED`) or whose version
    number is not 0 (`Stop.VERSION`), and `consumed` says at which octet. The columns take 17 octets per packet.

    lead_octets: in front of every packet, passed over; `consumed` is then the place at which the next of these begin.
        Raises ValueError if it is negative.
    any_version: take packets of any version number, so that no walk ends with `Stop.VERSION`.
    """
    source = data if type(data) is bytes else from_buffer(OCTETS, data)
    octets = len(source)
    if lead_octets or any_version:
        return _split_led(source, octets, lead_octets, any_version)
    result = ffi.new("ob_split *")
    room = _count_packets(source, octets) if octets <= _SAMPLE_OCTETS else _estimate(source, octets)
    while True:
        block_octets = room * _COLUMN_OCTETS
        block = new_octets(OCTETS, block_octets)
        count = _split_packets(source, octets, block, block_octets, room, result)
        if count < 0:
            raise KernelError("split_packets", count)
        # Rows to spare, or octets that are not a packet, or the end of the stream: nothing was left out for want of
        # room.
        if count < room or result.stop != Stop.END or result.consumed == octets:
            break
        room = _count_packets(source, octets)  # shorter packets than at the beginning, so there are more of them
    return _columns(memoryview(ffi.buffer(block)), room, count, result)


def _split_led(source: bytes | _Pointer, octets: int, lead_octets: int, any_version: bool) -> PacketColumns:
    if lead_octets < 0:
        raise ValueError(f"split_packets: lead_octets is {lead_octets}, should be at least 0")
    result = ffi.new("ob_split *")
    room = octets // (lead_octets + _HEADER_OCTETS + 1) + 1  # no packet is shorter than a header and an octet
    block_octets = room * _COLUMN_OCTETS
    block = new_octets(OCTETS, block_octets)
    count = lib.ob_split_led_packets(
        source, octets, lead_octets, any_version, block, block_octets, room, result
    )  # fmt: skip
    if count < 0:
        raise KernelError("split_packets", count)
    return _columns(memoryview(ffi.buffer(block)), room, count, result)


def _columns(block: memoryview[int], room: int, count: int, result: _Pointer) -> PacketColumns:
    return PacketColumns(
        block[: 8 * count].cast("Q"),
        block[8 * room : 8 * room + 4 * count].cast("I"),
        block[12 * room : 12 * room + 2 * count].cast("H"),
        block[14 * room : 14 * room + 2 * count].cast("H"),
        block[16 * room : 16 * room + count],
        result.consumed,
        _STOPS[result.stop],
    )


def _estimate(source: bytes | _Pointer, octets: int) -> int:
    """Return how many packets a long stream should have at most, by its beginning.

    To walk all of it once more, only to count, would take as long again: it does not fit the processor's caches.
    """
    samples = octets // _SAMPLE_OCTETS + 1
    return (_count_packets(source, _SAMPLE_OCTETS) + 1) * (samples + samples // 16)


# The longest packet is not much longer, so that the beginning of a long stream has a packet to go by.
_SAMPLE_OCTETS = 65_536
# All sequence counts twice: from any of them on, a full turn lies here without a gap.
_COUNTS = 2 * array("H", range(0x4000))


def encode_packets(
    data: PacketData,
    apid: int | Column,
    seq: int | Column = 0,
    *,
    flags: int | Column = 0b0011,
    lengths: int | Column | None = None,
) -> bytearray:
    """Make a stream of space packets, one after the other, in one call (CCSDS 133.0-B-2, 4.1.3).

    data: what follows the primary headers, 1..65536 octets per packet, in one of three shapes. A list or tuple has the
        data of one packet in each of its items. An array of octets of two dimensions has them in each of its rows.
        Any other buffer has them one after the other without gaps, and `lengths` says how many octets each has: one
        number for all of them, or a column.
    apid: 0..2047, of all packets or a column.
    seq: 0..16383, the count of the first packet, from which it goes on modulo 16384, or a column.
    flags: as in `PacketColumns`, of all packets or a column; unsegmented telemetry without secondary header if not
        given.

    A column is any iterable of whole numbers; arrays of uint32 (lengths), uint16 (apid, seq) and uint8 (flags), such
    as the columns of `split_packets`, are read in place. Raises ValueError (KernelError is one) if a value does not fit
    its field, the lengths do not add up to the data, or a column is not as long as there are packets.
    """
    count, length, column = _shape(data, lengths)
    if isinstance(data, list | tuple):
        data = b"".join(data)
    source = data if type(data) is bytes else from_buffer(OCTETS, data)  # type: ignore[arg-type]
    octets = len(source)
    stream = octets + count * _HEADER_OCTETS
    out = bytearray(stream)
    written = _encode_packets(
        source,
        octets,
        NULL if column is None else from_buffer(WORDS, column),
        length,
        from_buffer(HALVES, _each("apid", apid, "H", count)),
        from_buffer(HALVES, _counts(seq, count)),
        from_buffer(OCTETS, _each("flags", flags, "B", count)),
        count,
        from_buffer(OCTETS, out),
        stream,
    )
    if written < 0:
        raise KernelError("encode_packets", written)
    return out


def _shape(data: PacketData, lengths: int | Column | None) -> tuple[int, int, memoryview[int] | None]:
    """Return how many packets there are, and how many octets of data each has: one number for all, or a column."""
    if isinstance(data, list | tuple):
        if lengths is not None:
            raise ValueError("encode_packets: lengths are given beside a list of data, in which each item has its own")
        return len(data), 0, column_of("lengths", map(len, data), "I")
    view = memoryview(data)  # type: ignore[arg-type]  # a sequence of any other kind has no buffer: TypeError
    if view.itemsize != 1:
        raise ValueError(f"encode_packets: data has format {view.format}, should be octets (B)")
    if view.ndim > 1 and lengths is None:
        return len(view), view.nbytes // max(len(view), 1), None
    if lengths is None:
        raise ValueError("encode_packets: data of one dimension needs lengths")
    if isinstance(lengths, int):
        return view.nbytes // lengths if lengths > 0 else 0, lengths, None
    column = column_of("lengths", lengths, "I")
    return len(column), 0, column


def _each(name: str, values: int | Column, code: str, count: int) -> memoryview[int]:
    """Return a column of `count` numbers, all the same if `values` is one number."""
    if isinstance(values, int):
        return memoryview(array(code, column_of(name, (values,), code)) * count)
    column = column_of(name, values, code)
    if len(column) != count:
        raise ValueError(f"encode_packets: {name} has length {len(column)}, should be one per packet, {count}")
    return column


def _counts(seq: int | Column, count: int) -> memoryview[int]:
    """Return a column of `count` sequence counts, going on from `seq` if that is one number."""
    if not isinstance(seq, int):
        return _each("seq", seq, "H", count)
    if not 0 <= seq < 0x4000:
        raise ValueError(f"encode_packets: sequence count {seq} is outside 0..16383")
    if count <= 0x4000:
        return memoryview(_COUNTS)[seq : seq + count]  # a view: nothing is made for most calls
    turn = _COUNTS[seq : seq + 0x4000]
    return memoryview(turn * (count // 0x4000 + 1))[:count]
