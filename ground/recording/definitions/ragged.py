"""Gathers, selects, joins and places columns of varying length, without touching single rows.

A ragged array is its values one after the other, and `starts`, n + 1 indices into them (see `ground.recording.table`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.kernels import gather_octets
from ground.recording.table import Column

Values = NDArray[Any]
Indices = NDArray[np.int64]


def starts_of(lengths: Indices) -> Indices:
    """Return n + 1 indices from n lengths: the start of each row, and the end of the last one."""
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def spread(first: Indices, lengths: Indices, starts: Indices) -> Indices:
    """Return the indices first[i], first[i] + 1, ..., `lengths[i]` of them for each row, one row behind the other."""
    # Each row's offset repeated, plus a running count over all rows: no loop.
    index = np.repeat(first - starts[:-1], lengths)
    index += np.arange(starts[-1], dtype=np.int64)
    return index


def stretches(starts: Indices, most: int) -> Iterator[slice]:
    """Yield slices of rows in order that have `most` values at the most; a single row may have more."""
    row, rows = 0, len(starts) - 1
    while row < rows:
        end = max(row + 1, int(np.searchsorted(starts, starts[row] + most, "right")) - 1)
        yield slice(row, end)
        row = end


def gather(values: Values, first: Indices, lengths: Indices) -> tuple[Values, Indices]:
    """Return the rows values[first[i] : first[i] + lengths[i]] as a ragged array; they must be inside `values`."""
    # The kernel copies octets, so values of any type are moved as such.
    size = values.dtype.itemsize
    octets, starts = gather_bits(values.view(np.uint8), first * (8 * size), lengths * size)
    return octets.view(values.dtype), starts // size


def gather_bits(octets: NDArray[np.uint8], bit: Indices, lengths: Indices) -> tuple[Values, Indices]:
    """Return `lengths[i]` octets from bit `bit[i]` on as a ragged array; they must be inside `octets`."""
    starts = starts_of(lengths)
    gathered = gather_octets(octets.data, bit.view(np.uint64), lengths.view(np.uint64), int(starts[-1]))
    return np.frombuffer(gathered, np.uint8), starts


def take(column: Column, index: NDArray[np.intp] | Indices) -> Column:
    """Return the column of these rows only, in this order."""
    present = None if column.present is None else column.present[index]
    if column.starts is None:
        return replace(column, values=column.values[index], present=present)
    first = column.starts[index]
    values, starts = gather(column.values, first, column.starts[index + 1] - first)
    return replace(column, values=values, starts=starts, present=present)


def joined(parts: Sequence[Column]) -> Column:
    """Join the columns of one parameter, one behind the other; there must be at least one."""
    if len(parts) == 1:
        return parts[0]
    present = None
    if any(part.present is not None for part in parts):
        present = np.concatenate([np.ones(len(part), bool) if part.present is None else part.present for part in parts])
    values = np.concatenate([part.values for part in parts])
    if parts[0].starts is None:
        return replace(parts[0], values=values, present=present)
    lengths = np.concatenate([np.diff(part.starts) for part in parts if part.starts is not None])
    return replace(parts[0], values=values, starts=starts_of(lengths), present=present)


def placed(column: Column, index: NDArray[np.intp], rows: int) -> Column:
    """Return a column of `rows` rows with the values of `column` in the rows `index`, and none in the others."""
    present = np.zeros(rows, bool)
    present[index] = True if column.present is None else column.present
    if column.starts is None:
        values = np.zeros(rows, column.values.dtype)
        values[index] = column.values
        return replace(column, values=values, present=present)
    lengths = np.zeros(rows, np.int64)
    lengths[index] = np.diff(column.starts)  # `index` ascends, so the values are in order already
    return replace(column, starts=starts_of(lengths), present=present)
