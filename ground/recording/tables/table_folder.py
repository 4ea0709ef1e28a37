"""Tables into a folder, a file each: any number of tables, of any number of rows, in a bounded memory.

Batches are small and files like large pieces, so rows are kept until a table has a fair piece of them, or all of them
together take too much memory; then the largest are written. Files grow in a working folder inside the given one and are
put in their place when all of them are whole: whoever looks sees the tables of before or those of now, and after a
failure or an interruption the working folder goes. Its name begins with a dot, as no table's file does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from flight.core.errors import OrbitnodeError, reason_of
from ground.recording.table import Column, Table
from ground.recording.tables.arrow_file import ArrowFile, require_arrow
from ground.recording.tables.cells import copied, joined, octets_of
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

PIECE_OCTETS = 8 << 20  # of one table, until it is written
KEPT_OCTETS = 32 << 20  # of all tables
_WORKING_MAX = 10_000


@dataclass(slots=True)
class _Open:
    """A table whose file is not whole yet."""

    path: Path
    working: Path
    file: TableFile
    kept: list[Mapping[str, Column]] = field(default_factory=list)
    kept_octets: int = 0


@dataclass(frozen=True, slots=True)
class Written:
    """The file that a table came to be in."""

    table: str
    path: Path


class TableFolder:
    """Use as a context: what is not finished when it ends leaves nothing behind. Raises OrbitnodeError if the folder
    or a file cannot be written, SetupError for a form whose package is not installed.
    """

    def __init__(self, folder: Path, form: str) -> None:
        """form: one of FORMS."""
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
        for one in self._open.values():
            one.file.close()
        if self._working != self._folder:
            _remove(self._working)
        if self._is_new and not self._finished:
            _remove(self._folder)

    def add(self, tables: Sequence[Table]) -> None:
        """Take the rows of a batch."""
        try:
            for table in tables:
                self._keep(self._opened(table.name), table.columns)
            while self._kept_octets > KEPT_OCTETS:
                self._write(max(self._open.values(), key=lambda one: one.kept_octets))
        except OSError as error:
            raise self._refused(error) from None

    def finish(self) -> list[Written]:
        """Write what is left, and put every file in its place."""
        try:
            for one in self._open.values():
                self._write(one)
                one.file.finish()
            for one in self._open.values():
                one.working.replace(one.path)
        except OSError as error:
            raise self._refused(error) from None
        self._finished = True
        return [Written(name, one.path) for name, one in self._open.items()]

    def _opened(self, name: str) -> _Open:
        known = self._open.get(name)
        if known is None:
            file_name = f"{self._names.give(table_file_name(name))}.{self._form}"
            working = self._working / file_name
            known = self._open[name] = _Open(self._folder / file_name, working, FORMS[self._form](working))
        return known

    def _keep(self, one: _Open, columns: Mapping[str, Column]) -> None:
        # Copies: a few rows would otherwise keep the whole batch that they lie in.
        own = {name: copied(column) for name, column in columns.items()}
        octets = sum(octets_of(column) for column in own.values())
        one.kept.append(own)
        one.kept_octets += octets
        self._kept_octets += octets
        if one.kept_octets >= PIECE_OCTETS:
            self._write(one)

    def _write(self, one: _Open) -> None:
        if one.kept:
            pieces, one.kept = one.kept, []
            self._kept_octets -= one.kept_octets
            one.kept_octets = 0
            one.file.append({name: joined([piece[name] for piece in pieces]) for name in pieces[0]})

    def _refused(self, error: OSError) -> OrbitnodeError:
        return OrbitnodeError(f"{self._folder}: tables cannot be written there: {reason_of(error)}")


def _new_folder(parent: Path) -> Path:
    """A folder that nobody else has, though several may write tables at once."""
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
        pass  # what cannot be removed could not be written either, and that was said
