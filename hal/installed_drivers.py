"""Drivers that other distributions offer, by the entry-point group `orbitnode.drivers`.

    [project.entry-points."orbitnode.drivers"]
    "eps.acme" = "acme_eps:open_eps"

The name is a kind of device (hal/kinds.py) and a scheme, the value is the factory that opens a device of that kind at
`acme:ADDRESS`. Reading what is offered imports no driver. An entry point is at fault, and serves no device, if

    its name is not KIND.SCHEME, or its value not module:factory
    its kind is not one that this orbitnode knows
    orbitnode itself has a driver of that kind and scheme: what a mission has flown with stays what it is
    another entry point has the same name: which of the two is meant nobody can tell

With such a fault a node does not start, even if its mission does not ask for that driver: what flies must not hang on
the order in which Python finds distributions, nor change with one that is installed beside it.
"""

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
    """What is offered. `targets`: "module:factory" by kind and scheme. `faults`: a line for each that cannot be had."""

    targets: Mapping[tuple[str, str], str]
    faults: tuple[str, ...]

    def schemes(self, kind: str) -> list[str]:
        """The schemes that are offered for the kind of that name, sorted."""
        return sorted(scheme for name, scheme in self.targets if name == kind)


def installed_drivers() -> InstalledDrivers:
    """What the distributions on Python's path offer now: some milliseconds, more where many are installed."""
    offers: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        offers.setdefault(entry.name, []).append(entry)
    targets: dict[tuple[str, str], str] = {}
    faults: list[str] = []
    for name, entries in sorted(offers.items()):
        found = list(_faults_of(name, entries))
        faults += found
        if not found:
            kind, _, scheme = name.partition(".")
            targets[kind, scheme] = entries[0].value
    return InstalledDrivers(targets, tuple(faults))


def _faults_of(name: str, entries: list[EntryPoint]) -> Iterator[str]:
    """What is wrong with the entry points of one name. See the head of the file."""
    told = f"driver {name!r} of {_sources(entries)}"
    parts = _NAME.fullmatch(name)
    if parts is None:
        yield f"{told}: should be named KIND.SCHEME in small letters, such as eps.acme"
    elif parts[1] not in KINDS:
        yield f"{told}: unknown kind of device {parts[1]!r}, should be one of {', '.join(KINDS)}"
    elif parts[2] in KINDS[parts[1]].drivers:
        yield f"{told}: orbitnode has a driver of that name itself; it takes another scheme"
    if len(entries) > 1:
        yield f"{told}: is offered {len(entries)} times, which leaves open what is meant; uninstall all but one"
    for entry in entries:
        if not _TARGET.fullmatch(entry.value):
            yield f"driver {name!r} of {_source(entry)}: is {entry.value!r}, should be module:factory"


def _sources(entries: Iterable[EntryPoint]) -> str:
    return " and ".join(sorted(set(map(_source, entries))))


def _source(entry: EntryPoint) -> str:
    return "an unknown distribution" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
