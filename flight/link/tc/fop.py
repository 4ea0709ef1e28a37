"""FOP-1, the sending end of COP-1 (CCSDS 232.1-B-2, 5), timeout type 0.

States: S1 ACTIVE, S2 RETRANSMIT, S3 RETRANSMIT_WAIT (the receiver has no buffer), S4 INITIALIZING (a CLCW is
awaited), S5 INITIALIZING_BC (a control command is under way), S6 INITIAL (no AD service).

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
    E16  T1 ran out, below the limit            resend        resend        - (*)         A[T1]       resend BC
    E17  T1 ran out at the limit                A[T1]         A[T1]         A[T1]         A[T1]       A[T1]

(*) our addition: T1 runs again, and the limit of such waits gives A[T1] as well.
In S6 every CLCW is ignored (E15, an invalid CLCW, never reaches this machine: it does not decode).
E19/E20 send in S1..S3: goes to the Wait_Queue, which holds 1 frame, and is refused if that is taken. Refused in S4..S6.
E23 to E28 initiate from S6: without check ->S1, with CLCW check ->S4, with Unlock or Set V(R) ->S5.
E29 terminate ->S6. E35 Set V(S) in S6.
"""

# Numbers: V(S) is the N(S) of the next new frame, NN(R) that of the oldest frame not yet acknowledged. So NN(R) + the
# length of the Sent_Queue = V(S), modulo 256, at all times, and a CLCW is judged by how far N(R) lies from NN(R) alone:
# `newly` of the queue's frames are acknowledged. A distance beyond the queue is E13. The window is at most 127, half of
# the largest window of FARM-1.
#
# A frame leaves the Sent_Queue in one of two ways. Either V(R) passed it (Confirmed), or the service ended
# (Unconfirmed, with its number). It is never dropped in silence: every tag given to `send` comes back exactly once, as
# Confirmed, Unconfirmed or Unsent. ground/link/ad_service.py settles a command only when its tag comes back.
#
# Why an alert ends the service instead of mending it: FOP-1 no longer knows what the receiver holds. Whoever owns it
# decides by the next CLCW what arrived, and initiates again. The standard leaves that to management, and so do we.
#
# Timer type 0: T1 running out resends up to the limit, then alerts. Type 1 (suspend and resume, E18 and E30 to E34)
# is not built: a pass that ends terminates the service, and what was sent is decided by the first CLCW of the next.

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from flight.link.tc.clcw import Clcw
from flight.link.tc.tc_frame import UNLOCK, TcFrame, set_vr_command


