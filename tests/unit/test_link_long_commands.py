"""Commands longer than a frame, over both ends: lost parts, passes that end between parts, drops, restarts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flight.core.nanoseconds import NS
from flight.link.space_packet import SpacePacket
from flight.link.tc.tc_frame import UNLOCK
from flight.link.tm_tc_stack import FlightLink
from ground.link.actions import Lost, Rejected
from tests.link_bench import CONFIG, Bench
from tests.mission_security import security_of

LONG = replace(CONFIG, tc_segment_header=True, tc_map=3, tc_packet_octets=20_000, fop_window=4, farm_window=8)
ROOM = LONG.tc_room_octets()


def packet(number: int, frames: int) -> bytes:
    """A packet that takes so many frames, another for each number."""
    return SpacePacket(1, number, bytes((number,)) * (frames * ROOM - 6 - (frames > 1)), is_command=True).encode()


def begun(*commands: int) -> Bench:
    """Both ends with these commands queued: the number of frames of each, in their order."""
    bench = Bench(LONG).up_and_running()
    for number, frames in enumerate(commands):
        bench.do(bench.ground.send(packet(number, frames), bench.now_ns, number))
    return bench


def finish(bench: Bench) -> None:
    for _ in range(40):
        bench.exchange()
        if bench.ground.next_time_ns is not None:
            bench.now_ns = bench.ground.next_time_ns
            bench.do(bench.ground.on_time(bench.now_ns))
    assert bench.ground.waiting == 0


def next_pass(bench: Bench) -> None:
    bench.do(bench.ground.reset(bench.now_ns))
    bench.up.clear()
    bench.flight.carrier_lost()
    bench.now_ns += 100 * NS
    bench.do(bench.ground.resume(bench.now_ns))


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 12])
def test_a_long_command_arrives_once_and_is_acknowledged_by_its_last_frame(frames: int) -> None:
    bench = begun(frames, 1)
    finish(bench)
    assert bench.executed == [packet(0, frames), packet(1, 1)]
    assert bench.acknowledged == [0, 1]


@pytest.mark.parametrize("lost", [0, 1, 2, 3])
def test_a_part_that_is_lost_goes_again_and_costs_no_other(lost: int) -> None:
    bench = begun(6, 1)
    bench.deliver(lose=(lost,))
    finish(bench)
    assert bench.executed == [packet(0, 6), packet(1, 1)]
    assert bench.acknowledged == [0, 1]


@pytest.mark.parametrize("arrived", range(5))
def test_a_pass_that_ends_between_parts_is_gone_on_with_in_the_next(arrived: int) -> None:
    bench = begun(6, 1)
    bench.deliver(lose=tuple(range(arrived, 4)))
    next_pass(bench)
    bench.frame()
    assert len(bench.frames_up()) == min(4, 7 - arrived), "what arrived does not go again"
    finish(bench)
    assert bench.executed == [packet(0, 6), packet(1, 1)]
    assert bench.acknowledged == [0, 1]


@pytest.mark.parametrize("arrived", range(5))
def test_a_node_that_restarts_between_parts_gets_the_command_from_its_beginning(arrived: int) -> None:
    bench = begun(6, 1)
    for _ in range(40):
        bench.frame()  # far enough that the restart shows itself by the counts
    bench.deliver(lose=tuple(range(arrived, 4)))
    bench.flight = FlightLink(LONG)
    bench.frame()
    bench.now_ns += 20 * NS
    bench.frame()
    finish(bench)
    assert bench.executed == [packet(0, 6), packet(1, 1)], "its last part never went out, so nothing was lost"
    assert bench.acknowledged == [0, 1]


def test_a_node_that_restarts_behind_the_last_part_leaves_it_lost() -> None:
    bench = begun(3)
    for _ in range(40):
        bench.frame()
    bench.flight = FlightLink(LONG)
    bench.frame()
    bench.now_ns += 20 * NS
    bench.frame()
    assert [action.tag for action in bench.seen if isinstance(action, Lost)] == [0]


@pytest.mark.parametrize("arrived", range(5))
def test_a_command_dropped_between_parts_is_rejected_and_the_next_one_is_whole(arrived: int) -> None:
    bench = begun(9, 2)
    bench.do(bench.ground.drop(0, "too late"))
    bench.deliver(lose=tuple(range(arrived, 4)))
    finish(bench)
    assert [action for action in bench.seen if isinstance(action, Rejected)] == [Rejected(0, "too late")]
    assert (bench.executed, bench.acknowledged) == ([packet(1, 2)], [1])
    assert bench.flight.counters.uplink_rejected["unfinished"] == 1


def test_a_command_dropped_before_its_first_part_is_rejected_at_once() -> None:
    bench = begun(9, 2)
    bench.do(bench.ground.drop(1, "too late"))
    assert bench.seen[-1] == Rejected(1, "too late")
    finish(bench)
    assert bench.executed == [packet(0, 9)]


def test_a_long_command_that_was_dropped_is_left_out_of_the_next_pass_behind_an_unlock() -> None:
    bench = begun(3, 2)
    bench.deliver(lose=(1, 2, 3))
    bench.do(bench.ground.drop(0, "too late"))
    next_pass(bench)
    bench.frame()
    assert [frame.data for frame in bench.frames_up()] == [UNLOCK]
    finish(bench)
    assert (bench.executed, bench.acknowledged) == ([packet(1, 2)], [1])
    assert [action.tag for action in bench.seen if isinstance(action, Rejected)] == [0]


def test_another_ground_between_the_parts_sends_it_from_its_beginning() -> None:
    bench = begun(9)
    bench.exchange()  # the first four are acknowledged
    bench.up.clear()
    next_pass(bench)
    bench.flight.farm.vr = 60
    bench.flight.acquired()
    finish(bench)
    assert (bench.executed, bench.acknowledged) == ([packet(0, 9)], [0])


def test_lengths_are_refused_where_they_are_asked_for() -> None:
    bench = Bench(LONG).up_and_running()
    longest = SpacePacket(1, 0, bytes(20_000 - 6), is_command=True).encode()
    bench.do(bench.ground.send(longest, 0, "longest"))
    bench.do(bench.ground.send(longest + b"x", 0, "long"))
    bench.do(bench.ground.send_bypass(bytes(ROOM + 1), 0, "bypass"))
    assert bench.seen == [
        Rejected("long", "telecommand of 20001 octets, should be 1..20000"),
        Rejected("bypass", f"telecommand of {ROOM + 1} octets, should be 1..{ROOM} to fit a frame"),
    ]
    bench.do(bench.ground.send_bypass(packet(5, 1), 0, "fits"))
    finish(bench)
    assert bench.executed == [packet(5, 1), longest]


def test_what_link_security_takes_of_a_frame_is_left_free() -> None:
    from ground.link.ad_service import AdService
    from ground.link.ground_link import SessionCounters

    protected = replace(LONG, uplink_security="encrypted")
    assert AdService(protected, SessionCounters(), security_of(protected)).room_octets == ROOM - 30
    protected = replace(CONFIG, uplink_security="encrypted")
    assert AdService(protected, SessionCounters(), security_of(protected)).room_octets == 987
