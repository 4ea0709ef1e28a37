"""The ground session against the node's stack: commanding, passes, bad frames, light time."""

from __future__ import annotations

from random import Random
from typing import TypeVar

import pytest

from flight.core.nanoseconds import NS
from flight.link.actions import PacketReceived, StoreSecurity, UnitRejected
from flight.link.coding.cltu import encode_cltu
from flight.link.link import Role
from flight.link.security.associations import End, LinkPlan
from flight.link.security.keyring import simulated_keys
from flight.link.security.link_security import REASONS as SECURITY_REASONS
from flight.link.security.link_security import LinkSecurity
from flight.link.security.numbers import UP_BLOCK
from flight.link.space_packet import SpacePacket
from flight.link.tc.clcw import Clcw
from flight.link.tc.fop_actions import Transmit
from flight.link.tc.tc_frame import UNLOCK
from flight.link.tm.tm_frame import IDLE_DATA, TmFrame
from flight.link.tm_tc_stack import FlightLink, LinkConfig
from ground.link.actions import Action, Alert, FrameGap, Lost, Rejected, Restarted
from ground.link.ground_link import Service
from ground.link.tm_tc_session import GroundSession
from tests.link_bench import CONFIG, Bench, ping
from tests.link_ends import packets_of, unit_of


def test_commands_wait_for_the_first_clcw_and_are_acknowledged_by_the_second() -> None:
    bench = Bench()
    bench.do(bench.ground.initiate(0))
    bench.send(0, 1)
    assert (bench.up, bench.ground.waiting) == ([], 2)
    bench.frame()
    assert [frame.seq for frame in bench.frames_up()] == [0, 1]
    bench.frame()
    assert bench.acknowledged == []
    bench.deliver()
    assert bench.executed == [ping(0), ping(1)]
    assert bench.acknowledged == []
    bench.frame()
    assert bench.acknowledged == [0, 1]
    assert bench.ground.waiting == 0


def test_without_initiate_nothing_is_sent() -> None:
    bench = Bench()
    bench.send(0)
    bench.frame()
    assert bench.up == []
    bench.do(bench.ground.drop(0, "end of the shift"))
    assert bench.seen == [Rejected(0, "end of the shift")]
    assert bench.ground.waiting == 0
    assert bench.ground.drop(0, "again") == []


def test_window_and_bounded_queue() -> None:
    bench = Bench(LinkConfig(coding="frame", frame_octets=64, command_queue=12)).up_and_running()
    bench.send(*range(13))
    assert len(bench.up) == 10
    assert [action.tag for action in bench.seen if isinstance(action, Rejected)] == [12]
    bench.deliver()
    bench.frame()
    assert bench.acknowledged == list(range(10))
    bench.deliver()
    bench.frame()
    assert bench.acknowledged == list(range(12))
    assert bench.executed == [ping(number) for number in range(12)]


def test_too_long_a_packet_is_rejected() -> None:
    bench = Bench().up_and_running()
    bench.do(bench.ground.send(SpacePacket(1, 0, bytes(1020), is_command=True).encode(), 0, "long"))
    bench.do(bench.ground.send_bypass(b"", 0, "empty"))
    assert [action.tag for action in bench.seen if isinstance(action, Rejected)] == ["long", "empty"]


def test_lost_cltu_is_sent_again_on_the_clcw_or_on_the_timer() -> None:
    bench = Bench().up_and_running()
    bench.send(0, 1, 2)
    bench.deliver(lose=(0,))
    bench.frame()
    assert [frame.seq for frame in bench.frames_up()] == [0, 1, 2]
    bench.deliver(lose=(0, 1, 2))
    due_ns = bench.ground.next_time_ns
    assert due_ns is not None
    bench.now_ns = due_ns
    bench.do(bench.ground.on_time(due_ns))
    bench.deliver()
    bench.frame()
    assert bench.acknowledged == [0, 1, 2]
    assert bench.executed == [ping(0), ping(1), ping(2)]
    assert bench.ground.counters.retransmissions == 6
    assert bench.ground.next_time_ns is None


def test_timer_waits_for_light_and_for_sending() -> None:
    bench = Bench(LinkConfig(coding="frame", frame_octets=64, light_time_s=10.0, uplink_rate_bps=100)).up_and_running()
    bench.send(0)
    sending_ns = len(bench.up[0]) * 8 * NS // 100
    assert bench.ground.next_time_ns == bench.now_ns + sending_ns + 23 * NS
    bench.send(1)
    assert bench.ground.next_time_ns == bench.now_ns + 2 * sending_ns + 23 * NS


