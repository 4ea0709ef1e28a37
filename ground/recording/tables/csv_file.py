"""Writes a table as CSV (RFC 4180, with line feeds): for people, spreadsheets and tools that read nothing else.

    number          as Python writes it; a float32 with as many digits as tell it apart; nan, inf
    enumeration     the number, and its label in a column NAME.label behind it; empty for a number without label
    time            UTC, 2026-03-20T09:35:00.000000Z; with nanoseconds if a tick is shorter than a microsecond
    array           its numbers with a space between, its labels with a "|"
    text            as it is, in quotes if need be; octets that are not UTF-8 as U+FFFD
    binary          hexadecimal
    no value        an empty cell

Text that a spreadsheet would take for a formula has a quote before it: names and texts come from other people's files,
and a formula may run commands.
"""

# Speed: a column is turned into text as a whole, and rows are assembled from the columns' texts at the end. That is a
# Python loop of a few calls per row, and none per value. Small integers are looked up in a table of all their texts.

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flight.text.plain_text import plain
from ground.recording.table import Column, ColumnKind
from ground.recording.tables.column_values import NO_INSTANT, instants_of, native, pieces_of, rows_together, texts_of
from ground.recording.tables.file_names import DistinctNames
from ground.spreadsheet import guarded

_ROWS = 1 << 14  # turned into text at a time, which takes some ten times the memory of the numbers
_QUOTED = (",", '"', "\n", "\r")
_SHORT_TICK_S = Fraction(1, 1_000_000)  # times with shorter ticks are shown with nanoseconds


class CsvFile:
    """A TableFile of CSV. No file is open between two calls, so any number of tables may grow at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._has_head = False

    def append(self, columns: Mapping[str, Column]) -> None:
        """Append rows; the first call, which may have none, writes the head. Raises OSError."""
        with self._path.open("a", encoding="utf-8", newline="") as file:
            if not self._has_head:
                file.write(",".join(_quoted(map(plain, _head(columns)))) + "\n")
                self._has_head = True
            n = len(next(iter(columns.values()))) if columns else 0
            for start in range(0, n, _ROWS):
                file.writelines(_lines([_rows(column, start, start + _ROWS) for column in columns.values()]))

    def finish(self) -> None:
        """Do nothing: every row is in the file already."""

    def close(self) -> None:
        """Do nothing: no file is open."""


def _head(columns: Mapping[str, Column]) -> Iterator[str]:
    """Yield the names of all columns. Parameters keep theirs; a label's name gives way if it is taken."""
    names = DistinctNames()
    own = [names.give(name) for name in columns]
    for name, column in zip(own, columns.values(), strict=True):
        yield name
        if column.labels:
            yield names.give(f"{name}.label")


def _rows(column: Column, start: int, end: int) -> Column:
    """Return the rows start..end of a column."""
    present = None if column.present is None else column.present[start:end]
    starts = None if column.starts is None else column.starts[start : end + 1]
    values = column.values[start:end] if starts is None else column.values
    part = Column(values, starts, present, column.kind, column.labels, column.time, column.unit)
    return part if starts is None else rows_together(part)


def _lines(columns: Sequence[Column]) -> Iterator[str]:
    cells = [cells for column in columns for cells in _cells_of(column)]
    if len(cells) == 1:  # a row of one empty cell must not be an empty line, which readers skip
        return ((cell or '""') + "\n" for cell in cells[0])
    return (",".join(row) + "\n" for row in zip(*cells, strict=True))


def _cells_of(column: Column) -> Iterator[Sequence[str]]:
    """Yield the cells of a column, and those of its labels if it has any."""
    if column.kind is ColumnKind.TEXT:
        yield _present_only(column, _quoted(texts_of(column)))
    elif column.kind is ColumnKind.BINARY:
        yield _present_only(column, (piece.hex() for piece in pieces_of(column)))
    else:
        yield _present_only(column, _together(column, number_texts(column)))
        if column.labels:
            labels = {number: guarded(plain(label)) for number, label in column.labels.items()}
            shown = [labels.get(number, "") for number in column.values.tolist()]
            yield _present_only(column, _escaped(_together(column, shown, "|")))


def number_texts(column: Column) -> Sequence[str]:
    """Return the numbers of a column as text, one by one, and times as UTC."""
    if column.time is not None:
        return _utc_texts(column)
    values = native(column.values)
    if values.dtype.kind in "iu" and values.dtype.itemsize <= 2:
        least, texts = _all_texts(values.dtype.str)
        return list(texts[values.astype(np.int64) - least])
    if values.dtype.kind == "f" and values.dtype.itemsize < 8:
        # NumPy writes the shortest digits that tell a float32 apart; repr() of the same value as float64 has 17.
        return list(values.astype("U32").tolist())
    if values.dtype.kind == "b":
        return ["1" if value else "0" for value in values.tolist()]
    return [repr(value) for value in values.tolist()]


@cache
def _all_texts(kind: str) -> tuple[int, NDArray[np.object_]]:
    """Return the least integer of a type of at most 16 bits, and the texts of all of them in order."""
    least, most = int(np.iinfo(kind).min), int(np.iinfo(kind).max)
    return least, np.array([str(number) for number in range(least, most + 1)], dtype=object)


def _utc_texts(column: Column) -> Sequence[str]:
    assert column.time is not None
    instants = instants_of(native(column.values), column.time)
    unit = "ns" if column.time.tick_s < _SHORT_TICK_S else "us"
    texts = np.datetime_as_string(instants.view("datetime64[ns]"), unit=unit).tolist()  # type: ignore[call-overload]
    return ["" if none else f"{text}Z" for text, none in zip(texts, (instants == NO_INSTANT).tolist(), strict=True)]


def _together(column: Column, texts: Sequence[str], between: str = " ") -> Sequence[str]:
    """Join the texts of each row's numbers into one cell."""
    if column.starts is None:
        return texts
    starts = column.starts.tolist()
    return [between.join(texts[a:b]) for a, b in pairwise(starts)]


def _present_only(column: Column, cells: Iterable[str]) -> Sequence[str]:
    """Return the cells with an empty one for each row without a value."""
    if column.present is None:
        return list(cells)
    present: NDArray[np.bool_] = column.present
    return [cell if there else "" for cell, there in zip(cells, present.tolist(), strict=True)]


def _quoted(texts: Iterable[str]) -> list[str]:
    return _escaped([guarded(text) for text in texts])


def _escaped(cells: Sequence[str]) -> list[str]:
    return ['"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in _QUOTED) else cell for cell in cells]
