"""From the octets of an upload to a file: checksum compared, file made durable, requests that came with it done.

One file at a time:

    FileComplete --checksum fits, content durable, row durable--> file --filestore requests--> settled: kept
             --anything else-------------------------------> settled: refused, and the octets are dropped
"""

# Files are checked in the order in which they became complete, in slices: a file of hundreds of megabytes takes many
# steps, and others have their turns between them. Nothing is told to the sender before all of it is done, so whatever
# instant the power goes at, either the ground has no answer and asks again, or the file is there.
#
# A transaction may be cancelled while its file is being checked. What was checked is then not made a file; if it was
# made one already, it is deleted again: the other end was told that there is no file.
#
# Filestore requests run after the file is there, in their order; after one that fails, the others are not performed
# (727.0-B-5, 4.9.5). This store has fixed directories and whole files: so files can be deleted, renamed and denied,
# and everything else is answered with "not allowed".

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flight.contract.app import EventSink
from flight.contract.service import Service, ServiceTask
from flight.core.errors import StorageError
from flight.core.future import Event
from flight.core.task import Task
from flight.link.cfdp.checksums import CHECKSUMS, NULL
from flight.link.cfdp.conditions import ConditionCode, DeliveryCode, FileStatus
from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.tlv import (
    FILESTORE_NOT_PERFORMED,
    FILESTORE_SUCCESSFUL,
    FilestoreAction,
    FilestoreRequest,
    FilestoreResponse,
)
from flight.link.cfdp.transactions.indications import FileComplete, TransactionFinished
from flight.link.cfdp.transactions.requests import Refused, Retained
from flight.services.files.peer_requests import PeerRequests
from flight.services.files.transfers import FileTransfers
from flight.services.files.uploads import Uploads
from flight.store.files.file_entry import FileEntry
from flight.store.files.file_names import split_path
from flight.store.files.file_store import FileStore
from flight.store.files.refusal import FileRefused, Reason

# Status codes of filestore responses (table 5-18), by action.
_ABSENT, _EXISTS = 1, 2
_NOT_ALLOWED = {
    FilestoreAction.CREATE_FILE: 1,
    FilestoreAction.DELETE_FILE: 2,
    FilestoreAction.RENAME_FILE: 3,
    FilestoreAction.APPEND_FILE: 3,
    FilestoreAction.REPLACE_FILE: 3,
    FilestoreAction.CREATE_DIRECTORY: 1,
    FilestoreAction.REMOVE_DIRECTORY: 2,
    FilestoreAction.DENY_FILE: 2,
    FilestoreAction.DENY_DIRECTORY: 2,
}
_MESSAGE_OCTETS_MAX = 100  # of a refusal in a response: names and message share 255 octets


@dataclass(frozen=True, slots=True)
class CompletionParts:
    """What a completion works with. on_deleted is told the number of a file that a request has deleted or renamed."""

    transfers: FileTransfers
    store: FileStore
    uploads: Uploads
    requests: PeerRequests
    events: EventSink
    on_deleted: Callable[[int], None]


