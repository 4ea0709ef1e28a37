"""The node's end of the space link: packets in, frames out; CLTUs in, telecommand packets out.

Down: bounded queues -> Multiplexer -> frame with the CLCW of FARM-1 -> bare, or coded.
Up: CltuReceiver -> TcFrame -> FARM-1 -> whole packets. What is refused is counted by reason, never raised.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flight.core.errors import DecodeError
from flight.link.coding.cltu import ERROR_MODES, INFORMATION_OCTETS, CltuReceiver
from flight.link.coding.tm_coding import PARITY, TmCoding, TmEncoder
from flight.link.space_packet import PACKET_OCTETS_MIN
from flight.link.tc.farm import Farm, FarmCounters
from flight.link.tc.tc_frame import FRAME_OCTETS_MIN, TcFrame
from flight.link.tm.downlink import Multiplexer
from flight.link.tm.tm_frame import TmFormat

# What the least shares of playback and products may take together.
MIN_FRACS_MAX = 0.9


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """What both ends of one link agree on, and each end's limits. What a mission sets has its bounds where it is
    declared (flight/mission.py)."""

    spacecraft_id: int = 0x1AB  # spacecraft id in every frame
    frame_octets: int = 1115  # length of a telemetry frame
    coding: str = "frame"  # what goes around each telemetry frame
    interleave: int = 5  # Reed-Solomon codewords in a unit
    randomizer: str = "short"  # sequence that randomizes units
    convolutional: bool = False  # inner code of rate 1/2 around all units
    tc_randomizer: bool = False  # telecommand frames are randomized
    cltu_errors: str = "correct"  # what codeblocks of CLTUs are used for
    playback_min_frac: float = 0.0  # least share of the recorder while it waits
    products_min_frac: float = 0.0  # least share of the products while they wait
    vc_realtime: int = 0  # channel of housekeeping, reports and events
    vc_playback: int = 1  # channel of the recorder
    vc_products: int = 2  # channel of payload products
    vc_idle: int = 7  # channel of idle frames
    tc_vcid: int = 0  # virtual channel of telecommands
    queue_packets: int = 512  # packets held for each channel at most
    queue_octets: int = 262144  # octets held for each channel at most
    farm_window: int = 20  # FARM-1 window W, even
    fop_window: int = 10  # FOP-1 window K, at most W / 2
    t1_s: float = 3.0  # FOP-1 timer T1 beyond light and sending time
    transmission_limit: int = 3  # FOP-1 transmissions of one frame at most
    light_time_s: float = 0.0  # one-way light time; T1 waits for it twice
    uplink_bit_s: float = 16000.0  # uplink rate; T1 waits for the sending
    command_queue: int = 256  # telecommands waiting on the ground at most
    recoveries: int = 5  # restarts of the AD service after alerts, in a row

    @property
    def tm_coding(self) -> TmCoding | None:
        """How frames are coded on the way down; None where they go bare."""
        if self.coding == "frame":
            return None
        return TmCoding(
            self.frame_octets,
            parity=PARITY[self.coding],
            interleave=self.interleave,
            randomizer=self.randomizer,
            convolutional=self.convolutional,
        )

    @property
    def unit_octets(self) -> int:
        """What one frame takes of the downlink."""
        coding = self.tm_coding
        return self.frame_octets if coding is None else coding.unit_octets

    def faults(self) -> list[tuple[str, str]]:
        """(key, what is wrong and what would be right) for values that contradict each other."""
        out = self.tm_coding.faults() if self.tm_coding is not None else []
        if self.convolutional and self.tm_coding is None:
            out.append(("convolutional", 'is true, should go with coding = "cadu" or a Reed-Solomon code'))
        least = self.playback_min_frac + self.products_min_frac
        if least > MIN_FRACS_MAX:
            right = f"should be at most {MIN_FRACS_MAX:g} together, so that live telemetry has room"
            out.append(("products_min_frac", f"is {least:g} with playback_min_frac, {right}"))
        if self.farm_window % 2:
            out.append(("farm_window", f"is {self.farm_window}, should be even"))
        if self.fop_window > self.farm_window // 2:
            out.append(("fop_window", f"is {self.fop_window}, should be at most farm_window / 2"))
        channels = {
            "vc_realtime": self.vc_realtime,
            "vc_playback": self.vc_playback,
            "vc_products": self.vc_products,
            "vc_idle": self.vc_idle,
        }
        seen: dict[int, str] = {}
        for name, vcid in channels.items():
            if vcid in seen:
                out.append((name, f"is {vcid} like {seen[vcid]}, each channel should have its own"))
            seen.setdefault(vcid, name)
        return out


@dataclass(slots=True)
class LinkCounters:
    """Since boot. Frames and packets down; units, frames and packets up; `uplink_rejected` is by reason."""

    units_sent: int = 0
    idle_frames: int = 0
    packets_queued: int = 0
    packets_refused: int = 0
    cltus: int = 0
    cltu_corrected: int = 0
    tc_frames: int = 0
    tc_packets: int = 0
    farm: FarmCounters = field(default_factory=FarmCounters)
    uplink_rejected: dict[str, int] = field(
        default_factory=lambda: {"cltu": 0, "frame": 0, "spacecraft": 0, "vcid": 0, "packet": 0}
    )


class FlightLink:
    """One link of the node. `has_packets()` tells whether `next_unit()` would carry more than idle data."""

    def __init__(self, config: LinkConfig) -> None:
        self.config = config
        self._down = Multiplexer(
            TmFormat(config.spacecraft_id, config.frame_octets),
            (config.vc_realtime, config.vc_playback, config.vc_products),
            config.vc_idle,
            config.queue_packets,
            config.queue_octets,
            {config.vc_playback: config.playback_min_frac, config.vc_products: config.products_min_frac},
        )
        self._cltus = CltuReceiver(ERROR_MODES[config.cltu_errors], config.tc_randomizer)
        self._farm = Farm(config.tc_vcid, config.farm_window)
        self._held = False
        self._silent = True
        self._encoder = TmEncoder(config.tm_coding) if config.tm_coding is not None else None
        self._counters = LinkCounters(farm=self._farm.counters)
        self.last_uplink_ns: int | None = None
        # The CLCW as octets, None where it may have changed: encoding it costs a fifth of a frame.
        self._ocf: bytes | None = None

    # Down

    def queue(self, vcid: int, packet: bytes) -> bool:
        """Take one whole packet for a channel; False, counted, where its queue is full."""
        return self._down.queue(vcid, packet)

    def backlog_octets(self, vcid: int) -> int:
        """Octets of packets on this channel that have not left yet."""
        return self._down.channels[vcid].octets

    def has_packets(self) -> bool:
        """True where the next unit carries packets of any channel."""
        return self._down.has_packets()

    @property
    def realtime_frames(self) -> int:
        """Frames of the real-time channel made since boot; the next one's count is this, modulo 256."""
        return self._down.channels[self.config.vc_realtime].frames

    def ocf(self) -> bytes:
        """The CLCW of this moment, encoded."""
        ocf = self._ocf
        if ocf is None:
            ocf = self._ocf = self._farm.clcw(no_rf=self._silent, no_bit_lock=self._silent).encode()
        return ocf

    def next_unit(self) -> bytes:
        """One bare or coded frame with the CLCW of this moment; an idle frame where nothing is queued."""
        frame = self._down.next_frame(self.ocf())
        return frame if self._encoder is None else self._encoder.encode(frame)

    # Up

    def acquired(self) -> None:
        """The receiver hears the ground: the CLCW says so."""
        self._silent = False
        self._ocf = None

    def carrier_lost(self) -> None:
        """The receiver hears nothing: a CLTU that has begun is forgotten, FARM-1 and all counts stay."""
        self._silent = True
        self._ocf = None
        self._cltus.reset()

    def hold(self, held: bool) -> None:
        """While held, FARM-1 has no buffer: it asks the ground to wait instead of taking AD frames."""
        self._held = held
        self._ocf = None
        if not held:
            self._farm.release_buffer()

    def on_uplink(self, octets: bytes, now_ns: int) -> list[bytes]:
        """The telecommand packets that these octets of CLTUs completed, in order. Any split of octets will do."""
        if not octets:
            return []
        self.acquired()
        self.last_uplink_ns = now_ns
        packets: list[bytes] = []
        for unit in self._cltus.feed(octets):
            self._on_unit(unit, packets)
        return packets

    def _on_unit(self, unit: bytes, packets: list[bytes]) -> None:
        """The frames of one CLTU: one as a rule; what is shorter than a codeblock at the end is fill."""
        rejected = self._counters.uplink_rejected
        while len(unit) >= FRAME_OCTETS_MIN:
            try:
                frame = TcFrame.decode(unit)
            except DecodeError:
                rejected["frame"] += 1
                return
            unit = unit[frame.octets :]
            if frame.spacecraft_id != self.config.spacecraft_id:
                rejected["spacecraft"] += 1
            elif frame.vcid != self.config.tc_vcid:
                rejected["vcid"] += 1
            else:
                self._counters.tc_frames += 1
                data = self._farm.on_frame(frame, not self._held)
                if data is not None:
                    self._split(data, packets)
        if len(unit) >= INFORMATION_OCTETS:
            rejected["frame"] += 1

    def _split(self, data: bytes, packets: list[bytes]) -> None:
        """Whole packets one after the other (232.0-B-4, 4.3.2: the packets of a frame without segment header)."""
        at = 0
        while at < len(data):
            end = at + (data[at + 4] << 8 | data[at + 5]) + 7 if len(data) - at >= PACKET_OCTETS_MIN else len(data) + 1
            if end > len(data) or data[at] >> 5:
                self._counters.uplink_rejected["packet"] += 1
                return
            self._counters.tc_packets += 1
            packets.append(data[at:end])
            at = end

    @property
    def counters(self) -> LinkCounters:
        """The counters as of now; one object, brought up to date at each reading."""
        counters, down = self._counters, self._down
        counters.units_sent = down.frames
        counters.idle_frames = down.idle_frames
        counters.packets_queued = sum(channel.accepted for channel in down.channels.values())
        counters.packets_refused = sum(channel.refused for channel in down.channels.values())
        counters.cltus = self._cltus.units
        counters.cltu_corrected = self._cltus.corrected
        counters.uplink_rejected["cltu"] = self._cltus.aborted
        return counters
