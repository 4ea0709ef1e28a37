"""A telemetry packet as it stands in a packet store: how its record is written, and how it is read back.

A record is how many packets that nobody heard were stored before this one (u64), whether this one was heard as it was
made (u8), and the packet. So what waits for playback is one subtraction, whatever the store holds.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from flight.kernels import crc16
from flight.link.space_packet import PACKET_OCTETS_MIN
from flight.link.time_code import decode_cuc

_HEAD = struct.Struct(">QB")
OVERHEAD_OCTETS = _HEAD.size  # what a record takes beside its packet
TIME = slice(13, 19)  # of a telemetry packet (ECSS-E-ST-70-41C, 7.4.3.1)
_OCTETS_MIN = OVERHEAD_OCTETS + TIME.stop
pack_head = _HEAD.pack  # of how many were unheard before, and whether it was heard


class Place(NamedTuple):
    """Where one stands in a store: `number` of the next packet, and how many `unheard` ones came before it."""

    number: int
    unheard: int


class Stored(NamedTuple):
    """A packet as it was read back."""

    place: Place
    heard: bool
    time_ns: int
    packet: bytes


def read_stored(number: int, content: bytes) -> Stored | None:
    """The packet of the record `number`; None for one that is sound and too short to be of a packet store."""
    if len(content) < _OCTETS_MIN:
        return None
    unheard, heard = _HEAD.unpack_from(content)
    packet = content[OVERHEAD_OCTETS:]
    return Stored(Place(number, unheard), bool(heard), decode_cuc(packet[TIME]), packet)


def time_at_head(raw: bytes) -> int | None:
    """Time of the packet with which `raw` begins; None if it is longer than that, or damaged."""
    if len(raw) < TIME.stop:
        return None
    packet = raw[: (raw[4] << 8 | raw[5]) + PACKET_OCTETS_MIN]
    return None if crc16(packet) else decode_cuc(packet[TIME])
