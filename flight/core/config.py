"""TOML tables into frozen dataclasses. Every fault is found before any is reported.

Each owner declares its section beside its code:

    @dataclass(frozen=True, slots=True)
    class PayloadConfig:
        queue_tiles: int = key(24, minimum=1, maximum=500, text="raw tiles held at most")

Supported types: int, float, str, bool, tuples of these, nested dataclasses (tables), tuples of nested dataclasses
(arrays of tables), and mappings from str to any of these, or to `object` for values that others check. If two keys must
ascend, the lower one says so (`below`). For other contradictions a class may have a method
`faults(self) -> list[tuple[str, str]]`: the key, or a path below this table in its place, and what is wrong and what
would be right. A class may also have `ELSEWHERE`: what to say of keys that people look for in this table and that stand
in another.
"""

# Why every fault at once (ADR 0004): a mission may have over 200 keys, and each fault found by another start costs a
# run. So reading never stops at the first fault. What cannot be read becomes None, or its default, and reading goes on;
# what comes out is used only for finding more faults. `read_table` gives nothing unless all was right, `read_as_it_is`
# gives what it has.
#
# The price is that rules may meet values that they were not written for. If a method `faults` fails with an arithmetic,
# lookup, type or value error, that is passed over if any fault has been found by then, in this table or in one read
# before it. Otherwise it is a mistake of ours, and raised.
#
# Messages follow one form, so that a fault reads as a sentence behind its key: `payload.queue_tiles: is 0, should be in
# 1 .. 500`. File and line come from flight/mission.py, since this file knows tables alone.

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from flight.core.errors import SetupError
from flight.text.close_name import close_name

C = TypeVar("C")


