"""mission.toml into frozen dataclasses; every fault in the file reported at once, with its line.

A mission may start from another (`extends = "orbit.toml"`, beside it): tables are merged key by key, anything
else is replaced; one that names another app starts with a `[payload]` of its own. Sections of the app, the
simulator and the ground are read with dataclasses their owners give.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from flight.contract.app import App
from flight.core.config import Fault, key, read_table, suggestion
from flight.core.errors import OrbitnodeError
from flight.core.executive_section import ExecutiveConfig
from flight.core.toml_lines import TomlLines
from flight.link.coding.cltu import ERROR_MODES
from flight.link.coding.tm_coding import CODINGS, RANDOMIZERS
from flight.link.stack import LinkConfig
from flight.services.automation.event_action import EventActionConfig
from flight.services.automation.schedule_declarations import ScheduleConfig
from flight.services.automation.sequence_declarations import SequenceConfig, SequencingConfig
from flight.services.board.power import PowerConfig
from flight.services.board.thermal import ThermalConfig
from flight.services.commanding.commands import CommandsConfig
from flight.services.files.outbox import OutboxConfig
from flight.services.files.uploads import UploadsConfig
from flight.services.recorder.recorder import RecorderConfig
from flight.services.reporting.event_gate import EventsConfig
from flight.services.reporting.housekeeping import HousekeepingConfig
from flight.services.time.clock import TimeConfig
from flight.store.quota import StorageConfig
from hal import registry

MISSIONS = Path(__file__).parent / "missions"
_EXTENDS_MAX = 4


class MissionError(OrbitnodeError):
    """A mission file that cannot be flown; `faults` has a line each: file:line: key: what is wrong."""

    def __init__(self, path: Path, faults: list[str]) -> None:
        count = f"{len(faults)} fault{'s' * (len(faults) != 1)}"
        super().__init__("\n  ".join([f"mission {path}: {count}", *faults]))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class NodeConfig:
    name: str = key(text="the node's name, in every log line and file")
    spacecraft_id: int = key(0x1AB, minimum=0, maximum=0x3FF)
    frame_octets: int = key(1115, minimum=128, maximum=2048, text="length of a TM frame")
    app: str = key("", text='payload app as "module:class", empty for none')
    node_apid: int = key(1, minimum=1, maximum=2039)
    app_apid: int = key(2, minimum=1, maximum=2039)
    file_apid: int = key(3, minimum=1, maximum=2039)

    def faults(self) -> list[tuple[str, str]]:
        apids = [self.node_apid, self.app_apid, self.file_apid]
        if len(set(apids)) < len(apids):
            return [("app_apid", f"node_apid, app_apid and file_apid are {apids}, should all differ")]
        return []


@dataclass(frozen=True, slots=True)
class LinkSection:
    """One `[[link]]`: what node and ground agree on, and the node's modem."""

    name: str = key(text="the link's name")
    driver: str = key(text='modem as "scheme:address"')
    kind: str = key("radio", choices=("radio", "optical", "inter-satellite"))
    coding: str = key("cadu", choices=CODINGS)
    interleave: int = key(5, minimum=1, maximum=8)
    randomizer: str = key("short", choices=RANDOMIZERS)
    convolutional: bool = key(False)
    rate_bps: int = key(256_000, minimum=1_000, maximum=10_000_000_000)
    uplink_rate_bps: int = key(16_000, minimum=100, maximum=10_000_000_000)
    tc_randomizer: bool = key(False)
    cltu_errors: str = key("correct", choices=tuple(ERROR_MODES))
    playback_min_frac: float = key(0.0, minimum=0.0, maximum=1.0)
    products_min_frac: float = key(0.0, minimum=0.0, maximum=1.0)
    idle_s: float = key(0.0, minimum=0, maximum=10, text="without packets a frame that often; 0: fill the link")

    def config(self, node: NodeConfig) -> LinkConfig:
        """What the two ends of this link agree on."""
        return LinkConfig(
            spacecraft_id=node.spacecraft_id,
            frame_octets=node.frame_octets,
            coding=self.coding,
            interleave=self.interleave,
            randomizer=self.randomizer,
            convolutional=self.convolutional,
            uplink_bit_s=float(self.uplink_rate_bps),
            tc_randomizer=self.tc_randomizer,
            cltu_errors=self.cltu_errors,
            playback_min_frac=self.playback_min_frac,
            products_min_frac=self.products_min_frac,
        )