def test_repeated_and_reordered_frames_and_cltus_change_nothing() -> None:
    bench = Bench().up_and_running()
    bench.send(0, 1)
    old = unit_of(bench.flight)
    bench.up = [bench.up[0], bench.up[0], bench.up[1], bench.up[0]]
    bench.deliver()
    bench.frame()
    assert bench.executed == [ping(0), ping(1)]
    assert bench.acknowledged == [0, 1]
    assert FrameGap(7, 1) in bench.seen
    last = len(bench.seen)
    bench.do(bench.ground.on_downlink(old, bench.now_ns))
    bench.do(bench.ground.on_downlink(old, bench.now_ns))
    assert bench.seen[last:] == [UnitRejected("repeated")] * 2
    assert bench.ground.service is Service.UP


def test_bypass_needs_no_clcw() -> None:
    bench = Bench()
    bench.do(bench.ground.send_bypass(ping(5), 0, 5))
    assert [(frame.bypass, frame.control, frame.data) for frame in bench.frames_up()] == [(True, False, ping(5))]
    bench.deliver()
    assert bench.executed == [ping(5)]


def lock_out(bench: Bench) -> None:
    stray = GroundSession(CONFIG)
    stray._ad._fop.set_vs(100)  # noqa: SLF001 - a stray command link
    stray._ad._fop.initiate()  # noqa: SLF001 - a stray command link
    for action in stray._ad._fop.send(ping(99), None, 0):  # noqa: SLF001 - a stray command link
        assert isinstance(action, Transmit)
        bench.flight.on_uplink(encode_cltu(action.frame.encode()), 0)


def test_lockout_is_unlocked_and_the_commands_go_on() -> None:
    bench = Bench().up_and_running()
    bench.send(0)
    lock_out(bench)
    bench.deliver()
    bench.frame()
    assert bench.seen[-1] == Alert("FOP-1 alert LOCKOUT; AD service restarts with the next CLCW")
    bench.frame()
    assert [frame.data for frame in bench.frames_up()] == [UNLOCK]
    bench.deliver()
    bench.frame()
    assert [frame.seq for frame in bench.frames_up()] == [0]
    bench.deliver()
    bench.frame()
    assert (bench.acknowledged, bench.executed) == ([0], [ping(0)])


def test_frames_that_arrive_after_the_unlock_count_and_are_not_repeated() -> None:
    bench = Bench().up_and_running()
    bench.send(0, 1, 2)
    slow, bench.up = bench.up, []
    lock_out(bench)
    bench.frame()
    bench.frame()
    bench.deliver()
    for octets in slow[:2]:
        bench.executed += packets_of(bench.flight.on_uplink(octets, bench.now_ns))
    bench.frame()
    assert bench.acknowledged == [0, 1]
    assert [frame.seq for frame in bench.frames_up()] == [2]
    bench.deliver()
    bench.frame()
    assert bench.executed == [ping(0), ping(1), ping(2)]
    assert bench.acknowledged == [0, 1, 2]


def test_ground_restarted_takes_the_number_of_the_node() -> None:
    bench = Bench().up_and_running()
    bench.send(0, 1, 2)
    bench.deliver()
    bench.ground = GroundSession(CONFIG)
    bench.up_and_running()
    bench.send(3)
    assert [frame.seq for frame in bench.frames_up()] == [3]


def test_pass_ends_and_the_next_goes_on_without_loss_or_repetition() -> None:
    bench = Bench().up_and_running()
    bench.send(*range(12))
    # Commands 0 to 4 arrive, their CLCW does not: loss of signal.
    bench.up = bench.up[:5]
    bench.deliver()
    bench.do(bench.ground.reset(bench.now_ns))
    assert bench.ground.next_time_ns is None
    assert bench.ground.waiting == 12
    bench.frame()
    assert bench.acknowledged == []
    bench.now_ns += 3000 * NS
    bench.do(bench.ground.resume(bench.now_ns))
    assert bench.up == []
    bench.frame()
    assert bench.acknowledged == [0, 1, 2, 3, 4]
    bench.deliver()
    bench.frame()
    bench.deliver()
    bench.frame()
    assert bench.acknowledged == list(range(12))
    assert bench.executed == [ping(number) for number in range(12)]


