"""Columns as NumPy arrays with one entry per packet, for interactive use.

    number          an array of its own type; a masked array if any packet has no value
    time            datetime64[ns], UTC; NaT for no value, and for instants outside 1677..2262
    text, binary    an array of str or of bytes; None for no value
    array           an array of arrays, one per packet; None for no value

Labels of enumerations are in `Column.labels`; the array has the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ground.recording.table import Column, ColumnKind
from ground.recording.tables.column_values import NO_INSTANT, instants_of, native, pieces_of, rows_together, texts_of

Array = NDArray[Any]


def array_of(column: Column) -> Array:
    """Return the column as an array of n entries, one per packet, in the form that the module docstring lists."""
    if column.kind is ColumnKind.TEXT:
        return _objects(texts_of(column), column)
    if column.kind is ColumnKind.BINARY:
        return _objects(pieces_of(column), column)
    if column.starts is None:
        return _numbers(column, column.present)
    # Only the values that the rows use: a column may be a window of a larger batch.
    part = rows_together(column)
    assert part.starts is not None
    return _objects(np.split(_numbers(part, None), part.starts[1:-1]) if len(part) else [], column)


def _numbers(column: Column, present: NDArray[np.bool_] | None) -> Array:
    values = native(column.values)
    if column.time is not None:
        instants = instants_of(values, column.time)
        if present is not None:
            instants = np.where(present, instants, NO_INSTANT)
        return instants.view("datetime64[ns]")
    if present is None or present.all():
        return values
    return np.ma.masked_array(values, ~present)


def _objects(rows: Sequence[object], column: Column) -> Array:
    entries = np.empty(len(rows), object)
    # Filled one by one: np.array(rows, object) would turn arrays of equal length into a matrix.
    entries[:] = [None] * len(rows)
    for index, row in enumerate(rows):
        if column.present is None or column.present[index]:
            entries[index] = row
    return entries
