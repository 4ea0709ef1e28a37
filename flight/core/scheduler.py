"""The cooperative scheduler: coroutine tasks, earliest absolute deadline first.

A task is a coroutine with a name, a relative deadline and a time budget. It waits only for time and for futures
(events, queues, storage, external work, the end of other tasks). Whatever it waits for makes it ready; among ready
tasks the one with the earliest absolute deadline runs next, until it waits again. Nothing is preempted. Of two tasks
with the same deadline the one that became ready first runs first. States, waits and ticks: flight/core/task.py.

Callers may rely on four things. Nothing that is due is forgotten. Nobody starves: see below. A task that fails is
reported, and restarted up to `restarts_max` times in a row. Every step over its budget, every late or skipped tick and
every long wait is counted.
"""

# Order. Each ready task stands on a heap by the time by which it is to be served. A deadline further away than the
# task's `starve_s` counts as `starve_s` away. If a tick's deadline passed while the task was still in an earlier step,
# the end of that step counts in its place: a task that is behind does not overtake for that. So whatever becomes
# ready more than `starve_s` after a task runs after it: from then on that task waits for at most one step of each task
# that was ready before. Pure earliest-deadline-first lacks this bound: under overload a slow task waits for ever.
#
# Turns. The scheduler runs only when its host calls it; flight/core/pending_calls.py holds what it has asked for. A
# turn runs ready tasks, and tasks that come due meanwhile, until none is ready or until _STEPS_PER_TURN steps or
# _TURN_NS have passed. Then the host has its turn: it reads descriptors and takes signals, which no task may delay for
# long. Every turn ends with this invariant:
#
#     tasks are ready, or the processor is taken for a while     a turn is pending
#     else tasks wait for a time                                 the alarm is armed for the earliest, or before it
#     else                                                       nothing is due, ever: only an event can wake a task
#
# Clocks. Two are read and never mixed. The host's (`now_ns`) says what is due, how late it is, and how long a task
# waited. The processor's (`cpu_ns`) says how long a step took and which share of the time a task had. In virtual time
# a step takes what `step_cost_ns` says, and the host's time goes on while it "runs".
#
# Failures. An exception that leaves a body is counted and reported. The body is restarted while it has failed at most
# `restarts_max` times with less than `forgive_s` between one failure and the next; a good stretch of `forgive_s` clears
# the count. Then the task is given up: the node ends if it is critical (flight/node.py), and goes on without it if not.
#
# Watchdog. The scheduler does not stroke it. A task of the node does (flight/services/health/watchdog.py), and looks at
# `critical_waits_ns` first: so a stroke says that turns happen, that alarms come, and that no critical task is waiting
# for longer than it may (ADR 0017).

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from flight.core.errors import MisuseError, OrbitnodeError
from flight.core.nanoseconds import ns
from flight.core.pending_calls import PendingCalls
from flight.core.task import Body, Task
from flight.core.task_stats import TaskReport, TaskStats
from hal.base import Timeline

TASKS_MAX = 256

# The host's own calls, input and output among them, get their turn after this many steps and after this long.
_STEPS_PER_TURN = 64
_TURN_NS = 1_000_000
_ALARMS_MAX = 4 * TASKS_MAX  # one per task, and three times as many stale ones before they are swept out


class SchedulerFull(OrbitnodeError):
    """The scheduler runs as many tasks as it holds, so that another one cannot be started."""


FaultHook = Callable[[Task, BaseException], None]
TimeHook = Callable[[Task, int], None]


