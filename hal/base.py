"""What flight code asks of hardware: one small Protocol per kind of device, and the error they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")


class HalError(Exception):
    """Hardware said no, or said nothing in time."""


class StalledError(HalError):
    """A call did not return within its limit and was cut off."""


class Timer(Protocol):
    """A pending call; `cancel` is harmless after it was made."""

    def cancel(self) -> None: ...


class CallLimit(Protocol):
    """How long a driver may keep the loop's thread."""

    def run(self, call: Callable[[], T], limit_s: float) -> T:
        """Make `call`, and cut it off when it takes longer: raises StalledError."""

    def shield(self, call: Callable[[], T]) -> T:
        """Make `call`, which is not a driver's own, from inside a limited one: it is never cut off halfway."""


class Timeline(Protocol):
    """The one clock and what is to happen by it: all that the scheduler stands on."""

    def now_ns(self) -> int:
        """Monotonic time of the platform, in nanoseconds; virtual under the simulator."""

    def call_at(self, t_ns: int, call: Callable[[], None]) -> Timer:
        """Make `call` once, at `t_ns` or as soon after it as the loop can."""


class Host(Timeline, Protocol):
    """What a driver may ask of the platform that opens it: the one timeline and readiness of descriptors."""

    @property
    def limit(self) -> CallLimit:
        """For hal/guard.py, which makes every call of a driver through it."""

    def watch(self, fileno: int, on_ready: Callable[[], None]) -> None:
        """Call `on_ready` whenever the descriptor is readable."""

    def unwatch(self, fileno: int) -> None: ...


@dataclass(frozen=True, slots=True)
class PowerReading:
    """One sample of the electrical power system. `battery_w` is positive while charging."""

    soc_frac: float
    solar_w: float
    load_w: float
    battery_w: float
    bus_v: float


class Eps(Protocol):
    """Electrical power system. Calls return at once; a fault raises HalError."""

    def read(self) -> PowerReading: ...

    def set_switch(self, name: str, on: bool) -> None:
        """Switch a load (`payload`, `radio`, ...); an unknown name raises HalError."""


class Thermometer(Protocol):
    """One temperature sensor. A fault raises HalError."""

    def read_c(self) -> float: ...


class Heater(Protocol):
    """One heater that is on or off."""

    def set_on(self, on: bool) -> None: ...


class Governor(Protocol):
    """The power limiter of the payload processor (clock governor, nvpmodel, current limit)."""

    def set_limit_w(self, power_w: float) -> None: ...


class Radio(Protocol):
    """A link's modem: octets out, octets in, and whether there is somebody to talk to.

    The transmit buffer is bounded: a unit (frame, CADU) is taken whole or refused.
    """

    def carrier(self) -> bool:
        """True while the other side can be heard."""

    def send(self, unit: bytes) -> bool:
        """Queue one transmission unit; False where the transmit buffer is full."""

    def free_ns(self) -> int:
        """When all units taken so far have left, on the host's timeline, past where they have: then the next leaves."""

    def receive(self) -> bytes | None:
        """The oldest received unit or stretch of octets, None where there is none. Empty is what was of no use."""

    def dropped(self) -> int:
        """Units lost before `receive` for want of room, as far as is known; modulo 2^32."""

    def on_event(self, call: Callable[[], None]) -> None:
        """Call `call` on anything new: octets received, room in the buffer, carrier gained or lost."""


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
        """True where there is something worth taking: light for a camera, a file left for a replay."""

    def capture(self) -> Image: ...
