"""What a driver may answer: the type that its Protocol names, and values that hardware of this kind can have.

One function per type of answer. Each returns the answer as the node uses it, or raises HalError: such an answer is a
fault of the device and reaches no decision.
"""

# The bounds are far outside what flies, so that no honest sensor is refused, and near enough to tell a measurement from
# a broken converter, a register full of ones, or a value in the wrong unit (millivolts, a percentage, kelvins).
#
# Types are compared exactly (`type(answer) is bytes`) wherever a subclass could change what the node does with the
# value later: a subclass of bytes may override __len__, a subclass of int __lt__. What the guard has let through must
# not run the driver's code again, outside its time limit. For the same reason structures are built again from their
# checked parts.

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

from hal.base import HalError, Image, PowerReading


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number that a device measures, with bounds that no hardware of ours can exceed."""

    name: str
    lowest: float
    highest: float


SOC_FRAC = Quantity("soc_frac", -0.02, 1.02)  # gauges count charge and are off by 1 or 2 % at both ends
SOLAR_W = Quantity("solar_w", -10.0, 20_000.0)  # an array in the dark reads an offset; the largest give 20 kW
LOAD_W = Quantity("load_w", -10.0, 20_000.0)
BATTERY_W = Quantity("battery_w", -20_000.0, 20_000.0)  # discharging is negative
BUS_V = Quantity("bus_v", -1.0, 1_000.0)  # buses have 3 to 160 V; a dead one reads an offset
TEMPERATURE = Quantity("temperature", -200.0, 300.0)  # degC: a radiator that sees no Sun, up to where solder melts

NUMBER_MAX = 2**32 - 1  # a product carries the number of its image in 32 bits
SIDE_MAX = 65_535  # and each side of it in 16
RECEIVED_OCTETS_MAX = 65_536  # more than any datagram
AHEAD_NS = 3_600_000_000_000  # no modem holds more than an hour of frames


def number(value: object, quantity: Quantity) -> float:
    """Return the value as a float. Raises HalError if it is not a finite number within the quantity's bounds."""
    if type(value) is not float:
        # NumPy's scalars are Real as well. True would count as 1.0, and surely means something else.
        if isinstance(value, bool) or not isinstance(value, Real):
            raise HalError(f"{quantity.name} is {_shown(value)}, should be a number")
        value = float(value)
    if not (math.isfinite(value) and quantity.lowest <= value <= quantity.highest):
        raise HalError(f"{quantity.name} is {value:g}, should be {quantity.lowest:g} to {quantity.highest:g}")
    return value


def temperature(answer: object) -> float:
    """Check what `Thermometer.read_c` returned, in degrees C. Raises HalError."""
    return number(answer, TEMPERATURE)


def power_reading(answer: object) -> PowerReading:
    """Check what `Eps.read` returned, value by value. Raises HalError naming the first that cannot be."""
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
    """Check that an order returned None. Raises HalError otherwise."""
    # A driver that returns False has refused; one written as `async def` returns a coroutine and has done nothing.
    if answer is not None:
        raise HalError(f"answer is {_shown(answer)}, should be None: an order that fails raises HalError")


def flag(answer: object) -> bool:
    """Check what `Radio.carrier`, `Radio.send` or `Imager.ready` returned. Raises HalError."""
    if not isinstance(answer, bool):
        raise HalError(f"answer is {_shown(answer)}, should be True or False")
    return answer


def received(answer: object) -> bytes | None:
    """Check what `Radio.receive` returned: at most 65,536 octets, or None. Raises HalError."""
    if answer is not None and type(answer) is not bytes:
        raise HalError(f"answer is {_shown(answer)}, should be bytes or None")
    if answer is not None and len(answer) > RECEIVED_OCTETS_MAX:
        raise HalError(f"received {len(answer)} octets at once, at most {RECEIVED_OCTETS_MAX}")
    return answer


def count(answer: object) -> int:
    """Return what `Radio.dropped` returned, modulo 2^32. Raises HalError."""
    if type(answer) is not int or answer < 0:
        raise HalError(f"answer is {_shown(answer)}, should be a whole number from 0 on")
    return answer & 0xFFFFFFFF


def free_ns(answer: object, now_ns: int) -> int:
    """Check what `Radio.free_ns` returned: a time on the host's timeline, in nanoseconds. Raises HalError."""
    if type(answer) is not int or not 0 <= answer <= now_ns + AHEAD_NS:
        raise HalError(f"answer is {_shown(answer)}, should be a time in nanoseconds, an hour ahead at most")
    return answer


def image(answer: object) -> Image:
    """Check what `Imager.capture` returned: whether sides, number and octets are possible, and agree. Raises HalError.

    Whether the image has the shape that a mission needs is for the app to check.
    """
    if not isinstance(answer, Image):
        raise HalError(f"answer is {_shown(answer)}, should be an Image")
    shape = (answer.bands, answer.height, answer.width)
    if not all(type(side) is int and 1 <= side <= SIDE_MAX for side in shape):
        raise HalError(f"image of {_shown(shape)}, should be three whole numbers from 1 to {SIDE_MAX}")
    if type(answer.number) is not int or not 0 <= answer.number <= NUMBER_MAX:
        raise HalError(f"image number is {_shown(answer.number)}, should be 0 to {NUMBER_MAX}")
    if type(answer.samples) is not bytes:
        raise HalError(f"samples are {type(answer.samples).__name__}, should be bytes")
    # A new Image checks that the length fits the shape, and is not of a subclass, which may answer otherwise next time.
    return Image(answer.number, *shape, answer.samples)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
