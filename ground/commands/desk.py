"""The station's desk for commands: from a name and arguments to a packet, and the record of what becomes of it.

Sans-IO but for the archive.
"""

# Order within one call of the station, which must stay: encode (takes a sequence count), begin the record (takes a
# number), write both and the next counts to the archive, commit, and only then hand the packet to the link. A ground
# that is killed at any instant between has sent nothing, or has on disk what it sent. So the next one can give neither
# that number nor that request id to another command (ADR 0018).
#
# The commit is the prompt one: an operator waits for it, while copying SQLite's log into the file can be done later.
#
# A scheduled command has two records. Its insertion is an ordinary command that completes when the node holds it; the
# command itself ends when it was executed, perhaps days later. `_insertions` joins them: a refused insertion ends both,
# a lost one says nothing of the other, since the node may hold it all the same.

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from flight.contract.dictionary import Dictionary
from flight.core.errors import OrbitnodeError
from flight.core.utc.leap_seconds import LeapSeconds
from ground.changes import Change, Listeners
from ground.commands.commanding import CommandEncoder, first_counts
from ground.commands.recall import Recall
from ground.commands.verification import CommandTracker
from ground.link.actions import Acknowledged, Lost, Rejected
from ground.operator import COMPLETED, FAILED, REJECTED, CommandRecord
from ground.telemetry.archive_writer import ArchiveWriter
from ground.telemetry.decoder import Decoder
from ground.telemetry.node_archive import NodeArchive


class CommandDesk:
    """Begins commands and follows them: `encoder` numbers their packets, `tracker` holds the records."""

    def __init__(
        self, dictionary: Dictionary, writer: ArchiveWriter, listeners: Listeners, *, timeout_s: float, epoch: int,
        epoch_tai_ns: int, onboard_ns: Callable[[int], int | None], realtime: list[int], leap_seconds: LeapSeconds,
    ) -> None:  # fmt: skip
        """realtime: virtual channels that carry what the node made just now."""
        archive = writer.archive
        known = archive.next_seqs() if archive else {}
        self.encoder = CommandEncoder(
            dictionary, first_seq=first_counts(dictionary, epoch, known), leap_seconds=leap_seconds
        )
        self.tracker = CommandTracker(
            dictionary.failures, timeout_s=timeout_s, first_number=archive.last_command() + 1 if archive else 1,
            durable=frozenset(c.name for c in dictionary.commands if c.durable), onboard_ns=onboard_ns,
        )  # fmt: skip
        self._writer = writer
        self._listeners = listeners
        self._epoch_tai_ns = epoch_tai_ns
        self._recall = Recall(archive, self.tracker, epoch_tai_ns, realtime) if archive else None
        self._insertions: dict[int, int] = {}  # number of an insertion: number of the command that it schedules

    def settle(self, decoder: Decoder, now_ns: int) -> None:
        """End the open commands of an earlier ground. Does something at its first call alone."""
        # Not in __init__: listeners are there only later, and the records need a time at which they end.
        recall, self._recall = self._recall, None
        if recall is None:
            return

        def settle(_: NodeArchive) -> None:
            for record in recall.settle(decoder, now_ns):
                self.changed(record)

        self._writer.write(settle)

    def begin(
        self, name: str, arguments: Mapping[str, object], now_ns: int, *, raw: bool, bypass: bool,
        timeout_s: float | None,
    ) -> tuple[CommandRecord, bytes]:  # fmt: skip
        """Begin a command; return its record, which goes on changing, and its packet. Raises OrbitnodeError."""
        self._check_room()
        encoded = self.encoder.encode(name, arguments, raw=raw)
        record = self.tracker.begin(encoded, now_ns, timeout_s, bypass=bypass)
        self.changed(record)
        self._commit()
        return record, encoded.packet

    def begin_scheduled(
        self, name: str, arguments: Mapping[str, object], release_ns: int, due_ns: int, now_ns: int, *, group: int,
        sub_schedule: int,
    ) -> tuple[CommandRecord, CommandRecord, bytes]:  # fmt: skip
        """Begin a command for `release_ns` of on-board TAI, which is `due_ns` on the ground's timeline.

        Return the records of its insertion and of itself, and the insertion's packet. Raises OrbitnodeError.
        """
        self._check_room()
        held = self.encoder.encode(name, arguments)
        rows = [(group, release_ns, held.packet)]
        insertion = self.encoder.encode("insert_activities", {"sub_schedule": sub_schedule, "activities": rows})
        scheduled = self.tracker.begin_scheduled(held, now_ns, due_ns, release_ns)
        record = self.tracker.begin(insertion, now_ns)
        self._insertions[record.number] = scheduled.number
        self.changed(scheduled)
        self.changed(record)
        self._commit()
        return record, scheduled, insertion.packet

    def _check_room(self) -> None:
        if not self.tracker.has_room:
            raise OrbitnodeError(f"{self.tracker.open_count} commands are open, wait until some of them have ended")

    def on_link(self, action: Acknowledged | Rejected | Lost, now_ns: int) -> None:
        """Take from the link what became of a command; the action's tag is the number of its record."""
        number = action.tag
        assert isinstance(number, int), number
        match action:
            case Acknowledged():
                self.changed(self.tracker.acknowledged(number, now_ns))
            case Rejected():
                self.changed(self.tracker.rejected(number, action.reason, now_ns))
            case Lost():
                self.changed(self.tracker.lost(number, action.reason, now_ns))

    def changed_all(self, records: Iterable[CommandRecord]) -> None:
        """Keep and announce each of these records: it has a new stage."""
        for record in records:
            self.changed(record)

    def changed(self, record: CommandRecord | None) -> None:
        """Keep and announce this record, if any: it has a new stage."""
        if record is None:
            return
        number = None if record.is_open else self._insertions.pop(record.number, None)
        if number is not None:
            self._insertion_ended(record, number)
        self._writer.write(lambda a: a.put_command(record, self._epoch_tai_ns))
        self._listeners.announce(Change.COMMAND, record)

    def _insertion_ended(self, insertion: CommandRecord, number: int) -> None:
        """Take from the outcome of an insertion what it says of the scheduled command; a lost one says nothing."""
        now_ns = insertion.stages[-1].now_ns
        if insertion.outcome == COMPLETED:
            self.tracker.inserted(number, now_ns)
        elif insertion.outcome in (FAILED, REJECTED):
            self.tracker.rejected(number, f"not scheduled: {insertion.reason}", now_ns)
        self.changed(self.tracker.record(number))

    def _commit(self) -> None:
        """Make number and count durable before the command is on the air; see the head of the file."""
        self._writer.write(lambda a: a.put_seqs(self.encoder.next_seqs()))
        self._writer.commit(promptly=True)
