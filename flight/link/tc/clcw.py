"""The communications link control word: what the telecommand receiver tells the sender (CCSDS 232.0-B-4, 4.2)."""

# The 32 bits, the highest first:
#
#     type 1 | version 2 | status 3 | COP 2 | channel 6 | spare 2 | no RF | no bit lock | lockout | wait | retransmit |
#     FARM-B counter 2 | spare 1 | report value 8
#
# The decoder refuses a word of any other form. FOP-1 takes the flags and the report value for the truth: a word
# read loosely could confirm commands that never arrived. Every telemetry frame brings another word, so that a refused
# one costs nothing.

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from flight.core.errors import DecodeError

CLCW_OCTETS = 4


@dataclass(frozen=True, slots=True)
class Clcw:
    """Version 0 CLCW of COP-1. `report_value` is N(R): V(R) of the receiver; `farm_b_counter` is 0..3."""

    vcid: int
    report_value: int
    lockout: bool = False
    wait: bool = False
    retransmit: bool = False
    no_rf: bool = False
    no_bit_lock: bool = False
    farm_b_counter: int = 0
    status: int = 0

    def encode(self) -> bytes:
        """Return the word's 4 octets."""
        assert 0 <= self.vcid < 0x40, self.vcid
        assert 0 <= self.report_value < 0x100, self.report_value
        word = (
            self.status << 26
            | 0b01 << 24  # COP in effect: COP-1
            | self.vcid << 18
            | self.no_rf << 15
            | self.no_bit_lock << 14
            | self.lockout << 13
            | self.wait << 12
            | self.retransmit << 11
            | self.farm_b_counter << 9
            | self.report_value
        )
        return word.to_bytes(CLCW_OCTETS, "big")

    @classmethod
    def decode(cls, raw: bytes | memoryview) -> Self:
        """Decode exactly `raw`; raises DecodeError if it is not a version 0 CLCW of COP-1."""
        if len(raw) != CLCW_OCTETS:
            raise DecodeError(f"CLCW of {len(raw)} octets, it takes {CLCW_OCTETS}")
        word = int.from_bytes(raw, "big")
        if word >> 31:
            raise DecodeError("control word type 1, a CLCW has 0")
        if word >> 29:
            raise DecodeError(f"CLCW version {word >> 29}, only 0 is defined")
        if word >> 24 & 0b11 != 0b01:
            raise DecodeError(f"COP in effect {word >> 24 & 0b11}, only 1 (COP-1) is used")
        if word & 0x30100:  # bits 17, 16 and 8
            raise DecodeError("CLCW: spare bits set")
        return cls(
            vcid=word >> 18 & 0x3F,
            report_value=word & 0xFF,
            lockout=bool(word >> 13 & 1),
            wait=bool(word >> 12 & 1),
            retransmit=bool(word >> 11 & 1),
            no_rf=bool(word >> 15 & 1),
            no_bit_lock=bool(word >> 14 & 1),
            farm_b_counter=word >> 9 & 0b11,
            status=word >> 26 & 0b111,
        )
