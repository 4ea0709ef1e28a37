"""The simulated Platform: one node's computer in virtual time, its devices in a simulated world."""

# The simulated side of the one door between flight code and machine (flight/core/platform.py; docs/adr/0001).
# Everything the node could see or touch comes from here, so nothing in it can reach wall time, real randomness or a
# real file.
#
# What lives how long: a SimPlatform is one boot. The world, the disk, the radios and the camera belong to the
# spacecraft and outlive it. A boot that lost its power must do nothing more, though its calls are still in the loop:
# `call_at` wraps each one and asks whether the session of the disk is alive, which ends with the power.
#
# Real work in virtual time (`complete`): a payload worker is a real process, and how long it takes depends on the
# machine. Its reply is due at submission + the duration of its table, in virtual time. The loop goes on until that
# instant and only there waits for the process, so several workers compute side by side, and wall time decides nothing.
#
# Random numbers: the platform draws what the node asks for from one generator, and costs of steps from another, which
# is seeded by one draw from the first. So how many steps there are changes nothing about what else is drawn; whether
# there is a profile does.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol, TypeVar

from flight.core.future import Future
from flight.core.nanoseconds import NS, ns
from flight.core.platform import External
from flight.core.utc.leap_seconds import BUILT_IN, LeapSeconds
from hal.base import Imager, Radio
from sim_hw.machine.cpu_profile import CpuProfile
from sim_hw.machine.disk import Disk, DiskSession
from sim_hw.machine.faults import FaultPlan
from sim_hw.machine.loop import Call, VirtualLoop
from sim_hw.world.world import World

T = TypeVar("T")


class Record(Protocol):
    """Where decisions go (sim_hw.machine.digest.Digest)."""

    def enter(self, t_ns: int, channel: str, octets: bytes) -> None:
        """Enter that `octets` came about at `t_ns` on `channel`."""


@dataclass(frozen=True, slots=True)
class ClockError:
    """How far the computer's own idea of TAI is from the truth.

    `offset_ns` at the start of the run, and `drift_ppb` nanoseconds more with each second.
    """

    offset_ns: int = 0
    drift_ppb: int = 0

    def at(self, t_ns: int) -> int:
        """Return the error at `t_ns`, in ns; positive if the computer is ahead."""
        return self.offset_ns + self.drift_ppb * t_ns // NS


class SimPlatform:
    """flight.core.platform.Platform for one boot of one node. The world, the disk and the radio outlive it.

    cpu: what steps of tasks cost, drawn with a generator of its own; without it they cost nothing.
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
        self.unpredictable = random.randbytes  # keys in a simulation protect nothing, and one seed gives one digest
        self.radios = radios or {}
        self.imager = imager
        self.faults = faults or FaultPlan()
        self.limit = loop.limit
        self.now_ns = self.cpu_ns = loop.now_ns  # the loop's own method, without a call between
        self.leap_seconds: LeapSeconds = BUILT_IN  # for its log alone: its clock counts TAI
        self._record = record
        self._cpu = cpu
        self._cpu_random = Random(random.getrandbits(64)) if cpu is not None else random
        self._clock_error = clock_error
        self._on_stop = on_stop or loop.stop

    def call_at(self, t_ns: int, call: Callable[[], None]) -> Call:
        """Have `call` called at `t_ns` as the loop does, unless the node has lost its power by then."""
        storage = self.storage
        return self.loop.call_at(t_ns, lambda: call() if storage.alive else None)

    def watch(self, fileno: int, on_ready: Callable[[], None]) -> None:
        """Raise HalError: there are no descriptors in virtual time."""
        self.loop.watch(fileno, on_ready)

    def unwatch(self, fileno: int) -> None:
        """Raise HalError, as `watch`."""
        self.loop.unwatch(fileno)

    def tai_ns(self) -> int:
        """Return TAI as this computer has it, its clock's error included."""
        now_ns = self.loop.now_ns()
        return self.world.start_tai_ns + now_ns + self._clock_error.at(now_ns)

    def step_cost_ns(self, task: str) -> int:
        """Draw the cost of a step from the CPU profile; without one, computing takes no time."""
        return 0 if self._cpu is None else self._cpu.draw_ns(task, self._cpu_random)

    def note(self, channel: str, octets: bytes) -> None:
        """Enter a decision of the node into the run's digest."""
        if self._record is not None:
            self._record.enter(self.loop.now_ns(), f"{self.name}.{channel}", octets)

    def stroke(self) -> None:
        """Do nothing: no watchdog stands over a simulated computer, as no step takes for ever in virtual time."""

    def take_last_words(self) -> str:
        """Return "": no watchdog has ended the boot before this one."""
        return ""

    def stop(self) -> None:
        """End the node, which has given up; who built the platform says what that means."""
        self._on_stop()

    def complete(self, work: External[T], duration_s: float) -> Future[T]:
        """Return a future of the reply of `work`, due at now + `duration_s`.

        A planned `worker-hang` leaves it open for ever. A planned `worker-kill` strikes the real process before it can
        answer, and the reply says so.
        """
        done: Future[T] = Future()
        now_ns = self.loop.now_ns()
        if self.faults.take("worker-hang", now_ns):
            return done
        if self.faults.take("worker-kill", now_ns):
            work.kill()
        self.call_at(now_ns + ns(duration_s), lambda: done.set_result(work.wait()))
        return done