def test_node_restarted_means_that_nobody_knows() -> None:
    bench = Bench()
    bench.flight.farm.vr = 50
    bench.up_and_running()
    bench.send(0, 1)
    bench.deliver()
    bench.flight = FlightLink(CONFIG)
    bench.frame()
    bench.now_ns += 20 * NS
    bench.frame()
    bench.frame()
    assert [frame.data for frame in bench.frames_up()] == [UNLOCK], "their numbers go to others"
    bench.exchange()
    lost = [action for action in bench.seen if isinstance(action, Lost)]
    assert [action.tag for action in lost] == [0, 1]
    assert "nobody knows" in lost[0].reason
    bench.send(2)
    bench.exchange()
    assert bench.acknowledged == [2]


@pytest.mark.parametrize(
    ("count", "why"),
    [(0, "the node restarted, or another ground commands it"), (90, "another ground commands the node")],
)
def test_a_count_that_no_command_of_ours_can_have_made_says_what_may_have(count: int, why: str) -> None:
    bench = Bench()
    bench.flight.farm.vr = 50
    bench.up_and_running()
    bench.send(0, 1)
    bench.do(bench.ground.reset(bench.now_ns))
    bench.now_ns += 100 * NS
    bench.flight.farm.vr = count
    bench.flight.acquired()  # the next pass: its CLCW is made again
    bench.do(bench.ground.resume(bench.now_ns))
    bench.frame()
    assert [frame.data for frame in bench.frames_up()[2:]] == [UNLOCK], "their numbers go to others"
    bench.up = bench.up[2:]
    bench.exchange()
    (first, _) = [action for action in bench.seen if isinstance(action, Lost)]
    assert f"{why} (V(R) is {count}, should be 50 to 52)" in first.reason


def test_recoveries_are_bounded_and_initiate_begins_anew() -> None:
    bench = Bench(LinkConfig(coding="frame", frame_octets=64, recoveries=1, transmission_limit=1)).up_and_running()
    bench.send(0)
    for _ in range(2):
        bench.up.clear()
        due_ns = bench.ground.next_time_ns
        assert due_ns is not None
        bench.now_ns = due_ns
        bench.do(bench.ground.on_time(due_ns))
        bench.frame()
    assert bench.ground.service is Service.IDLE
    last = bench.seen[-1]
    counts = "restarts in a row: 1, telecommands that wait for `initiate`: 1"
    assert isinstance(last, Alert) and f"given up ({counts})" in last.reason
    bench.up_and_running()
    bench.deliver()
    bench.frame()
    assert bench.acknowledged == [0]


def test_bad_frames_are_counted_by_reason() -> None:
    ground = GroundSession(CONFIG)

    def frame(spacecraft_id: int, vcid: int, count: int) -> bytes:
        return TmFrame(spacecraft_id, vcid, count, 0, IDLE_DATA, bytes(52), bytes(4)).encode(64)

    good = frame(0x1AB, 7, 0)
    for octets in (
        good[:-1],
        good[:20] + b"\xff" + good[21:],
        frame(0x1AC, 7, 0),
        frame(0x1AB, 5, 0),
        good,
        good,
    ):
        ground.on_downlink(octets, 0)
    assert ground.on_downlink(b"", 0) == []
    assert ground.counters.frames == 1
    # A control field of zeros: no COP in effect.
    assert ground.counters.clcws_invalid == 1
    assert ground.counters.frames_rejected == {
        "length": 1,
        **{reason: 0 for reason in SECURITY_REASONS if reason != "length"},
        "uncorrectable": 0,
        "crc": 1,
        "version": 0,
        "status": 0,
        "pointer": 0,
        "spacecraft": 1,
        "vcid": 1,
        "repeated": 1,
    }


def test_clcw_of_another_channel_is_not_ours() -> None:
    ground = GroundSession(CONFIG)
    ground.initiate(0)
    ground.on_downlink(TmFrame(0x1AB, 7, 0, 0, IDLE_DATA, bytes(52), Clcw(3, 9).encode()).encode(64), 0)
    assert (ground.clcw, ground.service) == (None, Service.AWAIT_CLCW)


def test_packets_and_gaps_over_cadus_in_any_split() -> None:
    config = LinkConfig(frame_octets=64, coding="cadu")
    ground, flight = GroundSession(config), FlightLink(config)
    packets = [SpacePacket(3, seq, bytes(60)).encode() for seq in range(4)]
    for packet in packets:
        flight.queue(Role.PRODUCTS, packet)
    units = [unit_of(flight) for _ in range(6)]
    units[1] = units[1][:30] + b"\0\0" + units[1][32:]
    stream = b"".join(units)
    actions = [action for at in range(0, len(stream), 50) for action in ground.on_downlink(stream[at : at + 50], 0)]
    assert [action.packet for action in actions if isinstance(action, PacketReceived)] == packets[2:]
    assert [action for action in actions if isinstance(action, FrameGap)] == [FrameGap(2, 1)]
    assert UnitRejected("crc") in actions
    assert ground.counters.frames == 5


