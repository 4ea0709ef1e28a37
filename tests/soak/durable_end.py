"""One end of the file soak: our entity over a medium that loses at a reboot whatever was not synced, and its owner.

The owner does what the entity asks of one: file content is synced before the record that speaks of it, both before the
entity hears that its record is stored, and a file is kept before its receiver says so.
"""

# What outlives a reboot is in `Medium`, and nothing else does. A file is owed until the
# peer has said that it keeps it: one whose transaction did not reach the medium before a reboot is sent once more.

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from flight.core.nanoseconds import NS
from flight.link.cfdp.checksums import CHECKSUMS
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
from tests.soak.soak_file import Kept, SoakFile

STORE_NS = 5 * NS  # how often the progress of transfers is stored
OPEN_MAX = 8  # own files under way at a time


@dataclass(slots=True)
class Content:
    """The octets of a file in the making: those that are durable, and writes that are not yet."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes]] = field(default_factory=list)

    def write(self, at: int, data: bytes | memoryview) -> None:
        """Take octets, which are not durable yet."""
        self.pending.append((at, bytes(data)))

    def sync(self) -> None:
        """Make them durable."""
        for at, data in self.pending:
            if len(self.durable) < at:
                self.durable.extend(bytes(at - len(self.durable)))
            self.durable[at : at + len(data)] = data
        self.pending.clear()


class _Source:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.octets = len(data)

    def read(self, at: int, octets: int) -> bytes:
        return self._data[at : at + octets]


@dataclass(slots=True)
class Medium:
    """What outlives a reboot. kept: of whole files, octets and sha256 by name. done: own files that the peer has."""

    starts: int = 0
    ended: bytes = b""
    records: dict[TransactionId, bytes] = field(default_factory=dict)
    contents: dict[TransactionId, Content] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)


class DurableEnd:
    """See the head of the file. `files` are those that this end sends, each from its time on."""

    def __init__(self, config: EntityConfig, peer: int, files: Sequence[SoakFile]) -> None:
        self.medium = Medium()
        self.reboots = 0
        self.wrong: list[str] = []
        self.total: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self._config, self._peer = config, peer
        self._files = {file.name: file for file in files}
        self._in_contact = False
        self._stored_ns = 0
        self._boot(0)

    # What the entity asks of a filestore

    def open_source(self, name: str) -> _Source:
        """Open an own file."""
        if name not in self._files:
            raise FilestoreRefusal(f"no file {name}")
        return _Source(self._files[name].content())

    def open_destination(self, transaction: TransactionId) -> Content:
        """Open what was begun, or begin it."""
        return self.medium.contents.setdefault(transaction, Content())

    def admit(self, transaction: TransactionId, name: str, octets: int) -> None:
        """Take whatever comes."""

    # Lives

    def reboot(self, now_ns: int) -> None:
        """Lose what is not durable, and begin again with the rest."""
        self._count()
        self.reboots += 1
        for content in self.medium.contents.values():
            content.pending.clear()
        self._boot(now_ns)

    def _boot(self, now_ns: int) -> None:
        medium = self.medium
        medium.starts += 1
        # The epoch would be random; one that follows from the start keeps the run the same for one seed.
        entity = self.entity = Entity(self._config, self, TransactionNumbers(medium.starts, 7919 * medium.starts))
        if medium.ended:
            entity.restore_ended(medium.ended)
        for record in list(medium.records.values()):
            entity.restore(record, now_ns)
        known = {status.transaction for status in entity.transactions()}
        medium.contents = {
            transaction: content for transaction, content in medium.contents.items() if transaction in known
        }
        self._unsent = [file for file in self._files.values() if file.name not in medium.done]
        sending = {status.source_name for status in entity.transactions() if status.role is Role.SENDER}
        self._unsent = [file for file in self._unsent if file.name not in sending]
        if self._in_contact:
            self.told(entity.set_contact(True, now_ns), now_ns)

    def _count(self) -> None:
        """Add up what this life counted."""
        counters = self.entity.counters
        self.total.update(
            data_out=counters.data_out, octets_out=counters.octets_out, resent_octets=counters.resent_octets,
            repeated=counters.repeated, rests=counters.rests, ignored=sum(counters.ignored.values()),
            renewed=counters.renewed,
        )  # fmt: skip
        self.total.update({f"ended {name}": count for name, count in counters.ended.items()})
        self.faults.update(counters.faults)

    def close(self) -> None:
        """Count the last life."""
        self._count()

    @property
    def done(self) -> Collection[str]:
        """Own files that the peer has said to keep."""
        return self.medium.done

    @property
    def kept(self) -> dict[str, Kept]:
        """Whole files that came."""
        return self.medium.kept

    @property
    def leftovers(self) -> int:
        """Transfers of which parts are still held."""
        return len(self.medium.contents)

    @property
    def is_done(self) -> bool:
        """Whether the peer has all own files, and nothing is under way."""
        return len(self.medium.done) == len(self._files) and not self.entity.transactions()

    # The line

    def contact(self, in_contact: bool, now_ns: int) -> None:
        """Take in that a contact began or ended."""
        self._in_contact = in_contact
        self.told(self.entity.set_contact(in_contact, now_ns), now_ns)

    def take(self, now_ns: int) -> bytes | None:
        """Return the next PDU; begin with the next file if nothing else has new data to send."""
        while self._unsent and self._unsent[0].due_ns <= now_ns and self.entity.wants_data and self._sending < OPEN_MAX:
            file = self._unsent.pop(0)
            self.entity.put(PutRequest(self._peer, file.name, file.name), now_ns)
        return self.entity.next_pdu(now_ns)

    @property
    def _sending(self) -> int:
        return sum(status.role is Role.SENDER for status in self.entity.transactions())

    def give(self, raw: bytes, now_ns: int) -> None:
        """Take in a PDU."""
        self.told(self.entity.on_pdu(raw, now_ns), now_ns)

    def on_time(self, now_ns: int) -> None:
        """Do what is due."""
        if now_ns >= self._stored_ns + STORE_NS:
            self._stored_ns = now_ns
            self._store()
        due_ns = self.entity.next_time_ns
        if due_ns is not None and due_ns <= now_ns:
            self.told(self.entity.on_time(now_ns), now_ns)

    # What the entity says

    def told(self, indications: Sequence[Indication], now_ns: int) -> None:
        """Do an owner's part."""
        for indication in indications:
            match indication:
                case StoreRecord(transaction):
                    self._store()
                    self.told(self.entity.stored(transaction, now_ns), now_ns)
                case FileComplete():
                    self._complete(indication, now_ns)
                case TransactionFinished():
                    self._ended(indication)
                case Faulted(_, _, condition):
                    self.total[f"fault {condition.name.lower()}"] += 1
                case _:
                    pass

    def _store(self) -> None:
        """Store what changed: content first."""
        for content in self.medium.contents.values():
            content.sync()
        self.medium.records.update(self.entity.records())

    def _complete(self, complete: FileComplete, now_ns: int) -> None:
        transaction = complete.transaction
        content = self.medium.contents.get(transaction)
        if content is None and complete.name in self.medium.kept:  # kept by the life before, which did not say so yet
            self.told(self.entity.settle(transaction, Retained(), now_ns), now_ns)
            return
        content = content or Content()
        content.sync()
        data = bytes(content.durable)
        if len(data) != complete.octets or CHECKSUMS[complete.checksum_type or 0].of(data) != complete.checksum:
            self.wrong.append(f"{complete.name}: {len(data)} of {complete.octets} octets, or another checksum")
            self.told(self.entity.settle(transaction, Refused("checksum mismatch"), now_ns), now_ns)
            return
        self.medium.kept[complete.name] = Kept(len(data), hashlib.sha256(data).digest())
        self.medium.contents.pop(transaction, None)
        self.told(self.entity.settle(transaction, Retained(), now_ns), now_ns)

    def _ended(self, ending: TransactionFinished) -> None:
        transaction = ending.transaction
        self.medium.records.pop(transaction, None)
        self.medium.contents.pop(transaction, None)
        self.medium.ended = self.entity.ended_record()
        if ending.role is Role.SENDER and ending.whole:
            self.medium.done.add(ending.name)
        elif ending.role is Role.SENDER:
            self._unsent.append(self._files[ending.name])
            self.wrong.append(f"{ending.name}: {ending.condition.text}; {ending.text}")
        elif not ending.whole:
            # Its sender forgot the transaction at a reboot, and sends the file again in another one.
            self.total["begun in vain"] += 1
