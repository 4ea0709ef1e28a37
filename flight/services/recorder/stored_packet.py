"""A telemetry packet as it stands in a packet store: how its record is written, and how it is read back."""

# A record of the store's journal, big-endian:
#
#     u64   how many packets that nobody heard were stored before this one
#     u8    1 if this one was heard as it was made, so that playback passes over it
#     then  the packet
#
# The count is why nothing has to be searched: what waits for playback, and what was overwritten before it, is a
# subtraction of two such counts, whatever the store holds (ADR 0013). Nine octets per packet are the price.

from __future__ import annotations

import struct
from typing import NamedTuple

from flight.kernels import crc16
from flight.link.space_packet import PACKET_OCTETS_MIN
from flight.link.time.time_code import decode_cuc

_HEAD = struct.Struct(">QB")
OVERHEAD_OCTETS = _HEAD.size  # what a record takes beside its packet
TIME = slice(13, 19)  # the time field of a telemetry packet (ECSS-E-ST-70-41C, 7.4.3.1)
_OCTETS_MIN = OVERHEAD_OCTETS + TIME.stop
pack_head = _HEAD.pack  # takes how many were unheard before this packet, and whether this one was heard


class Place(NamedTuple):
    """A place in a store: `number` of the next packet, and how many `unheard` ones came before it."""

    number: int
    unheard: int


class Stored(NamedTuple):
    """A packet as it was read back."""

    place: Place
    heard: bool
    time_ns: int
    packet: bytes


def read_stored(number: int, content: bytes) -> Stored | None:
    """Return the packet of the record `number`, or None if the record is sound and too short for a packet store."""
    if len(content) < _OCTETS_MIN:
        return None
    unheard, heard = _HEAD.unpack_from(content)
    packet = content[OVERHEAD_OCTETS:]
    return Stored(Place(number, unheard), bool(heard), decode_cuc(packet[TIME]), packet)


def time_at_head(raw: bytes) -> int | None:
    """Return the time of the packet with which `raw` begins, or None if that packet is cut off or damaged."""
    if len(raw) < TIME.stop:
        return None
    # The length field is one less than the octets behind the header (133.0-B-2, 4.1.3.5).
    packet = raw[: (raw[4] << 8 | raw[5]) + PACKET_OCTETS_MIN]
    return None if crc16(packet) else decode_cuc(packet[TIME])
