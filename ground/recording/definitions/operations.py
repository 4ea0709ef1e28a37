"""The steps of a walk, each over all packets of a state: numbers, octets, conditional entries, entries that repeat."""

# Rules for every step:
#   - Nothing behind a packet's end is ever read. A step that goes by a size or a count checks it against the packet's
#     end first, and marks the packet as bad if it does not fit. Sizes come from the packets, so they may be anything:
#     negative, huge, or not a whole number of units.
#   - A bad packet goes along with zeros until the walk ends. Leaving it out at once would mean new index arrays after
#     every step, for the few packets that are damaged.
#   - No loop over packets. The only loop that a packet's content drives is over repetitions of varying length
#     (`Repeat._one_by_one`), each turn of which handles all packets together.
#
# `finish` ends a walk: it gives raw values their meaning, calibrators, labels, times. Until then all values are raw,
# since conditions and sizes further on may ask for either.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ground.recording.definitions.conditions import BoundAmount, number
from ground.recording.definitions.parameters import NumberEncoding, OctetsEncoding
from ground.recording.definitions.ragged import (
    Indices,
    Values,
    gather,
    gather_bits,
    joined,
    placed,
    spread,
    starts_of,
    stretches,
    take,
)
from ground.recording.definitions.state import Raw, Rows, Run, Slot, State, Test
from ground.recording.definitions.texts import to_utf8
from ground.recording.table import Column, ColumnKind

_WHOLE = (8, 16, 32, 64)  # bits of the numbers that NumPy has types for
_KINDS = {"unsigned": "u", "signed": "i", "float": "f"}
_REPEATED_MAX = 1 << 16  # repetitions walked at a time, so that memory does not grow with what packets claim


class Operation(Protocol):
    """One step of a walk."""

    def run(self, state: State) -> None:
        """Take the step for all packets of `state`, which keeps what was read. Does not raise."""
        ...


@dataclass(frozen=True, slots=True)
class Take:
    """Reads numbers that lie together."""

    numbers: Run

    def run(self, state: State) -> None:
        """Read them by as few calls of the kernel as can be."""
        state.read(self.numbers)


@dataclass(frozen=True, slots=True)
class Place:
    """The place at which a step begins: `at` bits from a base. new_base: made by its end; None if its size is fixed."""

    base: int
    at: int
    new_base: int | None


