"""The payload apps of a mission: `[[app]]` and the section of each, read into classes, configs and declarations.

The code of an app is foreign: it may lack what the node asks of an app, and raise anything, from its import on. All of
that becomes a fault of the mission, a line each, and the mission's other faults are found all the same.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar, cast

from flight.contract.app import App
from flight.contract.collect import Owned, clashes, excesses
from flight.contract.dictionary import Declarations, Dictionary, shape_faults
from flight.contract.sections import AppSection, NodeConfig
from flight.core.config import Fault, read_as_it_is, read_table
from flight.core.errors import PASSES_THROUGH, OrbitnodeError
from flight.core.task import text_of

T = TypeVar("T")
_Path = tuple[str | int, ...]

_PARTS = ("CONFIG", "declare", "start", "close")


@dataclass(frozen=True, slots=True)
class MissionApp:
    """One payload app as the mission has it: its class, what its section says, and what it declared under its APID."""

    name: str
    apid: int
    kind: type[App]
    config: Any
    declarations: Declarations


@dataclass(frozen=True, slots=True)
class Raised:
    """What the code of an app raised in place of an answer."""

    error: BaseException

    @property
    def text(self) -> str:
        """Kind and words, in one line."""
        return " ".join(text_of(self.error).split())


def guarded(call: Callable[[], T]) -> T | Raised:
    """What `call`, the code of an app, gives. The one place where whatever it raises becomes a word about it."""
    try:
        return call()
    except PASSES_THROUGH:
        raise
    except BaseException as error:  # noqa: BLE001 - an app may raise anything; who asked says what becomes of it
        return Raised(error)


def named_in(table: Mapping[str, Any]) -> dict[str, object]:
    """The apps that the mission file `table` lists: their names and what each is, as far as they can be told."""
    return {name: one.get("app") for one in _tables(table) if isinstance(name := one.get("name"), str)}


def _tables(table: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Each element of the mission file's `[[app]]`, an empty one for what is not a table."""
    listed = table.get("app", [])
    return [one if isinstance(one, Mapping) else {} for one in listed] if isinstance(listed, list) else []


def read_apps(
    table: Mapping[str, Any], node: NodeConfig | None, taken: Collection[str], faults: list[Fault]
) -> tuple[MissionApp, ...]:
    """The apps of the mission file `table`, without those of which it cannot be said what they declare. `faults` is
    told of these, and of faulty sections.

    `taken` are names that the node uses itself: no app can have one.
    """
    listed = table.get("app", [])
    if not isinstance(listed, list):
        faults.append(Fault(("app",), "should be [[app]], a list of tables"))
        return ()
    sections = [read_table(AppSection, one, ("app", i), faults) for i, one in enumerate(listed)]
    tables = _tables(table)
    unclear, taken_apids = _check_names(tables, taken, faults), _check_apids(tables, node, faults)
    found = []
    for i, (one, section) in enumerate(zip(tables, sections, strict=True)):
        where = ("app", i, "app")
        kind, name = _class_of(one.get("app"), where, faults), one.get("name")
        if kind is None or not isinstance(name, str) or i in unclear:
            continue
        before = len(faults)
        config = _config_of(kind, table.get(name, {}), name, where, faults)
        if section is None or config is None or i in taken_apids:
            continue  # what it declares depends on its APID and its section
        # Of a section that is out of bounds nobody asks for sound declarations, but those that come are looked at.
        told = faults if len(faults) == before else []
        declared = _declarations_of(kind, section.apid, config, where, told)
        if declared is not None:
            found.append(MissionApp(name, section.apid, kind, config, declared))
    return tuple(found)


def boot_faults(apps: Iterable[MissionApp]) -> list[Fault]:
    """What of the apps' sections cannot be on this machine, such as a model that is not there, as the apps themselves
    say it: a class that has `section_faults(config)` is asked, before it is made.
    """
    found: list[Fault] = []
    for app in apps:
        ask = getattr(app.kind, "section_faults", None)
        if ask is None:
            continue
        given = guarded(functools.partial(_told_faults, ask, app))
        found += [Fault((app.name,), f"its section_faults raises {given.text}")] if isinstance(given, Raised) else given
    return found


def _told_faults(ask: Callable[[Any], Any], app: MissionApp) -> list[Fault]:
    return [
        Fault((app.name, *((name,) if isinstance(name, str) else tuple(name))), str(text))
        for name, text in ask(app.config)
    ]


def clash_faults(table: Mapping[str, Any], parts: Iterable[Owned]) -> list[Fault]:
    """A fault for everything that an app of the mission file `table` declares and another, or the node, does as well.

    What the node alone declares twice is not the mission's fault.
    """
    places = {app_owner(one["name"]): i for i, one in enumerate(_tables(table)) if "name" in one}
    return [Fault(("app", places[clash.owner], "app"), str(clash)) for clash in clashes(parts) if clash.owner in places]


def app_owner(name: str) -> str:
    """The owner of an app's declarations (flight.contract.collect.Owned)."""
    return f"app {name}"


def _check_names(tables: list[Mapping[str, Any]], taken: Collection[str], faults: list[Fault]) -> set[int]:
    """The apps whose name is that of another thing, so that nobody can say which section is theirs."""
    names = [one.get("name") for one in tables]
    unclear = set()
    for i, name in enumerate(names):
        if not isinstance(name, str):
            continue
        if name in names[:i]:
            text = f"is {name!r} again, every app needs a name of its own"
        elif name in taken:
            text = f"is {name!r}, which names a part of the node itself, should be another"
        else:
            continue
        unclear.add(i)
        faults.append(Fault(("app", i, "name"), text))
    return unclear


