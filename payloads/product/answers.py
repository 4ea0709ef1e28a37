"""What a worker app answers to a tile: one of four kinds, declared by the app, and the same for every tile.

    Mask       a class per pixel, and the pixels of one class
    Table      any number of rows, such as detections
    Scalars    a few named numbers
    Octets     octets that the app alone understands, such as a picture

An answer travels from worker to node as plain octets:

    Mask       uint8 [row, column]
    Table      rows, each of its fields one after the other (flight/contract/fields.py)
    Scalars    one such row
    Octets     as they are
"""

# Everything follows from the declaration (ADR 0030): what `run` must return (payloads/worker/packing.py), how large the
# answer's place in shared memory is, how the node judges what it was given, which product is made of it, and what the
# ground does with that. A product carries the declaration, so that its file can be read without the mission that made
# it.
#
# `fault` runs in the flight loop, on octets from a process that nobody trusts. So it judges by their number, and a mask
# by one pass of `bytes.translate`: no numpy, no loop in Python. The values in a table are checked in the worker, whose
# word that is, and looked at again on the ground.
#
# A kind must be exactly one of the four classes, not a subclass: its methods would be the app's own code in the flight
# loop (payloads/worker/settings.py refuses it).

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from flight.contract.fields import Field
from flight.contract.names import (
    LABEL_RULE,
    OWNER_CHARACTERS_MAX,
    TEXT_CHARACTERS_MAX,
    is_label,
    is_name,
    name_rule,
)
from flight.core.errors import DecodeError, SetupError

CLASSES_MAX = 16
FIELDS_MAX = 32
OCTETS_MAX = 1 << 24  # of one answer: what a decoder may be made to allocate
DECLARATION_OCTETS_MAX = 60_000  # two octets in a product's head count it, and the app's name
_SUFFIX = re.compile(r"[a-z0-9]{1,8}")


class AnswerKind(Protocol):
    """What the four kinds have in common."""

    @property
    def kind(self) -> str:
        """The name of the kind in products, reports and messages."""

    def check(self) -> None:
        """Raise SetupError if the declaration is not possible."""

    def octets_max(self, height: int, width: int) -> int:
        """Return the most octets of an answer to a tile of `height` rows and `width` columns."""

    def fault(self, octets: bytes, height: int, width: int) -> str:
        """Say what is wrong with the octets of an answer, "" if nothing is. Quick: it runs in the flight loop."""

    def document(self) -> dict[str, Any]:
        """Return the declaration as a product carries it, JSON-ready."""


@dataclass(frozen=True, slots=True)
class Mask:
    """A class per pixel.

    Class 0 is what the tile was taken for. With `pixels`, its pixels are sent beside the mask, unless class 1 covers
    more of the tile than the mission's `cloudy_frac`.
    """

    classes: tuple[str, ...]
    pixels: bool = True
    kind = "mask"

    def check(self) -> None:
        """Raise SetupError if the declaration is not possible."""
        _check_tuple("classes", self.classes)
        if not 2 <= len(self.classes) <= CLASSES_MAX:
            raise SetupError(f"has {len(self.classes)} classes, should have 2 .. {CLASSES_MAX}")
        _check_names("class", self.classes)

    def octets_max(self, height: int, width: int) -> int:
        """Return one octet per pixel."""
        return height * width

    def fault(self, octets: bytes, height: int, width: int) -> str:
        """Say what is wrong with a mask, "" if nothing is."""
        if len(octets) != height * width:
            return f"mask of {len(octets)} octets, should be {height * width}"
        unknown = octets.translate(None, bytes(range(len(self.classes))))  # what remains without the known classes
        return f"mask with class {max(unknown)}, highest is {len(self.classes) - 1}" if unknown else ""

    def document(self) -> dict[str, Any]:
        """Return the declaration as a product carries it, JSON-ready."""
        return {"kind": self.kind, "classes": list(self.classes)}


SCREENING = Mask(("clear", "cloud", "shadow"))
"""The answer of a cloud screening app."""


