"""The reserved messages to user: what one CFDP user asks of another, and its answers (CCSDS 727.0-B-5, 6).

`encode` makes the option that metadata carry; `decode_message` tells what such an option asks for. It raises
DecodeError for a message that is not what its type says, and returns None for what is a matter of others: messages of
the two users' own, and types that are not named here (store and forward overlays, extensions of other implementations).
"""

# A reserved message is `cfdp`, an octet with its type, and a content that the type lays out. Ids in it take the fewest
# of 1, 2, 4 or 8 octets that do: other implementations know no other widths here. Spare bits are 0, and not looked at.
#
# Two answers have their success the other way round: 0 in a directory listing response, 1 in a status report response
# (tables 6-16 and 6-19).

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flight.core.errors import DecodeError
from flight.link.cfdp.conditions import AckStatus, ConditionCode, DeliveryCode, FileStatus, decode_code
from flight.link.cfdp.header import ID_OCTETS_MAX, Mode, TransactionId
from flight.link.cfdp.tlv import (
    FaultHandlerOverride,
    FieldReader,
    FilestoreRequest,
    FilestoreResponse,
    MessageToUser,
    lv,
    name_lv,
)

IDENTIFIER = b"cfdp"

_PUT_REQUEST, _MESSAGE, _FILESTORE_REQUEST, _FAULT_HANDLER, _MODE, _FLOW_LABEL = range(0x06)
_SEGMENTATION, _PUT_RESPONSE, _FILESTORE_RESPONSE, _PUT_CANCEL, _ORIGINATING, _CLOSURE = range(0x06, 0x0C)
_LISTING_REQUEST, _LISTING_RESPONSE = 0x10, 0x11
_REPORT_REQUEST, _REPORT_RESPONSE = 0x20, 0x21
_SUSPEND_REQUEST, _SUSPEND_RESPONSE, _RESUME_REQUEST, _RESUME_RESPONSE = 0x30, 0x31, 0x38, 0x39


def _message(kind: int, content: bytes) -> MessageToUser:
    return MessageToUser(IDENTIFIER + bytes((kind,)) + content)


def _id_octets(number: int) -> int:
    return next(octets for octets in (1, 2, 4, 8) if number < 1 << 8 * octets)


def _encode_id(transaction: TransactionId) -> bytes:
    entity, number = _id_octets(transaction.source), _id_octets(transaction.number)
    lengths = bytes((entity - 1 << 4 | number - 1,))
    return lengths + transaction.source.to_bytes(entity, "big") + transaction.number.to_bytes(number, "big")


def _read_id(fields: FieldReader) -> TransactionId:
    lengths = fields.number(1)
    return TransactionId(fields.number((lengths >> 4 & 7) + 1), fields.number((lengths & 7) + 1))


@dataclass(frozen=True, slots=True)
class ProxyPutRequest:
    """Asks for the file `source_name` to be sent to `destination` as `name` (table 6-4).

    Names may be empty: a transaction without a file.
    """

    destination: int
    source_name: str
    name: str

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        entity = self.destination.to_bytes(_id_octets(self.destination), "big")
        return _message(_PUT_REQUEST, lv(entity, "entity id") + name_lv(self.source_name) + name_lv(self.name))

    @classmethod
    def read(cls, fields: FieldReader) -> ProxyPutRequest:
        """Read the content."""
        entity = fields.lv()
        if not 1 <= len(entity) <= ID_OCTETS_MAX:
            raise DecodeError(f"CFDP entity id of {len(entity)} octets, 1 to {ID_OCTETS_MAX} are allowed")
        return cls(int.from_bytes(entity, "big"), fields.name(), fields.name())


@dataclass(frozen=True, slots=True)
class ProxyMessageToUser:
    """A message to user for the metadata of the transaction asked for (table 6-5)."""

    octets: bytes

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        return _message(_MESSAGE, lv(self.octets, "message to user"))

    @classmethod
    def read(cls, fields: FieldReader) -> ProxyMessageToUser:
        """Read the content."""
        return cls(fields.lv())


