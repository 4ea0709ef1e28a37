"""Execution of telecommands: their handlers, one after the other, within limits of time.

A handler that returns is through at once. One that is a coroutine runs as a task of its own; if its command is durable,
it is stored as open first. One that is a generator has much to do and nothing to wait for: it is executed in slices,
others having their turn between them, and is otherwise as one that is through at once. What is stored and reported of
each: flight/services/commanding/outcomes.py.

The next command waits for the disk no longer than `store_limit_s`; the reports come whenever the disk answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import TracebackType

from flight.contract.app import CommandRefused, Durable, Slices
from flight.contract.failures import Failure
from flight.core.errors import PASSES_THROUGH, StorageError
from flight.core.future import Cancelled, Future
from flight.core.nanoseconds import ns
from flight.core.scheduler import Scheduler, SchedulerFull
from flight.core.task import Task
from flight.services.commanding.command_counts import CommandCounts
from flight.services.commanding.command_lane import Lane
from flight.services.commanding.handler_table import Telecommand
from flight.services.commanding.outcomes import Outcomes
from flight.services.commanding.verification import NONE
from flight.services.reporting.events import Events
from flight.services.reporting.telemetry import HOLD_S
from flight.store.vault import Changes
from hal.base import HalError

_IN_A_STEP = 8  # commands
_FAULT = "the executing task failed, an event says how"


class _OnFault:
    """Calls `call` if the block raises an error, unless that ends the node or the task that executes."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is not None and not issubclass(kind, (*PASSES_THROUGH, Cancelled, GeneratorExit)):
            self._call()


class Execution:
    """Runs handlers. store_limit_s: wait for the disk before the next command has its turn; limit_s: a handler that
    takes longer is cancelled.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        outcomes: Outcomes,
        events: Events,
        counts: CommandCounts,
        store_limit_s: float,
        limit_s: float,
    ) -> None:
        self._scheduler = scheduler
        self._outcomes = outcomes
        self._events = events
        self._counts = counts
        self._store_limit_s = store_limit_s
        self._limit_s = limit_s
        self._slow = False  # the disk, and it was told

    async def serve(self, task: Task, lane: Lane) -> None:
        """Execute what comes into `lane`, in order, for ever."""
        in_a_row = 0
        while True:
            tc = await lane.queue.get()
            await self.execute(task, tc)
            in_a_row = in_a_row + 1 if len(lane.queue) else 0
            if in_a_row and (tc.sliced or in_a_row == _IN_A_STEP):
                in_a_row = 0
                await task.sleep(0)  # none of them may have waited for anything

    async def perform(self, task: Task, tc: Telecommand, changes: Changes) -> None:
        """Execute a command that was held, once `changes` and its being open are stored in one transaction, which takes
        as long as it takes. Raises StorageError if it is not stored.
        """
        opened = self._outcomes.store_open(tc, changes)
        try:
            while not await task.wait(opened, self._store_limit_s):
                self._tell_slow(tc)
            opened.result()
        except StorageError:
            self._outcomes.forget_open(tc)
            raise
        self._counts.received += 1
        self._counts.waiting += 1
        self._outcomes.accept_open(tc)
        await self.execute(task, tc)

    async def execute(self, task: Task, tc: Telecommand) -> None:
        """Run the handler and see to the reports."""
        durable = tc.served.command.durable
        if not durable and not tc.opened:
            self._outcomes.start(tc)
        kept, code, detail = Durable(), NONE, ""
        # A fault goes on to the scheduler; the sender hears of it before the task starts anew.
        with _OnFault(lambda: self._outcomes.end(tc, Durable(), Failure.UNFINISHED, _FAULT)):
            try:
                outcome = tc.served.execute(*tc.arguments)
                if isinstance(outcome, Awaitable):
                    if durable and not tc.opened and not await self._open(task, tc):
                        _abandon(outcome)
                        return
                    outcome = await self._finish(task, tc, outcome)
                elif isinstance(outcome, Generator):
                    tc.sliced = True
                    outcome = await self._in_slices(task, outcome)
                kept = tc.served.kept(outcome)
            except CommandRefused as refusal:
                code, detail = refusal.code, str(refusal)
            except HalError as error:
                code, detail = Failure.DEVICE, str(error)
            except StorageError as error:
                code, detail = Failure.STORAGE, str(error)
        waits = (durable or tc.opened) and not tc.served.command.urgent
        self._outcomes.end(tc, kept, code, detail, waited_for=waits)
        if waits:
            await self._wait_for_disk(task, tc)

    async def _open(self, task: Task, tc: Telecommand) -> bool:
        """Store a command that takes its time as open; False, reported, if the disk does not do it in its time."""
        try:
            opened = self._outcomes.store_open(tc, {})
        except StorageError as error:
            self._outcomes.refuse_unstored(tc, str(error))
            return False
        if not await task.wait(opened, self._store_limit_s):
            self._tell_slow(tc)
            self._outcomes.refuse_overdue(tc)
            return False
        try:
            opened.result()
        except StorageError as error:
            self._outcomes.leave_unknown(tc, str(error), Failure.STORAGE)
            return False
        self._outcomes.accept_open(tc)
        return True

    async def _in_slices(self, task: Task, work: Slices) -> Durable | None:
        """Run a handler's slices, a step each. Raises as the handler does."""
        end_ns = self._scheduler.now_ns() + ns(self._limit_s)
        while True:
            try:
                next(work)
            except StopIteration as end:
                outcome: Durable | None = end.value
                return outcome
            if self._scheduler.now_ns() > end_ns:
                work.close()
                raise CommandRefused(Failure.UNFINISHED, f"not done within {self._limit_s:g} s, cancelled")
            await task.sleep(0)

    async def _finish(self, task: Task, tc: Telecommand, work: Awaitable[Durable | None]) -> Durable | None:
        """Run what a handler goes on with as a task of its own, which ends at the limit. Raises as the handler does."""
        result: Future[Durable | None] = Future()
        unstarted = [work]

        async def body(_: Task) -> None:
            if not unstarted:
                return  # it failed: a task is started anew, a handler is not
            with _OnFault(lambda: result.set_error(CommandRefused(Failure.UNFINISHED, _FAULT))):
                try:
                    result.set_result(await unstarted.pop())
                except (CommandRefused, HalError, StorageError) as error:
                    result.set_error(error)

        try:
            worker = self._scheduler.spawn(f"command.{tc.name}", body, deadline_s=0.1)
        except SchedulerFull as full:
            _abandon(work)
            raise CommandRefused(Failure.UNFINISHED, str(full)) from None
        if not await task.wait(result, self._limit_s):
            worker.cancel()
            raise CommandRefused(Failure.UNFINISHED, f"not done within {self._limit_s:g} s, cancelled")
        return result.result()

    async def _wait_for_disk(self, task: Task, tc: Telecommand) -> None:
        """The next command has its turn when this one is closed, or the disk has had its time. Other telemetry waits
        for its reports a part of that.
        """
        hold_s = min(HOLD_S, self._store_limit_s)
        if not await task.wait(tc.closed, hold_s):
            self._outcomes.let_go(tc)
        if await task.wait(tc.closed, self._store_limit_s - hold_s):
            self._slow = False
        else:
            self._tell_slow(tc)

    def _tell_slow(self, tc: Telecommand) -> None:
        if not self._slow:
            self._slow = True
            self._events.emit("storage_slow", tc.name, self._store_limit_s)


def _abandon(work: Awaitable[object]) -> None:
    if isinstance(work, Coroutine):
        work.close()
