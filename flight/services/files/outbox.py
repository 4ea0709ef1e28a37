"""The outbox: files on their way to the ground, best first, each kept until the ground has it.

    put ---> being stored --durable--> waiting --the link wants data, or it is better--> in transfer
    in transfer  --ground has it whole (class 2)--------------> deleted, a file that is not a product stays
                 --all of it was sent (class 1)---------------> sent: kept until room is needed, first to go
                 --the link did not carry it, a boot----------> waiting, from the next contact on
                 --ground refused it-------------------------> the same; after `refusals_max` times it rests
                 --cancelled by command, its content damaged--> rests: kept, and not sent by itself any more

The order is priority (0 first), then value per octet (the greater first), then age. A better file overtakes another one
at the next PDU. Files that wait for the ground's answer hold back neither what is more important nor class 1.
"""

# Everything about a file survives a loss of power: the file itself in the store, and its state here in the label of its
# row. A boot finds what waits by going through the labels, and what was in transfer by the records of transactions
# (transfers.py). A file whose transaction left no record is sent once more from its beginning.
#
# What a boot finds is compared with its SHA-256 before any of it is sent, in slices, files in transfer first; as long
# as one of those is not done, nothing goes down. A file that is damaged rests.
#
# A file is deleted in two steps, row and then content, each by the store. Before the row is durably gone the record of
# the transaction stays: so a loss of power in between finds either file and record, or neither.
#
# Class 1 tells nobody whether a file arrived. Such a file is not deleted when it was sent, because the ground may ask
# for it again; it is marked as spent, and goes before all others when the store needs room.
#
# How many transfers are open is bounded by `sends`. A ground whose telecommands do not come through leaves all of them
# waiting for its answer. So the bound holds for files of one importance and those that are more important, and class 1,
# which waits for no answer, passes by; all together have twice the bound. The two classes wait in a queue each, so that
# neither stands in front of the other. While the table of the entity is full, files wait.
#
# How a product gets from an app into the store: product_intake.py. What stands in labels: outbox_label.py.
#
# The rank of a file is one number, which the entity knows as its priority: so overtaking within the entity and the
# order here are the same thing.

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from flight.contract.app import CommandRefused, Durable, EventSink, Sample
from flight.contract.failures import Failure
from flight.contract.service import Sampler, Service, ServiceTask
from flight.core.config import key
from flight.core.future import Event, Future
from flight.core.nanoseconds import ns
from flight.core.task import Task
from flight.link.cfdp.header import Mode, TransactionId
from flight.link.cfdp.transactions.entity import Entity
from flight.link.cfdp.transactions.indications import TransactionFinished
from flight.link.cfdp.transactions.requests import PutRefused, PutRequest
from flight.services.files.file_refusals import refusal_of
from flight.services.files.outbox_label import WITHIN_PRIORITY, Ended, Endings, Label, State
from flight.services.files.product_intake import EarlierFiles, Place, ProductIntake, UnkeptProducts
from flight.services.files.transfer_records import Whose
from flight.services.files.transfers import FileTransfers
from flight.store.files.file_entry import FileEntry
from flight.store.files.file_names import PRODUCTS
from flight.store.files.file_store import FileStore
from flight.store.files.refusal import FileRefused
from flight.store.vault import Vault

_SWEEP_S = 60.0  # how often the store is asked whether it owes anything, if nobody else asks


@dataclass(frozen=True, slots=True)
class OutboxConfig:
    """Mission section [outbox]."""

    ELSEWHERE: ClassVar[Mapping[str, str]] = {
        "entity": "the CFDP entities are cfdp.entity and cfdp.ground_entity",
        "ground_entity": "the CFDP entities are cfdp.entity and cfdp.ground_entity",
        "checksum": "the checksum is cfdp.checksum",
        "capacity_octets": "products are on storage now, their quota is files.products.quota_octets",
        "files": "files are on storage now, their number is files.files_max",
    }

    arrive: bool = key(
        True,
        text="files must arrive whole (CFDP class 2); false: each is sent once (class 1). Apps may say otherwise",
    )
    sends: int = key(
        24,
        minimum=1,
        maximum=512,
        text="files in transfer at most, those that wait for the ground's answer included; twice as many, if some are "
        "more important or need no answer",
    )
    retry_s: float = key(
        900.0, minimum=1, maximum=360_000, text="in one long contact, a file that did not arrive is tried again after"
    )
    refusals_max: int = key(3, minimum=1, maximum=100, text="refusals by the ground after which a file rests")
    memory_octets: int = key(
        16_000_000, minimum=100_000, maximum=4_000_000_000, text="octets that may wait in memory for the disk"
    )


