"""One device and its health: a fault is reported when it begins and when it ends, not at every try."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flight.app import EventSink
from hal.base import HalError

T = TypeVar("T")


class Device:
    """Calls to a driver go through `ask`, which turns HalError into None, a counter and one event."""

    def __init__(self, name: str, events: EventSink) -> None:
        self.name = name
        self.faults = 0
        self.healthy = True
        self._events = events

    def ask(self, call: Callable[[], T]) -> T | None:
        """The driver's answer, None where it raised HalError."""
        try:
            answer = call()
        except HalError as error:
            self.faults += 1
            if self.healthy:
                self.healthy = False
                self._events.emit("device_fault", self.name, str(error))
            return None
        if not self.healthy:
            self.healthy = True
            self._events.emit("device_recovered", self.name)
        return answer
