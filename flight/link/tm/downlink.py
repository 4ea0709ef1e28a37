"""Packets into transfer frames: bounded queues a virtual channel, priority with minimum shares, packets over frames.

132.0-B-3, 4.2.2 to 4.2.4, and 732.0-B-4, 4.2.2 to 4.2.5 (packet processing, virtual channel generation, multiplexing).
A frame that packets do not fill is filled with an idle packet. Where less than an idle packet's least length is left
over, the idle packet runs on into the channel's next frame; it alone never causes one. Without packets an idle frame
goes out (first header pointer 0x7FE).

The channel of the next frame is the first, in order of priority, that has something to send. A channel with a minimum
share that waits is credited its share of every frame; once a whole frame has come together, it goes before all
others. So over any N frames for which it waits it gets at least its share of them, but for one frame a channel.
"""

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
    """How one kind of transfer frame is laid around its data; `vc_counts` is the modulus of a channel's count."""

    @property
    def data_octets(self) -> int: ...
    @property
    def vc_counts(self) -> int: ...
    def encode(
        self, vcid: int, master_count: int, vc_count: int, first_header_pointer: int, data: bytes, ocf: bytes | None
    ) -> bytes: ...


@dataclass(slots=True)
class VirtualChannel:
    """One channel's packets in waiting. `octets` counts what has not left yet, `refused` packets turned away.

    `packets_max` and `octets_max` bound what waits. `share` is its least share of the frames in 1/10,000, 0 for none;
    `credit` what it is owed of the next frame.
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
    rest: bytes = b""
    rest_is_idle: bool = True

    def queue(self, packet: bytes) -> bool:
        """Take a whole packet; False, counted, if the channel is full."""
        octets = len(packet)
        assert octets == (packet[4] << 8 | packet[5]) + PACKET_OCTETS_MIN, octets
        if len(self.packets) >= self.packets_max or self.octets + octets > self.octets_max:
            self.refused += 1
            return False
        self.packets.append(packet)
        self.octets += octets
        self.accepted += 1
        return True

    def fill(self, size: int) -> tuple[int, bytes, int]:
        """First header pointer and the `size` octets of data of the next frame, and the octets of idle packets begun
        in it.
        """
        room = size
        pieces: list[bytes] = []
        rest = self.rest
        if rest:
            if len(rest) > room:
                self.rest = rest[room:]
                if not self.rest_is_idle:
                    self.octets -= room
                return NO_PACKET_START, rest[:room], 0
            pieces.append(rest)
            room -= len(rest)
            if not self.rest_is_idle:
                self.octets -= len(rest)
            self.rest = b""
        pointer = size - room if room else NO_PACKET_START
        packets = self.packets
        while room and packets:
            packet = packets.popleft()
            octets = len(packet)
            if octets > room:
                pieces.append(packet[:room])
                self.rest, self.rest_is_idle = packet[room:], False
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
            self.rest, self.rest_is_idle = idle[room:], True
        return pointer, b"".join(pieces), idle_octets


class Multiplexer:
    """The one source of a master channel's frames.

    vcids: channels in order of priority, the first before all others. shares: the least share of the frames that some
    of them get while they wait, 0 to 1, together at most 1. A channel takes a packet where it then holds at most
    `packets_max` packets and `octets_max` octets. Counts go on over passes: they are never reset.
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
        """True where the next frame carries packets."""
        return any(channel.octets for channel in self.channels.values())

    def next_frame(self, ocf: bytes | None) -> bytes:
        """One encoded frame of the channel whose turn it is, an idle frame where none has anything to send."""
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
        """Credit every channel with a share that waits; the one that is owed a whole frame, and most of it, pays."""
        owed = None
        for channel in self._with_share:
            if not channel.octets:
                channel.credit = 0
                continue
            channel.credit += channel.share
            if channel.credit >= _FRAME_CREDIT and (owed is None or channel.credit > owed.credit):
                owed = channel
        if owed is not None:
            owed.credit -= _FRAME_CREDIT
        return owed
