"""What a parameter is: how it is encoded, and what its values mean. The forms of definition files all end here.

An encoding is a number of at most 64 bits, which the kernel reads, or octets: a text or binary data. What the kernel
does not know of numbers (sign and magnitude, BCD, MIL-STD-1750A) is made of the unsigned number that it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ground.recording.definitions.calibrators import Calibrator
from ground.recording.definitions.criteria import Amount, Criterion
from ground.recording.definitions.ragged import Values
from ground.recording.table import ColumnKind, TimeScale

BITS_MAX = 64

Conversion = Callable[[Values, int], tuple[Values, NDArray[np.bool_] | None]]
"""Of the unsigned numbers that were read, and their bits: the values, and which of them mean something."""

_SIGNED = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}


@dataclass(frozen=True, slots=True)
class NumberEncoding:
    """bits, kind, order: as `flight.kernels.FieldSpec` has them. conversion: what is made of it then."""

    bits: int
    kind: Literal["unsigned", "signed", "float"] = "unsigned"
    order: Literal["big", "little"] | tuple[int, ...] = "big"
    conversion: Conversion | None = None


@dataclass(frozen=True, slots=True)
class OctetsEncoding:
    """A text or binary data.

    size: bits that it takes in the packet; None if only `leading_bits` or `terminator` say it.
    charset: of a text, as Python calls it.
    terminator: the text ends before these octets, or with the room for it.
    leading_bits: the text begins with so many bits that say its length, in bits.
    strips: zeros at the end do not belong to the text.
    """

    kind: ColumnKind
    size: Amount | None
    charset: str = "utf-8"
    terminator: bytes = b""
    leading_bits: int = 0
    strips: bool = False
    strict: bool = False  # a text that is not UTF-8 is damage, not shown with replacement characters


@dataclass(frozen=True, slots=True)
class BlankEncoding:
    """Bits that are passed over, as many as `size` says."""

    size: Amount


Encoding = NumberEncoding | OctetsEncoding | BlankEncoding


@dataclass(frozen=True, slots=True)
class Parameter:
    """One value of a packet.

    key: what others refer to it by; unique in the definitions.
    name: of its column.
    ranges: of an enumeration, by label the raw numbers that it stands for, each (first, last).
    truth: of a boolean, what 0 and what anything else is called.
    calibrator, contexts: the first context that is met, or else the calibrator; with neither, the raw value stands.
    left_out: it has no column, and why not; empty if it has one.
    """

    key: str
    name: str
    encoding: Encoding
    ranges: tuple[tuple[str, int, int], ...] = ()
    truth: tuple[str, str] | None = None
    calibrator: Calibrator | None = None
    contexts: tuple[tuple[Criterion, Calibrator], ...] = ()
    time: TimeScale | None = None
    unit: str = ""
    left_out: str = ""
    labels: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_calibrated(self) -> bool:
        return self.calibrator is not None or bool(self.contexts)


def sign_magnitude(values: Values, bits: int) -> tuple[Values, None]:
    """The first bit is the sign."""
    signed = _SIGNED[values.dtype.itemsize]
    magnitude = (values & values.dtype.type((1 << bits - 1) - 1)).astype(signed)
    return np.where(values >> (bits - 1) & 1, -magnitude, magnitude), None


def ones_complement(values: Values, bits: int) -> tuple[Values, None]:
    """A negative number has all bits of its magnitude the other way round."""
    signed = _SIGNED[values.dtype.itemsize]
    mask = values.dtype.type((1 << bits) - 1)
    return np.where(values >> (bits - 1) & 1, -((~values & mask).astype(signed)), values.astype(signed)), None


def packed_bcd(values: Values, bits: int) -> tuple[Values, NDArray[np.bool_]]:
    """A decimal digit in each four bits; what has no digit there has no value."""
    made = np.zeros(len(values), np.uint64)
    sound = np.ones(len(values), bool)
    for place in reversed(range(0, bits, 4)):
        digit = values >> place & 0xF
        sound &= digit <= 9
        made = made * np.uint64(10) + digit.astype(np.uint64)
    return np.where(sound, made, 0).astype(values.dtype), sound


def reversed_bits(values: Values, bits: int) -> tuple[Values, None]:
    """The first bit is the least significant."""
    made = np.zeros_like(values)
    for place in range(bits):
        made |= (values >> place & 1) << (bits - 1 - place)
    return made, None


def half_float(values: Values, bits: int) -> tuple[Values, None]:
    """IEEE 754, 16 bit."""
    del bits
    return values.view(np.float16).astype(np.float32), None


def mil_std_1750a(values: Values, bits: int) -> tuple[Values, None]:
    """MIL-STD-1750A, 4.1.4: of 32 bit a mantissa of 24 and an exponent of 8; 48 bit add 16 to the mantissa's end."""
    words = values.astype(np.int64)
    high = words >> (bits - 32)
    exponent = (high & 0xFF).astype(np.uint8).astype(np.int8).astype(np.int32)
    mantissa, fraction = (high >> 8 << 40) >> 40, 23  # 24 bits with their sign
    if bits == 48:
        mantissa, fraction = mantissa << 16 | words & 0xFFFF, 39
    return np.ldexp(mantissa.astype(np.float64), exponent - fraction), None
