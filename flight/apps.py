"""The payload apps of a mission: `[[app]]` and the section of each, read into classes, configs and declarations."""

# The code of an app is foreign. It may lack what the node asks of an app, and raise anything from its import on, also
# what is not an Exception. Here `guarded` catches it, and it becomes a fault of the mission, one line per fault, beside
# the mission's other faults.
#
# An app is asked step by step, and only as far as it can be: name and APID are its own, the class can be imported and
# has the parts of an app, its section can be read, its declarations are well-formed. If a step fails, the app is left
# out of what is returned, since nobody can know what it would have declared.

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
from flight.core.errors import PASSES_THROUGH, OrbitnodeError, missing_import
from flight.core.task import text_of

T = TypeVar("T")
_Path = tuple[str | int, ...]

_PARTS = ("CONFIG", "declare", "start", "close")  # flight.contract.app.App


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
        """Kind and text of the error, in one line."""
        return " ".join(text_of(self.error).split())


def guarded(call: Callable[[], T]) -> T | Raised:
    """Return what `call`, the code of an app, returns, or a `Raised` with what it raised."""
    try:
        return call()
    except PASSES_THROUGH:
        raise
    except BaseException as error:  # noqa: BLE001 - an app may raise anything; the caller says what becomes of it
        return Raised(error)


def named_in(table: Mapping[str, Any]) -> dict[str, object]:
    """Return the apps that the mission file `table` lists: what each is by its name, as far as that can be read."""
    return {name: listed.get("app") for listed in _tables(table) if isinstance(name := listed.get("name"), str)}


