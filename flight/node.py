"""The composition root: a mission and a platform in, a running node out. Parts are wired here and nowhere else.

There is no module state: a node that lost power is built again from the same mission and a new platform over the
same storage, and several nodes live in one process.
"""

from __future__ import annotations

import functools
import importlib
from contextlib import ExitStack
from pathlib import Path

from structlog.typing import FilteringBoundLogger

import flight
from flight.contract.app import App, AppContext, NodeState, Sample
from flight.contract.dictionary import Declarations, Dictionary, EventDefinition, collect
from flight.contract.fields import Value
from flight.core.errors import SetupError
from flight.core.log import node_log
from flight.core.nanoseconds import NS
from flight.core.platform import Platform
from flight.core.scheduler import Scheduler
from flight.core.task import Task, text_of
from flight.link.cfdp.pdu import segment_octets
from flight.link.stack import FlightLink, LinkConfig
from flight.mission import LinkSection, Mission
from flight.services.automation import event_action, schedule_declarations, sequence_declarations
from flight.services.automation.mission_sequences import encode_sequences
from flight.services.automation.schedule import Schedule
from flight.services.automation.sequences import Sequences
from flight.services.board import power, thermal
from flight.services.commanding import commands, refusals, test
from flight.services.commanding import verification as st01
from flight.services.commanding.command_log import CommandLog
from flight.services.files import outbox, uploads
from flight.services.health import executive, log_watch, status, storage
from flight.services.health.watchdog import WatchdogDuty
from flight.services.radio import radio
from flight.services.recorder import retrieval_commands
from flight.services.recorder.recorder import Recorder
from flight.services.reporting import events, housekeeping
from flight.services.reporting.event_gate import BOOT, THROTTLED, EventGate
from flight.services.reporting.telemetry import Downlink, Telemetry
from flight.services.settings import parameters
from flight.services.time import clock
from flight.store.generations import Generations, Presence
from flight.store.quota import SharedStorage
from flight.store.vault import Vault
from flight.swarm.protocol import LocalSwarm, Swarm
from hal import registry

_APP_PREFIX = "app_"  # of commands that node and app both have
_PACKAGES = ("flight", "hal", "payloads", "ground", "sim_hw")


def dictionary_of(mission: Mission) -> Dictionary:
    """Everything a node with this mission can say and be told."""
    apid = mission.node.node_apid
    parts: list[Declarations] = [
        events.declare(apid),
        events.declare_switch(apid),
        st01.declare(apid),
        commands.declare(apid),
        refusals.declare(apid),
        test.declare(apid),
        clock.declare(apid),
        parameters.declare(apid),
        status.declare(apid),
        storage.declare(apid),
        executive.declare(apid),
        log_watch.declare(apid),
        power.declare(apid, mission.power),
        thermal.declare(apid, mission.thermal),
        radio.declare(apid),
        retrieval_commands.declare(apid, mission.recorder),
        outbox.declare(apid),
        uploads.declare(apid),
        schedule_declarations.declare(apid),
        sequence_declarations.declare(apid),
        event_action.declare(apid),
    ]
    if mission.app is not None:
        parts.append(mission.app.declare(mission.node.app_apid))
        parts.append(events.declare_switch(mission.node.app_apid, _APP_PREFIX))
    parts.append(housekeeping.declare(apid, tuple(s for part in parts for s in part.structures)))
    return collect(
        parts,
        mission=mission.node.name,
        spacecraft_id=mission.node.spacecraft_id,
        version=flight.__version__,
        apids={"time": clock.TIME_APID, "node": apid, "app": mission.node.app_apid, "files": mission.node.file_apid},
        frame_octets=mission.node.frame_octets,
    )


def link_config(mission: Mission, section: LinkSection) -> LinkConfig:
    """What node and ground agree on for one `[[link]]`."""
    return section.config(mission.node)


