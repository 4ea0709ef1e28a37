"""mission.toml into frozen dataclasses; every fault in the file reported at once, with its line.

A mission may start from another (`extends = "orbit.toml"`, beside it): tables are merged key by key, anything
else is replaced; the section of an app that is another one now, or is there no more, is not taken over. Sections of
apps, the simulator and the ground are read with dataclasses their owners give.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from flight.apps import MissionApp, clash_faults, named_in, read_apps
from flight.catalogue import OWN_APIDS, declared_by, dictionary_faults, dictionary_of, parts_of
from flight.contract.sections import NODE_KEYS, DriverConfig, LinkSection, NodeConfig
from flight.core.config import Fault, Section, key_names, read_as_it_is, read_table, suggestion
from flight.core.errors import OrbitnodeError
from flight.core.executive_section import ExecutiveConfig
from flight.core.toml_lines import TomlLines
from flight.link.kinds import LINK_KINDS
from flight.link.stack import LinkConfig
from flight.roster import ROSTER
from flight.store.quota import StorageConfig
from hal import registry
from hal.kinds import DeviceKind

T = TypeVar("T")

MISSIONS = Path(__file__).parent / "missions"
_EXTENDS_MAX = 4


class MissionError(OrbitnodeError):
    """A mission file that cannot be flown; `faults` has a line each: file:line: key: what is wrong."""

    def __init__(self, path: Path, faults: list[str]) -> None:
        count = f"{len(faults)} fault{'s' * (len(faults) != 1)}"
        super().__init__("\n  ".join([f"mission {path}: {count}", *faults]))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class Mission:
    """Everything mission.toml says.

    `sections` holds those that `load` was asked for by name, `owned` all others by the dataclass that reads them.
    """

    path: Path
    node: NodeConfig
    links: tuple[LinkSection, ...]
    drivers: DriverConfig
    apps: tuple[MissionApp, ...]
    owned: Mapping[type[Any], Any]
    sections: Mapping[str, Any]

    def section(self, kind: type[T]) -> T:
        """The section that `kind` reads, such as `section(RecorderConfig)`."""
        found = self.owned[kind]
        assert isinstance(found, kind), kind
        return found

    def tables(self, kind: type[T]) -> tuple[T, ...]:
        """The tables of the list that `kind` reads, such as `tables(SequenceConfig)`; empty if there are none."""
        found: tuple[T, ...] = self.owned[kind]
        return found

    def app(self, kind: type[Any]) -> MissionApp | None:
        """The app of the class `kind`, the first one if there are several; None if there is none."""
        return next((app for app in self.apps if issubclass(app.kind, kind)), None)

    def device_keys(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """The keys that name a device, each with its URL."""
        tables: list[tuple[Any, tuple[str | int, ...]]] = [(self.drivers, ("drivers",))]
        tables += [(link, ("link", i)) for i, link in enumerate(self.links)]
        for section, path in tables:
            if section is None:  # it could not be read
                continue
            for name, _, _ in _device_keys(type(section)):
                if url := getattr(section, name):
                    yield (*path, name), url

    def devices(self) -> list[tuple[DeviceKind[Any], str]]:
        """Kind and URL of every device that the node opens; the camera is the apps'."""
        urls = [
            (kind, getattr(section, name))
            for section in (self.drivers, *self.links)
            for name, kind, _ in _device_keys(type(section))
            if name != "imager" or self.apps
        ]
        return [(kind, url) for kind, url in urls if url]


_SECTIONS = (
    Section("node", NodeConfig, required=True),
    Section("drivers", DriverConfig, required=True),
    Section("executive", ExecutiveConfig),
    Section("storage", StorageConfig),
    *(section for row in ROSTER for section in row.sections),
)
_FOREIGN = ("sim", "ground")
_NAMES = {*(section.name for section in _SECTIONS), *_FOREIGN, "link", "app"}
# What no app can be called: a section, an entry in the dictionary's APIDs, the owner of rows in the vault.
_TAKEN = {*_NAMES, "extends", *OWN_APIDS, *(owner for row in ROSTER for owner in row.vault_rows)}


