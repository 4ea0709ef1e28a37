"""User operations: what one user asks of another by messages in the metadata, and its answers (727.0-B-5, clause 6).

Both ends share this: `messages` of a request go into the options of a PutRequest, `read_operations` makes requests and
answers of the messages that FileComplete brings, and the owner of the entity does what they ask for.
"""

# A proxy put request consists of several messages: the request itself, and one per thing that the transaction asked for
# is to have. They are put together here, so that an owner sees one request. An answer is known by the originating
# transaction id, which names the transaction that carried the request; a request that carries one is an answer's, or
# the file that was asked for, and asks for nothing: otherwise two users could keep each other busy for ever.
#
# Who asks names files by names of the other side. What they may reach is for the owner's filestore to judge, as it does
# for every name that comes in.

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from flight.link.cfdp.conditions import ConditionCode, DeliveryCode, FileStatus
from flight.link.cfdp.header import Mode, TransactionId
from flight.link.cfdp.messages import (
    DirectoryListingRequest,
    DirectoryListingResponse,
    OriginatingTransactionId,
    ProxyClosureRequest,
    ProxyFaultHandlerOverride,
    ProxyFilestoreRequest,
    ProxyFilestoreResponse,
    ProxyFlowLabel,
    ProxyMessageToUser,
    ProxyPutCancel,
    ProxyPutRequest,
    ProxyPutResponse,
    ProxyTransmissionMode,
    RemoteResumeRequest,
    RemoteSuspendRequest,
    ReservedMessage,
    decode_message,
)
from flight.link.cfdp.tlv import (
    FaultHandlerOverride,
    FilestoreRequest,
    FilestoreResponse,
    FlowLabel,
    MessageToUser,
    Tlv,
)
from flight.link.cfdp.transactions.indications import TransactionFinished
from flight.link.cfdp.transactions.requests import PutRequest


@dataclass(frozen=True, slots=True)
class ProxyPut:
    """Asks for the file `source_name` of the other side to be sent to `destination` as `name` (6.2).

    options: filestore requests, messages to user, fault handler overrides and a flow label of that transaction.
    """

    destination: int
    source_name: str
    name: str
    mode: Mode = Mode.ACKNOWLEDGED
    closure: bool = False
    options: tuple[Tlv, ...] = ()

    def messages(self) -> tuple[MessageToUser, ...]:
        """Return the options of the transaction that asks. Raises ValueError for a name or an option that is too long.

        Options of other kinds than those above are left out: no message stands for them.
        """
        request: list[MessageToUser] = [
            ProxyPutRequest(self.destination, self.source_name, self.name).encode(),
            ProxyTransmissionMode(self.mode).encode(),
        ]
        if self.closure:
            request.append(ProxyClosureRequest(closure=True).encode())
        for option in self.options:
            match option:
                case FilestoreRequest():
                    request.append(ProxyFilestoreRequest(option).encode())
                case MessageToUser():
                    request.append(ProxyMessageToUser(option.octets).encode())
                case FaultHandlerOverride():
                    request.append(ProxyFaultHandlerOverride(option).encode())
                case FlowLabel():
                    request.append(ProxyFlowLabel(option.octets).encode())
        return tuple(request)

    def put_request(self, originating: TransactionId, priority: int = 1) -> PutRequest:
        """Return what the one who was asked puts. `originating` is the transaction that asked."""
        options = (OriginatingTransactionId(originating).encode(), *self.options)
        return PutRequest(
            self.destination, self.source_name, self.name, self.mode, self.closure, priority, options=options
        )


@dataclass(frozen=True, slots=True)
class DirectoryListing:
    """Asks for a list of the files in `directory`, to be sent as the file `name` (6.3)."""

    directory: str
    name: str

    def messages(self) -> tuple[MessageToUser, ...]:
        """Return the options of the transaction that asks. Raises ValueError for a name that is too long."""
        return (DirectoryListingRequest(self.directory, self.name).encode(),)


@dataclass(frozen=True, slots=True)
class ProxyCancel:
    """Asks for the transaction to be cancelled that `originating` asked for (6.2.6)."""

    originating: TransactionId

    def messages(self) -> tuple[MessageToUser, ...]:
        """Return the options of the transaction that asks."""
        return (OriginatingTransactionId(self.originating).encode(), ProxyPutCancel().encode())


@dataclass(frozen=True, slots=True)
class RemoteSuspend:
    """Asks for a transaction to be suspended, or with `resume` to go on (6.5, 6.6)."""

    transaction: TransactionId
    resume: bool = False

    def messages(self) -> tuple[MessageToUser, ...]:
        """Return the options of the transaction that asks."""
        kind = RemoteResumeRequest if self.resume else RemoteSuspendRequest
        return (kind(self.transaction).encode(),)


