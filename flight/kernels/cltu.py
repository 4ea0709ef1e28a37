"""Telecommand coding: a CLTU around frames, the search for its start, runs of BCH(63,56) codeblocks."""

# The kernels keep nothing between calls: which unit is open, and the octets that are not yet a codeblock, are the
# business of flight/link/coding/cltu.py. So a search or a run begins at any octet of any buffer.

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from flight.kernels._kernels import ffi, lib
from flight.kernels.binding import OCTETS, KernelError, ReadBuffer, from_buffer

_encode_cltu = lib.ob_encode_cltu
_find_start = lib.ob_find_start
_decode_codeblocks = lib.ob_decode_codeblocks
_RESULT = ffi.typeof("ob_codeblocks *")
_STOP_CODEBLOCK = lib.OB_STOP_CODEBLOCK

INFORMATION_OCTETS = 7
CODEBLOCK_OCTETS = 8
_FRAME_OCTETS = 10  # start and tail sequence


class ErrorMode(IntEnum):
    """What a receiver does about errors (CCSDS 231.0-B-4, 3). A codeblock has 63 bits, and one that fills the octet.

    SEC: single error correction. One wrong bit of 63 is corrected, two are noticed; one of the start sequence's 16
    bits may be wrong. Of random codeblocks 25.4 % are taken: 0.8 % as good, 24.6 % as if corrected.
    TED: triple error detection. One, two or three wrong bits of 63 are noticed; the start sequence must be exact. Of
    random codeblocks 0.8 % are taken.
    """

    SEC = lib.OB_BCH_SEC
    TED = lib.OB_BCH_TED


class Codeblocks(NamedTuple):
    """A run of codeblocks that a receiver took.

    information: 7 octets of each.
    good: how many had no error.
    corrected: in how many one bit was corrected.
    ended: whether a codeblock follows that was not taken. It ends the unit, be it a tail sequence or damaged.
    """

    information: bytes
    good: int
    corrected: int
    ended: bool

    @property
    def octets(self) -> int:
        """How many octets of the input the run took."""
        return CODEBLOCK_OCTETS * (self.good + self.corrected)


def make_cltu(data: ReadBuffer) -> bytes:
    """Return the CLTU of the octets of one frame or more (CCSDS 231.0-B-4, 5), filled to whole codeblocks with 0x55.

    Raises KernelError if there is no data.
    """
    source = data if type(data) is bytes else from_buffer(OCTETS, data)
    octets = len(source)
    out = bytearray(_FRAME_OCTETS + CODEBLOCK_OCTETS * -(-octets // INFORMATION_OCTETS))
    written = _encode_cltu(source, octets, from_buffer(OCTETS, out), len(out))
    if written < 0:
        raise KernelError("make_cltu", written)
    return bytes(out)


def find_start(data: ReadBuffer, mode: ErrorMode) -> int:
    """Return how many octets lie before the first start sequence EB90, or before a last octet that may be half of one.

    With neither, all of them. So a start sequence was found exactly if at least two octets lie behind the place.
    """
    source = data if type(data) is bytes else from_buffer(OCTETS, data)
    at = _find_start(source, len(source), mode)
    if at < 0:
        raise KernelError("find_start", at)
    return at


def decode_codeblocks(data: ReadBuffer, mode: ErrorMode) -> Codeblocks:
    """Take the codeblocks of 8 octets, one after the other, up to the first with more errors than `mode` takes.

    Any octets will do. What is shorter than a codeblock at the end is left (CCSDS 231.0-B-4, 3). The filler bit is not
    one of the 63 bits: if it alone is wrong a codeblock is good, and if it is wrong beside another bit nothing is
    corrected. That way a damaged tail sequence, whose last bit is 1, is seldom taken for a codeblock.
    """
    source = data if type(data) is bytes else from_buffer(OCTETS, data)
    octets = len(source)
    out = bytearray(octets // CODEBLOCK_OCTETS * INFORMATION_OCTETS)
    result = ffi.new(_RESULT)
    taken = _decode_codeblocks(source, octets, mode, from_buffer(OCTETS, out), len(out), result)
    if taken < 0:
        raise KernelError("decode_codeblocks", taken)
    return Codeblocks(
        bytes(out[: taken * INFORMATION_OCTETS]), result.good, result.corrected, result.stop == _STOP_CODEBLOCK
    )
