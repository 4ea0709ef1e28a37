"""One node's rows in the archive: what its station writes, and what reports, pages and terminals ask."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from flight.contract.dictionary import Dictionary
from flight.contract.fields import Field, Plain
from ground.operator import CommandRecord
from ground.telemetry.archive_file import ArchiveFile
from ground.telemetry.archive_rows import CommandRow, EventRow, ProductRow, Sample
from ground.telemetry.decoder import EVENT, HOUSEKEEPING, PDU, DecodedPacket
from ground.telemetry.limits import Alarm
from ground.telemetry.open_rows import OpenRows

_DICTIONARY, _SEQS, _STARTS = "dictionary", "seqs", "starts"  # keys of meta


class NodeArchive:
    """The rows of the node `name`, `number` in the file. Faults of the file raise OrbitnodeError in one line."""

    def __init__(self, file: ArchiveFile, number: int, name: str) -> None:
        self.name = name
        self._file = file
        self._node = number
        self.open_rows = OpenRows(file, number)
        self._parameter_ids: dict[str, int] = {}
        file.on_loss.append(self._parameter_ids.clear)

    @property
    def pending(self) -> int:
        """Rows of the file, this node's and others', that a kill would lose."""
        return self._file.pending

    def commit(self) -> None:
        """Make everything so far durable against a kill; see ArchiveFile.commit."""
        self._file.commit()

    def commit_promptly(self) -> None:
        """The same, for one who cannot wait; see ArchiveFile.commit_promptly."""
        self._file.commit_promptly()

    def on_loss(self, call: Callable[[], None]) -> None:
        """Have it called whenever rows since the last commit were lost, whoever's they are."""
        self._file.on_loss.append(call)

    def around_commit(self, before: Callable[[], None], after: Callable[[], None]) -> None:
        """Have these called whenever rows are committed: `before` to write what belongs to them, `after` when they are
        safe.
        """
        self._file.before_commit.append(before)
        self._file.on_commit.append(after)

    def together(self) -> AbstractContextManager[None]:
        """What is written in this block is committed together, or none of it; see ArchiveFile.together."""
        return self._file.together()

    def hold(self) -> None:
        """Commit nothing before `release`; see ArchiveFile.hold."""
        self._file.hold()

    def release(self) -> None:
        """The end of what `hold` began."""
        self._file.release()

    # What the station writes

    def add_packet(self, packet: DecodedPacket, octets: bytes, vcid: int, received_ns: int) -> None:
        """A packet with its samples, or its event. The octets of CFDP PDUs are not kept: the file is."""
        self._file.write(
            "INSERT INTO packets (node, received_ns, time_ns, vcid, apid, seq, service, subtype, kind, name, octets) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(self._node, received_ns, packet.time_ns, vcid, packet.apid, packet.seq, packet.service, packet.subtype,
              packet.kind, packet.name, None if packet.kind == PDU else octets)],
        )  # fmt: skip
        self.add_meaning(packet, received_ns)

    def add_meaning(self, packet: DecodedPacket, received_ns: int) -> None:
        """What a packet says: its samples, or its event."""
        time_ns = received_ns if packet.time_ns is None else packet.time_ns
        if packet.kind == HOUSEKEEPING:
            samples = {f"{packet.name}.{name}": value for name, value in packet.raw.items()}
            if not samples.keys() <= self._parameter_ids.keys():
                self._declare({f"{packet.name}.{name}": one for name, one in packet.fields.items()})
            self.add_samples(samples, time_ns)
        elif packet.kind == EVENT:
            row = EventRow(time_ns, received_ns, packet.apid, packet.name, packet.severity, packet.text)
            self.add_event(row)

    def add_event(self, row: EventRow) -> None:
        """An event, without the packet it may have come by."""
        self._file.write(
            "INSERT INTO events (node, time_ns, received_ns, apid, name, severity, text) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(self._node, row.time_ns, row.received_ns, row.apid, row.name, row.severity, row.text)],
        )

    def _declare(self, fields: Mapping[str, Field]) -> None:
        """Parameters with unit and labels, those that the dictionary does not list as well: of structures defined from
        ground, and of rows.
        """
        self._file.write(
            "INSERT OR IGNORE INTO parameters (node, name, unit, labels) VALUES (?, ?, ?, ?)",
            [(self._node, name, f.unit, json.dumps(f.labels)) for name, f in fields.items()],
        )

    def add_samples(self, values: Mapping[str, Plain], time_ns: int) -> None:
        """Raw values by parameter name; a name that the dictionary does not have is entered without unit."""
        rows = []
        for name, value in values.items():
            number = self._parameter_ids.get(name)
            if number is None:
                number = self._parameter_ids[name] = self._parameter_id(name)
            rows.append((self._node, number, time_ns, _storable(value)))
        self._file.write("INSERT INTO samples VALUES (?, ?, ?, ?)", rows)

    def _parameter_id(self, name: str) -> int:
        self._file.write(
            "INSERT OR IGNORE INTO parameters (node, name, unit, labels) VALUES (?, ?, '', '[]')", [(self._node, name)]
        )
        found = self._file.query("SELECT id FROM parameters WHERE node = ? AND name = ?", (self._node, name))
        return int(found[0][0])

    def put_newest(self, values: Mapping[str, tuple[int, Plain]]) -> None:
        """Time and raw value of what is now the newest sample of some parameters: time alone does not tell it, since
        the on-board clock may be set back.
        """
        self._file.write(
            "INSERT OR REPLACE INTO newest SELECT node, id, ?, ? FROM parameters WHERE node = ? AND name = ?",
            [(time_ns, _storable(value), self._node, name) for name, (time_ns, value) in values.items()],
        )

    def put_command(self, record: CommandRecord, epoch_tai_ns: int) -> None:
        """The command as it now stands, in place of what was known of it. `epoch_tai_ns`: TAI at ground time 0."""
        stages = [
            (self._node, record.number, i, s.name, s.now_ns + epoch_tai_ns, s.detail)
            for i, s in enumerate(record.stages)
        ]
        self._file.write(
            "INSERT OR REPLACE INTO commands VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(self._node, record.number, stages[0][4], record.name, json.dumps(dict(record.arguments)), record.apid,
              record.seq, record.outcome, record.reason, record.code, record.round_trip_ns)],
        )  # fmt: skip
        self._file.write("INSERT OR REPLACE INTO stages VALUES (?, ?, ?, ?, ?, ?)", stages)

    def last_command(self) -> int:
        """The highest command number, 0 before there is any."""
        return int(
            self._file.query("SELECT coalesce(max(number), 0) FROM commands WHERE node = ?", (self._node,))[0][0]
        )

    def put_seqs(self, seqs: Mapping[int, int]) -> None:
        """For each APID the sequence count of its next command."""
        self._put_meta(_SEQS, json.dumps(sorted(seqs.items())))

    def next_seqs(self) -> dict[int, int]:
        """For each APID the sequence count to go on with after a restart: that of `put_seqs`, and without one that
        after the newest command's.
        """
        rows = self._file.query(
            "SELECT apid, seq, max(number) FROM commands WHERE node = ? GROUP BY apid", (self._node,)
        )
        stored = self._meta(_SEQS)
        known = {} if stored is None else dict(json.loads(stored))
        return {apid: (seq + 1) % 16384 for apid, seq, _ in rows} | known

    def next_start(self) -> int:
        """How many ground processes have begun to work this node with this archive, this one included: counted, and on
        disk against a kill, before anything is numbered by it. Raises OrbitnodeError if that cannot be written.
        """
        self._file.write(
            "INSERT INTO meta VALUES (?, ?, '1') "
            "ON CONFLICT (node, key) DO UPDATE SET value = CAST(value AS INTEGER) + 1",
            [(self._node, _STARTS)],
        )
        starts = self._meta(_STARTS)
        assert starts is not None
        self.commit()  # not before: another process may count then
        return int(starts)

    def add_counters(self, values: Mapping[str, int], time_ns: int) -> None:
        """Link and decoder counters as they stand at `time_ns`."""
        self._file.write(
            "INSERT INTO counters VALUES (?, ?, ?, ?)",
            [(self._node, time_ns, name, value) for name, value in values.items()],
        )

    def add_product(self, row: ProductRow) -> None:
        self._file.write(
            "INSERT INTO products (node, received_ns, name, octets, complete, sha256, missing, facts) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(self._node, row.received_ns, row.name, row.octets, row.complete, row.sha256, json.dumps(row.missing),
              json.dumps(dict(row.facts)))],
        )  # fmt: skip

    def add_alarm(self, alarm: Alarm) -> None:
        self._file.write(
            "INSERT INTO alarms (node, time_ns, parameter, previous, state, value, unit, text) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(self._node, alarm.time_ns, alarm.parameter, alarm.previous, alarm.state, alarm.value, alarm.unit,
              alarm.text)],
        )  # fmt: skip

    def put_dictionary(self, dictionary: Dictionary) -> None:
        """The dictionary that the node is decoded by from now on, and its parameters."""
        self._put_meta(_DICTIONARY, json.dumps(dictionary.document(), sort_keys=True))
        fields = [(f"{s.name}.{f.name}", f.unit, json.dumps(f.labels)) for s in dictionary.structures for f in s.fields]
        settings = [(f"parameter.{s.name}", s.unit, "[]") for s in dictionary.settings]
        self._file.write(
            "INSERT INTO parameters (node, name, unit, labels) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (node, name) DO UPDATE SET unit = excluded.unit, labels = excluded.labels",
            [(self._node, *row) for row in fields + settings],
        )
        self._parameter_ids.update(self._file.query("SELECT name, id FROM parameters WHERE node = ?", (self._node,)))
        self.commit()

    def _put_meta(self, key: str, value: str) -> None:
        self._file.write("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", [(self._node, key, value)])

    def _meta(self, key: str) -> str | None:
        rows = self._file.query("SELECT value FROM meta WHERE node = ? AND key = ?", (self._node, key))
        return str(rows[0][0]) if rows else None

    # What reports, pages and terminals ask

    def dictionary(self) -> Dictionary | None:
        """The dictionary that the node's rows were written with."""
        document = self._meta(_DICTIONARY)
        return None if document is None else Dictionary.from_document(json.loads(document))

    def series(self, parameter: str, start_ns: int = 0, end_ns: int = 2**63 - 1) -> list[tuple[int, Plain]]:
        """(TAI, raw value) of one parameter in order of packet time."""
        return self._file.query(
            "SELECT time_ns, value FROM samples WHERE node = ? AND parameter = "
            "(SELECT id FROM parameters WHERE node = ? AND name = ?) AND time_ns BETWEEN ? AND ? ORDER BY time_ns",
            (self._node, self._node, parameter, start_ns, end_ns),
        )

    def latest(self) -> dict[str, Sample]:
        """The newest sample of every parameter that has one: that of `put_newest`, else the latest in time."""
        rows = self._file.query(
            "SELECT p.name, p.unit, p.labels, n.time_ns, n.value FROM parameters p JOIN newest n "
            "ON n.node = p.node AND n.parameter = p.id WHERE p.node = ? "
            "UNION ALL "
            "SELECT p.name, p.unit, p.labels, s.time_ns, s.value FROM parameters p JOIN samples s ON s.rowid = "
            "(SELECT rowid FROM samples WHERE node = p.node AND parameter = p.id ORDER BY time_ns DESC LIMIT 1) "
            "WHERE p.node = ? AND p.id NOT IN (SELECT parameter FROM newest WHERE node = p.node)",
            (self._node, self._node),
        )
        return {name: Sample(name, t, value, _labelled(value, labels), unit) for name, unit, labels, t, value in rows}

    def events(self, limit: int = 1000, severity: str = "") -> list[EventRow]:
        """The newest events, oldest first."""
        rows = self._file.query(
            "SELECT time_ns, received_ns, apid, name, severity, text FROM events "
            "WHERE node = ? AND ? IN ('', severity) ORDER BY time_ns DESC, id DESC LIMIT ?",
            (self._node, severity, limit),
        )
        return [EventRow(*row) for row in reversed(rows)]

    def event_counts(self) -> dict[str, int]:
        """Events by severity."""
        return dict(
            self._file.query("SELECT severity, count(*) FROM events WHERE node = ? GROUP BY severity", (self._node,))
        )

    def commands(self, limit: int = 1000) -> list[CommandRow]:
        """The newest commands with their stages, oldest first."""
        rows = self._file.query(
            "SELECT number, sent_ns, name, arguments, outcome, reason, code, round_trip_ns FROM commands "
            "WHERE node = ? ORDER BY number DESC LIMIT ?",
            (self._node, limit),
        )
        found = []
        for number, sent_ns, name, arguments, outcome, reason, code, round_trip_ns in reversed(rows):
            stages = self._file.query(
                "SELECT name, time_ns, detail FROM stages WHERE node = ? AND command = ? ORDER BY position",
                (self._node, number),
            )
            found.append(
                CommandRow(number, sent_ns, name, json.loads(arguments), outcome, reason, code, round_trip_ns,
                           tuple(tuple(s) for s in stages))
            )  # fmt: skip
        return found

    def counters(self, name: str) -> list[tuple[int, int]]:
        """(TAI, value) of one counter in order of time."""
        return self._file.query(
            "SELECT time_ns, value FROM counters WHERE node = ? AND name = ? ORDER BY time_ns", (self._node, name)
        )

    def products(self) -> list[ProductRow]:
        rows = self._file.query(
            "SELECT received_ns, name, octets, complete, sha256, missing, facts FROM products "
            "WHERE node = ? ORDER BY id",
            (self._node,),
        )
        return [
            ProductRow(at, name, octets, bool(complete), sha256, tuple((a, b) for a, b in json.loads(missing)),
                       json.loads(facts))
            for at, name, octets, complete, sha256, missing, facts in rows
        ]  # fmt: skip

    def alarms(self, limit: int = 1000) -> list[Alarm]:
        """The newest alarms, oldest first."""
        rows = self._file.query(
            "SELECT time_ns, parameter, previous, state, value, unit, text FROM alarms "
            "WHERE node = ? ORDER BY id DESC LIMIT ?",
            (self._node, limit),
        )
        return [Alarm(*row) for row in reversed(rows)]

    def packets(self, name: str = "", limit: int = 100_000) -> list[tuple[int, int | None, int, bytes | None]]:
        """(received TAI, packet TAI, vcid, octets) in order of reception."""
        return self._file.query(
            "SELECT received_ns, time_ns, vcid, octets FROM packets WHERE node = ? AND ? IN ('', name) "
            "ORDER BY id LIMIT ?",
            (self._node, name, limit),
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
