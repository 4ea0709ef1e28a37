"""The kinds of devices that a node may have, each declared in one place: its guarded proxy and its row.

A proxy makes the calls of a Protocol of hal/base.py through a guard (hal/guard.py). None of its methods raises anything
but HalError, and none returns an answer that has not been checked. The row gives the kind its name, says with which
settings a factory of it is called, and lists the drivers that come with orbitnode, as "module:factory" by scheme.
Drivers of other distributions need no line here (hal/installed_drivers.py).

A new kind takes a Protocol in hal/base.py, a proxy and a row here, a key in flight/contract/sections.py, and a user
that flight/roster.py hands it to.
"""

# The rows name modules as text and import none. A board imports only the drivers that its mission asks for: the serial
# ones need pyserial, the simulated ones all of sim_hw and its libraries.
#
# Each proxy is written out, method by method, instead of being made by `__getattr__`: mypy then checks it against the
# Protocol, and each method names the check of its answer (hal/answer_checks.py).

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from hal import answer_checks
from hal.base import Eps, Governor, HalError, Heater, Host, Image, Imager, PowerReading, Radio, Thermometer
from hal.guard import CAPTURE_LIMIT_S, Guard

D = TypeVar("D")
Make = Callable[[Host], Any]


@dataclass(frozen=True, slots=True)
class DeviceKind(Generic[D]):
    """One kind of device; D is its Protocol.

    guarded: makes the proxy in front of a driver. drivers: "module:factory" by scheme. settings: the names of what a
    factory is called with after address and host, in this order.
    """

    name: str
    guarded: Callable[[str, Host, Make], D]
    drivers: Mapping[str, str]
    settings: tuple[str, ...] = ()


class _Guarded:
    """What all proxies share. `guard` is public for those who watch it: tests, and whoever reads its counters."""

    def __init__(self, name: str, host: Host, make: Make) -> None:
        self.guard = Guard(name, host, make)
        self.guard.open()

    def close(self) -> None:
        """Have the driver leave its device, if it can. A driver that could not be opened is not opened for this."""
        if self.guard.driver is not None:
            with suppress(HalError):  # many drivers have no close(), and nobody needs the device any more
                self.guard.call("close", answer_checks.nothing)
        self.guard.host.release()


class GuardedEps(_Guarded):
    """A hal.base.Eps behind a guard."""

    def read(self) -> PowerReading:
        """Return the newest sample. Raises HalError."""
        return self.guard.call("read", answer_checks.power_reading)

    def set_switch(self, name: str, on: bool) -> None:
        """Switch a load on or off. Raises HalError."""
        self.guard.call("set_switch", answer_checks.nothing, name, on)


EPS: DeviceKind[Eps] = DeviceKind(
    "eps", GuardedEps, {"serial": "hal.serial_board:open_eps", "sim": "sim_hw.machine.simulated_devices:open_eps"}
)


class GuardedThermometer(_Guarded):
    """A hal.base.Thermometer behind a guard."""

    def read_c(self) -> float:
        """Return the newest temperature in degrees C. Raises HalError."""
        return self.guard.call("read_c", answer_checks.temperature)


THERMOMETER: DeviceKind[Thermometer] = DeviceKind(
    "thermometer",
    GuardedThermometer,
    {"serial": "hal.serial_board:open_thermometer", "sim": "sim_hw.machine.simulated_devices:open_thermometer"},
)


class GuardedHeater(_Guarded):
    """A hal.base.Heater behind a guard."""

    def set_on(self, on: bool) -> None:
        """Switch the heater on or off. Raises HalError."""
        self.guard.call("set_on", answer_checks.nothing, on)


HEATER: DeviceKind[Heater] = DeviceKind(
    "heater",
    GuardedHeater,
    {"serial": "hal.serial_board:open_heater", "sim": "sim_hw.machine.simulated_devices:open_heater"},
)


class GuardedGovernor(_Guarded):
    """A hal.base.Governor behind a guard."""

    def set_limit_w(self, power_w: float) -> None:
        """Limit the payload processor's power, in watts. Raises HalError."""
        self.guard.call("set_limit_w", answer_checks.nothing, power_w)


GOVERNOR: DeviceKind[Governor] = DeviceKind(
    "governor",
    GuardedGovernor,
    {"serial": "hal.serial_board:open_governor", "sim": "sim_hw.machine.simulated_devices:open_governor"},
)


class GuardedRadio(_Guarded):
    """A hal.base.Radio behind a guard.

    The node's own call for events is kept here, so that a driver that is opened late, or again, has it too. It is also
    made after a callback of the driver has failed: the radio service waits for events, and would otherwise neither ask
    again nor learn of the fault.
    """

    def __init__(self, name: str, host: Host, make: Make) -> None:
        self._node_call: Callable[[], None] = lambda: None

        def make_and_listen(host: Host) -> Any:
            driver = make(host)
            if driver is not None:
                driver.on_event(partial(self.guard.notice, self._notify))
            return driver

        super().__init__(name, host, make_and_listen)
        self.guard.on_fault = self._notify

    def carrier(self) -> bool:
        """Return True while the other side can be heard. Raises HalError."""
        return self.guard.call("carrier", answer_checks.flag)

    def send(self, unit: bytes) -> bool:
        """Queue one transmission unit; False if the buffer is full. Raises HalError."""
        return self.guard.call("send", answer_checks.flag, unit)

    def free_ns(self) -> int:
        """Return the time at which all units taken so far will have left, in nanoseconds. Raises HalError."""
        return self.guard.call("free_ns", self._check_free_ns)

    def receive(self) -> bytes | None:
        """Return the oldest received octets, or None. Raises HalError."""
        return self.guard.call("receive", answer_checks.received)

    def dropped(self) -> int:
        """Return how many received units were lost, modulo 2^32. Raises HalError."""
        return self.guard.call("dropped", answer_checks.count)

    def on_event(self, call: Callable[[], None]) -> None:
        """Have `call` called on anything new. Never reaches the driver, so it cannot fail."""
        self._node_call = call

    def _notify(self) -> None:
        # Looked up at each notice: the driver was given this method once, the node may set its call later.
        self._node_call()

    def _check_free_ns(self, answer: object) -> int:
        return answer_checks.free_ns(answer, self.guard.host.now_ns())


RADIO: DeviceKind[Radio] = DeviceKind(
    "radio",
    GuardedRadio,
    {"udp": "hal.udp_radio:open_radio", "sim": "sim_hw.machine.simulated_devices:open_radio"},
    settings=("rate_bps",),
)


class GuardedImager(_Guarded):
    """A hal.base.Imager behind a guard."""

    def ready(self) -> bool:
        """Return True if there is something worth taking. Raises HalError."""
        return self.guard.call("ready", answer_checks.flag)

    def capture(self) -> Image:
        """Take one tile, in CAPTURE_LIMIT_S at most. Raises HalError."""
        return self.guard.call("capture", answer_checks.image, limit_s=CAPTURE_LIMIT_S)


IMAGER: DeviceKind[Imager] = DeviceKind(
    "imager",
    GuardedImager,
    {"replay": "hal.replay_imager:open_imager", "sim": "sim_hw.machine.simulated_devices:open_imager"},
)


_ROWS: tuple[DeviceKind[Any], ...] = (EPS, THERMOMETER, HEATER, GOVERNOR, RADIO, IMAGER)
KINDS: Mapping[str, DeviceKind[Any]] = {kind.name: kind for kind in _ROWS}
