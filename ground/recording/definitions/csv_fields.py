"""Reads packet definitions in the CSV form of ccsdspy 2: one line per field of one kind of packet.

    name, data_type, bit_length[, bit_offset]

data_type       uint, int, float, str or fill. With (N), (N, M), ... it is an array, its values in order. `uint(expand)`
                takes what remains of the packet but for the fields behind it; `uint(FIELD)` has as many values as an
                earlier field says
bit_offset      the place of each field, from the packet's first bit. Without this column fields follow one another from
                the end of the primary header on
byte_order      an addition of ours: big, little, or digits as ccsdspy's API has them: the place of each octet from the
                least significant on, 1 for the field's last place

`starts_at_data` is for files whose bit offsets count from the end of the primary header. Other columns are passed over
and listed as such. A str is shown without the zeros at its end; fill has no column.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from math import prod
from typing import Literal

from flight.core.errors import OrbitnodeError
from ground.recording.definitions.criteria import Amount, Fixed, Linear, Reference, Rest
from ground.recording.definitions.entries import Container, Entry, From, Location
from ground.recording.definitions.packet_tree import PacketTree
from ground.recording.definitions.parameters import (
    BITS_MAX,
    BlankEncoding,
    Encoding,
    NumberEncoding,
    OctetsEncoding,
    Parameter,
    half_float,
)
from ground.recording.definitions.walk_builder import PACKET_BITS_MAX
from ground.recording.table import ColumnKind

COLUMNS = ("name", "data_type", "bit_length")
HEADER = (
    ("CCSDS_VERSION_NUMBER", 3), ("CCSDS_PACKET_TYPE", 1), ("CCSDS_SECONDARY_FLAG", 1), ("CCSDS_APID", 11),
    ("CCSDS_SEQUENCE_FLAG", 2), ("CCSDS_SEQUENCE_COUNT", 14), ("CCSDS_PACKET_LENGTH", 16),
)  # fmt: skip
"""The fields of the primary header with their bits, under the names that ccsdspy gives them."""

_HEADER_BITS = 48
_TYPE = re.compile(r"\s*(uint|int|float|str|fill)\s*(?:\((.*)\))?\s*")
_KNOWN = {*COLUMNS, "bit_offset", "byte_order"}
_NUMBERS_MAX = 1 << 20  # in an array; more than a packet has bits
_LINES_MAX = 1 << 14  # fields of a packet

Order = Literal["big", "little"] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    """A field as it stands in the file. shape: of an array: numbers, `expand` or a field's name; else empty."""

    where: str
    name: str
    kind: str
    shape: str
    bits: int
    offset: int | None
    order: Order


def csv_definition(
    text: str, source: str, name: str, *, byte_order: str = "big", starts_at_data: bool = False,
    primary_header: bool = True,
) -> PacketTree:  # fmt: skip
    """Read the packets that a CSV file defines. Raises OrbitnodeError, by line and field.

    source: name of the file, for messages. name: of the table.
    byte_order: of fields that do not state their own.
    starts_at_data: bit offsets count from the end of the primary header.
    primary_header: give its fields as columns too.
    """
    order = _order(byte_order, source)
    lines, passed_over = _lines(text, source, order)
    notes = [f"{source}: column {column!r} is passed over" for column in passed_over]
    has_offsets = any(line.offset is not None for line in lines)
    if has_offsets and not starts_at_data and any((line.offset or 0) < _HEADER_BITS for line in lines):
        # Both meanings are in use, and the wrong one gives wrong values without a word: so it is pointed out.
        notes.append(
            f"{source}: bit offsets count from the packet's first bit, as ccsdspy has it, and some are inside its "
            "primary header of 48 bits; if they count from the end of that header, say so"
        )
    entries = list(_header() if primary_header else ())
    # An entry without bits moves the place behind the primary header, whether its fields are given or not.
    at = Parameter("start", "", BlankEncoding(Fixed(0)), left_out="no bits")
    entries.append(Entry(at, source, Location(From.START, _HEADER_BITS)))
    base = _HEADER_BITS if starts_at_data else 0
    for index, line in enumerate(lines):
        entries.append(_entry(line, lines[:index], lines[index + 1 :], base, has_offsets=has_offsets))
    return PacketTree(Container(name, tuple(entries), where=source), tuple(notes))


