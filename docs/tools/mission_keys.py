"""The keys of mission.toml as tables, from the dataclasses that read them."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from docs.tools.markdown import code, plain, table
from flight.contract.sections import NODE_KEYS, AppSection, LinkSection
from flight.core.config import Section
from flight.link.kinds import LINK_KINDS
from flight.link.tm_tc_stack import LinkConfig
from flight.mission import _SECTIONS
from ground.config import GroundConfig
from payloads.config import PayloadConfig
from sim_hw.config import SimConfig

# Beside the node's own: what has a dataclass elsewhere. `[[link]]` is read by two of them, and has tables of its own.
_OTHER_SECTIONS = (
    Section("app", AppSection, many=True),
    Section("payload", PayloadConfig),
    Section("ground", GroundConfig),
    Section("sim", SimConfig),
)
_TYPES = {int: "whole number", float: "number", str: "text", bool: "true or false",
          object: "value"}  # fmt: skip
_HEADS = ("key", "type", "default", "bounds", "meaning")


@dataclass(frozen=True)
class Key:
    """One key as its table shows it."""

    name: str
    type: str
    default: str
    bounds: str
    text: str

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of its row, as Markdown."""
        return code(self.name), self.type, self.default, self.bounds, plain(self.text)


def key_tables() -> dict[str, str]:
    """Return every table by the heading of its section, such as `[power]` and `[[power.mode]]`."""
    return {heading: table(_HEADS, [key.cells for key in keys]) for heading, keys in mission_keys().items()}


def mission_keys() -> dict[str, list[Key]]:
    """Return the keys of every table that a mission file may have, by its heading."""
    sections = [*_SECTIONS, *_OTHER_SECTIONS]
    return dict(each for section in sections for each in _tables_in(section.name, section.kind, section.many)) | (
        _link_tables()
    )


def _tables_in(name: str, kind: type[Any], many: bool) -> Iterator[tuple[str, list[Key]]]:
    """Yield the table read by `kind`, then the tables in it."""
    yield heading_of(name, many), keys_of(kind, name)
    for key_name, hint in typing.get_type_hints(kind).items():
        inner, is_list = _table_type(hint)
        if inner is not None:
            yield from _tables_in(f"{name}.{key_name}", inner, is_list)


def heading_of(name: str, many: bool) -> str:
    """Return a table's heading in TOML."""
    return f"[[{name}]]" if many else f"[{name}]"


def _table_type(hint: Any) -> tuple[type[Any] | None, bool]:
    """Return the dataclass that reads such a value, None if it is not a table; and whether it is a list of them."""
    if dataclasses.is_dataclass(hint):
        return typing.cast("type[Any]", hint), False
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and dataclasses.is_dataclass(arguments[0]):
        return typing.cast("type[Any]", arguments[0]), True
    return None, False


def keys_of(kind: type[Any], path: str = "") -> list[Key]:
    """Return the keys that the dataclass `kind` asks for; `path` is the name of the table that it reads."""
    hints = typing.get_type_hints(kind)
    return [_key(field, hints[field.name], path) for field in dataclasses.fields(kind) if field.init]


def _key(field: dataclasses.Field[Any], hint: Any, path: str) -> Key:
    text = field.metadata.get("text", "")
    if not text and dataclasses.is_dataclass(hint):
        text = code(heading_of(f"{path}.{field.name}", many=False))
    return Key(field.name, _type_text(hint), _default_text(field, hint), _bounds_text(field.metadata), text)


def _link_tables() -> dict[str, list[Key]]:
    """Of `[[link]]`: the keys that are the same for every kind, and under a heading for each kind all others."""
    by_kind = {
        name: [key for key in keys_of(kind.config) if key.name not in NODE_KEYS] for name, kind in LINK_KINDS.items()
    }
    common = [key for key in by_kind[LinkConfig.kind] if all(key in keys for keys in by_kind.values())]
    section = [key for key in keys_of(LinkSection) if key.name != "config"]
    kinds = {f'[[link]] kind = "{name}"': [key for key in keys if key not in common] for name, keys in by_kind.items()}
    return {"[[link]]": section + common} | kinds


def _type_text(hint: Any) -> str:
    if dataclasses.is_dataclass(hint):
        return "table"
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return "list of tables" if dataclasses.is_dataclass(arguments[0]) else f"list of {_TYPES[arguments[0]]}s"
    if origin is not None:
        return f"table of {_TYPES[arguments[1]]}s"
    return _TYPES[hint]


def _default_text(field: dataclasses.Field[Any], hint: Any) -> str:
    """Return the default as TOML has it; "below" for what is too long for a cell, which the page shows as TOML."""
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        return "required"
    if field.default == () or field.default is dataclasses.MISSING:
        return "empty"
    if dataclasses.is_dataclass(hint) or isinstance(field.default, tuple) or typing.get_origin(hint) is not None:
        return "below"
    if isinstance(field.default, bool):
        return str(field.default).lower()
    if isinstance(field.default, str):
        return code(f'"{field.default}"')
    return f"{field.default:.10g}"


def _bounds_text(metadata: Mapping[str, Any]) -> str:
    if metadata.get("choices"):
        return ", ".join(map(code, metadata["choices"]))
    low, high = metadata.get("minimum"), metadata.get("maximum")
    if low is None and high is None:
        return "-"
    return " .. ".join("" if bound is None else f"{bound:.16g}" for bound in (low, high))