class Node:
    """One booted node. Public parts are for those who watch it: the simulator, tests, the command line."""

    def __init__(
        self,
        mission: Mission,
        platform: Platform,
        *,
        swarm: Swarm | None = None,
        log: FilteringBoundLogger | None = None,
        log_loss: log_watch.LogLoss | None = None,
    ) -> None:
        """Raises HalError for a device that cannot be opened, StorageError for storage that cannot be used."""
        self.mission = mission
        self.dictionary = dictionary_of(mission)
        self.log = log or node_log(mission.node.name, platform.tai_ns, level="warning")
        self._log_loss = log_loss
        self._platform = platform
        self.given_up = ""  # the critical task whose loss ended this node, for those who started it
        self.scheduler = self._make_scheduler()
        self.swarm = swarm or LocalSwarm()
        apid = mission.node.node_apid
        # A little over what the stores hold: their segments end before they are quite full, never after.
        shares = storage.shares(mission.recorder.capacity_octets * 5 // 4)
        self.storage = SharedStorage(platform.storage, shares, mission.storage)
        self.vault = Vault(self.storage.user(storage.VAULT), epoch=platform.random.getrandbits(64))
        self.clock = clock.Clock(platform, self.vault)
        self.links: list[radio.RadioLink] = []
        self.recorder = Recorder(mission.recorder, self.storage.user(storage.RECORDER), self.vault)
        self.storage.user(storage.RECORDER).on_pressure(self.recorder.give_up)
        downlinks: list[Downlink] = []
        self.telemetry = Telemetry(self.clock.tai_ns, downlinks, self.recorder)
        self.gate = EventGate(
            self.dictionary.events, mission.events, self.vault, platform.now_ns, self._events_throttled
        )
        self.events = events.Events(apid, self.dictionary.events, self.telemetry, self.log, self.gate)
        self.verification = st01.Verification(apid, self.telemetry)
        self.command_log = CommandLog(
            self.vault, self.telemetry, self.verification, self._drained, platform.storage.sync
        )
        self.refusals = refusals.Refusals(apid, self.telemetry, mission.commands.refusals)
        self.commands = commands.Commands(
            self.dictionary.commands,
            mission.commands,
            self.scheduler,
            self.vault,
            self.command_log,
            self.verification,
            self.refusals,
            self.events,
            [mode.name for mode in mission.power.mode],
            lambda: self.power.mode.name,
        )
        generations = Generations(self.storage.user(storage.BOOT), storage.BOOT)
        self.boot = status.BootRecord(generations, self._boot_kept_in_memory, platform.random)
        self.boot.cause = platform.take_last_words() or self.boot.cause
        self._tell_what_was_found(generations)
        self.time = clock.TimeService(mission.time, self.clock, platform, self.vault, self.events)

        self.housekeeping = housekeeping.Housekeeping(
            apid,
            self.dictionary.structures,
            mission.housekeeping,
            self.vault,
            self.telemetry,
            self.events,
            platform.now_ns,
        )
        self.parameters = parameters.Parameters(apid, self.dictionary.settings, self.vault, self.telemetry, self.events)
        self.uploads = uploads.Uploads(
            mission.uploads, mission.node.file_apid, mission.outbox.entity, self.events, platform.now_ns
        )
        self.outbox = outbox.Outbox(
            mission.outbox,
            mission.node.file_apid,
            segment_octets(mission.node.frame_octets),
            self.boot.count,
            self.events,
            self.boot.epoch,
        )
        self._open_board()
        for section in mission.links:
            self.links.append(self._open_link(section))
        downlinks.extend(self.links)
        self._hold_commands()
        self.app = self._open_app()
        with ExitStack() as undo:  # a boot that fails, or loses its power, leaves no process behind
            undo.callback(self.close)
            self._serve()
            self._spawn()
            undo.pop_all()

    def _tell_what_was_found(self, boot: Generations) -> None:
        """The boot, and what of the stored state was not sound."""
        sha256 = str(self.dictionary.document()["sha256"])
        self.events.emit("boot", self.boot.count, self.boot.cause, sha256[:8], self.boot.epoch)
        told = [("boot", boot.fault)] + [("vault", damage) for damage in self.vault.damage]
        # The two were begun together: of one alone the other is gone.
        if boot.found is Presence.NOTHING and self.vault.octets:
            told.append(("boot", "nothing is left of it, and this storage was in use: the count begins anew"))
        if self.vault.found_nothing and self.boot.count > 1:
            told.append(("vault", "nothing is left of it, and this storage was booted before"))
        told += [("command log", damage) for damage in self.command_log.damage]
        for record, damage in told:
            if damage:
                self.events.emit("record_damaged", record, damage)
        if self.clock.damage:
            self.events.emit("record_damaged", "time", self.clock.damage)
        for dropped in self.gate.dropped:
            self.events.emit("event_switch_dropped", dropped)

    def _open_board(self) -> None:
        """The duties over power and heat, with their devices."""
        mission, platform, drivers = self.mission, self._platform, self.mission.drivers
        self.power = power.Power(
            mission.power,
            registry.open_eps(drivers.eps, platform),
            registry.open_governor(drivers.governor, platform) if drivers.governor else None,
            self.parameters,
            self.vault,
            self.events,
        )
        self.thermal = thermal.Thermal(
            mission.thermal,
            registry.open_thermometer(drivers.board_thermometer, platform),
            registry.open_thermometer(drivers.radiator_thermometer, platform),
            registry.open_heater(drivers.heater, platform) if drivers.heater else None,
            self.parameters,
            self.events,
        )

    def _make_scheduler(self) -> Scheduler:
        config, platform = self.mission.executive, self._platform
        return Scheduler(
            platform,
            platform.cpu_ns,
            self._task_failed,
            step_cost_ns=platform.step_cost_ns,
            on_given_up=self._task_given_up,
            on_overrun=lambda task, took_ns: self.events.emit("task_overrun", task.name, took_ns / NS),
            on_starved=lambda task, waited_ns: self.events.emit("task_starved", task.name, waited_ns / NS),
            catch_up_max=config.catch_up_max,
            restarts_max=config.restarts_max,
            starve_s=config.starve_s,
            critical_starve_s=config.critical_starve_s,
        )

    def _open_link(self, section: LinkSection) -> radio.RadioLink:
        return radio.RadioLink(
            section.name,
            registry.open_radio(section.driver, self._platform, section.rate_bps),
            FlightLink(link_config(self.mission, section)),
            playback=self.recorder,
            products=self.outbox,
            on_command=self._route,
            on_contact=self._switch_transmitter,
            on_frame=self.time.on_frame,
            idle_s=section.idle_s,
            events=self.events,
            now_ns=self._platform.now_ns,
        )

    def _hold_commands(self) -> None:
        """The services that keep commands for later."""
        mission, apid = self.mission, self.mission.node.node_apid
        parts = (self.vault, self.commands, self.telemetry, self.events, self.scheduler)
        self.schedule = Schedule(apid, mission.schedule, *parts, self.clock.tai_ns)
        steps = encode_sequences(self.dictionary, mission.sequences)
        self.sequences = Sequences(apid, mission.sequencing, steps, *parts)
        self.actions = event_action.EventActions(apid, mission.event_action, self.dictionary.events, *parts)
        for one in mission.sequences:
            if one.on_event:
                self.actions.bind(one.on_event, one.name, functools.partial(self.sequences.start, one.name))
        self.events.listen(self.actions.on_event)
        # The boot itself was told before there was anybody to listen.
        self.actions.on_event(next(e for e in self.dictionary.events if (e.apid, e.name) == (apid, BOOT)))

    def _open_app(self) -> App | None:
        mission, platform = self.mission, self._platform
        if mission.app is None:
            return None
        apid = mission.node.app_apid
        app_events = events.Events(apid, self.dictionary.events, self.telemetry, self.log, self.gate)
        app_events.serve(self.commands, _APP_PREFIX)
        app_events.listen(self.actions.on_event)
        self.app_events = app_events
        imager = registry.open_imager(mission.drivers.imager, platform) if mission.drivers.imager else None
        context = AppContext(
            platform=platform,
            scheduler=self.scheduler,
            vault=self.vault,
            tai_ns=self.clock.tai_ns,
            config=mission.payload,
            events=app_events,
            commands=self.commands,
            housekeeping=self.housekeeping,
            reports=_Reports(self.dictionary, apid, self.telemetry),
            outbox=self.outbox,
            swarm=self.swarm,
            imager=imager,
            state=self.state,
            set_load=self.power.set_computing,
        )
        return mission.app(context)

    def _serve(self) -> None:
        """Hand each service its commands and its housekeeping structure."""
        apid = self.mission.node.node_apid
        test.serve(apid, self.commands, self.telemetry)
        self.power.serve(self.commands, self.housekeeping)
        self.thermal.serve(self.housekeeping)
        retrieval_commands.RetrievalCommands(apid, self.mission.recorder, self.recorder, self.telemetry).serve(
            self.commands, self.housekeeping
        )
        self.parameters.serve(self.commands, self.housekeeping, self.uploads.octets)
        hk, table = self.housekeeping, self.commands
        hk.serve(table)
        self.events.serve(table)
        table.handle("set_time_report_rate", None, self.time.set_rate)
        table.handle("adjust_time", self.time.check_adjust, self.time.adjust)
        table.handle("set_drift_correction", self.time.check_drift, self.time.set_drift)
        for holder in (self.schedule, self.sequences, self.actions):
            holder.serve(table)
        for holder in (self.schedule, self.sequences, self.actions):
            hk.provide("schedule", holder.sample)
        hk.provide("time", self.time.sample)
        tasks = executive.Executive(apid, self.scheduler, self.telemetry)
        table.handle("report_tasks", None, tasks.report)
        hk.provide("executive", tasks.sample)
        hk.provide("link", functools.partial(radio.sample, self.links))
        hk.provide("link", self.outbox.sample)
        hk.provide("link", self.uploads.sample)
        hk.provide("commands", self.commands.sample)
        hk.provide("storage", storage.StorageStatus(self.storage, self.vault, self.recorder).sample)
        hk.provide("node", status.Status(self.boot.count, self.scheduler, self.boot.epoch).sample)
        hk.provide("node", self._sample_counts)

    def _spawn(self) -> None:
        spawn = self.scheduler.spawn
        spawn("power", self.power.run, deadline_s=0.2, critical=True)
        spawn("thermal", self.thermal.run, deadline_s=0.5, critical=True)
        # Before the radio: what a command reports shares a frame with what is reported of it.
        spawn("commands", self.commands.run, deadline_s=0.04, critical=True)
        spawn("commands.urgent", self.commands.run_urgent, deadline_s=0.02, critical=True)
        spawn("commands.close", self.command_log.run, deadline_s=1.0)
        spawn("commands.refusals", self.refusals.run, deadline_s=1.0)
        spawn("events", self.gate.run, deadline_s=1.0)
        spawn("housekeeping", self.housekeeping.run, deadline_s=0.5)
        spawn("recorder", lambda task: self.recorder.run(task, self.events), deadline_s=2.0)
        spawn("uploads", self.uploads.run, deadline_s=5.0)
        spawn("schedule", self.schedule.run, deadline_s=0.05)
        spawn("event_action", self.actions.run, deadline_s=0.1)
        if self._log_loss is not None:
            spawn("log", log_watch.LogWatch(self._log_loss, self.events).run, deadline_s=1.0)
        for link in self.links:
            spawn(f"radio.{link.name}", link.run, deadline_s=0.05, critical=True)
        if limit_s := self.mission.executive.watchdog_s:
            duty = WatchdogDuty(self.scheduler, self._platform.stroke, limit_s)
            spawn("watchdog", duty.run, deadline_s=limit_s / 4, critical=True)
        if self.app is not None:
            self.app.start()
        self.commands.assert_complete()
        self.housekeeping.check_samples()
        self.command_log.recover()

    def _route(self, raw: bytes) -> None:
        """A packet from the uplink: a part of a file, or a telecommand."""
        if not self.uploads.on_packet(raw):
            self.commands.on_packet(raw)

    def state(self) -> NodeState | None:
        """What admission decisions look at; None until power and temperature have been read once."""
        reading = self.power.reading
        if reading is None or self.thermal.board_c != self.thermal.board_c:
            return None
        return NodeState(
            soc_frac=reading.soc_frac,
            board_c=self.thermal.board_c,
            radiator_c=self.thermal.radiator_c,
            mode=self.power.mode,
            payload_on=self.power.payload_on,
            in_contact=any(link.in_contact for link in self.links),
            payload_cycles=self.power.payload_cycles,
        )

    def event_counts(self) -> dict[str, int]:
        """Events since boot by severity, node and app together."""
        counts = self.events.by_severity()
        if self.app is not None:
            counts = {severity: n + self.app_events.counts[severity] for severity, n in counts.items()}
        return counts

    def close(self) -> None:
        """End tasks and give back processes. Safe to call for a node that has lost its power."""
        self.scheduler.close()
        if self.app is not None:
            self.app.close()

    def _task_failed(self, task: Task, error: BaseException) -> None:
        self.log.error("task failed", task=task.name, exc_info=error)
        self.events.emit("task_failed", task.name, text_of(error))

    def _task_given_up(self, task: Task) -> None:
        """Without a critical task the node is no node: end it, so that whoever started it starts it anew."""
        action = "the node ends to be started anew" if task.critical else "the node goes on without it"
        self.events.emit("task_given_up", task.name, action)
        if task.critical:
            self.given_up = task.name
            self.boot.end(f"failure of task {task.name}", self._platform.stop)

    def _events_throttled(self, event: EventDefinition, count: int) -> None:
        self.events.emit(THROTTLED, event.apid, event.number, event.name, count)

    def _boot_kept_in_memory(self, fault: str) -> None:
        self.events.emit("record_damaged", "boot", f"kept in memory: {fault}")

    def _switch_transmitter(self) -> None:
        """On while any link is in contact."""
        self.power.switch_transmitter(any(link.in_contact for link in self.links))

    def _drained(self) -> bool:
        """Whether everything handed to the links has left, or was recorded as the contact ended, and what was recorded
        stands on storage."""
        contacts = [link.link for link in self.links if link.in_contact]
        backlog = any(link.backlog_octets(link.config.vc_realtime) for link in contacts)
        unheard = any(link.unheard for link in self.links)
        return not backlog and not unheard and not self.recorder.in_memory

    def _sample_counts(self) -> Sample:
        """What the structure "node" says of commands, telemetry, events and log."""
        done = self.verification.counts
        return {
            "commands_accepted": done["acceptance_success"],
            "commands_completed": done["completion_success"],
            "commands_failed": done["acceptance_failure"] + done["start_failure"] + done["completion_failure"],
            "telemetry_packets": self.telemetry.sent,
            **{f"events_{severity}": count for severity, count in self.event_counts().items()},
            "events_held_back": self.gate.held_back,
            "events_disabled": self.gate.disabled,
            "log_lines_lost": self._log_loss.lost if self._log_loss is not None else 0,
        }


class _Reports:
    """The app's own reports (flight.contract.app.ReportSink)."""

    def __init__(self, dictionary: Dictionary, apid: int, telemetry: Telemetry) -> None:
        self._apid = apid
        self._reports = {r.name: (r, r.layout) for r in dictionary.reports if r.apid == apid}
        self._telemetry = telemetry

    def send(self, name: str, *values: Value) -> None:
        report, layout = self._reports[name]
        self._telemetry.send(self._apid, report.service, report.subtype, layout.encode(values))


def build(
    mission: Mission,
    platform: Platform,
    *,
    swarm: Swarm | None = None,
    log: FilteringBoundLogger | None = None,
    log_loss: log_watch.LogLoss | None = None,
) -> Node:
    """Boot a node: recover what storage holds, open every device, start every task.

    Raises HalError, StorageError or SetupError, each naming what is missing or wrong. Without `log` warnings and
    worse go to stderr. `log_loss` says what became of the lines of `log`, for the ground to know.
    """
    assert_one_tree()
    return Node(mission, platform, swarm=swarm, log=log, log_loss=log_loss)


def assert_one_tree() -> None:
    """`hal` and `ground` are common names: a foreign package of that name must not stand in for ours."""
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