class WaitingFiles:
    """Files that wait for the link, by rank and number, those of class 1 and of class 2 in a queue each.

    It also knows which transfers have new data, since no worse file begins beside them.
    """

    def __init__(self) -> None:
        self._queues: dict[Mode, list[Place]] = {Mode.ACKNOWLEDGED: [], Mode.UNACKNOWLEDGED: []}
        self._with_data: dict[TransactionId, int] = {}  # transfers with octets that were not sent yet: rank
        self._data_rank = -1  # the lowest of these, -1 for none

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def add(self, mode: Mode, place: Place) -> None:
        """Enter a file."""
        insort(self._queues[mode], place)

    def forget(self, number: int) -> None:
        """Take a file out, if it is here."""
        for queue in self._queues.values():
            queue[:] = [place for place in queue if place[1] != number]

    def began(self, transaction: TransactionId, rank: int) -> None:
        """Take in that a transfer has new data."""
        self._with_data[transaction] = rank
        self._data_rank = min(self._with_data.values())

    def all_is_out(self, transaction: TransactionId) -> bool:
        """Take in that a transfer has no new data left; return whether it had any."""
        rank = self._with_data.pop(transaction, None)
        self._data_rank = min(self._with_data.values(), default=-1)
        return rank is not None

    def take(self, sending: Collection[Place], sends: int, entity: Entity) -> Place | None:
        """Take the best file out that is to begin now, beside those in transfer.

        It does if it finds a place, and is better than those that have new data or none has any.
        """
        best: list[Place] = []
        for mode, queue in self._queues.items():
            if (
                queue
                and (not best or queue[0] < best[0])
                and (queue[0][0] < self._data_rank or self._data_rank < 0 or entity.wants_data)
            ):
                last = queue[0][0] | WITHIN_PRIORITY
                if (
                    len(sending) < sends
                    or mode is Mode.UNACKNOWLEDGED
                    or sum(rank <= last for rank, _ in sending) < sends
                ):
                    best = queue
        return best.pop(0) if best and len(sending) < 2 * sends else None


