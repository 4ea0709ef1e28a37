"""The pseudo-randomizers of the space link: XOR with a fixed sequence, each its own inverse."""

# Frames are randomized so that a receiver keeps its bit clock even if the data never change, and so that data which
# happen to repeat do not look like a marker or like wrong node synchronization. It hides nothing: the sequences are
# public.

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING

from flight.kernels._kernels import lib
from flight.kernels.binding import OCTETS, KernelError, ReadBuffer, WriteBuffer, from_buffer

if TYPE_CHECKING:
    from flight.kernels._kernels import _Pointer

_randomize_tm = lib.ob_randomize_tm
_randomize_tm_long = lib.ob_randomize_tm_long
_randomize_tc = lib.ob_randomize_tc
_randomize_units = lib.ob_randomize_units


class Randomizer(IntEnum):
    """Which sequence: of telemetry, 255 or 131071 bits (CCSDS 131.0-B-5, 10.4), or of telecommands (231.0-B-4, 6.2)."""

    TM = lib.OB_SEQUENCE_TM
    TM_LONG = lib.OB_SEQUENCE_TM_LONG
    TC = lib.OB_SEQUENCE_TC


def randomize_tm(data: ReadBuffer) -> bytes:
    """XOR `data` with the sequence of x^8 + x^7 + x^5 + x^3 + 1 from its start (CCSDS 131.0-B-5, 10.4)."""
    return _randomized(_randomize_tm, data)


def randomize_tm_long(data: ReadBuffer) -> bytes:
    """XOR `data` with the sequence of x^17 + x^14 + 1 from its start (CCSDS 131.0-B-5, 10.4)."""
    return _randomized(_randomize_tm_long, data)


def randomize_tc(data: ReadBuffer) -> bytes:
    """XOR `data` with the sequence of x^8 + x^6 + x^4 + x^3 + x^2 + x + 1 from its start (CCSDS 231.0-B-4, 6.2)."""
    return _randomized(_randomize_tc, data)


def _randomized(kernel: Callable[[bytes | _Pointer, int, _Pointer, int], int], data: ReadBuffer) -> bytes:
    source = data if type(data) is bytes else from_buffer(OCTETS, data)
    octets = len(source)
    out = bytearray(octets)
    written = kernel(source, octets, from_buffer(OCTETS, out), octets)
    assert written == octets, written  # there is room for all of it
    return bytes(out)


def randomize_units(
    units: WriteBuffer, count: int, unit_octets: int, randomizer: Randomizer, stride: int | None = None
) -> None:
    """XOR, in place, each of `count` units of `unit_octets` with the sequence from its start.

    A unit starts every `stride` octets (their size if not given), and what lies between them stays. Raises KernelError
    if the units do not lie in the buffer, or overlap.
    """
    target = from_buffer(OCTETS, units, True)
    distance = unit_octets if stride is None else stride
    done = _randomize_units(randomizer, target, len(target), count, distance, unit_octets)
    if done < 0:
        raise KernelError("randomize_units", done)
