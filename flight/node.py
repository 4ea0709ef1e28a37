"""The composition root: a mission and a platform in, a running node out. Parts are wired here and nowhere else.

There is no module state: a node that lost power is built again from the same mission and a new platform over the
same storage, and several nodes live in one process.
"""

from __future__ import annotations

import importlib
from contextlib import ExitStack
from pathlib import Path

from structlog.typing import FilteringBoundLogger

import flight
from flight.app import App, AppContext, NodeState
from flight.core.errors import SetupError
from flight.core.generations import Generations
from flight.core.journal import Journal
from flight.core.log import node_log
from flight.core.scheduler import Scheduler, Task
from flight.dictionary import Declarations, Dictionary, collect
from flight.link.cfdp_pdu import segment_octets
from flight.link.stack import FlightLink, LinkConfig
from flight.mission import LinkSection, Mission
from flight.platform import Platform
from flight.services import commands, events, files, housekeeping, parameters, power, radio, status, test, thermal
from flight.services import verification as st01
from flight.services.recorder import Recorder
from flight.services.telemetry import Downlink, Telemetry
from flight.swarm.protocol import LocalSwarm, Swarm
from hal import registry

_PACKAGES = ("flight", "hal", "payloads", "ground", "sim_hw")


def dictionary_of(mission: Mission) -> Dictionary:
    """Everything a node with this mission can say and be told."""
    apid = mission.node.node_apid
    parts: list[Declarations] = [
        events.declare(apid),
        st01.declare(apid),
        commands.declare(apid),
        test.declare(apid),
        parameters.declare(apid),
        status.declare(apid),
        power.declare(apid, mission.power),
        thermal.declare(apid, mission.thermal),
        radio.declare(apid),
        files.declare(apid),
    ]
    if mission.app is not None:
        parts.append(mission.app.declare(mission.node.app_apid))
    parts.append(housekeeping.declare(apid, tuple(s for part in parts for s in part.structures)))
    return collect(
        parts,
        mission=mission.node.name,
        spacecraft_id=mission.node.spacecraft_id,
        version=flight.__version__,
        apids={"node": apid, "app": mission.node.app_apid, "files": mission.node.file_apid},
        frame_octets=mission.node.frame_octets,
    )


def link_config(mission: Mission, section: LinkSection) -> LinkConfig:
    """What node and ground agree on for one `[[link]]`."""
    return LinkConfig(
        spacecraft_id=mission.node.spacecraft_id,
        frame_octets=mission.node.frame_octets,
        coding=section.coding,
        uplink_bit_s=float(section.uplink_rate_bps),
    )


