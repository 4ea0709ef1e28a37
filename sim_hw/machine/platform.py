"""The simulated Platform: one node's computer in virtual time, its devices in a simulated world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol, TypeVar

from flight.core.future import Future
from flight.core.nanoseconds import NS, ns
from flight.core.platform import External
from hal.base import Imager, Radio
from sim_hw.machine.cpu_profile import CpuProfile
from sim_hw.machine.disk import Disk, DiskSession
from sim_hw.machine.faults import FaultPlan
from sim_hw.machine.loop import Call, VirtualLoop
from sim_hw.world.world import World

T = TypeVar("T")


class Record(Protocol):
    """Where decisions go (sim_hw.machine.digest.Digest)."""

    def enter(self, t_ns: int, channel: str, octets: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class ClockError:
    """How far the computer's own idea of TAI is from the truth: `offset_ns` at the start of the run, and it grows."""

    offset_ns: int = 0
    drift_ppb: int = 0

    def at(self, t_ns: int) -> int:
        return self.offset_ns + self.drift_ppb * t_ns // NS


class SimPlatform:
    """flight.core.platform.Platform for one boot of one node. The world, the disk and the radio outlive it.

    cpu: what steps of tasks cost, drawn with a generator of its own; None for nothing.
    """

    def __init__(  # noqa: PLR0913 - the parts of a machine, each by name
        self,
        name: str,
        loop: VirtualLoop,
        world: World,
        disk: Disk,
        random: Random,
        *,
        radios: dict[str, Radio] | None = None,
        imager: Imager | None = None,
        faults: FaultPlan | None = None,
        record: Record | None = None,
        cpu: CpuProfile | None = None,
        clock_error: ClockError = ClockError(),
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.loop = loop
        self.world = world
        self.storage: DiskSession = disk.boot(loop)
        self.random = random
        self.radios = radios or {}
        self.imager = imager
        self.faults = faults or FaultPlan()
        self.limit = loop.limit
        self.now_ns = self.cpu_ns = loop.now_ns
        self._record = record
        self._cpu = cpu
        self._cpu_random = Random(random.getrandbits(64)) if cpu is not None else random
        self._clock_error = clock_error
        self._on_stop = on_stop or loop.stop

    def call_at(self, t_ns: int, call: Callable[[], None]) -> Call:
        """As the loop does, but a node without power makes no calls any more."""
        storage = self.storage
        return self.loop.call_at(t_ns, lambda: call() if storage.alive else None)

    def watch(self, fileno: int, on_ready: Callable[[], None]) -> None:
        self.loop.watch(fileno, on_ready)

    def unwatch(self, fileno: int) -> None:
        self.loop.unwatch(fileno)

    def tai_ns(self) -> int:
        now_ns = self.loop.now_ns()
        return self.world.start_tai_ns + now_ns + self._clock_error.at(now_ns)

    def step_cost_ns(self, task: str) -> int:
        """Drawn from the CPU profile; without one, computing takes no time."""
        return 0 if self._cpu is None else self._cpu.draw_ns(task, self._cpu_random)

    def note(self, channel: str, octets: bytes) -> None:
        if self._record is not None:
            self._record.enter(self.loop.now_ns(), f"{self.name}.{channel}", octets)

    def stroke(self) -> None:
        """Nothing watches over a simulated computer: in virtual time no step takes for ever."""

    def take_last_words(self) -> str:
        return ""

    def stop(self) -> None:
        self._on_stop()

    def complete(self, work: External[T], duration_s: float) -> Future[T]:
        """The reply at now + `duration_s`. A planned kill strikes the real process before it can answer."""
        done: Future[T] = Future()
        now_ns = self.loop.now_ns()
        if self.faults.take("worker-hang", now_ns):
            return done
        if self.faults.take("worker-kill", now_ns):
            work.kill()
        self.call_at(now_ns + ns(duration_s), lambda: done.set_result(work.wait()))
        return done