def load(
    path: Path | str, extra: Mapping[str, type[Any]] | None = None, *, opens_devices: bool = True,
    check: Callable[[Mission], Iterable[Fault]] = lambda _: (),
) -> Mission:  # fmt: skip
    """The mission in the file `path`; `extra` names further sections and the dataclasses to read them with.

    opens_devices: False for whoever opens none, such as the ground, which need not have the drivers installed.
    check: what else cannot be, in the eyes of who is going to use the mission, such as a file that is not there. It is
    asked also of a mission with other faults: a section that cannot be read is None.
    Raises MissionError with all faults, OrbitnodeError if the file cannot be read at all.
    """
    path = Path(path)
    table, sources = _merged(path)
    faults: list[Fault] = []
    sections = (*_SECTIONS, *(Section(name, kind) for name, kind in dict(extra or {}).items()))
    known = {*_NAMES, *(section.name for section in sections), *named_in(table)}
    faults.extend(Fault((name,), f"unknown section, {suggestion(name, known)}") for name in table if name not in known)
    read = {section.name: _read_section(section, table, faults) for section in sections}
    links = _read_links(table.get("link", []), read["node"], faults)
    apps = read_apps(table, read["node"], {*_TAKEN, *(section.name for section in sections)}, faults)
    _check_drivers(table.get("drivers"), table.get("link"), opens_devices, faults)
    installation = registry.installation_faults() if opens_devices else ()
    mission = Mission(
        path=path,
        node=read["node"],
        links=links,
        drivers=read["drivers"],
        apps=apps,
        owned={section.kind: read[section.name] for section in _SECTIONS},
        sections={name: read[name] for name in extra or {}},
    )
    faults += _dictionary_faults(mission, table, bool(faults))
    faults += check(mission)
    if faults or installation:
        raise MissionError(path, [*(_located(fault, sources) for fault in faults), *installation])
    return mission


def _dictionary_faults(mission: Mission, table: Mapping[str, Any], faulty: bool) -> list[Fault]:
    """What apps and node declare twice, and what the mission says of things that its dictionary does not have.

    What the node declares follows from the mission. If that is faulty, there may be no telling: then the apps are held
    against one another alone.
    """
    apps = declared_by(mission.apps)
    if any(map(_is_unread, (mission.node, *mission.owned.values()))):
        return clash_faults(table, apps)
    try:
        clashing = clash_faults(table, parts_of(mission))
        listed = table.get("app", [])
        if clashing:
            return clashing
        # What an app that cannot be asked would have declared, nobody can say to be missing.
        whole = isinstance(listed, list) and len(mission.apps) == len(listed)
        return [
            one for one in dictionary_faults(mission, dictionary_of(mission, faulty=faulty)) if whole or not one.unknown
        ]
    except (ArithmeticError, LookupError, TypeError, ValueError, OrbitnodeError):
        if not faulty:
            raise
        return clash_faults(table, apps)


def _is_unread(section: object) -> bool:
    return section is None or (isinstance(section, tuple) and None in section)


def _read_section(section: Section, table: Mapping[str, Any], faults: list[Fault]) -> Any:
    """What the section says, out of its bounds as it may be: an instance of its dataclass, a tuple of them for a list,
    None if it cannot be read.
    """
    if section.required and section.name not in table:
        faults.append(Fault((section.name,), f"section [{section.name}] is missing"))
        return None
    if not section.many:
        return read_as_it_is(section.kind, table.get(section.name, {}), (section.name,), faults)
    found = table.get(section.name, [])
    if not isinstance(found, list):
        faults.append(Fault((section.name,), f"should be [[{section.name}]], a list of tables"))
        return None
    return tuple(read_as_it_is(section.kind, one, (section.name, i), faults) for i, one in enumerate(found))


def _merged(path: Path) -> tuple[dict[str, Any], list[tuple[Path, TomlLines]]]:
    """The file's table over those it extends, and the sources, nearest first."""
    tables: list[dict[str, Any]] = []
    sources: list[tuple[Path, TomlLines]] = []
    at: Path | None = path
    named = ""  # where a file that is extended was asked for
    while at is not None:
        try:
            text = at.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            if isinstance(error, OSError):
                reason = error.strerror
            else:
                reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
            if named:
                raise MissionError(path, [f"{named}: extends: {at} cannot be read: {reason}"]) from None
            raise OrbitnodeError(f"mission file {at} cannot be read: {reason}") from None
        try:
            table = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
            raise MissionError(path, [f"{at}: not valid TOML: {error}"]) from None
        sources.append((at, TomlLines(text)))
        base = table.pop("extends", None)
        named = f"{at}:{sources[-1][1].find(('extends',))}"
        if base is not None and not isinstance(base, str):
            raise MissionError(path, [f"{named}: extends: should be a file name"])
        tables.append(table)
        if base is not None and len(tables) == _EXTENDS_MAX:
            deep = f"{base!r} is more than {_EXTENDS_MAX - 1} files deep, is there a circle?"
            raise MissionError(path, [f"{named}: extends: {deep}"])
        at = at.parent / base if base is not None else None
    merged: dict[str, Any] = {}
    for table in reversed(tables):
        if "app" in table:
            apps = named_in(table)
            for name, before in named_in(merged).items():
                if apps.get(name) != before and name not in _TAKEN:
                    merged.pop(name, None)  # the section belonged to another app
        merged = _overlay(merged, table)
    return merged, sources


def _overlay(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    out = dict(under)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(name), dict)
        out[name] = _overlay(out[name], value) if both else value
    return out


