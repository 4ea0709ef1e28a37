"""Telecommand dispatch: decode, check, accept, execute in order, report each stage."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from flight.app import CommandRefused, Handler
from flight.core.errors import DecodeError, StorageError
from flight.core.future import Queue
from flight.core.scheduler import Task
from flight.dictionary import Command, Declarations, EventDefinition
from flight.fields import Field, FieldError, Layout, Value
from flight.link.pus import PusTc
from flight.services import verification as st01
from flight.services.events import Events
from flight.services.verification import ACCEPTED, COMPLETED, STARTED, Verification
from hal.base import HalError

_FUNCTION_SERVICE = 8
_FUNCTION_OCTETS = 2


def declare(apid: int) -> Declarations:
    return Declarations(
        events=(
            EventDefinition(
                apid, 10, "telecommand_unreadable", "low", "telecommand packet refused: {reason}",
                (Field("reason", "str"),),
            ),
        )
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Served:
    command: Command
    layout: Layout
    check: Callable[..., None] | None
    execute: Handler


@dataclass(frozen=True, slots=True)
class _Accepted:
    request: PusTc
    served: _Served
    arguments: tuple[Value, ...]


_Key = tuple[int, int, int, int | None]


class Commands:
    """The command table of a node: every declared command has one handler, given by its owner."""

    def __init__(self, declared: tuple[Command, ...], verification: Verification, events: Events,
                 queue_capacity: int) -> None:  # fmt: skip
        self.unreadable = 0
        self._declared = {c.name: c for c in declared}
        self._apids = {c.apid for c in declared}
        self._table: dict[_Key, _Served] = {}
        self._verification = verification
        self._events = events
        self._queue: Queue[_Accepted] = Queue(queue_capacity)

    def handle(self, name: str, check: Callable[..., None] | None, execute: Handler) -> None:
        command = self._declared[name]
        key = (command.apid, command.service, command.subtype, command.function)
        assert key not in self._table, f"{name} is served twice"
        self._table[key] = _Served(command, command.layout, check, execute)

    def assert_complete(self) -> None:
        """Every declared command has its handler; a gap is our own mistake, found at boot."""
        served = {one.command.name for one in self._table.values()}
        assert served == self._declared.keys(), f"not served: {sorted(self._declared.keys() - served)}"

    def on_packet(self, raw: bytes) -> None:
        """One telecommand packet from the link, up to its acceptance or refusal."""
        try:
            request = PusTc.decode(raw)
        except DecodeError as error:
            # Without a sound packet error control there is no knowing whose request it was.
            self.unreadable += 1
            self._events.emit("telecommand_unreadable", str(error))
            return
        try:
            accepted = self._read(request)
        except CommandRefused as refusal:
            self._verification.failure(request, ACCEPTED, refusal.code, str(refusal))
            return
        if not self._queue.put(accepted):
            detail = f"{self._queue.capacity} commands waiting"
            self._verification.failure(request, ACCEPTED, st01.QUEUE_FULL, detail)
            return
        self._verification.success(request, ACCEPTED)

    def _read(self, request: PusTc) -> _Accepted:
        """The request with its decoded arguments; raises CommandRefused with the reason."""
        if request.apid not in self._apids:
            raise CommandRefused(st01.UNKNOWN_APID, f"APID {request.apid}")
        function, data = None, request.data
        if request.service == _FUNCTION_SERVICE and len(data) >= _FUNCTION_OCTETS:
            function, data = int.from_bytes(data[:_FUNCTION_OCTETS], "big"), data[_FUNCTION_OCTETS:]
        served = self._table.get((request.apid, request.service, request.subtype, function))
        if served is None:
            of = "" if function is None else f" function {function}"
            raise CommandRefused(st01.UNKNOWN_COMMAND, f"TC[{request.service},{request.subtype}]{of}")
        try:
            values = served.layout.decode(data)
        except DecodeError as error:
            raise CommandRefused(st01.BAD_LENGTH, str(error)) from None
        try:
            arguments = tuple(f.admit(v) for f, v in zip(served.command.arguments, values, strict=True))
        except FieldError as error:
            raise CommandRefused(st01.BAD_VALUE, str(error)) from None
        if served.check is not None:
            served.check(*arguments)
        return _Accepted(request, served, arguments)

    async def run(self, task: Task) -> None:
        """Execute accepted commands one after the other, as received."""
        while True:
            accepted = await self._queue.get()
            await self._execute(accepted)

    async def _execute(self, accepted: _Accepted) -> None:
        request = accepted.request
        self._verification.success(request, STARTED)
        code, detail = st01.UNFINISHED, "the executing task failed, an event says how"
        try:
            outcome = accepted.served.execute(*accepted.arguments)
            if isinstance(outcome, Awaitable):
                await outcome
            code, detail = st01.NONE, ""
        except CommandRefused as refusal:
            code, detail = refusal.code, str(refusal)
        except HalError as error:
            code, detail = st01.DEVICE, str(error)
        except StorageError as error:
            code, detail = st01.STORAGE, str(error)
        finally:
            # Also when a fault goes on to the scheduler: the sender hears of it before the task starts anew.
            if code == st01.NONE:
                self._verification.success(request, COMPLETED)
            else:
                self._verification.failure(request, COMPLETED, code, detail)
