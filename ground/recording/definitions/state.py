"""The state of a walk over many packets: which packets, where in each of them, what was read, and which are damaged."""

# All packets go the same way at the same time.
#
# Positions. A position is a bit of the packet: `at` bits, a number of the definition, from a base. Base 0 is the start
# of the walk. Each entry of varying length makes a new base, which has a position of its own in each packet. Numbers at
# one base are read by one call of the kernel. If the base is not at the same bit of an octet in all packets, it takes a
# call for each of the up to eight bits there are, since the kernel's layouts are fixed to octets.
#
# Damage. A packet that ends too early is marked in `bad` and goes along with zeros; whoever ends the walk leaves it
# out. So every array has one entry per packet at every step, and nothing is indexed twice.
#
# Parts. Only some rows may meet a condition, and a row may repeat. Such rows walk as a state of their own, which asks
# its `outer` state for what was read before.

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
"""The number of the base that is the packet's end; `at` is negative there."""

_PACKET_BITS_MAX = 8 * 65542
_LAYOUT_FIELDS = 2048  # read by one call; the kernel takes up to twice as many


class Damage(StrEnum):
    """Why a packet is not in its table. The values are keys of the account, and stay."""

    LENGTH = "length"  # it ends before its fields do, or must end with them and does not
    TEXT = "text"  # a text that must be UTF-8 is not
    SEGMENT = "segment"  # only a part of a packet
    ERROR_CONTROL = "error control"  # its CRC-16 does not match
    VERSION = "version"  # of PUS or CFDP, another one than ours


Mask = NDArray[np.bool_]


