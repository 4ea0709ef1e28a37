"""mission.toml into frozen dataclasses; every fault in the file reported at once, with its line.

A mission may start from another (`extends = "orbit.toml"`, beside it): tables are merged key by key, anything
else is replaced. Sections of the app, the simulator and the ground are read with dataclasses their owners give.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from flight.app import App
from flight.config import Fault, key, read_table
from flight.core.errors import OrbitnodeError
from flight.services.files import OutboxConfig
from flight.services.housekeeping import HousekeepingConfig
from flight.services.power import PowerConfig
from flight.services.recorder import RecorderConfig
from flight.services.thermal import ThermalConfig
from flight.toml_lines import TomlLines
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
    command_queue: int = key(32, minimum=1, maximum=1024, text="accepted telecommands waiting at most")
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
    """One `[[link]]`. `coding` is "cadu" (marker and randomizer around each frame) or "frame" (bare)."""

    name: str = key(text="the link's name")
    driver: str = key(text='modem as "scheme:address"')
    kind: str = key("radio", choices=("radio", "optical", "inter-satellite"))
    coding: str = key("cadu", choices=("cadu", "frame"))
    rate_bps: int = key(256_000, minimum=1_000, maximum=10_000_000_000)
    uplink_rate_bps: int = key(16_000, minimum=100, maximum=10_000_000_000)


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
    power: PowerConfig
    thermal: ThermalConfig
    recorder: RecorderConfig
    housekeeping: HousekeepingConfig
    outbox: OutboxConfig
    app: type[App] | None
    payload: Any
    sections: Mapping[str, Any]


_SECTIONS: dict[str, type[Any]] = {
    "node": NodeConfig,
    "drivers": DriverConfig,
    "power": PowerConfig,
    "thermal": ThermalConfig,
    "recorder": RecorderConfig,
    "housekeeping": HousekeepingConfig,
    "outbox": OutboxConfig,
}
_REQUIRED = ("node", "drivers", "power")
_FOREIGN = ("payload", "sim", "ground")


def load(path: Path | str, extra: Mapping[str, type[Any]] | None = None) -> Mission:
    """The mission in the file `path`; `extra` names further sections and the dataclasses to read them with.

    Raises MissionError with all faults, OrbitnodeError where the file cannot be read at all.
    """
    path = Path(path)
    table, sources = _merged(path)
    faults: list[Fault] = []
    read: dict[str, Any] = {}
    kinds = _SECTIONS | dict(extra or {})
    for name in table:
        if name not in kinds and name not in (*_FOREIGN, "link"):
            known = ", ".join(sorted({*kinds, *_FOREIGN, "link"}))
            faults.append(Fault((name,), f"unknown section, known: {known}"))
    for name, kind in kinds.items():
        if name in _REQUIRED and name not in table:
            faults.append(Fault((name,), f"section [{name}] is missing"))
        else:
            read[name] = read_table(kind, table.get(name, {}), (name,), faults)
    links = _read_links(table.get("link", []), faults)
    app, payload = _read_app(read.get("node"), table.get("payload", {}), faults)
    _check_drivers(read.get("drivers"), links, faults)
    if faults:
        raise MissionError(path, [_located(fault, sources) for fault in faults])
    return Mission(
        path=path,
        node=read["node"],
        links=links,
        drivers=read["drivers"],
        power=read["power"],
        thermal=read["thermal"],
        recorder=read["recorder"],
        housekeeping=read["housekeeping"],
        outbox=read["outbox"],
        app=app,
        payload=payload,
        sections={name: read[name] for name in extra or {}},
    )


def _merged(path: Path) -> tuple[dict[str, Any], list[tuple[Path, TomlLines]]]:
    """The file's table over those it extends, and the sources, nearest first."""
    tables: list[dict[str, Any]] = []
    sources: list[tuple[Path, TomlLines]] = []
    at: Path | None = path
    while at is not None:
        if len(tables) == _EXTENDS_MAX:
            raise MissionError(path, [f"{at}: extends more than {_EXTENDS_MAX - 1} deep; is there a circle?"])
        try:
            text = at.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise OrbitnodeError(f"mission file {at} cannot be read: {reason}") from None
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise MissionError(path, [f"{at}: not valid TOML: {error}"]) from None
        sources.append((at, TomlLines(text)))
        base = table.pop("extends", None)
        if base is not None and not isinstance(base, str):
            raise MissionError(path, [f"{at}:{sources[-1][1].find(('extends',))}: extends: should be a file name"])
        tables.append(table)
        at = at.parent / base if base is not None else None
    merged: dict[str, Any] = {}
    for table in reversed(tables):
        merged = _overlay(merged, table)
    return merged, sources


