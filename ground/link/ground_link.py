"""A link as the ground station sees it, whatever the protocols below: octets and commands in, actions out.

The mirror of flight.link.link.Link. Its implementers are ground/link/tm_tc_session.py for links of kind "tm-tc", and
ground/link/aos_session.py for those of kind "aos", over which nothing can be sent.
"""

# A session does no I/O and reads no clock (ADR 0002). It cannot wake itself either, so it says when it wants to be
# called (`next_time_ns`), and the owner of the loop sees to it: asyncio in the server, a heap of virtual time in the
# simulator. Calling too early or too often does no harm; a timer that is not due does not run out.

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from flight.core.nanoseconds import NS
from flight.link.coding.tm_coding import TmDecoder
from flight.link.downlink_config import DownlinkConfig
from flight.link.link import Role
from flight.link.security.link_security import REASONS as SECURITY_REASONS
from flight.link.tc.directives import Directive
from ground.link.actions import Action

# A frame that is at most this many behind the newest, and comes this soon after it, is late or repeated. Else its count
# has come round, or the node was restarted.
LATE_FRAMES_MAX = 16
LATE_NS_MAX = 10 * NS


class Service(Enum):
    """How far the AD service is; a link over which nothing can be sent stays idle."""

    IDLE = "idle"
    AWAIT_CLCW = "await CLCW"
    RECOVERING = "recovering"
    UP = "up"


@dataclass(slots=True)
class SessionCounters:
    """Counted since the session was made. `frames_rejected` is by reason, `frames_missed` sums gaps of all channels.

    `reports` are frame security reports that said something new.
    """

    frames: int = 0
    idle_frames: int = 0
    frames_missed: int = 0
    restarts: int = 0
    packets: int = 0
    clcws: int = 0
    clcws_invalid: int = 0
    reports: int = 0
    reports_invalid: int = 0
    cltus: int = 0
    retransmissions: int = 0
    bypass: int = 0
    commands: int = 0
    acknowledged: int = 0
    rejected: int = 0
    lost: int = 0
    alerts: int = 0
    frames_rejected: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            (
                *("length", "uncorrectable", "crc", "version", "status", "pointer", "spacecraft", "vcid", "repeated"),
                *(reason for reason in SECURITY_REASONS if reason != "length"),
            ),
            0,
        )
    )


class GroundLink(Protocol):
    """The ground's end of one link, sans-IO. Every method returns what to do, in order; times are of one clock, ns."""

    counters: SessionCounters

    @property
    def config(self) -> DownlinkConfig:
        """What both ends agree on."""

    @property
    def decoder(self) -> TmDecoder | None:
        """The decoder of the channel code, None if frames go bare."""

    @property
    def vcids(self) -> tuple[int, ...]:
        """Every virtual channel that frames are taken of, that of idle frames included."""

    @property
    def service(self) -> Service:
        """How far the AD service is."""

    @property
    def refusal(self) -> str:
        """Why nothing can be sent over this link; empty if it can."""

    @property
    def waiting(self) -> int:
        """Commands that are neither acknowledged nor rejected nor lost."""

    @property
    def command_queue(self) -> int:
        """How many may be `waiting` at most."""

    @property
    def room_octets(self) -> int:
        """Octets of a telecommand packet that fit one frame, 0 if there is no way up."""

    @property
    def next_time_ns(self) -> int | None:
        """When `on_time` wants to be called, None if there is nothing to wait for."""

    def role_of(self, vcid: int) -> Role | None:
        """Return what this virtual channel carries, None for idle frames."""

    def on_downlink(self, octets: bytes, now_ns: int, dropped: int = 0) -> list[Action]:
        """Take octets from the radio: one or more whole frames if they go bare, any stretch of the stream if coded.

        dropped: calls that are missing before this one, with as many octets each.
        """

    def on_stored(self, now_ns: int) -> list[Action]:
        """Go on with what waited for numbers to be stored (StoreSecurity)."""

    def on_time(self, now_ns: int) -> list[Action]:
        """Let the timers that are due run out."""

    def send(self, packet: bytes, now_ns: int, tag: object) -> list[Action]:
        """Send a telecommand packet in order, once; `tag` stands for it in what comes of it."""

    def send_bypass(self, packet: bytes, now_ns: int, tag: object) -> list[Action]:
        """Send a telecommand packet now and unnumbered; the link never tells whether it arrived."""

    def drop(self, tag: object, reason: str) -> list[Action]:
        """Give this one command up. It is Rejected at once, with `reason`, if it was never sent."""

    def initiate(self, now_ns: int) -> list[Action]:
        """Bring the AD service up, unless an operator leads it by hand."""

    def direct(self, directive: Directive, now_ns: int) -> list[Action]:
        """Do an operator's directive by hand; raises FopRefusal if it is refused."""

    def auto(self, now_ns: int) -> list[Action]:
        """End what an operator has begun by hand, and bring the AD service up."""

    def status(self, now_ns: int) -> dict[str, object]:
        """Return what an operator sees of the way up, as plain values; empty if there is none."""

    def resume(self, now_ns: int) -> list[Action]:
        """Begin a contact: send what can be sent, unless an operator leads the link by hand."""

    def reset(self, now_ns: int) -> list[Action]:
        """End a contact: a unit half received is forgotten, every command stays.

        Timers stop, unless an operator leads the link by hand.
        """
