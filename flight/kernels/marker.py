"""Units between attached sync markers, cut out of a stream of bits."""

# The machine, its states and its reasons stand at the head of marker.c. This file gives it memory: a struct for its
# state, and room for the units of a stretch of stream. The room is for the most units that the stretch can give, which
# is twice what streams usually give; it is not cleared, so that pages which nothing is written to cost nothing.

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntFlag

from flight.kernels._kernels import ffi, lib
from flight.kernels.binding import OCTETS, KernelError, ReadBuffer, from_buffer, new_octets

_find_units = lib.ob_find_units
_COLUMN_OCTETS = lib.OB_UNIT_COLUMN_OCTETS

MARKER_OCTETS = 4


class UnitFlag(IntFlag):
    """How a unit was found: with all bits inverted, without a marker of its own, or off the place expected."""

    INVERTED = lib.OB_UNIT_INVERTED
    FLYWHEEL = lib.OB_UNIT_FLYWHEEL
    SLIPPED = lib.OB_UNIT_SLIPPED


@dataclass(frozen=True, slots=True)
class Units:
    """The n units of a stretch of stream, in its order: a batch in one buffer, and a sequence of `bytes`.

    octets: the units one after the other, n * unit_octets octets, writable: a decoder may work in place.
    unit_octets: the size of one, which is also the stride.
    offset_bits: bit of the stream at which the unit begins, behind its marker, uint64; it grows from unit to unit.
    wrong_bits: wrong bits in the marker in front of it, 0..32, uint8.
    flags: of UnitFlag, uint8.
    """

    octets: memoryview[int]
    unit_octets: int
    offset_bits: memoryview[int]
    wrong_bits: memoryview[int]
    flags: memoryview[int]

    def __len__(self) -> int:
        return len(self.flags)

    def __getitem__(self, index: int) -> bytes:
        start = range(len(self))[index] * self.unit_octets
        return bytes(self.octets[start : start + self.unit_octets])

    def __iter__(self) -> Iterator[bytes]:
        size = self.unit_octets
        return (bytes(self.octets[start : start + size]) for start in range(0, len(self.octets), size))


class UnitRoom:
    """Space for the units of `octets` octets of stream. Several calls of `MarkerSync.find` may fill it."""

    __slots__ = ("_unit_octets", "block", "columns_octets", "count", "units", "units_max", "units_octets")

    def __init__(self, unit_octets: int, octets: int) -> None:
        self.count = 0
        # The bound that ob_find_units states. Most streams give half of it; the other half is never touched.
        self.units_max = 2 * (octets // unit_octets) + 10
        self._unit_octets = unit_octets
        self.columns_octets = self.units_max * _COLUMN_OCTETS
        self.units_octets = self.units_max * unit_octets
        self.block = new_octets(OCTETS, self.columns_octets + self.units_octets)
        self.units = self.block + self.columns_octets

    def filled(self) -> Units:
        """Return what was found, without a copy."""
        count, room = self.count, self.units_max
        block = memoryview(ffi.buffer(self.block))
        return Units(
            block[self.columns_octets : self.columns_octets + count * self._unit_octets],
            self._unit_octets,
            block[: 8 * count].cast("Q"),
            block[8 * room : 8 * room + count],
            block[9 * room : 9 * room + count],
        )


class MarkerSync:
    """The synchronizer's state over one stream (CCSDS 131.0-B-5, 9); marker.c states its machine.

    unit_octets: the codeblock or frame between two markers, 1..65536.
    search_errors_max, lock_errors_max: wrong bits in a marker that is searched for, and in one that is expected; the
        first at most the second, and that at most 7.
    slip_bits_max: how far from its place an expected marker is looked for, 0..7.
    flywheel_units: units in a row written without a marker in front of them.
    bit_search: False if units can only begin on octets. inverted_allowed: the stream may come inverted.

    Raises KernelError for an option outside these.
    """

    __slots__ = ("held_octets_max", "state")

    def __init__(
        self, unit_octets: int, *, search_errors_max: int, lock_errors_max: int, slip_bits_max: int,
        flywheel_units: int, bit_search: bool, inverted_allowed: bool,
    ) -> None:  # fmt: skip
        state = self.state = ffi.new("ob_sync *")
        try:
            state.unit_octets = unit_octets
            state.search_errors_max = search_errors_max
            state.lock_errors_max = lock_errors_max
            state.slip_bits_max = slip_bits_max
            state.flywheel_units = flywheel_units
        except OverflowError:
            # Beyond 32 bits cffi refuses by itself; to the caller it is one refusal like any other.
            raise KernelError("sync_init", lib.OB_E_LAYOUT) from None
        state.bit_search = bit_search
        state.inverted_allowed = inverted_allowed
        code = lib.ob_sync_init(state)
        if code < 0:
            raise KernelError("sync_init", code)
        # What ob_find_units may leave: two periods, and the place of the marker behind them.
        self.held_octets_max = 2 * (MARKER_OCTETS + unit_octets) + 6

    def find(self, stream: ReadBuffer, room: UnitRoom, *, last: bool = False) -> int:
        """Find units in a stretch of the stream; return how many octets of it the machine is finished with.

        The next stretch begins with the others, at most `held_octets_max`. `last`: nothing follows before `reset`.
        """
        source = stream if type(stream) is bytes else from_buffer(OCTETS, stream)
        count = _find_units(
            self.state, source, len(source), last, room.units, room.units_octets, room.block, room.columns_octets,
            room.units_max, room.count,
        )  # fmt: skip
        if count < 0:
            raise KernelError("find_units", count)
        room.count = count
        return self.state.consumed

    def reset(self, octets: int) -> None:
        """Search again, `octets` behind what the machine was finished with."""
        lib.ob_sync_reset(self.state, octets)
