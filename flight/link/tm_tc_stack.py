"""The node's end of a link of kind "tm-tc": packets in, TM frames out; CLTUs in, telecommand packets out.

Down: bounded queues -> Multiplexer -> frame with the CLCW of FARM-1 -> protected, or not -> bare, or coded.
Up: CltuReceiver -> FrameSieve -> checked, or not -> FARM-1 -> segments put together -> whole packets. What is refused
is counted by reason and becomes an action. No octets make a method raise.
"""

# What each stage up guarantees to the next: the receiver gives octets between start and tail, right or wrong; the sieve
# gives frames whose error control agrees; ids that are not ours end here, before FARM-1, so that another
# spacecraft's frame cannot move V(R); FARM-1 gives the data of AD frames in sequence, each once; the reassembler gives
# whole packets, if the channel has segment headers; and `_split` gives packets whose length fields agree with the data.
# A frame of which one packet is wrong still delivers the packets before it.
#
# Every decoded frame with our ids goes through `_take`, and nothing else reaches FARM-1. Control commands beyond the
# rate end there as well: FARM-1 does not see them, and the FARM-B counter does not count them.
#
# On a protected way up (ADR 0039) a frame of ours is checked before FARM-1 sees it: who sent it, that nothing in it was
# changed, and that its number was never seen. A frame that fails moves nothing but counters and the frame security
# report. One that passes is spent, whatever FARM-1 makes of it, so that it cannot come again. A number that is not yet
# covered by what stands on storage waits, and everything behind it: `waiting` tells the caller to take no more in until
# the store is done and `on_uplink` has gone on.
#
# Anybody can send to a receiver, and as much as he likes. So the sieve refuses what can be refused without a key, many
# frames at a time. What it lets through is looked at here one by one, its number again, since others may have been
# spent meanwhile. The sieve goes by what was spent when it began; that only grows, so what it calls a replay is one.
#
# Down, each frame carries in its control field what the way up is at: the CLCW of the moment in which it is made, or in
# turn with it the frame security report. What has changed and was not told goes first. The ground's FOP-1 moves by it,
# so a frame must not be made long before it leaves: the caller asks for a unit when the modem takes one
# (flight/services/radio/radio.py).
#
# After a reboot all counts begin at 0 and FARM-1 at V(R) = 0. No queue survives: what must not be lost is the business
# of those who queue it, such as the recorder.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from flight.core.config import key
from flight.kernels import TC_LOOK, TC_VERDICTS, CltuUnits, FrameSecurityRules, FrameSieve
from flight.link.actions import ControlFlood, LinkAction, PacketReceived, UnitRejected
from flight.link.coding.cltu import ERROR_MODES, CltuReceiver
from flight.link.downlink_config import DownlinkConfig
from flight.link.link import LinkCounters
from flight.link.role_downlink import RoleDownlink
from flight.link.security.link_security import REASONS as SECURITY_REASONS
from flight.link.security.link_security import Checked, LinkSecurity, stores_due
from flight.link.security.suites import SPI_OCTETS, SUITES, Suite
from flight.link.segments import MAPS, SEGMENT_HEADER_OCTETS, Reassembler, SegmentError
from flight.link.space_packet import PACKET_OCTETS_MAX, PACKET_OCTETS_MIN
from flight.link.tc.control_rate import ControlRate, ControlVerdict
from flight.link.tc.farm import Farm
from flight.link.tc.tc_frame import (
    BYPASS,
    CONTROL,
    DATA_OCTETS_MAX,
    FECF_OCTETS,
    HEADER_OCTETS,
    FrameKind,
    TcFrame,
)
from flight.link.tm.tm_frame import TmFormat, data_octets

