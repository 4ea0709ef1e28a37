"""mission.toml into frozen dataclasses; every fault in the file is reported at once, with its line.

A mission may start from another file (`extends = "orbit.toml"`, beside it or one of ours). Tables are merged key by
key, anything else is replaced. Sections of apps, of the simulator and of the ground are read with dataclasses that
their owners give.
"""

# How a file is read: it and those that it extends are merged into one table, the nearest one wins, and each text is
# kept for the lines. Then every section is read for what it says, out of bounds or not (flight/core/config.py). Then
# links, apps and drivers, whose keys depend on one another. Then everything that follows from the whole: what apps and
# node declare twice, and commands, events and structures that the mission names and its dictionary does not have.
# Nothing of this stops at the first fault.
#
# A fault must not cause others: of a section that could not be read nothing more is said, and an app that cannot be
# asked leaves out the faults of names that it may have declared. If a mission has faults already, an error in working
# out the rest is taken for their consequence; without faults it is our own mistake and raised.
#
# When an app is replaced by another one of the same name, or is not there any more, its section in the extended file is
# not taken over: its keys would be unknown to the new app.

from __future__ import annotations

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
from flight.core.toml_lines import TomlLines, read_toml
from flight.link.kinds import LINK_KINDS
from flight.link.tm_tc_stack import LinkConfig
from flight.roster import ROSTER
from flight.store.quota import StorageConfig
from hal import registry
from hal.kinds import DeviceKind

T = TypeVar("T")

MISSIONS = Path(__file__).parent / "missions"
_EXTENDS_MAX = 4  # files in all; more are most likely a circle


