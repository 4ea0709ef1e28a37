"""Writes tables into a folder, one file per table: any number of tables and rows in bounded memory."""

# Memory. Batches are small, and file formats are best with large pieces: so rows are kept until a table has
# PIECE_OCTETS, or until all tables together have KEPT_OCTETS; then the largest are written.
#
# What is on disk, and when (ADR 0034, 0037):
#   while decoding      files grow in a working folder `.orbitnode-tables-N` inside the given one. It lies there, not in
#                       /tmp, so that taking their place is a rename within one file system. No table's file has a name
#                       that begins with a dot.
#   when all are whole  each file is renamed into its place. A table of a former run under the same name is replaced,
#                       other files in the folder are left alone.
#   failure, Ctrl-C     the working folder goes, and the folder too if this run made it: what stood there before is
#                       untouched.
#   kill, power loss    the working folder stays. The next run takes another number, and after _WORKING_MAX of them it
#                       asks for help. A kill between two renames leaves some tables of this run and some of the last.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from flight.core.errors import OrbitnodeError, reason_of
from ground.recording.table import Column, Table
from ground.recording.tables.arrow_file import ArrowFile, require_arrow
from ground.recording.tables.column_values import copied, joined, octets_of
from ground.recording.tables.csv_file import CsvFile
from ground.recording.tables.file_names import DistinctNames, table_file_name
from ground.recording.tables.npz_file import NpzFile
from ground.recording.tables.table_file import TableFile

FORMS: Mapping[str, Callable[[Path], TableFile]] = {
    "npz": NpzFile,
    "csv": CsvFile,
    "parquet": lambda path: ArrowFile(path, parquet=True),
    "arrow": lambda path: ArrowFile(path, parquet=False),
}
ARROW_FORMS = ("parquet", "arrow")

PIECE_OCTETS = 8 << 20  # kept of one table before it is written
KEPT_OCTETS = 32 << 20  # kept of all tables together
_WORKING_MAX = 10_000  # working folders that killed runs left behind


@dataclass(slots=True)
class _Open:
    """A table whose file is not whole yet. path: its final place. working: its place in the working folder."""

    path: Path
    working: Path
    file: TableFile
    kept: list[Mapping[str, Column]] = field(default_factory=list)
    kept_octets: int = 0


@dataclass(frozen=True, slots=True)
class Written:
    """A table and the file that it was written to."""

    table: str
    path: Path


class TableFolder:
    """A folder of tables. Use it as a context: if it ends before `finish`, nothing is left behind.

    Raises OrbitnodeError if the folder or a file cannot be written, SetupError if a package for the format is missing.
    """

    def __init__(self, folder: Path, form: str) -> None:
        """Prepare to write to `folder`; form: one of FORMS."""
        if form in ARROW_FORMS:
            require_arrow()
        self._folder = folder
        self._form = form
        self._working = folder
        self._is_new = False
        self._finished = False
        self._names = DistinctNames()
        self._open: dict[str, _Open] = {}
        self._kept_octets = 0

    def __enter__(self) -> Self:
        try:
            self._is_new = not self._folder.exists()
            self._folder.mkdir(parents=True, exist_ok=True)
            self._working = _new_folder(self._folder)
        except OSError as error:
            raise self._refused(error) from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for table in self._open.values():
            table.file.close()
        if self._working != self._folder:
            _remove(self._working)
        if self._is_new and not self._finished:
            _remove(self._folder)

    def add(self, tables: Sequence[Table]) -> None:
        """Take the rows of a batch, and write the largest tables if too many rows are kept."""
        try:
            for table in tables:
                self._keep(self._opened(table.name), table.columns)
            while self._kept_octets > KEPT_OCTETS:
                self._write(max(self._open.values(), key=lambda table: table.kept_octets))
        except OSError as error:
            raise self._refused(error) from None

    def finish(self) -> list[Written]:
        """Write all rows that are kept, finish every file, and put all of them in their places."""
        try:
            for table in self._open.values():
                self._write(table)
                table.file.finish()
            # Only after the last file is whole: a full disk shows by now.
            for table in self._open.values():
                table.working.replace(table.path)
        except OSError as error:
            raise self._refused(error) from None
        self._finished = True
        return [Written(name, table.path) for name, table in self._open.items()]

    def _opened(self, name: str) -> _Open:
        known = self._open.get(name)
        if known is None:
            file_name = f"{self._names.give(table_file_name(name))}.{self._form}"
            working = self._working / file_name
            known = self._open[name] = _Open(self._folder / file_name, working, FORMS[self._form](working))
        return known

    def _keep(self, table: _Open, columns: Mapping[str, Column]) -> None:
        # Copies: otherwise a few rows would keep the whole batch in memory that they are views of.
        own = {name: copied(column) for name, column in columns.items()}
        octets = sum(octets_of(column) for column in own.values())
        table.kept.append(own)
        table.kept_octets += octets
        self._kept_octets += octets
        if table.kept_octets >= PIECE_OCTETS:
            self._write(table)

    def _write(self, table: _Open) -> None:
        if table.kept:
            pieces, table.kept = table.kept, []
            self._kept_octets -= table.kept_octets
            table.kept_octets = 0
            table.file.append({name: joined([piece[name] for piece in pieces]) for name in pieces[0]})

    def _refused(self, error: OSError) -> OrbitnodeError:
        return OrbitnodeError(f"{self._folder}: tables cannot be written there: {reason_of(error)}")


def _new_folder(parent: Path) -> Path:
    """Make a working folder of our own; several processes may write tables to one folder at once."""
    for number in range(_WORKING_MAX):
        path = parent / f".orbitnode-tables-{number}"
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise OrbitnodeError(f"{parent} holds {_WORKING_MAX} unfinished folders .orbitnode-tables-*; delete them")


def _remove(folder: Path) -> None:
    try:
        for path in folder.iterdir():
            path.unlink(missing_ok=True)
        folder.rmdir()
    except OSError:
        pass  # the disk that refuses to remove refused to write before, and that was reported
