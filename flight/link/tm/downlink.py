"""Packets into transfer frames: a bounded queue for each virtual channel, priority with minimum shares.

132.0-B-3, 4.2.2 to 4.2.4, and 732.0-B-4, 4.2.2 to 4.2.5 (packet processing, virtual channel generation, multiplexing).

The channel of the next frame is the first, in order of priority, that has something to send. A channel with a minimum
share is credited its share of every frame while it waits. As soon as that makes a whole frame, it goes before all
others. So over any N frames for which it waits it gets at least its share of them, less one frame per channel.
"""

# Filling a frame. It begins with what the frame before could not hold of its last packet, then come whole packets, and
# the last one is cut if need be. Room that no packet fills is filled with an idle packet. If the room is less than the
# 7 octets that an idle packet takes at least, the idle packet runs on into the channel's next frame; that alone never
# causes a frame. A channel without packets sends nothing, and if no channel has any, an idle frame goes out (first
# header pointer 0x7FE) on a channel of its own.
#
# The first header pointer names where the first packet begins that begins in this frame, an idle one included.
# NO_PACKET_START says that the whole frame continues a packet.
#
# Why shares are a credit and not a weight: priority decides as long as nobody starves, and live telemetry goes first.
# Credit lapses in two cases. A channel that has nothing to send earns none, so that it cannot save up silence and then
# hold the link. One that gets a frame by priority has more than what it was owed.
#
# `octets` of a channel is what has not left yet, the cut packet's remainder included; idle packets are not counted. So
# it is 0 exactly if the channel has nothing to send.

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from flight.link.space_packet import PACKET_OCTETS_MIN, idle_packet
from flight.link.tm.tm_frame import IDLE_DATA, NO_PACKET_START

# Credit is counted in whole numbers, so that it is the same on every machine.
_FRAME_CREDIT = 10_000


class FrameFormat(Protocol):
    """How one kind of transfer frame is laid around its data."""

    @property
    def data_octets(self) -> int:
        """Room for packets in a frame, octets."""

    @property
    def vc_counts(self) -> int:
        """The modulus of a virtual channel's count."""

    def encode(
        self, vcid: int, master_count: int, vc_count: int, first_header_pointer: int, data: bytes, ocf: bytes | None
    ) -> bytes:
        """Return the octets of one frame; `data` fills it exactly."""


@dataclass(slots=True)
class VirtualChannel:
    """The packets of one channel that wait. `octets` is what has not left yet, `refused` how many were turned away.

    `packets_max` and `octets_max` bound what waits. `share` is its minimum share of the frames in 1/10,000, 0 for none;
    `credit` is what it is owed of the next frame, in the same unit. `count` is the count of the next frame, `carried`
    what the frame before could not hold of its last packet.
    """

    vcid: int
    packets_max: int
    octets_max: int
    share: int
    credit: int = 0
    packets: deque[bytes] = field(default_factory=deque)
    octets: int = 0
    accepted: int = 0
    refused: int = 0
    frames: int = 0
    count: int = 0
    carried: bytes = b""
    carried_is_idle: bool = True

    def queue(self, packet: bytes) -> bool:
        """Take a whole packet. If the channel is full, count it as refused and return False."""
        octets = len(packet)
        # Every octet that goes out is found by the length fields of the packets: one wrong length hides all behind it.
        assert octets == (packet[4] << 8 | packet[5]) + PACKET_OCTETS_MIN, octets
        if len(self.packets) >= self.packets_max or self.octets + octets > self.octets_max:
            self.refused += 1
            return False
        self.packets.append(packet)
        self.octets += octets
        self.accepted += 1
        return True

    def fill(self, size: int) -> tuple[int, bytes, int]:
        """Make the `size` octets of data of the next frame.

        Returns its first header pointer, the data, and the octets of the idle packet that begins in it, if one does.
        """
        room = size
        pieces: list[bytes] = []
        carried = self.carried
        if carried:
            if len(carried) > room:
                self.carried = carried[room:]
                if not self.carried_is_idle:
                    self.octets -= room
                return NO_PACKET_START, carried[:room], 0
            pieces.append(carried)
            room -= len(carried)
            if not self.carried_is_idle:
                self.octets -= len(carried)
            self.carried = b""
        pointer = size - room if room else NO_PACKET_START
        packets = self.packets
        while room and packets:
            packet = packets.popleft()
            octets = len(packet)
            if octets > room:
                pieces.append(packet[:room])
                self.carried, self.carried_is_idle = packet[room:], False
                self.octets -= room
                room = 0
            else:
                pieces.append(packet)
                room -= octets
                self.octets -= octets
        idle_octets = 0
        if room:
            idle = idle_packet(max(room, PACKET_OCTETS_MIN))
            idle_octets = len(idle)
            pieces.append(idle[:room])
            self.carried, self.carried_is_idle = idle[room:], True
        return pointer, b"".join(pieces), idle_octets


