"""A small rig: one spacecraft on the air with a ground session, in virtual time, without payload."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Protocol, cast

import pytest

from flight.catalogue import dictionary_of
from flight.contract.dictionary import Dictionary
from flight.contract.fields import Value
from flight.core.errors import DecodeError
from flight.core.nanoseconds import ns
from flight.link.actions import PacketReceived, StoreSecurity
from flight.link.pus import PusTc, PusTm
from flight.link.security.link_security import LinkSecurity
from flight.link.tm_tc_stack import LinkConfig
from flight.mission import MISSIONS, Mission, load
from flight.node import Node
from flight.roster import ROSTER
from ground.link.actions import SendCltu
from ground.link.security.stored_security import StoredSecurity
from ground.link.tm_tc_session import GroundSession
from hal.base import Imager
from sim_hw.machine.air import Air
from sim_hw.machine.digest import Digest
from sim_hw.machine.faults import FaultPlan, PlannedFault
from sim_hw.machine.loop import VirtualLoop
from sim_hw.machine.simulated_devices import SimImager
from sim_hw.spacecraft import SimRadio, Spacecraft
from sim_hw.world.channel import ChannelConfig
from sim_hw.world.orbit import OrbitConfig
from sim_hw.world.world import World, WorldConfig
from tests.mission_security import ground_security, mission_keys

# The run starts a minute and a half before a pass over Svalbard (docs: default orbit).
START = "2026-03-20T09:49:00Z"
PASS_START_S = 90.0
PASS_END_S = 630.0


@dataclass
class Rig:
    """`packets` are telemetry packets as they came down, decoded; `send` puts a telecommand through COP-1."""

    mission: Mission
    loop: VirtualLoop
    world: World
    air: Air
    craft: Spacecraft
    session: GroundSession
    dictionary: Dictionary
    digest: Digest
    packets: list[PusTm] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    acts: list[Any] = field(default_factory=list)
    sequence: int = 0
    sent: int = 0
    timer_ns: int | None = None
    security: LinkSecurity | None = None

    @property
    def node(self) -> Node:
        assert self.craft.node is not None
        return self.craft.node

    @property
    def stored_security(self) -> StoredSecurity:
        """What a station takes beside the session."""
        assert self.security is not None
        return StoredSecurity(self.security, lambda _: None)

    def until(self, t_s: float) -> None:
        self.craft.run_until(ns(t_s))

    def act(self, actions: list[Any]) -> None:
        self.acts.extend(actions)
        for one in actions:
            match one:
                case SendCltu(octets):
                    self.air.uplink(octets)
                case StoreSecurity(_, generation):
                    assert self.security is not None
                    self.security.stored(generation)
                    self.act(self.session.on_stored(self.loop.now_ns()))
                case PacketReceived(_, packet):
                    self.raw.append(packet)
                    try:
                        self.packets.append(PusTm.decode(packet))
                    except DecodeError:
                        assert packet[1] in (0, 3), "only time reports and file packets are without a PUS header"
        next_ns = self.session.next_time_ns
        if next_ns is not None and (self.timer_ns is None or next_ns < self.timer_ns):
            self.timer_ns = max(next_ns, self.loop.now_ns() + 1)
            self.loop.call_at(self.timer_ns, self.on_time)

    def on_time(self) -> None:
        self.timer_ns = None
        self.act(self.session.on_time(self.loop.now_ns()))

    def send_packet(self, packet: bytes) -> None:
        self.sent += 1
        self.act(self.session.send(packet, self.loop.now_ns(), self.sent))

    def send(self, name: str, *values: Value) -> PusTc:
        """The command `name` of the dictionary, its arguments as they stand."""
        command = self.dictionary.command(name)
        data = command.layout.encode(values)
        if command.function is not None:
            data = command.function.to_bytes(2, "big") + data
        request = PusTc(command.apid, self.sequence, command.service, command.subtype, data, ack=0b1011)
        self.sequence += 1
        self.send_packet(request.encode())
        return request

    def reports(self, service: int, subtype: int) -> list[PusTm]:
        return [p for p in self.packets if (p.service, p.subtype) == (service, subtype)]

    def stages(self, request: PusTc) -> list[int]:
        """Subtypes of the ST[01] reports for `request`, in order."""
        return [
            p.subtype
            for p in self.packets
            if p.service == 1 and int.from_bytes(p.data[2:4], "big") & 0x3FFF == request.seq
        ]


MissionText = Callable[..., Path]


class MakeRig(Protocol):
    """Makes a rig that has booted: `faults` are planned ones divided by blanks, `more` and `apps` are TOML."""

    def __call__(
        self, *, faults: str = "", seed: int = 1, bit_error_rate: float = 0.0, more: str = "", apps: str = "[]",
        imager: Imager | None = None,
    ) -> Rig: ...  # fmt: skip


@pytest.fixture
def bare_mission(tmp_path: Path) -> MissionText:
    """Writes a mission without payload, or with `apps`, and returns its path; the argument is more TOML."""

    def write(more: str = "", apps: str = "[]") -> Path:
        path = tmp_path / "bare.toml"
        base = (MISSIONS / "orbit.toml").as_posix()
        path.write_text(f'extends = "{base}"\napp = {apps}\n[node]\n{more}')
        return path

    return write


@pytest.fixture
def make_rig(bare_mission: MissionText) -> Iterator[MakeRig]:
    rigs: list[Rig] = []

    def make(
        *, faults: str = "", seed: int = 1, bit_error_rate: float = 0.0, more: str = "", apps: str = "[]",
        imager: Imager | None = None,
    ) -> Rig:  # fmt: skip
        mission = load(bare_mission(more, apps))
        loop, digest = VirtualLoop(), Digest()
        world = World(WorldConfig(orbit=OrbitConfig(start=START)))
        random = Random(seed)
        down = ChannelConfig(bit_error_rate=bit_error_rate)
        up = ChannelConfig(rate_bps=16_000, bit_error_rate=bit_error_rate)
        air = Air(loop, world, down, up, random, record=digest)
        air.schedule(world.passes(0, ns(PASS_END_S + 10)))
        plan = FaultPlan([PlannedFault.parse(one) for one in faults.split()])
        radios: dict[str, SimRadio] = {"s-band": air.modem}
        camera = cast("SimImager | None", imager)
        craft = Spacecraft(
            mission, loop, world, random, radios=radios, imager=camera, faults=plan, digest=digest,
            keys=lambda: mission_keys(mission),
        )  # fmt: skip
        config = mission.links[0].config
        assert isinstance(config, LinkConfig)
        security = ground_security(mission)
        session = GroundSession(config, security)
        rig = Rig(mission, loop, world, air, craft, session, dictionary_of(mission), digest, security=security)
        air.on_downlink = lambda octets: rig.act(rig.session.on_downlink(octets, loop.now_ns()))

        def contact(station: str | None) -> None:
            now_ns = loop.now_ns()
            rig.act(rig.session.initiate(now_ns) if station else rig.session.reset(now_ns))

        air.on_contact = contact
        craft.boot()
        rigs.append(rig)
        return rig

    yield make
    for rig in rigs:
        if rig.craft.node is not None:
            check_owners(rig.craft.node)
        rig.craft.shut_down()


def check_owners(node: Node) -> None:
    """Every row of the vault is of a service whose row of the roster says so, or of an app by its name: else an app
    could be given the name of another's rows. Rows called `test` are those of a test.
    """
    owners = {word for row in ROSTER for word in row.vault_rows} | {*node.apps, "test"}
    assert {key.partition(".")[0] for key, _ in node.parts.vault.rows("")} <= owners
