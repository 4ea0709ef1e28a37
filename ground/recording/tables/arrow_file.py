"""Writes a table as a Parquet or an Arrow (IPC) file with pyarrow, which the extra `recording` installs.

    number          its own type
    enumeration     the number, and its label in a column NAME.label: text, dictionary-encoded, null for a number
                    without label
    time            timestamp[ns, UTC]; null for instants outside 1677..2262
    array           list
    text, binary    string and binary; octets that are not UTF-8 as U+FFFD
    no value        null

The unit of a parameter is in its field's metadata. Each call of `append` makes a row group or a record batch.
"""

# Columns have Arrow's layout already (`ground.recording.table`), so arrays are handed over without copying numbers.
# Offsets become int32, Arrow's usual kind, which bounds a piece at 2 GiB; TableFolder writes pieces of some 8 MiB.
#
# pyarrow is imported inside the functions: it takes long to load, and most runs of the command do not need it.

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BufferedWriter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flight.core.errors import SetupError
from ground.recording.table import Column, ColumnKind
from ground.recording.tables.column_values import NO_INSTANT, has_value, instants_of, native, rows_together, texts_of
from ground.recording.tables.file_names import DistinctNames


class ArrowFile:
    """A TableFile of Parquet or Arrow. The file stays open from the first rows on: both formats end with a footer."""

    def __init__(self, path: Path, *, parquet: bool) -> None:
        """Prepare to write `path`. Raises SetupError if pyarrow is not installed."""
        require_arrow()
        self._path = path
        self._parquet = parquet
        self._sink: BufferedWriter | None = None
        self._writer: Any = None

    def append(self, columns: Mapping[str, Column]) -> None:
        """Write more rows; the first call, which may have none, sets the schema. Raises OSError."""
        batch = record_batch(columns)
        if self._writer is None:
            self._writer = self._opened(batch.schema)
        if batch.num_rows:
            self._writer.write_batch(batch)

    def _opened(self, schema: Any) -> Any:
        """Open the file and return pyarrow's writer for it."""
        # Opened by Python, whose OSError says why in the system's words, such as "No space left on device".
        self._sink = self._path.open("wb")
        if self._parquet:
            from pyarrow.parquet import ParquetWriter

            return ParquetWriter(self._sink, schema)
        from pyarrow.ipc import new_file

        return new_file(self._sink, schema)

    def finish(self) -> None:
        """Write the footer and close the file. Raises OSError."""
        if self._writer is not None:
            # Forgotten first: if close() fails, the next call must not try to write the footer again.
            writer, self._writer = self._writer, None
            writer.close()
        if self._sink is not None:
            self._sink.close()

    def close(self) -> None:
        """Let go of the file. Errors are ignored: if it is not whole, the caller removes it and has reported why."""
        with suppress(OSError):
            self.finish()
        with suppress(OSError):
            if self._sink is not None:
                self._sink.close()


def require_arrow() -> None:
    """Raise SetupError, which says what to install, if pyarrow is not there."""
    try:
        import pyarrow as pa  # noqa: F401
    except ModuleNotFoundError as missing:
        raise SetupError(
            f"Parquet and Arrow files need {missing.name}, which is not installed; "
            "run: pip install 'orbitnode[recording]'"
        ) from None


def record_batch(columns: Mapping[str, Column]) -> Any:
    """Return the columns as a pyarrow.RecordBatch. Numbers are not copied."""
    import pyarrow as pa

    names = DistinctNames()
    own = [names.give(name) for name in columns]
    fields, arrays = [], []
    for name, column in zip(own, columns.values(), strict=True):
        metadata = {"unit": column.unit} if column.unit else None
        for suffix, array in _arrays(column):
            fields.append(pa.field(names.give(name + suffix) if suffix else name, array.type, metadata=metadata))
            arrays.append(array)
            metadata = None  # the unit belongs to the value, not to its label
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _arrays(column: Column) -> Iterator[tuple[str, Any]]:
    """Yield the arrays that a column becomes, each with the suffix of its name."""
    import pyarrow as pa

    if column.kind is not ColumnKind.NUMBER:
        yield "", _octets(column)
        return
    part = column if column.starts is None else rows_together(column)
    absent = None if part.present is None else ~has_value(part)
    values = native(part.values)
    if part.time is not None:
        instants = instants_of(values, part.time)
        flat = _flat(instants, instants == NO_INSTANT, part, absent, pa.timestamp("ns", tz="UTC"))
    else:
        flat = _flat(values, None, part, absent, None)
    yield "", _in_rows(flat, part, absent)
    if part.labels:
        yield ".label", _in_rows(_labels(part, values, absent), part, absent)


def _flat(
    values: NDArray[np.generic], without: NDArray[np.bool_] | None, part: Column, absent: NDArray[np.bool_] | None,
    kind: Any,
) -> Any:  # fmt: skip
    """Make one array of all values; without: which have none by themselves. Rows of lists are masked later."""
    import pyarrow as pa

    if part.starts is None and absent is not None:
        without = absent if without is None else without | absent
    return pa.array(values, type=kind, mask=without)


def _in_rows(flat: Any, part: Column, absent: NDArray[np.bool_] | None) -> Any:
    """Group the values of an array column into lists, one per row; any other column stays as it is."""
    import pyarrow as pa

    if part.starts is None:
        return flat
    mask = None if absent is None else pa.array(absent)
    return pa.ListArray.from_arrays(pa.array(part.starts.astype(np.int32)), flat, mask=mask)


def _labels(part: Column, values: NDArray[np.generic], absent: NDArray[np.bool_] | None) -> Any:
    """Make the labels of an enumeration, dictionary-encoded: each text is stored once."""
    import pyarrow as pa

    texts = sorted(set(part.labels.values()))
    place = {text: index for index, text in enumerate(texts)}
    distinct, which = np.unique(values, return_inverse=True)
    codes = np.array([place.get(part.labels.get(number, ""), -1) for number in distinct.tolist()], np.int32)
    # "" is a label like any other, so a missing one is told by the number, not by the text.
    known = np.array([number in part.labels for number in distinct.tolist()], bool)
    without = ~known[which] if len(distinct) else np.zeros(0, bool)
    if part.starts is None and absent is not None:
        without = without | absent
    indices = pa.array(codes[which] if len(distinct) else codes, mask=without)
    encoded = pa.DictionaryArray.from_arrays(indices, pa.array(texts, pa.string()))
    # In lists as plain text: readers of Parquet do not restore dictionaries inside lists.
    return encoded if part.starts is None else encoded.cast(pa.string())


def _octets(column: Column) -> Any:
    """Make an array of texts or of binary data straight from the octets of the column."""
    import pyarrow as pa

    part = rows_together(column)
    assert part.starts is not None
    is_text = part.kind is ColumnKind.TEXT
    kind = pa.string() if is_text else pa.binary()
    valid = None
    if part.present is not None:
        valid = pa.py_buffer(np.packbits(part.present, bitorder="little").tobytes())
    octets = pa.py_buffer(np.ascontiguousarray(part.values).tobytes())
    array = pa.Array.from_buffers(
        kind, len(part), [valid, pa.py_buffer(part.starts.astype(np.int32).tobytes()), octets]
    )
    if is_text:
        # Texts go in as octets; only if they are not UTF-8 after all, each is decoded with replacements.
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:
            return pa.array(texts_of(part), kind, mask=None if part.present is None else ~part.present)
    return array
