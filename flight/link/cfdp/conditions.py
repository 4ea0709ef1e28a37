"""What a CFDP entity says about a transaction: conditions, fault handlers, delivery, status (727.0-B-5, 5.2 and 5.4).

Each code has a `text` in plain words, which reaches operators.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeVar

from flight.core.errors import DecodeError


class ConditionCode(IntEnum):
    """Why a transaction ended or rests (table 5-5); what is not 0, or a request of a user, is a fault."""

    NO_ERROR = 0
    ACK_LIMIT_REACHED = 1
    KEEP_ALIVE_LIMIT_REACHED = 2
    INVALID_TRANSMISSION_MODE = 3
    FILESTORE_REJECTION = 4
    FILE_CHECKSUM_FAILURE = 5
    FILE_SIZE_ERROR = 6
    NAK_LIMIT_REACHED = 7
    INACTIVITY_DETECTED = 8
    INVALID_FILE_STRUCTURE = 9
    CHECK_LIMIT_REACHED = 10
    UNSUPPORTED_CHECKSUM_TYPE = 11
    SUSPEND_REQUEST_RECEIVED = 14
    CANCEL_REQUEST_RECEIVED = 15

    @property
    def text(self) -> str:
        """The condition in plain words."""
        return _CONDITIONS[self]


_CONDITIONS = {
    ConditionCode.NO_ERROR: "no error",
    ConditionCode.ACK_LIMIT_REACHED: "the other end did not acknowledge",
    ConditionCode.KEEP_ALIVE_LIMIT_REACHED: "the receiver fell too far behind",
    ConditionCode.INVALID_TRANSMISSION_MODE: "the transmission mode is not supported",
    ConditionCode.FILESTORE_REJECTION: "the file store refused",
    ConditionCode.FILE_CHECKSUM_FAILURE: "checksum mismatch",
    ConditionCode.FILE_SIZE_ERROR: "more octets than the file has",
    ConditionCode.NAK_LIMIT_REACHED: "missing octets did not come, however often asked for",
    ConditionCode.INACTIVITY_DETECTED: "nothing came for too long",
    ConditionCode.INVALID_FILE_STRUCTURE: "the file is structured in records, which is not supported",
    ConditionCode.CHECK_LIMIT_REACHED: "octets still missing long after the end of the file",
    ConditionCode.UNSUPPORTED_CHECKSUM_TYPE: "the checksum type is not supported",
    ConditionCode.SUSPEND_REQUEST_RECEIVED: "suspended by a user",
    ConditionCode.CANCEL_REQUEST_RECEIVED: "cancelled by a user",
}


class FaultHandler(IntEnum):
    """What an entity does if a condition comes up (table 5-19)."""

    CANCEL = 1
    SUSPEND = 2
    IGNORE = 3
    ABANDON = 4

    @property
    def text(self) -> str:
        """The handler in plain words."""
        return self.name.lower()


class DeliveryCode(IntEnum):
    """Whether all octets of the file arrived (5.2.3)."""

    COMPLETE = 0
    INCOMPLETE = 1

    @property
    def text(self) -> str:
        """The delivery in plain words."""
        return self.name.lower()


class FileStatus(IntEnum):
    """What the receiver did with the file (5.2.3)."""

    DISCARDED = 0
    REJECTED = 1
    RETAINED = 2
    UNREPORTED = 3

    @property
    def text(self) -> str:
        """The status in plain words."""
        return _STATUSES[self]


_STATUSES = {
    FileStatus.DISCARDED: "discarded by the receiver",
    FileStatus.REJECTED: "discarded because the file store refused it",
    FileStatus.RETAINED: "retained",
    FileStatus.UNREPORTED: "not reported",
}


class AckStatus(IntEnum):
    """The state of a transaction at the entity that acknowledges (5.2.4)."""

    UNDEFINED = 0
    ACTIVE = 1
    TERMINATED = 2
    UNRECOGNIZED = 3

    @property
    def text(self) -> str:
        """The state in plain words."""
        return self.name.lower()


_Code = TypeVar("_Code", bound=IntEnum)


def decode_code(kind: type[_Code], value: int) -> _Code:
    """Return the code that `value` stands for; raises DecodeError if it stands for none."""
    try:
        return kind(value)
    except ValueError:
        raise DecodeError(f"CFDP {kind.__name__} {value} is reserved") from None
