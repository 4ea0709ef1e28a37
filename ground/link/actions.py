"""What the ground's end of a link asks of its caller, and tells it: frozen actions, in the order in which to do them.

What both ends say has its name in flight/link/actions.py: a packet that came, and octets that were refused (here for
length, uncorrectable, crc, version, status, pointer, spacecraft, vcid or repeated).
"""

# A command that was given to `send` ends with exactly one of three actions, which name it by its tag. Acknowledged: the
# node's link has it. Rejected: it was not executed and will not be. Lost: nobody can know, which is said rather than
# guessed, because a command sent twice may be worse than one that is missing. Of a command given to `send_bypass` the
# link tells nothing, except that it does not fit a frame, or that there is no way up.

from __future__ import annotations

from dataclasses import dataclass

from flight.link.actions import PacketReceived, StoreSecurity, UnitRejected
from flight.link.tm.extract import PacketFrame


@dataclass(frozen=True, slots=True)
class SendCltu:
    """Hand these octets to the uplink."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class FrameReceived:
    """A good frame, as decoded and as it came (derandomized).

    `realtime_count` is the virtual channel count, modulo 256, of a frame of the real-time channel, by which time
    reports name it. It is None for any other frame (the node's is in flight.link.actions.SendUnit).
    """

    frame: PacketFrame
    raw: bytes
    realtime_count: int | None = None


@dataclass(frozen=True, slots=True)
class FrameGap:
    """How many frames of this virtual channel never came, modulo the range of its count."""

    vcid: int
    frames: int


@dataclass(frozen=True, slots=True)
class Restarted:
    """The node was restarted: its frame counts began again."""


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
    | Alert | StoreSecurity
)  # fmt: skip