def _tables(table: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return each element of the mission file's `[[app]]`, with an empty table for what is not a table."""
    listed = table.get("app", [])
    return [item if isinstance(item, Mapping) else {} for item in listed] if isinstance(listed, list) else []


def read_apps(
    table: Mapping[str, Any], node: NodeConfig | None, taken: Collection[str], faults: list[Fault]
) -> tuple[MissionApp, ...]:
    """Read the apps of the mission file `table`, without those whose declarations cannot be known.

    `faults` gets a line for each of these, and for faulty sections. `taken` are names that the node uses itself: an app
    cannot have one.
    """
    listed = table.get("app", [])
    if not isinstance(listed, list):
        faults.append(Fault(("app",), "should be [[app]], a list of tables"))
        return ()
    sections = [read_table(AppSection, item, ("app", i), faults) for i, item in enumerate(listed)]
    tables = _tables(table)
    unclear, taken_apids = _check_names(tables, taken, faults), _check_apids(tables, node, faults)
    found = []
    for i, (app_table, section) in enumerate(zip(tables, sections, strict=True)):
        where = ("app", i, "app")
        kind, name = _class_of(app_table.get("app"), where, faults), app_table.get("name")
        if kind is None or not isinstance(name, str) or i in unclear:
            continue
        before = len(faults)
        config = _config_of(kind, table.get(name, {}), name, where, faults)
        if section is None or config is None or i in taken_apids:
            continue  # what it declares depends on its APID and its section
        # With values out of bounds an app need not declare anything sound. Faults of that are dropped, since the values
        # are what is to be mended; sound declarations are used all the same.
        reported = faults if len(faults) == before else []
        declared = _declarations_of(kind, section.apid, config, where, reported)
        if declared is not None:
            found.append(MissionApp(name, section.apid, kind, config, declared))
    return tuple(found)


def boot_faults(apps: Iterable[MissionApp]) -> list[Fault]:
    """Return what the apps' sections name and this machine does not have, such as a model that is not there.

    The apps say it themselves: `section_faults(config)` of a class that has it is called, before the app is made.
    """
    found: list[Fault] = []
    for app in apps:
        section_faults = getattr(app.kind, "section_faults", None)
        if section_faults is None:
            continue
        answer = guarded(functools.partial(_faults_of_app, section_faults, app))
        if isinstance(answer, Raised):
            answer = [Fault((app.name,), f"its section_faults raises {answer.text}")]
        found += answer
    return found


def _faults_of_app(section_faults: Callable[[Any], Any], app: MissionApp) -> list[Fault]:
    return [
        Fault((app.name, *((name,) if isinstance(name, str) else tuple(name))), str(text))
        for name, text in section_faults(app.config)
    ]


def clash_faults(table: Mapping[str, Any], parts: Iterable[Owned]) -> list[Fault]:
    """Return a fault for everything that an app of the mission file `table` declares and another app, or the node, too.

    What the node itself declares twice is not a fault of the mission.
    """
    places = {app_owner(listed["name"]): i for i, listed in enumerate(_tables(table)) if "name" in listed}
    return [Fault(("app", places[clash.owner], "app"), str(clash)) for clash in clashes(parts) if clash.owner in places]


def app_owner(name: str) -> str:
    """Return what the owner of an app's declarations is called (flight.contract.collect.Owned)."""
    return f"app {name}"


def _check_names(tables: list[Mapping[str, Any]], taken: Collection[str], faults: list[Fault]) -> set[int]:
    """Find the apps, by their places, whose name another app or the node has, so that their section is not clear."""
    names = [listed.get("name") for listed in tables]
    unclear = set()
    for i, name in enumerate(names):
        if not isinstance(name, str):
            continue
        if (first := names.index(name)) < i:
            text = f"is {name!r}, as app[{first}].name is; every app needs a name of its own"
        elif name in taken:
            text = f"is {name!r}, which names a part of the node itself, should be another"
        else:
            continue
        unclear.add(i)
        faults.append(Fault(("app", i, "name"), text))
    return unclear


def _check_apids(tables: list[Mapping[str, Any]], node: NodeConfig | None, faults: list[Fault]) -> set[int]:
    """Find the apps, by their places, whose APID the node or another app has."""
    used: dict[object, str] = {} if node is None else {node.node_apid: "node_apid", node.file_apid: "file_apid"}
    taken = set()
    for i, listed in enumerate(tables):
        apid = listed.get("apid")
        if not isinstance(apid, int):
            continue
        if apid in used:
            taken.add(i)
            text = f"is {apid}, as {used[apid]} is; every app needs an APID of its own"
            faults.append(Fault(("app", i, "apid"), text))
        used.setdefault(apid, f"app[{i}].apid")
    return taken


def _class_of(wanted: object, where: _Path, faults: list[Fault]) -> type[App] | None:
    """Import the class `module:class`; return None, with `faults` extended, if it cannot be had or is not an app."""
    if not isinstance(wanted, str):
        return None  # missing or of the wrong type, which is reported already
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
    """Say in one line why a module could not be imported."""
    error = raised.error
    if not isinstance(error, ImportError):
        return f"its module raises {raised.text}"
    if text := missing_import(error, module):
        return f"{text}; is an extra such as [payload] missing?"
    text = " ".join(str(error).split()) or raised.text  # the text of a foreign module may have several lines
    not_found = isinstance(error, ModuleNotFoundError) and error.name is not None
    return f"{text}{'; is it installed, or its folder on PYTHONPATH?' if not_found else ''}"


def _config_of(kind: type[App], table: object, name: str, where: _Path, faults: list[Fault]) -> Any:
    """Read the app's section with the app's own dataclass, even if values are out of bounds.

    Returns None, with `faults` extended, if it cannot be read.
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
    """Ask the app what it declares; return None, with `faults` extended, if that cannot be part of any dictionary."""
    declared: object = guarded(lambda: kind.declare(apid, config))
    if isinstance(declared, Raised):
        faults.append(Fault(where, f"its declare raises {declared.text}"))
        return None
    if not isinstance(declared, Declarations):
        faults.append(Fault(where, f"its declare gives {type(declared).__name__}, should be Declarations"))
        return None
    unfit = guarded(lambda: _unfit(declared, apid))
    if isinstance(unfit, Raised):
        unfit = [f"what cannot be used: {unfit.text}"]  # parts of its own that raise when they are looked at
    faults.extend(Fault(where, f"declares {text}") for text in unfit)
    return None if unfit else declared


def _unfit(declared: Declarations, apid: int) -> list[str]:
    """Return what is wrong with the declarations of one app, whatever others declare.

    May raise anything if it is not made of the classes that declarations are made of.
    """
    if found := shape_faults(declared):
        return found
    parts: list[Any] = [*declared.structures, *declared.events, *declared.reports, *declared.commands]
    found = [f"{part.name} under APID {part.apid}, should be {apid}, its own" for part in parts if part.apid != apid]
    found += excesses(declared)
    if found:
        return found
    # Ground reads the dictionary as a document, so what does not survive that form is of no use.
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
        # Only JSON that every reader takes: no number that is not finite, no text that is not UTF-8.
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
        Dictionary.from_document(document)
    except OrbitnodeError as error:
        return [f"what cannot be used: {error}"]
    return []
