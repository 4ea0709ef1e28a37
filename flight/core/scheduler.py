"""The cooperative scheduler: coroutine tasks, earliest absolute deadline first.

A task is a coroutine with a name, a relative deadline and a time budget. It waits only for time and for futures
(events, queues, storage, external work, the end of other tasks); whatever it waits for makes it ready, and among
ready tasks the one with the earliest absolute deadline runs next, until it waits again. Nothing is preempted.

Ticks are absolute indices from the task's start: a tick's due time is start + phase + index * period whatever
happened before it. A task that comes late replays at most `catch_up_max` missed ticks; more are skipped. Both
are counted, as are ticks finished after their deadline, steps over their budget, and a latency histogram.

Nobody starves under overload. A deadline that has passed counts as that of now, and one further away than the
task's `starve_s` as `starve_s` away. So whatever becomes ready more than `starve_s` after a task runs after it:
from then on it waits for at most one step of each task that was ready before. A step that waited `starve_s` or
longer is counted and told.

Nothing that is due is ever forgotten. The scheduler runs only when its host calls it, and asks for two kinds of
call: a turn, at once, when a task has become ready; an alarm, at the earliest time that a task waits for. Whether
one is pending is written in one place each (`_asked`, `_armed`), and only the call itself takes it back, or the one
that takes its place. Each call carries a number, so one that comes after it was cancelled, or comes twice, takes back
nothing that is not its own.
What the clock says decides nothing about that: a call may come early or late, and the processor may be taken away
between any two lines. Every turn ends with the invariant:

    tasks are ready, or the processor is taken for a while     a turn is asked for
    else tasks wait for a time                                 the alarm is armed for the earliest, or before it
    else                                                       nothing is due, ever: only an event can wake a task

Two clocks are read and never mixed. The host's (`now_ns`) says what is due, how late it is, and how long a task
waited. The processor's (`cpu_ns`) says how long a step took and which share of the time a task had.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from functools import partial
from heapq import heapify, heappop, heappush
from types import coroutine
from typing import Any, cast

from flight.core.errors import OrbitnodeError
from flight.core.future import Cancelled, Event, Future
from flight.core.task_stats import TaskReport, TaskStats, Tick
from flight.core.ticks import Ticks
from hal.base import Host, Timer

NS = 1_000_000_000
TASKS_MAX = 256

# The host's own calls, input and output among them, get their turn after this many steps and after this long.
_STEPS_A_TURN = 64
_TURN_NS = 1_000_000
_ALARMS_MAX = 4 * TASKS_MAX  # one for each task, and stale ones


def ns(seconds: float) -> int:
    """Seconds as integer nanoseconds, the one unit of time inside the flight code."""
    return round(seconds * NS)


def text_of(error: BaseException) -> str:
    """Kind and text of a task's fault. The text is made by foreign code as well: if that fails, the kind alone."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a part of the task's fault
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class SchedulerFull(OrbitnodeError):
    """As many tasks run as the scheduler holds."""


Body = Callable[["Task"], Coroutine[Any, Any, None]]
FaultHook = Callable[["Task", BaseException], None]
TimeHook = Callable[["Task", int], None]


