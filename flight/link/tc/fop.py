"""FOP-1, the sending end of COP-1 (CCSDS 232.1-B-2, 5).

States: S1 ACTIVE, S2 RETRANSMIT, S3 RETRANSMIT_WAIT (the receiver has no buffer), S4 INITIALIZING (a CLCW is
awaited), S5 INITIALIZING_BC (a control command is under way), S6 INITIAL (no AD service, or suspended).

CLCW with Lockout = 0, by what N(R) says (table 5-1). "ack": the frames acknowledged leave the Sent_Queue, confirmed.
"resend": all frames that remain on it go out again. A[x]: alert x, both queues are purged, ->S6.

    event                                       S1            S2            S3            S4          S5
    E1   all acknowledged before                -             A[SYNCH]      A[SYNCH]      ->S1        ->S1
    E2   all acknowledged, some now             ack           ack ->S1      ack ->S1      (not possible)
    E3   all acknowledged, Wait                 A[CLCW]       A[CLCW]       A[CLCW]       A[CLCW]     A[CLCW]
    E4   all acknowledged, Retransmit           A[SYNCH]      A[SYNCH]      A[SYNCH]      A[SYNCH]    -
    E5   some left, none new                    -             A[SYNCH]      A[SYNCH]
    E6   some left, some new                    ack           ack ->S1      ack ->S1
    E7   some left, Wait without Retransmit     A[CLCW]       A[CLCW]       A[CLCW]
    E101 Retransmit, limit 1, some new          ack A[LIMIT]  the same      the same
    E102 Retransmit, limit 1, none new          A[LIMIT]      A[LIMIT]      A[LIMIT]
    E8   Retransmit, some new                   ack resend ->S2  the same   the same
    E9   Retransmit and Wait, some new          ack ->S3      ack ->S3      ack
    E10  Retransmit, none new                   resend ->S2   -             resend ->S2
    E11  Retransmit and Wait, none new          ->S3          ->S3          -
    E12  E10 at the transmission limit          ->S2          -             ->S2
    E103 E11 at the transmission limit          ->S3          ->S3          -
    E13  N(R) outside NN(R)..V(S)               A[NN(R)]      A[NN(R)]      A[NN(R)]      A[NN(R)]    -
    E14  Lockout                                A[LOCKOUT]    A[LOCKOUT]    A[LOCKOUT]    A[LOCKOUT]  -

T1 ran out. TT is the timeout type: 0 alerts, 1 suspends ("susp": the queues stay, ->S6, SS is the state that it was).

    E16  TT 0, below the limit                  resend        resend        - (*)         A[T1]       resend BC
    E104 TT 1, below the limit                  resend        resend        - (*)         susp        resend BC
    E17  TT 0, at the limit                     A[T1]         A[T1]         A[T1]         A[T1]       A[T1]
    E18  TT 1, at the limit                     susp          susp          susp          susp        A[T1]

(*) our addition: T1 runs again, and the limit of such waits is E17 or E18 as well.
In S6 every CLCW is ignored (E15, an invalid CLCW, never reaches this machine: it does not decode), and T1 never runs.

    E19  send, Wait_Queue empty                 taken; sent if the window has room        refused in S4, S5, S6
                                                (in S3 it only waits)
    E20  send, Wait_Queue taken                 refused in every state
    E21  bypass, BD out ready                   sent in every state;  E22 BD out not ready: refused
    E23  initiate                               S6: ->S1                                  refused in S1 to S5
    E24  initiate with CLCW check               S6: ->S4                                  refused in S1 to S5
    E25, E27 initiate with Unlock, Set V(R)     S6: ->S5, the BC frame is sent            refused in S1 to S5
    E26, E28 the same, BC out not ready         refused in every state
    E29  terminate                              A[TERM] ->S6; nothing in S6
    E30  resume, not suspended                  refused in every state
    E31 to E34 resume, SS = 1 to 4              S6: T1 runs, ->SS
    E35  set V(S)                               S6, not suspended: V(S) and NN(R)         refused otherwise
    E36 to E39 set K, T1, limit, TT             set in every state
    E40  a value that cannot be                 refused in every state (fop_directives.py)
    E41  AD frame taken by the lower procedures AD out ready; S1 and S2: the next frame is sent
    E43  BC frame taken                         BC out ready; S5: the BC frame is sent again if that was asked for
    E45  BD frame taken                         BD out ready
    E42, E44, E46 AD, BC, BD frame refused      A[LLIF] in every state, and the flag is ready (our addition)
"""

