"""Packets as definitions describe them: entries one behind the other, in containers that extend one another.

All forms of definition files become this; `ground.recording.definitions.walk_builder` turns it into a walk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ground.recording.definitions.criteria import Amount, Criterion
from ground.recording.definitions.parameters import Parameter


class From(StrEnum):
    """What an entry's location counts from; written as in XTCE."""

    PREVIOUS = "previousEntry"  # the end of the entry before it
    START = "containerStart"
    END = "containerEnd"


@dataclass(frozen=True, slots=True)
class Location:
    """Where an entry begins. bits: forward from the origin, but backward from the end of a container."""

    origin: From
    bits: int


@dataclass(frozen=True, slots=True)
class Group:
    """Entries that form a container of their own inside another one."""

    name: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a container.

    where: its place in the file, for messages.
    location: its place in the container; None for right behind the entry before it.
    include: only packets that meet this have the entry.
    count: how often it repeats, with `gap_bits` between; None for a single value, which is not an array of one.
    """

    item: Parameter | Group
    where: str = ""
    location: Location | None = None
    include: Criterion | None = None
    count: Amount | None = None
    gap_bits: int = 0


@dataclass(frozen=True, slots=True)
class Container:
    """A kind of packet, or what several kinds have in common.

    is_abstract: no packet is this container alone.
    extensions: containers that go on at the end of this one, each with the criterion that packets must meet; None: any.
    starts_at: the bit of the packet at which the container starts; ignored for an extension, which starts at the end of
        its base.
    """

    name: str
    entries: tuple[Entry, ...]
    is_abstract: bool = False
    extensions: tuple[tuple[Criterion | None, Container], ...] = ()
    starts_at: int = field(default=0, kw_only=True)
    where: str = field(default="", kw_only=True)
