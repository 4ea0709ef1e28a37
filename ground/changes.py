"""What the station announces to its listeners: stages of commands, packets, alarms, contacts, notes."""

# A listener is called in the middle of the station's work, in the order in which things happen. So it returns at once,
# and may look at the station but not give it work. It may be added or removed meanwhile: an announcement goes to those
# who listened when it began. An object that comes with a change may go on changing, such as a CommandRecord: whoever
# keeps it takes a snapshot.
#
# What may come in floods is not announced one by one. A Tally announces the first at once, so that nothing goes unsaid,
# and then the number and the newest once per TELL_S.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from flight.core.nanoseconds import NS
from ground.telemetry.decoder import DecodedPacket

TELL_S = 60  # between two announcements of one tally


class Change(Enum):
    """What has changed; beside each kind the type of the object that comes with it."""

    FRAME = auto()  # FrameReceived of the station's own link
    PACKET = auto()  # Packet
    COMMAND = auto()  # CommandRecord, at each new stage
    ALARM = auto()  # Alarm
    PRODUCT = auto()  # ProductRow
    CONTACT = auto()  # bool, of the station's own link
    TRANSFER = auto()  # str: a transaction of a file of which something became, SOURCE.NUMBER
    NOTE = auto()  # str: something of link or archive that the operator should know


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as it was received; `decoded` is None if it does not decode."""

    vcid: int
    octets: bytes
    decoded: DecodedPacket | None


@dataclass(slots=True)
class Tally:
    """Counts something that may come often: due to be announced at once, and then once per `TELL_S`."""

    count: int = 0
    newest: str = ""
    due_ns: int | None = None

    def add(self, newest: str) -> None:
        """Count one more; `newest` describes it."""
        self.count += 1
        self.newest = newest

    def take(self, now_ns: int) -> tuple[int, str] | None:
        """Return the number since the last announcement and the newest; None if nothing is due at `now_ns`."""
        if not self.count or (self.due_ns is not None and now_ns < self.due_ns):
            return None
        count, self.count, self.due_ns = self.count, 0, now_ns + TELL_S * NS
        return count, self.newest


Listener = Callable[[Change, object], None]


class Listeners:
    """Those who listen to changes, in the order in which they came."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def add(self, listener: Listener) -> None:
        """Call this listener too, from now on."""
        self._listeners.append(listener)

    def remove(self, listener: Listener) -> None:
        """Stop calling this listener. It may be removed from within a change."""
        self._listeners.remove(listener)

    def announce(self, change: Change, what: object) -> None:
        """Call everybody who listens at this moment."""
        for listener in list(self._listeners):  # a copy: listeners may come and go while they are called
            listener(change, what)
