"""Octets of varying length out of many places, one behind the other."""

from __future__ import annotations

from flight.kernels._kernels import lib
from flight.kernels.binding import OCTETS, OFFSETS, Column, KernelError, ReadBuffer, column_of, from_buffer

_gather_octets = lib.ob_gather_octets


def gather_octets(data: ReadBuffer, bits: Column, lengths: Column, octets: int) -> bytearray:
    """`lengths[i]` octets from bit `bits[i]` of `data` on, of all rows one behind the other.

    bits, lengths: uint64; a column of the kernel's own type is read where it is. octets: of all rows together.
    Raises ValueError if a row goes on behind the end of `data`, or the rows are not `octets` in all.
    """
    source = data if type(data) is bytes else from_buffer(OCTETS, data)
    first, length = column_of("bits", bits, "Q"), column_of("lengths", lengths, "Q")
    if len(first) != len(length):
        raise ValueError(f"gather_octets: {len(first)} bits, {len(length)} lengths")
    made = bytearray(octets)
    written = _gather_octets(
        source,
        len(source),
        from_buffer(OFFSETS, first),
        from_buffer(OFFSETS, length),
        len(first),
        from_buffer(OCTETS, made),
        octets,
    )
    if written < 0:
        raise KernelError("gather_octets", written)
    if written != octets:
        raise ValueError(f"gather_octets: rows of {written} octets in all, not {octets}")
    return made
