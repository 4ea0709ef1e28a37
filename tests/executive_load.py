"""A load for the scheduler on any host, and a check that every task that is due will be woken.

It is used in two places: on a host that does everything wrong that a host may do (tests/properties), and on the Linux
platform for as long as one likes (`make loop`, tests/soak/loop.py).
"""

# Why this check. A scheduler can stop for ever without any wrong result: it has a task that is due, but no call of the
# host is pending that would wake it. No test of outcomes sees that, because nothing happens any more. So the host is
# watched (WatchedHost knows which calls are still pending), and after every call the rule itself is checked
# (`unwoken`): a task that is ready needs a pending call, and a task that waits for a time needs one no later than that
# time.
#
# The load covers all the ways in which a task can wait: ticks of periods that share no instant, sleeps of zero and of
# one nanosecond, waits with a limit that an event cuts short, a bounded queue, and children that are cancelled. At the
# end each ticker must have delivered, or counted as skipped, every index (`missing`).

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
        """Forget the call."""
        self._host.pending.discard(self)
        assert self.inner is not None
        self.inner.cancel()

    def __call__(self) -> None:
        self._host.pending.discard(self)
        self._call()


class WatchedHost:
    """A host around another one. `pending` has the calls that are still to come; a cancelled call is not in it."""

    def __init__(self, host: Timeline) -> None:
        self._host = host
        self.now_ns = host.now_ns
        self.pending: set[WatchedTimer] = set()

    def call_at(self, t_ns: int, call: Callable[[], None]) -> WatchedTimer:
        """Have the host make the call at that time, and keep it in `pending` until then."""
        timer = WatchedTimer(self, t_ns, call)
        self.pending.add(timer)
        timer.inner = self._host.call_at(t_ns, timer)
        return timer


def unwoken(scheduler: Scheduler, host: WatchedHost) -> str:
    """Return what is wrong if a task is due, or will be, and no call comes by then; empty if all is well.

    To be called between two calls of the host.
    """
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
        """Return tickers that lost a tick, neither delivered nor counted as skipped, and all other faults."""
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
