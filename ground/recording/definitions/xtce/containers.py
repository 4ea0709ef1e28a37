"""SequenceContainers of XTCE: their entries, and which container extends which, from the root container down.

Only what packets can be made of is read: types, parameters and containers that the root container does not reach may
say what they like. An element that would make values wrong if it were passed over is refused, by its place in the file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ground.recording.definitions.criteria import Criterion, Fixed
from ground.recording.definitions.entries import Container, Entry, From, Group, Location
from ground.recording.definitions.packet_tree import PacketTree
from ground.recording.definitions.parameters import NumberEncoding
from ground.recording.definitions.xtce.match_criteria import amount, criterion
from ground.recording.definitions.xtce.space_system import (
    CONTAINER,
    PARAMETER,
    Item,
    SpaceSystem,
    referred,
    space_system,
)
from ground.recording.definitions.xtce.types import ParameterReader, Repeated, dimension_count, entry_of
from ground.recording.definitions.xtce.xml_tree import Element, shown

USUAL_ROOT = "CCSDSPacket"
HEADER_BITS, APID_BIT, APID_BITS = 48, 5, 11  # of a space packet (CCSDS 133.0-B-2, 4.1.3)

_DEPTH_MAX = 64
_ENTRIES_MAX = 1 << 16
_ENTRIES = ("ParameterRefEntry", "ContainerRefEntry", "ArrayParameterRefEntry")
_SHOWN_MAX, _NAME_MAX = 12, 100  # containers, and characters of the name of one, in a message


@dataclass(frozen=True, slots=True)
class _Extension:
    """A container that extends another one, and the element that says so."""

    item: Item
    base: Element


class _Reader:
    def __init__(self, root: SpaceSystem) -> None:
        self.parameters = ParameterReader()
        self.extensions: dict[str, list[_Extension]] = {}
        self.containers: dict[str, Item] = {}
        self.included: set[str] = set()
        self._entries = 0
        self._names: dict[str, str] = {}
        for system in root.every():
            for element in system.items[CONTAINER].values():
                item = Item(system, element)
                self.containers[item.key] = item
        for item in self.containers.values():
            base = item.element.find("BaseContainer")
            if base is not None:
                extended = referred(base.need("containerRef"), CONTAINER, item.system, base)
                self.extensions.setdefault(extended.key, []).append(_Extension(item, base))
            for entry in _entries_of(item):
                if entry.tag == "ContainerRefEntry":
                    self.included.add(referred(entry.need("containerRef"), CONTAINER, item.system, entry).key)

    def container(self, item: Item, starts_at: int, only: tuple[str, ...], depth: int) -> Container:
        """A container and what extends it. only: keys of the containers by which to go down first."""
        if depth > _DEPTH_MAX:
            raise item.element.fault(f"extends a container, and so on, more than {_DEPTH_MAX} times; or itself")
        extensions: list[tuple[Criterion | None, Container]] = []
        for one in self.extensions.get(item.key, ()):
            if only and one.item.key != only[0]:
                continue
            asked = one.base.find("RestrictionCriteria")
            test = None if asked is None else criterion(asked, one.item.system)
            extensions.append((test, self.container(one.item, 0, only[1:], depth + 1)))
        return Container(
            self._name(item), self._listed(item, depth), item.element.flag("abstract", False) or bool(only),
            tuple(extensions), starts_at=starts_at, where=item.element.where,
        )  # fmt: skip

    def _name(self, item: Item) -> str:
        """Its own, or with its SpaceSystems if another container has that."""
        if self._names.setdefault(item.name, item.key) == item.key:
            return item.name
        return item.key.strip("/").replace("/", ".")

    def _listed(self, item: Item, depth: int) -> tuple[Entry, ...]:
        encoding = item.element.find("BinaryEncoding")
        if encoding is not None:
            if (
                encoding.get("bitOrder", "mostSignificantBitFirst") != "mostSignificantBitFirst"
                or encoding.get("byteOrder", "mostSignificantByteFirst") != "mostSignificantByteFirst"
            ):
                raise encoding.fault("another order of bits or octets for a whole container is not supported")
            self.parameters.notes[f"{encoding.where}: size and error control of a container are not looked at"] = None
        return tuple(self._entry(one, item, depth) for one in _entries_of(item))

    def _entry(self, element: Element, item: Item, depth: int) -> Entry:
        self._entries += 1
        if self._entries > _ENTRIES_MAX:
            raise element.fault(
                f"more than {_ENTRIES_MAX} entries in all, those of one container inside of another each time"
            )
        made = self._content(element, item, depth)
        repeat = element.find("RepeatEntry")
        if repeat is not None:
            made = self._repeated(made, repeat, element, item)
        location = element.find("LocationInContainerInBits")
        if location is not None:
            made = replace(made, location=_location(location, item))
        include = element.find("IncludeCondition")
        if include is not None:
            made = replace(made, include=criterion(include, item.system))
        return made

    def _content(self, element: Element, item: Item, depth: int) -> Entry:
        if element.tag == "ContainerRefEntry":
            found = referred(element.need("containerRef"), CONTAINER, item.system, element)
            return Entry(self._group(found, element, depth + 1), element.where)
        if element.tag not in _ENTRIES:
            raise element.fault(f"an entry of this kind is not supported; should be {', '.join(_ENTRIES)}")
        parameter = referred(element.need("parameterRef"), PARAMETER, item.system, element)
        made = self.parameters.read(parameter)
        dimensions = element.find("DimensionList")
        if dimensions is not None:
            inner = made.item if isinstance(made, Repeated) else made
            made = Repeated(inner, dimension_count(dimensions, item))
        if isinstance(made, Repeated) and made.count == Fixed(-1):
            raise element.fault("is an array, and neither here nor in its type is a DimensionList")
        return entry_of(made, element.where)

    def _group(self, item: Item, at: Element, depth: int) -> Group:
        """A container inside of another: with the entries of those that it extends, whatever they ask for."""
        if depth > _DEPTH_MAX:
            raise at.fault(f"container {item.name} is inside of itself, or of more than {_DEPTH_MAX} others")
        if item.element.flag("abstract", False) and item.key in self.extensions:
            raise at.fault(
                f"container {item.name} is abstract and extended by others; which of them stands here cannot be told"
            )
        entries: tuple[Entry, ...] = ()
        base = item.element.find("BaseContainer")
        if base is not None:
            extended = referred(base.need("containerRef"), CONTAINER, item.system, base)
            if extended.key == item.key:
                raise base.fault("extends itself")
            entries = self._inherited(extended, at, depth + 1)
        return Group(item.name, (*entries, *self._listed(item, depth)))

    def _inherited(self, item: Item, at: Element, depth: int) -> tuple[Entry, ...]:
        if depth > _DEPTH_MAX:
            raise at.fault(f"container {item.name} is inside of itself, or extends more than {_DEPTH_MAX} others")
        base = item.element.find("BaseContainer")
        before: tuple[Entry, ...] = ()
        if base is not None:
            extended = referred(base.need("containerRef"), CONTAINER, item.system, base)
            before = self._inherited(extended, at, depth + 1)
        return (*before, *self._listed(item, depth))

    @staticmethod
    def _repeated(made: Entry, repeat: Element, element: Element, item: Item) -> Entry:
        count, offset = repeat.find("Count"), repeat.find("Offset")
        if count is None:
            raise repeat.fault("has no Count")
        gap = Fixed(0) if offset is None else amount(offset, item.system)
        if not isinstance(gap, Fixed):
            raise repeat.fault("its Offset depends on the packet, which is not supported")
        inner = made.item
        if made.count is not None:  # an array that repeats
            inner = Group(element.get("parameterRef"), (made,))
        return Entry(inner, made.where, count=amount(count, item.system), gap_bits=gap.value)


def _entries_of(item: Item) -> list[Element]:
    listed = item.element.find("EntryList")
    return [] if listed is None else listed.children


def _location(element: Element, item: Item) -> Location:
    origin = element.get("referenceLocation", "previousEntry")
    bits = amount(element, item.system)
    if not isinstance(bits, Fixed):
        raise element.fault("a location that depends on the packet is not supported")
    try:
        return Location(From(origin), bits.value)
    except ValueError:
        raise element.fault(
            f"referenceLocation {shown(origin)} is not supported; should be {', '.join(From)}"
        ) from None


def xtce_definition(tree: Element, *, root_container: str | None = None, starts_at_data: bool = False) -> PacketTree:
    """The packets of an XTCE document.

    root_container: the container that every packet is, by name or path; None for the one called CCSDSPacket, or else
    the only one that nobody extends or includes. starts_at_data: it starts at the end of the packet's primary header.
    Raises OrbitnodeError.
    """
    if tree.tag != "SpaceSystem":
        raise tree.fault("is not XTCE: its first element should be SpaceSystem")
    system = space_system(tree)
    reader = _Reader(system)
    root = _root(reader, root_container, tree)
    way: list[str] = []
    while (base := root.element.find("BaseContainer")) is not None:
        way.insert(0, root.key)
        if len(way) > _DEPTH_MAX:
            raise root.element.fault("extends a container, and so on, without end")
        root = referred(base.need("containerRef"), CONTAINER, root.system, base)
    made = reader.container(root, HEADER_BITS if starts_at_data else 0, tuple(way), 0)
    notes = list(reader.parameters.notes)
    if not starts_at_data and not _begins_with_header(made):
        notes.append(
            f"{made.where}: does not begin like the primary header of a space packet (no APID of 11 bits at bit 5), "
            "and is read from the packet's first bit on; if it is what follows the header, say so"
        )
    for metadata in tree.all("TelemetryMetaData"):
        algorithms = metadata.find("AlgorithmSet")
        if algorithms is not None:
            notes.append(f"{algorithms.where}: what algorithms compute is not in any packet, and is not given")
    return PacketTree(made, tuple(notes))


def _begins_with_header(container: Container) -> bool:
    return _ends_apid(container.entries, 0) is True


def _ends_apid(entries: tuple[Entry, ...], at: int) -> bool | int:
    """Whether an APID is among the first numbers; or else the bit at which the entries end."""
    for entry in entries:
        if entry.location is not None or entry.include is not None or entry.count is not None or at > APID_BIT:
            return False
        if isinstance(entry.item, Group):
            inner = _ends_apid(entry.item.entries, at)
            if isinstance(inner, bool):
                return inner
            at = inner
        elif isinstance(entry.item.encoding, NumberEncoding):
            if at == APID_BIT and entry.item.encoding.bits == APID_BITS:
                return True
            at += entry.item.encoding.bits
        else:
            return False
    return at


def _root(reader: _Reader, name: str | None, tree: Element) -> Item:
    if not reader.containers:
        raise tree.fault("has no SequenceContainer in TelemetryMetaData/ContainerSet, so no packet is defined")
    if name is not None:
        found = [one for one in reader.containers.values() if name in (one.name, one.key, one.key.lstrip("/"))]
        if len(found) != 1:
            which = "several containers are" if found else "no container is"
            raise tree.fault(f"{which} called {shown(name)}; there are {_list(list(reader.containers))}")
        return found[0]
    usual = [one for one in reader.containers.values() if one.name == USUAL_ROOT]
    if len(usual) == 1:
        return usual[0]
    tops = [
        one
        for one in reader.containers.values()
        if one.element.find("BaseContainer") is None and one.key not in reader.included
    ]
    extended = [one for one in tops if one.key in reader.extensions]
    if len(extended) == 1:
        return extended[0]
    if len(tops) == 1:
        return tops[0]
    raise tree.fault(
        f"several containers may be what every packet is; name one as root container: "
        f"{_list([one.key for one in extended or tops] or list(reader.containers))}"
    )


def _list(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN_MAX} more" if len(keys) > _SHOWN_MAX else ""
    return ", ".join(one.lstrip("/")[:_NAME_MAX] for one in keys[:_SHOWN_MAX]) + more
