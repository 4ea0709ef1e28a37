"""A recorder on a simulated disk, over several boots, for tests."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from random import Random
from typing import Any, TypeVar

from flight.contract.app import Durable
from flight.core.nanoseconds import NS, ns
from flight.core.scheduler import Scheduler
from flight.core.step_budget import Budget
from flight.link.pus import PusTm
from flight.services.recorder.packet_store import PacketStore, StoreConfig
from flight.services.recorder.recorder import Recorder, RecorderConfig
from flight.services.recorder.retrieval import Taken
from flight.services.recorder.stored_packet import Place
from flight.store.vault import Vault
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop
from sim_hw.machine.platform import SimPlatform
from sim_hw.world.world import World, WorldConfig

T0_NS = 2_000_000_000 * NS
T = TypeVar("T")


def packet(number: int, service: int = 3, octets: int = 100, time_s: float | None = None) -> bytes:
    """Return a telemetry packet of `octets`, made `number` seconds after T0, or `time_s`."""
    data = number.to_bytes(4, "big").ljust(octets - 21, b".")
    time_ns = T0_NS + ns(number if time_s is None else time_s)
    return PusTm(1, number & 0x3FFF, service, 25, data, time_ns=time_ns).encode()


def number_of(raw: bytes) -> int:
    """Return the number that `packet` put into the packet."""
    return int.from_bytes(PusTm.decode(raw).data[:4], "big")


def numbers(takes: Iterable[Taken]) -> list[int]:
    """Return the numbers of the packets that were taken."""
    return [number_of(one.packet) for one in takes]


def small(name: str = "all", capacity_octets: int = 65_536, **more: Any) -> StoreConfig:
    """Return the configuration of a small store."""
    return StoreConfig(name, capacity_octets=capacity_octets, **more)


def finish(work: Generator[None, None, T]) -> T:
    """Take all steps of a generator at once and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            outcome: T = end.value
            return outcome


def place_at(store: PacketStore, time_ns: int) -> Place:
    """Return the place in the store of the first packet of that time or later."""
    return finish(store.place_at(time_ns, Budget()))


class RecorderBench:
    """The recorder of one boot after the other, with its task and an event sink."""

    def __init__(
        self, *stores: StoreConfig, disk_octets: int = 64_000_000, seed: int = 1, range_priority: int = 1
    ) -> None:
        self.loop = VirtualLoop()
        self.disk = Disk(Random(seed), capacity_octets=disk_octets)
        self.config = RecorderConfig(store=stores or (small(),), range_priority=range_priority)
        self.failures: list[BaseException] = []
        self.events: list[tuple[Any, ...]] = []
        self.on_step: Callable[[str], None] = lambda _: None
        self.boot()

    def emit(self, name: str, *values: Any) -> None:
        """Keep the event in `events`."""
        self.events.append((name, *values))

    def boot(self) -> Recorder:
        """Boot on the disk as it is now; return the new recorder."""
        platform = SimPlatform("n", self.loop, World(WorldConfig()), self.disk, Random(1))
        self.storage = platform.storage
        self.vault = Vault(self.storage)
        self.recorder = Recorder(self.config, self.storage, self.vault)
        self.scheduler = Scheduler(
            platform, platform.cpu_ns, lambda _, error: self.failures.append(error), step_cost_ns=self.step_cost_ns
        )
        events: Any = self
        self.scheduler.spawn("recorder", lambda task: self.recorder.run(task, events))
        return self.recorder

    def step_cost_ns(self, task: str) -> int:
        """Return no cost, and tell `on_step`: the scheduler asks for the cost after each step."""
        self.on_step(task)
        return 0

    def reboot(self) -> Recorder:
        """Cut the power, and boot."""
        self.disk.cut()
        self.close()
        return self.boot()

    def close(self) -> None:
        """End the tasks of this boot."""
        self.loop.run_until(self.loop.now_ns())  # a task that never began cannot be closed quietly
        self.scheduler.close()

    def run(self, duration_s: float) -> None:
        """Let `duration_s` pass; no task may fail."""
        self.loop.run_until(self.loop.now_ns() + ns(duration_s))
        assert self.failures == []

    def apply(self, durable: Durable) -> None:
        """Commit the changes, and call `apply` when they are durable, as the command service does."""
        done = self.vault.commit(durable.changes)
        done.add_callback(lambda _: durable.apply())
        self.run(0.1)
        assert done.done

    def fill(self, first: int, end: int, **more: Any) -> None:
        """Store the packets `first` .. `end` - 1."""
        for number in range(first, end):
            self.recorder.store(packet(number, **more))

    def take(self, most: int = 1_000_000) -> list[Taken]:
        """Take up to `most` packets."""
        out: list[Taken] = []
        while len(out) < most:
            taken = self.recorder.take(Budget())
            if taken is not None:
                out.append(taken)
            elif not self.recorder.searching:
                break
        return out

    def play(self, most: int = 1_000_000) -> list[int]:
        """Take up to `most` packets and let all of them leave the node; return their numbers."""
        taken = self.take(most)
        for one in taken:
            self.recorder.departed(one)
        return numbers(taken)
