"""CRC-16 of frames and packets, and the checksums of files."""

# Why data followed by its own CRC gives 0: the CRC is what the division of the data, moved up by 16 bits, leaves, and
# it is put into just these 16 bits. So whoever checks a frame need not cut it before its last two octets. `init` is
# what is left so far: by it a CRC goes on over pieces of a message.

from __future__ import annotations

from flight.kernels._kernels import lib
from flight.kernels.binding import OCTETS, KernelError, ReadBuffer, from_buffer

_crc16 = lib.ob_crc16
_crc16_units = lib.ob_crc16_units
_crc32c = lib.ob_crc32c
_modular_checksum = lib.ob_modular_checksum
_OVER_32_BITS = "the checksum so far is outside 0..4294967295"


def crc16(data: ReadBuffer, init: int = 0xFFFF) -> int:
    """Return the CRC-16 of frame error control and of packet error control (CCSDS 132.0-B-3, 4.1.6), 0..65535.

    Polynomial 0x1021, not reflected, no final xor. `init` continues from an earlier value; one outside 0..65535
    raises KernelError. Data followed by its own CRC gives 0.
    """
    source = data if type(data) is bytes else from_buffer(OCTETS, data)
    value = _crc16(source, len(source), init)
    if value < 0:
        raise KernelError("crc16", value)
    return value


def crc16_units(units: ReadBuffer, count: int, unit_octets: int, stride: int | None = None) -> memoryview[int]:
    """Return `crc16` of each of `count` units of `unit_octets`, one every `stride` octets (their size if not given).

    The result has `count` numbers of uint16; indexing and `numpy.asarray` copy nothing. Raises KernelError if the units
    do not lie in the buffer, or overlap.
    """
    source = units if type(units) is bytes else from_buffer(OCTETS, units)
    # More units than octets are refused by the kernel, and must not be allocated before.
    block = bytearray(2 * count if 0 <= count <= len(source) else 0)
    distance = unit_octets if stride is None else stride
    done = _crc16_units(source, len(source), count, distance, unit_octets, from_buffer(OCTETS, block), len(block))
    if done < 0:
        raise KernelError("crc16_units", done)
    return memoryview(block).cast("H")


def crc32c(data: ReadBuffer, before: int = 0) -> int:
    """Return the CRC-32C (Castagnoli) of a file that goes on with `data`, 0..2^32-1.

    `before` is that of all octets before `data`; one outside 0..2^32-1 raises KernelError.
    """
    source = data if type(data) is bytes else from_buffer(OCTETS, data)
    value = _crc32c(source, len(source), before)
    if value < 0:
        raise KernelError("crc32c", value, _OVER_32_BITS)
    return value


def modular_checksum(data: ReadBuffer, before: int = 0, offset: int = 0) -> int:
    """Return the sum of the big-endian 32-bit words of a file, modulo 2^32 (CCSDS 727.0-B-5, 4.2.2).

    `before` is that of the `offset` octets before `data`; one outside 0..2^32-1 raises KernelError.
    """
    source = data if type(data) is bytes else from_buffer(OCTETS, data)
    value = _modular_checksum(source, len(source), before, offset)
    if value < 0:
        raise KernelError("modular_checksum", value, _OVER_32_BITS)
    return value
