"""The packet recorder: ST[15] packet stores filled by service, and given back in order of priority in contact.

What happens to a telemetry packet:

    out of contact  --> to the store that takes its service, to be played back
    in contact      --> to that store only if it keeps always; it then waits for retrieval by time range alone
    storage takes nothing --> to memory, and played back from there; if that is full the oldest are lost, and counted
"""

# What was recorded, and how far playback has come, is durable every `sync_period_s`, or sooner with the commit of
# somebody else. So a loss of power costs the packets of one period at most, or repeats what went down in one, octet for
# octet the same. Nothing that was acknowledged stands here alone: terminal reports are kept by the command log until
# they are durable (commanding/command_log.py).
#
# Playback takes from these sources in this order, each only if the ones before have nothing: what a link gave back,
# what is in memory, then stores and time ranges by priority, a range before the stores of its own priority.
#
# The recorder yields to all others. If the medium is full and somebody more important asks (`give_up`), it deletes
# segments that were played back first, then others, beginning with the store that comes last in playback. One step
# deletes a few; what is still missing is owed and follows in the recorder's own steps (ADR 0011, ADR 0022).
#
# Events are telemetry, and so are recorded: one that is emitted within `store` would call `store` again. Faults are
# therefore only counted there, and reported once per period, at the beginning of a trouble and not at each packet of
# it.

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
_MEMORY_OCTETS = 262_144  # of packets that storage did not take
_SERVICE = 7  # octet of a telemetry packet (ECSS-E-ST-70-41C, 7.4.3.1)
_SECONDARY_HEADER = 0x08  # flag in the first octet (133.0-B-2, 4.1.3.3.3)
_QUIET_PERIODS = 12  # after which a trouble counts as a new one

STORES = (
    StoreConfig("reports", capacity_octets=1_000_000, priority=0, services=(1, 5), always=True),
    StoreConfig("housekeeping", capacity_octets=1_000_000, priority=1),
)


@dataclass(frozen=True, slots=True)
class RecorderConfig:
    """Mission section [recorder]."""

    sync_period_s: float = key(5.0, minimum=0.1, maximum=600, text="how often packets and read pointers become durable")
    range_priority: int = key(1, minimum=0, maximum=9, text="of retrieval by time range, ahead of stores of the same")
    store: tuple[StoreConfig, ...] = key(STORES, text="the packet stores, at most 8")

    @property
    def capacity_octets(self) -> int:
        """Octets of storage for all stores together."""
        return sum(store.capacity_octets for store in self.store)

    def faults(self) -> list[tuple[str, str]]:
        """Return a fault for each rule about the list of stores that is broken."""
        names = [store.name for store in self.store]
        services = [service for store in self.store for service in store.services]
        out: list[tuple[str, str]] = []
        if not 1 <= len(self.store) <= STORES_MAX:
            out.append(("store", f"has {len(self.store)} stores, should have 1 to {STORES_MAX}"))
        if len(set(names)) < len(names):
            out.append(("store", f"has stores {', '.join(names)}, every store needs a name of its own"))
        if len(set(services)) < len(services):
            out.append(("store", f"has services {', '.join(map(str, services))}, each should go to one store"))
        if sum(not store.services for store in self.store) != 1:
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
        oldest = self.running[0]
        taken = oldest.take(budget)
        if oldest.finished:
            self.ended.append(self.running.pop(0))
        return taken


class _Alarm:
    """Rings once when a count grows, and again only after the count has stood still for a while."""

    def __init__(self) -> None:
        self._count = 0
        self._quiet = _QUIET_PERIODS

    def rings(self, count: int) -> bool:
        """Whether to ring. To be asked once per period."""
        if count == self._count:
            self._quiet += 1
            return False
        self._count = count
        quiet, self._quiet = self._quiet, 0
        return quiet >= _QUIET_PERIODS


