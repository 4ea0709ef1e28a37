"""The node's end of a link of kind "tm-tc": packets in, TM frames out; CLTUs in, telecommand packets out.

Down: bounded queues -> Multiplexer -> frame with the CLCW of FARM-1 -> bare, or coded.
Up: CltuReceiver -> TcFrame -> FARM-1 -> whole packets. What is refused is counted by reason and becomes an action. No
octets make a method raise.
"""

# What each stage up guarantees to the next: the receiver gives octets between start and tail, right or wrong; the frame
# decoder gives frames whose error control agrees; ids that are not ours end here, before FARM-1, so that another
# spacecraft's frame cannot move V(R); FARM-1 gives the data of AD frames in sequence, each once; and `_split` gives
# packets whose length fields agree with the data. A frame of which one packet is wrong still delivers the packets
# before it.
#
# Down, each frame carries the CLCW of the moment in which it is made. The ground's FOP-1 moves by it, so a frame must
# not be made long before it leaves: the caller asks for a unit when the modem takes one
# (flight/services/radio/radio.py).
#
# After a reboot all counts begin at 0 and FARM-1 at V(R) = 0. No queue survives: what must not be lost is the business
# of those who queue it, such as the recorder.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from flight.core.config import key
from flight.core.errors import DecodeError
from flight.link.actions import LinkAction, PacketReceived, UnitRejected
from flight.link.coding.cltu import ERROR_MODES, INFORMATION_OCTETS, CltuReceiver
from flight.link.downlink_config import DownlinkConfig
from flight.link.link import LinkCounters
from flight.link.role_downlink import RoleDownlink
from flight.link.space_packet import PACKET_OCTETS_MIN
from flight.link.tc.farm import Farm
from flight.link.tc.tc_frame import FRAME_OCTETS_MIN, TcFrame
from flight.link.tm.tm_frame import TmFormat