class Node:
    """One booted node. Public parts are for those who watch it: the simulator, tests, the command line."""

    def __init__(
        self,
        mission: Mission,
        platform: Platform,
        *,
        swarm: Swarm | None = None,
        log: FilteringBoundLogger | None = None,
    ) -> None:
        """Raises HalError for a device that cannot be opened, StorageError for storage that cannot be used."""
        self.mission = mission
        self.dictionary = dictionary_of(mission)
        self.log = log or node_log(mission.node.name, platform.tai_ns, level="warning")
        self.given_up = ""  # the critical task whose loss ended this node, for those who started it
        self.scheduler = Scheduler(platform, platform.cpu_ns, self._task_failed, on_given_up=self._task_given_up)
        self.swarm = swarm or LocalSwarm()
        self._platform = platform
        apid = mission.node.node_apid
        storage = platform.storage

        self.links: list[radio.RadioLink] = []
        self.recorder = Recorder(mission.recorder, _recorder_journal(mission, platform))
        downlinks: list[Downlink] = []
        self.telemetry = Telemetry(platform.tai_ns, downlinks, self.recorder)
        self.events = events.Events(apid, self.dictionary.events, self.telemetry, self.log)
        self.verification = st01.Verification(apid, self.telemetry)
        self.commands = commands.Commands(
            self.dictionary.commands, self.verification, self.events, mission.node.command_queue
        )
        generations = Generations(storage, "boot")
        self.boot = status.BootRecord(generations, self._boot_kept_in_memory)
        sha256 = str(self.dictionary.document()["sha256"])
        self.events.emit("boot", self.boot.count, self.boot.cause, sha256[:8])
        if generations.damaged:
            self.events.emit("record_damaged", "boot", "the other generation stands")

        self.housekeeping = housekeeping.Housekeeping(
            self.dictionary.structures, mission.housekeeping, self.telemetry, self.scheduler
        )
        self.parameters = parameters.Parameters(
            apid, self.dictionary.settings, Generations(storage, "parameters"), self.telemetry, self.events
        )
        self.outbox = files.Outbox(
            mission.outbox,
            mission.node.file_apid,
            segment_octets(mission.node.frame_octets),
            self.boot.count,
            self.events,
        )
        drivers = mission.drivers
        self.power = power.Power(
            mission.power,
            registry.open_eps(drivers.eps, platform),
            registry.open_governor(drivers.governor, platform) if drivers.governor else None,
            self.parameters,
            Generations(storage, "power"),
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
        for section in mission.links:
            self.links.append(self._open_link(section))
        downlinks.extend(self.links)
        self.app = self._open_app()
        with ExitStack() as undo:  # a boot that fails, or loses its power, leaves no process behind
            undo.callback(self.close)
            self._serve()
            self._spawn()
            undo.pop_all()

    def _open_link(self, section: LinkSection) -> radio.RadioLink:
        return radio.RadioLink(
            section.name,
            registry.open_radio(section.driver, self._platform, section.rate_bps),
            FlightLink(link_config(self.mission, section)),
            playback=self.recorder,
            products=self.outbox,
            on_command=self.commands.on_packet,
            on_contact=self._switch_transmitter,
            events=self.events,
            now_ns=self._platform.now_ns,
        )

    def _open_app(self) -> App | None:
        mission, platform = self.mission, self._platform
        if mission.app is None:
            return None
        apid = mission.node.app_apid
        app_events = events.Events(apid, self.dictionary.events, self.telemetry, self.log)
        self.app_events = app_events
        imager = registry.open_imager(mission.drivers.imager, platform) if mission.drivers.imager else None
        context = AppContext(
            platform=platform,
            scheduler=self.scheduler,
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
        one, hk, table = self.parameters, self.housekeeping, self.commands
        table.handle("report_parameter", one.check_report, one.report)
        table.handle("set_parameter", one.check_set, one.set)
        table.handle("set_hk_period", hk.check_structure, hk.set_period)
        table.handle("report_hk", hk.check_structure, hk.report)
        hk.provide("link", self._sample_link)
        hk.provide("node", status.Status(self.boot.count, self.scheduler, self._counts).sample)

    def _spawn(self) -> None:
        spawn = self.scheduler.spawn
        spawn("power", self.power.run, deadline_s=0.2, critical=True)
        spawn("thermal", self.thermal.run, deadline_s=0.5, critical=True)
        spawn("commands", self.commands.run, deadline_s=0.1, critical=True)
        spawn("recorder", self.recorder.run, deadline_s=2.0)
        for link in self.links:
            spawn(f"radio.{link.name}", link.run, deadline_s=0.05, critical=True)
        if self.app is not None:
            self.app.start()
        self.commands.assert_complete()

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

    def _task_failed(self, task: Task, error: Exception) -> None:
        self.log.error("task failed", task=task.name, exc_info=error)
        self.events.emit("task_failed", task.name, f"{type(error).__name__}: {error}")

    def _task_given_up(self, task: Task) -> None:
        """Without a critical task the node is no node: end it, so that whoever started it starts it anew."""
        action = "the node ends to be started anew" if task.critical else "the node goes on without it"
        self.events.emit("task_given_up", task.name, action)
        if task.critical:
            self.given_up = task.name
            self.boot.end(f"failure of task {task.name}", self._platform.stop)

    def _boot_kept_in_memory(self, fault: str) -> None:
        self.events.emit("record_damaged", "boot", f"kept in memory: {fault}")

    def _switch_transmitter(self) -> None:
        """On while any link is in contact."""
        self.power.switch_transmitter(any(link.in_contact for link in self.links))

    def _counts(self) -> tuple[int, int, int, int]:
        done = self.verification.counts
        failed = done["acceptance_failure"] + done["start_failure"] + done["completion_failure"]
        return done["acceptance_success"], done["completion_success"], failed, self.telemetry.sent

    def _sample_link(self) -> tuple[int, ...]:
        counters = [link.link.counters for link in self.links]
        values = (
            sum(c.units_sent for c in counters),
            sum(c.idle_frames for c in counters),
            sum(c.tc_frames for c in counters),
            sum(c.tc_packets for c in counters),
            sum(sum(c.uplink_rejected.values()) for c in counters),
            len(self.recorder),
            self.recorder.octets,
            self.recorder.overwritten,
            self.recorder.storage_faults,
            self.outbox.backlog_octets,
            self.outbox.sent,
        )
        contact = any(link.in_contact for link in self.links)
        return (int(contact), *(value & 0xFFFFFFFF for value in values))


class _Reports:
    """The app's own reports (flight.app.ReportSink)."""

    def __init__(self, dictionary: Dictionary, apid: int, telemetry: Telemetry) -> None:
        self._apid = apid
        self._reports = {r.name: (r, r.layout) for r in dictionary.reports if r.apid == apid}
        self._telemetry = telemetry

    def send(self, name: str, *values: float | str) -> None:
        report, layout = self._reports[name]
        self._telemetry.send(self._apid, report.service, report.subtype, layout.encode(values))


def build(
    mission: Mission, platform: Platform, *, swarm: Swarm | None = None, log: FilteringBoundLogger | None = None
) -> Node:
    """Boot a node: recover what storage holds, open every device, start every task.

    Raises HalError, StorageError or SetupError, each naming what is missing or wrong. Without `log` warnings and
    worse go to stderr.
    """
    assert_one_tree()
    return Node(mission, platform, swarm=swarm, log=log)


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


def _recorder_journal(mission: Mission, platform: Platform) -> Journal:
    """A circular journal half as large again as the recorder, so that it never loses what memory still holds: the
    shortest packet has 21 octets, a record 8 more, and the end of a segment stays free where a packet does not fit."""
    segment_octets = 65536
    segments = mission.recorder.capacity_octets * 3 // 2 // segment_octets + 2
    return Journal(platform.storage, "recorder", segment_octets=segment_octets, segments_max=segments, circular=True)
