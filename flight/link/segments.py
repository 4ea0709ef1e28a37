"""Segments: packets cut to the room of TC frames, and put together again on board (CCSDS 232.0-B-4, 4.1.3.2.2).

A segment header is one octet in front of a frame's data: sequence flags 2 bits, MAP id 6 bits.

    first 01 --> continuing 00 --> ... --> last 10      the parts of one packet, in frames of the AD service
    unsegmented 11                                       whole packets, one after the other

On board each MAP has at most one packet that is not whole yet. Either its last part comes, or it is given up.
"""

# Why parts travel by the AD service alone: FARM-1 gives AD frames in order, each once, so a part that is missing shows
# itself, and V(R) tells the ground how many parts arrived. Of bypass frames nothing tells that one is missing, twice
# there or overtaken, so a part in one of them is refused. A whole packet in a bypass frame may come between two parts.
#
# What is given up, and why (the caller counts it by these reasons):
#
#     segment      a part without those before it, without data, or in a bypass frame
#     unfinished   a packet of which the rest will not come: another began on its MAP, or Set V(R) moved the sequence
#     packet       the parts do not add up to the length that the packet's own header says
#     long         the packet is, or all packets that are not whole would be, longer than the link allows
#
# What is held survives a carrier that goes away, because V(R) does: the ground has been told that the first parts are
# on board, and sends only the others in the next contact. If the node forgot them, the ground would take a packet for
# delivered that never was. A reboot loses both, and the ground begins such a packet again
# (ground/link/cop1/command_queue.py).
#
# The bound is on all MAPs together: a sender that begins a packet on each of the 64 gets no more memory than one that
# uses one.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from flight.core.errors import DecodeError
from flight.link.space_packet import HEADER_OCTETS

SEGMENT_HEADER_OCTETS = 1
MAPS = 64


class SegmentFlags(IntEnum):
    """Which part of a packet stands in a frame, as on the wire."""

    CONTINUING = 0
    FIRST = 1
    LAST = 2
    UNSEGMENTED = 3


class SegmentError(DecodeError):
    """A segment that cannot be taken. `reason` is the key under which it is counted."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def segment_header(flags: SegmentFlags, map_id: int) -> bytes:
    """Return the segment header's octet."""
    assert 0 <= map_id < MAPS, map_id
    return bytes((flags << 6 | map_id,))


def cut_packet(packet: bytes, room_octets: int, map_id: int) -> Sequence[bytes]:
    """Return the packet as the data of 1 frame or several, each with its segment header.

    room_octets: what a frame has for the packet's own octets, the segment header not counted.
    """
    assert room_octets >= 1, room_octets
    if len(packet) <= room_octets:
        return [segment_header(SegmentFlags.UNSEGMENTED, map_id) + packet]
    starts = range(0, len(packet), room_octets)
    flags = {0: SegmentFlags.FIRST, starts[-1]: SegmentFlags.LAST}
    return [
        segment_header(flags.get(start, SegmentFlags.CONTINUING), map_id) + packet[start : start + room_octets]
        for start in starts
    ]


@dataclass(slots=True)
class Reassembler:
    """One virtual channel's packets that are not whole yet, by MAP; `octets_max` bounds all of them together."""

    octets_max: int
    _parts: dict[int, bytearray] = field(default_factory=dict)

    @property
    def held_octets(self) -> int:
        """Octets of packets that are not whole yet."""
        return sum(map(len, self._parts.values()))

    def reset(self) -> int:
        """Give up every packet that is not whole: their rest will not come. Return how many there were."""
        given_up = len(self._parts)
        self._parts.clear()
        return given_up

    def begins_anew(self, data: bytes) -> bool:
        """Return whether this segment of the AD service leaves the packet unfinished that its MAP holds."""
        return bool(data) and data[0] & 0x3F in self._parts and data[0] >> 6 in (1, 3)

    def take(self, data: bytes, *, in_sequence: bool) -> bytes | None:
        """Return the octets that a frame's data completed: whole packets; None if it is a part and more is to come.

        `in_sequence`: the frame came by the AD service. Raises SegmentError; what its MAP held is then given up.
        """
        if len(data) <= SEGMENT_HEADER_OCTETS:
            raise SegmentError("segment", f"segment of {len(data)} octets, should have a header and data")
        flags, map_id = SegmentFlags(data[0] >> 6), data[0] & 0x3F
        if not in_sequence:
            if flags is not SegmentFlags.UNSEGMENTED:
                raise SegmentError("segment", "a part of a packet in a bypass frame, should go by the AD service")
            return data[SEGMENT_HEADER_OCTETS:]
        held = self._parts.pop(map_id, None)
        if flags is SegmentFlags.UNSEGMENTED:
            return data[SEGMENT_HEADER_OCTETS:]
        if flags is SegmentFlags.FIRST:
            held = bytearray()
        elif held is None:
            raise SegmentError("segment", f"MAP {map_id}: a part of a packet without the first")
        return self._add(held, data, flags is SegmentFlags.LAST, map_id)

    def _add(self, held: bytearray, data: bytes, is_last: bool, map_id: int) -> bytes | None:
        octets = len(held) + len(data) - SEGMENT_HEADER_OCTETS
        if octets + self.held_octets > self.octets_max:
            raise SegmentError("long", f"MAP {map_id}: parts of more than {self.octets_max} octets together")
        held += data[SEGMENT_HEADER_OCTETS:]
        # Whoever cuts a packet into parts of less than a header gets its length checked a part later.
        said = (held[4] << 8 | held[5]) + HEADER_OCTETS + 1 if octets >= HEADER_OCTETS else octets + 1
        if said > self.octets_max:
            raise SegmentError("long", f"MAP {map_id}: packet of {said} octets, longest is {self.octets_max}")
        if octets > said or (octets == said) != is_last:
            raise SegmentError("packet", f"MAP {map_id}: parts of {octets} octets of a packet of {said}")
        if is_last:
            return bytes(held)
        self._parts[map_id] = held
        return None
