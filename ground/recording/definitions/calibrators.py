"""Calibrators: from raw numbers to engineering values, all rows at once; polynomials and splines of XTCE 1.2.

A calibrator returns float64. NaN stands for a row without a value, such as one outside a spline that must not be
extrapolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ground.recording.definitions.ragged import Values

Calibrated = NDArray[np.float64]


class Calibrator(Protocol):
    """Makes engineering values of raw numbers."""

    def apply(self, raw: Values) -> Calibrated:
        """Return n engineering values, NaN for none, of n raw numbers."""
        ...


@dataclass(frozen=True, slots=True)
class Polynomial:
    """The sum of coefficient * raw ** exponent over `terms` (exponent, coefficient); exponents are 0 or more."""

    terms: tuple[tuple[int, float], ...]

    @property
    def line(self) -> tuple[float, float] | None:
        """Slope and intercept if the polynomial is a line, else None."""
        if any(exponent > 1 and coefficient for exponent, coefficient in self.terms):
            return None
        return tuple(sum(c for e, c in self.terms if e == power) for power in (1, 0))  # type: ignore[return-value]

    def apply(self, raw: Values) -> Calibrated:
        """Return n values; NaN or infinity if a power overflows."""
        x = raw.astype(np.float64)
        line = self.line
        with np.errstate(all="ignore"):
            if line is not None:  # most calibrators are lines: in place, and without a power
                slope, intercept = line
                if slope != 1.0:
                    x *= slope
                if intercept != 0.0:
                    x += intercept
                return x
            values = np.zeros(len(x))
            for exponent, coefficient in self.terms:
                values += coefficient * x**exponent
        return values


@dataclass(frozen=True, slots=True)
class Spline:
    """Points of raw and calibrated values; at least two, raw values ascending.

    orders: of the stretch from each point to the next: 0 (the value of its first point) or 1 (a straight line).
    """

    raw: tuple[float, ...]
    calibrated: tuple[float, ...]
    orders: tuple[int, ...]
    extrapolate: bool

    def apply(self, raw: Values) -> Calibrated:
        """Return n values; NaN outside the points unless `extrapolate`."""
        x = raw.astype(np.float64)
        xs, ys = np.array(self.raw), np.array(self.calibrated)
        with np.errstate(all="ignore"):
            slopes = np.where(np.array(self.orders) == 0, 0.0, np.diff(ys) / np.diff(xs))
            stretch = np.clip(np.searchsorted(xs, x, "right") - 1, 0, len(slopes) - 1)
            values = ys[stretch] + slopes[stretch] * (x - xs[stretch])
            # A flat stretch ends before its last point, which has its own value.
            is_last = x == xs[-1] if not self.extrapolate else x >= xs[-1]
            if self.orders[-1] == 0:
                values[is_last] = ys[-1]
            if not self.extrapolate:
                values[(x < xs[0]) | (x > xs[-1])] = np.nan
        # searchsorted places NaN behind the last point, where a flat stretch would give it a value.
        values[np.isnan(x)] = np.nan
        return np.asarray(values, np.float64)
