"""A whole run in virtual time: world, spacecraft, air, ground, operator, joined on one loop and one digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
from numpy.typing import NDArray

from flight.catalogue import dictionary_of
from flight.contract.sections import LinkSection
from flight.core.log import node_log
from flight.core.nanoseconds import NS, ns
from flight.core.scheduler import Scheduler
from flight.core.task_stats import TaskStats
from flight.link.cfdp.numbers import EPOCH_BITS
from flight.link.cfdp.transfers import CfdpConfig
from flight.link.stack import LinkConfig
from flight.mission import MISSIONS, Mission
from flight.node import Node
from flight.services.files.outbox import Outbox, OutboxConfig
from flight.services.radio.radio import RadioLinks
from flight.services.recorder.recorder import Recorder
from flight.services.recorder.retrieval import OpenRetrieval
from ground.changes import Change, Packet
from ground.link.actions import FrameReceived
from ground.link.kinds import open_session
from ground.link.mission_link import listened_links
from ground.procedures.procedure import Procedure, load_named
from ground.station import GroundStation
from ground.telemetry.archive import Archive
from ground.telemetry.products import ProductStore
from payloads.accounting import ProductInfo, Statistics
from payloads.manager import InferenceManager
from payloads.product.answers import SCREENING
from sim_hw.config import SimConfig
from sim_hw.ground_segment import GroundSegment
from sim_hw.machine.air import Air
from sim_hw.machine.boards import SimImager
from sim_hw.machine.cpu_profile import CpuProfile
from sim_hw.machine.digest import Digest
from sim_hw.machine.faults import FaultPlan
from sim_hw.machine.loop import VirtualLoop
from sim_hw.machine.platform import ClockError
from sim_hw.report.outputs import PRODUCTS, OutputFolder
from sim_hw.report.report import Tile as ReportTile
from sim_hw.report.report import quicklook_png
from sim_hw.spacecraft import Spacecraft
from sim_hw.world.channel import ChannelConfig
from sim_hw.world.scenes import Tile, TileSource
from sim_hw.world.world import World

_CLOUD = 1
_REPORT_TILES = 24
_MODEM_UNITS = 4
_CARRIER_BPS = 16_000  # of the way up of a simplex link, over which nothing is sent
ENDED = "(ended)"


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """One packet store when a life of the node ended: counts since its boot; waiting, octets and fill as of then."""

    name: str
    recorded: int
    played_back: int
    overwritten: int
    refused: int
    waiting: int
    octets: int
    fill_frac: float

    @classmethod
    def of(cls, one: OpenRetrieval) -> StoreFacts:
        store = one.store
        return cls(
            store.name, store.recorded, one.played_back, one.overwritten, store.refused, one.waiting, store.octets,
            store.filled_frac(),
        )  # fmt: skip


@dataclass(slots=True)
class Life:
    """What one boot of the node had counted when it ended."""

    payload: Statistics | None
    infer_s: tuple[float, ...]
    scheduler: TaskStats
    up_ns: int
    tasks: dict[str, TaskStats]
    events: dict[str, int]
    recorded: int
    played_back: int
    overwritten: int
    returned: int
    recorder_faults: int
    cltu_corrected: int
    stores: tuple[StoreFacts, ...]
    files_begun: int
    files_sent: int
    files_waiting: int
    files_waiting_octets: int


@dataclass(slots=True)
class Screening:
    """Accuracy of every screened tile against its truth, and a sample of tiles for the report."""

    accuracy: dict[str, float] = field(default_factory=dict)
    tiles: list[ReportTile] = field(default_factory=list)


class MissionRun:
    """One run. Build it, `advance` it to its end, `finish` it; the rest is for the summary and the report."""

    def __init__(
        self,
        mission: Mission,
        source: TileSource,
        out: OutputFolder,
        *,
        seed: int,
        duration_s: float,
        faults: FaultPlan,
        procedure: Procedure | None = None,
    ) -> None:
        """`procedure` is the operator's, in place of the mission's script.

        Raises OrbitnodeError, HalError or SetupError, each naming what is missing or wrong.
        """
        config: SimConfig = mission.sections["sim"]
        self.mission = mission
        self.config = config
        self.seed = seed
        self.end_ns = ns(duration_s)
        self.out = out
        self.ended_alive = True
        self.loop = VirtualLoop()
        self.world = World(config.world)
        self.digest = Digest()
        self.lives: list[Life] = []
        self.screening = Screening()
        self.dictionary = dictionary_of(mission)
        self.passes = self.world.passes(0, self.end_ns)
        self.eclipses = self.world.eclipses(0, self.end_ns)
        random = Random(seed)
        own = mission.links[0]
        self.air = self._open_air(own, random, "link")
        further = listened_links(mission, own)
        airs = {link.name: self._open_air(link, Random(f"{link.name} {seed}"), link.name) for link in further}
        modems = {own.driver: self.air.modem} | {link.driver: airs[link.name].modem for link in further}
        self.imager = SimImager(source, self.world)
        self.spacecraft = Spacecraft(
            mission,
            self.loop,
            self.world,
            random,
            radios={driver.partition(":")[2]: modem for driver, modem in modems.items()},
            imager=self.imager,
            faults=faults,
            digest=self.digest,
            cpu=cpu_profile(mission, config.cpu_profile),
            clock_error=ClockError(ns(config.clock_offset_s), round(config.clock_drift_ppm * 1000)),
            log=node_log(mission.node.name, self._tai_ns, out.log, level="info"),
            on_boot=self._booted,
            on_down=self._went_down,
        )
        self.archive_file = Archive(out.path("archive.db"))
        self.archive = self.archive_file.enter(self.dictionary)
        self.session = open_session(own.config)
        self.station = self._make_station(further)
        self.station.listen(self._heard)
        self.ground = GroundSegment(self.station, self.air, self.loop)
        self.ground.on_cltu = out.cltus.write
        for name, air in airs.items():
            self.ground.listen_to(air, name)
        self._procedure = load_named(config.script) if procedure is None else procedure

    def _make_station(self, further: Sequence[LinkSection]) -> GroundStation:
        """The ground, listening to the `further` links beside its own."""
        return GroundStation(
            self.dictionary,
            self.session,
            epoch_tai_ns=self.world.start_tai_ns,
            archive=self.archive,
            products=ProductStore(
                self.out.path(PRODUCTS), CfdpConfig(entity=self.mission.section(OutboxConfig).ground_entity)
            ),
            command_timeout_s=60.0,
            path_delay_ns=self._path_delay_ns,
            epoch=Random(f"ground {self.seed}").getrandbits(EPOCH_BITS),
            further_links={link.name: open_session(link.config) for link in further},
        )

    def _open_air(self, link: LinkSection, random: Random, name: str) -> Air:
        """The air of one link, with the passes of the run. A simplex link has a way up all the same: the carrier."""
        config = self.config
        # A shallow modem buffer keeps the way from a report to the ground short.
        buffer_octets = _MODEM_UNITS * link.config.unit_octets
        down = ChannelConfig(link.rate_bps, config.bit_error_rate, config.acquisition_s, buffer_octets)
        up_bps = link.config.uplink_rate_bps if isinstance(link.config, LinkConfig) else _CARRIER_BPS
        up = ChannelConfig(up_bps, config.bit_error_rate, config.acquisition_s)
        air = Air(self.loop, self.world, down, up, random, self.digest, name)
        air.schedule(self.passes)
        return air

    def start(self) -> None:
        self.spacecraft.boot()
        self.ground.run_script(self._procedure.body, self._procedure.file)

    def advance(self, t_ns: int) -> None:
        self.spacecraft.run_until(min(t_ns, self.end_ns))

    def finish(self) -> None:
        """End the node and the ground in good order. Harmless when called twice."""
        self.ended_alive = self.spacecraft.node is not None
        self.spacecraft.shut_down()
        self.world.advance(self.loop.now_ns())
        self.ground.close()
        self.archive.commit()
        self.out.close()

    @property
    def still_up(self) -> list[Life]:
        """The last life, where the node was still up at the end of the run: what it held is pending, not lost."""
        return self.lives[-1:] if self.ended_alive else []

    def _path_delay_ns(self, now_ns: int) -> int:
        """A frame that arrives was sent, bit by bit, and then took its light time. The inner code's decoder gives the
        end of a unit when the next one has come."""
        config = self.session.config
        units = 2 if config.convolutional else 1
        return units * self.air.down.channel.unit_time_ns(config.unit_octets) + self.air.light_time_ns(now_ns)

    def _tai_ns(self) -> int:
        return self.world.start_tai_ns + self.loop.now_ns()

    def _heard(self, change: Change, thing: object) -> None:
        """The ground's streams, in order of reception."""
        if change is Change.FRAME and isinstance(thing, FrameReceived):
            self.out.frames.write(thing.raw)
        elif change is Change.PACKET and isinstance(thing, Packet):
            self.out.packets.write(thing.octets)

    def _booted(self, node: Node) -> None:
        if (manager := node.app(InferenceManager)) is not None:
            manager.on_product = self._screened

    def _went_down(self, node: Node) -> None:
        manager = node.app(InferenceManager)
        self.lives.append(
            Life(
                payload=manager.statistics() if manager else None,
                infer_s=tuple(manager.counters.infer_s) if manager else (),
                scheduler=node.scheduler.totals(),
                up_ns=self.loop.now_ns() - node.scheduler.started_ns,
                tasks=task_totals(node.scheduler),
                events=node.event_counts(),
                recorded=node.part(Recorder).recorded,
                played_back=node.part(Recorder).played_back,
                overwritten=node.part(Recorder).overwritten,
                returned=node.part(Recorder).returned_packets,
                recorder_faults=node.part(Recorder).storage_faults,
                cltu_corrected=sum(one.link.counters.cltu_corrected for one in node.part(RadioLinks)),
                stores=tuple(StoreFacts.of(one) for one in node.part(Recorder).retrievals),
                files_begun=node.part(Outbox).begun,
                files_sent=node.part(Outbox).sent,
                files_waiting=node.part(Outbox).waiting,
                files_waiting_octets=node.part(Outbox).backlog_octets,
            )
        )

    def _screened(self, info: ProductInfo, octets: bytes) -> None:
        """Compare a mask with the truth, if the tile has one, and keep some for the report."""
        tile = self.imager.tile(info.tile)
        if tile is None or info.answer != SCREENING:
            return
        mask = np.frombuffer(octets, np.uint8).reshape(tile.refl.shape[1:])
        accuracy = cloud_accuracy(mask, tile)
        if accuracy is not None:
            self.screening.accuracy[tile.name] = accuracy
        every = max(1, self.mission_tiles // _REPORT_TILES)
        if info.tile % every == 0 and len(self.screening.tiles) < _REPORT_TILES:
            shown = ReportTile(
                f"tile {info.tile}",
                mask,
                float(np.mean(mask == _CLOUD)),
                accuracy,
                quicklook_png(tile.refl),
                f"{info.energy_j:.0f} J",
            )
            self.screening.tiles.append(shown)

    @property
    def mission_tiles(self) -> int:
        """About how many tiles the run will screen, to spread the report's sample over it."""
        app = self.mission.app(InferenceManager)
        period_s = 10.0 if app is None else app.config.capture_period_s
        return round(0.6 * self.end_ns / NS / period_s)


def cpu_profile(mission: Mission, name: str) -> CpuProfile | None:
    """The profile beside the mission file, or beside the missions that come with orbitnode; None without a name.

    Raises SetupError.
    """
    if not name:
        return None
    beside = mission.path.parent / name
    return CpuProfile.load(beside if beside.exists() or not (MISSIONS / name).exists() else MISSIONS / name)


def task_totals(scheduler: Scheduler) -> dict[str, TaskStats]:
    """What tasks counted, those of one name together, in order of first appearance; last, under `ENDED`, all those
    that ended before."""
    totals: dict[str, TaskStats] = {}
    for task in scheduler.tasks:
        totals.setdefault(task.name, TaskStats()).add(task.stats)
    if scheduler.ended.steps:
        totals[ENDED] = scheduler.ended
    return totals


def cloud_accuracy(mask: NDArray[np.uint8], tile: Tile) -> float | None:
    """Share of pixels on which mask and truth agree about cloud or no cloud; None without a truth."""
    if tile.truth is None:
        return None
    return float(np.mean((mask == _CLOUD) == (tile.truth == _CLOUD)))
