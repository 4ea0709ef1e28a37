"""What a link's stack tells the node: frozen actions, in the order in which things happened.

An input (octets from the receiver, or the modem's request for a unit) returns a list of actions. The owner of the stack
does them in order and leaves none out. The ground's session returns actions of its own (ground/link/actions.py). What
both ends say has one name, here.
"""

# Why a list of actions, and not the octets themselves: a stack may have more to say than octets, and in an order that
# matters (ADR 0028). So a lockout, or numbers that must be stored before a unit may leave or be taken (StoreSecurity),
# is one more action in its place in the list.

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SendUnit:
    """Hand these octets to the modem: one frame, bare or coded.

    `realtime_count` is the virtual channel count, modulo 256, of a frame of the real-time channel, by which time
    reports name it. It is None for any other frame.
    """

    octets: bytes
    realtime_count: int | None = None


@dataclass(frozen=True, slots=True)
class PacketReceived:
    """A whole packet, not an idle one, came over this virtual channel."""

    vcid: int
    packet: bytes


@dataclass(frozen=True, slots=True)
class UnitRejected:
    """Something that came is not for this link, or not whole. `reason` is the key under which it is counted."""

    reason: str


@dataclass(frozen=True, slots=True)
class StoreSecurity:
    """Store this record of keys, associations and numbers, then say so to `LinkSecurity.stored` or `store_failed`."""

    content: bytes
    generation: int


@dataclass(frozen=True, slots=True)
class ControlFlood:
    """More control commands come up than the link takes. Said once, until it has been quiet for a minute's worth."""

    per_min: int


LinkAction = SendUnit | PacketReceived | UnitRejected | StoreSecurity | ControlFlood
