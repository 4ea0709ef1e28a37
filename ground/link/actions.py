"""What the ground session asks of its caller, and tells it: one frozen action each."""

from __future__ import annotations

from dataclasses import dataclass

from flight.link.tm.tm_frame import TmFrame


@dataclass(frozen=True, slots=True)
class SendCltu:
    """Hand these octets to the uplink."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class FrameReceived:
    """A good frame, as decoded and as it came (derandomized)."""

    frame: TmFrame
    raw: bytes


@dataclass(frozen=True, slots=True)
class PacketReceived:
    """A whole packet that is not idle."""

    vcid: int
    packet: bytes


@dataclass(frozen=True, slots=True)
class FrameGap:
    """Frames of this virtual channel that never came, counted modulo 256."""

    vcid: int
    frames: int


@dataclass(frozen=True, slots=True)
class FrameRejected:
    """Octets that are no frame of this link: length, crc, version, status, pointer, spacecraft, vcid, repeated."""

    reason: str


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
    SendCltu | FrameReceived | PacketReceived | FrameGap | FrameRejected | Restarted | Acknowledged | Rejected | Lost
    | Alert
)  # fmt: skip
