"""From the octets of a CLTU at the modem to the handler of the command in it, on a whole node in virtual time.

The node is that of the orbit mission, with a modem that hands over one protected AD frame at a time: CLTU, error
control, ids, MAC, FARM-1, packet, admission, the lane of commands, the handler of `ping`. What is measured is the time
that this computer takes, until the handler begins; virtual time adds nothing. `uplink-refused` is what a frame costs
that is right but for its MAC, in stretches as the UDP driver hands them over.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from unittest.mock import patch

from flight.catalogue import dictionary_of
from flight.contract.sections import link_plans
from flight.core.nanoseconds import NS, ns
from flight.link.coding.cltu import encode_cltu
from flight.link.pus import PusTc
from flight.link.security.associations import End
from flight.link.security.link_security import LinkSecurity
from flight.link.tc.tc_frame import TcFrame
from flight.link.tm_tc_stack import FlightLink, LinkConfig
from flight.mission import MISSIONS, Mission, load
from flight.services.commanding.ping import Ping
from sim_hw.bench.bench_command import BenchError, Row, Survey, at_most
from sim_hw.machine.loop import VirtualLoop
from sim_hw.spacecraft import Spacecraft
from sim_hw.world.world import World, WorldConfig
from tests.bench.forged_frames import Forger
from tests.mission_security import mission_keys

LIMIT_US = 150.0
REFUSED_LIMIT_US = 8.0  # so that 100,000 a second leave something of a core
COMMANDS, FRAMES, STRETCH = 400, 6_400, 64
BOOT_S, GAP_S = 60.0, 0.1


class Modem:
    """Hears the ground, has room for nothing, and hands over what it is given."""

    def __init__(self) -> None:
        self.waiting: deque[bytes] = deque()
        self.told: Callable[[], None] = lambda: None

    def set_power(self, on: bool) -> None:
        pass

    def carrier(self) -> bool:
        return True

    def send(self, _unit: bytes) -> bool:
        return False

    def free_ns(self) -> int:
        return 0

    def receive(self) -> bytes | None:
        return self.waiting.popleft() if self.waiting else None

    def dropped(self) -> int:
        return 0

    def on_event(self, call: Callable[[], None]) -> None:
        self.told = call


def bare_mission() -> Mission:
    """Return the orbit mission without camera and apps."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "mission.toml"
        base = (MISSIONS / "orbit.toml").as_posix()
        path.write_text(f'extends = "{base}"\napp = []\n[drivers]\nimager = ""\n', encoding="utf-8")
        return load(path)


def dispatch_us() -> float:
    mission = bare_mission()
    config = mission.links[0].config
    assert isinstance(config, LinkConfig)
    assert config.up_suite is not None
    overhead = config.up_suite.overhead_octets
    ping = dictionary_of(mission).command("ping")
    ground = LinkSecurity(End.GROUND, mission_keys(mission), link_plans(mission.links), random=Random(1).randbytes)
    loop, modem, begun_ns = VirtualLoop(), Modem(), list[int]()
    craft = Spacecraft(
        mission, loop, World(WorldConfig()), Random(2), radios={mission.links[0].name: modem},
        keys=partial(mission_keys, mission),
    )  # fmt: skip
    answer = Ping._answer  # noqa: SLF001 - the handler, timed as it begins

    def timed(self: Ping) -> None:
        begun_ns.append(time.perf_counter_ns())
        answer(self)

    took_ns = []
    with patch.object(Ping, "_answer", timed):
        craft.boot()
        loop.run_until(ns(BOOT_S))
        for number in range(COMMANDS):
            while store := ground.to_store():
                ground.stored(store.generation)
            packet = PusTc(ping.apid, number, ping.service, ping.subtype, b"", ack=0b1011).encode()
            frame = TcFrame(config.spacecraft_id, config.tc_vcid, number % 256, packet)
            cltu = encode_cltu(frame.encode(lambda head, data: ground.protect(0, head, data) or b"", overhead))
            modem.waiting.append(cltu)
            begin_ns = time.perf_counter_ns()
            modem.told()
            while len(begun_ns) == number and time.perf_counter_ns() - begin_ns < NS:
                loop.run_until(loop.now_ns() + 1_000)
            if len(begun_ns) != number + 1:
                raise BenchError(f"command {number} was not executed")
            took_ns.append(begun_ns[-1] - begin_ns)
            loop.run_until(loop.now_ns() + ns(GAP_S))
    craft.shut_down()
    return median(took_ns) / 1000


def refused_us(kind: str) -> float:
    mission = bare_mission()
    config = mission.links[0].config
    assert isinstance(config, LinkConfig)
    security = LinkSecurity(End.NODE, mission_keys(mission), link_plans(mission.links), random=Random(1).randbytes)
    link = FlightLink(config, security)
    make = Forger(mission, mission_keys(mission)).kinds[kind]
    stretches = [b"".join(make() for _ in range(STRETCH)) for _ in range(FRAMES // STRETCH)]
    took_s = []
    for _ in range(5):
        begin_s = time.perf_counter()
        for stretch in stretches:
            link.on_uplink(stretch, 0)
        took_s.append(time.perf_counter() - begin_s)
    refused = sum(link.counters.uplink_rejected.values())
    assert (refused, link.farm.counters.accepted) == (5 * FRAMES, 0), link.counters
    return 1e6 * median(took_s) / FRAMES


def uplink(brief: bool) -> list[Row]:
    del brief
    return [
        at_most("uplink-dispatch", dispatch_us(), LIMIT_US, "limit", "us", note="AES-256-CMAC, median"),
        at_most("uplink-refused-mac", refused_us("mac"), REFUSED_LIMIT_US, "limit", "us/frame"),
        at_most("uplink-refused-spi", refused_us("spi"), REFUSED_LIMIT_US / 4, "limit", "us/frame"),
    ]


BENCHES = (Survey("uplink", uplink),)
