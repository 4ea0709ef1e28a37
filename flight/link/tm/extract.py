"""Transfer frames back into packets, and the account of what is missing (CCSDS 132.0-B-3, 4.3.2 and 4.3.3).

The same for TM and for AOS frames with M_PDUs (732.0-B-4, 4.3.2 to 4.3.4), which have no master count.

A channel is either without a packet in hand, or holds the beginning of one. A missing frame drops what is in hand
and the search resumes at the next first header pointer: only packets with octets in the missing frames are lost.
"""

# Packets are found by two things that must agree: the length field in each header, and the first header pointer of each
# frame. Within a frame lengths lead from packet to packet. Between frames the pointer says at which octet a packet
# begins, which must be the end of the one in hand. If they contradict each other the frame is counted as inconsistent,
# what is in hand is dropped, and the pointer is believed: it stands under the error control of its frame, while a
# length may be that of a packet which the sender put together wrongly. No frame, whatever is in it, makes a method
# raise or take memory beyond one packet per channel.
#
# A restart. The counts of a rebooted node begin at 0, which looks like a gap: the two are told apart in `is_restart`.
# Near 0 the master count is at least the channel's, for it counts that channel's frames as well. A gap in the channel
# that is larger than all gaps of the master count since the channel's last frame cannot be lost frames. (Its last gap
# alone is not enough: a frame of a rare channel may be missing since long before.) Nor is it likely that
# RESTART_FRAMES_MAX frames or more are lost and both counts then lie near 0. If a restart is taken for a gap, `missed`
# is wrong, and only a V(R) that fits no command shows the restart (ground/link/ad_service.py). If a gap is taken for a
# restart, the ground gives up commands that are under way (ground/link/tm_tc_session.py).
#
# ground/recording takes frames apart in C by the same rules (flight/kernels/frames.c, ADR 0016); a property test holds
# the two to each other.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from flight.link.space_packet import HEADER_OCTETS, PACKET_OCTETS_MIN
from flight.link.tm.tm_frame import IDLE_DATA, NO_PACKET_START, TmFormat, TmFrame

# In the first frame that is heard of a restarted node its counts are below this. If they are above, it looks like a
# gap.
RESTART_FRAMES_MAX = 16


class PacketFrame(Protocol):
    """A transfer frame of packets, TM or AOS."""

    @property
    def vcid(self) -> int:
        """The virtual channel."""

    @property
    def vc_count(self) -> int:
        """The virtual channel's count of frames."""

    @property
    def first_header_pointer(self) -> int:
        """The octet of `data` at which the first packet begins, NO_PACKET_START or IDLE_DATA."""

    @property
    def data(self) -> bytes:
        """The data field."""


def counts_from_zero(frame: TmFrame) -> bool:
    """Return whether this may be one of the first frames after boot: both counts begin at 0, the master's leads."""
    return frame.vc_count <= frame.master_count < RESTART_FRAMES_MAX