# Numbers: V(S) is the N(S) of the next new frame, NN(R) that of the oldest frame not yet acknowledged. So NN(R) + the
# length of the Sent_Queue = V(S), modulo 256, at all times, and a CLCW is judged by how far N(R) lies from NN(R) alone:
# `newly` of the queue's frames are acknowledged. A distance beyond the queue is E13. The window is at most 127, half of
# the largest window of FARM-1. After an alert NN(R) may lie behind V(S) with nothing on the queue: initiating makes
# them equal, or no CLCW could be E1.
#
# The lower procedures are whoever does `Transmit`. They have room for one frame of each kind, and answer each Transmit
# with exactly one `accepted` or `refused`, at once or later. Until then the out flag of that kind is not ready, and
# FOP-1 gives out no other frame of the kind. So a sender that must do something first, such as store a number, holds
# the whole channel back and never two frames; and one that cannot send at all says so (E42, E44, E46). There is no
# abort request: a frame that is held while the service ends may still leave, and FARM-1 drops what it does not expect.
#
# A frame leaves the Sent_Queue in one of two ways. Either V(R) passed it (Confirmed), or the service ended
# (Unconfirmed, with its number). It is never dropped in silence: every tag given to `send` comes back exactly once, as
# Confirmed, Unconfirmed or Unsent. ground/link/cop1/command_queue.py settles a command only when its tag comes back.
# While suspended the queues stay; initiating ends the suspension and purges them, and so does `abandon`.
#
# Why an alert ends the service instead of mending it: FOP-1 no longer knows what the receiver holds. Whoever owns it
# decides by the next CLCW what arrived, and initiates again. The standard leaves that to management, and so do we.

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from flight.link.tc.clcw import Clcw
from flight.link.tc.directives import FopRefusal
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
from flight.link.tc.tc_frame import UNLOCK, FrameKind, TcFrame, set_vr_command

_RUNNING = (FopState.ACTIVE, FopState.RETRANSMIT, FopState.RETRANSMIT_WAIT)
_SENDING = (FopState.ACTIVE, FopState.RETRANSMIT)


@dataclass(slots=True)
class _Sent:
    """A frame on the Sent_Queue. `again`: it is to be sent once more (the To_Be_Retransmitted_Flag)."""

    transmit: Transmit
    again: bool = False


