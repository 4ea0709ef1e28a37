"""The SpaceSystems of an XTCE file, one inside another, and what names in them refer to (XTCE 1.2, NameReferenceType).

A name alone is looked for in the SpaceSystem where it stands and then in those around it. A path goes by SpaceSystems:
from the root with a slash in front, from where it stands without, `..` for the one around.
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
    """items: by kind and name, the elements of its sets."""

    name: str
    path: str
    around: SpaceSystem | None
    items: Mapping[str, dict[str, Element]]
    inside: dict[str, SpaceSystem] = field(default_factory=dict)

    @property
    def root(self) -> SpaceSystem:
        return self if self.around is None else self.around.root

    def every(self) -> Iterator[SpaceSystem]:
        """This one and all inside it."""
        yield self
        for one in self.inside.values():
            yield from one.every()


@dataclass(frozen=True, slots=True)
class Item:
    """An element of a set, and the SpaceSystem whose names it uses."""

    system: SpaceSystem
    element: Element

    @property
    def name(self) -> str:
        return self.element.get("name")

    @property
    def key(self) -> str:
        """Its path from the root: no other of its kind has it."""
        return f"{self.system.path}/{self.name}"


def space_system(element: Element, around: SpaceSystem | None = None) -> SpaceSystem:
    """The SpaceSystem of an element, with all inside it. Raises OrbitnodeError for a name that is there twice."""
    name = element.need_name()
    path = "" if around is None else f"{around.path}/{name}"
    made = SpaceSystem(name, path, around, {kind: {} for kind in _SETS})
    for part in element.all("TelemetryMetaData", "CommandMetaData"):
        for kind, tag in _SETS.items():
            if kind == CONTAINER and part.tag == "CommandMetaData":
                continue
            for listed in part.all(tag):
                for one in listed.children:
                    _enter(made.items[kind], kind, one)
    for one in element.all("SpaceSystem"):
        inner = space_system(one, made)
        if inner.name in made.inside:
            raise one.fault(f"a second SpaceSystem {shown(inner.name)} in {name}")
        made.inside[inner.name] = inner
    return made


def _enter(items: dict[str, Element], kind: str, element: Element) -> None:
    if kind == PARAMETER and element.tag == "ParameterRef":  # of another set, and there already
        return
    name = element.need_name()
    if name in items:
        raise element.fault(f"a second {kind} {shown(name)}; the first is at line {items[name].line}")
    items[name] = element


def referred(reference: str, kind: str, system: SpaceSystem, at: Element) -> Item:
    """What a reference means; raises OrbitnodeError, at the element that refers, if nothing has that name."""
    found = _found(reference, kind, system)
    if found is None:
        raise at.fault(f"refers to {kind} {shown(reference)}, which is not in the file")
    return found


def member_referred(reference: str, system: SpaceSystem, at: Element) -> tuple[Item, str]:
    """A parameter, and the path of a member in it (`P.member`), empty for the whole of it."""
    found = _found(reference, PARAMETER, system)
    if found is not None:
        return found, ""
    for mark in (".", "/"):
        for place, letter in reversed(list(enumerate(reference))):
            if letter == mark and place and (found := _found(reference[:place], PARAMETER, system)) is not None:
                return found, reference[place + 1 :].replace("/", ".")
    raise _missing(reference, at)


def _missing(reference: str, at: Element) -> OrbitnodeError:
    return at.fault(f"refers to {PARAMETER} {shown(reference)}, which is not in the file")


def _found(reference: str, kind: str, system: SpaceSystem) -> Item | None:
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
            if way and way[0] == "..":
                break
            around = around.around
    for start, path in starts:
        place = _walked(start, path)
        if place is not None and name in place.items[kind]:
            return Item(place, place.items[kind][name])
    return None


def _walked(start: SpaceSystem, path: list[str]) -> SpaceSystem | None:
    place: SpaceSystem | None = start
    for part in path:
        if place is None:
            return None
        place = place.around if part == ".." else place.inside.get(part)
    return place
