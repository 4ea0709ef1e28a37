"""One payload app in a node: what the node gives it to work with, and how it is made, started and closed.

Apps share one node and know nothing of one another. Each has an event sink, reports, commands and structures of its own
APID. Its rows of the vault bear its name, and so do its files if there is more than one app.
"""

# The node's services trust each other; an app is foreign code. So it never gets a service itself, but a wrapper that
# knows whose call it is and checks what is handed over. A mistake is reported at the place where it is made, by a line
# that names the app:
#
#     as the app is made or started   the boot ends with that line: it serves or samples something that it has not
#                                     declared, has declared something that it does not serve, hands over something that
#                                     cannot be called as the node calls it, or raises anything
#     later                           the call raises MisuseError in the app, which fails the app's task or command; the
#                                     node counts and reports that, with the text
#     in the node's own step          a check, `apply` or `undo` of an app is called with no task of the app round it
#                                     that could fail: it is guarded, and an event says what it raised

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from structlog.typing import FilteringBoundLogger

from flight.apps import MissionApp, Raised, guarded
from flight.catalogue import switch_prefix
from flight.contract.app import AppContext, CommandRefused, Durable, FileOutbox, Handler, NodeState, Sample
from flight.contract.calls import call_fault, is_async, is_async_generator
from flight.contract.failures import Failure
from flight.contract.fields import Value, misfit
from flight.core.config import suggestion
from flight.core.errors import MisuseError, OrbitnodeError, SetupError
from flight.core.future import Future
from flight.core.scheduler import Scheduler
from flight.core.task import Body, Task
from flight.roster import Parts
from flight.services.automation.event_action import EventActions
from flight.services.board.power import Power
from flight.services.commanding.commands import Commands
from flight.services.files.outbox import Outbox
from flight.services.files.outbox_label import PRIORITY_MAX
from flight.services.reporting.event_gate import EventGate
from flight.services.reporting.events import Events
from flight.services.reporting.housekeeping import Housekeeping
from flight.services.reporting.telemetry import Telemetry
from flight.services.time.clock import Clock
from flight.store.files.file_names import NAME_MAX, checked_name
from flight.store.files.refusal import FileRefused
from flight.store.vault_view import VaultView
from flight.swarm.protocol import Swarm
from hal import registry
from hal.base import HalError, Imager
from hal.kinds import IMAGER

T = TypeVar("T")


def hosts(parts: Parts, swarm: Swarm, state: Callable[[], NodeState | None]) -> Iterator[AppHost]:
    """Yield the apps of the mission, each made when it is asked for. The camera is opened once, for all of them.

    Raises HalError if the camera cannot be opened, SetupError if an app cannot be made.
    """
    # A generator, so that the caller has the apps before one that fails, and can close them.
    mission = parts.mission
    wanted = mission.drivers.imager if mission.apps else ""
    imager = registry.open_device(IMAGER, wanted, parts.platform) if wanted else None
    for app in mission.apps:
        yield AppHost(app, parts, swarm, imager, state)


def _tell_failed(parts: Parts, task: str, text: str) -> None:
    parts.of(Events).emit("task_failed", task, text)


