"""The port through which an entity reaches file content (CCSDS 727.0-B-5, 4.9: each side implements a filestore)."""

# The entity names no place on a medium. A source is opened by the name that its own user gave; a destination by the
# transaction that it belongs to, because octets may come before the metadata that name the file. What a peer calls the
# file reaches the owner in `admit` and in FileComplete, and the owner decides what becomes of it.
#
# Why a port and not actions (ADR 0042): a segment costs one call here. As an action it would cost an object, a list and
# a dispatch, and a sender could not ask for octets at all without a round trip through its owner.
#
# Calls return at once: nothing here waits for a disk. What was written is durable when the owner has synced it, which
# it does before it stores the record that says so (record.py).

from __future__ import annotations

from typing import Protocol

from flight.link.cfdp.conditions import ConditionCode, FileStatus
from flight.link.cfdp.header import TransactionId


class FilestoreRefusal(Exception):
    """The filestore will not do it. `text` says why in plain words, and reaches operators."""

    def __init__(
        self,
        text: str,
        condition: ConditionCode = ConditionCode.FILESTORE_REJECTION,
        status: FileStatus = FileStatus.REJECTED,
    ) -> None:
        super().__init__(text)
        self.text = text
        self.condition = condition
        self.status = status


class SourceFile(Protocol):
    """A file to be sent. It must not change while it is."""

    @property
    def octets(self) -> int:
        """How long the file is."""

    def read(self, at: int, octets: int) -> bytes:
        """Return exactly these octets, which are within the file. Raises FilestoreRefusal."""


class DestinationFile(Protocol):
    """A file that is being received, in any order."""

    def write(self, at: int, data: bytes | memoryview) -> None:
        """Put `data` at its place; may leave a hole. Raises FilestoreRefusal, with nothing written."""


class Filestore(Protocol):
    """What an entity asks of its owner's files."""

    def open_source(self, name: str) -> SourceFile:
        """Open the file that a PutRequest or a stored record names. Raises FilestoreRefusal."""

    def open_destination(self, transaction: TransactionId) -> DestinationFile:
        """Open the file that the octets of this transaction go to: a new one, or after a reboot that begun before.

        Called before the first octet is written, whether the metadata came or not. Raises FilestoreRefusal.
        """

    def admit(self, transaction: TransactionId, name: str, octets: int) -> None:
        """Take the name and the size that the metadata state, or raise FilestoreRefusal: a bad name, no room.

        octets: 0 also if the sender does not know the size yet (5.2.5). Called once per metadata, and again after a
        reboot.
        """
