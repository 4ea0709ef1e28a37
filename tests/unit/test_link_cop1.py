"""FARM-1 and FOP-1 row by row of their state tables (CCSDS 232.1-B-2, tables 6-1 and 5-1)."""

from __future__ import annotations

import pytest

from flight.link.clcw import Clcw
from flight.link.farm import Farm, FarmState
from flight.link.fop import Confirmed, Fop, FopAlert, FopState, Initiated, Transmit, Unconfirmed, Unsent
from flight.link.tc_frame import UNLOCK, TcFrame, set_vr_command

SECOND_NS = 1_000_000_000


def ad(seq: int) -> TcFrame:
    return TcFrame(1, 0, seq, b"packet")


BD = TcFrame(1, 0, 0, b"packet", bypass=True)


def bc(command: bytes) -> TcFrame:
    return TcFrame(1, 0, 0, command, bypass=True, control=True)


def farm_in(state: FarmState) -> Farm:
    farm = Farm(window=20)
    farm.vr = 100
    if state is FarmState.WAIT:
        farm.on_frame(ad(100), buffer_free=False)
    elif state is FarmState.LOCKOUT:
        farm.on_frame(ad(200))
    assert farm.state is state
    return farm


ALL = list(FarmState)


def test_farm_e1_accepts_only_when_open():
    farm = farm_in(FarmState.OPEN)
    farm.on_frame(ad(101))
    assert farm.retransmit
    assert farm.on_frame(ad(100)) == b"packet"
    assert (farm.vr, farm.retransmit) == (101, False)
    assert farm_in(FarmState.LOCKOUT).on_frame(ad(100)) is None
    assert farm_in(FarmState.WAIT).on_frame(ad(100)) is None


def test_farm_e2_without_buffer_waits():
    farm = farm_in(FarmState.OPEN)
    assert farm.on_frame(ad(100), buffer_free=False) is None
    assert (farm.state, farm.vr, farm.retransmit, farm.wait) == (FarmState.WAIT, 100, True, True)
    assert farm_in(FarmState.LOCKOUT).on_frame(ad(100), buffer_free=False) is None


@pytest.mark.parametrize(("seq", "retransmit"), [(101, True), (109, True), (90, False), (99, False)])
def test_farm_e3_and_e4_inside_the_windows(seq, retransmit):
    for state in ALL:
        farm = farm_in(state)
        before = farm.retransmit
        assert farm.on_frame(ad(seq)) is None
        assert farm.state is state
        assert farm.retransmit == (retransmit if state is FarmState.OPEN else before)


@pytest.mark.parametrize("seq", [110, 89, 228])
def test_farm_e5_outside_both_windows_locks_out(seq):
    for state in ALL:
        farm = farm_in(state)
        assert farm.on_frame(ad(seq)) is None
        assert farm.state is FarmState.LOCKOUT
        assert farm.clcw().lockout


def test_farm_windows_wrap():
    farm = Farm(window=20)
    farm.vr = 250
    assert farm.on_frame(ad(3)) is None
    assert farm.state is FarmState.OPEN
    assert farm.on_frame(ad(4)) is None
    assert farm.state is FarmState.LOCKOUT


def test_farm_e6_to_e8_bypass():
    for state in ALL:
        farm = farm_in(state)
        assert farm.on_frame(BD) == b"packet"
        assert (farm.state, farm.b_counter) == (state, 1)
        farm = farm_in(state)
        assert farm.on_frame(bc(UNLOCK)) is None
        assert (farm.state, farm.retransmit, farm.wait, farm.vr) == (FarmState.OPEN, False, False, 100)
        assert farm.b_counter == 1
        farm = farm_in(state)
        assert farm.on_frame(bc(set_vr_command(7))) is None
        locked = state is FarmState.LOCKOUT
        assert farm.state is (FarmState.LOCKOUT if locked else FarmState.OPEN)
        assert farm.vr == (100 if locked else 7)
        assert farm.b_counter == 1


def test_farm_unknown_control_command_is_counted():
    farm = Farm()
    assert farm.on_frame(bc(b"\x01\x02")) is None
    assert (farm.counters.control_invalid, farm.b_counter) == (1, 0)


