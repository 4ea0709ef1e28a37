"""A table as Parquet or as an Arrow file (IPC), by pyarrow, which is an extra of its own.

    number          its own type
    enumeration     the number, and its label in a column NAME.label: text, dictionary-encoded, null for a number
                    without label
    time            timestamp[ns, UTC], null for what it cannot hold
    array           list
    text, binary    string, and binary; octets that are not UTF-8 as U+FFFD
    no value        null

The unit of a parameter is in its field's metadata. Each call is a row group of the Parquet file, or a record batch.
"""

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
from ground.recording.tables.cells import NO_INSTANT, has_value, instants_of, native, rows_together, texts_of
from ground.recording.tables.file_names import DistinctNames


class ArrowFile:
    """See ground.recording.tables.table_file. The file is open from the first rows on."""

    def __init__(self, path: Path, *, parquet: bool) -> None:
        """Raises SetupError if pyarrow is not installed."""
        require_arrow()
        self._path = path
        self._parquet = parquet
        self._sink: BufferedWriter | None = None
        self._writer: Any = None

    def append(self, columns: Mapping[str, Column]) -> None:
        batch = record_batch(columns)
        if self._writer is None:
            self._writer = self._opened(batch.schema)
        if batch.num_rows:
            self._writer.write_batch(batch)

    def _opened(self, schema: Any) -> Any:
        # A file of Python's own, whose refusals say the system's words.
        self._sink = self._path.open("wb")
        if self._parquet:
            from pyarrow.parquet import ParquetWriter

            return ParquetWriter(self._sink, schema)
        from pyarrow.ipc import new_file

        return new_file(self._sink, schema)

    def finish(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()
        if self._sink is not None:
            self._sink.close()

    def close(self) -> None:
        """What is not whole yet is removed by others, so no refusal matters here."""
        with suppress(OSError):
            self.finish()
        with suppress(OSError):
            if self._sink is not None:
                self._sink.close()


def require_arrow() -> None:
    """Raises SetupError, which says what to install, if pyarrow is not there."""
    try:
        import pyarrow as pa  # noqa: F401
    except ModuleNotFoundError as missing:
        raise SetupError(
            f"{missing.name} is not installed, which writes Parquet and Arrow files; "
            "run: pip install 'orbitnode[recording]'"
        ) from None


def record_batch(columns: Mapping[str, Column]) -> Any:
    """The columns as a pyarrow.RecordBatch. Numbers are not copied."""
    import pyarrow as pa

    names = DistinctNames()
    own = [names.give(name) for name in columns]
    fields, arrays = [], []
    for name, column in zip(own, columns.values(), strict=True):
        metadata = {"unit": column.unit} if column.unit else None
        for suffix, array in _arrays(column):
            fields.append(pa.field(names.give(name + suffix) if suffix else name, array.type, metadata=metadata))
            arrays.append(array)
            metadata = None
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _arrays(column: Column) -> Iterator[tuple[str, Any]]:
    """The arrays that a column becomes, each with what follows the column's name."""
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
    import pyarrow as pa

    if part.starts is None and absent is not None:
        without = absent if without is None else without | absent
    return pa.array(values, type=kind, mask=without)


def _in_rows(flat: Any, part: Column, absent: NDArray[np.bool_] | None) -> Any:
    """Values of all rows one after the other as lists, one per row; values of one per row as they are."""
    import pyarrow as pa

    if part.starts is None:
        return flat
    mask = None if absent is None else pa.array(absent)
    return pa.ListArray.from_arrays(pa.array(part.starts.astype(np.int32)), flat, mask=mask)


def _labels(part: Column, values: NDArray[np.generic], absent: NDArray[np.bool_] | None) -> Any:
    import pyarrow as pa

    texts = sorted(set(part.labels.values()))
    place = {text: index for index, text in enumerate(texts)}
    distinct, which = np.unique(values, return_inverse=True)
    codes = np.array([place.get(part.labels.get(number, ""), -1) for number in distinct.tolist()], np.int32)
    # An empty label is one as well, but a number without label has none.
    known = np.array([number in part.labels for number in distinct.tolist()], bool)
    without = ~known[which] if len(distinct) else np.zeros(0, bool)
    if part.starts is None and absent is not None:
        without = without | absent
    indices = pa.array(codes[which] if len(distinct) else codes, mask=without)
    encoded = pa.DictionaryArray.from_arrays(indices, pa.array(texts, pa.string()))
    # In lists as plain text: readers of Parquet do not give dictionaries back inside them.
    return encoded if part.starts is None else encoded.cast(pa.string())


def _octets(column: Column) -> Any:
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
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:
            return pa.array(texts_of(part), kind, mask=None if part.present is None else ~part.present)
    return array
