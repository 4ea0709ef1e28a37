"""The way down of a link, alike for every kind: packets by role, multiplexed into frames, bare or coded."""

# On a protected link every frame has a number that no other has, and numbers are used only below a limit that stands on
# storage (flight/link/security/numbers.py). If none is left, there is no frame: `next_unit` returns what to store
# instead, and the modem's buffer bridges the time until then. As a rule it need not, since the next block is asked for
# while half of the present one is left.
#
# The frame is made, and its number used, in one step. So a frame that was numbered is a frame that leaves.

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from flight.link.actions import LinkAction, SendUnit
from flight.link.coding.tm_coding import TmEncoder
from flight.link.downlink_config import DownlinkConfig
from flight.link.link import LinkCounters, Role
from flight.link.sealing import Seal
from flight.link.security.link_security import LinkSecurity, seal_frame, stores_due
from flight.link.tm.downlink import FrameFormat, Multiplexer

# Returns the layout of the link's frames, given what seals them (None: nothing) and the octets that this takes.
MakeFormat = Callable[[Seal | None, int], FrameFormat]


class RoleDownlink:
    """The base of the stacks in flight.link.kinds. Each adds what its frames tell, and its way up.

    security: the node's keys and numbers, `index` the place of the link among the mission's. None for a link that is
    clear both ways.
    """

    def __init__(
        self, config: DownlinkConfig, make_format: MakeFormat, vc_idle: int, counters: LinkCounters,
        security: LinkSecurity | None, index: int,
    ) -> None:  # fmt: skip
        vcids = config.channels
        self.roles = frozenset(vcids)
        self.frame_octets = config.frame_octets
        self._security = security
        self._index = index
        self._seals = security is not None and config.down_suite is not None
        seal = partial(seal_frame, security, index) if security is not None and self._seals else None
        self._down = Multiplexer(
            make_format(seal, config.down_overhead_octets if self._seals else 0),
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

    def _next_unit(self, ocf: Callable[[], bytes | None]) -> list[LinkAction]:
        """Return one frame with the control field that `ocf` gives, behind what must be stored now.

        Without a number for it there is only the latter, or nothing if that is on its way.
        """
        security, actions = self._security, list[LinkAction]()
        numbered = security is None or not self._seals or security.can_protect(self._index)
        if numbered:
            realtime = self._realtime
            frames = 0 if realtime is None else realtime.frames
            frame = self._down.next_frame(ocf())
            # The multiplexer decides whose turn it is. If it was the real-time channel's, its count of frames has
            # moved, and the number before is the frame's own.
            count = None if realtime is None or realtime.frames == frames else frames & 0xFF
            actions.append(SendUnit(frame if self._encoder is None else self._encoder.encode(frame), count))
        actions += stores_due(security)
        return actions
