"""The ground's end of a link of kind "aos", sans-IO: the mirror of flight.link.aos_stack. It receives only.

Down: units, decoded -> AOS frames (length, error control, ids, repetition checked) -> packets and gaps. A channel's
count has 24 bits and there is no master count, so a channel's own count must tell what is late and what is new:

    the count expected                             taken
    behind it by up to LATE_FRAMES_MAX, at once    rejected as "repeated": late, or received twice
    behind it by more, or after LATE_NS_MAX        the node was restarted: all channels begin again
    ahead of it                                    so many frames were missed

"Behind" is the nearer half of the count's range: 8 million frames are not lost unseen between two of one channel.
"""

# Every channel of a restarted node counts from 0, so the first frame of any of them shows the restart, and all begin
# again with it: the next frame of another channel would look like a restart of its own. A restart within LATE_NS_MAX
# and LATE_FRAMES_MAX of the last frame heard is taken for repetition (ADR 0028): its first frames are refused, until
# the count passes the old one or the time is over.
#
# What is asked of the way up is refused with one reason, instead of raising: the station treats all links alike.

from __future__ import annotations

from flight.link.aos_stack import AosConfig
from flight.link.security.link_security import LinkSecurity, SecurityError
from flight.link.tc.directives import Directive, FopRefusal
from flight.link.tm.aos_frame import VC_COUNTS, VC_IDLE, AosFrame, spacecraft_of
from flight.link.tm.extract import VcExtractor
from flight.link.tm.tm_frame import FrameError
from ground.link.actions import (
    Action,
    Alert,
    Rejected,
    Restarted,
)
from ground.link.frame_receiver import FrameReceiver
from ground.link.ground_link import LATE_FRAMES_MAX, LATE_NS_MAX, Service

REFUSAL = 'nothing can be sent over a link of kind "aos": it has no way up'


class AosSession(FrameReceiver):
    """One simplex AOS link, seen from the ground (ground.link.ground_link.GroundLink)."""

    service = Service.IDLE
    refusal = REFUSAL
    waiting = 0
    command_queue = 0
    room_octets = 0
    next_time_ns: int | None = None

    def __init__(self, config: AosConfig, security: LinkSecurity | None = None, index: int = 0) -> None:
        super().__init__(config, VC_IDLE, spacecraft_of, security, index)
        self.config = config
        self.extractors = {vcid: VcExtractor(VC_COUNTS) for vcid in self.vcids}
        self._format = config.frame_format
        self._last_frame_ns: dict[int, int] = {}

    # Down

    def _on_frame(self, raw: bytes, now_ns: int, actions: list[Action]) -> None:
        try:
            frame = AosFrame.decode(raw, self._format, self._unseal)
        except (FrameError, SecurityError) as error:
            self._reject_frame(error.reason, actions)
            return
        extractor = self.extractors.get(frame.vcid)
        if frame.spacecraft_id != self.config.spacecraft_id:
            self._reject_frame("spacecraft", actions)
        elif extractor is None:
            self._reject_frame("vcid", actions)
        elif self._is_late(frame, extractor, now_ns):
            self._reject_frame("repeated", actions)
        else:
            if extractor.gap(frame) > VC_COUNTS // 2:  # ahead by more than half is behind
                self._on_restart(actions)
            self._accept(frame, raw, extractor, now_ns, actions)

    def _is_late(self, frame: AosFrame, extractor: VcExtractor, now_ns: int) -> bool:
        last_ns = self._last_frame_ns.get(frame.vcid)
        behind = VC_COUNTS - extractor.gap(frame)
        return last_ns is not None and now_ns - last_ns <= LATE_NS_MAX and behind <= LATE_FRAMES_MAX

    def _accept(self, frame: AosFrame, raw: bytes, extractor: VcExtractor, now_ns: int, actions: list[Action]) -> None:
        self._last_frame_ns[frame.vcid] = now_ns
        self._enter(frame, raw, frame.vc_count, extractor.take(frame), actions)

    def _on_restart(self, actions: list[Action]) -> None:
        self.counters.restarts += 1
        self._last_frame_ns.clear()
        for extractor in self.extractors.values():
            extractor.restart()
        actions.append(Restarted())

    # Up: there is none

    def on_time(self, _now_ns: int) -> list[Action]:
        """Do nothing: there is no timer."""
        return []

    def send(self, _packet: bytes, _now_ns: int, tag: object) -> list[Action]:
        """Refuse it: nothing can be sent."""
        self.counters.rejected += 1
        return [Rejected(tag, REFUSAL)]

    def send_bypass(self, packet: bytes, now_ns: int, tag: object) -> list[Action]:
        """Refuse it: nothing can be sent."""
        return self.send(packet, now_ns, tag)

    def drop(self, _tag: object, _reason: str) -> list[Action]:
        """Do nothing: no command is ever waiting."""
        return []

    def initiate(self, _now_ns: int) -> list[Action]:
        """Refuse it: there is no AD service to bring up."""
        return [Alert(REFUSAL)]

    def direct(self, _directive: Directive, _now_ns: int) -> list[Action]:
        """Refuse it: there is no AD service."""
        raise FopRefusal(REFUSAL)

    def auto(self, _now_ns: int) -> list[Action]:
        """Refuse it: there is no AD service."""
        raise FopRefusal(REFUSAL)

    def status(self, _now_ns: int) -> dict[str, object]:
        """Return nothing: there is no way up."""
        return {}

    def resume(self, _now_ns: int) -> list[Action]:
        """Do nothing: frames are taken whenever they come."""
        return []

    def reset(self, now_ns: int) -> list[Action]:
        """End the contact: take a unit that only waited for the next, forget one that is half received."""
        actions: list[Action] = []
        self._finish(now_ns, actions)
        return actions