class Multiplexer:
    """The one source of a master channel's frames.

    vcids: channels in order of priority, the first before all others. shares: the minimum share of the frames that some
    of them get while they wait, 0 to 1, together at most 1. A channel takes a packet if it then holds at most
    `packets_max` packets and `octets_max` octets. Counts go on from pass to pass: they are never reset.
    """

    def __init__(
        self,
        frame_format: FrameFormat,
        vcids: Sequence[int],
        vc_idle: int,
        packets_max: int,
        octets_max: int,
        shares: Mapping[int, float] | None = None,
    ) -> None:
        shares = shares or {}
        self.channels = {
            vcid: VirtualChannel(vcid, packets_max, octets_max, int(_FRAME_CREDIT * shares.get(vcid, 0.0)))
            for vcid in vcids
        }
        assert vc_idle not in self.channels, vc_idle
        assert set(shares) <= set(vcids), shares
        assert sum(channel.share for channel in self.channels.values()) <= _FRAME_CREDIT, shares
        # So an idle packet ends in the channel's next frame at the latest.
        assert frame_format.data_octets >= PACKET_OCTETS_MIN, frame_format.data_octets
        self.frames = 0
        self.idle_frames = 0
        self.idle_octets = 0
        self._format = frame_format
        self._vc_idle = vc_idle
        self._master_count = 0
        self._idle_count = 0
        self._idle_data = b"\x55" * frame_format.data_octets
        self._with_share = [channel for channel in self.channels.values() if channel.share]

    def has_packets(self) -> bool:
        """Return whether the next frame carries packets."""
        return any(channel.octets for channel in self.channels.values())

    def next_frame(self, ocf: bytes | None) -> bytes:
        """Return one encoded frame of the channel whose turn it is, an idle frame if none has anything to send."""
        frame_format = self._format
        channel = self._next_channel()
        if channel is not None:
            vcid, count = channel.vcid, channel.count
            channel.count = (count + 1) % frame_format.vc_counts
            channel.frames += 1
            pointer, data, idle_octets = channel.fill(frame_format.data_octets)
            self.idle_octets += idle_octets
        else:
            vcid, count = self._vc_idle, self._idle_count
            self._idle_count = (count + 1) % frame_format.vc_counts
            self.idle_frames += 1
            pointer, data = IDLE_DATA, self._idle_data
        master_count = self._master_count
        self._master_count = master_count + 1 & 0xFF
        self.frames += 1
        return frame_format.encode(vcid, master_count, count, pointer, data, ocf)

    def _next_channel(self) -> VirtualChannel | None:
        owed = self._owed() if self._with_share else None
        if owed is not None:
            return owed
        for channel in self.channels.values():
            if channel.octets:
                channel.credit = 0  # it has more than what it was owed so far
                return channel
        return None

    def _owed(self) -> VirtualChannel | None:
        """Credit every channel with a share that waits; return the one that is owed a whole frame, and the most."""
        owed = None
        for channel in self._with_share:
            if not channel.octets:
                channel.credit = 0
                continue
            channel.credit += channel.share
            if channel.credit >= _FRAME_CREDIT and (owed is None or channel.credit > owed.credit):
                owed = channel
        if owed is not None:
            owed.credit -= _FRAME_CREDIT  # what is above a frame stays for the next
        return owed
