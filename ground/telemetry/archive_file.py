"""The archive's file: SQLite with a write-ahead log, its layout, batched commits, and faults in one line.

What was committed survives a kill of the process at any instant. What is written `together` is committed together: a
packet is never there without its samples, nor a report without what it says of its command.
"""

# Layout: every row belongs to a node, and every index begins with the node. What a node has once, such as its
# dictionary, its sequence counts and its starts, are rows of `meta`. The file's application_id carries the number of
# the layout: an archive of another one is refused in one line, never converted and never written to.
#
# Commits: one costs as much as many rows, so rows are gathered, BATCH_ROWS of them or until the caller's clock says so.
# `_depth` counts the blocks that must not be torn: `hold`, `together`, and the commit itself while it calls
# `before_commit`. A commit that is asked for within one is done at its end (`_due`). `together` is also a savepoint, so
# that a write that fails takes its companions with it and leaves the rest of the transaction alone.
#
# Losses: on a full disk SQLite may roll back the whole transaction by itself. That shows when no transaction is open
# although rows were pending. `on_loss` is called then, since what others believe to be stored (rows, row ids, names of
# parameters) is gone; the rows may belong to any node.
#
# Durability: journal_mode WAL with synchronous NORMAL does not wait for the disk at each commit. A kill loses nothing
# that was committed; a power cut of the ground's machine may lose the newest commits, never the file.

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flight.core.errors import OrbitnodeError, reason_of

LAYOUT = 2
BATCH_ROWS = 2000
LOCK_WAIT_S = 1.0  # for another process that writes; longer would stall the pass
_APPLICATION_ID = 0x4F524200 | ord("0") + LAYOUT  # "ORB2" in the file's header: an archive of this layout
_LOG_PAGES = 1000  # of the write-ahead log, before a commit copies them into the file

_SCHEMA = """
CREATE TABLE nodes (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL);
CREATE TABLE meta (
  node INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (node, key)) WITHOUT ROWID;
CREATE TABLE packets (
  id INTEGER PRIMARY KEY, node INTEGER NOT NULL, received_ns INTEGER NOT NULL, time_ns INTEGER, vcid INTEGER NOT NULL,
  apid INTEGER NOT NULL, seq INTEGER NOT NULL, service INTEGER, subtype INTEGER, kind TEXT NOT NULL,
  name TEXT NOT NULL, octets BLOB);
CREATE INDEX packets_name ON packets (node, name, time_ns);
CREATE TABLE parameters (
  id INTEGER PRIMARY KEY, node INTEGER NOT NULL, name TEXT NOT NULL, unit TEXT NOT NULL, labels TEXT NOT NULL,
  UNIQUE (node, name));
CREATE TABLE samples (node INTEGER NOT NULL, parameter INTEGER NOT NULL, time_ns INTEGER NOT NULL, value NOT NULL);
CREATE INDEX samples_time ON samples (node, parameter, time_ns);
CREATE TABLE newest (
  node INTEGER NOT NULL, parameter INTEGER NOT NULL, time_ns INTEGER NOT NULL, value NOT NULL,
  PRIMARY KEY (node, parameter)) WITHOUT ROWID;
CREATE TABLE events (
  id INTEGER PRIMARY KEY, node INTEGER NOT NULL, time_ns INTEGER NOT NULL, received_ns INTEGER NOT NULL,
  apid INTEGER NOT NULL, name TEXT NOT NULL, severity TEXT NOT NULL, text TEXT NOT NULL);
CREATE TABLE commands (
  node INTEGER NOT NULL, number INTEGER NOT NULL, sent_ns INTEGER NOT NULL, name TEXT NOT NULL,
  arguments TEXT NOT NULL, apid INTEGER NOT NULL, seq INTEGER NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL,
  code INTEGER, round_trip_ns INTEGER, PRIMARY KEY (node, number)) WITHOUT ROWID;
CREATE TABLE stages (
  node INTEGER NOT NULL, command INTEGER NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL,
  time_ns INTEGER NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (node, command, position)) WITHOUT ROWID;
CREATE TABLE counters (node INTEGER NOT NULL, time_ns INTEGER NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL);
CREATE INDEX counters_name ON counters (node, name, time_ns);
CREATE TABLE products (
  id INTEGER PRIMARY KEY, node INTEGER NOT NULL, received_ns INTEGER NOT NULL, name TEXT NOT NULL,
  octets INTEGER NOT NULL, complete INTEGER NOT NULL, sha256 TEXT NOT NULL, missing TEXT NOT NULL,
  facts TEXT NOT NULL);
CREATE TABLE alarms (
  id INTEGER PRIMARY KEY, node INTEGER NOT NULL, time_ns INTEGER NOT NULL, parameter TEXT NOT NULL,
  previous TEXT NOT NULL, state TEXT NOT NULL, value REAL, unit TEXT NOT NULL, text TEXT NOT NULL);
"""
# Packets whose meaning is open. Queries must use these very words: SQLite takes a partial index only then.
UNDECODED = "kind IN ('unknown', 'undecoded')"
# Created in older files as well: one more index does not make another layout.
_INDEX = f"CREATE INDEX IF NOT EXISTS packets_undecoded ON packets (node, id) WHERE {UNDECODED}"


