"""One spacecraft in a run: mission, world, disk, airs, camera, ground station, operator and outputs of its own.

With the others of the run it shares the loop, and an archive and a digest in which its rows and channels bear its name.
Nothing of it depends on who else flies.
"""

# The order in which generators are drawn from is part of what a seed means: a draw more, or two that change places, and
# every digest is another one. `Random(seed)` is drawn by the air of the first link, then by the spacecraft. Whatever
# came later has a generator of its own, seeded by its name: each further link, and the ground.
#
# The ground hears the way down with its delay and errors, and has nothing else: summary and report take from the
# archive what the ground received, and from the lives (sim_hw/boot_accounts.py) what the node had counted. That the two
# can be held against each other is what makes the summary's sums worth something.

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from flight.apps import boot_faults
from flight.catalogue import dictionary_of, file_entities, ground_entity
from flight.contract.sections import LinkSection, link_plans
from flight.core.config import Fault
from flight.core.errors import SetupError
from flight.core.log import node_log
from flight.core.nanoseconds import ns
from flight.link.cfdp.numbers import EPOCH_BITS
from flight.link.security.associations import End
from flight.link.security.keyring import Keyring, simulated_keys
from flight.link.security.link_security import LinkSecurity
from flight.link.tm_tc_stack import LinkConfig
from flight.mission import MISSIONS, Mission
from flight.node import Node
from ground.changes import Change, Packet
from ground.files.transfer_folder import TransferFolder
from ground.link.actions import FrameReceived
from ground.link.kinds import open_session
from ground.link.mission_link import listened_links
from ground.link.security.stored_security import StoredSecurity
from ground.procedures.procedure import Procedure, load_named
from ground.products.product_store import ProductStore
from ground.station import GroundStation
from ground.telemetry.archive import Archive
from sim_hw.boot_accounts import Life
from sim_hw.config import SimConfig
from sim_hw.ground_segment import GroundSegment
from sim_hw.machine.air import Air
from sim_hw.machine.cpu_profile import CpuProfile
from sim_hw.machine.digest import Digest
from sim_hw.machine.faults import FaultPlan
from sim_hw.machine.loop import VirtualLoop
from sim_hw.machine.platform import ClockError
from sim_hw.machine.simulated_devices import ADDRESSES, SimImager
from sim_hw.payload_watch import PayloadWatch, payload_account
from sim_hw.report.outputs import PRODUCTS, OutputFolder
from sim_hw.spacecraft import Spacecraft
from sim_hw.world.channel import ChannelConfig
from sim_hw.world.scenes import TileSource
from sim_hw.world.world import World

REAL_SCHEMES = ("serial", "udp")  # what is behind them has a time of its own, which is not virtual
_MODEM_UNITS = 4  # in the modem's buffer: enough to keep the line busy between two steps of the radio task
_CARRIER_BPS = 16_000  # of the way up of a simplex link, over which nothing is sent


@dataclass(frozen=True, slots=True)
class SharedParts:
    """What all spacecraft of one run share. `digest` takes what each of them enters, `end_ns` is the end of the run."""

    loop: VirtualLoop
    archive: Archive
    digest: Digest
    end_ns: int


