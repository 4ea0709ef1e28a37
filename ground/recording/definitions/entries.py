"""Packets as their definitions describe them: entries one behind the other, and containers that extend one another.

All forms of definition files become this, and `ground.recording.definitions.program` makes a walk of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ground.recording.definitions.criteria import Amount, Criterion
from ground.recording.definitions.parameters import Parameter


class From(StrEnum):
    """What an entry's location counts from: the end of the entry before it, the start or the end of its container."""

    PREVIOUS = "previousEntry"
    START = "containerStart"
    END = "containerEnd"


@dataclass(frozen=True, slots=True)
class Location:
    """bits: forward, from the end of the container backward."""

    origin: From
    bits: int


@dataclass(frozen=True, slots=True)
class Group:
    """Entries that are a container of their own inside of another."""

    name: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. include: only packets that meet this have it. count: how often it repeats, `gap_bits` between; None
    for once, without being an array. where: its place in the file, for messages.
    """

    item: Parameter | Group
    where: str = ""
    location: Location | None = None
    include: Criterion | None = None
    count: Amount | None = None
    gap_bits: int = 0


@dataclass(frozen=True, slots=True)
class Container:
    """What packets may be. extensions: which containers go on where this one ends, and for which packets (None: any).

    starts_at: the bit of the packet at which it starts; of an extension that is where its base ends.
    """

    name: str
    entries: tuple[Entry, ...]
    is_abstract: bool = False
    extensions: tuple[tuple[Criterion | None, Container], ...] = ()
    starts_at: int = field(default=0, kw_only=True)
    where: str = field(default="", kw_only=True)