@dataclass(frozen=True, slots=True)
class DriverConfig:
    """Which driver serves which device, as "scheme:address"; empty where there is no such device."""

    eps: str = key(text='electrical power system, such as "serial:/dev/ttyS0"')
    board_thermometer: str = key()
    radiator_thermometer: str = key()
    heater: str = key("")
    governor: str = key("", text="power limiter of the payload processor")
    imager: str = key("")


@dataclass(frozen=True, slots=True)
class Mission:
    """Everything mission.toml says. `app` is the payload app's class, `payload` its own config instance."""

    path: Path
    node: NodeConfig
    links: tuple[LinkSection, ...]
    drivers: DriverConfig
    executive: ExecutiveConfig
    commands: CommandsConfig
    time: TimeConfig
    power: PowerConfig
    thermal: ThermalConfig
    recorder: RecorderConfig
    storage: StorageConfig
    housekeeping: HousekeepingConfig
    events: EventsConfig
    outbox: OutboxConfig
    uploads: UploadsConfig
    schedule: ScheduleConfig
    sequencing: SequencingConfig
    event_action: EventActionConfig
    sequences: tuple[SequenceConfig, ...]
    app: type[App] | None
    payload: Any
    sections: Mapping[str, Any]


_SECTIONS: dict[str, type[Any]] = {
    "node": NodeConfig,
    "drivers": DriverConfig,
    "executive": ExecutiveConfig,
    "commands": CommandsConfig,
    "time": TimeConfig,
    "power": PowerConfig,
    "thermal": ThermalConfig,
    "recorder": RecorderConfig,
    "storage": StorageConfig,
    "housekeeping": HousekeepingConfig,
    "events": EventsConfig,
    "outbox": OutboxConfig,
    "uploads": UploadsConfig,
    "schedule": ScheduleConfig,
    "sequencing": SequencingConfig,
    "event_action": EventActionConfig,
}
_REQUIRED = ("node", "drivers", "power")
_FOREIGN = ("payload", "sim", "ground")
_OPTIONAL_DRIVERS = ("heater", "governor", "imager")


def load(path: Path | str, extra: Mapping[str, type[Any]] | None = None) -> Mission:
    """The mission in the file `path`; `extra` names further sections and the dataclasses to read them with.

    Raises MissionError with all faults, OrbitnodeError where the file cannot be read at all.
    """
    path = Path(path)
    table, sources = _merged(path)
    faults: list[Fault] = []
    read: dict[str, Any] = {}
    kinds = _SECTIONS | dict(extra or {})
    known = {*kinds, *_FOREIGN, "link", "sequence"}
    faults.extend(Fault((name,), f"unknown section, {suggestion(name, known)}") for name in table if name not in known)
    for name, kind in kinds.items():
        if name in _REQUIRED and name not in table:
            faults.append(Fault((name,), f"section [{name}] is missing"))
        else:
            read[name] = read_table(kind, table.get(name, {}), (name,), faults)
    links = _read_links(table.get("link", []), read.get("node"), faults)
    sequences = _read_sequences(table.get("sequence", []), faults)
    app, payload = _read_app(table.get("node"), table.get("payload", {}), faults)
    _check_drivers(table.get("drivers"), table.get("link"), faults)
    if faults:
        raise MissionError(path, [_located(fault, sources) for fault in faults])
    return Mission(
        path=path,
        node=read["node"],
        links=links,
        drivers=read["drivers"],
        executive=read["executive"],
        commands=read["commands"],
        time=read["time"],
        power=read["power"],
        thermal=read["thermal"],
        recorder=read["recorder"],
        storage=read["storage"],
        housekeeping=read["housekeeping"],
        events=read["events"],
        outbox=read["outbox"],
        uploads=read["uploads"],
        schedule=read["schedule"],
        sequencing=read["sequencing"],
        event_action=read["event_action"],
        sequences=sequences,
        app=app,
        payload=payload,
        sections={name: read[name] for name in extra or {}},
    )


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
        if _app(table) not in (None, _app(merged)):
            merged.pop("payload", None)  # the section belonged to another app
        merged = _overlay(merged, table)
    return merged, sources


