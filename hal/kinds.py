"""The kinds of devices that a node may have, each declared in one place: its guarded proxy and its row.

A proxy makes the calls of a Protocol of hal/base.py through a guard (hal/guard.py): none of them raises anything but
HalError, and none returns what has not been checked. The row gives the kind its name, says what a factory of it is
called with, and lists the drivers that come with orbitnode, as "module:factory" by scheme; a module is imported when a
mission asks for it, and not before. Drivers of other distributions need no line here (hal/installed_drivers.py).

A new kind is a Protocol in hal/base.py, a proxy and a row here, a key in flight/contract/sections.py, and a user that
flight/roster.py hands it to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from hal import answers
from hal.base import Eps, Governor, HalError, Heater, Host, Image, Imager, PowerReading, Radio, Thermometer
from hal.guard import CAPTURE_LIMIT_S, Guard

D = TypeVar("D")
Make = Callable[[Host], Any]


@dataclass(frozen=True, slots=True)
class DeviceKind(Generic[D]):
    """One kind of device; D is its Protocol.

    guarded: makes the proxy that stands before a driver. drivers: "module:factory" by scheme. settings: names of what a
    factory is called with beside address and host, in their order.
    """

    name: str
    guarded: Callable[[str, Host, Make], D]
    drivers: Mapping[str, str]
    settings: tuple[str, ...] = ()


class _Guarded:
    """What all proxies have. `guard` is for those who watch it: tests and whoever counts."""

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
    """hal.base.Eps."""

    def read(self) -> PowerReading:
        return self.guard.call("read", answers.power_reading)

    def set_switch(self, name: str, on: bool) -> None:
        self.guard.call("set_switch", answers.nothing, name, on)


EPS: DeviceKind[Eps] = DeviceKind(
    "eps", GuardedEps, {"serial": "hal.serial_board:open_eps", "sim": "sim_hw.machine.boards:open_eps"}
)


class GuardedThermometer(_Guarded):
    """hal.base.Thermometer."""

    def read_c(self) -> float:
        return self.guard.call("read_c", answers.temperature)


THERMOMETER: DeviceKind[Thermometer] = DeviceKind(
    "thermometer",
    GuardedThermometer,
    {"serial": "hal.serial_board:open_thermometer", "sim": "sim_hw.machine.boards:open_thermometer"},
)


class GuardedHeater(_Guarded):
    """hal.base.Heater."""

    def set_on(self, on: bool) -> None:
        self.guard.call("set_on", answers.nothing, on)


HEATER: DeviceKind[Heater] = DeviceKind(
    "heater", GuardedHeater, {"serial": "hal.serial_board:open_heater", "sim": "sim_hw.machine.boards:open_heater"}
)


class GuardedGovernor(_Guarded):
    """hal.base.Governor."""

    def set_limit_w(self, power_w: float) -> None:
        self.guard.call("set_limit_w", answers.nothing, power_w)


GOVERNOR: DeviceKind[Governor] = DeviceKind(
    "governor",
    GuardedGovernor,
    {"serial": "hal.serial_board:open_governor", "sim": "sim_hw.machine.boards:open_governor"},
)


class GuardedRadio(_Guarded):
    """hal.base.Radio.

    The node's own call for events is kept here, so that a driver that is opened late, or that failed, has it too; it is
    also made when a callback of the driver has failed, for whoever waits to ask and to learn why.
    """

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


RADIO: DeviceKind[Radio] = DeviceKind(
    "radio",
    GuardedRadio,
    {"udp": "hal.udp_radio:open_radio", "sim": "sim_hw.machine.boards:open_radio"},
    settings=("rate_bps",),
)


class GuardedImager(_Guarded):
    """hal.base.Imager."""

    def ready(self) -> bool:
        return self.guard.call("ready", answers.flag)

    def capture(self) -> Image:
        return self.guard.call("capture", answers.image, limit_s=CAPTURE_LIMIT_S)


IMAGER: DeviceKind[Imager] = DeviceKind(
    "imager", GuardedImager, {"replay": "hal.replay_imager:open_imager", "sim": "sim_hw.machine.boards:open_imager"}
)


_ROWS: tuple[DeviceKind[Any], ...] = (EPS, THERMOMETER, HEATER, GOVERNOR, RADIO, IMAGER)
KINDS: Mapping[str, DeviceKind[Any]] = {kind.name: kind for kind in _ROWS}
