"""The ground's end of a soak: the real session, its contact, its transmitter, and an operator with a list of commands.

It is off, then up from `start` to `go_down`, as often as it is restarted.
"""

# What the station does around a session (ground/station.py), without archive and dictionary: contact begins with a good
# frame and ends by silence, or as the antenna knows that the pass is over; an alert that leaves the service idle is
# tried again; one timer stands at the earliest time that the session or the contact asks for.
#
# The operator gives a command when its time has come and the session has fewer than two windows of them; before that it
# waits in the list. So the window is always full, and a ground that stops does not take hundreds of commands with it.
#
# Link security. The session's records are stored in the background (ends.py). Until that is done frames wait in the
# session, on their way up and down; a contact that ends meanwhile ends behind them. Beside a restart of the node a
# frame security report may make the numbers skip ahead, which the session tells as an alert that ends nothing: it needs
# a report that says that a number was too low, and there is a bound on how often a contact sees it. The first frame of
# a contact may bring a report before the contact has begun, so the bound is one more than the session's own.
#
# What goes up, and why, is told by transmissions.py.
#
# A ground that stops forgets its commands. Those that its session had end as lost: nobody can know what arrived.

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import fields

from flight.core.nanoseconds import ns
from flight.link.actions import PacketReceived, StoreSecurity, UnitRejected
from flight.link.security.link_security import SKIPS_PER_CONTACT
from flight.link.tm_tc_stack import LinkConfig
from ground.link.actions import (
    Acknowledged,
    Action,
    Alert,
    FrameGap,
    FrameReceived,
    Lost,
    Rejected,
    Restarted,
    SendCltu,
)
from ground.link.ground_link import Service
from ground.link.reception import Reception
from ground.link.tm_tc_session import GroundSession
from sim_hw.machine.air import Air
from sim_hw.machine.loop import Call, VirtualLoop
from sim_hw.soak.commands import CommandList, State
from sim_hw.soak.downlink_ledger import DownlinkLedger
from sim_hw.soak.ends import SecurityEnd, open_ground_end
from sim_hw.soak.findings import Findings
from sim_hw.soak.transmissions import Transmissions
from sim_hw.soak.uplink_ledger import UpFrame, UplinkLedger

SILENCE_S = 5.0  # as in ground/station.py
RETRY_S = 10.0
_SKIP_TEXT = "numbers skip ahead"


def session_counts(session: GroundSession) -> dict[str, int]:
    """Return every counter of one session by name; of refusals as "rejected: REASON", of the decoder with a dot."""
    counters = session.counters
    counts = {f.name: getattr(counters, f.name) for f in fields(counters) if f.name != "frames_rejected"}
    counts |= {f"rejected: {reason}": count for reason, count in counters.frames_rejected.items()}
    if session.decoder is not None:
        decoder = session.decoder.counters
        counts |= {f"decoder.{f.name}": getattr(decoder, f.name) for f in fields(decoder)}
    return counts