def _app(table: Mapping[str, Any]) -> object:
    node = table.get("node")
    return node.get("app") if isinstance(node, Mapping) else None


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
    read = [read_table(LinkSection, one, ("link", i), faults) for i, one in enumerate(value)]
    names = [one.get("name") if isinstance(one, dict) else None for one in value]
    for i, name in enumerate(names):
        if isinstance(name, str) and name in names[:i]:
            faults.append(Fault(("link", i, "name"), f"is {name!r} again, every link needs a name of its own"))
    for i, link in enumerate(read):
        if link is not None and node is not None:
            faults.extend(Fault(("link", i, name), text) for name, text in link.config(node).faults())
    return tuple(link for link in read if link is not None)


def _read_sequences(value: object, faults: list[Fault]) -> tuple[SequenceConfig, ...]:
    if not isinstance(value, list):
        faults.append(Fault(("sequence",), "should be [[sequence]], a list of tables"))
        return ()
    read = [read_table(SequenceConfig, one, ("sequence", i), faults) for i, one in enumerate(value)]
    return tuple(one for one in read if one is not None)


def _read_app(node: object, table: object, faults: list[Fault]) -> tuple[type[App] | None, Any]:
    """The app's class and its section. An app that cannot be loaded is a fault of node.app."""
    wanted = node.get("app") if isinstance(node, dict) else None
    if not isinstance(wanted, str) or not wanted:
        return None, None
    module, _, name = wanted.partition(":")
    try:
        app = getattr(import_module(module), name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        missing = error.name if isinstance(error, ImportError) else None
        extra = (
            "" if missing in (None, module, module.partition(".")[0]) else "; is an extra such as [payload] missing?"
        )
        text = f"{wanted!r} cannot be loaded: {error}{extra}; should be module:class"
        faults.append(Fault(("node", "app"), text))
        return None, None
    if not all(hasattr(app, part) for part in ("CONFIG", "declare", "start", "close")):
        faults.append(Fault(("node", "app"), f"{wanted!r} is no app: it needs CONFIG, declare, start and close"))
        return None, None
    return app, read_table(app.CONFIG, table, ("payload",), faults)


def _check_drivers(drivers: object, links: object, faults: list[Fault]) -> None:
    """Every driver's scheme must be one the registry has; whether the device is there shows at boot."""
    if isinstance(drivers, dict):
        kinds = {
            "eps": "eps",
            "board_thermometer": "thermometer",
            "radiator_thermometer": "thermometer",
            "heater": "heater",
            "governor": "governor",
            "imager": "imager",
        }
        for name, kind in kinds.items():
            _check_scheme(kind, drivers.get(name), ("drivers", name), faults)
    for i, link in enumerate(links if isinstance(links, list) else ()):
        if isinstance(link, dict):
            _check_scheme("radio", link.get("driver"), ("link", i, "driver"), faults)


def _check_scheme(kind: str, url: object, path: tuple[str | int, ...], faults: list[Fault]) -> None:
    if not isinstance(url, str):
        return  # missing or of the wrong type: that has been said
    scheme, colon, _ = url.partition(":")
    known = ", ".join(f"{name}:..." for name in registry.schemes(kind))
    if not url:
        if path[-1] not in _OPTIONAL_DRIVERS:
            faults.append(Fault(path, f"is empty, should be one of {known}"))
    elif not colon or scheme not in registry.schemes(kind):
        faults.append(Fault(path, f"unknown {kind} driver {scheme!r} in {url!r}, have {known}"))


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
