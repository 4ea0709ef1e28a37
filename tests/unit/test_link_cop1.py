"""FARM-1 and FOP-1 over more than one event: counts, limits, going round, starting again.

Their tables event by event are in test_link_cop1_farm_table.py and test_link_cop1_fop_table.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from flight.core.nanoseconds import NS
from flight.link.tc.clcw import Clcw
from flight.link.tc.directives import FopRefusal
from flight.link.tc.farm import Farm, FarmCounters, FarmState
from flight.link.tc.fop_actions import Confirmed, FopAlert, FopState, Initiated, Transmit, Unconfirmed, Unsent
from flight.link.tc.tc_frame import UNLOCK, TcFrame, set_vr_command
from tests.field_values import integer
from tests.fop_ends import PromptFop


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


# FOP-1


def fop_in(state: FopState, sent: int = 0, limit: int = 3) -> PromptFop:
    """A FOP with V(S) = 10 + sent, NN(R) = 10, in `state`."""
    fop = PromptFop(1, window=5, transmission_limit=limit)
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


@pytest.mark.parametrize(("state", "sent"), [(S1, 2), (S2, 2), (S3, 2), (S4, 0), (S5, 0)])
def test_fop_timer_below_and_at_the_limit(state: FopState, sent: int) -> None:
    fop = fop_in(state, sent, limit=2)
    assert fop.timer_ns == 3 * NS
    assert fop.on_time(3 * NS - 1) == []
    actions = fop.on_time(3 * NS)
    if state is S4:
        assert actions == [FopAlert("T1")]
        return
    count = {S1: 2, S2: 2, S3: 0, S5: 1}[state]
    assert [type(action) for action in actions] == [Transmit] * count
    assert (fop.state, fop.timer_ns, fop.retransmitted) == (state, 6 * NS, count)
    assert fop.on_time(6 * NS)[-1] == FopAlert("T1")
    assert fop.state is S6
    assert fop.on_time(9 * NS) == []


def test_fop_window_and_wait_queue() -> None:
    fop = fop_in(S1, 5)
    assert (fop.ready, fop.send(b"packet", "waits", 0), fop.ready) == (True, [], False)
    assert fop.on_clcw(clcw(11), 0) == [Confirmed(0), Transmit(TcFrame(1, 0, 15, b"packet"), "waits")]
    assert fop.ready


def test_fop_holds_new_frames_while_the_receiver_waits() -> None:
    fop = fop_in(S3, 1)
    assert fop.send(b"packet", "later", 0) == []
    alert = fop.terminate()
    assert alert == [Unconfirmed(0, 10), Unsent("later"), FopAlert("TERM")]
    assert fop.terminate() == []


def test_fop_directives() -> None:
    fop = fop_in(S6)
    assert fop.initiate_with_unlock(0) == [Transmit(bc(UNLOCK))]
    fop.terminate()
    assert fop.initiate_with_set_vr(99, 0) == [Transmit(bc(set_vr_command(99)))]
    assert fop.on_clcw(clcw(10), 0) == []
    assert fop.on_clcw(clcw(99), 0) == [Initiated()]
    assert (fop.vs, fop.nnr) == (99, 99)
    assert fop.bypass(b"packet") == Transmit(BD)


def test_fop_timer_counts_from_the_end_of_sending() -> None:
    fop = fop_in(S1, 1)
    fop.hold_timer(5 * NS)
    assert fop.timer_ns == 8 * NS
    fop.hold_timer(0)
    assert fop.timer_ns == 8 * NS
    idle = fop_in(S1)
    idle.hold_timer(5 * NS)
    assert idle.timer_ns is None


# What each event counts, and what survives going round and starting again


def counted(farm: Farm) -> dict[str, int]:
    return {name: count for name in FarmCounters.__slots__ if (count := getattr(farm.counters, name))}


@pytest.mark.parametrize(
    ("state", "frame", "buffer_free", "right"),
    [
        (FarmState.OPEN, ad(100), True, {"accepted": 2}),
        (FarmState.OPEN, ad(100), False, {"no_buffer": 1, "in_wait": 1}),
        (FarmState.OPEN, ad(105), True, {"out_of_order": 2}),
        (FarmState.OPEN, ad(95), True, {"repeated": 2}),
        (FarmState.OPEN, ad(200), True, {"outside_window": 1, "lockouts": 1, "in_lockout": 1}),
        (FarmState.WAIT, ad(100), True, {"no_buffer": 1, "in_wait": 2}),
        (FarmState.WAIT, ad(105), True, {"no_buffer": 1, "in_wait": 2}),
        (FarmState.WAIT, ad(95), True, {"no_buffer": 1, "repeated": 2}),
        (FarmState.WAIT, ad(200), True, {"no_buffer": 1, "outside_window": 1, "lockouts": 1, "in_lockout": 1}),
        (FarmState.LOCKOUT, ad(100), True, {"outside_window": 1, "lockouts": 1, "in_lockout": 2}),
        (FarmState.OPEN, BD, True, {"bypass": 2}),
        (FarmState.OPEN, bc(UNLOCK), True, {"control": 2}),
        (FarmState.OPEN, bc(set_vr_command(7)), True, {"control": 2}),
        (FarmState.LOCKOUT, bc(set_vr_command(7)), True, {"outside_window": 1, "lockouts": 1, "control": 2}),
        (FarmState.OPEN, bc(b"\x01"), True, {"control_invalid": 2}),
        (FarmState.OPEN, bc(b"\x82\x00\x07\x00"), True, {"control_invalid": 2}),
        (FarmState.OPEN, bc(b"\x82\x01\x07"), True, {"control_invalid": 2}),
        (FarmState.OPEN, bc(b"\x82\x00"), True, {"control_invalid": 2}),
    ],
)
def test_farm_counts_what_it_did_with_each_frame(
    state: FarmState, frame: TcFrame, buffer_free: bool, right: dict[str, int]
) -> None:
    """The same frame twice, or the next number if the first one was taken."""
    farm = farm_in(state)
    farm.on_frame(frame, buffer_free)
    again = ad(farm.vr) if right == {"accepted": 2} else frame
    farm.on_frame(again, buffer_free)
    assert counted(farm) == right


def test_farm_begins_open_and_with_nothing_counted() -> None:
    farm = Farm()
    assert (farm.vcid, farm.state, farm.window, counted(farm)) == (0, FarmState.OPEN, 20, {})
    assert farm.clcw() == Clcw(0, 0)
    for window in (0, 1, 21, 256):
        with pytest.raises(AssertionError):
            Farm(window=window)
    assert (Farm(window=2).window, Farm(window=254).window) == (2, 254)


def test_farm_numbers_go_round() -> None:
    farm = Farm(vcid=3)
    for seq in range(600):
        assert farm.on_frame(ad(seq % 256)) == b"packet"
        assert farm.on_frame(BD) == b"packet"
        assert (farm.clcw().report_value, farm.clcw().farm_b_counter) == ((seq + 1) % 256, (seq + 1) % 4)
    for turn in range(5):
        assert farm.b_counter == turn % 4
        farm.on_frame(bc(UNLOCK))
    assert farm.clcw(no_bit_lock=True) == Clcw(3, 600 % 256, no_bit_lock=True, farm_b_counter=1)


@pytest.mark.parametrize("state", [S1, S2, S3])
def test_fop_counts_the_tries_of_each_frame_anew(state: FopState) -> None:
    """One that was acknowledged after two tries leaves three to the next."""
    fop = fop_in(state, 2)
    fop.state = S1
    resent = fop.on_time(3 * NS)
    assert (len(resent), fop.transmissions, fop.retransmitted) == (2, 2, 2)
    fop.on_clcw(clcw(11), 3 * NS)
    assert (fop.transmissions, fop.nnr) == (1, 11)
    fop.on_clcw(clcw(12), 3 * NS)
    assert fop.transmissions == 1
    fop.transmissions = 3
    fop.send(b"packet", "new", 3 * NS)
    assert fop.transmissions == 1, "the first on an empty queue"
    fop.on_time(6 * NS)
    fop.send(b"packet", "newer", 6 * NS)
    assert fop.transmissions == 2, "the oldest on the queue has been sent twice"


def test_fop_starts_anew_from_where_it_stands() -> None:
    """After an alert NN(R) is V(S) again, and every try is there, however it is initiated."""
    starts = (PromptFop.initiate, lambda f: f.initiate_with_clcw(0), lambda f: f.initiate_with_unlock(0))
    for start in (*starts, lambda f: f.initiate_with_set_vr(12, 0)):
        fop = fop_in(S1, 2, limit=2)
        assert fop.on_time(3 * NS) and fop.on_time(6 * NS)[-1] == FopAlert("T1")
        assert (fop.vs, fop.nnr, fop.transmissions) == (12, 10, 2)
        start(fop)
        assert (fop.vs, fop.nnr, fop.transmissions, fop.outstanding) == (12, 12, 1, 0)
        fop.on_clcw(clcw(12), 0)
        assert fop.state is S1


def test_fop_tries_a_directive_as_often_as_a_frame() -> None:
    fop = fop_in(S5, limit=3)
    for turn in (1, 2):
        assert fop.on_time(3 * turn * NS) == [Transmit(bc(UNLOCK))]
        assert (fop.transmissions, fop.retransmitted) == (turn + 1, turn)
    assert fop.on_time(9 * NS) == [FopAlert("T1")]


def test_fop_counts_the_waits_of_each_stay_anew() -> None:
    fop = fop_in(S1, 2, limit=3)
    for _ in range(2):
        fop.on_clcw(clcw(10, "rw"), 0)
        assert fop.state is S3
        for turn in (1, 2):
            assert fop.on_time(integer(fop.timer_ns)) == [], turn
        resent = fop.on_clcw(clcw(10, "r"), 0)
        assert (fop.state, len(resent)) == (S2, 2)
        fop.transmissions = 1
    fop.on_clcw(clcw(10, "rw"), 0)
    assert [fop.on_time(integer(fop.timer_ns)) for _ in range(2)] == [[], []]
    fop.on_clcw(clcw(10, "rw"), 0)  # heard again within the stay: it does not begin again
    assert fop.on_time(integer(fop.timer_ns))[-1] == FopAlert("T1")


def test_fop_numbers_go_round() -> None:
    fop = PromptFop(1, vcid=5, window=5)
    fop.set_vs(250)
    fop.initiate()
    for number in range(300):
        seq = (250 + number) % 256
        assert fop.send(b"packet", number, 0) == [Transmit(TcFrame(1, 5, seq, b"packet"), number)]
        assert fop.on_clcw(clcw((seq + 1) % 256), 0) == [Confirmed(number)]
    assert (fop.vs, fop.nnr, fop.timer_ns) == ((250 + 300) % 256, (250 + 300) % 256, None)
    assert fop.bypass(b"packet", "tag") == Transmit(TcFrame(1, 5, 0, b"packet", bypass=True), "tag")
    fop.terminate()
    (sent,) = fop.initiate_with_unlock(0)
    assert sent == Transmit(TcFrame(1, 5, 0, UNLOCK, bypass=True, control=True))


def test_fop_begins_with_nothing_done_and_refuses_what_cannot_be() -> None:
    fop = PromptFop(1)
    assert (fop.vcid, fop.window, fop.t1_ns, fop.transmission_limit) == (0, 10, 3 * NS, 3)
    assert (fop.state, fop.vs, fop.nnr, fop.transmissions, fop.retransmitted) == (S6, 0, 0, 0, 0)
    assert (fop.timer_ns, fop.outstanding, fop.ready) == (None, 0, False)
    settings: tuple[dict[str, Any], ...] = ({"window": 0}, {"window": 128}, {"transmission_limit": 0})
    for wrong in settings:
        with pytest.raises(AssertionError):
            PromptFop(1, **wrong)
    assert (PromptFop(1, window=1).window, PromptFop(1, window=127).window, PromptFop(1, transmission_limit=1).vs) == (
        1,
        127,
        0,
    )


def test_fop_forgets_its_directive_and_its_timer_with_an_alert() -> None:
    for state, sent in ((S1, 2), (S5, 0)):
        fop = fop_in(state, sent)
        fop.terminate()
        assert (fop.timer_ns, fop._directive) == (None, None)  # noqa: SLF001 - no directive waits
        assert fop.on_time(10**12) == []


def test_farm_tells_wait_and_retransmission_apart() -> None:
    farm = farm_in(FarmState.OPEN)
    farm.on_frame(ad(105))
    assert (farm.clcw().retransmit, farm.clcw().wait) == (True, False)


def test_fop_says_what_it_did_when_it_is_initiated() -> None:
    assert fop_in(S6).initiate() == [Initiated()]
    assert fop_in(S6).initiate_with_clcw(0) == []
    for start in (PromptFop.initiate, lambda f: f.initiate_with_clcw(0), lambda f: f.initiate_with_unlock(0),
                  lambda f: f.initiate_with_set_vr(1, 0)):  # fmt: skip
        with pytest.raises(FopRefusal):
            start(fop_in(S1))


def test_fop_leaves_nothing_waiting_behind_an_alert() -> None:
    fop = fop_in(S3, 1)
    fop.send(b"packet", "waits", 0)
    fop.terminate()
    fop.initiate()
    assert fop.ready
    assert fop.send(b"packet", "new", 0) == [Transmit(TcFrame(1, 0, 11, b"packet"), "new")]
