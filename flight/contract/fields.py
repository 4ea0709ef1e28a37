"""Fields of packets: typed, named, laid out one after the other, big-endian (ECSS-E-ST-70-41C, 7.3).

Types are `u8 u16 u32 u64 i8 i16 i32 i64 f32 f64`, and these:

    str     one octet of length, then UTF-8
    time    CUC of 4 + 2 octets (CCSDS 301.0-B-4); a value is whole nanoseconds of TAI since 1958
    packet  one whole space packet, which says its own length
    rows    one octet that counts, then as many rows of `fields`; a value is a tuple of rows

An enumerated field travels as its number and is shown by its label.
"""

# One codec for node and ground, made of the declaration: `Layout` splits a row of fields into stretches of plain
# numbers, each packed by one struct, and a codec per field of varying length. Decoding gives values or DecodeError for
# any octets.
#
# Three ways to look at a value, and they differ on purpose:
#
# - `Field.admit` is for a command's arguments, which a person or a script wrote: labels become numbers, `minimum` and
#   `maximum` count, NaN and infinity are refused.
# - `misfit` is for telemetry of an app: it says what could not travel at all. Bounds of arguments do not count, a text
#   that is too long is cut, a count wraps around.
# - `Layout.encode` trusts the node's own code. A count travels modulo 2^bits, so that whoever counts need not know how
#   wide the field is. Anything else that does not fit is our own mistake and raises.
#
# That a field is the number of an event, a parameter and the like is declared, never read out of its name (ADR 0029).

from __future__ import annotations

import dataclasses
import json
import math
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol, Self, SupportsFloat, SupportsIndex

from flight.core.errors import DecodeError
from flight.link.space_packet import PACKET_OCTETS_MIN
from flight.link.time.time_code import CUC_OCTETS, TIME_NS_MAX, decode_cuc, encode_cuc

Scalar = int | float | str | bytes
Row = tuple[Scalar, ...]
Value = Scalar | tuple[Row, ...]
Plain = int | float | str  # what is shown to people: packets as hexadecimal text, rows one value each

_CODES = {
    "u8": "B", "u16": "H", "u32": "I", "u64": "Q",
    "i8": "b", "i16": "h", "i32": "i", "i64": "q",
    "f32": "f", "f64": "d",
}  # fmt: skip
TYPES = (*_CODES, "str", "time", "packet", "rows")
ROWS_MAX = 255
STRING_OCTETS_MAX = 255
_SHOWN_MAX = 60  # characters of a value in a message: the message must fit into a report
_FLOAT_MAX = {"f32": (2 - 2**-23) * 2.0**127, "f64": sys.float_info.max}


class Refers(StrEnum):
    """What a field's number is the number of. Other values in a document of other software are ignored."""

    STRUCTURE = "structure"  # of housekeeping, by its id
    HK_PARAMETER = "housekeeping parameter"  # a field of a structure, structure id * 256 + index
    SETTING = "setting"  # an on-board parameter
    SETTING_VALUE = "setting value"  # of the setting that stands before it in the row
    APPLICATION = "application"  # by its APID
    EVENT = "event"  # of the application that stands before it in the row, or else of the packet's own


class FieldError(ValueError):
    """A value that its field does not admit, or a field that is declared wrongly.

    The message names the field, the value, and what would be right.
    """


