"""The AD service of the ground's end: telecommand packets -> FOP-1 -> TC frames -> CLTUs. Sans-IO.

    IDLE        --initiate, resume-->              AWAIT_CLCW
    AWAIT_CLCW  --CLCW, nothing wrong-->           UP          (V(S) := N(R), FOP-1 checks it against this CLCW)
    AWAIT_CLCW  --CLCW with Lockout, Wait or Retransmit--> RECOVERING (V(S) := N(R), FOP-1 sends Unlock)
    RECOVERING  --FOP-1 initiated-->               UP
    RECOVERING  --clean CLCW with another N(R)-->  AWAIT_CLCW, with that CLCW (frames were still on their way)
    UP, RECOVERING --alert, recoveries left-->     AWAIT_CLCW
    UP, RECOVERING --alert, none left-->           IDLE
    any but IDLE --initiate, resume, node restarted--> AWAIT_CLCW
    any         --reset (end of a pass)-->         IDLE

Commands are sent in order, each executed once at most. What is known of each is told by one action: acknowledged,
rejected or lost.
"""

# Commands wait in a bounded queue until FOP-1 takes them. Those that were sent when the service ended are undecided:
# the CLCW with which the service comes up again decides by its N(R). A command that V(R) has passed is acknowledged.
# The others go out again under the same numbers, so that FARM-1 would drop a copy that is still on its way: nothing can
# be executed twice. If V(R) fits neither, or the node was restarted, nobody can know, and the command is lost.
#
# Undecided commands outlive alerts and passes, because both end the service and neither tells what arrived.
#
# Dropping. A command that was never sent is rejected at once. One that was sent cannot be called back in COP-1: it
# keeps its number, and is left out when its neighbours go out again, so that their numbers close up. But if a copy of
# it may still be on its way, its number must not go to another command, so it then goes out once more as well.
#
# Why V(S) is taken from N(R) and not remembered: the node's V(R) is the truth, and what is remembered here may be of a
# pass before. Unlock goes out whenever the CLCW has a flag set, because Retransmit or Wait would end the service at
# once. While the Unlock is on its way, frames of before may still arrive and move V(R): then it begins again with that.

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS
from flight.link.coding.cltu import encode_cltu
from flight.link.tc.clcw import Clcw
from flight.link.tc.fop import Confirmed, Fop, FopAction, FopAlert, FopState, Initiated, Transmit, Unconfirmed
from flight.link.tc.tc_frame import DATA_OCTETS_MAX, TcFrame
from flight.link.tm_tc_stack import LinkConfig
from ground.link.actions import Acknowledged, Action, Alert, Lost, Rejected, SendCltu
from ground.link.ground_link import Service, SessionCounters


@dataclass(slots=True, eq=False)
class _Command:
    """A command that has not ended. Compared by identity: two commands may have the same octets."""

    packet: bytes
    tag: object
    dropped: bool = False


