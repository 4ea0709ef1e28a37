"""A CFDP entity: all transactions of one end, both directions, class 1 and 2 (CCSDS 727.0-B-5, 4 and 6).

Its owner hands in PDUs, the time and whether there is contact, asks for the next PDU to send, and answers StoreRecord
and FileComplete. It starts out of contact.
"""

# What an owner does, in short:
#
#     boot      restore_ended, then restore of each record; drop those that raise; set_contact once there is contact
#     always    on_pdu for what comes, next_pdu while the link has room, on_time at next_time_ns
#     StoreRecord          records(), content synced, records stored, then stored()
#     FileComplete         checksum, content durable under its name, filestore requests, then settle()
#     TransactionFinished  ended_record() stored, then the record deleted, and of a file that is not whole what there is
#     now and then         as for StoreRecord, so that a reboot costs little
#
# A transaction is known by its id and its direction. An entity may send to itself.

from __future__ import annotations

from collections.abc import Iterator

from flight.core.errors import DecodeError
from flight.link.cfdp.checksums import CHECKSUMS, NULL
from flight.link.cfdp.conditions import ConditionCode
from flight.link.cfdp.directives import Directive, Metadata
from flight.link.cfdp.file_data import octets_of_data
from flight.link.cfdp.header import FIXED_OCTETS, Header, TransactionId
from flight.link.cfdp.machines.record import RecordReader
from flight.link.cfdp.machines.sender import Sender
from flight.link.cfdp.machines.stored_transactions import record_of, restored_receiver, restored_sender
from flight.link.cfdp.machines.transaction import Workspace
from flight.link.cfdp.numbers import TransactionNumbers
from flight.link.cfdp.transactions.contact_clock import ContactClock
from flight.link.cfdp.transactions.entity_config import PDU_OCTETS_MIN, EntityConfig
from flight.link.cfdp.transactions.filestore import Filestore, FilestoreRefusal
from flight.link.cfdp.transactions.indications import Indication, PdusIgnored
from flight.link.cfdp.transactions.open_transactions import OpenTransactions
from flight.link.cfdp.transactions.requests import PutRefused, PutRequest, Refused, Retained, Role, TransactionStatus

_SMALL_OCTETS_MAX = 0xFFFFFFFF
_FILE_DATA = 0x10  # in the first octet of a PDU


