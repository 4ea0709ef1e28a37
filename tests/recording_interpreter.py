"""Read packets by their definition, one packet at a time and bit by bit: the plain model of the column decoder.

The columns that the decoder makes of all packets at once must equal what this model reads.
"""

# The model shares with the decoder only the description of packets (`ground.recording.definitions.entries`), and none
# of its methods, so that a fault in one is not a fault in both. The decoder plans places in advance and reads columns
# over many packets; here the bits of a packet are characters of a text, and an entry is read when its turn comes.
#
# `at` is the place of the next entry, `reach` the farthest place so far: entries may be placed backwards, and the
# packet must be long enough for the farthest. `starts` is a stack of the beginnings of containers and groups, from
# which entries that are placed "from the start" count. `seen` has the values that later conditions and sizes may refer
# to.

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from ground.recording.definitions.criteria import (
    AllOf,
    Amount,
    AnyOf,
    Compare,
    CompareTwo,
    Criterion,
    Fixed,
    Linear,
    Lookup,
    Reference,
    Rest,
)
from ground.recording.definitions.entries import Container, Entry, From, Group
from ground.recording.definitions.parameters import BlankEncoding, NumberEncoding, Parameter
from ground.recording.table import ColumnKind


class NotSound(Exception):
    """Raised if the packet ends too early, or is not a container of the definition."""


