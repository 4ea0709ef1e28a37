"""Converts the values of a column: to instants, to rows without gaps, to text; joins columns of several batches.

An instant is a whole number of nanoseconds of POSIX time in an int64, as NumPy and Arrow have it: 1677 to 2262. A
number that tells a time outside that range has no instant, and its row has no value from then on.
"""

# How instants stay exact. A first estimate in float64 tells which values fit into int64 at all; the rest becomes
# NO_INSTANT. Whole numbers are then converted in integers: value = tick * up // down + zero, with tick_ns = up / down
# in lowest terms. The product may outgrow 64 bits, so the tick is split into whole multiples of `down` and a remainder;
# their products stay small enough if up * down < 2**62. For scales beyond that Python's integers do the work, slowly.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from flight.core.nanoseconds import NS
from ground.recording.table import Column, ColumnKind, TimeScale
from ground.recording.tai_instants import SPREAD_NS, posix_from_tai

NO_INSTANT = np.iinfo(np.int64).min  # NumPy's "not a time"

_FURTHEST = 2.0**63 - 2.0**12  # just below the last instant: floats near 2**63 are 1024 apart, so rounding stays below


def instants_of(values: NDArray[np.generic], scale: TimeScale) -> NDArray[np.int64]:
    """Convert numbers that tell a time to ns of POSIX time, rounded down; NO_INSTANT for what int64 cannot hold.

    Whole numbers are converted without a rounding error, whatever their size.
    """
    tick_ns = scale.tick_s * NS
    with np.errstate(over="ignore"):
        about = values.astype(np.float64) * float(tick_ns) + float(scale.zero_ns)
    inside = np.isfinite(about) & (np.abs(about) < _FURTHEST - (SPREAD_NS if scale.is_tai else 0))
    out = np.full(len(values), NO_INSTANT, np.int64)
    if values.dtype.kind == "f":
        out[inside] = np.floor(about[inside]).astype(np.int64)
    else:
        out[inside] = _whole_instants(values[inside], tick_ns, scale.zero_ns)
    if scale.is_tai:
        out[inside] = posix_from_tai(out[inside])
    return out


def _whole_instants(ticks: NDArray[np.generic], tick_ns: Fraction, zero_ns: int) -> NDArray[np.int64]:
    """Convert whole ticks whose instants are known to fit into int64."""
    up, down = tick_ns.numerator, tick_ns.denominator
    if up * down >= 1 << 62 or abs(zero_ns) >= 1 << 63:
        return np.array([tick * up // down + zero_ns for tick in ticks.tolist()], np.int64)
    # A sum that wraps around on its way wraps back: the result is known to fit.
    wide = ticks.astype(np.uint64 if ticks.dtype.kind == "u" else np.int64)
    whole, remainder = (part.astype(np.int64) for part in np.divmod(wide, wide.dtype.type(down)))
    return whole * np.int64(up) + remainder * np.int64(up) // np.int64(down) + np.int64(zero_ns)


def has_value(column: Column) -> NDArray[np.bool_]:
    """Return n booleans, whether each row has a value."""
    return np.ones(len(column), bool) if column.present is None else column.present


def rows_together(column: Column) -> Column:
    """Return the same rows with `starts` from 0 on and without values that no row uses."""
    assert column.starts is not None
    first, end = int(column.starts[0]), int(column.starts[-1])
    return replace(column, values=column.values[first:end], starts=column.starts - first)


def joined(parts: Sequence[Column]) -> Column:
    """Return the rows of several batches as one column, which shares no memory with theirs."""
    values = np.concatenate([part.values for part in map(_trimmed, parts)])
    starts = None
    if parts[0].starts is not None:
        ends = np.cumsum(np.concatenate([np.diff(part.starts) for part in parts if part.starts is not None]))
        starts = np.concatenate([np.zeros(1, np.int64), ends.astype(np.int64)])
    present = None
    if any(part.present is not None for part in parts):
        present = np.concatenate([has_value(part) for part in parts])
    return replace(parts[0], values=values, starts=starts, present=present)


def copied(column: Column) -> Column:
    """Return the column with values of its own, so that the batch that they lie in can be freed."""
    return joined([column])


def _trimmed(column: Column) -> Column:
    return column if column.starts is None else rows_together(column)


def octets_of(column: Column) -> int:
    """Return the memory that the rows of a column take, octets."""
    arrays = (column.values, column.starts, column.present)
    return sum(0 if array is None else array.nbytes for array in arrays)


def texts_of(column: Column) -> list[str]:
    """Return the rows of a TEXT column; octets that are not UTF-8 become U+FFFD."""
    assert column.kind is ColumnKind.TEXT
    return [row.decode(errors="replace") for row in pieces_of(column)]


def pieces_of(column: Column) -> list[bytes]:
    """Return the rows of a TEXT or BINARY column as octets."""
    assert column.starts is not None
    octets = np.ascontiguousarray(column.values).tobytes()
    starts = column.starts.tolist()
    return [octets[a:b] for a, b in pairwise(starts)]


def native(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the numbers in this machine's byte order, one after the other in memory."""
    return np.ascontiguousarray(values, values.dtype.newbyteorder("="))
