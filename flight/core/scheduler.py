"""The cooperative scheduler: coroutine tasks, earliest absolute deadline first.

A task is a coroutine with a name, a relative deadline and a time budget. It waits only for futures (timers,
events, queues, storage, external work); whatever resolves a future makes the task ready, and among ready tasks
the one with the earliest absolute deadline runs next, until it waits again. Nothing is preempted.

Ticks are absolute indices from the task's start: a tick's due time is start + phase + index * period whatever
happened before it. A task that comes late replays at most `catch_up_max` missed ticks; more are skipped. Both
are counted, as are ticks finished after their deadline, steps over their budget, and a latency histogram.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flight.core.future import Cancelled, Event, Future
from hal.base import Host

NS = 1_000_000_000
_TASKS_MAX = 256
LATENCY_BUCKETS = 20  # bucket i counts latencies in [2^(i-1), 2^i) us; the last one everything above


def ns(seconds: float) -> int:
    """Seconds as integer nanoseconds, the one unit of time inside the flight code."""
    return round(seconds * NS)


@dataclass(frozen=True, slots=True)
class Tick:
    """One turn of a periodic task. `skipped` counts the ticks given up just before this one."""

    index: int
    due_ns: int
    late_ns: int
    skipped: int


@dataclass(slots=True)
class TaskStats:
    """Counters of one task since boot; `worst_ns` is its longest step."""

    steps: int = 0
    ticks: int = 0
    late: int = 0
    skipped: int = 0
    overruns: int = 0
    failures: int = 0
    restarts: int = 0
    worst_ns: int = 0
    worst_latency_ns: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * LATENCY_BUCKETS)


Body = Callable[["Task"], Coroutine[Any, Any, None]]
FaultHook = Callable[["Task", Exception], None]


class Task:
    """A running body. Made by `Scheduler.spawn`; the body gets it as its only argument."""

    def __init__(
        self, scheduler: Scheduler, name: str, body: Body, deadline_ns: int, budget_ns: int, critical: bool
    ) -> None:
        self.name = name
        self.critical = critical
        self.stats = TaskStats()
        self.finished: Future[None] = Future()
        self._scheduler = scheduler
        self._body = body
        self._deadline_ns = deadline_ns
        self._budget_ns = budget_ns
        self._coroutine = body(self)
        self._waiting: Future[Any] | None = None
        self._due_deadline_ns: int | None = None
        self._cancelled = False
        self._throwing = False
        self._failures_in_a_row = 0
        self._failed_ns = 0

    async def every(
        self, period_s: float, *, phase_s: float = 0.0, deadline_s: float | None = None, stop: Event | None = None
    ) -> AsyncIterator[Tick]:
        """Tick at absolute multiples of the period, until `stop` is set."""
        host, stats = self._scheduler.host, self.stats
        deadline_ns = self._deadline_ns if deadline_s is None else ns(deadline_s)
        period_ns = ns(period_s)
        assert period_ns > 0, period_s
        due_ns, index = host.now_ns() + ns(phase_s), 0
        while True:
            self._due_deadline_ns = due_ns + deadline_ns
            if stop is None:
                await self._scheduler.at(due_ns)
            elif await self._wait_until(stop.wait(), due_ns):
                return
            now_ns = host.now_ns()
            missed = (now_ns - due_ns) // period_ns
            skipped = max(0, missed - self._scheduler.catch_up_max)
            due_ns, index = due_ns + skipped * period_ns, index + skipped
            stats.skipped += skipped
            stats.ticks += 1
            yield Tick(index, due_ns, now_ns - due_ns, skipped)
            if host.now_ns() > due_ns + deadline_ns:
                stats.late += 1
            due_ns, index = due_ns + period_ns, index + 1

    async def sleep(self, duration_s: float) -> None:
        await self._scheduler.at(self._scheduler.host.now_ns() + ns(duration_s))

    async def wait(self, future: Future[Any], timeout_s: float) -> bool:
        """True when `future` is done, False when `timeout_s` passed first. Leaves nothing behind."""
        return await self._wait_until(future, self._scheduler.host.now_ns() + ns(timeout_s))

    async def _wait_until(self, future: Future[Any], t_ns: int) -> bool:
        if future.done:
            return True
        woken: Future[bool] = Future()

        def arrived(_: Future[Any]) -> None:
            self._due_deadline_ns = None  # woken by this, not by the tick it may have been waiting for
            woken.set_result(True)

        timer = self._scheduler.host.call_at(t_ns, partial(woken.set_result, False))
        future.add_callback(arrived)
        try:
            return await woken
        finally:
            timer.cancel()
            future.remove_callback(arrived)

    def cancel(self) -> None:
        """Throw Cancelled into the body where it waits; `finished` is done after its clean-up ran.

        A cancelled task is never restarted. Clean-up may await; a second cancel interrupts that too.
        """
        if self.finished.done:
            return
        self._cancelled = self._throwing = True
        if self._waiting is not None:
            self._waiting.remove_callback(self._wake)
            self._waiting = None
            self._scheduler._make_ready(self)

    def _wake(self, _: Future[Any]) -> None:
        self._waiting = None
        self._scheduler._make_ready(self)

    def _absolute_deadline_ns(self, now_ns: int) -> int:
        """A tick brings its own deadline; anything else counts from the moment it made the task ready."""
        due, self._due_deadline_ns = self._due_deadline_ns, None
        return now_ns + self._deadline_ns if due is None else due

    def _step(self) -> None:
        """Run the body until it waits, ends or fails. Only the scheduler calls this."""
        throwing, self._throwing = self._throwing, False
        try:
            waiting = self._coroutine.throw(Cancelled()) if throwing else self._coroutine.send(None)
        except (StopIteration, Cancelled):
            self.finished.set_result(None)
        except Exception as error:  # noqa: BLE001 - the one place where a task's fault ends
            self._fail(error)
        else:
            self._await(waiting)

    def _await(self, waiting: object) -> None:
        """Sleep until `waiting` is done. A body that cancelled itself does not get to sleep."""
        if not isinstance(waiting, Future):
            self._coroutine.close()
            self._fail(TypeError(f"a task awaits only futures of this scheduler, not {type(waiting).__name__}"))
        elif self._throwing:
            self._scheduler._make_ready(self)
        else:
            self._waiting = waiting
            waiting.add_callback(self._wake)

    def _fail(self, error: Exception) -> None:
        """Report, and start the body anew while restarts are left. A good stretch brings them all back."""
        self.stats.failures += 1
        scheduler, now_ns = self._scheduler, self._scheduler.host.now_ns()
        scheduler.on_fault(self, error)
        if now_ns - self._failed_ns > scheduler.forgive_ns:
            self._failures_in_a_row = 0
        self._failed_ns = now_ns
        self._failures_in_a_row += 1
        if self._cancelled or self._failures_in_a_row > scheduler.restarts_max:
            self.finished.set_result(None)
            if not self._cancelled:
                scheduler.on_given_up(self)
            return
        self.stats.restarts += 1
        self._due_deadline_ns = None
        self._coroutine = self._body(self)
        scheduler._make_ready(self)

    def _close(self) -> None:
        if self._waiting is not None:
            self._waiting.remove_callback(self._wake)
            self._waiting = None
        try:
            self._coroutine.close()
        except RuntimeError as error:  # it awaits in its clean-up: there is no time left for that
            self._scheduler.on_fault(self, error)
        self.finished.set_result(None)


class Scheduler:
    """Runs the tasks of one node on its host's timeline.

    cpu_ns: a clock for the length of steps. on_fault: told of every exception that left a body. on_given_up: told
    of a task that failed more than `restarts_max` times with less than `forgive_s` between one and the next.
    """

    # I/O callbacks of the host get their turn after this many steps, however many tasks are ready.
    _STEPS_A_TURN = 64

    def __init__(
        self,
        host: Host,
        cpu_ns: Callable[[], int],
        on_fault: FaultHook,
        *,
        on_given_up: Callable[[Task], None] = lambda _: None,
        catch_up_max: int = 3,
        restarts_max: int = 3,
        forgive_s: float = 600.0,
    ) -> None:
        self.host = host
        self.on_fault = on_fault
        self.on_given_up = on_given_up
        self.forgive_ns = ns(forgive_s)
        self.catch_up_max = catch_up_max
        self.restarts_max = restarts_max
        self.tasks: list[Task] = []
        self._cpu_ns = cpu_ns
        self._ready: list[tuple[int, int, int, Task]] = []
        self._sequence = 0
        self._turn_pending = False
        self._closed = False

    def spawn(
        self, name: str, body: Body, *, deadline_s: float = 1.0, budget_s: float = 0.05, critical: bool = False
    ) -> Task:
        """Start `body`; it has its first step at the loop's next turn."""
        assert not self._closed, "spawn on a closed scheduler"
        assert len(self.tasks) < _TASKS_MAX, "tasks are started at boot, not one after the other"
        task = Task(self, name, body, ns(deadline_s), ns(budget_s), critical)
        self.tasks.append(task)
        self._make_ready(task)
        return task

    def now_ns(self) -> int:
        return self.host.now_ns()

    async def at(self, t_ns: int) -> None:
        """Wait until `t_ns`. Where that is past, others that are ready still get their turn first."""
        due: Future[None] = Future()
        timer = self.host.call_at(t_ns, partial(due.set_result, None))
        try:
            await due
        finally:
            timer.cancel()

    def close(self) -> None:
        """End every task where it stands, running its clean-up. The node is going down."""
        self._closed = True
        self._ready.clear()
        for task in self.tasks:
            if not task.finished.done:
                task._close()

    def _make_ready(self, task: Task) -> None:
        if self._closed:
            return
        now_ns = self.host.now_ns()
        self._sequence += 1
        heapq.heappush(self._ready, (task._absolute_deadline_ns(now_ns), self._sequence, now_ns, task))
        self._ask_turn(now_ns)

    def _ask_turn(self, now_ns: int) -> None:
        if not self._turn_pending:
            self._turn_pending = True
            self.host.call_at(now_ns, self._turn)

    def _turn(self) -> None:
        """Run ready tasks, earliest deadline first, then give the host its turn."""
        self._turn_pending = False
        for _ in range(self._STEPS_A_TURN):
            if not self._ready:
                return
            _, _, ready_ns, task = heapq.heappop(self._ready)
            if task.finished.done:
                continue
            stats = task.stats
            latency_ns = self.host.now_ns() - ready_ns
            stats.latency[min((latency_ns // 1000).bit_length(), LATENCY_BUCKETS - 1)] += 1
            stats.worst_latency_ns = max(stats.worst_latency_ns, latency_ns)
            start_ns = self._cpu_ns()
            task._step()
            took_ns = self._cpu_ns() - start_ns
            stats.steps += 1
            stats.overruns += took_ns > task._budget_ns
            stats.worst_ns = max(stats.worst_ns, took_ns)
        self._ask_turn(self.host.now_ns())
