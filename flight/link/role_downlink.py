"""The way down of a link, alike for every kind: packets by role, multiplexed into frames, bare or coded."""

from __future__ import annotations

from flight.link.actions import SendUnit
from flight.link.coding.tm_coding import TmEncoder
from flight.link.downlink_config import DownlinkConfig
from flight.link.link import LinkCounters, Role
from flight.link.tm.downlink import FrameFormat, Multiplexer


class RoleDownlink:
    """The base of the stacks in flight.link.kinds. Each adds what its frames tell, and its way up."""

    def __init__(self, config: DownlinkConfig, frame_format: FrameFormat, vc_idle: int, counters: LinkCounters) -> None:
        vcids = config.channels
        self.roles = frozenset(vcids)
        self.frame_octets = config.frame_octets
        self._down = Multiplexer(
            frame_format,
            tuple(vcids.values()),
            vc_idle,
            config.queue_packets,
            config.queue_octets,
            config.shares,
        )
        self._channels = {role: self._down.channels[vcid] for role, vcid in vcids.items()}
        self._realtime = self._channels.get(Role.REALTIME)
        self._encoder = TmEncoder(config.tm_coding) if config.tm_coding is not None else None
        self._counters = counters

    def queue(self, role: Role, packet: bytes) -> bool:
        """Take one whole packet; False if its queue is full, which is counted, or the link does not carry the role."""
        channel = self._channels.get(role)
        return channel is not None and channel.queue(packet)

    def backlog_octets(self, role: Role) -> int:
        """Return the octets of this role's packets that have not left yet; 0 for a role that is not carried."""
        channel = self._channels.get(role)
        return 0 if channel is None else channel.octets

    def has_packets(self) -> bool:
        """Return whether the next unit carries more than idle data."""
        return self._down.has_packets()

    @property
    def counters(self) -> LinkCounters:
        """The counters as of now; one object, brought up to date at each reading."""
        counters, down = self._counters, self._down
        counters.units_sent = down.frames
        counters.idle_frames = down.idle_frames
        counters.packets_queued = sum(channel.accepted for channel in down.channels.values())
        counters.packets_refused = sum(channel.refused for channel in down.channels.values())
        return counters

    def _next_unit(self, ocf: bytes | None) -> SendUnit:
        realtime = self._realtime
        frames = 0 if realtime is None else realtime.frames
        frame = self._down.next_frame(ocf)
        # The multiplexer decides whose turn it is. If it was the real-time channel's, its count of frames has moved,
        # and the number before is the frame's own.
        count = None if realtime is None or realtime.frames == frames else frames & 0xFF
        return SendUnit(frame if self._encoder is None else self._encoder.encode(frame), count)