@dataclass(frozen=True, slots=True)
class Size:
    """An amount of bits or repetitions: fixed, given by a parameter, or what remains of the packet before a footer."""

    fixed: int | None = None
    amount: BoundAmount | None = None
    footer_bits: int = 0
    unit_bits: int = 1

    def of(self, state: State, start: Indices) -> Indices:
        """Return the amount of each packet; 0 if it is bad, -1 if it cannot be told or does not come out even."""
        if self.fixed is not None:
            amounts = np.full(len(state), self.fixed, np.int64)
        elif self.amount is not None:
            return self.amount.of(state)
        else:
            remaining = state.bits - self.footer_bits - start
            amounts = np.where(remaining % self.unit_bits == 0, remaining // self.unit_bits, -1)
        amounts[state.bad] = 0
        return amounts


@dataclass(frozen=True, slots=True)
class Skip:
    """Passes over bits that nobody reads."""

    place: Place
    size: Size

    def run(self, state: State) -> None:
        """Check that the bits are there, and go on behind them."""
        start = state.position(self.place.base, self.place.at)
        size = self.size.of(state, start)
        state.bad |= (size < 0) | (start + size > state.bits)
        size[state.bad] = 0
        # Also set for bad packets, to anything inside: later steps compute with every row.
        if self.place.new_base is not None:
            state.bases[self.place.new_base] = start + size


@dataclass(frozen=True, slots=True)
class TakeOctets:
    """Reads texts or binary data. Without a size, they end at a terminator, or where their leading bits say."""

    slot: Slot
    place: Place
    size: Size | None
    length: Run | None  # leading bits that tell the length, at base 0 of a part of its own

    def run(self, state: State) -> None:
        """Find each text, check that it is inside its packet, and copy it; texts become UTF-8."""
        how = self.slot.parameter.encoding
        assert isinstance(how, OctetsEncoding)
        start = state.position(self.place.base, self.place.at)
        state.bad |= start < 0
        start[state.bad] = 0
        remaining = np.maximum(state.bits - start, 0)
        room = remaining if self.size is None else self.size.of(state, start)
        state.bad |= (room < 0) | (room > remaining)
        room[state.bad] = 0
        # With a size, the next entry begins behind the room, however short the text; without one, behind the text.
        end = start + room
        if self.length is not None:
            start, room = self._led(state, start, room, how.leading_bits)
            if self.size is None:
                end = start + room
        if self.size is None and self.length is None:
            room, end = self._searched(state, start, room, how.terminator)
        state.bad |= room & 7 != 0  # texts are of whole octets, though they may begin at any bit
        room[state.bad] = 0
        first = start + (state.offset.astype(np.int64) << 3)
        values, starts = gather_bits(state.octets, first, room >> 3)
        if how.terminator and self.length is None and self.size is not None:
            values, starts = _cut(values, starts, how.terminator)
        if how.strips:
            values, starts = _stripped(values, starts)
        if how.kind is ColumnKind.TEXT:
            values, starts, sound = to_utf8(values, starts, how.charset)
            if how.strict and sound is not None:
                state.damaged_texts |= ~sound
        state.raw[self.slot.number] = Raw(values, starts)
        if self.place.new_base is not None:
            end[state.bad] = 0
            state.bases[self.place.new_base] = end

    def _led(self, state: State, start: Indices, room: Indices, leading_bits: int) -> tuple[Indices, Indices]:
        """Read the leading bits: return the start of each text itself, and its length in bits."""
        assert self.length is not None
        part = state.part(np.arange(len(state)), start)
        part.read(self.length)
        state.bad |= part.bad
        length = part.found(self.slot.number).values.astype(np.int64)  # of 64 bits, it may come out negative
        state.bad |= (length < 0) | (length + leading_bits > room)
        length[state.bad] = 0
        return start + leading_bits, length

    def _searched(self, state: State, start: Indices, remaining: Indices, mark: bytes) -> tuple[Indices, Indices]:
        """Find terminators: return the bits of each text before its own, and the bit behind that.

        A packet without a terminator is bad, and so is one whose text does not begin at a whole octet.
        """
        octets = state.octets
        first = state.offset.astype(np.int64) + (start >> 3)
        found = np.full(len(state), -1, np.int64)
        # A terminator of several octets counts only at a whole character, so places are searched apart by the remainder
        # of their index; one binary search for each remainder serves all packets.
        places = _places(octets, mark)
        for residue in range(len(mark)):
            here = np.flatnonzero(first % len(mark) == residue)
            marks = places[places % len(mark) == residue]
            index = np.searchsorted(marks, first[here])
            is_there = index < len(marks)
            found[here[is_there]] = marks[index[is_there]]
        room = (found - first) << 3
        state.bad |= (found < 0) | (start & 7 != 0) | (room + 8 * len(mark) > remaining)
        room[state.bad] = 0
        return room, start + room + 8 * len(mark)


def _places(octets: Values, mark: bytes) -> Indices:
    """Return the octets at which `mark` begins, ascending."""
    found = octets[: max(0, len(octets) - len(mark) + 1)] == mark[0]
    for k in range(1, len(mark)):
        found &= octets[k : len(found) + k] == mark[k]
    return np.flatnonzero(found).astype(np.int64)


def _cut(values: Values, starts: Indices, mark: bytes) -> tuple[Values, Indices]:
    """Cut each row at the first `mark` in it that begins at a whole character; without one it stays whole."""
    first, ends = starts[:-1], starts[1:].copy()
    places = _places(values, mark)
    row = np.searchsorted(starts, places, "right") - 1
    is_whole = ((places - starts[row]) % len(mark) == 0) & (places + len(mark) <= starts[row + 1])
    places, row = places[is_whole][::-1], row[is_whole][::-1]
    ends[row] = places  # places descend, so the one written last is the first in its row
    return gather(values, first, ends - first)


def _stripped(values: Values, starts: Indices) -> tuple[Values, Indices]:
    """Return each row without the zeros at its end."""
    used = np.flatnonzero(values != 0)
    last = np.searchsorted(used, starts[1:]) - 1  # the last octet that is not zero before the row's end
    ends = np.where(last >= 0, used[last] + 1, 0) if len(used) else np.zeros(len(starts) - 1, np.int64)
    first = starts[:-1]
    return gather(values, first, np.maximum(ends - first, 0))


@dataclass(frozen=True, slots=True)
class Program:
    """A walk of a part: a conditional or a repeated entry.

    end: where it ends, (base, bits). size: its bits if they are always the same, else None.
    unread: places that it reaches without reading them, (base, bits); they must be inside the packet all the same.
    """

    operations: tuple[Operation, ...]
    slots: tuple[Slot, ...]
    end: tuple[int, int]
    size: int | None
    unread: tuple[tuple[int, int], ...]

    def run(self, state: State) -> None:
        """Take all steps for the packets of a part, and give what was read its meaning."""
        for operation in self.operations:
            operation.run(state)
        for base, at in self.unread:
            state.bad |= state.position(base, at) > state.bits
        finish(state, self.slots)


@dataclass(frozen=True, slots=True)
class Include:
    """Reads entries that only packets that meet a condition have. All others go on from `before`."""

    place: Place
    before: tuple[int, int]
    test: Test
    program: Program

    def run(self, state: State) -> None:
        """Walk the part for the packets that meet the condition, and put the values into their rows."""
        start = state.position(self.place.base, self.place.at)
        # A bad packet reads as zeros, which may meet the condition without meaning it.
        index = np.flatnonzero(self.test.met(state) & ~state.bad)
        part = state.part(index, start[index])
        self.program.run(part)
        state.bad[index] |= part.bad
        state.damaged_texts[index] |= part.damaged_texts
        for slot in self.program.slots:
            if slot.number in part.raw:
                state.raw[slot.number] = part.raw[slot.number].placed(index, len(state))
            if slot.number in part.columns:
                state.columns[slot.number] = placed(part.columns[slot.number], index, len(state))
        state.inner += [replace(rows, index=index[rows.index]) for rows in part.inner]
        end = state.position(*self.before)
        end[index] = part.position(*self.program.end)
        assert self.place.new_base is not None
        state.bases[self.place.new_base] = end


@dataclass(frozen=True, slots=True)
class Repeat:
    """Reads entries that repeat, with `gap_bits` between repetitions.

    Each number of a repetition becomes a ragged column with all its repetitions in the packet. If a repetition holds
    octets, or does not always have the same entries, each becomes a row of a table inside the packet instead.

    name: of that table; empty if the repetitions make columns. names: of the table's columns.
    """

    place: Place
    count: Size
    gap_bits: int
    program: Program
    name: str
    names: Mapping[int, str]

    def run(self, state: State) -> None:
        """Read all repetitions, by the fastest way that their form allows."""
        start = state.position(self.place.base, self.place.at)
        count = self.count.of(state, start)
        state.bad |= count < 0
        count[state.bad] = 0
        plain = self._plain_slot()
        if plain is not None:
            end = self._octets(state, plain, start, count)
            if self.place.new_base is not None:
                state.bases[self.place.new_base] = end
            return
        if self.program.size is None:
            index, columns, end = self._one_by_one(state, start, count)
        else:
            index, columns, end = self._at_once(state, start, count, self.program.size)
        if self.place.new_base is not None:
            state.bases[self.place.new_base] = end
        if self.name:
            state.inner.append(Rows(self.name, self.names, index, columns))
            return
        # Rows of one packet lie together in `index`, so the columns are ragged once their starts are known.
        lengths = np.bincount(index, minlength=len(state)).astype(np.int64)
        for number_of, column in columns.items():
            state.columns[number_of] = replace(column, starts=starts_of(lengths), present=None)

    def _plain_slot(self) -> Slot | None:
        """Return the one number that repeats if its values lie in the packet as in a NumPy array, else None."""
        slots = self.program.slots
        if len(slots) != 1 or self.gap_bits or self.name or slots[0].contexts:
            return None
        how = slots[0].parameter.encoding
        if not isinstance(how, NumberEncoding) or how.bits not in _WHOLE or self.program.size != how.bits:
            return None
        is_plain = how.order in ("big", "little") and how.conversion is None and not slots[0].parameter.left_out
        match self.program.operations:
            case (Take(numbers),) if is_plain and numbers.fields[0][1] == 0:
                return slots[0]
        return None

    def _octets(self, state: State, slot: Slot, start: Indices, count: Indices) -> Indices:
        """Read all values of each packet as one stretch of octets. Returns the bit at which they end."""
        how = slot.parameter.encoding
        assert isinstance(how, NumberEncoding)
        self._bounded(state, start, count, how.bits)
        first = start + (state.offset.astype(np.int64) << 3)
        first[count == 0] = 0  # a start behind the octets would be refused, even if nothing is read there
        octets, starts = gather_bits(state.octets, first, count * (how.bits // 8))
        stored = np.dtype(f"{'<' if how.order == 'little' else '>'}{_KINDS[how.kind]}{how.bits // 8}")
        values = octets.view(stored).astype(stored.newbyteorder("="), copy=False)
        column = _number_column(slot, values, None)
        state.columns[slot.number] = replace(column, starts=starts // (how.bits // 8), present=None)
        return start + count * how.bits

    def _bounded(self, state: State, start: Indices, count: Indices, size: int) -> int:
        """Mark packets that end before their repetitions do. Returns the bits from one repetition to the next."""
        stride = size + self.gap_bits
        remaining = state.bits - start + self.gap_bits
        # Divided, not multiplied: a packet may claim a count whose product overflows.
        state.bad |= count > np.where(remaining > 0, remaining // max(stride, 1), 0)
        state.bad |= start < 0
        count[state.bad] = 0
        return stride

    def _at_once(
        self, state: State, start: Indices, count: Indices, size: int
    ) -> tuple[NDArray[np.intp], dict[int, Column], Indices]:
        """Read repetitions of one length, whose places are known beforehand. Returns packets, columns and ends."""
        stride = self._bounded(state, start, count, size)
        starts = starts_of(count)
        kept: list[dict[int, Column]] = []
        for rows in stretches(starts, _REPEATED_MAX) if starts[-1] else (slice(0, len(state)),):
            own = starts[rows.start : rows.stop + 1] - starts[rows.start]
            index = np.repeat(np.arange(rows.start, rows.stop), count[rows])
            turn = spread(np.zeros(len(own) - 1, np.int64), count[rows], own)
            part = state.part(index, start[index] + turn * stride)
            self.program.run(part)
            state.bad[index[part.bad]] = True
            state.damaged_texts[index[part.damaged_texts]] = True
            kept.append(part.columns)
        columns = {slot: joined([part[slot] for part in kept]) for slot in kept[0]}
        # The gap stands between repetitions, so there is none behind the last one.
        index = np.repeat(np.arange(len(state)), count)
        return index, columns, start + count * stride - np.where(count > 0, self.gap_bits, 0)

    def _one_by_one(
        self, state: State, start: Indices, count: Indices
    ) -> tuple[NDArray[np.intp], dict[int, Column], Indices]:
        """Read the first repetitions of all packets, then the second ones: each begins at the end of the last."""
        end = start.copy()
        indices: list[NDArray[np.intp]] = []
        kept: list[dict[int, Column]] = []
        turn = 0
        while True:
            index = np.flatnonzero((count > turn) & ~state.bad)
            # The first turn is taken even if no packet repeats: it tells the names and types of the columns.
            if not len(index) and turn:
                break
            at = end[index] + (self.gap_bits if turn else 0)
            part = state.part(index, at)
            self.program.run(part)
            state.bad[index] |= part.bad
            state.damaged_texts[index] |= part.damaged_texts
            end[index] = part.position(*self.program.end)
            state.bad[index] |= end[index] > state.bits[index]
            indices.append(index)
            kept.append(part.columns)
            turn += 1
        every = np.concatenate(indices)
        order = np.argsort(every, kind="stable")  # by packet; the repetitions of one are in order already
        columns = {slot: take(joined([part[slot] for part in kept]), order) for slot in kept[0]}
        return every[order], columns, end


def finish(state: State, slots: Sequence[Slot]) -> None:
    """Make columns of what a walk read, unless a repetition or a condition has made them already."""
    for slot in slots:
        if not slot.parameter.left_out and slot.number not in state.columns and slot.number in state.raw:
            state.columns[slot.number] = _column(state, slot)


def _column(state: State, slot: Slot) -> Column:
    parameter = slot.parameter
    raw = state.found(slot.number)
    if isinstance(parameter.encoding, OctetsEncoding):
        return Column(raw.values, raw.starts, raw.present, parameter.encoding.kind, unit=parameter.unit)
    if slot.contexts:
        return _number_column(slot, *_in_context(state, slot), is_calibrated=True)
    return _number_column(slot, raw.values, raw.present)


def _number_column(
    slot: Slot, values: Values, present: NDArray[np.bool_] | None, *, is_calibrated: bool = False
) -> Column:
    """Give numbers their meaning. is_calibrated: `values` are engineering values already."""
    parameter = slot.parameter
    if parameter.calibrator is not None and not is_calibrated:
        values = parameter.calibrator.apply(values)
        # NaN is how a calibrator says that it has no value (`calibrators`).
        sound = ~np.isnan(values)
        present = sound if present is None else sound & present
    if parameter.truth is not None:
        values = (values != 0).astype(np.uint8)
    if present is not None and present.all():
        present = None
    return Column(values, None, present, labels=parameter.labels, time=parameter.time, unit=parameter.unit)


def _in_context(state: State, slot: Slot) -> tuple[Values, NDArray[np.bool_]]:
    """Calibrate numbers by the first context that is met, else by the default calibrator if there is one."""
    parameter = slot.parameter
    raw = state.found(slot.number)
    values = number(state, slot, True)[0].astype(np.float64)
    open_rows = np.ones(len(state), bool)
    for test, (_, calibrator) in zip(slot.contexts, parameter.contexts, strict=True):
        rows = np.flatnonzero(open_rows & test.met(state))
        values[rows] = calibrator.apply(raw.values[rows])
        open_rows[rows] = False
    sound = ~np.isnan(values)
    return values, sound if raw.present is None else sound & raw.present