@dataclass(frozen=True, slots=True)
class ProxyFilestoreRequest:
    """A filestore request for the metadata of the transaction asked for (table 6-6)."""

    request: FilestoreRequest

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        return _message(_FILESTORE_REQUEST, lv(self.request.value(), "filestore request"))

    @classmethod
    def read(cls, fields: FieldReader) -> ProxyFilestoreRequest:
        """Read the content."""
        return cls(FilestoreRequest.decode(fields.lv()))


@dataclass(frozen=True, slots=True)
class ProxyFaultHandlerOverride:
    """A fault handler override for the metadata of the transaction asked for (table 6-7)."""

    override: FaultHandlerOverride

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        return _message(_FAULT_HANDLER, self.override.value())

    @classmethod
    def read(cls, fields: FieldReader) -> ProxyFaultHandlerOverride:
        """Read the content."""
        return cls(FaultHandlerOverride.decode(fields.octets(1)))


@dataclass(frozen=True, slots=True)
class ProxyTransmissionMode:
    """The mode of the transaction asked for (table 6-8)."""

    mode: Mode

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        return _message(_MODE, bytes((self.mode,)))

    @classmethod
    def read(cls, fields: FieldReader) -> ProxyTransmissionMode:
        """Read the content."""
        return cls(Mode(fields.number(1) & 1))


@dataclass(frozen=True, slots=True)
class ProxyFlowLabel:
    """A flow label for the metadata of the transaction asked for (table 6-9)."""

    octets: bytes

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        return _message(_FLOW_LABEL, lv(self.octets, "flow label"))

    @classmethod
    def read(cls, fields: FieldReader) -> ProxyFlowLabel:
        """Read the content."""
        return cls(fields.lv())


@dataclass(frozen=True, slots=True)
class ProxySegmentationControl:
    """Whether the transaction asked for keeps to the boundaries of records: 0 if it does (table 6-10)."""

    records: bool

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        return _message(_SEGMENTATION, bytes((not self.records,)))

    @classmethod
    def read(cls, fields: FieldReader) -> ProxySegmentationControl:
        """Read the content."""
        return cls(not fields.number(1) & 1)


@dataclass(frozen=True, slots=True)
class ProxyPutResponse:
    """What became of the transaction asked for (table 6-12)."""

    condition: ConditionCode
    delivery: DeliveryCode
    status: FileStatus

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        return _message(_PUT_RESPONSE, bytes((self.condition << 4 | self.delivery << 2 | self.status,)))

    @classmethod
    def read(cls, fields: FieldReader) -> ProxyPutResponse:
        """Read the content."""
        codes = fields.number(1)
        return cls(decode_code(ConditionCode, codes >> 4), DeliveryCode(codes >> 2 & 1), FileStatus(codes & 3))


@dataclass(frozen=True, slots=True)
class ProxyFilestoreResponse:
    """What became of a filestore request in the transaction asked for (table 6-13)."""

    response: FilestoreResponse

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        return _message(_FILESTORE_RESPONSE, lv(self.response.value(), "filestore response"))

    @classmethod
    def read(cls, fields: FieldReader) -> ProxyFilestoreResponse:
        """Read the content."""
        return cls(FilestoreResponse.decode(fields.lv()))


@dataclass(frozen=True, slots=True)
class ProxyPutCancel:
    """Asks for the transaction asked for to be cancelled; OriginatingTransactionId says which (6.2.6.2)."""

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        return _message(_PUT_CANCEL, b"")

    @classmethod
    def read(cls, _fields: FieldReader) -> ProxyPutCancel:
        """Read the content, which is empty."""
        return cls()


@dataclass(frozen=True, slots=True)
class OriginatingTransactionId:
    """The transaction whose messages asked for this one (table 6-2)."""

    transaction: TransactionId

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        return _message(_ORIGINATING, _encode_id(self.transaction))

    @classmethod
    def read(cls, fields: FieldReader) -> OriginatingTransactionId:
        """Read the content."""
        return cls(_read_id(fields))


