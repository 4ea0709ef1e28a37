"""TOML tables into frozen dataclasses, every fault found before anything is said.

Each owner declares its section beside its code:

    @dataclass(frozen=True, slots=True)
    class PayloadConfig:
        queue_tiles: int = key(24, minimum=1, maximum=500, text="raw tiles held at most")

Supported types: int, float, str, bool, tuples of these, nested dataclasses (tables) and tuples of nested
dataclasses (arrays of tables), dict[str, str], and dict[str, object] for values that others check. Of two keys that
must ascend the lower one says so (`below`). For other contradictions a class may add
`faults(self) -> list[tuple[str, str]]`: (key, what is wrong and what would be right), in place of the key the path to
what stands below it, and `ELSEWHERE`: what to say of keys that one might look for in this table, and that stand
elsewhere.
"""

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
    """A dataclass field with its bounds. Without `default` the key must be in the file.

    `below` names the key of the same section that this one must stay below, empty for none.
    `marks` is what the section's owner wants to know of the key besides: it stands in the field's metadata.
    """
    metadata = {"minimum": minimum, "maximum": maximum, "choices": choices, "text": text, "below": below, **marks}
    if isinstance(default, dict):
        made = default
        return dataclasses.field(default_factory=lambda: MappingProxyType(made), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a table. `path` leads to it: ("link", 0, "rate_bps"). unknown: a name stands for nothing that
    is known, which can be said only by who knows everything.
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
    """The keys that a table read with the dataclass `kind` may have, `given` ones left out, in their order."""
    return [f.name for f in dataclasses.fields(typing.cast("Any", kind)) if f.init and f.name not in given]


def read_table(
    kind: type[C],
    table: object,
    path: tuple[str | int, ...],
    faults: list[Fault],
    given: Mapping[str, object] = MappingProxyType({}),
) -> C | None:
    """An instance of the dataclass `kind` from a TOML table; None, with `faults` extended, where it is not one.

    `given` has values of fields that are no keys of this table. If one of them is None it could not be read: the keys
    are checked all the same, and nothing is made of them.
    """
    before = len(faults)
    made = read_as_it_is(kind, table, path, faults, given)
    return made if len(faults) == before else None


def read_as_it_is(
    kind: type[C],
    table: object,
    path: tuple[str | int, ...],
    faults: list[Fault],
    given: Mapping[str, object] = MappingProxyType({}),
) -> C | None:
    """As `read_table`, but whatever is of its type makes an instance, out of its bounds and in contradiction as it may
    be, for who looks for further faults; a value of a wrong type stands at its default then. None if there is no
    default for what cannot be read, or it is a table or an array.
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
    for name, one in known.items():
        if name in table:
            value = _read_value(hints[name], table[name], one.metadata, (*path, name), faults)
            if value is None and one.default is not MISSING and hints[name] in _NAMES:
                value, defaulted = one.default, True
            values[name] = value
        elif one.default is MISSING and one.default_factory is MISSING:
            missing = True
            faults.append(Fault((*path, name), f"is missing{': ' * bool(_text(one))}{_text(one)}"))
    if missing or _is_unread(tuple(values.values())) or None in given.values():
        return None
    made = kind(**values, **given)
    if not defaulted:
        faults.extend(_contradictions(made, path, bool(faults)))
    return made


def _is_unread(value: object) -> bool:
    """Whether a value, or one that it holds, could not be read."""
    return value is None or (isinstance(value, tuple) and any(map(_is_unread, value)))


def _contradictions(made: object, path: tuple[str | int, ...], faulty: bool) -> list[Fault]:
    """What is wrong with the values of a table together. Of a table that is `faulty` already no more than can be told:
    a rule may be made for values within their bounds alone.
    """
    found = _order_faults(made, path)
    rules = getattr(made, "faults", None)
    if rules is None:
        return found
    try:
        told = rules()
    except (ArithmeticError, LookupError, TypeError, ValueError):
        if not faulty:
            raise
        return found
    return found + [Fault((*path, *((name,) if isinstance(name, str) else name)), text) for name, text in told]


def out_of_order(below: Mapping[str, str], values: Mapping[str, float]) -> list[tuple[str, str]]:
    """The pairs of names of which the one is not below the other as `below` says it must be, lower one first.

    below: upper name by lower name, empty for none. A name that has no value there contradicts nobody.
    """
    pairs = ((low, high) for low, high in below.items() if low in values and high in values)
    return [(low, high) for low, high in pairs if not values[low] < values[high]]


def _order_faults(made: object, path: tuple[str | int, ...]) -> list[Fault]:
    """A fault for each upper threshold of a section that the lower one is not below."""
    below = {
        one.name: one.metadata["below"]
        for one in dataclasses.fields(typing.cast("Any", made))
        if one.metadata.get("below")
    }
    values = {name: getattr(made, name) for pair in below.items() for name in pair}
    return [
        Fault((*path, high), f"is {values[high]:g}, should be above {low} {values[low]:g}")
        for low, high in out_of_order(below, values)
    ]


def suggestion(name: str, known: Iterable[str]) -> str:
    """What to write in place of the unknown `name`."""
    import difflib  # for a faulty mission alone: a node that flies goes without

    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"


def _text(one: dataclasses.Field[Any]) -> str:
    return str(one.metadata.get("text", ""))


def _read_value(hint: Any, value: object, bounds: Mapping[str, Any], path: tuple[str | int, ...],
                faults: list[Fault]) -> Any:  # fmt: skip
    """`value` as `hint` asks, or a fault."""
    if dataclasses.is_dataclass(hint):
        return read_as_it_is(typing.cast("type[Any]", hint), value, path, faults)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if not isinstance(value, list):
            faults.append(Fault(path, f"is {_show(value)}, should be an array"))
            return None
        return tuple(_read_value(arguments[0], one, bounds, (*path, i), faults) for i, one in enumerate(value))
    if origin in (dict, Mapping) or (origin is not None and issubclass(origin, Mapping)):
        if not isinstance(value, Mapping):
            faults.append(Fault(path, f"is {_show(value)}, should be a table"))
            return None
        made = {k: _read_value(arguments[1], v, bounds, (*path, k), faults) for k, v in value.items()}
        return MappingProxyType({k: v for k, v in made.items() if v is not None})  # the rest is told of
    return _read_scalar(hint, value, bounds, path, faults)


_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false",
          object: "a number, a text or an array"}  # fmt: skip


def _read_scalar(hint: Any, value: object, bounds: Mapping[str, Any], path: tuple[str | int, ...],
                 faults: list[Fault]) -> Any:  # fmt: skip
    if isinstance(value, int) and abs(value) >= 2**63:  # TOML knows no larger ones; float() and %g fail on some
        faults.append(Fault(path, "is a number of more than 64 bits, should be smaller"))
        return None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if hint not in _NAMES:
        raise SetupError(f"key {path[-1]} is declared as {hint}, should be of a type that a table can have")
    if hint is object and isinstance(value, dt.date | dt.time):
        faults.append(Fault(path, f"is {_show(value)}, should be {_NAMES[hint]}"))
        return None
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        quoted = " in quotes" if hint is str and isinstance(value, dt.date | dt.time) else ""
        faults.append(Fault(path, f"is {_show(value)}, should be {_NAMES[hint]}{quoted}"))
        return None
    low, high, choices = bounds.get("minimum"), bounds.get("maximum"), bounds.get("choices") or ()
    if hint in (int, float) and isinstance(value, int | float):
        wrong = (low is not None and value < low) or (high is not None and value > high) or math.isnan(value)
        if wrong:
            bound = " .. ".join(f"{b:.15g}" if b is not None else "" for b in (low, high))
            faults.append(Fault(path, f"is {value:.15g}, should be in {bound}"))
    if choices and value not in choices:
        faults.append(Fault(path, f"is {_show(value)}, should be one of {', '.join(choices)}"))
    return value


def _show(value: object) -> str:
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, dt.date | dt.time):
        return f"{value.isoformat()}, a date or time of TOML's own"
    return repr(value) if not isinstance(value, bool) else str(value).lower()
