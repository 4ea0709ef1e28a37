"""The node's file service over a simulated disk, and a ground at the other end of a link that loses PDUs: for tests.

The node is whole as far as files go: storage with its users, vault, file store, transfers, outbox and completion. Each
boot makes them from what is on the disk. The ground is one entity over files in memory, and has power all the time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from flight.core.nanoseconds import ns
from flight.core.scheduler import Scheduler
from flight.link.cfdp.checksums import CHECKSUMS
from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.numbers import EPOCH_BITS, TransactionNumbers
from flight.link.cfdp.tlv import MessageToUser
from flight.link.cfdp.transactions.entity import Entity
from flight.link.cfdp.transactions.entity_config import EntityConfig
from flight.link.cfdp.transactions.filestore import FilestoreRefusal
from flight.link.cfdp.transactions.indications import FileComplete, Indication, StoreRecord, TransactionFinished
from flight.link.cfdp.transactions.requests import PutRequest, Refused, Retained, Role
from flight.link.space_packet import HEADER_OCTETS, SpacePacket
from flight.services.files.cfdp_section import CfdpConfig
from flight.services.files.completion import Completion, CompletionParts
from flight.services.files.declarations import declare
from flight.services.files.node_filestore import NodeFilestore
from flight.services.files.outbox import Outbox, OutboxConfig
from flight.services.files.outbox_label import is_spent
from flight.services.files.peer_requests import PeerRequests
from flight.services.files.transfer_records import TransferRecords
from flight.services.files.transfers import FileTransfers
from flight.services.files.uploads import Uploads, UploadsConfig
from flight.services.health import storage_status
from flight.store.files.file_entry import FileEntry
from flight.store.files.file_store import FileStore
from flight.store.files.files_config import FilesConfig
from flight.store.quota import SharedStorage
from flight.store.vault import Vault
from sim_hw.machine.disk import Disk, PowerCut
from sim_hw.machine.loop import VirtualLoop

FILE_APID = 3
NODE, GROUND = 2, 1
PDU_OCTETS = 1000
STEP_S = 0.1
_EVENTS = {event.name: event for event in declare(1).events}


class Sink:
    """Events as the ground shows them: what does not fit their declaration is an error here."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def emit(self, name: str, *values: Any) -> None:
        layout = _EVENTS[name].layout
        shown = dict(zip((one.name for one in layout.fields), layout.decode(layout.encode(values)), strict=True))
        self.events.append((name, shown))

    def named(self, name: str) -> list[dict[str, Any]]:
        return [values for one, values in self.events if one == name]


@dataclass
class Settings:
    """What a board is made with."""

    cfdp: CfdpConfig = field(default_factory=lambda: CfdpConfig(ack_s=3.0, nak_s=3.0))
    files: FilesConfig = field(default_factory=FilesConfig)
    outbox: OutboxConfig = field(default_factory=OutboxConfig)
    uploads: UploadsConfig = field(default_factory=UploadsConfig)


