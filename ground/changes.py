"""What the station tells those who listen to it: stages of commands, packets, alarms, contacts, notes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from flight.core.nanoseconds import NS
from ground.telemetry.decoder import DecodedPacket

TELL_S = 60


class Change(Enum):
    """What a listener is told of: the kind of the object that comes with it."""

    FRAME = auto()  # FrameReceived of the station's own link
    PACKET = auto()  # Packet
    COMMAND = auto()  # CommandRecord, at each new stage
    ALARM = auto()  # Alarm
    PRODUCT = auto()  # ProductRow
    CONTACT = auto()  # bool, of the station's own link
    UPLOAD = auto()  # Upload, at each part that arrived and at its end
    NOTE = auto()  # str: what the operator should know of link and archive


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as received; `decoded` is None if it is malformed."""

    vcid: int
    octets: bytes
    decoded: DecodedPacket | None


@dataclass(slots=True)
class Tally:
    """Of something that may come often: told at once, and then once in `TELL_S` with its count."""

    count: int = 0
    newest: str = ""
    due_ns: int | None = None

    def add(self, newest: str) -> None:
        """It came once more."""
        self.count += 1
        self.newest = newest

    def take(self, now_ns: int) -> tuple[int, str] | None:
        """How often it came since it was told last, and the newest; None if there is nothing to tell now."""
        if not self.count or (self.due_ns is not None and now_ns < self.due_ns):
            return None
        count, self.count, self.due_ns = self.count, 0, now_ns + TELL_S * NS
        return count, self.newest


Listener = Callable[[Change, object], None]


class Listeners:
    """Those who are told of changes, in the order in which they came."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def add(self, listener: Listener) -> None:
        """Tell this one too, from now on."""
        self._listeners.append(listener)

    def remove(self, listener: Listener) -> None:
        """Tell this one nothing any more; it may be called from inside a change."""
        self._listeners.remove(listener)

    def tell(self, change: Change, what: object) -> None:
        """Tell everybody who listens at this moment."""
        for listener in list(self._listeners):
            listener(change, what)
