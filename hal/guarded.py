"""Each Protocol of hal/base.py behind a guard: the same calls, none of which raises anything but HalError."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from hal import answers
from hal.base import HalError, Host, Image, PowerReading
from hal.guard import CAPTURE_LIMIT_S, Guard

Make = Callable[[Host], Any]


class _Guarded:
    """What all of them have. `guard` is for those who watch it: tests and whoever counts."""

    def __init__(self, name: str, host: Host, make: Make) -> None:
        self.guard = Guard(name, host, make)
        self.guard.open()

    def close(self) -> None:
        """Have the driver leave its device, if it can. One that could not be opened is not opened for that."""
        if self.guard.driver is not None:
            with suppress(HalError):  # it is being left
                self.guard.call("close", answers.nothing)
        self.guard.host.release()


class GuardedEps(_Guarded):
    def read(self) -> PowerReading:
        return self.guard.call("read", answers.power_reading)

    def set_switch(self, name: str, on: bool) -> None:
        self.guard.call("set_switch", answers.nothing, name, on)


class GuardedThermometer(_Guarded):
    def read_c(self) -> float:
        return self.guard.call("read_c", answers.temperature)


class GuardedHeater(_Guarded):
    def set_on(self, on: bool) -> None:
        self.guard.call("set_on", answers.nothing, on)


class GuardedGovernor(_Guarded):
    def set_limit_w(self, power_w: float) -> None:
        self.guard.call("set_limit_w", answers.nothing, power_w)


class GuardedRadio(_Guarded):
    """The node's own call for events is kept here, so that a driver that is opened late, or that failed, has it too;
    it is also made when a callback of the driver has failed, for whoever waits to ask and to learn why."""

    def __init__(self, name: str, host: Host, make: Make) -> None:
        self._call: Callable[[], None] = lambda: None

        def make_and_listen(host: Host) -> Any:
            driver = make(host)
            if driver is not None:
                driver.on_event(partial(self.guard.notice, self._notify))
            return driver

        super().__init__(name, host, make_and_listen)
        self.guard.on_fault = self._notify

    def carrier(self) -> bool:
        return self.guard.call("carrier", answers.flag)

    def send(self, unit: bytes) -> bool:
        return self.guard.call("send", answers.flag, unit)

    def free_ns(self) -> int:
        return self.guard.call("free_ns", self._check_free_ns)

    def receive(self) -> bytes | None:
        return self.guard.call("receive", answers.received)

    def dropped(self) -> int:
        return self.guard.call("dropped", answers.count)

    def on_event(self, call: Callable[[], None]) -> None:
        self._call = call

    def _notify(self) -> None:
        self._call()

    def _check_free_ns(self, answer: object) -> int:
        return answers.free_ns(answer, self.guard.host.now_ns())


class GuardedImager(_Guarded):
    def ready(self) -> bool:
        return self.guard.call("ready", answers.flag)

    def capture(self) -> Image:
        return self.guard.call("capture", answers.image, limit_s=CAPTURE_LIMIT_S)
