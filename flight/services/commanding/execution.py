"""Execution of telecommands: their handlers, one after the other per lane, within limits of time.

A handler has one of three forms (flight.contract.app.CommandTable):

    it returns                  it is through at once
    it returns a coroutine      runs as a task of its own; if the command is durable, it is stored as open before
    it returns a generator      has much to do and nothing to wait for: one slice per step, others in between

What is stored and reported of each form: flight/services/commanding/outcomes.py.
"""

# Two limits keep a lane moving. A handler that takes longer than `limit_s` is cancelled. The next command waits for the
# disk no longer than `store_limit_s`: a disk that hangs costs a lane some seconds per command, never the lane itself.
# The reports still come whenever the disk answers.
#
# Why a coroutine is stored as open first and a generator is not: a coroutine waits, so the power may go in the middle
# of what it does, and the row is what tells the next boot that it was cut short. A generator changes nothing before its
# end: its changes are in the one transaction that also ends the command, as for a handler that is through at once.
#
# A task that fails is started again by the scheduler, but a handler is never run twice: its task finds nothing left to
# run, and the sender has heard of the fault before (`_OnFault`). Errors that a handler may raise by contract
# (CommandRefused, HalError, StorageError) end the command alone; any other error is a fault of ours and goes on to the
# scheduler, which reports it. Urgent commands do not wait for the disk after they have acted: the lane stays free.

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

_IN_A_STEP = 8  # commands that one step executes, if none of them waits
_FAULT = "the executing task failed, an event says how"


class _OnFault:
    """Calls `call` if the block raises an error, unless that error ends the node or the executing task."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is not None and not issubclass(kind, (*PASSES_THROUGH, Cancelled, GeneratorExit)):
            self._call()


class Execution:
    """Runs handlers, and reports nothing itself.

    store_limit_s: how long to wait for the disk before the next command has its turn. limit_s: a handler that takes
    longer is cancelled.
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
        self._slow = False  # the disk is slow, and an event has said so

    async def serve(self, task: Task, lane: Lane) -> None:
        """Execute what comes into `lane`, in order, for ever."""
        in_a_row = 0
        while True:
            tc = await lane.queue.get()
            await self.execute(task, tc)
            in_a_row = in_a_row + 1 if len(lane.queue) else 0
            if in_a_row and (tc.sliced or in_a_row == _IN_A_STEP):
                in_a_row = 0
                await task.sleep(0)  # commands that wait for nothing would keep every other task waiting

    async def perform(self, task: Task, tc: Telecommand, changes: Changes) -> None:
        """Execute a command that the node itself held.

        `changes`, which take it out of where it was held, and its open row are stored in one transaction first. That
        takes as long as the disk takes. Raises StorageError if the transaction is not stored: the command is still held
        then.
        """
        opened = self._outcomes.store_open(tc, changes)
        try:
            while not await task.wait(opened, self._store_limit_s):
                self._report_slow(tc)
            opened.result()
        except StorageError:
            self._outcomes.forget_open(tc)
            raise
        self._counts.received += 1
        self._counts.waiting += 1
        self._outcomes.accept_open(tc)
        await self.execute(task, tc)

    async def execute(self, task: Task, tc: Telecommand) -> None:
        """Run the handler, then have the outcome stored and reported."""
        durable = tc.served.command.durable
        if not durable and not tc.opened:
            self._outcomes.start(tc)
        kept, code, detail = Durable(), NONE, ""
        # A fault goes on to the scheduler. The sender hears of it here, before the task is started again.
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
        # An urgent command has acted already, and its lane must not stand still with the disk.
        waits = (durable or tc.opened) and not tc.served.command.urgent
        self._outcomes.end(tc, kept, code, detail, waited_for=waits)
        if waits:
            await self._wait_for_disk(task, tc)

    async def _open(self, task: Task, tc: Telecommand) -> bool:
        """Store a command as open. Return False if the disk does not do it in time: the command is ended then."""
        try:
            opened = self._outcomes.store_open(tc, {})
        except StorageError as error:
            self._outcomes.refuse_unstored(tc, str(error))
            return False
        if not await task.wait(opened, self._store_limit_s):
            self._report_slow(tc)
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
        """Run a generator, one slice per step. Raises as the handler does, and CommandRefused beyond the limit."""
        end_ns = self._scheduler.now_ns() + ns(self._limit_s)
        while True:
            try:
                next(work)
            except StopIteration as end:
                outcome: Durable | None = end.value
                return outcome
            if self._scheduler.now_ns() > end_ns:
                work.close()  # at its `yield`: its own `finally` blocks run
                raise CommandRefused(Failure.UNFINISHED, f"not done within {self._limit_s:g} s, cancelled")
            await task.sleep(0)

    async def _finish(self, task: Task, tc: Telecommand, work: Awaitable[Durable | None]) -> Durable | None:
        """Run a handler's coroutine as a task of its own, which is cancelled at the limit.

        Raises as the handler does, and CommandRefused if the task cannot be started, fails or takes too long.
        """
        result: Future[Durable | None] = Future()
        # Emptied as the handler begins, so that a restarted task finds nothing to run.
        unstarted = [work]

        async def body(_: Task) -> None:
            if not unstarted:
                return  # started again after a failure: the task is, a handler never
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
        """Wait until this command is closed, or the disk has had its time: then the next one has its turn.

        Other telemetry is held back behind this command's reports for HOLD_S of that time at most.
        """
        # In two waits: first everybody waits for the reports, then this lane alone.
        hold_s = min(HOLD_S, self._store_limit_s)
        if not await task.wait(tc.closed, hold_s):
            self._outcomes.let_go(tc)
        if await task.wait(tc.closed, self._store_limit_s - hold_s):
            self._slow = False
        else:
            self._report_slow(tc)

    def _report_slow(self, tc: Telecommand) -> None:
        if not self._slow:
            self._slow = True
            self._events.emit("storage_slow", tc.name, self._store_limit_s)


def _abandon(work: Awaitable[object]) -> None:
    """Close what will never be awaited."""
    # Python warns of a coroutine that was never awaited, and of no other awaitable.
    if isinstance(work, Coroutine):
        work.close()
