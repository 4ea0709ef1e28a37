"""Telecommand dispatch: decode, check, accept, execute in order, report each stage (ECSS-E-ST-70-41C, 6.1).

A volatile command is reported accepted when it is queued and executed when its turn comes. A durable one is executed
when its turn comes, stored with its outcome and with what it changed in one transaction of the vault, and all its
reports follow when that is durable: accepted, started, completed. One that takes its time (its handler is a
coroutine) is stored as open first, reported accepted, and stored again with its outcome. One that has much to do
and nothing to wait for (its handler is a generator) is executed in slices, others having their turn between them, and
is otherwise as one that is done at once. `command_log` tells what becomes of it when power is lost.

Two lanes, each in order: urgent commands wait for no others and for no disk, and have room and rate of their own.
The other lane waits for the disk no longer than `store_limit_s`; the reports come whenever the disk answers. Where
the disk refuses at once, that is reported; where it fails later, nobody knows whether the outcome will be there after
a boot, and an event says so: the report comes after the boot or never.

At every instant received = unreadable + executed + refused + waiting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from flight.contract.app import CommandRefused, Durable, Handler, Slices
from flight.contract.dictionary import Command, Declarations, EventDefinition, Structure
from flight.contract.fields import Field, FieldError
from flight.core.config import key, suggestion
from flight.core.errors import DecodeError, SetupError, StorageError
from flight.core.future import Future
from flight.core.nanoseconds import ns
from flight.core.scheduler import Scheduler, SchedulerFull
from flight.core.task import Task
from flight.link.pus import PusTc
from flight.services.commanding import verification as st01
from flight.services.commanding.command_lane import Accepted, Lane, Served
from flight.services.commanding.command_log import CommandLog
from flight.services.commanding.refusals import Refusals
from flight.services.commanding.verification import ACCEPTED, COMPLETED, STARTED, Verification
from flight.services.reporting.events import Events
from flight.store.vault import Changes, Vault
from hal.base import HalError

_FUNCTION_SERVICE = 8
_FUNCTION_OCTETS = 2
_IN_A_STEP = 8  # commands
_FAULT = "the executing task failed, an event says how"
_UNKNOWN = (st01.UNKNOWN_APID, st01.UNKNOWN_COMMAND)
_INVALID = (st01.BAD_LENGTH, st01.BAD_VALUE)


@dataclass(frozen=True, slots=True)
class CommandsConfig:
    queue: int = key(32, minimum=1, maximum=1024, text="telecommands waiting for execution at most")
    urgent_queue: int = key(8, minimum=1, maximum=64, text="room for urgent ones beside that")
    rate_hz: float = key(200.0, minimum=1, maximum=100_000, text="telecommands accepted a second, in the long run")
    urgent_rate_hz: float = key(10.0, minimum=1, maximum=1000, text="urgent ones, beside that")
    refusals: int = key(20, minimum=1, maximum=1000, text="refusals reported one by one in a second, more as ranges")
    store_limit_s: float = key(5.0, minimum=0.1, maximum=600, text="wait for the disk before the next one has its turn")
    execution_limit_s: float = key(60.0, minimum=0.1, maximum=86_400, text="a handler that takes longer is cancelled")
    refused_in: Mapping[str, str] = key({}, text="power mode = commands refused in it, separated by blanks")


def declare(apid: int) -> Declarations:
    u32 = "u32"
    return Declarations(
        structures=(
            Structure(
                apid, 6, "commands", 10.0,
                (
                    Field("received", u32, "", "telecommand packets: unreadable + executed + refused + waiting"),
                    Field("unreadable", u32, "", "of them without a sound packet error control or header"),
                    Field("executed", u32, "", "of them executed, with whatever outcome"),
                    Field("refused", u32, "", "of them not accepted, for any reason"),
                    Field("waiting", u32, "", "of them queued, executing, or waiting for the disk"),
                    Field("refused_unknown", u32, "", "refused: no such application process, or no such command"),
                    Field("refused_invalid", u32, "", "refused: arguments of a wrong length or out of range"),
                    Field("refused_in_mode", u32, "", "refused: not in this mode"),
                    Field("refused_rate", u32, "", "refused: more than the rate limit admits"),
                    Field("refused_queue", u32, "", "refused: command queue full"),
                    Field("refused_storage", u32, "", "refused: the disk did not take them"),
                    Field("interrupted", u32, "", "commands that the power loss before this boot cut short"),
                    Field("reported_again", u32, "", "terminal reports of the boot before, repeated"),
                    Field("log_rows", u32, "", "durable commands whose report is not safe yet"),
                ),
            ),
        ),
        events=(
            EventDefinition(
                apid, 10, "telecommand_unreadable", "low", "telecommand packet refused: {reason}",
                (Field("reason", "str"),),
            ),
            EventDefinition(
                apid, 11, "storage_slow", "medium", "{command}: the disk has not answered for {waited_s:g} s",
                (Field("command", "str"), Field("waited_s", "f32", "s")),
            ),
            EventDefinition(
                apid, 12, "outcome_not_stored", "medium", "{command}: its report may come after a boot: {reason}",
                (Field("command", "str"), Field("reason", "str")),
            ),
        )
    )  # fmt: skip


_Key = tuple[int, int, int, int | None]


class _OnFault:
    """Calls `call` where the block raises an error of ours. What ends the node itself is none."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is not None and issubclass(kind, Exception):
            self._call()


