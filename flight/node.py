"""The composition root: a mission and a platform in, a running node out.

There is no module state: a node that lost power is built again from the same mission and a new platform over the same
storage, and several nodes live in one process.
"""

# The boot, in this order: the scheduler, storage and vault; the boot record, which reports the boot and what was found
# of stored state; then every service, in the order of flight/roster.py; then the apps (flight/app_host.py). Handlers
# and samplers are handed out before any task has its first step, so that no command finds a service half there. Last
# comes the command log's recovery, which reports the commands that were open when the power went.
#
# A boot that fails once apps are being made closes them and ends all tasks: their worker processes would outlive it.
# Before that no process and no task has been started.
#
# The end, in order (`end`): links and telemetry hand over to the recorder what may not have been heard, and the boot
# record stores the cause for the next boot. `close` only stops: a node that has lost its power goes through it as well.

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from structlog.typing import FilteringBoundLogger

from flight.app_host import AppHost, hosts
from flight.catalogue import dictionary_of
from flight.contract.app import NodeState, Sample
from flight.contract.service import Service, hand_out
from flight.core.errors import SetupError
from flight.core.executive_section import ExecutiveConfig
from flight.core.log import node_log
from flight.core.nanoseconds import NS
from flight.core.platform import Platform
from flight.core.scheduler import Scheduler
from flight.core.task import Task, text_of
from flight.link.security.keyring import Keyring
from flight.mission import Mission
from flight.roster import ROSTER, Parts
from flight.services.board.power import Power
from flight.services.board.thermal import Thermal
from flight.services.commanding.command_log import CommandLog
from flight.services.commanding.commands import Commands
from flight.services.commanding.verification import Verification
from flight.services.health.log_watch import LogLoss
from flight.services.health.status import BootRecord
from flight.services.radio.radio import RadioLinks
from flight.services.reporting.event_gate import EventGate
from flight.services.reporting.events import Events
from flight.services.reporting.housekeeping import Housekeeping
from flight.services.reporting.telemetry import Telemetry
from flight.swarm.protocol import LocalSwarm, Swarm
from hal import registry

T = TypeVar("T")

_PACKAGES = ("flight", "hal", "payloads", "ground", "sim_hw")


