"""Resolves names in the nested SpaceSystems of an XTCE file (XTCE 1.2, NameReferenceType).

A name alone is looked for in its own SpaceSystem, then in those around it. A path goes by SpaceSystems, `..` for the
one around: from the root if it begins with a slash, else from its own SpaceSystem or one of those around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from flight.core.errors import OrbitnodeError
from ground.recording.definitions.xtce.xml_tree import Element, shown

TYPE, PARAMETER, CONTAINER = "parameter type", "parameter", "container"

_SETS = {TYPE: "ParameterTypeSet", PARAMETER: "ParameterSet", CONTAINER: "ContainerSet"}


@dataclass(slots=True, eq=False)
class SpaceSystem:
    """One SpaceSystem. items: by kind and name, the elements of its sets. inside: by name, the SpaceSystems in it."""

    name: str
    path: str
    around: SpaceSystem | None
    items: Mapping[str, dict[str, Element]]
    inside: dict[str, SpaceSystem] = field(default_factory=dict)

    @property
    def root(self) -> SpaceSystem:
        """The outermost SpaceSystem."""
        return self if self.around is None else self.around.root

    def every(self) -> Iterator[SpaceSystem]:
        """Yield this SpaceSystem and all inside it."""
        yield self
        for system in self.inside.values():
            yield from system.every()


@dataclass(frozen=True, slots=True)
class Item:
    """An element of a set, and the SpaceSystem in which its references are resolved."""

    system: SpaceSystem
    element: Element

    @property
    def name(self) -> str:
        """Its name inside its SpaceSystem."""
        return self.element.get("name")

    @property
    def key(self) -> str:
        """Its path from the root, which no other element of its kind has."""
        return f"{self.system.path}/{self.name}"


def space_system(element: Element, around: SpaceSystem | None = None) -> SpaceSystem:
    """Read a SpaceSystem and all inside it. Raises OrbitnodeError if a name is there twice."""
    name = element.need_name()
    path = "" if around is None else f"{around.path}/{name}"
    system = SpaceSystem(name, path, around, {kind: {} for kind in _SETS})
    for part in element.all("TelemetryMetaData", "CommandMetaData"):
        for kind, tag in _SETS.items():
            # Telemetry may share types and parameters with commands, but containers of commands are not packets.
            if kind == CONTAINER and part.tag == "CommandMetaData":
                continue
            for listed in part.all(tag):
                for child in listed.children:
                    _enter(system.items[kind], kind, child)
    for nested in element.all("SpaceSystem"):
        inner = space_system(nested, system)
        if inner.name in system.inside:
            raise nested.fault(f"a second SpaceSystem {shown(inner.name)} in {name}")
        system.inside[inner.name] = inner
    return system


def _enter(items: dict[str, Element], kind: str, element: Element) -> None:
    """Add an element to its set. Raises OrbitnodeError if the name is taken."""
    if kind == PARAMETER and element.tag == "ParameterRef":  # refers to a parameter of another set
        return
    name = element.need_name()
    if name in items:
        raise element.fault(f"a second {kind} {shown(name)}; the first is at line {items[name].line}")
    items[name] = element


def referred(reference: str, kind: str, system: SpaceSystem, at: Element) -> Item:
    """Return what a reference means. Raises OrbitnodeError, at the element that refers, if nothing has that name."""
    found = _found(reference, kind, system)
    if found is None:
        raise at.fault(f"refers to {kind} {shown(reference)}, which is not in the file")
    return found


def member_referred(reference: str, system: SpaceSystem, at: Element) -> tuple[Item, str]:
    """Return a parameter, and the path of a member in it, empty for all of it. Raises OrbitnodeError."""
    found = _found(reference, PARAMETER, system)
    if found is not None:
        return found, ""
    # `P.member` and `P/member` are both in use. The longest beginning that is a parameter's name is the parameter.
    for mark in (".", "/"):
        for place, letter in reversed(list(enumerate(reference))):
            if letter == mark and place and (found := _found(reference[:place], PARAMETER, system)) is not None:
                return found, reference[place + 1 :].replace("/", ".")
    raise _missing(reference, at)


def _missing(reference: str, at: Element) -> OrbitnodeError:
    return at.fault(f"refers to {PARAMETER} {shown(reference)}, which is not in the file")


def _found(reference: str, kind: str, system: SpaceSystem) -> Item | None:
    """Return what a reference means, or None."""
    *way, name = [part for part in reference.split("/") if part not in ("", ".")] or [""]
    if reference.startswith("/"):
        # The root's own name may lead, or be left out.
        starts = [(system.root, way)]
        if way and way[0] == system.root.name:
            starts.append((system.root, way[1:]))
    else:
        starts = []
        around: SpaceSystem | None = system
        while around is not None:
            starts.append((around, way))
            # A path that begins with ".." counts from here alone.
            if way and way[0] == "..":
                break
            around = around.around
    for start, path in starts:
        place = _walked(start, path)
        if place is not None and name in place.items[kind]:
            return Item(place, place.items[kind][name])
    return None


def _walked(start: SpaceSystem, path: list[str]) -> SpaceSystem | None:
    """Follow a path of SpaceSystems; None if it leads nowhere."""
    place: SpaceSystem | None = start
    for part in path:
        if place is None:
            return None
        place = place.around if part == ".." else place.inside.get(part)
    return place
