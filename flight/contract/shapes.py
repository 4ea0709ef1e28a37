"""Whether declarations are well-formed: parts of the right class, numbers that a packet can hold, texts that are texts.

Each fault is a line that names the part, what it has, and what would be right.
"""

# Apps and dictionary documents are both made by others, so nothing in them can be taken for granted, not even that a
# name is a text. This file looks at each part by itself. What follows from several parts together, and what the node
# asks of an app besides, is in flight/contract/collect.py; that is asked only of parts that have passed here, and so
# may rely on their types.

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from flight.contract.fields import TYPES, Field, FieldError, Limits

EVENT_SEVERITIES = ("info", "low", "medium", "high")
_APID_MAX, _OCTET_MAX, _WORD_MAX = 0x7FF, 0xFF, 0xFFFF  # 11 bits (CCSDS 133.0-B-2, 4.1.3.3.4), 8 and 16 bits
_WIDTH_MAX = 64
_NUMBER_TYPES = tuple(name for name in TYPES if name[0] in "uif")


@dataclass(frozen=True, slots=True)
class _Shape:
    """One kind of part: its title, its numbers with their largest values, its texts, and the key of its fields."""

    title: str
    numbers: Mapping[str, int]
    texts: tuple[str, ...]
    fields: str = ""


_WIRE = {"apid": _APID_MAX, "service": _OCTET_MAX, "subtype": _OCTET_MAX}
# By their key in Declarations.
_SHAPES = {
    "structures": _Shape("structure", {"apid": _APID_MAX, "sid": _WORD_MAX}, ("name",), "fields"),
    "events": _Shape("event", {"apid": _APID_MAX, "number": _WORD_MAX}, ("name", "severity", "text"), "fields"),
    "reports": _Shape("report", _WIRE, ("name",), "fields"),
    "commands": _Shape("command", {**_WIRE, "function": _WORD_MAX}, ("name", "text"), "arguments"),
    "settings": _Shape("parameter", {"number": _WORD_MAX}, ("name", "unit", "text", "type", "below")),
    "failures": _Shape("failure code", {}, ()),
}


def misshapen(declared: object, kinds: Mapping[str, type[Any]]) -> list[str]:
    """Return a line for each part in `declared`, which is Declarations or a Dictionary, that is not well-formed.

    kinds: the class that the parts under each key should have.
    """
    found: list[str] = []
    for key, kind in kinds.items():
        parts = getattr(declared, key)
        if not isinstance(parts, tuple):
            found.append(f"{key} as {type(parts).__name__}, should be a tuple{_comma(parts, kind)}")
            continue
        for i, part in enumerate(parts):
            if isinstance(part, kind):
                found += _part_faults(_SHAPES[key], part)
            else:
                found.append(f"{key}[{i}] as {type(part).__name__}, should be a {kind.__name__}")
    return found


def _part_faults(shape: _Shape, part: Any) -> Iterator[str]:
    what = f"{shape.title} {getattr(part, 'name', '')}"
    for key, most in shape.numbers.items():
        value = getattr(part, key)
        if key == "function" and value is None:
            continue
        if not _is_whole(value) or not 0 <= value <= most:
            yield f"{what} with {key} {_short(value)}, should be a whole number in 0 .. {most}"
    for key in shape.texts:
        yield from _text_faults(what, key, getattr(part, key))
    if shape is _SHAPES["structures"] and not _is_real(part.period_s):
        yield f"{what} with period_s {_short(part.period_s)}, should be a number"
    if shape is _SHAPES["events"]:
        yield from _event_faults(what, part)
    if shape is _SHAPES["commands"]:
        for key in ("durable", "urgent", "idempotent"):
            if not isinstance(getattr(part, key), bool):
                yield f"{what} with {key} {_short(getattr(part, key))}, should be True or False"
    if shape is _SHAPES["settings"]:
        yield from _setting_faults(what, part)
    if shape.fields:
        yield from _fields_faults(what, shape.fields, getattr(part, shape.fields))


def _event_faults(what: str, event: Any) -> Iterator[str]:
    if event.severity not in EVENT_SEVERITIES:
        yield f"{what} with severity {_short(event.severity)}, should be one of {', '.join(EVENT_SEVERITIES)}"
    try:
        forms = [form for _, _, form, _ in Formatter().parse(event.text) if form] if isinstance(event.text, str) else []
    except ValueError:
        return  # not a template: the text is shown as it is, and refused if it is an app's (collect.py)
    # A width, or a count of digits, is memory that is taken at each such event, on board and on the ground. One that is
    # itself a value ("{x:{y}}") may be any number.
    for form in forms:
        if "{" in form or any(len(digits) > 4 or int(digits) > _WIDTH_MAX for digits in re.findall(r"\d+", form)):
            yield f"{what} with a value as {_short(form)} in its text, should be {_WIDTH_MAX} characters wide at most"