@dataclass(slots=True)
class Fop:
    """One virtual channel's FOP-1. `window` is K, `t1_ns` the timer, `transmission_limit` how often one frame is sent.

    Times are of one clock, in nanoseconds. Actions are to be done in their order. `window_max` bounds K: half of
    FARM-1's window. `suspended` is the state that the service is resumed to (SS), None if it is not suspended.
    """

    spacecraft_id: int
    vcid: int = 0
    window: int = 10
    t1_ns: int = 3_000_000_000
    transmission_limit: int = 3
    timeout_type: int = 0
    window_max: int = 127
    state: FopState = FopState.INITIAL
    suspended: FopState | None = None
    vs: int = 0
    nnr: int = 0
    transmissions: int = 0
    retransmitted: int = 0
    timer_ns: int | None = None
    out_ready: dict[FrameKind, bool] = field(default_factory=lambda: dict.fromkeys(FrameKind, True))
    _sent: deque[_Sent] = field(default_factory=deque)
    _waiting: deque[tuple[bytes, object]] = field(default_factory=deque)
    _directive: _Sent | None = None
    _waits: int = 0

    def __post_init__(self) -> None:
        assert 1 <= self.window <= self.window_max <= 127, (self.window, self.window_max)
        assert self.transmission_limit >= 1, self.transmission_limit

    @property
    def outstanding(self) -> int:
        """Frames that are sent and not yet acknowledged."""
        return len(self._sent)

    @property
    def queued(self) -> int:
        """Frames on the Wait_Queue, which holds 1."""
        return len(self._waiting)

    @property
    def ready(self) -> bool:
        """Whether `send` would take a frame."""
        return self.state in _RUNNING and not self._waiting

    # Frames

    def send(self, data: bytes, tag: object, now_ns: int) -> list[FopAction]:
        """Transfer `data` by the AD service (E19); raises FopRefusal if there is none, or one waits already (E20)."""
        if self.state not in _RUNNING:
            raise FopRefusal(f"the AD service is not up: FOP-1 is in S{self.state.value}")
        if self._waiting:
            raise FopRefusal("a frame waits already, and the Wait_Queue holds 1")
        self._waiting.append((data, tag))
        # In S3 the receiver has no buffer: another frame would only be turned away.
        return self._look_for_frame(now_ns) if self.state in _SENDING else []

    def bypass(self, data: bytes, tag: object = None) -> Transmit:
        """Transfer `data` by the BD service (E21), in any state; raises FopRefusal if the one before waits (E22).

        Nothing tells whether it arrived.
        """
        self._check_out(FrameKind.BD)
        self.out_ready[FrameKind.BD] = False
        return Transmit(TcFrame(self.spacecraft_id, self.vcid, 0, data, bypass=True), tag)

    def accepted(self, kind: FrameKind, now_ns: int) -> list[FopAction]:
        """Take in that the last Transmit of this kind is done, and the next may come (E41, E43, E45)."""
        self.out_ready[kind] = True
        if kind is FrameKind.AD and self.state in _SENDING:
            return self._look_for_frame(now_ns)
        if kind is FrameKind.BC and self.state is FopState.INITIALIZING_BC:
            return self._look_for_directive()
        return []

    def refused(self, kind: FrameKind) -> list[FopAction]:
        """Take in that the last Transmit of this kind will never be done (E42, E44, E46)."""
        self.out_ready[kind] = True  # the place is free: or nothing could be sent ever again
        return self._alert("LLIF")

    # Directives

    def set_vs(self, vs: int) -> None:
        """Set V(S) and NN(R) to `vs` (E35); raises FopRefusal if there is a service, or one suspended."""
        self._check_initial()
        if self.suspended is not None:
            raise FopRefusal("the AD service is suspended: resume or initiate it")
        self.vs = self.nnr = vs

    def initiate(self) -> list[FopAction]:
        """Bring the AD service up without a CLCW check (E23); raises FopRefusal if it is up."""
        out = self._initialize()
        self.state = FopState.ACTIVE
        return [*out, Initiated()]

    def initiate_with_clcw(self, now_ns: int) -> list[FopAction]:
        """Bring the AD service up once a CLCW agrees with V(S) (E24); raises FopRefusal if it is up."""
        out = self._initialize()
        self.state = FopState.INITIALIZING
        self._start_timer(now_ns)
        return out

    def initiate_with_unlock(self, now_ns: int) -> list[FopAction]:
        """Bring the AD service up once the receiver is unlocked (E25); raises FopRefusal if it is up, or by E26."""
        return self._initialize_with(UNLOCK, now_ns)

    def initiate_with_set_vr(self, vr: int, now_ns: int) -> list[FopAction]:
        """Bring the AD service up once the receiver has set V(R) to `vr` (E27); raises FopRefusal as above (E28)."""
        out = self._initialize_with(set_vr_command(vr), now_ns)
        self.vs = self.nnr = vr
        return out

    def terminate(self) -> list[FopAction]:
        """End the AD service (E29). Nothing happens in S6."""
        return [] if self.state is FopState.INITIAL else self._alert("TERM")

    def resume(self, now_ns: int) -> list[FopAction]:
        """Go on where T1 suspended the service (E31 to E34); raises FopRefusal if it is not suspended (E30)."""
        if self.suspended is None:
            raise FopRefusal("the AD service is not suspended")
        self.state, self.suspended = self.suspended, None
        self._start_timer(now_ns)
        return []

    def abandon(self) -> list[FopAction]:
        """End whatever there is, a suspension included, without an alert: the owner begins again by other means."""
        out: list[FopAction] = [Unconfirmed(sent.transmit.tag, sent.transmit.frame.seq) for sent in self._sent]
        out += [Unsent(tag) for _, tag in self._waiting]
        self._sent.clear()
        self._waiting.clear()
        self.timer_ns, self._directive = None, None
        self.state, self.suspended = FopState.INITIAL, None
        return out

    # What the receiver tells

    def on_clcw(self, clcw: Clcw, now_ns: int) -> list[FopAction]:
        """Handle E1 to E14. The caller hands in the CLCWs of this channel in the order in which they were sent."""
        if self.state is FopState.INITIAL:
            return []
        # In S5 the receiver may still report what was wrong: the control command that mends it is on its way. So CLCWs
        # with Lockout, a wrong N(R) or Retransmit are passed over there, and T1 ends a wait that is in vain.
        if clcw.lockout:
            return [] if self.state is FopState.INITIALIZING_BC else self._alert("LOCKOUT")
        newly = (clcw.report_value - self.nnr) % 256
        if newly > len(self._sent):
            return [] if self.state is FopState.INITIALIZING_BC else self._alert("NN(R)")
        if newly == len(self._sent):
            return self._on_all_acknowledged(newly, clcw, now_ns)
        return self._on_some_outstanding(newly, clcw, now_ns)

    def _on_all_acknowledged(self, newly: int, clcw: Clcw, now_ns: int) -> list[FopAction]:
        """Handle E1 to E4: N(R) leaves nothing on the Sent_Queue."""
        if clcw.retransmit:
            # The receiver asks for a frame, and there is none that it could mean.
            return [] if self.state is FopState.INITIALIZING_BC else self._alert("SYNCH")
        if clcw.wait:
            return self._alert("CLCW")
        if newly:
            out = self._acknowledge(newly)
            self.timer_ns = None  # nothing is under way that it could time
            self.state = FopState.ACTIVE
            return out + self._look_for_frame(now_ns)
        if self.state in (FopState.INITIALIZING, FopState.INITIALIZING_BC):
            self.timer_ns, self._directive = None, None
            self.state = FopState.ACTIVE
            return [Initiated()]
        return [] if self.state is FopState.ACTIVE else self._alert("SYNCH")

    def _on_some_outstanding(self, newly: int, clcw: Clcw, now_ns: int) -> list[FopAction]:
        """Handle E5 to E12 and E101 to E103: N(R) leaves frames on the Sent_Queue."""
        if not clcw.retransmit:
            if clcw.wait:
                return self._alert("CLCW")
            if not newly:
                return [] if self.state is FopState.ACTIVE else self._alert("SYNCH")
            out = self._acknowledge(newly)
            self.state = FopState.ACTIVE
            return out + self._look_for_frame(now_ns)
        out = self._acknowledge(newly)
        if self.transmission_limit == 1:
            return out + self._alert("LIMIT")
        if clcw.wait:
            # Nothing goes out: the receiver has no buffer. Its next CLCW without Wait brings the resend (E8, E10).
            if self.state is not FopState.RETRANSMIT_WAIT:
                self._waits = 0
            self.state = FopState.RETRANSMIT_WAIT
            return out
        # E10 is ignored in S2: the frames are on their way again, and the receiver has not seen them yet. At the limit
        # (E12) nothing goes out either, but T1 still runs: a CLCW may yet confirm the last try.
        resends = newly or (self.state is not FopState.RETRANSMIT and self.transmissions < self.transmission_limit)
        self.state = FopState.RETRANSMIT
        return out + self._resend(now_ns) if resends else out

    # Time

    def on_time(self, now_ns: int) -> list[FopAction]:
        """Handle E16 to E18 and E104. Call it at `timer_ns` or later."""
        if self.timer_ns is None or now_ns < self.timer_ns:
            return []
        at_limit = self.transmissions >= self.transmission_limit
        match self.state:
            case FopState.INITIALIZING:  # nothing was sent that could be sent again: no CLCW came in time
                return self._give_up()
            case FopState.INITIALIZING_BC:
                return self._alert("T1") if at_limit else self._resend_directive(now_ns)
            case FopState.RETRANSMIT_WAIT:
                # E16 sends nothing in S3. The standard leaves it at that; here the timer runs again, so that a wait
                # that never ends is noticed.
                self._waits += 1
                if at_limit or self._waits >= self.transmission_limit:
                    return self._give_up()
                self._start_timer(now_ns)
                return []
            case _:
                return self._give_up() if at_limit else self._resend(now_ns)

    def hold_timer(self, until_ns: int) -> None:
        """Let T1 count from `until_ns`, when the last frame has left the antenna, not from when it was handed over."""
        if self.timer_ns is not None:
            self.timer_ns = max(self.timer_ns, until_ns + self.t1_ns)

    def _start_timer(self, now_ns: int) -> None:
        self.timer_ns = now_ns + self.t1_ns

    def _give_up(self) -> list[FopAction]:
        """Alert or suspend, as the timeout type says (5.2.16)."""
        if self.timeout_type == 0:
            return self._alert("T1")
        self.timer_ns = None
        self.state, self.suspended = FopState.INITIAL, self.state
        return [Suspended()]

    # Steps of the table

    def _check_initial(self) -> None:
        if self.state is not FopState.INITIAL:
            raise FopRefusal(f"the AD service is up or coming up: FOP-1 is in S{self.state.value}; terminate it first")

    def _check_out(self, kind: FrameKind) -> None:
        if not self.out_ready[kind]:
            raise FopRefusal(f"the {kind.value} frame before it has not left yet")

    def _initialize(self) -> list[FopAction]:
        """Purge both queues and begin with all tries left (5.2.14). Only a suspended service has something on them."""
        self._check_initial()
        out = self.abandon()
        self.nnr = self.vs
        self.transmissions = 1
        return out

    def _initialize_with(self, command: bytes, now_ns: int) -> list[FopAction]:
        self._check_initial()
        self._check_out(FrameKind.BC)
        out = self._initialize()
        self.state = FopState.INITIALIZING_BC
        frame = TcFrame(self.spacecraft_id, self.vcid, 0, command, bypass=True, control=True)
        self._directive = _Sent(Transmit(frame), again=True)
        self._start_timer(now_ns)
        return out + self._look_for_directive()

    def _acknowledge(self, frames: int) -> list[FopAction]:
        """Confirm the oldest `frames` and begin to count the tries of the next one (5.2.8)."""
        if frames:
            self.transmissions = 1  # the limit is for the oldest frame, which is now another
        self.nnr = (self.nnr + frames) % 256
        return [Confirmed(self._sent.popleft().transmit.tag) for _ in range(frames)]

    def _resend(self, now_ns: int) -> list[FopAction]:
        """Send every frame on the Sent_Queue once more (5.2.7): FARM-1 takes them in order only."""
        self.transmissions += 1
        self._start_timer(now_ns)
        for sent in self._sent:
            sent.again = True
        return self._look_for_frame(now_ns)

    def _resend_directive(self, now_ns: int) -> list[FopAction]:
        assert self._directive is not None
        self.transmissions += 1
        self.retransmitted += 1
        self._start_timer(now_ns)
        self._directive.again = True
        return self._look_for_directive()

    def _look_for_directive(self) -> list[FopAction]:
        """Send the control command if that is asked for and the one before has left (5.2.9)."""
        directive = self._directive
        if not (directive and directive.again and self.out_ready[FrameKind.BC]):
            return []
        directive.again = False
        self.out_ready[FrameKind.BC] = False
        return [directive.transmit]

    def _look_for_frame(self, now_ns: int) -> list[FopAction]:
        """Send the next frame: one to be sent again, or else the one that waits if the window has room (5.2.10).

        Those behind it come with `accepted`.
        """
        if not self.out_ready[FrameKind.AD]:
            return []
        for sent in self._sent:
            if sent.again:
                sent.again = False
                self.retransmitted += 1
                self.out_ready[FrameKind.AD] = False
                return [sent.transmit]
        if not self._waiting or len(self._sent) >= self.window:
            return []
        data, tag = self._waiting.popleft()
        frame = Transmit(TcFrame(self.spacecraft_id, self.vcid, self.vs, data), tag)
        if not self._sent:
            self.transmissions = 1
        self.vs = (self.vs + 1) % 256
        self._sent.append(_Sent(frame))
        self._start_timer(now_ns)
        self.out_ready[FrameKind.AD] = False
        return [frame]

    def _alert(self, reason: str) -> list[FopAction]:
        """Stop the timer, purge both queues, tell why (5.2.15)."""
        return [*self.abandon(), FopAlert(reason)]
