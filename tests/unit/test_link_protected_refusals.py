"""Telecommand frames that the ground did not make, at the node: each bit, each length, and what a refusal costs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest

from flight.kernels import crc16
from flight.link.actions import LinkAction, PacketReceived, StoreSecurity
from flight.link.coding.cltu import ERROR_MODES, CltuReceiver, encode_cltu
from flight.link.pus import PusTc
from flight.link.security.associations import End
from flight.link.security.link_security import LinkSecurity, SecurityError
from flight.link.tc.tc_frame import UNLOCK, TcFrame
from flight.link.tm_tc_stack import FlightLink, LinkConfig
from ground.link.actions import SendCltu
from ground.link.tm_tc_session import GroundSession
from tests.mission_security import security_of, stored_at_once

UPLINKS = ("authenticated", "encrypted")


class Node:
    """The node's end, with a storage that is prompt, and the ground that commands it."""

    def __init__(self, uplink: str, segments: bool = True) -> None:
        self.config = LinkConfig(coding="frame", uplink_security=uplink, tc_segment_header=segments)
        self.security = security_of(self.config, End.NODE)
        self.link = FlightLink(self.config, self.security)
        self.packets: list[bytes] = []
        self.ground_security = security_of(self.config)
        self.ground = GroundSession(self.config, self.ground_security)
        self.settle(self.link.on_uplink(b"", 0))
        self.link.acquired()

    def settle(self, actions: list[LinkAction]) -> None:
        for action in actions:
            if isinstance(action, PacketReceived):
                self.packets.append(action.packet)
            elif isinstance(action, StoreSecurity):
                self.security.stored(action.generation)
                self.settle(self.link.on_uplink(b"", 0))

    def take(self, raw: bytes) -> None:
        self.settle(self.link.on_uplink(encode_cltu(raw), 0))

    def sent(self, number: int) -> bytes:
        """A bypass frame of the ground, which is what anybody can send again without regard to V(R)."""
        actions = self.ground.send_bypass(PusTc(1, number, 17, 1, bytes(5)).encode(), 0, number)
        (cltu,) = [
            action.octets
            for action in stored_at_once(self.ground, self.ground_security, actions, 0)
            if isinstance(action, SendCltu)
        ]
        (unit,) = CltuReceiver(ERROR_MODES["detect"]).feed(cltu)
        return unit[: TcFrame.decode(unit).octets]

    def state(self) -> tuple[object, ...]:
        """All that a refused frame must not move."""
        farm, numbers = self.link.farm, self.security.state.numbers
        return (
            farm.state, farm.vr, farm.retransmit, farm.wait, farm.b_counter, self.link.clcw, len(self.packets),
            self.link.counters.tc_frames, self.link.counters.tc_packets,
            tuple((spi, each.last, each.limit, each.wanted) for spi, each in numbers.items()),
        )  # fmt: skip


def checksummed(body: bytes) -> bytes:
    octets = len(body) + 2
    body = body[:2] + bytes((body[2] & 0xFC | (octets - 1) >> 8, (octets - 1) & 0xFF)) + body[4:]
    return body + crc16(body).to_bytes(2, "big")


@pytest.mark.parametrize("uplink", UPLINKS)
@pytest.mark.parametrize("segments", [False, True])
def test_whatever_is_not_the_frame_moves_nothing_and_the_frame_is_taken_after_it(uplink: str, segments: bool) -> None:
    node = Node(uplink, segments)
    node.take(node.sent(1))
    assert len(node.packets) == 1
    raw = node.sent(2)
    body, before = raw[:-2], node.state()
    forged = [bytes((*body[: bit // 8], body[bit // 8] ^ 0x80 >> bit % 8, *body[bit // 8 + 1 :]))
              for bit in range(8 * len(body)) if bit // 8 not in (2, 3)]  # fmt: skip
    forged += [body[:length] for length in range(6, len(body))] + [body + bytes(more) for more in range(1, 40)]
    forged += [body[:5] + UNLOCK, bytes((body[0] | 0x30,)) + body[1:5] + UNLOCK]
    for each in forged:
        node.take(checksummed(each))
        assert node.state() == before, each.hex()
    node.take(raw)
    assert len(node.packets) == 2
    after = node.state()
    for again in (raw, node.sent(1)[:-2] + bytes(2), checksummed(body)):
        node.take(again)
    assert node.state() == after


@pytest.mark.parametrize("uplink", UPLINKS)
def test_frames_that_come_in_another_order_are_taken_once_at_most(uplink: str) -> None:
    node = Node(uplink)
    frames = [node.sent(number) for number in range(8)]
    for at in (3, 1, 5, 0, 7, 2, 4, 6, 3, 7):
        node.take(frames[at])
    assert [PusTc.decode(packet).seq for packet in node.packets] == [3, 5, 7]


@pytest.mark.parametrize("uplink", UPLINKS)
def test_frames_of_the_node_and_of_other_spacecraft_are_nothing_to_it(uplink: str) -> None:
    """The same keys file, by a mistake, and even the same octets: direction and spacecraft are in what is covered."""
    node = Node(uplink)
    raw = node.sent(1)
    before = node.state()
    other = (node.config.spacecraft_id + 1) % 1024
    node.take(checksummed(bytes((raw[0] & 0xFC | other >> 8, other & 0xFF)) + raw[2:-2]))
    elsewhere = LinkConfig(coding="frame", spacecraft_id=other, uplink_security=uplink, tc_segment_header=True)
    stranger = FlightLink(elsewhere, security_of(elsewhere, End.NODE))
    for action in stranger.on_uplink(
        encode_cltu(checksummed(bytes((raw[0] & 0xFC | other >> 8, other & 0xFF)) + raw[2:-2])), 0
    ):
        assert not isinstance(action, PacketReceived)
    down = Node(uplink)
    for spi in (3, 5):
        node.take(checksummed(raw[:6] + spi.to_bytes(2, "big") + raw[8:-2]))
    assert node.state() == before
    assert down.state() == before


def calls_of(work: Callable[[], object]) -> list[str]:
    """The names of all functions that are called, of Python and of C, in their order."""
    names: list[str] = []

    def note(_frame: FrameType, event: str, about: Any) -> None:
        if event == "call":
            names.append(_frame.f_code.co_qualname)
        elif event == "c_call":
            names.append(about.__qualname__)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return names


@pytest.mark.parametrize("uplink", UPLINKS)
def test_a_refusal_takes_the_same_steps_whatever_is_wrong_with_the_mac(uplink: str) -> None:
    node = Node(uplink)
    node.take(node.sent(1))
    raw = node.sent(2)
    header, body = raw[:6], raw[6:-2]
    security: LinkSecurity = node.security

    def check(octets: bytes) -> None:
        with suppress(SecurityError):
            security.check(0, header, octets)

    macs = [bytes(16), b"\xff" * 16]
    macs += [bytes(x ^ (at == bit) * 1 for at, x in enumerate(body[-16:])) for bit in range(16)]
    macs.append(bytes(x ^ 0x80 for x in body[-16:]))
    check(body[:-16] + bytes(16))
    steps = {tuple(calls_of(lambda mac=mac: check(body[:-16] + mac))) for mac in macs}  # type: ignore[misc]
    assert security.counters.refused["mac"] == len(macs) + 1
    assert len(steps) == 1 and len(next(iter(steps))) > 5
