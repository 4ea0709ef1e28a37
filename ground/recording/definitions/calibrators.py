"""From raw numbers to engineering values, all rows at once: polynomials and splines of XTCE 1.2.

A calibrator gives float64, and which rows have a value: outside of a spline that is not to be extrapolated there is
none, and NaN stands there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ground.recording.definitions.ragged import Values

Calibrated = NDArray[np.float64]


class Calibrator(Protocol):
    def apply(self, raw: Values) -> Calibrated: ...


@dataclass(frozen=True, slots=True)
class Polynomial:
    """Sum of coefficient * raw ** exponent. `terms` are (exponent, coefficient); exponents are 0 or more."""

    terms: tuple[tuple[int, float], ...]

    @property
    def line(self) -> tuple[float, float] | None:
        """Slope and intercept, if it is no more than a line."""
        if any(exponent > 1 and coefficient for exponent, coefficient in self.terms):
            return None
        return tuple(sum(c for e, c in self.terms if e == power) for power in (1, 0))  # type: ignore[return-value]

    def apply(self, raw: Values) -> Calibrated:
        x = raw.astype(np.float64)
        line = self.line
        with np.errstate(all="ignore"):
            if line is not None:
                slope, intercept = line
                if slope != 1.0:
                    x *= slope
                if intercept != 0.0:
                    x += intercept
                return x
            made = np.zeros(len(x))
            for exponent, coefficient in self.terms:
                made += coefficient * x**exponent
        return made


@dataclass(frozen=True, slots=True)
class Spline:
    """Points of raw and calibrated values, raw ascending, two at least; `orders` of each stretch from a point to the
    next, 0 (the value of its first point) or 1 (a straight line).
    """

    raw: tuple[float, ...]
    calibrated: tuple[float, ...]
    orders: tuple[int, ...]
    extrapolate: bool

    def apply(self, raw: Values) -> Calibrated:
        x = raw.astype(np.float64)
        xs, ys = np.array(self.raw), np.array(self.calibrated)
        with np.errstate(all="ignore"):
            slopes = np.where(np.array(self.orders) == 0, 0.0, np.diff(ys) / np.diff(xs))
            stretch = np.clip(np.searchsorted(xs, x, "right") - 1, 0, len(slopes) - 1)
            made = ys[stretch] + slopes[stretch] * (x - xs[stretch])
            # A flat stretch ends before its last point, which has its own value.
            is_last = x == xs[-1] if not self.extrapolate else x >= xs[-1]
            if self.orders[-1] == 0:
                made[is_last] = ys[-1]
            if not self.extrapolate:
                made[(x < xs[0]) | (x > xs[-1])] = np.nan
        made[np.isnan(x)] = np.nan
        return np.asarray(made, np.float64)