class Scheduler:
    """Runs the tasks of one node on its host's timeline.

    cpu_ns: a clock for the length of steps; only its differences are used. step_cost_ns: what a step of the named task
    costs beside that, for virtual time, in which computing takes none. The cost counts as the step's length, and the
    next step starts that much later.

    on_fault is called for every exception that left a body, and on_given_up for a task that failed more than
    `restarts_max` times with less than `forgive_s` between one failure and the next. on_overrun is called for a step
    over its budget, on_starved for a step that waited `starve_s` or longer for its turn (`critical_starve_s` for
    critical tasks), each with the nanoseconds that it took or waited. They are called once per task, and again after
    `forgive_s` without another; the task's counters have them all.
    """

    def __init__(  # noqa: PLR0913 - settings, each by name
        self,
        host: Timeline,
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
        self.catch_up_max = catch_up_max
        self.tasks: list[Task] = []
        self.refused = 0  # calls of `spawn` that found no room
        self.closed = False
        self.now_ns = host.now_ns
        self.started_ns = host.now_ns()
        # The task whose step it is, and when that step began.
        self.running: Task | None = None
        self.step_ns = self.started_ns
        # A heap of (time, number, task, by when to be served); stale if the task has another number by now.
        self.alarms: list[tuple[int, int, Task, int]] = []
        self.ended = TaskStats()  # what the tasks that have ended had counted
        # A heap of (by when to be served, number, since when ready, task). Numbers make ties fair, and keep the heap
        # from comparing tasks.
        self._ready: list[tuple[int, int, int, Task]] = []
        self._number = 0  # of the newest alarm or place among ready tasks
        self._on_fault = on_fault
        self._on_given_up = on_given_up
        self._on_overrun = on_overrun
        self._on_starved = on_starved
        self._forgive_ns = ns(forgive_s)
        self._restarts_max = restarts_max
        self._cpu_ns = None if cpu_ns == host.now_ns else cpu_ns  # None: one clock serves as both, and is read once
        self._cpu_zero_ns = cpu_ns()  # what that clock showed at the start
        self._step_cost_ns = step_cost_ns
        self._starve_ns = (ns(starve_s), ns(critical_starve_s))
        self._calls = PendingCalls(host, self._turn)
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
        """Start `body`, which has its first step in the next turn, and return its task.

        starve_s: None for the scheduler's. Raises SchedulerFull if TASKS_MAX tasks run already, MisuseError once the
        scheduler is closed.
        """
        if self.closed:
            raise MisuseError(f"task {name} not started: the scheduler is closed, the node is going down")
        if len(self.tasks) >= TASKS_MAX:
            self.refused += 1
            raise SchedulerFull(f"task {name} not started: {TASKS_MAX} tasks run, there may be no more")
        starve_ns = self._starve_ns[critical] if starve_s is None else ns(starve_s)
        task = Task(
            self, name, body, deadline_ns=ns(deadline_s), budget_ns=ns(budget_s), starve_ns=starve_ns, critical=critical
        )
        self.tasks.append(task)
        self.make_ready(task)
        return task

    @property
    def up_cpu_ns(self) -> int:
        """Nanoseconds since the start by the clock that measures steps: shares of the processor are shares of this."""
        return max(1, (self._cpu_ns or self.now_ns)() - self._cpu_zero_ns)

    def report(self) -> list[TaskReport]:
        """Return a report of every task that has not ended, in the order in which they were spawned."""
        up_ns = self.up_cpu_ns
        return [task.report(up_ns) for task in self.tasks]

    def critical_waits_ns(self) -> list[int]:
        """Return how long each critical task that is ready, or due, has been waiting for its turn."""
        now_ns = self.now_ns()
        ready = [now_ns - since_ns for _, _, since_ns, task in self._ready if task.critical]
        # Due, but not moved to the ready tasks yet: this may be asked in the middle of a turn.
        due = [
            now_ns - t_ns
            for t_ns, number, task, _ in self.alarms
            if t_ns <= now_ns and task.critical and task.alarm == number
        ]
        return ready + due

    def totals(self) -> TaskStats:
        """Return sums over all tasks since the start, ended ones included, so that the sums never go back."""
        totals = TaskStats()
        totals.add(self.ended)
        for task in self.tasks:
            totals.add(task.stats)
        return totals

    def close(self) -> None:
        """End every task at the point that it has reached, and run its clean-up. The node is going down."""
        self.closed = True
        self._ready.clear()
        self.alarms.clear()
        self._calls.disarm()
        for task in self.tasks:
            task.forget_wait()
            # A task that closes its own scheduler ends after the step that it is in.
            if not task.finished.done and task is not self.running:
                task.step(ended=True)

    # What tasks ask (flight.core.task.Dispatcher)

    def make_ready(self, task: Task) -> None:
        """Give `task` a step in the order of its deadline. Nothing happens if the scheduler is closed."""
        if not self.closed:
            now_ns = self.now_ns()
            self._number += 1
            heappush(self._ready, (now_ns + task.serve_ns, self._number, now_ns, task))
            # A task that becomes ready within a turn is run in that turn, or the turn asks for the next one as it ends.
            if not self._in_turn:
                self._calls.ask_turn(now_ns)

    def wake_at(self, t_ns: int, task: Task, serve_by_ns: int) -> int:
        """Make `task` ready at `t_ns`, to be served by `serve_by_ns`; return the number of that alarm.

        The alarm is void once the task's `alarm` is another number. The host is asked at the end of the turn.
        """
        self._number = number = self._number + 1
        heappush(self.alarms, (t_ns, number, task, serve_by_ns))
        return number

    def judge_failure(self, task: Task, error: BaseException) -> bool:
        """Report an error that left the body; return True if the body is to be started again.

        It is while restarts remain, all of which a good stretch of `forgive_s` brings back.
        """
        task.stats.failures += 1
        now_ns = self.now_ns()
        self._on_fault(task, error)
        if now_ns - task.failed_ns > self._forgive_ns:
            task.failures_in_a_row = 0
        task.failed_ns = now_ns
        task.failures_in_a_row += 1
        if task.cancelled or self.closed:
            return False
        if task.failures_in_a_row > self._restarts_max:
            self._on_given_up(task)
            return False
        return True

    # Turns

    def _turn(self) -> None:
        """Run what is ready, earliest deadline first, and what comes due meanwhile; then give the host its turn."""
        begin_ns = self.now_ns()
        ready, alarms = self._ready, self.alarms
        if begin_ns >= self._free_ns:  # else a step in virtual time still has the processor
            self._free_ns = -1
            self._take_due(begin_ns)
            if ready:
                begin_ns = self._run_ready(begin_ns)
        if ready or self._free_ns > 0:
            self._calls.ask_turn(max(begin_ns, self._free_ns))
        elif alarms:
            self._arm()
        calls = self._calls
        assert calls.turn_asked or not (ready or (alarms and not calls.armed)), "a task is due and nothing will wake it"

    def _arm(self) -> None:
        """Have the host call at the earliest alarm, or before it."""
        alarms = self.alarms
        if len(alarms) > _ALARMS_MAX:
            # Time-outs that were not needed stay on the heap until their time: sweep them out.
            alarms[:] = [alarm for alarm in alarms if alarm[2].alarm == alarm[1]]
            heapify(alarms)
        while alarms:
            t_ns, number, task, _ = alarms[0]
            if task.alarm == number:
                self._calls.arm(t_ns)
                return
            heappop(alarms)

    def _run_ready(self, begin_ns: int) -> int:
        """Run tasks for the length of one turn; return the time at which the last step ended.

        A step begins at the time at which the one before it ended, so that the time in between belongs to somebody.
        """
        # Looked up once per turn: this loop is the node's hottest path.
        now_ns, cpu_ns, step_cost_ns = self.now_ns, self._cpu_ns, self._step_cost_ns
        ready, alarms, last_ns = self._ready, self.alarms, begin_ns + _TURN_NS
        cpu_begin_ns = begin_ns if cpu_ns is None else cpu_ns()
        self._in_turn = True
        try:
            for _ in range(_STEPS_PER_TURN):
                _, _, since_ns, task = heappop(ready)
                self.running, self.step_ns = task, begin_ns
                ended = task.step()
                end_ns = now_ns()
                cpu_end_ns = end_ns if cpu_ns is None else cpu_ns()
                took_ns = cpu_end_ns - cpu_begin_ns
                if step_cost_ns is not None and (cost_ns := step_cost_ns(task.name)) > 0:
                    # The processor is taken: no step of this node runs before `_free_ns`, while the host goes on. This
                    # ends the turn, as `end_ns` reaches `last_ns`.
                    self._free_ns = end_ns = last_ns = end_ns + cost_ns
                    took_ns += cost_ns
                self._account(task, begin_ns - since_ns, took_ns, end_ns)
                task.waits_since_ns = begin_ns = end_ns
                cpu_begin_ns = cpu_end_ns
                if ended or self.closed:
                    self._retire(task)
                if end_ns >= last_ns:
                    break
                if not ready:
                    # What comes due while tasks are ready waits until none is, or for the next turn.
                    if alarms and alarms[0][0] <= end_ns:
                        self._take_due(end_ns)
                    if not ready:
                        break
        finally:
            self.running = None
            self._in_turn = False
        return begin_ns

    def _take_due(self, now_ns: int) -> None:
        """Make every task ready whose alarm is due."""
        ready, alarms = self._ready, self.alarms
        while alarms and alarms[0][0] <= now_ns:
            since_ns, number, task, serve_by_ns = heappop(alarms)
            if task.alarm != number:
                continue  # stale: something else ended that wait
            task.alarm = 0
            if task.futures:
                task.forget_wait()
            # A task whose own step took longer than its period did not wait for its turn during that step.
            if since_ns < task.waits_since_ns:
                since_ns = task.waits_since_ns
                serve_by_ns = max(serve_by_ns, since_ns)
            heappush(ready, (serve_by_ns, number, since_ns, task))

    def _account(self, task: Task, waited_ns: int, took_ns: int, end_ns: int) -> None:
        """Count a step that waited and took that long, and ended at `end_ns`."""
        stats = task.stats
        # Below a microsecond only the histogram counts: every step of virtual time without a CPU profile is such a one.
        if took_ns < 1000:
            stats.step[0] += 1
        else:
            stats.count_step(took_ns)
            if took_ns > task.budget_ns:
                self._overrun(task, took_ns, end_ns)
        if waited_ns < 1000:
            stats.latency[0] += 1
        else:
            stats.count_wait(waited_ns)
            if waited_ns >= task.starve_ns:
                self._starved(task, waited_ns, end_ns)
        if task.finish_by_ns is not None:
            if end_ns > task.finish_by_ns:
                stats.late += 1
            task.finish_by_ns = None

    def _overrun(self, task: Task, took_ns: int, now_ns: int) -> None:
        task.stats.overruns += 1
        last_ns, task.overrun_ns = task.overrun_ns, now_ns
        if last_ns is None or now_ns - last_ns > self._forgive_ns:
            self._on_overrun(task, took_ns)

    def _starved(self, task: Task, waited_ns: int, now_ns: int) -> None:
        task.stats.starved += 1
        last_ns, task.starved_ns = task.starved_ns, now_ns
        if last_ns is None or now_ns - last_ns > self._forgive_ns:
            self._on_starved(task, waited_ns)

    def _retire(self, task: Task) -> None:
        """Forget a task that has finished, or that has closed its own scheduler, but keep its counters."""
        if not task.finished.done:
            task.forget_wait()
            task.step(ended=True)
        self.tasks.remove(task)
        self.ended.add(task.stats)
