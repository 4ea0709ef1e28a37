"""The command link by hand: directives, what they do to commands under way, and what stays automatic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from flight.link.coding.cltu import encode_cltu
from flight.link.tc.directives import Directive, DirectiveKind, FopRefusal
from flight.link.tc.tc_frame import UNLOCK, TcFrame, set_vr_command
from flight.link.tm_tc_stack import FlightLink
from ground.link.actions import Alert, Lost, Rejected
from ground.link.aos_session import AosSession
from ground.link.cop1.control_proof import ControlProof
from ground.link.cop1.directive_values import ACTIONS, directive_of
from ground.link.ground_link import Service
from tests.link_bench import CONFIG, Bench, ping

D = DirectiveKind


def direct(bench: Bench, kind: DirectiveKind, value: int = 0) -> None:
    bench.do(bench.ground.direct(Directive(kind, value), bench.now_ns))


def state(bench: Bench) -> tuple[Any, ...]:
    status = bench.ground.status(bench.now_ns)
    return status["mode"], status["service"], status["fop_state"]


def lock_out(bench: Bench) -> None:
    stray = TcFrame(CONFIG.spacecraft_id, 0, (bench.flight.farm.vr + 100) % 256, ping(99))
    bench.flight.on_uplink(encode_cltu(stray.encode()), bench.now_ns)


def test_terminate_makes_it_manual_and_nothing_comes_up_by_itself() -> None:
    bench = Bench().up_and_running()
    bench.send(0)
    direct(bench, D.TERMINATE)
    assert state(bench) == ("manual", "idle", "S6")
    for call in (bench.ground.initiate, bench.ground.resume, bench.ground.reset):
        bench.do(call(bench.now_ns))
    bench.deliver()
    bench.frame()
    assert state(bench) == ("manual", "idle", "S6")
    assert bench.acknowledged == []
    bench.send(1)
    assert bench.up == []
    bench.do(bench.ground.auto(bench.now_ns))
    bench.frame()
    assert (state(bench), bench.acknowledged) == (("automatic", "up", "S1"), [0])
    bench.exchange()
    assert bench.acknowledged == [0, 1]


@pytest.mark.parametrize("kind", [D.INITIATE, D.INITIATE_CLCW, D.INITIATE_UNLOCK])
def test_each_way_to_initiate_brings_it_up_and_the_commands_go_on(kind: DirectiveKind) -> None:
    bench = Bench().up_and_running()
    bench.send(0)
    bench.exchange()
    direct(bench, D.TERMINATE)
    bench.send(1)
    direct(bench, kind)
    bench.exchange()
    bench.exchange()
    bench.frame()
    assert (state(bench), bench.acknowledged) == (("manual", "up", "S1"), [0, 1])
    assert bench.executed == [ping(0), ping(1)]


def test_set_vr_moves_both_ends_and_commands_that_wait_go_on_from_there() -> None:
    bench = Bench().up_and_running()
    direct(bench, D.TERMINATE)
    bench.send(0)
    direct(bench, D.INITIATE_SET_VR, 77)
    assert [frame.data for frame in bench.frames_up()] == [set_vr_command(77)]
    bench.exchange()
    assert [frame.seq for frame in bench.frames_up()] == [77]
    bench.exchange()
    assert (bench.acknowledged, bench.flight.farm.vr) == ([0], 78)


def test_set_vr_to_the_value_that_is_there_waits_until_the_node_has_taken_it() -> None:
    """N(R) says nothing then: the FARM-B counter does."""
    bench = Bench().up_and_running()
    direct(bench, D.TERMINATE)
    direct(bench, D.INITIATE_SET_VR, 0)
    bench.frame()
    assert state(bench) == ("manual", "recovering", "S5")
    assert bench.ground.status(bench.now_ns)["proof_pending"] is True
    bench.exchange()
    assert state(bench) == ("manual", "up", "S1")


def test_set_vr_while_frames_may_arrive_loses_what_was_sent() -> None:
    bench = Bench().up_and_running()
    bench.send(0, 1)
    direct(bench, D.TERMINATE)
    direct(bench, D.INITIATE_SET_VR, 0)
    assert [action.tag for action in bench.seen if isinstance(action, Lost)] == [0, 1]
    bench.exchange()
    assert bench.executed == [ping(0), ping(1)], "and they were executed, which nobody could know"
    bench.send(2)
    bench.exchange()
    assert (bench.acknowledged, bench.executed[2:]) == ([2], [ping(2)])


def test_set_vr_behind_the_time_of_flight_settles_by_the_clcw_and_sends_the_others_again() -> None:
    bench = Bench().up_and_running()
    bench.send(0, 1)
    bench.deliver(lose=(1,))
    direct(bench, D.TERMINATE)
    bench.now_ns += 4 * NS
    bench.frame()
    direct(bench, D.INITIATE_SET_VR, 200)
    assert bench.acknowledged == [0]
    bench.exchange()
    assert [(frame.seq, frame.data) for frame in bench.frames_up()] == [(200, ping(1))]
    bench.exchange()
    assert (bench.acknowledged, bench.executed) == ([0, 1], [ping(0), ping(1)])


def test_without_check_nothing_is_taken_for_acknowledged_by_a_number_that_somebody_typed() -> None:
    bench = Bench().up_and_running()
    bench.send(0, 1)
    bench.up.clear()
    direct(bench, D.TERMINATE)
    direct(bench, D.SET_VS, 2)
    direct(bench, D.INITIATE)
    assert [action.tag for action in bench.seen if isinstance(action, Lost)] == [0, 1]
    assert bench.acknowledged == []


def test_without_check_and_with_the_number_of_the_clcw_commands_keep_theirs() -> None:
    bench = Bench().up_and_running()
    bench.send(0, 1)
    bench.up.clear()
    direct(bench, D.TERMINATE)
    direct(bench, D.SET_VS, 0)
    direct(bench, D.INITIATE)
    assert [frame.seq for frame in bench.frames_up()] == [0, 1]
    bench.exchange()
    assert bench.acknowledged == [0, 1]


def test_without_check_a_number_that_v_r_has_passed_confirms_nothing() -> None:
    """V(S) is behind V(R): FARM-1 drops the frames in silence, and its N(R) looks like an acknowledgement."""
    bench = Bench()
    bench.flight.farm.vr = 12
    bench.up_and_running()
    direct(bench, D.TERMINATE)
    direct(bench, D.SET_VS, 10)
    direct(bench, D.INITIATE)
    bench.send(0, 1)
    bench.exchange()
    assert (bench.acknowledged, bench.executed) == ([], [])
    assert [action.tag for action in bench.seen if isinstance(action, Lost)] == [0, 1]


def test_without_check_a_clcw_that_says_the_number_is_the_check() -> None:
    bench = Bench()
    bench.flight.farm.vr = 12
    direct(bench, D.SET_VS, 12)
    direct(bench, D.INITIATE)
    bench.frame()
    bench.send(0)
    bench.exchange()
    assert (bench.acknowledged, bench.executed) == ([0], [ping(0)])


def test_numbers_wait_until_no_frame_is_on_its_way() -> None:
    bench = Bench().up_and_running()
    bench.send(0)
    bench.up.clear()
    bench.do(bench.ground.reset(bench.now_ns))
    bench.flight.farm.vr = 90
    bench.flight.acquired()
    bench.do(bench.ground.resume(bench.now_ns))
    bench.frame()
    assert (bench.up, bench.ground.service) == ([], Service.AWAIT_CLCW)
    bench.now_ns += 4 * NS
    bench.frame()
    assert [frame.data for frame in bench.frames_up()] == [UNLOCK]


def test_settings_leave_it_automatic_and_hold_from_now_on() -> None:
    bench = Bench().up_and_running()
    for kind, value in ((D.SET_WINDOW, 2), (D.SET_T1, 9 * NS), (D.SET_LIMIT, 7), (D.SET_TIMEOUT_TYPE, 1)):
        direct(bench, kind, value)
    status = bench.ground.status(bench.now_ns)
    assert {name: status[name] for name in ("mode", "window", "t1_s", "transmission_limit", "timeout_type")} == {
        "mode": "automatic", "window": 2, "t1_s": 9.0, "transmission_limit": 7, "timeout_type": 1,
    }  # fmt: skip
    bench.send(0, 1, 2)
    assert len(bench.up) == 2


def test_a_refused_directive_changes_nothing_and_leaves_it_automatic() -> None:
    bench = Bench().up_and_running()
    before = bench.ground.status(bench.now_ns)
    for kind, value in ((D.INITIATE, 0), (D.RESUME, 0), (D.SET_VS, 3), (D.SET_WINDOW, 11), (D.SET_LIMIT, 0)):
        with pytest.raises(FopRefusal):
            direct(bench, kind, value)
    assert bench.ground.status(bench.now_ns) == before


def suspended(bench: Bench) -> Bench:
    bench.send(0)
    bench.up.clear()
    while bench.ground.next_time_ns is not None:
        bench.now_ns = bench.ground.next_time_ns
        bench.do(bench.ground.on_time(bench.now_ns))
        bench.up.clear()
    return bench


def test_by_hand_t1_suspends_and_resume_goes_on_with_the_same_frames() -> None:
    bench = Bench().up_and_running()
    direct(bench, D.TERMINATE)
    direct(bench, D.SET_TIMEOUT_TYPE, 1)
    direct(bench, D.INITIATE)
    suspended(bench)
    assert (state(bench), bench.ground.status(0)["suspended"]) == (("manual", "idle", "S6"), "S1")
    assert bench.ground.waiting == 1
    direct(bench, D.SET_LIMIT, 9)
    direct(bench, D.RESUME)
    assert state(bench) == ("manual", "up", "S1")
    due_ns = bench.ground.next_time_ns
    assert due_ns is not None
    bench.now_ns = due_ns
    bench.do(bench.ground.on_time(due_ns))
    bench.exchange()
    assert bench.acknowledged == [0]


def test_automatic_t1_that_suspends_begins_again_as_after_an_alert() -> None:
    bench = Bench().up_and_running()
    direct(bench, D.SET_TIMEOUT_TYPE, 1)
    suspended(bench)
    assert bench.seen[-1] == Alert("FOP-1 suspended; AD service restarts with the next CLCW")
    bench.frame()
    bench.exchange()
    assert bench.acknowledged == [0]


@pytest.mark.parametrize("trouble", ["lockout", "restart"])
def test_by_hand_an_alert_or_a_restart_of_the_node_ends_the_service_and_waits(trouble: str) -> None:
    bench = Bench()
    bench.flight.farm.vr = 40
    bench.up_and_running()
    direct(bench, D.TERMINATE)
    direct(bench, D.INITIATE)
    assert state(bench) == ("manual", "up", "S1")
    bench.send(0)
    bench.up.clear()
    if trouble == "lockout":
        lock_out(bench)
        bench.frame()
    else:
        for _ in range(40):
            bench.frame()
        bench.flight = FlightLink(CONFIG)
        bench.frame()
        bench.frame()
    for _ in range(5):
        bench.frame()
    assert state(bench) == ("manual", "idle", "S6")
    last = [action for action in bench.seen if isinstance(action, Alert)][-1]
    assert "the link was led by hand" in last.reason
    assert bench.ground.status(bench.now_ns)["last_alert"] == last.reason
    direct(bench, D.SET_VS, bench.flight.farm.vr)
    direct(bench, D.INITIATE_UNLOCK)
    bench.exchange()
    assert state(bench) == ("manual", "up", "S1")


def test_the_end_of_a_contact_leaves_a_manual_link_to_t1() -> None:
    bench = Bench().up_and_running()
    direct(bench, D.TERMINATE)
    direct(bench, D.INITIATE)
    bench.send(0)
    bench.do(bench.ground.reset(bench.now_ns))
    assert (state(bench), bench.ground.next_time_ns is None) == (("manual", "up", "S1"), False)


def test_status_tells_every_flag_of_the_newest_clcw() -> None:
    bench = Bench()
    assert bench.ground.status(0)["clcw"] is None
    bench.up_and_running()
    lock_out(bench)
    bench.frame()
    status = bench.ground.status(bench.now_ns + NS)
    assert status["clcw_age_s"] == 1.0
    assert status["clcw"] == {
        "vcid": 0, "report_value": 0, "lockout": True, "wait": False, "retransmit": False, "no_rf": False,
        "no_bit_lock": False, "farm_b_counter": 0, "status": 0,
    }  # fmt: skip
    assert (status["alerts"], status["service"]) == (1, Service.AWAIT_CLCW.value)


# The words of an operator


def test_words_become_directives() -> None:
    assert directive_of("set-t1", 2.5) == Directive(D.SET_T1, 2_500_000_000)
    assert directive_of("initiate-set-vr", 7.0) == Directive(D.INITIATE_SET_VR, 7)
    assert directive_of("terminate", None) == Directive(D.TERMINATE)
    assert {kind.value for kind in D} | {"status", "auto"} == set(ACTIONS)


@pytest.mark.parametrize(
    ("action", "value", "text"),
    [
        ("fly", None, "unknown action 'fly', should be one of status, auto, initiate"),
        ("status", None, "unknown action 'status'"),
        ("terminate", 1.0, "terminate takes no value"),
        ("set-window", None, "set-window takes a number"),
        ("set-window", 2.5, "takes a whole number, not 2.5"),
        ("set-t1", float("nan"), "set-t1 takes a number"),
        ("set-vs", float("inf"), "set-vs takes a number"),
        ("set-t1", 0.0, r"^link: set-t1: 0 s is outside 0.01 .. 7200 s$"),
        ("set-t1", 1e300, r"^link: set-t1: 1e\+300 s is outside 0.01 .. 7200 s$"),
        ("set-vs", 300.0, r"^link: set-vs: 300 is outside 0 .. 255$"),
    ],
)
def test_words_that_are_no_directive_say_what_would_be(action: str, value: float | None, text: str) -> None:
    with pytest.raises(OrbitnodeError, match=text):
        directive_of(action, value)


def test_a_timer_has_the_same_bounds_in_seconds_as_in_the_link() -> None:
    bench = Bench().up_and_running()
    for value in (1e300, -1e300, 0.0, 7201.0):
        with pytest.raises(OrbitnodeError, match="set-t1"):
            directive_of("set-t1", value)
    for value_ns in (0, 7201 * NS):
        with pytest.raises(FopRefusal, match="set-t1"):
            bench.ground.direct(Directive(D.SET_T1, value_ns), 0)
    for value in (0.01, 7200.0):
        bench.ground.direct(directive_of("set-t1", value), 0)


def test_a_link_without_a_way_up_has_nothing_to_lead(aos_session: AosSession) -> None:
    with pytest.raises(FopRefusal, match="no way up"):
        aos_session.direct(Directive(D.TERMINATE), 0)
    with pytest.raises(FopRefusal, match="no way up"):
        aos_session.auto(0)
    assert (aos_session.status(0), aos_session.room_octets) == ({}, 0)


@pytest.fixture
def aos_session() -> AosSession:
    from flight.link.aos_stack import AosConfig

    return AosSession(AosConfig())


# The proof that a control command was taken


def proof_after(*steps: str) -> ControlProof:
    """`send`: a bypass frame leaves; `N`: a CLCW with this counter; `ad N`: the Nth frame, in sequence, is taken."""
    proof, place = ControlProof(), 0
    for step in steps:
        word, _, number = step.partition(" ")
        if word == "send":
            place += 1
            proof.on_bypass_sent(place)
        elif word == "begin":
            proof.begin()
        elif word == "ad":
            proof.on_sequence_taken(int(number))
        elif word == "restart":
            proof.on_restart()
        else:
            proof.on_counter(int(word))
    return proof


@pytest.mark.parametrize(
    ("steps", "done"),
    [
        (("0", "begin", "send"), False),
        (("0", "begin", "send", "0"), False),
        (("0", "begin", "send", "1"), True),
        (("3", "begin", "send", "0"), True),
        (("0", "send", "begin", "send", "1"), False),  # it may be the frame before that was counted
        (("0", "send", "begin", "send", "1", "send", "2"), True),
        (("0", "send", "1", "begin", "send", "2"), True),  # the frame before was counted already
        (("0", "send", "ad 2", "begin", "send", "1"), True),  # a later frame in sequence has ended it
        (("0", "send", "ad 1", "begin", "send", "1"), False),  # one that left before has not
        (("begin", "send", "2"), False),  # nothing to compare it with
        (("2", "begin", "send", "restart", "0"), False),
        (("2", "begin", "send", "restart", "0", "send", "1"), True),
    ],
)
def test_a_control_command_is_proved_by_more_counts_than_others_can_have_made(
    steps: tuple[str, ...], done: bool
) -> None:
    proof = proof_after(*steps)
    assert (proof.done, proof.pending) == (done, not done)
    proof.end()
    assert (proof.done, proof.pending) == (False, False)


# Numbers that would change hands

CAUSES: dict[str, Callable[[Bench], None]] = {}


def cause(function: Callable[[Bench], None]) -> Callable[[Bench], None]:
    CAUSES[function.__name__] = function
    return function


@cause
def dropped(bench: Bench) -> None:
    bench.do(bench.ground.drop(0, "given up"))


@cause
def lost(bench: Bench) -> None:
    bench.flight.farm.vr = 90
    bench.flight.acquired()


@pytest.mark.parametrize("name", CAUSES)
def test_a_number_goes_to_another_command_only_behind_a_control_command(name: str) -> None:
    """A copy that somebody has held back may come until then, and is not executed in place of another."""
    bench = Bench().up_and_running()
    bench.send(0)
    held = list(bench.up)
    bench.up.clear()
    CAUSES[name](bench)
    bench.do(bench.ground.reset(bench.now_ns))
    bench.now_ns += 100 * NS
    bench.do(bench.ground.resume(bench.now_ns))
    bench.send(1)
    for _ in range(3):
        bench.frame()
    assert {frame.data for frame in bench.frames_up()} == {UNLOCK}, "the next command waits"
    bench.up.clear()  # the Unlock is lost, and the copy comes now
    for octets in held:
        bench.up.append(octets)
    bench.exchange()
    taken = bench.executed == [ping(0)]
    assert taken == (name == "dropped")
    due_ns = bench.ground.next_time_ns
    for _ in range(3):
        due_ns = bench.ground.next_time_ns or bench.now_ns
        bench.now_ns = max(bench.now_ns, due_ns)
        bench.do(bench.ground.on_time(bench.now_ns))
        bench.exchange()
    ended = [action for action in bench.seen if isinstance(action, Rejected | Lost)]
    assert bench.acknowledged == ([0, 1] if taken else [1])
    assert [action.tag for action in ended] == ([] if taken else [0])
    assert bench.executed == ([ping(0), ping(1)] if taken else [ping(1)])


def test_a_bypass_frame_that_is_counted_is_not_taken_for_the_unlock() -> None:
    bench = Bench().up_and_running()
    bench.send(0)
    bench.do(bench.ground.send_bypass(ping(50), bench.now_ns, 50))
    first, bypass = bench.up
    bench.up.clear()
    bench.do(bench.ground.drop(0, "given up"))
    bench.do(bench.ground.reset(bench.now_ns))
    bench.now_ns += 100 * NS
    bench.do(bench.ground.resume(bench.now_ns))
    bench.send(1)
    bench.frame()
    assert [frame.data for frame in bench.frames_up()] == [UNLOCK]
    bench.up = [bypass]  # the Unlock is lost; the bypass frame of before counts one
    bench.exchange()
    assert bench.up == [] and bench.ground.service is Service.RECOVERING
    bench.up = [first]
    bench.exchange()  # the copy of the dropped command comes even now, and is known to have been taken
    assert bench.acknowledged == [0]


def test_frames_of_one_call_share_a_cltu_if_the_link_says_so() -> None:
    bench = Bench(replace(CONFIG, cltu_frames=4))
    bench.do(bench.ground.initiate(0))
    bench.send(*range(10))
    bench.frame()
    assert [len(bench.frames_in(cltu)) for cltu in bench.up] == [4, 4, 2]
    bench.exchange()
    assert (bench.acknowledged, bench.executed) == (list(range(10)), [ping(number) for number in range(10)])


def test_a_cltu_holds_what_fits_it() -> None:
    bench = Bench(replace(CONFIG, cltu_frames=127))
    bench.do(bench.ground.initiate(0))
    for number in range(6):
        bench.do(bench.ground.send(ping(number) + bytes(300), 0, number))
    bench.frame()
    assert [len(bench.frames_in(cltu)) for cltu in bench.up] == [3, 3]
