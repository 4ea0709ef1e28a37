"""The fields of varying length in CFDP directives: LVs and all kinds of TLVs (CCSDS 727.0-B-5, 5.1 and 5.4)."""

# LV is a length octet and a value; TLV has a type octet before them. Every length is checked against the octets that
# are there before it is used: FieldReader is the only way to the fields of a directive, and raises DecodeError itself.
#
# A PDU of 64 KiB has room for 32,000 empty TLVs, whose decoding would take longer than a step may. So there is a bound.
#
# A TLV of a type that has no meaning (yet) is kept as it is: it must not cost the file whose metadata carry it. A TLV
# of a known type whose value is not what the type says is an error of the whole PDU.
#
# The second file name of a filestore response is there only for the actions on two files (table 5-17), but there are
# senders that always write it. Empty, as theirs is for the other actions, it is skipped: a single LV that ends where
# the TLV ends can only be the message.

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from flight.core.errors import DecodeError
from flight.link.cfdp.conditions import ConditionCode, FaultHandler, decode_code
from flight.link.cfdp.header import ID_OCTETS_MAX
from flight.text.plural import counted

VALUE_OCTETS_MAX = 255
TLVS_MAX = 128  # in one PDU


class FieldReader:
    """Reads fields one behind the other. `what` names the PDU or the TLV in the text of a DecodeError."""

    __slots__ = ("_at", "_raw", "what")

    def __init__(self, raw: bytes, what: str) -> None:
        self._raw = raw
        self._at = 0
        self.what = what

    @property
    def remaining(self) -> int:
        """How many octets have not been read."""
        return len(self._raw) - self._at

    def octets(self, count: int) -> bytes:
        """Return the next `count` octets."""
        if count > self.remaining:
            raise DecodeError(f"CFDP {self.what}: octet {self._at + count} is needed, there are {len(self._raw)}")
        self._at += count
        return self._raw[self._at - count : self._at]

    def number(self, octets: int) -> int:
        """Return the next `octets` octets as an unsigned number."""
        return int.from_bytes(self.octets(octets), "big")

    def lv(self) -> bytes:
        """Return the value of the next LV."""
        return self.octets(self.number(1))

    def name(self) -> str:
        """Return the next LV, which is a file name."""
        try:
            return self.lv().decode()
        except UnicodeDecodeError as error:
            raise DecodeError(f"CFDP {self.what}: file name is not UTF-8 ({error.reason})") from None

    def peek(self) -> int:
        """Return the next octet without taking it, -1 at the end."""
        return self._raw[self._at] if self.remaining else -1

    def end(self) -> None:
        """Raise DecodeError if anything is left."""
        if self.remaining:
            raise DecodeError(f"CFDP {self.what}: {counted(self.remaining, 'octet')} too many")


def lv(value: bytes, what: str) -> bytes:
    """Return the LV of `value`; raises ValueError, which says `what` it is, if it is too long."""
    if len(value) > VALUE_OCTETS_MAX:
        raise ValueError(f"{what} of {len(value)} octets, {VALUE_OCTETS_MAX} at most")
    return bytes((len(value),)) + value


def name_lv(name: str) -> bytes:
    """Return the LV of a file name; raises ValueError if it is too long or cannot be written as UTF-8."""
    try:
        return lv(name.encode(), "file name")
    except UnicodeEncodeError as error:
        raise ValueError(f"file name {name!a} cannot be written as UTF-8 ({error.reason})") from None


def _tlv(kind: int, value: bytes, what: str) -> bytes:
    return bytes((kind,)) + lv(value, what)


class FilestoreAction(IntEnum):
    """What a filestore request asks for (table 5-16)."""

    CREATE_FILE = 0
    DELETE_FILE = 1
    RENAME_FILE = 2
    APPEND_FILE = 3
    REPLACE_FILE = 4
    CREATE_DIRECTORY = 5
    REMOVE_DIRECTORY = 6
    DENY_FILE = 7
    DENY_DIRECTORY = 8

    @property
    def text(self) -> str:
        """The action in plain words."""
        return self.name.lower().replace("_", " ")

    @property
    def takes_two(self) -> bool:
        """Whether the action is on two files."""
        return self in (FilestoreAction.RENAME_FILE, FilestoreAction.APPEND_FILE, FilestoreAction.REPLACE_FILE)


FILESTORE_SUCCESSFUL, FILESTORE_NOT_PERFORMED = 0, 15  # what the status of every action may be (table 5-18)


def action_and_names(action: FilestoreAction, status: int, first: str, second: str) -> bytes:
    """Return how a filestore request (status 0) and a response begin."""
    return bytes((action << 4 | status,)) + name_lv(first) + (name_lv(second) if action.takes_two else b"")


@dataclass(frozen=True, slots=True)
class FilestoreRequest:
    """What the receiver shall do once the file is there (5.4.1). `second` counts only if the action takes two names."""

    action: FilestoreAction
    first: str
    second: str = ""

    def value(self) -> bytes:
        """Return the value of the TLV."""
        return action_and_names(self.action, 0, self.first, self.second)

    def encode(self) -> bytes:
        """Return the TLV; raises ValueError if the names are too long."""
        return _tlv(_FILESTORE_REQUEST, self.value(), "filestore request")

    @classmethod
    def decode(cls, value: bytes) -> FilestoreRequest:
        """Decode the value of the TLV."""
        fields = FieldReader(value, "filestore request")
        action = decode_code(FilestoreAction, fields.number(1) >> 4)
        request = cls(action, fields.name(), fields.name() if action.takes_two else "")
        if not action.takes_two and fields.peek() == 0:
            fields.octets(1)  # an empty second name
        fields.end()
        return request


