"""The AD service of the ground's end: telecommand packets -> segments -> FOP-1 -> TC frames -> CLTUs. Sans-IO.

    IDLE        --initiate, resume-->              AWAIT_CLCW
    AWAIT_CLCW  --CLCW, nothing wrong-->           UP          (V(S) := N(R), FOP-1 checks it against this CLCW)
    AWAIT_CLCW  --CLCW with Lockout, Wait or Retransmit--> RECOVERING (V(S) := N(R), FOP-1 sends Unlock)
    AWAIT_CLCW  --CLCW, a number would change hands--> RECOVERING (the same)
    RECOVERING  --Unlock taken, FOP-1 initiated--> UP
    RECOVERING  --clean CLCW with another N(R)-->  AWAIT_CLCW, with that CLCW (frames were still on their way)
    UP, RECOVERING --alert or suspension, recoveries left--> AWAIT_CLCW
    UP, RECOVERING --alert or suspension, none left-->       IDLE
    any but IDLE --initiate, resume, node restarted--> AWAIT_CLCW
    any         --reset (end of a pass)-->         IDLE
    any         --directive by hand-->             manual
    manual      --auto-->                          AWAIT_CLCW

Commands are sent in order, each executed once at most. What is known of each is told by one action: acknowledged,
rejected or lost.

By hand. A directive that starts or ends the AD service or moves V(S) makes the link manual, and it stays so until
`auto`: over alerts, passes and restarts of the node. In manual the service does nothing by itself. It is up as far as
FOP-1 is, and begins no recovery. `initiate`, `resume` and `reset` do nothing, so neither a pass that begins nor the
station's own retries undo what the operator has done. Settings (K, T1, limit, timeout type) hold in both.
"""

# Commands wait in a bounded queue until FOP-1 takes them (cop1/command_queue.py). Those that were sent when the service
# ended are undecided: the CLCW with which the service comes up again decides by its N(R). A command that V(R) has
# passed is acknowledged. The others go out again under the same numbers, so that FARM-1 would drop a copy that is still
# on its way: nothing can be executed twice. If V(R) fits neither, or the node was restarted, nobody can know, and the
# command is lost. Undecided commands outlive alerts and passes, because both end the service and neither tells what
# arrived.
#
# Numbers change hands if a command was dropped, lost, or sent by another life of the node or, on a protected link, of
# this ground: the next command gets the number that it went out with. Before that no frame may be on its way any more,
# and the node must have taken a control command, of which the FARM-B counter is the proof (cop1/control_proof.py).
# Unlock serves, and not Set V(R): it leaves V(R) alone, which is all that tells what arrived before it. So while a
# control command is under way FOP-1 is shown no CLCW without that proof.
#
# By hand nothing is concluded from V(S), which an operator may set to anything, with or without a downlink. Initiated
# without check, commands count as acknowledged only if a CLCW has said the same number; else they are lost. Set V(R)
# wipes out what V(R) said: what was sent before is settled by the newest CLCW first, if that came after the time in
# which a frame may still arrive. Else it is lost.
#
# Why V(S) is taken from N(R) and not remembered: the node's V(R) is the truth, and what is remembered here may be of a
# pass before. Unlock goes out whenever the CLCW has a flag set, because Retransmit or Wait would end the service at
# once. While the Unlock is on its way, frames of before may still arrive and move V(R): then it begins again with that.
#
# Every frame leaves through `_transmit`, which answers FOP-1 at once, so that the next one may follow
# (cop1/frame_flow.py). On a protected link a number for it may have to be stored first: then FOP-1 is answered later.
# A frame of a service that has ended meanwhile is left out, since it goes out again with the next service.

from __future__ import annotations

