"""A product-only AOS link flown beside the radio: a whole node, two modems, one ground station over both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from flight.catalogue import dictionary_of
from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS, ns
from flight.link.cfdp.header import Mode
from flight.link.link import Role
from flight.link.tm_tc_stack import LinkConfig
from flight.mission import load
from flight.node import Node
from flight.services.files.outbox import Outbox
from flight.services.radio.radio import RadioLinks
from ground.changes import Change
from ground.files.transfer_folder import TransferFolder
from ground.link.kinds import open_session
from ground.operator import COMPLETED, Operator
from ground.products.product_store import ProductStore
from ground.station import GroundStation
from ground.telemetry.archive import Archive
from sim_hw.ground_segment import GroundSegment
from sim_hw.machine.air import Air
from sim_hw.machine.digest import Digest
from sim_hw.machine.loop import VirtualLoop
from sim_hw.spacecraft import SimRadio, Spacecraft
from sim_hw.world.channel import ChannelConfig
from sim_hw.world.orbit import OrbitConfig
from sim_hw.world.world import World, WorldConfig
from tests.mission_security import mission_keys, stored_security
from tests.sim.conftest import PASS_END_S, PASS_START_S, START

LINKS = """\
[[link]]
name = "s-band"
driver = "sim:s-band"
carries = ["realtime", "playback"]
[[link]]
name = "x-band"
driver = "sim:x-band"
kind = "aos"
coding = "{coding}"
rate_bps = 300_000
"""


class Flight:
    """From a minute and a half before a pass; the products wait from the start."""

    def __init__(self, mission_path: Path, folder: Path, bit_error_rate: float = 0.0, *, arrive: bool = False) -> None:
        self.mission = mission = load(mission_path)
        self.loop = VirtualLoop()
        world, random = World(WorldConfig(orbit=OrbitConfig(start=START))), Random(1)
        self.airs: dict[str, Air] = {}
        for link in mission.links:
            down = ChannelConfig(link.rate_bps, bit_error_rate if link.config.simplex else 0.0)
            self.airs[link.name] = air = Air(
                self.loop, world, down, ChannelConfig(16_000, 0.0), random, record=Digest(), name=link.name
            )
            air.schedule(world.passes(0, ns(PASS_END_S + 10)))
        radios: dict[str, SimRadio] = {name: air.modem for name, air in self.airs.items()}
        self.craft = Spacecraft(mission, self.loop, world, random, radios=radios, keys=lambda: mission_keys(mission))
        own, further = mission.links
        security = stored_security(mission)
        self.radio = open_session(own.config, security.security, 0)
        self.aos = open_session(further.config, security.security, 1)
        self.archive = Archive(folder / "archive.db")
        dictionary = dictionary_of(mission)
        self.products = folder / "products"
        self.station = GroundStation(
            dictionary, self.radio, epoch_tai_ns=world.start_tai_ns, archive=self.archive.enter(dictionary),
            products=ProductStore(self.products), transfers=TransferFolder(folder / "transfers"),
            further_links={further.name: self.aos},
            security=security,
        )  # fmt: skip
        self.notes: list[object] = []
        self.station.listen(lambda change, what: self.notes.append(what) if change is Change.NOTE else None)
        self.ground = GroundSegment(self.station, self.airs[own.name], self.loop)
        self.ground.listen_to(self.airs[further.name], further.name)
        self.node: Node = self.craft.boot()
        self.sent = {f"tile-{number}.bin": Random(number).randbytes(9_000 + 7_001 * number) for number in range(12)}
        for name, octets in self.sent.items():
            self.node.part(Outbox).put(name, octets, arrive=arrive)

    def until(self, t_s: float) -> None:
        self.craft.run_until(ns(t_s))

    def close(self) -> dict[str, bytes]:
        """End it; the files that the ground has."""
        self.craft.shut_down()
        self.ground.close()
        self.archive.close()
        return {path.name: path.read_bytes() for path in self.products.iterdir()}


Fly = Callable[..., Flight]


@pytest.fixture
def flight(bare_mission: Callable[[str], Path], tmp_path: Path) -> Iterator[Fly]:
    flights: list[Flight] = []

    def fly(coding: str, bit_error_rate: float = 0.0, *, arrive: bool = False) -> Flight:
        flights.append(Flight(bare_mission(LINKS.format(coding=coding)), tmp_path, bit_error_rate, arrive=arrive))
        return flights[-1]

    yield fly
    for one in flights:
        one.craft.shut_down()


def test_products_come_down_by_the_simplex_link_and_nothing_else_does(flight: Fly) -> None:
    one = flight("rs(255,223)")
    outcomes: list[str] = []

    async def script(operator: Operator) -> None:
        await operator.wait_contact(200)
        outcomes.append((await operator.send("ping")).outcome)

    one.ground.run_script(script)
    one.until(PASS_START_S + 120)
    assert outcomes == [COMPLETED]
    assert one.node.part(RadioLinks)[1].in_contact and one.notes == ["link x-band: contact"]
    radio, aos = (link.link for link in one.node.part(RadioLinks))
    assert (radio.roles, aos.roles) == (frozenset((Role.REALTIME, Role.PLAYBACK)), frozenset((Role.PRODUCTS,)))
    assert aos.counters.packets_queued == one.aos.counters.packets > 300
    assert one.aos.counters.frames_missed == 0 and sum(one.aos.counters.frames_rejected.values()) == 0
    assert one.radio.counters.packets == radio.counters.packets_queued > 20
    counters = one.station.counters()
    assert counters["links.x-band.link.frames"] == one.aos.counters.frames
    assert counters["links.x-band.coding.codewords_uncorrectable"] == 0
    one.until(PASS_END_S + 10)
    assert one.notes[-1] == "link x-band: contact lost"
    assert one.close() == one.sent


@pytest.mark.campaign
def test_frames_lost_to_noise_are_gaps_and_files_of_class_1_without_them_are_told(flight: Fly) -> None:
    one = flight("cadu", 5e-6)
    one.until(PASS_START_S + 120)
    counters, channel = one.aos.counters, one.airs["x-band"].down.channel.counters
    spoilt = sum(counters.frames_rejected.values())
    assert spoilt == counters.frames_rejected["crc"] > 20, "the marker is found all the same"
    assert counters.frames + spoilt == channel.delivered
    # The last frames before now are not missed until the next one comes.
    assert spoilt - 3 <= counters.frames_missed <= spoilt
    lost = one.node.part(RadioLinks)[1].link.counters.packets_queued - counters.packets
    assert lost > 0
    one.until(PASS_END_S + 400)
    whole = one.close()
    complete = [name for name, octets in one.sent.items() if whole.get(name) == octets]
    parts = [name for name in whole if name.endswith(".missing")]
    assert len(parts) > 0 and len(complete) + len(parts) == len(one.sent)
    for name in parts:
        rows = [line.split() for line in whole[name].decode().splitlines() if not line.startswith("#")]
        sent, came = one.sent[name.removesuffix(".part.missing")], whole[name.removesuffix(".missing")]
        missing = [range(int(start), int(end)) for start, end in rows]
        assert missing
        assert all(came[at] == sent[at] for at in range(len(came)) if not any(at in gap for gap in missing))


@pytest.mark.campaign
def test_files_of_class_2_come_whole_over_noise(flight: Fly) -> None:
    """What is lost on the one link is asked for over the other, which has a way up."""
    one = flight("cadu", 5e-6, arrive=True)
    one.until(PASS_END_S + 400)
    assert one.aos.counters.frames_missed > 20 and one.close() == one.sent


def test_housekeeping_of_the_links_is_of_both(flight: Fly) -> None:
    one = flight("cadu")

    def totals() -> dict[str, int]:
        counters = [link.link.counters for link in one.node.part(RadioLinks)]
        assert all(c.units_sent > c.idle_frames > 0 for c in counters)
        return {
            "frames_sent": sum(c.units_sent for c in counters),
            "idle_frames": sum(c.idle_frames for c in counters),
            "tc_frames": counters[0].tc_frames,
        }

    one.until(PASS_START_S + 60)
    before = totals()
    one.until(PASS_START_S + 75)  # a report comes every ten seconds
    for name, value in totals().items():
        shown = one.station.latest[f"link.{name}"].raw
        assert isinstance(shown, int) and before[name] <= shown <= value, name
    one.close()


def test_a_station_whose_own_link_is_simplex_receives_and_refuses_to_send(flight: Fly, tmp_path: Path) -> None:
    one = flight("cadu")
    session = open_session(one.mission.links[1].config)
    station = GroundStation(
        dictionary_of(one.mission), session, epoch_tai_ns=0, products=ProductStore(tmp_path / "files" / "products"),
        transfers=TransferFolder(tmp_path / "files" / "transfers"),
    )  # fmt: skip
    desk = station.files
    assert desk is not None
    with pytest.raises(OrbitnodeError, match="has no way up"):
        station.send("ping", {}, 0)
    with pytest.raises(OrbitnodeError, match="has no way up"):
        station.schedule("ping", {}, NS, 0)
    with pytest.raises(OrbitnodeError, match="has no way up"):
        desk.put(desk.folder.keep(b"x"), name="a", local="", octets=1, digest="", mode=Mode.ACKNOWLEDGED, now_ns=0)
    assert station.tracker.counters.sent == 0

    def heard(octets: bytes) -> None:
        station.on_downlink(octets, one.loop.now_ns())

    one.airs["x-band"].on_downlink = heard
    one.until(PASS_START_S + 30)
    in_contact = station.in_contact
    assert in_contact and station.counters()["link.frames"] > 100
    assert station.on_time(one.loop.now_ns() + 6 * NS) == []
    in_contact = station.in_contact
    assert not in_contact
    assert isinstance(one.mission.links[0].config, LinkConfig)
