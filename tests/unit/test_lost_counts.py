"""Counts of eight bits that go all the way round while frames are lost: no packet gets the end of another one."""

from __future__ import annotations

import pytest

from flight.link.actions import PacketReceived, SendUnit, StoreSecurity, UnitRejected
from flight.link.link import Role
from flight.link.security.associations import End
from flight.link.space_packet import SpacePacket
from flight.link.tm_tc_stack import FlightLink, LinkConfig
from ground.link.actions import Restarted
from ground.link.tm_tc_session import GroundSession
from tests.mission_security import security_of, stored_at_once

CLEAR = LinkConfig(coding="frame", frame_octets=128)
PROTECTED = LinkConfig(
    coding="frame", frame_octets=128, uplink_security="authenticated", downlink_security="authenticated"
)
AHEAD = 600  # frames before the loss, so that it does not look like a restart
ROUND = 256  # frames after which a count is what it was


class Pass:
    """Packets on the products channel, each over several frames, and the ground that they come to."""

    def __init__(self, config: LinkConfig) -> None:
        is_protected = config is PROTECTED
        self.node = security_of(config, End.NODE) if is_protected else None
        self.security = security_of(config) if is_protected else None
        self.flight, self.ground = FlightLink(config, self.node), GroundSession(config, self.security)
        self.room_octets = config.data_octets
        self.sent: list[bytes] = []
        self.came: list[bytes] = []
        self.told: list[object] = []
        self._queue()

    def _queue(self) -> None:
        while self.flight.backlog_octets(Role.PRODUCTS) < 4096:
            # Two frames long and not at their beginnings: 256 frames later another packet begins at the same octet.
            number, octets = len(self.sent), 2 * self.room_octets if self.sent else 70
            self.sent.append(SpacePacket(5, number, (number.to_bytes(4, "big") * 100)[: octets - 6]).encode())
            assert self.flight.queue(Role.PRODUCTS, self.sent[-1])

    def _unit(self) -> bytes:
        self._queue()
        units: list[bytes] = []
        while not units:
            for action in self.flight.next_unit():
                if isinstance(action, StoreSecurity):
                    assert self.node is not None
                    self.node.stored(action.generation)
                else:
                    assert isinstance(action, SendUnit)
                    units.append(action.octets)
        return units[0]

    def frames(self, count: int) -> None:
        for _ in range(count):
            actions = stored_at_once(self.ground, self.security, self.ground.on_downlink(self._unit(), 0), 0)
            self.told += actions
            self.came += [action.packet for action in actions if isinstance(action, PacketReceived)]

    def lose(self, count: int) -> None:
        for _ in range(count):
            self._unit()


@pytest.mark.parametrize("rounds", [1, 2, 7])
@pytest.mark.parametrize("off", [0, 1, -1, -3])
@pytest.mark.parametrize("way", ["numbers", "drops"])
def test_a_loss_as_long_as_the_counts_mixes_no_packets(way: str, off: int, rounds: int) -> None:
    over = Pass(PROTECTED if way == "numbers" else CLEAR)
    over.frames(AHEAD)
    before, lost = len(over.came), rounds * ROUND + off
    over.lose(lost)
    if way == "drops":
        over.ground.lose(lost)
    over.frames(40)
    assert len(over.came) > before and set(over.came) <= set(over.sent)
    assert not any(isinstance(action, UnitRejected | Restarted) for action in over.told), "none is late or restarted"


def test_nothing_but_the_counts_cannot_tell() -> None:
    """Else the test above could not fail: without numbers and drops a packet ends with octets of another."""
    over = Pass(CLEAR)
    over.frames(AHEAD)
    over.lose(ROUND)
    over.frames(40)
    assert len(set(over.came) - set(over.sent)) == 1


@pytest.mark.parametrize("lost", [0, 1, 100, 200])
def test_a_loss_that_the_counts_tell_costs_what_it_touches(lost: int) -> None:
    over = Pass(PROTECTED)
    over.frames(AHEAD)
    over.lose(lost)
    over.frames(40)
    assert set(over.came) <= set(over.sent)
    assert over.ground.counters.frames_missed == lost
    first = over.sent.index(over.came[-1]) + 1
    assert first - len(over.came) <= lost // 2 + 2, "packets of two frames"
