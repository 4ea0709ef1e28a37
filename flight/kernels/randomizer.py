"""The pseudo-randomizers of the space link: XOR with a fixed sequence, each its own inverse."""

from __future__ import annotations

from enum import IntEnum

from flight.kernels._kernels import lib
from flight.kernels.binding import OCTETS, KernelError, ReadBuffer, WriteBuffer, from_buffer

_randomize_tm = lib.ob_randomize_tm
_randomize_tm_long = lib.ob_randomize_tm_long
_randomize_tc = lib.ob_randomize_tc
_randomize_units = lib.ob_randomize_units


class Randomizer(IntEnum):
    """Which sequence: of telemetry, 255 or 131,071 bit (CCSDS 131.0-B-5, 10.4), or of telecommands (231.0-B-4, 6.2)."""

    TM = lib.OB_SEQUENCE_TM
    TM_LONG = lib.OB_SEQUENCE_TM_LONG
    TC = lib.OB_SEQUENCE_TC


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


def randomize_tc(data: ReadBuffer) -> bytes:
    """`data` XOR the sequence of x^8 + x^6 + x^4 + x^3 + x^2 + x + 1 from its start (CCSDS 231.0-B-4, 6.2); its own
    inverse."""
    source = data if type(data) is bytes else from_buffer(OCTETS, data)
    octets = len(source)
    out = bytearray(octets)
    written = _randomize_tc(source, octets, from_buffer(OCTETS, out), octets)
    if written < 0:
        raise KernelError("randomize_tc", written)
    return bytes(out)


def randomize_units(
    units: WriteBuffer, count: int, unit_octets: int, randomizer: Randomizer, stride: int | None = None
) -> None:
    """XOR, in place, each of `count` units of `unit_octets` with the sequence from its start; its own inverse.

    A unit starts every `stride` octets, which is their size if not given; what lies between them stays. Units that do
    not lie in the buffer, or one over the other, raise KernelError.
    """
    target = from_buffer(OCTETS, units, True)
    distance = unit_octets if stride is None else stride
    done = _randomize_units(randomizer, target, len(target), count, distance, unit_octets)
    if done < 0:
        raise KernelError("randomize_units", done)