def _lines(text: str, source: str, order: Order) -> tuple[list[_Line], list[str]]:
    """Return the fields, and the names of columns that mean nothing here."""
    # Spreadsheets write a byte order mark in front of UTF-8.
    reader = csv.reader(StringIO(text.removeprefix("\ufeff")), skipinitialspace=True)
    try:
        head = [cell.strip() for cell in next(reader, [])]
        missing = [column for column in COLUMNS if column not in head]
        if missing:
            raise OrbitnodeError(
                f"{source}:1: not a file of fields: its first line lacks {', '.join(missing)}; "
                f"should have {', '.join(COLUMNS)}, and may have bit_offset and byte_order"
            )
        lines = []
        for row in reader:
            if any(cell.strip() for cell in row):
                cells = dict(zip(head, (cell.strip() for cell in row), strict=False))
                lines.append(_line(cells, f"{source}:{reader.line_num}", order, has_offset="bit_offset" in head))
            if len(lines) > _LINES_MAX:
                raise OrbitnodeError(f"{source}:{reader.line_num}: more than {_LINES_MAX} fields")
    except csv.Error as error:
        raise OrbitnodeError(f"{source}:{reader.line_num}: not CSV: {error}") from None
    if not lines:
        raise OrbitnodeError(f"{source}: has no fields, only a first line")
    # Names of columns must differ; fill has no column, and may share its name.
    seen: set[str] = {name for name, _ in HEADER}
    for line in lines:
        if line.name in seen and line.kind != "fill":
            what = "the primary header's" if line.name in {name for name, _ in HEADER} else "an earlier field's"
            raise OrbitnodeError(f"{line.where}: field {line.name!r} has {what} name")
        seen.add(line.name)
    return lines, [column for column in head if column not in _KNOWN]


def _line(cells: dict[str, str], where: str, order: Order, *, has_offset: bool) -> _Line:
    """Read one line. Raises OrbitnodeError, by line and field."""
    name = cells.get("name", "")
    if not name or not name.isprintable():
        what = f"named {name!r}, with a character that cannot be printed" if name else "without a name"
        raise OrbitnodeError(f"{where}: a field {what}")
    typed = _TYPE.fullmatch(cells.get("data_type", ""))
    if typed is None:
        raise OrbitnodeError(
            f"{where}: field {name} is of data_type {cells.get('data_type', '')!r}, should be uint, int, float, str or "
            "fill, or an array as uint(12, 24), uint(expand) or uint(FIELD)"
        )
    bits = _whole(cells.get("bit_length", ""), f"{where}: field {name}: bit_length")
    offset = _whole(cells.get("bit_offset", ""), f"{where}: field {name}: bit_offset") if has_offset else None
    own = cells.get("byte_order", "")
    return _Line(where, name, typed[1], (typed[2] or "").strip(), bits, offset, _order(own, where) if own else order)


def _whole(text: str, what: str) -> int:
    """Read a number of bits. Raises OrbitnodeError, which begins with `what`."""
    if not re.fullmatch(r"[0-9]{1,7}", text) or int(text) > PACKET_BITS_MAX:
        raise OrbitnodeError(f"{what} is {text!r}, should be a whole number, at most {PACKET_BITS_MAX}")
    return int(text)


def _order(text: str, where: str) -> Order:
    """Read a byte order. Raises OrbitnodeError if it has none of the forms."""
    if text in ("big", "little"):
        return text  # type: ignore[return-value]
    digits = [int(digit) for digit in text] if re.fullmatch("[1-8]{1,8}", text) else []
    if not digits or sorted(digits) != list(range(1, len(digits) + 1)):
        raise OrbitnodeError(
            f"{where}: byte order {text!r}, should be big, little, or digits: the place of each octet from the least "
            "significant on, 1 for the field's last place (4321 is little, of 32 bits)"
        )
    # ccsdspy lists places by significance; the kernel wants the significance of each place, first to last.
    return tuple(digits.index(len(digits) - place) for place in range(len(digits)))


def _header() -> Iterator[Entry]:
    for name, bits in HEADER:
        yield Entry(Parameter(name, name, NumberEncoding(bits)), "primary header")


