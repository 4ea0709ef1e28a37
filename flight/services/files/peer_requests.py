"""What the ground asks for in messages to user: files, lists of files, and transactions to rest (727.0-B-5, 6).

A request comes with a transaction that often has no file of its own. Each answer is a transaction of its own, which
names the one that asked.
"""

# Requests are carried out once the transaction that brought them is settled. What the node keeps of them is in memory:
# a file that was asked for goes on after a reboot like any other transfer, but the message that would tell how it ended
# is then not sent. The ground sees how it ended by the file itself.
#
# Whoever may upload may ask. What can be asked for stands in the store, so there is nothing here that a telecommand
# could not ask for as well.

from __future__ import annotations

from collections.abc import Sequence

from flight.contract.app import EventSink
from flight.core.errors import DecodeError
from flight.core.task import Task
from flight.link.cfdp.conditions import AckStatus, ConditionCode, DeliveryCode, FileStatus
from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.messages import OriginatingTransactionId, RemoteResumeResponse, RemoteSuspendResponse
from flight.link.cfdp.tlv import MessageToUser
from flight.link.cfdp.transactions.filestore import FilestoreRefusal
from flight.link.cfdp.transactions.indications import TransactionFinished
from flight.link.cfdp.transactions.requests import PutRefused, PutRequest
from flight.link.cfdp.transactions.user_operations import (
    DirectoryListing,
    DirectoryListingAnswer,
    ProxyCancel,
    ProxyPut,
    ProxyPutAnswer,
    RemoteSuspend,
    UserOperation,
    read_operations,
)
from flight.services.files.outbox_label import rank_of
from flight.services.files.transfer_records import Whose
from flight.services.files.transfers import FileTransfers
from flight.store.files.file_names import checked_directory, split_path
from flight.store.files.refusal import FileRefused

_FIRST = 0  # the rank of answers: they are small, and somebody waits for them
_REQUESTED_MAX = 64  # transactions whose end is to be answered


class PeerRequests:
    """Carries out what the ground asks of the node's entity."""

    def __init__(self, transfers: FileTransfers, ground_entity: int, events: EventSink) -> None:
        self._transfers = transfers
        self._ground_entity = ground_entity
        self._events = events
        self._origins: dict[TransactionId, TransactionId] = {}  # of those that were asked for, the one that asked

    async def carry_out(self, task: Task, origin: TransactionId, messages: Sequence[MessageToUser]) -> None:
        """Carry out the requests that came with the transaction `origin`."""
        try:
            operations = read_operations(messages)
        except DecodeError as error:
            self._events.emit("file_not_sent", "what a message asks for", str(error), origin.number)
            return
        for operation in operations:
            if isinstance(operation, ProxyPut):
                await self._send_file(task, origin, operation)
            else:
                self._carry_out(origin, operation)

    def answered(self, finished: TransactionFinished) -> None:
        """Tell the ground how a transaction ended that it had asked for."""
        origin = self._origins.pop(finished.transaction, None)
        if origin is not None:
            self._answer(origin, ProxyPutAnswer.to(origin, finished).messages())

    def _carry_out(self, origin: TransactionId, operation: UserOperation) -> None:
        match operation:
            case DirectoryListing(directory, name):
                self._send_listing(origin, directory, name)
            case ProxyCancel(originating):
                for transaction, asked_by in list(self._origins.items()):
                    if asked_by == originating:
                        self._transfers.cancel(transaction)
            case RemoteSuspend(transaction, resume):
                (self._transfers.resume if resume else self._transfers.suspend)(transaction)
                status = self._transfers.entity.report(transaction)
                suspended = status is not None and status.suspended
                known = AckStatus.UNRECOGNIZED if status is None else AckStatus.ACTIVE
                kind = RemoteResumeResponse if resume else RemoteSuspendResponse
                answer = kind(suspended, known, transaction).encode()
                self._answer(origin, (answer, OriginatingTransactionId(origin).encode()))

    async def _send_file(self, task: Task, origin: TransactionId, wanted: ProxyPut) -> None:
        try:
            if wanted.destination != self._ground_entity:
                raise PutRefused(f"entity {wanted.destination} cannot be reached from here")
            transaction = self._transfers.put(await self._request(task, origin, wanted), Whose.REQUEST)
        except (PutRefused, FileRefused) as error:
            self._events.emit("file_not_sent", wanted.source_name, str(error), origin.number)
            refused = ConditionCode.FILESTORE_REJECTION, DeliveryCode.INCOMPLETE, FileStatus.UNREPORTED
            self._answer(origin, ProxyPutAnswer(origin, *refused).messages())
            return
        if len(self._origins) >= _REQUESTED_MAX:  # the oldest goes without an answer
            del self._origins[next(iter(self._origins))]
        self._origins[transaction] = origin

    async def _request(self, task: Task, origin: TransactionId, wanted: ProxyPut) -> PutRequest:
        """Return what is to be put, the file's SHA-256 compared. Raises FileRefused."""
        if not wanted.source_name:
            return wanted.put_request(origin, _FIRST)
        filestore = self._transfers.filestore
        directory, file = split_path(wanted.source_name)
        path, rank = f"{directory}/{file}", _FIRST
        if (entry := filestore.store.find(directory, file)) is not None:
            rank = rank_of(entry.priority, entry.value, entry.octets)
            await filestore.verify(task, entry)
        named = ProxyPut(
            wanted.destination, path, wanted.name or path, wanted.mode, wanted.closure, wanted.options
        )  # fmt: skip
        return named.put_request(origin, rank)

    def _send_listing(self, origin: TransactionId, directory: str, name: str) -> None:
        filestore = self._transfers.filestore
        listing = ""
        try:
            listing = filestore.hold(self._listing(directory))
            told = DirectoryListingAnswer(origin, True, directory, name).messages()
            request = PutRequest(self._ground_entity, listing, name, priority=_FIRST, options=told)
            self._transfers.put(request, Whose.REQUEST)
        except (FileRefused, FilestoreRefusal, PutRefused) as error:
            filestore.drop(listing)
            self._events.emit("file_not_sent", name, str(error), origin.number)
            self._answer(origin, DirectoryListingAnswer(origin, False, directory, name).messages())

    def _listing(self, directory: str) -> bytes:
        """Return the files of a directory, a line each: path, octets, SHA-256. "" and "/" are all.

        Raises FileRefused if there is no such directory.
        """
        wanted = directory.strip("/")
        entries = self._transfers.filestore.store.entries(checked_directory(wanted) if wanted else "")
        return "".join(f"{entry.path}\t{entry.octets}\t{entry.sha256.hex()}\n" for entry in entries).encode()

    def _answer(self, origin: TransactionId, messages: tuple[MessageToUser, ...]) -> None:
        """Send messages without a file."""
        try:
            request = PutRequest(self._ground_entity, "", "", priority=_FIRST, options=messages)
            self._transfers.put(request, Whose.REQUEST)
        except PutRefused as refused:
            self._events.emit("file_not_sent", "an answer", str(refused), origin.number)
