"""A filestore over a plain folder: what an owner of an entity is at the least. For tests and benchmarks alone.

A file that is not whole yet has a name that nobody asks for, and gets its own when it is.
"""

from __future__ import annotations

import os
from pathlib import Path

from flight.link.cfdp.conditions import ConditionCode, FileStatus
from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.transactions.filestore import FilestoreRefusal

BLOCK_OCTETS = 1 << 18


class PlainSource:
    """An open file, read by place."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.octets = os.fstat(self._descriptor).st_size

    def read(self, at: int, octets: int) -> bytes:
        """Return exactly these octets."""
        data = os.pread(self._descriptor, octets, at)
        if len(data) != octets:
            raise FilestoreRefusal(f"{octets} octets at {at}: the file has become shorter")
        return data

    def __del__(self) -> None:
        os.close(self._descriptor)


class PlainDestination:
    """A file in the making, written by place."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, at: int, data: bytes | memoryview) -> None:
        """Put `data` at its place."""
        os.pwrite(self.descriptor, data, at)

    def __del__(self) -> None:
        os.close(self.descriptor)


class PlainFiles:
    """The folder. `refused` are names that it does not take; `room_octets` is the longest file that it does."""

    def __init__(self, folder: Path, refused: tuple[str, ...] = (), room_octets: int = 1 << 40) -> None:
        self.folder = folder
        self._refused, self._room_octets = refused, room_octets

    def working(self, transaction: TransactionId) -> Path:
        """Where the octets of a transaction are until its file is whole."""
        return self.folder / f".{transaction.source}-{transaction.number}.part"

    def open_source(self, name: str) -> PlainSource:
        """Open a file to be sent."""
        try:
            return PlainSource(self.folder / name)
        except OSError as error:
            raise FilestoreRefusal(f"{name}: {error.strerror}") from None

    def open_destination(self, transaction: TransactionId) -> PlainDestination:
        """Open what was begun, or begin it."""
        return PlainDestination(self.working(transaction))

    def admit(self, transaction: TransactionId, name: str, octets: int) -> None:
        """Take a name and a size, or refuse them."""
        del transaction
        if name in self._refused:
            raise FilestoreRefusal(f"{name} is not taken", ConditionCode.FILESTORE_REJECTION, FileStatus.REJECTED)
        if octets > self._room_octets:
            raise FilestoreRefusal(f"{octets} octets, there is room for {self._room_octets}")

    def keep(self, transaction: TransactionId, name: str) -> None:
        """Give a whole file its name. One of no octets was perhaps never opened."""
        working = self.working(transaction)
        working.touch()
        working.replace(self.folder / name)

    def drop(self, transaction: TransactionId) -> None:
        """Delete what was begun."""
        self.working(transaction).unlink(missing_ok=True)
