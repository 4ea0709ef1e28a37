"""Compiles entries into a walk: a few steps, each of which handles all packets of a batch."""

# How entries become steps:
#   places    are (base, bits). Base 0 is the start of the packet. An entry whose size depends on the packet ends the
#             current base and begins a new one; everything at one base is at the same distance in all packets.
#   numbers   that lie at one base stay open (`_open`) until something else must be read; then they become one `Take`,
#             one call of the kernel. A container's last numbers stay open at its end: an extension adds its own to
#             them. What tells the extensions apart is read before that, alone (`probe`).
#   parts     that repeat or depend on a condition have a Builder of their own, whose base 0 is their start.
#
# What is checked here, so that walks need not: every place is inside the longest packet there can be, sizes and counts
# that are fixed fit into it, references lead to values that stand before. `extent` keeps how far entries reach at each
# base: at the end of a walk, packets must be that long, also for bits that nobody reads.
#
# Bounds: _SLOTS_MAX entries and _DEPTH_MAX containers inside one another. XTCE containers that include each other twice
# grow exponentially, from a file of a few lines.

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
    """A container as a walk.

    operations: steps that it adds to those of its base.
    probe: what must be read after them to choose between `choices`, the extensions with their tests.
    tail: steps that remain if the packet is not an extension.
    slots: of its base and itself. extent: how far its entries reach, as (base, bits).
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
    """Gives out the numbers of slots; shared by everything that is built together."""

    def __init__(self) -> None:
        self.used = 0

    def next(self, where: str) -> int:
        """Return the next number. Raises OrbitnodeError if there are too many."""
        self.used += 1
        if self.used > _SLOTS_MAX:
            raise OrbitnodeError(
                f"{where}: more than {_SLOTS_MAX} entries in all, one inside of another counted each time"
            )
        return self.used - 1


class Builder:
    """Compiles entries in their order. A part that repeats or depends on a condition has a builder of its own."""

    def __init__(self, numbers: _Numbers, seen: Mapping[str, Slot], at: int = 0, *, is_part: bool = False) -> None:
        self._numbers = numbers
        self._seen = dict(seen)
        self._operations: list[Operation] = []
        self._open: list[tuple[Slot, int]] = []  # numbers not yet made a step, with their places at `_open_base`
        self._open_base = 0
        self._base, self._at = 0, at  # the place behind the entry added last
        self._bases = 1  # bases there are so far
        self._is_part = is_part
        self._starts: list[tuple[int, int]] = [(0, at)]  # places at which the containers around this place begin
        self.slots: list[Slot] = []
        self.extent: dict[int, int] = {0: at}
        self._read: dict[int, int] = {}  # by base: how far its entries are read, or checked otherwise

    def extended(self) -> Builder:
        """Return a builder that goes on from here, for an extension; this one may go on as well."""
        other = Builder(self._numbers, self._seen)
        other._open, other._open_base = list(self._open), self._open_base
        other._base, other._at, other._bases = self._base, self._at, self._bases
        other._starts = list(self._starts)
        other.slots, other.extent = list(self.slots), dict(self.extent)
        return other

    def node(self, container: Container, depth: int = 0) -> Node:
        """Build the walk of a container that starts here, and of all its extensions. Raises OrbitnodeError."""
        if depth > _DEPTH_MAX:
            raise OrbitnodeError(f"{container.where}: extends more than {_DEPTH_MAX} containers, one after another")
        for entry in container.entries:
            self.add(entry)
        tests = [None if criterion is None else bound(criterion, self._seen) for criterion, _ in container.extensions]
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
        """Build the walk of a part. Nothing can be added after this."""
        self._close()
        size = self._at if self._base == 0 else None
        unread = tuple((base, at) for base, at in self.extent.items() if at > self._read.get(base, 0))
        return Program(tuple(self._operations), tuple(self.slots), (self._base, self._at), size, unread)

    def add(self, entry: Entry) -> None:
        """Add the next entry. Raises OrbitnodeError, by its place in the file, if it cannot be decoded."""
        before, extent = (self._base, self._at), dict(self.extent)
        if entry.location is not None:
            self._move(entry.location, entry)
        if entry.include is not None:
            self.extent = extent  # a packet without the entry need not reach as far as its location
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
            raise OrbitnodeError(
                f"{where}: container {group.name} is inside itself, or inside more than {_DEPTH_MAX} others"
            )
        self._starts.append((self._base, self._at))
        for entry in group.entries:
            self.add(entry)
        self._starts.pop()

    def _move(self, location: Location, entry: Entry) -> None:
        """Go to the location of an entry. Raises OrbitnodeError if no packet has such a place."""
        where = entry.where
        if location.origin is From.START:
            base, at = self._starts[-1]
            self._base, self._at = base, at + location.bits
        elif location.origin is From.PREVIOUS:
            self._at += location.bits
        elif self._is_part or len(self._starts) > 1:
            raise OrbitnodeError(
                f"{where}: a location from the end of a container that is inside another one is not supported; "
                "give it from containerStart or previousEntry"
            )
        else:
            # Counted from the container's end, a location means the end of the entry, so its own size comes off too.
            self._base, self._at = END, -location.bits - _fixed_bits(entry)
        if self._base == 0 and not 0 <= self._at <= PACKET_BITS_MAX and not self._is_part:
            raise OrbitnodeError(f"{where}: begins at bit {self._at}, outside 0..{PACKET_BITS_MAX}")
        self._advance(0, where)

    def _advance(self, bits: int, where: str) -> None:
        """Go on by `bits`, and note how far entries reach. Raises OrbitnodeError if no packet is so long."""
        self._at += bits
        # At other bases a run adds up to 7 bits to a place (`Run`), so some room is kept.
        if abs(self._at) > (PACKET_BITS_MAX if self._base == 0 else PACKET_BITS_MAX - 64):
            raise OrbitnodeError(
                f"{where}: ends at bit {self._at}, beyond the {PACKET_BITS_MAX} bits of the longest packet"
            )
        self.extent[self._base] = max(self._at, self.extent.get(self._base, self._at))

    def _slot(self, parameter: Parameter, where: str, *, is_ragged: bool = False) -> Slot:
        slot = Slot(self._numbers.next(where), parameter, is_ragged)
        if parameter.contexts:
            # A context may refer to the raw value of the very parameter that it calibrates.
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
            self._seen[parameter.key] = Slot(-1, parameter)  # never read: a reference to it is refused with the reason
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
        """Raise OrbitnodeError if the kernel cannot read such a number."""
        try:
            FieldSpec("", 0, how.bits, how.kind, how.order)
        except ValueError as error:
            raise OrbitnodeError(f"{where}:{str(error).removeprefix('field :')}") from None

    def _size(self, amount: Amount, where: str) -> tuple[Size, Place]:
        """Return a size in bits and the place of what has it, and go on behind that."""
        if isinstance(amount, Fixed):
            if not 0 <= amount.value <= PACKET_BITS_MAX:
                raise OrbitnodeError(f"{where}: a size of {amount.value} bits is outside 0..{PACKET_BITS_MAX}")
            place = Place(self._base, self._at, None)
            self._advance(amount.value, where)
            return Size(amount.value), place
        self._close()
        return self._bound(amount), self._new_base()

    def _bound(self, amount: Amount) -> Size:
        """Bind an amount to the values that stand before this place. Raises OrbitnodeError."""
        if isinstance(amount, Fixed):
            return Size(amount.value)
        if isinstance(amount, Rest):
            return Size(footer_bits=amount.footer_bits, unit_bits=amount.unit_bits)
        return Size(amount=bound_amount(amount, self._seen))

    def _new_base(self) -> Place:
        """Return the current place, and go on at a new base, which the step at that place will set."""
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
        """Return a builder that has the entry as a part of its own, which may refer to what stands before."""
        self._close()
        part = Builder(self._numbers, self._seen, is_part=True)
        part._starts *= len(self._starts)  # so that the limit of depth counts the containers around the part
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
            raise OrbitnodeError(f"{entry.where}: each repetition takes {stride} bits, should be 1 or more")
        if any(isinstance(step, Repeat) and step.name for step in program.operations):
            raise OrbitnodeError(
                f"{entry.where}: repeats entries of which some repeat themselves and hold texts or binary data, "
                "which is not supported"
            )
        is_table = any(slot.is_ragged or slot.is_optional for slot in part.slots)
        for slot in part.slots:
            repeated = replace(slot, is_ragged=True, is_repeated=True)
            if not is_table:
                self.slots.append(repeated)
            self._seen[slot.parameter.key] = repeated
        if count.fixed is not None and stride is not None:
            if not 0 <= count.fixed * stride <= PACKET_BITS_MAX:
                raise OrbitnodeError(
                    f"{entry.where}: {count.fixed} times {stride} bits, should be 0..{PACKET_BITS_MAX} in all"
                )
            place = Place(self._base, self._at, None)
            self._advance(count.fixed * stride - (entry.gap_bits if count.fixed else 0), entry.where)
            self._is_read()
        else:
            place = self._new_base()
        name = entry.item.name if is_table else ""
        self._operations.append(Repeat(place, count, entry.gap_bits, program, name, column_names(part.slots)))

    def _close(self) -> None:
        """Make one step of the numbers that are open."""
        if self._open:
            run = Run(self._open_base, self._open)
            self._operations.append(Take(run))
            self._open = []


def _fixed_bits(entry: Entry) -> int:
    """Return the bits of an entry of fixed size. Raises OrbitnodeError for any other."""
    how = entry.item.encoding if isinstance(entry.item, Parameter) else None
    times = 1 if entry.count is None else entry.count.value if isinstance(entry.count, Fixed) else None
    bits = None
    if isinstance(how, NumberEncoding):
        bits = how.bits
    elif isinstance(how, OctetsEncoding | BlankEncoding) and isinstance(how.size, Fixed):
        bits = how.size.value
    if bits is None or times is None:
        raise OrbitnodeError(f"{entry.where}: is located from its container's end, but its own size is not fixed")
    return bits * times + entry.gap_bits * max(times - 1, 0)


def built(container: Container) -> Node:
    """Build the walk of a container at the root, and of everything that extends it. Raises OrbitnodeError."""
    return Builder(_Numbers(), {}, container.starts_at).node(container)


def column_names(slots: Iterable[Slot]) -> dict[int, str]:
    """Return the column name of each slot that has a column, by slot number.

    It is the parameter's name; its whole path if another parameter has that name; with `.2`, `.3` ... if the same
    parameter stands there again.
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