def _read_links(value: object, node: NodeConfig | None, faults: list[Fault]) -> tuple[LinkSection, ...]:
    if not isinstance(value, list) or not value:
        faults.append(Fault(("link",), "at least one [[link]] is needed, a list of tables"))
        return ()
    read = [_read_link(one, ("link", i), node, faults) for i, one in enumerate(value)]
    tables = [one if isinstance(one, Mapping) else {} for one in value]
    for name, remedy in (("name", "every link needs a name of its own"), ("driver", "every link needs its own modem")):
        values = [one.get(name) for one in tables]
        for i, text in enumerate(values):
            if isinstance(text, str) and text in values[:i]:
                faults.append(Fault(("link", i, name), f"is {text!r} again, {remedy}"))
    whole = tuple(link for link in read if link is not None)
    return whole if len(whole) == len(read) else ()  # the place of each is what faults are told by


def _read_link(
    table: object, path: tuple[str | int, ...], node: NodeConfig | None, faults: list[Fault]
) -> LinkSection | None:
    """One `[[link]]`, whose keys are the modem's and those of its kind; None, with `faults` extended, if it is none."""
    if not isinstance(table, Mapping):
        return read_table(LinkSection, table, path, faults)
    section_keys = key_names(LinkSection, ("config",))
    own = {name: value for name, value in table.items() if name in section_keys}
    rest = {name: value for name, value in table.items() if name not in section_keys}
    kind = table.get("kind", LinkConfig.kind)
    if not isinstance(kind, str) or kind not in LINK_KINDS:
        return read_table(LinkSection, own, path, faults, {"config": None})  # what the rest should be, nobody can say
    known = key_names(LINK_KINDS[kind].config, NODE_KEYS)
    for name in [name for name in rest if name not in known]:
        owners = [other for other, row in LINK_KINDS.items() if name in key_names(row.config, NODE_KEYS)]
        if name in NODE_KEYS:
            text = "is a key of [node], not of a link"
        elif owners:
            text = f'is a key of links of kind "{owners[0]}", this one is of kind "{kind}"'
        else:
            text = f"unknown key, {suggestion(name, [*section_keys, *known])}"
        faults.append(Fault((*path, name), text))
        del rest[name]
    given = {name: None if node is None else getattr(node, name) for name in NODE_KEYS}
    config = read_table(LINK_KINDS[kind].config, rest, path, faults, given)
    return read_table(LinkSection, own, path, faults, {"config": config})


def _device_keys(section: type[Any]) -> Iterator[tuple[str, DeviceKind[Any], bool]]:
    """The keys of a section that name a driver: the key, the kind of device, and whether there may be none."""
    for one in fields(section):
        kind = one.metadata.get("device")
        if isinstance(kind, DeviceKind):
            yield one.name, kind, one.default == ""


def _check_drivers(drivers: object, links: object, opens_devices: bool, faults: list[Fault]) -> None:
    """Every scheme must be one that a driver serves, if it is to be opened; if the device is there shows at boot."""
    tables: list[tuple[type[Any], object, tuple[str | int, ...]]] = [(DriverConfig, drivers, ("drivers",))]
    tables += [(LinkSection, link, ("link", i)) for i, link in enumerate(links if isinstance(links, list) else ())]
    for section, table, path in tables:
        if isinstance(table, dict):
            for name, kind, optional in _device_keys(section):
                url = table.get(name)
                if not isinstance(url, str) or (optional and not url):
                    continue  # missing or of the wrong type: that has been said
                if text := _fault_of_url(kind, url, opens_devices):
                    faults.append(Fault((*path, name), text))


def _fault_of_url(kind: DeviceKind[Any], url: str, opens_devices: bool) -> str:
    """What is wrong with the address of a device, "" if nothing is."""
    if url and (registry.serves(kind, url) if opens_devices else ":" in url):
        return ""
    known = ", ".join(f"{name}:..." for name in registry.schemes(kind))
    if not url:
        return f"is empty, should be one of {known}"
    return f"unknown {kind.name} driver {url.partition(':')[0]!r} in {url!r}, have {known}"


def _located(fault: Fault, sources: list[tuple[Path, TomlLines]]) -> str:
    """`file:line: section.key: text`, in the file nearest to the mission that has the key."""
    where, line = sources[0][0], None
    # An array replaces that of the file below as a whole: whoever has it has all that stands in it.
    array = next((fault.path[:i] for i, part in enumerate(fault.path) if isinstance(part, int)), ())
    owners = [(path, lines) for path, lines in sources if lines.has(array)][:1] or sources
    for path, lines in owners:
        if lines.has(fault.path):
            where, line = path, lines.find(fault.path)
            break
    else:
        for path, lines in owners:
            if (line := lines.find(fault.path)) is not None:
                where = path
                break
    name = ""
    for part in fault.path:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return f"{where}:{line or 1}: {name}: {fault.text}"
