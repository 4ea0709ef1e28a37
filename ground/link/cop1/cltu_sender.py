"""Frames on their way out: joined into CLTUs, and how long the transmitter and the space between take for them."""

# The caller hands units to the transmitter at once, and the transmitter sends them one behind the other. So a frame has
# left only when all before it have, and T1 counts from then (`free_ns`). As long as T1 waits for a frame in sequence, a
# CLCW may come that does not know of it, and the frame may still arrive (`in_flight_ns`).
#
# Frames of one batch are joined in their order, as many as the link allows and as fit a CLTU. Whoever loses one then
# loses all of it; fewer start and tail sequences pay for that where commands are short.

from __future__ import annotations

from flight.core.nanoseconds import NS
from flight.link.coding.cltu import encode_cltu
from flight.link.tc.tc_frame import FRAME_OCTETS_MAX
from flight.link.tm_tc_stack import LinkConfig


class CltuSender:
    """Makes CLTUs of encoded frames. `free_ns`: when all is sent. `in_flight_ns`: until when a frame may arrive."""

    def __init__(self, config: LinkConfig) -> None:
        self.free_ns = 0
        self.in_flight_ns = 0
        self._config = config
        self._frames: list[bytes] = []
        self._octets = 0
        self._in_sequence = False  # whether one of them is

    def has_room(self, raw: bytes) -> bool:
        """Return whether this frame fits the CLTU that is being filled."""
        return len(self._frames) < self._config.cltu_frames and self._octets + len(raw) <= FRAME_OCTETS_MAX

    def add(self, raw: bytes, *, in_sequence: bool) -> None:
        """Put an encoded frame into the CLTU, which `has_room` for it."""
        self._frames.append(raw)
        self._octets += len(raw)
        self._in_sequence |= in_sequence

    def take(self, now_ns: int, t1_ns: int) -> bytes:
        """Return the CLTU that is sent now, empty if there are no frames, and begin the next."""
        if not self._frames:
            return b""
        cltu = encode_cltu(b"".join(self._frames), randomized=self._config.tc_randomizer)
        self.free_ns = max(self.free_ns, now_ns) + int(len(cltu) * 8 * NS / self._config.uplink_rate_bps)
        if self._in_sequence:
            self.in_flight_ns = self.free_ns + t1_ns
        self._frames, self._octets, self._in_sequence = [], 0, False
        return cltu
