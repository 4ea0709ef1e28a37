"""What comes into the outbox: products of apps, stored first; files of an earlier boot, compared first."""

# Whoever puts a product goes on at once, so its octets wait in memory until the task has written them. How much may
# wait is bounded by files and octets; beyond that a product is refused, with an event. A slow disk holds up this task
# alone: after each slice it waits for a sync that is under way.
#
# A storage that fails keeps nothing, but the node flies on (ADR 0007), and so do its products: what storage did not
# take is sent from memory, once the link has nothing better, and is gone with the power. It counts as refused all the
# same, because it is not durable.
#
# The label has the priority that an app gives, 0 to 255, and the order of sending goes by it. The store only needs to
# know what gives way first, and tells fewer apart: whatever is beyond its range is of its last one.
#
# Two products of one name are two products: neither replaces the other, since only ground or eviction end one. So the
# second gets a name of its own, made of the first. Its number is found by doubling and halving, since an app may give
# one name for ever.

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from flight.contract.app import EventSink
from flight.core.errors import StorageError
from flight.core.future import Event, Future
from flight.core.task import Task
from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.transactions.filestore import FilestoreRefusal
from flight.link.cfdp.transactions.requests import PutRefused, PutRequest
from flight.services.files.outbox_label import Label, State, rank_of
from flight.services.files.transfer_records import Whose
from flight.services.files.transfers import FileTransfers
from flight.store.files.admission import DRAFTS_MAX
from flight.store.files.draft import Draft
from flight.store.files.file_entry import PRIORITY_MAX as STORE_PRIORITY_MAX
from flight.store.files.file_entry import FileEntry
from flight.store.files.file_names import NAME_MAX, PRODUCTS
from flight.store.files.file_store import FileStore
from flight.store.files.refusal import FileRefused, Reason

_SLICE_OCTETS = 65_536  # per step
_WAITING_MAX = DRAFTS_MAX // 2  # files that wait for the disk: the other drafts are for uploads

Place = tuple[int, int]
"""Rank and number of a file that waits: the lowest goes first, and of one rank the oldest."""


@dataclass(slots=True)
class _Waiting:
    """A product that is being stored."""

    draft: Draft
    octets: bytes
    label: Label
    durable: Future[bool]


class UnkeptProducts:
    """Products that a failed storage did not take, sent from memory. The intake bounds those that are `waiting`."""

    def __init__(self, transfers: FileTransfers, ground_entity: int, *, arrive: bool) -> None:
        self.waiting: deque[tuple[str, bytes, Label]] = deque()
        self._transfers = transfers
        self._ground_entity = ground_entity
        self._arrive = arrive

    def feed(self) -> None:
        """Begin to send, while no transfer has new data left and there is room."""
        filestore = self._transfers.filestore
        while self.waiting and self._transfers.entity.wants_data:
            name, octets, label = self.waiting[0]
            held = ""
            try:
                held = filestore.hold(octets)
                rank = rank_of(label.priority, 1.0, len(octets))
                request = PutRequest(self._ground_entity, held, name, label.mode(self._arrive), priority=rank)
                self._transfers.put(request, Whose.REQUEST)
            except (FilestoreRefusal, PutRefused):
                filestore.drop(held)
                return  # as many are on their way as may be
            self.waiting.popleft()