@dataclass
class Reading:
    """One packet. values: name and value of its entries, in the order of the definition."""

    bits: str
    at: int = 0
    reach: int = 0
    values: list[tuple[str, Any]] = field(default_factory=list)
    seen: dict[str, Any] = field(default_factory=dict)
    starts: list[int] = field(default_factory=lambda: [0])

    def take(self, count: int) -> str:
        """Return the next `count` bits. Raises NotSound if there are not that many."""
        if count < 0 or self.at < 0 or self.at + count > len(self.bits):
            raise NotSound
        bits = self.bits[self.at : self.at + count]
        self.move(self.at + count)
        return bits

    def move(self, at: int) -> None:
        """Go to this place."""
        self.at = at
        self.reach = max(self.reach, at)

    def container(self, container: Container) -> str:
        """Read a container and return the name of the container that the packet finally is."""
        for entry in container.entries:
            self.entry(entry)
        fitting = [other for asked, other in container.extensions if asked is None or self.met(asked)]
        if len(fitting) > 1 or (container.is_abstract and not fitting):
            raise NotSound
        if fitting:
            return self.container(fitting[0])
        if not 0 <= self.reach <= len(self.bits):
            raise NotSound
        return container.name

    def entry(self, entry: Entry) -> None:
        """Read one entry, with its condition, place and repetition."""
        if entry.include is not None and not self.met(entry.include):
            self.absent(entry.item)
            return
        if entry.location is not None:
            self.move(self.located(entry))
        if entry.count is None:
            self.once(entry.item)
            return
        count = self.amount(entry.count)
        if count < 0:
            raise NotSound
        inner: list[list[tuple[str, Any]]] = []
        outer, known = self.values, dict(self.seen)
        for turn in range(count):
            if turn:
                self.move(self.at + entry.gap_bits)
            self.values = []
            self.once(entry.item)
            inner.append(self.values)
        self.values, self.seen = outer, known
        name = entry.item.name
        self.values.append((name, inner))

    def located(self, entry: Entry) -> int:
        """Return the place of an entry that has one."""
        location = entry.location
        assert location is not None
        if location.origin is From.PREVIOUS:
            return self.at + location.bits
        if location.origin is From.START:
            return self.starts[-1] + location.bits
        assert isinstance(entry.item, Parameter)
        how = entry.item.encoding
        size = how.bits if isinstance(how, NumberEncoding) else self.amount(how.size)  # type: ignore[arg-type]
        return len(self.bits) - location.bits - size

    def absent(self, item: Parameter | Group) -> None:
        """Enter None for every value of an item that is not there."""
        if isinstance(item, Group):
            for entry in item.entries:
                self.absent(entry.item)
        elif not item.left_out:
            self.values.append((item.name, None))

    def once(self, item: Parameter | Group) -> None:
        """Read an item once: a parameter, or the entries of a group."""
        if isinstance(item, Group):
            self.starts.append(self.at)
            for entry in item.entries:
                self.entry(entry)
            self.starts.pop()
            return
        value = self.value(item)
        self.seen[item.key] = value
        if not item.left_out:
            self.values.append((item.name, value))

    def value(self, item: Parameter) -> Any:
        """Read the value of a parameter."""
        how = item.encoding
        if isinstance(how, BlankEncoding):
            size = self.amount(how.size)
            if size < 0:
                raise NotSound
            self.move(self.at + size)
            return None
        if isinstance(how, NumberEncoding):
            return number(self.take(how.bits), how)
        assert how.size is not None
        size = self.amount(how.size)
        raw = self.take(size)
        if size % 8:
            raise NotSound
        octets = bytes(int(raw[i : i + 8], 2) for i in range(0, len(raw), 8))
        return octets.decode(how.charset).encode() if how.kind is ColumnKind.TEXT else octets

    def amount(self, amount: Amount) -> int:
        """Return a count or a size; negative if it cannot be known."""
        if isinstance(amount, Fixed):
            return amount.value
        if isinstance(amount, Linear):
            value = self.asked(amount.reference)
            return -1 if value is None else int(value * amount.slope + amount.intercept)
        if isinstance(amount, Lookup):
            return next((value for asked, value in amount.rows if self.met(asked)), -1)
        assert isinstance(amount, Rest)
        remaining = len(self.bits) - amount.footer_bits - self.at
        return remaining // amount.unit_bits if remaining % amount.unit_bits == 0 else -1

    def asked(self, reference: Reference) -> Any:
        """Return the newest value of a parameter, None if there is none."""
        return self.seen.get(reference.key)

    def met(self, criterion: Criterion) -> bool:
        """Return whether a condition holds; false if a value in it is missing."""
        if isinstance(criterion, AllOf):
            return all(self.met(one) for one in criterion.parts)
        if isinstance(criterion, AnyOf):
            return any(self.met(one) for one in criterion.parts)
        if isinstance(criterion, CompareTwo):
            left, right = self.asked(criterion.first), self.asked(criterion.second)
        else:
            assert isinstance(criterion, Compare)
            left, right = self.asked(criterion.reference), float(criterion.value)
        if left is None or right is None:
            return False
        found: bool = {
            "==": left == right, "!=": left != right, "<": left < right, "<=": left <= right, ">": left > right,
            ">=": left >= right,
        }[criterion.operator]  # fmt: skip
        return found


def number(bits: str, how: NumberEncoding) -> int | float:
    """Return the number of these bits, which are in the order in which they lie in the packet."""
    if how.order != "big":
        octets = [bits[i : i + 8] for i in range(0, len(bits), 8)]
        places = range(len(octets)) if how.order == "little" else how.order
        bits = "".join(octet for _, octet in sorted(zip(places, octets, strict=True), reverse=True))
    value = int(bits, 2)
    if how.kind == "float":
        real: float = struct.unpack(">f" if len(bits) == 32 else ">d", value.to_bytes(len(bits) // 8, "big"))[0]
        return real
    if how.kind == "signed" and bits[0] == "1":
        value -= 1 << len(bits)
    return value


def interpreted(container: Container, packet: bytes) -> tuple[str, list[tuple[str, Any]]] | None:
    """Return the name of the container and the values of the packet; None if the packet is not sound."""
    reading = Reading("".join(f"{octet:08b}" for octet in packet), at=container.starts_at, reach=container.starts_at)
    reading.starts = [container.starts_at]
    try:
        return reading.container(container), reading.values
    except NotSound:
        return None
