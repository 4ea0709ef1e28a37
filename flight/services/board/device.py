"""One device and its health: a fault is reported when it begins and when it ends, not at every try."""

# A driver may raise HalError at any call, and flight code must go on without its answer. Duties ask once per second or
# more often, so an event per failed call would fill the downlink. Faults of every call are counted for housekeeping; an
# event marks the first one, and another one the first answer after it.

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flight.contract.app import EventSink
from hal.base import HalError

T = TypeVar("T")


class Device:
    """A driver whose calls go through `ask` or `order`: HalError becomes None or False, a count, and one event."""

    def __init__(self, name: str, events: EventSink) -> None:
        self.name = name
        self.faults = 0
        self.healthy = True
        self._events = events

    def ask(self, call: Callable[[], T]) -> T | None:
        """Return the driver's answer, or None if it raised HalError."""
        try:
            answer = call()
        except HalError as error:
            self._failed(error)
            return None
        self._answered()
        return answer

    def order(self, call: Callable[[], None]) -> bool:
        """Give the driver an order. Return True if it took it, False if it raised HalError."""
        try:
            call()
        except HalError as error:
            self._failed(error)
            return False
        self._answered()
        return True

    def _failed(self, error: HalError) -> None:
        self.faults += 1
        if self.healthy:
            self.healthy = False
            self._events.emit("device_fault", self.name, str(error))

    def _answered(self) -> None:
        if not self.healthy:
            self.healthy = True
            self._events.emit("device_recovered", self.name)