class Task:
    """A running body. Made by `Scheduler.spawn`; the body gets it as its only argument."""

    __slots__ = (
        "_alarm", "_body", "_budget_ns", "_cancelled", "_coroutine", "_deadline_ns", "_failed_ns",
        "_failures_in_a_row", "_finish_by_ns", "_futures", "_overrun_ns", "_period_ns", "_scheduler", "_serve_ns",
        "_starve_ns", "_starved_ns", "_thrown", "_waits_since_ns", "critical", "finished", "name", "stats",
    )  # fmt: skip

    def __init__(
        self,
        scheduler: Scheduler,
        name: str,
        body: Body,
        deadline_ns: int,
        budget_ns: int,
        starve_ns: int,
        critical: bool,
    ) -> None:
        self.name = name
        self.critical = critical
        self.stats = TaskStats()
        self.finished: Future[None] = Future()
        self._scheduler = scheduler
        self._body = body
        self._deadline_ns = deadline_ns
        self._budget_ns = budget_ns
        self._starve_ns = starve_ns
        self._serve_ns = min(deadline_ns, starve_ns)  # what counts among ready tasks
        self._period_ns = 0
        self._coroutine = body(self)
        self._cancelled = False
        self._thrown: BaseException | None = None  # goes into the body at its next step
        # What it waits for: any of these futures, and the scheduler's alarm of this number, 0 for none.
        self._futures: Sequence[Future[Any]] = ()
        self._alarm = 0
        self._waits_since_ns = 0
        self._finish_by_ns: int | None = None  # deadline of the tick whose work ends with the present step
        self._failures_in_a_row = 0
        self._failed_ns = 0
        self._overrun_ns: int | None = None
        self._starved_ns: int | None = None

    def every(
        self, period_s: float, *, phase_s: float = 0.0, deadline_s: float | None = None, stop: Event | None = None
    ) -> AsyncIterator[Tick]:
        """Tick at absolute multiples of the period, until `stop` is set."""
        self._period_ns = ns(period_s)
        assert self._period_ns > 0, period_s
        deadline_ns = self._deadline_ns if deadline_s is None else ns(deadline_s)
        return Ticks(self, self._scheduler.now_ns() + ns(phase_s), self._period_ns, deadline_ns, stop)

    async def sleep(self, duration_s: float) -> None:
        """Wait for that long. Where it is 0 or less, others that are ready still get their turn first."""
        await self._pause(self._scheduler.now_ns() + ns(duration_s))

    async def wait(self, future: Future[Any], timeout_s: float) -> bool:
        """True when `future` is done, False when `timeout_s` passed first. Leaves nothing behind."""
        if not future.done:
            await self._pause(self._scheduler.now_ns() + ns(timeout_s), (future,))
        return future.done

    async def first(self, futures: Sequence[Future[Any]], timeout_s: float | None = None) -> int | None:
        """Wait until one of `futures` is done: its index, the lowest where there are several.

        None when `timeout_s` passed first; without it there is no limit. Leaves nothing behind.
        """
        assert futures, "nothing to wait for"
        done = _first_done(futures)
        if done is None:
            limit_ns = None if timeout_s is None else self._scheduler.now_ns() + ns(timeout_s)
            await self._pause(limit_ns, futures)
            done = _first_done(futures)
        return done

    def cancel(self) -> None:
        """Throw Cancelled into the body where it waits; `finished` is done after its clean-up ran.

        A cancelled task is never restarted. Clean-up may await; a second cancel interrupts that too.
        """
        if self.finished.done:
            return
        self._cancelled = True
        self._thrown = Cancelled()
        if self.waiting:
            self._wake()

    @property
    def waiting(self) -> bool:
        """True where neither runs nor is ready to."""
        return bool(self._alarm or self._futures)

    @coroutine
    def _pause(self, until_ns: int | None, futures: Sequence[Future[Any]] = ()) -> Generator[Task, None, None]:
        """Wait for the time, or for one of the futures, none of them done."""
        self.begin_wait(until_ns, self._serve_ns, futures)
        yield self

    def begin_wait(self, until_ns: int | None, serve_ns: int, futures: Sequence[Future[Any]] = ()) -> None:
        """From the next `yield` on wait for the time, to be served within `serve_ns` then, or for the futures."""
        scheduler = self._scheduler
        assert scheduler.running is self, f"{self.name} is made to wait by another task"
        if self._thrown is not None:  # it cancelled itself and does not get to wait
            thrown, self._thrown = self._thrown, None
            raise thrown
        if until_ns is not None:
            self._alarm = scheduler.number = number = scheduler.number + 1
            heappush(scheduler.alarms, (until_ns, number, self, until_ns + serve_ns))
        if futures:
            self._wait_for(futures)

    def _wait_for(self, futures: Sequence[Future[Any]]) -> None:
        self._futures = futures
        for future in futures:
            future.add_callback(self._on_future)

    def _await(self, waited: object) -> None:
        """Wait for what the body awaits, where that is no wait of its own."""
        if not isinstance(waited, Future):
            self._thrown = TypeError(f"a task awaits only futures of this scheduler, not {type(waited).__name__}")
        if self._thrown is None:
            self._wait_for((cast("Future[Any]", waited),))
        else:
            self._scheduler._ready_now(self)

    def _on_future(self, _: Future[Any]) -> None:
        if self._futures:  # else something earlier among the callbacks of this very future ended the wait
            self._wake()

    def _wake(self) -> None:
        self._forget_wait()
        self._scheduler._ready_now(self)

    def _forget_wait(self) -> None:
        """Take back everything that could end the wait."""
        self._alarm = 0
        futures, self._futures = self._futures, ()
        for future in futures:
            future.remove_callback(self._on_future)

    def _step(self, ended: bool = False) -> bool:
        """Run the body until it waits, ends or fails, True where it ended; `ended` makes it. For the scheduler."""
        try:
            if self._thrown is None and not ended:
                waited = self._coroutine.send(None)
            elif ended:
                self._coroutine.close()
            else:
                thrown, self._thrown = self._thrown, None
                waited = self._coroutine.throw(cast("BaseException", thrown))
        except (StopIteration, Cancelled):
            ended = True
        # The one place where a task's fault ends, that of a library which would end the program among them. A second
        # signal that cuts a step short (flight/linux) ends here too: the loop has been told to stop by the first.
        except (Exception, SystemExit, GeneratorExit) as error:  # noqa: BLE001
            if not self._fail(error):
                return False
            ended = True
        if ended:
            self.finished.set_result(None)
        elif waited is not self:
            self._await(waited)
        return ended

    def _fail(self, error: BaseException) -> bool:
        """Report, and start the body anew while restarts are left. A good stretch brings them all back.

        True if it ends.
        """
        self.stats.failures += 1
        scheduler, now_ns = self._scheduler, self._scheduler.now_ns()
        scheduler.on_fault(self, error)
        if now_ns - self._failed_ns > scheduler.forgive_ns:
            self._failures_in_a_row = 0
        self._failed_ns = now_ns
        self._failures_in_a_row += 1
        if self._cancelled or scheduler.closed:
            return True
        if self._failures_in_a_row > scheduler.restarts_max:
            scheduler.on_given_up(self)
            return True
        self.stats.restarts += 1
        self._thrown = None
        self._coroutine = self._body(self)
        scheduler._ready_now(self)
        return False

    def _report(self, up_ns: int) -> TaskReport:
        return TaskReport.of(
            self.stats,
            up_ns,
            name=self.name,
            state="finished" if self.finished.done else "waiting" if self.waiting else "ready",
            critical=self.critical,
            period_ns=self._period_ns,
            deadline_ns=self._deadline_ns,
            budget_ns=self._budget_ns,
        )