class Completion(Service):
    """Makes files of what has come up whole."""

    def __init__(self, parts: CompletionParts) -> None:
        self._parts = parts
        self._complete: deque[FileComplete] = deque()
        self._wake = Event()
        self._busy: TransactionId | None = None  # whose file is being checked
        self._cancelled = False  # it ended meanwhile
        parts.transfers.receive_by(self)

    def complete(self, complete: FileComplete) -> None:
        """Take in that all octets of a file are here."""
        if all(waiting.transaction != complete.transaction for waiting in self._complete):
            self._complete.append(complete)
            self._wake.set()

    def ended(self, finished: TransactionFinished) -> None:
        """Take in how a transaction of the ground ended."""
        transfers = self._parts.transfers
        # Metadata without a file, such as a request for a list, leave nothing to keep when all went well.
        went_well = finished.condition is ConditionCode.NO_ERROR and finished.delivery is DeliveryCode.COMPLETE
        if not finished.whole and not went_well:
            name = finished.name or transfers.filestore.names.get(finished.transaction, "")
            self._parts.uploads.not_received(finished, name)
        if finished.transaction == self._busy:
            self._cancelled = not finished.whole
        else:
            transfers.forget(finished.transaction)

    def answered(self, finished: TransactionFinished) -> None:
        """Take in how a transaction ended that the ground had asked for."""
        self._parts.transfers.forget(finished.transaction)
        self._parts.requests.answered(finished)

    def tasks(self) -> Iterable[ServiceTask]:
        """Return the task that checks files."""
        return (ServiceTask("files.complete", self.run, deadline_s=1.0),)

    async def run(self, task: Task) -> None:
        """Check one file after the other, and answer."""
        transfers = self._parts.transfers
        while True:
            self._wake.clear()
            while self._complete:
                complete = self._complete[0]
                transaction = complete.transaction
                self._busy, self._cancelled = transaction, False
                outcome = await self._keep(task, complete)
                self._busy = None
                self._complete.popleft()
                if self._cancelled:
                    transfers.forget(transaction)
                    continue
                transfers.settle(transaction, outcome)
                if isinstance(outcome, Retained):
                    await self._parts.requests.carry_out(task, transaction, complete.messages)
            await self._wake.wait()

    async def _keep(self, task: Task, complete: FileComplete) -> Retained | Refused:
        """Make a file of what has come, and run the requests that came with it."""
        try:
            if complete.has_file:
                await self._make_file(task, complete)
        except FileRefused as refused:
            if refused.reason is Reason.DAMAGED:
                return Refused(refused.text)
            return Refused(refused.text, ConditionCode.FILESTORE_REJECTION, FileStatus.REJECTED)
        except StorageError as error:
            return Refused(str(error), ConditionCode.FILESTORE_REJECTION, FileStatus.REJECTED)
        responses: list[FilestoreResponse] = []
        for request in complete.requests:
            failed = any(response.status != FILESTORE_SUCCESSFUL for response in responses)
            status = FILESTORE_NOT_PERFORMED
            message = ""
            if not failed:
                status, message = await self._perform(request)
            text = message.encode()[:_MESSAGE_OCTETS_MAX]
            responses.append(FilestoreResponse(request.action, status, request.first, request.second, text))
        return Retained(tuple(responses))

    async def _make_file(self, task: Task, complete: FileComplete) -> None:
        """Compare the checksum and make the file durable. Raises FileRefused and StorageError."""
        parts, transaction = self._parts, complete.transaction
        filestore = parts.transfers.filestore
        if transaction in filestore.kept:  # by the boot before, which perhaps could not say so any more
            if (entry := parts.store.of_number(filestore.kept[transaction])) is not None:
                parts.uploads.received_file(complete, entry)
            return
        draft = filestore.drafts.get(transaction)
        if draft is None or not complete.name:
            raise FileRefused(Reason.NAME, "what it is called did not come")
        check = _Check(complete, lambda: self._cancelled)
        check.at_end()  # a file of no octets has no block to be checked with
        entry = await parts.store.finish(task, draft, check.add)
        filestore.trust(entry)
        del filestore.drafts[transaction]
        filestore.kept[transaction] = entry.number
        if self._cancelled:
            await self._delete(entry)
            return
        parts.uploads.received_file(complete, entry)

    async def _delete(self, entry: FileEntry) -> None:
        try:
            await self._parts.store.commit(self._parts.store.removal(entry))
        except (FileRefused, StorageError) as error:
            self._parts.events.emit("file_damaged", entry.path, f"it was cancelled and is still here: {error}")

    async def _perform(self, request: FilestoreRequest) -> tuple[int, str]:
        """Run one filestore request; return its status and why it failed."""
        store, action = self._parts.store, request.action
        refused = _NOT_ALLOWED[action]
        if action not in (FilestoreAction.DELETE_FILE, FilestoreAction.RENAME_FILE, FilestoreAction.DENY_FILE):
            return refused, f"{action.text}: this store does not do that"
        try:
            entry = store.find(*split_path(request.first))
            if entry is None:
                absent = FILESTORE_SUCCESSFUL if action is FilestoreAction.DENY_FILE else _ABSENT
                return absent, "" if absent == FILESTORE_SUCCESSFUL else f"there is no file {request.first}"
            if self._parts.transfers.is_used(entry):
                return refused, f"{entry.path} is being sent"
            if action is FilestoreAction.RENAME_FILE:
                change = store.renaming(entry, *split_path(request.second))
            else:
                change = store.removal(entry)
            await store.commit(change)
        except FileRefused as error:
            renames = action is FilestoreAction.RENAME_FILE and error.reason is Reason.EXISTS
            return _EXISTS if renames else refused, error.text
        except StorageError as error:
            return refused, str(error)
        self._parts.on_deleted(entry.number)
        return FILESTORE_SUCCESSFUL, ""


class _Check:
    """Compares the CFDP checksum as the blocks of a file come by, in order."""

    def __init__(self, complete: FileComplete, is_cancelled: Callable[[], bool]) -> None:
        self._complete = complete
        self._is_cancelled = is_cancelled
        self._octets = 0
        self._checksum = 0
        kind = CHECKSUMS.get(NULL if complete.checksum_type is None else complete.checksum_type)
        self._kind = kind
        self._compares = kind is not None and kind.number != NULL

    def add(self, block: bytes) -> None:
        """Take in the next block. Raises FileRefused with the last one if the file is not the one that was sent."""
        if self._is_cancelled():
            raise FileRefused(Reason.BUSY, "its transfer was cancelled")
        if self._kind is not None and self._compares:
            self._checksum = self._kind.add(block, self._checksum, self._octets)
        self._octets += len(block)
        self.at_end()

    def at_end(self) -> None:
        """Compare, if all octets went by. Raises FileRefused."""
        complete = self._complete
        if self._octets < complete.octets or not self._compares:
            return
        if self._checksum != complete.checksum:
            raise FileRefused(
                Reason.DAMAGED, f"checksum is {self._checksum:08x}, the sender says {complete.checksum:08x}"
            )