@dataclass(frozen=True, slots=True)
class Limits:
    """Intervals in the field's unit, ends included. Outside yellow is a warning, outside red an alarm."""

    yellow: tuple[float, float] | None = None
    red: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """One named value in a packet.

    `minimum` and `maximum` bound what a command argument may be. `limits` say when telemetry alarms. `refers` is one of
    `Refers`, empty for a value that stands for itself. Raises FieldError for a declaration that contradicts itself.
    """

    name: str
    type: str
    unit: str = ""
    text: str = ""
    labels: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    default: Value | None = None
    limits: Limits | None = None
    fields: tuple[Field, ...] = ()
    refers: str = ""

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise FieldError(f"field {self.name} is of type {self.type!r}, should be one of {', '.join(TYPES)}")
        if self.labels and not self.is_number:
            raise FieldError(f"field {self.name} is of type {self.type} and has labels, which are for numbers")
        if self.refers and (self.labels or not self.is_number):
            raise FieldError(f"field {self.name} refers to {self.refers}, which only plain numbers may")
        if bool(self.fields) != (self.type == "rows"):
            should = "should have" if self.type == "rows" else "only rows have"
            raise FieldError(f"field {self.name} of type {self.type}: {should} fields of its own")
        if any(getattr(field, "type", "") == "rows" for field in self.fields):
            raise FieldError(f"field {self.name} has rows in its rows, should be numbers, texts, times and packets")

    @property
    def is_number(self) -> bool:
        """Whether it is a plain number, of fixed length."""
        return self.type in _CODES

    def admit(self, value: object) -> Value:
        """Return `value` as this field carries it (labels become numbers). Raises FieldError if it may not be that."""
        if self.type == "str":
            if not isinstance(value, str) or not _fits(value):
                raise FieldError(f"{self.name}: {value!r} is not a text of at most {STRING_OCTETS_MAX} octets")
            return value
        if self.type == "rows":
            return self._admit_rows(value)
        if self.type == "packet":
            if not isinstance(value, bytes) or _packet_octets(value, 0) != len(value):
                raise FieldError(f"{self.name}: not one whole space packet")
            return value
        if self.labels and isinstance(value, str):
            if value not in self.labels:
                raise FieldError(f"{self.name}: {value!r} is not one of {', '.join(self.labels)}")
            return self.labels.index(value)
        # A bool is an int in Python, but nobody who writes True for a number means 1.
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FieldError(f"{self.name}: {value!r} is not a number")
        if self.type[0] != "f" and not (isinstance(value, int) or value.is_integer()):
            raise FieldError(f"{self.name}: {value!r} is not a whole number")
        low, high = self.bounds
        if not low <= value <= high:
            # An int beyond the largest float cannot be formatted as one.
            shown = f"{value:.15g}" if abs(value) <= _FLOAT_MAX["f64"] or isinstance(value, float) else "a huge number"
            bounds = f"{low:.15g} .. {high:.15g}{' ' * bool(self.unit)}{self.unit}"
            raise FieldError(f"{self.name}: {shown} is outside {bounds}")
        return float(value) if self.type[0] == "f" else int(value)

    def _admit_rows(self, value: object) -> tuple[Row, ...]:
        """Admit rows given as sequences in the fields' order, or as mappings by name."""
        if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) > ROWS_MAX:
            raise FieldError(f"{self.name}: {value!r} is not a list of at most {ROWS_MAX} rows")
        names = [f.name for f in self.fields]
        rows: list[Row] = []
        for i, row in enumerate(value):
            if isinstance(row, Mapping):
                if sorted(row) != sorted(names):
                    raise FieldError(
                        f"{self.name}[{i}]: has {', '.join(map(str, row))}, should have {', '.join(names)}"
                    )
                row = [row[name] for name in names]
            if not isinstance(row, Sequence) or isinstance(row, str | bytes) or len(row) != len(names):
                raise FieldError(f"{self.name}[{i}]: {row!r} is not a row of {', '.join(names)}")
            try:
                rows.append(tuple(_scalar(f.admit(v)) for f, v in zip(self.fields, row, strict=True)))
            except FieldError as error:
                raise FieldError(f"{self.name}[{i}].{error}") from None
        return tuple(rows)

    def label(self, value: Value) -> Plain:
        """Return the label of an enumerated value, octets as hexadecimal, rows as JSON, other values as they are."""
        if self.labels and isinstance(value, int) and 0 <= value < len(self.labels):
            return self.labels[value]
        if isinstance(value, tuple):
            return json.dumps([{f.name: f.label(v) for f, v in zip(self.fields, row, strict=True)} for row in value])
        return value.hex() if isinstance(value, bytes) else value

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value that `admit` takes, for a number or a time."""
        if self.labels:
            return 0, len(self.labels) - 1
        if self.type == "time":
            low, high = 0.0, float(TIME_NS_MAX)
        elif self.type[0] == "f":
            low, high = -_FLOAT_MAX[self.type], _FLOAT_MAX[self.type]
        else:
            bits = int(self.type[1:])
            low, high = (0, 2**bits - 1) if self.type[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return max(low, self.minimum) if self.minimum is not None else low, (
            min(high, self.maximum) if self.maximum is not None else high
        )

    def document(self) -> dict[str, Any]:
        """Return the field as it stands in the dictionary document. What is at its default is left out."""
        out: dict[str, Any] = {"name": self.name, "type": self.type}
        for key in ("unit", "text", "labels", "minimum", "maximum", "refers"):
            value = getattr(self, key)
            if value not in ("", (), None):
                out[key] = list(value) if key == "labels" else value
        if self.default is not None:
            out["default"] = list(map(list, self.default)) if isinstance(self.default, tuple) else self.default
        if self.fields:
            out["fields"] = [field.document() for field in self.fields]
        if self.limits is not None:
            out["limits"] = {
                k: list(v) for k, v in (("yellow", self.limits.yellow), ("red", self.limits.red)) if v is not None
            }
        return out

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read what `document` writes. Raises KeyError, TypeError or ValueError for anything else."""
        limits = document.get("limits")
        for key, kinds in _DOCUMENTED.items():
            value = document.get(key)
            if key in document and (isinstance(value, bool) or not isinstance(value, kinds)):
                should = " or ".join(kind.__name__ for kind in kinds)
                raise TypeError(f"{key} of a field is {value!r}, should be {should}")
        if not all(isinstance(label, str) for label in document.get("labels", ())):
            raise TypeError(f"labels of a field are {document['labels']!r}, should be texts")
        return cls(
            name=document["name"],
            type=document["type"],
            unit=document.get("unit", ""),
            text=document.get("text", ""),
            labels=tuple(document.get("labels", ())),
            minimum=document.get("minimum"),
            maximum=document.get("maximum"),
            default=_default(document.get("default")),
            limits=None if limits is None else Limits(**{k: _interval(v) for k, v in limits.items()}),
            fields=tuple(cls.from_document(field) for field in document.get("fields", ())),
            refers=document.get("refers", ""),
        )


