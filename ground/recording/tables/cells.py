"""Values of a column as other forms than their own: instants, rows put together, labels, text.

An instant is whole nanoseconds of POSIX time in an int64, as NumPy and Arrow have it: 1677 to 2262. A number that tells
a time outside that range has no instant, and is absent from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from flight.core.nanoseconds import NS
from ground.recording.table import Column, ColumnKind, TimeScale

NO_INSTANT = np.iinfo(np.int64).min  # NumPy's "not a time"

_FURTHEST = 2.0**63 - 2.0**12  # the last instant but a few, where a float's own rounding cannot go beyond


def instants_of(values: NDArray[np.generic], scale: TimeScale) -> NDArray[np.int64]:
    """Numbers that tell a time as ns of POSIX time, rounded down; NO_INSTANT if they are outside what int64 holds.

    Whole numbers are converted without a rounding error, whatever their size.
    """
    tick_ns = scale.tick_s * NS
    with np.errstate(over="ignore"):
        about = values.astype(np.float64) * float(tick_ns) + float(scale.zero_posix_ns)
    inside = np.isfinite(about) & (np.abs(about) < _FURTHEST)
    out = np.full(len(values), NO_INSTANT, np.int64)
    if values.dtype.kind == "f":
        out[inside] = np.floor(about[inside]).astype(np.int64)
    else:
        out[inside] = _whole_instants(values[inside], tick_ns, scale.zero_posix_ns)
    return out


def _whole_instants(ticks: NDArray[np.generic], tick_ns: Fraction, zero_posix_ns: int) -> NDArray[np.int64]:
    """Ticks whose instants are known to fit into int64."""
    up, down = tick_ns.numerator, tick_ns.denominator
    if up * down >= 1 << 62 or abs(zero_posix_ns) >= 1 << 63:
        return np.array([tick * up // down + zero_posix_ns for tick in ticks.tolist()], np.int64)
    # Whole parts and rest apart, so that no product outgrows 64 bits; a sum that wraps on its way wraps back.
    wide = ticks.astype(np.uint64 if ticks.dtype.kind == "u" else np.int64)
    whole, rest = (one.astype(np.int64) for one in np.divmod(wide, wide.dtype.type(down)))
    return whole * np.int64(up) + rest * np.int64(up) // np.int64(down) + np.int64(zero_posix_ns)


def has_value(column: Column) -> NDArray[np.bool_]:
    """n times whether the row has a value."""
    return np.ones(len(column), bool) if column.present is None else column.present


def rows_together(column: Column) -> Column:
    """A column of varying length whose `starts` begin with 0 and whose values hold nothing else."""
    assert column.starts is not None
    first, end = int(column.starts[0]), int(column.starts[-1])
    return replace(column, values=column.values[first:end], starts=column.starts - first)


def joined(parts: Sequence[Column]) -> Column:
    """The rows of several batches as one column; it holds no part of theirs."""
    values = np.concatenate([one.values for one in map(_trimmed, parts)])
    starts = None
    if parts[0].starts is not None:
        ends = np.cumsum(np.concatenate([np.diff(one.starts) for one in parts if one.starts is not None]))
        starts = np.concatenate([np.zeros(1, np.int64), ends.astype(np.int64)])
    present = None
    if any(one.present is not None for one in parts):
        present = np.concatenate([has_value(one) for one in parts])
    return replace(parts[0], values=values, starts=starts, present=present)


def copied(column: Column) -> Column:
    """The column with values of its own, so that the batch that they lie in need not be kept."""
    return joined([column])


def _trimmed(column: Column) -> Column:
    return column if column.starts is None else rows_together(column)


def octets_of(column: Column) -> int:
    """How much memory its rows take."""
    arrays = (column.values, column.starts, column.present)
    return sum(0 if one is None else one.nbytes for one in arrays)


def texts_of(column: Column) -> list[str]:
    """The rows of a TEXT column; octets that are not UTF-8 become U+FFFD."""
    assert column.kind is ColumnKind.TEXT
    return [row.decode(errors="replace") for row in pieces_of(column)]


def pieces_of(column: Column) -> list[bytes]:
    """The rows of a TEXT or BINARY column as octets."""
    assert column.starts is not None
    octets = np.ascontiguousarray(column.values).tobytes()
    starts = column.starts.tolist()
    return [octets[a:b] for a, b in pairwise(starts)]


def native(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """The numbers in this machine's byte order, one after the other in memory."""
    return np.ascontiguousarray(values, values.dtype.newbyteorder("="))