class AdService:
    """Sends commands over one TM and TC link, in order and once each, and knows what became of them."""

    def __init__(self, config: LinkConfig, counters: SessionCounters) -> None:
        self.config = config
        self.counters = counters
        self.service = Service.IDLE
        self.clcw: Clcw | None = None
        self._last_ocf = b""
        self._fop = Fop(
            config.spacecraft_id,
            config.tc_vcid,
            config.fop_window,
            int((config.t1_s + 2 * config.light_time_s) * NS),
            config.transmission_limit,
        )
        # Every command that is neither acknowledged nor rejected nor lost, by its tag. Of these the first are with
        # FOP-1 or undecided (with the number they went out under), the others wait.
        self._commands: dict[object, _Command] = {}
        self._undecided: deque[tuple[int, _Command]] = deque()
        self._waiting: deque[_Command] = deque()
        self._recoveries = 0  # in a row, without an acknowledgement between them
        self._uplink_free_ns = 0  # when the transmitter has sent everything so far
        self._in_flight_ns = 0  # until when a numbered frame may still arrive

    # What the node's frames tell

    def on_ocf(self, ocf: bytes, now_ns: int, actions: list[Action]) -> None:
        """Take the CLCW that a frame brought."""
        if ocf == self._last_ocf and self._is_quiet():
            self.counters.clcws += 1
            return
        try:
            clcw = Clcw.decode(ocf)
        except DecodeError:
            self.counters.clcws_invalid += 1
            return
        if clcw.vcid != self.config.tc_vcid:
            return
        self.counters.clcws += 1
        self.clcw = clcw
        self._last_ocf = ocf
        if self.service is Service.AWAIT_CLCW:
            self._begin(clcw, now_ns, actions)
        elif self.service is Service.RECOVERING and self._has_moved(clcw):
            self._restart(clcw, now_ns, actions)
        elif self.service is not Service.IDLE:
            self._perform(self._fop.on_clcw(clcw, now_ns), now_ns, actions)
        self._pump(now_ns, actions)

    def _is_quiet(self) -> bool:
        """Return whether the CLCW we have, if it comes once more, is E1 or E5 in S1, that is, changes nothing.

        Nearly every frame brings such a one, so it is not even decoded.
        """
        clcw, fop = self.clcw, self._fop
        return (
            clcw is not None
            and self.service is Service.UP
            and fop.state is FopState.ACTIVE
            and clcw.report_value == fop.nnr
            and not (clcw.lockout or clcw.wait or clcw.retransmit)
        )

    # Up

    def on_restart(self, now_ns: int, actions: list[Action]) -> None:
        """Give up what is undecided: V(R) was lost with the node's memory, and nothing can be known any more."""
        self._end_service(now_ns, actions)
        for _, command in self._undecided:
            self._lose(command.tag, "the node was restarted", actions)
        self._undecided.clear()
        if self.service is not Service.IDLE:
            self.service = Service.AWAIT_CLCW

    # What the station asks for

    @property
    def next_time_ns(self) -> int | None:
        """When `on_time` wants to be called, None if there is nothing to wait for."""
        return self._fop.timer_ns

    @property
    def waiting(self) -> int:
        """Commands that are neither acknowledged nor rejected nor lost."""
        return len(self._commands)

    def on_time(self, now_ns: int) -> list[Action]:
        """Let T1 run out if it is due."""
        actions: list[Action] = []
        self._perform(self._fop.on_time(now_ns), now_ns, actions)
        self._pump(now_ns, actions)
        return actions

    def send(self, packet: bytes, now_ns: int, tag: object) -> list[Action]:
        """Send by the AD service: in order, once. The command waits while there is no CLCW or the window is full.

        `tag` stands for the command in what comes of it: hashable, another for each command.
        """
        assert tag not in self._commands, tag
        actions: list[Action] = []
        if self._refuse_size(packet, tag, actions):
            return actions
        if self.waiting >= self.config.command_queue:
            self._reject(tag, f"{self.waiting} telecommands are waiting, the queue holds no more", actions)
            return actions
        self.counters.commands += 1
        command = self._commands[tag] = _Command(packet, tag)
        self._waiting.append(command)
        self._pump(now_ns, actions)
        return actions

    def drop(self, tag: object, reason: str) -> list[Action]:
        """Give this one command up; see the head of the file.

        It is Rejected at once, with `reason`, if it was never sent. Else it ends as Rejected if it turns out that V(R)
        did not pass it, or as Acknowledged, or Lost.
        """
        actions: list[Action] = []
        command = self._commands.get(tag)
        if command is None:
            return actions
        if command in self._waiting:
            self._waiting.remove(command)
            self._reject(tag, reason, actions)
        else:
            command.dropped = True
        return actions

    def send_bypass(self, packet: bytes, now_ns: int, tag: object) -> list[Action]:
        """Send by the BD service: now, unnumbered, in any state. The link never tells whether it arrived."""
        actions: list[Action] = []
        if not self._refuse_size(packet, tag, actions):
            self.counters.commands += 1
            self.counters.bypass += 1
            self._transmit(self._fop.bypass(packet).frame, now_ns, actions)
        return actions

    def initiate(self, now_ns: int) -> list[Action]:
        """Bring the AD service up with the next CLCW: Unlock as needed, V(S) from N(R).

        A service that is up is ended first; no command is lost.
        """
        actions: list[Action] = []
        self._end_service(now_ns, actions)
        self._recoveries = 0
        self.service = Service.AWAIT_CLCW
        return actions

    def reset(self, now_ns: int) -> list[Action]:
        """End the pass: timers stop, every command stays."""
        actions: list[Action] = []
        self._end_service(now_ns, actions)
        self.service = Service.IDLE
        return actions

    # The service

    def _has_moved(self, clcw: Clcw) -> bool:
        clean = not (clcw.lockout or clcw.retransmit or clcw.wait)
        return clean and clcw.report_value != self._fop.vs

    def _begin(self, clcw: Clcw, now_ns: int, actions: list[Action]) -> None:
        fop = self._fop
        self.service = Service.RECOVERING
        fop.set_vs(clcw.report_value)
        if clcw.lockout or clcw.retransmit or clcw.wait:
            self._perform(fop.initiate_with_unlock(now_ns), now_ns, actions)
        else:
            # This very CLCW is the check that the standard asks for: V(S) was just taken from it.
            self._perform(fop.initiate_with_clcw(now_ns), now_ns, actions)
            self._perform(fop.on_clcw(clcw, now_ns), now_ns, actions)

    def _restart(self, clcw: Clcw, now_ns: int, actions: list[Action]) -> None:
        self._end_service(now_ns, actions)
        self._begin(clcw, now_ns, actions)

    def _end_service(self, now_ns: int, actions: list[Action]) -> None:
        """Terminate without an alert: we asked for it."""
        for step in self._fop.terminate():
            if not isinstance(step, FopAlert):
                self._perform([step], now_ns, actions)

    def _decide(self, report_value: int, now_ns: int, actions: list[Action]) -> None:
        """Settle the commands that were sent when the service ended, by the N(R) with which it comes up."""
        if not self._undecided:
            return
        first = self._undecided[0][0]
        passed = (report_value - first) % 256
        known = passed <= len(self._undecided)  # else V(R) is outside of what these commands can have made of it
        in_flight = now_ns < self._in_flight_ns
        again: list[_Command] = []
        for index, (_, command) in enumerate(self._undecided):
            if not known:
                # V(R) begins at 0 after a restart. Nobody on this ground has sent since, so any other is another's.
                why = (
                    "another ground commands the node"
                    if report_value
                    else "the node restarted, or another ground commands it"
                )
                last = (first + len(self._undecided)) % 256
                text = f"{why} (V(R) is {report_value}, should be {first} to {last})"
                self._lose(command.tag, text, actions)
            elif index < passed:
                self._acknowledge(command.tag, actions)
            elif command.dropped and not in_flight:
                self._reject(command.tag, "sent, but it never arrived, and was given up", actions)
            else:
                again.append(command)
        self._undecided.clear()
        self._waiting.extendleft(reversed(again))  # in front of those that were never sent, in the old order

    def _pump(self, now_ns: int, actions: list[Action]) -> None:
        """Give FOP-1 what it sends at once; what it would only keep can still be dropped here."""
        fop = self._fop
        sending = self.service is Service.UP and fop.state in (FopState.ACTIVE, FopState.RETRANSMIT)
        while sending and self._waiting and fop.outstanding < fop.window:
            command = self._waiting.popleft()
            self._perform(fop.send(command.packet, command, now_ns), now_ns, actions)
        self.counters.retransmissions = fop.retransmitted

    def _perform(self, steps: list[FopAction], now_ns: int, actions: list[Action]) -> None:
        """Do what FOP-1 asks for, in order; what concerns the caller becomes one of `actions`."""
        for step in steps:
            match step:
                case Transmit(frame):
                    self._transmit(frame, now_ns, actions)
                case Confirmed(tag):
                    assert isinstance(tag, _Command)
                    self._recoveries = 0  # the link works
                    self._acknowledge(tag.tag, actions)
                case Unconfirmed(tag, seq):
                    assert isinstance(tag, _Command)
                    self._undecided.append((seq, tag))
                case Initiated():
                    self._decide(self._fop.vs, now_ns, actions)
                    self.service = Service.UP
                case FopAlert(reason):
                    self._on_alert(reason, actions)
        self.counters.retransmissions = self._fop.retransmitted

    def _on_alert(self, reason: str, actions: list[Action]) -> None:
        self.counters.alerts += 1
        if self._recoveries < self.config.recoveries:
            self._recoveries += 1
            self.service = Service.AWAIT_CLCW
            actions.append(Alert(f"FOP-1 alert {reason}; AD service restarts with the next CLCW"))
            return
        self.service = Service.IDLE
        text = f"restarts in a row: {self._recoveries}, telecommands that wait for `initiate`: {self.waiting}"
        actions.append(Alert(f"FOP-1 alert {reason}; AD service given up ({text})"))

    def _transmit(self, frame: TcFrame, now_ns: int, actions: list[Action]) -> None:
        octets = encode_cltu(frame.encode(), randomized=self.config.tc_randomizer)
        self.counters.cltus += 1
        # The caller queues units at once, the transmitter sends them one behind the other: T1 counts from the real end.
        sending_ns = int(len(octets) * 8 * NS / self.config.uplink_rate_bps)
        self._uplink_free_ns = max(self._uplink_free_ns, now_ns) + sending_ns
        self._fop.hold_timer(self._uplink_free_ns)
        if not frame.bypass:
            # As long as T1 waits for it, the frame may still arrive after a CLCW that does not know of it.
            self._in_flight_ns = self._uplink_free_ns + self._fop.t1_ns
        actions.append(SendCltu(octets))

    def _refuse_size(self, packet: bytes, tag: object, actions: list[Action]) -> bool:
        if 1 <= len(packet) <= DATA_OCTETS_MAX:
            return False
        self._reject(
            tag, f"telecommand of {len(packet)} octets, should be 1..{DATA_OCTETS_MAX} to fit a frame", actions
        )
        return True

    def _acknowledge(self, tag: object, actions: list[Action]) -> None:
        del self._commands[tag]
        self.counters.acknowledged += 1
        actions.append(Acknowledged(tag))

    def _reject(self, tag: object, reason: str, actions: list[Action]) -> None:
        self._commands.pop(tag, None)
        self.counters.rejected += 1
        actions.append(Rejected(tag, reason))

    def _lose(self, tag: object, reason: str, actions: list[Action]) -> None:
        del self._commands[tag]
        self.counters.lost += 1
        actions.append(Lost(tag, f"sent, and nobody knows whether it was executed: {reason}"))
