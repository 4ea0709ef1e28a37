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
# A piece shorter than a codeblock is kept for the next call. So any split of the octets gives the same units. Nothing
# is kept over a lost carrier: what follows is not the rest of what was begun.

from __future__ import annotations

from dataclasses import dataclass, field

from flight.core.errors import DecodeError
from flight.kernels import ErrorMode, decode_codeblocks, find_start, make_cltu, randomize_tc
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


@dataclass(slots=True)
class CltuReceiver:
    """Octets in any split in, the frames' octets (with fill) out. Holds at most one CLTU.

    Counters: `units` delivered; `broken`, those of them that another codeblock than the tail sequence ended; `aborted`,
    units that were empty or too long; `codeblocks` taken; `corrected`, wrong bits mended in these; `skipped`, octets
    that belonged to no unit.
    """

    mode: ErrorMode = ErrorMode.SEC
    randomized: bool = False
    units: int = field(default=0, init=False)
    broken: int = field(default=0, init=False)
    aborted: int = field(default=0, init=False)
    codeblocks: int = field(default=0, init=False)
    corrected: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)
    _held: bytes = field(default=b"", init=False)  # for the next call; shorter than a codeblock
    _frames: bytearray | None = field(default=None, init=False)  # of the unit that is open, None in SEARCH

    def reset(self) -> None:
        """Forget a unit that has begun: the carrier is lost."""
        self._held = b""
        self._frames = None

    @property
    def open(self) -> bool:
        """Whether a unit has begun and not ended."""
        return self._frames is not None

    def feed(self, octets: bytes) -> list[bytes]:
        """Return the units that `octets` completed, in order: octets of frames and their fill."""
        units: list[bytes] = []
        data = self._held + octets
        at = 0
        while True:
            if self._frames is None:
                at = self._search(data, at)
                if self._frames is None:
                    break
            at, ended = self._take_codeblocks(data, at)
            if not ended:
                break
            at = self._end_unit(data, at, units)
        self._held = data[at:]
        return units

    def _search(self, data: bytes, at: int) -> int:
        """Open a unit behind the next start sequence and return the octet there, else the one from which to go on."""
        if not data.startswith(START, at):  # the usual case needs no search: units follow each other
            skipped = find_start(memoryview(data)[at:], self.mode)
            self.skipped += skipped
            at += skipped
        if at + len(START) > len(data):
            return at
        self._frames = bytearray()
        return at + len(START)

    def _take_codeblocks(self, data: bytes, at: int) -> tuple[int, bool]:
        """Keep the codeblocks from octet `at` on; return the octet after them, and whether the unit has ended."""
        assert self._frames is not None
        room = CODEBLOCKS_MAX - len(self._frames) // INFORMATION_OCTETS
        # One more than there is room for: if it is not the tail, the unit is too long.
        run = decode_codeblocks(data[at : at + (room + 1) * CODEBLOCK_OCTETS], self.mode)
        self._frames += run.information
        self.codeblocks += run.good + run.corrected
        self.corrected += run.corrected
        return at + run.octets, run.ended or run.good + run.corrected > room

    def _end_unit(self, data: bytes, at: int, units: list[bytes]) -> int:
        """Close the unit and deliver it, if there is one; return the octet from where to search."""
        assert self._frames is not None
        information, self._frames = bytes(self._frames), None
        if len(information) > CODEBLOCKS_MAX * INFORMATION_OCTETS:
            self.aborted += 1
            return at - CODEBLOCK_OCTETS  # the codeblock too many was taken: look into it as well
        if not information:
            self.aborted += 1
            return at
        self.units += 1
        units.append(randomize_tc(information) if self.randomized else information)
        if data.startswith(TAIL, at):
            return at + len(TAIL)
        self.broken += 1
        return at
