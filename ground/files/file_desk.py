"""Files between the ground and one node: a CFDP entity, the folder of transfers under way, and the products.

Sans-IO but for the two folders: PDUs and times go in, PDUs come out. Whatever ends the process, the next one goes on:
with copies of the files that go up, and with the octets that have come of those that come down.

A file that comes down:

    arriving --all octets here--> checked, in slices
    checked  --fits--> among the products --its row durable--> the node is told --> ended
    checked  --does not--> .part, the node is told --------------------------------> ended
    arriving --given up by either end--> .part with the octets that came ----------> ended
"""

# Where the word to the node waits, nothing can be lost by a kill: the entity says StoreRecord before it acknowledges
# the end of a file (transfer_records.py), and FileComplete before it says that the file is kept (kept_files.py).
#
# What the node asks for beside its files is not done: a ground deletes and renames nothing at the word of a spacecraft.

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from flight.link.cfdp.conditions import ConditionCode, FileStatus
from flight.link.cfdp.header import Mode, TransactionId
from flight.link.cfdp.numbers import TransactionNumbers
from flight.link.cfdp.tlv import FILESTORE_NOT_PERFORMED, FilestoreResponse
from flight.link.cfdp.transactions.entity import Entity
from flight.link.cfdp.transactions.entity_config import EntityConfig
from flight.link.cfdp.transactions.indications import (
    Faulted,
    FileComplete,
    Indication,
    MetadataReceived,
    StoreRecord,
    TransactionFinished,
)
from flight.link.cfdp.transactions.requests import (
    PutRequest,
    Retained,
    Role,
)
from flight.link.cfdp.transactions.user_operations import ProxyPut
from flight.link.space_packet import HEADER_OCTETS
from ground.files.ground_filestore import ArrivingFile, GroundFilestore, source_name
from ground.files.kept_files import KeptFiles, Result
from ground.files.outgoing import Outgoing, check_name
from ground.files.remote_get import RemoteGet, RemoteGets
from ground.files.transfer import Transfer, transaction_in, transaction_text
from ground.files.transfer_folder import TransferFolder
from ground.files.transfer_list import TransferList
from ground.files.transfer_records import TransferRecords
from ground.link.ground_link import GroundLink
from ground.operator import COMPLETED, FAILED
from ground.products.names import safe_name
from ground.products.product_store import ProductStore
from ground.telemetry.archive_rows import ProductRow

RECORD_S = 2  # what a kill may cost at most of octets that came, which the node sends again
UNCONFIRMED = "unconfirmed"  # class 1: everything was sent, and nothing tells whether it arrived


@dataclass(slots=True)
class FileCounters:
    """Files by what became of them since the ground was started.

    up_completed, up_failed, up_unconfirmed: those that went up. gets: requests for a file. resumed: transfers that an
    earlier ground had begun. dropped: those of them that could not be gone on with.
    """

    up_completed: int = 0
    up_failed: int = 0
    up_unconfirmed: int = 0
    gets: int = 0
    resumed: int = 0
    dropped: int = 0