def _setting_faults(what: str, setting: Any) -> Iterator[str]:
    if setting.type not in _NUMBER_TYPES:
        yield f"{what} with type {_short(setting.type)}, should be one of {', '.join(_NUMBER_TYPES)}"
    for key in ("default", "minimum", "maximum"):
        value = getattr(setting, key)
        if not _is_real(value) or not math.isfinite(value):
            yield f"{what} with {key} {_short(value)}, should be a finite number"


def _fields_faults(what: str, key: str, fields: object) -> Iterator[str]:
    if not isinstance(fields, tuple):
        yield f"{what} with {key} as {type(fields).__name__}, should be a tuple{_comma(fields, Field)}"
        return
    names: set[str] = set()
    for i, field in enumerate(fields):
        if not isinstance(field, Field):
            yield f"{what} with {key}[{i}] as {type(field).__name__}, should be a Field"
            continue
        here, name = f"{what}, field {field.name!r}", ascii(field.name)  # ascii: a name may not even be hashable
        yield from _field_faults(here, field)
        if name in names:
            yield f"{here} is there twice"
        names.add(name)


def _field_faults(here: str, field: Any) -> Iterator[str]:
    for key in ("name", "unit", "text", "refers"):
        yield from _text_faults(here, key, getattr(field, key))
    labels, kind = field.labels, field.type
    if not isinstance(labels, tuple) or not all(isinstance(label, str) for label in labels):
        yield f"{here} with labels {_short(labels)}, should be a tuple of texts"
    elif labels and (kind[0] not in "ui" or len(labels) > 2 ** (int(kind[1:]) - (kind[0] == "i"))):
        yield f"{here} of type {kind} with {len(labels)} labels, which it cannot count"
    elif len(set(labels)) < len(labels):
        yield f"{here} with labels {', '.join(labels)}, should all differ"
    elif bounds := [*_bound_faults(here, field)]:
        yield from bounds
    elif field.default is not None:
        try:
            field.admit(field.default)
        except FieldError as error:
            yield f"{here} with a default that it does not admit: {error}"
    if field.fields:
        yield from _fields_faults(here, "fields", field.fields)


def _bound_faults(here: str, field: Any) -> Iterator[str]:
    """Yield what is wrong with the bounds of an argument, and with the limits of telemetry."""
    bounds = [("minimum", field.minimum), ("maximum", field.maximum)]
    given = [(key, value) for key, value in bounds if value is not None]
    for key, value in given:
        if not _is_real(value) or not math.isfinite(value):
            yield f"{here} with {key} {_short(value)}, should be a finite number"
            return
    if given and field.type not in (*_NUMBER_TYPES, "time"):
        yield f"{here} of type {field.type} with {given[0][0]}, which is for numbers"
    elif len(given) == 2 and given[0][1] > given[1][1]:
        yield f"{here} with minimum {given[0][1]:g} above maximum {given[1][1]:g}"
    if field.limits is None:
        return
    if not isinstance(field.limits, Limits):
        yield f"{here} with limits as {type(field.limits).__name__}, should be Limits"
        return
    for key in ("yellow", "red"):
        pair = getattr(field.limits, key)
        if pair is None:
            continue
        whole = isinstance(pair, tuple) and len(pair) == 2 and all(_is_real(value) for value in pair)
        if not whole or not pair[0] <= pair[1]:
            yield f"{here} with limits {key} {_short(pair)}, should be two numbers, the lower one first"


def _text_faults(what: str, key: str, value: object) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{what} with {key} {_short(value)}, should be a text"
        return
    try:
        value.encode()
    except UnicodeEncodeError:
        yield f"{what} with {key} {_short(value)}, which is not UTF-8"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_real(value: object) -> bool:
    """Return whether it is a number that can be compared with floats: an int of more than 64 bits does not count."""
    return isinstance(value, int | float) and not isinstance(value, bool) and (isinstance(value, float) or
                                                                               abs(value) < 1 << 64)  # fmt: skip


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _comma(given: object, kind: type[Any]) -> str:
    """Say the usual reason why a part stands in place of a tuple of parts."""
    return ": a comma is missing behind the only one" if isinstance(given, kind) else f" of {kind.__name__}s"
