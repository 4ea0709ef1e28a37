"""Drivers by URL: "scheme:address" to the module that serves it, imported only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, cast

from hal.base import Eps, Governor, HalError, Heater, Host, Imager, Radio, Thermometer

# scheme -> "module:factory". Factories get (address, host); those of radios also the rate in bit/s.
EPS: Mapping[str, str] = {"serial": "hal.serial_board:open_eps", "sim": "sim_hw.boards:open_eps"}
THERMOMETER: Mapping[str, str] = {
    "serial": "hal.serial_board:open_thermometer",
    "sim": "sim_hw.boards:open_thermometer",
}
HEATER: Mapping[str, str] = {"serial": "hal.serial_board:open_heater", "sim": "sim_hw.boards:open_heater"}
GOVERNOR: Mapping[str, str] = {"serial": "hal.serial_board:open_governor", "sim": "sim_hw.boards:open_governor"}
RADIO: Mapping[str, str] = {"udp": "hal.udp_radio:open_radio", "sim": "sim_hw.boards:open_radio"}
IMAGER: Mapping[str, str] = {"replay": "hal.replay_imager:open_imager", "sim": "sim_hw.boards:open_imager"}

_TABLES: Mapping[str, Mapping[str, str]] = {
    "eps": EPS,
    "thermometer": THERMOMETER,
    "heater": HEATER,
    "governor": GOVERNOR,
    "radio": RADIO,
    "imager": IMAGER,
}

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
    return cast("Eps", _open("eps", url, host))


def open_thermometer(url: str, host: Host) -> Thermometer:
    """The temperature sensor at `url`, such as "serial:/dev/ttyS0:radiator"."""
    return cast("Thermometer", _open("thermometer", url, host))


def open_heater(url: str, host: Host) -> Heater:
    """The heater at `url`, such as "serial:/dev/ttyS0:payload"."""
    return cast("Heater", _open("heater", url, host))


def open_governor(url: str, host: Host) -> Governor:
    """The power limiter of the payload processor at `url`, such as "serial:/dev/ttyS0"."""
    return cast("Governor", _open("governor", url, host))


def open_radio(url: str, host: Host, rate_bps: int) -> Radio:
    """The modem at `url`, such as "udp:127.0.0.1:10015:10018", sending at `rate_bps`."""
    return cast("Radio", _open("radio", url, host, rate_bps))


def open_imager(url: str, host: Host) -> Imager:
    """The camera at `url`, such as "replay:tiles/"."""
    return cast("Imager", _open("imager", url, host))


def _open(kind: str, url: str, *arguments: object) -> object:
    scheme, colon, address = url.partition(":")
    row = _TABLES[kind].get(scheme)
    if row is None or not colon:
        known = ", ".join(f"{name}:..." for name in schemes(kind))
        raise HalError(f"{kind} driver {url!r} is unknown, there are {known}")
    module, _, name = row.partition(":")
    try:
        factory = cast("Callable[..., Any]", getattr(import_module(module), name))
        return factory(address, *arguments)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        package = INSTALL.get(missing, missing)
        raise HalError(f"{kind} {url!r} needs the Python module {missing!r}: pip install {package}") from None
    except OSError as error:
        raise HalError(f"{kind} {url!r}: {error.strerror or error}") from None
    except ValueError as error:
        raise HalError(f"{kind} {url!r}: {error}") from None
