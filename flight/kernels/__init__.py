"""C kernels behind cffi and their thin Python wrappers: one call a frame or a whole stream, never an octet.

A `bytes` argument is passed as it is; any other buffer goes through `ffi.from_buffer`, also without a copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from flight.kernels._kernels import ffi, lib

ReadBuffer = bytes | bytearray | memoryview

# Looked up once: finding a function or parsing a C type costs as much as the call itself.
_OCTETS = ffi.typeof("uint8_t[]")
_from_buffer = ffi.from_buffer
_crc16 = lib.ob_crc16
_randomize_tm = lib.ob_randomize_tm
_randomize_tm_long = lib.ob_randomize_tm_long
_count_packets = lib.ob_count_packets
_split_packets = lib.ob_split_packets
_COLUMN_OCTETS = lib.OB_COLUMN_OCTETS

_ERRORS = {
    lib.OB_E_INIT: "start value outside 0..65535",
    lib.OB_E_SPACE: "output buffer too small",
    lib.OB_E_ALIGNMENT: "output buffer not aligned to 8 octets",
}


class KernelError(ValueError):
    """A kernel refused its arguments; `code` is what the C function returned."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name}: {_ERRORS.get(code, code)}")
        self.code = code


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


def crc16(data: ReadBuffer, init: int = 0xFFFF) -> int:
    """CRC-16 of the frame error control field and of packet error control (CCSDS 132.0-B-3, 4.1.6), 0..65535.

    Polynomial 0x1021, not reflected, no final xor. `init` continues from an earlier value; one outside 0..65535
    raises KernelError. Data followed by its own CRC gives 0.
    """
    source = data if type(data) is bytes else _from_buffer(_OCTETS, data)
    value = _crc16(source, len(source), init)
    if value < 0:
        raise KernelError("crc16", value)
    return value


def randomize_tm(data: ReadBuffer) -> bytes:
    """`data` XOR the sequence of x^8 + x^7 + x^5 + x^3 + 1 from its start (CCSDS 131.0-B-5, 10.4); its own inverse."""
    source = data if type(data) is bytes else _from_buffer(_OCTETS, data)
    octets = len(source)
    out = bytearray(octets)
    written = _randomize_tm(source, octets, _from_buffer(_OCTETS, out), octets)
    if written < 0:
        raise KernelError("randomize_tm", written)
    return bytes(out)


def randomize_tm_long(data: ReadBuffer) -> bytes:
    """`data` XOR the sequence of x^17 + x^14 + 1 from its start (CCSDS 131.0-B-5, 10.4); its own inverse."""
    source = data if type(data) is bytes else _from_buffer(_OCTETS, data)
    octets = len(source)
    out = bytearray(octets)
    written = _randomize_tm_long(source, octets, _from_buffer(_OCTETS, out), octets)
    if written < 0:
        raise KernelError("randomize_tm_long", written)
    return bytes(out)


def split_packets(data: ReadBuffer) -> PacketColumns:
    """Split a stream of space packets, laid one after the other, into columns of their primary headers.

    Any octets are taken: the walk ends before the first packet that is not whole (`Stop.TRUNCATED`) or whose
    version number is not 0 (`Stop.VERSION`), and `consumed` says where. The columns take 17 octets a packet.
    """
    source = data if type(data) is bytes else _from_buffer(_OCTETS, data)
    octets = len(source)
    count = _count_packets(source, octets)
    block = bytearray(count * _COLUMN_OCTETS)
    result = ffi.new("ob_split *")
    written = _split_packets(source, octets, _from_buffer(_OCTETS, block), len(block), count, result)
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
