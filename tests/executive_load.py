"""A load for the scheduler on any host, and the one question about it: is every task that is due going to be woken?

Used in two places: on a host of its own that does everything a host may do wrong (tests/properties), and on the Linux
platform for as long as one likes (`make loop`, tests/soak/loop.py).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from flight.core.future import Event, Queue
from flight.core.nanoseconds import ns
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from hal.base import Timeline, Timer

TICKERS = 12


class WatchedTimer:
    """A pending call of a WatchedHost."""

    def __init__(self, host: WatchedHost, t_ns: int, call: Callable[[], None]) -> None:
        self.t_ns = t_ns
        self._host = host
        self._call = call
        self.inner: Timer | None = None

    def cancel(self) -> None:
        self._host.pending.discard(self)
        assert self.inner is not None
        self.inner.cancel()

    def __call__(self) -> None:
        self._host.pending.discard(self)
        self._call()


class WatchedHost:
    """Another host, and which of the calls that it was asked for are still to come. A cancelled one is not."""

    def __init__(self, host: Timeline) -> None:
        self._host = host
        self.now_ns = host.now_ns
        self.pending: set[WatchedTimer] = set()

    def call_at(self, t_ns: int, call: Callable[[], None]) -> WatchedTimer:
        timer = WatchedTimer(self, t_ns, call)
        self.pending.add(timer)
        timer.inner = self._host.call_at(t_ns, timer)
        return timer


def unwoken(scheduler: Scheduler, host: WatchedHost) -> str:
    """Between two calls of the host: which task is due, or will be, without a call to come by then; empty for none."""
    earliest_ns = min((timer.t_ns for timer in host.pending), default=None)
    now_ns = host.now_ns()
    tasks = set(scheduler.tasks)
    for task in tasks:
        if not task.waiting and earliest_ns is None:
            return f"{task.name} is ready and no call is to come"
    for t_ns, number, task, _ in scheduler.alarms:
        if task in tasks and number == task.alarm and (earliest_ns is None or earliest_ns > max(t_ns, now_ns)):
            return f"{task.name} is due at {t_ns}, the earliest call comes at {earliest_ns}"
    return ""


class ExecutiveLoad:
    """Tasks that tick, sleep, wait with and without a limit, feed one another, come and go."""

    def __init__(self, scheduler: Scheduler, random: Random) -> None:
        self.scheduler = scheduler
        self.faults: list[str] = []
        self.indices: dict[str, int] = {}
        self._random = random
        self._event = Event()
        self._queue: Queue[int] = Queue(4)
        self._children = 0
        self.tickers = [
            scheduler.spawn(f"tick{number}", self._ticker(0.003 + 0.00137 * number)) for number in range(TICKERS)
        ]
        scheduler.spawn("sleeper", self._sleeper)
        scheduler.spawn("patient", self._patient)
        scheduler.spawn("consumer", self._consumer)
        scheduler.spawn("parent", self._parent)

    def missing(self) -> list[str]:
        """Tickers of which a tick was neither delivered nor counted as skipped, and all else that went wrong."""
        unaccounted = [
            f"{task.name}: tick {self.indices[task.name]} is the {task.stats.ticks}. and {task.stats.skipped} skipped"
            for task in self.tickers
            if task.name in self.indices and self.indices[task.name] + 1 != task.stats.ticks + task.stats.skipped
        ]
        return unaccounted + self.faults

    def _ticker(self, period_s: float) -> Callable[[Task], Coroutine[Any, Any, None]]:
        async def body(task: Task) -> None:
            async for tick in task.every(period_s):
                if tick.late_ns < 0:
                    self.faults.append(f"{task.name}: tick {tick.index} came {-tick.late_ns} ns early")
                if tick.index != self.indices.get(task.name, -1) + 1 + tick.skipped:
                    self.faults.append(f"{task.name}: tick {tick.index} after {self.indices.get(task.name)}")
                self.indices[task.name] = tick.index
                if tick.index % 7 == 3:
                    self._queue.put(tick.index)
                if tick.index % 11 == 5:
                    self._event.set()

        return body

    async def _sleeper(self, task: Task) -> None:
        while True:
            await task.sleep(self._random.choice((0.0, 0.0, 1e-9, 0.0004, 0.002, 0.03)))

    async def _patient(self, task: Task) -> None:
        while True:
            limit_s = self._random.choice((0.0, 0.0005, 0.01, 0.2))
            begin_ns = self.scheduler.now_ns()
            if not await task.wait(self._event.wait(), limit_s):
                early_ns = begin_ns + ns(limit_s) - self.scheduler.now_ns()
                if early_ns > 0:
                    self.faults.append(f"{task.name}: woken {early_ns} ns before its limit")
            self._event.clear()

    async def _consumer(self, _task: Task) -> None:
        while True:
            await self._queue.get()

    async def _parent(self, task: Task) -> None:
        while True:
            self._children += 1
            child = self.scheduler.spawn(f"child{self._children}", self._sleeper)
            await task.sleep(self._random.choice((0.0, 0.001, 0.02)))
            child.cancel()
            await task.wait(child.finished, 1.0)
