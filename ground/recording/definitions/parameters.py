"""Parameters: how they are encoded, and what their values mean. All forms of definition files lead here.

An encoding is a number of at most 64 bits, which the kernel reads, or octets: a text or binary data. Numbers in codes
that the kernel does not know (sign and magnitude, BCD, MIL-STD-1750A) are read as unsigned and converted here.
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
"""Takes n unsigned numbers and their bits; returns n values, and which of them are valid (None: all)."""

_SIGNED = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}


@dataclass(frozen=True, slots=True)
class NumberEncoding:
    """A number. bits, kind, order: as in `flight.kernels.FieldSpec`. conversion: applied to what the kernel read."""

    bits: int
    kind: Literal["unsigned", "signed", "float"] = "unsigned"
    order: Literal["big", "little"] | tuple[int, ...] = "big"
    conversion: Conversion | None = None


@dataclass(frozen=True, slots=True)
class OctetsEncoding:
    """A text or binary data.

    size: bits that it takes in the packet; None if only `leading_bits` or `terminator` tell.
    charset: of a text, by its Python name.
    terminator: the text ends before these octets, or with the room that it has.
    leading_bits: the text begins with so many bits that say its length in bits.
    strips: zeros at the end are not part of the text.
    strict: a text that is not UTF-8 is damage, instead of being shown with replacement characters.
    """

    kind: ColumnKind
    size: Amount | None
    charset: str = "utf-8"
    terminator: bytes = b""
    leading_bits: int = 0
    strips: bool = False
    strict: bool = False


@dataclass(frozen=True, slots=True)
class BlankEncoding:
    """Bits that are passed over, as many as `size` says."""

    size: Amount


Encoding = NumberEncoding | OctetsEncoding | BlankEncoding


@dataclass(frozen=True, slots=True)
class Parameter:
    """One value of a packet.

    key: how others refer to it; unique in the definitions.
    name: of its column.
    ranges: of an enumeration: (label, first, last) of the raw numbers that each label stands for.
    truth: of a boolean: the words for 0 and for anything else.
    calibrator, contexts: the calibrator of the first context that is met, or else `calibrator`; with neither, the raw
        value stands.
    left_out: why it has no column; empty if it has one.
    labels: of an enumeration, by raw number.
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
        """Whether its engineering value may differ from the raw one."""
        return self.calibrator is not None or bool(self.contexts)


def sign_magnitude(values: Values, bits: int) -> tuple[Values, None]:
    """Convert sign and magnitude: the first bit is the sign."""
    signed = _SIGNED[values.dtype.itemsize]
    magnitude = (values & values.dtype.type((1 << bits - 1) - 1)).astype(signed)
    return np.where(values >> (bits - 1) & 1, -magnitude, magnitude), None


def ones_complement(values: Values, bits: int) -> tuple[Values, None]:
    """Convert ones' complement: a negative number has all bits of its magnitude inverted."""
    signed = _SIGNED[values.dtype.itemsize]
    mask = values.dtype.type((1 << bits) - 1)
    return np.where(values >> (bits - 1) & 1, -((~values & mask).astype(signed)), values.astype(signed)), None


def packed_bcd(values: Values, bits: int) -> tuple[Values, NDArray[np.bool_]]:
    """Convert BCD: each four bits are a decimal digit; a number with anything else in them is not valid."""
    value = np.zeros(len(values), np.uint64)
    sound = np.ones(len(values), bool)
    for place in reversed(range(0, bits, 4)):
        digit = values >> place & 0xF
        sound &= digit <= 9
        value = value * np.uint64(10) + digit.astype(np.uint64)
    return np.where(sound, value, 0).astype(values.dtype), sound


def reversed_bits(values: Values, bits: int) -> tuple[Values, None]:
    """Reverse the bits: the first one is the least significant."""
    reversed_values = np.zeros_like(values)
    for place in range(bits):
        reversed_values |= (values >> place & 1) << (bits - 1 - place)
    return reversed_values, None


def half_float(values: Values, bits: int) -> tuple[Values, None]:
    """Convert IEEE 754 binary16, which the kernel reads as an unsigned number, to float32."""
    del bits
    return values.view(np.float16).astype(np.float32), None


def mil_std_1750a(values: Values, bits: int) -> tuple[Values, None]:
    """Convert MIL-STD-1750A floats (4.1.4): 24 bits of mantissa, 8 of exponent, and of 48 bits 16 more of mantissa."""
    words = values.astype(np.int64)
    high = words >> (bits - 32)
    # Both parts are two's complement: the casts and the shifts up and down extend their signs.
    exponent = (high & 0xFF).astype(np.uint8).astype(np.int8).astype(np.int32)
    mantissa, fraction = (high >> 8 << 40) >> 40, 23  # 24 bits with their sign
    if bits == 48:
        mantissa, fraction = mantissa << 16 | words & 0xFFFF, 39
    return np.ldexp(mantissa.astype(np.float64), exponent - fraction), None