class MissionError(OrbitnodeError):
    """A mission file that cannot be flown. `faults` has one line per fault: `file:line: key: what is wrong`."""

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
        """Return the section that `kind` reads, such as `section(RecorderConfig)`."""
        found = self.owned[kind]
        assert isinstance(found, kind), kind
        return found

    def tables(self, kind: type[T]) -> tuple[T, ...]:
        """Return the tables of the list that `kind` reads, such as `tables(SequenceConfig)`; () if there are none."""
        found: tuple[T, ...] = self.owned[kind]
        return found

    def app(self, kind: type[Any]) -> MissionApp | None:
        """Return the app of the class `kind`, the first one if there are several, None if there is none."""
        return next((app for app in self.apps if issubclass(app.kind, kind)), None)

    def device_keys(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield the keys that name a device, each with its URL."""
        tables: list[tuple[Any, tuple[str | int, ...]]] = [(self.drivers, ("drivers",))]
        tables += [(link, ("link", i)) for i, link in enumerate(self.links)]
        for section, path in tables:
            if section is None:  # this section could not be read
                continue
            for name, _, _ in _device_keys(type(section)):
                if url := getattr(section, name):
                    yield (*path, name), url

    def devices(self) -> list[tuple[DeviceKind[Any], str]]:
        """Return kind and URL of every device that the node opens. The camera is opened only if there are apps."""
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
# What an app cannot be called: a section, an entry in the dictionary's APIDs, the owner of rows in the vault.
_TAKEN = {*_NAMES, "extends", *OWN_APIDS, *(owner for row in ROSTER for owner in row.vault_rows)}


def load(
    path: Path | str, extra: Mapping[str, type[Any]] | None = None, *, opens_devices: bool = True,
    check: Callable[[Mission], Iterable[Fault]] = lambda _: (),
) -> Mission:  # fmt: skip
    """Read the mission in the file `path`. `extra` names further sections and the dataclasses to read them with.

    opens_devices: False for a caller that opens none, such as the ground, which need not have the drivers installed.
    check: further faults in the eyes of whoever is going to use the mission, such as a file that is not there. It is
    called for a mission with other faults as well, in which a section that cannot be read is None.
    Raises MissionError with all faults, OrbitnodeError if the file cannot be read at all.
    """
    path = _found(Path(), str(path))
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
    """Return what apps and node declare twice, and what the mission names that its dictionary does not have."""
    apps = declared_by(mission.apps)
    # What the node declares follows from its sections. If one cannot be read, apps are compared only with each other.
    if any(map(_is_unread, (mission.node, *mission.owned.values()))):
        return clash_faults(table, apps)
    try:
        clashing = clash_faults(table, parts_of(mission))
        listed = table.get("app", [])
        if clashing:
            return clashing
        # A name may be unknown because the app that declares it could not be asked.
        whole = isinstance(listed, list) and len(mission.apps) == len(listed)
        found = dictionary_faults(mission, dictionary_of(mission, faulty=faulty))
        return [fault for fault in found if whole or not fault.unknown]
    except (ArithmeticError, LookupError, TypeError, ValueError, OrbitnodeError):
        if not faulty:
            raise
        return clash_faults(table, apps)


def _is_unread(section: object) -> bool:
    return section is None or (isinstance(section, tuple) and None in section)


def _read_section(section: Section, table: Mapping[str, Any], faults: list[Fault]) -> Any:
    """Read a section, even if its values are out of bounds.

    Returns an instance of its dataclass, a tuple of instances for a list, None if it cannot be read.
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
    return tuple(read_as_it_is(section.kind, item, (section.name, i), faults) for i, item in enumerate(found))


def _merged(path: Path) -> tuple[dict[str, Any], list[tuple[Path, TomlLines]]]:
    """Return the file's table over those that it extends, and the sources, the file itself first."""
    tables: list[dict[str, Any]] = []
    sources: list[tuple[Path, TomlLines]] = []
    at: Path | None = path
    named = ""  # file and line that ask for the file at `at`
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
            table = read_toml(text, str(at))
        except ValueError as error:
            raise MissionError(path, [str(error)]) from None
        sources.append((at, TomlLines(text)))
        base = table.pop("extends", None)
        named = f"{at}:{sources[-1][1].find(('extends',))}"
        if base is not None and not isinstance(base, str):
            raise MissionError(path, [f"{named}: extends: should be a file name"])
        tables.append(table)
        if base is not None and len(tables) == _EXTENDS_MAX:
            deep = f"{base!r} is more than {_EXTENDS_MAX - 1} files away, do they extend each other in a circle?"
            raise MissionError(path, [f"{named}: extends: {deep}"])
        at = _found(at.parent, base) if base is not None else None
    merged: dict[str, Any] = {}
    for table in reversed(tables):
        if "app" in table:
            apps = named_in(table)
            for name, before in named_in(merged).items():
                if apps.get(name) != before and name not in _TAKEN:
                    merged.pop(name, None)  # the section belonged to another app
        merged = _overlay(merged, table)
    return merged, sources


def _found(folder: Path, name: str) -> Path:
    """Return the mission file `name`: the one in `folder`, or else the mission of that name that comes with us.

    So neither `--mission` nor `extends` needs a copy of ours, and who puts a copy there means that copy.
    """
    there, ours = folder / name, MISSIONS / Path(name).name
    return ours if Path(name).name == name and not there.exists() and ours.is_file() else there


def _overlay(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge two tables key by key: subtables are merged as well, any other value of `over` replaces that of `under`."""
    out = dict(under)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(name), dict)
        out[name] = _overlay(out[name], value) if both else value
    return out


def _read_links(value: object, node: NodeConfig | None, faults: list[Fault]) -> tuple[LinkSection, ...]:
    if not isinstance(value, list) or not value:
        faults.append(Fault(("link",), "at least one [[link]] is needed, a list of tables"))
        return ()
    read = [_read_link(item, ("link", i), node, faults) for i, item in enumerate(value)]
    tables = [item if isinstance(item, Mapping) else {} for item in value]
    for name, remedy in (("name", "every link needs a name of its own"), ("driver", "every link needs its own modem")):
        values = [table.get(name) for table in tables]
        for i, text in enumerate(values):
            if isinstance(text, str) and (first := values.index(text)) < i:
                faults.append(Fault(("link", i, name), f"is {text!r}, as link[{first}].{name} is; {remedy}"))
    whole = tuple(link for link in read if link is not None)
    return whole if len(whole) == len(read) else ()  # all or none: later faults name a link by its place in the list


def _read_link(
    table: object, path: tuple[str | int, ...], node: NodeConfig | None, faults: list[Fault]
) -> LinkSection | None:
    """Read one `[[link]]`, which has the modem's keys and those of its kind; None, with `faults` extended, if wrong."""
    if not isinstance(table, Mapping):
        return read_table(LinkSection, table, path, faults)
    section_keys = key_names(LinkSection, ("config",))
    own = {name: value for name, value in table.items() if name in section_keys}
    of_kind = {name: value for name, value in table.items() if name not in section_keys}
    kind = table.get("kind", LinkConfig.kind)
    if not isinstance(kind, str) or kind not in LINK_KINDS:
        # Which further keys there may be depends on the kind, so nothing is said of them.
        return read_table(LinkSection, own, path, faults, {"config": None})
    known = key_names(LINK_KINDS[kind].config, NODE_KEYS)
    for name in [name for name in of_kind if name not in known]:
        owners = [other for other, row in LINK_KINDS.items() if name in key_names(row.config, NODE_KEYS)]
        if name in NODE_KEYS:
            text = "is a key of [node], not of a link"
        elif owners:
            text = f'is a key of links of kind "{owners[0]}", this one is of kind "{kind}"'
        else:
            text = f"unknown key, {suggestion(name, [*section_keys, *known])}"
        faults.append(Fault((*path, name), text))
        del of_kind[name]  # reported: it must not be an unknown key once more
    given = {name: None if node is None else getattr(node, name) for name in NODE_KEYS}
    config = read_table(LINK_KINDS[kind].config, of_kind, path, faults, given)
    return read_table(LinkSection, own, path, faults, {"config": config})


def _device_keys(section: type[Any]) -> Iterator[tuple[str, DeviceKind[Any], bool]]:
    """Yield the keys of a section that name a driver: the key, the kind of device, and whether it may be empty."""
    for declared in fields(section):
        kind = declared.metadata.get("device")
        if isinstance(kind, DeviceKind):
            yield declared.name, kind, declared.default == ""


def _check_drivers(drivers: object, links: object, opens_devices: bool, faults: list[Fault]) -> None:
    """Check that a driver serves every scheme. Whether the device is there shows only at boot."""
    tables: list[tuple[type[Any], object, tuple[str | int, ...]]] = [(DriverConfig, drivers, ("drivers",))]
    tables += [(LinkSection, link, ("link", i)) for i, link in enumerate(links if isinstance(links, list) else ())]
    for section, table, path in tables:
        if isinstance(table, dict):
            for name, kind, optional in _device_keys(section):
                url = table.get(name)
                if not isinstance(url, str) or (optional and not url):
                    continue  # missing or of the wrong type, which is reported already
                if text := _fault_of_url(kind, url, opens_devices):
                    faults.append(Fault((*path, name), text))


def _fault_of_url(kind: DeviceKind[Any], url: str, opens_devices: bool) -> str:
    """Say what is wrong with the address of a device, "" if nothing is."""
    # Whoever opens no devices cannot know which drivers are installed elsewhere: any scheme will do.
    if url and (registry.serves(kind, url) if opens_devices else ":" in url):
        return ""
    known = ", ".join(f"{name}:..." for name in registry.schemes(kind))
    if not url:
        return f"is empty, should be one of {known}"
    return f"unknown {kind.name} driver {url.partition(':')[0]!r} in {url!r}, known: {known}"


def _located(fault: Fault, sources: list[tuple[Path, TomlLines]]) -> str:
    """Write a fault as `file:line: section.key: text`, with the file nearest to the mission that has the key."""
    where, line = sources[0][0], None
    # An array replaces that of an extended file as a whole, so its elements are looked for in the nearest file alone.
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
