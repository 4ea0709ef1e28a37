"""Octets of varying length out of many places, one behind the other."""

from __future__ import annotations

from flight.kernels._kernels import lib
from flight.kernels.binding import OCTETS, OFFSETS, Column, KernelError, ReadBuffer, column_of, from_buffer

_gather_octets = lib.ob_gather_octets


def gather_octets(data: ReadBuffer, bits: Column, lengths: Column, octets: int) -> bytearray:
    """Return, for all rows one behind the other, `lengths[i]` octets from bit `bits[i]` of `data` on.

    bits, lengths: uint64; a column of the kernel's own type is read in place. octets: of all rows together.
    Raises ValueError if a row goes on behind the end of `data`, or the rows are not `octets` in all.
    """
    source = data if type(data) is bytes else from_buffer(OCTETS, data)
    first, length = column_of("bits", bits, "Q"), column_of("lengths", lengths, "Q")
    if len(first) != len(length):
        raise ValueError(f"gather_octets: bits and lengths differ in length: {len(first)} and {len(length)}")
    gathered = bytearray(octets)
    written = _gather_octets(
        source,
        len(source),
        from_buffer(OFFSETS, first),
        from_buffer(OFFSETS, length),
        len(first),
        from_buffer(OCTETS, gathered),
        octets,
    )
    if written < 0:
        raise KernelError("gather_octets", written)
    if written != octets:
        raise ValueError(f"gather_octets: the rows have {written} octets in all, not {octets}")
    return gathered