class ArchiveFile:
    """One connection to one file. Faults (locked, unwritable, full, foreign) raise OrbitnodeError in one line."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open `path`; without `read_only` it is created if it is not there."""
        self.path = path
        self.on_loss: list[Callable[[], None]] = []
        self.before_commit: list[Callable[[], None]] = []
        self.on_commit: list[Callable[[], None]] = []
        self._pending = 0
        self._depth = 0  # blocks that are open and must be committed together
        self._due = False  # a commit was asked for within them, and waits for their end
        try:
            if read_only:
                self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=LOCK_WAIT_S)
                self._check()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._db = sqlite3.connect(path, timeout=LOCK_WAIT_S)
                self._prepare()
        except sqlite3.Error as error:
            raise self._fault(error) from None
        except OSError as error:
            raise OrbitnodeError(f"archive {path}: {reason_of(error)}") from None

    def _prepare(self) -> None:
        """Make an archive of a new file, or check that an old one is one; apply the writer's settings."""
        empty = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not empty:
            self._check()
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        if empty:
            self._make()
        self._db.execute(_INDEX)

    def _make(self) -> None:
        # One script in one transaction: a file with half of the tables would be refused by the next start.
        try:
            self._db.executescript(f"BEGIN IMMEDIATE; PRAGMA application_id = {_APPLICATION_ID}; {_SCHEMA} COMMIT;")
        except sqlite3.OperationalError as error:
            self._db.rollback()
            if "already exists" not in str(error):
                raise
            self._check()  # another process has created it in the meantime: is it one of ours?

    def _check(self) -> None:
        found = self._db.execute("PRAGMA application_id").fetchone()[0]
        if found == _APPLICATION_ID:
            return
        if found >> 8 == _APPLICATION_ID >> 8:
            what = f"layout {chr(found & 0xFF)} is of another version of orbitnode; this one needs layout {LAYOUT}"
        else:
            what = "this is a database of something else"
        raise OrbitnodeError(f"archive {self.path}: {what}, name another file")

    def close(self) -> None:
        """Commit and close. It is closed even if the commit raises OrbitnodeError."""
        try:
            self.commit()
        finally:
            self._db.close()

    @property
    def pending(self) -> int:
        """Rows written since the last commit, which a kill would lose."""
        return self._pending

    def write(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Execute the statement once per row of `rows`; commit after every BATCH_ROWS rows. Raises OrbitnodeError."""
        try:
            cursor = self._db.executemany(statement, rows)
        except sqlite3.Error as error:
            raise self._write_fault(error) from None
        self._pending += max(cursor.rowcount, 0)
        if self._pending >= BATCH_ROWS:
            self.commit()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Commit what is written in this block together, and none of it if a write raises OrbitnodeError."""
        try:
            # A savepoint outside of a transaction would be one itself, and its RELEASE would commit.
            if not self._db.in_transaction:
                self._db.execute("BEGIN")
            self._db.execute("SAVEPOINT together")
        except sqlite3.Error as error:
            raise self._write_fault(error) from None
        self.hold()
        try:
            yield
        except OrbitnodeError:
            with suppress(sqlite3.Error):  # the savepoint is gone if SQLite has rolled back everything
                self._db.execute("ROLLBACK TO together")
            raise
        finally:
            with suppress(sqlite3.Error):
                self._db.execute("RELEASE together")
            self.release()

    def hold(self) -> None:
        """Commit nothing before `release`: what is written until then belongs together, as far as it can be written."""
        self._depth += 1

    def release(self) -> None:
        """End what `hold` began; commit if that is due. Raises OrbitnodeError."""
        self._depth -= 1
        if not self._depth and (self._due or self._pending >= BATCH_ROWS):
            self.commit()

    def query(self, statement: str, arguments: tuple[object, ...] = ()) -> list[Any]:
        """Return all rows that the statement finds. Raises OrbitnodeError."""
        try:
            return self._db.execute(statement, arguments).fetchall()
        except sqlite3.Error as error:
            raise self._fault(error) from None

    def commit(self) -> None:
        """Make everything so far durable against a kill; within `hold` or `together`, at their end.

        Raises OrbitnodeError; the archive then goes on with the next rows.
        """
        self._due = bool(self._depth)
        if self._due:
            return
        self._depth += 1  # what `before_commit` writes is part of this commit, and must not start another
        try:
            for call in self.before_commit:
                call()
        finally:
            self._depth -= 1
            self._due = False
        try:
            self._db.commit()
        except sqlite3.Error as error:
            raise self._write_fault(error) from None
        self._pending = 0
        for call in self.on_commit:
            call()

    def commit_promptly(self) -> None:
        """Commit for a caller who cannot wait: the next `commit` copies the log into the file, which takes longer."""
        self._db.execute("PRAGMA wal_autocheckpoint = 0")
        try:
            self.commit()
        finally:
            self._db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")

    def _write_fault(self, error: sqlite3.Error) -> OrbitnodeError:
        """Return the fault of a write, and report a loss if SQLite has rolled back; see the head of the file."""
        fault = self._fault(error)
        if self._db.in_transaction or not self._pending:
            return fault
        lost, self._pending = self._pending, 0
        for call in self.on_loss:
            call()
        return OrbitnodeError(f"{fault}; the newest {f'{lost} rows are' if lost != 1 else 'row is'} lost")

    def _fault(self, error: sqlite3.Error) -> OrbitnodeError:
        text = str(error)
        if "locked" in text:
            text = "is locked by another process; stop that one or name another file"
        elif "not a database" in text:
            text = "is not an archive (nor any SQLite database), name another file"
        elif "unable to open" in text:
            text = "cannot be opened; is it there, and may this user read and write it and its folder?"
        elif "readonly" in text:
            text = "may not be written by this user"
        return OrbitnodeError(f"archive {self.path}: {text}")
