"""One payload app in a node: what the node serves it with, and how it is made, started and closed.

Apps share one node and know nothing of one another. Each has an event sink, reports, commands and structures of its own
APID, rows of the vault and names of files of its own name. What it serves or samples that it has not declared, what it
has declared and does not serve, and whatever it raises, ends the boot with a line that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from flight.apps import MissionApp, Raised, guarded
from flight.catalogue import switch_prefix
from flight.contract.app import AppContext, FileOutbox, Handler, NodeState, Sample
from flight.contract.fields import Value
from flight.core.errors import OrbitnodeError, SetupError
from flight.roster import Parts
from flight.services.automation.event_action import EventActions
from flight.services.board.power import Power
from flight.services.commanding.commands import Commands
from flight.services.files.outbox import Outbox
from flight.services.reporting.event_gate import EventGate
from flight.services.reporting.events import Events
from flight.services.reporting.housekeeping import Housekeeping
from flight.services.reporting.telemetry import Telemetry
from flight.services.time.clock import Clock
from flight.store.vault_view import VaultView
from flight.swarm.protocol import Swarm
from hal import registry
from hal.base import HalError, Imager
from hal.kinds import IMAGER

T = TypeVar("T")


def hosts(parts: Parts, swarm: Swarm, state: Callable[[], NodeState | None]) -> Iterator[AppHost]:
    """The apps of the mission, each made when it is asked for, so that those before one that fails can be closed. The
    camera is opened once, for all of them. Raises HalError if it cannot be, and as AppHost does."""
    mission = parts.mission
    wanted = mission.drivers.imager if mission.apps else ""
    imager = registry.open_device(IMAGER, wanted, parts.platform) if wanted else None
    for app in mission.apps:
        yield AppHost(app, parts, swarm, imager, state)


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
        """Make the app. Raises SetupError, naming it, for whatever keeps it from being made."""
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
        self.events.listen(parts.of(EventActions).on_event)
        self._log = parts.log
        vault = VaultView(parts.vault, name)
        self._commands = _Commands(wanted, parts.of(Commands), vault)
        context = AppContext(
            name=name,
            platform=parts.platform,
            scheduler=parts.scheduler,
            vault=vault,
            tai_ns=parts.of(Clock).tai_ns,
            config=wanted.config,
            events=self.events,
            commands=self._commands,
            housekeeping=_Structures(wanted, parts.of(Housekeeping)),
            reports=_Reports(wanted, telemetry),
            outbox=_Files(f"{name}." if len(parts.mission.apps) > 1 else "", parts.of(Outbox)),
            swarm=swarm,
            imager=imager,
            state=state,
            set_load=partial(parts.of(Power).set_computing, name),
        )
        self.app = self._ask("made", lambda: wanted.kind(context))

    def start(self) -> None:
        """Start the app; raises SetupError for whatever it raises, and for commands that it has left unserved."""
        self._ask("started", self.app.start)
        if unserved := self._commands.unserved():
            raise SetupError("\n".join(f"app {self.name}: nobody serves command {one}" for one in unserved))

    def close(self) -> None:
        """Close the app. What it raises goes to the log: the node goes down, and others are to be closed as well."""
        closed = guarded(self.app.close)
        if isinstance(closed, Raised):
            self._log.error("app failed as it was closed", app=self.name, exc_info=closed.error)

    def _ask(self, done: str, call: Callable[[], T]) -> T:
        """What `call` gives; raises SetupError for whatever it raises, which is said in its own words if it is one of
        ours."""
        given = guarded(call)
        if not isinstance(given, Raised):
            return given
        ours = isinstance(given.error, OrbitnodeError | HalError)
        text = str(given.error) if ours else f"cannot be {done}: {given.text}"
        raise SetupError(f"app {self.name}: {text}") from given.error


class _Commands:
    """The app's commands (flight.contract.app.CommandTable): its own alone, which change its own rows alone."""

    def __init__(self, app: MissionApp, commands: Commands, rows: VaultView) -> None:
        self._unserved = [command.name for command in app.declarations.commands]
        self._commands = commands
        self._rows = rows

    def handle(self, name: str, check: Callable[..., None] | None, execute: Handler) -> None:
        if name not in self._unserved:
            raise SetupError(f"serves command {name!r}, which it has not declared or serves already")
        self._unserved.remove(name)
        self._commands.handle(name, check, execute, self._rows)

    def unserved(self) -> list[str]:
        return self._unserved


class _Structures:
    """The app's housekeeping structures (flight.contract.app.HousekeepingTable): its own alone."""

    def __init__(self, app: MissionApp, housekeeping: Housekeeping) -> None:
        self._own = {structure.name for structure in app.declarations.structures}
        self._housekeeping = housekeeping

    def provide(self, structure: str, sample: Callable[[], Sample]) -> None:
        if structure not in self._own:
            raise SetupError(f"samples structure {structure!r}, which it has not declared")
        self._housekeeping.provide(structure, sample)


class _Reports:
    """The app's own reports (flight.contract.app.ReportSink)."""

    def __init__(self, app: MissionApp, telemetry: Telemetry) -> None:
        self._apid = app.apid
        self._reports = {report.name: (report, report.layout) for report in app.declarations.reports}
        self._telemetry = telemetry

    def send(self, name: str, *values: Value) -> None:
        report, layout = self._reports[name]
        self._telemetry.send(self._apid, report.service, report.subtype, layout.encode(values))


@dataclass(frozen=True, slots=True)
class _Files:
    """The node's outbox (flight.contract.app.FileOutbox), in which the files of each app have names of their own; those
    of an app that flies alone need no `prefix` to be told from others."""

    prefix: str
    outbox: FileOutbox

    @property
    def backlog_octets(self) -> int:
        return self.outbox.backlog_octets

    @property
    def room_octets(self) -> int:
        return self.outbox.room_octets

    def put(self, name: str, octets: bytes) -> bool:
        return self.outbox.put(self.prefix + name, octets)
