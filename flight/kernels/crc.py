"""CRC-16 of frames and packets."""

from __future__ import annotations

from flight.kernels._kernels import lib
from flight.kernels.binding import OCTETS, KernelError, ReadBuffer, from_buffer

_crc16 = lib.ob_crc16


def crc16(data: ReadBuffer, init: int = 0xFFFF) -> int:
    """CRC-16 of the frame error control field and of packet error control (CCSDS 132.0-B-3, 4.1.6), 0..65535.

    Polynomial 0x1021, not reflected, no final xor. `init` continues from an earlier value; one outside 0..65535
    raises KernelError. Data followed by its own CRC gives 0.
    """
    source = data if type(data) is bytes else from_buffer(OCTETS, data)
    value = _crc16(source, len(source), init)
    if value < 0:
        raise KernelError("crc16", value)
    return value
