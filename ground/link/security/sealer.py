"""Telecommand frames to octets, protected if the way up is; and what the node reports of the frames that it checks."""

# A frame is protected when it is transmitted, and again whenever it is transmitted again: so each transmission has a
# number of its own, and the node can refuse all that it has seen (ADR 0039).
#
# If no number is left below the stored limit, the frame has to wait, and what is to be stored is an action; on the
# ground that is done at once. If all numbers are used, no frame can be sent until the key is changed.

from __future__ import annotations

from functools import partial

from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS
from flight.link.security.link_security import LinkSecurity, seal_frame, stores_due
from flight.link.security.report import FSR_TYPE_BIT, FrameSecurityReport
from flight.link.segments import SEGMENT_HEADER_OCTETS
from flight.link.tc.tc_frame import TcFrame
from flight.link.tm_tc_stack import LinkConfig
from ground.link.actions import Action, Alert
from ground.link.ground_link import SessionCounters

RESTART_SKIP_NS = NS


class Sealer:
    """Encodes the frames of one link. `overhead_octets` is what protection adds to each."""

    def __init__(
        self, config: LinkConfig, counters: SessionCounters, security: LinkSecurity | None = None, index: int = 0
    ) -> None:
        suite = config.up_suite if security is not None else None
        self.overhead_octets = 0 if suite is None else suite.overhead_octets
        self._counters = counters
        self._security = security if suite is not None else None
        self._index = index
        self._ahead_octets = SEGMENT_HEADER_OCTETS * config.tc_segment_header
        self._last_report = b""
        self._skipped_ns: int | None = None

    @property
    def has_past(self) -> bool:
        """Whether a ground before this one may have sent protected frames that the node has not seen yet."""
        return self._security is not None and self._security.has_past

    def encode(self, frame: TcFrame, actions: list[Action]) -> bytes | None:
        """Return the frame's octets, None if it must wait until what `actions` ask for is stored.

        Raises NumbersExhausted if no number is left for it.
        """
        security = self._security
        if security is None:
            return frame.encode()
        octets = None
        if security.can_protect(self._index):
            seal = partial(seal_frame, security, self._index)
            # Control commands have no segment header.
            octets = frame.encode(seal, self.overhead_octets, 0 if frame.control else self._ahead_octets)
        actions += stores_due(self._security)
        return octets

    # What the node tells

    def is_report(self, ocf: bytes) -> bool:
        """Return whether a control field is for this object: a frame security report, on a protected link."""
        return self._security is not None and bool(ocf[0] & FSR_TYPE_BIT)

    def on_report(self, ocf: bytes, actions: list[Action]) -> None:
        """Take a frame security report: after a reboot of the node our numbers may be too low for it."""
        if self._security is None or ocf == self._last_report:
            return
        try:
            report = FrameSecurityReport.decode(ocf)
        except DecodeError:
            self._counters.reports_invalid += 1
            return
        self._last_report = ocf
        self._counters.reports += 1
        if self._security.heed(self._index, report):
            actions.append(Alert(f"the node has seen number {report.number} of SPI {report.spi}: numbers skip ahead"))
            actions += stores_due(self._security)

    def on_restart(self, now_ns: int, actions: list[Action]) -> None:
        """Go beyond what the node has reserved: since its boot it takes all of that for seen.

        Once in RESTART_SKIP_NS, since each costs a store and anybody can forge restarts on a way down in clear. A node
        that restarts again sooner refuses the frames that come, and its report leads to a skip.
        """
        if self._security is None or (self._skipped_ns is not None and now_ns - self._skipped_ns < RESTART_SKIP_NS):
            return
        self._skipped_ns = now_ns
        self._security.skip(self._index)
        actions += stores_due(self._security)

    def begin_contact(self, actions: list[Action]) -> None:
        """Let reports count again, and try again to store what could not be stored."""
        if self._security is not None:
            self._security.begin_contact(self._index)
            self.store_again(actions)

    def store_again(self, actions: list[Action]) -> None:
        """Store what could not be stored, if anything."""
        if self._security is not None:
            self._security.retry()
            actions += stores_due(self._security)
