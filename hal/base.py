"""What flight code asks of hardware: one small Protocol per kind of device, and the error they share.

A driver implements one of the device Protocols (Eps, Thermometer, Heater, Governor, Radio, Imager) and is given a Host.
All that the node asks of it goes through hal/guard.py, which limits the time that a call may take and checks the answer
(hal/answer_checks.py).
"""

# Why these Protocols look as they do. The node is one thread and nothing in it is preempted, so no call here waits for
# a device: a driver that has to wait watches a descriptor or sets a timer through its Host, keeps the newest reading,
# and returns that one. There is one error, HalError, because a service has one answer to any fault: count it, report
# it, go on, and ask again in its own time. Time comes from the Host alone, so that the same driver runs in virtual
# time.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")


class HalError(Exception):
    """Hardware refused, failed, or did not answer in time. The text says which device, what is wrong and what to do."""


class StalledError(HalError):
    """A call did not return within its limit and was cut off."""


class Timer(Protocol):
    """A pending call of the host."""

    def cancel(self) -> None:
        """Have the call not made. Harmless if it was made already."""


class CallLimit(Protocol):
    """How long a driver may keep the loop's thread."""

    def run(self, call: Callable[[], T], limit_s: float) -> T:
        """Make `call` and return its result. Raises StalledError if it takes longer than `limit_s` and is cut off."""

    def shield(self, call: Callable[[], T]) -> T:
        """Make `call` from inside a limited call, and never cut it off halfway: for code that is not a driver's."""


class Timeline(Protocol):
    """The one clock, and calls to be made at a given time: all that the scheduler needs."""

    def now_ns(self) -> int:
        """Return the platform's monotonic time, in nanoseconds. Under the simulator it is virtual."""

    def call_at(self, t_ns: int, call: Callable[[], None]) -> Timer:
        """Make `call` once, at `t_ns` or as soon after it as the loop can."""


class Host(Timeline, Protocol):
    """What a driver may ask of the platform that opens it: the one timeline, and readiness of descriptors.

    A driver may call it in the loop's thread alone.
    """

    @property
    def limit(self) -> CallLimit:
        """The time limit through which hal/guard.py makes every call of a driver. Drivers do not need it."""

    def watch(self, fileno: int, on_ready: Callable[[], None]) -> None:
        """Call `on_ready` whenever the descriptor is readable."""

    def unwatch(self, fileno: int) -> None:
        """Stop watching the descriptor. Call this before closing it: the next file opened gets the same number."""


@dataclass(frozen=True, slots=True)
class PowerReading:
    """One sample of the electrical power system.

    soc_frac: state of charge, 0 to 1. solar_w: power from the arrays. load_w: power drawn by all loads. battery_w:
    power into the battery, positive while charging. bus_v: voltage of the main bus.
    """

    soc_frac: float
    solar_w: float
    load_w: float
    battery_w: float
    bus_v: float


class Eps(Protocol):
    """Electrical power system. Calls return at once; a fault raises HalError."""

    def read(self) -> PowerReading:
        """Return the newest sample. Raises HalError if there is none, or only an old one."""

    def set_switch(self, name: str, on: bool) -> None:
        """Switch a load (`payload`, `radio`, ...) on or off. Raises HalError, also for an unknown name."""


class Thermometer(Protocol):
    """One temperature sensor. A fault raises HalError."""

    def read_c(self) -> float:
        """Return the newest temperature in degrees C. Raises HalError if there is none, or only an old one."""


class Heater(Protocol):
    """One heater that is on or off. A fault raises HalError."""

    def set_on(self, on: bool) -> None:
        """Switch the heater. Raises HalError if the order cannot be given, or an earlier one was not carried out."""


class Governor(Protocol):
    """The power limiter of the payload processor (clock governor, nvpmodel, current limit). A fault raises HalError."""

    def set_limit_w(self, power_w: float) -> None:
        """Limit the processor's power to `power_w` watts. Raises HalError."""


class Radio(Protocol):
    """A link's modem: octets out, octets in, and whether the other side is there.

    The transmit buffer is bounded: a unit (frame, CADU) is taken whole or refused.
    """

    def carrier(self) -> bool:
        """Return True while the other side can be heard."""

    def send(self, unit: bytes) -> bool:
        """Queue one transmission unit. Returns False if the transmit buffer is full."""

    def free_ns(self) -> int:
        """Return the time at which all units taken so far will have left, in the past if they have.

        In nanoseconds on the host's timeline. The next unit leaves then, not earlier.
        """

    def receive(self) -> bytes | None:
        """Return the oldest received unit or stretch of octets, or None if there is none.

        Idle sequence, octets 0x55, may stand between units: what one leaves open must not swallow the next. Empty
        octets mean that something was received which is of no use.
        """

    def dropped(self) -> int:
        """Return how many units were lost before `receive` for want of room, as far as is known, modulo 2^32."""

    def on_event(self, call: Callable[[], None]) -> None:
        """Have `call` called on anything new: octets received, room in the buffer, carrier gained or lost."""


@dataclass(frozen=True, slots=True)
class Image:
    """One multispectral tile.

    samples: uint16 in native byte order, C order [band, row, column], reflectance x 10,000.
    """

    number: int
    bands: int
    height: int
    width: int
    samples: bytes

    def __post_init__(self) -> None:
        expected = 2 * self.bands * self.height * self.width
        if len(self.samples) != expected:
            shape = f"{self.bands} x {self.height} x {self.width}"
            raise HalError(f"image {self.number}: {len(self.samples)} octets, {shape} uint16 takes {expected}")


class Imager(Protocol):
    """A camera. A fault, or a tile that is not of the agreed shape, raises HalError."""

    def ready(self) -> bool:
        """Return True if there is something worth taking: light for a camera, a remaining file for a replay."""

    def capture(self) -> Image:
        """Take one tile. May take longer than other calls (hal/guard.py). Raises HalError."""
