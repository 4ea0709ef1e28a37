"""CDS, the day-segmented time code of CCSDS 301.0-B-4, 3.3: a count of days, the millisecond of the day, and finer.

It follows UTC: a day with a leap second has 86,401,000 milliseconds. So a table of leap seconds is needed to tell which
time of TAI it means.
"""

# P-field, one octet:
#
#     ext 1 (0) | code 3 (100) | epoch 1 (0: 1958, 1: agency) | days 1 (0: 16 bits, 1: 24) | finer 2
#
#     finer    00  nothing    01  16 bits, microseconds of the millisecond    10  32 bits, picoseconds of it
#
# Fields roll over one into the other: picosecond 999,999,999 into the next millisecond, millisecond 86,399,999 (or
# 86,400,999) into the next day. Days roll over after 65,536 (2137, counted from 1958) or 16,777,216; `day_near` tells
# which one is meant. A field that is out of range is damage, not a time: DecodeError. That a day has no leap second can
# only be told by a table, and is by `decode_tai`.

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS
from flight.core.utc.leap_seconds import LeapSeconds
from flight.core.utc.utc_time import DAY_S, MJD_OF_TAI, UtcTime

CODE = 0b100
_MS_OCTETS = 4
MS_OF_DAY_MAX = DAY_S * 1000 + 999  # the last one of a leap second


class Finer(IntEnum):
    """What a code says beyond milliseconds, by its number in the P-field."""

    NOTHING = 0
    MICROSECONDS = 1
    PICOSECONDS = 2

    @property
    def octets(self) -> int:
        """Length of the field."""
        return 2 * self.value

    @property
    def per_ms(self) -> int:
        """Units in a millisecond; 1 if there is no field."""
        return (1, 1000, NS)[self.value]


class CdsTime(NamedTuple):
    """The fields: days since the epoch, millisecond of the day, and units of the format's `finer` in that."""

    day: int
    ms: int
    finer: int = 0


@dataclass(frozen=True, slots=True)
class Cds:
    """A format of CDS. `epoch_mjd`: the day that is 0 by the agency's own epoch; None for 1958-01-01.

    Raises ValueError for a format that the standard does not have.
    """

    day_octets: int = 2
    finer: Finer = Finer.NOTHING
    epoch_mjd: int | None = None

    def __post_init__(self) -> None:
        if self.day_octets not in (2, 3):
            raise ValueError(f"{self.day_octets} octets of days, CDS has 2 or 3")

    @property
    def octets(self) -> int:
        """Length of the T-field."""
        return self.day_octets + _MS_OCTETS + self.finer.octets

    @property
    def p_field(self) -> bytes:
        """The P-field that says this format, 1 octet."""
        return bytes((CODE << 4 | (self.epoch_mjd is not None) << 3 | (self.day_octets == 3) << 2 | self.finer,))

    @property
    def period_days(self) -> int:
        """Days after which the code rolls over."""
        return 1 << 8 * self.day_octets

    # Field by field, exact

    def encode_fields(self, time: CdsTime) -> bytes:
        """Return the T-field. Raises ValueError for a field that is out of range."""
        if fault := self._fault(time):
            raise ValueError(fault)
        finer = time.finer.to_bytes(self.finer.octets, "big")
        return time.day.to_bytes(self.day_octets, "big") + time.ms.to_bytes(_MS_OCTETS, "big") + finer

    def decode_fields(self, raw: bytes | memoryview) -> CdsTime:
        """Return the fields. Raises DecodeError for another length, or a field that is out of range."""
        if len(raw) != self.octets:
            raise DecodeError(f"time code of {len(raw)} octets, this CDS takes {self.octets}")
        ms_at, finer_at = self.day_octets, self.day_octets + _MS_OCTETS
        parts = (raw[:ms_at], raw[ms_at:finer_at], raw[finer_at:])
        time = CdsTime(*(int.from_bytes(part, "big") for part in parts))
        if fault := self._fault(time):
            raise DecodeError(fault)
        return time

    def _fault(self, time: CdsTime) -> str:
        if not 0 <= time.day < self.period_days:
            return f"day {time.day} of CDS is outside 0 .. {self.period_days - 1}"
        if not 0 <= time.ms <= MS_OF_DAY_MAX:
            return f"millisecond {time.ms} of CDS is outside 0 .. {MS_OF_DAY_MAX}"
        if not 0 <= time.finer < self.finer.per_ms:
            return f"{time.finer} {self.finer.name.lower()} of CDS are outside 0 .. {self.finer.per_ms - 1}"
        return ""

    # As UTC

    def encode(self, utc: UtcTime) -> bytes:
        """Return the T-field of an instant, rounded down. Raises ValueError outside the range of the code."""
        ms, rest_ns = divmod(utc.ns, 1_000_000)
        finer = rest_ns * self.finer.per_ms // 1_000_000
        return self.encode_fields(CdsTime(utc.mjd - self._epoch_mjd, utc.second * 1000 + ms, finer))

    def decode(self, raw: bytes | memoryview) -> UtcTime:
        """Return the instant; picoseconds are rounded down to nanoseconds. Raises DecodeError, as `decode_fields`."""
        time = self.decode_fields(raw)
        second, ms = divmod(time.ms, 1000)
        return UtcTime(self._epoch_mjd + time.day, second, ms * 1_000_000 + time.finer * 1_000_000 // self.finer.per_ms)

    def day_near(self, utc: UtcTime, near_mjd: int) -> UtcTime:
        """Return a decoded instant on that of its possible days that is nearest to `near_mjd`."""
        periods = (2 * (near_mjd - utc.mjd) + self.period_days) // (2 * self.period_days)
        return utc._replace(mjd=utc.mjd + periods * self.period_days)

    @property
    def _epoch_mjd(self) -> int:
        return MJD_OF_TAI if self.epoch_mjd is None else self.epoch_mjd

    # As nanoseconds of TAI since 1958

    def encode_tai(self, tai_ns: int, leap_seconds: LeapSeconds) -> bytes:
        """Return the T-field of a time of TAI, rounded down. Raises ValueError outside the range of the code."""
        return self.encode(leap_seconds.utc_at(tai_ns))

    def decode_tai(self, raw: bytes | memoryview, leap_seconds: LeapSeconds) -> int:
        """Return TAI. Raises DecodeError, also for a leap second of a day that has none by the table."""
        try:
            return leap_seconds.tai_at(self.decode(raw))
        except DecodeError:
            raise
        except ValueError as error:
            raise DecodeError(f"CDS: {error}") from None


def read_cds_p_field(raw: bytes | memoryview, epoch_mjd: int | None = None) -> tuple[Cds, int]:
    """Read a P-field at the head of `raw`; return the format and the octets that the P-field takes, which is 1.

    epoch_mjd: day 0 of the agency's own epoch. Raises DecodeError for any other code, for the extended P-field and the
    resolution that CDS does not define, and for an epoch that is not known.
    """
    if not len(raw):
        raise DecodeError("time code without a P-field")
    first = raw[0]
    if first >> 4 != CODE:
        raise DecodeError(f"P-field {first:02x} does not say CDS, which begins with 0100")
    if first & 0b11 > Finer.PICOSECONDS:
        raise DecodeError(f"P-field {first:02x} has resolution 11, which CDS does not define")
    agency = bool(first & 0b1000)
    if agency and epoch_mjd is None:
        raise DecodeError(f"P-field {first:02x} says an epoch of the agency's own, which is not known here")
    return Cds(3 if first & 0b100 else 2, Finer(first & 0b11), epoch_mjd if agency else None), 1
