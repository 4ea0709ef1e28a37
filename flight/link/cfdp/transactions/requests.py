"""What an entity's user asks of it, and what it says about a transaction when asked (CCSDS 727.0-B-5, 3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from flight.core.errors import OrbitnodeError
from flight.link.cfdp.conditions import ConditionCode, FileStatus
from flight.link.cfdp.header import Mode, TransactionId
from flight.link.cfdp.tlv import FilestoreResponse, Tlv


class PutRefused(OrbitnodeError):
    """A file cannot be sent: no such file, the table is full, a name is too long."""


@dataclass(frozen=True, slots=True)
class PutRequest:
    """One file to be sent, or with both names empty metadata alone (Put.request).

    source_name: what `Filestore.open_source` opens. name: what the receiver is asked to call it.
    closure: class 1: whether the receiver is to say that it is there. Class 2 always does.
    priority: 0 first. What is of a better priority overtakes at a PDU's boundary.
    checksum_type: None for the entity's own. options: TLVs of the metadata, in order.
    """

    destination: int
    source_name: str
    name: str
    mode: Mode = Mode.ACKNOWLEDGED
    closure: bool = False
    priority: int = 1
    checksum_type: int | None = None
    options: tuple[Tlv, ...] = ()


@dataclass(frozen=True, slots=True)
class Retained:
    """The owner's answer to FileComplete: the checksum agrees, the file is durable under its name, requests are run."""

    responses: tuple[FilestoreResponse, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """The owner's other answer: the file is not kept. `text` says why in plain words."""

    text: str
    condition: ConditionCode = ConditionCode.FILE_CHECKSUM_FAILURE
    status: FileStatus = FileStatus.DISCARDED
    responses: tuple[FilestoreResponse, ...] = ()


class Role(IntEnum):
    """Which end of a transaction this entity is."""

    SENDER = 0
    RECEIVER = 1


@dataclass(frozen=True, slots=True)
class TransactionStatus:
    """One transaction as it is now (Report.indication).

    state: a word for people (`SenderState`, `ReceiverState` in lower case).
    name: what the receiver is asked to call the file, "" if the metadata did not come yet.
    octets: the size of the file, None if it is not known. octets_done: at the sender those sent and not asked for
    again, at the receiver those held.
    gaps: stretches that are missing (receiver) or to be sent again (sender), the first `GAPS_SHOWN` of them.
    condition: the newest fault, or why it is being cancelled. resting: until the next contact. suspended: by a user.
    """

    transaction: TransactionId
    role: Role
    mode: Mode
    peer: int
    state: str
    source_name: str
    name: str
    octets: int | None
    octets_done: int
    gaps: tuple[tuple[int, int], ...]
    condition: ConditionCode
    suspended: bool
    resting: bool


GAPS_SHOWN = 256
