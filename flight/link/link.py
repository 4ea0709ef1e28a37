"""A link as the node's services see it: roles instead of virtual channels, whatever the protocols below.

A stack (flight/link/stack.py, flight/link/aos_stack.py) knows which virtual channel carries which role, what goes
around a packet, and what it hears. The radio service knows roles, the modem, and the actions that a stack returns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from flight.link.actions import LinkAction


class Role(IntEnum):
    """What a channel is for, in order of priority on the way down."""

    REALTIME = 0  # housekeeping, reports and events of this moment
    PLAYBACK = 1  # what the recorder kept
    PRODUCTS = 2  # files of the payload


@dataclass(slots=True)
class LinkCounters:
    """Since boot. Frames and packets down; units, frames and packets up; `uplink_rejected` is by reason."""

    units_sent: int = 0
    idle_frames: int = 0
    packets_queued: int = 0
    packets_refused: int = 0
    cltus: int = 0
    cltu_corrected: int = 0
    tc_frames: int = 0
    tc_packets: int = 0
    uplink_rejected: dict[str, int] = field(default_factory=dict)


class Link(Protocol):
    """The node's end of one link, sans-IO."""

    @property
    def roles(self) -> frozenset[Role]:
        """What this link carries."""

    @property
    def frame_octets(self) -> int:
        """Length of a frame: what is worth keeping in a queue is a few of them."""

    @property
    def counters(self) -> LinkCounters:
        """The counters as of now; one object, brought up to date at each reading."""

    @property
    def status(self) -> bytes:
        """What every frame tells the other end of the way up; empty on a link without one. A change is worth a frame
        of its own.
        """

    def queue(self, role: Role, packet: bytes) -> bool:
        """Take one whole packet; False if its queue is full, which is counted, or the link does not carry the role."""

    def backlog_octets(self, role: Role) -> int:
        """Octets of this role's packets that have not left yet; 0 for a role that the link does not carry."""

    def has_packets(self) -> bool:
        """Whether the next unit carries more than idle data."""

    def next_unit(self) -> list[LinkAction]:
        """The next frame, idle if nothing is queued: one SendUnit, behind what must be done before it leaves."""

    def acquired(self) -> None:
        """The receiver hears the ground."""

    def carrier_lost(self) -> None:
        """The receiver hears nothing: what has half arrived is forgotten."""

    def on_uplink(self, octets: bytes, now_ns: int) -> list[LinkAction]:
        """What these octets from the receiver completed. Any split of octets will do."""
