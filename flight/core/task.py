"""A task: a coroutine that waits for time and for futures, and the ticks of a periodic one.

At any moment a task is in one of these states:

    ready      in the scheduler's queue, or running its present step (`Dispatcher.running`)
    waiting    for a time (`alarm` is the number of its alarm), for one of `futures`, or for whichever comes first
    finished   the body has ended; `finished` is done

    ready   --the body awaits---------------------------> waiting
    waiting --its time, one of its futures, a cancel----> ready
    ready   --the body ends, or Cancelled leaves it-----> finished
    ready   --an error leaves it, and it may restart----> ready, with a new coroutine of the same body
    ready   --an error leaves it, and it may not--------> finished

Ticks are absolute indices from the task's start: a tick is due at start + phase + index * period, whatever happened
before it. A task that comes late replays at most `catch_up_max` missed ticks and skips the others. Skipped ticks are
counted, and so are ticks finished after their deadline.
"""

# One rule keeps waits simple: whatever ends a wait takes back everything else that could end it. `forget_wait` sets
# `alarm` to 0, so that an alarm still on the scheduler's heap is stale, and takes the callback off every future. So no
# wait leaves anything behind, and a future that many time-outs have passed by does not collect callbacks.
#
# Why absolute ticks and not `sleep(period)`: a sleep adds the length of the work to each period, so the task drifts,
# and nobody could count what was missed. With an absolute index a late start shows as lateness of that tick alone.
#
# Why catching up is bounded: after a long stall a task would replay hundreds of ticks in a row, each of which has
# nothing new to see, and would keep others waiting once more. A few are replayed, so that a task that counts its ticks
# loses none in a short stall.
#
# A deadline is judged at the end of the step in which the body asks for its next tick: by then the work of the tick
# before is finished.
#
# A restart makes a new coroutine of the same body. Nothing of the old one is kept, because nobody knows in what state
# the exception left it.
#
# A task knows of its scheduler only what `Dispatcher` says. What the scheduler keeps about a task stands on the task
# under public names, which is quicker than a table of the scheduler's by task; a body has no business with these.

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from types import coroutine
from typing import Any, Protocol, cast

from flight.core.errors import PASSES_THROUGH, MisuseError
from flight.core.future import Cancelled, Event, Future
from flight.core.nanoseconds import ns
from flight.core.task_stats import TaskReport, TaskStats, Tick


class Dispatcher(Protocol):
    """What a task asks of the scheduler that runs it."""

    catch_up_max: int  # missed ticks that are replayed
    running: Task | None  # the task whose step it is
    step_ns: int  # when that step began

    def now_ns(self) -> int:
        """Return the time of the host, in nanoseconds."""

    def make_ready(self, task: Task) -> None:
        """Give `task` a step in the order of its deadline."""

    def wake_at(self, t_ns: int, task: Task, serve_by_ns: int) -> int:
        """Make `task` ready at `t_ns`, to be served by `serve_by_ns`; return the number of that alarm.

        The alarm is void once the task's `alarm` is another number.
        """

    def judge_failure(self, task: Task, error: BaseException) -> bool:
        """Report an error that left the body; return True if the body is to be started again."""


Body = Callable[["Task"], Coroutine[Any, Any, None]]