class Outbox(Service):
    """Files that apps have put, and those that a command sends.

    `intake` has those that are not durable yet, `endings` counts those that the ground has; `sent` went out whole.
    """

    def __init__(
        self, config: OutboxConfig, ground_entity: int, transfers: FileTransfers, store: FileStore, vault: Vault,
        events: EventSink,
    ) -> None:  # fmt: skip
        self.begun = self.sent = self.evicted = 0
        self._config = config
        self._ground_entity = ground_entity
        self._transfers = transfers
        self._store = store
        self._events = events
        unkept = UnkeptProducts(transfers, ground_entity, arrive=config.arrive)
        self.intake = ProductIntake(config.memory_octets, store, events, self._stored, unkept)
        self._waiting = WaitingFiles()
        self._waiting_octets: dict[int, int] = {}
        self._sending: dict[TransactionId, Place] = {}
        self._later: list[int] = []  # numbers of files that are tried again, in the next contact or at
        self._retry_ns = 0
        self._stopped: set[TransactionId] = set()  # cancelled by command
        self._ended: deque[Ended] = deque()
        self.endings = Endings(config.refusals_max, store, vault, events)
        self._earlier = EarlierFiles(transfers, store, events, self._verified, self._damaged)
        self._resting: set[int] = set()
        self._spent: set[int] = set()
        self._wake = Event()
        self._restore()
        transfers.use(self)

    def _restore(self) -> None:
        """Find what waited before this boot, and what was in transfer."""
        under_way = {number: transaction for transaction, number in self._transfers.sending(Whose.OUTBOX).items()}
        for entry in self._store.entries():
            if (label := Label.of(entry)) is None:
                continue
            transaction = under_way.get(entry.number)
            if label.state is State.SENT:
                self._spent.add(entry.number)
            elif label.state is State.RESTS:
                self._resting.add(entry.number)
            elif transaction is None:
                self._enter(entry, label)
            else:
                rank = label.rank(entry)
                self._sending[transaction] = (rank, entry.number)
                self._waiting.began(transaction, rank)
                self._earlier.held[transaction] = entry.number

    # What apps and commands ask

    @property
    def waiting(self) -> int:
        """Files that are not wholly sent yet, or whose arrival is not known yet."""
        under_way = len(self._sending) + len(self._ended)
        return len(self.intake) + len(self._waiting) + len(self._earlier.waiting) + len(self._later) + under_way

    @property
    def resting(self) -> int:
        """Products that stay on board until a command sends them."""
        return len(self._resting)

    @property
    def backlog_octets(self) -> int:
        """File octets that wait or are in transfer."""
        later = (self._store.of_number(number) for number in self._later)
        octets = self.intake.octets + sum(self._waiting_octets.values())
        octets += sum(entry.octets for entry in later if entry is not None)
        for transaction in self._sending:
            status = self._transfers.entity.report(transaction)
            if status is not None and status.octets is not None:
                octets += status.octets - status.octets_done
        return octets

    @property
    def room_octets(self) -> int:
        """File octets that `put` would take now without a file that waits giving way."""
        spent = map(self._store.of_number, self._spent)
        room = self._store.usage(PRODUCTS).room_octets
        room += sum(entry.octets for entry in spent if entry is not None and not entry.locked)
        return max(0, min(room, self.intake.room_octets))

    def put(
        self, name: str, octets: bytes, *, priority: int = 1, value: float = 1.0, arrive: bool | None = None
    ) -> Future[bool]:
        """Store a file for the ground, see flight.contract.app.FileOutbox. Returns at once."""
        return self.intake.put(name, octets, Label(State.WAITING, priority, arrive), value)

    def send(self, entry: FileEntry, arrive: bool | None = None, priority: int | None = None) -> Durable:
        """Return what a command leaves to be done to send a file of any directory. Raises CommandRefused."""
        if any(number == entry.number for _, number in self._sending.values()):
            raise CommandRefused(Failure.FILE_BUSY, f"{entry.path} is in transfer already")
        label = Label(
            State.WAITING, entry.priority if priority is None else priority, arrive, keeps=entry.directory != PRODUCTS
        )
        try:
            change = self._store.labelling(entry, label.encode())
        except FileRefused as refused:
            raise refusal_of(refused) from None

        def queue() -> None:
            change.apply()
            self.forget(entry.number)
            if (now := self._store.of_number(entry.number)) is not None:
                self._enter(now, label)

        return Durable(change.changes, queue, change.undo)

    def on_evicted(self, entry: FileEntry, reason: str) -> None:
        """Take in that the store gives up a file."""
        self.forget(entry.number)
        self.evicted += 1
        self._events.emit("file_evicted", entry.path, entry.octets, reason)

    def forget(self, number: int) -> None:
        """Take a file out of whatever list it is in: it is gone, or enters another one."""
        if self._waiting_octets.pop(number, None) is not None:
            self._waiting.forget(number)
            self._earlier.forget(number)
        self._resting.discard(number)
        self._spent.discard(number)
        self._later = [each for each in self._later if each != number]

    # The link

    def feed(self) -> bool:
        """Begin the best file if no transfer has new data left, or if it is better than those that have.

        Return False while nothing may be sent.
        """
        if self._earlier.held:
            return False
        sends, entity = self._config.sends, self._transfers.entity
        while entity.has_room and (place := self._waiting.take(self._sending.values(), sends, entity)):
            rank, number = place
            del self._waiting_octets[number]
            entry = self._store.of_number(number)
            if entry is not None and not self._begin(entry, rank):
                break
        self.intake.feed()
        return True

    def _begin(self, entry: FileEntry, rank: int) -> bool:
        """Begin a transaction; return False if none can begin now."""
        label = Label.of(entry)
        if label is None:
            return True
        name = entry.name if entry.directory == PRODUCTS else entry.path
        request = PutRequest(self._ground_entity, entry.path, name, label.mode(self._config.arrive), priority=rank)
        try:
            transaction = self._transfers.put(request, Whose.OUTBOX)
        except PutRefused as refused:
            self._events.emit("file_not_sent", entry.path, str(refused), 0)
            self._later.append(entry.number)
            return False
        self.begun += 1
        self._sending[transaction] = (rank, entry.number)
        self._waiting.began(transaction, rank)
        return True

    def eof_sent(self, transaction: TransactionId) -> None:
        """Take in that a transfer has no new data left."""
        self.sent += self._waiting.all_is_out(transaction)

    def contact_began(self) -> None:
        """Try again what failed in the contact before."""
        self._retry_ns = self._transfers.now_ns() + ns(self._config.retry_s)
        numbers, self._later = self._later, []
        for number in numbers:
            entry = self._store.of_number(number)
            if entry is not None and (label := Label.of(entry)) is not None and label.state is State.WAITING:
                self._enter(entry, label)

    def stopped(self, transaction: TransactionId) -> None:
        """Take in that a command cancels a transfer: its file rests then, and is not sent by itself any more."""
        if transaction in self._sending:
            self._stopped.add(transaction)

    def ended(self, finished: TransactionFinished, number: int) -> None:
        """Take in how a transfer ended. What follows from it is stored by the task, which then forgets the transfer."""
        self._waiting.all_is_out(finished.transaction)
        self._earlier.held.pop(finished.transaction, None)
        self._sending.pop(finished.transaction, None)
        stopped = finished.transaction in self._stopped
        self._stopped.discard(finished.transaction)
        self._ended.append(Ended(finished, number, stopped))
        self._wake.set()

    def _enter(self, entry: FileEntry, label: Label) -> None:
        place = (label.rank(entry), entry.number)
        self._waiting_octets[entry.number] = entry.octets
        if self._transfers.filestore.is_trusted(entry):
            self._verified(place)
        else:
            insort(self._earlier.waiting, place)
            self._wake.set()

    def _stored(self, entry: FileEntry) -> None:
        """Take in that a product is durable."""
        self._transfers.filestore.trust(entry)
        if (label := Label.of(entry)) is not None:
            self._enter(entry, label)

    def _verified(self, place: tuple[int, int]) -> None:
        """Let a file wait for the link: it is known to be what was stored, or is gone."""
        entry = self._store.of_number(place[1])
        label = None if entry is None else Label.of(entry)
        mode = Mode.ACKNOWLEDGED if label is None else label.mode(self._config.arrive)
        self._waiting.add(mode, place)
        self._transfers.ready()

    def _damaged(self, number: int) -> None:
        """Take in that a file of an earlier boot is damaged, and rests."""
        self._waiting_octets.pop(number, None)
        self._resting.add(number)

    # Tasks

    def tasks(self) -> Iterable[ServiceTask]:
        """Return the task that stores files, and the one that does what follows from the end of a transfer."""
        return (
            ServiceTask("outbox.store", self.intake.run, deadline_s=0.5),
            ServiceTask("outbox", self.run, deadline_s=2.0),
        )

    async def run(self, task: Task) -> None:
        """Do what follows from the ends of transfers, and what the store owes."""
        while True:
            self._wake.clear()
            while self._ended or self._earlier:
                if self._ended:
                    await self._settle_ended()
                else:
                    await self._earlier.verify_next(task)
            while self._store.sweep():
                await task.sleep(0)
            if self._later and self._transfers.in_contact and self._transfers.now_ns() >= self._retry_ns:
                self.contact_began()
            await task.first((self._wake.wait(),), _SWEEP_S)

    def sweep(self) -> None:
        """Have the store do what it owes soon."""
        self._wake.set()

    async def _settle_ended(self) -> None:
        """Store what follows from all transfers that ended, and then forget them."""
        ended = list(self._ended)
        is_kept = await self.endings.settle(ended)
        for end in ended:
            self._ended.popleft()
            self._transfers.forget(end.finished.transaction)
            if is_kept:
                self._place(end.number)
            else:  # sent once more in the next contact: nobody will know that it was
                self._later.append(end.number)

    def _place(self, number: int) -> None:
        """Enter a file whose transfer has ended into the list that its label names."""
        entry = self._store.of_number(number)
        label = None if entry is None else Label.of(entry)
        if entry is None or label is None or number in self._later:
            return
        if label.state is State.SENT:
            self._spent.add(number)
        elif label.state is State.RESTS:
            self._resting.add(number)
        else:
            self._later.append(number)

    # Telemetry

    def samplers(self) -> Iterable[Sampler]:
        """Return the samplers of the outbox's fields of the structures "link" and "files"."""
        return (Sampler("link", self.sample), Sampler("files", self.sample_files))

    def sample(self) -> Sample:
        """Return what the structure "link" says of files on their way down."""
        return {"outbox_octets": self.backlog_octets, "files_sent": self.sent}

    def sample_files(self) -> Sample:
        """Return what the structure "files" says of products."""
        entries = self._store.entries()
        return {
            "products": self.waiting,
            "products_acknowledged": self.endings.acknowledged,
            "products_refused": self.intake.refused,
            "products_resting": self.resting,
            "stored": len(entries),
            "stored_octets": sum(entry.octets for entry in entries),
            "evicted": self.evicted,
        }
