"""Table of telecommands by APID, service, subtype and function: who serves each, and what a packet means by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flight.contract.app import CommandRefused, Durable, Handler
from flight.contract.dictionary import Command
from flight.contract.failures import Failure
from flight.contract.fields import FieldError, Layout, Value
from flight.core.errors import DecodeError, MisuseError, SetupError
from flight.core.future import Future
from flight.link.pus import PusTc
from flight.services.reporting.telemetry import Place

_FUNCTION_SERVICE = 8  # ST[08], perform a function: the function id at the head of the data tells commands apart
_FUNCTION_OCTETS = 2

Own = Callable[[Durable], Durable]
_Key = tuple[int, int, int, int | None]  # APID, service, subtype, function


@dataclass(frozen=True, slots=True)
class Served:
    """A command of the dictionary and who serves it.

    `own` limits what the handler of an app may leave to be stored to the app's own rows. It is None for a service.
    """

    command: Command
    layout: Layout
    check: Callable[..., None] | None
    execute: Handler
    own: Own | None = None

    def kept(self, outcome: Durable | None) -> Durable:
        """Return what the handler leaves to be stored, under the keys that the vault has for it.

        Raises MisuseError if the handler gave anything but Durable or None, or what cannot be stored.
        """
        if outcome is None:
            return Durable()
        if fault := _unkept(self.command, outcome):
            raise MisuseError(f"handler of command {self.command.name!r} {fault}")
        return outcome if self.own is None else self.own(outcome)


def _unkept(command: Command, outcome: Any) -> str:
    """Say why what a handler gave cannot be stored, "" if it can."""
    # Apps write handlers, too: what one gives may be anything, so every type is looked at before use.
    if not isinstance(outcome, Durable):
        return f"gives {type(outcome).__name__}, should give Durable or nothing"
    changes: Any = outcome.changes
    if not isinstance(changes, Mapping):
        return f"gives Durable with changes as {type(changes).__name__}, should be a mapping"
    if changes and not command.durable:
        return "gives changes of the vault, should be declared durable"
    for key, value in changes.items():
        if isinstance(key, str) and isinstance(value, bytes | None):
            continue
        return f"gives Durable with {key!a}: {type(value).__name__}, should be a text, and octets or None"
    if not all(callable(callback) for callback in (outcome.apply, outcome.undo)):
        return "gives Durable with an `apply` or `undo` that is not a function"
    return ""


@dataclass(slots=True)
class Telecommand:
    """A telecommand on its way through the node.

    reserved: the command log keeps room for its row. row: its key there, empty until it has one. opened: it is stored
    there as open. sliced: its handler did as much as one step may. closed: done when nothing more is to be said of it.
    place: held in the line of telemetry for its reports, as long as these wait for the disk.
    """

    request: PusTc
    served: Served
    arguments: tuple[Value, ...]
    reserved: bool = False
    row: str = ""
    opened: bool = False
    sliced: bool = False
    closed: Future[None] = field(default_factory=Future)
    place: Place | None = None

    @property
    def name(self) -> str:
        """The command's name in the dictionary."""
        return self.served.command.name


class HandlerTable:
    """Each command of `declared` with its one handler, which its owner gives."""

    def __init__(self, declared: tuple[Command, ...]) -> None:
        self.declared = {command.name: command for command in declared}
        self._apids = {command.apid for command in declared}
        self._served: dict[_Key, Served] = {}

    def handle(self, name: str, check: Callable[..., None] | None, execute: Handler, own: Own | None = None) -> None:
        """Serve the command `name` (flight.contract.app.CommandTable).

        Raises KeyError if the command is not declared, MisuseError if it is already served.
        """
        command = self.declared[name]
        key = (command.apid, command.service, command.subtype, command.function)
        if key in self._served:
            raise MisuseError(f"command {name} is served twice")
        self._served[key] = Served(command, command.layout, check, execute, own)

    def assert_complete(self) -> None:
        """Raise SetupError unless every declared command has its handler."""
        served = {served.command.name for served in self._served.values()}
        if served != self.declared.keys():
            raise SetupError(f"commands that nobody serves: {', '.join(sorted(self.declared.keys() - served))}")

    def find(self, request: PusTc) -> Served:
        """Find who serves the request. Raises CommandRefused if nobody does."""
        if request.apid not in self._apids:
            raise CommandRefused(Failure.UNKNOWN_APID, f"APID {request.apid}")
        function = None
        if request.service == _FUNCTION_SERVICE and len(request.data) >= _FUNCTION_OCTETS:
            function = int.from_bytes(request.data[:_FUNCTION_OCTETS], "big")
        # A function command of ST[08] is found only with its function id; all other services have None there.
        served = self._served.get((request.apid, request.service, request.subtype, function))
        if served is None:
            of = "" if function is None else f" function {function}"
            raise CommandRefused(Failure.UNKNOWN_COMMAND, f"TC[{request.service},{request.subtype}]{of}")
        return served

    @staticmethod
    def read(request: PusTc, served: Served) -> Telecommand:
        """Decode the request's arguments and have its owner check them. Raises CommandRefused with the reason."""
        command = served.command
        data = request.data if command.function is None else request.data[_FUNCTION_OCTETS:]
        try:
            values = served.layout.decode(data)
        except DecodeError as error:
            raise CommandRefused(Failure.BAD_LENGTH, str(error)) from None
        try:
            arguments = tuple(f.admit(v) for f, v in zip(command.arguments, values, strict=True))
        except FieldError as error:
            raise CommandRefused(Failure.BAD_VALUE, str(error)) from None
        if served.check is not None:
            served.check(*arguments)
        return Telecommand(request, served, arguments)
