"""A link as the node's services see it: roles instead of virtual channels, whatever the protocols below.

A stack (flight/link/tm_tc_stack.py, flight/link/aos_stack.py) knows which virtual channel carries which role, what goes
around a packet, and what it hears. The radio service knows roles, the modem, and the actions that a stack returns.
"""

# A stack does no I/O, reads no clock and writes no log: octets and times go in, actions come out (ADR 0002). So the
# same stack runs on a board, on the bench and in virtual time, and tests drive both ends of a link against each other.
#
# `queue` answers with a boolean instead of an action, because it is a question: the answer decides whether the stack or
# the caller keeps the packet. What is accepted is not lost by the stack, short of a reboot; a carrier that goes away
# takes only what had half arrived.

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
    """Counted since boot: frames and packets down; units, frames and packets up. `uplink_rejected` is by reason."""

    units_sent: int = 0
    idle_frames: int = 0
    packets_queued: int = 0
    packets_refused: int = 0
    cltus: int = 0
    cltu_corrected: int = 0
    tc_frames: int = 0
    tc_packets: int = 0
    control_commands: int = 0
    uplink_rejected: dict[str, int] = field(default_factory=dict)


class Link(Protocol):
    """The node's end of one link, sans-IO."""

    @property
    def roles(self) -> frozenset[Role]:
        """The roles that this link carries."""

    @property
    def frame_octets(self) -> int:
        """Length of a frame. A caller keeps a few of them in the queue: more only delays what is more urgent."""

    @property
    def counters(self) -> LinkCounters:
        """The counters as of now; one object, brought up to date at each reading."""

    @property
    def has_news(self) -> bool:
        """Whether something changed on the way up that no frame has told yet.

        The other end waits for it, so it is worth a frame of its own.
        """

    @property
    def waiting(self) -> bool:
        """Whether units that came wait for numbers to be stored. Until then no more is taken in."""

    def queue(self, role: Role, packet: bytes) -> bool:
        """Take one whole packet; False if its queue is full, which is counted, or the link does not carry the role."""

    def backlog_octets(self, role: Role) -> int:
        """Return the octets of this role's packets that have not left yet; 0 for a role that is not carried."""

    def has_packets(self) -> bool:
        """Return whether the next unit carries more than idle data."""

    def next_unit(self) -> list[LinkAction]:
        """Return the next frame as one SendUnit, an idle one if nothing is queued, and what must be stored.

        There is no frame if a protected link has no number for it before something is stored.
        """

    def acquired(self) -> None:
        """Note that the receiver hears the ground."""

    def carrier_lost(self) -> None:
        """Forget what has half arrived: the receiver hears nothing."""

    def on_uplink(self, octets: bytes, now_ns: int) -> list[LinkAction]:
        """Return what these octets from the receiver completed. They may be split in any way.

        Without octets, as after something was stored: go on with the units that waited.
        """
