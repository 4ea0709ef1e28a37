"""The packet recorder: ST[15] packet stores filled by service, and given back in order of priority in contact.

Out of contact every packet goes to the store that takes its service; in contact only to a store that keeps always,
where it waits for retrieval by time range alone. A packet that storage does not take stays in memory, as many as there
is room for. What was recorded, and how far playback has come, is durable every `sync_period_s`: so much may be lost
with the power, or come down twice, octet for octet the same. A commit of somebody else's may take it along sooner.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from flight.contract.app import Durable
from flight.core.config import key
from flight.core.errors import StorageError
from flight.core.platform import Storage
from flight.core.step_budget import Budget
from flight.core.task import Task
from flight.services.recorder.packet_store import OWNER, PacketStore, StoreConfig
from flight.services.recorder.retrieval import NUMBERS, OpenRetrieval, RangeRetrieval, Taken
from flight.services.recorder.stored_packet import Place
from flight.services.reporting.events import Events
from flight.store.vault import Vault

STORES_MAX = 8
_MEMORY_OCTETS = 262_144
_SERVICE = 7  # octet of a telemetry packet (ECSS-E-ST-70-41C, 7.4.3.1)
_SECONDARY_HEADER = 0x08  # flag in the first octet (133.0-B-2, 4.1.3.3.3)
_QUIET_PERIODS = 12

STORES = (
    StoreConfig("reports", capacity_octets=1_000_000, priority=0, services=(1, 5), always=True),
    StoreConfig("housekeeping", capacity_octets=1_000_000, priority=1),
)


@dataclass(frozen=True, slots=True)
class RecorderConfig:
    """Mission section [recorder]."""

    sync_period_s: float = key(5.0, minimum=0.1, maximum=600, text="packets and read pointers become durable so often")
    range_priority: int = key(1, minimum=0, maximum=9, text="of retrieval by time range, before stores of the same")
    store: tuple[StoreConfig, ...] = key(STORES, text="the packet stores, at most 8")

    @property
    def capacity_octets(self) -> int:
        """Of storage, for all stores together."""
        return sum(one.capacity_octets for one in self.store)

    def faults(self) -> list[tuple[str, str]]:
        names = [one.name for one in self.store]
        services = [service for one in self.store for service in one.services]
        out: list[tuple[str, str]] = []
        if not 1 <= len(self.store) <= STORES_MAX:
            out.append(("store", f"has {len(self.store)} stores, should have 1 to {STORES_MAX}"))
        if len(set(names)) < len(names):
            out.append(("store", f"has stores {', '.join(names)}, every store needs a name of its own"))
        if len(set(services)) < len(services):
            out.append(("store", f"has services {', '.join(map(str, services))}, each should go to one store"))
        if sum(not one.services for one in self.store) != 1:
            out.append(("store", "should have exactly one store without services, for all others"))
        return out


class _Source(Protocol):
    def take(self, budget: Budget) -> Taken | None: ...


class _Ranges:
    """Retrievals by time range, the oldest first."""

    def __init__(self) -> None:
        self.running: list[RangeRetrieval] = []
        self.ended: list[RangeRetrieval] = []

    def take(self, budget: Budget) -> Taken | None:
        if not self.running:
            return None
        one = self.running[0]
        taken = one.take(budget)
        if one.finished:
            self.ended.append(self.running.pop(0))
        return taken


class _Alarm:
    """Says once that a count grows, and again after it has stood still for a while."""

    def __init__(self) -> None:
        self._count = 0
        self._quiet = _QUIET_PERIODS

    def rings(self, count: int) -> bool:
        """To be asked once a period."""
        if count == self._count:
            self._quiet += 1
            return False
        self._count = count
        quiet, self._quiet = self._quiet, 0
        return quiet >= _QUIET_PERIODS


class Recorder:
    """All packet stores of a node; the source of its playback (services.radio.Playback).

    `storage_faults`: times storage did not take, give up or sync something. `lost`: packets that found no room in
    memory either. `returned_packets`: given back by a link whose contact ended.
    """

    def __init__(self, config: RecorderConfig, storage: Storage, vault: Vault) -> None:
        self.storage_faults = 0
        self.lost = 0
        self.returned_packets = 0
        self.fault = ""
        self._config = config
        self._storage = storage
        self._vault = vault
        self.stores = [
            PacketStore(storage, one, _number(vault.get(_deleted(one.name))), vault.epoch) for one in config.store
        ]
        self.retrievals = [OpenRetrieval(store, vault) for store in self.stores]
        self.enabled = [_disabled(store) not in vault for store in self.stores]
        self._ranges = _Ranges()
        self._sources = _in_order(self.retrievals, self._ranges, config.range_priority)
        self._index = {service: i for i, one in enumerate(config.store) for service in one.services}
        self._rest = next(i for i, one in enumerate(config.store) if not one.services)
        self._returned: deque[Taken] = deque()
        self._memory: deque[bytes] = deque()
        self._memory_octets = 0
        self._memory_played = 0
        self._unsynced = False
        self._owed_octets = 0  # that others asked for, and one step could not give up
        self._alarms = [(_Alarm(), _Alarm(), _Alarm()) for _ in self.stores]
        self._damage = [(store.name, damage) for store in self.stores for damage in store.damage]
        self._faulty = _Alarm()

    @property
    def waiting(self) -> int:
        """Packets that wait for playback."""
        return len(self._returned) + len(self._memory) + sum(one.waiting for one in self.retrievals)

    @property
    def searching(self) -> bool:
        """Whether `take` has not yet read all there may be: it reads a segment of each source per call, at most."""
        return bool(self._ranges.running) or any(one.searching for one in self.retrievals)

    @property
    def in_memory(self) -> int:
        """Packets that storage did not take."""
        return len(self._memory)

    @property
    def recorded(self) -> int:
        """Packets stored since boot, those that were heard as well included."""
        return sum(one.recorded for one in self.stores)

    @property
    def played_back(self) -> int:
        """Packets taken for playback since boot, without those of time ranges."""
        return self._memory_played + sum(one.played_back for one in self.retrievals)

    @property
    def overwritten(self) -> int:
        """Packets given up before they were played back."""
        return sum(one.overwritten for one in self.retrievals)

    @property
    def refused(self) -> int:
        """Packets that a store did not take, being full, or the packet too long."""
        return sum(one.refused for one in self.stores)

    def store(self, packet: bytes, heard: bool = False) -> bool:
        """Keep a telemetry packet; False where it is not kept. `heard`: it goes down now, no need to play it back."""
        index = self._index.get(packet[_SERVICE], self._rest)
        store = self.stores[index]
        if not self.enabled[index] or (heard and not store.config.always):
            return False
        try:
            kept = store.store(packet, heard)
        except StorageError as error:
            self._failed(error)
            if not heard:
                self._hold(packet)
            return not heard
        self._unsynced |= kept
        return kept

    def take(self, budget: Budget) -> Taken | None:
        """The next packet to be sent, None where there is none now. What was given back comes first."""
        if self._returned:
            return self._returned.popleft()
        if self._memory:
            packet = self._memory.popleft()
            self._memory_octets -= len(packet)
            self._memory_played += 1
            return Taken(packet)
        for source in self._sources:
            taken = source.take(budget)
            if taken is not None:
                return taken
        return None

    def left(self, taken: Taken) -> None:
        """A packet that was taken has left the node."""
        if taken.retrieval is not None:
            taken.retrieval.left(taken)

    def returned(self, packets: Iterable[Taken]) -> None:
        """Packets that were taken and may not have been heard: they come first at the next contact."""
        given = list(packets)
        self._returned.extendleft(reversed(given))
        self.returned_packets += len(given)

    def unheard(self, packets: Iterable[bytes]) -> None:
        """Packets that were stored as heard and may not have been: they wait for the next contact, but for those
        without a header of ECSS-E-ST-70-41C: a time report is of use with its frame alone.
        """
        for packet in packets:
            if packet[0] & _SECONDARY_HEADER:
                self.store(packet)
                self.returned_packets += 1

    async def run(self, task: Task, events: Events) -> None:
        """Make packets and read pointers durable, tell of trouble, and give up what is owed, once a period."""
        async for _ in task.every(self._config.sync_period_s):
            await self.sync()
            budget = Budget()
            for one in self.retrievals:
                one.follow(budget)
            self._tell(events)
            while self._discard():
                await task.sleep(0)

    async def sync(self) -> None:
        """What was recorded, and how far playback has come, is durable when this is done."""
        self._stage()
        if not self._unsynced:
            return
        self._unsynced = False
        try:
            await self._storage.sync()
        except StorageError as error:
            self._failed(error)
            return
        for store in self.stores:
            store.synced()

    def give_up(self, octets: int) -> int:
        """Make room for somebody more important: segments that were played back, then others; in both cases those of
        the last in playback first. Octets gained, fewer than asked for if there are no more, or if that takes
        more deletions than a step may do: what is missing then follows in the recorder's own steps. Raises
        StorageError.
        """
        budget = Budget()
        gained = self._give_up(octets, budget)
        self._owed_octets = octets - gained if budget.spent else 0  # what is recorded from now on is not owed
        return gained

    def _give_up(self, octets: int, budget: Budget) -> int:
        gained = 0
        last_first = sorted(self.retrievals, key=lambda one: one.store.config.priority, reverse=True)
        for played_alone in (True, False):
            for one in last_first:
                while gained < octets:
                    if budget.operations < 1:
                        budget.spent = True
                        return gained
                    more = one.store.give_up(one.pointer.number if played_alone else one.store.end.number)
                    if not more:
                        break
                    budget.take()
                    gained += more
                    self._unsynced = True
        return gained

    def _discard(self) -> bool:
        """Delete what was deleted by command and what others wait for, as much as one step may; True if there is
        more. What storage does not delete now waits for the next period.
        """
        budget = Budget()
        before = budget.operations
        try:
            for store in self.stores:
                store.discard(budget)
            if self._owed_octets > 0:
                self._owed_octets -= self._give_up(self._owed_octets, budget)
        except StorageError as error:
            self._failed(error)
            return False
        finally:
            self._unsynced |= budget.operations < before
        if not budget.spent:
            self._owed_octets = 0  # there is no more to give up
        return budget.spent

    # What ground commands (services.retrieval_commands)

    def enable(self, index: int, enabled: bool) -> Durable:
        """Let a store take packets, or not."""

        def apply() -> None:
            self.enabled[index] = enabled

        return Durable({_disabled(self.stores[index]): None if enabled else b""}, apply)

    def delete_before(self, index: int, place: Place) -> Durable:
        """Delete a store's packets before `place`."""

        def apply() -> None:
            self.retrievals[index].skip_to(place)
            self.stores[index].delete_before(place.number)

        return Durable({_deleted(self.stores[index].name): place.number.to_bytes(8, "big")}, apply)

    def retrieves_range(self, index: int) -> bool:
        """Whether a retrieval by time range of that store is running."""
        return any(one.store is self.stores[index] for one in self._ranges.running)

    def start_range(self, index: int, from_ns: int, to_ns: int) -> None:
        self._ranges.running.append(RangeRetrieval(self.stores[index], from_ns, to_ns))

    def abort_range(self, index: int) -> None:
        self._ranges.running = [one for one in self._ranges.running if one.store is not self.stores[index]]

    def _stage(self) -> None:
        """Hand the read pointers that moved to the vault."""
        for one in self.retrievals:
            changes = one.progress()
            if not changes:
                continue
            try:
                self._vault.stage(changes)
                self._unsynced = True
            except StorageError as error:
                one.unsaved()
                self._failed(error)

    def _hold(self, packet: bytes) -> None:
        self._memory.append(packet)
        self._memory_octets += len(packet)
        while self._memory_octets > _MEMORY_OCTETS:
            self._memory_octets -= len(self._memory.popleft())
            self.lost += 1

    def _failed(self, error: StorageError) -> None:
        self.storage_faults += 1
        self.fault = str(error)

    def _tell(self, events: Events) -> None:
        """Events are telemetry, and recorded: so never from within `store`."""
        for name, damage in self._damage:
            events.emit("record_damaged", f"store {name}", damage)
        self._damage = []
        for one, (full, overwriting, losing) in zip(self.retrievals, self._alarms, strict=True):
            store = one.store
            if full.rings(store.refused):
                events.emit("store_refuses", store.name, store.refused)
            if overwriting.rings(one.overwritten):
                events.emit("store_overwrites", store.name, one.overwritten)
            if losing.rings(store.missing):
                events.emit("packets_missing", store.name, store.missing)
        if self._faulty.rings(self.storage_faults):
            events.emit("recorder_fault", self.storage_faults, self.fault)
        ended, self._ranges.ended = self._ranges.ended, []
        for by_range in ended:
            events.emit("range_retrieved", by_range.store.name, by_range.played_back)


def _in_order(retrievals: list[OpenRetrieval], ranges: _Ranges, range_priority: int) -> list[_Source]:
    """Sources of playback, the first before all others."""
    ordered: list[tuple[int, int, _Source]] = [(range_priority, 0, ranges)]
    ordered += [(one.store.config.priority, i + 1, one) for i, one in enumerate(retrievals)]
    return [source for _, _, source in sorted(ordered, key=lambda row: row[:2])]


def _deleted(name: str) -> str:
    return f"{OWNER}.{name}.deleted"


def _disabled(store: PacketStore) -> str:
    return f"{OWNER}.{store.name}.disabled"


def _number(raw: bytes | None) -> int:
    """A stored packet number; 0 for what cannot be one, as another version may have left it."""
    number = int.from_bytes(raw or b"", "big")
    return number if number < NUMBERS else 0