def _check_apids(tables: list[Mapping[str, Any]], node: NodeConfig | None, faults: list[Fault]) -> set[int]:
    """The apps whose APID is that of another thing."""
    used: dict[object, str] = {} if node is None else {node.node_apid: "node_apid", node.file_apid: "file_apid"}
    taken = set()
    for i, one in enumerate(tables):
        apid = one.get("apid")
        if not isinstance(apid, int):
            continue
        if apid in used:
            taken.add(i)
            faults.append(Fault(("app", i, "apid"), f"is {apid} like {used[apid]}, every app needs an APID of its own"))
        used.setdefault(apid, f"app[{i}].apid")
    return taken


def _class_of(wanted: object, where: _Path, faults: list[Fault]) -> type[App] | None:
    """The class `module:class`; None, with `faults` extended, if it cannot be loaded or is not an app."""
    if not isinstance(wanted, str):
        return None  # missing or of the wrong type: that has been said
    module, _, name = wanted.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        faults.append(Fault(where, f"{wanted!r} cannot be loaded, should be module:class"))
        return None
    found = guarded(lambda: getattr(import_module(module), name, None))
    if isinstance(found, Raised):
        faults.append(Fault(where, f"{wanted!r} cannot be loaded: {_why_not_loaded(found, module)}"))
        return None
    if not inspect.isclass(found):
        faults.append(Fault(where, f"{wanted!r} cannot be loaded: module {module!r} has no class {name}"))
        return None
    lacking = guarded(lambda: [part for part in _PARTS if not hasattr(found, part)])
    if isinstance(lacking, Raised):  # by its metaclass
        faults.append(Fault(where, f"{wanted!r} is not an app: what it has raises {lacking.text}"))
        return None
    if lacking:
        faults.append(Fault(where, f"{wanted!r} is not an app: it lacks {', '.join(lacking)}"))
        return None
    return cast("type[App]", found)


def _why_not_loaded(raised: Raised, module: str) -> str:
    """In one line, which not every module keeps to."""
    error = raised.error
    if not isinstance(error, ImportError):
        return f"its module raises {raised.text}"
    text = " ".join(str(error).split()) or raised.text
    if error.name not in {None, module, module.partition(".")[0]}:
        return f"{text}; is an extra such as [payload] missing?"
    not_found = isinstance(error, ModuleNotFoundError) and error.name is not None
    return f"{text}{'; is it installed, or its folder on PYTHONPATH?' if not_found else ''}"


def _config_of(kind: type[App], table: object, name: str, where: _Path, faults: list[Fault]) -> Any:
    """What the app's section says, read with the app's own dataclass, out of its bounds as it may be; None, with
    `faults` extended, if it cannot be read.
    """
    config = guarded(lambda: kind.CONFIG)
    if isinstance(config, Raised):
        faults.append(Fault(where, f"its CONFIG raises {config.text}"))
        return None
    if not inspect.isclass(config) or not dataclasses.is_dataclass(config):
        faults.append(Fault(where, f"its CONFIG is {type(config).__name__}, should be a dataclass"))
        return None
    read = guarded(lambda: read_as_it_is(config, table, (name,), faults))
    if isinstance(read, Raised):
        faults.append(Fault(where, f"its section [{name}] cannot be read with {config.__name__}: {read.text}"))
        return None
    return read


def _declarations_of(
    kind: type[App], apid: int, config: object, where: _Path, faults: list[Fault]
) -> Declarations | None:
    """What the app declares; None, with `faults` extended, if that cannot be a part of any dictionary."""
    declared: object = guarded(lambda: kind.declare(apid, config))
    if isinstance(declared, Raised):
        faults.append(Fault(where, f"its declare raises {declared.text}"))
        return None
    if not isinstance(declared, Declarations):
        faults.append(Fault(where, f"its declare gives {type(declared).__name__}, should be Declarations"))
        return None
    unfit = guarded(lambda: _unfit(declared, apid))
    if isinstance(unfit, Raised):
        unfit = [f"what cannot be used: {unfit.text}"]
    faults.extend(Fault(where, f"declares {text}") for text in unfit)
    return None if unfit else declared


def _unfit(declared: Declarations, apid: int) -> list[str]:
    """What is wrong with the declarations of one app, whatever others declare. Raises anything for what is not made of
    the parts that declarations are made of.
    """
    if found := shape_faults(declared):
        return found
    parts: list[Any] = [*declared.structures, *declared.events, *declared.reports, *declared.commands]
    found = [f"{one.name} under APID {one.apid}, should be {apid}, its own" for one in parts if one.apid != apid]
    found += excesses(declared)
    if found:
        return found
    # Ground reads the dictionary as a document: what is not whole in that form is not whole.
    alone = Dictionary(
        mission="",
        spacecraft_id=0,
        version="",
        apids={},
        failures={int(code): code.text for code in declared.failures},
        **{part.name: getattr(declared, part.name) for part in dataclasses.fields(declared) if part.name != "failures"},
    )
    document = alone.document()
    try:
        # No form of JSON that others do not read: no number that is not finite, no text that is not UTF-8.
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
        Dictionary.from_document(document)
    except OrbitnodeError as error:
        return [f"what cannot be used: {error}"]
    return []
