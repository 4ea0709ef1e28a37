"""The ground's end of a link of kind "tm-tc", sans-IO: the mirror of flight.link.tm_tc_stack.

Down: units, decoded -> frames (length, error control, ids, repetition checked) -> packets and gaps; the CLCW of each
frame goes to the AD service. Up: ground/link/ad_service.py, telecommand packets -> FOP-1 -> TC frames -> CLTUs.
"""

# Late frames. A path may deliver frames twice or out of order (UDP does). An old CLCW would tell FOP-1 that V(R) went
# back, and end the service. So a frame whose master count lies a little behind the newest, soon after it, is rejected
# as repeated. If it was counted as missing before, it stays so: its packets are lost, unless the node's recorder keeps
# also what went down in contact.
#
# Counts that went all the way round. They have 8 bits: 256 frames lost in a row leave no gap. A packet begun before
# them would then get the end of another one, and a file octets that are not its own. What tells how many frames really
# lack: on a protected link their numbers, at a UDP port the count of what the kernel dropped, and the master count at
# least what it can. If so many are lost since a channel's last frame that its count may be wrong, the packet in hand
# does not go on; and behind such a gap no frame is late. A link in clear over a radio has the master count alone: there
# `cfdp.crc` protects what PDUs carry.
#
# Restarts. The counts of a restarted node begin at 0. Usually that is far from the counts before, and the extractor
# sees it (flight/link/tm/extract.py). If the counts before were just above 0, the first frames of the new life look
# late. Three things tell them apart: their octets did not come before, both counts are near 0, and they come in
# sequence. Two such frames in a row are a restart, and the first, which was rejected, is taken after all. One alone
# proves nothing.
#
# After a restart the CLCW says V(R) = 0. The AD service hears of the restart ahead of that CLCW (the order of the calls
# in `_accept` and `_on_restart`), or it would take the 0 for an answer to what it sent before.

from __future__ import annotations

from collections import deque

from flight.link.security.link_security import LinkSecurity, SecurityError
from flight.link.tc.clcw import Clcw
from flight.link.tc.directives import Directive
from flight.link.tm.extract import PacketExtractor, counts_from_zero
from flight.link.tm.tm_frame import FrameError, TmFormat, TmFrame, spacecraft_of
from flight.link.tm_tc_stack import LinkConfig
from ground.link.actions import Action, Restarted
from ground.link.ad_service import AdService
from ground.link.frame_receiver import FrameReceiver
from ground.link.ground_link import LATE_FRAMES_MAX, LATE_NS_MAX, Service

_LOST_UNCOUNTED = TmFormat.vc_counts - LATE_FRAMES_MAX  # from here on the counts are new again, or look late


