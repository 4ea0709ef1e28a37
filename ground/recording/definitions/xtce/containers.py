"""Reads the SequenceContainers of XTCE: their entries, and which extends which, from the root container down.

Only what the root container reaches is read: other types, parameters and containers may say what they like. An element
that would make values wrong if it were passed over is refused, by its place in the file; what only leaves something out
is noted.
"""

# Which container is the root, if nobody names one: the one called CCSDSPacket, as it is by custom; else the only one
# that others extend but that extends none and is included in none; else the only one at the top at all. If several
# remain, the file is refused with their names: a wrong root would give wrong values.
#
# If a named root extends others, decoding begins at the topmost of them, and only the way down to the named one is
# followed: its conditions still hold, and all its entries are decoded.
#
# XTCE lets containers include one another, and extend one another, without end. Depth and number of entries are
# bounded, and each level of `_group`, `_inherited` and `container` counts.

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

USUAL_ROOT = "CCSDSPacket"  # by custom, as other readers of XTCE expect it too
HEADER_BITS, APID_BIT, APID_BITS = 48, 5, 11  # of a space packet (CCSDS 133.0-B-2, 4.1.3)

_DEPTH_MAX = 64
_ENTRIES_MAX = 1 << 16
_ENTRIES = ("ParameterRefEntry", "ContainerRefEntry", "ArrayParameterRefEntry")
_SHOWN_MAX, _NAME_MAX = 12, 100  # containers in a message, and characters of a container's name


@dataclass(frozen=True, slots=True)
class _Extension:
    """A container that extends another one, and the BaseContainer element that says so."""

    item: Item
    base: Element


