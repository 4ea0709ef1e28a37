"""What the ground's end of a link asks of its caller, and tells it: one frozen action each.

What the node's end says alike has its name in flight/link/actions.py: a packet that came, and octets that were refused
(here by length, uncorrectable, crc, version, status, pointer, spacecraft, vcid or repeated).
"""

from __future__ import annotations

from dataclasses import dataclass

from flight.link.actions import PacketReceived, UnitRejected
from flight.link.tm.extract import PacketFrame


@dataclass(frozen=True, slots=True)
class SendCltu:
    """Hand these octets to the uplink."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class FrameReceived:
    """A good frame, as decoded and as it came (derandomized).

    `realtime_count` is the virtual channel count, modulo 256, of a frame of the real-time channel, which time reports
    tell of; None for any other frame (the node's is in flight.link.actions.SendUnit).
    """

    frame: PacketFrame
    raw: bytes
    realtime_count: int | None = None


@dataclass(frozen=True, slots=True)
class FrameGap:
    """Frames of this virtual channel that never came, counted modulo the round of its count."""

    vcid: int
    frames: int


@dataclass(frozen=True, slots=True)
class Restarted:
    """The node counts its frames anew: it was restarted."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """V(R) of the node has passed this command's frame."""

    tag: object


@dataclass(frozen=True, slots=True)
class Rejected:
    """The command was not executed, and will not be."""

    tag: object
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The command was sent, and the link can no longer tell whether it arrived."""

    tag: object
    reason: str


@dataclass(frozen=True, slots=True)
class Alert:
    """Something the operator should know of the commanding link."""

    reason: str


Action = (
    SendCltu | FrameReceived | PacketReceived | FrameGap | UnitRejected | Restarted | Acknowledged | Rejected | Lost
    | Alert
)  # fmt: skip
