"""The services of a node, one row each: what it declares, its sections of mission.toml, and how it is built.

A new service is a file in its room and a row here: docs/guides/service.md.
"""

# The order of the rows means one thing (ADR 0026): it is the order in which tasks start, so it decides between tasks
# that are due at the same instant, and it is the order of the report of tasks. Power and heat come first. Commands come
# before the radio, so that a command's own reports and the reports about it share a frame.
#
# In which order services are built follows from what they need: whoever asks the `Parts` for an object has its row
# built first. A circle is found at once, by an assertion.
#
# A row's declarations are made without a node, because the ground needs them as well. All structure ids and event
# numbers of the node are in them, but for the events of housekeeping, which flight.catalogue adds;
# flight.contract.collect finds a clash.
#
# How a service is built stands here and not in its own file: a service is given what it needs, and does not know where
# that comes from. So the rooms of the services need not import one another for the sake of wiring.

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from structlog.typing import FilteringBoundLogger

from flight.apps import MissionApp
from flight.contract.dictionary import Declarations, Dictionary, EventDefinition
from flight.contract.sections import DriverConfig, LinkSection, NodeConfig
from flight.contract.service import Service
from flight.core.config import Section
from flight.core.executive_section import ExecutiveConfig
from flight.core.platform import Platform
from flight.core.scheduler import Scheduler
from flight.link.cfdp.numbers import TransactionNumbers
from flight.link.cfdp.transactions.entity import Entity
from flight.link.kinds import open_stack
from flight.link.link import Role
from flight.link.security.keyring import Keyring
from flight.link.space_packet import HEADER_OCTETS as PACKET_HEADER_OCTETS
from flight.services.automation import event_action, schedule_declarations, sequence_declarations
from flight.services.automation.event_action import EventActionConfig, EventActions
from flight.services.automation.held_commands import HolderParts
from flight.services.automation.mission_sequences import encode_sequences
from flight.services.automation.schedule import Schedule
from flight.services.automation.schedule_declarations import ScheduleConfig
from flight.services.automation.sequence_declarations import SequenceConfig, SequencingConfig
from flight.services.automation.sequences import Sequences
from flight.services.board import power, thermal
from flight.services.board.power import Power, PowerConfig
from flight.services.board.thermal import Thermal, ThermalConfig
from flight.services.commanding import commands, ping, refusals, verification
from flight.services.commanding.command_log import CommandLog
from flight.services.commanding.commands import Commands, CommandsConfig
from flight.services.commanding.ping import Ping
from flight.services.commanding.refusals import Refusals
from flight.services.commanding.verification import Verification
from flight.services.files import declarations as file_declarations
from flight.services.files import file_commands, transfer_commands
from flight.services.files.cfdp_section import CfdpConfig
from flight.services.files.completion import Completion, CompletionParts
from flight.services.files.compression import Compressor
from flight.services.files.file_commands import FileCommands
from flight.services.files.node_filestore import NodeFilestore
from flight.services.files.outbox import Outbox, OutboxConfig
from flight.services.files.outbox_label import is_spent
from flight.services.files.peer_requests import PeerRequests
from flight.services.files.transfer_commands import TransferCommands
from flight.services.files.transfer_records import TransferRecords
from flight.services.files.transfers import FileTransfers
from flight.services.files.uploads import Uploads, UploadsConfig
from flight.services.health import executive, log_watch, status, storage_status
from flight.services.health.executive import Executive
from flight.services.health.log_watch import LogLoss, LogWatch
from flight.services.health.status import BootRecord, Status
from flight.services.health.storage_status import StorageStatus
from flight.services.health.watchdog import WatchdogDuty
from flight.services.radio import radio, security
from flight.services.radio.radio import RadioLink, RadioLinks
from flight.services.radio.security import Security
from flight.services.recorder import retrieval_commands
from flight.services.recorder.recorder import Recorder, RecorderConfig
from flight.services.recorder.retrieval_commands import RetrievalCommands
from flight.services.reporting import events
from flight.services.reporting.event_gate import BOOT, THROTTLED, EventGate, EventsConfig
from flight.services.reporting.events import Events
from flight.services.reporting.housekeeping import Housekeeping, HousekeepingConfig
from flight.services.reporting.telemetry import Telemetry
from flight.services.settings import parameters
from flight.services.settings.parameters import Parameters
from flight.services.time import clock, leap_seconds
from flight.services.time.clock import Clock, TimeConfig, TimeService
from flight.services.time.leap_seconds import LeapSecondTable, stored_table
from flight.store.files.file_entry import FileEntry
from flight.store.files.file_store import FileStore
from flight.store.files.files_config import FilesConfig
from flight.store.generations import Generations, Presence
from flight.store.quota import SharedStorage, StorageConfig
from flight.store.vault import Vault
from hal import registry
from hal.kinds import EPS, GOVERNOR, HEATER, RADIO, THERMOMETER

