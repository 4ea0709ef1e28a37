"""Frame synchronization of the receiving end: a stream of octets in any pieces to units (CCSDS 131.0-B-5, 9).

The machine (search, lock, flywheel) is flight/kernels/marker.c. This file holds what it needs between calls.

How many wrong bits a marker may have. How often random bits look like a marker, of either polarity, at a given place;
and how often a true marker is missed:

    at most    false     missed at a bit error rate of 1e-2, 1e-3, 1e-4
    0          4.7e-10   0.28      0.032     0.0032
    1          1.5e-8    0.041     4.9e-4    5.0e-6
    2          2.5e-7    0.0040    4.9e-6    4.9e-9
    3          2.6e-6    2.9e-4    3.5e-8    3.6e-12

A search looks at every bit, so its default is one wrong bit: a false unit per eight megabytes of noise. If it misses
the first marker of a pass, it finds one of the next. An expected marker is sought in five places. The default there is
three wrong bits: random bits pass for a marker in 1.3e-5 of the cases, and if octets were lost there, that may cost a
unit. A true marker that is missed costs nothing: the one behind it decides (ADR 0015).
"""

# What is between calls: `_held`, the end of the stream that the machine could not decide about yet, which stands in
# front of the next octets. It is at most one period and a few octets, two periods while a marker is missing. So a long
# stretch is not joined to what is held: only its first octets are, until the machine is past what was held, and the
# rest is searched in place. That keeps a recording of gigabytes free of copies.
#
# The machine keeps its counters and the offset in the stream itself; they go on over a reset, because they describe
# the whole stream that was fed.

from __future__ import annotations

from dataclasses import dataclass

from flight.kernels import MarkerSync, ReadBuffer, UnitRoom, Units


@dataclass(frozen=True, slots=True)
class SyncCounters:
    """Counted since the synchronizer was made.

    locks: markers found by search. units: units given. Of these: flywheel_units without a recognised marker,
    inverted_units, and slips, which begin a few bits off the place expected. marker_bit_errors: wrong bits in the
    recognised markers, of 32 bits each. skipped_bits: bits of the stream that are in no unit or its marker, without
    those that were held at a reset.
    """

    locks: int
    units: int
    flywheel_units: int
    inverted_units: int
    slips: int
    marker_bit_errors: int
    skipped_bits: int


class FrameSynchronizer:
    """Cuts a stream into units of `unit_octets` between markers: octet-aligned, upright, markers taken off.

    A unit is given as soon as its last bit is there. One whose marker is spoilt waits until the next marker should be
    in view. Bits inserted or lost, few or many, cost the unit in which it happened; its neighbours are found. What
    stands behind a false marker is given like any other unit: error control must tell.

    search_errors_max, lock_errors_max: wrong bits in a marker that is searched for, and that is expected (0..7).
    slip_bits_max: how far from its place an expected marker is looked for at once (0..7); farther takes a search.
    flywheel_units: how many units in a row are given without a marker of their own.
    bit_search: False for a modem that aligns octets, so that bits cannot slip. inverted_allowed: False for a modem that
    knows the polarity. Raises KernelError (ValueError) for options outside these.

    Between calls it holds at most one period (marker and unit) and 6 octets, or two periods and 6 octets while a marker
    is missing.
    """

    __slots__ = ("_held", "_nothing", "_sync", "unit_octets")

    def __init__(
        self, unit_octets: int, *, search_errors_max: int = 1, lock_errors_max: int = 3, slip_bits_max: int = 2,
        flywheel_units: int = 2, bit_search: bool = True, inverted_allowed: bool = True,
    ) -> None:  # fmt: skip
        self.unit_octets = unit_octets
        self._sync = MarkerSync(
            unit_octets, search_errors_max=search_errors_max, lock_errors_max=lock_errors_max,
            slip_bits_max=slip_bits_max, flywheel_units=flywheel_units, bit_search=bit_search,
            inverted_allowed=inverted_allowed,
        )  # fmt: skip
        self._held = b""
        self._nothing = UnitRoom(unit_octets, 0).filled()  # what most calls of a live session return, made once

    def feed(self, octets: ReadBuffer) -> Units:
        """Return the units that `octets`, next in the stream, completed. Any split of a stream gives the same units."""
        stretch = octets if type(octets) is bytes else memoryview(octets).cast("B")
        held, sync = self._held, self._sync
        room = UnitRoom(self.unit_octets, len(held) + len(stretch))
        if held and len(stretch) <= sync.held_octets_max:
            stretch = held + stretch
        elif held:
            # This many octets bring the machine past what was held, whatever they are: the others need no copy.
            done = sync.find(held + stretch[: sync.held_octets_max], room)
            stretch = memoryview(stretch)[done - len(held) :]
        done = sync.find(stretch, room)  # octets that the machine is finished with
        self._held = bytes(stretch[done:])
        return room.filled() if room.count else self._nothing

    def finish(self, octets: bytes = b"") -> Units:
        """Return the last units of a stream that ends with `octets`, also those that waited for what might follow.

        It is then as after `reset`.
        """
        stretch = self._held + octets
        room = UnitRoom(self.unit_octets, len(stretch))
        self._held = stretch[self._sync.find(stretch, room, last=True) :]
        self.reset()
        return room.filled()

    def reset(self) -> None:
        """Forget what is held and search again: the signal is lost. Counters and offsets go on."""
        self._sync.reset(len(self._held))
        self._held = b""

    @property
    def held_octets(self) -> int:
        """How many octets are kept for the next call."""
        return len(self._held)

    @property
    def locks(self) -> int:
        """How often the marker had to be searched for and was found."""
        return self._sync.state.locks

    @property
    def skipped(self) -> int:
        """How many octets of the stream lie outside units."""
        return self._sync.state.skipped_bits // 8

    @property
    def counters(self) -> SyncCounters:
        """What happened so far, as a value of its own."""
        state = self._sync.state
        return SyncCounters(
            state.locks,
            state.units,
            state.flywheels,
            state.inversions,
            state.slips,
            state.wrong_bits,
            state.skipped_bits,
        )