# The types that the keys of a field's document may have.
_DOCUMENTED: Mapping[str, tuple[type, ...]] = {
    "name": (str,), "type": (str,), "unit": (str,), "text": (str,), "labels": (list, tuple),
    "minimum": (int, float), "maximum": (int, float), "default": (int, float, str, list),
    "refers": (str,),
}  # fmt: skip


def _default(value: Any) -> Any:
    return tuple(tuple(row) for row in value) if isinstance(value, list) else value


def _interval(value: Sequence[Any]) -> tuple[float, float]:
    low, high = value
    return float(low), float(high)


def _scalar(value: Value) -> Scalar:
    """Return a value of a row as it is. Raises FieldError for rows, which cannot be nested."""
    if isinstance(value, tuple):
        raise FieldError("rows hold no rows")
    return value


def misfit(fields: Sequence[Field], values: Sequence[object]) -> str:
    """Say why `values`, one per field and in order, cannot travel in `fields`; "" if they can.

    Names each field that is wrong, with its value and what would be right. Bounds of arguments do not count here, a
    text that is too long is cut, and a count that is too large wraps around (`Layout`).
    """
    if len(values) != len(fields):
        return _count_text(fields, len(values))
    return "; ".join(text for field, value in zip(fields, values, strict=True) if (text := _misfit(field, value)))


def _misfit(field: Field, value: object) -> str:
    if field.type == "str":
        return "" if isinstance(value, str) else f"{field.name}: {_short(value)} is not a text"
    if field.type == "rows":
        if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) > ROWS_MAX:
            return f"{field.name}: {_short(value)} is not a tuple of at most {ROWS_MAX} rows"
        for i, row in enumerate(value):
            if not isinstance(row, Sequence) or isinstance(row, str | bytes):
                names = ", ".join(f.name for f in field.fields)
                return f"{field.name}[{i}]: {_short(row)} is not a row of {names}"
            if text := misfit(field.fields, row):
                return f"{field.name}[{i}]: {text}"
        return ""
    if field.is_number:
        return _misfit_number(field, value)
    try:
        field.admit(value)
    except FieldError as error:
        return str(error)
    return ""