@dataclass(frozen=True, slots=True)
class ProxyClosureRequest:
    """Whether the transaction asked for is to be closed by a Finished, in class 1 (table 6-11)."""

    closure: bool

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        return _message(_CLOSURE, bytes((self.closure,)))

    @classmethod
    def read(cls, fields: FieldReader) -> ProxyClosureRequest:
        """Read the content."""
        return cls(bool(fields.number(1) & 1))


@dataclass(frozen=True, slots=True)
class DirectoryListingRequest:
    """Asks for a list of the files in `directory`, to be sent as the file `name` (table 6-15)."""

    directory: str
    name: str

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        return _message(_LISTING_REQUEST, name_lv(self.directory) + name_lv(self.name))

    @classmethod
    def read(cls, fields: FieldReader) -> DirectoryListingRequest:
        """Read the content."""
        return cls(fields.name(), fields.name())


@dataclass(frozen=True, slots=True)
class DirectoryListingResponse:
    """Says whether the list could be made; it comes in the transaction that carries this (table 6-16)."""

    successful: bool
    directory: str
    name: str

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        code = bytes((0 if self.successful else 0x80,))
        return _message(_LISTING_RESPONSE, code + name_lv(self.directory) + name_lv(self.name))

    @classmethod
    def read(cls, fields: FieldReader) -> DirectoryListingResponse:
        """Read the content."""
        return cls(not fields.number(1) & 0x80, fields.name(), fields.name())


@dataclass(frozen=True, slots=True)
class RemoteStatusReportRequest:
    """Asks for a report on a transaction, to be sent as the file `name` (table 6-18)."""

    transaction: TransactionId
    name: str

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        return _message(_REPORT_REQUEST, _encode_id(self.transaction) + name_lv(self.name))

    @classmethod
    def read(cls, fields: FieldReader) -> RemoteStatusReportRequest:
        """Read the content."""
        return cls(_read_id(fields), fields.name())


@dataclass(frozen=True, slots=True)
class RemoteStatusReportResponse:
    """The status of a transaction, and whether a report could be made (table 6-19)."""

    status: AckStatus
    successful: bool
    transaction: TransactionId

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        return _message(_REPORT_RESPONSE, bytes((self.status << 6 | self.successful,)) + _encode_id(self.transaction))

    @classmethod
    def read(cls, fields: FieldReader) -> RemoteStatusReportResponse:
        """Read the content."""
        codes = fields.number(1)
        return cls(AckStatus(codes >> 6), bool(codes & 1), _read_id(fields))


@dataclass(frozen=True, slots=True)
class RemoteSuspendRequest:
    """Asks for a transaction to be suspended (table 6-21)."""

    transaction: TransactionId

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        return _message(_SUSPEND_REQUEST, _encode_id(self.transaction))

    @classmethod
    def read(cls, fields: FieldReader) -> RemoteSuspendRequest:
        """Read the content."""
        return cls(_read_id(fields))


@dataclass(frozen=True, slots=True)
class RemoteSuspendResponse:
    """Whether a transaction is suspended now, and its status (table 6-22)."""

    suspended: bool
    status: AckStatus
    transaction: TransactionId

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        return _message(
            _SUSPEND_RESPONSE, bytes((self.suspended << 7 | self.status << 5,)) + _encode_id(self.transaction)
        )

    @classmethod
    def read(cls, fields: FieldReader) -> RemoteSuspendResponse:
        """Read the content."""
        codes = fields.number(1)
        return cls(bool(codes & 0x80), AckStatus(codes >> 5 & 3), _read_id(fields))


@dataclass(frozen=True, slots=True)
class RemoteResumeRequest:
    """Asks for a transaction to be resumed (table 6-24)."""

    transaction: TransactionId

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        return _message(_RESUME_REQUEST, _encode_id(self.transaction))

    @classmethod
    def read(cls, fields: FieldReader) -> RemoteResumeRequest:
        """Read the content."""
        return cls(_read_id(fields))


