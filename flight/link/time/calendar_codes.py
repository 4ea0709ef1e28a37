"""Calendar codes of CCSDS 301.0-B-4: CCS, in decimal digits of 4 bits (3.4), and the ASCII codes A and B (3.5).

All of them say UTC as a calendar does.
"""

# P-field of CCS, one octet:
#
#     ext 1 (0) | code 3 (101) | calendar 1 (0: month and day, 1: day of the year) | octets of decimals 3 (0 .. 6)
#
# T-field: year 2 octets, month 1 and day 1, or day of the year 2, hour, minute, second, then two decimals an octet.
# Decimals beyond nanoseconds, from the fifth octet on, are cut off.
#
# CCS is read as the text that it spells, by the same rules as the ASCII codes (UtcTime.parse): one calendar, one place.

from __future__ import annotations

from dataclasses import dataclass

from flight.core.errors import DecodeError
from flight.core.utc.utc_time import UtcTime

CODE = 0b101
_DECIMAL_OCTETS_MAX = 6
_NS_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Ccs:
    """A format of CCS. Raises ValueError for a format that the standard does not have."""

    day_of_year: bool = False
    decimal_octets: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.decimal_octets <= _DECIMAL_OCTETS_MAX:
            raise ValueError(f"{self.decimal_octets} octets of decimals, CCS has 0 .. {_DECIMAL_OCTETS_MAX}")

    @property
    def octets(self) -> int:
        """Length of the T-field."""
        return 7 + self.decimal_octets

    @property
    def p_field(self) -> bytes:
        """The P-field that says this format, 1 octet."""
        return bytes((CODE << 4 | self.day_of_year << 3 | self.decimal_octets,))

    def encode(self, utc: UtcTime) -> bytes:
        """Return the T-field of an instant, rounded down. Raises ValueError outside the years 1 .. 9999."""
        text = utc.text_b(_NS_DIGITS) if self.day_of_year else utc.text(_NS_DIGITS)
        whole, _, decimals = text.rstrip("Z").partition(".")
        year, day, clock = whole[:4], whole[5:].partition("T")[0].replace("-", ""), whole[-8:].replace(":", "")
        digits = 2 * self.decimal_octets
        # A day of the year has three digits in the space of four.
        return bytes.fromhex(f"{year}{day:0>4}{clock}{decimals[:digits]:0<{digits}}")

    def decode(self, raw: bytes | memoryview) -> UtcTime:
        """Return the instant. Raises DecodeError for another length, or what is not a date and a time."""
        if len(raw) != self.octets:
            raise DecodeError(f"time code of {len(raw)} octets, this CCS takes {self.octets}")
        digits = bytes(raw).hex()
        if not digits.isdecimal():
            raise DecodeError(f"CCS {digits} has digits that are not decimal")
        year, day, clock, decimals = digits[:4], digits[4:8], digits[8:14], digits[14:]
        if self.day_of_year:
            if day[0] != "0":
                raise DecodeError(f"CCS {digits}: day {day} of the year, should be 001 .. 366")
            date = f"{year}-{day[1:]}"
        else:
            date = f"{year}-{day[:2]}-{day[2:]}"
        text = f"{date}T{clock[:2]}:{clock[2:4]}:{clock[4:]}" + (f".{decimals}" if decimals else "")
        try:
            return UtcTime.parse(text)
        except ValueError as error:
            raise DecodeError(f"CCS: {error}") from None


def read_ccs_p_field(raw: bytes | memoryview) -> tuple[Ccs, int]:
    """Read a P-field at the head of `raw`; return the format and the octets that the P-field takes, which is 1.

    Raises DecodeError for any other code.
    """
    if not len(raw):
        raise DecodeError("time code without a P-field")
    first = raw[0]
    if first >> 4 != CODE:
        raise DecodeError(f"P-field {first:02x} does not say CCS, which begins with 0101")
    if first & 0b111 > _DECIMAL_OCTETS_MAX:
        raise DecodeError(f"P-field {first:02x} says 7 octets of decimals, CCS has 0 .. {_DECIMAL_OCTETS_MAX}")
    return Ccs(bool(first & 0b1000), first & 0b111), 1


def encode_ascii(utc: UtcTime, *, day_of_year: bool = False, digits: int = 3) -> bytes:
    """Return ASCII code A, or B with the day of the year, with 0 .. 9 decimals. Raises ValueError outside 1 .. 9999."""
    return (utc.text_b(digits) if day_of_year else utc.text(digits)).encode("ascii")


def decode_ascii(raw: bytes | memoryview) -> UtcTime:
    """Read ASCII code A or B, with or without the Z at its end. Raises DecodeError for anything else."""
    try:
        return UtcTime.parse(bytes(raw).decode("ascii"))
    except ValueError as error:
        raise DecodeError(f"ASCII time code: {error}") from None
