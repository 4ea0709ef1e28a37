"""A column as one NumPy array with an entry per packet, as a notebook wants it.

    number          an array of its own type; a masked array if a packet has no value
    time            datetime64[ns], UTC; NaT for no value, and for what it cannot hold
    text, binary    an array of str, of bytes; None for no value
    array           an array of arrays, one per packet; None for no value

Labels of enumerations are in `Column.labels`; the array has the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ground.recording.table import Column, ColumnKind
from ground.recording.tables.cells import NO_INSTANT, instants_of, native, pieces_of, rows_together, texts_of

Array = NDArray[Any]


def array_of(column: Column) -> Array:
    """n entries, see above."""
    if column.kind is ColumnKind.TEXT:
        return _objects(texts_of(column), column)
    if column.kind is ColumnKind.BINARY:
        return _objects(pieces_of(column), column)
    if column.starts is None:
        return _numbers(column, column.present)
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
    made = np.empty(len(rows), object)
    made[:] = [None] * len(rows)  # whatever a row is, it is one entry
    for index, row in enumerate(rows):
        if column.present is None or column.present[index]:
            made[index] = row
    return made
