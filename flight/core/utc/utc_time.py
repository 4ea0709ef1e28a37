"""An instant of UTC as people write it: a day, and a second of that day, of which a day with a leap second has 86,401.

As text it is one of the two ASCII codes of CCSDS 301.0-B-4, 3.5:

    A    2016-12-31T23:59:60.123456789Z    year, month, day of the month
    B    2016-366T23:59:60.123456789Z      year, day of the year
"""

# Why not `datetime`: it has no 23:59:60. It would show a leap second as the one before it or after it, and a time that
# people read would stand still or jump.
#
# Days are Modified Julian Days (MJD 0 is 1858-11-17), the count in which IERS announces leap seconds. Whether a day has
# a leap second is not known here but in the table (leap_seconds.py): second 86,400 is admitted on any day.

from __future__ import annotations

import re
from datetime import date
from typing import NamedTuple, Self

from flight.core.nanoseconds import NS

DAY_S = 86_400
MJD_OF_UNIX = 40_587  # 1970-01-01
MJD_OF_TAI = 36_204  # 1958-01-01, the epoch of TAI and of the time codes of level 1 (CCSDS 301.0-B-4, 3.2.2)

_ORDINAL_OF_MJD_0 = 678_576  # of datetime.date, whose day 1 is 0001-01-01
_TEXT = re.compile(
    r"(?P<year>\d{4})-(?:(?P<month>\d\d)-(?P<day>\d\d)|(?P<day_of_year>\d{3}))"
    r"T(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:\.(?P<fraction>\d{1,18}))?Z?",
    re.ASCII,
)


def mjd_of(day: date) -> int:
    """Return the Modified Julian Day of a date."""
    return day.toordinal() - _ORDINAL_OF_MJD_0


def date_of(mjd: int) -> date:
    """Return the date of a Modified Julian Day. Raises ValueError outside the years 1 .. 9999."""
    try:
        return date.fromordinal(mjd + _ORDINAL_OF_MJD_0)
    except (OverflowError, ValueError):
        raise ValueError(f"MJD {mjd} is outside the years 1 .. 9999") from None


class UtcTime(NamedTuple):
    """Modified Julian Day, second of the day (86,400 is a leap second), and nanoseconds of that second."""

    mjd: int
    second: int
    ns: int = 0

    @classmethod
    def from_unix(cls, unix_ns: int) -> Self:
        """Return the instant at `unix_ns` of POSIX time: ns since 1970, leap seconds not counted."""
        days, rest = divmod(unix_ns, DAY_S * NS)
        return cls(MJD_OF_UNIX + days, *divmod(rest, NS))

    @property
    def unix_ns(self) -> int:
        """POSIX time, ns since 1970. A leap second has that of the second after it, as POSIX reckons."""
        return ((self.mjd - MJD_OF_UNIX) * DAY_S + self.second) * NS + self.ns

    @property
    def date(self) -> date:
        """The day. Raises ValueError outside the years 1 .. 9999."""
        return date_of(self.mjd)

    @property
    def clock(self) -> str:
        """The time of the day to the second, 23:59:60 in a leap second."""
        leap = self.second // DAY_S  # 1 in a leap second, which belongs to the last minute of its day
        minute, second = divmod(self.second - leap, 60)
        return f"{minute // 60:02d}:{minute % 60:02d}:{second + leap:02d}"

    def text(self, digits: int = 3) -> str:
        """Return it as ASCII code A with that many decimals, 0 .. 9, rounded down: 2026-03-20T09:35:00.000Z."""
        fraction = f".{self.ns // 10 ** (9 - digits):0{digits}d}" if digits else ""
        return f"{self.date.isoformat()}T{self.clock}{fraction}Z"

    def text_b(self, digits: int = 3) -> str:
        """Return it as ASCII code B: 2026-079T09:35:00.000Z."""
        day, text = self.date, self.text(digits)
        return f"{text[:4]}-{day.timetuple().tm_yday:03d}{text[10:]}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read either ASCII code; decimals beyond nanoseconds are cut off.

        Raises ValueError, which says what would be right.
        """
        read = _TEXT.fullmatch(text)
        if read is None:
            raise ValueError(f"{text[:40]!r} is not a time, write it like 2026-03-20T09:35:00Z or 2026-079T09:35:00Z")
        hour, minute, second = (int(read[part]) for part in ("hour", "minute", "second"))
        leap = (hour, minute, second) == (23, 59, 60)
        if hour > 23 or minute > 59 or (second > 59 and not leap):
            raise ValueError(f"{text!r}: no such time of the day, 00:00:00 .. 23:59:59, or :60 in a leap second")
        try:
            if read["day_of_year"] is None:
                day = date(int(read["year"]), int(read["month"]), int(read["day"]))
            else:
                first, number = date(int(read["year"]), 1, 1), int(read["day_of_year"])
                day = date_of(mjd_of(first) + number - 1)
                if number < 1 or day.year != first.year:
                    raise ValueError
        except ValueError:
            raise ValueError(f"{text!r}: no such day") from None
        fraction = (read["fraction"] or "")[:9].ljust(9, "0")
        return cls(mjd_of(day), hour * 3600 + minute * 60 + second, int(fraction))
