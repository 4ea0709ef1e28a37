"""A simplex link of AOS frames at both ends: layout, packets and gaps, restarts, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import anycrc
import pytest

from flight.core.nanoseconds import NS
from flight.link.actions import PacketReceived, SendUnit, UnitRejected
from flight.link.aos_stack import AosConfig, AosFlightLink
from flight.link.kinds import LINK_KINDS, open_stack
from flight.link.link import Role
from flight.link.space_packet import SpacePacket
from flight.link.tm.aos_frame import VC_COUNTS, AosFrame
from flight.link.tm_tc_stack import LinkConfig
from ground.link.actions import Action, Alert, FrameGap, FrameReceived, Rejected, Restarted
from ground.link.aos_session import REFUSAL, AosSession
from ground.link.kinds import SESSIONS, open_session
from ground.recording.detection.detect import find
from ground.recording.streams.link_options import Form, LinkOptions
from ground.recording.streams.source import PacketSource
from tests.link_ends import unit_of

CONFIG = AosConfig(coding="frame", spacecraft_id=0x2AB, frame_octets=64)  # 54 octets of packets in a frame
CODED = AosConfig(coding="rs(255,223)")
ALL = ("realtime", "playback", "products")


def packet(octets: int, seq: int = 0) -> bytes:
    return SpacePacket(3, seq, Random(seq).randbytes(octets - 6)).encode()


def received(actions: list[Action]) -> list[bytes]:
    return [action.packet for action in actions if isinstance(action, PacketReceived)]


def test_a_frame_has_its_octets_where_732_0_b_4_has_them() -> None:
    """Built by hand of 4.1.2 (header), 4.1.4.2 (M_PDU) and 4.1.6 (error control, by another CRC)."""
    link = AosFlightLink(CONFIG)
    link.queue(Role.PRODUCTS, packet(70))
    link.queue(Role.PRODUCTS, packet(20, 1))
    first, second, idle = (unit_of(link) for _ in range(3))
    stream = packet(70) + packet(20, 1)

    def by_hand(vcid: int, count: int, body: bytes) -> bytes:
        bits = f"01{0x2AB & 0xFF:08b}{vcid:06b}" + f"{count:024b}" + "0" + "0" + f"{0x2AB >> 8:02b}" + "0000"
        octets = int(bits, 2).to_bytes(6, "big") + body
        error_control: int = anycrc.Model("CRC16-CCITT-FALSE").calc(octets)
        return octets + error_control.to_bytes(2, "big")

    assert first == by_hand(2, 0, (0).to_bytes(2, "big") + stream[:54])
    # Sixteen octets end the first packet, the second takes twenty, and an idle packet the eighteen that are left.
    assert second[: 8 + 36] == by_hand(2, 1, (16).to_bytes(2, "big") + stream[54:] + bytes(18))[: 8 + 36]
    assert second[44:50] == bytes.fromhex("07ffc000000b")
    assert idle == by_hand(63, 0, (0x7FE).to_bytes(2, "big") + b"\x55" * 54)


@pytest.mark.parametrize("coding", ["frame", "cadu", "rs(255,223)", "rs(255,239)"])
@pytest.mark.parametrize("convolutional", [False, True])
def test_packets_of_every_channel_arrive_as_they_were_sent(coding: str, convolutional: bool) -> None:
    config = replace(CODED, coding=coding, convolutional=convolutional and coding != "frame", carries=ALL)
    assert config.faults() == []
    link, session = open_stack(config), open_session(config)
    sent = {role: [packet(20 + 97 * seq, 10 * role + seq) for seq in range(8)] for role in Role}
    for role, packets in sent.items():
        assert all(link.queue(role, one) for one in packets)
        assert link.backlog_octets(role) == sum(map(len, packets))
    actions: list[Action] = []
    while link.has_packets():
        actions += session.on_downlink(unit_of(link), 0)
    for _ in range(3):  # the inner decoder gives a unit when the next has come
        actions += session.on_downlink(unit_of(link), 0)
    actions += session.reset(0)
    got = {role: [a.packet for a in actions if isinstance(a, PacketReceived) and session.role_of(a.vcid) is role]
           for role in Role}  # fmt: skip
    assert got == sent
    assert session.counters.frames_missed == 0 and sum(session.counters.frames_rejected.values()) == 0
    assert link.counters.units_sent == session.counters.frames
    assert link.counters.idle_frames == session.counters.idle_frames >= 3


def test_only_frames_of_the_real_time_channel_have_a_count_that_time_reports_tell_of() -> None:
    config = replace(CONFIG, carries=ALL)
    link, session = AosFlightLink(config), AosSession(config)
    counts: list[int | None] = []
    for seq in range(258):
        link.queue(Role.REALTIME if seq != 1 else Role.PRODUCTS, packet(54, seq))
        (send,) = link.next_unit()
        assert isinstance(send, SendUnit)
        (frame, *_) = session.on_downlink(send.octets, 0)
        assert isinstance(frame, FrameReceived) and frame.realtime_count == send.realtime_count
        counts.append(send.realtime_count)
    assert counts == [0, None, *range(1, 256), 0]


def test_lost_frames_are_told_by_channel_and_cost_only_their_packets() -> None:
    link, session = AosFlightLink(CONFIG), AosSession(CONFIG)
    for seq in range(400):
        link.queue(Role.PRODUCTS, packet(54, seq))
    units = [unit_of(link) for _ in range(402)]
    lost = {3, 4, *range(20, 320)}  # more than a TM count can tell
    actions = [a for number, unit in enumerate(units) if number not in lost for a in session.on_downlink(unit, 0)]
    assert [a for a in actions if isinstance(a, FrameGap)] == [FrameGap(2, 2), FrameGap(2, 300)]
    assert received(actions) == [packet(54, seq) for seq in range(400) if seq not in lost]
    assert session.counters.frames_missed == 302
    assert session.counters.idle_frames == 2


def test_what_is_damaged_foreign_or_of_no_channel_is_rejected_by_its_reason() -> None:
    session = AosSession(CONFIG)
    good = AosFrame(0x2AB, 2, 0, 0x7FF, bytes(54), None)
    foreign = replace(good, spacecraft_id=1).encode(CONFIG.frame_format)
    other = replace(good, vcid=0).encode(CONFIG.frame_format)
    whole = good.encode(CONFIG.frame_format)
    for octets, reason in (
        (whole[:-1], "length"),
        (whole[:20] + b"\x01" + whole[21:], "crc"),
        (foreign, "spacecraft"),
        (other, "vcid"),
    ):
        assert session.on_downlink(octets, 0) == [UnitRejected(reason)]
    rejected = {name: count for name, count in session.counters.frames_rejected.items() if count}
    assert rejected == {"length": 1, "crc": 1, "spacecraft": 1, "vcid": 1}
    assert session.counters.frames == 0


def test_a_frame_that_comes_again_or_late_is_rejected() -> None:
    link, session = AosFlightLink(CONFIG), AosSession(CONFIG)
    for seq in range(40):
        link.queue(Role.PRODUCTS, packet(54, seq))
    units = [unit_of(link) for _ in range(40)]
    assert received([a for unit in units[:20] for a in session.on_downlink(unit, 0)]) == [
        packet(54, seq) for seq in range(20)
    ]
    for late in (19, 4):
        assert session.on_downlink(units[late], NS) == [UnitRejected("repeated")]
    assert session.counters.restarts == 0
    assert received(session.on_downlink(units[20], NS)) == [packet(54, 20)]


def test_a_node_that_was_restarted_begins_anew_on_all_channels() -> None:
    link, session = AosFlightLink(CONFIG), AosSession(CONFIG)
    for _ in range(30):
        session.on_downlink(unit_of(link), 0)
    link.queue(Role.PRODUCTS, packet(100))
    session.on_downlink(unit_of(link), 0)  # a packet in hand that never ends
    again = AosFlightLink(CONFIG)
    again.queue(Role.PRODUCTS, packet(200, 7))
    actions: list[Action] = []
    for _ in range(6):
        actions += session.on_downlink(unit_of(again), 11 * NS)
    assert actions[0] == Restarted() and actions.count(Restarted()) == 1
    assert received(actions) == [packet(200, 7)]
    assert session.counters.restarts == 1 and session.counters.frames_missed == 0


def test_a_count_that_comes_round_is_no_gap() -> None:
    session = AosSession(CONFIG)
    for count in (VC_COUNTS - 2, VC_COUNTS - 1, 0, 1):
        raw = AosFrame(0x2AB, 2, count, 0x7FF, bytes(54), None).encode(CONFIG.frame_format)
        (action,) = session.on_downlink(raw, 0)
        assert isinstance(action, FrameReceived)
    assert (session.counters.frames, session.counters.frames_missed, session.counters.restarts) == (4, 0, 0)


def test_nothing_can_be_sent_and_what_is_heard_is_refused() -> None:
    session, link = AosSession(CONFIG), AosFlightLink(CONFIG)
    assert session.refusal == REFUSAL == 'nothing can be sent over a link of kind "aos": it has no way up'
    assert session.send(packet(20), 0, "tag") == [Rejected("tag", REFUSAL)]
    assert session.send_bypass(packet(20), 0, "tag") == [Rejected("tag", REFUSAL)]
    assert session.initiate(0) == [Alert(REFUSAL)]
    assert session.resume(0) == session.on_time(0) == session.drop("tag", "late") == session.reset(0) == []
    assert (session.waiting, session.next_time_ns, session.counters.rejected) == (0, None, 2)
    link.acquired()
    assert link.on_uplink(b"", 0) == []
    assert link.on_uplink(b"anything", 0) == [UnitRejected("simplex")]
    link.carrier_lost()
    assert link.counters.uplink_rejected == {"simplex": 1}
    assert not link.has_news


def test_a_role_that_the_link_does_not_carry_has_no_channel() -> None:
    link = AosFlightLink(CONFIG)
    assert link.roles == {Role.PRODUCTS}
    for role in (Role.REALTIME, Role.PLAYBACK):
        assert not link.queue(role, packet(20))
        assert link.backlog_octets(role) == 0
    assert link.counters.packets_refused == 0 and not link.has_packets()
    assert AosSession(CONFIG).vcids == (2, 63)
    assert [AosSession(CONFIG).role_of(vcid) for vcid in (0, 2, 63)] == [None, Role.PRODUCTS, None]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"carries": ()}, "carries"),
        ({"carries": ("products", "products")}, "carries"),
        ({"vc_products": 1}, "vc_products"),
        ({"playback_min_frac": 0.2}, "playback_min_frac"),
        ({"coding": "frame", "convolutional": True}, "convolutional"),
    ],
)
def test_values_that_contradict_each_other(changes: dict[str, Any], name: str) -> None:
    assert [key for key, _ in AosConfig(**changes).faults()] == [name]


def test_both_ends_know_the_same_kinds() -> None:
    assert LINK_KINDS.keys() == SESSIONS.keys() == {"tm-tc", "aos"}
    for name, kind in LINK_KINDS.items():
        config = kind.config(coding="frame")
        assert config.kind == name
        if not config.simplex:
            with pytest.raises(AssertionError):  # protected by default, so it is not opened without keys
                open_stack(config)
            config = LinkConfig(coding="frame", uplink_security="clear")
        (action,) = open_session(config).on_downlink(unit_of(open_stack(config)), 0)
        assert isinstance(action, FrameReceived)


@pytest.mark.parametrize("form", [Form.FRAMES, Form.UNITS])
def test_a_recording_is_decoded_by_the_batch_path_too(form: Form) -> None:
    config = CODED if form is Form.UNITS else CONFIG
    link = AosFlightLink(config)
    sent = [packet(30 + seq, seq) for seq in range(60)]
    for one in sent:
        link.queue(Role.PRODUCTS, one)
    octets = b""
    while link.has_packets():
        octets += unit_of(link)
    assert find(octets).options.form is form
    source = PacketSource(LinkOptions.from_config(config, form))
    batches = [source.feed(octets), source.finish()]
    got = [
        bytes(batch.octets[start : start + length])
        for batch in batches
        for start, length in zip(batch.offset.tolist(), batch.length.tolist(), strict=True)
    ]
    assert got == sent
