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
CODED = LinkConfig(coding="cadu", frame_octets=128, convolutional=True)
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

    def frames(self, count: int, dropped: int = 0, at_once: int = 1) -> None:
        """`dropped`: calls before the first, as a port tells; a call brings `at_once` frames."""
        for _ in range(count):
            octets = b"".join(self._unit() for _ in range(at_once))
            actions = stored_at_once(self.ground, self.security, self.ground.on_downlink(octets, 0, dropped), 0)
            dropped = 0
            self.told += actions
            self.came += [action.packet for action in actions if isinstance(action, PacketReceived)]

    def live(self) -> None:
        """A frame of another channel is taken."""
        self.flight.queue(Role.REALTIME, SpacePacket(1, 0, bytes(40)).encode())
        self.frames(1)

    def is_sound(self) -> bool:
        return set(self.came) - {SpacePacket(1, 0, bytes(40)).encode()} <= set(self.sent)

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
    over.frames(40, lost if way == "drops" else 0)
    assert len(over.came) > before and over.is_sound()
    assert not any(isinstance(action, UnitRejected | Restarted) for action in over.told), "none is late or restarted"


@pytest.mark.parametrize("parts", [(150, 106), (1, 255), (250, 6), (300, 212)])
@pytest.mark.parametrize("config", [CLEAR, PROTECTED], ids=["clear", "protected"])
def test_a_frame_of_another_channel_in_the_gap_hides_none_of_it(config: LinkConfig, parts: tuple[int, int]) -> None:
    over = Pass(config)
    over.frames(AHEAD)
    over.lose(parts[0])
    if config is CLEAR and parts[0] > ROUND - 16:
        over.ground.on_downlink(b"", 0, parts[0])  # only drops can tell here
    over.live()
    over.lose(parts[1])
    over.frames(40)
    assert over.is_sound()


def test_drops_of_calls_with_several_frames_each_are_counted_in_frames() -> None:
    over = Pass(CLEAR)
    over.frames(AHEAD // 2, at_once=2)
    over.lose(ROUND)
    over.frames(20, ROUND // 2, at_once=2)
    assert over.is_sound()


@pytest.mark.parametrize("lost", [250, 256, 511, 512])
def test_a_frame_that_waits_in_the_decoder_is_from_before_the_drops(lost: int) -> None:
    over = Pass(CODED)
    over.frames(AHEAD + 1)
    over.lose(lost)
    over.frames(40, lost)
    assert over.is_sound() and not any(isinstance(action, UnitRejected) for action in over.told)


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