class _Reader:
    """Reads containers by need. extensions: by the key of the base. included: keys of containers inside others."""

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
        """Read a container and everything that extends it. Raises OrbitnodeError.

        only: keys of the extensions to follow, one per level; empty for all.
        """
        if depth > _DEPTH_MAX:
            raise item.element.fault(f"extends more than {_DEPTH_MAX} containers, one after another, or itself")
        extensions: list[tuple[Criterion | None, Container]] = []
        for extension in self.extensions.get(item.key, ()):
            if only and extension.item.key != only[0]:  # not on the way to the container that was named
                continue
            asked = extension.base.find("RestrictionCriteria")
            test = None if asked is None else criterion(asked, extension.item.system)
            extensions.append((test, self.container(extension.item, 0, only[1:], depth + 1)))
        return Container(
            self._name(item), self._listed(item, depth), item.element.flag("abstract", False) or bool(only),
            tuple(extensions), starts_at=starts_at, where=item.element.where,
        )  # fmt: skip

    def _name(self, item: Item) -> str:
        """Return its own name; with the names of its SpaceSystems if another container has that name."""
        if self._names.setdefault(item.name, item.key) == item.key:
            return item.name
        return item.key.strip("/").replace("/", ".")

    def _listed(self, item: Item, depth: int) -> tuple[Entry, ...]:
        """Read the entries of a container itself. Raises OrbitnodeError."""
        encoding = item.element.find("BinaryEncoding")
        if encoding is not None:
            # An order of bits or octets would move every field, so it cannot be passed over; the size changes nothing.
            if (
                encoding.get("bitOrder", "mostSignificantBitFirst") != "mostSignificantBitFirst"
                or encoding.get("byteOrder", "mostSignificantByteFirst") != "mostSignificantByteFirst"
            ):
                raise encoding.fault("another order of bits or octets for a whole container is not supported")
            self.parameters.notes[f"{encoding.where}: size and error control of a container are not looked at"] = None
        return tuple(self._entry(listed, item, depth) for listed in _entries_of(item))

    def _entry(self, element: Element, item: Item, depth: int) -> Entry:
        """Read one entry with its repetition, location and condition. Raises OrbitnodeError."""
        self._entries += 1
        if self._entries > _ENTRIES_MAX:
            raise element.fault(
                f"more than {_ENTRIES_MAX} entries in all; a container's count each time that it is inside another one"
            )
        entry = self._content(element, item, depth)
        repeat = element.find("RepeatEntry")
        if repeat is not None:
            entry = self._repeated(entry, repeat, element, item)
        location = element.find("LocationInContainerInBits")
        if location is not None:
            entry = replace(entry, location=_location(location, item))
        include = element.find("IncludeCondition")
        if include is not None:
            entry = replace(entry, include=criterion(include, item.system))
        return entry

    def _content(self, element: Element, item: Item, depth: int) -> Entry:
        """Read what an entry refers to. Raises OrbitnodeError."""
        if element.tag == "ContainerRefEntry":
            found = referred(element.need("containerRef"), CONTAINER, item.system, element)
            return Entry(self._group(found, element, depth + 1), element.where)
        if element.tag not in _ENTRIES:
            raise element.fault(f"an entry of this kind is not supported; should be {', '.join(_ENTRIES)}")
        parameter = referred(element.need("parameterRef"), PARAMETER, item.system, element)
        read = self.parameters.read(parameter)
        dimensions = element.find("DimensionList")
        if dimensions is not None:
            inner = read.item if isinstance(read, Repeated) else read
            read = Repeated(inner, dimension_count(dimensions, item))
        if isinstance(read, Repeated) and read.count == Fixed(-1):
            raise element.fault("is an array, but neither the entry nor its type has a DimensionList")
        return entry_of(read, element.where)

    def _group(self, item: Item, at: Element, depth: int) -> Group:
        """Read a container inside another one, with the entries of those that it extends, whatever their conditions."""
        if depth > _DEPTH_MAX:
            raise at.fault(f"container {item.name} is inside itself, or inside more than {_DEPTH_MAX} others")
        if item.element.flag("abstract", False) and item.key in self.extensions:
            raise at.fault(
                f"container {item.name} is abstract and extended by others; nothing tells which of them stands here"
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
        """Return the entries of a container behind those of the containers that it extends. Raises OrbitnodeError."""
        if depth > _DEPTH_MAX:
            raise at.fault(f"container {item.name} is inside itself, or extends more than {_DEPTH_MAX} others")
        base = item.element.find("BaseContainer")
        before: tuple[Entry, ...] = ()
        if base is not None:
            extended = referred(base.need("containerRef"), CONTAINER, item.system, base)
            before = self._inherited(extended, at, depth + 1)
        return (*before, *self._listed(item, depth))

    @staticmethod
    def _repeated(entry: Entry, repeat: Element, element: Element, item: Item) -> Entry:
        """Return the entry with its repetition. Raises OrbitnodeError."""
        count, offset = repeat.find("Count"), repeat.find("Offset")
        if count is None:
            raise repeat.fault("has no Count")
        gap = Fixed(0) if offset is None else amount(offset, item.system)
        if not isinstance(gap, Fixed):
            raise repeat.fault("its Offset depends on the packet, which is not supported")
        inner = entry.item
        if entry.count is not None:  # an array that repeats: as a container of one entry
            inner = Group(element.get("parameterRef"), (entry,))
        return Entry(inner, entry.where, count=amount(count, item.system), gap_bits=gap.value)


def _entries_of(item: Item) -> list[Element]:
    listed = item.element.find("EntryList")
    return [] if listed is None else listed.children


def _location(element: Element, item: Item) -> Location:
    """Read the location of an entry. Raises OrbitnodeError."""
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
    """Read the packets of an XTCE document. Raises OrbitnodeError, by file, line and element.

    root_container: the container that every packet is, by name or path; None to find it (see the head of this file).
    starts_at_data: it starts at the end of the packet's primary header.
    """
    if tree.tag != "SpaceSystem":
        raise tree.fault("is not XTCE: its first element should be SpaceSystem")
    system = space_system(tree)
    reader = _Reader(system)
    root = _root(reader, root_container, tree)
    way: list[str] = []  # keys from the topmost base down to the named container
    while (base := root.element.find("BaseContainer")) is not None:
        way.insert(0, root.key)
        if len(way) > _DEPTH_MAX:
            raise root.element.fault("extends containers, one after another, without end")
        root = referred(base.need("containerRef"), CONTAINER, root.system, base)
    container = reader.container(root, HEADER_BITS if starts_at_data else 0, tuple(way), 0)
    notes = list(reader.parameters.notes)
    if not starts_at_data and not _begins_with_header(container):
        notes.append(
            f"{container.where}: does not begin like the primary header of a packet (no APID of 11 bits at bit 5), "
            "and is read from the packet's first bit on; if it describes what follows the header, use --starts-at-data"
        )
    for metadata in tree.all("TelemetryMetaData"):
        algorithms = metadata.find("AlgorithmSet")
        if algorithms is not None:
            notes.append(f"{algorithms.where}: what algorithms compute is not in any packet, and is not given")
    return PacketTree(container, tuple(notes))


def _begins_with_header(container: Container) -> bool:
    """Whether an APID of 11 bits stands at bit 5, as in the primary header of a space packet."""
    return _ends_apid(container.entries, 0) is True


def _ends_apid(entries: tuple[Entry, ...], at: int) -> bool | int:
    """Return whether an APID is among the first numbers, or the bit at which the entries end if that is open."""
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
    """Return the container that every packet is. Raises OrbitnodeError if that cannot be told."""
    if not reader.containers:
        raise tree.fault("has no SequenceContainer in TelemetryMetaData/ContainerSet, so no packet is defined")
    if name is not None:
        found = [item for item in reader.containers.values() if name in (item.name, item.key, item.key.lstrip("/"))]
        if len(found) != 1:
            which = "several containers are" if found else "no container is"
            raise tree.fault(f"{which} called {shown(name)}; the file has {_list(list(reader.containers))}")
        return found[0]
    usual = [item for item in reader.containers.values() if item.name == USUAL_ROOT]
    if len(usual) == 1:
        return usual[0]
    tops = [
        item
        for item in reader.containers.values()
        if item.element.find("BaseContainer") is None and item.key not in reader.included
    ]
    extended = [item for item in tops if item.key in reader.extensions]
    if len(extended) == 1:
        return extended[0]
    if len(tops) == 1:
        return tops[0]
    raise tree.fault(
        f"several containers may be the root; name the one that every packet is as root container: "
        f"{_list([item.key for item in extended or tops] or list(reader.containers))}"
    )


def _list(keys: list[str]) -> str:
    """Join paths of containers for a message, which stays short however many there are."""
    more = f" and {len(keys) - _SHOWN_MAX} more" if len(keys) > _SHOWN_MAX else ""
    return ", ".join(key.lstrip("/")[:_NAME_MAX] for key in keys[:_SHOWN_MAX]) + more
