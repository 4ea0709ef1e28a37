"""The pseudo-randomizers of the space link: XOR with a fixed sequence, each its own inverse."""

from __future__ import annotations

from flight.kernels._kernels import lib
from flight.kernels.binding import OCTETS, KernelError, ReadBuffer, from_buffer

_randomize_tm = lib.ob_randomize_tm
_randomize_tm_long = lib.ob_randomize_tm_long


def randomize_tm(data: ReadBuffer) -> bytes:
    """`data` XOR the sequence of x^8 + x^7 + x^5 + x^3 + 1 from its start (CCSDS 131.0-B-5, 10.4); its own inverse."""
    source = data if type(data) is bytes else from_buffer(OCTETS, data)
    octets = len(source)
    out = bytearray(octets)
    written = _randomize_tm(source, octets, from_buffer(OCTETS, out), octets)
    if written < 0:
        raise KernelError("randomize_tm", written)
    return bytes(out)


def randomize_tm_long(data: ReadBuffer) -> bytes:
    """`data` XOR the sequence of x^17 + x^14 + 1 from its start (CCSDS 131.0-B-5, 10.4); its own inverse."""
    source = data if type(data) is bytes else from_buffer(OCTETS, data)
    octets = len(source)
    out = bytearray(octets)
    written = _randomize_tm_long(source, octets, from_buffer(OCTETS, out), octets)
    if written < 0:
        raise KernelError("randomize_tm_long", written)
    return bytes(out)