def test_farm_e10_buffer_released():
    farm = farm_in(FarmState.WAIT)
    farm.release_buffer()
    assert (farm.state, farm.wait, farm.retransmit) == (FarmState.OPEN, False, True)
    farm = farm_in(FarmState.LOCKOUT)
    farm.release_buffer()
    assert farm.state is FarmState.LOCKOUT


def test_farm_e11_reports():
    farm = farm_in(FarmState.WAIT)
    assert farm.clcw(no_rf=True) == Clcw(0, 100, wait=True, retransmit=True, no_rf=True)


# FOP-1


def fop_in(state: FopState, sent: int = 0, limit: int = 3) -> Fop:
    """A FOP with V(S) = 10 + sent, NN(R) = 10, in `state`."""
    fop = Fop(1, window=5, transmission_limit=limit)
    fop.set_vs(10)
    if state is FopState.INITIAL:
        return fop
    if state is FopState.INITIALIZING:
        fop.initiate_with_clcw(0)
    elif state is FopState.INITIALIZING_BC:
        fop.initiate_with_unlock(0)
    else:
        fop.initiate()
        for number in range(sent):
            fop.send(b"packet", number, 0)
        fop.state = state
    return fop


def clcw(value: int, flags: str = "") -> Clcw:
    return Clcw(0, value, lockout="l" in flags, wait="w" in flags, retransmit="r" in flags)


S1, S2, S3 = FopState.ACTIVE, FopState.RETRANSMIT, FopState.RETRANSMIT_WAIT
S4, S5, S6 = FopState.INITIALIZING, FopState.INITIALIZING_BC, FopState.INITIAL
RUNNING = (S1, S2, S3)

# event, frames sent, limit, transmissions so far, CLCW; then per state: acknowledged, resent, next state or alert
TABLE = [
    ("E1", 0, 3, 1, clcw(10), {S1: (0, 0, S1), S2: "SYNCH", S3: "SYNCH", S4: (0, 0, S1), S5: (0, 0, S1)}),
    ("E2", 2, 3, 1, clcw(12), dict.fromkeys(RUNNING, (2, 0, S1))),
    ("E3", 0, 3, 1, clcw(10, "w"), dict.fromkeys((*RUNNING, S4, S5), "CLCW")),
    ("E4", 0, 3, 1, clcw(10, "r"), {**dict.fromkeys((*RUNNING, S4), "SYNCH"), S5: (0, 0, S5)}),
    ("E5", 2, 3, 1, clcw(10), {S1: (0, 0, S1), S2: "SYNCH", S3: "SYNCH"}),
    ("E6", 2, 3, 1, clcw(11), dict.fromkeys(RUNNING, (1, 0, S1))),
    ("E7", 2, 3, 1, clcw(10, "w"), dict.fromkeys(RUNNING, "CLCW")),
    ("E101", 2, 1, 1, clcw(11, "r"), dict.fromkeys(RUNNING, "LIMIT")),
    ("E102", 2, 1, 1, clcw(10, "r"), dict.fromkeys(RUNNING, "LIMIT")),
    ("E8", 3, 3, 1, clcw(11, "r"), dict.fromkeys(RUNNING, (1, 2, S2))),
    ("E9", 3, 3, 1, clcw(11, "rw"), dict.fromkeys(RUNNING, (1, 0, S3))),
    ("E10", 2, 3, 1, clcw(10, "r"), {S1: (0, 2, S2), S2: (0, 0, S2), S3: (0, 2, S2)}),
    ("E11", 2, 3, 1, clcw(10, "rw"), dict.fromkeys(RUNNING, (0, 0, S3))),
    ("E12", 2, 3, 3, clcw(10, "r"), dict.fromkeys(RUNNING, (0, 0, S2))),
    ("E103", 2, 3, 3, clcw(10, "rw"), dict.fromkeys(RUNNING, (0, 0, S3))),
    ("E13 below", 2, 3, 1, clcw(9), dict.fromkeys(RUNNING, "NN(R)")),
    ("E13 above", 2, 3, 1, clcw(13), dict.fromkeys(RUNNING, "NN(R)")),
    ("E13", 0, 3, 1, clcw(11), {S4: "NN(R)", S5: (0, 0, S5)}),
    ("E14", 0, 3, 1, clcw(10, "l"), {**dict.fromkeys((*RUNNING, S4), "LOCKOUT"), S5: (0, 0, S5)}),
]