def next_pass(bench: Bench, pause_s: int = 3000) -> None:
    bench.do(bench.ground.reset(bench.now_ns))
    bench.up.clear()
    bench.now_ns += pause_s * NS
    bench.do(bench.ground.resume(bench.now_ns))
    bench.frame()


def test_dropped_waiting_command_is_rejected_alone() -> None:
    bench = Bench().up_and_running()
    bench.send(*range(14))
    bench.do(bench.ground.drop(12, "too late"))
    assert bench.seen[-1] == Rejected(12, "too late")
    for _ in range(2):
        bench.deliver()
        bench.frame()
    assert bench.acknowledged == [*range(12), 13]
    assert bench.executed == [ping(number) for number in (*range(12), 13)]


def test_dropped_command_that_never_arrived_is_left_out_of_the_next_pass() -> None:
    bench = Bench().up_and_running()
    bench.send(0, 1, 2, 3)
    bench.deliver(lose=(1, 2, 3))
    bench.do(bench.ground.drop(2, "given up"))
    assert not any(isinstance(action, Rejected) for action in bench.seen)
    next_pass(bench)
    assert [frame.data for frame in bench.frames_up()] == [UNLOCK], "no copy of it may be taken any more"
    assert not any(isinstance(action, Rejected) for action in bench.seen)
    bench.exchange()
    rejected = [action for action in bench.seen if isinstance(action, Rejected)]
    assert rejected == [Rejected(2, "sent, but it never arrived, and was given up")]
    assert [(frame.seq, frame.data) for frame in bench.frames_up()] == [(1, ping(1)), (2, ping(3))]
    bench.deliver()
    bench.frame()
    assert (bench.acknowledged, bench.executed) == ([0, 1, 3], [ping(0), ping(1), ping(3)])
    assert bench.ground.waiting == 0


def test_dropped_command_that_arrived_is_acknowledged() -> None:
    bench = Bench().up_and_running()
    bench.send(0, 1)
    bench.deliver()
    bench.do(bench.ground.drop(0, "given up"))
    next_pass(bench)
    assert (bench.acknowledged, bench.up) == ([0, 1], [])


def test_number_of_a_dropped_command_is_not_given_away_while_a_copy_is_on_its_way() -> None:
    bench = Bench().up_and_running()
    bench.send(0, 1)
    slow = list(bench.up)
    bench.do(bench.ground.drop(0, "given up"))
    next_pass(bench, pause_s=1)
    for octets in slow:
        bench.executed += packets_of(bench.flight.on_uplink(octets, bench.now_ns))
    bench.deliver()
    bench.frame()
    assert bench.executed == [ping(0), ping(1)]
    assert bench.acknowledged == [0, 1]


def test_command_dropped_while_the_node_says_wait_was_never_sent() -> None:
    bench = Bench().up_and_running()
    bench.flight.hold(True)
    bench.send(0)
    bench.deliver()
    bench.frame()
    bench.send(1, 2)
    bench.do(bench.ground.drop(1, "given up"))
    assert bench.seen[-1] == Rejected(1, "given up")
    bench.flight.hold(False)
    for _ in range(4):
        bench.frame()
        bench.deliver()
    assert bench.executed == [ping(0), ping(2)]


def restart(bench: Bench, packet: bytes = b"") -> None:
    bench.flight = FlightLink(CONFIG)
    if packet:
        bench.flight.queue(Role.REALTIME, packet)


K = TypeVar("K")


def of_kind(bench: Bench, kind: type[K]) -> list[K]:
    return [action for action in bench.seen if isinstance(action, kind)]


def test_first_frames_after_a_quick_restart_are_received() -> None:
    boot = SpacePacket(1, 0, b"boot event").encode()
    bench = Bench().up_and_running()
    for _ in range(12):
        bench.frame()
    restart(bench, boot)
    bench.now_ns += 2 * NS
    for _ in range(20):
        bench.frame()
    counters = bench.ground.counters
    assert of_kind(bench, PacketReceived) == [PacketReceived(0, boot)]
    assert (counters.restarts, counters.frames, counters.frames_missed) == (1, 33, 0)
    assert counters.frames_rejected["repeated"] == 0
    assert of_kind(bench, Restarted) == [Restarted()] and bench.ground.service is Service.UP


