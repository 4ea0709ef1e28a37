"""Packets into telemetry frames: bounded queues a virtual channel, strict priority, packets that span frames.

132.0-B-3, 4.2.2 and 4.2.3 (packet processing and virtual channel generation). A frame that packets do not fill is
filled with an idle packet. Where less than an idle packet's least length is left over, the idle packet runs on
into the channel's next frame; it alone never causes one. Without packets an idle frame goes out (first header
pointer 0x7FE).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from flight.link.space_packet import PACKET_OCTETS_MIN, idle_packet
from flight.link.tm_frame import IDLE_DATA, NO_PACKET_START, TmFrame, data_octets


@dataclass(slots=True)
class VcQueue:
    """One channel's packets in waiting. `octets` counts what has not left yet, `refused` packets turned away."""

    vcid: int
    packets: deque[bytes] = field(default_factory=deque)
    octets: int = 0
    accepted: int = 0
    refused: int = 0
    frames: int = 0
    count: int = 0
    rest: bytes = b""
    rest_is_idle: bool = True


@dataclass(slots=True)
class TmMultiplexer:
    """The one source of a master channel's frames. `vcids` in order of priority, the first before all others.

    A queue takes a packet where it then holds at most `packets_max` packets and `octets_max` octets.
    Counts go on over passes: they are never reset.
    """

    spacecraft_id: int
    frame_octets: int
    vcids: Iterable[int]
    vc_idle: int
    packets_max: int
    octets_max: int
    queues: dict[int, VcQueue] = field(init=False)
    frames: int = 0
    idle_frames: int = 0
    idle_octets: int = 0
    _master_count: int = 0
    _idle_count: int = 0
    _data_octets: int = field(init=False)
    _idle_data: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.queues = {vcid: VcQueue(vcid) for vcid in self.vcids}
        assert self.vc_idle not in self.queues, self.vc_idle
        self._data_octets = data_octets(self.frame_octets)
        assert self._data_octets >= PACKET_OCTETS_MIN, self.frame_octets
        self._idle_data = b"\x55" * self._data_octets

    def queue(self, vcid: int, packet: bytes) -> bool:
        """Take a whole packet; False, counted, where the channel's queue is full."""
        queue = self.queues[vcid]
        octets = len(packet)
        assert octets == (packet[4] << 8 | packet[5]) + PACKET_OCTETS_MIN, octets
        if len(queue.packets) >= self.packets_max or queue.octets + octets > self.octets_max:
            queue.refused += 1
            return False
        queue.packets.append(packet)
        queue.octets += octets
        queue.accepted += 1
        return True

    def has_packets(self) -> bool:
        """True where the next frame carries packets."""
        return any(queue.octets for queue in self.queues.values())

    def next_frame(self, ocf: bytes | None) -> bytes:
        """One encoded frame of the first channel that has something to send, else an idle frame."""
        for queue in self.queues.values():
            if queue.octets:
                vcid, count = queue.vcid, queue.count
                queue.count = count + 1 & 0xFF
                queue.frames += 1
                pointer, data = self._fill(queue)
                break
        else:
            vcid, count = self.vc_idle, self._idle_count
            self._idle_count = count + 1 & 0xFF
            self.idle_frames += 1
            pointer, data = IDLE_DATA, self._idle_data
        master_count = self._master_count
        self._master_count = master_count + 1 & 0xFF
        self.frames += 1
        frame = TmFrame(self.spacecraft_id, vcid, master_count, count, pointer, data, ocf)
        return frame.encode(self.frame_octets)

    def _fill(self, queue: VcQueue) -> tuple[int, bytes]:
        """First header pointer and data of the channel's next frame."""
        size = room = self._data_octets
        pieces: list[bytes] = []
        pointer = NO_PACKET_START
        rest = queue.rest
        if rest:
            if len(rest) > room:
                queue.rest = rest[room:]
                if not queue.rest_is_idle:
                    queue.octets -= room
                return pointer, rest[:room]
            pieces.append(rest)
            room -= len(rest)
            if not queue.rest_is_idle:
                queue.octets -= len(rest)
            queue.rest = b""
        packets = queue.packets
        if room:
            pointer = size - room
        while room and packets:
            packet = packets.popleft()
            octets = len(packet)
            if octets > room:
                pieces.append(packet[:room])
                queue.rest, queue.rest_is_idle = packet[room:], False
                queue.octets -= room
                room = 0
            else:
                pieces.append(packet)
                room -= octets
                queue.octets -= octets
        if room:
            idle = idle_packet(max(room, PACKET_OCTETS_MIN))
            self.idle_octets += len(idle)
            pieces.append(idle[:room])
            queue.rest, queue.rest_is_idle = idle[room:], True
        return pointer, b"".join(pieces)