def _entry(line: _Line, before: Sequence[_Line], after: Sequence[_Line], base: int, *, has_offsets: bool) -> Entry:
    """Make the entry of a field, which may depend on the fields before and after it. Raises OrbitnodeError."""
    location = None if line.offset is None else Location(From.START, line.offset + base)
    encoding = _encoding(line)
    # Fill may have any name any number of times, so its key is its place in the file.
    left_out = "fill" if line.kind == "fill" else ""
    parameter = Parameter(line.name if not left_out else line.where, line.name, encoding, left_out=left_out)
    if not line.shape:
        return Entry(parameter, line.where, location)
    if line.bits == 0:
        raise OrbitnodeError(f"{line.where}: field {line.name}: an array of values of 0 bits")
    count = _count(line, before, after)
    # Behind a field of varying length, a fixed offset would be wrong in most packets.
    if has_offsets and not isinstance(count, Fixed):
        raise OrbitnodeError(
            f"{line.where}: field {line.name} is of varying length, and the file has a column bit_offset; "
            "leave it out, and give every field of the packet"
        )
    if line.kind == "fill":
        if not isinstance(count, Fixed):
            raise OrbitnodeError(f"{line.where}: field {line.name}: a fill of varying length")
        blank = replace(parameter, encoding=BlankEncoding(Fixed(count.value * line.bits)))
        return Entry(blank, line.where, location)
    return Entry(parameter, line.where, location, count=count)


def _count(line: _Line, before: Sequence[_Line], after: Sequence[_Line]) -> Amount:
    """Return how many values an array has. Raises OrbitnodeError."""
    if line.shape == "expand":
        if any(other.shape == "expand" for other in before):
            raise OrbitnodeError(f"{line.where}: field {line.name}: a second array that expands; one at most can")
        footer = 0
        for other in after:
            fixed = _dimensions(other)
            if other.shape and fixed is None:
                raise OrbitnodeError(
                    f"{line.where}: field {line.name} takes what is left of the packet, "
                    f"but field {other.name} behind it is of varying length too"
                )
            footer += other.bits * (1 if fixed is None else fixed)
        return Rest(footer, line.bits)
    fixed = _dimensions(line)
    if fixed is not None:
        if not 1 <= fixed <= _NUMBERS_MAX:
            raise OrbitnodeError(f"{line.where}: field {line.name}: an array of {fixed} values, {_NUMBERS_MAX} at most")
        return Fixed(fixed)
    if all(other.name != line.shape for other in before):
        raise OrbitnodeError(
            f"{line.where}: field {line.name} has as many values as field {line.shape!r} says, "
            "which does not stand before it"
        )
    return Linear(Reference(line.shape, True, line.where), 1.0, 0.0)


def _dimensions(line: _Line) -> int | None:
    """Return the number of values of an array of fixed size; None for any other field."""
    parts = [part.strip() for part in line.shape.split(",")]
    if not line.shape or not all(re.fullmatch("[0-9]{1,7}", part) for part in parts):
        return None
    return prod(int(part) for part in parts)


def _encoding(line: _Line) -> Encoding:
    """Return how a field is encoded. Raises OrbitnodeError if its bits do not fit its type."""
    if line.kind == "fill":
        return BlankEncoding(Fixed(line.bits))
    if line.kind == "str":
        if line.bits % 8 or not line.bits:
            raise OrbitnodeError(f"{line.where}: field {line.name}: a str of {line.bits} bits, should be whole octets")
        return OctetsEncoding(ColumnKind.TEXT, Fixed(line.bits), strips=True)
    most = (16, 32, 64) if line.kind == "float" else range(1, BITS_MAX + 1)
    if line.bits not in most:
        right = "16, 32 or 64" if line.kind == "float" else f"1 to {BITS_MAX}"
        raise OrbitnodeError(f"{line.where}: field {line.name}: a {line.kind} of {line.bits} bits, should be {right}")
    order = line.order
    if order == "little" and line.bits == 8:
        order = "big"  # one octet has no order, and files write little for all of their fields
    if order != "big" and (line.bits % 8 or (isinstance(order, tuple) and len(order) != line.bits // 8)):
        raise OrbitnodeError(
            f"{line.where}: field {line.name}: its byte order does not fit {line.bits} bits; "
            "should be big, or name as many whole octets as the field has"
        )
    if line.kind == "float" and line.bits == 16:
        return NumberEncoding(16, "unsigned", order, half_float)  # the kernel reads floats of 32 and 64 bits only
    kinds: dict[str, Literal["unsigned", "signed", "float"]] = {"uint": "unsigned", "int": "signed", "float": "float"}
    return NumberEncoding(line.bits, kinds[line.kind], order)