class FileDesk:
    """See the head of the file. `announce` is called with the text of a transaction when something became of it.

    session: the link by which PDUs go up. tai_ns: TAI at a time of the caller's timeline. Raises OrbitnodeError if the
    two folders do not belong together.
    """

    def __init__(
        self, config: EntityConfig, node_entity: int, numbers: TransactionNumbers, *, session: GroundLink,
        folder: TransferFolder, products: ProductStore, tai_ns: Callable[[int], int],
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        if session.room_octets:  # one PDU fills one telecommand frame
            config = replace(config, pdu_octets=session.room_octets - HEADER_OCTETS)
        if not folder.is_on_disk_of(products.path):
            raise OrbitnodeError(
                f"{folder.path} and {products.path} are on two file systems: a file could not go from one to the other "
                f"in one step"
            )
        self.counters = FileCounters()
        self.folder = folder
        self.products = products
        self._refusal = session.refusal  # why nothing goes up, "" if it does
        self._node_entity = node_entity
        self._tai_ns = tai_ns
        self._announce = announce
        self._filestore = GroundFilestore(folder, products)
        self.entity = Entity(config, self._filestore, numbers)
        self._records = TransferRecords(folder, self._filestore, self.entity)
        self._list = TransferList(self.entity, self._filestore, self._records)
        self._gets = RemoteGets()
        self._now_ns = 0
        self._kept = KeptFiles(
            folder, products, tai_ns=lambda: tai_ns(self._now_ns), on_kept=self._on_kept, on_part=self._end,
            settle=lambda name, answer: self._take(self.entity.settle(name, answer, self._now_ns)),
        )  # fmt: skip
        self._results = self._kept.results
        self._restored = False
        self._record_at_ns: int | None = None

    # What the station asks

    def on_pdu(self, raw: bytes, now_ns: int) -> list[Result]:
        """Take one PDU; return what became of files by it."""
        self._enter(now_ns)
        self._take(self.entity.on_pdu(raw, now_ns))
        return self._leave()

    def on_time(self, now_ns: int) -> list[Result]:
        """Let timers run out, and go on with whole files: if `has_untold`, the rows that came must be durable."""
        self._enter(now_ns)
        self._kept.release()
        self._take(self.entity.on_time(now_ns))
        if self._records.is_ready or (self._record_at_ns is not None and now_ns >= self._record_at_ns):
            self._record_at_ns = None
            self.commit(now_ns, wait=False)
        return self._leave()

    def next_pdu(self, now_ns: int) -> bytes | None:
        """Return the next PDU for the way up, None if there is none now."""
        self._enter(now_ns)
        pdu = self.entity.next_pdu(now_ns)
        if pdu is not None:
            self._record_soon()
        return pdu

    def set_contact(self, in_contact: bool, now_ns: int) -> list[Result]:
        """Take in whether PDUs can go up now: no time runs for a transfer while they cannot."""
        self._enter(now_ns)
        self._list.in_contact = in_contact
        self._take(self.entity.set_contact(in_contact, now_ns))
        return self._leave()

    @property
    def next_time_ns(self) -> int | None:
        """When `on_time` has something to do, None if nothing is under way."""
        if self._kept.waiting or self._results or self._records.is_ready or not self._restored:
            return 0
        times = [self.entity.next_time_ns, self._record_at_ns]
        return min((t for t in times if t is not None), default=None)

    @property
    def has_work(self) -> bool:
        """Whether a file that came whole waits to be checked and kept."""
        return bool(self._kept.waiting)

    @property
    def has_untold(self) -> bool:
        """Whether rows were returned that the archive must make durable before the next `on_time`."""
        return self._kept.has_untold

    def close(self, now_ns: int, *, is_last: bool = False) -> list[Result]:
        """Store everything: the next ground goes on from there.

        is_last: there is no next one, as in a run of the simulator. What came of each file is put among the products.
        """
        self.commit(now_ns)
        if is_last:
            self._kept.finish(self.entity.transactions, self._filestore.arriving)
        return self._leave()

    def commit(self, now_ns: int, *, wait: bool = True) -> None:
        """Store what has changed, so that a kill costs nothing of it. Wait for the disk, however long it takes."""
        self._enter(now_ns)
        self._list.note_progress(now_ns)
        self._store(wait=wait)

    @property
    def parts(self) -> dict[str, object]:
        """The counters, by what stands before their names."""
        return {"products": self.products.counters, "cfdp": self.entity.counters, "files": self.counters}

    # What operators ask

    def put(
        self, key: str, *, name: str, local: str, octets: int, digest: str, mode: Mode, now_ns: int
    ) -> TransactionId:
        """Send the copy `key` of the folder up as `name`; it is the desk's from now on. Raises OrbitnodeError."""
        self._enter(now_ns)
        outgoing = Outgoing(key, name, local, octets, digest, mode.service_class, self._tai_ns(now_ns))
        try:
            check_name(name)
            request = PutRequest(self._node_entity, source_name(key, local or name), name, mode)
            return self._begin(request, outgoing)
        except OrbitnodeError:
            self._filestore.close_source(key)
            self.folder.forget(key)
            raise

    def get(self, name: str, now_ns: int) -> RemoteGet:
        """Ask the node for a file; return its state, which goes on changing. Raises OrbitnodeError."""
        self._enter(now_ns)
        check_name(name)
        self._gets.check_room()
        options = ProxyPut(self.entity.config.entity, name, safe_name(name)).messages()
        key = self.folder.new_key()
        outgoing = Outgoing(key, name, "", 0, "", 2, self._tai_ns(now_ns), asks=True)
        transaction = self._begin(PutRequest(self._node_entity, "", "", options=options), outgoing)
        self.counters.gets += 1
        return self._gets.begin(transaction, name)

    def give_up(self, get: RemoteGet, now_ns: int) -> None:
        """Cancel what is under way of a file that was asked for: the request, or the file itself."""
        for transaction in (get.request, get.arriving):
            if transaction is not None and self.entity.report(transaction) is not None:
                self.lead("cancel", transaction_text(transaction), now_ns)

    def lead(self, action: str, transaction: str, now_ns: int) -> None:
        """Cancel a transfer, suspend it over contacts and restarts, or resume it.

        Raises OrbitnodeError if it is not open, or the action is another one.
        """
        self._enter(now_ns)
        actions = {"cancel": self.entity.cancel, "suspend": self.entity.suspend, "resume": self.entity.resume}
        if action not in actions:
            raise OrbitnodeError(f"action is {action!r}, should be one of {', '.join(actions)}")
        name = _open(self.entity, transaction)
        if action == "cancel" and name in self._filestore.arriving:
            self._filestore.arriving[name].is_cancelled = True
        self._take(actions[action](name, now_ns))
        self._store()

    def transfers(self, now_ns: int) -> list[Transfer]:
        """Return the transfers that ended lately, the oldest first, then those that are open."""
        self._enter(now_ns)
        due_ns = self.entity.next_time_ns
        if (
            due_ns is not None and due_ns <= now_ns
        ):  # one that ended with its last PDU is neither open nor among the ended
            self._take(self.entity.on_time(now_ns))
        return [*self._list.recent, *self._list.open(now_ns, self._kept.waiting)]

    def transfer(self, transaction: str, now_ns: int) -> Transfer | None:
        """Return that transfer, None if it is not known (any more)."""
        return next((each for each in reversed(self.transfers(now_ns)) if each.transaction == transaction), None)

    # What the entity says

    def _take(self, indications: list[Indication]) -> None:
        """Do what the indications ask for, and whatever follows from that."""
        waiting = deque(indications)
        while waiting:
            indication = waiting.popleft()
            match indication:
                case MetadataReceived(transaction, metadata):
                    self._gets.on_metadata(transaction, metadata.options)
                    self._filestore.arrival(transaction).mode = metadata.header.mode.service_class
                    self._announce(transaction_text(transaction))
                case StoreRecord(transaction):
                    self._records.await_stored(transaction)
                    waiting += self._records.store(self._now_ns)
                case FileComplete():
                    waiting += self._on_complete(indication)
                case Faulted():
                    self._list.note_fault(indication)
                    self._announce(transaction_text(indication.transaction))
                case TransactionFinished():
                    self._on_finished(indication)
        if indications:
            self._record_soon()

    def _on_complete(self, complete: FileComplete) -> list[Indication]:
        name, responses = complete.transaction, _responses(complete)
        if not complete.has_file:
            self._list.words.add(name)
            answered = self._gets.on_messages(complete.messages)
            if answered is not None:
                self._announce(transaction_text(answered))
            return self.entity.settle(name, Retained(responses), self._now_ns)
        arriving = self._filestore.arrival(name)
        if arriving.is_told:  # by an earlier ground, of which perhaps the peer has not heard
            return self.entity.settle(name, Retained(responses), self._now_ns)
        self._kept.keep(arriving, complete, responses)
        return []

    def _on_kept(self, arriving: ArrivingFile, row: ProductRow) -> None:
        self._gets.on_kept(arriving.transaction, row.name, row.octets, row.sha256)
        self._announce(transaction_text(arriving.transaction))

    def _on_finished(self, finished: TransactionFinished) -> None:
        name = finished.transaction
        self._kept.drop(name)
        self._records.forget(name)
        arriving = self._filestore.arriving.get(name)
        if finished.role is Role.SENDER:
            self._on_sent(finished)
        elif arriving is None or arriving.kept or arriving.is_cancelled or arriving.refused:
            self._end(finished, COMPLETED if finished.condition is ConditionCode.NO_ERROR else FAILED)
        else:
            self._kept.keep_part(arriving, finished)

    def _on_sent(self, finished: TransactionFinished) -> None:
        outgoing = self._records.outgoing.get(finished.transaction)
        if outgoing is None:
            return  # it was refused as it began
        outcome = FAILED
        if finished.condition is ConditionCode.NO_ERROR:
            outcome = COMPLETED if finished.whole or outgoing.asks else UNCONFIRMED
        if not outgoing.asks:
            self.counters.up_completed += outcome == COMPLETED
            self.counters.up_failed += outcome == FAILED
            self.counters.up_unconfirmed += outcome == UNCONFIRMED
        self._end(finished, outcome)

    def _end(self, finished: TransactionFinished, outcome: str = FAILED) -> None:
        """Note how a transaction ended, and delete what is left of it."""
        name, reason = finished.transaction, "" if outcome == COMPLETED else _reason(finished)
        if outcome == FAILED:
            self._gets.on_failed(name, reason)
        self._list.note_end(finished, outcome, reason, self._tai_ns(self._now_ns))
        self._records.store_ended()  # before what is stored of it goes
        arriving, outgoing = self._filestore.leave(name), self._records.outgoing.pop(name, None)
        if arriving is not None:
            self.folder.forget(arriving.key)
        if outgoing is not None:
            self._filestore.close_source(outgoing.key)
            self.folder.forget(outgoing.key)
        self._announce(transaction_text(name))

    # What all of it shares

    def _enter(self, now_ns: int) -> None:
        self._now_ns = now_ns
        self._filestore.tai_ns = self._tai_ns(now_ns)
        if not self._restored:
            self._restored = True
            faults = self._records.restore(now_ns)
            self._results += map(OrbitnodeError, faults)
            self.counters.dropped += len(faults)
            self.counters.resumed += len(self.entity.transactions())

    def _leave(self) -> list[Result]:
        self._kept.work()
        results = list(self._results)
        self._results.clear()
        return results

    def _begin(self, request: PutRequest, outgoing: Outgoing) -> TransactionId:
        """Begin to send. It is stored before its first PDU can go. Raises OrbitnodeError."""
        if self._refusal:
            raise OrbitnodeError(self._refusal)
        transaction = self.entity.put(replace(request, priority=outgoing.priority), self._now_ns)
        self._records.outgoing[transaction] = outgoing
        self._store()
        if not self._records.is_stored(transaction):
            fault = self._records.fault
            self._take(self.entity.cancel(transaction, self._now_ns))
            raise OrbitnodeError(f"{outgoing.name} is not sent: {fault}")
        self._announce(transaction_text(transaction))
        return transaction

    def _store(self, *, wait: bool = False) -> None:
        self._take(self._records.store(self._now_ns, wait=wait))
        fault = self._records.fault_to_tell(self._now_ns)
        if fault:
            self._results.append(OrbitnodeError(f"{fault}; what is to be told to the node waits for it"))
        if self._records.wait:
            self._record_soon()

    def _record_soon(self) -> None:
        if self._record_at_ns is None:
            self._record_at_ns = self._now_ns + RECORD_S * NS


def _open(entity: Entity, transaction: str) -> TransactionId:
    """Return the transaction that is named so. Raises OrbitnodeError if it is not open."""
    name = transaction_in(transaction)
    if name is not None and entity.report(name) is not None:
        return name
    raise OrbitnodeError(f"no transfer {transaction!r} is open; `orbitnode files progress` lists them")


def _responses(complete: FileComplete) -> tuple[FilestoreResponse, ...]:
    """Return the answers to what the node asks for beside its file: nothing of it is done."""
    return tuple(
        FilestoreResponse(request.action, FILESTORE_NOT_PERFORMED, request.first, request.second)
        for request in complete.requests
    )


def _reason(finished: TransactionFinished) -> str:
    """Return why a transaction did not deliver its file, in words."""
    if finished.text:
        return finished.text
    if finished.condition is ConditionCode.NO_ERROR:
        return "nothing tells whether it arrived" if finished.status is FileStatus.UNREPORTED else finished.status.text
    return finished.condition.text
