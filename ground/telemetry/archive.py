"""The archive: everything the ground heard and did, in one SQLite file (write-ahead log, batched commits).

What was committed survives a kill of the process at any instant; `commit` is called by whoever owns the time (each
second in real time, at the end of a step in virtual time), and by itself after `BATCH_ROWS` rows. Several readers may
look while one process writes. Times are TAI nanoseconds since 1958-01-01.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from flight.contract.dictionary import Dictionary
from flight.contract.fields import Field, Plain
from flight.core.errors import OrbitnodeError
from ground.operator import CommandRecord
from ground.telemetry.decoder import EVENT, HOUSEKEEPING, PDU, DecodedPacket
from ground.telemetry.limits import Alarm

APPLICATION_ID = 0x4F524231  # "ORB1" in the file's header: an archive of this layout
BATCH_ROWS = 2000
LOCK_WAIT_S = 1.0
_LOG_PAGES = 1000  # of the write-ahead log, before a commit copies them into the file

_NEWEST = "newest (parameter INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, value NOT NULL)"
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE packets (
  id INTEGER PRIMARY KEY, received_ns INTEGER NOT NULL, time_ns INTEGER, vcid INTEGER NOT NULL, apid INTEGER NOT NULL,
  seq INTEGER NOT NULL, service INTEGER, subtype INTEGER, kind TEXT NOT NULL, name TEXT NOT NULL, octets BLOB);
CREATE INDEX packets_name ON packets (name, time_ns);
CREATE TABLE parameters (
  id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, unit TEXT NOT NULL, labels TEXT NOT NULL);
CREATE TABLE samples (parameter INTEGER NOT NULL, time_ns INTEGER NOT NULL, value NOT NULL);
CREATE INDEX samples_time ON samples (parameter, time_ns);
CREATE TABLE events (
  id INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, received_ns INTEGER NOT NULL, apid INTEGER NOT NULL,
  name TEXT NOT NULL, severity TEXT NOT NULL, text TEXT NOT NULL);
CREATE TABLE commands (
  number INTEGER PRIMARY KEY, sent_ns INTEGER NOT NULL, name TEXT NOT NULL, arguments TEXT NOT NULL,
  apid INTEGER NOT NULL, seq INTEGER NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL, code INTEGER,
  round_trip_ns INTEGER);
CREATE TABLE stages (
  command INTEGER NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL, time_ns INTEGER NOT NULL,
  detail TEXT NOT NULL, PRIMARY KEY (command, position)) WITHOUT ROWID;
CREATE TABLE counters (time_ns INTEGER NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL);
CREATE INDEX counters_name ON counters (name, time_ns);
CREATE TABLE products (
  id INTEGER PRIMARY KEY, received_ns INTEGER NOT NULL, name TEXT NOT NULL, octets INTEGER NOT NULL,
  complete INTEGER NOT NULL, sha256 TEXT NOT NULL, missing TEXT NOT NULL, facts TEXT NOT NULL);
CREATE TABLE alarms (
  id INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, parameter TEXT NOT NULL, previous TEXT NOT NULL,
  state TEXT NOT NULL, value REAL, unit TEXT NOT NULL, text TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """The newest value of one parameter: `raw` as transmitted, `value` with its label in place."""

    parameter: str
    time_ns: int
    raw: Plain
    value: Plain
    unit: str


@dataclass(frozen=True, slots=True)
class EventRow:
    time_ns: int
    received_ns: int
    apid: int
    name: str
    severity: str
    text: str


@dataclass(frozen=True, slots=True)
class CommandRow:
    """`stages`: (name, TAI, detail) in order."""

    number: int
    sent_ns: int
    name: str
    arguments: Mapping[str, Plain]
    outcome: str
    reason: str
    code: int | None
    round_trip_ns: int | None
    stages: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True, slots=True)
class ProductRow:
    """`missing`: ranges of octets that never came; `facts`: what decoding found (tile, cloud_frac, mask file)."""

    received_ns: int
    name: str
    octets: int
    complete: bool
    sha256: str
    missing: tuple[tuple[int, int], ...]
    facts: Mapping[str, Any]


class Archive:
    """One archive file. Faults (locked, unwritable, full, foreign) raise OrbitnodeError in one line."""

    def __init__(self, path: Path, dictionary: Dictionary | None = None, *, read_only: bool = False) -> None:
        """Open `path`; without `read_only` it is made where it is not there, and `dictionary` is kept in it."""
        self.path = path
        self._parameter_ids: dict[str, int] = {}
        self._pending = 0
        try:
            if read_only:
                self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=LOCK_WAIT_S)
                self._check()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._db = sqlite3.connect(path, timeout=LOCK_WAIT_S)
                self._prepare(dictionary)
        except sqlite3.Error as error:
            raise self._fault(error) from None
        except OSError as error:
            raise OrbitnodeError(f"archive {path}: {error.strerror}") from None

    def _prepare(self, dictionary: Dictionary | None) -> None:
        """Make a new file into an archive, or see that an old one is; the writer's settings."""
        empty = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not empty:
            self._check()
        # NORMAL: after a kill of the process every commit is there; after a power cut perhaps not the newest ones.
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        if empty:
            self._db.executescript(f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; {_SCHEMA} COMMIT;")
        # An archive of before this table goes on with it.
        self._db.execute("CREATE TABLE IF NOT EXISTS " + _NEWEST)
        if dictionary is not None:
            document = json.dumps(dictionary.document(), sort_keys=True)
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('dictionary', ?)", (document,))
            self._declare(dictionary)
        self._db.commit()

    def _check(self) -> None:
        if self._db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise OrbitnodeError(f"archive {self.path}: this is a database of something else, name another file")

    def _declare(self, dictionary: Dictionary) -> None:
        rows = [
            (f"{s.name}.{f.name}", f.unit, json.dumps(f.labels))
            for s in dictionary.structures for f in s.fields
        ]  # fmt: skip
        rows += [(f"parameter.{s.name}", s.unit, "[]") for s in dictionary.settings]
        self._db.executemany(
            "INSERT INTO parameters (name, unit, labels) VALUES (?, ?, ?) "
            "ON CONFLICT (name) DO UPDATE SET unit = excluded.unit, labels = excluded.labels",
            rows,
        )
        self._parameter_ids = dict(self._db.execute("SELECT name, id FROM parameters"))

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Commit and close; closed also where the commit raises."""
        try:
            self.commit()
        finally:
            self._db.close()

    @property
    def pending(self) -> int:
        """Rows that a kill would lose."""
        return self._pending

    def commit(self) -> None:
        """Make everything so far durable against a kill. Where it raises the archive goes on with the next rows."""
        try:
            self._db.commit()
        except sqlite3.Error as error:
            raise self._write_fault(error) from None
        self._pending = 0

    def commit_promptly(self) -> None:
        """The same, for one who cannot wait: copying the log into the file, milliseconds now and then, is left to the
        next `commit`."""
        self._db.execute("PRAGMA wal_autocheckpoint = 0")
        try:
            self.commit()
        finally:
            self._db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")

    def _write_fault(self, error: sqlite3.Error) -> OrbitnodeError:
        """SQLite may have rolled back (a full disk): rows and names entered since the last commit are then gone."""
        fault = self._fault(error)
        if self._db.in_transaction or not self._pending:
            return fault
        lost, self._pending = self._pending, 0
        self._parameter_ids.clear()
        return OrbitnodeError(f"{fault}; the newest {lost} rows are lost")

    # What the station writes

    def _write(self, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
        try:
            cursor = self._db.executemany(statement, rows)
        except sqlite3.Error as error:
            raise self._write_fault(error) from None
        self._pending += max(cursor.rowcount, 0)
        if self._pending >= BATCH_ROWS:
            self.commit()

    def add_packet(self, packet: DecodedPacket, octets: bytes, vcid: int, received_ns: int) -> None:
        """A packet with its samples, or its event. The octets of CFDP PDUs are not kept: the file is."""
        self._write(
            "INSERT INTO packets (received_ns, time_ns, vcid, apid, seq, service, subtype, kind, name, octets) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(received_ns, packet.time_ns, vcid, packet.apid, packet.seq, packet.service, packet.subtype, packet.kind,
              packet.name, None if packet.kind == PDU else octets)],
        )  # fmt: skip
        time_ns = received_ns if packet.time_ns is None else packet.time_ns
        if packet.kind == HOUSEKEEPING:
            self._enter({f"{packet.name}.{name}": one for name, one in packet.fields.items()})
            self.add_samples({f"{packet.name}.{name}": value for name, value in packet.raw.items()}, time_ns)
        elif packet.kind == EVENT:
            row = EventRow(time_ns, received_ns, packet.apid, packet.name, packet.severity, packet.text)
            self.add_event(row)

    def add_event(self, row: EventRow) -> None:
        """An event, without the packet it may have come by."""
        self._write(
            "INSERT INTO events (time_ns, received_ns, apid, name, severity, text) VALUES (?, ?, ?, ?, ?, ?)",
            [(row.time_ns, row.received_ns, row.apid, row.name, row.severity, row.text)],
        )

    def _enter(self, fields: Mapping[str, Field]) -> None:
        """Parameters that the dictionary does not list: of structures defined from ground, and of rows."""
        rows = [(name, f.unit, json.dumps(f.labels)) for name, f in fields.items() if name not in self._parameter_ids]
        if rows:
            self._write("INSERT OR IGNORE INTO parameters (name, unit, labels) VALUES (?, ?, ?)", rows)

    def add_samples(self, values: Mapping[str, Plain], time_ns: int) -> None:
        """Raw values by parameter name; a name that the dictionary does not have is entered without unit."""
        rows = []
        for name, value in values.items():
            number = self._parameter_ids.get(name)
            if number is None:
                self._write("INSERT OR IGNORE INTO parameters (name, unit, labels) VALUES (?, '', '[]')", [(name,)])
                number = int(self._query("SELECT id FROM parameters WHERE name = ?", (name,))[0][0])
                self._parameter_ids[name] = number
            rows.append((number, time_ns, _storable(value)))
        self._write("INSERT INTO samples VALUES (?, ?, ?)", rows)

    def put_newest(self, values: Mapping[str, tuple[int, Plain]]) -> None:
        """Time and raw value of what is now the newest sample of some parameters: time alone does not tell it, since
        the on-board clock may be set back."""
        self._write(
            "INSERT OR REPLACE INTO newest SELECT id, ?, ? FROM parameters WHERE name = ?",
            [(time_ns, _storable(value), name) for name, (time_ns, value) in values.items()],
        )

    def put_command(self, record: CommandRecord, epoch_tai_ns: int) -> None:
        """The command as it now stands, in place of what was known of it. `epoch_tai_ns`: TAI at ground time 0."""
        stages = [(record.number, i, s.name, s.now_ns + epoch_tai_ns, s.detail) for i, s in enumerate(record.stages)]
        self._write(
            "INSERT OR REPLACE INTO commands VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(record.number, stages[0][3], record.name, json.dumps(dict(record.arguments)), record.apid, record.seq,
              record.outcome, record.reason, record.code, record.round_trip_ns)],
        )  # fmt: skip
        self._write("INSERT OR REPLACE INTO stages VALUES (?, ?, ?, ?, ?)", stages)

    def last_command(self) -> int:
        """The highest command number in the archive, 0 in a new one."""
        return int(self._query("SELECT coalesce(max(number), 0) FROM commands")[0][0])

    def put_seqs(self, seqs: Mapping[int, int]) -> None:
        """For each APID the sequence count of its next command."""
        octets = json.dumps(sorted(seqs.items()))
        self._write("INSERT OR REPLACE INTO meta VALUES ('seqs', ?)", [(octets,)])

    def next_seqs(self) -> dict[int, int]:
        """For each APID the sequence count to go on with after a restart: that of `put_seqs`, and if an archive of
        before does not have it, that after the newest command's."""
        rows = self._query("SELECT apid, seq, max(number) FROM commands GROUP BY apid")
        stored = self._query("SELECT value FROM meta WHERE key = 'seqs'")
        known = dict(json.loads(stored[0][0])) if stored else {}
        return {apid: (seq + 1) % 16384 for apid, seq, _ in rows} | known

    def next_start(self) -> int:
        """How many ground processes have begun with this archive, this one included: counted, and on disk against a
        kill, before anything is numbered by it. Raises OrbitnodeError if that cannot be written."""
        self._write(
            "INSERT INTO meta VALUES ('starts', '1') "
            "ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1",
            [()],
        )
        starts = int(self._query("SELECT value FROM meta WHERE key = 'starts'")[0][0])
        self.commit()  # not before: another process may count then
        return starts

    def add_counters(self, values: Mapping[str, int], time_ns: int) -> None:
        """Link and decoder counters as they stand at `time_ns`."""
        self._write("INSERT INTO counters VALUES (?, ?, ?)", [(time_ns, name, value) for name, value in values.items()])

    def add_product(self, row: ProductRow) -> None:
        self._write(
            "INSERT INTO products (received_ns, name, octets, complete, sha256, missing, facts) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(row.received_ns, row.name, row.octets, row.complete, row.sha256, json.dumps(row.missing),
              json.dumps(dict(row.facts)))],
        )  # fmt: skip

    def add_alarm(self, alarm: Alarm) -> None:
        row = (alarm.time_ns, alarm.parameter, alarm.previous, alarm.state, alarm.value, alarm.unit, alarm.text)
        self._write(
            "INSERT INTO alarms (time_ns, parameter, previous, state, value, unit, text) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [row],
        )

    # What reports, pages and terminals ask

    def _query(self, statement: str, arguments: tuple[object, ...] = ()) -> list[Any]:
        try:
            return self._db.execute(statement, arguments).fetchall()
        except sqlite3.Error as error:
            raise self._fault(error) from None

    def dictionary(self) -> Dictionary | None:
        """The dictionary that the archive was written with."""
        rows = self._query("SELECT value FROM meta WHERE key = 'dictionary'")
        return Dictionary.from_document(json.loads(rows[0][0])) if rows else None

    def series(self, parameter: str, start_ns: int = 0, end_ns: int = 2**63 - 1) -> list[tuple[int, Plain]]:
        """(TAI, raw value) of one parameter in order of packet time."""
        return self._query(
            "SELECT time_ns, value FROM samples WHERE parameter = (SELECT id FROM parameters WHERE name = ?) "
            "AND time_ns BETWEEN ? AND ? ORDER BY time_ns",
            (parameter, start_ns, end_ns),
        )

    def latest(self) -> dict[str, Sample]:
        """The newest sample of every parameter that has one: that of `put_newest`, else the latest in time."""
        rows = self._query(
            "SELECT p.name, p.unit, p.labels, n.time_ns, n.value FROM parameters p JOIN newest n ON n.parameter = p.id "
            "UNION ALL "
            "SELECT p.name, p.unit, p.labels, s.time_ns, s.value FROM parameters p JOIN samples s ON s.rowid = "
            "(SELECT rowid FROM samples WHERE parameter = p.id ORDER BY time_ns DESC LIMIT 1) "
            "WHERE p.id NOT IN (SELECT parameter FROM newest)"
        )
        return {name: Sample(name, t, value, _labelled(value, labels), unit) for name, unit, labels, t, value in rows}

    def events(self, limit: int = 1000, severity: str = "") -> list[EventRow]:
        """The newest events, oldest first."""
        rows = self._query(
            "SELECT time_ns, received_ns, apid, name, severity, text FROM events WHERE ? IN ('', severity) "
            "ORDER BY time_ns DESC, id DESC LIMIT ?",
            (severity, limit),
        )
        return [EventRow(*row) for row in reversed(rows)]

    def event_counts(self) -> dict[str, int]:
        """Events by severity."""
        return dict(self._query("SELECT severity, count(*) FROM events GROUP BY severity"))

    def commands(self, limit: int = 1000) -> list[CommandRow]:
        """The newest commands with their stages, oldest first."""
        rows = self._query(
            "SELECT number, sent_ns, name, arguments, outcome, reason, code, round_trip_ns FROM commands "
            "ORDER BY number DESC LIMIT ?",
            (limit,),
        )
        found = []
        for number, sent_ns, name, arguments, outcome, reason, code, round_trip_ns in reversed(rows):
            stages = self._query(
                "SELECT name, time_ns, detail FROM stages WHERE command = ? ORDER BY position", (number,)
            )
            found.append(
                CommandRow(number, sent_ns, name, json.loads(arguments), outcome, reason, code, round_trip_ns,
                           tuple(tuple(s) for s in stages))
            )  # fmt: skip
        return found

    def counters(self, name: str) -> list[tuple[int, int]]:
        """(TAI, value) of one counter in order of time."""
        return self._query("SELECT time_ns, value FROM counters WHERE name = ? ORDER BY time_ns", (name,))

    def products(self) -> list[ProductRow]:
        rows = self._query(
            "SELECT received_ns, name, octets, complete, sha256, missing, facts FROM products ORDER BY id"
        )
        return [
            ProductRow(at, name, octets, bool(complete), sha256, tuple((a, b) for a, b in json.loads(missing)),
                       json.loads(facts))
            for at, name, octets, complete, sha256, missing, facts in rows
        ]  # fmt: skip

    def alarms(self, limit: int = 1000) -> list[Alarm]:
        """The newest alarms, oldest first."""
        rows = self._query(
            "SELECT time_ns, parameter, previous, state, value, unit, text FROM alarms ORDER BY id DESC LIMIT ?",
            (limit,),
        )
        return [Alarm(*row) for row in reversed(rows)]

    def packets(self, name: str = "", limit: int = 100_000) -> list[tuple[int, int | None, int, bytes | None]]:
        """(received TAI, packet TAI, vcid, octets) in order of reception."""
        return self._query(
            "SELECT received_ns, time_ns, vcid, octets FROM packets WHERE ? IN ('', name) ORDER BY id LIMIT ?",
            (name, limit),
        )


def _storable(value: Plain) -> Plain:
    """SQLite integers are signed 64-bit, and it turns NaN into NULL: both are kept in another form."""
    if isinstance(value, int) and value >= 2**63:
        return float(value)
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    return value


def _labelled(value: Plain, labels: str) -> Plain:
    known = json.loads(labels)
    return str(known[value]) if isinstance(value, int) and 0 <= value < len(known) else value
