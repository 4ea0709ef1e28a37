"""From entries to a walk: numbers that lie together become one step, and a base begins where a place is not fixed.

A container's last numbers stay open: an extension adds its own to them, so that the kernel reads all of them in one
call. What must be known of them to tell the extensions apart is read before, alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from flight.core.errors import OrbitnodeError
from flight.kernels import FieldSpec
from ground.recording.definitions.conditions import bound, bound_amount
from ground.recording.definitions.criteria import Amount, Fixed, Rest
from ground.recording.definitions.entries import Container, Entry, From, Group, Location
from ground.recording.definitions.operations import (
    Include,
    Operation,
    Place,
    Program,
    Repeat,
    Size,
    Skip,
    Take,
    TakeOctets,
)
from ground.recording.definitions.parameters import BlankEncoding, NumberEncoding, OctetsEncoding, Parameter
from ground.recording.definitions.state import END, Run, Slot, Test

PACKET_BITS_MAX = 8 * 65542  # CCSDS 133.0-B-2, 4.1.3: a header of 6 octets, data of 1 to 65536
_SLOTS_MAX = 1 << 16  # of all containers together
_DEPTH_MAX = 64


@dataclass(frozen=True, slots=True)
class Node:
    """A container as a walk. operations: what it adds to its base's; probe: what must be read then to choose between
    `choices`; tail: what is left to read if it is not extended. extent: how far its entries reach, (base, bits).
    """

    name: str
    is_abstract: bool
    operations: tuple[Operation, ...]
    probe: Run | None
    choices: tuple[tuple[Test | None, Node], ...]
    tail: tuple[Operation, ...]
    slots: tuple[Slot, ...]
    extent: tuple[tuple[int, int], ...]


class _Numbers:
    """Numbers of slots, shared by everything that is built together."""

    def __init__(self) -> None:
        self.used = 0

    def next(self, where: str) -> int:
        self.used += 1
        if self.used > _SLOTS_MAX:
            raise OrbitnodeError(
                f"{where}: more than {_SLOTS_MAX} entries in all, one inside of another counted each time"
            )
        return self.used - 1


class Builder:
    """Takes entries in their order. A part that repeats or depends on a condition has a builder of its own."""

    def __init__(self, numbers: _Numbers, seen: Mapping[str, Slot], at: int = 0, *, is_part: bool = False) -> None:
        self._numbers = numbers
        self._seen = dict(seen)
        self._operations: list[Operation] = []
        self._open: list[tuple[Slot, int]] = []
        self._open_base = 0
        self._base, self._at = 0, at
        self._bases = 1
        self._is_part = is_part
        self._starts: list[tuple[int, int]] = [(0, at)]  # of the containers around this place
        self.slots: list[Slot] = []
        self.extent: dict[int, int] = {0: at}
        self._read: dict[int, int] = {}  # how far each base's entries are read, or checked otherwise

    def extended(self) -> Builder:
        """A builder that goes on from here, for an extension; this one may go on as well."""
        other = Builder(self._numbers, self._seen)
        other._open, other._open_base = list(self._open), self._open_base
        other._base, other._at, other._bases = self._base, self._at, self._bases
        other._starts = list(self._starts)
        other.slots, other.extent = list(self.slots), dict(self.extent)
        return other

    def node(self, container: Container, depth: int = 0) -> Node:
        """The walk of a container that starts here, and of all its extensions."""
        if depth > _DEPTH_MAX:
            raise OrbitnodeError(
                f"{container.where}: extends another container, and so on, more than {_DEPTH_MAX} times"
            )
        for entry in container.entries:
            self.add(entry)
        tests = [None if one is None else bound(one, self._seen) for one, _ in container.extensions]
        asked = frozenset().union(*(test.slots for test in tests if test is not None))
        probed = [(slot, at) for slot, at in self._open if slot.number in asked]
        operations = tuple(self._operations)
        choices = tuple(
            (test, self.extended().node(other, depth + 1))
            for test, (_, other) in zip(tests, container.extensions, strict=True)
        )
        self._operations = []
        self._close()
        return Node(
            container.name, container.is_abstract, operations, Run(self._open_base, probed) if probed else None,
            choices, tuple(self._operations), tuple(self.slots), tuple(self.extent.items()),
        )  # fmt: skip

    def program(self) -> Program:
        """The walk of a part; it asks nothing more after this."""
        self._close()
        size = self._at if self._base == 0 else None
        unread = tuple((base, at) for base, at in self.extent.items() if at > self._read.get(base, 0))
        return Program(tuple(self._operations), tuple(self.slots), (self._base, self._at), size, unread)

    def add(self, entry: Entry) -> None:
        before, extent = (self._base, self._at), dict(self.extent)
        if entry.location is not None:
            self._move(entry.location, entry)
        if entry.include is not None:
            self.extent = extent  # what is not there reaches nowhere
        if entry.include is not None:
            self._include(entry, before)
        elif entry.count is not None:
            self._repeat(entry, entry.count)
        elif isinstance(entry.item, Group):
            self._group(entry.item, entry.where)
        else:
            self._parameter(entry.item, entry.where)

    def _group(self, group: Group, where: str) -> None:
        if len(self._starts) > _DEPTH_MAX:
            raise OrbitnodeError(f"{where}: container {group.name} is inside of itself, or of more than {_DEPTH_MAX}")
        self._starts.append((self._base, self._at))
        for entry in group.entries:
            self.add(entry)
        self._starts.pop()

    def _move(self, location: Location, entry: Entry) -> None:
        where = entry.where
        if location.origin is From.START:
            base, at = self._starts[-1]
            self._base, self._at = base, at + location.bits
        elif location.origin is From.PREVIOUS:
            self._at += location.bits
        elif self._is_part or len(self._starts) > 1:
            raise OrbitnodeError(
                f"{where}: a location from the end of a container that is inside of another is not supported; "
                "give it from containerStart or previousEntry"
            )
        else:
            # From the container's end on it is the end of the entry that the location means.
            self._base, self._at = END, -location.bits - _fixed_bits(entry)
        if self._base == 0 and not 0 <= self._at <= PACKET_BITS_MAX and not self._is_part:
            raise OrbitnodeError(f"{where}: begins at bit {self._at}, a packet has 0..{PACKET_BITS_MAX}")
        self._advance(0, where)

    def _advance(self, bits: int, where: str) -> None:
        self._at += bits
        if abs(self._at) > (PACKET_BITS_MAX if self._base == 0 else PACKET_BITS_MAX - 64):
            raise OrbitnodeError(f"{where}: ends at bit {self._at}, a packet has {PACKET_BITS_MAX}")
        self.extent[self._base] = max(self._at, self.extent.get(self._base, self._at))

    def _slot(self, parameter: Parameter, where: str, *, is_ragged: bool = False) -> Slot:
        slot = Slot(self._numbers.next(where), parameter, is_ragged)
        if parameter.contexts:
            # A context may ask for the raw value that it is to calibrate.
            raw = replace(slot, parameter=replace(parameter, calibrator=None, contexts=()))
            seen = {**self._seen, parameter.key: raw}
            slot = replace(slot, contexts=tuple(bound(criterion, seen) for criterion, _ in parameter.contexts))
        self._seen[parameter.key] = slot
        self.slots.append(slot)
        return slot

    def _parameter(self, parameter: Parameter, where: str) -> None:
        how = parameter.encoding
        if isinstance(how, BlankEncoding):
            size, place = self._size(how.size, where)
            if place.new_base is not None:
                self._operations.append(Skip(place, size))
            self._seen[parameter.key] = Slot(-1, parameter)  # whoever asks for it is told why not
        elif isinstance(how, OctetsEncoding):
            self._octets(parameter, how, where)
        else:
            if self._open and self._open_base != self._base:
                self._close()
            self._open_base = self._base
            self._check(how, where)
            self._open.append((self._slot(parameter, where), self._at))
            self._advance(how.bits, where)
            self._is_read()

    def _is_read(self) -> None:
        self._read[self._base] = max(self._at, self._read.get(self._base, 0))

    def _check(self, how: NumberEncoding, where: str) -> None:
        """That the kernel can read it."""
        try:
            FieldSpec("", 0, how.bits, how.kind, how.order)
        except ValueError as error:
            raise OrbitnodeError(f"{where}:{str(error).removeprefix('field :')}") from None

    def _size(self, amount: Amount, where: str) -> tuple[Size, Place]:
        """A size in bits, and the place of what has it; whatever follows goes on behind it."""
        if isinstance(amount, Fixed):
            if not 0 <= amount.value <= PACKET_BITS_MAX:
                raise OrbitnodeError(f"{where}: a size of {amount.value} bits, a packet has {PACKET_BITS_MAX}")
            place = Place(self._base, self._at, None)
            self._advance(amount.value, where)
            return Size(amount.value), place
        self._close()
        return self._bound(amount), self._new_base()

    def _bound(self, amount: Amount) -> Size:
        if isinstance(amount, Fixed):
            return Size(amount.value)
        if isinstance(amount, Rest):
            return Size(footer_bits=amount.footer_bits, unit_bits=amount.unit_bits)
        return Size(amount=bound_amount(amount, self._seen))

    def _new_base(self) -> Place:
        place = Place(self._base, self._at, self._bases)
        self._base, self._at = self._bases, 0
        self._bases += 1
        self.extent[self._base] = 0
        return place

    def _octets(self, parameter: Parameter, how: OctetsEncoding, where: str) -> None:
        if how.size is None:
            self._close()
            size, place = None, self._new_base()
        else:
            size, place = self._size(how.size, where)
        slot = self._slot(parameter, where, is_ragged=True)
        length = None
        if how.leading_bits:
            leading = Parameter(parameter.key, parameter.name, NumberEncoding(how.leading_bits))
            self._check(NumberEncoding(how.leading_bits), where)
            length = Run(0, [(Slot(slot.number, leading), 0)])
        self._operations.append(TakeOctets(slot, place, size, length))
        self._is_read()

    def _part(self, entry: Entry) -> Builder:
        self._close()
        part = Builder(self._numbers, self._seen, is_part=True)
        part._starts *= len(self._starts)  # as deep as this place
        part.add(entry)
        return part

    def _include(self, entry: Entry, before: tuple[int, int]) -> None:
        assert entry.include is not None
        self._close()
        test = bound(entry.include, self._seen)
        part = self._part(replace(entry, include=None, location=None))
        program = part.program()
        for slot in part.slots:
            optional = replace(slot, is_optional=True)
            self.slots.append(optional)
            self._seen[slot.parameter.key] = optional
        self._operations.append(Include(self._new_base(), before, test, program))

    def _repeat(self, entry: Entry, amount: Amount) -> None:
        self._close()
        count = self._bound(amount)
        part = self._part(replace(entry, count=None, location=None))
        program = part.program()
        stride = None if program.size is None else program.size + entry.gap_bits
        if stride is not None and stride <= 0:
            raise OrbitnodeError(f"{entry.where}: repeats {stride} bits")
        if any(isinstance(one, Repeat) and one.name for one in program.operations):
            raise OrbitnodeError(f"{entry.where}: repeats entries of which some repeat and hold texts or binary data")
        is_table = any(slot.is_ragged or slot.is_optional for slot in part.slots)
        for slot in part.slots:
            repeated = replace(slot, is_ragged=True, is_repeated=True)
            if not is_table:
                self.slots.append(repeated)
            self._seen[slot.parameter.key] = repeated
        if count.fixed is not None and stride is not None:
            if not 0 <= count.fixed * stride <= PACKET_BITS_MAX:
                raise OrbitnodeError(
                    f"{entry.where}: {count.fixed} times {stride} bits, a packet has {PACKET_BITS_MAX}"
                )
            place = Place(self._base, self._at, None)
            self._advance(count.fixed * stride - (entry.gap_bits if count.fixed else 0), entry.where)
            self._is_read()
        else:
            place = self._new_base()
        name = entry.item.name if is_table else ""
        self._operations.append(Repeat(place, count, entry.gap_bits, program, name, column_names(part.slots)))

    def _close(self) -> None:
        """What is open becomes a step."""
        if self._open:
            run = Run(self._open_base, self._open)
            self._operations.append(Take(run))
            self._open = []


def _fixed_bits(entry: Entry) -> int:
    how = entry.item.encoding if isinstance(entry.item, Parameter) else None
    times = 1 if entry.count is None else entry.count.value if isinstance(entry.count, Fixed) else None
    bits = None
    if isinstance(how, NumberEncoding):
        bits = how.bits
    elif isinstance(how, OctetsEncoding | BlankEncoding) and isinstance(how.size, Fixed):
        bits = how.size.value
    if bits is None or times is None:
        raise OrbitnodeError(f"{entry.where}: is located from its container's end, and its own size is not fixed")
    return bits * times + entry.gap_bits * max(times - 1, 0)


def built(container: Container) -> Node:
    """The walk of a container that nobody extends, and of all that extend it. Raises OrbitnodeError."""
    return Builder(_Numbers(), {}, container.starts_at).node(container)


def column_names(slots: Iterable[Slot]) -> dict[int, str]:
    """The column of each slot: its parameter's name; by its whole path if another parameter has that name; with a
    number if the same one stands there again.
    """
    names: dict[int, str] = {}
    taken: dict[str, str] = {}
    for slot in slots:
        if slot.parameter.left_out:
            continue
        name, key = slot.parameter.name, slot.parameter.key
        if taken.get(name, key) != key:
            name = key.strip("/").replace("/", ".")
        again, base = 2, name
        while name in taken:
            name, again = f"{base}.{again}", again + 1
        taken[name] = key
        names[slot.number] = name
    return names
