"""Commands through FOP-1 into CLTUs: what the AD service stands on, whoever leads it.

send, send_bypass -> command queue -> FOP-1 -> `_transmit` -> CLTU. What FOP-1 asks for is done in its order; what it
tells of the service goes to `_on_initiated`, `_on_confirmed` and `_on_end`.
"""

# The lower procedures of FOP-1 are here: each Transmit is answered at once by `_transmit`, or later by whoever has held
# the frame. Every method that may make FOP-1 send something ends with `_finish`, which gives it further parts as long
# as it sends them at once, and puts the frames of the call into CLTUs.

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence

from flight.core.nanoseconds import NS
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
from flight.link.tc.tc_frame import FrameKind, TcFrame
from flight.link.tm_tc_stack import LinkConfig
from ground.link.actions import Action, SendCltu
from ground.link.cop1.cltu_sender import CltuSender
from ground.link.cop1.command_queue import CommandQueue, Part
from ground.link.cop1.control_proof import ControlProof
from ground.link.ground_link import Service, SessionCounters

_SERVICES = {
    FopState.INITIAL: Service.IDLE,
    FopState.INITIALIZING: Service.RECOVERING,
    FopState.INITIALIZING_BC: Service.RECOVERING,
}


class FrameFlow(ABC):
    """The base of ground.link.ad_service.AdService. security_octets: what link security takes of each data field."""

    def __init__(self, config: LinkConfig, counters: SessionCounters, security_octets: int) -> None:
        self.config = config
        self.counters = counters
        self.service = Service.IDLE
        self.manual = False
        self._fop = _fop_of(config)
        self._queue = CommandQueue(config, counters, security_octets)
        self._proof = ControlProof()
        self._sender = CltuSender(config)
        self._frames_sent = 0

    @abstractmethod
    def _transmit(self, frame: TcFrame, tag: object, now_ns: int, actions: list[Action]) -> list[FopAction]:
        """Send one frame; return what FOP-1 says to its being taken."""

    @abstractmethod
    def _on_initiated(self, now_ns: int, actions: list[Action]) -> None:
        """Take in that the AD service is up."""

    @abstractmethod
    def _on_confirmed(self) -> None:
        """Take in that a frame was acknowledged."""

    @abstractmethod
    def _on_end(self, what: str, now_ns: int, actions: list[Action]) -> None:
        """Take in that FOP-1 ended the service, or suspended it."""

    @property
    def next_time_ns(self) -> int | None:
        """When `on_time` wants to be called, None if there is nothing to wait for."""
        return self._fop.timer_ns

    @property
    def waiting(self) -> int:
        """Commands that are neither acknowledged nor rejected nor lost."""
        return len(self._queue)

    @property
    def room_octets(self) -> int:
        """Octets of a packet that fit one frame."""
        return self._queue.room_octets

    def on_time(self, now_ns: int) -> list[Action]:
        """Let T1 run out if it is due."""
        actions: list[Action] = []
        self._perform(self._fop.on_time(now_ns), now_ns, actions)
        self._finish(now_ns, actions)
        return actions

    def send(self, packet: bytes, now_ns: int, tag: object) -> list[Action]:
        """Send by the AD service: in order, once. The command waits while there is no CLCW or the window is full.

        `tag` stands for the command in what comes of it: hashable, another for each command.
        """
        actions: list[Action] = []
        if self._queue.add(packet, tag, actions):
            self._finish(now_ns, actions)
        return actions

    def drop(self, tag: object, reason: str) -> list[Action]:
        """Give this one command up; see the head of command_queue.py.

        It is Rejected at once, with `reason`, if it was never sent. Else it ends as Rejected if it turns out that V(R)
        did not pass it, or as Acknowledged, or Lost.
        """
        actions: list[Action] = []
        self._queue.drop(tag, reason, actions)
        return actions

    def send_bypass(self, packet: bytes, now_ns: int, tag: object) -> list[Action]:
        """Send by the BD service: now, unnumbered, in any state. The link never tells whether it arrived."""
        actions: list[Action] = []
        data = self._queue.bypass(packet, tag, self._fop.out_ready[FrameKind.BD], actions)
        if data is not None:
            self._perform([self._fop.bypass(data)], now_ns, actions)
            self._finish(now_ns, actions)
        return actions

    def _finish(self, now_ns: int, actions: list[Action]) -> None:
        """Give FOP-1 what it sends at once, and send what it gave out. What it would only keep can still be dropped."""
        fop = self._fop
        if self.manual:
            self.service = _SERVICES.get(fop.state, Service.UP)
        while (
            self.service is Service.UP
            and fop.state in (FopState.ACTIVE, FopState.RETRANSMIT)
            and fop.ready
            and fop.outstanding < fop.window
            and (part := self._queue.next_part()) is not None
        ):
            self._perform(fop.send(part.data, part, now_ns), now_ns, actions)
        self.counters.retransmissions = fop.retransmitted
        self._flush(now_ns, actions)

    def _perform(self, steps: Sequence[FopAction], now_ns: int, actions: list[Action]) -> None:
        """Do what FOP-1 asks for, in order; what concerns the caller becomes one of `actions`."""
        todo = deque(steps)
        while todo:
            match todo.popleft():
                case Transmit(frame, tag):
                    todo += self._transmit(frame, tag, now_ns, actions)
                case Confirmed(tag):
                    assert isinstance(tag, Part)
                    self._on_confirmed()
                    self._proof.on_sequence_taken(tag.command.place)
                    self._queue.confirm(tag, actions)
                case Unconfirmed(tag, number):
                    assert isinstance(tag, Part)
                    self._queue.give_back(tag, number)
                case Unsent(tag):
                    assert isinstance(tag, Part)
                    self._queue.give_back(tag, None)
                case Initiated():
                    self._on_initiated(now_ns, actions)
                case FopAlert(reason):
                    self._on_end(f"FOP-1 alert {reason}", now_ns, actions)
                case Suspended():
                    self._on_end("FOP-1 suspended", now_ns, actions)

    def _flush(self, now_ns: int, actions: list[Action]) -> None:
        """Send the frames that were collected."""
        cltu = self._sender.take(now_ns, self._fop.t1_ns)
        if cltu:
            self.counters.cltus += 1
            self._fop.hold_timer(self._sender.free_ns)
            actions.append(SendCltu(cltu))


def _fop_of(config: LinkConfig) -> Fop:
    return Fop(
        config.spacecraft_id,
        config.tc_vcid,
        config.fop_window,
        int((config.t1_s + 2 * config.light_time_s) * NS),
        config.transmission_limit,
        window_max=config.farm_window // 2,
    )