class Test(Protocol):
    """A condition that can be asked of a state."""

    @property
    def slots(self) -> frozenset[int]:
        """The numbers of the slots that it asks."""
        ...

    @property
    def equals(self) -> Mapping[int, int]:
        """Raw values, by slot of whole numbers, that the condition cannot be met without."""
        ...

    def met(self, state: State) -> Mask:
        """Return n booleans, whether each packet of the state meets the condition."""
        ...


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one parameter's values in a walk. The same parameter may stand at several places.

    is_ragged: a row has several values, or octets.
    is_optional: a row may have none.
    is_repeated: it is inside a repetition, and cannot be referred to from outside.
    contexts: the tests of the parameter's contexts, bound to this place.
    """

    number: int
    parameter: Parameter
    is_ragged: bool = False
    is_optional: bool = False
    is_repeated: bool = False
    contexts: tuple[Test, ...] = ()


@dataclass(frozen=True, slots=True)
class Raw:
    """Values as they were read; `starts` and `present` as in a Column."""

    values: Values
    starts: Indices | None = None
    present: NDArray[np.bool_] | None = None

    def take(self, index: NDArray[np.intp]) -> Raw:
        """Return the values of these rows only, in this order."""
        present = None if self.present is None else self.present[index]
        if self.starts is None:
            return Raw(self.values[index], None, present)
        first = self.starts[index]
        values, starts = gather(self.values, first, self.starts[index + 1] - first)
        return Raw(values, starts, present)

    def placed(self, index: NDArray[np.intp], rows: int) -> Raw:
        """Return `rows` rows that have these values in the rows `index`, and none in the others."""
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
    """Numbers at one base that are read together: `fields` are their slots, and their bits from the base."""

    def __init__(self, base: int, fields: Sequence[tuple[Slot, int]]) -> None:
        self.base = base
        self.fields = tuple(fields)
        # Numbers may lie before the base (a negative location), so the run begins at a whole octet before the first.
        self.start = min(0, *(at for _, at in self.fields)) >> 3 << 3
        self.layouts = lru_cache(maxsize=8)(self._layouts)  # one for each bit of an octet that the base may be at

    def _layouts(self, residue: int) -> list[PacketLayout]:
        """Return the layouts of the fields if the run starts `residue` bits after a whole octet."""
        specs = []
        for slot, at in self.fields:
            how = slot.parameter.encoding
            assert isinstance(how, NumberEncoding), slot.parameter.key
            # The kernel refuses places beyond the longest packet. No packet reaches the last one either.
            place = min(at - self.start + residue, _PACKET_BITS_MAX - how.bits)
            specs.append(FieldSpec(str(slot.number), place, how.bits, how.kind, how.order))
        return [PacketLayout(specs[i : i + _LAYOUT_FIELDS]) for i in range(0, len(specs), _LAYOUT_FIELDS)]


@dataclass(slots=True)
class Rows:
    """A table inside packets. index: the row of the state that each row belongs to. names: of columns, by slot."""

    name: str
    names: Mapping[int, str]
    index: NDArray[np.intp]
    columns: Mapping[int, Column]

    def chosen(self, place: NDArray[np.intp]) -> Rows:
        """Return the rows of packets that stay: place[i] is the new row of packet i, -1 if it goes."""
        kept = np.flatnonzero(place[self.index] >= 0)
        columns = {number: take(column, kept) for number, column in self.columns.items()}
        return Rows(self.name, self.names, place[self.index[kept]], columns)


# The numbers of a primary header that a batch has already, by first bit and encoding. The sequence flags are not among
# them: for a packet that was joined from segments, the batch's differ from those in its header.
_HEADER: Mapping[tuple[int, object], Callable[[PacketBatch], Values]] = {
    (3, NumberEncoding(1)): lambda batch: batch.flags >> 3 & 1,
    (4, NumberEncoding(1)): lambda batch: batch.flags >> 2 & 1,
    (5, NumberEncoding(11)): lambda batch: batch.apid,
    (18, NumberEncoding(14)): lambda batch: batch.seq,
}


@dataclass(slots=True)
class State:
    """The packets of a walk, n of them.

    source, offset, length: the octets, and where each packet lies in them.
    rows: the index of each packet in the batch, or in `outer`.
    bad: whether each packet ended too early. damaged_texts: whether it has a text that must be UTF-8 and is not.
    bases: by base, its position in each packet, bits; None for 0 everywhere.
    raw: values by slot. columns: by slot, of what has its meaning already. inner: tables inside the packets.
    """

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
        """The octets that all packets lie in."""
        return np.frombuffer(self.source, np.uint8)

    @property
    def bits(self) -> Indices:
        """The length of each packet, bits."""
        return self.length.astype(np.int64) << 3

    def position(self, base: int, at: int) -> Indices:
        """Return the bit of each packet that is `at` bits from a base."""
        if base == END:
            return self.bits + at
        start = self.bases[base]
        return np.full(len(self), at, np.int64) if start is None else start + at

    def take(self, index: NDArray[np.intp]) -> State:
        """Return the state of these rows only, which must ascend."""
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
            raw={number: values.take(index) for number, values in self.raw.items()},
            columns={number: take(column, index) for number, column in self.columns.items()},
            inner=[rows.chosen(place) for rows in self.inner],
        )

    def part(self, index: NDArray[np.intp], start: Indices) -> State:
        """Return a state of these rows, each as often as it is named, that begins to walk at bit `start`."""
        offset, length, bad = self.offset[index], self.length[index], self.bad[index]
        return State(self.source, index, offset, length, bad, np.zeros(len(index), bool), {0: start}, outer=self)

    def found(self, slot: int) -> Raw:
        """Return what was read at a slot, by this state or by the one that it is a part of."""
        own = self.raw.get(slot)
        if own is not None:
            return own
        assert self.outer is not None, slot
        return self.outer.found(slot).take(self.rows)

    def read(self, run: Run) -> None:
        """Read the numbers of a run, and mark packets that end before it does."""
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
        for bit_of_octet in met:
            index = None if len(met) == 1 else np.flatnonzero(residue == bit_of_octet)
            self._read(run, int(bit_of_octet), offset, length, index)

    def read_header(self, run: Run) -> bool:
        """Take the numbers of a run from the headers that the batch has. Returns False if they are not all there."""
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
        """Read the rows `index`, whose base is at this bit of an octet; None for all rows."""
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
        """Keep the values of the rows `index` (None: all), converted if the kernel does not know their encoding."""
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
