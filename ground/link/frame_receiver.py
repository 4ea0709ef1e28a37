"""The way down of a link, alike for every kind: octets to frames, and a good frame to actions.

The mirror of flight/link/role_downlink.py. Each kind of link says which frames are good, and in what order they are
taken.
"""

# What octets become frames depends on the coding alone, not on the kind of link. A coded stream may be cut anywhere:
# the decoder finds the units. Bare frames have no marker, so a call brings whole ones, such as a datagram; octets that
# are not a multiple of the length are refused together, because nothing tells which of them begin a frame.
#
# On a protected link a frame is unsealed as it is decoded (ADR 0039). A frame of ours that passes is spent. One whose
# number is not yet covered by what stands on storage waits, and all behind it, until `on_stored`.
#
# The order of the actions of a frame is part of the contract: first that it came, then what is missing before it, then
# its packets. So the caller hears of a gap before the packets behind it.

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from flight.core.errors import DecodeError
from flight.link.actions import PacketReceived, UnitRejected
from flight.link.coding.tm_coding import CodeblockBatch, TmDecoder
from flight.link.downlink_config import DownlinkConfig
from flight.link.link import Role
from flight.link.security.link_security import LinkSecurity, stores_due
from flight.link.tm.extract import PacketFrame
from flight.link.tm.tm_frame import FrameError
from ground.link.actions import Action, FrameGap, FrameReceived
from ground.link.ground_link import SessionCounters

# A frame's octets and "", or b"" and the reason for which there is none.
_RawFrame = tuple[bytes, str]
# The same, and how many frames before it were dropped on the way here.
_PendingFrame = tuple[bytes, str, int]


class NumberWaits(DecodeError):
    """The frame's number is not yet covered by what stands on storage: the frame is to be looked at again."""


class FrameReceiver(ABC):
    """The base of the sessions in ground.link.kinds. Each adds its `_on_frame`, and its way up."""

    def __init__(
        self, config: DownlinkConfig, vc_idle: int, spacecraft_of: Callable[[bytes], int],
        security: LinkSecurity | None = None, index: int = 0,
    ) -> None:  # fmt: skip
        """spacecraft_of: returns the spacecraft id in a frame's primary header."""
        self.counters = SessionCounters()
        self.vcids = (*config.channels.values(), vc_idle)
        self.decoder = TmDecoder(config.tm_coding) if config.tm_coding is not None else None
        self._roles = {vcid: role for role, vcid in config.channels.items()}
        self._vc_idle = vc_idle
        self._raw_octets = config.frame_octets
        self._spacecraft_id = config.spacecraft_id
        self._spacecraft_of = spacecraft_of
        self._security = security
        self._index = index
        self._unseal = self._opened if security is not None and config.down_suite is not None else None
        self._pending: deque[_PendingFrame] = deque()
        self._dropped = 0  # frames that were dropped behind the newest that is pending
        self._lost = 0  # frames missed before the one in hand, as far as anything but its counts tells
        self._spi: int | None = None

    def role_of(self, vcid: int) -> Role | None:
        """Return what this virtual channel carries, None for idle frames."""
        return self._roles.get(vcid)

    def on_downlink(self, octets: bytes, now_ns: int, dropped: int = 0) -> list[Action]:
        """Take octets from the radio: one or more whole frames if they go bare, any stretch of the stream if coded.

        dropped: calls that are missing before this one, with as many octets each.
        """
        actions: list[Action] = []
        if dropped:
            self._finish(now_ns, actions)  # of a frame that waited for octets to follow, the drops are behind it
            self._dropped += dropped * max(1, len(octets) // self._raw_octets)
        frames = self._cut(octets) if self.decoder is None else _decoded(self.decoder.feed(octets))
        self._on_frames(frames, now_ns, actions)
        return actions

    def on_stored(self, now_ns: int) -> list[Action]:
        """Go on with what waited for numbers to be stored."""
        actions: list[Action] = []
        self._on_frames((), now_ns, actions)
        return actions

    @abstractmethod
    def _on_frame(self, raw: bytes, now_ns: int, actions: list[Action]) -> None:
        """Look into a frame's octets: enter it, or reject it. Raises NumberWaits."""

    def _opened(self, header: bytes, body: bytes) -> bytes:
        """Return the data of a protected frame. Raises FrameError, SecurityError or NumberWaits."""
        security, index = self._security, self._index
        assert security is not None
        # Before the check: a frame of another spacecraft does not mean that somebody forges ours.
        if self._spacecraft_of(header) != self._spacecraft_id:
            raise FrameError("spacecraft", "frame of another spacecraft")
        checked = security.check(index, header, body)
        if checked.waits:
            raise NumberWaits("the frame's number is not stored yet")
        security.commit(index, checked)
        if checked.spi == self._spi:  # the numbers of another association tell nothing of frames between the two
            self._lost = max(self._lost, checked.skipped)
        self._spi = checked.spi
        return checked.data

    def _finish(self, now_ns: int, actions: list[Action]) -> None:
        """Take units that only waited for octets that might follow; forget one that is half received."""
        if self.decoder is not None:
            self._on_frames(_decoded(self.decoder.finish()), now_ns, actions)

    def _enter(
        self, frame: PacketFrame, raw: bytes, vc_count: int, taken: tuple[int, Sequence[bytes]], actions: list[Action]
    ) -> None:
        """Count a good frame and tell of it. `taken` is what the extractor returned: frames missed, and packets."""
        counters, vcid, (missed, packets) = self.counters, frame.vcid, taken
        counters.frames += 1
        counters.idle_frames += vcid == self._vc_idle
        live = self._roles.get(vcid) is Role.REALTIME
        actions.append(FrameReceived(frame, raw, vc_count & 0xFF if live else None))
        if missed:
            counters.frames_missed += missed
            actions.append(FrameGap(vcid, missed))
        counters.packets += len(packets)
        actions += [PacketReceived(vcid, packet) for packet in packets]

    def _reject_frame(self, reason: str, actions: list[Action]) -> None:
        self.counters.frames_rejected[reason] += 1
        actions.append(UnitRejected(reason))

    def _on_frames(self, frames: Iterable[_RawFrame], now_ns: int, actions: list[Action]) -> None:
        pending = self._pending
        for raw, reason in frames:
            pending.append((raw, reason, self._dropped))
            self._dropped = 0
        while pending:
            raw, reason, dropped = pending[0]
            if dropped:
                self._lost += dropped
                pending[0] = raw, reason, 0
            if reason:
                self._reject_frame(reason, actions)
            else:
                try:
                    self._on_frame(raw, now_ns, actions)
                except NumberWaits:
                    break
            pending.popleft()
        actions += stores_due(self._security)

    def _cut(self, octets: bytes) -> Iterable[_RawFrame]:
        size = self._raw_octets
        if len(octets) % size:
            return [(b"", "length")]
        return [(octets[at : at + size], "") for at in range(0, len(octets), size)]


def _decoded(batch: CodeblockBatch) -> Iterable[_RawFrame]:
    return ((raw, "") if sound else (b"", "uncorrectable") for raw, sound in batch)