@dataclass(frozen=True, slots=True)
class FilestoreResponse:
    """What became of a filestore request (5.4.2). `status` is 0 for success, 15 for not performed, else by action."""

    action: FilestoreAction
    status: int
    first: str
    second: str = ""
    message: bytes = b""

    def value(self) -> bytes:
        """Return the value of the TLV."""
        begin = action_and_names(self.action, self.status, self.first, self.second)
        return begin + lv(self.message, "filestore message")

    def encode(self) -> bytes:
        """Return the TLV; raises ValueError if names and message are too long."""
        return _tlv(_FILESTORE_RESPONSE, self.value(), "filestore response")

    @classmethod
    def decode(cls, value: bytes) -> FilestoreResponse:
        """Decode the value of the TLV."""
        fields = FieldReader(value, "filestore response")
        codes = fields.number(1)
        action = decode_code(FilestoreAction, codes >> 4)
        first, second = fields.name(), ""
        if action.takes_two:
            second = fields.name()
        elif fields.peek() == 0 and fields.remaining > 1:
            fields.octets(1)  # an empty second name
        message = fields.lv()
        fields.end()
        return cls(action, codes & 0xF, first, second, message)


@dataclass(frozen=True, slots=True)
class MessageToUser:
    """Octets for the user at the receiver (5.4.3). Those that begin with `cfdp` are in messages.py."""

    octets: bytes

    def encode(self) -> bytes:
        """Return the TLV; raises ValueError if the message is too long."""
        return _tlv(_MESSAGE_TO_USER, self.octets, "message to user")


@dataclass(frozen=True, slots=True)
class FaultHandlerOverride:
    """What the receiver shall do if `condition` comes up in this transaction (5.4.4)."""

    condition: ConditionCode
    handler: FaultHandler

    def value(self) -> bytes:
        """Return the value of the TLV."""
        return bytes((self.condition << 4 | self.handler,))

    def encode(self) -> bytes:
        """Return the TLV."""
        return _tlv(_FAULT_HANDLER, self.value(), "fault handler override")

    @classmethod
    def decode(cls, value: bytes) -> FaultHandlerOverride:
        """Decode the value of the TLV."""
        fields = FieldReader(value, "fault handler override")
        codes = fields.number(1)
        fields.end()
        return cls(decode_code(ConditionCode, codes >> 4), decode_code(FaultHandler, codes & 0xF))


@dataclass(frozen=True, slots=True)
class FlowLabel:
    """How the file is to be handled on its way, in words of the two ends (5.4.5)."""

    octets: bytes

    def encode(self) -> bytes:
        """Return the TLV; raises ValueError if the label is too long."""
        return _tlv(_FLOW_LABEL, self.octets, "flow label")


@dataclass(frozen=True, slots=True)
class EntityId:
    """The entity at which a fault came up (5.4.6). `octets`: how many the id takes at least."""

    entity: int
    octets: int = 1

    def encode(self) -> bytes:
        """Return the TLV."""
        octets = max(self.octets, (self.entity.bit_length() + 7) // 8)
        return _tlv(_ENTITY_ID, self.entity.to_bytes(octets, "big"), "entity id")

    @classmethod
    def decode(cls, value: bytes) -> EntityId:
        """Decode the value of the TLV."""
        if not 1 <= len(value) <= ID_OCTETS_MAX:
            raise DecodeError(f"CFDP entity id of {len(value)} octets, 1 to {ID_OCTETS_MAX} are allowed")
        return cls(int.from_bytes(value, "big"), len(value))


@dataclass(frozen=True, slots=True)
class OtherTlv:
    """A TLV of a type that the standard does not name."""

    kind: int
    octets: bytes

    def encode(self) -> bytes:
        """Return the TLV; raises ValueError if the value is too long."""
        return _tlv(self.kind, self.octets, "TLV")


Tlv = FilestoreRequest | FilestoreResponse | MessageToUser | FaultHandlerOverride | FlowLabel | EntityId | OtherTlv

_FILESTORE_REQUEST, _FILESTORE_RESPONSE, _MESSAGE_TO_USER = 0x00, 0x01, 0x02
_FAULT_HANDLER, _FLOW_LABEL, _ENTITY_ID = 0x04, 0x05, 0x06
_KINDS: dict[int, Callable[[bytes], Tlv]] = {
    _FILESTORE_REQUEST: FilestoreRequest.decode,
    _FILESTORE_RESPONSE: FilestoreResponse.decode,
    _MESSAGE_TO_USER: MessageToUser,
    _FAULT_HANDLER: FaultHandlerOverride.decode,
    _FLOW_LABEL: FlowLabel,
    _ENTITY_ID: EntityId.decode,
}


def decode_tlvs(fields: FieldReader) -> tuple[Tlv, ...]:
    """Read TLVs up to the end."""
    tlvs: list[Tlv] = []
    while fields.remaining:
        if len(tlvs) == TLVS_MAX:
            raise DecodeError(f"CFDP {fields.what}: more than {TLVS_MAX} TLVs")
        kind, value = fields.number(1), fields.lv()
        known = _KINDS.get(kind)
        tlvs.append(OtherTlv(kind, value) if known is None else known(value))
    return tuple(tlvs)


def encode_tlvs(tlvs: Sequence[Tlv]) -> bytes:
    """Return the TLVs one behind the other; raises ValueError if there are too many, or a value is too long for one."""
    if len(tlvs) > TLVS_MAX:
        raise ValueError(f"{len(tlvs)} TLVs, {TLVS_MAX} at most")
    return b"".join(tlv.encode() for tlv in tlvs)
