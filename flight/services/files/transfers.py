"""The node's CFDP entity over its file store: PDUs of both directions, timers, and records that survive a reboot.

    from the uplink --PDUs of the file APID--> entity --octets--> draft --all here, checked, durable--> file
    file --octets--> entity --one PDU per packet--> products channel of whatever link asks first

The outbox says which files go down, completion.py makes files of what came up, and peer_requests.py does what the
ground asks in messages. Everybody else asks this service about transactions by their id.
"""

# Time. The entity is called at the time it names, by one task, which otherwise sleeps: with nothing to do there is not
# one step. Whatever is done with the entity may bring that time forward, so each call ends in `_follow`.
#
# Contact is that of the links which carry products. Out of contact the entity's clocks stand, so nothing runs out
# between two passes. PDUs that come all the same are taken.
#
# What waits for the disk. The acknowledgement of an EOF and the Finished wait for the record of the transaction
# (StoreRecord): they promise that the node knows of it after a loss of power. Everything else is stored every
# `record_s` while anything changes. Content is written ahead of the record that speaks of it, and storage keeps that
# order. A store that failed is tried again with the next progress.
#
# A boot, in this order: transactions that have ended are remembered; each record whose content is still there goes back
# to the entity; what is left of contents without an owner, the store sweeps away. A record that is damaged, or whose
# content is gone, costs its transaction alone, and an event says so.
#
# A transaction that has ended keeps its record until what follows from it is durable. If the power goes before that,
# the next boot hears of its end once more.
#
# PDUs of a link are handed on in its own step, a few at a time: 2 microseconds each, and the write of a segment.

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from flight.contract.app import EventSink, Sample
from flight.contract.service import Sampler, Service, ServiceTask
from flight.core.errors import DecodeError
from flight.core.future import Event, Future
from flight.core.nanoseconds import NS, ns
from flight.core.task import Task
from flight.link.cfdp.conditions import ConditionCode, FaultHandler
from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.transactions.entity import Entity
from flight.link.cfdp.transactions.filestore import FilestoreRefusal
from flight.link.cfdp.transactions.indications import (
    LATE,
    EofSent,
    Faulted,
    FileComplete,
    Indication,
    MetadataReceived,
    StoreRecord,
    TransactionFinished,
)
from flight.link.cfdp.transactions.requests import PutRequest, Refused, Retained, Role
from flight.link.space_packet import HEADER_OCTETS, SpacePacket
from flight.services.files.node_filestore import NodeFilestore
from flight.services.files.transfer_records import RecordDuty, TransferRecord, TransferRecords, Whose
from flight.services.reporting.telemetry import SEQUENCE_MODULUS
from flight.store.files.file_entry import FileEntry
from flight.store.files.refusal import FileRefused

_TELECOMMAND = 0x1000  # type bit of the first header word (133.0-B-2, 4.1.3.3.2)
_NEVER = 1 << 63


class Sending(Protocol):
    """Who decides which files go down, as far as the transfers ask it."""

    def feed(self) -> bool:
        """Begin a file if it is time for one; return False if nothing may be sent yet."""

    def contact_began(self) -> None:
        """Take in that a contact began."""

    def eof_sent(self, transaction: TransactionId) -> None:
        """Take in that a transfer has no new data left."""

    def stopped(self, transaction: TransactionId) -> None:
        """Take in that a command cancels a transfer."""

    def ended(self, finished: TransactionFinished, number: int) -> None:
        """Take in how a transfer of the file `number` ended; `FileTransfers.forget` is due when that is durable."""


class Receiving(Protocol):
    """Who makes files of what has come up, and does what else the ground asked for."""

    def complete(self, complete: FileComplete) -> None:
        """Take in that all octets of a file are here. `FileTransfers.settle` is the answer."""

    def ended(self, finished: TransactionFinished) -> None:
        """Take in how a transaction of the ground ended. `FileTransfers.forget` is due then."""

    def answered(self, finished: TransactionFinished) -> None:
        """Take in how a transaction ended that the ground had asked for."""