def key(
    default: Any = MISSING,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    text: str = "",
    below: str = "",
    **marks: object,
) -> Any:
    """Make a dataclass field with its bounds. Without `default` the key must be in the file.

    `below` names the key of the same section that this one must stay below, empty for none. `marks` is whatever else
    the section's owner wants to know of the key: it goes into the field's metadata.
    """
    metadata = {"minimum": minimum, "maximum": maximum, "choices": choices, "text": text, "below": below, **marks}
    if isinstance(default, dict):
        # A dataclass takes no mutable default, and a section is frozen all the way down.
        table = MappingProxyType(default)
        return dataclasses.field(default_factory=lambda: table, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a table. `path` leads to it: ("link", 0, "rate_bps").

    unknown: a value names nothing that is known. Only a reader who knows everything can say that, so such a fault is
    dropped if an app could not be asked (flight/mission.py).
    """

    path: tuple[str | int, ...]
    text: str
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A section of mission.toml by its name, and the dataclass that reads it; `many`: a list of tables, [[name]]."""

    name: str
    kind: type[Any]
    required: bool = False
    many: bool = False


def key_names(kind: type[object], given: Iterable[str] = ()) -> list[str]:
    """Return the keys that a table read with the dataclass `kind` may have, in their order, without `given` ones."""
    return [f.name for f in dataclasses.fields(typing.cast("Any", kind)) if f.init and f.name not in given]


def read_table(
    kind: type[C],
    table: object,
    path: tuple[str | int, ...],
    faults: list[Fault],
    given: Mapping[str, object] = MappingProxyType({}),
) -> C | None:
    """Read a TOML table with the dataclass `kind`; return None, with `faults` extended, if anything in it is wrong.

    `given` holds values of fields that are not keys of this table. If one of them is None it could not be read: the
    keys are checked all the same, and None is returned.
    """
    before = len(faults)
    section = read_as_it_is(kind, table, path, faults, given)
    return section if len(faults) == before else None


def read_as_it_is(
    kind: type[C],
    table: object,
    path: tuple[str | int, ...],
    faults: list[Fault],
    given: Mapping[str, object] = MappingProxyType({}),
) -> C | None:
    """Read a TOML table as `read_table` does, but return an instance even if it has faults, for finding further ones.

    Values may be out of their bounds and contradict each other; a value of a wrong type is replaced by its default.
    Returns None if a key without default is missing or cannot be read, or if a table or an array cannot be read.
    """
    if not isinstance(table, Mapping):
        faults.append(Fault(path, f"is {_show(table)}, should be a table"))
        return None
    hints = typing.get_type_hints(kind)
    names = key_names(kind, given)
    known = {f.name: f for f in dataclasses.fields(typing.cast("Any", kind)) if f.name in names}
    elsewhere: Mapping[str, str] = getattr(kind, "ELSEWHERE", {})
    faults.extend(
        Fault((*path, name), f"unknown key, {elsewhere.get(name) or suggestion(name, known)}")
        for name in table
        if name not in known
    )
    values: dict[str, Any] = {}
    missing, defaulted = False, False
    for name, declared in known.items():
        if name in table:
            value = _read_value(hints[name], table[name], declared.metadata, (*path, name), faults)
            if value is None and declared.default is not MISSING and hints[name] in _NAMES:
                value, defaulted = declared.default, True
            values[name] = value
        elif declared.default is MISSING and declared.default_factory is MISSING:
            missing = True
            faults.append(Fault((*path, name), f"is missing{': ' * bool(_text(declared))}{_text(declared)}"))
    if missing or _is_unread(tuple(values.values())) or None in given.values():
        return None
    section = kind(**values, **given)
    # A default that stands in for something unreadable contradicts keys that the author has set rightly.
    if not defaulted:
        faults.extend(_contradictions(section, path, bool(faults)))
    return section


def _is_unread(value: object) -> bool:
    """Return whether a value, or one that it holds, could not be read."""
    return value is None or (isinstance(value, tuple) and any(map(_is_unread, value)))


def _contradictions(section: object, path: tuple[str | int, ...], faulty: bool) -> list[Fault]:
    """Return what is wrong with the values of a section together. `faulty`: some fault has been found already."""
    found = _order_faults(section, path)
    rules = getattr(section, "faults", None)
    if rules is None:
        return found
    try:
        faults = rules()
    except (ArithmeticError, LookupError, TypeError, ValueError):
        # A rule may rely on values within their bounds. Without other faults its failure is our own mistake.
        if not faulty:
            raise
        return found
    return found + [Fault((*path, *((name,) if isinstance(name, str) else name)), text) for name, text in faults]


def out_of_order(below: Mapping[str, str], values: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return the pairs (lower, upper) of names whose values are not in the order that `below` asks for.

    below: upper name by lower name, empty for none. A name without a value contradicts nothing.
    """
    pairs = ((low, high) for low, high in below.items() if low in values and high in values)
    return [(low, high) for low, high in pairs if not values[low] < values[high]]  # "not <": NaN is out of order


def _order_faults(section: object, path: tuple[str | int, ...]) -> list[Fault]:
    """Return a fault for each upper threshold of a section that its lower one is not below."""
    below = {
        declared.name: declared.metadata["below"]
        for declared in dataclasses.fields(typing.cast("Any", section))
        if declared.metadata.get("below")
    }
    values = {name: getattr(section, name) for pair in below.items() for name in pair}
    return [
        Fault((*path, high), f"is {values[high]:g}, should be above {low}, which is {values[low]:g}")
        for low, high in out_of_order(below, values)
    ]


def suggestion(name: str, known: Iterable[str]) -> str:
    """Say what to write in place of the unknown `name`: the nearest of the known names, or all of them."""
    names = sorted(known)
    close = close_name(name, names)
    return f"known: {', '.join(names)}" if close is None else f"did you mean {close}?"


def _text(declared: dataclasses.Field[Any]) -> str:
    return str(declared.metadata.get("text", ""))


def _read_value(hint: Any, value: object, bounds: Mapping[str, Any], path: tuple[str | int, ...],
                faults: list[Fault]) -> Any:  # fmt: skip
    """Return `value` as the type `hint`, or None with a fault added."""
    if dataclasses.is_dataclass(hint):
        return read_as_it_is(typing.cast("type[Any]", hint), value, path, faults)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if not isinstance(value, list):
            faults.append(Fault(path, f"is {_show(value)}, should be an array"))
            return None
        return tuple(_read_value(arguments[0], item, bounds, (*path, i), faults) for i, item in enumerate(value))
    if origin in (dict, Mapping) or (origin is not None and issubclass(origin, Mapping)):
        if not isinstance(value, Mapping):
            faults.append(Fault(path, f"is {_show(value)}, should be a table"))
            return None
        read = {k: _read_value(arguments[1], v, bounds, (*path, k), faults) for k, v in value.items()}
        return MappingProxyType({k: v for k, v in read.items() if v is not None})  # for the others there is a fault
    return _read_scalar(hint, value, bounds, path, faults)


_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false",
          object: "a number, a text or an array"}  # fmt: skip


def _read_scalar(hint: Any, value: object, bounds: Mapping[str, Any], path: tuple[str | int, ...],
                 faults: list[Fault]) -> Any:  # fmt: skip
    # TOML has no larger integers, but tomllib reads them, and float() and %g fail on some.
    if isinstance(value, int) and abs(value) >= 2**63:
        faults.append(Fault(path, "is a number of more than 64 bits, should be smaller"))
        return None
    # In Python a bool is an int; in TOML it is not.
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if hint not in _NAMES:
        raise SetupError(f"key {path[-1]} is declared as {hint}, should be of a type that a TOML table can hold")
    if hint is object and isinstance(value, dt.date | dt.time):
        faults.append(Fault(path, f"is {_show(value)}, should be {_NAMES[hint]}"))
        return None
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        # A date without quotes is a type of TOML's own, which is the usual reason for this fault.
        quoted = " in quotes" if hint is str and isinstance(value, dt.date | dt.time) else ""
        faults.append(Fault(path, f"is {_show(value)}, should be {_NAMES[hint]}{quoted}"))
        return None
    low, high, choices = bounds.get("minimum"), bounds.get("maximum"), bounds.get("choices") or ()
    if hint in (int, float) and isinstance(value, int | float):
        wrong = (low is not None and value < low) or (high is not None and value > high) or math.isnan(value)
        if wrong:
            faults.append(Fault(path, f"is {value:.15g}, should be {_bounds_text(low, high)}"))
    if choices and value not in choices:
        faults.append(Fault(path, f"is {_show(value)}, should be one of {', '.join(choices)}"))
    return value


def _bounds_text(low: float | None, high: float | None) -> str:
    if high is None:
        return f"at least {low:.15g}"
    return f"in {low:.15g} .. {high:.15g}" if low is not None else f"at most {high:.15g}"


def _show(value: object) -> str:
    """Write a value as its author sees it, in TOML's words and not in Python's."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, dt.date | dt.time):
        return f"{value.isoformat()}, a date or time of TOML's own"
    return repr(value) if not isinstance(value, bool) else str(value).lower()
