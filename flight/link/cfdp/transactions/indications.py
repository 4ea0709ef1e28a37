"""What an entity tells its owner (CCSDS 727.0-B-5, 3.4).

Two of these ask for an answer: StoreRecord and FileComplete.
"""

from __future__ import annotations

from dataclasses import dataclass

from flight.link.cfdp.conditions import ConditionCode, DeliveryCode, FaultHandler, FileStatus
from flight.link.cfdp.directives import Metadata
from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.tlv import FilestoreRequest, FilestoreResponse, MessageToUser
from flight.link.cfdp.transactions.requests import Role


@dataclass(frozen=True, slots=True)
class MetadataReceived:
    """A peer announces a file, and the filestore admits it (Metadata-Recv.indication)."""

    transaction: TransactionId
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class EofSent:
    """The first EOF was given out: a sender has no new data left (EOF-Sent.indication)."""

    transaction: TransactionId


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """Something waits for the disk: store what `records` returns, sync, then call `stored`.

    It comes again if the peer asks again, so one that was missed is not lost.
    """

    transaction: TransactionId


@dataclass(frozen=True, slots=True)
class FileComplete:
    """All octets are here, and the owner has the next word: nothing is said to the peer until it calls `settle`.

    The owner compares the checksum, makes the file durable under its name, and runs the filestore requests in their
    order. It comes again after a reboot, also if the owner had already kept the file.

    name: "" if the metadata were lost (class 1), or if there is no file but only requests and messages: then `has_file`
    is False.
    checksum_type: None if the metadata were lost: 3 or 0 may be meant.
    """

    transaction: TransactionId
    name: str
    octets: int
    checksum_type: int | None
    checksum: int
    requests: tuple[FilestoreRequest, ...] = ()
    messages: tuple[MessageToUser, ...] = ()
    has_file: bool = True


@dataclass(frozen=True, slots=True)
class Faulted:
    """A fault came up, and `handler` was done about it (Fault.indication; Suspended.indication if it is SUSPEND).

    octets_done: as in TransactionStatus. text: why, if the condition alone does not say it, else "".
    """

    transaction: TransactionId
    role: Role
    condition: ConditionCode
    handler: FaultHandler
    octets_done: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class TransactionFinished:
    """A transaction has ended, and nothing more comes of it (Transaction-Finished.indication).

    The owner deletes its record, and what it holds of a file that is not `whole`. It comes again after a reboot if the
    record was not deleted yet.

    whole: the file was delivered: kept by the receiver, and at the sender of class 2 or with closure known to be. A
    class 1 sender without closure knows only that it sent everything: condition NO_ERROR, status UNREPORTED.
    missing: stretches that the receiver lacks; at a sender that failed, what it never sent. octets: the size of the
    file as far as it is known. text: why, if the condition alone does not say it, else "".
    """

    transaction: TransactionId
    role: Role
    condition: ConditionCode
    delivery: DeliveryCode
    status: FileStatus
    name: str
    octets: int
    missing: tuple[tuple[int, int], ...] = ()
    responses: tuple[FilestoreResponse, ...] = ()
    text: str = ""

    @property
    def whole(self) -> bool:
        """Whether the file was delivered and kept, and nothing is wrong with it: who sent it may delete it."""
        kept = self.delivery is DeliveryCode.COMPLETE and self.status is FileStatus.RETAINED
        return kept and self.condition is ConditionCode.NO_ERROR


Indication = MetadataReceived | EofSent | StoreRecord | FileComplete | Faulted | TransactionFinished


@dataclass(frozen=True, slots=True)
class PdusIgnored:
    """How many PDUs were ignored for `reason`, and of which transaction the newest was.

    `transaction` is None if the PDU names none; `name` is that of its file, "" if it is not known.
    """

    reason: str
    count: int
    transaction: TransactionId | None
    name: str

    @property
    def meaning(self) -> str:
        """The reason in words: `their transaction has ended`."""
        return MEANINGS[self.reason]


LATE = "late"  # the one reason for which nothing is wrong with the PDU itself
# Why PDUs are ignored, by the reason's name in the counters.
MEANINGS = {
    LATE: "their transaction has ended",
    "malformed": "they are not CFDP PDUs",
    "entity": "they are for another entity",
    "unknown": "they answer a transaction that this entity does not know",
    "table": "as many transactions are open as may be",
    "offset": "they go beyond the end of the file, or what one file may have",
    "ranges": "the file is in too many pieces",
    "conflict": "they contradict what came before",
    "request": "they ask for octets that the file does not have",
    "state": "they do not belong to what the transaction is doing",
}