def _misfit_number(field: Field, value: object) -> str:
    """Judge a number as struct packs it, not as `admit` takes it. Numbers of numpy and the like are numbers."""
    if field.labels and isinstance(value, str):
        should = f"should be its number, {field.labels.index(value)}" if value in field.labels else "should be a number"
        return f"{field.name}: {_short(value)} is a text, {should}"
    if field.type[0] == "f":
        if not isinstance(value, SupportsFloat) or isinstance(value, str | bytes):
            return f"{field.name}: {_short(value)} is not a number"
        number, largest = float(value), _FLOAT_MAX[field.type]
        # A number that is not finite travels as it is: telemetry says so, and the ground shows it.
        held = not math.isfinite(number) or -largest <= number <= largest
        return "" if held else f"{field.name}: {number:g} is outside {-largest:.15g} .. {largest:.15g}"
    if not isinstance(value, SupportsIndex):
        return f"{field.name}: {_short(value)} is not a whole number of type int"
    number = value.__index__()
    low, high = replace(field, minimum=None, maximum=None).bounds  # those of the type alone
    if low <= number <= high or _gone_round(field, number) != number:
        return ""
    return f"{field.name}: {_short(number)} is outside {low:.15g} .. {high:.15g}"


def _count_text(fields: Sequence[Field], count: int) -> str:
    values, names = f"{count} value{'s' * (count != 1)}", ", ".join(field.name for field in fields)
    return f"{values}, should be {len(fields)}: {names}" if names else f"{values}, should be none"