from flight.link.security.link_security import LinkSecurity, NumbersExhausted
from flight.link.tc.clcw import Clcw
from flight.link.tc.directives import SETTINGS, Directive, DirectiveKind, FopRefusal
from flight.link.tc.fop_actions import FopAction, FopState
from flight.link.tc.fop_directives import do_directive
from flight.link.tc.tc_frame import FrameKind, TcFrame
from flight.link.tm_tc_stack import LinkConfig
from ground.link.actions import Action, Alert
from ground.link.cop1.clcw_watch import ClcwWatch
from ground.link.cop1.command_queue import Part
from ground.link.cop1.frame_flow import FrameFlow
from ground.link.cop1.link_status import FopStatus, LinkStatus
from ground.link.ground_link import Service, SessionCounters
from ground.link.security.sealer import Sealer

_BY_CONTROL_COMMAND = (DirectiveKind.INITIATE_UNLOCK, DirectiveKind.INITIATE_SET_VR)


class AdService(FrameFlow):
    """Sends commands over one TM and TC link, in order and once each, and knows what became of them.

    security: the ground's keys and numbers, `index` the place of the link among the mission's; None for a clear link.
    """

    def __init__(
        self, config: LinkConfig, counters: SessionCounters, security: LinkSecurity | None = None, index: int = 0
    ) -> None:
        self._sealer = Sealer(config, counters, security, index)
        super().__init__(config, counters, self._sealer.overhead_octets)
        if self._sealer.has_past:
            self._queue.disown()
        # Frames that wait for a number to be stored, one of a kind at most, each with the service period that it is of.
        self._held: list[tuple[TcFrame, object, int]] = []
        self._store_again_ns = 0  # when a record that could not be stored is tried again, if frames are held for it
        self._period = 0
        self._watch = ClcwWatch(config.tc_vcid, counters)
        self._last_alert = ""
        self._recoveries = 0  # in a row, without an acknowledgement between them

    # What the node's frames tell

    def on_ocf(self, ocf: bytes, now_ns: int, actions: list[Action]) -> None:
        """Take the CLCW, or the frame security report, that a frame brought."""
        if self._sealer.is_report(ocf):
            self._sealer.on_report(ocf, actions)
            return
        if self._held and now_ns >= self._store_again_ns:
            self._store_again_ns = now_ns + self._fop.t1_ns
            self._sealer.store_again(actions)
        clcw = self._watch.take(ocf, now_ns)
        if clcw is None:
            return
        self._proof.on_counter(clcw.farm_b_counter)
        self._queue.compare(clcw.report_value)
        if self._changes_nothing(clcw):
            return
        if self.service is Service.AWAIT_CLCW:
            self._begin(clcw, now_ns, actions)
        elif not self.manual and self.service is Service.RECOVERING and self._has_moved(clcw):
            self._end_service(now_ns, actions)
            self.service = Service.AWAIT_CLCW
            self._begin(clcw, now_ns, actions)
        elif self.service is not Service.IDLE and not self._awaits_proof:
            self._perform(self._fop.on_clcw(clcw, now_ns), now_ns, actions)
        self._finish(now_ns, actions)

    @property
    def _awaits_proof(self) -> bool:
        """Whether a control command is under way that no CLCW has shown to be taken."""
        return self._fop.state is FopState.INITIALIZING_BC and self._proof.pending

    def _changes_nothing(self, clcw: Clcw) -> bool:
        """Return whether it is E1 or E5 in S1, as nearly every one is: FOP-1 need not be asked."""
        fop, flagged = self._fop, clcw.lockout or clcw.wait or clcw.retransmit
        return (
            self.service is Service.UP and fop.state is FopState.ACTIVE and clcw.report_value == fop.nnr and not flagged
        )

    @property
    def clcw(self) -> Clcw | None:
        """The newest CLCW of this link, None before the first."""
        return self._watch.clcw

    def on_restart(self, now_ns: int, actions: list[Action]) -> None:
        """Give up what is undecided: V(R) was lost with the node's memory, and nothing can be known any more."""
        was_up = self._fop.state is not FopState.INITIAL or self._fop.suspended is not None
        self._end_service(now_ns, actions)
        self._sealer.on_restart(now_ns, actions)
        self._queue.give_up_sent("the node was restarted", actions)
        self._proof.on_restart()
        if self.manual:
            self.service = Service.IDLE
            if was_up:
                self._note("the node was restarted: AD service ended, the link was led by hand", actions)
        elif self.service is not Service.IDLE:
            self.service = Service.AWAIT_CLCW

    # What the station asks for

    def status(self, now_ns: int) -> LinkStatus:
        """Return what an operator sees of the commanding link."""
        return LinkStatus(
            manual=self.manual,
            service=self.service,
            fop=FopStatus.of(self._fop, now_ns),
            waiting=self._queue.waiting,
            undecided=self._queue.undecided,
            proof_pending=self._awaits_proof,
            clcw=self.clcw,
            clcw_age_ns=now_ns - self._watch.heard_ns,
            alerts=self.counters.alerts,
            last_alert=self._last_alert,
        )

    def initiate(self, now_ns: int) -> list[Action]:
        """Bring the AD service up with the next CLCW: Unlock as needed, V(S) from N(R). Nothing happens in manual.

        A service that is up is ended first; no command is lost.
        """
        return [] if self.manual else self.auto(now_ns)

    def auto(self, now_ns: int) -> list[Action]:
        """End manual, and bring the AD service up as `initiate` does."""
        actions: list[Action] = []
        self._end_service(now_ns, actions)
        self._sealer.begin_contact(actions)
        self.manual = False
        self._recoveries = 0
        self.service = Service.AWAIT_CLCW
        return actions

    def on_stored(self, now_ns: int, actions: list[Action]) -> None:
        """Send the frames that waited for a number to be stored; those of a service that has ended are left out."""
        held, self._held = self._held, []
        for frame, tag, period in held:
            if frame.kind is FrameKind.BD or period == self._period:
                steps = self._transmit(frame, tag, now_ns, actions)
            else:
                steps = self._fop.accepted(frame.kind, now_ns)
            self._perform(steps, now_ns, actions)
        self._finish(now_ns, actions)

    def reset(self, now_ns: int) -> list[Action]:
        """End the pass: timers stop, every command stays. Nothing happens in manual: T1 runs on, and decides."""
        actions: list[Action] = []
        if not self.manual:
            self._end_service(now_ns, actions)
            self.service = Service.IDLE
        return actions

    def direct(self, directive: Directive, now_ns: int) -> list[Action]:
        """Do an operator's directive; raises FopRefusal if FOP-1 refuses it. See "By hand" at the head of the file."""
        actions: list[Action] = []
        kind = directive.kind
        if kind is DirectiveKind.INITIATE_CLCW and self._queue.must_prove(self._fop.vs, in_flight=False):
            raise FopRefusal("a number would go to another command than it went out with: use initiate-unlock")
        steps = do_directive(self._fop, directive, now_ns)
        if kind not in SETTINGS and not self.manual:
            self.manual = True
            self._note(f"link led by hand from `{kind.value}` on", actions)
        if kind in _BY_CONTROL_COMMAND:
            self._proof.begin()
        if kind is DirectiveKind.INITIATE_SET_VR:
            # All but the last is what a suspended service had; the last is the frame.
            self._perform(steps[:-1], now_ns, actions)
            self._settle_before_set_vr(actions)
            self._queue.disown()  # until it is proved: it may move V(R) long after another service has begun
            steps = steps[-1:]
        self._perform(steps, now_ns, actions)
        self._finish(now_ns, actions)
        return actions

    # The service

    def _has_moved(self, clcw: Clcw) -> bool:
        clean = not (clcw.lockout or clcw.retransmit or clcw.wait)
        return clean and clcw.report_value != self._fop.vs

    def _begin(self, clcw: Clcw, now_ns: int, actions: list[Action]) -> None:
        fop, in_flight = self._fop, now_ns < self._sender.in_flight_ns
        if in_flight and self._queue.must_wait(clcw.report_value):
            return
        flagged = clcw.lockout or clcw.retransmit or clcw.wait
        by_unlock = flagged or self._queue.must_prove(clcw.report_value, in_flight)
        if by_unlock and not fop.out_ready[FrameKind.BC]:
            return  # the control command before it is still held: a later CLCW begins
        self.service = Service.RECOVERING
        fop.set_vs(clcw.report_value)
        if by_unlock:
            self._proof.begin()
            self._perform(fop.initiate_with_unlock(now_ns), now_ns, actions)
        else:
            # This very CLCW is the check that the standard asks for: V(S) was just taken from it.
            self._perform(fop.initiate_with_clcw(now_ns), now_ns, actions)
            self._perform(fop.on_clcw(clcw, now_ns), now_ns, actions)

    def _end_service(self, now_ns: int, actions: list[Action]) -> None:
        """End it without an alert: we asked for it."""
        self._perform(self._fop.abandon(), now_ns, actions)
        self._rest(actions)

    def _rest(self, actions: list[Action]) -> None:
        """Keep V(S) if it is the number of the next part; while the service came up it was not ours yet."""
        self._period += 1
        if self.service is Service.UP:
            self._queue.rest(self._fop.vs, actions)

    def _on_confirmed(self) -> None:
        self._recoveries = 0  # the link works

    def _on_initiated(self, now_ns: int, actions: list[Action]) -> None:
        """Settle what was sent before, by the V(R) with which the service is up."""
        vs, clcw = self._fop.vs, self.clcw
        proved = self._proof.done
        self._proof.end()
        if self.manual and not proved and (clcw is None or clcw.report_value != vs):
            self._queue.begin_unchecked(vs, actions)
        else:
            # Without a bound on how late a frame may come, even one behind the control command may be of before it.
            self._queue.decide(vs, proved and now_ns >= self._sender.in_flight_ns, actions)
        self.service = Service.UP

    def _settle_before_set_vr(self, actions: list[Action]) -> None:
        """Settle what was sent while V(R) still tells of it: in a moment it says what the operator wants."""
        if self.clcw is not None and self._watch.heard_ns >= self._sender.in_flight_ns:
            self._queue.decide(self.clcw.report_value, False, actions)
            self._queue.begin_again()
        else:
            self._queue.give_up_sent("V(R) was set before a CLCW told of it", actions)
        self._queue.rest(self._fop.vs, actions)

    def _on_end(self, what: str, now_ns: int, actions: list[Action]) -> None:
        self.counters.alerts += 1
        suspended = self._fop.suspended is not None
        self._rest(actions)
        if self.manual:
            next_step = "`resume` goes on" if suspended else "the link was led by hand"
            self._note(f"{what}; AD service ended, {next_step}", actions)
            return
        if suspended:
            # To resume would not send anything again: all tries are used. To begin again does.
            self._perform(self._fop.abandon(), now_ns, actions)
        if self._recoveries < self.config.recoveries:
            self._recoveries += 1
            self.service = Service.AWAIT_CLCW
            self._note(f"{what}; AD service restarts with the next CLCW", actions)
            return
        self.service = Service.IDLE
        text = f"restarts in a row: {self._recoveries}, telecommands that wait for `initiate`: {self.waiting}"
        self._note(f"{what}; AD service given up ({text})", actions)

    def _note(self, text: str, actions: list[Action]) -> None:
        self._last_alert = text
        actions.append(Alert(text))

    # Frames

    def _transmit(self, frame: TcFrame, tag: object, now_ns: int, actions: list[Action]) -> list[FopAction]:
        """Send one frame, and tell FOP-1 that it was taken. Every frame of the link leaves here.

        A frame that waits for a number to be stored is held, and FOP-1 is told later (`on_stored`).
        """
        try:
            raw = self._sealer.encode(frame, actions)
        except NumbersExhausted as error:
            self._note(str(error), actions)
            return self._fop.refused(frame.kind)
        if raw is None:
            self._held.append((frame, tag, self._period))
            return []
        if not self._sender.has_room(raw):
            self._flush(now_ns, actions)
        self._sender.add(raw, in_sequence=not frame.bypass)
        self._frames_sent += 1
        if frame.bypass:
            self._proof.on_bypass_sent(self._frames_sent)
        elif isinstance(tag, Part):
            self._proof.end()
            self._queue.note_sent(tag, self._frames_sent)
        return self._fop.accepted(frame.kind, now_ns)
