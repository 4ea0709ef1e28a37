"""Writes a table as .npz, NumPy's own archive, which numpy.load reads without any other package.

number          an array of its own type
enumeration     the number; NAME.label_numbers and NAME.labels say which label each number has
time            datetime64[ns], UTC; NaT for instants outside 1677..2262
array, text,    all rows one after the other in NAME, numbers or octets (uint8); NAME.starts says where each row
and binary      begins: row i is NAME[NAME.starts[i] : NAME.starts[i + 1]]
no value        NAME.present is false there, and what NAME holds means nothing
"""

# An archive holds one array after the other, each with its length in front, but rows come a batch at a time with a few
# values for each array. So every array grows in a file of its own beside the archive, and `finish` puts the archive
# together from them. Memory does not grow with the number of rows; on disk, each array is deleted as soon as it is in
# the archive, so at most one array takes its room twice.
#
# `NAME.present` and `NAME.starts` appear only if they say something. A table whose rows all had values may get one
# without a value a million rows later: then `.present` is written with True for all rows so far.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ground.recording.table import Column
from ground.recording.tables.column_values import has_value, instants_of, native, rows_together
from ground.recording.tables.file_names import DistinctNames

_COPIED_OCTETS = 1 << 20  # moved into the archive at a time


@dataclass(slots=True)
class _Grown:
    """One array that grows in a file of its own."""

    name: str
    path: Path
    dtype: np.dtype[np.generic]
    rows: int = 0

    def append(self, values: NDArray[np.generic]) -> None:
        """Write more values to the end of the file. Raises OSError."""
        with self.path.open("ab") as file:
            file.write(values.astype(self.dtype, copy=False).tobytes())
        self.rows += len(values)


class NpzFile:
    """A TableFile of .npz. Beside `path` lie files whose names begin with its own; between two calls none is open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._grown: dict[tuple[str, str], _Grown] = {}
        self._names = DistinctNames()
        self._labels: dict[str, Mapping[int, str]] = {}

    def append(self, columns: Mapping[str, Column]) -> None:
        """Append rows to the arrays' files. Raises OSError."""
        if not self._grown:
            # All parameters first, so that they keep their names: a name derived from one (NAME.starts) gives way.
            for name in columns:
                self._grow(name, "", np.dtype(np.uint8))
        for name, column in columns.items():
            self._append(name, column)

    def _append(self, name: str, column: Column) -> None:
        part = column if column.starts is None else rows_together(column)
        values = native(part.values)
        if part.time is not None:
            values = instants_of(values, part.time).view("datetime64[ns]")
        self._array(name, "", values.dtype).append(values)
        if part.starts is not None:
            starts = self._array(name, ".starts", np.dtype(np.int64))
            before = self._grown[name, ""].rows - len(values)
            if not starts.rows:
                starts.append(np.zeros(1, np.int64))
            starts.append(part.starts[1:] + before)
        self._append_present(name, part)
        self._labels[name] = part.labels

    def _append_present(self, name: str, part: Column) -> None:
        """Append whether rows have a value, from the first batch on in which one has none."""
        known = self._grown.get((name, ".present"))
        if known is None:
            if part.present is None or bool(part.present.all()):
                return
            before = self._grown[name, ""].rows - len(part.values)
            if part.starts is not None:
                before = self._grown[name, ".starts"].rows - 1 - len(part)
            known = self._array(name, ".present", np.dtype(np.bool_))
            known.append(np.ones(before, bool))
        known.append(has_value(part))

    def _array(self, name: str, suffix: str, dtype: np.dtype[np.generic]) -> _Grown:
        """Return the array of a parameter with this suffix; its type is that of its first values."""
        grown = self._grown.get((name, suffix)) or self._grow(name, suffix, dtype)
        if not grown.rows:
            grown.dtype = dtype
        return grown

    def _grow(self, name: str, suffix: str, dtype: np.dtype[np.generic]) -> _Grown:
        path = self._path.with_name(f"{self._path.name}.{len(self._grown)}")
        grown = self._grown[name, suffix] = _Grown(self._names.give(name + suffix), path, dtype)
        return grown

    def finish(self) -> None:
        """Put the archive together from the arrays' files, which are deleted. Raises OSError."""
        with ZipFile(self._path, "w") as archive:
            for grown in self._grown.values():
                _move_into(archive, grown)
            for name, labels in self._labels.items():
                if labels:
                    numbers = np.array(list(labels))
                    _write_array(archive, self._names.give(f"{name}.label_numbers"), numbers)
                    _write_array(archive, self._names.give(f"{name}.labels"), np.array(list(labels.values())))

    def close(self) -> None:
        """Do nothing: no file is open."""


def _member(name: str) -> ZipInfo:
    # A NUL ends the name of a member; ZipInfo's own date is fixed, so equal tables give equal files.
    return ZipInfo(f"{name.replace(chr(0), '_')}.npy")


def _move_into(archive: ZipFile, grown: _Grown) -> None:
    """Move an array into the archive; its own file is deleted right after."""
    with archive.open(_member(grown.name), "w", force_zip64=True) as out:
        described = {"descr": npy.dtype_to_descr(grown.dtype), "fortran_order": False, "shape": (grown.rows,)}
        # The header is NumPy's, the data are copied as they are: np.save would want the whole array in memory.
        npy.write_array_header_1_0(out, described)
        if grown.path.exists():
            with grown.path.open("rb") as file:
                while octets := file.read(_COPIED_OCTETS):
                    out.write(octets)
    grown.path.unlink(missing_ok=True)


def _write_array(archive: ZipFile, name: str, array: NDArray[np.generic]) -> None:
    with archive.open(_member(name), "w") as out:
        npy.write_array(out, array, allow_pickle=False)