# Why something that came up was refused, in the order of the stages. The last three are of segments.
REJECTED = ("cltu", "frame", "spacecraft", "vcid", "control_rate", "packet", "segment", "unfinished", "long")
# One for each reason, made once: whoever forges frames decides how often they are needed.
_REJECTIONS = {reason: UnitRejected(reason) for reason in (*REJECTED, *SECURITY_REASONS)}
_REASON = {verdict: reason for reason, verdict in TC_VERDICTS.items()}
_REFUSALS = {verdict: _REJECTIONS[reason] for verdict, reason in _REASON.items()}
_SECURITY = frozenset(SECURITY_REASONS)
_NO_UNITS = CltuUnits(b"", b"")


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
    uplink_security: str = key(
        "authenticated",
        choices=tuple(SUITES),
        text="telecommand frames: `authenticated` (AES-256-CMAC), `encrypted` (AES-256-GCM, authenticated as well), or "
        "`clear`: whoever knows the frequency commands the node",
    )
    tc_vcid: int = key(0, minimum=0, maximum=63, text="virtual channel of telecommands")
    tc_segment_header: bool = key(
        False, text="telecommand frames have a segment header: packets may be longer than a frame"
    )
    tc_map: int = key(0, minimum=0, maximum=MAPS - 1, text="MAP id that the ground sends by, with segment headers")
    tc_packet_octets: int = key(
        PACKET_OCTETS_MAX,
        minimum=PACKET_OCTETS_MIN,
        maximum=PACKET_OCTETS_MAX,
        text="longest telecommand packet that is put together from segments, and all that are not whole together",
    )
    cltu_frames: int = key(
        1, minimum=1, maximum=127, text="frames that the ground puts into one CLTU at most, if they fit 1,024 octets"
    )
    bc_rate_per_min: int = key(
        60, minimum=1, maximum=60_000, text="control commands (Unlock, Set V(R)) taken per minute at most"
    )
    farm_window: int = key(20, minimum=2, maximum=254, text="FARM-1 window W, even")
    fop_window: int = key(10, minimum=1, maximum=127, text="FOP-1 window K, at most W / 2")
    t1_s: float = key(3.0, minimum=0.01, maximum=3600.0, text="FOP-1 timer T1 beyond light and sending time")
    transmission_limit: int = key(3, minimum=1, maximum=255, text="FOP-1 transmissions of one frame at most")
    light_time_s: float = key(0.0, minimum=0.0, maximum=3600.0, text="one-way light time; T1 waits for it twice")
    command_queue: int = key(256, minimum=1, maximum=65536, text="telecommands waiting on the ground at most")
    recoveries: int = key(5, minimum=0, maximum=1000, text="restarts of the AD service after alerts, in a row")

    @property
    def up_suite(self) -> Suite | None:
        """What protects the way up; None if nothing does."""
        return SUITES[self.uplink_security]

    @property
    def data_octets(self) -> int:
        """Room for packets in a frame of the way down, octets."""
        return data_octets(self.frame_octets) - self.down_overhead_octets

    def faults(self) -> list[tuple[str, str]]:
        """Return (key, what is wrong and what would be right) for values that contradict each other."""
        out = DownlinkConfig.faults(self)
        if self.farm_window % 2:
            out.append(("farm_window", f"is {self.farm_window}, should be even"))
        # A larger K could have frames under way that FARM-1 takes for neither new nor repeated, and locks on.
        if self.fop_window > self.farm_window // 2:
            out.append(("fop_window", f"is {self.fop_window}, should be at most farm_window / 2"))
        return out

    def tc_room_octets(self, security_octets: int = 0) -> int:
        """Return how much of a packet fits one telecommand frame, beside what link security adds to it."""
        return DATA_OCTETS_MAX - security_octets - (SEGMENT_HEADER_OCTETS if self.tc_segment_header else 0)

    def tc_packet_max(self, security_octets: int = 0) -> int:
        """Return the octets of the longest telecommand packet that the AD service carries."""
        room_octets = self.tc_room_octets(security_octets)
        return max(room_octets, self.tc_packet_octets) if self.tc_segment_header else room_octets

    def channel_faults(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Return a fault for each channel that is another's, the channel of idle frames included."""
        return DownlinkConfig.channel_faults(self, (*names, "vc_idle"))


class FlightLink(RoleDownlink):
    """One TM and TC link of the node (flight.link.link.Link). Without `security` both ways are clear."""

    def __init__(self, config: LinkConfig, security: LinkSecurity | None = None, index: int = 0) -> None:
        counters = LinkCounters(uplink_rejected=dict.fromkeys((*REJECTED, *SECURITY_REASONS), 0))
        make_format = partial(TmFormat, config.spacecraft_id, config.frame_octets)
        super().__init__(config, make_format, config.vc_idle, counters, security, index)
        self.config = config
        self.last_uplink_ns: int | None = None
        self._checks = security if config.up_suite is not None else None
        self._cltus = CltuReceiver(ERROR_MODES[config.cltu_errors], config.tc_randomizer)
        self.farm = Farm(config.tc_vcid, config.farm_window)
        self._control_rate = ControlRate(config.bc_rate_per_min)
        self._reassembler = Reassembler(config.tc_packet_octets)
        self._segment_octets = SEGMENT_HEADER_OCTETS * config.tc_segment_header
        self._held = False
        self._silent = True
        # Units that came: the frame at their start waits for its number to be storable.
        self._units = _NO_UNITS
        suite = config.up_suite if self._checks is not None else None
        self._number_octets = 0 if suite is None else suite.number_octets
        rules = None
        if suite is not None:
            rules = FrameSecurityRules(suite.number_octets, suite.overhead_octets, self._segment_octets)
        self._sieve = FrameSieve(config.spacecraft_id, config.tc_vcid, rules)
        # The CLCW as octets, None if it may have changed: to encode it takes a fifth of the time of a frame. Whatever
        # may change FARM-1 or the receiver's state sets it to None. The same for the frame security report.
        self._clcw: bytes | None = None
        self._report: bytes | None = None
        # What a frame told last of each, and whether the last frame had the report.
        self._clcw_told = self._report_told = b""
        self._told_report = False

    # Down

    @property
    def clcw(self) -> bytes:
        """The CLCW of this moment, encoded."""
        clcw = self._clcw
        if clcw is None:
            # The modem tells one thing, whether it hears the ground. Both flags of the standard follow it.
            clcw = self._clcw = self.farm.clcw(no_rf=self._silent, no_bit_lock=self._silent).encode()
        return clcw

    @property
    def security_report(self) -> bytes:
        """The frame security report of this moment, encoded; empty on an uplink that is not protected."""
        report = self._report
        if report is None:
            report = self._report = b"" if self._checks is None else self._checks.report(self._index).encode()
        return report

    @property
    def has_news(self) -> bool:
        """Whether CLCW or frame security report changed and no frame has told it yet."""
        return self.clcw != self._clcw_told or self.security_report != self._report_told

    def next_unit(self) -> list[LinkAction]:
        """Return one bare or coded frame, an idle one if nothing is queued, and what must be stored.

        Its control field is the CLCW of this moment or the frame security report, see the head of the file.
        """
        return self._next_unit(self._control_field)

    def _control_field(self) -> bytes:
        clcw, report = self.clcw, self.security_report
        clcw_is_new, report_is_new = clcw != self._clcw_told, report != self._report_told
        if clcw_is_new == report_is_new:
            tells_report = bool(report) and not self._told_report
        else:
            tells_report = report_is_new
        self._told_report = tells_report
        if tells_report:
            self._report_told = report
            return report
        self._clcw_told = clcw
        return clcw

    # Up

    def acquired(self) -> None:
        """Let the CLCW say that the receiver hears the ground."""
        self._silent = False
        self._clcw = None

    def carrier_lost(self) -> None:
        """Forget a CLTU that has begun: the receiver hears nothing. FARM-1, segments and all counts stay."""
        self._silent = True
        self._clcw = None
        self._cltus.reset()

    def hold(self, held: bool) -> None:
        """Hold FARM-1, or let it go on. While held it has no buffer, and asks the ground to wait."""
        self._held = held
        self._clcw = None
        if not held:
            self.farm.release_buffer()

    @property
    def waiting(self) -> bool:
        """Whether a frame that came waits for its number to be storable. Until then no more is taken in."""
        return bool(self._units.information)

    def on_uplink(self, octets: bytes, now_ns: int) -> list[LinkAction]:
        """Return the telecommand packets that these octets of CLTUs completed, in order, and what was refused.

        Without octets: go on with what waited.
        """
        actions: list[LinkAction] = []
        if octets:
            self.acquired()  # octets came, so the ground is heard, even if the modem has not reported a carrier yet
            self.last_uplink_ns = now_ns
            aborted = self._cltus.aborted
            units = self._cltus.take(octets)
            for _ in range(self._cltus.aborted - aborted):
                self._reject("cltu", actions)
            self._units = self._units.followed_by(units) if self.waiting else units
        if self.waiting:
            self._on_units(now_ns, actions)
        actions += stores_due(self._security)
        return actions

    def _on_units(self, now_ns: int, actions: list[LinkAction]) -> None:
        """Take the frames of all units, up to one that must wait."""
        units, self._units = self._units, _NO_UNITS
        if self._checks is not None:
            self._sieve.know(self._checks.spent(self._index))
        verdicts, places = self._sieve.sift(units)
        at = 0
        while at < len(verdicts):
            look = verdicts.find(TC_LOOK, at)
            if look < 0:
                look = len(verdicts)
            if look > at:
                self._refuse(verdicts[at:look], places[at:look], units.information, actions)
            if look < len(verdicts) and not self._take(units.information, places[look], now_ns, actions):
                self._units = units.behind(places[look])
                return
            at = look + 1

    def _refuse(self, verdicts: bytes, places: list[int], information: bytes, actions: list[LinkAction]) -> None:
        """Count frames that were refused at sight."""
        secured, last = {}, -1
        for verdict in set(verdicts):
            reason, count = _REASON[verdict], verdicts.count(verdict)
            self._counters.uplink_rejected[reason] += count
            if reason in _SECURITY:
                secured[reason] = count
                last = max(last, verdicts.rfind(verdict))
        actions += map(_REFUSALS.__getitem__, verdicts)
        if self._checks is not None and secured:
            self._report = None
            told = self._told_by(_REASON[verdicts[last]], places[last], information)
            self._checks.refused_at_sight(self._index, secured, told)

    def _told_by(self, reason: str, at: int, information: bytes) -> tuple[str, int, int]:
        """Return what a frame at octet `at`, refused for this reason, tells the report: reason, SPI and number."""
        at += HEADER_OCTETS + (0 if information[at] << 8 & CONTROL else self._segment_octets)
        number = at + SPI_OCTETS
        spi = 0 if reason == "length" else int.from_bytes(information[at:number], "big")
        octets = self._number_octets if reason == "replay" else 0
        return reason, spi, int.from_bytes(information[number : number + octets], "big")

    def _take(self, information: bytes, start: int, now_ns: int, actions: list[LinkAction]) -> bool:
        """Take the frame of ours at octet `start`. Return False if it must wait for something to be stored."""
        first, second, seq = TcFrame.HEADER.unpack_from(information, start)
        body, end = start + HEADER_OCTETS, start + (second & 0x3FF) + 1 - FECF_OCTETS
        security, index = self._checks, self._index
        checked: Checked | None = None
        if security is None:
            data = information[body:end]
        else:
            self._report = None
            # The segment header stands ahead of the security header, in clear. Control commands have none.
            ahead = body if first & CONTROL else body + self._segment_octets
            seen = security.look(index, information[start:ahead], information[ahead:end])
            if isinstance(seen, str):
                self._reject(seen, actions)
                return True
            if seen.waits:
                return False
            checked = seen
            data = information[body:ahead] + checked.data
        self._counters.tc_frames += 1
        config = self.config
        frame = TcFrame(config.spacecraft_id, config.tc_vcid, seq, data, bool(first & BYPASS), bool(first & CONTROL))
        self._hand_on(frame, now_ns, actions)
        if security is not None and checked is not None:
            security.commit(index, checked)
        return True

    def _hand_on(self, frame: TcFrame, now_ns: int, actions: list[LinkAction]) -> None:
        """Hand one frame to FARM-1, and what FARM-1 accepts to the stages behind it."""
        self._clcw = None
        if frame.kind is FrameKind.BC:
            verdict = self._control_rate.ask(now_ns)
            if verdict is not ControlVerdict.TAKEN:
                self._reject("control_rate", actions)
                if verdict is ControlVerdict.FLOOD_BEGINS:
                    actions.append(ControlFlood(self.config.bc_rate_per_min))
                return
        expected = self.farm.vr
        data = self.farm.on_frame(frame, not self._held)
        if data is None:
            if frame.control and self.farm.vr != expected:  # Set V(R): the parts between the two numbers never come
                for _ in range(self._reassembler.reset()):
                    self._reject("unfinished", actions)
        elif self.config.tc_segment_header:
            self._join(data, not frame.bypass, actions)
        else:
            self._split(data, actions)

    def _join(self, data: bytes, in_sequence: bool, actions: list[LinkAction]) -> None:
        """Put a segment to those before it, and deliver what is whole with it."""
        if in_sequence and self._reassembler.begins_anew(data):
            self._reject("unfinished", actions)
        try:
            packets = self._reassembler.take(data, in_sequence=in_sequence)
        except SegmentError as error:
            self._reject(error.reason, actions)
            return
        if packets is not None:
            self._split(packets, actions)

    def _split(self, data: bytes, actions: list[LinkAction]) -> None:
        """Deliver whole packets one after the other (232.0-B-4, 4.3.2)."""
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
        actions.append(_REJECTIONS[reason])

    @property
    def counters(self) -> LinkCounters:
        """The counters as of now; one object, brought up to date at each reading."""
        counters = super().counters
        counters.cltus = self._cltus.units
        counters.cltu_corrected = self._cltus.corrected
        counters.control_commands = self.farm.counters.control
        return counters
