"""Security associations of a mission: which SPI protects which direction of which link, and in which state it is.

For link i, its place among the mission's `[[link]]` from 0, and base = 16 * i:

    base + 1, base + 2    up      A and B: one carries, the other is there for a change of key
    base + 3, base + 4    down    A and B
    base + 5              down    volatile: for a node that cannot store numbers; random numbers, no order

States (CCSDS 355.1-B-1, 5.2):

    UNKEYED       no key: as B is delivered
    KEYED         has a key, carries nothing
    OPERATIONAL   protects frames

    event      UNKEYED      KEYED            OPERATIONAL
    rekey      ->KEYED      stays KEYED      refused: stop it first
    start      refused      ->OPERATIONAL    stays
    stop       refused      stays            ->KEYED
    expire     stays        ->UNKEYED        refused: stop it first
"""

# The table of SPIs is fixed by the mission and never created or deleted over the air: whoever holds a key can change
# keys, not what is protected. A direction that is in clear has no association at all.
#
# Whoever asks for a state that is there already gets it: a reply may have been lost, and the ground asks again.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from flight.link.security.keyring import LINKS_MAX, SPIS_PER_LINK
from flight.link.security.suites import Suite


class End(Enum):
    """Which end of its links this is."""

    NODE = 1
    GROUND = 2


class Direction(Enum):
    """Up is from the ground to the node."""

    UP = 1
    DOWN = 2


class SaRole(Enum):
    """What an association is for."""

    A = 1
    B = 2
    VOLATILE = 3


class SaState(Enum):
    """The states at the head of this file."""

    UNKEYED = 0
    KEYED = 1
    OPERATIONAL = 2


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """How one link of the mission is protected; None is in clear."""

    name: str
    up: Suite | None
    down: Suite | None


@dataclass(frozen=True, slots=True)
class Association:
    """One association. `procedure` is the PID of its last change of state, `started` counts starts over all of them.

    `lost`: its numbers were on storage and are gone, see state.py.
    """

    spi: int
    link: int
    direction: Direction
    role: SaRole
    suite: Suite
    state: SaState = SaState.UNKEYED
    key_id: int = 0
    procedure: int = 1  # create
    started: int = 0
    lost: bool = False


def plan_associations(links: Sequence[LinkPlan]) -> list[Association]:
    """Return all associations of these links, unkeyed."""
    assert len(links) <= LINKS_MAX, len(links)
    return list(_planned(links))


def _planned(links: Sequence[LinkPlan]) -> Iterator[Association]:
    for link, plan in enumerate(links):
        base = SPIS_PER_LINK * link
        if plan.up:
            yield Association(base + 1, link, Direction.UP, SaRole.A, plan.up)
            yield Association(base + 2, link, Direction.UP, SaRole.B, plan.up)
        if plan.down:
            yield Association(base + 3, link, Direction.DOWN, SaRole.A, plan.down)
            yield Association(base + 4, link, Direction.DOWN, SaRole.B, plan.down)
            yield Association(base + 5, link, Direction.DOWN, SaRole.VOLATILE, plan.down)