class Entity:
    """One entity. Times are nanoseconds of one clock that never goes back."""

    def __init__(self, config: EntityConfig, filestore: Filestore, numbers: TransactionNumbers) -> None:
        assert config.pdu_octets >= PDU_OCTETS_MIN, config.pdu_octets
        self.config = config
        self._numbers = numbers
        self._filestore = filestore
        self._clock = ContactClock()
        self._work = Workspace(config, filestore)
        self.counters = self._work.counters
        self._open = OpenTransactions(self._work)
        self._turns = self._open.turns

    # What a user asks

    def put(self, request: PutRequest, now_ns: int) -> TransactionId:
        """Begin to send a file (Put.request). Raises PutRefused. Only `next_pdu` then reads from the file."""
        config = self.config
        assert request.priority >= 0, request
        self._set_time(now_ns)
        if not self.has_room:
            raise PutRefused(f"{len(self._open.senders)} files are being sent, {config.transactions} at most")
        has_file = bool(request.source_name or request.name)
        try:
            file = self._filestore.open_source(request.source_name) if has_file else None
        except FilestoreRefusal as refusal:
            raise PutRefused(f"{request.source_name}: {refusal.text}") from None
        octets = 0 if file is None else file.octets
        kind = config.checksum_type if request.checksum_type is None else request.checksum_type
        if kind not in CHECKSUMS:
            raise PutRefused(f"checksum type {kind} is unknown, should be one of {', '.join(map(str, CHECKSUMS))}")
        header = Header(
            self._new_id(), request.destination, request.mode, octets > _SMALL_OCTETS_MAX, config.crc,
            config.entity_octets, config.number_octets,
        )  # fmt: skip
        metadata = Metadata(
            header, octets, kind if has_file else NULL, request.source_name, request.name, request.closure,
            request.options,
        )  # fmt: skip
        try:
            metadata_octets = len(metadata.encode())
        except ValueError as error:
            raise PutRefused(str(error)) from None
        if metadata_octets > config.pdu_octets or octets_of_data(header, config.pdu_octets) < 1:
            raise PutRefused(f"metadata of {metadata_octets} octets, a PDU has {config.pdu_octets} at most")
        sender = Sender(self._work, metadata, file, request.source_name, request.priority)
        self._open.add_sender(sender)
        return sender.id

    def _new_id(self) -> TransactionId:
        while True:  # a number in use comes back only if the mark of starts was lost: the next one is free
            transaction = TransactionId(self.config.entity, self._numbers.take())
            if not self._open.find(transaction) and self._open.ended.find(Role.SENDER, transaction) is None:
                return transaction

    def cancel(self, transaction: TransactionId, now_ns: int) -> list[Indication]:
        """Cancel a transaction (Cancel.request). Nothing happens if it is not open, or already decided."""
        self._set_time(now_ns)
        for end in self._open.find(transaction):
            end.cancel(ConditionCode.CANCEL_REQUEST_RECEIVED)
        return self._take_told()

    def suspend(self, transaction: TransactionId, now_ns: int) -> list[Indication]:
        """Suspend a transaction until `resume` (Suspend.request), over contacts and reboots."""
        self._set_time(now_ns)
        for end in self._open.find(transaction):
            end.suspend()
        return self._take_told()

    def resume(self, transaction: TransactionId, now_ns: int) -> list[Indication]:
        """Go on with a transaction that is suspended, or rests (Resume.request)."""
        self._set_time(now_ns)
        for end in self._open.find(transaction):
            end.resume()
        return self._take_told()

    def prompt(self, transaction: TransactionId, keep_alive: bool) -> None:
        """Ask the receiver for its progress, or else for what it is missing (4.6.5.3, 4.6.4.4)."""
        sender = self._open.senders.get(transaction)
        if sender is not None:
            sender.prompt(keep_alive)

    def report(self, transaction: TransactionId) -> TransactionStatus | None:
        """Return how a transaction stands, None if it is not open (Report.request)."""
        ends = self._open.find(transaction)
        return ends[0].report() if ends else None

    def transactions(self) -> list[TransactionStatus]:
        """Return how all open transactions stand: those that send first, in the order in which they began."""
        return [transaction.report() for transaction in self._open]

    # The link

    def on_pdu(self, raw: bytes | memoryview, now_ns: int) -> list[Indication]:
        """Take one PDU, whatever its octets. What is ignored is counted by reason; see `ignored`."""
        work = self._work
        work.at_ns = self._clock.at(now_ns)
        self._open.on_pdu(raw)
        return self._take_told() if work.told or work.finished else []

    def next_pdu(self, now_ns: int) -> bytes | None:
        """Return the next PDU to send, None if there is none or no contact.

        What it brings about (EofSent, TransactionFinished, Faulted) is told by the next call of `on_time`, which is due
        at once then.
        """
        clock = self._clock
        if not clock.in_contact:
            return None
        work = self._work
        work.at_ns = clock.at(now_ns)
        raw = self._turns.next_pdu()
        if work.finished:
            self._open.collect()
        if raw is not None:
            if raw[0] & _FILE_DATA:
                work.counters.data_out += 1
            else:
                work.counters.pdus_out[_directive(raw).name.lower()] += 1
        return raw

    def set_contact(self, in_contact: bool, now_ns: int) -> list[Indication]:
        """Take in that a contact began or ended. Nothing is sent, and no time runs, out of contact."""
        if self._clock.set_contact(in_contact, now_ns):
            self._set_time(now_ns)
            self._work.stale = True
            for transaction in list(self._open):
                if in_contact:
                    transaction.on_contact()
            for sender in self._open.senders.values():
                if not in_contact:
                    sender.contact_ended()
        return self._take_told()

    def on_time(self, now_ns: int) -> list[Indication]:
        """Let the timers that ran out do their work. Call it at `next_time_ns` or later."""
        self._set_time(now_ns)
        work = self._work
        if self._clock.in_contact and work.wake_ns is not None and work.at_ns >= work.wake_ns:
            for transaction in list(self._open):
                transaction.on_timer()
            timers = (transaction.timer_ns for transaction in self._open)
            work.wake_ns = min((timer_ns for timer_ns in timers if timer_ns is not None), default=None)
        return self._take_told()

    @property
    def next_time_ns(self) -> int | None:
        """When `on_time` wants to be called: None for never, 0 for at once. It may be early, never late."""
        if self._work.told or self._work.finished:
            return 0
        return None if self._work.wake_ns is None else self._clock.when(self._work.wake_ns)

    @property
    def wants_data(self) -> bool:
        """Whether no sender has new data left, so that the owner may `put` the next file."""
        return not self._turns.has_new

    @property
    def has_room(self) -> bool:
        """Whether one more file may be sent: else `put` refuses it."""
        return len(self._open.senders) < self.config.transactions

    def ignored(self, now_ns: int) -> list[PdusIgnored]:
        """Return what was ignored since the last report of the same reason, if a report is due.

        Call it after `on_pdu`, and now and then.
        """
        return self._work.ignored.reports(now_ns)

    # The owner's answers

    def settle(self, transaction: TransactionId, outcome: Retained | Refused, now_ns: int) -> list[Indication]:
        """Answer FileComplete. Nothing happens if the transaction does not wait for it any more."""
        self._set_time(now_ns)
        receiver = self._open.receivers.get(transaction)
        if receiver is not None:
            receiver.settle(outcome)
        return self._take_told()

    def stored(self, transaction: TransactionId, now_ns: int) -> list[Indication]:
        """Answer StoreRecord: what `records` returned last for this transaction is durable.

        If what waits is newer than that, it still waits: the owner has another StoreRecord to answer.
        """
        self._set_time(now_ns)
        receiver = self._open.receivers.get(transaction)
        if receiver is not None:
            receiver.stored()
        return self._take_told()

    # What outlives a reboot

    def records(self, changed: bool = True) -> list[tuple[TransactionId, bytes]]:
        """Return the records of all open transactions, or of those that changed since they were returned last.

        File content that a record speaks of must be durable before the record is.
        """
        return list(self.each_record(changed))

    def each_record(self, changed: bool = True) -> Iterator[tuple[TransactionId, bytes]]:
        """Yield what `records` returns. Each is made when its turn comes, since all together may take long.

        Between two of them the caller may do what it likes with the entity.
        """
        for transaction in [each for each in self._open if each.changed or not changed]:
            if not transaction.ended:
                yield transaction.id, record_of(transaction)

    def restore(self, record: bytes, now_ns: int) -> TransactionId:
        """Go on with a transaction of the life before. Raises DecodeError if this is not its record; drop it then.

        Restore `ended_record` first. What follows from it is told by the next `on_time`, which is due at once.
        """
        self._set_time(now_ns)
        reader = RecordReader(record)
        if reader.kind not in tuple(Role):
            raise DecodeError(f"CFDP record of kind {reader.kind}, should be that of a sender or a receiver")
        # A restored transaction tells the owner at once what it has to tell, so it is checked before it is made.
        role = Role(reader.kind)
        header = reader.first_header()
        transaction = header.transaction
        if self.config.entity != (transaction.source if role is Role.SENDER else header.destination):
            raise DecodeError("CFDP record of a transaction of another entity")
        if any(end.role is role for end in self._open.find(transaction)):
            raise DecodeError("CFDP record of a transaction that is open")
        if self._open.ended.find(role, transaction) is not None:
            raise DecodeError("CFDP record of a transaction that has ended")
        if role is Role.SENDER:
            self._open.add_sender(restored_sender(self._work, reader))
        else:
            self._open.add_receiver(restored_receiver(self._work, reader))
        return transaction

    def ended_record(self) -> bytes:
        """Return what is remembered of transactions that ended, for `restore_ended`. Store it when one finishes."""
        return self._open.ended.record()

    def restore_ended(self, record: bytes) -> None:
        """Remember the transactions that ended in the life before. Raises DecodeError if this is not their record."""
        self._open.ended.restore(record)

    def _set_time(self, now_ns: int) -> None:
        self._work.at_ns = self._clock.at(now_ns)

    def _take_told(self) -> list[Indication]:
        work = self._work
        if work.finished:
            self._open.collect()
        told, work.told = work.told, []
        return told


def _directive(raw: bytes) -> Directive:
    """Return which directive a PDU of ours is."""
    widths = raw[3]
    return Directive(raw[FIXED_OCTETS + 2 * ((widths >> 4 & 7) + 1) + (widths & 7) + 1])
