"""FOP-1, every event in every state of table 5-1 (CCSDS 232.1-B-2), each a case by its number.

TABLE is the list of cases: an event, how it is brought about, and per state what FOP-1 does. A pair that cannot happen
says why instead. The last tests hold the list complete: no pair is missing, and none is there twice.

What FOP-1 did is written as the cases have it: `ack 2` frames confirmed, `resend 2` frames sent again, `new 1` frame
sent for the first time, `BC`, `BD`, `back 2` frames that left a queue unconfirmed or unsent, `up`, `suspend`,
`alert X`, `refused`, and the state after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from flight.core.nanoseconds import NS
from flight.link.tc.clcw import Clcw
from flight.link.tc.directives import BOUNDS, SETTINGS, Directive, DirectiveKind, FopRefusal
from flight.link.tc.fop import Fop
from flight.link.tc.fop_actions import (
    Confirmed,
    FopAction,
    FopAlert,
    FopState,
    Initiated,
    Suspended,
    Transmit,
    Unconfirmed,
    Unsent,
)
from flight.link.tc.fop_directives import do_directive
from flight.link.tc.tc_frame import UNLOCK, FrameKind, set_vr_command
from flight.link.tm_tc_stack import LinkConfig
from ground.link.actions import Action
from ground.link.ad_service import AdService
from ground.link.ground_link import SessionCounters
from tests.fop_ends import answered

S1, S2, S3, S4, S5, S6 = FopState
RUNNING = (S1, S2, S3)
STARTING = (S4, S5)
VS = 10  # before the frames that a case has sent


@dataclass(frozen=True)
class Setup:
    """FOP-1 before the event: frames sent, the limits, what waits, and which kinds of frame have not left yet."""

    sent: int = 0
    limit: int = 3
    transmissions: int = 1
    timeout_type: int = 0
    suspended: FopState | None = None
    queued: bool = False
    busy: frozenset[FrameKind] = frozenset()
    marked: bool = False  # what was sent is to be sent again


Stimulus = Callable[[Fop], list[FopAction]]


@dataclass(frozen=True)
class Row:
    """One event. `outcomes`: per state what FOP-1 does, or `(cannot happen: ...)`."""

    event: str
    setup: Setup
    stimulus: Stimulus
    outcomes: dict[FopState, str] = field(default_factory=dict)

    @property
    def number(self) -> str:
        """The number of the event in the table; what follows it in `event` tells several cases of it apart."""
        return self.event.split()[0]


def clcw(value: int, flags: str = "") -> Stimulus:
    report = Clcw(0, value, lockout="l" in flags, wait="w" in flags, retransmit="r" in flags)
    return lambda fop: fop.on_clcw(report, NS)


def timer(fop: Fop) -> list[FopAction]:
    assert fop.timer_ns is not None
    return fop.on_time(fop.timer_ns)


def directive(kind: DirectiveKind, value: int = 0) -> Stimulus:
    return lambda fop: do_directive(fop, Directive(kind, value), NS)


def taken(kind: FrameKind) -> Stimulus:
    return lambda fop: fop.accepted(kind, NS)


def turned_away(kind: FrameKind) -> Stimulus:
    return lambda fop: fop.refused(kind)


def bypass(fop: Fop) -> list[FopAction]:
    return [fop.bypass(b"packet")]


def send(fop: Fop) -> list[FopAction]:
    return fop.send(b"packet", "new", NS)


def every(outcome: str, *states: FopState) -> dict[FopState, str]:
    return dict.fromkeys(states or FopState, outcome)


def stays(outcome: str = "", *states: FopState) -> dict[FopState, str]:
    return {state: f"{outcome} ->S{state.value}".strip() for state in states or FopState}


NOTHING_SENT = every("(cannot happen: nothing is sent before S1, so N(R) = V(S) is N(R) = NN(R) as well)", *STARTING)
NONE_LEFT = every("(cannot happen: nothing is sent before S1, so no N(R) lies between NN(R) and V(S))", *STARTING)
IGNORED = stays("", S6)
NO_TIMER = every("(cannot happen: T1 does not run in S6)", S6)
NOT_SUSPENDED = every("(cannot happen: only S6 is suspended)", *RUNNING, *STARTING)
NO_WORD = "(cannot happen: what does not decode is counted by the AD service and never handed in; tested below)"

TWO, THREE = Setup(sent=2), Setup(sent=3)
ONCE = Setup(sent=2, limit=1)
SPENT = Setup(sent=2, transmissions=3)
TYPE_1 = Setup(sent=2, timeout_type=1)
D, K = DirectiveKind, FrameKind

TABLE: tuple[Row, ...] = (
    Row("E1", Setup(), clcw(10),
        {S1: "->S1", S2: "alert SYNCH ->S6", S3: "alert SYNCH ->S6", S4: "up ->S1", S5: "up ->S1", **IGNORED}),
    Row("E2", TWO, clcw(12), {**every("ack 2 ->S1", *RUNNING), **NOTHING_SENT, **IGNORED}),
    Row("E3", Setup(), clcw(10, "w"), {**every("alert CLCW ->S6", *RUNNING, *STARTING), **IGNORED}),
    Row("E4", Setup(), clcw(10, "r"), {**every("alert SYNCH ->S6", *RUNNING, S4), S5: "->S5", **IGNORED}),
    Row("E4 with Wait", Setup(), clcw(10, "rw"), {**every("alert SYNCH ->S6", *RUNNING, S4), S5: "->S5", **IGNORED}),
    Row("E5", TWO, clcw(10), {S1: "->S1", **every("back 2 alert SYNCH ->S6", S2, S3), **NONE_LEFT, **IGNORED}),
    Row("E6", TWO, clcw(11), {**every("ack 1 ->S1", *RUNNING), **NONE_LEFT, **IGNORED}),
    Row("E7", TWO, clcw(10, "w"), {**every("back 2 alert CLCW ->S6", *RUNNING), **NONE_LEFT, **IGNORED}),
    Row("E7 some new", TWO, clcw(11, "w"), {**every("back 2 alert CLCW ->S6", *RUNNING), **NONE_LEFT, **IGNORED}),
    Row("E101", ONCE, clcw(11, "r"), {**every("ack 1 back 1 alert LIMIT ->S6", *RUNNING), **NONE_LEFT, **IGNORED}),
    Row("E102", ONCE, clcw(10, "r"), {**every("back 2 alert LIMIT ->S6", *RUNNING), **NONE_LEFT, **IGNORED}),
    Row("E8", THREE, clcw(11, "r"), {**every("ack 1 resend 2 ->S2", *RUNNING), **NONE_LEFT, **IGNORED}),
    Row("E9", THREE, clcw(11, "rw"), {**every("ack 1 ->S3", *RUNNING), **NONE_LEFT, **IGNORED}),
    Row("E10", TWO, clcw(10, "r"), {**every("resend 2 ->S2", S1, S3), S2: "->S2", **NONE_LEFT, **IGNORED}),
    Row("E11", TWO, clcw(10, "rw"), {**every("->S3", *RUNNING), **NONE_LEFT, **IGNORED}),
    Row("E12", SPENT, clcw(10, "r"), {**every("->S2", *RUNNING), **NONE_LEFT, **IGNORED}),
    Row("E103", SPENT, clcw(10, "rw"), {**every("->S3", *RUNNING), **NONE_LEFT, **IGNORED}),
    Row("E13 above", TWO, clcw(13), {**every("back 2 alert NN(R) ->S6", *RUNNING), **stays("", S6)}),
    Row("E13 below", TWO, clcw(9), {**every("back 2 alert NN(R) ->S6", *RUNNING), **stays("", S6)}),
    Row("E13 starting", Setup(), clcw(11), {S4: "alert NN(R) ->S6", S5: "->S5"}),
    Row("E14", Setup(), clcw(10, "l"), {**every("alert LOCKOUT ->S6", *RUNNING, S4), S5: "->S5", **IGNORED}),
    Row("E15", Setup(), clcw(0), every(NO_WORD)),
    Row("E16", TWO, timer,
        {S1: "resend 2 ->S1", S2: "resend 2 ->S2", S3: "->S3", S4: "alert T1 ->S6", S5: "BC ->S5", **NO_TIMER}),
    Row("E104", TYPE_1, timer,
        {S1: "resend 2 ->S1", S2: "resend 2 ->S2", S3: "->S3", S4: "suspend ->S6", S5: "BC ->S5", **NO_TIMER}),
    Row("E17", SPENT, timer,
        {**every("back 2 alert T1 ->S6", *RUNNING), **every("alert T1 ->S6", *STARTING), **NO_TIMER}),
    Row("E18", replace(SPENT, timeout_type=1), timer,
        {**every("suspend ->S6", *RUNNING, S4), S5: "alert T1 ->S6", **NO_TIMER}),
    Row("E19", Setup(), send, {**stays("new 1", S1, S2), S3: "->S3", **stays("refused", S4, S5, S6)}),
    Row("E19 window full", Setup(sent=5), send, stays("", *RUNNING)),
    Row("E20", Setup(queued=True), send, stays("refused")),
    Row("E21", Setup(), bypass, stays("BD")),
    Row("E22", Setup(busy=frozenset({K.BD})), bypass, stays("refused")),
    Row("E23", Setup(), directive(D.INITIATE), {**stays("refused"), S6: "up ->S1"}),
    Row("E24", Setup(), directive(D.INITIATE_CLCW), {**stays("refused"), S6: "->S4"}),
    Row("E25", Setup(), directive(D.INITIATE_UNLOCK), {**stays("refused"), S6: "BC ->S5"}),
    Row("E26", Setup(busy=frozenset({K.BC})), directive(D.INITIATE_UNLOCK), stays("refused")),
    Row("E27", Setup(), directive(D.INITIATE_SET_VR, 99), {**stays("refused"), S6: "BC ->S5"}),
    Row("E28", Setup(busy=frozenset({K.BC})), directive(D.INITIATE_SET_VR, 99), stays("refused")),
    Row("E29", TWO, directive(D.TERMINATE),
        {**every("back 2 alert TERM ->S6", *RUNNING), **every("alert TERM ->S6", *STARTING), S6: "->S6"}),
    Row("E30", Setup(), directive(D.RESUME), stays("refused")),
    Row("E31", Setup(suspended=S1), directive(D.RESUME), {**NOT_SUSPENDED, S6: "->S1"}),
    Row("E32", Setup(suspended=S2), directive(D.RESUME), {**NOT_SUSPENDED, S6: "->S2"}),
    Row("E33", Setup(suspended=S3), directive(D.RESUME), {**NOT_SUSPENDED, S6: "->S3"}),
    Row("E34", Setup(suspended=S4), directive(D.RESUME), {**NOT_SUSPENDED, S6: "->S4"}),
    Row("E35", Setup(), directive(D.SET_VS, 99), {**stays("refused"), S6: "->S6"}),
    Row("E35 suspended", Setup(suspended=S1), directive(D.SET_VS, 99), {S6: "refused ->S6"}),
    Row("E36", Setup(), directive(D.SET_WINDOW, 2), stays()),
    Row("E37", Setup(), directive(D.SET_T1, 7 * NS), stays()),
    Row("E38", Setup(), directive(D.SET_LIMIT, 7), stays()),
    Row("E39", Setup(), directive(D.SET_TIMEOUT_TYPE, 1), stays()),
    *(Row(f"E40 {kind.value} {value}", Setup(), directive(kind, value), stays("refused"))
      for kind, (least, most) in BOUNDS.items() for value in (least - 1, most + 1)),
    Row("E40 a value too many", Setup(), directive(D.TERMINATE, 1), stays("refused")),
    Row("E41", Setup(sent=2, marked=True, busy=frozenset({K.AD})), taken(K.AD),
        {**stays("resend 2", S1, S2), **stays("", S3, S4, S5, S6)}),
    Row("E41 one waits", Setup(sent=1, queued=True, busy=frozenset({K.AD})), taken(K.AD),
        {**stays("new 1", S1, S2), S3: "->S3"}),
    Row("E42", Setup(sent=2, busy=frozenset({K.AD})), turned_away(K.AD),
        {**every("back 2 alert LLIF ->S6", *RUNNING), **every("alert LLIF ->S6", S4, S5, S6)}),
    Row("E43", Setup(marked=True, busy=frozenset({K.BC})), taken(K.BC), {**stays(), S5: "BC ->S5"}),
    Row("E43 nothing to be sent again", Setup(busy=frozenset({K.BC})), taken(K.BC), stays()),
    Row("E44", Setup(sent=2, busy=frozenset({K.BC})), turned_away(K.BC),
        {**every("back 2 alert LLIF ->S6", *RUNNING), **every("alert LLIF ->S6", S4, S5, S6)}),
    Row("E45", Setup(busy=frozenset({K.BD})), taken(K.BD), stays()),
    Row("E46", Setup(sent=2, busy=frozenset({K.BD})), turned_away(K.BD),
        {**every("back 2 alert LLIF ->S6", *RUNNING), **every("alert LLIF ->S6", S4, S5, S6)}),
)  # fmt: skip
EVENTS = [f"E{number}" for number in (*range(1, 47), 101, 102, 103, 104)]
CASES = [
    pytest.param(row, state, id=f"{row.event}-S{state.value}")
    for row in TABLE
    for state in row.outcomes
    if not row.outcomes[state].startswith("(")
]


def fop_in(state: FopState, setup: Setup) -> Fop:
    """A FOP-1 in this state, with NN(R) = 10 and V(S) beyond the frames that were sent."""
    fop = Fop(1, window=5, window_max=20, transmission_limit=setup.limit, timeout_type=setup.timeout_type)
    fop.set_vs(VS)
    if state is S4:
        fop.initiate_with_clcw(0)
    elif state is S5:
        answered(fop, fop.initiate_with_unlock(0), 0)
    elif state in RUNNING:
        fop.initiate()
        for number in range(setup.sent):
            answered(fop, fop.send(b"packet", number, 0), 0)
        fop.state = state
    if setup.queued:
        fop._waiting.append((b"packet", "waits"))  # noqa: SLF001 - in S4 to S6 only by force
    for sent in fop._sent:  # noqa: SLF001 - as after a resend while the frame before has not left
        sent.again = setup.marked
    if fop._directive is not None:  # noqa: SLF001 - the same for a control command
        fop._directive.again = setup.marked  # noqa: SLF001
    for kind in setup.busy:
        fop.out_ready[kind] = False
    fop.transmissions = setup.transmissions
    fop.suspended = setup.suspended
    return fop


def what_it_did(fop: Fop, actions: list[FopAction], vs: int) -> str:
    """The actions and the state in the words of TABLE."""
    words: list[str] = []
    frames = [action.frame for action in actions if isinstance(action, Transmit)]
    new = [frame for frame in frames if frame.kind is K.AD and (frame.seq - vs) % 256 < 128]
    counts = {
        "ack": sum(isinstance(action, Confirmed) for action in actions),
        "resend": sum(frame.kind is K.AD for frame in frames) - len(new),
        "new": len(new),
        "back": sum(isinstance(action, Unconfirmed | Unsent) for action in actions),
    }
    words += [f"{word} {count}" for word, count in counts.items() if count]
    words += [frame.kind.value for frame in frames if frame.bypass]
    words += ["up" for action in actions if isinstance(action, Initiated)]
    words += ["suspend" for action in actions if isinstance(action, Suspended)]
    words += [f"alert {action.reason}" for action in actions if isinstance(action, FopAlert)]
    return " ".join([*words, f"->S{fop.state.value}"])


def everything(fop: Fop) -> str:
    """All that FOP-1 knows: a dataclass writes every field."""
    return repr(fop)


@pytest.mark.parametrize(("row", "state"), CASES)
def test_an_event_in_a_state(row: Row, state: FopState) -> None:
    fop = fop_in(state, row.setup)
    before, vs = everything(fop), fop.vs
    actions: list[FopAction] | None
    try:
        actions = answered(fop, row.stimulus(fop), NS)
    except FopRefusal:
        actions = None
    if actions is None:
        assert f"refused ->S{fop.state.value}" == row.outcomes[state]
        assert everything(fop) == before, "what is refused changes nothing"
        return
    assert what_it_did(fop, actions, vs) == row.outcomes[state]
    frames = [action.frame.seq for action in actions if isinstance(action, Transmit) and not action.frame.bypass]
    assert frames == [(fop.vs - len(frames) + index) % 256 for index in range(len(frames))], "all, in order"
    acknowledged = [action.tag for action in actions if isinstance(action, Confirmed)]
    back = [action for action in actions if isinstance(action, Unconfirmed)]
    if state in RUNNING and not row.setup.queued:
        assert acknowledged == list(range(len(acknowledged))), "the oldest first"
        assert [(action.tag, action.seq) for action in back] == [
            (number, VS + number) for number in range(len(acknowledged), len(acknowledged) + len(back))
        ]
    assert (fop.vs - fop.nnr) % 256 == fop.outstanding or fop.state is S6
    # T1 runs while something is awaited, and never in S6.
    awaited = fop.state in STARTING or (fop.state in RUNNING and fop.outstanding > 0)
    assert (fop.timer_ns is not None) == awaited or row.number in ("E31", "E32", "E33", "E34")


@pytest.mark.parametrize("state", FopState)
def test_e15_a_word_that_is_no_clcw_never_reaches_fop_1(state: FopState) -> None:
    """A word of type 1, with spare bits, or of another COP: the AD service counts it, and FOP-1 stays as it is."""
    service = AdService(LinkConfig(coding="frame"), SessionCounters())
    service.initiate(0)
    service._fop = fop_in(state, TWO)  # noqa: SLF001 - FOP-1 in a state of our choice
    before = everything(service._fop)  # noqa: SLF001
    actions: list[Action] = []
    words = ("81000000", "01020000", "02000000", "21000000")
    for word in words:
        service.on_ocf(bytes.fromhex(word), NS, actions)
    assert (everything(service._fop), actions) == (before, [])  # noqa: SLF001
    assert service.counters.clcws_invalid == len(words)


def test_every_event_in_every_state_is_a_case_or_cannot_happen() -> None:
    pairs = {(row.number, state) for row in TABLE for state in row.outcomes}
    assert pairs == {(event, state) for event in EVENTS for state in FopState}


def test_no_case_is_there_twice() -> None:
    cases = [(row.event, state) for row in TABLE for state in row.outcomes]
    assert len(cases) == len(set(cases))
    for row in TABLE:  # a pair is possible or not: not both, in two rows of one event
        for other in TABLE:
            if other.number == row.number:
                both = row.outcomes.keys() & other.outcomes.keys()
                assert all((row.outcomes[s][0] == "(") == (other.outcomes[s][0] == "(") for s in both)


def test_every_event_is_counted_and_what_cannot_happen_has_a_reason() -> None:
    impossible = {(row.number, state) for row in TABLE for state in row.outcomes if row.outcomes[state][0] == "("}
    assert (len(EVENTS) * 6, len(impossible)) == (300, 54)
    assert all(row.outcomes[s].startswith("(cannot happen: ") for row in TABLE for s in row.outcomes
               if row.outcomes[s][0] == "(")  # fmt: skip


# What the words of the table do not say


def test_settings_take_their_values_and_bounds_include_their_ends() -> None:
    for kind, (least, most) in BOUNDS.items():
        for value in (least, most):
            fop = fop_in(S6, Setup())
            value = min(value, fop.window_max) if kind is D.SET_WINDOW else value
            do_directive(fop, Directive(kind, value), NS)
            read = {
                D.SET_WINDOW: fop.window, D.SET_T1: fop.t1_ns, D.SET_LIMIT: fop.transmission_limit,
                D.SET_TIMEOUT_TYPE: fop.timeout_type, D.SET_VS: fop.vs, D.INITIATE_SET_VR: fop.vs,
            }  # fmt: skip
            assert read[kind] == value
            assert fop.nnr == (value if kind in (D.SET_VS, D.INITIATE_SET_VR) else VS)
    assert BOUNDS.keys() > SETTINGS


def test_the_window_is_bounded_by_that_of_farm_1() -> None:
    fop = fop_in(S1, Setup())
    with pytest.raises(FopRefusal, match=r"set-window: 21 is outside 1\.\.20"):
        do_directive(fop, Directive(D.SET_WINDOW, 21), 0)


def test_a_smaller_window_holds_what_comes_next_and_takes_back_nothing() -> None:
    fop = fop_in(S1, THREE)
    do_directive(fop, Directive(D.SET_WINDOW, 2), 0)
    assert (fop.outstanding, fop.send(b"packet", "new", 0)) == (3, [])
    assert [type(a) for a in fop.on_clcw(Clcw(0, 11), 0)] == [Confirmed]
    assert [type(a) for a in fop.on_clcw(Clcw(0, 12), 0)] == [Confirmed, Transmit]


def test_t1_counts_from_its_next_start() -> None:
    fop = fop_in(S1, TWO)
    do_directive(fop, Directive(D.SET_T1, 9 * NS), NS)
    assert fop.timer_ns == 3 * NS
    answered(fop, fop.on_time(3 * NS), 3 * NS)
    assert fop.timer_ns == 12 * NS


def test_the_control_commands_that_initiate() -> None:
    for kind, value, data in ((D.INITIATE_UNLOCK, 0, UNLOCK), (D.INITIATE_SET_VR, 99, set_vr_command(99))):
        fop = fop_in(S6, Setup())
        (sent,) = do_directive(fop, Directive(kind, value), 0)
        assert isinstance(sent, Transmit) and sent.frame.data == data


@pytest.mark.parametrize("state", [S1, S2, S3, S4])
def test_a_suspended_service_goes_on_where_it_was(state: FopState) -> None:
    setup = replace(SPENT, sent=2 if state in RUNNING else 0, timeout_type=1)
    fop = fop_in(state, setup)
    assert timer(fop) == [Suspended()]
    assert (fop.state, fop.suspended, fop.timer_ns, fop.outstanding) == (S6, state, None, setup.sent)
    assert fop.on_clcw(Clcw(0, 12), 9 * NS) == [], "S6 hears nothing"
    fop.resume(10 * NS)
    assert (fop.state, fop.suspended, fop.timer_ns) == (state, None, 13 * NS)
    if state in RUNNING:
        assert fop.on_clcw(Clcw(0, 12), 11 * NS) == [Confirmed(0), Confirmed(1)]
    else:
        assert fop.on_clcw(Clcw(0, 10), 11 * NS) == [Initiated()]


@pytest.mark.parametrize("kind", [D.INITIATE, D.INITIATE_CLCW, D.INITIATE_UNLOCK, D.INITIATE_SET_VR])
def test_to_initiate_ends_a_suspension_and_gives_back_what_was_queued(kind: DirectiveKind) -> None:
    fop = fop_in(S1, replace(SPENT, sent=5, timeout_type=1))
    fop.send(b"packet", "waits", 0)
    timer(fop)
    actions = do_directive(fop, Directive(kind, 0), 10 * NS)
    assert actions[:6] == [*(Unconfirmed(number, VS + number) for number in range(5)), Unsent("waits")]
    assert (fop.suspended, fop.outstanding, fop.queued) == (None, 0, 0)


def test_to_terminate_leaves_a_suspension_as_it_is_and_to_abandon_ends_it() -> None:
    fop = fop_in(S1, replace(SPENT, timeout_type=1))
    timer(fop)
    assert do_directive(fop, Directive(D.TERMINATE), 10 * NS) == []
    assert (fop.suspended, fop.outstanding) == (S1, 2)
    assert fop.abandon() == [Unconfirmed(0, VS), Unconfirmed(1, VS + 1)]
    assert (fop.suspended, fop.outstanding) == (None, 0)


def test_one_frame_of_a_kind_is_out_at_a_time() -> None:
    """The lower procedures hold the first: the others follow only as each is taken, in order."""
    fop = fop_in(S1, Setup())
    (first,) = fop.send(b"0", 0, 0)
    assert fop.send(b"1", 1, 0) == []
    (second,) = fop.accepted(K.AD, 0)
    assert [action.frame.seq for action in (first, second) if isinstance(action, Transmit)] == [10, 11]
    assert fop.accepted(K.AD, 0) == []
    (again,) = fop.on_clcw(Clcw(0, 10, retransmit=True), 0)
    (then,) = fop.accepted(K.AD, 0)
    assert (again, then) == (first, second) and fop.retransmitted == 2


def test_a_resend_that_waits_for_the_frame_before_it_comes_once() -> None:
    fop = fop_in(S1, Setup())
    fop.send(b"0", 0, 0)
    assert fop.on_time(3 * NS) == [], "T1 ran out, and the first copy has not left yet"
    (again,) = fop.accepted(K.AD, 4 * NS)
    assert isinstance(again, Transmit) and again.frame.seq == 10
    assert fop.accepted(K.AD, 4 * NS) == []


def test_a_frame_that_was_acknowledged_meanwhile_is_not_sent_again() -> None:
    fop = fop_in(S1, Setup(sent=2, marked=True, busy=frozenset({K.AD})))
    assert fop.on_clcw(Clcw(0, 11), 0) == [Confirmed(0)]
    (again,) = fop.accepted(K.AD, 0)
    assert isinstance(again, Transmit) and again.frame.seq == 11


def test_a_refused_frame_leaves_its_place_free() -> None:
    for kind in K:
        fop = fop_in(S1, Setup(busy=frozenset({kind})))
        assert fop.refused(kind) == [FopAlert("LLIF")]
        assert fop.out_ready[kind]