class FopState(Enum):
    """The states of table 5-1."""

    ACTIVE = 1
    RETRANSMIT = 2
    RETRANSMIT_WAIT = 3
    INITIALIZING = 4
    INITIALIZING_BC = 5
    INITIAL = 6


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send this frame now. `tag` is what the caller gave to `send`, None for control commands."""

    frame: TcFrame
    tag: object = None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """V(R) has passed the frame: the positive confirm response of the standard."""

    tag: object


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """The frame left the Sent_Queue without acknowledgement (negative confirm). It went out as N(S) = `seq`."""

    tag: object
    seq: int


@dataclass(frozen=True, slots=True)
class Unsent:
    """The frame left the Wait_Queue without ever being sent."""

    tag: object


@dataclass(frozen=True, slots=True)
class Initiated:
    """AD service is up."""


@dataclass(frozen=True, slots=True)
class FopAlert:
    """AD service ended. `reason`: SYNCH, CLCW, LIMIT, NN(R), LOCKOUT, T1 or TERM (232.1-B-2, 5.2.2)."""

    reason: str


FopAction = Transmit | Confirmed | Unconfirmed | Unsent | Initiated | FopAlert


@dataclass(slots=True)
class Fop:
    """One virtual channel's FOP-1. `window` is K, `t1_ns` the timer, `transmission_limit` how often one frame is sent.

    Times are of one clock, in nanoseconds. Actions are to be done in their order. The lower procedures take every frame
    at once: the AD, BD and BC out flags of the standard are always ready, and a retransmission leaves whole in one
    call.
    """

    spacecraft_id: int
    vcid: int = 0
    window: int = 10
    t1_ns: int = 3_000_000_000
    transmission_limit: int = 3
    state: FopState = FopState.INITIAL
    vs: int = 0
    nnr: int = 0
    transmissions: int = 0
    retransmitted: int = 0
    timer_ns: int | None = None
    _sent: deque[Transmit] = field(default_factory=deque)
    _waiting: deque[tuple[bytes, object]] = field(default_factory=deque)
    _directive: TcFrame | None = None
    _waits: int = 0

    def __post_init__(self) -> None:
        assert 1 <= self.window <= 127, self.window
        assert self.transmission_limit >= 1, self.transmission_limit

    @property
    def outstanding(self) -> int:
        """Frames that are sent and not yet acknowledged."""
        return len(self._sent)

    @property
    def ready(self) -> bool:
        """Whether `send` would take a frame."""
        return self.state in (FopState.ACTIVE, FopState.RETRANSMIT, FopState.RETRANSMIT_WAIT) and not self._waiting

    def send(self, data: bytes, tag: object, now_ns: int) -> list[FopAction]:
        """Transfer `data` by the AD service (E19). Call it only while `ready`."""
        assert self.ready, self.state
        self._waiting.append((data, tag))
        # In S3 the receiver has no buffer: another frame would only be turned away.
        return [] if self.state is FopState.RETRANSMIT_WAIT else self._look_for_frame(now_ns)

    def bypass(self, data: bytes, tag: object = None) -> Transmit:
        """Transfer `data` by the BD service (E21), in any state. Nothing tells whether it arrived."""
        return Transmit(TcFrame(self.spacecraft_id, self.vcid, 0, data, bypass=True), tag)

    def set_vs(self, vs: int) -> None:
        """Set V(S) and NN(R) to `vs` (E35), in S6 only."""
        assert self.state is FopState.INITIAL, self.state
        self.vs = self.nnr = vs

    def initiate(self) -> list[FopAction]:
        """Bring the AD service up without a CLCW check (E23), from S6."""
        self._initialize()
        self.state = FopState.ACTIVE
        return [Initiated()]

    def initiate_with_clcw(self, now_ns: int) -> list[FopAction]:
        """Bring the AD service up once a CLCW agrees with V(S) (E24), from S6."""
        self._initialize()
        self.state = FopState.INITIALIZING
        self._start_timer(now_ns)
        return []

    def initiate_with_unlock(self, now_ns: int) -> list[FopAction]:
        """Bring the AD service up once the receiver is unlocked (E25), from S6."""
        self._initialize()
        return self._transmit_directive(UNLOCK, now_ns)

    def initiate_with_set_vr(self, vr: int, now_ns: int) -> list[FopAction]:
        """Bring the AD service up once the receiver has set V(R) to `vr` (E27), from S6."""
        self._initialize()
        self.vs = self.nnr = vr
        return self._transmit_directive(set_vr_command(vr), now_ns)

    def terminate(self) -> list[FopAction]:
        """End the AD service (E29). Nothing happens in S6."""
        return [] if self.state is FopState.INITIAL else self._alert("TERM")

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
        return out + self._resend(now_ns) + self._look_for_frame(now_ns) if resends else out

    def on_time(self, now_ns: int) -> list[FopAction]:
        """Handle E16 and E17. Call it at `timer_ns` or later."""
        if self.timer_ns is None or now_ns < self.timer_ns:
            return []
        # S4 has sent nothing that could be sent again: no CLCW came in time.
        if self.transmissions >= self.transmission_limit or self.state is FopState.INITIALIZING:
            return self._alert("T1")
        if self.state is FopState.INITIALIZING_BC:
            assert self._directive is not None
            self.transmissions += 1
            self.retransmitted += 1
            self._start_timer(now_ns)
            return [Transmit(self._directive)]
        if self.state is FopState.RETRANSMIT_WAIT:
            # E16 sends nothing in S3. The standard leaves it at that; here the timer runs again, so that a wait
            # that never ends is noticed.
            self._waits += 1
            if self._waits >= self.transmission_limit:
                return self._alert("T1")
            self._start_timer(now_ns)
            return []
        return self._resend(now_ns) + self._look_for_frame(now_ns)

    def hold_timer(self, until_ns: int) -> None:
        """Let T1 count from `until_ns`, when the last frame has left the antenna, not from when it was handed over."""
        if self.timer_ns is not None:
            self.timer_ns = max(self.timer_ns, until_ns + self.t1_ns)

    def _initialize(self) -> None:
        assert self.state is FopState.INITIAL, self.state
        assert not self._sent, self.outstanding
        self.nnr = self.vs
        self.transmissions = 1

    def _transmit_directive(self, command: bytes, now_ns: int) -> list[FopAction]:
        self.state = FopState.INITIALIZING_BC
        self._directive = TcFrame(self.spacecraft_id, self.vcid, 0, command, bypass=True, control=True)
        self._start_timer(now_ns)
        return [Transmit(self._directive)]

    def _start_timer(self, now_ns: int) -> None:
        self.timer_ns = now_ns + self.t1_ns

    def _acknowledge(self, frames: int) -> list[FopAction]:
        """Confirm the oldest `frames` and begin to count the tries of the next one (5.2.8)."""
        out: list[FopAction] = []
        for _ in range(frames):
            out.append(Confirmed(self._sent.popleft().tag))
            self.transmissions = 1  # the limit is for the oldest frame, which is now another
        self.nnr = (self.nnr + frames) % 256
        return out

    def _resend(self, now_ns: int) -> list[FopAction]:
        """Send every frame on the Sent_Queue once more (5.2.7): FARM-1 takes them in order only."""
        self.transmissions += 1
        self.retransmitted += len(self._sent)
        self._start_timer(now_ns)
        return list(self._sent)

    def _look_for_frame(self, now_ns: int) -> list[FopAction]:
        """Send the waiting frame if the window has room (5.2.10)."""
        if not self._waiting or len(self._sent) >= self.window:
            return []
        data, tag = self._waiting.popleft()
        frame = Transmit(TcFrame(self.spacecraft_id, self.vcid, self.vs, data), tag)
        if not self._sent:
            self.transmissions = 1
        self.vs = (self.vs + 1) % 256
        self._sent.append(frame)
        self._start_timer(now_ns)
        return [frame]

    def _alert(self, reason: str) -> list[FopAction]:
        """Stop the timer, purge both queues, tell why (5.2.12)."""
        out: list[FopAction] = [Unconfirmed(sent.tag, sent.frame.seq) for sent in self._sent]
        out += [Unsent(tag) for _, tag in self._waiting]
        self._sent.clear()
        self._waiting.clear()
        self.timer_ns, self._directive = None, None
        self.state = FopState.INITIAL
        return [*out, FopAlert(reason)]
