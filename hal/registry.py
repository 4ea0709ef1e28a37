"""Which driver serves a URL "scheme:address": the one place where a driver enters the node.

A scheme is served by the row of its kind (hal/kinds.py) or, if no row has it, by a driver of another distribution
(hal/installed_drivers.py). Callers are given the driver behind its guard (hal/guard.py), never the driver itself.
"""

# Two kinds of faults, told apart on purpose (ADR 0021, ADR 0027):
#
#   of the installation   no driver serves the URL, its module is missing or cannot be imported, the factory's name is
#                         wrong. The node does not start: `import_drivers` finds all of them before anything is opened
#                         or stored, and names them in one error, a line each.
#   of the device         whatever happens once the factory runs. HalError from it (and OSError and ValueError, which
#                         become HalError) is the driver's word that mission and hardware do not fit, and keeps the
#                         node from starting as well. Anything else sets the device aside, and the guard tries again.
#
# An import that hangs counts as the second kind: a slow disk at boot is not a wrong installation. Our own rows are
# asked first, so that a package that is installed beside orbitnode can never change what a mission has flown with; and
# looking up a URL reads the metadata of all distributions, which takes milliseconds, only for a scheme that no row has.

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

NAME_MAX = 48  # of a URL in messages: an event carries 255 octets, and the fault has to fit beside the name

# What to install for a module that is not there.
INSTALL: Mapping[str, str] = {
    "serial": "pyserial",
    "numpy": "'orbitnode[payload]'",
    "sgp4": "'orbitnode[sim]'",
    "sim_hw": "'orbitnode[sim]'",
}


def schemes(kind: DeviceKind[Any]) -> list[str]:
    """Return the schemes of one kind of device, built in and installed, sorted."""
    return sorted([*kind.drivers, *installed_drivers().schemes(kind.name)])


def serves(kind: DeviceKind[Any], url: str) -> bool:
    """Return whether there is a driver for the URL's scheme. Imports and opens nothing."""
    scheme, colon, _ = url.partition(":")
    return bool(colon and _target(kind, scheme))


def installation_faults() -> tuple[str, ...]:
    """Return a line per driver of another distribution that cannot be used, or is offered more than once."""
    return installed_drivers().faults


def import_drivers(devices: Iterable[tuple[DeviceKind[Any], str]], host: Host) -> None:
    """Import the drivers of these devices, given as kind and URL. Raises HalError with a line per one that fails."""
    faults: list[str] = []
    broken: set[str] = set()  # modules: reported once, and not run again for each of their devices
    for kind, url in devices:
        factory = _Factory(kind, url)
        if factory.module in broken:
            continue
        try:
            factory.find(host)
        except StalledError:
            continue  # it may be slow this once: the guard of the device tries again as it opens, and later
        except HalError as error:
            faults.append(str(error))
            # If the module was imported, only this factory is wrong, and another device may name another one.
            if factory.module not in sys.modules:
                broken.add(factory.module)
    if len(faults) > 1:
        raise HalError("\n  ".join([f"{len(faults)} drivers cannot be used", *faults]))
    if faults:
        raise HalError(faults[0])


def open_device(kind: DeviceKind[D], url: str, host: Host, **settings: object) -> D:
    """Open the device of that kind at `url`, such as "serial:/dev/ttyS0", and return it behind its guard.

    `settings` are those that the kind names. Raises HalError if no driver serves the URL, if its module cannot be
    imported, or if its factory says that the device cannot be opened.
    """
    assert settings.keys() == set(kind.settings), f"{kind.name} takes {kind.settings}"
    return kind.guarded(_short(kind, url), host, _Factory(kind, url, *(settings[name] for name in kind.settings)))


class _Factory:
    """Opens the driver at one URL on a host. The guard calls it, and calls it again if it failed."""

    def __init__(self, kind: DeviceKind[Any], url: str, *settings: object) -> None:
        """Look up what serves the URL. Raises HalError if nothing does."""
        scheme, _, self._address = url.partition(":")
        if not serves(kind, url):
            known = ", ".join(f"{name}:..." for name in schemes(kind))
            raise HalError(f"{kind.name} driver {url!r} is unknown, there are {known}")
        self.module, _, self._function = _target(kind, scheme).partition(":")
        self._name = _short(kind, url)
        self._what = f"{kind.name} {url!r}"
        self._settings = settings

    def __call__(self, host: Host) -> Any:
        """Open the driver. Raises HalError if something is missing, or the configuration does not fit the hardware."""
        factory = self.find(host)
        try:
            return factory(self._address, host, *self._settings)
        except ModuleNotFoundError as error:  # a factory may import late what only it needs
            raise self._missing(error) from None
        # A device that cannot be opened, or an address that makes no sense: the two faults that a plain factory reports
        # without knowing HalError.
        except OSError as error:
            raise HalError(f"{self._what}: {error.strerror or error}") from None
        except ValueError as error:
            raise HalError(f"{self._what}: {error}") from None

    def find(self, host: Host) -> Callable[..., Any]:
        """Import the module and return the factory.

        Raises HalError, whatever the import raises, and StalledError if it hangs.
        """
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
        # The first part of the name is the one to install: `serial` for `serial.tools`.
        missing = (error.name or "").partition(".")[0]
        package = INSTALL.get(missing, missing)
        return HalError(f"{self._what} needs the Python module {missing!r}: pip install {package}")


def _target(kind: DeviceKind[Any], scheme: str) -> str:
    """Return the "module:factory" that serves the scheme, or "" if none does."""
    return kind.drivers.get(scheme) or installed_drivers().targets.get((kind.name, scheme), "")


def _short(kind: DeviceKind[Any], url: str) -> str:
    """Return the device's name in messages, cut to NAME_MAX characters of its URL."""
    return f"{kind.name} {url}" if len(url) <= NAME_MAX else f"{kind.name} {url[:NAME_MAX]}..."
