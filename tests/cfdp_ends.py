"""Both ends of a CFDP link without a clock or a disk: owners of an entity as an owner should be, in memory.

A `CfdpEnd` has a disk, which keeps what was stored at the last checkpoint, and a memory, which a reboot empties. The
disk is simple, but keeps the rules that the entity asks of its owner: content before records, and the memory of ended
transactions before a record is deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from flight.core.errors import DecodeError
from flight.link.cfdp.checksums import CHECKSUMS
from flight.link.cfdp.conditions import ConditionCode
from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.numbers import TransactionNumbers
from flight.link.cfdp.transactions.entity import Entity
from flight.link.cfdp.transactions.entity_config import EntityConfig
from flight.link.cfdp.transactions.filestore import FilestoreRefusal
from flight.link.cfdp.transactions.indications import (
    Faulted,
    FileComplete,
    Indication,
    StoreRecord,
    TransactionFinished,
)
from flight.link.cfdp.transactions.requests import PutRequest, Refused, Retained, Role


class Content:
    """The octets of one file that is being received."""

    def __init__(self, octets: bytes = b"", room: int | None = None) -> None:
        self.data = bytearray(octets)
        self.room = room

    def write(self, at: int, data: bytes | memoryview) -> None:
        end = at + len(data)
        if self.room is not None and end > self.room:
            raise FilestoreRefusal("no room")
        if end > len(self.data):
            self.data.extend(bytes(end - len(self.data)))
        self.data[at:end] = data


@dataclass
class Source:
    data: bytes
    reads: int = 0

    @property
    def octets(self) -> int:
        return len(self.data)

    def read(self, at: int, octets: int) -> bytes:
        self.reads += 1
        return self.data[at : at + octets]


@dataclass
class Disk:
    """What outlives a reboot."""

    sources: dict[str, bytes] = field(default_factory=dict)
    contents: dict[TransactionId, bytes] = field(default_factory=dict)
    records: dict[TransactionId, bytes] = field(default_factory=dict)
    ended: bytes = b""
    starts: int = 0


class CfdpEnd:
    """An entity and its owner. `refuses` may say why a name is not admitted."""

    def __init__(self, config: EntityConfig, epoch: int = 0) -> None:
        self.config = config
        self.epoch = epoch
        self.disk = Disk()
        self.refuses: Callable[[str, int], str] = lambda _name, _octets: ""
        self.told: list[Indication] = []
        self.kept: dict[TransactionId, bytes] = {}  # files made durable under their names
        self.finished: list[TransactionFinished] = []
        self.now_ns = 0
        self.in_contact = False
        self.room: int | None = None
        self.contents: dict[TransactionId, Content] = {}
        self.boot(newer_content=False)

    # The port

    def open_source(self, name: str) -> Source:
        if name not in self.disk.sources:
            raise FilestoreRefusal("no such file")
        return Source(self.disk.sources[name])

    def open_destination(self, transaction: TransactionId) -> Content:
        return self.contents.setdefault(transaction, Content(room=self.room))

    def admit(self, _transaction: TransactionId, name: str, octets: int) -> None:
        if text := self.refuses(name, octets):
            raise FilestoreRefusal(text)

    # The owner

    def boot(self, *, newer_content: bool) -> None:
        """Begin a life. newer_content: what was written since the last checkpoint has reached the disk by itself."""
        self.disk.starts += 1
        if newer_content:
            self.disk.contents = {name: bytes(content.data) for name, content in self.contents.items()}
        self.contents = {name: Content(octets, self.room) for name, octets in self.disk.contents.items()}
        self.to_store: dict[TransactionId, None] = {}
        self.to_settle: dict[TransactionId, FileComplete] = {}
        self.entity = Entity(self.config, self, TransactionNumbers(self.disk.starts, self.epoch))
        if self.disk.ended:
            self.entity.restore_ended(self.disk.ended)
        for transaction, record in list(self.disk.records.items()):
            try:
                assert self.entity.restore(record, self.now_ns) == transaction
            except DecodeError:
                del self.disk.records[transaction]
        self.take(self.entity.on_time(self.now_ns))
        if self.in_contact:
            self.take(self.entity.set_contact(True, self.now_ns))

    def put(self, name: str, data: bytes, request: PutRequest) -> TransactionId:
        self.disk.sources[name] = data
        return self.entity.put(request, self.now_ns)

    def take(self, indications: list[Indication]) -> None:
        """Take what the entity tells."""
        self.told += indications
        for indication in indications:
            match indication:
                case StoreRecord():
                    self.to_store[indication.transaction] = None
                case FileComplete():
                    self.to_settle[indication.transaction] = indication
                case TransactionFinished():
                    self._finish(indication)

    def _finish(self, finished: TransactionFinished) -> None:
        self.finished.append(finished)
        self.disk.ended = self.entity.ended_record()
        self.disk.records.pop(finished.transaction, None)
        if finished.role is Role.RECEIVER:
            self.contents.pop(finished.transaction, None)
            self.disk.contents.pop(finished.transaction, None)

    def checkpoint(self) -> None:
        """Store everything that changed, and say so."""
        waiting = list(self.to_store)
        self.to_store.clear()
        self.disk.contents = {name: bytes(content.data) for name, content in self.contents.items()}
        self.disk.records.update(self.entity.records())
        self.disk.ended = self.entity.ended_record()
        for transaction in waiting:
            self.take(self.entity.stored(transaction, self.now_ns))

    def settle(self) -> None:
        """Look at every file that is complete."""
        for transaction, complete in list(self.to_settle.items()):
            del self.to_settle[transaction]
            data = bytes(self.contents[transaction].data) if complete.has_file else b""
            assert len(data) == complete.octets, complete
            kinds = (3, 0) if complete.checksum_type is None else (complete.checksum_type,)
            if any(CHECKSUMS[kind].of(data) == complete.checksum for kind in kinds):
                self.kept[transaction] = data
                outcome: Retained | Refused = Retained()
            else:
                outcome = Refused("checksum mismatch", ConditionCode.FILE_CHECKSUM_FAILURE)
            self.take(self.entity.settle(transaction, outcome, self.now_ns))

    def set_contact(self, in_contact: bool) -> None:
        self.in_contact = in_contact
        self.take(self.entity.set_contact(in_contact, self.now_ns))

    def on_pdu(self, raw: bytes) -> None:
        self.take(self.entity.on_pdu(raw, self.now_ns))

    def next_pdu(self) -> bytes | None:
        raw = self.entity.next_pdu(self.now_ns)
        if self.entity.next_time_ns == 0:
            self.take(self.entity.on_time(self.now_ns))
        return raw

    def on_time(self) -> None:
        self.take(self.entity.on_time(self.now_ns))

    def serve(self) -> None:
        """Do at once what the entity waits for."""
        self.settle()
        if self.to_store:
            self.checkpoint()

    def outcomes(self, role: Role, transaction: TransactionId) -> list[TransactionFinished]:
        return [done for done in self.finished if done.role is role and done.transaction == transaction]

    def faults(self) -> list[ConditionCode]:
        return [told.condition for told in self.told if isinstance(told, Faulted)]


class Pair:
    """Two ends and the time that both have."""

    def __init__(self, config: EntityConfig, other: EntityConfig, *, contact: bool = True) -> None:
        self.ends = (CfdpEnd(config), CfdpEnd(other, epoch=1 << 40))
        self.near, self.far = self.ends
        if contact:
            self.set_contact(True)

    def set_contact(self, in_contact: bool) -> None:
        for end in self.ends:
            end.set_contact(in_contact)

    def exchange(self, loses: Callable[[bytes], bool] = lambda _pdu: False, pdus_max: int = 100_000) -> int:
        """Hand PDUs over until neither end has one; return how many there were."""
        pdus = 0
        busy = True
        while busy:
            busy = False
            for sends, takes in (self.ends, self.ends[::-1]):
                while (raw := sends.next_pdu()) is not None:
                    busy = True
                    pdus += 1
                    assert pdus < pdus_max, "the ends talk without end"
                    if not loses(raw):
                        takes.on_pdu(raw)
                        takes.serve()
            for end in self.ends:
                end.serve()
        return pdus

    def advance(self, ns: int) -> None:
        """Let time pass, and timers with it."""
        for end in self.ends:
            end.now_ns += ns
            end.on_time()
            end.serve()

    def run(self, steps_max: int = 2000, loses: Callable[[bytes], bool] = lambda _pdu: False) -> None:
        """Exchange PDUs and let time pass until no transaction is open."""
        for _ in range(steps_max):
            self.exchange(loses)
            if not any(end.entity.transactions() for end in self.ends):
                return
            times = [time for end in self.ends if (time := end.entity.next_time_ns) is not None]
            self.advance(max(min(times, default=0) - self.near.now_ns, 1_000_000))
        raise AssertionError([status for end in self.ends for status in end.entity.transactions()])