class Task:
    """A running body. `Scheduler.spawn` makes it, and the body gets it as its only argument.

    For the scheduler: `alarm` is the number of the alarm that ends the wait, 0 for none; `futures` are those that end
    it. `serve_ns` is how soon after it became ready the task is to be served, `waits_since_ns` when its last step
    ended, `finish_by_ns` the deadline of the tick whose work ends with the present step. `failed_ns`, `overrun_ns` and
    `starved_ns` are when that last happened, since it is reported only once in a while.
    """

    __slots__ = (
        "_body", "_coroutine", "_dispatcher", "_period_ns", "_thrown", "alarm", "budget_ns", "cancelled", "critical",
        "deadline_ns", "failed_ns", "failures_in_a_row", "finish_by_ns", "finished", "futures", "name", "overrun_ns",
        "serve_ns", "starve_ns", "starved_ns", "stats", "waits_since_ns",
    )  # fmt: skip

    def __init__(
        self,
        dispatcher: Dispatcher,
        name: str,
        body: Body,
        *,
        deadline_ns: int,
        budget_ns: int,
        starve_ns: int,
        critical: bool,
    ) -> None:
        self.name = name
        self.critical = critical
        self.deadline_ns = deadline_ns
        self.budget_ns = budget_ns
        self.starve_ns = starve_ns
        # A deadline beyond `starve_ns` does not count: see "nobody starves" in flight/core/scheduler.py.
        self.serve_ns = min(deadline_ns, starve_ns)
        self.stats = TaskStats()
        self.finished: Future[None] = Future()
        self.cancelled = False
        self.alarm = 0
        self.futures: Sequence[Future[Any]] = ()
        self.waits_since_ns = 0
        self.finish_by_ns: int | None = None
        self.failures_in_a_row = 0
        self.failed_ns = 0
        self.overrun_ns: int | None = None
        self.starved_ns: int | None = None
        self._dispatcher = dispatcher
        self._body = body
        self._period_ns = 0
        self._coroutine = body(self)
        self._thrown: BaseException | None = None  # thrown into the body at its next step

    # For the body, and for those who hold the task

    def every(
        self, period_s: float, *, phase_s: float = 0.0, deadline_s: float | None = None, stop: Event | None = None
    ) -> AsyncIterator[Tick]:
        """Tick at absolute multiples of the period, until `stop` is set.

        Without `deadline_s` the task's own deadline holds for each tick. Raises MisuseError if `period_s` is not above
        0.
        """
        self._period_ns = ns(period_s)
        if self._period_ns <= 0:
            raise MisuseError(f"task {self.name}: period of {period_s:g} s, should be more than 0")
        deadline_ns = self.deadline_ns if deadline_s is None else ns(deadline_s)
        first_ns = self._dispatcher.now_ns() + ns(phase_s)
        return Ticks(self, self._dispatcher, first_ns, self._period_ns, deadline_ns, stop)

    async def sleep(self, duration_s: float) -> None:
        """Wait for that long. If it is 0 or less, other tasks that are ready still get their turn first."""
        await self._pause(self._dispatcher.now_ns() + ns(duration_s))

    async def wait(self, future: Future[Any], timeout_s: float) -> bool:
        """Wait for `future`; return True when it is done, False if `timeout_s` passed first."""
        if not future.done:
            await self._pause(self._dispatcher.now_ns() + ns(timeout_s), (future,))
        return future.done

    async def first(self, futures: Sequence[Future[Any]], timeout_s: float | None = None) -> int | None:
        """Wait until one of `futures` is done; return its index, the lowest one if several are done.

        Returns None if `timeout_s` passed first; without it there is no limit. Raises MisuseError for no futures at
        all.
        """
        if not futures:
            raise MisuseError(f"task {self.name}: waits for the first of 0 futures, should be 1 at least")
        done = _first_done(futures)
        if done is None:
            limit_ns = None if timeout_s is None else self._dispatcher.now_ns() + ns(timeout_s)
            await self._pause(limit_ns, futures)
            done = _first_done(futures)
        return done

    def cancel(self) -> None:
        """Throw Cancelled into the body at its next step; `finished` is done after its clean-up has run.

        A cancelled task is never restarted. Its clean-up may await, and a second cancel interrupts that as well.
        """
        if self.finished.done:
            return
        self.cancelled = True
        self._thrown = Cancelled()
        if self.waiting:
            self._wake()

    @property
    def waiting(self) -> bool:
        """Whether it waits, so that it neither runs nor is ready to run."""
        return bool(self.alarm or self.futures)

    # Waiting

    @coroutine
    def _pause(self, until_ns: int | None, futures: Sequence[Future[Any]] = ()) -> Generator[Task, None, None]:
        """Wait for the time, or for one of the futures, none of them done."""
        self.begin_wait(until_ns, self.serve_ns, futures)
        yield self

    def begin_wait(self, until_ns: int | None, serve_ns: int, futures: Sequence[Future[Any]] = ()) -> None:
        """Wait from the next `yield` on: for the time, then to be served within `serve_ns`, or for the futures.

        Raises MisuseError if another task than this one is running.
        """
        dispatcher = self._dispatcher
        if dispatcher.running is not self:
            raise MisuseError(f"task {self.name} is made to wait by another task; a task waits only for itself")
        if self._thrown is not None:  # it has cancelled itself: the exception comes in place of the wait
            thrown, self._thrown = self._thrown, None
            raise thrown
        if until_ns is not None:
            self.alarm = dispatcher.wake_at(until_ns, self, until_ns + serve_ns)
        if futures:
            self._wait_for(futures)

    def forget_wait(self) -> None:
        """Take back everything that could end the wait."""
        self.alarm = 0
        futures, self.futures = self.futures, ()
        for future in futures:
            future.remove_callback(self._on_future)

    def _wait_for(self, futures: Sequence[Future[Any]]) -> None:
        self.futures = futures
        for future in futures:
            future.add_callback(self._on_future)

    def _await(self, awaited: object) -> None:
        """Wait for what the body awaits, if that is not one of the task's own waits."""
        if not isinstance(awaited, Future):  # such as an awaitable of asyncio, which nobody here could resolve
            self._thrown = TypeError(f"a task awaits only futures of this scheduler, not {type(awaited).__name__}")
        if self._thrown is None:
            self._wait_for((cast("Future[Any]", awaited),))
        else:
            self._dispatcher.make_ready(self)

    def _on_future(self, _: Future[Any]) -> None:
        # Empty if an earlier callback of this very future has ended the wait already.
        if self.futures:
            self._wake()

    def _wake(self) -> None:
        self.forget_wait()
        self._dispatcher.make_ready(self)

    # For the scheduler

    def step(self, ended: bool = False) -> bool:
        """Run the body until it waits, ends or fails; return True if it ended. `ended` closes it without a step."""
        try:
            if self._thrown is None and not ended:
                awaited = self._coroutine.send(None)
            elif ended:
                self._coroutine.close()
            else:
                thrown, self._thrown = self._thrown, None
                awaited = self._coroutine.throw(cast("BaseException", thrown))
        except (StopIteration, Cancelled):
            ended = True
        # The one place where every fault of a task ends, also the SystemExit of a library that would end the program.
        # So does the SystemExit of a second signal that cuts a step short (flight/linux): the first signal has told the
        # loop to stop already.
        except PASSES_THROUGH:
            raise
        except BaseException as error:  # noqa: BLE001 - a task may raise anything, and the others go on
            if self._dispatcher.judge_failure(self, error):
                self._restart()
                return False
            ended = True
        if ended:
            self.finished.set_result(None)
        elif awaited is not self:  # a wait of the task's own yields the task: begin_wait has entered it already
            self._await(awaited)
        return ended

    def report(self, up_ns: int) -> TaskReport:
        """Return what telemetry shows of it, `up_ns` after the scheduler's start by the clock that measures steps."""
        return TaskReport.of(
            self.stats,
            up_ns,
            name=self.name,
            state="finished" if self.finished.done else "waiting" if self.waiting else "ready",
            critical=self.critical,
            period_ns=self._period_ns,
            deadline_ns=self.deadline_ns,
            budget_ns=self.budget_ns,
        )

    def _restart(self) -> None:
        self.stats.restarts += 1
        # What was to be thrown was meant for the coroutine that has ended.
        self._thrown = None
        self._coroutine = self._body(self)
        self._dispatcher.make_ready(self)