def test_restart_is_no_gap_of_hundreds_of_frames() -> None:
    bench = Bench().up_and_running()
    for number in range(100):
        bench.flight.queue(Role.REALTIME, SpacePacket(1, number, bytes(20)).encode())
        bench.frame()
        bench.frame()
    for lost in (0, 3):
        restart(bench)
        bench.now_ns += 60 * NS
        for _ in range(lost):
            bench.flight.next_unit()
        bench.flight.queue(Role.REALTIME, SpacePacket(1, 0, bytes(20)).encode())
        for _ in range(40):
            bench.frame()
    assert bench.ground.counters.restarts == 2
    assert bench.ground.counters.frames_missed == bench.ground.extractor.master_missed == 0


@pytest.mark.parametrize("gap_ns", [NS // 10, 3 * NS])
def test_a_node_that_restarts_twice_in_a_row_executes_nothing_twice(gap_ns: int) -> None:
    """After the first restart V(S) and V(R) are 0, so that the CLCW of the second one looks like an answer."""
    bench = Bench().up_and_running()
    restart(bench)
    bench.now_ns += 20 * NS
    for _ in range(20):
        bench.frame()
    bench.exchange()
    assert bench.ground.service is Service.UP
    bench.send(0, 1, 2, 3)
    bench.deliver()
    restart(bench)
    bench.now_ns += gap_ns
    for _ in range(20):
        bench.frame()
    for _ in range(10):
        bench.now_ns += 4 * NS
        bench.do(bench.ground.on_time(bench.now_ns))
        bench.exchange()
    assert bench.ground.counters.restarts == 2
    assert bench.executed == [ping(number) for number in range(4)]
    assert [action.tag for action in of_kind(bench, Lost)] == [0, 1, 2, 3] and bench.acknowledged == []


def test_restarts_that_somebody_forges_cost_a_store_per_second() -> None:
    config = LinkConfig(coding="frame", frame_octets=64, uplink_security="authenticated")
    plans = [LinkPlan("link", config.up_suite, None)]
    security = LinkSecurity(End.GROUND, simulated_keys(1, plans), plans, random=Random(1).randbytes)
    ground, former, now_ns, stores = GroundSession(config, security), FlightLink(CONFIG), 0, 0
    for _ in range(120):
        former.next_unit()
    units = [unit_of(former), unit_of(FlightLink(CONFIG))]
    todo: list[Action] = list(ground.initiate(0))
    for number in range(4000):
        now_ns += NS // 1000
        todo += ground.on_downlink(units[number % 2], now_ns)
        while todo:
            action = todo.pop(0)
            if isinstance(action, StoreSecurity):
                stores += 1
                security.stored(action.generation)
                todo += ground.on_stored(now_ns)
    assert ground.counters.restarts > 1000
    assert stores <= 4 + ground.counters.cltus // UP_BLOCK + 2


def test_lost_frames_are_a_gap_and_no_restart() -> None:
    bench = Bench().up_and_running()
    for number in range(600):
        if number % 7 == 0:
            bench.flight.queue(Role.REALTIME, SpacePacket(1, number, bytes(20)).encode())
        if number % 50 < 12:
            bench.flight.next_unit()
        else:
            bench.frame()
    assert bench.ground.counters.restarts == 0
    # Before the first frame of its channel two were lost that only the master count tells.
    assert (bench.ground.counters.frames_missed, bench.ground.extractor.master_missed) == (142, 144)


def test_runs_of_repeated_and_single_overtaken_frames_are_no_restart() -> None:
    bench = Bench()
    units = [unit_of(bench.flight) for _ in range(14)]
    for number in (0, 1, 2, 3, 0, 1, 2, 5, 4, 6, 7, 9, 8, 5, 6, 7, 13, 11, 10):
        bench.do(bench.ground.on_downlink(units[number], 0))
    assert (bench.ground.counters.restarts, bench.ground.counters.frames) == (0, 9)
    assert bench.ground.counters.frames_rejected["repeated"] == 10


def test_command_sent_before_a_restart_is_not_sent_again() -> None:
    bench = Bench().up_and_running()
    bench.send(0)
    bench.deliver()
    assert bench.executed == [ping(0)]
    # Its CLCW is lost with the node, whose V(R) now is 0 as it was before the command.
    restart(bench, SpacePacket(1, 0, b"boot event").encode())
    bench.now_ns += 2 * NS
    for _ in range(120):
        bench.do(bench.ground.on_time(bench.now_ns))
        bench.frame()
        bench.deliver()
    assert bench.executed == [ping(0)]
    assert [action.tag for action in of_kind(bench, Lost)] == [0]
    assert bench.ground.waiting == 0
