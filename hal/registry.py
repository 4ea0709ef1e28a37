"""Which driver serves a URL "scheme:address", and the one place where a driver enters the node.

A scheme is served by the row of its kind (hal/kinds.py), else by what another distribution offers
(hal/installed_drivers.py), which is looked up only for a scheme that no row has. What is handed out is the driver
behind its guard (hal/guard.py).

A driver that is missing, or whose module cannot be imported, is a fault of the installation: it keeps the node from
starting. What its factory then does is between the device and its guard.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, TypeVar

from hal.base import HalError, Host, StalledError
from hal.guard import guarded_call
from hal.installed_drivers import installed_drivers
from hal.kinds import DeviceKind

D = TypeVar("D")

NAME_MAX = 48

# What to install for a module that is not there.
INSTALL: Mapping[str, str] = {
    "serial": "pyserial",
    "numpy": "'orbitnode[payload]'",
    "sgp4": "'orbitnode[sim]'",
    "sim_hw": "'orbitnode[sim]'",
}


def schemes(kind: DeviceKind[Any]) -> list[str]:
    """The schemes of one kind of device, built in and installed, sorted."""
    return sorted([*kind.drivers, *installed_drivers().schemes(kind.name)])


def serves(kind: DeviceKind[Any], url: str) -> bool:
    """Whether there is a driver for the URL's scheme. Nothing is imported or opened."""
    scheme, colon, _ = url.partition(":")
    return bool(colon and _target(kind, scheme))


def installation_faults() -> tuple[str, ...]:
    """A line for each driver of another distribution that cannot be used, or not be told from another."""
    return installed_drivers().faults


def import_drivers(devices: Iterable[tuple[DeviceKind[Any], str]], host: Host) -> None:
    """Import the drivers of these devices, kind and URL each. Raises HalError with a line for each that cannot be."""
    faults: list[str] = []
    broken: set[str] = set()  # told once, and not run again for each of its devices
    for kind, url in devices:
        factory = _Factory(kind, url)
        if factory.module in broken:
            continue
        try:
            factory.find(host)
        except StalledError:
            continue  # it may be slow for once: the guard of the device tries it again, and again later
        except HalError as error:
            faults.append(str(error))
            if factory.module not in sys.modules:
                broken.add(factory.module)
    if len(faults) > 1:
        raise HalError("\n  ".join([f"{len(faults)} drivers cannot be had", *faults]))
    if faults:
        raise HalError(faults[0])


def open_device(kind: DeviceKind[D], url: str, host: Host, **settings: object) -> D:
    """The device of that kind at `url`, such as "serial:/dev/ttyS0", behind its guard.

    `settings` are those that the kind names. Raises HalError if no driver serves the URL, if its module cannot be
    imported, and if its factory says that the device cannot be had.
    """
    assert settings.keys() == set(kind.settings), f"{kind.name} takes {kind.settings}"
    return kind.guarded(_short(kind, url), host, _Factory(kind, url, *(settings[name] for name in kind.settings)))


class _Factory:
    """Opens the driver at one URL on a host: for the guard, which does it again if it failed."""

    def __init__(self, kind: DeviceKind[Any], url: str, *settings: object) -> None:
        """Raises HalError if no driver serves the URL."""
        scheme, _, self._address = url.partition(":")
        if not serves(kind, url):
            known = ", ".join(f"{name}:..." for name in schemes(kind))
            raise HalError(f"{kind.name} driver {url!r} is unknown, there are {known}")
        self.module, _, self._function = _target(kind, scheme).partition(":")
        self._name = _short(kind, url)
        self._what = f"{kind.name} {url!r}"
        self._settings = settings

    def __call__(self, host: Host) -> Any:
        """Raises HalError for what is missing or wrong with the configuration."""
        factory = self.find(host)
        try:
            return factory(self._address, host, *self._settings)
        except ModuleNotFoundError as error:
            raise self._missing(error) from None
        except OSError as error:
            raise HalError(f"{self._what}: {error.strerror or error}") from None
        except ValueError as error:
            raise HalError(f"{self._what}: {error}") from None

    def find(self, host: Host) -> Callable[..., Any]:
        """The factory, its module imported. Raises HalError, whatever the import raises; StalledError if it hangs."""
        return guarded_call(self._name, host, f"importing {self.module}", self._import)

    def _import(self) -> Callable[..., Any]:
        try:
            factory: object = getattr(import_module(self.module), self._function, None)
        except ModuleNotFoundError as error:
            raise self._missing(error) from None
        if not callable(factory):
            raise HalError(f"{self._what}: {self.module} has no function {self._function!r}")
        return factory

    def _missing(self, error: ModuleNotFoundError) -> HalError:
        missing = (error.name or "").partition(".")[0]
        package = INSTALL.get(missing, missing)
        return HalError(f"{self._what} needs the Python module {missing!r}: pip install {package}")


def _target(kind: DeviceKind[Any], scheme: str) -> str:
    """The "module:factory" that serves the scheme, "" if none does."""
    return kind.drivers.get(scheme) or installed_drivers().targets.get((kind.name, scheme), "")


def _short(kind: DeviceKind[Any], url: str) -> str:
    """The device's name in messages, which have room for so much."""
    return f"{kind.name} {url}" if len(url) <= NAME_MAX else f"{kind.name} {url[:NAME_MAX]}..."