class Node:
    """One booted node. `part` and `app` find what those who watch it want: the simulator, tests, the command line.

    `apps` has its payload apps by name, in the order of the mission.
    """

    def __init__(
        self,
        mission: Mission,
        platform: Platform,
        *,
        swarm: Swarm | None = None,
        log: FilteringBoundLogger | None = None,
        log_loss: LogLoss | None = None,
        keys: Keyring | None = None,
    ) -> None:
        """Boot the node. `keys` are those of its protected links.

        Raises HalError for a device that cannot be opened, StorageError for storage that cannot be used, SetupError
        for an app that cannot be made or does not fit what it declares.
        """
        self.mission = mission
        self.dictionary = dictionary_of(mission)
        self.log = log or node_log(
            mission.node.name, platform.tai_ns, level="warning", leap_seconds=lambda: platform.leap_seconds
        )
        self.given_up = ""  # the critical task whose loss ended this node, for whoever started it
        self._log_loss = log_loss
        self._platform = platform
        self.scheduler = self._make_scheduler()
        self.swarm = swarm or LocalSwarm()
        self.parts = Parts(mission, platform, self.dictionary, self.scheduler, self.log, log_loss, keys=keys)
        self.apps: dict[str, AppHost] = {}
        self.part(BootRecord)  # first: the event of the boot comes before those of the services
        services = [service for row in ROSTER for service in self.parts.build(row)]
        with ExitStack() as undo:  # a boot that fails, or loses its power, must leave no process behind
            undo.callback(self.close)
            for host in hosts(self.parts, self.swarm, self.state):
                self.apps[host.name] = host
                services.append(host.events)
            self._serve(services)
            self._start(services)
            undo.pop_all()

    def part(self, kind: type[T]) -> T:
        """Return the part of the node of this very class, such as `part(Power)`."""
        return self.parts.of(kind)

    def app(self, kind: type[T]) -> T | None:
        """Return the payload app of the class `kind`, the first one if there are several, None if there is none."""
        return next((host.app for host in self.apps.values() if isinstance(host.app, kind)), None)

    def _make_scheduler(self) -> Scheduler:
        config, platform = self.mission.section(ExecutiveConfig), self._platform

        def tell_overrun(task: Task, took_ns: int) -> None:
            self.part(Events).emit("task_overrun", task.name, took_ns / NS)

        def tell_starved(task: Task, waited_ns: int) -> None:
            self.part(Events).emit("task_starved", task.name, waited_ns / NS)

        return Scheduler(
            platform,
            platform.cpu_ns,
            self._task_failed,
            step_cost_ns=platform.step_cost_ns,
            on_given_up=self._task_given_up,
            on_overrun=tell_overrun,
            on_starved=tell_starved,
            catch_up_max=config.catch_up_max,
            restarts_max=config.restarts_max,
            starve_s=config.starve_s,
            critical_starve_s=config.critical_starve_s,
        )

    def _serve(self, services: Iterable[Service]) -> None:
        """Give handlers to the commands, and samplers to the housekeeping structures."""
        structures = self.part(Housekeeping)
        hand_out(services, self.part(Commands), structures)
        structures.provide("node", self._sample_counts)

    def _start(self, services: Iterable[Service]) -> None:
        for service in services:
            for task in service.tasks():
                self.scheduler.spawn(task.name, task.run, deadline_s=task.deadline_s, critical=task.critical)
        for host in self.apps.values():
            host.start()
        # What has no handler or sampler by now never gets one: our own mistake, or an app's.
        self.part(Commands).assert_complete()
        self.part(Housekeeping).check_samples()
        self.part(CommandLog).recover()

    def state(self) -> NodeState | None:
        """Return what admission decisions look at; None until power and temperature have been read once."""
        power, thermal = self.part(Power), self.part(Thermal)
        reading = power.reading
        if reading is None or thermal.board_c != thermal.board_c:  # NaN: not read yet
            return None
        return NodeState(
            soc_frac=reading.soc_frac,
            board_c=thermal.board_c,
            radiator_c=thermal.radiator_c,
            mode=power.mode,
            payload_on=power.payload_on,
            in_contact=self.part(RadioLinks).in_contact,
            payload_cycles=power.payload_cycles,
        )

    def event_counts(self) -> dict[str, int]:
        """Return the number of events since boot by severity, node and apps together."""
        counts = Counter(self.part(Events).by_severity())
        for host in self.apps.values():
            counts.update(host.events.by_severity())
        return dict(counts)

    def end(self, cause: str, when_stored: Callable[[], None]) -> None:
        """End the node in order. The next boot reports `cause`.

        The recorder gets the telemetry that may not have been heard, which is durable when the platform is closed.
        `when_stored` is called once the cause is durable.
        """
        for link in self.part(RadioLinks):
            link.end()
        self.part(Telemetry).end()
        self.part(BootRecord).end(cause, when_stored)

    def close(self) -> None:
        """End tasks and give back processes. Safe to call for a node that has lost its power."""
        with ExitStack() as closing:  # every app is closed, even if another one or the scheduler raises
            for host in reversed(self.apps.values()):
                closing.callback(host.close)
            self.scheduler.close()

    def _task_failed(self, task: Task, error: BaseException) -> None:
        self.log.error("task failed", task=task.name, exc_info=error)
        self.part(Events).emit("task_failed", task.name, text_of(error))

    def _task_given_up(self, task: Task) -> None:
        """Say that a task is given up, and end the node if it was critical, so that it is started again."""
        action = "the node ends to be started again" if task.critical else "the node goes on without it"
        self.part(Events).emit("task_given_up", task.name, action)
        if task.critical:
            self.given_up = task.name
            self.end(f"failure of task {task.name}", self._platform.stop)

    def _sample_counts(self) -> Sample:
        """Return what the structure "node" says of commands, telemetry, events and log."""
        reports, gate = self.part(Verification).counts, self.part(EventGate)
        return {
            "commands_accepted": reports["acceptance_success"],
            "commands_completed": reports["completion_success"],
            "commands_failed": reports["acceptance_failure"] + reports["start_failure"] + reports["completion_failure"],
            "telemetry_packets": self.part(Telemetry).sent,
            **{f"events_{severity}": count for severity, count in self.event_counts().items()},
            "events_held_back": gate.held_back,
            "events_disabled": gate.disabled,
            "log_lines_lost": self._log_loss.lost if self._log_loss is not None else 0,
        }


def build(
    mission: Mission,
    platform: Platform,
    *,
    swarm: Swarm | None = None,
    log: FilteringBoundLogger | None = None,
    log_loss: LogLoss | None = None,
    keys: Keyring | None = None,
) -> Node:
    """Boot a node: recover what storage holds, open every device, start every task.

    Raises HalError, StorageError or SetupError, each naming what is missing or wrong. Without `log`, warnings and worse
    go to stderr. `log_loss` counts the lines of `log` that were lost, so that the ground can be told.
    Without `keys` only a mission whose links are clear both ways is flown.
    """
    assert_one_tree()
    registry.import_drivers(mission.devices(), platform)
    return Node(mission, platform, swarm=swarm, log=log, log_loss=log_loss, keys=keys)


def assert_one_tree() -> None:
    """Check that all our packages come from one folder. Raises SetupError if they do not."""
    # `hal` and `ground` are common names: a foreign package of that name must not stand in for ours.
    parents: dict[str, Path] = {}
    for name in _PACKAGES:
        try:
            found = importlib.import_module(name).__file__
        except ImportError:
            continue  # a board may carry less than the whole project
        if found is not None:
            parents[name] = Path(found).resolve().parent.parent
    if len(set(parents.values())) > 1:
        where = ", ".join(f"{name} in {parent}" for name, parent in parents.items())
        raise SetupError(f"packages of different projects are mixed: {where}; install orbitnode in a venv of its own")
