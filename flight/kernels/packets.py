"""Space packets laid one after the other, as columns of their primary headers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from flight.kernels._kernels import ffi, lib
from flight.kernels.binding import OCTETS, KernelError, ReadBuffer, from_buffer

_count_packets = lib.ob_count_packets
_split_packets = lib.ob_split_packets
_COLUMN_OCTETS = lib.OB_COLUMN_OCTETS


class Stop(IntEnum):
    """Why `split_packets` ended."""

    END = lib.OB_STOP_END
    TRUNCATED = lib.OB_STOP_TRUNCATED
    VERSION = lib.OB_STOP_VERSION


# Three instances exist; looking one up is cheaper than the enumeration's call.
_STOPS = (Stop.END, Stop.TRUNCATED, Stop.VERSION)


@dataclass(frozen=True, slots=True)
class PacketColumns:
    """The primary headers of n space packets (CCSDS 133.0-B-2, 4.1.3), one column a field, each of n numbers.

    The columns are views of one buffer: indexing, slicing and `numpy.asarray` copy nothing.

    offset: where the packet starts in the stream, octets, uint64.
    length: the whole packet, primary header included, octets, 7..65542, uint32.
    apid: 0..2047, uint16.
    seq: sequence count 0..16383, uint16.
    flags: bit 3 telecommand, bit 2 secondary header present, bits 1-0 sequence flags (3 is unsegmented), uint8.
    consumed: octets of whole packets; where the next packet starts.
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


def split_packets(data: ReadBuffer) -> PacketColumns:
    """Split a stream of space packets, laid one after the other, into columns of their primary headers.

    Any octets are taken: the walk ends before the first packet that is not whole (`Stop.TRUNCATED`) or whose
    version number is not 0 (`Stop.VERSION`), and `consumed` says where. The columns take 17 octets a packet.
    """
    source = data if type(data) is bytes else from_buffer(OCTETS, data)
    octets = len(source)
    count = _count_packets(source, octets)
    block = bytearray(count * _COLUMN_OCTETS)
    result = ffi.new("ob_split *")
    written = _split_packets(source, octets, from_buffer(OCTETS, block), len(block), count, result)
    if written < 0:
        raise KernelError("split_packets", written)
    columns = memoryview(block)
    return PacketColumns(
        columns[: 8 * count].cast("Q"),
        columns[8 * count : 12 * count].cast("I"),
        columns[12 * count : 14 * count].cast("H"),
        columns[14 * count : 16 * count].cast("H"),
        columns[16 * count :],
        result.consumed,
        _STOPS[result.stop],
    )