@dataclass(slots=True)
class VcExtractor:
    """One channel, whose count goes modulo `vc_counts`.

    Counters: `packets` delivered, `idle_packets` left out, `broken` packets of which only a part arrived, and frames
    whose pointer or packet headers contradict each other (`inconsistent`); `frames` taken, and frames `missed`.
    """

    vc_counts: int = TmFormat.vc_counts
    packets: int = 0
    idle_packets: int = 0
    broken: int = 0
    inconsistent: int = 0
    frames: int = 0
    missed: int = 0
    _expected: int | None = None
    _partial: bytearray = field(default_factory=bytearray)

    def take(self, frame: PacketFrame) -> tuple[int, list[bytes]]:
        """Return how many frames were missed before `frame` (see `gap`), and the packets that it completed."""
        missed = self.gap(frame)
        self._expected = (frame.vc_count + 1) % self.vc_counts
        self.frames += 1
        if missed:
            self.missed += missed
            self._drop()
        pointer = frame.first_header_pointer
        if pointer == IDLE_DATA:
            return missed, []
        packets: list[bytes] = []
        data = frame.data
        if pointer == NO_PACKET_START:
            if self._partial:
                self._continue(data, packets)
            return missed, packets
        if self._partial:
            self._continue(data[:pointer], packets)
            if self._partial:
                # The pointer says that a packet starts here, so the one in hand should have ended.
                self.inconsistent += 1
                self._drop()
        self._split(data, pointer, packets)
        return missed, packets

    def gap(self, frame: PacketFrame) -> int:
        """Return how many frames of this channel were missed before `frame` (modulo `vc_counts`)."""
        return 0 if self._expected is None else (frame.vc_count - self._expected) % self.vc_counts

    def restart(self) -> None:
        """Begin again, as the node does: no frame is missed before its next one, and a packet in hand never ends."""
        self._expected = None
        self._drop()

    def break_off(self) -> None:
        """Drop the packet in hand: frames are missing, whatever the counts say."""
        self._drop()

    def _drop(self) -> None:
        if self._partial:
            self.broken += 1
            self._partial.clear()

    def _continue(self, data: bytes, packets: list[bytes]) -> None:
        """Add to the packet in hand. Deliver it if it is whole; drop it if it would have to run over."""
        partial = self._partial
        partial += data
        if len(partial) < HEADER_OCTETS:
            return
        octets = (partial[4] << 8 | partial[5]) + PACKET_OCTETS_MIN
        if len(partial) < octets:
            return
        if len(partial) > octets:
            self.inconsistent += 1
            self._drop()
            return
        self._deliver(bytes(partial), packets)
        partial.clear()

    def _split(self, data: bytes, at: int, packets: list[bytes]) -> None:
        size = len(data)
        while at < size:
            if data[at] >> 5:
                # No packet starts like this (its version must be 0): skip what follows in the frame, the next pointer
                # leads on.
                self.inconsistent += 1
                return
            if at + HEADER_OCTETS > size:
                break
            end = at + (data[at + 4] << 8 | data[at + 5]) + PACKET_OCTETS_MIN
            if end > size:
                break
            self._deliver(data[at:end], packets)
            at = end
        self._partial += data[at:]

    def _deliver(self, packet: bytes, packets: list[bytes]) -> None:
        # APID 2047, all 11 bits set: idle.
        if packet[1] == 0xFF and packet[0] & 0x07 == 0x07:
            self.idle_packets += 1
        else:
            self.packets += 1
            packets.append(packet)


@dataclass(slots=True)
class PacketExtractor:
    """All channels of one master channel, at most eight. `master_missed` sums the gaps in the master count."""

    channels: dict[int, VcExtractor] = field(default_factory=dict)
    master_missed: int = 0
    _master_expected: int | None = None
    _missed_before: dict[int, int] = field(default_factory=dict)  # `master_missed` at each channel's last frame

    def is_restart(self, frame: TmFrame) -> bool:
        """Return whether both counts jump to near 0 in a way that lost frames hardly explain: the node was restarted.

        Fewer lost frames than `RESTART_FRAMES_MAX` are a gap, but no channel loses more frames than all together.
        """
        channel = self.channels.get(frame.vcid)
        if channel is None or not counts_from_zero(frame):
            return False
        missed, gap = channel.gap(frame), self.gap(frame)
        missed_of_all = self.master_missed + gap - self._missed_before.get(frame.vcid, 0)
        return missed > 0 and (missed > missed_of_all or gap >= RESTART_FRAMES_MAX)

    def restart(self) -> None:
        """Forget counts and beginnings of packets, keep the counters."""
        self._master_expected = None
        for channel in self.channels.values():
            channel.restart()

    def break_off(self, vcid: int) -> None:
        """Take in that this channel's count may have gone all the way round: the packet in hand does not go on."""
        if (channel := self.channels.get(vcid)) is not None:
            channel.break_off()

    def gap(self, frame: TmFrame) -> int:
        """Return how many frames of all channels were missed before `frame` (mod 256)."""
        return 0 if self._master_expected is None else (frame.master_count - self._master_expected) & 0xFF

    def pass_over(self, frame: TmFrame) -> None:
        """Count a frame of which nothing is wanted, so that it is not missed."""
        self.master_missed += self.gap(frame)
        self._master_expected = frame.master_count + 1 & 0xFF

    def take(self, frame: TmFrame) -> tuple[int, list[bytes]]:
        """Return the frames of this virtual channel missed before `frame` (mod 256), and the packets it completed."""
        self.pass_over(frame)
        self._missed_before[frame.vcid] = self.master_missed
        channel = self.channels.get(frame.vcid)
        if channel is None:
            channel = self.channels[frame.vcid] = VcExtractor()
        return channel.take(frame)