def _short(value: object) -> str:
    """Write a value for a message, without line ends and cut to a length."""
    text = ascii(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."


def _fits(text: str) -> bool:
    try:
        return len(text.encode()) <= STRING_OCTETS_MAX
    except UnicodeEncodeError:
        return False


def _gone_round(field: Field, value: Value) -> Value:
    """Return a count modulo what its field holds, any other value as it is."""
    if field.type[0] != "u" or field.labels or not isinstance(value, int) or value < 0:
        return value
    return value % (1 << int(field.type[1:]))


def _packet_octets(octets: bytes | memoryview, at: int) -> int:
    """Return the length of the space packet that starts at `at`, by its own header; 0 if that is not a whole header."""
    # The first 3 bits are the packet version number, which is 0 (CCSDS 133.0-B-2, 4.1.3.2).
    if len(octets) - at < PACKET_OCTETS_MIN or octets[at] >> 5:
        return 0
    return (octets[at + 4] << 8 | octets[at + 5]) + PACKET_OCTETS_MIN


@dataclass(frozen=True, slots=True)
class Layout:
    """A row of fields and its codec. `encode` takes one value per field, in order.

    An unsigned number that its field cannot hold is a count that has gone round, and travels modulo 2^bits. Any other
    number that does not fit is our own mistake.
    """

    fields: tuple[Field, ...]
    _runs: tuple[tuple[struct.Struct, int] | _Varying, ...] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_runs", tuple(self._split()))

    def _split(self) -> list[tuple[struct.Struct, int] | _Varying]:
        """Return each stretch of numbers as one struct and its count, and every other field as its own codec."""
        runs: list[tuple[struct.Struct, int] | _Varying] = []
        codes = ""
        for each in (*self.fields, None):  # None ends the last stretch
            if each is not None and each.is_number:
                codes += _CODES[each.type]
                continue
            if codes:
                runs.append((struct.Struct(">" + codes), len(codes)))
                codes = ""
            if each is not None:
                runs.append(_Rows(Layout(each.fields)) if each.type == "rows" else _VARYING[each.type])
        return runs

    def encode(self, values: Sequence[Value]) -> bytes:
        """Return the octets of `values`. A text over 255 octets is cut, a count wraps around.

        Raises struct.error or OverflowError for a signed, enumerated or real number that does not fit, FieldError for
        too few or too many values.
        """
        if len(values) != len(self.fields):
            raise FieldError(_count_text(self.fields, len(values)))
        out, at = [], 0
        for run in self._runs:
            if isinstance(run, tuple):
                packer, count = run
                numbers = values[at : at + count]
                try:
                    out.append(packer.pack(*numbers))
                except struct.error:  # a count may have gone round: only then are all values looked at
                    out.append(packer.pack(*map(_gone_round, self.fields[at : at + count], numbers)))
                at += count
            else:
                out.append(run.encode(values[at]))
                at += 1
        return b"".join(out)

    def decode(self, octets: bytes | memoryview) -> tuple[Value, ...]:
        """Return one value per field. Raises DecodeError if the octets are too few, too many or not UTF-8."""
        values, at = self.decode_from(octets, 0)
        if at != len(octets):
            raise DecodeError(f"{len(octets)} octets of data, fields end at {at}")
        return values

    def decode_from(self, octets: bytes | memoryview, at: int) -> tuple[tuple[Value, ...], int]:
        """Return the values that start at octet `at`, and the octet behind them. Raises DecodeError."""
        values: list[Value] = []
        for run in self._runs:
            if isinstance(run, tuple):
                packer = run[0]
                if at + packer.size > len(octets):
                    raise DecodeError(f"{len(octets)} octets of data, fields end at {at + packer.size}")
                values.extend(packer.unpack_from(octets, at))
                at += packer.size
            else:
                value, at = run.decode(octets, at)
                values.append(value)
        return tuple(values), at


class _Varying(Protocol):
    """Codec of a field that is not a plain number."""

    def encode(self, value: Any) -> bytes:
        """Return the octets of `value`."""

    def decode(self, octets: bytes | memoryview, at: int) -> tuple[Value, int]:
        """Return the value that starts at octet `at`, and the octet behind it. Raises DecodeError."""


class _Text:
    def encode(self, value: Any) -> bytes:
        # A lone surrogate (a file name that was not UTF-8, in an error's text) becomes a question mark. A character
        # that the cut would halve is left out.
        text = str(value).encode(errors="replace")[:STRING_OCTETS_MAX].decode(errors="ignore").encode()
        return bytes((len(text),)) + text

    def decode(self, octets: bytes | memoryview, at: int) -> tuple[Value, int]:
        end = at + 1 + octets[at] if at < len(octets) else len(octets) + 1
        if end > len(octets):
            raise DecodeError(f"text field ends at octet {end} of {len(octets)}")
        try:
            return bytes(octets[at + 1 : end]).decode(), end
        except UnicodeDecodeError as error:
            raise DecodeError(f"text field at octet {at}: {error.reason}") from None


class _Time:
    def encode(self, value: Any) -> bytes:
        return encode_cuc(value)

    def decode(self, octets: bytes | memoryview, at: int) -> tuple[Value, int]:
        end = at + CUC_OCTETS
        if end > len(octets):
            raise DecodeError(f"time field ends at octet {end} of {len(octets)}")
        return decode_cuc(octets[at:end]), end


class _Packet:
    def encode(self, value: Any) -> bytes:
        return bytes(value)

    def decode(self, octets: bytes | memoryview, at: int) -> tuple[Value, int]:
        count = _packet_octets(octets, at)
        if count == 0 or at + count > len(octets):
            raise DecodeError(
                f"packet field at octet {at} is not a whole space packet, {len(octets) - at} octets remain"
            )
        return bytes(octets[at : at + count]), at + count


class _Rows:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def encode(self, value: Any) -> bytes:
        if len(value) > ROWS_MAX:
            raise FieldError(f"{len(value)} rows, {ROWS_MAX} at most")
        return bytes((len(value),)) + b"".join(self._layout.encode(row) for row in value)

    def decode(self, octets: bytes | memoryview, at: int) -> tuple[Value, int]:
        if at >= len(octets):
            raise DecodeError(f"count of rows at octet {at} of {len(octets)}")
        count, at = octets[at], at + 1
        rows: list[Row] = []
        for _ in range(count):
            values, at = self._layout.decode_from(octets, at)
            rows.append(tuple(map(_scalar, values)))
        return tuple(rows), at


_VARYING: Mapping[str, _Varying] = {"str": _Text(), "time": _Time(), "packet": _Packet()}
