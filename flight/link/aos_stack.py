"""The node's end of a link of kind "aos": packets in, AOS frames out, and no way up (CCSDS 732.0-B-4).

Down: bounded queues -> Multiplexer -> M_PDU in an AOS frame without control field -> bare, or coded. A simplex link has
no COP-1 and no CLCW. Whatever is heard over it is refused and counted.
"""

# There is no control field, because there is no receiver whose state it could tell. So there is never news to tell,
# and the node cannot know whether anybody listens: what went down is not known to have arrived.

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flight.core.config import key
from flight.link.actions import LinkAction, UnitRejected
from flight.link.downlink_config import CARRIES_TEXT, ROLE_NAMES, DownlinkConfig
from flight.link.link import LinkCounters
from flight.link.role_downlink import RoleDownlink
from flight.link.sealing import Seal
from flight.link.security.link_security import LinkSecurity
from flight.link.tm.aos_frame import VC_IDLE, AosFormat

_VC_MAX = VC_IDLE - 1


@dataclass(frozen=True, slots=True)
class AosConfig(DownlinkConfig):
    """What both ends of a simplex AOS link agree on. Idle frames are on channel 63 (732.0-B-4, 4.1.2.3.3)."""

    kind: ClassVar[str] = "aos"
    simplex: ClassVar[bool] = True

    carries: tuple[str, ...] = key(("products",), choices=tuple(ROLE_NAMES), text=CARRIES_TEXT)
    vc_realtime: int = key(0, minimum=0, maximum=_VC_MAX, text="channel of housekeeping, reports and events")
    vc_playback: int = key(1, minimum=0, maximum=_VC_MAX, text="channel of the recorder")
    vc_products: int = key(2, minimum=0, maximum=_VC_MAX, text="channel of payload products")

    @property
    def data_octets(self) -> int:
        """Room for packets in a frame, octets."""
        return self.frame_format.data_octets

    @property
    def frame_format(self) -> AosFormat:
        """The layout of a frame: with error control, without insert zone and control field."""
        return self.sealed_format(None, self.down_overhead_octets)

    def sealed_format(self, seal: Seal | None, overhead_octets: int) -> AosFormat:
        """Return the same layout with what seals a frame, and the octets that this takes."""
        return AosFormat(
            self.spacecraft_id, self.frame_octets, has_ocf=False, seal=seal, overhead_octets=overhead_octets
        )


class AosFlightLink(RoleDownlink):
    """One simplex AOS link of the node (flight.link.link.Link)."""

    has_news = False
    waiting = False

    def __init__(self, config: AosConfig, security: LinkSecurity | None = None, index: int = 0) -> None:
        counters = LinkCounters(uplink_rejected={"simplex": 0})
        super().__init__(config, config.sealed_format, VC_IDLE, counters, security, index)

    def next_unit(self) -> list[LinkAction]:
        """Return one bare or coded frame, an idle one if nothing is queued, and what must be stored."""
        return self._next_unit(lambda: None)

    def acquired(self) -> None:
        """Do nothing: no frame tells of a receiver."""

    def carrier_lost(self) -> None:
        """Do nothing: nothing can have half arrived. All counts stay."""

    def on_uplink(self, octets: bytes, _now_ns: int) -> list[LinkAction]:
        """Refuse what is heard: nothing comes up over a simplex link."""
        if not octets:
            return []
        self._counters.uplink_rejected["simplex"] += 1
        return [UnitRejected("simplex")]
