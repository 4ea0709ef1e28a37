"""What a link's stack tells the node, one frozen action each, in the order in which things happened.

An input (octets from the receiver, the modem's wish for a unit) gives a list of actions. Whoever owns the stack does
them in order and leaves none out. What a stack has to say in future (a lockout, a refused security association, a
number that must be stored before the unit behind it leaves) becomes one more action here, in its place in the list.

The ground's session returns actions of its own (ground/link/actions.py); what both ends say alike has one name, here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SendUnit:
    """Hand these octets to the modem: one frame, bare or coded.

    `realtime_count` is the virtual channel count, modulo 256, of a frame of the real-time channel, which time reports
    tell of; None for any other frame.
    """

    octets: bytes
    realtime_count: int | None = None


@dataclass(frozen=True, slots=True)
class PacketReceived:
    """A whole packet that is not idle came over this virtual channel."""

    vcid: int
    packet: bytes


@dataclass(frozen=True, slots=True)
class UnitRejected:
    """Something that came is not for this link, or not whole. `reason` is its name in the counters."""

    reason: str


LinkAction = SendUnit | PacketReceived | UnitRejected
