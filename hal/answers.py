"""What a driver may answer: the type that its Protocol names, and values that hardware of this kind can have.

The bounds are far from what flies, and near enough to tell a measurement from a broken converter, a register of ones
or a unit mixed up. What is outside is a fault of the device and reaches no decision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

from hal.base import HalError, Image, PowerReading


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number that a device measures, and what none of our hardware can be beyond."""

    name: str
    lowest: float
    highest: float


SOC_FRAC = Quantity("soc_frac", -0.02, 1.02)  # gauges count charge, and are off by a percent or two at both ends
SOLAR_W = Quantity("solar_w", -10.0, 20_000.0)  # an array in the dark reads an offset; the largest have 20 kW
LOAD_W = Quantity("load_w", -10.0, 20_000.0)
BATTERY_W = Quantity("battery_w", -20_000.0, 20_000.0)  # charging and discharging
BUS_V = Quantity("bus_v", -1.0, 1_000.0)  # buses have 3 to 160 V; an offset at zero
TEMPERATURE = Quantity("temperature", -200.0, 300.0)  # degC: a radiator that sees no Sun, and solder that melts

NUMBER_MAX = 2**32 - 1
SIDE_MAX = 65_535
RECEIVED_OCTETS_MAX = 65_536
AHEAD_NS = 3_600_000_000_000  # no modem holds more than an hour of frames


def number(value: object, quantity: Quantity) -> float:
    """A finite number in the quantity's bounds; raises HalError naming both."""
    if type(value) is not float:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise HalError(f"{quantity.name} is {_shown(value)}, should be a number")
        value = float(value)
    if not (math.isfinite(value) and quantity.lowest <= value <= quantity.highest):
        raise HalError(f"{quantity.name} is {value:g}, should be {quantity.lowest:g} to {quantity.highest:g}")
    return value


def temperature(answer: object) -> float:
    """Of `Thermometer.read_c`."""
    return number(answer, TEMPERATURE)


def power_reading(answer: object) -> PowerReading:
    """Of `Eps.read`."""
    if not isinstance(answer, PowerReading):
        raise HalError(f"answer is {_shown(answer)}, should be a PowerReading")
    return PowerReading(
        number(answer.soc_frac, SOC_FRAC),
        number(answer.solar_w, SOLAR_W),
        number(answer.load_w, LOAD_W),
        number(answer.battery_w, BATTERY_W),
        number(answer.bus_v, BUS_V),
    )


def nothing(answer: object) -> None:
    """Of an order. What answers False, or a coroutine that nobody awaits, has not taken it."""
    if answer is not None:
        raise HalError(f"answer is {_shown(answer)}, should be None: an order that fails raises HalError")


def flag(answer: object) -> bool:
    """Of `Radio.carrier`, `Radio.send` and `Imager.ready`."""
    if not isinstance(answer, bool):
        raise HalError(f"answer is {_shown(answer)}, should be True or False")
    return answer


def received(answer: object) -> bytes | None:
    """Of `Radio.receive`."""
    if answer is not None and type(answer) is not bytes:
        raise HalError(f"answer is {_shown(answer)}, should be bytes or None")
    if answer is not None and len(answer) > RECEIVED_OCTETS_MAX:
        raise HalError(f"received {len(answer)} octets at once, at most {RECEIVED_OCTETS_MAX}")
    return answer


def count(answer: object) -> int:
    """Of `Radio.dropped`, modulo 2^32."""
    if type(answer) is not int or answer < 0:
        raise HalError(f"answer is {_shown(answer)}, should be a whole number from 0 on")
    return answer & 0xFFFFFFFF


def free_ns(answer: object, now_ns: int) -> int:
    """Of `Radio.free_ns`."""
    if type(answer) is not int or not 0 <= answer <= now_ns + AHEAD_NS:
        raise HalError(f"answer is {_shown(answer)}, should be a time in nanoseconds, an hour ahead at most")
    return answer


def image(answer: object) -> Image:
    """Of `Imager.capture`. Whether it is the shape that was agreed on is for the app to say."""
    if not isinstance(answer, Image):
        raise HalError(f"answer is {_shown(answer)}, should be an Image")
    shape = (answer.bands, answer.height, answer.width)
    if not all(type(side) is int and 1 <= side <= SIDE_MAX for side in shape):
        raise HalError(f"image of {_shown(shape)}, should be three whole numbers from 1 to {SIDE_MAX}")
    if type(answer.number) is not int or not 0 <= answer.number <= NUMBER_MAX:
        raise HalError(f"image number is {_shown(answer.number)}, should be 0 to {NUMBER_MAX}")
    if type(answer.samples) is not bytes:
        raise HalError(f"samples are {type(answer.samples).__name__}, should be bytes")
    # Built anew: the length is checked, and it is no subclass that may answer otherwise the next time.
    return Image(answer.number, *shape, answer.samples)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