def _overlay(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    out = dict(under)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(name), dict)
        out[name] = _overlay(out[name], value) if both else value
    return out


def _read_links(value: object, faults: list[Fault]) -> tuple[LinkSection, ...]:
    if not isinstance(value, list) or not value:
        faults.append(Fault(("link",), "at least one [[link]] is needed, a list of tables"))
        return ()
    read = [read_table(LinkSection, one, ("link", i), faults) for i, one in enumerate(value)]
    links = tuple(link for link in read if link is not None)
    names = [link.name for link in links]
    for i, name in enumerate(names):
        if name in names[:i]:
            faults.append(Fault(("link", i, "name"), f"is {name!r} again, every link needs a name of its own"))
    return links


def _read_app(node: NodeConfig | None, table: object, faults: list[Fault]) -> tuple[type[App] | None, Any]:
    """The app's class and its section. An app that cannot be loaded is a fault of node.app."""
    if node is None or not node.app:
        return None, None
    module, _, name = node.app.partition(":")
    try:
        app = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        missing = getattr(error, "name", None)
        extra = (
            "" if missing in (None, module, module.partition(".")[0]) else "; is an extra such as [payload] missing?"
        )
        faults.append(Fault(("node", "app"), f"{node.app!r} cannot be loaded: {error}{extra}"))
        return None, None
    if not all(hasattr(app, part) for part in ("CONFIG", "declare", "start", "close")):
        faults.append(Fault(("node", "app"), f"{node.app!r} is no app: it needs CONFIG, declare, start and close"))
        return None, None
    return app, read_table(app.CONFIG, table, ("payload",), faults)


def _check_drivers(drivers: DriverConfig | None, links: tuple[LinkSection, ...], faults: list[Fault]) -> None:
    """Every driver's scheme must be one the registry has; whether the device is there shows at boot."""
    if drivers is not None:
        kinds = {
            "eps": "eps",
            "board_thermometer": "thermometer",
            "radiator_thermometer": "thermometer",
            "heater": "heater",
            "governor": "governor",
            "imager": "imager",
        }
        for name, kind in kinds.items():
            _check_scheme(kind, getattr(drivers, name), ("drivers", name), faults)
    for i, link in enumerate(links):
        _check_scheme("radio", link.driver, ("link", i, "driver"), faults)


def _check_scheme(kind: str, url: str, path: tuple[str | int, ...], faults: list[Fault]) -> None:
    scheme = url.partition(":")[0]
    known = registry.schemes(kind)
    if url and scheme not in known:
        faults.append(Fault(path, f"unknown {kind} driver {scheme!r} in {url!r}, have {', '.join(known)}"))


def _located(fault: Fault, sources: list[tuple[Path, TomlLines]]) -> str:
    """`file:line: section.key: text`, in the file nearest to the mission that has the key."""
    where, line = sources[0][0], None
    for path, lines in sources:
        if lines.has(fault.path):
            where, line = path, lines.find(fault.path)
            break
    else:
        for path, lines in sources:
            if (line := lines.find(fault.path)) is not None:
                where = path
                break
    name = ""
    for part in fault.path:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return f"{where}:{line or 1}: {name}: {fault.text}"