class AppHost:
    """One app and its part of the node. `app` is the app itself, `events` its event sink."""

    def __init__(
        self,
        wanted: MissionApp,
        parts: Parts,
        swarm: Swarm,
        imager: Imager | None,
        state: Callable[[], NodeState | None],
    ) -> None:
        """Make the app. Raises SetupError, with the app's name, for whatever keeps it from being made."""
        name, apid, telemetry = wanted.name, wanted.apid, parts.of(Telemetry)
        self.name = name
        self.events = Events(
            apid,
            parts.dictionary.events,
            telemetry,
            parts.log.bind(app=name),
            parts.of(EventGate),
            switch_prefix(name),
        )
        self.events.listen(parts.of(EventActions).on_event)  # actions may be bound to an app's events as well
        self._log = parts.log
        vault = VaultView(parts.vault, name)  # its own rows alone, whatever key it uses
        self._commands = _Commands(wanted, parts.of(Commands), vault, parts.log, partial(_tell_failed, parts))

        def tell_returned(task: str) -> None:
            parts.of(Events).emit("task_returned", task)

        context = AppContext(
            name=name,
            platform=parts.platform,
            scheduler=_Tasks(name, parts.scheduler, tell_returned),
            vault=vault,
            tai_ns=parts.of(Clock).tai_ns,
            config=wanted.config,
            events=_Sink(wanted, self.events),
            commands=self._commands,
            housekeeping=_Structures(wanted, parts.of(Housekeeping)),
            reports=_Reports(wanted, telemetry),
            # An app that flies alone needs no prefix to tell its files from those of others.
            outbox=_Files(name, f"{name}." if len(parts.mission.apps) > 1 else "", parts.of(Outbox)),
            swarm=swarm,
            imager=imager,
            state=state,
            set_load=partial(parts.of(Power).set_computing, name),
        )
        self.app = self._attempt("made", lambda: wanted.kind(context))

    def start(self) -> None:
        """Start the app. Raises SetupError for whatever it raises, and for commands that it leaves unserved."""
        self._attempt("started", self.app.start)
        if unserved := self._commands.unserved():
            raise SetupError("\n".join(f"app {self.name}: nobody serves command {command}" for command in unserved))

    def close(self) -> None:
        """Close the app. What it raises goes to the log: the node is going down, and others must be closed as well."""
        closed = guarded(self.app.close)
        if isinstance(closed, Raised):
            self._log.error("app failed as it was closed", app=self.name, exc_info=closed.error)

    def _attempt(self, done: str, call: Callable[[], T]) -> T:
        """Return what `call` returns. Raises SetupError for whatever it raises."""
        answer = guarded(call)
        if not isinstance(answer, Raised):
            return answer
        # An error of ours has a message for people, which is used as it is.
        ours = isinstance(answer.error, OrbitnodeError | HalError)
        text = str(answer.error) if ours else f"cannot be {done}: {answer.text}"
        whose = f"app {self.name}: "
        raise SetupError(text if text.startswith(whose) else whose + text) from answer.error


class _Tasks:
    """The scheduler as an app has it (flight.contract.app.TaskTable): for tasks that bear its name."""

    def __init__(self, app: str, scheduler: Scheduler, tell_returned: Callable[[str], None]) -> None:
        self._app = app
        self._scheduler = scheduler
        self._tell_returned = tell_returned

    def spawn(
        self, name: str, body: Body, *, deadline_s: float = 1.0, budget_s: float = 0.05, critical: bool = False,
        starve_s: float | None = None,
    ) -> Task:  # fmt: skip
        """Start a task as the scheduler does. Raises MisuseError for a wrong name or body."""
        if not str(name).startswith(f"{self._app}."):
            raise MisuseError(f"app {self._app}: names a task {name!r}, should begin with '{self._app}.'")
        fault = call_fault(body, ("task",))
        if not fault and is_async_generator(body):
            fault = "has a yield, should be an `async def` that awaits"
        if fault:
            raise MisuseError(f"app {self._app}: body of task {name} {fault}")
        return self._scheduler.spawn(
            name, self._watched(name, body), deadline_s=deadline_s, budget_s=budget_s, critical=critical,
            starve_s=starve_s,
        )  # fmt: skip

    def _watched(self, name: str, body: Body) -> Body:
        """Wrap `body`, so that an event says it if the body returns without ever having waited."""
        # That is mostly a mistake: a loop or an `await` is missing.

        async def watched(task: Task) -> None:
            running: object = body(task)
            if not isinstance(running, Coroutine):
                returned = type(running).__name__
                raise MisuseError(
                    f"body of task {name} returns {returned}, should be an `async def` of one argument, the task"
                )
            await running
            if not task.stats.steps:  # the step in which a body ends is counted after it
                self._tell_returned(name)

        return watched


