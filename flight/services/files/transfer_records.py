"""Transfers on storage: a record per open transaction, and one of those that have ended, each with a checksum.

A record that cannot be read costs the progress of its transfer and nothing else: the file is sent once more.
"""

# Each record is a name of its own on the storage user "transfers", replaced as a whole: after a loss of power it is the
# one before or the one after, never a mixture. A replacement never becomes durable before what was written ahead of it
# (flight.core.platform.Storage), and content is written ahead of the record that speaks of it. So the ranges in a
# record are always there.
#
# Format, big-endian: CRC-32 over all that follows u32, version u8, whose transfer it is u8, number of the content u64
# and its length u64, then what the entity gave.

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from flight.core.errors import DecodeError, StorageError
from flight.core.future import Event, Future
from flight.core.nanoseconds import NS
from flight.core.platform import Storage
from flight.core.task import Task
from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.transactions.entity import Entity

_VERSION = 1
_STEP_OCTETS = 32_768  # of records, per step
_CRC = struct.Struct(">I")
_HEAD = struct.Struct(">BBQQ")
_NAME = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{1,16})")


class Whose(IntEnum):
    """Who began a transaction."""

    PEER = 0  # it comes up
    OUTBOX = 1
    REQUEST = 2  # ground asked for it, by a message with another transaction


@dataclass(frozen=True, slots=True)
class TransferRecord:
    """One record. state: what the entity gave.

    number: of the content that is read or written, 0 for none. octets: how long a content had grown that is written.
    """

    transaction: TransactionId
    whose: Whose
    number: int
    octets: int
    state: bytes


class TransferRecords:
    """The records of one node. `damaged` names those that could not be read at boot, and why."""

    def __init__(self, storage: Storage, user: str) -> None:
        self.damaged: list[tuple[str, str]] = []
        self._storage = storage
        self._prefix = f"{user}."
        self._ended = f"{user}.ended"
        self._stored: set[str] = set()  # names that are there, so that nothing is deleted that is not

    def load(self) -> Iterator[TransferRecord]:
        """Yield each record. Those that cannot be read are deleted."""
        for name in self._storage.names():
            stem = name.removeprefix(self._prefix)
            if name in {self._ended, stem}:
                continue
            self._stored.add(name)
            try:
                match = _NAME.fullmatch(stem)
                if match is None:
                    raise DecodeError("its name is not that of a transaction")
                whose, number, octets, state = _unpack(self._storage.read(name) or b"")
            except (DecodeError, StorageError) as error:
                self.damaged.append((stem, str(error)))
                self._delete(name)
                continue
            yield TransferRecord(TransactionId(int(match[1], 16), int(match[2], 16)), whose, number, octets, state)

    def load_ended(self) -> bytes | None:
        """Return what was stored of transactions that have ended, None if there is nothing sound."""
        try:
            raw = self._storage.read(self._ended)
            return None if raw is None else _unpack(raw)[3]
        except (DecodeError, StorageError) as error:
            self.damaged.append(("ended", str(error)))
            return None

    def save(self, record: TransferRecord) -> int:
        """Write a record, durable with the next sync; return its octets. Raises StorageError."""
        name = self._name(record.transaction)
        octets = _pack(record.whose, record.number, record.octets, record.state)
        self._storage.replace(name, octets)
        self._stored.add(name)
        return len(octets)

    def save_ended(self, state: bytes) -> None:
        """Write what is known of ended transactions, durable with the next sync. Raises StorageError."""
        self._storage.replace(self._ended, _pack(Whose.PEER, 0, 0, state))

    def drop(self, transaction: TransactionId) -> None:
        """Delete the record of a transaction, if it has one."""
        self._delete(self._name(transaction))

    def sync(self) -> Future[None]:
        """Return a future that is done when all records written so far are durable."""
        return self._storage.sync(self._prefix)

    def _name(self, transaction: TransactionId) -> str:
        return f"{self._prefix}{transaction.source:x}-{transaction.number:x}"

    def _delete(self, name: str) -> None:
        if name in self._stored:
            try:
                self._storage.delete(name)
            except StorageError:
                return  # storage has failed for good; the next boot finds the record, and that its transfer has ended
            self._stored.discard(name)


