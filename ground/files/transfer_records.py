"""Records of transfers: what is stored when, and what a ground that starts goes on with."""

# The entity says what has changed (`records`), and when something waits for the disk (StoreRecord): the word that
# everything is here, and that the file is kept, go to the node only once a record says so. Octets are synced before the
# record that speaks of them: if that takes long, a thread is at it (working_file.py), and the record as it was when the
# sync began is stored once that has ended. So on a slow disk records come late, and the loop does not wait.
#
# A disk that is full keeps records from being written. Then the word to the node waits, nothing is lost, and what could
# not be stored is tried again with the next commit.
#
# What is found at a start and cannot be used is dropped, never a reason not to start: a damaged record, octets that are
# fewer than the record says (a power cut with a disk that lied), a copy that somebody has deleted. The node, or the
# operator, begins such a transfer again, and a file that was kept twice is recognised.

from __future__ import annotations

import re
from dataclasses import dataclass

from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS
from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.transactions.entity import Entity
from flight.link.cfdp.transactions.indications import Indication
from ground.files.ground_filestore import ArrivingFile, GroundFilestore
from ground.files.outgoing import Outgoing
from ground.files.transfer_folder import StoredTransfer, TransferFolder
from ground.files.working_file import FolderFault, WorkingFile

_FAULT_S = 60  # between two reports of one fault
_ARRIVING = re.compile(r"down-(\d+)-(\d+)")


@dataclass(frozen=True, slots=True)
class _LateRecord:
    """A record that waits until the octets that it speaks of are durable, the first `written` of the file."""

    working: WorkingFile
    written: int
    facts: dict[str, object]
    record: bytes