class _Commands:
    """The app's commands (flight.contract.app.CommandTable): only its own, which change only its own rows."""

    def __init__(
        self, app: MissionApp, commands: Commands, rows: VaultView, log: FilteringBoundLogger,
        tell_failed: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        """`tell_failed(task, text)` reports to the ground what failed when its command had been reported already."""
        self._app = app.name
        self._declared = {command.name: command for command in app.declarations.commands}
        self._unserved = list(self._declared)
        self._commands = commands
        self._rows = rows
        self._log = log
        self._tell_failed = tell_failed

    def handle(self, name: str, check: Callable[..., None] | None, execute: Handler) -> None:
        """Serve the command `name`. Raises MisuseError if it is not the app's, or cannot be served like that."""
        command = self._declared.get(name)
        if command is None:
            raise MisuseError(f"serves command {name!r}, {_undeclared(name, self._declared)}")
        if name not in self._unserved:
            raise MisuseError(f"serves command {name!r} twice")
        arguments = [argument.name for argument in command.arguments]
        if check is not None:
            fault = call_fault(check, arguments)
            if not fault and (is_async(check) or inspect.isgeneratorfunction(check)):
                fault = "is async or has a yield, should be a plain function: it decides before the command is accepted"
            if fault:
                raise MisuseError(f"check of command {name!r} {fault}")
            check = self._guarded(name, check)
        fault = call_fault(execute, arguments)
        if not fault and is_async_generator(execute):
            fault = "is async and has a yield, should await or yield and not both"
        if fault:
            raise MisuseError(f"handler of command {name!r} {fault}")
        self._unserved.remove(name)
        self._commands.handle(name, check, execute, partial(self._own, name))

    def _own(self, name: str, kept: Durable) -> Durable:
        """Restrict what a handler returned to the app's own rows, and guard its calls."""

        # They are made when the disk has answered, with no task of the app round them that could fail.
        def safe(what: str, call: Callable[[], None]) -> None:
            answer = guarded(call)
            if isinstance(answer, Raised):
                self._log.error(f"{what} of a command failed", app=self._app, command=name, exc_info=answer.error)
                self._tell_failed(f"command.{name}", f"its {what} raises {answer.text}")

        changes = self._rows.in_vault(kept.changes)
        return Durable(changes, partial(safe, "apply", kept.apply), partial(safe, "undo", kept.undo))

    def _guarded(self, name: str, check: Callable[..., None]) -> Callable[..., None]:
        """Wrap `check`, so that every fault of it becomes a refusal with the reason."""

        # It is called in the step that receives packets, and that must go on.
        def guarded_check(*arguments: Value) -> None:
            answer: object = guarded(lambda: check(*arguments))
            if isinstance(answer, Raised):
                if isinstance(answer.error, CommandRefused):
                    raise answer.error
                self._log.error("check of a command failed", app=self._app, command=name, exc_info=answer.error)
                raise CommandRefused(Failure.UNFINISHED, f"its check raises {answer.text}")
            if answer is not None:
                text = f"its check returns {type(answer).__name__}, should return nothing or raise CommandRefused"
                raise CommandRefused(Failure.UNFINISHED, text)

        return guarded_check

    def unserved(self) -> list[str]:
        """Return the declared commands that have no handler yet."""
        return self._unserved


class _Structures:
    """The app's housekeeping structures (flight.contract.app.HousekeepingTable): only its own."""

    def __init__(self, app: MissionApp, housekeeping: Housekeeping) -> None:
        self._own = {structure.name for structure in app.declarations.structures}
        self._housekeeping = housekeeping

    def provide(self, structure: str, sample: Callable[[], Sample]) -> None:
        """Call `sample` for each report of `structure`. Raises MisuseError if that is not the app's, or cannot be."""
        if structure not in self._own:
            raise MisuseError(f"samples structure {structure!r}, {_undeclared(structure, self._own)}")
        fault = call_fault(sample, ())
        if not fault and (is_async(sample) or inspect.isgeneratorfunction(sample)):
            fault = "is async or has a yield, should be a plain function: the report is due now"
        if fault:
            raise MisuseError(f"sampler of structure {structure!r} {fault}")
        self._housekeeping.provide(structure, sample)


class _Sink:
    """The app's own events (flight.contract.app.EventSink), with values that fit their fields."""

    def __init__(self, app: MissionApp, events: Events) -> None:
        self._app = app.name
        self._fields = {event.name: event.fields for event in app.declarations.events}
        self._events = events

    def emit(self, name: str, *values: Value) -> None:
        """Report the event `name`. Raises MisuseError if it is not the app's, or its values do not fit."""
        if name not in self._fields:
            raise MisuseError(f"app {self._app}: emits event {name!r}, {_undeclared(name, self._fields)}")
        if fault := misfit(self._fields[name], values):
            raise MisuseError(f"app {self._app}: emits event {name!r} with {fault}")
        self._events.emit(name, *values)


class _Reports:
    """The app's own reports (flight.contract.app.ReportSink), with values that fit their fields."""

    def __init__(self, app: MissionApp, telemetry: Telemetry) -> None:
        self._app = app.name
        self._apid = app.apid
        self._reports = {report.name: (report, report.layout) for report in app.declarations.reports}
        self._telemetry = telemetry

    def send(self, name: str, *values: Value) -> None:
        """Send the report `name`. Raises MisuseError if it is not the app's, or its values do not fit."""
        if name not in self._reports:
            raise MisuseError(f"app {self._app}: sends report {name!r}, {_undeclared(name, self._reports)}")
        report, layout = self._reports[name]
        if fault := misfit(report.fields, values):
            raise MisuseError(f"app {self._app}: sends report {name!r} with {fault}")
        self._telemetry.send(self._apid, report.service, report.subtype, layout.encode(values))


def _undeclared(name: object, declared: Collection[str]) -> str:
    """Say that the app has not declared `name`, and what it may have meant."""
    known = f", {suggestion(str(name), declared)}" if declared else "; it has declared none"
    return f"which it has not declared{known}"


@dataclass(frozen=True, slots=True)
class _Files:
    """The node's outbox (flight.contract.app.FileOutbox). Names of the app's files begin with `prefix`."""

    app: str
    prefix: str
    outbox: FileOutbox

    @property
    def backlog_octets(self) -> int:
        """File octets of all apps that wait or are in transfer."""
        return self.outbox.backlog_octets

    @property
    def room_octets(self) -> int:
        """File octets for which there is still room, for all apps together."""
        return self.outbox.room_octets

    def put(
        self, name: str, octets: bytes, *, priority: int = 1, value: float = 1.0, arrive: bool | None = None
    ) -> Future[bool]:
        """Store a file for the ground (flight.contract.app.FileOutbox.put). Raises MisuseError for wrong arguments."""
        puts = f"app {self.app}: puts file {name!a}"
        if not isinstance(name, str):
            raise MisuseError(f"{puts}, its name should be a text")
        if len(name) > NAME_MAX - len(self.prefix):
            raise MisuseError(f"{puts}, its name should have at most {NAME_MAX - len(self.prefix)} characters")
        try:
            checked_name(name)
        except FileRefused as refused:
            raise MisuseError(f"{puts}: {refused.text}") from None
        if not isinstance(octets, bytes):
            raise MisuseError(f"{puts} as {type(octets).__name__}, should be bytes")
        given: tuple[Any, Any, Any] = (priority, value, arrive)  # an app's: its annotations are not to be relied on
        if not isinstance(given[0], int) or not 0 <= priority <= PRIORITY_MAX:
            raise MisuseError(f"{puts} with priority {priority!a}, should be 0 .. {PRIORITY_MAX}")
        if not isinstance(given[1], int | float) or not 0 <= value < math.inf:
            raise MisuseError(f"{puts} with value {value!a}, should be a number of 0 or more")
        if not isinstance(given[2], bool | None):
            raise MisuseError(f"{puts} with arrive {arrive!a}, should be True, False or None")
        return self.outbox.put(self.prefix + name, octets, priority=priority, value=float(value), arrive=arrive)
