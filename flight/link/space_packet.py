"""Space packets: the unit in which telemetry and telecommands travel (CCSDS 133.0-B-2, 4.1)."""

# The primary header, 6 octets (4.1.3):
#
#     version 3 = 0 | command 1 | secondary header 1 | APID 11 | sequence flags 2 = 3 | count 14 | data octets - 1 16
#
# The length is one less than the octets of data: a packet without data cannot be written, and the shortest has 7
# octets. Sequence flags 3 say "unsegmented". Segments of a packet are not put together here, so the decoder refuses
# them: a segment read as a whole packet would have its fields in the wrong places.

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Self

from flight.core.errors import DecodeError

HEADER_OCTETS = 6
PACKET_OCTETS_MIN = 7
PACKET_OCTETS_MAX = 65542
IDLE_APID = 2047
_HEADER = struct.Struct(">HHH")


@dataclass(frozen=True, slots=True)
class SpacePacket:
    """One unsegmented packet (133.0-B-2, 4.1.2 to 4.1.4). `data` is 1..65536 octets, secondary header included."""

    apid: int
    seq: int
    data: bytes
    is_command: bool = False
    has_secondary: bool = False

    def __post_init__(self) -> None:
        assert 0 <= self.apid < 0x800, self.apid
        assert 0 <= self.seq < 0x4000, self.seq
        assert 1 <= len(self.data) <= 0x10000, len(self.data)

    def encode(self) -> bytes:
        """Return the packet's octets, 7..65542 of them."""
        word = self.is_command << 12 | self.has_secondary << 11 | self.apid
        return _HEADER.pack(word, 0xC000 | self.seq, len(self.data) - 1) + self.data

    @classmethod
    def decode(cls, raw: bytes | memoryview) -> Self:
        """Decode exactly `raw`; raises DecodeError if it is not one whole, unsegmented packet."""
        if len(raw) < PACKET_OCTETS_MIN:
            raise DecodeError(f"space packet of {len(raw)} octets, shortest is {PACKET_OCTETS_MIN}")
        word, control, length = _HEADER.unpack_from(raw)
        if word >> 13:
            raise DecodeError(f"space packet version {word >> 13}, only 0 is defined")
        if control >> 14 != 0b11:
            raise DecodeError(f"space packet with sequence flags {control >> 14}, only 3 (unsegmented) is used")
        if len(raw) != PACKET_OCTETS_MIN + length:
            raise DecodeError(f"space packet: length field says {PACKET_OCTETS_MIN + length} octets, got {len(raw)}")
        return cls(word & 0x7FF, control & 0x3FFF, bytes(raw[6:]), bool(word >> 12 & 1), bool(word >> 11 & 1))


# Made once: the multiplexer makes an idle packet for most frames.
_IDLE_FILL = b"\x55" * (PACKET_OCTETS_MAX - HEADER_OCTETS)


def idle_packet(octets: int) -> bytes:
    """Return an idle packet of 7..65542 `octets` in all (133.0-B-2, 4.1.3.3.4.4: APID 2047, no secondary header)."""
    assert PACKET_OCTETS_MIN <= octets <= PACKET_OCTETS_MAX, octets
    header = _HEADER.pack(IDLE_APID, 0xC000, octets - PACKET_OCTETS_MIN)
    return header + _IDLE_FILL[: octets - HEADER_OCTETS]