def _first_done(futures: Sequence[Future[Any]]) -> int | None:
    for index, future in enumerate(futures):
        if future.done:
            return index
    return None


class Scheduler:
    """Runs the tasks of one node on its host's timeline.

    cpu_ns: a clock for the length of steps; only differences of it are looked at. step_cost_ns: what a step of the
    named task costs beside that, for virtual time, where steps take none: it counts as the step's length, and the
    next step starts that much later. on_fault: told of every exception that left a body. on_given_up: told of a task
    that failed more than `restarts_max` times with less than `forgive_s` between one and the next. on_overrun and
    on_starved: told of a step over its budget, and of one that waited `starve_s` or longer for its turn
    (`critical_starve_s` for critical tasks), with the nanoseconds that it took or waited; once, and again after
    `forgive_s` without one. Every single one is in the task's counters.
    """

    def __init__(
        self,
        host: Host,
        cpu_ns: Callable[[], int],
        on_fault: FaultHook,
        *,
        step_cost_ns: Callable[[str], int] | None = None,
        on_given_up: Callable[[Task], None] = lambda _: None,
        on_overrun: TimeHook = lambda _, __: None,
        on_starved: TimeHook = lambda _, __: None,
        catch_up_max: int = 3,
        restarts_max: int = 3,
        forgive_s: float = 600.0,
        starve_s: float = 5.0,
        critical_starve_s: float = 1.0,
    ) -> None:
        self.host = host
        self.on_fault = on_fault
        self.on_given_up = on_given_up
        self.on_overrun = on_overrun
        self.on_starved = on_starved
        self.forgive_ns = ns(forgive_s)
        self.catch_up_max = catch_up_max
        self.restarts_max = restarts_max
        self.tasks: list[Task] = []
        self.refused = 0  # calls of `spawn`
        self.closed = False
        self.now_ns = host.now_ns
        self.started_ns = host.now_ns()
        # The step that runs, and when it began.
        self.running: Task | None = None
        self.step_ns = self.started_ns
        # Time, number, who, by when to be served; stale where the task has another number by now.
        self.alarms: list[tuple[int, int, Task, int]] = []
        self.number = 0
        self._cpu_ns = None if cpu_ns == host.now_ns else cpu_ns  # None: one clock serves as both, and is read once
        self._cpu_zero_ns = cpu_ns()  # what it showed at the start
        self._step_cost_ns = step_cost_ns
        self._starve_ns = (ns(starve_s), ns(critical_starve_s))
        self.ended = TaskStats()  # what the tasks that have ended had counted
        self._ready: list[tuple[int, int, int, Task]] = []  # by when to be served, order, since when, who
        # The host's calls that are pending, and their numbers: a turn, 0 for none; the alarm and when it is due.
        self._calls = 0
        self._asked = 0
        self._armed: Timer | None = None
        self._armed_ns = 0
        self._armed_number = 0
        self._in_turn = False
        self._free_ns = -1  # when a step that costs virtual time gives the processor back; -1 for none

    def spawn(
        self,
        name: str,
        body: Body,
        *,
        deadline_s: float = 1.0,
        budget_s: float = 0.05,
        critical: bool = False,
        starve_s: float | None = None,
    ) -> Task:
        """Start `body`; it has its first step at the loop's next turn.

        starve_s: None for the scheduler's. Raises SchedulerFull where TASKS_MAX tasks run already.
        """
        assert not self.closed, "spawn on a closed scheduler"
        if len(self.tasks) >= TASKS_MAX:
            self.refused += 1
            raise SchedulerFull(f"task {name} not started: {TASKS_MAX} tasks run, which is as many as there may be")
        starve_ns = self._starve_ns[critical] if starve_s is None else ns(starve_s)
        task = Task(self, name, body, ns(deadline_s), ns(budget_s), starve_ns, critical)
        self.tasks.append(task)
        self._ready_now(task)
        return task

    @property
    def up_cpu_ns(self) -> int:
        """Time since the start by the clock that steps are measured with: what a share of the processor is of."""
        return max(1, (self._cpu_ns or self.now_ns)() - self._cpu_zero_ns)

    def report(self) -> list[TaskReport]:
        """Every task that runs, in the order they were spawned."""
        up_ns = self.up_cpu_ns
        return [task._report(up_ns) for task in self.tasks]

    def critical_waits_ns(self) -> list[int]:
        """How long each critical task that is ready, or due, has been waiting for its turn."""
        now_ns = self.now_ns()
        ready = [now_ns - since_ns for _, _, since_ns, task in self._ready if task.critical]
        due = [
            now_ns - t_ns
            for t_ns, number, task, _ in self.alarms
            if t_ns <= now_ns and task.critical and task._alarm == number
        ]
        return ready + due

    def totals(self) -> TaskStats:
        """Sums over all tasks since the start, finished ones included: they never go back."""
        totals = TaskStats()
        totals.add(self.ended)
        for task in self.tasks:
            totals.add(task.stats)
        return totals

    def close(self) -> None:
        """End every task where it stands, running its clean-up. The node is going down."""
        self.closed = True
        self._ready.clear()
        self.alarms.clear()
        if self._armed is not None:
            self._armed.cancel()
        for task in self.tasks:
            task._forget_wait()
            # One that closes its own scheduler ends after the step it is in.
            if not task.finished.done and task is not self.running:
                task._step(ended=True)

    def _ready_now(self, task: Task) -> None:
        if not self.closed:
            now_ns = self.now_ns()
            self.number += 1
            heappush(self._ready, (now_ns + task._serve_ns, self.number, now_ns, task))
            if not self._in_turn:  # what becomes ready in a turn is run in it, or asks for the next one at its end
                self._ask_turn(now_ns)

    def _ask_turn(self, t_ns: int) -> None:
        """Have the host call at `t_ns`, unless that is asked for already."""
        if not self._asked:
            self._calls += 1
            self._asked = self._calls
            self.host.call_at(t_ns, partial(self._on_asked, self._calls))

    def _on_asked(self, number: int) -> None:
        if number == self._asked:
            self._asked = 0
        self._turn()

    def _arm(self) -> None:
        """Have the host call at the earliest alarm, or before it."""
        alarms = self.alarms
        if len(alarms) > _ALARMS_MAX:
            # Time-outs that were not needed pile up until their time: sweep them out.
            alarms[:] = [alarm for alarm in alarms if alarm[2]._alarm == alarm[1]]
            heapify(alarms)
        while alarms:
            t_ns, number, task, _ = alarms[0]
            if task._alarm == number:
                break
            heappop(alarms)
        else:
            return
        if self._armed is not None:
            if self._armed_ns <= t_ns:
                return
            self._armed.cancel()
        self._calls = number = self._calls + 1
        self._armed_ns, self._armed_number = t_ns, number
        self._armed = self.host.call_at(t_ns, partial(self._on_alarm, number))

    def _on_alarm(self, number: int) -> None:
        if number == self._armed_number:
            self._armed = None
        self._turn()

    def _turn(self) -> None:
        """Run what is ready, earliest deadline first, and what comes due meanwhile; then give the host its turn.

        A step begins at the time at which the one before it ended, so that everything in between is somebody's.
        """
        begin_ns = self.now_ns()
        ready, alarms = self._ready, self.alarms
        if begin_ns >= self._free_ns:
            self._free_ns = -1
            self._take_due(begin_ns)
            if ready:
                begin_ns = self._run_ready(begin_ns)
        if ready or self._free_ns > 0:
            self._ask_turn(max(begin_ns, self._free_ns))
        elif alarms:
            self._arm()
        assert self._asked or not (ready or (alarms and self._armed is None)), "a task is due and nothing will wake it"

    def _run_ready(self, begin_ns: int) -> int:
        """Run tasks for one turn's length; the time at which the last step ended."""
        now_ns, cpu_ns, step_cost_ns = self.now_ns, self._cpu_ns, self._step_cost_ns
        ready, alarms, last_ns = self._ready, self.alarms, begin_ns + _TURN_NS
        cpu_begin_ns = begin_ns if cpu_ns is None else cpu_ns()
        self._in_turn = True
        try:
            for _ in range(_STEPS_A_TURN):
                _, _, since_ns, task = heappop(ready)
                self.running, self.step_ns = task, begin_ns
                ended = task._step()
                end_ns = now_ns()
                cpu_end_ns = end_ns if cpu_ns is None else cpu_ns()
                took_ns = cpu_end_ns - cpu_begin_ns
                if step_cost_ns is not None and (cost_ns := step_cost_ns(task.name)) > 0:
                    # The processor is taken: no step of this node runs before then, while the host goes on.
                    self._free_ns = end_ns = last_ns = end_ns + cost_ns
                    took_ns += cost_ns
                self._account(task, begin_ns - since_ns, took_ns, end_ns)
                task._waits_since_ns = begin_ns = end_ns
                cpu_begin_ns = cpu_end_ns
                if ended or self.closed:
                    self._retire(task)
                if end_ns >= last_ns:
                    break
                if not ready:
                    if alarms and alarms[0][0] <= end_ns:
                        self._take_due(end_ns)
                    if not ready:
                        break
        finally:
            self.running = None
            self._in_turn = False
        return begin_ns

    def _take_due(self, now_ns: int) -> None:
        """Make ready whose alarm is due."""
        ready, alarms = self._ready, self.alarms
        while alarms and alarms[0][0] <= now_ns:
            since_ns, number, task, serve_by_ns = heappop(alarms)
            if task._alarm != number:
                continue
            task._alarm = 0
            if task._futures:
                task._forget_wait()
            if since_ns < task._waits_since_ns:  # it is late, but not for the time that it was at work itself
                since_ns = task._waits_since_ns
                serve_by_ns = max(serve_by_ns, since_ns)
            heappush(ready, (serve_by_ns, number, since_ns, task))

    def _account(self, task: Task, waited_ns: int, took_ns: int, end_ns: int) -> None:
        """Count a step that waited and took so long, and ended at `end_ns`."""
        stats = task.stats
        # Below a microsecond there is nothing to add, as for every step that virtual time gives for nothing.
        if took_ns < 1000:
            stats.step[0] += 1
        else:
            stats.count_step(took_ns)
            if took_ns > task._budget_ns:
                self._overrun(task, took_ns, end_ns)
        if waited_ns < 1000:
            stats.latency[0] += 1
        else:
            stats.count_wait(waited_ns)
            if waited_ns >= task._starve_ns:
                self._starved(task, waited_ns, end_ns)
        if task._finish_by_ns is not None:
            if end_ns > task._finish_by_ns:
                stats.late += 1
            task._finish_by_ns = None

    def _overrun(self, task: Task, took_ns: int, now_ns: int) -> None:
        task.stats.overruns += 1
        last_ns, task._overrun_ns = task._overrun_ns, now_ns
        if last_ns is None or now_ns - last_ns > self.forgive_ns:
            self.on_overrun(task, took_ns)

    def _starved(self, task: Task, waited_ns: int, now_ns: int) -> None:
        task.stats.starved += 1
        last_ns, task._starved_ns = task._starved_ns, now_ns
        if last_ns is None or now_ns - last_ns > self.forgive_ns:
            self.on_starved(task, waited_ns)

    def _retire(self, task: Task) -> None:
        """Forget a task that has finished, or that has closed its own scheduler, but not what it did."""
        if not task.finished.done:
            task._forget_wait()
            task._step(ended=True)
        self.tasks.remove(task)
        self.ended.add(task.stats)