class SpacecraftRun:
    """One spacecraft in a run. `start` it, let the loop run, `finish` it; then read it for the summary and the report.

    `seed` is of all that is random about this spacecraft.
    """

    def __init__(
        self, mission: Mission, source: TileSource, out: OutputFolder, shared: SharedParts, *, seed: int,
        faults: FaultPlan, procedure: Procedure | None = None,
    ) -> None:  # fmt: skip
        """Build everything, without booting the node.

        `procedure` is the operator's, in place of the mission's script. Raises OrbitnodeError, HalError or SetupError,
        each naming what is missing or wrong.
        """
        self.mission = mission
        self._seed = seed
        self.name = mission.node.name
        self.config: SimConfig = mission.sections["sim"]
        self.out = out
        self.loop = shared.loop
        self.end_ns = shared.end_ns
        self.ended_alive = True
        self._has_ended = False
        self.world = World(self.config.world)
        self.digest = Digest(shared.digest)
        self.lives: list[Life] = []
        self.dictionary = dictionary_of(mission)
        self.passes = self.world.passes(0, self.end_ns)
        self.eclipses = self.world.eclipses(0, self.end_ns)
        random = Random(seed)
        own = mission.links[0]
        self.air = self._open_air(own, random, "link")
        further = listened_links(mission, own)
        airs = {link.name: self._open_air(link, Random(f"{link.name} {seed}"), link.name) for link in further}
        imager = SimImager(source, self.world)
        self.payload = PayloadWatch(mission, imager, self.end_ns)
        self.spacecraft = self._build_spacecraft(further, airs, random, imager, faults)
        self.archive = shared.archive.enter(self.dictionary)
        self.security = self._ground_security()
        protection = None if self.security is None else self.security.security
        self.session = open_session(own.config, protection, 0)
        self.further_links = {
            link.name: (airs[link.name], open_session(link.config, protection, mission.links.index(link)))
            for link in further
        }
        self.station = self._build_station(Random(f"ground {seed}").getrandbits(EPOCH_BITS))
        self.station.listen(self._heard)
        self.ground = GroundSegment(self.station, self.air, self.loop)
        self.ground.on_cltu = out.cltus.write
        for name, air in airs.items():
            self.ground.listen_to(air, name)
        self._procedure = load_named(self.config.script) if procedure is None else procedure

    def _open_air(self, link: LinkSection, random: Random, name: str) -> Air:
        """Return the air of one link, with the passes of the run on the loop.

        A simplex link has a way up all the same: the carrier tells the node that a station sees it.
        """
        config = self.config
        # A shallow modem buffer keeps the way from a report to the ground short.
        buffer_octets = _MODEM_UNITS * link.config.unit_octets
        down = ChannelConfig(link.rate_bps, config.bit_error_rate, config.acquisition_s, buffer_octets)
        up_bps = link.config.uplink_rate_bps if isinstance(link.config, LinkConfig) else _CARRIER_BPS
        up = ChannelConfig(up_bps, config.bit_error_rate, config.acquisition_s)
        air = Air(self.loop, self.world, down, up, random, record=self.digest, name=f"{self.name}.{name}")
        air.schedule(self.passes)
        return air

    def _build_spacecraft(
        self, further: Sequence[LinkSection], airs: dict[str, Air], random: Random, imager: SimImager, faults: FaultPlan
    ) -> Spacecraft:
        modems = {self.mission.links[0].driver: self.air.modem}
        modems |= {link.driver: airs[link.name].modem for link in further}
        config = self.config
        return Spacecraft(
            self.mission,
            self.loop,
            self.world,
            random,
            radios={driver.partition(":")[2]: modem for driver, modem in modems.items()},
            imager=imager,
            faults=faults,
            digest=self.digest,
            cpu=cpu_profile(self.mission, config.cpu_profile),
            clock_error=ClockError(ns(config.clock_offset_s), round(config.clock_drift_ppm * 1000)),
            log=node_log(self.name, self._tai_ns, self.out.log, level="info"),
            keys=self._keys,
            on_boot=self.payload.on_boot,
            on_down=self._went_down,
        )

    def _keys(self) -> Keyring | None:
        """Return the keys that both ends have, made from the seed; None if every link is clear."""
        plans, node = link_plans(self.mission.links), self.mission.node
        if not any(link.config.is_protected for link in self.mission.links):
            return None
        return simulated_keys(self._seed, plans, node.name, node.spacecraft_id)

    def _ground_security(self) -> StoredSecurity | None:
        """Return the ground's link security, whose record is kept in memory: a run's ground has one life."""
        keys = self._keys()
        if keys is None:
            return None
        random = Random(f"ground security {self._seed}")
        security = LinkSecurity(End.GROUND, keys, link_plans(self.mission.links), random=random.randbytes)
        return StoredSecurity(security, lambda _: None)

    def _build_station(self, epoch: int) -> GroundStation:
        """Return the ground, which listens to the further links beside its own."""
        node_entity, _ = file_entities(self.mission)
        # Within the products, which are replaced as one, and on their disk; no product has a name with a dot before it.
        self._transfers = TransferFolder(self.out.path(PRODUCTS) / ".transfers", durable=False)
        return GroundStation(
            self.dictionary,
            self.session,
            epoch_tai_ns=self.world.start_tai_ns,
            archive=self.archive,
            products=ProductStore(self.out.path(PRODUCTS)),
            transfers=self._transfers,
            cfdp=ground_entity(self.mission),
            node_entity=node_entity,
            command_timeout_s=60.0,
            path_delay_ns=self._path_delay_ns,
            epoch=epoch,
            further_links={name: session for name, (_, session) in self.further_links.items()},
            security=self.security,
        )

    def start(self) -> None:
        """Boot the node and let the operator begin."""
        self.spacecraft.boot()
        self.ground.run_script(self._procedure.body, self._procedure.file)

    def finish(self) -> None:
        """End the node and the ground in good order. Harmless when called twice."""
        if self._has_ended:
            return
        self._has_ended = True
        self.ended_alive = self.spacecraft.node is not None  # else the run ended between a power cut and its reboot
        try:
            self.spacecraft.shut_down()
            self.world.advance(self.loop.now_ns())
            self.ground.close()
            self._transfers.remove()  # nobody goes on with them
        finally:
            self.out.close()

    @property
    def still_up(self) -> list[Life]:
        """The last life if the node was still up at the end of the run: what it held is pending, not lost."""
        return self.lives[-1:] if self.ended_alive else []

    def _path_delay_ns(self, now_ns: int) -> int:
        """Return how long before its arrival a frame began to be sent: its own time on the air, and the light time.

        The decoder of the inner code gives the end of a unit only when the next one has come: one unit time more.
        """
        config = self.session.config
        units = 2 if config.convolutional else 1
        return units * self.air.down.channel.unit_time_ns(config.unit_octets) + self.air.light_time_ns(now_ns)

    def _tai_ns(self) -> int:
        return self.world.start_tai_ns + self.loop.now_ns()

    def _heard(self, change: Change, news: object) -> None:
        """Write the ground's streams, in order of reception."""
        if change is Change.FRAME and isinstance(news, FrameReceived):
            self.out.frames.write(news.raw)
        elif change is Change.PACKET and isinstance(news, Packet):
            self.out.packets.write(news.octets)

    def _went_down(self, node: Node) -> None:
        self.lives.append(Life.of(node, payload_account(node), self.loop.now_ns()))


