"""Where a walk over many packets stands: which packets, where in each of them, what was read, and which are damaged.

Every packet goes the same way at the same time. A position is a bit of the packet: a number of the definitions, `at`,
from a base. Base 0 is where the walk began; each entry of varying length makes a new base, with a position of its own
in each packet. Numbers at one base are read by one call of the kernel; if the base is not at the same bit of an octet
in all packets, by one call for each of the eight bits that it may be at.

A packet that ends too early is marked in `bad` and goes along with zeros, so that nothing has to be asked twice;
whoever ends the walk leaves it out. Only part of a state's rows may meet a condition, and a row may repeat: such rows
walk as a state of their own, which asks its `outer` one for what was read before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flight.kernels import FieldSpec, PacketLayout, ReadBuffer, extract_fields
from ground.recording.definitions.parameters import NumberEncoding, Parameter
from ground.recording.definitions.ragged import Indices, Values, gather, starts_of, take
from ground.recording.packet_batch import PacketBatch
from ground.recording.table import Column

END = -1
"""The base that is the packet's end."""

_PACKET_BITS_MAX = 8 * 65542
_LAYOUT_FIELDS = 2048  # taken by one call; the kernel admits twice as many


class Damage(StrEnum):
    """Why a packet is not in its table."""

    LENGTH = "length"  # it ends before a field does, or not where its fields end
    TEXT = "text"
    SEGMENT = "segment"
    ERROR_CONTROL = "error control"
    VERSION = "version"


Mask = NDArray[np.bool_]


