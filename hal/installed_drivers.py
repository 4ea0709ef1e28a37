"""Drivers that other distributions offer, by the entry-point group `orbitnode.drivers`.

    [project.entry-points."orbitnode.drivers"]
    "eps.acme" = "acme_eps:open_eps"

The name is a kind of device (hal/kinds.py) and a scheme; the value is the factory that opens a device of that kind at
`acme:ADDRESS`. Reading what is offered imports no driver. An entry point is faulty, and serves no device, if

    its name is not KIND.SCHEME, or its value is not module:factory
    its kind is not one that this orbitnode knows
    orbitnode itself has a driver of that kind and scheme
    another entry point has the same name

A node does not start while there is such a fault, even if its mission does not ask for that driver.
"""

# Why a fault of a driver that nobody asked for keeps the node from starting (ADR 0027): what flies must not depend on
# the order in which Python finds distributions, nor change when one is installed beside another. If two packages offer
# the same name, nobody can tell which is meant; and a package must not replace a driver of ours, or a mission that flew
# on one board would mean something else on another. All faults are collected, so that one start names them all.

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from hal.kinds import KINDS

GROUP = "orbitnode.drivers"

_NAME = re.compile(r"(\w+)\.([a-z][a-z0-9_-]*)")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class InstalledDrivers:
    """What other distributions offer. `targets`: "module:factory" by kind and scheme. `faults`: a line per fault."""

    targets: Mapping[tuple[str, str], str]
    faults: tuple[str, ...]

    def schemes(self, kind: str) -> list[str]:
        """Return the schemes that are offered for the kind of that name, sorted."""
        return sorted(scheme for name, scheme in self.targets if name == kind)


def installed_drivers() -> InstalledDrivers:
    """Read what the distributions on Python's path offer now. Takes some milliseconds, more if many are installed."""
    offers: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        offers.setdefault(entry.name, []).append(entry)
    targets: dict[tuple[str, str], str] = {}
    faults: list[str] = []
    for name, entries in sorted(offers.items()):  # sorted: faults come in the same order on every machine
        found = list(_faults_of(name, entries))
        faults += found
        if not found:
            kind, _, scheme = name.partition(".")
            targets[kind, scheme] = entries[0].value
    return InstalledDrivers(targets, tuple(faults))


def _faults_of(name: str, entries: list[EntryPoint]) -> Iterator[str]:
    """Say what is wrong with the entry points of one name. See the head of the file."""
    offer = f"driver {name!r} of {_sources(entries)}"
    parts = _NAME.fullmatch(name)
    if parts is None:
        yield f"{offer}: should be named KIND.SCHEME in small letters, such as eps.acme"
    elif parts[1] not in KINDS:
        yield f"{offer}: unknown kind of device {parts[1]!r}, should be one of {', '.join(KINDS)}"
    elif parts[2] in KINDS[parts[1]].drivers:
        yield f"{offer}: orbitnode itself has a driver of that name; choose another scheme"
    if len(entries) > 1:
        yield f"{offer}: is offered {len(entries)} times, so which one is meant is not clear; uninstall all but one"
    for entry in entries:
        if not _TARGET.fullmatch(entry.value):
            yield f"driver {name!r} of {_source(entry)}: its value is {entry.value!r}, should be module:factory"


def _sources(entries: Iterable[EntryPoint]) -> str:
    return " and ".join(sorted(set(map(_source, entries))))


def _source(entry: EntryPoint) -> str:
    return "an unknown distribution" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