def check_spacecraft(mission: Mission, *, scripted: bool) -> None:
    """Raise OrbitnodeError if what the mission names for its run cannot be used.

    That is the profile, and the script if the operator is `scripted` by the mission.
    """
    config: SimConfig = mission.sections["sim"]
    if scripted:
        load_named(config.script)
    cpu_profile(mission, config.cpu_profile)


def run_faults(mission: Mission, *, scripted: bool) -> list[Fault]:
    """Return what of the mission cannot be in a run, each fault with its key.

    Looked at are devices that are real or do not exist, the profile, what apps lack, and the script if the operator is
    `scripted` by the mission. A section that could not be read is None, and is a fault already.
    """
    found = boot_faults(mission.apps)
    config: SimConfig | None = mission.sections["sim"]
    if config is not None:
        looks: dict[str, Callable[[], object]] = {"cpu_profile": partial(cpu_profile, mission, config.cpu_profile)}
        if scripted:
            looks["script"] = partial(load_named, config.script)
        for key, look in looks.items():
            try:
                look()
            except SetupError as error:
                found.append(Fault(("sim", key), str(error)))
    for path, url in mission.device_keys():
        if text := _device_fault(str(path[-1]), url):
            found.append(Fault(path, f"is {url!r}, {text}"))
    return found


def _device_fault(key: str, url: str) -> str:
    """Return why the device that `key` names cannot be in a run, "" if it can."""
    scheme, _, address = url.partition(":")
    if scheme in REAL_SCHEMES:
        return "a real device; `orbitnode run` flies simulated ones, such as sim:NAME"
    known = ADDRESSES.get(key, (address,))
    if scheme == "sim" and address not in known:
        return f"not a simulated device, known: {', '.join(f'sim:{name}' for name in known)}"
    return ""


def cpu_profile(mission: Mission, name: str) -> CpuProfile | None:
    """Load the profile beside the mission file, or beside the missions that come with orbitnode; None without a name.

    Raises SetupError.
    """
    if not name:
        return None
    beside = mission.path.parent / name
    # If neither is there, the fault names the one beside the mission.
    return CpuProfile.load(beside if beside.exists() or not (MISSIONS / name).exists() else MISSIONS / name)