class Recorder:
    """All packet stores of a node, and the source of its playback (flight.services.radio.radio.Playback).

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
            PacketStore(storage, store, _number(vault.get(_deleted(store.name))), vault.epoch) for store in config.store
        ]
        self.retrievals = [OpenRetrieval(store, vault) for store in self.stores]
        self.enabled = [_disabled(store) not in vault for store in self.stores]
        self._ranges = _Ranges()
        self._sources = _in_order(self.retrievals, self._ranges, config.range_priority)
        self._index = {service: i for i, store in enumerate(config.store) for service in store.services}
        self._default = next(i for i, store in enumerate(config.store) if not store.services)
        self._returned: deque[Taken] = deque()
        self._memory: deque[bytes] = deque()
        self._memory_octets = 0
        self._memory_played = 0
        self._unsynced = False
        self._owed_octets = 0  # others asked for them, and one step could not give them up
        self._alarms = [(_Alarm(), _Alarm(), _Alarm()) for _ in self.stores]
        self._damage = [(store.name, damage) for store in self.stores for damage in store.damage]
        self._faulty = _Alarm()

    @property
    def waiting(self) -> int:
        """Packets that wait for playback."""
        return len(self._returned) + len(self._memory) + sum(retrieval.waiting for retrieval in self.retrievals)

    @property
    def searching(self) -> bool:
        """Whether `take` has not yet read all there may be: it reads one segment of each source per call at most."""
        return bool(self._ranges.running) or any(retrieval.searching for retrieval in self.retrievals)

    @property
    def in_memory(self) -> int:
        """Packets that storage did not take."""
        return len(self._memory)

    @property
    def recorded(self) -> int:
        """Packets stored since boot, those included that were heard as well."""
        return sum(store.recorded for store in self.stores)

    @property
    def played_back(self) -> int:
        """Packets taken for playback since boot, without those of time ranges."""
        return self._memory_played + sum(retrieval.played_back for retrieval in self.retrievals)

    @property
    def overwritten(self) -> int:
        """Packets given up before they were played back."""
        return sum(retrieval.overwritten for retrieval in self.retrievals)

    @property
    def refused(self) -> int:
        """Packets that a store did not take, being full, or the packet too long."""
        return sum(store.refused for store in self.stores)

    def store(self, packet: bytes, heard: bool = False) -> bool:
        """Keep a telemetry packet, or return False. `heard`: it goes down now and need not be played back."""
        index = self._index.get(packet[_SERVICE], self._default)
        store = self.stores[index]
        if not self.enabled[index] or (heard and not store.config.always):
            return False
        try:
            kept = store.store(packet, heard)
        except StorageError as error:
            self._failed(error)
            if not heard:
                self._hold(packet)
            # A packet that nobody heard is in memory now; one that was heard is only missing in the store.
            return not heard
        self._unsynced |= kept
        return kept

    def take(self, budget: Budget) -> Taken | None:
        """Take the next packet to be sent, or return None if there is none now. What was given back comes first."""
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

    def departed(self, taken: Taken) -> None:
        """Take in that a packet that was taken has left the node."""
        if taken.retrieval is not None:
            taken.retrieval.departed(taken)

    def returned(self, packets: Iterable[Taken]) -> None:
        """Take back packets that may not have been heard: they come first at the next contact."""
        given = list(packets)
        self._returned.extendleft(reversed(given))
        self.returned_packets += len(given)

    def unheard(self, packets: Iterable[bytes]) -> None:
        """Store as unheard what went to a link and may not have been heard: it waits for the next contact.

        Packets without a header of ECSS-E-ST-70-41C are left out: a time report is of use with its frame alone.
        """
        for packet in packets:
            if packet[0] & _SECONDARY_HEADER:
                self.store(packet)
                self.returned_packets += 1

    async def run(self, task: Task, events: Events) -> None:
        """Make packets and read pointers durable, report trouble, and give up what is owed, once per period."""
        async for _ in task.every(self._config.sync_period_s):
            await self.sync()
            budget = Budget()
            for retrieval in self.retrievals:
                retrieval.follow(budget)
            self._report_trouble(events)
            while self._discard():
                await task.sleep(0)

    async def sync(self) -> None:
        """Make durable what was recorded, and how far playback has come."""
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
        """Make room for somebody more important, and return the octets gained. Raises StorageError.

        They are fewer than asked for if there are no more, or if that takes more deletions than a step may do: what is
        missing then follows in the recorder's own steps.
        """
        budget = Budget()
        gained = self._give_up(octets, budget)
        self._owed_octets = octets - gained if budget.spent else 0  # what is recorded from now on is not owed
        return gained

    def _give_up(self, octets: int, budget: Budget) -> int:
        """Delete segments that were played back, then others; in both cases those of the last in playback first."""
        gained = 0
        last_first = sorted(self.retrievals, key=lambda retrieval: retrieval.store.config.priority, reverse=True)
        for played_alone in (True, False):
            for retrieval in last_first:
                while gained < octets:
                    # Says that there is more to do, as a refusal by the budget would have.
                    if budget.operations < 1:
                        budget.spent = True
                        return gained
                    more = retrieval.store.give_up(
                        retrieval.pointer.number if played_alone else retrieval.store.end.number
                    )
                    if not more:
                        break
                    budget.take()
                    gained += more
                    self._unsynced = True
        return gained

    def _discard(self) -> bool:
        """Delete as much as one step may of what commands have deleted and what others wait for. Return True for more.

        What storage does not delete now waits for the next period.
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

    # What ground commands (retrieval_commands.py)

    def enable(self, index: int, enabled: bool) -> Durable:
        """Return what a command leaves to be done to let a store take packets, or not."""

        def apply() -> None:
            self.enabled[index] = enabled

        return Durable({_disabled(self.stores[index]): None if enabled else b""}, apply)

    def delete_before(self, index: int, place: Place) -> Durable:
        """Return what a command leaves to be done to delete a store's packets before `place`."""

        def apply() -> None:
            self.retrievals[index].skip_to(place)
            self.stores[index].delete_before(place.number)

        return Durable({_deleted(self.stores[index].name): place.number.to_bytes(8, "big")}, apply)

    def retrieves_range(self, index: int) -> bool:
        """Whether a retrieval by time range of that store is running."""
        return any(retrieval.store is self.stores[index] for retrieval in self._ranges.running)

    def start_range(self, index: int, from_ns: int, to_ns: int) -> None:
        """Begin a retrieval by time range, behind those that are running."""
        self._ranges.running.append(RangeRetrieval(self.stores[index], from_ns, to_ns))

    def abort_range(self, index: int) -> None:
        """End the retrieval by time range of that store, if one is running."""
        self._ranges.running = [
            retrieval for retrieval in self._ranges.running if retrieval.store is not self.stores[index]
        ]

    def _stage(self) -> None:
        """Hand the read pointers that moved to the vault."""
        for retrieval in self.retrievals:
            changes = retrieval.progress()
            if not changes:
                continue
            try:
                self._vault.stage(changes)
                self._unsynced = True
            except StorageError as error:
                retrieval.unsaved()
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

    def _report_trouble(self, events: Events) -> None:
        """Emit events about trouble. Events are recorded themselves, so this is never called within `store`."""
        for name, damage in self._damage:
            events.emit("record_damaged", f"store {name}", damage)
        self._damage = []
        for retrieval, (full, overwriting, losing) in zip(self.retrievals, self._alarms, strict=True):
            store = retrieval.store
            if full.rings(store.refused):
                events.emit("store_refuses", store.name, store.refused)
            if overwriting.rings(retrieval.overwritten):
                events.emit("store_overwrites", store.name, retrieval.overwritten)
            if losing.rings(store.missing):
                events.emit("packets_missing", store.name, store.missing)
        if self._faulty.rings(self.storage_faults):
            events.emit("recorder_fault", self.storage_faults, self.fault)
        ended, self._ranges.ended = self._ranges.ended, []
        for by_range in ended:
            events.emit("range_retrieved", by_range.store.name, by_range.played_back)


def _in_order(retrievals: list[OpenRetrieval], ranges: _Ranges, range_priority: int) -> list[_Source]:
    """Return the sources of playback, the first before all others."""
    ordered: list[tuple[int, int, _Source]] = [(range_priority, 0, ranges)]
    ordered += [(retrieval.store.config.priority, i + 1, retrieval) for i, retrieval in enumerate(retrievals)]
    return [source for _, _, source in sorted(ordered, key=lambda row: row[:2])]


def _deleted(name: str) -> str:
    return f"{OWNER}.{name}.deleted"


def _disabled(store: PacketStore) -> str:
    return f"{OWNER}.{store.name}.disabled"


def _number(raw: bytes | None) -> int:
    """Decode a stored packet number. 0 for what cannot be one, as another version may have left it."""
    number = int.from_bytes(raw or b"", "big")
    return number if number < NUMBERS else 0