@dataclass(frozen=True, slots=True)
class LinkConfig(DownlinkConfig):
    """What both ends of a TM and TC link agree on, and each end's limits."""

    kind: ClassVar[str] = "tm-tc"

    vc_idle: int = key(7, minimum=0, maximum=7, text="channel of idle frames")
    uplink_rate_bps: int = key(
        16_000, minimum=100, maximum=10_000_000_000, text="uplink, bit/s; T1 waits for the sending"
    )
    tc_randomizer: bool = key(False, text="telecommand frames are randomized before they are coded")
    cltu_errors: str = key(
        "correct",
        choices=tuple(ERROR_MODES),
        text="codeblocks of a CLTU correct one wrong bit, or detect up to three",
    )
    tc_vcid: int = key(0, minimum=0, maximum=63, text="virtual channel of telecommands")
    farm_window: int = key(20, minimum=2, maximum=254, text="FARM-1 window W, even")
    fop_window: int = key(10, minimum=1, maximum=127, text="FOP-1 window K, at most W / 2")
    t1_s: float = key(3.0, minimum=0.01, maximum=3600.0, text="FOP-1 timer T1 beyond light and sending time")
    transmission_limit: int = key(3, minimum=1, maximum=255, text="FOP-1 transmissions of one frame at most")
    light_time_s: float = key(0.0, minimum=0.0, maximum=3600.0, text="one-way light time; T1 waits for it twice")
    command_queue: int = key(256, minimum=1, maximum=65536, text="telecommands waiting on the ground at most")
    recoveries: int = key(5, minimum=0, maximum=1000, text="restarts of the AD service after alerts, in a row")

    def faults(self) -> list[tuple[str, str]]:
        """Return (key, what is wrong and what would be right) for values that contradict each other."""
        out = DownlinkConfig.faults(self)
        if self.farm_window % 2:
            out.append(("farm_window", f"is {self.farm_window}, should be even"))
        # A larger K could have frames under way that FARM-1 takes for neither new nor repeated, and locks on.
        if self.fop_window > self.farm_window // 2:
            out.append(("fop_window", f"is {self.fop_window}, should be at most farm_window / 2"))
        return out

    def channel_faults(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Return a fault for each channel that is another's, the channel of idle frames included."""
        return DownlinkConfig.channel_faults(self, (*names, "vc_idle"))


class FlightLink(RoleDownlink):
    """One TM and TC link of the node (flight.link.link.Link)."""

    def __init__(self, config: LinkConfig) -> None:
        counters = LinkCounters(
            uplink_rejected=dict.fromkeys(("cltu", "frame", "spacecraft", "vcid", "packet"), 0),
        )
        super().__init__(config, TmFormat(config.spacecraft_id, config.frame_octets), config.vc_idle, counters)
        self.config = config
        self.last_uplink_ns: int | None = None
        self._cltus = CltuReceiver(ERROR_MODES[config.cltu_errors], config.tc_randomizer)
        self.farm = Farm(config.tc_vcid, config.farm_window)
        self._held = False
        self._silent = True
        # The CLCW as octets, None if it may have changed: to encode it takes a fifth of the time of a frame. Whatever
        # may change FARM-1 or the receiver's state sets it to None.
        self._ocf: bytes | None = None

    # Down

    @property
    def status(self) -> bytes:
        """The CLCW of this moment, encoded."""
        ocf = self._ocf
        if ocf is None:
            # The modem tells one thing, whether it hears the ground. Both flags of the standard follow it.
            ocf = self._ocf = self.farm.clcw(no_rf=self._silent, no_bit_lock=self._silent).encode()
        return ocf

    def next_unit(self) -> list[LinkAction]:
        """Return one bare or coded frame with the CLCW of this moment, an idle one if nothing is queued."""
        return [self._next_unit(self.status)]

    # Up

    def acquired(self) -> None:
        """Let the CLCW say that the receiver hears the ground."""
        self._silent = False
        self._ocf = None

    def carrier_lost(self) -> None:
        """Forget a CLTU that has begun: the receiver hears nothing. FARM-1 and all counts stay."""
        self._silent = True
        self._ocf = None
        self._cltus.reset()

    def hold(self, held: bool) -> None:
        """Hold FARM-1, or let it go on. While held it has no buffer, and asks the ground to wait."""
        self._held = held
        self._ocf = None
        if not held:
            self.farm.release_buffer()

    def on_uplink(self, octets: bytes, now_ns: int) -> list[LinkAction]:
        """Return the telecommand packets that these octets of CLTUs completed, in order, and what was refused."""
        if not octets:
            return []
        self.acquired()  # octets came, so the ground is heard, even if the modem has not reported a carrier yet
        self.last_uplink_ns = now_ns
        actions: list[LinkAction] = []
        aborted = self._cltus.aborted
        units = self._cltus.feed(octets)
        for _ in range(self._cltus.aborted - aborted):
            self._reject("cltu", actions)
        for unit in units:
            self._on_unit(unit, actions)
        return actions

    def _on_unit(self, unit: bytes, actions: list[LinkAction]) -> None:
        """Take the frames of one CLTU: one as a rule. What is shorter than a codeblock at the end is fill."""
        while len(unit) >= FRAME_OCTETS_MIN:
            try:
                frame = TcFrame.decode(unit)
            except DecodeError:
                # Its length may be wrong as well, so nothing tells at which octet another frame would begin.
                self._reject("frame", actions)
                return
            unit = unit[frame.octets :]
            if frame.spacecraft_id != self.config.spacecraft_id:
                self._reject("spacecraft", actions)
            elif frame.vcid != self.config.tc_vcid:
                self._reject("vcid", actions)
            else:
                self._counters.tc_frames += 1
                data = self.farm.on_frame(frame, not self._held)
                if data is not None:
                    self._split(data, actions)
        if len(unit) >= INFORMATION_OCTETS:
            self._reject("frame", actions)

    def _split(self, data: bytes, actions: list[LinkAction]) -> None:
        """Deliver whole packets one after the other (232.0-B-4, 4.3.2: a frame without segment header)."""
        at = 0
        while at < len(data):
            # Too short for a header: an end beyond the data, so that one check refuses it.
            end = at + (data[at + 4] << 8 | data[at + 5]) + 7 if len(data) - at >= PACKET_OCTETS_MIN else len(data) + 1
            if end > len(data) or data[at] >> 5:
                self._reject("packet", actions)
                return
            self._counters.tc_packets += 1
            actions.append(PacketReceived(self.config.tc_vcid, data[at:end]))
            at = end

    def _reject(self, reason: str, actions: list[LinkAction]) -> None:
        self._counters.uplink_rejected[reason] += 1
        actions.append(UnitRejected(reason))

    @property
    def counters(self) -> LinkCounters:
        """The counters as of now; one object, brought up to date at each reading."""
        counters = super().counters
        counters.cltus = self._cltus.units
        counters.cltu_corrected = self._cltus.corrected
        return counters
