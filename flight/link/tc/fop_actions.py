"""The states of FOP-1, and what it asks of its owner and tells it: frozen actions, to be done in their order."""

# Every tag that was given to `send` comes back in exactly one of Confirmed, Unconfirmed and Unsent (fop.py).

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from flight.link.tc.tc_frame import TcFrame


class FopState(Enum):
    """The states of table 5-1."""

    ACTIVE = 1
    RETRANSMIT = 2
    RETRANSMIT_WAIT = 3
    INITIALIZING = 4
    INITIALIZING_BC = 5
    INITIAL = 6


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send this frame now, and answer with `accepted` or `refused`. `tag`: as given to `send`, None for a command."""

    frame: TcFrame
    tag: object = None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """V(R) has passed the frame: the positive confirm response of the standard."""

    tag: object


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """The frame left the Sent_Queue without acknowledgement (negative confirm). It went out as N(S) = `seq`."""

    tag: object
    seq: int


@dataclass(frozen=True, slots=True)
class Unsent:
    """The frame left the Wait_Queue without ever being sent."""

    tag: object


@dataclass(frozen=True, slots=True)
class Initiated:
    """AD service is up."""


@dataclass(frozen=True, slots=True)
class Suspended:
    """T1 ran out for the last time, and the timeout type is 1: nothing is sent until the service is resumed."""


@dataclass(frozen=True, slots=True)
class FopAlert:
    """AD service ended. `reason`: SYNCH, CLCW, LIMIT, NN(R), LOCKOUT, T1, TERM or LLIF (232.1-B-2, 5.2.2)."""

    reason: str


FopAction = Transmit | Confirmed | Unconfirmed | Unsent | Initiated | Suspended | FopAlert
