"""The way up, a stretch at a time: the units of all CLTUs in it, and what can be refused of their frames at sight."""

# Whoever forges frames decides how many there are, so a refusal must not cost Python an object per frame. `sift` says
# no more than what the caller would say anyway, frame by frame: a frame that it lets through may still be refused.

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from flight.kernels._kernels import ffi, lib
from flight.kernels.binding import OCTETS, KernelError, new_octets
from flight.kernels.cltu import ErrorMode

_buffer = ffi.buffer
_unpack = ffi.unpack
_WORD = ffi.typeof("uint32_t *")
_receive_cltus = lib.ob_receive_cltus
_sift_frames = lib.ob_sift_frames
_COLUMN_OCTETS = lib.OB_TC_COLUMN_OCTETS
_INFORMATION_MAX = lib.OB_CLTU_INFORMATION_MAX
_NUMBER_OCTETS_MAX = lib.OB_TC_NUMBER_OCTETS_MAX

TC_LOOK = lib.OB_TC_LOOK
TC_VERDICTS = {
    "frame": lib.OB_TC_FRAME,
    "spacecraft": lib.OB_TC_SPACECRAFT,
    "vcid": lib.OB_TC_VCID,
    "length": lib.OB_TC_LENGTH,
    "spi": lib.OB_TC_SPI,
    "replay": lib.OB_TC_REPLAY,
}


class CltuUnits(NamedTuple):
    """The octets of frames, with fill, of units one behind the other. `ends`: where each ends, as uint32 in octets."""

    information: bytes
    ends: bytes

    @classmethod
    def of(cls, units: Sequence[bytes]) -> CltuUnits:
        """Return these units one behind the other."""
        return cls(b"".join(units), array("I", accumulate(map(len, units))).tobytes())

    def apart(self) -> list[bytes]:
        """Return each unit by itself."""
        ends = memoryview(self.ends).cast("I")
        return [self.information[start:end] for start, end in zip((0, *ends), ends, strict=False)]

    def behind(self, place: int) -> CltuUnits:
        """Return what is left from octet `place` on: the rest of its unit, and the units after that."""
        ends = array("I", [end - place for end in memoryview(self.ends).cast("I") if end > place])
        return CltuUnits(self.information[place:], ends.tobytes())

    def followed_by(self, units: CltuUnits) -> CltuUnits:
        """Return these units and others behind them."""
        return CltuUnits.of([*self.apart(), *units.apart()])


_NO_UNITS = CltuUnits(b"", b"")


class CltuMachine:
    """A receiver of CLTUs that takes octets in any split, and holds at most one unit."""

    def __init__(self, mode: ErrorMode, randomized: bool) -> None:
        self.state = ffi.new("ob_cltu_receiver *")
        self.state.mode = mode
        self.state.randomized = randomized
        self._held = b""  # for the next call; shorter than a codeblock
        self._result = ffi.new("ob_cltus *")
        # Kept for the next call: to allocate room for a stretch costs as much as to decode a short one.
        self._room = 0
        self._make_room(1)

    def reset(self) -> None:
        """Forget a unit that has begun; the counters stay."""
        self._held = b""
        self.state.open = 0

    def take(self, octets: bytes) -> CltuUnits:
        """Return the units that `octets` completed, in order."""
        data = self._held + octets if self._held else octets
        size, result = len(data), self._result
        if size > self._room:
            self._make_room(size)
        out, ends = self._out, self._ends
        units = _receive_cltus(self.state, data, size, out, len(out), ends, len(ends), result)
        if units < 0:
            raise KernelError("receive_cltus", units)
        self._held = data[result.consumed :]
        if not units:
            return _NO_UNITS
        return CltuUnits(bytes(_buffer(out, result.octets)), bytes(_buffer(ends, 4 * units)))

    def _make_room(self, octets: int) -> None:
        self._room = max(octets, 2 * self._room)
        self._out = new_octets(OCTETS, _INFORMATION_MAX + self._room)
        self._ends = new_octets(OCTETS, 4 * (self._room // 10 + 1))


class SiftedFrames(NamedTuple):
    """What was found in units: `verdicts` an octet per frame, TC_LOOK or one of TC_VERDICTS, `places` its first octet.

    Behind the frame of a unit for which the verdict is "frame", nothing is looked at; fill is left out.
    """

    verdicts: bytes
    places: list[int]


@dataclass(frozen=True, slots=True)
class FrameSecurityRules:
    """How frames are protected. segment_octets: 1 if frames of data have a segment header ahead of what protects."""

    number_octets: int
    overhead_octets: int
    segment_octets: int


class FrameSieve:
    """Refuses frames by what everybody can read in them. Without `security` the link is in clear.

    Raises ValueError for rules that no link has.
    """

    def __init__(self, spacecraft_id: int, vcid: int, security: FrameSecurityRules | None = None) -> None:
        self._rules = rules = ffi.new("ob_tc_rules *")
        rules.spacecraft_id, rules.vcid = spacecraft_id, vcid
        if security is not None:
            if not 0 <= security.number_octets <= _NUMBER_OCTETS_MAX:
                raise ValueError(f"number of {security.number_octets} octets, should be 0 to {_NUMBER_OCTETS_MAX}")
            rules.secured = 1
            rules.number_octets = security.number_octets
            rules.overhead_octets = security.overhead_octets
            rules.segment_octets = security.segment_octets
        self._make_room(64)
        self._known: list[tuple[int, int | None]] = []
        self._number_octets = 0 if security is None else security.number_octets

    def know(self, spent: Sequence[tuple[int, int | None]]) -> None:
        """Take note of the associations of the link: SPI and the number spent last, None if numbers are not compared.

        A link in clear has none, and they are not looked at.
        Raises ValueError if there are more than the kernel takes, OverflowError for a number that has no room.
        """
        if spent == self._known or not self._rules.secured:
            return
        self._known = list(spent)
        rules = self._rules
        if len(spent) > lib.OB_TC_ASSOCIATIONS_MAX:
            raise ValueError(f"{len(spent)} associations, the most is {lib.OB_TC_ASSOCIATIONS_MAX}")
        rules.associations = len(spent)
        octets = bytearray(_NUMBER_OCTETS_MAX * lib.OB_TC_ASSOCIATIONS_MAX)
        for place, (spi, number) in enumerate(spent):
            rules.spi[place] = spi
            rules.ordered[place] = number is not None
            if number is None:
                continue
            start = _NUMBER_OCTETS_MAX * place
            octets[start : start + self._number_octets] = number.to_bytes(self._number_octets, "big")
        ffi.memmove(rules.spent, octets, len(octets))

    def sift(self, units: CltuUnits) -> SiftedFrames:
        """Look at all frames of these units."""
        information, ends = units
        size, count = len(information), len(ends) // 4
        if size // 8 + count > self._frames_max:
            self._make_room(2 * (size // 8 + count))
        columns, frames_max = self._columns, self._frames_max
        found = _sift_frames(self._rules, information, size, ends, count, columns, len(columns), frames_max)
        if found < 0:
            raise KernelError("sift_frames", found)
        # The places first, as many as there could be.
        return SiftedFrames(bytes(_buffer(columns + 4 * frames_max, found)), _unpack(self._places, found))

    def _make_room(self, frames: int) -> None:
        self._frames_max = frames
        self._columns = new_octets(OCTETS, _COLUMN_OCTETS * frames)
        self._places = ffi.cast(_WORD, self._columns)
