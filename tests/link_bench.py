"""Both ends of a TM and TC link in one place, with what went up, what was told and what was executed."""

from __future__ import annotations

from typing import Any

from flight.core.nanoseconds import NS
from flight.link.coding.cltu import decode_cltu
from flight.link.pus import PusTc
from flight.link.tc.tc_frame import FRAME_OCTETS_MIN, TcFrame
from flight.link.tm_tc_stack import FlightLink, LinkConfig
from ground.link.actions import Acknowledged, FrameReceived, SendCltu
from ground.link.ground_link import Service
from ground.link.tm_tc_session import GroundSession
from tests.link_ends import packets_of, unit_of

CONFIG = LinkConfig(coding="frame", frame_octets=64)


def ping(seq: int) -> bytes:
    return PusTc(1, seq, 17, 1, b"").encode()


class Bench:
    """Both ends, with what went up and what was acknowledged."""

    def __init__(self, config: LinkConfig = CONFIG) -> None:
        self.ground = GroundSession(config)
        self.flight = FlightLink(config)
        self.now_ns = 0
        self.up: list[bytes] = []
        self.seen: list[object] = []
        self.executed: list[bytes] = []

    def do(self, actions: list[Any]) -> None:
        self.up += [action.octets for action in actions if isinstance(action, SendCltu)]
        self.seen += [action for action in actions if not isinstance(action, SendCltu | FrameReceived)]

    def send(self, *numbers: int) -> None:
        for number in numbers:
            self.do(self.ground.send(ping(number), self.now_ns, number))

    def deliver(self, lose: tuple[int, ...] = ()) -> None:
        """What is on its way up arrives but for the places in `lose`."""
        up, self.up = self.up, []
        for place, octets in enumerate(up):
            if place not in lose:
                self.executed += packets_of(self.flight.on_uplink(octets, self.now_ns))

    def frame(self) -> None:
        self.now_ns += NS // 30
        self.do(self.ground.on_downlink(unit_of(self.flight), self.now_ns))

    def exchange(self) -> None:
        """What is under way arrives, and a frame tells of it."""
        self.deliver()
        self.frame()

    def up_and_running(self) -> Bench:
        self.do(self.ground.initiate(self.now_ns))
        self.frame()
        assert self.ground.service is Service.UP
        return self

    def frames_in(self, cltu: bytes) -> list[TcFrame]:
        """The frames of a CLTU, without its fill."""
        unit, frames = decode_cltu(cltu), []
        while len(unit) >= FRAME_OCTETS_MIN:
            frames.append(TcFrame.decode(unit))
            unit = unit[frames[-1].octets :]
        return frames

    def frames_up(self) -> list[TcFrame]:
        return [frame for cltu in self.up for frame in self.frames_in(cltu)]

    @property
    def acknowledged(self) -> list[object]:
        return [action.tag for action in self.seen if isinstance(action, Acknowledged)]