class RestReports:
    """Reports that transfers rest: each once, and again if the reason is another or it has got on."""

    def __init__(self, entity: Entity, events: EventSink) -> None:
        self._entity = entity
        self._events = events
        self._told: dict[TransactionId, tuple[ConditionCode, int]] = {}

    def faulted(self, fault: Faulted) -> None:
        """Take in a fault; one that ends its transaction is reported by the end."""
        if fault.handler is not FaultHandler.SUSPEND:
            return
        transaction, status = fault.transaction, self._entity.report(fault.transaction)
        rest = fault.condition, 0 if status is None else status.octets_done
        if self._told.get(transaction) == rest:
            return  # a ground that is deaf for some passes would fill the log with it
        self._told[transaction] = rest
        name = "" if status is None else status.name or status.source_name
        reason = fault.text or fault.condition.text
        self._events.emit("transfer_rests", name or "a file without a name", reason, transaction.number)

    def forget(self, transaction: TransactionId) -> None:
        """Take in that a transaction has ended."""
        self._told.pop(transaction, None)


class FileTransfers(Service):
    """All file transfers of the node. `entity` may be asked anything; changes go through the methods here."""

    def __init__(
        self, apid: int, entity: Entity, filestore: NodeFilestore, records: TransferRecords, *, record_s: float,
        events: EventSink, now_ns: Callable[[], int],
    ) -> None:  # fmt: skip
        """apid: that of files. Restores what was open before this boot."""
        self.entity = entity
        self.filestore = filestore
        self.on_ready: Callable[[], None] = lambda: None  # a link may have to be woken
        self.in_contact = False
        self._apid = apid
        self._first_octets = (_TELECOMMAND | apid).to_bytes(2, "big")
        self._sequence = 0
        self._records = records
        self._events = events
        self.now_ns = now_ns
        self._sending: Sending
        self._receiving: Receiving
        self._whose: dict[TransactionId, Whose] = {}
        self._rests = RestReports(entity, events)
        self._quiet = True  # the links were told that there is nothing to send
        self._armed_ns = _NEVER
        self._sooner = Event()  # the entity wants to be called sooner than the task sleeps
        self._duty = RecordDuty(records, entity, self._record, self._stored, ns(record_s), now_ns)
        self.completed = self.cancelled = 0
        self._restore()

    def use(self, sending: Sending) -> None:
        """Let `sending` decide which files go down."""
        self._sending = sending

    def receive_by(self, receiving: Receiving) -> None:
        """Let `receiving` make files of what comes up."""
        self._receiving = receiving

    # What other services ask

    def sending(self, whose: Whose) -> dict[TransactionId, int]:
        """Return the open transactions down that are of `whose`, with the numbers of their files."""
        sources = self.filestore.sources
        return {each: number for each, number in sources.items() if self._whose.get(each) is whose}

    def is_used(self, entry: FileEntry) -> bool:
        """Return whether a transaction is sending the file, so that it must stay as it is."""
        return self.filestore.is_source(entry)

    def put(self, request: PutRequest, whose: Whose) -> TransactionId:
        """Begin to send a file. Raises PutRefused."""
        transaction = self.entity.put(request, self.now_ns())
        self._whose[transaction] = whose
        self.filestore.sent_by(transaction, request.source_name)
        self._duty.progress()
        self._follow()
        return transaction

    def suspend(self, transaction: TransactionId) -> Future[None]:
        """Suspend a transaction; the future is done once that outlives a loss of power, or has a StorageError."""
        self._handle(self.entity.suspend(transaction, self.now_ns()))
        return self._duty.durable()

    def resume(self, transaction: TransactionId) -> Future[None]:
        """Go on with a suspended transaction, see `suspend`."""
        self._handle(self.entity.resume(transaction, self.now_ns()))
        return self._duty.durable()

    def cancel(self, transaction: TransactionId) -> Future[None]:
        """Cancel a transaction, see `suspend`. The file that it was sending rests."""
        self._sending.stopped(transaction)
        self._handle(self.entity.cancel(transaction, self.now_ns()))
        return self._duty.durable()

    def settle(self, transaction: TransactionId, outcome: Retained | Refused) -> None:
        """Answer FileComplete: what was received is kept, or why not."""
        self._duty.progress()
        self._handle(self.entity.settle(transaction, outcome, self.now_ns()))

    def forget(self, transaction: TransactionId) -> None:
        """Let go of a transaction that has ended: what follows from it is durable."""
        self.filestore.forget(transaction)
        self._whose.pop(transaction, None)
        self._rests.forget(transaction)
        self._records.drop(transaction)
        self._duty.ended()

    def ready(self) -> None:
        """Take in that a file waits: a link that had nothing to send is woken."""
        if self._quiet and self.in_contact:
            self._quiet = False
            self.on_ready()

    # The links

    def on_packet(self, raw: bytes) -> bool:
        """Take a whole packet from the uplink. Return False if it carries no PDU.

        A PDU travels in a telecommand packet of the file APID without a PUS header.
        """
        # Packet type, no secondary header, and the APID: two octets of the header say all of it.
        if raw[:2] != self._first_octets:
            return False
        now_ns = self.now_ns()
        self._duty.progress()
        self._handle(self.entity.on_pdu(memoryview(raw)[HEADER_OCTETS:], now_ns))
        self._tell_ignored(now_ns)
        return True

    def take(self) -> bytes | None:
        """Take the next packet for the products channel, or return None if there is nothing to send."""
        pdu = self.entity.next_pdu(self.now_ns()) if self._sending.feed() else None
        if pdu is None:
            self._quiet = True
            self._follow()
            return None
        self._duty.progress()
        self._follow()
        packet = SpacePacket(self._apid, self._sequence, pdu).encode()
        self._sequence = (self._sequence + 1) % SEQUENCE_MODULUS
        return packet

    def set_contact(self, in_contact: bool) -> None:
        """Take in whether a link that carries products has contact."""
        if in_contact == self.in_contact:
            return
        self.in_contact = in_contact
        if in_contact:
            self._sending.contact_began()
        self._handle(self.entity.set_contact(in_contact, self.now_ns()))

    # What the entity says

    def _handle(self, indications: list[Indication]) -> None:
        for indication in indications:
            self._on(indication)
        self._follow()
        self.ready()

    def _on(self, indication: Indication) -> None:
        match indication:
            case StoreRecord(transaction):
                self._duty.ask(transaction)
            case FileComplete():
                self._receiving.complete(indication)
            case EofSent(transaction):
                self._sending.eof_sent(transaction)
            case Faulted():
                self._rests.faulted(indication)
            case TransactionFinished():
                self._finished(indication)
            case MetadataReceived():
                pass

    def _finished(self, finished: TransactionFinished) -> None:
        # A sender of class 1 knows no more than that all was sent.
        whole = finished.whole or (finished.role is Role.SENDER and finished.condition is ConditionCode.NO_ERROR)
        self.completed += whole
        self.cancelled += not whole
        self._duty.ended()
        transaction = finished.transaction
        if finished.role is Role.RECEIVER:
            self._receiving.ended(finished)
        elif self._whose.get(transaction) is Whose.OUTBOX:
            self._sending.ended(finished, self.filestore.sources.get(transaction, 0))
        else:
            self._receiving.answered(finished)

    def _tell_ignored(self, now_ns: int) -> None:
        for ignored in self.entity.ignored(now_ns):
            transaction = ignored.transaction
            if ignored.reason == LATE and transaction is not None and transaction.source == self.entity.config.entity:
                continue  # an answer that was repeated, because the one before was lost on its way
            number = ignored.transaction.number if ignored.transaction is not None else 0
            name = ignored.name or (f"transaction {number}" if ignored.transaction is not None else "no transaction")
            self._events.emit("upload_ignored", ignored.count, name, ignored.meaning, number)

    # Time

    def tasks(self) -> Iterable[ServiceTask]:
        """Return the task that calls the entity at its time, and the one that stores records."""
        return (
            ServiceTask("files", self.run, deadline_s=0.2),
            ServiceTask("files.records", self._duty.run, deadline_s=0.2),
        )

    async def run(self, task: Task) -> None:
        """Call the entity whenever it wants to be called."""
        while True:
            self._sooner.clear()
            now_ns, next_ns = self.now_ns(), self.entity.next_time_ns
            if next_ns is not None and next_ns <= now_ns:
                self._handle(self.entity.on_time(now_ns))
                self._tell_ignored(now_ns)
                await task.sleep(0)
                continue
            self._armed_ns = _NEVER if next_ns is None else next_ns
            await task.first((self._sooner.wait(),), None if next_ns is None else (next_ns - now_ns) / NS)

    def _follow(self) -> None:
        """Wake the task if the entity wants to be called before the task would wake by itself."""
        next_ns = self.entity.next_time_ns
        if next_ns is not None and next_ns < self._armed_ns:
            self._armed_ns = next_ns
            self._sooner.set()

    # Records

    def _stored(self, transaction: TransactionId) -> None:
        """Take in that what a transaction waits for is durable."""
        self._handle(self.entity.stored(transaction, self.now_ns()))

    def _record(self, transaction: TransactionId, state: bytes) -> TransferRecord:
        whose, filestore = self._whose.get(transaction, Whose.PEER), self.filestore
        number, octets = filestore.number_of(transaction), filestore.grown_octets(transaction)
        return TransferRecord(transaction, whose, number, octets, state)

    def _restore(self) -> None:
        """Give the entity back what the boot before has stored."""
        now_ns = self.now_ns()
        if (ended := self._records.load_ended()) is not None:
            try:
                self.entity.restore_ended(ended)
            except DecodeError as error:
                self._events.emit("transfer_dropped", "ended", str(error))
        for record in list(self._records.load()):
            try:
                self._restore_one(record, now_ns)
            except (DecodeError, FileRefused) as error:
                self._events.emit("transfer_dropped", f"transaction {record.transaction.number}", str(error))
                self.filestore.forget(record.transaction)
                self._records.drop(record.transaction)
        for name, fault in self._records.damaged:
            self._events.emit("transfer_dropped", name, fault)

    def _restore_one(self, record: TransferRecord, now_ns: int) -> None:
        """Restore one transaction. Raises DecodeError or FileRefused if it cannot go on."""
        transaction, whose = record.transaction, record.whose
        if whose is Whose.PEER:
            if record.number:
                self.filestore.resume(transaction, record.number, record.octets)
        elif record.number:
            if self.filestore.store.of_number(record.number) is None:
                # Its file was deleted, most likely because ground has it: nothing is left to do.
                self._records.drop(transaction)
                return
            self.filestore.sources[transaction] = record.number
        if self.entity.restore(record.state, now_ns) != transaction:
            raise DecodeError("its record is of another transaction")
        self._whose[transaction] = whose
        if not self._fits(record):
            self.entity.cancel(transaction, now_ns)

    def _fits(self, record: TransferRecord) -> bool:
        """Return whether a restored transaction can still have the file that it is about."""
        status = self.entity.report(record.transaction)
        if status is None or not record.number:
            return True
        if record.whose is Whose.PEER:
            if status.name and status.octets is not None:
                try:  # the draft gets its name and its length back
                    self.filestore.admit(record.transaction, status.name, status.octets)
                except FilestoreRefusal:
                    return False
            return True
        entry = self.filestore.store.of_number(record.number)
        return entry is not None and entry.path == status.source_name

    # Telemetry

    def samplers(self) -> Iterable[Sampler]:
        """Return the sampler of the transfers' fields of the structure "files"."""
        return (Sampler("files", self.sample),)

    def sample(self) -> Sample:
        """Return what the structure "files" says of transactions."""
        statuses, counters = self.entity.transactions(), self.entity.counters
        down = [status for status in statuses if status.role is Role.SENDER]
        up = [status for status in statuses if status.role is Role.RECEIVER]
        return {
            "sending": len(down),
            "sending_octets": sum(status.octets or 0 for status in down),
            "sent_octets": sum(status.octets_done for status in down),
            "receiving": len(up),
            "receiving_octets": sum(status.octets or 0 for status in up),
            "received_octets": sum(status.octets_done for status in up),
            "suspended": sum(status.suspended or status.resting for status in statuses),
            "completed": self.completed,
            "cancelled": self.cancelled,
            "pdus_in": counters.data_in + counters.pdus_in.total(),
            "pdus_out": counters.data_out + counters.pdus_out.total(),
            "repeated_octets": counters.resent_octets,
        }