class ProductIntake:
    """Stores products. `stored(entry)` is called with each that is durable; what storage fails to take is `unkept`."""

    def __init__(
        self, memory_octets: int, store: FileStore, events: EventSink, stored: Callable[[FileEntry], None],
        unkept: UnkeptProducts,
    ) -> None:  # fmt: skip
        self._octets = 0
        self._unkept = unkept
        self.put_in = self.refused = 0  # products that were handed over, and those of them that are not kept
        self._memory_octets = memory_octets
        self._store = store
        self._events = events
        self._on_stored = stored
        self._waiting: deque[_Waiting] = deque()
        self._names: set[str] = set()  # of those
        self._wake = Event()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._unkept.waiting)

    @property
    def octets(self) -> int:
        """Octets that wait in memory."""
        return self._octets + sum(len(octets) for _, octets, _ in self._unkept.waiting)

    def feed(self) -> None:
        """Send from memory what storage did not take, if the link has nothing better."""
        if self._unkept.waiting:
            self._unkept.feed()

    @property
    def room_octets(self) -> int:
        """Octets of a product that memory takes now."""
        return self._memory_octets - self.octets if len(self) < _WAITING_MAX else 0

    def put(self, name: str, octets: bytes, label: Label, value: float) -> Future[bool]:
        """Take a product; the future is True once it is durable, and False, with an event, if it is refused."""
        durable: Future[bool] = Future()
        self.put_in += 1
        if len(self) >= _WAITING_MAX or len(octets) > self.room_octets:
            reason = f"{len(self)} files of {self.octets} octets wait for the disk, or to be sent from memory"
            self._refuse(name, len(octets), reason, durable)
            return durable
        try:
            draft = self._store.draft(
                PRODUCTS, self._free_name(name), len(octets), value=value,
                priority=min(label.priority, STORE_PRIORITY_MAX),
                label=label.encode(),
            )  # fmt: skip
        except FileRefused as refused:
            self._fail(name, octets, label, refused, durable)
            return durable
        self._waiting.append(_Waiting(draft, octets, label, durable))
        self._names.add(draft.name)
        self._octets += len(octets)
        self._wake.set()
        return durable

    async def run(self, task: Task) -> None:
        """Store one product after the other."""
        while True:
            self._wake.clear()
            while self._waiting:
                product = self._waiting[0]
                await self._keep(task, product)
                self._waiting.popleft()
                self._names.discard(product.draft.name)
                self._octets -= len(product.octets)
            await self._wake.wait()

    async def _keep(self, task: Task, product: _Waiting) -> None:
        draft, octets, store = product.draft, product.octets, self._store
        try:
            for at in range(0, len(octets), _SLICE_OCTETS):
                draft.write(at, octets[at : at + _SLICE_OCTETS])
                await task.sleep(0)
                if (syncing := store.syncing) is not None and not syncing.done:
                    await syncing  # the disk is slower than memory
            entry = await store.finish(task, draft)
        except (FileRefused, StorageError) as error:
            store.drop(draft)
            self._fail(draft.name, octets, product.label, error, product.durable)
            return
        self._on_stored(entry)
        product.durable.set_result(True)

    def _fail(
        self, name: str, octets: bytes, label: Label, error: FileRefused | StorageError, durable: Future[bool]
    ) -> None:
        """Say that a product is not kept. If storage has failed, it is sent from memory."""
        reason = str(error)
        if not isinstance(error, FileRefused) or error.reason is Reason.STORAGE:
            self._unkept.waiting.append((name, octets, label))
            reason = f"{reason}; it is sent from memory"
        self._refuse(name, len(octets), reason, durable)

    def _refuse(self, name: str, octets: int, reason: str, durable: Future[bool]) -> None:
        self.refused += 1
        self._events.emit("product_refused", name, octets, reason)
        durable.set_result(False)

    def _free_name(self, name: str) -> str:
        """Return `name`, or one made of it that no product has."""
        if self._is_free(name):
            return name
        taken, free = 1, 2
        while not self._is_free(_counted(name, free)):
            taken, free = free, 2 * free
        while free - taken > 1:
            between = (taken + free) // 2
            taken, free = (taken, between) if self._is_free(_counted(name, between)) else (between, free)
        return _counted(name, free)

    def _is_free(self, name: str) -> bool:
        return name not in self._names and self._store.find(PRODUCTS, name) is None


def _counted(name: str, count: int) -> str:
    """Return the name of the product `count` of that name, no longer than a name may be."""
    tag = f"+{count}"
    stem, dot, suffix = name.rpartition(".")
    suffix = dot + suffix
    if not stem or len(tag) + len(suffix) >= NAME_MAX:
        stem, suffix = name, ""
    return stem[: NAME_MAX - len(tag) - len(suffix)] + tag + suffix


class EarlierFiles:
    """Files of an earlier boot, compared with their SHA-256 before any of them is sent.

    waiting: by rank and number. held: transfers that the boot before had begun, with the numbers of their files; these
    come first. verified(place) is called with each that is what it was, damaged(number) with each that is not.
    """

    def __init__(
        self, transfers: FileTransfers, store: FileStore, events: EventSink, verified: Callable[[Place], None],
        damaged: Callable[[int], None],
    ) -> None:  # fmt: skip
        self.waiting: list[Place] = []
        self.held: dict[TransactionId, int] = {}
        self._transfers = transfers
        self._store = store
        self._events = events
        self._on_verified = verified
        self._on_damaged = damaged

    def __bool__(self) -> bool:
        return bool(self.waiting or self.held)

    def forget(self, number: int) -> None:
        """Take a file out: it is gone."""
        self.waiting = [place for place in self.waiting if place[1] != number]

    async def verify_next(self, task: Task) -> None:
        """Compare the next file, in slices."""
        if self.held:
            transaction, number = next(iter(self.held.items()))
            damage = await self._damage_of(task, number)
            if self.held.pop(transaction, None) is not None and damage:
                self._transfers.cancel(transaction)
            self._transfers.ready()
            return
        place = self.waiting[0]
        damage = await self._damage_of(task, place[1])
        if place not in self.waiting:
            return  # it was deleted meanwhile
        self.waiting.remove(place)
        entry = self._store.of_number(place[1])
        if entry is None or not damage:
            self._on_verified(place)
        else:
            self._events.emit("file_damaged", entry.path, damage)
            self._on_damaged(entry.number)
            await self._rest(entry)

    async def _damage_of(self, task: Task, number: int) -> str:
        entry = self._store.of_number(number)
        try:
            if entry is not None:
                await self._transfers.filestore.verify(task, entry)
        except FileRefused as refused:
            return refused.text
        return ""

    async def _rest(self, entry: FileEntry) -> None:
        """Let a damaged file rest: it is kept and shown, and not sent."""
        label = Label.of(entry)
        try:
            if label is not None:
                await self._store.commit(self._store.labelling(entry, replace(label, state=State.RESTS).encode()))
        except (FileRefused, StorageError):
            return  # the next boot finds the damage again
