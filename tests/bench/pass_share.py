"""A pass in which the node has more files to send than time: what leaves it, and how much of that is file data.

The whole node in virtual time, on the link of the orbit mission, without a payload app.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from random import Random

from flight.core.errors import DecodeError
from flight.core.log import node_log
from flight.core.nanoseconds import ns
from flight.link.actions import PacketReceived
from flight.link.cfdp.file_data import FileData
from flight.link.cfdp.pdu import decode_pdu
from flight.link.space_packet import HEADER_OCTETS
from flight.link.tm_tc_stack import LinkConfig
from flight.mission import Mission
from flight.node import Node
from flight.services.files.outbox import Outbox
from ground.link.actions import FrameReceived
from ground.link.tm_tc_session import GroundSession
from sim_hw.machine.loop import VirtualLoop
from sim_hw.spacecraft import Spacecraft
from sim_hw.world.world import World, WorldConfig
from tests.mission_security import ground_security, mission_keys, stored_at_once
from tests.sim.power_cut import Wire

SETTLE_S = 20.0  # the backlog of housekeeping from before the pass has gone
FILE_OCTETS = 2_000_000
FILES = 7


@dataclass(slots=True)
class Share:
    """What came down: frames of each virtual channel, octets that they had room for, and octets of files."""

    frames: dict[int, int]
    room_octets: int
    file_octets: int

    @property
    def frac(self) -> float:
        """The share of file data in what frames leave."""
        return self.file_octets / self.room_octets


class SaturatedPass:
    """The node and a ground that only listens."""

    def __init__(self, mission: Mission, seed: int = 1) -> None:
        self.loop = VirtualLoop()
        link = mission.links[0]
        assert isinstance(link.config, LinkConfig)
        self.config = link.config
        self.wire = Wire(self.loop, link.config.unit_octets * 8 / link.rate_bps)
        self.craft = Spacecraft(
            mission, self.loop, World(WorldConfig()), Random(seed), radios={"s-band": self.wire},
            log=node_log("share", lambda: 0, io.StringIO(), level="critical"), keys=lambda: mission_keys(mission),
        )  # fmt: skip
        self._security = ground_security(mission)
        self._session = GroundSession(link.config, self._security)
        self.share = Share({}, 0, 0)
        self._counts = False
        self.wire.on_unit = self._heard

    def run(self, pass_s: float) -> Share:
        """Fly until files are stored, then a pass of `pass_s`; return what its saturated part brought."""
        node = self.craft.boot()
        self._fill(node)
        self.craft.run_until(ns(60.0))
        self.wire.set_contact(True)
        self.craft.run_until(ns(60.0 + SETTLE_S))
        self._counts = True
        self.craft.run_until(ns(60.0 + pass_s))
        self.craft.shut_down()
        return self.share

    def _fill(self, node: Node) -> None:
        outbox, random = node.part(Outbox), Random(3)
        for number in range(FILES):
            outbox.put(f"file-{number}", random.randbytes(FILE_OCTETS))

    def _heard(self, unit: bytes) -> None:
        now_ns = self.loop.now_ns()
        actions = self._session.on_downlink(unit, now_ns)
        for action in stored_at_once(self._session, self._security, actions, now_ns):
            if not self._counts:
                continue
            if isinstance(action, FrameReceived):
                vcid = action.frame.vcid
                self.share.frames[vcid] = self.share.frames.get(vcid, 0) + 1
                self.share.room_octets += self.config.data_octets
            elif isinstance(action, PacketReceived):
                self._take(action.packet)

    def _take(self, packet: bytes) -> None:
        if packet[0] & 8:
            return  # has a secondary header: telemetry
        try:
            pdu = decode_pdu(packet[HEADER_OCTETS:])
        except DecodeError:
            return
        if isinstance(pdu, FileData):
            self.share.file_octets += len(pdu.data)
