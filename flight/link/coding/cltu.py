"""Communications link transmission units: BCH(63,56) codeblocks around telecommand frames (CCSDS 231.0-B-4).

Receiver (231.0-B-4, 3 and 5):

    SEARCH --start sequence EB90--> DECODE
    DECODE --codeblock that the error mode takes--> DECODE (its 7 octets are kept)
    DECODE --codeblock that it does not take (the tail is one)--> SEARCH, what was kept is delivered
    DECODE --more codeblocks than a CLTU may have--> SEARCH, nothing is delivered

Error modes: SEC corrects one wrong bit of a codeblock and lets one of the start sequence pass, TED neither. A codeblock
that passes need not be right: if the link is all noise, SEC takes a quarter of the codeblocks and TED one in 128. So
frames must have their error control, with SEC above all.

The modem aligns octets. The randomizer covers the frames, not the fill after them: what a receiver gives back as fill
is then no longer 0x55.
"""

# The tail sequence is a codeblock that neither mode takes, and it is the only end that a CLTU has. So the end of a unit
# and a damaged codeblock look alike, and what was kept up to there is delivered either way: the frame's own length and
# error control tell whether it is whole. That also means that a lost tail does not cost the unit.
#
# After the end, the search goes on inside the codeblock that ended the unit, not behind it. If a tail was lost, that
# codeblock may hold the next start sequence, and the next unit is not lost with it. If it is the tail, it is stepped
# over whole.
#
# A unit has at most CODEBLOCKS_MAX codeblocks, so that noise which happens to pass cannot grow without bound. One more
# is looked at before a unit is given up as too long, because it may be the tail of a unit of just that length.
#
# The machine itself is a kernel (flight/kernels/uplink.c), so that a stretch of many units costs one call, and what
# comes from whoever fills the receiver with junk costs little.
#
# A piece shorter than a codeblock is kept for the next call. So any split of the octets gives the same units. Nothing
# is kept over a lost carrier: what follows is not the rest of what was begun.

from __future__ import annotations

from flight.core.errors import DecodeError
from flight.kernels import (
    CltuMachine,
    CltuUnits,
    ErrorMode,
    decode_codeblocks,
    find_start,
    make_cltu,
    randomize_tc,
)
from flight.link.tc.tc_frame import FRAME_OCTETS_MAX

START = bytes.fromhex("eb90")
TAIL = bytes.fromhex("c5c5c5c5c5c5c579")
INFORMATION_OCTETS = 7
CODEBLOCK_OCTETS = 8
# One frame of 1,024 octets takes 147 codeblocks; a CLTU may carry a few short frames.
CODEBLOCKS_MAX = -(-FRAME_OCTETS_MAX // INFORMATION_OCTETS)
# By the names that a mission file has for them.
ERROR_MODES = {"correct": ErrorMode.SEC, "detect": ErrorMode.TED}


def encode_cltu(frames: bytes, *, randomized: bool = False) -> bytes:
    """Return the CLTU for 1 telecommand frame or several one after the other, 1..1024 octets; the fill is 0x55."""
    assert 1 <= len(frames) <= FRAME_OCTETS_MAX, len(frames)
    return make_cltu(randomize_tc(frames) if randomized else frames)


def decode_cltu(cltu: bytes, mode: ErrorMode = ErrorMode.SEC, *, randomized: bool = False) -> bytes:
    """Return the frames with their fill, from exactly one CLTU; raises DecodeError if it is not whole."""
    if len(cltu) < len(START) + CODEBLOCK_OCTETS + len(TAIL):
        raise DecodeError(f"CLTU of {len(cltu)} octets, shortest is {len(START) + CODEBLOCK_OCTETS + len(TAIL)}")
    if find_start(cltu[: len(START)], mode) > 0:
        raise DecodeError(f"CLTU starts with {cltu[:2].hex()}, not {START.hex()}")
    body = cltu[len(START) :]
    codeblocks = len(body) // CODEBLOCK_OCTETS - 1  # without the tail, which is as long as one
    if len(body) % CODEBLOCK_OCTETS:
        raise DecodeError(f"CLTU of {len(cltu)} octets does not hold whole codeblocks")
    if codeblocks > CODEBLOCKS_MAX:
        raise DecodeError(f"CLTU of {codeblocks} codeblocks, longest is {CODEBLOCKS_MAX}")
    run = decode_codeblocks(body, mode)
    if not run.ended:
        raise DecodeError("CLTU without tail sequence")
    if run.good + run.corrected < codeblocks:
        errors = "more than one error" if mode is ErrorMode.SEC else "errors"
        raise DecodeError(f"CLTU: codeblock {run.good + run.corrected} has {errors}")
    return randomize_tc(run.information) if randomized else run.information


class CltuReceiver:
    """Octets in any split in, the frames' octets (with fill) out. Holds at most one CLTU."""

    def __init__(self, mode: ErrorMode = ErrorMode.SEC, randomized: bool = False) -> None:
        self._machine = CltuMachine(mode, randomized)

    def reset(self) -> None:
        """Forget a unit that has begun: the carrier is lost."""
        self._machine.reset()

    def take(self, octets: bytes) -> CltuUnits:
        """Return the units that `octets` completed, one behind the other: octets of frames and their fill."""
        return self._machine.take(octets)

    def feed(self, octets: bytes) -> list[bytes]:
        """Return the same units, each by itself."""
        return self._machine.take(octets).apart()

    @property
    def open(self) -> bool:
        """Whether a unit has begun and not ended."""
        return bool(self._machine.state.open)

    @property
    def units(self) -> int:
        """Units delivered."""
        return self._machine.state.units

    @property
    def broken(self) -> int:
        """Units among them that another codeblock than the tail sequence ended."""
        return self._machine.state.broken

    @property
    def aborted(self) -> int:
        """Units that were empty or too long."""
        return self._machine.state.aborted

    @property
    def codeblocks(self) -> int:
        """Codeblocks taken."""
        return self._machine.state.codeblocks

    @property
    def corrected(self) -> int:
        """Wrong bits mended in these."""
        return self._machine.state.corrected

    @corrected.setter
    def corrected(self, bits: int) -> None:
        """Count from another number on."""
        self._machine.state.corrected = bits

    @property
    def skipped(self) -> int:
        """Octets that belonged to no unit."""
        return self._machine.state.skipped