class Board:
    """The node's file service, booted again and again on one disk."""

    def __init__(self, loop: VirtualLoop, disk: Disk, settings: Settings | None = None) -> None:
        self.loop, self.disk = loop, disk
        self.settings = settings or Settings()
        self.boots = 0
        self.sink = Sink()  # of all boots
        self.faults: list[BaseException] = []
        self.random = Random(7)
        self.scheduler: Scheduler | None = None

    def boot(self) -> None:
        """Start from what is on the disk. Raises PowerCut."""
        self.boots += 1
        settings = self.settings
        shared = SharedStorage(self.disk.boot(self.loop), storage_status.shares(1_000_000, settings.files.quota_octets))
        self.shared = shared
        self.vault = Vault(shared.user(storage_status.VAULT), epoch=self.random.getrandbits(64))
        user = shared.user(storage_status.FILES)
        self.store = FileStore(
            settings.files, user, self.vault, tai_ns=self.loop.now_ns, on_evicted=self._evicted,
            evictable=lambda entry: not self.filestore.is_source(entry), spent=is_spent,
        )  # fmt: skip
        user.on_pressure(self.store.give_up)
        self.filestore = NodeFilestore(self.store)
        self._outbox_is_there = False
        self.transfers = FileTransfers(
            FILE_APID,
            Entity(
                settings.cfdp.entity_config(PDU_OCTETS), self.filestore,
                TransactionNumbers(self.boots, self.random.getrandbits(EPOCH_BITS)),
            ),
            self.filestore,
            TransferRecords(shared.user(storage_status.TRANSFERS), storage_status.TRANSFERS),
            record_s=settings.cfdp.record_s, events=self.sink, now_ns=self.loop.now_ns,
        )  # fmt: skip
        self.uploads = Uploads(settings.uploads, self.store, self.transfers.entity, self.sink)
        self.outbox = Outbox(settings.outbox, GROUND, self.transfers, self.store, self.vault, self.sink)
        self._outbox_is_there = True
        self.completion = Completion(
            CompletionParts(
                self.transfers, self.store, self.uploads,
                PeerRequests(self.transfers, GROUND, self.sink), self.sink, self.outbox.forget,
            )
        )  # fmt: skip
        self.scheduler = Scheduler(self.loop, self.loop.now_ns, lambda _, error: self.faults.append(error))
        for service in (self.transfers, self.completion, self.outbox):
            for task in service.tasks():
                self.scheduler.spawn(task.name, task.run, deadline_s=task.deadline_s)

    def shut_down(self) -> None:
        """Lose the power: what was not synced may be gone."""
        self.disk.cut()
        if self.scheduler is not None:
            self.scheduler.close()
            self.scheduler = None

    def _evicted(self, entry: FileEntry, reason: str) -> None:
        if self._outbox_is_there:
            self.outbox.on_evicted(entry, reason)


def contents(names: Iterable[str]) -> list[str]:
    """Return those of the names that are contents of files."""
    return sorted(name for name in names if re.fullmatch(r"files\.[0-9]+", name))


class GroundStore:
    """Files in memory, by name."""

    def __init__(self) -> None:
        self.sources: dict[str, bytes] = {}
        self.open: dict[TransactionId, bytearray] = {}
        self.refused: set[str] = set()  # names that are not taken

    def open_source(self, name: str) -> Source:
        if name not in self.sources:
            raise FilestoreRefusal(f"there is no file {name}")
        return Source(self.sources[name])

    def open_destination(self, transaction: TransactionId) -> Destination:
        return Destination(self.open.setdefault(transaction, bytearray()))

    def admit(self, transaction: TransactionId, name: str, _octets: int) -> None:
        if name in self.refused:
            raise FilestoreRefusal(f"{name} is not wanted")
        self.open.setdefault(transaction, bytearray())


class Source:
    def __init__(self, octets: bytes) -> None:
        self.content = octets
        self.octets = len(octets)

    def read(self, at: int, octets: int) -> bytes:
        return self.content[at : at + octets]


class Destination:
    def __init__(self, content: bytearray) -> None:
        self.content = content

    def write(self, at: int, data: bytes | memoryview) -> None:
        if len(self.content) < at:
            self.content.extend(bytes(at - len(self.content)))
        self.content[at : at + len(data)] = data


class Ground:
    """The other end: files that came, by name, each with every content that came under it."""

    def __init__(self, loop: VirtualLoop, pdu_octets: int = PDU_OCTETS) -> None:
        self.loop = loop
        self.store = GroundStore()
        self.files: dict[str, list[bytes]] = {}
        self.ended: list[TransactionFinished] = []
        self.messages: list[MessageToUser] = []
        config = EntityConfig(entity=GROUND, pdu_octets=pdu_octets, ack_s=3.0, nak_s=3.0, inactivity_s=60.0)
        self.entity = Entity(config, self.store, TransactionNumbers(1, 1 << 20))
        self.sequence = 0

    def put(self, name: str, octets: bytes, **more: Any) -> TransactionId:
        """Begin to send a file up."""
        self.store.sources[name] = octets
        return self.entity.put(PutRequest(NODE, name, name, **more), self.loop.now_ns())

    def end_of(self, transaction: TransactionId) -> TransactionFinished | None:
        return next((each for each in self.ended if each.transaction == transaction), None)

    def handle(self, indications: list[Indication]) -> None:
        """Answer at once: memory needs no time."""
        for indication in indications:
            now_ns = self.loop.now_ns()
            if isinstance(indication, StoreRecord):
                self.entity.records()  # what a store would keep
                self.handle(self.entity.stored(indication.transaction, now_ns))
            elif isinstance(indication, FileComplete):
                self.handle(self.entity.settle(indication.transaction, self._judged(indication), now_ns))
            elif isinstance(indication, TransactionFinished):
                self.ended.append(indication)
                if indication.role is Role.RECEIVER:
                    self.store.open.pop(indication.transaction, None)

    def _judged(self, complete: FileComplete) -> Retained | Refused:
        self.messages += complete.messages
        if not complete.has_file:
            return Retained()
        if not complete.name:
            return Refused("what it is called did not come")
        content = bytes(self.store.open.get(complete.transaction, b""))
        kind = CHECKSUMS[3 if complete.checksum_type is None else complete.checksum_type]
        if len(content) != complete.octets or kind.of(content) != complete.checksum:
            return Refused("checksum mismatch")
        self.files.setdefault(complete.name, []).append(content)
        return Retained()


