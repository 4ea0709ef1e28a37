"""What declarations are made of: each thing of the right kind, its numbers such as a packet holds, its texts texts.

Apps and documents are both made by others. Whatever is wrong is a line that names the thing, what it has and what would
be right. What follows from several things together, and what the node asks of an app besides, is in
flight/contract/collect.py; it is asked only of what has the right shape.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from flight.contract.fields import TYPES, Field, FieldError, Limits

EVENT_SEVERITIES = ("info", "low", "medium", "high")
_APID_MAX, _OCTET_MAX, _WORD_MAX = 0x7FF, 0xFF, 0xFFFF
_WIDTH_MAX = 64
_NUMBER_TYPES = tuple(one for one in TYPES if one[0] in "uif")


@dataclass(frozen=True, slots=True)
class _Shape:
    """One kind of thing: what it is called, the numbers that it has and their largest value, its texts, and which key
    has its fields, if it has any.
    """

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


def misshapen(part: object, kinds: Mapping[str, type[Any]]) -> list[str]:
    """A line for each thing of `part`, which is Declarations or a Dictionary, that is not of the kind it should be.
    kinds: the class by its key there.
    """
    found: list[str] = []
    for key, kind in kinds.items():
        things = getattr(part, key)
        if not isinstance(things, tuple):
            found.append(f"{key} as {type(things).__name__}, should be a tuple{_comma(things, kind)}")
            continue
        for i, one in enumerate(things):
            if isinstance(one, kind):
                found += _thing_faults(_SHAPES[key], one)
            else:
                found.append(f"{key}[{i}] as {type(one).__name__}, should be a {kind.__name__}")
    return found


def _thing_faults(shape: _Shape, thing: Any) -> Iterator[str]:
    what = f"{shape.title} {getattr(thing, 'name', '')}"
    for key, most in shape.numbers.items():
        value = getattr(thing, key)
        if key == "function" and value is None:
            continue
        if not _is_whole(value) or not 0 <= value <= most:
            yield f"{what} with {key} {_short(value)}, should be a whole number in 0 .. {most}"
    for key in shape.texts:
        yield from _text_faults(what, key, getattr(thing, key))
    if shape is _SHAPES["structures"] and not _is_real(thing.period_s):
        yield f"{what} with period_s {_short(thing.period_s)}, should be a number"
    if shape is _SHAPES["events"]:
        yield from _event_faults(what, thing)
    if shape is _SHAPES["commands"]:
        for key in ("durable", "urgent"):
            if not isinstance(getattr(thing, key), bool):
                yield f"{what} with {key} {_short(getattr(thing, key))}, should be True or False"
    if shape is _SHAPES["settings"]:
        yield from _setting_faults(what, thing)
    if shape.fields:
        yield from _fields_faults(what, shape.fields, getattr(thing, shape.fields))


def _event_faults(what: str, one: Any) -> Iterator[str]:
    """Of its text the forms of values: a width, or a count of digits, is memory that is taken at each such event, on
    board and on the ground, and one that is itself a value may be any.
    """
    if one.severity not in EVENT_SEVERITIES:
        yield f"{what} with severity {_short(one.severity)}, should be one of {', '.join(EVENT_SEVERITIES)}"
    try:
        forms = [form for _, _, form, _ in Formatter().parse(one.text) if form] if isinstance(one.text, str) else []
    except ValueError:
        return  # no template at all: it is shown as it stands, and refused of an app
    for form in forms:
        if "{" in form or any(len(digits) > 4 or int(digits) > _WIDTH_MAX for digits in re.findall(r"\d+", form)):
            yield f"{what} with a value as {_short(form)} in its text, should be {_WIDTH_MAX} characters wide at most"


def _setting_faults(what: str, one: Any) -> Iterator[str]:
    if one.type not in _NUMBER_TYPES:
        yield f"{what} with type {_short(one.type)}, should be one of {', '.join(_NUMBER_TYPES)}"
    for key in ("default", "minimum", "maximum"):
        value = getattr(one, key)
        if not _is_real(value) or not math.isfinite(value):
            yield f"{what} with {key} {_short(value)}, should be a finite number"


def _fields_faults(what: str, key: str, fields: object) -> Iterator[str]:
    if not isinstance(fields, tuple):
        yield f"{what} with {key} as {type(fields).__name__}, should be a tuple{_comma(fields, Field)}"
        return
    names: set[str] = set()
    for i, one in enumerate(fields):
        if not isinstance(one, Field):
            yield f"{what} with {key}[{i}] as {type(one).__name__}, should be a Field"
            continue
        here, name = f"{what}, field {one.name!r}", ascii(one.name)
        yield from _field_faults(here, one)
        if name in names:
            yield f"{here} is there twice"
        names.add(name)


def _field_faults(here: str, one: Any) -> Iterator[str]:
    for key in ("name", "unit", "text", "refers"):
        yield from _text_faults(here, key, getattr(one, key))
    if not isinstance(one.labels, tuple) or not all(isinstance(label, str) for label in one.labels):
        yield f"{here} with labels {_short(one.labels)}, should be a tuple of texts"
    elif one.labels and (one.type[0] not in "ui" or len(one.labels) > 2 ** (int(one.type[1:]) - (one.type[0] == "i"))):
        yield f"{here} of type {one.type} with {len(one.labels)} labels, which it cannot count"
    elif len(set(one.labels)) < len(one.labels):
        yield f"{here} with labels {', '.join(one.labels)}, should all differ"
    elif bounds := [*_bound_faults(here, one)]:
        yield from bounds
    elif one.default is not None:
        try:
            one.admit(one.default)
        except FieldError as error:
            yield f"{here} with a default that it does not admit: {error}"
    if one.fields:
        yield from _fields_faults(here, "fields", one.fields)


def _bound_faults(here: str, one: Any) -> Iterator[str]:
    """What is wrong with the bounds of an argument, and with the limits of telemetry."""
    bounds = [("minimum", one.minimum), ("maximum", one.maximum)]
    given = [(key, value) for key, value in bounds if value is not None]
    for key, value in given:
        if not _is_real(value) or not math.isfinite(value):
            yield f"{here} with {key} {_short(value)}, should be a finite number"
            return
    if given and one.type not in (*_NUMBER_TYPES, "time"):
        yield f"{here} of type {one.type} with {given[0][0]}, which is for numbers"
    elif len(given) == 2 and given[0][1] > given[1][1]:
        yield f"{here} with minimum {given[0][1]:g} above maximum {given[1][1]:g}"
    if one.limits is None:
        return
    if not isinstance(one.limits, Limits):
        yield f"{here} with limits as {type(one.limits).__name__}, should be Limits"
        return
    for key in ("yellow", "red"):
        pair = getattr(one.limits, key)
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
    """Whether it is a number that can be compared: one of more than 64 bits is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and (isinstance(value, float) or
                                                                               abs(value) < 1 << 64)  # fmt: skip


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _comma(given: object, kind: type[Any]) -> str:
    """The usual reason why there is one thing in place of a tuple of it."""
    return ": a comma is missing behind the only one" if isinstance(given, kind) else f" of {kind.__name__}s"
