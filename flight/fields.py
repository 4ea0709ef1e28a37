"""Fields of packets: typed, named, laid out one after the other, big-endian (ECSS-E-ST-70-41C, 7.3).

Types: `u8 u16 u32 u64 i8 i16 i32 i64 f32 f64`, and `str`: one octet of length, then UTF-8.
An enumerated field travels as its number and is shown by its label.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from flight.core.errors import DecodeError

Value = int | float | str

_CODES = {
    "u8": "B", "u16": "H", "u32": "I", "u64": "Q",
    "i8": "b", "i16": "h", "i32": "i", "i64": "q",
    "f32": "f", "f64": "d",
}  # fmt: skip
TYPES = (*_CODES, "str")
STRING_OCTETS_MAX = 255
_FLOAT_MAX = {"f32": (2 - 2**-23) * 2.0**127, "f64": sys.float_info.max}


class FieldError(ValueError):
    """A value that its field does not admit; the message names field, value and what would be right."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Yellow: outside is a warning. Red: outside is an alarm. Each a closed interval in the field's unit."""

    yellow: tuple[float, float] | None = None
    red: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """One named value in a packet.

    `minimum` and `maximum` bound what a command argument may be; `limits` say when telemetry alarms.
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

    def __post_init__(self) -> None:
        assert self.type in TYPES, self.type
        assert not self.labels or self.type[0] in "ui", self.name

    def admit(self, value: object) -> Value:
        """`value` as this field carries it (labels become numbers); raises FieldError."""
        if self.type == "str":
            if not isinstance(value, str) or not _fits(value):
                raise FieldError(f"{self.name}: {value!r} is not a text of at most {STRING_OCTETS_MAX} octets")
            return value
        if self.labels and isinstance(value, str):
            if value not in self.labels:
                raise FieldError(f"{self.name}: {value!r} is none of {', '.join(self.labels)}")
            return self.labels.index(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FieldError(f"{self.name}: {value!r} is not a number")
        if self.type[0] != "f" and not (isinstance(value, int) or value.is_integer()):
            raise FieldError(f"{self.name}: {value!r} is not a whole number")
        low, high = self._bounds()
        if not low <= value <= high:
            shown = f"{value:g}" if abs(value) <= _FLOAT_MAX["f64"] or isinstance(value, float) else "a huge number"
            raise FieldError(f"{self.name}: {shown} is outside {low:g} .. {high:g}{' ' * bool(self.unit)}{self.unit}")
        return float(value) if self.type[0] == "f" else int(value)

    def label(self, value: Value) -> Value:
        """The label of an enumerated value, any other value as it is."""
        if self.labels and isinstance(value, int) and 0 <= value < len(self.labels):
            return self.labels[value]
        return value

    def _bounds(self) -> tuple[float, float]:
        if self.labels:
            return 0, len(self.labels) - 1
        if self.type[0] == "f":
            low, high = -_FLOAT_MAX[self.type], _FLOAT_MAX[self.type]
        else:
            bits = int(self.type[1:])
            low, high = (0, 2**bits - 1) if self.type[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return max(low, self.minimum) if self.minimum is not None else low, (
            min(high, self.maximum) if self.maximum is not None else high
        )

    def document(self) -> dict[str, Any]:
        """The field as it stands in the dictionary document; what is at its default is left out."""
        out: dict[str, Any] = {"name": self.name, "type": self.type}
        for key in ("unit", "text", "labels", "minimum", "maximum", "default"):
            value = getattr(self, key)
            if value not in ("", (), None):
                out[key] = list(value) if key == "labels" else value
        if self.limits is not None:
            out["limits"] = {
                k: list(v) for k, v in (("yellow", self.limits.yellow), ("red", self.limits.red)) if v is not None
            }
        return out

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `document`. Raises KeyError, TypeError, ValueError or AssertionError for anything else."""
        limits = document.get("limits")
        for key, kinds in _DOCUMENTED.items():
            value = document.get(key)
            if key in document and (isinstance(value, bool) or not isinstance(value, kinds)):
                raise TypeError(f"{key} of a field is {value!r}")
        if not all(isinstance(label, str) for label in document.get("labels", ())):
            raise TypeError(f"labels of a field are {document['labels']!r}")
        return cls(
            name=document["name"],
            type=document["type"],
            unit=document.get("unit", ""),
            text=document.get("text", ""),
            labels=tuple(document.get("labels", ())),
            minimum=document.get("minimum"),
            maximum=document.get("maximum"),
            default=document.get("default"),
            limits=None if limits is None else Limits(**{k: _interval(v) for k, v in limits.items()}),
        )


# What the keys of a field's document may be.
_DOCUMENTED: Mapping[str, tuple[type, ...]] = {
    "name": (str,), "type": (str,), "unit": (str,), "text": (str,), "labels": (list, tuple),
    "minimum": (int, float), "maximum": (int, float), "default": (int, float, str),
}  # fmt: skip


def _interval(value: Sequence[Any]) -> tuple[float, float]:
    low, high = value
    return float(low), float(high)


def _fits(text: str) -> bool:
    try:
        return len(text.encode()) <= STRING_OCTETS_MAX
    except UnicodeEncodeError:
        return False


@dataclass(frozen=True, slots=True)
class Layout:
    """A row of fields and its codec. `encode` takes one value a field, in order."""

    fields: tuple[Field, ...]
    _runs: tuple[tuple[struct.Struct, int] | None, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_runs", tuple(self._split()))

    def _split(self) -> list[tuple[struct.Struct, int] | None]:
        """Stretches of numbers as one struct and its count, None for each text."""
        runs: list[tuple[struct.Struct, int] | None] = []
        codes = ""
        for one in (*self.fields, None):
            if one is not None and one.type != "str":
                codes += _CODES[one.type]
                continue
            if codes:
                runs.append((struct.Struct(">" + codes), len(codes)))
                codes = ""
            if one is not None:
                runs.append(None)
        return runs

    def encode(self, values: Sequence[Value]) -> bytes:
        """Octets of `values`. A text over 255 octets is cut; a number that does not fit is our own mistake."""
        assert len(values) == len(self.fields), (len(values), [f.name for f in self.fields])
        out, at = [], 0
        for run in self._runs:
            if run is None:
                # A lone surrogate (a file name that was no UTF-8, in an error's text) becomes a question mark.
                text = str(values[at]).encode(errors="replace")[:STRING_OCTETS_MAX].decode(errors="ignore").encode()
                out.append(bytes((len(text),)) + text)
                at += 1
            else:
                packer, count = run
                out.append(packer.pack(*values[at : at + count]))
                at += count
        return b"".join(out)

    def decode(self, octets: bytes | memoryview) -> tuple[Value, ...]:
        """One value a field; raises DecodeError where the octets are too few, too many or no UTF-8."""
        values: list[Value] = []
        at = 0
        for run in self._runs:
            if run is None:
                end = at + 1 + octets[at] if at < len(octets) else len(octets) + 1
                if end > len(octets):
                    raise DecodeError(f"text field ends at octet {end} of {len(octets)}")
                try:
                    values.append(bytes(octets[at + 1 : end]).decode())
                except UnicodeDecodeError as error:
                    raise DecodeError(f"text field at octet {at}: {error.reason}") from None
                at = end
            else:
                packer = run[0]
                if at + packer.size > len(octets):
                    raise DecodeError(f"{len(octets)} octets of data, fields end at {at + packer.size}")
                values.extend(packer.unpack_from(octets, at))
                at += packer.size
        if at != len(octets):
            raise DecodeError(f"{len(octets)} octets of data, fields end at {at}")
        return tuple(values)
