"""One device and its health: a fault is reported when it begins and when it ends, not at every try."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flight.contract.app import EventSink
from hal.base import HalError

T = TypeVar("T")


class Device:
    """Calls to a driver go through `ask` or `order`, which turn HalError into None or False, a counter, one event."""

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
            self._failed(error)
            return None
        self._answered()
        return answer

    def order(self, call: Callable[[], None]) -> bool:
        """True where the driver took the order, False where it raised HalError."""
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