@dataclass(frozen=True, slots=True)
class ProxyPutAnswer:
    """What became of the transaction that `originating` asked for (6.2.5)."""

    originating: TransactionId
    condition: ConditionCode
    delivery: DeliveryCode
    status: FileStatus
    responses: tuple[FilestoreResponse, ...] = ()

    @classmethod
    def to(cls, originating: TransactionId, finished: TransactionFinished) -> ProxyPutAnswer:
        """Return the answer to the request in `originating`."""
        return cls(originating, finished.condition, finished.delivery, finished.status, finished.responses)

    def messages(self) -> tuple[MessageToUser, ...]:
        """Return the options of the transaction that answers."""
        return (
            ProxyPutResponse(self.condition, self.delivery, self.status).encode(),
            *(ProxyFilestoreResponse(response).encode() for response in self.responses),
            OriginatingTransactionId(self.originating).encode(),
        )


@dataclass(frozen=True, slots=True)
class DirectoryListingAnswer:
    """Says whether the list that `originating` asked for could be made; if so, it is the file that this comes with."""

    originating: TransactionId | None
    successful: bool
    directory: str
    name: str

    def messages(self) -> tuple[MessageToUser, ...]:
        """Return the options of the transaction that answers."""
        origin = () if self.originating is None else (OriginatingTransactionId(self.originating).encode(),)
        return (DirectoryListingResponse(self.successful, self.directory, self.name).encode(), *origin)


@dataclass(frozen=True, slots=True)
class RequestedFile:
    """The transaction that this comes with was asked for by `originating`: its file is the one asked for."""

    originating: TransactionId


UserOperation = (
    ProxyPut | DirectoryListing | ProxyCancel | RemoteSuspend | ProxyPutAnswer | DirectoryListingAnswer | RequestedFile
)


@dataclass(slots=True)
class _Read:
    """What was read of the messages so far."""

    put: ProxyPutRequest | None = None
    answer: ProxyPutResponse | None = None
    cancel: bool = False
    originating: TransactionId | None = None
    mode: Mode = Mode.ACKNOWLEDGED
    closure: bool = False
    options: list[Tlv] = field(default_factory=list)
    responses: list[FilestoreResponse] = field(default_factory=list)
    listing: DirectoryListingResponse | None = None
    requests: list[UserOperation] = field(default_factory=list)


def read_operations(messages: Iterable[MessageToUser]) -> list[UserOperation]:
    """Return what these messages ask for or answer, nothing for messages that are not reserved.

    Raises DecodeError for a message that is not what its type says.
    """
    read = _Read()
    for message in messages:
        decoded = decode_message(message)
        if decoded is not None:
            _take(read, decoded)
    operations = read.requests if read.originating is None else []
    if read.listing is not None:
        listing = read.listing
        operations.append(DirectoryListingAnswer(read.originating, listing.successful, listing.directory, listing.name))
    elif read.originating is not None and read.answer is not None:
        answer = read.answer
        operations.append(
            ProxyPutAnswer(read.originating, answer.condition, answer.delivery, answer.status, tuple(read.responses))
        )
    elif read.originating is not None:
        operations.append(ProxyCancel(read.originating) if read.cancel else RequestedFile(read.originating))
    elif read.put is not None:
        put = read.put
        options = tuple(read.options)
        operations.append(ProxyPut(put.destination, put.source_name, put.name, read.mode, read.closure, options))
    return operations


def _option(
    message: ProxyFilestoreRequest | ProxyMessageToUser | ProxyFaultHandlerOverride | ProxyFlowLabel,
) -> Tlv:
    """Return the option that the transaction asked for is to have."""
    match message:
        case ProxyFilestoreRequest():
            return message.request
        case ProxyMessageToUser():
            return MessageToUser(message.octets)
        case ProxyFaultHandlerOverride():
            return message.override
        case ProxyFlowLabel():
            return FlowLabel(message.octets)


def _take(read: _Read, message: ReservedMessage) -> None:
    match message:
        case ProxyPutRequest():
            read.put = message
        case ProxyTransmissionMode():
            read.mode = message.mode
        case ProxyClosureRequest():
            read.closure = message.closure
        case ProxyFilestoreRequest() | ProxyMessageToUser() | ProxyFaultHandlerOverride() | ProxyFlowLabel():
            read.options.append(_option(message))
        case ProxyPutResponse():
            read.answer = message
        case ProxyFilestoreResponse():
            read.responses.append(message.response)
        case ProxyPutCancel():
            read.cancel = True
        case OriginatingTransactionId():
            read.originating = message.transaction
        case DirectoryListingResponse():
            read.listing = message
        case DirectoryListingRequest():
            read.requests.append(DirectoryListing(message.directory, message.name))
        case RemoteSuspendRequest() | RemoteResumeRequest():
            resume = isinstance(message, RemoteResumeRequest)
            read.requests.append(RemoteSuspend(message.transaction, resume))
        case _:
            pass  # segmentation control is not supported, and reports on transactions come as telemetry