@dataclass(frozen=True, slots=True)
class Table:
    """At most `rows_max` rows of numbers, in the order of `fields`. An empty table is an answer as well."""

    fields: tuple[Field, ...]
    rows_max: int
    kind = "table"

    @property
    def row_octets(self) -> int:
        """Octets of one row."""
        return row_octets(self.fields)

    def check(self) -> None:
        """Raise SetupError if the declaration is not possible."""
        _check_fields(self.fields)
        _check_declaration(self.document())
        _check_count("rows_max", self.rows_max, OCTETS_MAX // self.row_octets)

    def octets_max(self, _height: int, _width: int) -> int:
        """Return the octets of a full table."""
        return self.rows_max * self.row_octets

    def fault(self, octets: bytes, height: int, width: int) -> str:
        """Say what is wrong with the rows, "" if nothing is."""
        if len(octets) % self.row_octets:
            return f"table of {len(octets)} octets, should be whole rows of {self.row_octets}"
        if len(octets) > self.octets_max(height, width):
            return f"table of {len(octets) // self.row_octets} rows, at most {self.rows_max} were declared"
        return ""

    def document(self) -> dict[str, Any]:
        """Return the declaration as a product carries it, JSON-ready."""
        return {"kind": self.kind, "fields": _documents(self.fields)}


@dataclass(frozen=True, slots=True)
class Scalars:
    """One number per field."""

    fields: tuple[Field, ...]
    kind = "scalars"

    def check(self) -> None:
        """Raise SetupError if the declaration is not possible."""
        _check_fields(self.fields)
        _check_declaration(self.document())

    def octets_max(self, _height: int, _width: int) -> int:
        """Return the octets of the one row."""
        return row_octets(self.fields)

    def fault(self, octets: bytes, height: int, width: int) -> str:
        """Say what is wrong with the row, "" if nothing is."""
        expected = self.octets_max(height, width)
        return "" if len(octets) == expected else f"scalars of {len(octets)} octets, should be {expected}"

    def document(self) -> dict[str, Any]:
        """Return the declaration as a product carries it, JSON-ready."""
        return {"kind": self.kind, "fields": _documents(self.fields)}


@dataclass(frozen=True, slots=True)
class Octets:
    """At most `size_max` octets, which the app alone understands. The ground keeps them as a file named `*.suffix`."""

    size_max: int
    suffix: str = "bin"
    kind = "octets"

    def check(self) -> None:
        """Raise SetupError if the declaration is not possible."""
        _check_count("size_max", self.size_max, OCTETS_MAX)
        if not _SUFFIX.fullmatch(self.suffix):
            raise SetupError(f"suffix is {self.suffix!r}, should be 1 .. 8 lower-case letters and digits")

    def octets_max(self, _height: int, _width: int) -> int:
        """Return the declared maximum."""
        return self.size_max

    def fault(self, octets: bytes, _height: int, _width: int) -> str:
        """Say what is wrong with the octets, "" if nothing is."""
        return f"{len(octets)} octets, at most {self.size_max} were declared" if len(octets) > self.size_max else ""

    def document(self) -> dict[str, Any]:
        """Return the declaration as a product carries it, JSON-ready."""
        return {"kind": self.kind, "suffix": self.suffix}


AnyKind = Mask | Table | Scalars | Octets


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a product of records says about itself: the app's name, and how to read its answer."""

    app: str
    kind: str
    fields: tuple[Field, ...] = ()
    suffix: str = ""

    @classmethod
    def from_document(cls, document: Any) -> Self:
        """Read what `AnswerKind.document` gave, with the app's name. Raises DecodeError for anything else."""
        try:
            fields = tuple(Field.from_document(entry) for entry in document.get("fields", ()))
            declaration = cls(document["app"], document["kind"], fields, document.get("suffix", ""))
            if declaration.kind == "octets":
                Octets(1, declaration.suffix).check()
            elif declaration.kind in ("table", "scalars"):
                _check_fields(fields)
            else:
                raise SetupError(f"kind is {declaration.kind!r}, should be table, scalars or octets")
            _check_names("app", (declaration.app,))
        except (AttributeError, KeyError, TypeError, ValueError, SetupError) as error:
            raise DecodeError(f"product's declaration: {type(error).__name__}: {error}") from None
        return declaration


def _check_tuple(what: str, given: object) -> None:
    # A list could be changed after it was checked, and equals no tuple that is read from a product.
    if not isinstance(given, tuple):
        raise SetupError(f"{what} is {type(given).__name__}, should be a tuple")


def _check_count(what: str, count: object, most: int) -> None:
    if not isinstance(count, int) or isinstance(count, bool):
        raise SetupError(f"{what} is {count!r}, should be a whole number")
    if not 1 <= count <= most:
        raise SetupError(f"{what} is {count}, should be in 1 .. {most}")


def _check_declaration(document: Mapping[str, Any]) -> None:
    """Raise SetupError if the declaration is too long for a product."""
    octets = len(json.dumps(document))
    if octets > DECLARATION_OCTETS_MAX:
        raise SetupError(f"takes {octets} octets as JSON with all labels, {DECLARATION_OCTETS_MAX} at most")


def _check_fields(fields: tuple[Field, ...]) -> None:
    _check_tuple("fields", fields)
    if not 1 <= len(fields) <= FIELDS_MAX:
        raise SetupError(f"has {len(fields)} fields, should have 1 .. {FIELDS_MAX}")
    _check_names("field", tuple(field.name for field in fields))
    for field in fields:
        if not field.is_number:  # so that every row has the same length
            raise SetupError(f"field {field.name} is of type {field.type}, should be a number, u8 to f64")
        for text in (field.unit, *field.labels):
            if text and not is_label(text):
                shown = f"{text[:TEXT_CHARACTERS_MAX]!a}"
                raise SetupError(f"field {field.name} has unit or label {shown}, should be {LABEL_RULE}")


def _check_names(what: str, names: tuple[str, ...]) -> None:
    for name in names:
        if not is_name(name, OWNER_CHARACTERS_MAX):
            raise SetupError(f"{what} {name!r} should be named by {name_rule(OWNER_CHARACTERS_MAX)}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SetupError(f"{what} {twice[0]!r} is there twice, names should all differ")


def row_octets(fields: tuple[Field, ...]) -> int:
    """Return the octets of one row of numbers. Quick: it runs in the flight loop."""
    return sum(int(field.type[1:]) // 8 for field in fields)  # types end in their bits, such as u16


def _documents(fields: tuple[Field, ...]) -> list[Mapping[str, Any]]:
    """Return the fields without their texts, which every product would carry again."""
    return [{key: value for key, value in field.document().items() if key != "text"} for field in fields]
