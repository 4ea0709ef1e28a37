"""Columns of many packets at once equal what an interpreter reads from one packet at a time, for any definition.

The definitions are drawn: numbers of all sizes and orders at any bit, octets, entries that lie before or behind their
usual place, on a condition, or repeated, containers that extend one another.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.core.errors import OrbitnodeError
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
    Operator,
    Reference,
    Rest,
)
from ground.recording.definitions.entries import Container, Entry, From, Group, Location
from ground.recording.definitions.packet_tree import PacketTree
from ground.recording.definitions.parameters import BlankEncoding, NumberEncoding, OctetsEncoding, Parameter
from ground.recording.packet_batch import NO_CHANNEL, PacketBatch
from ground.recording.table import Column, ColumnKind, Table
from tests.recording_interpreter import interpreted


@dataclass
class Scope:
    """What entries may refer to, and how many there are, so that each has a name of its own."""

    numbers: list[str] = field(default_factory=list)
    count: list[int] = field(default_factory=lambda: [0])

    def name(self) -> str:
        self.count[0] += 1
        return f"p{self.count[0]}"

    def inner(self) -> Scope:
        return Scope(list(self.numbers), self.count)


def reference(draw: st.DrawFn, scope: Scope) -> Reference:
    return Reference(draw(st.sampled_from(scope.numbers)), False, "drawn")


@st.composite
def number_encodings(draw: st.DrawFn, small: bool = False) -> NumberEncoding:
    if small:
        return NumberEncoding(draw(st.integers(1, 6)))
    kind = draw(st.sampled_from(("unsigned", "unsigned", "signed", "float")))
    bits = draw(st.sampled_from((32, 64)) if kind == "float" else st.integers(1, 64))
    octets = bits // 8
    order: Any = "big"
    if bits % 8 == 0:
        order = draw(st.sampled_from(("big", "big", "little", "other")))
        if order == "other":
            order = tuple(draw(st.permutations(range(octets))))
    return NumberEncoding(bits, kind, order)  # type: ignore[arg-type]


def criterion(draw: st.DrawFn, scope: Scope, depth: int = 0) -> Criterion:
    operator = draw(st.sampled_from(list(Operator)))
    kind = draw(st.sampled_from(("value", "value", "two", "all", "any"))) if depth < 2 else "value"
    if kind in ("all", "any"):
        parts = tuple(criterion(draw, scope, depth + 1) for _ in range(draw(st.integers(1, 2))))
        return AllOf(parts) if kind == "all" else AnyOf(parts)
    if kind == "two":
        return CompareTwo(reference(draw, scope), operator, reference(draw, scope))
    return Compare(reference(draw, scope), operator, str(draw(st.integers(0, 5))))


def amount(draw: st.DrawFn, scope: Scope, unit: int, most: int) -> Amount:
    """So many of `unit` bits."""
    if not scope.numbers or draw(st.booleans()):
        return Fixed(unit * draw(st.integers(0, most)))
    if draw(st.integers(0, 3)) == 0:
        rows = tuple((criterion(draw, scope), unit * draw(st.integers(0, most))) for _ in range(2))
        return Lookup(rows)
    return Linear(reference(draw, scope), float(unit), float(unit * draw(st.integers(-1, 1))))


def parameter(draw: st.DrawFn, scope: Scope) -> Parameter:
    name = scope.name()
    kind = draw(st.sampled_from(("small", "small", "number", "number", "octets", "text", "blank")))
    if kind in ("small", "number"):
        encoding = draw(number_encodings(kind == "small"))
        if kind == "small":
            scope.numbers.append(name)
        return Parameter(name, name, encoding)
    if kind == "blank":
        return Parameter(name, name, BlankEncoding(amount(draw, scope, 1, 9)), left_out="blank")
    what = ColumnKind.BINARY if kind == "octets" else ColumnKind.TEXT
    return Parameter(name, name, OctetsEncoding(what, amount(draw, scope, 8, 3), "latin-1"))


def entry(draw: st.DrawFn, scope: Scope, depth: int) -> Entry:
    shape = draw(st.sampled_from(("plain",) * 4 + ("group", "include", "repeat", "moved"))) if depth < 3 else "plain"
    if shape == "plain":
        return Entry(parameter(draw, scope), "drawn")
    if shape == "moved":
        origin = draw(st.sampled_from((From.PREVIOUS, From.START)))
        bits = draw(st.integers(-3, 9)) if origin is From.PREVIOUS else draw(st.integers(0, 40))
        return Entry(parameter(draw, scope), "drawn", Location(origin, bits))
    if shape == "include" and scope.numbers:
        asked = criterion(draw, scope)
        location = draw(st.sampled_from((None, Location(From.PREVIOUS, 2))))
        return Entry(content(draw, scope, depth), "drawn", location, asked)
    if shape == "repeat":
        count = amount(draw, scope, 1, 4)
        inner = scope.inner()
        gap = draw(st.sampled_from((0, 0, 3, 8)))
        return Entry(content(draw, inner, depth), "drawn", count=count, gap_bits=gap)
    return Entry(Group(scope.name(), tuple(entry(draw, scope, depth + 1) for _ in range(2))), "drawn")


def content(draw: st.DrawFn, scope: Scope, depth: int) -> Parameter | Group:
    if draw(st.booleans()):
        return parameter(draw, scope)
    return Group(scope.name(), tuple(entry(draw, scope, depth + 1) for _ in range(draw(st.integers(1, 2)))))


def container(draw: st.DrawFn, scope: Scope, depth: int = 0) -> Container:
    entries = [entry(draw, scope, 0) for _ in range(draw(st.integers(1, 4)))]
    if depth == 0 and draw(st.integers(0, 4)) == 0:
        last = Parameter(name := scope.name(), name, OctetsEncoding(ColumnKind.BINARY, Rest(16)))
        entries.append(Entry(last, "drawn"))
        end = Parameter(name := scope.name(), name, NumberEncoding(draw(st.integers(1, 16))))
        entries.append(Entry(end, "drawn", Location(From.END, draw(st.integers(0, 8)))))
    extensions = []
    if depth < 2:
        for _ in range(draw(st.integers(0, 5 if depth else 3))):
            asked = criterion(draw, scope) if scope.numbers else None
            extensions.append((asked, container(draw, scope.inner(), depth + 1)))
    is_abstract = bool(extensions) and draw(st.booleans())
    return Container(scope.name(), tuple(entries), is_abstract, tuple(extensions))


@st.composite
def definitions(draw: st.DrawFn) -> Container:
    """Half of them begin with the primary header of a space packet."""
    scope = Scope()
    made = container(draw, scope)
    if draw(st.booleans()):
        return made
    header = [Parameter(f"h{at}", f"h{at}", NumberEncoding(bits)) for at, bits in HEADER]
    scope.numbers = [one.key for one in header]
    extensions = [(criterion(draw, scope), container(draw, scope.inner(), 1)) for _ in range(draw(st.integers(1, 3)))]
    return Container("header", tuple(Entry(one, "drawn") for one in header), draw(st.booleans()), tuple(extensions))


def batch_of(packets: list[bytes]) -> PacketBatch:
    """Whatever octets, as if they were packets, with something in front of each."""
    octets = b"".join(b"\xa5\x5a\xff" + one for one in packets)
    length = np.array([len(one) for one in packets], np.uint32)
    offset = (np.cumsum(length.astype(np.uint64) + np.uint64(3)) - length).astype(np.uint64)
    words = [struct.unpack(">HH", one[:4]) for one in packets]
    apid, seq = (np.array([word[k] & mask for word in words], np.uint16) for k, mask in ((0, 0x7FF), (1, 0x3FFF)))
    flags = np.array([word[0] >> 11 << 2 & 0xC | word[1] >> 14 for word in words], np.uint8)
    return PacketBatch(octets, offset, length, apid, seq, flags, np.full(len(packets), NO_CHANNEL, np.uint8))


def value_of(column: Column, row: int) -> Any:
    if column.present is not None and not column.present[row]:
        return None
    if column.starts is None:
        return column.values[row].item()
    part = column.values[column.starts[row] : column.starts[row + 1]]
    return part.tolist() if column.kind is ColumnKind.NUMBER else part.tobytes()


def same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    return type(one) is type(other) and bool(one == other)


def check(values: list[tuple[str, Any]], table: Table, inner: dict[str, Table], index: int) -> None:
    """One packet's values beside row `index` of its table and the rows of the tables inside it."""
    for name, value in values:
        if value is None and name not in table.columns:
            continue  # of an entry that repeats, and is not in this packet
        if not isinstance(value, list):
            assert same(value_of(table.columns[name], index), value), (name, value)
            continue
        rows = inner.get(f"{table.name}.{name}")
        if rows is not None:
            mine = np.flatnonzero(rows.rows == table.rows[index])
            assert len(mine) == len(value), name
            for row, one in zip(mine, value, strict=True):
                check_inside(one, rows, int(row))
        else:
            check_ragged(value, table, index)


