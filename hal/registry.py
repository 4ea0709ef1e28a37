"""Drivers by URL: "scheme:address" to the module that serves it, imported only when asked for.

What is handed out is the driver behind its guard (hal/guard.py). Only here does a driver enter the node.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from hal.base import Eps, Governor, HalError, Heater, Host, Imager, Radio, Thermometer
from hal.guarded import GuardedEps, GuardedGovernor, GuardedHeater, GuardedImager, GuardedRadio, GuardedThermometer

# scheme -> "module:factory". Factories get (address, host); those of radios also the rate in bit/s.
EPS: Mapping[str, str] = {"serial": "hal.serial_board:open_eps", "sim": "sim_hw.machine.boards:open_eps"}
THERMOMETER: Mapping[str, str] = {
    "serial": "hal.serial_board:open_thermometer",
    "sim": "sim_hw.machine.boards:open_thermometer",
}
HEATER: Mapping[str, str] = {"serial": "hal.serial_board:open_heater", "sim": "sim_hw.machine.boards:open_heater"}
GOVERNOR: Mapping[str, str] = {"serial": "hal.serial_board:open_governor", "sim": "sim_hw.machine.boards:open_governor"}
RADIO: Mapping[str, str] = {"udp": "hal.udp_radio:open_radio", "sim": "sim_hw.machine.boards:open_radio"}
IMAGER: Mapping[str, str] = {"replay": "hal.replay_imager:open_imager", "sim": "sim_hw.machine.boards:open_imager"}

_TABLES: Mapping[str, Mapping[str, str]] = {
    "eps": EPS,
    "thermometer": THERMOMETER,
    "heater": HEATER,
    "governor": GOVERNOR,
    "radio": RADIO,
    "imager": IMAGER,
}

NAME_MAX = 48

# What to install for a module that is not there.
INSTALL: Mapping[str, str] = {
    "serial": "pyserial",
    "numpy": "'orbitnode[payload]'",
    "sgp4": "'orbitnode[sim]'",
    "sim_hw": "'orbitnode[sim]'",
}


def schemes(kind: str) -> list[str]:
    """The schemes of one kind of device ("eps", "radio", ...), sorted."""
    return sorted(_TABLES[kind])


def open_eps(url: str, host: Host) -> Eps:
    """The power system at `url`, such as "serial:/dev/ttyS0". Raises HalError, as all of these do."""
    return GuardedEps(_short("eps", url), host, _factory("eps", url))


def open_thermometer(url: str, host: Host) -> Thermometer:
    """The temperature sensor at `url`, such as "serial:/dev/ttyS0:radiator"."""
    return GuardedThermometer(_short("thermometer", url), host, _factory("thermometer", url))


def open_heater(url: str, host: Host) -> Heater:
    """The heater at `url`, such as "serial:/dev/ttyS0:payload"."""
    return GuardedHeater(_short("heater", url), host, _factory("heater", url))


def open_governor(url: str, host: Host) -> Governor:
    """The power limiter of the payload processor at `url`, such as "serial:/dev/ttyS0"."""
    return GuardedGovernor(_short("governor", url), host, _factory("governor", url))


def open_radio(url: str, host: Host, rate_bps: int) -> Radio:
    """The modem at `url`, such as "udp:127.0.0.1:10015:10018", sending at `rate_bps`."""
    return GuardedRadio(_short("radio", url), host, _factory("radio", url, rate_bps))


def open_imager(url: str, host: Host) -> Imager:
    """The camera at `url`, such as "replay:tiles/"."""
    return GuardedImager(_short("imager", url), host, _factory("imager", url))


class _Factory:
    """Opens the driver at one URL on a host: for the guard, which does it again if it failed."""

    def __init__(self, kind: str, url: str, row: str, address: str, *arguments: object) -> None:
        self._what = f"{kind} {url!r}"
        self._row = row
        self._arguments = (address, *arguments)

    def __call__(self, host: Host) -> Any:
        """Raises HalError for what is missing or wrong with the configuration."""
        module, _, name = self._row.partition(":")
        address, *more = self._arguments
        try:
            return getattr(import_module(module), name)(address, host, *more)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            package = INSTALL.get(missing, missing)
            raise HalError(f"{self._what} needs the Python module {missing!r}: pip install {package}") from None
        except OSError as error:
            raise HalError(f"{self._what}: {error.strerror or error}") from None
        except ValueError as error:
            raise HalError(f"{self._what}: {error}") from None


def _factory(kind: str, url: str, *arguments: object) -> _Factory:
    scheme, colon, address = url.partition(":")
    row = _TABLES[kind].get(scheme)
    if row is None or not colon:
        known = ", ".join(f"{name}:..." for name in schemes(kind))
        raise HalError(f"{kind} driver {url!r} is unknown, there are {known}")
    return _Factory(kind, url, row, address, *arguments)


def _short(kind: str, url: str) -> str:
    """The device's name in messages, which have room for so much."""
    return f"{kind} {url}" if len(url) <= NAME_MAX else f"{kind} {url[:NAME_MAX]}..."