@pytest.mark.parametrize(
    ("sent", "limit", "transmissions", "report", "state", "outcome"),
    [
        pytest.param(sent, limit, transmissions, report, state, outcome, id=f"{event}-S{state.value}")
        for event, sent, limit, transmissions, report, outcomes in TABLE
        for state, outcome in outcomes.items()
    ],
)
def test_fop_clcw_events(sent, limit, transmissions, report, state, outcome):
    fop = fop_in(state, sent, limit)
    fop.transmissions = transmissions
    actions = fop.on_clcw(report, SECOND_NS)
    confirmed = [action.tag for action in actions if isinstance(action, Confirmed)]
    if isinstance(outcome, str):
        assert actions[-1] == FopAlert(outcome)
        assert (fop.state, fop.timer_ns, fop.outstanding) == (S6, None, 0)
        left = [action for action in actions if isinstance(action, Unconfirmed)]
        assert [action.tag for action in left] == list(range(len(confirmed), sent))
        assert [action.seq for action in left] == [10 + action.tag for action in left]
        return
    acknowledged, resent, after = outcome
    assert confirmed == list(range(acknowledged))
    frames = [action.frame.seq for action in actions if isinstance(action, Transmit)]
    assert frames == list(range(10 + sent - resent, 10 + sent))
    assert fop.state is after
    assert fop.outstanding == sent - acknowledged
    assert fop.nnr == 10 + acknowledged
    if state in (S4, S5) and after is S1:
        assert actions == [Initiated()]


def test_fop_ignores_clcws_when_it_is_not_up():
    fop = fop_in(S6)
    for report in (clcw(10), clcw(200, "l"), clcw(11, "rw")):
        assert fop.on_clcw(report, 0) == []
    assert fop.state is S6


@pytest.mark.parametrize(("state", "sent"), [(S1, 2), (S2, 2), (S3, 2), (S4, 0), (S5, 0)])
def test_fop_timer_below_and_at_the_limit(state, sent):
    fop = fop_in(state, sent, limit=2)
    assert fop.timer_ns == 3 * SECOND_NS
    assert fop.on_time(3 * SECOND_NS - 1) == []
    actions = fop.on_time(3 * SECOND_NS)
    if state is S4:
        assert actions == [FopAlert("T1")]
        return
    count = {S1: 2, S2: 2, S3: 0, S5: 1}[state]
    assert [type(action) for action in actions] == [Transmit] * count
    assert (fop.state, fop.timer_ns, fop.retransmitted) == (state, 6 * SECOND_NS, count)
    assert fop.on_time(6 * SECOND_NS)[-1] == FopAlert("T1")
    assert fop.state is S6
    assert fop.on_time(9 * SECOND_NS) == []


def test_fop_window_and_wait_queue():
    fop = fop_in(S1, 5)
    assert fop.ready
    assert fop.send(b"packet", "waits", 0) == []
    assert not fop.ready
    assert fop.on_clcw(clcw(11), 0) == [Confirmed(0), Transmit(TcFrame(1, 0, 15, b"packet"), "waits")]
    assert fop.ready


def test_fop_holds_new_frames_while_the_receiver_waits():
    fop = fop_in(S3, 1)
    assert fop.send(b"packet", "later", 0) == []
    alert = fop.terminate()
    assert alert == [Unconfirmed(0, 10), Unsent("later"), FopAlert("TERM")]
    assert fop.terminate() == []


def test_fop_directives():
    fop = fop_in(S6)
    assert fop.initiate_with_unlock(0) == [Transmit(bc(UNLOCK))]
    fop.terminate()
    assert fop.initiate_with_set_vr(99, 0) == [Transmit(bc(set_vr_command(99)))]
    assert fop.on_clcw(clcw(10), 0) == []
    assert fop.on_clcw(clcw(99), 0) == [Initiated()]
    assert (fop.vs, fop.nnr) == (99, 99)
    assert fop.bypass(b"packet") == Transmit(BD)


def test_fop_timer_counts_from_the_end_of_sending():
    fop = fop_in(S1, 1)
    fop.hold_timer(5 * SECOND_NS)
    assert fop.timer_ns == 8 * SECOND_NS
    fop.hold_timer(0)
    assert fop.timer_ns == 8 * SECOND_NS
    idle = fop_in(S1)
    idle.hold_timer(5 * SECOND_NS)
    assert idle.timer_ns is None