class TransferRecords:
    """Stores and restores the transfers of one entity. `outgoing` has all that go up.

    fault: why something could not be stored at the last try, "" if all was.
    """

    def __init__(self, folder: TransferFolder, filestore: GroundFilestore, entity: Entity) -> None:
        self.outgoing: dict[TransactionId, Outgoing] = {}
        self.fault = ""
        self._folder = folder
        self._filestore = filestore
        self._entity = entity
        self._unsaved: set[TransactionId] = set()
        self._awaited: set[TransactionId] = set()  # those with a StoreRecord to be answered
        self._late: dict[TransactionId, _LateRecord] = {}
        self._ended_unsaved = False
        self._told = ("", 0)  # the newest fault that was told, and from when on it is told again

    def fault_to_tell(self, now_ns: int) -> str:
        """Return the fault if it is new, or was told long ago; else nothing."""
        told, again_ns = self._told
        if not self.fault or (self.fault == told and now_ns < again_ns):
            return ""
        self._told = (self.fault, now_ns + _FAULT_S * NS)
        return self.fault

    @property
    def wait(self) -> bool:
        """Whether something is to be stored that could not be, or that the entity waits for."""
        return bool(self._unsaved or self._awaited or self._ended_unsaved)

    @property
    def is_ready(self) -> bool:
        """Whether octets have become durable for which a record waits: `store` can store it now."""
        return any(_is_durable(late) for late in self._late.values())

    def restore(self, now_ns: int) -> list[str]:
        """Take up what an earlier ground left; return a text for each transfer that is not gone on with."""
        faults = self._folder.faults
        ended = self._folder.ended()
        if ended is not None:
            try:
                self._entity.restore_ended(ended)
            except DecodeError as error:
                faults.append(f"transactions that have ended are not known any more: {error}")
        for stored in self._folder.take_stored():
            why = self._restore(stored, now_ns)
            if why:
                faults.append(f"transfer {stored.key} is not gone on with: {why}")
                self._folder.forget(stored.key)
        return faults

    def await_stored(self, transaction: TransactionId) -> None:
        """Have `store` tell the entity once the record of this transaction is durable."""
        self._awaited.add(transaction)

    def store(self, now_ns: int, *, wait: bool = False) -> list[Indication]:
        """Store whatever has changed, or could not be stored before; return what the entity says to it.

        wait: also for octets that take long to get to the disk. Else their record is stored by a later call.
        """
        self.fault = ""
        changed = dict(self._entity.records())
        if self._unsaved:
            changed |= {name: record for name, record in self._entity.records(changed=False) if name in self._unsaved}
        self._unsaved &= changed.keys()
        for transaction, record in changed.items():
            self._save(transaction, record, wait=wait)
        if self._ended_unsaved:
            self.store_ended()
        indications: list[Indication] = []
        for transaction in sorted(self._awaited - self._unsaved, key=lambda name: (name.source, name.number)):
            self._awaited.discard(transaction)
            indications += self._entity.stored(transaction, now_ns)
        return indications

    def is_stored(self, transaction: TransactionId) -> bool:
        """Return whether the newest record of this transaction that `store` was given is on disk."""
        return transaction not in self._unsaved

    def store_ended(self) -> None:
        """Store which transactions have ended; call it before the record of one is deleted."""
        try:
            self._folder.save_ended(self._entity.ended_record())
            self._ended_unsaved = False
        except FolderFault as fault:
            self.fault, self._ended_unsaved = str(fault), True

    def forget(self, transaction: TransactionId) -> None:
        """Store nothing more of a transaction that has ended."""
        self._unsaved.discard(transaction)
        self._awaited.discard(transaction)
        self._late.pop(transaction, None)

    def _save(self, transaction: TransactionId, record: bytes, *, wait: bool) -> None:
        outgoing = self.outgoing.get(transaction)
        is_newest = True
        try:
            if outgoing is not None:
                self._folder.save(outgoing.key, outgoing.as_facts() | {"number": transaction.number}, record)
            else:
                is_newest = self._save_arriving(self._filestore.arrival(transaction), record, wait=wait)
        except FolderFault as fault:
            self.fault, is_newest = str(fault), False
            self._late.pop(transaction, None)
        if is_newest:
            self._unsaved.discard(transaction)
        else:
            self._unsaved.add(transaction)

    def _save_arriving(self, arriving: ArrivingFile, record: bytes, *, wait: bool) -> bool:
        """Store the newest record whose octets are durable; return whether that is `record`."""
        name, working = arriving.transaction, arriving.working
        if wait:
            working.sync()
        late = self._late.get(name)
        if late is not None and working.is_durable(late.written):
            self._folder.save(arriving.key, late.facts, late.record)
            del self._late[name]
        octets = 0 if arriving.is_told else working.octets
        newest = _LateRecord(working, working.written, arriving.as_facts() | {"octets": octets}, record)
        if late == newest and name not in self._late:
            return True
        if name in self._late or not working.sync_soon():
            self._late.setdefault(name, newest)
            return False
        self._folder.save(arriving.key, newest.facts, record)
        if arriving.is_told:
            self._folder.forget_octets(arriving.key)  # they are among the products
        return True

    def _restore(self, stored: StoredTransfer, now_ns: int) -> str:
        """Take up one transfer; return why it cannot be, "" if it is."""
        facts, found = stored.facts, _ARRIVING.fullmatch(stored.key)
        transaction: TransactionId | None = None
        try:
            if found is None:
                outgoing = Outgoing.of_facts(stored.key, facts)
                if not outgoing.asks and not self._folder.has_octets(stored.key):
                    return "the copy of its file is gone"
                transaction = TransactionId(self._entity.config.entity, int(facts["number"]))
                self.outgoing[transaction] = outgoing
            else:
                transaction = TransactionId(int(found[1]), int(found[2]))
                arriving = self._filestore.arrival(transaction)
                arriving.began_ns = int(facts["began_ns"])
                arriving.kept, arriving.digest = str(facts["kept"]), str(facts["sha256"])
                arriving.is_told = bool(arriving.kept)
                if arriving.working.octets < int(facts["octets"]):
                    self._filestore.leave(transaction)
                    return "octets that had come are gone"
            restored = self._entity.restore(stored.record, now_ns)
        except (DecodeError, LookupError, TypeError, ValueError) as error:
            text = str(error) if isinstance(error, DecodeError) else "its record is not one of this program"
        else:
            if restored == transaction:
                return ""
            text = f"its record is that of transaction {restored.source}.{restored.number}"
        if transaction is not None:
            self.outgoing.pop(transaction, None)
            self._filestore.leave(transaction)
        return text


def _is_durable(late: _LateRecord) -> bool:
    """Return whether the octets of a record are durable; also if they never will be, which `store` then finds out."""
    try:
        return late.working.is_durable(late.written)
    except FolderFault:
        return True