class RecordDuty:
    """Stores records when they are due, and tells whoever waits for it.

    record_of: what is to be stored of a transaction. stored(transaction): what it waited for is durable.
    """

    def __init__(
        self, records: TransferRecords, entity: Entity, record_of: Callable[[TransactionId, bytes], TransferRecord],
        stored: Callable[[TransactionId], None], period_ns: int, now_ns: Callable[[], int],
    ) -> None:  # fmt: skip
        self._records = records
        self._entity = entity
        self._record_of = record_of
        self._stored = stored
        self._period_ns = period_ns
        self._now_ns = now_ns
        self._due_ns: int | None = None
        self._wake = Event()  # the task has something to do, now or at another time than it thinks
        self._asked: list[TransactionId] = []
        self._waiting: list[Future[None]] = []
        self._ended_changed = False
        self._all_changed = False  # a store failed: everything is written again

    def progress(self) -> None:
        """Take in that something may have changed: it is stored in a while."""
        if self._due_ns is None:
            self._due_ns = self._now_ns() + self._period_ns
            self._wake.set()

    def ended(self) -> None:
        """Take in that a transaction has ended."""
        self._ended_changed = True
        self.progress()

    def ask(self, transaction: TransactionId) -> None:
        """Store now: a transaction waits for it."""
        self._asked.append(transaction)
        self._store_now()

    def durable(self) -> Future[None]:
        """Store now; return a future that is done when that is durable, or has a StorageError."""
        done: Future[None] = Future()
        self._waiting.append(done)
        self._store_now()
        return done

    def _store_now(self) -> None:
        self._due_ns = self._now_ns()
        self._wake.set()

    async def run(self, task: Task) -> None:
        """Store records whenever they are due."""
        while True:
            self._wake.clear()
            due_ns, now_ns = self._due_ns, self._now_ns()
            if due_ns is None or due_ns > now_ns:
                await task.first((self._wake.wait(),), None if due_ns is None else (due_ns - now_ns) / NS)
                continue
            self._due_ns = None
            await self._store(task)

    async def _store(self, task: Task) -> None:
        asked, self._asked = self._asked, []
        waiting, self._waiting = self._waiting, []
        everything, self._all_changed = self._all_changed, False
        octets = 0
        try:
            # One by one: the record of a file with thousands of gaps is a step's work.
            for transaction, state in self._entity.each_record(changed=not everything):
                octets += self._records.save(self._record_of(transaction, state))
                if octets > _STEP_OCTETS:
                    octets = 0
                    await task.sleep(0)
            if self._ended_changed:
                self._ended_changed = False
                self._records.save_ended(self._entity.ended_record())
            await self._records.sync()
        except StorageError as error:
            self._all_changed = self._ended_changed = True
            for future in waiting:
                future.set_error(error)
            return
        for transaction in asked:
            self._stored(transaction)
        for future in waiting:
            future.set_result(None)


def _pack(whose: Whose, number: int, octets: int, state: bytes) -> bytes:
    body = _HEAD.pack(_VERSION, whose, number, octets) + state
    return _CRC.pack(zlib.crc32(body)) + body


def _unpack(raw: bytes) -> tuple[Whose, int, int, bytes]:
    if len(raw) < _CRC.size + _HEAD.size or _CRC.unpack_from(raw)[0] != zlib.crc32(raw[_CRC.size :]):
        raise DecodeError("its record is damaged")
    version, whose, number, octets = _HEAD.unpack_from(raw, _CRC.size)
    if version != _VERSION or whose not in tuple(Whose):
        raise DecodeError(f"its record is of version {version}")
    return Whose(whose), number, octets, raw[_CRC.size + _HEAD.size :]