T = TypeVar("T")
_BOOT_RECORD, _VAULT_RECORD = "boot", "vault"  # the names that the event `record_damaged` uses


class MissionView(Protocol):
    """What services ask of a mission. A Protocol, since flight/mission.py itself goes through these rows."""

    @property
    def node(self) -> NodeConfig:
        """The section [node]."""

    @property
    def links(self) -> tuple[LinkSection, ...]:
        """Every [[link]], in the order of the file."""

    @property
    def drivers(self) -> DriverConfig:
        """The section [drivers]."""

    @property
    def apps(self) -> tuple[MissionApp, ...]:
        """Every [[app]], in the order of the file."""

    def section(self, kind: type[T]) -> T:
        """Return the section that the dataclass `kind` reads."""

    def tables(self, kind: type[T]) -> tuple[T, ...]:
        """Return the tables of the list that the dataclass `kind` reads."""


class Parts:
    """What a node is made of so far: its foundations by name, and every object that a row has built by its class."""

    def __init__(
        self,
        mission: MissionView,
        platform: Platform,
        dictionary: Dictionary,
        scheduler: Scheduler,
        log: FilteringBoundLogger,
        log_loss: LogLoss | None,
        *,
        keys: Keyring | None = None,
    ) -> None:
        self.mission = mission
        self.keys = keys
        self.platform = platform
        self.dictionary = dictionary
        self.scheduler = scheduler
        self.log = log
        self.log_loss = log_loss
        # A quarter more than the capacity of the stores: marks, and segments left alone because they are damaged or
        # foreign, count against the quota too. Of files, what gave way counts until it is deleted.
        recorder_octets = mission.section(RecorderConfig).capacity_octets * 5 // 4
        shares = storage_status.shares(recorder_octets, mission.section(FilesConfig).quota_octets * 5 // 4)
        self.storage = SharedStorage(platform.storage, shares, mission.section(StorageConfig))
        self.vault = Vault(self.storage.user(storage_status.VAULT), epoch=platform.random.getrandbits(64))
        self._objects: dict[type[Any], object] = {}
        self._built: dict[ServiceRow, tuple[object, ...]] = {}
        self._building: list[ServiceRow] = []

    @property
    def apid(self) -> int:
        """The APID of the node itself."""
        return self.mission.node.node_apid

    def of(self, kind: type[T]) -> T:
        """Return the object of this very class. Its row builds it when it is first asked for."""
        if kind not in self._objects:
            self.build(_row_of(kind))
        found = self._objects[kind]
        assert isinstance(found, kind)
        return found

    def build(self, row: ServiceRow) -> list[Service]:
        """Return the services of `row`, built now if nobody has asked for them yet."""
        if row not in self._built:
            assert row not in self._building, f"{row.gives} are needed to build themselves"
            self._building.append(row)
            self._built[row] = tuple(row.build(self))
            self._building.remove(row)
            self._objects |= {type(part): part for part in self._built[row]}
        return [part for part in self._built[row] if isinstance(part, Service)]


@dataclass(frozen=True, slots=True, eq=False)
class ServiceRow:
    """One row of the roster.

    `build` makes the objects of the row, one of each class in `gives`, which others may ask for; a row that gives none
    may make none. `vault_rows`: the first words of its vault keys.
    """

    build: Callable[[Parts], Iterable[object]]
    gives: tuple[type[Any], ...] = ()
    declare: Callable[[MissionView], Sequence[Declarations]] = lambda _: ()
    sections: tuple[Section, ...] = ()
    vault_rows: tuple[str, ...] = ()


def _own(*declare: Callable[[int], Declarations]) -> Callable[[MissionView], Sequence[Declarations]]:
    """Declare under the node's own APID, whatever the mission's sections say."""
    return lambda mission: [declare_part(mission.node.node_apid) for declare_part in declare]


# Time, storage of telemetry, events


def _build_clock(parts: Parts) -> Iterable[object]:
    # First of all: a computer whose clock goes by UTC tells TAI by the table that ground has sent.
    parts.platform.leap_seconds, _ = stored_table(parts.vault)
    yield Clock(parts.platform, parts.vault)


def _build_recorder(parts: Parts) -> Iterable[object]:
    user = parts.storage.user(storage_status.RECORDER)
    recorder = Recorder(parts.mission.section(RecorderConfig), user, parts.vault)
    user.on_pressure(recorder.give_up)
    telemetry = Telemetry(parts.of(Clock).tai_ns, recorder)
    return recorder, telemetry


def _build_events(parts: Parts) -> Iterable[object]:
    # The gate reports through the events that it gates, which are built after it: so they are asked for when called.
    def tell_throttled(event: EventDefinition, count: int) -> None:
        parts.of(Events).emit(THROTTLED, event.apid, event.number, event.name, count)

    declared, config = parts.dictionary.events, parts.mission.section(EventsConfig)
    gate = EventGate(declared, config, parts.vault, parts.platform.now_ns, tell_throttled)
    return gate, Events(parts.apid, declared, parts.of(Telemetry), parts.log, gate)


# Commands


def _build_command_log(parts: Parts) -> Iterable[object]:
    def drained() -> bool:
        """Return whether all reports are safe.

        They are if everything handed to the links has left, or was recorded as the contact ended, and what was recorded
        stands on storage.
        """
        return parts.of(RadioLinks).drained and not parts.of(Recorder).in_memory

    sync = parts.platform.storage.sync
    yield CommandLog(parts.vault, parts.of(Telemetry), parts.of(Verification), drained, sync)


def _build_verification(parts: Parts) -> Iterable[object]:
    yield Verification(parts.apid, parts.of(Telemetry))


def _build_refusals(parts: Parts) -> Iterable[object]:
    yield Refusals(parts.apid, parts.of(Telemetry), parts.mission.section(CommandsConfig).refusals)


def _build_commands(parts: Parts) -> Iterable[object]:
    yield Commands(
        parts.dictionary.commands,
        parts.mission.section(CommandsConfig),
        parts.scheduler,
        parts.vault,
        log=parts.of(CommandLog),
        verification=parts.of(Verification),
        refusals=parts.of(Refusals),
        events=parts.of(Events),
        modes=[mode.name for mode in parts.mission.section(PowerConfig).mode],
        mode=lambda: parts.of(Power).mode.name,
        forgetful=lambda: parts.of(Security).volatile,
    )


# The boot


def _build_boot(parts: Parts) -> Iterable[object]:
    def tell_kept_in_memory(fault: str) -> None:
        parts.of(Events).emit("record_not_stored", _BOOT_RECORD, f"kept in memory: {fault}")

    generations = Generations(parts.storage.user(storage_status.BOOT), storage_status.BOOT)
    boot = BootRecord(generations, tell_kept_in_memory, parts.platform.random)
    # What the watchdog saw is nearer to the truth: the stored cause was written before the process stood still.
    boot.cause = parts.platform.take_last_words() or boot.cause
    _tell_what_was_found(parts, boot, generations)
    return boot, Status(boot.count, parts.scheduler, boot.epoch)


def _tell_what_was_found(parts: Parts, boot: BootRecord, generations: Generations) -> None:
    """Report the boot, and what of the stored state was not sound."""
    vault, emit = parts.vault, parts.of(Events).emit
    sha256 = str(parts.dictionary.document()["sha256"])
    emit("boot", boot.count, boot.cause, sha256[:8], boot.epoch)
    damages = [(_BOOT_RECORD, generations.fault)] + [(_VAULT_RECORD, damage) for damage in vault.damage]
    # The two are begun together (ADR 0012): if only one is found, the other was lost.
    if generations.found is Presence.NOTHING and vault.octets:
        damages.append((_BOOT_RECORD, "nothing is left of it, and this storage was in use: the count begins again"))
    if vault.found_nothing and boot.count > 1:
        damages.append((_VAULT_RECORD, "nothing is left of it, and this storage was booted before"))
    damages += [("command log", damage) for damage in parts.of(CommandLog).damage]
    damages.append(("time", parts.of(Clock).damage))
    for record, damage in damages:
        if damage:
            emit("record_damaged", record, damage)
    for dropped in parts.of(EventGate).dropped:
        emit("event_switch_dropped", dropped)


# Reports, settings and files


def _build_time(parts: Parts) -> Iterable[object]:
    config = parts.mission.section(TimeConfig)
    yield TimeService(config, parts.of(Clock), parts.platform, parts.vault, parts.of(Events))


def _build_leap_seconds(parts: Parts) -> Iterable[object]:
    yield LeapSecondTable(parts.platform, parts.of(Clock), parts.vault, parts.of(Events))


def _build_housekeeping(parts: Parts) -> Iterable[object]:
    yield Housekeeping(
        parts.apid,
        parts.dictionary.structures,
        parts.mission.section(HousekeepingConfig),
        parts.vault,
        telemetry=parts.of(Telemetry),
        events=parts.of(Events),
        now_ns=parts.platform.now_ns,
        apps={app.apid: app.name for app in parts.mission.apps},
    )


def _build_files(parts: Parts) -> Iterable[object]:
    user = parts.storage.user(storage_status.FILES)
    outboxes: list[Outbox] = []  # the one outbox, once it is built
    readers: list[Callable[[FileEntry], bool]] = []  # whether somebody needs the file as it is

    def evicted(entry: FileEntry, reason: str) -> None:
        if outboxes:
            outboxes[0].on_evicted(entry, reason)
        else:  # as the transfers of the boot before are taken up again
            parts.of(Events).emit("file_evicted", entry.path, entry.octets, reason)

    store = FileStore(
        parts.mission.section(FilesConfig),
        user,
        parts.vault,
        tai_ns=parts.of(Clock).tai_ns,
        on_evicted=evicted,
        evictable=lambda entry: not any(reads(entry) for reads in readers),
        spent=is_spent,
    )
    user.on_pressure(store.give_up)
    filestore, compressor = NodeFilestore(store), Compressor(store)
    readers += (filestore.is_source, compressor.reads)
    transfers = _file_transfers(parts, filestore)
    cfdp, sink = parts.mission.section(CfdpConfig), parts.of(Events)
    uploads = Uploads(parts.mission.section(UploadsConfig), store, transfers.entity, sink)
    outbox = Outbox(
        parts.mission.section(OutboxConfig), cfdp.ground_entity, transfers, store, parts.vault, sink
    )  # fmt: skip
    outboxes.append(outbox)
    requests = PeerRequests(transfers, cfdp.ground_entity, sink)
    completion = Completion(CompletionParts(transfers, store, uploads, requests, sink, on_deleted=outbox.forget))
    return store, transfers, completion, uploads, outbox, compressor


def _build_file_commands(parts: Parts) -> Iterable[object]:
    outbox, transfers, telemetry = parts.of(Outbox), parts.of(FileTransfers), parts.of(Telemetry)

    def deleted(entry: FileEntry) -> None:
        outbox.forget(entry.number)
        outbox.sweep()

    return (
        FileCommands(
            parts.apid,
            parts.of(FileStore),
            parts.of(Compressor),
            telemetry,
            send=outbox.send,
            is_used=transfers.is_used,
            on_deleted=deleted,
        ),
        TransferCommands(parts.apid, transfers, transfers.entity.transactions, telemetry),
    )


def _file_transfers(parts: Parts, filestore: NodeFilestore) -> FileTransfers:
    mission, boot, cfdp = parts.mission, parts.of(BootRecord), parts.mission.section(CfdpConfig)
    # A part of a file with its headers fills one frame, of the link with the least room if several carry products.
    room = min((link.config.data_octets for link in mission.links if Role.PRODUCTS in link.config.channels), default=0)
    room = room or min(link.config.data_octets for link in mission.links)
    numbers = TransactionNumbers(boot.count, boot.epoch)
    return FileTransfers(
        mission.node.file_apid,
        Entity(cfdp.entity_config(room - PACKET_HEADER_OCTETS), filestore, numbers),
        filestore,
        TransferRecords(parts.storage.user(storage_status.TRANSFERS), storage_status.TRANSFERS),
        record_s=cfdp.record_s,
        events=parts.of(Events),
        now_ns=parts.platform.now_ns,
    )


def _build_parameters(parts: Parts) -> Iterable[object]:
    settings, upload = parts.dictionary.settings, parts.of(Uploads).octets
    yield Parameters(parts.apid, settings, parts.vault, parts.of(Telemetry), parts.of(Events), upload)


# Board and radio


def _build_power(parts: Parts) -> Iterable[object]:
    drivers, platform = parts.mission.drivers, parts.platform
    yield Power(
        parts.mission.section(PowerConfig),
        registry.open_device(EPS, drivers.eps, platform),
        registry.open_device(GOVERNOR, drivers.governor, platform) if drivers.governor else None,
        parts.of(Parameters),
        parts.vault,
        parts.of(Events),
    )


def _build_thermal(parts: Parts) -> Iterable[object]:
    drivers, platform = parts.mission.drivers, parts.platform
    yield Thermal(
        parts.mission.section(ThermalConfig),
        registry.open_device(THERMOMETER, drivers.board_thermometer, platform),
        registry.open_device(THERMOMETER, drivers.radiator_thermometer, platform),
        registry.open_device(HEATER, drivers.heater, platform) if drivers.heater else None,
        parts.of(Parameters),
        parts.of(Events),
    )


def _build_links(parts: Parts) -> Iterable[object]:
    def route(raw: bytes) -> None:
        """Hand on a packet from the uplink: a part of a file, or else a telecommand."""
        if not transfers.on_packet(raw):
            parts.of(Commands).on_packet(raw)

    def contact() -> None:
        parts.of(Power).switch_transmitter(links.in_contact)
        transfers.set_contact(links.carries_products_now)

    links, protection, transfers = RadioLinks(), parts.of(Security), parts.of(FileTransfers)
    transfers.on_ready = links.wake
    for index, section in enumerate(parts.mission.links):
        links.add(
            RadioLink(
                section.name,
                registry.open_device(RADIO, section.driver, parts.platform, rate_bps=section.rate_bps),
                open_stack(section.config, protection.link_security, index),
                playback=parts.of(Recorder),
                products=transfers,
                on_command=route,
                on_contact=contact,
                on_frame=parts.of(TimeService).on_frame,
                on_store=protection.store,
                idle_s=section.idle_s,
                events=parts.of(Events),
                now_ns=parts.platform.now_ns,
            )
        )
    protection.on_stored = links.wake
    # Telemetry is built before the links, since they report events: until now packets went to the recorder alone.
    parts.of(Telemetry).use(links)
    yield links


def _build_security(parts: Parts) -> Iterable[object]:
    generations = Generations(parts.storage.user(storage_status.SECURITY), storage_status.SECURITY)
    yield Security(
        parts.apid,
        parts.mission.links,
        parts.keys,
        generations,
        random=parts.platform.unpredictable,
        tai_ns=parts.of(Clock).tai_ns(),
        telemetry=parts.of(Telemetry),
        events=parts.of(Events),
    )


# Commands that the node holds for later


def _build_schedule(parts: Parts) -> Iterable[object]:
    config = parts.mission.section(ScheduleConfig)
    yield Schedule(parts.apid, config, _holder_parts(parts), parts.of(Clock).tai_ns)


def _build_sequences(parts: Parts) -> Iterable[object]:
    steps = encode_sequences(parts.dictionary, parts.mission.tables(SequenceConfig))
    yield Sequences(parts.apid, parts.mission.section(SequencingConfig), steps, _holder_parts(parts))


def _build_actions(parts: Parts) -> Iterable[object]:
    declared, sequences = parts.dictionary.events, parts.of(Sequences)
    actions = EventActions(parts.apid, parts.mission.section(EventActionConfig), declared, _holder_parts(parts))
    for sequence in parts.mission.tables(SequenceConfig):
        if sequence.on_event:
            actions.bind(sequence.on_event, sequence.name, functools.partial(sequences.start, sequence.name))
    parts.of(Events).listen(actions.on_event)
    # The boot was reported before anybody could listen, so it is handed on here.
    actions.on_event(next(e for e in declared if (e.apid, e.name) == (parts.apid, BOOT)))
    yield actions


def _holder_parts(parts: Parts) -> HolderParts:
    return HolderParts(parts.vault, parts.of(Commands), parts.of(Telemetry), parts.of(Events), parts.scheduler)


# What the node says of itself


def _build_retrieval(parts: Parts) -> Iterable[object]:
    config = parts.mission.section(RecorderConfig)
    yield RetrievalCommands(parts.apid, config, parts.of(Recorder), parts.of(Telemetry), parts.of(Events))


def _build_ping(parts: Parts) -> Iterable[object]:
    yield Ping(parts.apid, parts.of(Telemetry))


def _build_executive(parts: Parts) -> Iterable[object]:
    yield Executive(parts.apid, parts.scheduler, parts.of(Telemetry))


def _build_storage_status(parts: Parts) -> Iterable[object]:
    yield StorageStatus(parts.storage, parts.vault, parts.of(Recorder))


def _build_log_watch(parts: Parts) -> Iterable[object]:
    if parts.log_loss is not None:  # a simulated node's log goes to a file, and loses no lines
        yield LogWatch(parts.log_loss, parts.of(Events))


def _build_watchdog(parts: Parts) -> Iterable[object]:
    if limit_s := parts.mission.section(ExecutiveConfig).watchdog_s:  # 0: no watchdog, and nobody to stroke
        yield WatchdogDuty(parts.scheduler, parts.platform.stroke, limit_s)


ROSTER: tuple[ServiceRow, ...] = (
    ServiceRow(
        _build_power,
        gives=(Power,),
        declare=lambda mission: [power.declare(mission.node.node_apid, mission.section(PowerConfig))],
        sections=(Section("power", PowerConfig, required=True),),
        vault_rows=("power",),
    ),
    ServiceRow(
        _build_thermal,
        gives=(Thermal,),
        declare=lambda mission: [thermal.declare(mission.node.node_apid, mission.section(ThermalConfig))],
        sections=(Section("thermal", ThermalConfig),),
    ),
    ServiceRow(
        _build_commands,
        gives=(Commands,),
        declare=_own(commands.declare),
        sections=(Section("commands", CommandsConfig),),
    ),
    ServiceRow(_build_command_log, gives=(CommandLog,), vault_rows=("command",)),
    ServiceRow(_build_refusals, gives=(Refusals,), declare=_own(refusals.declare)),
    ServiceRow(
        _build_events,
        gives=(EventGate, Events),
        declare=_own(events.declare, events.declare_switch),
        sections=(Section("events", EventsConfig),),
        vault_rows=("events",),
    ),
    # What it declares depends on all other rows: see flight.catalogue.
    ServiceRow(
        _build_housekeeping,
        gives=(Housekeeping,),
        sections=(Section("housekeeping", HousekeepingConfig),),
        vault_rows=("housekeeping",),
    ),
    ServiceRow(
        _build_retrieval,
        gives=(RetrievalCommands,),
        declare=lambda mission: [retrieval_commands.declare(mission.node.node_apid, mission.section(RecorderConfig))],
        sections=(Section("recorder", RecorderConfig),),
        vault_rows=("recorder",),
    ),
    ServiceRow(
        _build_files,
        gives=(FileStore, FileTransfers, Completion, Uploads, Outbox, Compressor),
        declare=_own(file_declarations.declare),
        sections=(
            Section("cfdp", CfdpConfig),
            Section("files", FilesConfig),
            Section("outbox", OutboxConfig),
            Section("uploads", UploadsConfig),
        ),
        vault_rows=("file",),
    ),
    ServiceRow(
        _build_file_commands,
        gives=(FileCommands, TransferCommands),
        declare=_own(file_commands.declare, transfer_commands.declare),
    ),
    ServiceRow(
        _build_schedule,
        gives=(Schedule,),
        declare=_own(schedule_declarations.declare),
        sections=(Section("schedule", ScheduleConfig),),
        vault_rows=("schedule",),
    ),
    ServiceRow(
        _build_sequences,
        gives=(Sequences,),
        declare=_own(sequence_declarations.declare),
        sections=(Section("sequencing", SequencingConfig), Section("sequence", SequenceConfig, many=True)),
        vault_rows=("sequence",),
    ),
    ServiceRow(
        _build_actions,
        gives=(EventActions,),
        declare=_own(event_action.declare),
        sections=(Section("event_action", EventActionConfig),),
        vault_rows=("event_action",),
    ),
    ServiceRow(_build_log_watch, declare=_own(log_watch.declare)),
    ServiceRow(_build_links, gives=(RadioLinks,), declare=_own(radio.declare)),
    ServiceRow(_build_security, gives=(Security,), declare=_own(security.declare)),
    ServiceRow(_build_watchdog),
    ServiceRow(
        _build_leap_seconds,
        gives=(LeapSecondTable,),
        declare=_own(leap_seconds.declare),
    ),
    # Rows from here on have no tasks, so their order means nothing.
    ServiceRow(_build_clock, gives=(Clock,), vault_rows=("time",)),
    ServiceRow(
        _build_time,
        gives=(TimeService,),
        declare=_own(clock.declare),
        sections=(Section("time", TimeConfig),),
    ),
    ServiceRow(_build_recorder, gives=(Recorder, Telemetry)),
    ServiceRow(_build_verification, gives=(Verification,), declare=_own(verification.declare)),
    ServiceRow(_build_boot, gives=(BootRecord, Status), declare=_own(status.declare)),
    ServiceRow(_build_parameters, gives=(Parameters,), declare=_own(parameters.declare), vault_rows=("parameter",)),
    ServiceRow(_build_ping, gives=(Ping,), declare=_own(ping.declare)),
    ServiceRow(_build_executive, gives=(Executive,), declare=_own(executive.declare)),
    ServiceRow(_build_storage_status, gives=(StorageStatus,), declare=_own(storage_status.declare)),
)


def _row_of(kind: type[Any]) -> ServiceRow:
    (row,) = (row for row in ROSTER if kind in row.gives)
    return row