class GroundEnd:
    """The ground as its link sees it. `alerts` counts them by reason.

    `skips` are those that a report caused, `skips_on_restart` those of restarts. `on_frame` is told of each frame that
    goes up.
    """

    LOST_WITH_GROUND = "the ground was restarted"

    def __init__(
        self, config: LinkConfig, air: Air, loop: VirtualLoop, *, security: SecurityEnd, commands: CommandList,
        up: UplinkLedger, down: DownlinkLedger, findings: Findings,
    ) -> None:  # fmt: skip
        self.session: GroundSession | None = None
        self.lives = 0
        self.totals: Counter[str] = Counter()
        self.alerts: Counter[str] = Counter()
        self.gaps = self.skips = 0
        self.security = security
        self.on_frame: Callable[[UpFrame, bytes], None] = lambda _up, _frame: None
        self._skips_in_contact = 0
        self._ending = False  # the contact is over as soon as what waits is through
        self._config = config
        self._given_max = min(2 * config.fop_window, config.command_queue)
        self._air = air
        self._loop = loop
        self._commands = commands
        self._up = up
        self._down = down
        self._findings = findings
        self._reception: Reception | None = None
        self._timer: Call | None = None
        self._timer_ns = 0
        self._retry_ns: int | None = None
        self._next = 0  # the operator's place in the list
        self._transmissions = Transmissions(config, commands, up, down, findings)
        security.on_stored = self._on_stored
        air.on_downlink = self._on_downlink
        air.on_contact = self._on_contact

    @property
    def causes(self) -> Counter[str]:
        """Retransmissions by cause."""
        return self._transmissions.causes

    @property
    def in_contact(self) -> bool:
        """Whether the node is heard."""
        return self._reception is not None and self._reception.in_contact

    def start(self) -> None:
        """Begin a life."""
        assert self.session is None, "already up"
        self.session = open_ground_end(self._config, self.security.boot())
        self._reception = Reception(self.session, ns(SILENCE_S))
        self.lives += 1
        self._transmissions.begin_life()
        if self.lives > 1:
            self._down.ground_came_up(self.security.floor)
        self._loop.call_at(self._loop.now_ns(), self._operate)

    def go_down(self) -> None:
        """Stop at once, as a process that is killed."""
        self._close_life()
        self.security.go_down()
        self._up.rebooted = True
        for serial in list(self._commands.open):
            self._commands.end(serial, State.LOST, self.LOST_WITH_GROUND)
        self._down.ground_went_down()

    def finish(self) -> None:
        """End the run: count what is left."""
        if self.session is not None:
            self._close_life()

    def _close_life(self) -> None:
        assert self.session is not None, "already down"
        self.totals.update(session_counts(self.session))
        self.totals.update(self.security.counts())
        self._ending = False
        self.session = self._reception = self._retry_ns = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What comes in

    def _on_downlink(self, octets: bytes) -> None:
        session = self.session
        if session is None:
            return
        self._down.on_heard(octets)
        self._perform(session.on_downlink(octets, self._loop.now_ns()), timed=False)
        self._down.after_heard(storing=self._storing)
        self._operate()

    @property
    def _storing(self) -> bool:
        """Whether frames may wait in the session for a record to be stored."""
        return self.security.in_flight > 0

    def _on_stored(self) -> None:
        """Go on with what waited."""
        if self.session is None:
            return
        self._perform(self.session.on_stored(self._loop.now_ns()), timed=False)
        self._down.after_heard(storing=self._storing)
        if self._ending:
            self._end_contact()
        self._operate()

    def _on_contact(self, station: str | None) -> None:
        if station is None and self.session is not None:
            self._end_contact()
            self._operate()

    def _end_contact(self) -> None:
        assert self.session is not None, "off"
        assert self._reception is not None, "off"
        self._ending = self._storing
        if self._ending:
            return
        if self._reception.in_contact:
            self._reception.in_contact = False
            self._perform(self.session.reset(self._loop.now_ns()), timed=False)
            self._transmissions.begin_period()
        self._down.decoder_reset()

    def _on_time(self) -> None:
        self._timer = None
        session, reception, now_ns = self.session, self._reception, self._loop.now_ns()
        if session is None or reception is None:
            return
        self._perform(session.on_time(now_ns), timed=True)
        if reception.is_silent(now_ns):
            self._end_contact()
        if self._retry_ns is not None and now_ns >= self._retry_ns:
            self._retry_ns = None
            if reception.in_contact and session.service is Service.IDLE:
                self._transmissions.begin_period()
                self._skips_in_contact = 0
                self._perform(session.initiate(now_ns), timed=False)
        self._operate()

    def _operate(self) -> None:
        """Give the session the commands that are due and that it has room for, then set the one timer."""
        session, now_ns = self.session, self._loop.now_ns()
        if session is None:
            return
        commands = self._commands.commands
        while (
            self._next < len(commands) and commands[self._next].asked_ns <= now_ns and session.waiting < self._given_max
        ):
            command = self._commands.give(self._next)
            self._next += 1
            self._perform(session.send(command.packet, now_ns, command.serial), timed=False)
        self._arm()

    def _arm(self) -> None:
        session, reception = self.session, self._reception
        assert session is not None, "off"
        assert reception is not None, "off"
        times = [session.next_time_ns, reception.next_time_ns, self._retry_ns]
        if self._next < len(self._commands.commands) and session.waiting < self._given_max:
            times.append(self._commands.commands[self._next].asked_ns)
        next_ns = min((t for t in times if t is not None), default=None)
        if next_ns is None or (self._timer is not None and self._timer_ns <= next_ns):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = max(next_ns, self._loop.now_ns() + 1)
        self._timer = self._loop.call_at(self._timer_ns, self._on_time)

    # Actions of the session

    def _perform(self, actions: list[Action], *, timed: bool) -> None:
        """Do what the session asks for. timed: a timer ran out, and no frame led to it."""
        explained = False  # the frames of one retransmission have one cause, that of the oldest
        for action in actions:
            match action:
                case SendCltu(octets):
                    explained = self._send(octets, timed=timed, explained=explained)
                case FrameReceived():
                    self._on_frame(action)
                case PacketReceived(_, packet):
                    self._down.on_packet(packet)
                case FrameGap(_, frames):
                    self.gaps += frames
                    self._down.counts.on_gap(frames)
                case UnitRejected(reason):
                    self._down.on_rejected(reason)
                case Restarted():
                    self._down.counts.on_restarted()
                    self._transmissions.begin_period()
                case Acknowledged() | Rejected() | Lost():
                    self._on_command_end(action)
                case Alert(reason):
                    self._on_alert(reason)
                case StoreSecurity():
                    self.security.store(action)
                case _:
                    raise AssertionError(f"nothing here answers to {action}")

    def _on_frame(self, received: FrameReceived) -> None:
        assert self.session is not None, "off"
        assert self._reception is not None, "off"
        vcid = received.frame.vcid
        self._down.on_frame(received.raw, vcid, idle=vcid == self._config.vc_idle)
        now_ns = self._loop.now_ns()
        if self._reception.heard(now_ns):
            self._transmissions.begin_period()
            self._skips_in_contact = 0
            self._perform(self.session.resume(now_ns), timed=False)

    def _on_command_end(self, action: Acknowledged | Rejected | Lost) -> None:
        match action:
            case Acknowledged(tag):
                self._transmissions.acknowledged(tag)
                self._commands.end(tag, State.ACKNOWLEDGED)
            case Rejected(tag, reason):
                self._commands.end(tag, State.REJECTED, reason)
            case Lost(tag, reason):
                self._commands.end(tag, State.LOST, reason)

    def _on_skip(self, text: str) -> None:
        """Note that the session skips numbers because of a report."""
        self.skips += 1
        self._skips_in_contact += 1
        report = self._down.words.report
        if report is None or not report.bad_number:
            self._findings.add(f"nothing explains this: {text}, the newest report is {report}")
        if self._skips_in_contact > SKIPS_PER_CONTACT + 1:
            self._findings.add(f"reports made numbers skip {self._skips_in_contact} times in a contact")

    def _on_alert(self, text: str) -> None:
        assert self.session is not None, "off"
        if text.endswith(_SKIP_TEXT):
            self._on_skip(text)
            return
        words = text.split()
        at = words.index("alert") + 1 if "alert" in words else len(words)
        reason = words[at].rstrip(";") if at < len(words) else text
        self.alerts[reason] += 1
        if not self._transmissions.cause_of_end():
            self._findings.add(f"nothing explains this alert: {text}")
        if self.session.service is Service.IDLE:
            self._retry_ns = self._loop.now_ns() + ns(RETRY_S)
        self._transmissions.begin_period()

    def _send(self, octets: bytes, *, timed: bool, explained: bool) -> bool:
        """Hand a CLTU to the transmitter; return whether a retransmission now has its cause."""
        cltu, kinds, frames, explained = self._transmissions.enter(octets, timed=timed, explained=explained)
        self._up.sent(cltu, kinds, taken=self._air.uplink(octets))
        for up, frame in zip(cltu.frames, frames, strict=True):
            self.on_frame(up, frame)
        return explained