class Ticks:
    """The ticks of one `Task.every`. An asynchronous generator would take twice as long per tick."""

    __slots__ = (
        "_deadline_ns", "_dispatcher", "_due_ns", "_finish_by_ns", "_index", "_period_ns", "_serve_ns", "_stop",
        "_task",
    )  # fmt: skip

    def __init__(
        self,
        task: Task,
        dispatcher: Dispatcher,
        first_ns: int,
        period_ns: int,
        deadline_ns: int,
        stop: Event | None,
    ) -> None:
        self._task = task
        self._dispatcher = dispatcher
        self._due_ns = first_ns
        self._period_ns = period_ns
        self._deadline_ns = deadline_ns
        self._serve_ns = min(deadline_ns, task.starve_ns)
        self._stop = stop
        self._index = 0
        self._finish_by_ns: int | None = None  # deadline of the tick that the body is working on

    def __aiter__(self) -> Ticks:
        return self

    @coroutine
    def __anext__(self) -> Generator[Task, None, Tick]:
        task, stop, due_ns = self._task, self._stop, self._due_ns
        # Whoever asks for the next tick has finished the one before: the scheduler compares when this step ends.
        task.finish_by_ns = self._finish_by_ns
        if stop is None:
            task.begin_wait(due_ns, self._serve_ns)
            yield task
        else:
            stopped = stop.wait()  # the future, not the flag: an event that is set and cleared at once has been set
            if not stopped.done:
                task.begin_wait(due_ns, self._serve_ns, (stopped,))
                yield task
            if stopped.done:
                raise StopAsyncIteration
        index, period_ns, stats = self._index, self._period_ns, task.stats
        # Late by how much the step that serves the tick began after its time; the clock is not read again for it.
        late_ns, skipped = self._dispatcher.step_ns - due_ns, 0
        if late_ns >= period_ns:
            skipped = max(0, late_ns // period_ns - self._dispatcher.catch_up_max)
            due_ns, index, late_ns = due_ns + skipped * period_ns, index + skipped, late_ns - skipped * period_ns
            stats.skipped += skipped
        stats.ticks += 1
        self._finish_by_ns, self._due_ns, self._index = due_ns + self._deadline_ns, due_ns + period_ns, index + 1
        return tuple.__new__(Tick, (index, due_ns, late_ns, skipped))  # half the time of Tick(...)


def _first_done(futures: Sequence[Future[Any]]) -> int | None:
    for index, future in enumerate(futures):
        if future.done:
            return index
    return None


def text_of(error: BaseException) -> str:
    """Return kind and text of a task's fault, or the kind alone if its text cannot be had."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the text is made by foreign code as well, and may fail like the task
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