class Commands:
    """The command table of a node: every declared command has one handler, given by its owner.

    `mode()` names the power mode, one of `modes`, for `CommandsConfig.refused_in`; raises SetupError where that does
    not fit `modes` or `declared`. `refused` counts by failure code.
    """

    def __init__(
        self,
        declared: tuple[Command, ...],
        config: CommandsConfig,
        scheduler: Scheduler,
        vault: Vault,
        log: CommandLog,
        verification: Verification,
        refusals: Refusals,
        events: Events,
        modes: Sequence[str],
        mode: Callable[[], str],
    ) -> None:
        self.received = 0
        self.unreadable = 0
        self.executed = 0
        self.refused: Counter[int] = Counter()
        self.waiting = 0
        self._config = config
        self._declared = {c.name: c for c in declared}
        self._apids = {c.apid for c in declared}
        self._refused_in = {name: frozenset(names.split()) for name, names in config.refused_in.items()}
        self._check_refused_in(modes)
        self._table: dict[_Key, Served] = {}
        self._scheduler = scheduler
        self._vault = vault
        self._log = log
        self._verification = verification
        self._refusals = refusals
        self._events = events
        self._mode = mode
        self._lane = Lane(config.queue, config.rate_hz, scheduler.now_ns)
        self._urgent = Lane(config.urgent_queue, config.urgent_rate_hz, scheduler.now_ns)
        self._slow = False

    def _check_refused_in(self, modes: Sequence[str]) -> None:
        faults = [f"no power mode {name}, have {', '.join(modes)}" for name in self._refused_in if name not in modes]
        for name in sorted(frozenset[str]().union(*self._refused_in.values())):
            command = self._declared.get(name)
            if command is None:
                faults.append(f"no command {name}, {suggestion(name, self._declared)}")
            elif command.urgent:
                faults.append(f"{name} is urgent: it is admitted in every mode")
        if faults:
            raise SetupError(f"commands.refused_in: {'; '.join(faults)}")

    def handle(self, name: str, check: Callable[..., None] | None, execute: Handler) -> None:
        command = self._declared[name]
        key = (command.apid, command.service, command.subtype, command.function)
        assert key not in self._table, f"{name} is served twice"
        self._table[key] = Served(command, command.layout, check, execute)

    def assert_complete(self) -> None:
        """Every declared command has its handler; a gap is our own mistake, found at boot."""
        served = {one.command.name for one in self._table.values()}
        assert served == self._declared.keys(), f"not served: {sorted(self._declared.keys() - served)}"

    def sample(self) -> tuple[int, ...]:
        """The structure "commands"."""
        refused = self.refused
        values = (
            self.received,
            self.unreadable,
            self.executed,
            refused.total(),
            self.waiting,
            sum(refused[code] for code in _UNKNOWN),
            sum(refused[code] for code in _INVALID),
            refused[st01.REFUSED_IN_MODE],
            refused[st01.TOO_MANY],
            refused[st01.QUEUE_FULL],
            refused[st01.STORAGE],
            self._log.interrupted,
            self._log.reported_again,
            len(self._log),
        )
        return tuple(value & 0xFFFFFFFF for value in values)

    # Acceptance

    def on_packet(self, raw: bytes) -> None:
        """One telecommand packet from the link, up to its acceptance or refusal."""
        self.received += 1
        try:
            request = PusTc.decode(raw)
        except DecodeError as error:
            # Without a sound packet error control there is no knowing whose request it was.
            self.unreadable += 1
            self._events.emit("telecommand_unreadable", str(error))
            return
        try:
            accepted = self._admit(request)
        except CommandRefused as refusal:
            self._refuse(request, refusal)
            return
        if not accepted.served.command.durable:
            self._verification.success(request, ACCEPTED)

    def check(self, raw: bytes) -> None:
        """Whether `raw` is a telecommand of ours with arguments that are admitted now; raises CommandRefused with the
        reason. The power mode is looked at when it is executed."""
        try:
            request = PusTc.decode(raw)
        except DecodeError as error:
            raise CommandRefused(st01.BAD_VALUE, str(error)) from None
        self._read(request, self._find(request))

    def _refuse(self, request: PusTc, refusal: CommandRefused) -> None:
        self.refused[refusal.code] += 1
        if self._refusals.admit(request.request_id, refusal.code):
            self._verification.failure(request, ACCEPTED, refusal.code, str(refusal))
        else:
            self._verification.count(ACCEPTED, refusal.code)

    def _admit(self, request: PusTc) -> Accepted:
        """The request with its decoded arguments, queued; raises CommandRefused with the reason."""
        served = self._find(request)
        command = served.command
        lane = self._urgent if command.urgent else self._lane
        if not lane.bucket.take():
            raise CommandRefused(st01.TOO_MANY, command.name)
        accepted = self._authorised(request, served)
        if len(lane.queue) >= lane.queue.capacity:
            raise CommandRefused(st01.QUEUE_FULL, f"{lane.queue.capacity} commands waiting")
        if command.durable and self._log.full(command.urgent):
            raise CommandRefused(st01.STORAGE, "too many durable commands wait for the disk")
        lane.queue.put(accepted)
        self.waiting += 1
        return accepted

    def _find(self, request: PusTc) -> Served:
        if request.apid not in self._apids:
            raise CommandRefused(st01.UNKNOWN_APID, f"APID {request.apid}")
        function = None
        if request.service == _FUNCTION_SERVICE and len(request.data) >= _FUNCTION_OCTETS:
            function = int.from_bytes(request.data[:_FUNCTION_OCTETS], "big")
        served = self._table.get((request.apid, request.service, request.subtype, function))
        if served is None:
            of = "" if function is None else f" function {function}"
            raise CommandRefused(st01.UNKNOWN_COMMAND, f"TC[{request.service},{request.subtype}]{of}")
        return served

    def _authorised(self, request: PusTc, served: Served) -> Accepted:
        mode = self._mode()
        if served.command.name in self._refused_in.get(mode, ()):
            raise CommandRefused(st01.REFUSED_IN_MODE, f"{served.command.name} in mode {mode}")
        return self._read(request, served)

    def _read(self, request: PusTc, served: Served) -> Accepted:
        """The request with its decoded arguments; raises CommandRefused with the reason."""
        command = served.command
        data = request.data if command.function is None else request.data[_FUNCTION_OCTETS:]
        try:
            values = served.layout.decode(data)
        except DecodeError as error:
            raise CommandRefused(st01.BAD_LENGTH, str(error)) from None
        try:
            arguments = tuple(f.admit(v) for f, v in zip(command.arguments, values, strict=True))
        except FieldError as error:
            raise CommandRefused(st01.BAD_VALUE, str(error)) from None
        if served.check is not None:
            served.check(*arguments)
        return Accepted(request, served, arguments)

    # Execution

    async def run(self, task: Task) -> None:
        """Execute what is not urgent, as received."""
        await self._serve(task, self._lane)

    async def run_urgent(self, task: Task) -> None:
        await self._serve(task, self._urgent)

    async def _serve(self, task: Task, lane: Lane) -> None:
        in_a_row = 0
        while True:
            one = await lane.queue.get()
            await self._execute(task, one)
            in_a_row = in_a_row + 1 if len(lane.queue) else 0
            if in_a_row and (one.sliced or in_a_row == _IN_A_STEP):
                in_a_row = 0
                await task.sleep(0)  # none of them may have waited for anything

    async def perform(self, task: Task, raw: bytes, changes: Changes) -> None:
        """Execute a command that the node itself holds: a scheduled one, a step of a sequence.

        `changes` take it out of where it is held, in the transaction that opens it, or that reports its refusal: it is
        never executed twice. That waits for the disk as long as it takes. Raises StorageError where the transaction is
        not stored; the command is held still.
        """
        request = PusTc.decode(raw)  # it was checked when it was taken in
        try:
            accepted = self._authorised(request, self._find(request))
        except CommandRefused as refusal:
            await self._end_unexecuted(request, refusal, changes)
            return
        opened = self._commit_open(accepted, changes)
        try:
            while not await task.wait(opened, self._config.store_limit_s):
                self._tell_slow(accepted)
            opened.result()
        except StorageError:
            self._log.forget(accepted.row)
            raise
        self.received += 1
        self.waiting += 1
        self._accept_opened(accepted)
        await self._execute(task, accepted)

    async def refuse(self, raw: bytes, code: int, detail: str, changes: Changes) -> None:
        """End a command that the node held and does not execute; like `perform`, with a failure of acceptance."""
        await self._end_unexecuted(PusTc.decode(raw), CommandRefused(code, detail), changes)

    async def _end_unexecuted(self, request: PusTc, refusal: CommandRefused, changes: Changes) -> None:
        if self._log.full(urgent=False):
            raise StorageError("too many durable commands wait for the disk")
        report = self._verification.make_failure(request.request_id, ACCEPTED, refusal.code, str(refusal))
        row, _ = self._log.open(request.request_id)
        try:
            await self._vault.commit({**changes, **self._log.done(row, request.request_id, report)})
        except StorageError:
            self._log.forget(row)
            raise
        self.received += 1
        self.refused[refusal.code] += 1
        self._verification.count(ACCEPTED, refusal.code)
        self._log.emit(row, report)

    def _commit_open(self, one: Accepted, changes: Changes) -> Future[None]:
        """Store that the command is accepted. Raises StorageError."""
        if self._log.full(one.served.command.urgent):
            raise StorageError("too many durable commands wait for the disk")
        row, opening = self._log.open(one.request.request_id)
        try:
            stored = self._vault.commit({**changes, **opening})
        except StorageError:
            self._log.forget(row)
            raise
        one.row = row
        return stored

    def _accept_opened(self, one: Accepted) -> None:
        one.opened = True
        self._verification.success(one.request, ACCEPTED)
        self._verification.success(one.request, STARTED)

    async def _execute(self, task: Task, one: Accepted) -> None:
        """Run the handler and see to the reports."""
        durable = one.served.command.durable
        if not durable and not one.opened:
            self._verification.success(one.request, STARTED)
        left, code, detail = Durable(), st01.NONE, ""
        # A fault goes on to the scheduler; the sender hears of it before the task starts anew.
        with _OnFault(lambda: self._end(one, Durable(), st01.UNFINISHED, _FAULT)):
            try:
                outcome = one.served.execute(*one.arguments)
                if isinstance(outcome, Awaitable):
                    if durable and not one.opened and not await self._open_long(task, one):
                        _abandon(outcome)
                        return
                    outcome = await self._finish(task, one, outcome)
                elif isinstance(outcome, Generator):
                    one.sliced = True
                    outcome = await self._in_slices(task, outcome)
                left = outcome or left
            except CommandRefused as refusal:
                code, detail = refusal.code, str(refusal)
            except HalError as error:
                code, detail = st01.DEVICE, str(error)
            except StorageError as error:
                code, detail = st01.STORAGE, str(error)
        self._end(one, left, code, detail)
        if (durable or one.opened) and not one.served.command.urgent:
            await self._wait_for_disk(task, one)

    async def _open_long(self, task: Task, one: Accepted) -> bool:
        """Store a command that takes its time as open; False, reported, where the disk does not do it in its time."""
        try:
            opened = self._commit_open(one, {})
        except StorageError as error:
            self._refuse_late(one, str(error))
            return False
        if await task.wait(opened, self._config.store_limit_s):
            try:
                opened.result()
            except StorageError as error:
                self._outcome_unknown(one, str(error), st01.STORAGE)
                return False
            self._accept_opened(one)
            return True
        # It may become durable as open yet, but not without the transaction after it, which says that it was refused.
        self._tell_slow(one)
        self._close(one, st01.STORAGE)
        detail = "the disk has not answered in time"
        report = self._verification.make_failure(one.request.request_id, ACCEPTED, st01.STORAGE, detail)
        try:
            self._commit_report(one, Durable(), lambda: None, ACCEPTED, st01.STORAGE, report)
        except StorageError as error:
            self._outcome_unknown(one, str(error), st01.STORAGE)
        return False

    async def _in_slices(self, task: Task, work: Slices) -> Durable | None:
        """Run a handler's slices, a step each. Raises as the handler does."""
        limit_s = self._config.execution_limit_s
        end_ns = self._scheduler.now_ns() + ns(limit_s)
        while True:
            try:
                next(work)
            except StopIteration as end:
                outcome: Durable | None = end.value
                return outcome
            if self._scheduler.now_ns() > end_ns:
                work.close()
                raise CommandRefused(st01.UNFINISHED, f"not done within {limit_s:g} s, cancelled")
            await task.sleep(0)

    async def _finish(self, task: Task, one: Accepted, work: Awaitable[Durable | None]) -> Durable | None:
        """Run what a handler goes on with as a task of its own, which ends at the limit. Raises as the handler does."""
        result: Future[Durable | None] = Future()
        unstarted = [work]

        async def body(_: Task) -> None:
            if not unstarted:
                return  # it failed: a task is started anew, a handler is not
            with _OnFault(lambda: result.set_error(CommandRefused(st01.UNFINISHED, _FAULT))):
                try:
                    result.set_result(await unstarted.pop())
                except (CommandRefused, HalError, StorageError) as error:
                    result.set_error(error)

        limit_s = self._config.execution_limit_s
        try:
            worker = self._scheduler.spawn(f"command.{one.served.command.name}", body, deadline_s=0.1)
        except SchedulerFull as full:
            _abandon(work)
            raise CommandRefused(st01.UNFINISHED, str(full)) from None
        if not await task.wait(result, limit_s):
            worker.cancel()
            raise CommandRefused(st01.UNFINISHED, f"not done within {limit_s:g} s, cancelled")
        return result.result()

    # Outcomes

    def _end(self, one: Accepted, left: Durable, code: int, detail: str) -> None:
        """The handler is through: store what it leaves, then report."""
        request = one.request
        if not one.served.command.durable and not one.opened:
            assert not left.changes, f"{one.served.command.name} is declared volatile"
            left.then()
            if code == st01.NONE:
                self._verification.success(request, COMPLETED)
            else:
                self._verification.failure(request, COMPLETED, code, detail)
            self._close(one)
            return
        stages = () if one.opened else (ACCEPTED, STARTED)
        before = [(stage, self._verification.make_success(request, stage)) for stage in stages]
        if code == st01.NONE:
            report = self._verification.make_success(request, COMPLETED)
        else:
            report = self._verification.make_failure(request.request_id, COMPLETED, code, detail)

        def in_force() -> None:
            left.then()
            for stage, packet in before:
                self._verification.emit(stage, st01.NONE, packet)

        try:
            self._commit_report(one, left, in_force, COMPLETED, code, report)
        except StorageError as error:
            left.undo()
            self._not_stored(one, code, detail, str(error))

    def _commit_report(
        self, one: Accepted, left: Durable, then: Callable[[], None], stage: int, code: int, report: bytes
    ) -> None:
        """Store the command's terminal report with what it leaves, and emit it when that is durable."""
        request = one.request.request_id
        if not one.row:
            one.row, _ = self._log.open(request)

        def stored(done: Future[None]) -> None:
            try:
                done.result()
            except StorageError as error:
                left.undo()
                self._outcome_unknown(one, str(error))
                return
            then()
            self._verification.count(stage, code)
            self._log.emit(one.row, report)
            self._close(one)

        self._vault.commit({**left.changes, **self._log.done(one.row, request, report)}).add_callback(stored)

    def _not_stored(self, one: Accepted, code: int, detail: str, reason: str) -> None:
        """The disk refused the outcome. An urgent command has acted all the same; of any other nothing is in force.
        One that is stored as open has its terminal report after the next boot, which finds it so."""
        if one.opened:
            self._outcome_unknown(one, reason)
            return
        self._log.forget(one.row)
        if not one.served.command.urgent:
            self._refuse_late(one, reason)
            return
        self._verification.success(one.request, ACCEPTED)
        self._verification.success(one.request, STARTED)
        if code == st01.NONE:
            code, detail = st01.STORAGE, f"in force until the next boot: {reason}"
        self._verification.failure(one.request, COMPLETED, code, detail)
        self._close(one)

    def _refuse_late(self, one: Accepted, reason: str) -> None:
        """Nothing of the command is in force, and nothing was said of it."""
        self._verification.failure(one.request, ACCEPTED, st01.STORAGE, reason)
        self._close(one, st01.STORAGE)

    def _outcome_unknown(self, one: Accepted, reason: str, refused: int = st01.NONE) -> None:
        """Whether the command's row is there after a boot is not known: no report now that another could contradict."""
        self._events.emit("outcome_not_stored", one.served.command.name, reason)
        self._close(one, refused)

    def _close(self, one: Accepted, refused: int = st01.NONE) -> None:
        """Nothing more is to be said, or waited for; `refused` is why where it was not executed."""
        if one.closed.done:
            return
        self.waiting -= 1
        if refused == st01.NONE:
            self.executed += 1
        else:
            self.refused[refused] += 1
        one.closed.set_result(None)

    async def _wait_for_disk(self, task: Task, one: Accepted) -> None:
        """The next command has its turn when this one is closed, or the disk has had its time."""
        if await task.wait(one.closed, self._config.store_limit_s):
            self._slow = False
        else:
            self._tell_slow(one)

    def _tell_slow(self, one: Accepted) -> None:
        if not self._slow:
            self._slow = True
            self._events.emit("storage_slow", one.served.command.name, self._config.store_limit_s)


def _abandon(work: Awaitable[object]) -> None:
    if isinstance(work, Coroutine):
        work.close()
