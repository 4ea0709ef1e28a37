"""One node's rows in the archive: what its station writes, and what reports, pages and terminals ask."""

# Every statement names the node; nothing here sees rows of another one. Methods called put_ replace what was there,
# methods called add_ append. Batching commits is the file's business, so only two of them commit by themselves:
# `put_dictionary`, since a reader can do nothing without it, and `next_start`.
#
# Samples are stored as transmitted: names, units and labels stand once, in `parameters`. The ids of parameters are
# cached, and the cache is emptied when rows are lost, since a row that was rolled back takes its id along.
#
# Two numbers must never be given out twice, over all grounds that work with this file (ADR 0018): the command number,
# one more than the highest here, and the sequence count per APID, which `put_seqs` stores before a command leaves. The
# count of starts distinguishes the processes themselves, for the transaction numbers of files that go up.

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
        """Commit for a caller who cannot wait; see ArchiveFile.commit_promptly."""
        self._file.commit_promptly()

    def on_loss(self, call: Callable[[], None]) -> None:
        """Have `call` called whenever rows since the last commit were lost, those of any node."""
        self._file.on_loss.append(call)

    def around_commit(self, before: Callable[[], None], after: Callable[[], None]) -> None:
        """Have `before` called in time to write what belongs to a commit, `after` when its rows are safe."""
        self._file.before_commit.append(before)
        self._file.on_commit.append(after)

    def together(self) -> AbstractContextManager[None]:
        """Commit what is written in this block together, or none of it; see ArchiveFile.together."""
        return self._file.together()

    def hold(self) -> None:
        """Commit nothing before `release`; see ArchiveFile.hold."""
        self._file.hold()

    def release(self) -> None:
        """End what `hold` began; see ArchiveFile.release."""
        self._file.release()

    # What the station writes

    def add_packet(self, packet: DecodedPacket, octets: bytes, vcid: int, received_ns: int) -> None:
        """Add a packet with its samples, or its event. The octets of CFDP PDUs are left out: the file has them."""
        self._file.write(
            "INSERT INTO packets (node, received_ns, time_ns, vcid, apid, seq, service, subtype, kind, name, octets) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(self._node, received_ns, packet.time_ns, vcid, packet.apid, packet.seq, packet.service, packet.subtype,
              packet.kind, packet.name, None if packet.kind == PDU else octets)],
        )  # fmt: skip
        self.add_meaning(packet, received_ns)

    def add_meaning(self, packet: DecodedPacket, received_ns: int) -> None:
        """Add what a packet says: its samples, or its event."""
        time_ns = received_ns if packet.time_ns is None else packet.time_ns
        if packet.kind == HOUSEKEEPING:
            samples = {f"{packet.name}.{name}": value for name, value in packet.raw.items()}
            # Rare: the dictionary's own parameters are declared when it is put.
            if not samples.keys() <= self._parameter_ids.keys():
                self._declare({f"{packet.name}.{name}": field for name, field in packet.fields.items()})
            self.add_samples(samples, time_ns)
        elif packet.kind == EVENT:
            row = EventRow(time_ns, received_ns, packet.apid, packet.name, packet.severity, packet.text)
            self.add_event(row)

    def add_event(self, row: EventRow) -> None:
        """Add an event, without the packet in which it may have come."""
        self._file.write(
            "INSERT INTO events (node, time_ns, received_ns, apid, name, severity, text) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(self._node, row.time_ns, row.received_ns, row.apid, row.name, row.severity, row.text)],
        )

    def _declare(self, fields: Mapping[str, Field]) -> None:
        """Add parameters that the dictionary does not list: of structures defined from ground, and of rows."""
        self._file.write(
            "INSERT OR IGNORE INTO parameters (node, name, unit, labels) VALUES (?, ?, ?, ?)",
            [(self._node, name, f.unit, json.dumps(f.labels)) for name, f in fields.items()],
        )

    def add_samples(self, values: Mapping[str, Plain], time_ns: int) -> None:
        """Add raw values by parameter name; a name that nothing declared is entered without a unit."""
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
        """Put the time and raw value of what is now the newest sample of some parameters; see newest.py."""
        self._file.write(
            "INSERT OR REPLACE INTO newest SELECT node, id, ?, ? FROM parameters WHERE node = ? AND name = ?",
            [(time_ns, _storable(value), self._node, name) for name, (time_ns, value) in values.items()],
        )

    def put_command(self, record: CommandRecord, epoch_tai_ns: int) -> None:
        """Put a command as it stands now. epoch_tai_ns: TAI at time 0 of the ground's timeline."""
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
        """Return the highest command number, 0 before there is any."""
        return int(
            self._file.query("SELECT coalesce(max(number), 0) FROM commands WHERE node = ?", (self._node,))[0][0]
        )

    def put_seqs(self, seqs: Mapping[int, int]) -> None:
        """Put the sequence count of the next command, per APID."""
        self._put_meta(_SEQS, json.dumps(sorted(seqs.items())))

    def next_seqs(self) -> dict[int, int]:
        """Return per APID the sequence count to go on with: that of `put_seqs`, else the one after the newest."""
        rows = self._file.query(
            "SELECT apid, seq, max(number) FROM commands WHERE node = ? GROUP BY apid", (self._node,)
        )
        stored = self._meta(_SEQS)
        known = {} if stored is None else dict(json.loads(stored))
        return {apid: (seq + 1) % 16384 for apid, seq, _ in rows} | known

    def next_start(self) -> int:
        """Count this start of a ground process on this node, durably, and return how many there were.

        Raises OrbitnodeError if that cannot be written: nothing may be numbered by it then.
        """
        self._file.write(
            "INSERT INTO meta VALUES (?, ?, '1') "
            "ON CONFLICT (node, key) DO UPDATE SET value = CAST(value AS INTEGER) + 1",
            [(self._node, _STARTS)],
        )
        starts = self._meta(_STARTS)
        assert starts is not None
        self.commit()  # after it was read: another process may count as soon as this one lets go of the file
        return int(starts)

    def add_counters(self, values: Mapping[str, int], time_ns: int) -> None:
        """Add all counters of the ground as they stand at `time_ns`."""
        self._file.write(
            "INSERT INTO counters VALUES (?, ?, ?, ?)",
            [(self._node, time_ns, name, value) for name, value in values.items()],
        )

    def add_product(self, row: ProductRow) -> None:
        """Add a product, complete or not."""
        self._file.write(
            "INSERT INTO products (node, received_ns, name, octets, complete, sha256, missing, facts) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(self._node, row.received_ns, row.name, row.octets, row.complete, row.sha256, json.dumps(row.missing),
              json.dumps(dict(row.facts)))],
        )  # fmt: skip

    def add_alarm(self, alarm: Alarm) -> None:
        """Add a transition between limit states."""
        self._file.write(
            "INSERT INTO alarms (node, time_ns, parameter, previous, state, value, unit, text) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(self._node, alarm.time_ns, alarm.parameter, alarm.previous, alarm.state, alarm.value, alarm.unit,
              alarm.text)],
        )  # fmt: skip

    def put_dictionary(self, dictionary: Dictionary) -> None:
        """Put the dictionary by which the node is decoded from now on, and its parameters; commit."""
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
        """Return the dictionary with which the node's rows were written, None if there is none."""
        document = self._meta(_DICTIONARY)
        return None if document is None else Dictionary.from_document(json.loads(document))

    def series(self, parameter: str, start_ns: int = 0, end_ns: int = 2**63 - 1) -> list[tuple[int, Plain]]:
        """Return (TAI, raw value) of one parameter in order of packet time."""
        return self._file.query(
            "SELECT time_ns, value FROM samples WHERE node = ? AND parameter = "
            "(SELECT id FROM parameters WHERE node = ? AND name = ?) AND time_ns BETWEEN ? AND ? ORDER BY time_ns",
            (self._node, self._node, parameter, start_ns, end_ns),
        )

    def latest(self) -> dict[str, Sample]:
        """Return the newest sample of every parameter that has one: that of `put_newest`, else the latest in time."""
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
        """Return the newest events, oldest first; of one severity, or of all if it is empty."""
        rows = self._file.query(
            "SELECT time_ns, received_ns, apid, name, severity, text FROM events "
            "WHERE node = ? AND ? IN ('', severity) ORDER BY time_ns DESC, id DESC LIMIT ?",
            (self._node, severity, limit),
        )
        return [EventRow(*row) for row in reversed(rows)]

    def event_counts(self) -> dict[str, int]:
        """Return the number of events per severity."""
        return dict(
            self._file.query("SELECT severity, count(*) FROM events WHERE node = ? GROUP BY severity", (self._node,))
        )

    def commands(self, limit: int = 1000) -> list[CommandRow]:
        """Return the newest commands with their stages, oldest first."""
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
        """Return (TAI, value) of one counter in order of time."""
        return self._file.query(
            "SELECT time_ns, value FROM counters WHERE node = ? AND name = ? ORDER BY time_ns", (self._node, name)
        )

    def products(self) -> list[ProductRow]:
        """Return all products in order of reception."""
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
        """Return the newest alarms, oldest first."""
        rows = self._file.query(
            "SELECT time_ns, parameter, previous, state, value, unit, text FROM alarms "
            "WHERE node = ? ORDER BY id DESC LIMIT ?",
            (self._node, limit),
        )
        return [Alarm(*row) for row in reversed(rows)]

    def packets(self, name: str = "", limit: int = 100_000) -> list[tuple[int, int | None, int, bytes | None]]:
        """Return (received TAI, packet TAI, vcid, octets) in order of reception; of one name, or of all."""
        return self._file.query(
            "SELECT received_ns, time_ns, vcid, octets FROM packets WHERE node = ? AND ? IN ('', name) "
            "ORDER BY id LIMIT ?",
            (self._node, name, limit),
        )


def _storable(value: Plain) -> Plain:
    """Return a value that SQLite can hold: its integers are signed 64-bit, and it turns NaN into NULL."""
    if isinstance(value, int) and value >= 2**63:
        return float(value)  # the last digits are lost, the magnitude stays
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    return value


def _labelled(value: Plain, labels: str) -> Plain:
    known = json.loads(labels)
    return str(known[value]) if isinstance(value, int) and 0 <= value < len(known) else value