def check_inside(values: list[tuple[str, Any]], table: Table, row: int) -> None:
    for name, value in values:
        if isinstance(value, list):  # numbers that repeat inside of what repeats
            for part in {name for one in value for name, _ in one}:
                found = [one for turn in value for other, one in turn if other == part]
                assert same(value_of(table.columns[part], row), found), part
        else:
            assert same(value_of(table.columns[name], row), value), name


def check_ragged(value: list[list[tuple[str, Any]]], table: Table, index: int) -> None:
    for part in {name for one in value for name, _ in one}:
        found = [one for turn in value for other, one in turn if other == part]
        assert same(value_of(table.columns[part], index), found), part


HEADER = ((0, 3), (3, 1), (4, 1), (5, 11), (16, 2), (18, 14), (32, 16))
REFUSED = re.compile(r"stands in a repeated entry|of which some repeat|repetition takes (0|-\d+) bits|begins at bit")


def made(definition: Container) -> PacketTree | None:
    """None for one that is refused, of those that can be drawn."""
    try:
        return PacketTree(definition)
    except OrbitnodeError as error:
        if REFUSED.search(str(error)) is None:
            raise
        return None


@given(definitions(), st.data())
def test_columns_equal_one_packet_at_a_time(definition: Container, data: st.DataObject) -> None:
    tree = made(definition)
    if tree is None:
        return
    packets = data.draw(st.lists(st.binary(min_size=7, max_size=26), min_size=1, max_size=12))
    found = tree.decode(batch_of(packets))
    tables = {table.name: table for table in found.tables}
    assert len(tables) == len(found.tables)
    truth = [interpreted(definition, packet) for packet in packets]
    sound: dict[str, list[int]] = {}
    for row, one in enumerate(truth):
        if one is not None:
            sound.setdefault(one[0], []).append(row)
    containers = {name: table for name, table in tables.items() if "." not in name}
    assert {name: table.rows.tolist() for name, table in containers.items() if len(table)} == sound
    lost = sum(sum(table.damaged.values()) for table in containers.values()) + int(found.unknown.sum())
    assert lost == sum(one is None for one in truth)
    for name, rows in sound.items():
        for index, row in enumerate(rows):
            one = truth[row]
            assert one is not None
            check(one[1], tables[name], tables, index)


pytestmark = pytest.mark.filterwarnings("error")