class GroundSession(FrameReceiver):
    """One TM and TC link, seen from the ground (ground.link.ground_link.GroundLink)."""

    refusal = ""

    def __init__(self, config: LinkConfig, security: LinkSecurity | None = None, index: int = 0) -> None:
        super().__init__(config, config.vc_idle, spacecraft_of, security, index)
        self.config = config
        self.extractor = PacketExtractor()
        self._last_master: int | None = None
        self._last_frame_ns = 0
        self._recent: deque[bytes] = deque(maxlen=LATE_FRAMES_MAX)
        self._late: tuple[TmFrame, bytes] | None = None
        self._lost_in_all = 0  # frames of all channels
        self._lost_before: dict[int, int] = {}  # the same, at each channel's last frame
        self._ad = AdService(config, self.counters, security, index)

    # Down

    def _on_frame(self, raw: bytes, now_ns: int, actions: list[Action]) -> None:
        config = self.config
        try:
            frame = TmFrame.decode(raw, config.frame_octets, unseal=self._unseal)
        except (FrameError, SecurityError) as error:
            self._reject_frame(error.reason, actions)
            return
        if frame.spacecraft_id != config.spacecraft_id:
            self._reject_frame("spacecraft", actions)
            return
        lost, self._lost = self._lost, 0
        if frame.vcid not in self.vcids:
            self._lost_in_all += max(lost, self.extractor.gap(frame))
            self.extractor.pass_over(frame)  # the master count goes on over it: it is not missed
            self._reject_frame("vcid", actions)
            return
        late, self._late = self._late, None
        is_new = lost >= _LOST_UNCOUNTED and raw not in self._recent
        if not is_new and self._is_late(frame.master_count, now_ns):
            self._on_late(frame, raw, late, now_ns, actions)
            return
        self._lost_in_all += max(lost, self.extractor.gap(frame))
        if self.extractor.is_restart(frame):
            self._on_restart(now_ns, actions)
        self._accept(frame, raw, now_ns, actions)

    def _accept(self, frame: TmFrame, raw: bytes, now_ns: int, actions: list[Action]) -> None:
        self._last_master, self._last_frame_ns = frame.master_count, now_ns
        self._recent.append(raw)
        if self._lost_in_all - self._lost_before.get(frame.vcid, 0) >= _LOST_UNCOUNTED:
            self.extractor.break_off(frame.vcid)
        self._lost_before[frame.vcid] = self._lost_in_all
        self._enter(frame, raw, frame.vc_count, self.extractor.take(frame), actions)
        if frame.ocf is not None:
            self._ad.on_ocf(frame.ocf, now_ns, actions)

    def _is_late(self, master_count: int, now_ns: int) -> bool:
        """Return whether the frame was received before, or newer ones have overtaken it: its CLCW is out of date."""
        last = self._last_master
        fresh = now_ns - self._last_frame_ns <= LATE_NS_MAX
        return last is not None and fresh and (last - master_count) & 0xFF < LATE_FRAMES_MAX

    def _on_late(
        self, frame: TmFrame, raw: bytes, late: tuple[TmFrame, bytes] | None, now_ns: int, actions: list[Action]
    ) -> None:
        """Reject a late frame, unless it and the one before it (`late`) are the first of a restarted node."""
        may_be_restart = raw not in self._recent and counts_from_zero(frame)
        if may_be_restart and late is not None and frame.master_count == late[0].master_count + 1:
            self.counters.frames_rejected["repeated"] -= 1  # the first of the two was not
            self._on_restart(now_ns, actions)
            self._accept(*late, now_ns, actions)
            self._accept(frame, raw, now_ns, actions)
            return
        self._late = (frame, raw) if may_be_restart else None
        self._reject_frame("repeated", actions)

    def _on_restart(self, now_ns: int, actions: list[Action]) -> None:
        self.counters.restarts += 1
        self.extractor.restart()
        self._recent.clear()
        actions.append(Restarted())
        self._ad.on_restart(now_ns, actions)

    # Up: all of it is the AD service's

    @property
    def service(self) -> Service:
        """How far the AD service is."""
        return self._ad.service

    @property
    def clcw(self) -> Clcw | None:
        """The newest CLCW of this link, None before the first."""
        return self._ad.clcw

    @property
    def next_time_ns(self) -> int | None:
        """When `on_time` wants to be called, None if there is nothing to wait for."""
        return self._ad.next_time_ns

    @property
    def waiting(self) -> int:
        """Commands that are neither acknowledged nor rejected nor lost."""
        return self._ad.waiting

    @property
    def command_queue(self) -> int:
        """How many commands may be `waiting` at most."""
        return self.config.command_queue

    def on_stored(self, now_ns: int) -> list[Action]:
        """Go on with the frames that waited for numbers to be stored, on the way up and down."""
        actions: list[Action] = []
        self._ad.on_stored(now_ns, actions)
        return actions + super().on_stored(now_ns)

    @property
    def room_octets(self) -> int:
        """Octets of a telecommand packet that fit one frame."""
        return self._ad.room_octets

    def on_time(self, now_ns: int) -> list[Action]:
        """Let T1 run out if it is due."""
        return self._ad.on_time(now_ns)

    def send(self, packet: bytes, now_ns: int, tag: object) -> list[Action]:
        """Send by the AD service: in order, once (AdService.send)."""
        return self._ad.send(packet, now_ns, tag)

    def send_bypass(self, packet: bytes, now_ns: int, tag: object) -> list[Action]:
        """Send by the BD service: now, unnumbered, in any state. The link never tells whether it arrived."""
        return self._ad.send_bypass(packet, now_ns, tag)

    def drop(self, tag: object, reason: str) -> list[Action]:
        """Give this one command up (AdService.drop)."""
        return self._ad.drop(tag, reason)

    def initiate(self, now_ns: int) -> list[Action]:
        """Bring the AD service up with the next CLCW (AdService.initiate)."""
        return self._ad.initiate(now_ns)

    def direct(self, directive: Directive, now_ns: int) -> list[Action]:
        """Do an operator's directive (AdService.direct); raises FopRefusal if it is refused."""
        return self._ad.direct(directive, now_ns)

    def auto(self, now_ns: int) -> list[Action]:
        """End what an operator has begun by hand, and bring the AD service up (AdService.auto)."""
        return self._ad.auto(now_ns)

    def status(self, now_ns: int) -> dict[str, object]:
        """Return what an operator sees of the way up (ground.link.cop1.link_status)."""
        return self._ad.status(now_ns).document()

    def resume(self, now_ns: int) -> list[Action]:
        """Begin a pass: the AD service comes up with the first CLCW, and the commands that stayed go on."""
        return self._ad.initiate(now_ns)

    def reset(self, now_ns: int) -> list[Action]:
        """End the pass: timers stop (AdService.reset), every command stays.

        A unit that only waited for the next is taken, one that is half received is forgotten.
        """
        actions = self._ad.reset(now_ns)
        # The service rests before the last frames are taken: their CLCWs must not make it send into a pass that is
        # over.
        self._finish(now_ns, actions)
        return actions
