"""A table as CSV (RFC 4180, with line feeds): for people, spreadsheets and whatever reads nothing else.

    number          as Python writes it, a float32 with as many digits as tell it apart; nan, inf
    enumeration     the number, and its label in a column NAME.label behind it, empty for a number without label
    time            UTC, 2026-03-20T09:35:00.000000Z; with nanoseconds if a tick is shorter than a microsecond
    array           its numbers with a space between, its labels with a "|"
    text            as it is, in quotes if need be; octets that are not UTF-8 as U+FFFD
    binary          hexadecimal
    no value        an empty cell

Text that a spreadsheet would take for a formula has a quote before it. A column is turned into text as a whole, and
the rows are put together at the end: a Python loop per row of a few calls, none per value.
"""

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
from ground.recording.tables.cells import NO_INSTANT, instants_of, native, pieces_of, rows_together, texts_of
from ground.recording.tables.file_names import DistinctNames
from ground.spreadsheet import guarded

_ROWS = 1 << 14  # put together at a time: the text of a value takes some ten times its number's room
_QUOTED = (",", '"', "\n", "\r")
_SHORT_TICK_S = Fraction(1, 1_000_000)


class CsvFile:
    """See ground.recording.tables.table_file. Between two calls no file is open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._has_head = False

    def append(self, columns: Mapping[str, Column]) -> None:
        with self._path.open("a", encoding="utf-8", newline="") as file:
            if not self._has_head:
                file.write(",".join(_quoted(map(plain, _head(columns)))) + "\n")
                self._has_head = True
            n = len(next(iter(columns.values()))) if columns else 0
            for start in range(0, n, _ROWS):
                file.writelines(_lines([_rows(one, start, start + _ROWS) for one in columns.values()]))

    def finish(self) -> None:
        """Every row is in the file already."""

    def close(self) -> None:
        """Nothing is open."""


def _head(columns: Mapping[str, Column]) -> Iterator[str]:
    names = DistinctNames()
    own = [names.give(name) for name in columns]
    for name, column in zip(own, columns.values(), strict=True):
        yield name
        if column.labels:
            yield names.give(f"{name}.label")


def _rows(column: Column, start: int, end: int) -> Column:
    present = None if column.present is None else column.present[start:end]
    starts = None if column.starts is None else column.starts[start : end + 1]
    values = column.values[start:end] if starts is None else column.values
    part = Column(values, starts, present, column.kind, column.labels, column.time, column.unit)
    return part if starts is None else rows_together(part)


def _lines(columns: Sequence[Column]) -> Iterator[str]:
    cells = [cells for column in columns for cells in _cells_of(column)]
    if len(cells) == 1:  # an empty line would be none
        return ((cell or '""') + "\n" for cell in cells[0])
    return (",".join(row) + "\n" for row in zip(*cells, strict=True))


def _cells_of(column: Column) -> Iterator[Sequence[str]]:
    """The texts of a column, and those of its labels."""
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
    """The numbers of a column as text, one by one, times as UTC."""
    if column.time is not None:
        return _utc_texts(column)
    values = native(column.values)
    if values.dtype.kind in "iu" and values.dtype.itemsize <= 2:
        least, texts = _all_texts(values.dtype.str)
        return list(texts[values.astype(np.int64) - least])
    if values.dtype.kind == "f" and values.dtype.itemsize < 8:
        return list(values.astype("U32").tolist())
    if values.dtype.kind == "b":
        return ["1" if one else "0" for one in values.tolist()]
    return [repr(one) for one in values.tolist()]


@cache
def _all_texts(kind: str) -> tuple[int, NDArray[np.object_]]:
    """The texts of all integers of a type, of which there are so few that each is written once, and the least one."""
    least, most = int(np.iinfo(kind).min), int(np.iinfo(kind).max)
    return least, np.array([str(one) for one in range(least, most + 1)], dtype=object)


def _utc_texts(column: Column) -> Sequence[str]:
    assert column.time is not None
    instants = instants_of(native(column.values), column.time)
    unit = "ns" if column.time.tick_s < _SHORT_TICK_S else "us"
    texts = np.datetime_as_string(instants.view("datetime64[ns]"), unit=unit).tolist()  # type: ignore[call-overload]
    return ["" if none else f"{text}Z" for text, none in zip(texts, (instants == NO_INSTANT).tolist(), strict=True)]


def _together(column: Column, texts: Sequence[str], between: str = " ") -> Sequence[str]:
    """The texts of a row's numbers as one cell."""
    if column.starts is None:
        return texts
    starts = column.starts.tolist()
    return [between.join(texts[a:b]) for a, b in pairwise(starts)]


def _present_only(column: Column, cells: Iterable[str]) -> Sequence[str]:
    if column.present is None:
        return list(cells)
    present: NDArray[np.bool_] = column.present
    return [cell if there else "" for cell, there in zip(cells, present.tolist(), strict=True)]


def _quoted(texts: Iterable[str]) -> list[str]:
    return _escaped([guarded(text) for text in texts])


def _escaped(cells: Sequence[str]) -> list[str]:
    return ['"' + cell.replace('"', '""') + '"' if any(one in cell for one in _QUOTED) else cell for cell in cells]