@dataclass(frozen=True, slots=True)
class RemoteResumeResponse:
    """Whether a transaction is suspended now all the same, and its status (table 6-25)."""

    suspended: bool
    status: AckStatus
    transaction: TransactionId

    def encode(self) -> MessageToUser:
        """Return the option of the metadata."""
        return _message(
            _RESUME_RESPONSE, bytes((self.suspended << 7 | self.status << 5,)) + _encode_id(self.transaction)
        )

    @classmethod
    def read(cls, fields: FieldReader) -> RemoteResumeResponse:
        """Read the content."""
        codes = fields.number(1)
        return cls(bool(codes & 0x80), AckStatus(codes >> 5 & 3), _read_id(fields))


ReservedMessage = (
    ProxyPutRequest
    | ProxyMessageToUser
    | ProxyFilestoreRequest
    | ProxyFaultHandlerOverride
    | ProxyTransmissionMode
    | ProxyFlowLabel
    | ProxySegmentationControl
    | ProxyPutResponse
    | ProxyFilestoreResponse
    | ProxyPutCancel
    | OriginatingTransactionId
    | ProxyClosureRequest
    | DirectoryListingRequest
    | DirectoryListingResponse
    | RemoteStatusReportRequest
    | RemoteStatusReportResponse
    | RemoteSuspendRequest
    | RemoteSuspendResponse
    | RemoteResumeRequest
    | RemoteResumeResponse
)

# By type: what the message is called in an error, and its decoder.
_KINDS: dict[int, tuple[str, Callable[[FieldReader], ReservedMessage]]] = {
    _PUT_REQUEST: ("proxy put request", ProxyPutRequest.read),
    _MESSAGE: ("proxy message to user", ProxyMessageToUser.read),
    _FILESTORE_REQUEST: ("proxy filestore request", ProxyFilestoreRequest.read),
    _FAULT_HANDLER: ("proxy fault handler override", ProxyFaultHandlerOverride.read),
    _MODE: ("proxy transmission mode", ProxyTransmissionMode.read),
    _FLOW_LABEL: ("proxy flow label", ProxyFlowLabel.read),
    _SEGMENTATION: ("proxy segmentation control", ProxySegmentationControl.read),
    _PUT_RESPONSE: ("proxy put response", ProxyPutResponse.read),
    _FILESTORE_RESPONSE: ("proxy filestore response", ProxyFilestoreResponse.read),
    _PUT_CANCEL: ("proxy put cancel", ProxyPutCancel.read),
    _ORIGINATING: ("originating transaction id", OriginatingTransactionId.read),
    _CLOSURE: ("proxy closure request", ProxyClosureRequest.read),
    _LISTING_REQUEST: ("directory listing request", DirectoryListingRequest.read),
    _LISTING_RESPONSE: ("directory listing response", DirectoryListingResponse.read),
    _REPORT_REQUEST: ("remote status report request", RemoteStatusReportRequest.read),
    _REPORT_RESPONSE: ("remote status report response", RemoteStatusReportResponse.read),
    _SUSPEND_REQUEST: ("remote suspend request", RemoteSuspendRequest.read),
    _SUSPEND_RESPONSE: ("remote suspend response", RemoteSuspendResponse.read),
    _RESUME_REQUEST: ("remote resume request", RemoteResumeRequest.read),
    _RESUME_RESPONSE: ("remote resume response", RemoteResumeResponse.read),
}


def decode_message(message: MessageToUser) -> ReservedMessage | None:
    """Return what a message to user asks for, None if it is not a reserved message of a type named here."""
    octets = message.octets
    kind = octets[len(IDENTIFIER)] if octets.startswith(IDENTIFIER) and len(octets) > len(IDENTIFIER) else -1
    if kind not in _KINDS:
        return None
    what, read = _KINDS[kind]
    fields = FieldReader(octets[len(IDENTIFIER) + 1 :], what)
    decoded = read(fields)
    fields.end()
    return decoded
