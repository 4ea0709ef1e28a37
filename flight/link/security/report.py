"""The frame security report: what a receiver says of the last protected frame (CCSDS 355.0-B-2, 4.2)."""

# The 32 bits, the highest first:
#
#     type 1 (=1) | version 3 (=4) | alarm | bad number | bad MAC | bad association | last SPI 16 | last number 8
#
# It goes down in the operational control field, in turn with the CLCW, from which the first bit tells it apart. Nobody
# authenticates it: the field stands outside the MAC, so that it can be filled when the frame leaves. So whoever reads
# it may be lied to, and what it makes a sender do has a bound (`LinkSecurity.heed`).
#
# The three flags and the two numbers are of the last frame. The alarm is of all frames since it was reset.

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from flight.core.errors import DecodeError

FSR_OCTETS = 4
FSR_TYPE_BIT = 0x80
"""Set in the first octet of a control word that is a frame security report, clear in a CLCW."""
_VERSION = 4


@dataclass(frozen=True, slots=True)
class FrameSecurityReport:
    """Version 4 FSR. `spi` and `number`, the low 8 bits of the sequence number, are those of the last frame."""

    spi: int = 0
    number: int = 0
    alarm: bool = False
    bad_number: bool = False
    bad_mac: bool = False
    bad_association: bool = False

    def encode(self) -> bytes:
        """Return the word's 4 octets."""
        assert 0 <= self.spi < 0x10000, self.spi
        assert 0 <= self.number < 0x100, self.number
        flags = self.alarm << 3 | self.bad_number << 2 | self.bad_mac << 1 | self.bad_association
        word = FSR_TYPE_BIT << 24 | _VERSION << 28 | flags << 24 | self.spi << 8 | self.number
        return word.to_bytes(FSR_OCTETS, "big")

    @classmethod
    def decode(cls, raw: bytes | memoryview) -> Self:
        """Decode exactly `raw`; raises DecodeError if it is not a version 4 FSR."""
        if len(raw) != FSR_OCTETS:
            raise DecodeError(f"frame security report of {len(raw)} octets, it takes {FSR_OCTETS}")
        word = int.from_bytes(raw, "big")
        if not word >> 31:
            raise DecodeError("control word type 0, a frame security report has 1")
        if word >> 28 & 0b111 != _VERSION:
            raise DecodeError(f"frame security report version {word >> 28 & 0b111}, only {_VERSION} is defined")
        return cls(
            spi=word >> 8 & 0xFFFF,
            number=word & 0xFF,
            alarm=bool(word >> 27 & 1),
            bad_number=bool(word >> 26 & 1),
            bad_mac=bool(word >> 25 & 1),
            bad_association=bool(word >> 24 & 1),
        )