class FileLink:
    """Board and ground, and the link between them: `contact` while a station is heard.

    loss: the share of PDUs that are lost, each way. pdus_down, pdus_up: how many fit in one step.
    """

    def __init__(
        self, settings: Settings | None = None, *, disk: Disk | None = None, loss: float = 0.0, pdus_down: int = 30,
        pdus_up: int = 10, seed: int = 1,
    ) -> None:  # fmt: skip
        self.loop = VirtualLoop()
        self.disk = disk or Disk(Random(seed))
        self.board = Board(self.loop, self.disk, settings)
        self.ground = Ground(self.loop)
        self.contact = False
        self.loss = loss
        self.pdus_down, self.pdus_up = pdus_down, pdus_up
        self.random = Random(seed)
        self.down_octets = 0  # of packets that were given to the link
        self.boot_s = 5.0  # how long a boot takes

    def boot(self) -> None:
        """Boot the board, again and again if its power goes while it does."""
        while True:
            try:
                self.board.boot()
            except PowerCut:
                self.board.shut_down()
                continue
            break
        self.board.transfers.set_contact(self.contact)

    def set_contact(self, contact: bool) -> None:
        self.contact = contact
        self._guarded(lambda: self.board.transfers.set_contact(contact))
        self.ground.handle(self.ground.entity.set_contact(contact, self.loop.now_ns()))

    def cut(self) -> None:
        """Lose the board's power, and boot it."""
        self.board.shut_down()
        self._wait(self.boot_s)
        self.boot()

    def run(self, s: float, until: Any = lambda: False) -> bool:
        """Let time pass until `until` returns True; return whether it did."""
        end_ns = self.loop.now_ns() + ns(s)
        while self.loop.now_ns() < end_ns:
            if until():
                return True
            self.step()
        assert self.board.faults == [], self.board.faults
        return bool(until())

    def step(self) -> None:
        """One tenth of a second, with what the link carries in it."""
        self._guarded(self._exchange)
        self._guarded(lambda: self.loop.run_until(self.loop.now_ns() + ns(STEP_S)))
        now_ns, next_ns = self.loop.now_ns(), self.ground.entity.next_time_ns
        if next_ns is not None and next_ns <= now_ns:
            self.ground.handle(self.ground.entity.on_time(now_ns))

    def _guarded(self, call: Any) -> None:
        try:
            call()
        except PowerCut:
            self.cut()

    def _wait(self, s: float) -> None:
        end_ns = self.loop.now_ns() + ns(s)
        self.loop.run_until(end_ns)

    def _exchange(self) -> None:
        if not self.contact:
            return
        ground, transfers = self.ground, self.board.transfers
        for _ in range(self.pdus_up):
            pdu = ground.entity.next_pdu(self.loop.now_ns())
            if pdu is None:
                break
            if self.random.random() >= self.loss:
                ground.sequence = (ground.sequence + 1) % 16384
                assert transfers.on_packet(SpacePacket(FILE_APID, ground.sequence, pdu, is_command=True).encode())
        for _ in range(self.pdus_down):
            packet = transfers.take()
            if packet is None:
                break
            self.down_octets += len(packet)
            if self.random.random() >= self.loss:
                ground.handle(ground.entity.on_pdu(packet[HEADER_OCTETS:], self.loop.now_ns()))