class Test(Protocol):
    """A condition that can be asked of a state. slots: the numbers of those that it asks."""

    @property
    def slots(self) -> frozenset[int]: ...

    @property
    def equals(self) -> Mapping[int, int]:
        """Raw values that must stand in slots of whole numbers for the condition to be met, whatever else must be."""
        ...

    def met(self, state: State) -> Mask: ...


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one parameter's values in a walk. The same parameter may stand at several.

    is_ragged: a row has several values, or octets. is_optional: a row may have none. is_repeated: nobody can refer to
    it from outside of its repetition. contexts: when each of the parameter's contexts is met, here.
    """

    number: int
    parameter: Parameter
    is_ragged: bool = False
    is_optional: bool = False
    is_repeated: bool = False
    contexts: tuple[Test, ...] = ()


@dataclass(frozen=True, slots=True)
class Raw:
    """Values as they were read. `present` as in a column."""

    values: Values
    starts: Indices | None = None
    present: NDArray[np.bool_] | None = None

    def take(self, index: NDArray[np.intp]) -> Raw:
        present = None if self.present is None else self.present[index]
        if self.starts is None:
            return Raw(self.values[index], None, present)
        first = self.starts[index]
        values, starts = gather(self.values, first, self.starts[index + 1] - first)
        return Raw(values, starts, present)

    def placed(self, index: NDArray[np.intp], rows: int) -> Raw:
        """These values in rows `index` of `rows`, which have none otherwise."""
        present = np.zeros(rows, bool)
        present[index] = True if self.present is None else self.present
        if self.starts is None:
            values = np.zeros(rows, self.values.dtype)
            values[index] = self.values
            return Raw(values, None, present)
        lengths = np.zeros(rows, np.int64)
        lengths[index] = np.diff(self.starts)
        return Raw(self.values, starts_of(lengths), present)


class Run:
    """Numbers of one base that are read together: `fields` are their slots and where they begin, bits from the base."""

    def __init__(self, base: int, fields: Sequence[tuple[Slot, int]]) -> None:
        self.base = base
        self.fields = tuple(fields)
        # From a whole octet on, before the base if need be.
        self.start = min(0, *(at for _, at in self.fields)) >> 3 << 3
        self.layouts = lru_cache(maxsize=8)(self._layouts)

    def _layouts(self, residue: int) -> list[PacketLayout]:
        """The fields as they lie if the run starts `residue` bits after a whole octet."""
        specs = []
        for slot, at in self.fields:
            how = slot.parameter.encoding
            assert isinstance(how, NumberEncoding), slot.parameter.key
            # No packet is so long that a place beyond this one is inside it.
            place = min(at - self.start + residue, _PACKET_BITS_MAX - how.bits)
            specs.append(FieldSpec(str(slot.number), place, how.bits, how.kind, how.order))
        return [PacketLayout(specs[i : i + _LAYOUT_FIELDS]) for i in range(0, len(specs), _LAYOUT_FIELDS)]


@dataclass(slots=True)
class Rows:
    """A table inside a packet. index: which row of the state each of its rows belongs to. names: of its columns."""

    name: str
    names: Mapping[int, str]
    index: NDArray[np.intp]
    columns: Mapping[int, Column]

    def chosen(self, place: NDArray[np.intp]) -> Rows:
        """Of those rows of the state that have a place, which is not -1."""
        kept = np.flatnonzero(place[self.index] >= 0)
        columns = {number: take(one, kept) for number, one in self.columns.items()}
        return Rows(self.name, self.names, place[self.index[kept]], columns)


# The numbers of a primary header that a batch has: where they begin, and what they are. Not the sequence flags, which
# are others for a packet that was put together from segments.
_HEADER: Mapping[tuple[int, object], Callable[[PacketBatch], Values]] = {
    (3, NumberEncoding(1)): lambda batch: batch.flags >> 3 & 1,
    (4, NumberEncoding(1)): lambda batch: batch.flags >> 2 & 1,
    (5, NumberEncoding(11)): lambda batch: batch.apid,
    (18, NumberEncoding(14)): lambda batch: batch.seq,
}


@dataclass(slots=True)
class State:
    """n packets. rows: which of the batch, or of `outer`. bases: position of each base, bits; None for 0 everywhere."""

    source: ReadBuffer
    rows: NDArray[np.intp]
    offset: NDArray[np.uint64]
    length: NDArray[np.uint32]
    bad: NDArray[np.bool_]
    damaged_texts: NDArray[np.bool_]
    bases: dict[int, Indices | None] = field(default_factory=lambda: {0: None})
    raw: dict[int, Raw] = field(default_factory=dict)
    columns: dict[int, Column] = field(default_factory=dict)
    inner: list[Rows] = field(default_factory=list)
    outer: State | None = None
    batch: PacketBatch | None = None  # whose rows these are, if its headers are to be used

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def octets(self) -> NDArray[np.uint8]:
        return np.frombuffer(self.source, np.uint8)

    @property
    def bits(self) -> Indices:
        """Of each packet."""
        return self.length.astype(np.int64) << 3

    def position(self, base: int, at: int) -> Indices:
        """The bit of each packet."""
        if base == END:
            return self.bits + at
        start = self.bases[base]
        return np.full(len(self), at, np.int64) if start is None else start + at

    def take(self, index: NDArray[np.intp]) -> State:
        """A state of these rows only, which ascend."""
        place = np.full(len(self), -1, np.intp)
        place[index] = np.arange(len(index))
        return replace(
            self,
            rows=self.rows[index],
            offset=self.offset[index],
            length=self.length[index],
            bad=self.bad[index],
            damaged_texts=self.damaged_texts[index],
            bases={number: None if start is None else start[index] for number, start in self.bases.items()},
            raw={number: one.take(index) for number, one in self.raw.items()},
            columns={number: take(one, index) for number, one in self.columns.items()},
            inner=[one.chosen(place) for one in self.inner],
        )

    def part(self, index: NDArray[np.intp], start: Indices) -> State:
        """A state of these rows, each as often as it is named, that walks from `start` on."""
        offset, length, bad = self.offset[index], self.length[index], self.bad[index]
        return State(self.source, index, offset, length, bad, np.zeros(len(index), bool), {0: start}, outer=self)

    def found(self, slot: int) -> Raw:
        """What was read there, by this state or by the one that it is a part of."""
        own = self.raw.get(slot)
        if own is not None:
            return own
        assert self.outer is not None, slot
        return self.outer.found(slot).take(self.rows)

    def read(self, run: Run) -> None:
        """The numbers of a run; packets that end before its end are marked."""
        start = None if run.base == END else self.bases[run.base]
        if start is None and run.base != END:
            self._read(run, 0, self.offset, self.length, None)
            return
        bit = self.position(run.base, run.start)
        self.bad |= bit < 0
        bit[self.bad] = 0
        octet, residue = bit >> 3, bit & 7
        offset = self.offset + octet.astype(np.uint64)
        length = np.maximum(self.length.astype(np.int64) - octet, 0).astype(np.uint32)
        met = np.unique(residue) if residue.any() else (0,)
        for one in met:
            index = None if len(met) == 1 else np.flatnonzero(residue == one)
            self._read(run, int(one), offset, length, index)

    def read_header(self, run: Run) -> bool:
        """Take the numbers of a run from what the batch has of the primary headers, if they are all there."""
        if (
            self.batch is None
            or run.base != 0
            or not all((at, slot.parameter.encoding) in _HEADER for slot, at in run.fields)
        ):
            return False
        for slot, at in run.fields:
            values = _HEADER[at, slot.parameter.encoding](self.batch)
            self.raw[slot.number] = Raw(values if len(self) == len(values) else values[self.rows])
        return True

    def _read(
        self, run: Run, residue: int, offset: NDArray[np.uint64], length: NDArray[np.uint32],
        index: NDArray[np.intp] | None,
    ) -> None:  # fmt: skip
        """index: the rows that are at this residue; None for all."""
        if index is not None:
            offset, length = offset[index], length[index]
        numbers = iter(run.fields)
        for layout in run.layouts(residue):
            found = extract_fields(layout, self.source, offset, length)
            if found.incomplete:
                short = np.asarray(found.complete) == 0
                self.bad[slice(None) if index is None else index] |= short
            for column in found.columns.values():
                slot, _ = next(numbers)
                self._keep(slot, np.asarray(column), index)

    def _keep(self, slot: Slot, values: Values, index: NDArray[np.intp] | None) -> None:
        how = slot.parameter.encoding
        assert isinstance(how, NumberEncoding), slot.parameter.key
        present = None
        if how.conversion is not None:
            values, present = how.conversion(values, how.bits)
        if index is None:
            self.raw[slot.number] = Raw(values, None, present)
            return
        kept = self.raw.get(slot.number)
        if kept is None or len(kept.values) != len(self):
            kept = Raw(np.zeros(len(self), values.dtype), None, None if present is None else np.zeros(len(self), bool))
            self.raw[slot.number] = kept
        kept.values[index] = values
        if kept.present is not None and present is not None:
            kept.present[index] = present
