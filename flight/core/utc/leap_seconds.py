"""The table of leap seconds: by how much TAI is ahead of UTC, from which day on, and how long that is known.

`BUILT_IN` is what was announced when this software was made. Ground adds rows to a node's table by command
(flight/services/time/leap_seconds.py), and to its own from the list of IERS (leap_second_list.py).
"""

# TAI counts every second. UTC is behind it by whole seconds, by one more after each leap second, which is the second
# 23:59:60 of the day before a row. IERS announces one half a year ahead, or says that there will be none: so a table
# holds until a day, its expiry, and nobody knows what is right from then on. It knows of each day before the expiry how
# many seconds it has, and nothing of the expiry itself. The leap second of a row is the last second of the day before
# it: so a row at the expiry is known, or known not to be, and the first row that may still come is at a day after it.
#
#     UTC   23:59:58   23:59:59   23:59:60   00:00:00          (a row says: TAI - UTC grows from 36 s to 37 s)
#     TAI   00:00:34   00:00:35   00:00:36   00:00:37          no step, no repetition
#     POSIX       98         99   99 or 100       100          one number for two seconds
#
# A removed second (23:59:59 is left out) is defined and was never used; a row with one second less means it.
#
# What may never happen: a difference that is told twice (ADR 0029), a row that shifts times which were right before.
# Hence a table only grows behind its expiry, and each row is one second more or less than the one before it.
#
# A row that is not there says something as well. So two tables agree if they have the same rows until the earlier of
# their expiries, and then the one that is known for longer has all that the other one has.
#
# Before 1972 UTC had seconds of another length, and its distance from TAI was not a whole number. The first row stands
# for all times before it: those are written as if UTC had always gone as in 1972, 10 s behind TAI.

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import zip_longest
from typing import NamedTuple

from flight.core.nanoseconds import NS
from flight.core.utc.utc_time import DAY_S, MJD_OF_TAI, MJD_OF_UNIX, UtcTime, date_of, mjd_of

ROWS_MAX = 64  # one a year for as long as the time code lasts
MJD_MIN, MJD_MAX = mjd_of(date(1972, 1, 1)), mjd_of(date(2101, 1, 1))
SET_BACK_LATE_NS = 50_000_000  # a guard: Linux sets its clock back at the next tick, which comes within 10 ms

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TAI_AT_UNIX_S = (MJD_OF_UNIX - MJD_OF_TAI) * DAY_S  # whole days, as if no second had been inserted


class LeapRow(NamedTuple):
    """From 00:00:00 UTC of the day `mjd` on, TAI is `tai_utc_s` ahead of UTC."""

    mjd: int
    tai_utc_s: int


@dataclass(frozen=True)
class LeapSeconds:
    """Rows in order of their days, and the first day of which it is not known whether they still hold.

    Raises ValueError if the rows are not as the head of this file says; the message says which, and what would be
    right.
    """

    rows: tuple[LeapRow, ...]
    expires_mjd: int

    def __post_init__(self) -> None:
        if not 1 <= len(self.rows) <= ROWS_MAX:
            raise ValueError(f"{len(self.rows)} rows of leap seconds, should be 1 .. {ROWS_MAX}")
        for index, row in enumerate(self.rows):
            _check_row(row, self.rows[:index])
        last = self.rows[-1].mjd
        if not last <= self.expires_mjd <= MJD_MAX:
            raise ValueError(f"valid until {_day(self.expires_mjd)}, should be in {_day(last)} .. {_day(MJD_MAX)}")

    def extended(self, rows: Iterable[LeapRow], expires_mjd: int) -> LeapSeconds:
        """Return a table with more rows behind these, valid until `expires_mjd`.

        Raises ValueError for a row that is there already, is not after the last one and after the present expiry, or is
        not one second more or less than the last one; and for an expiry before the present one, or no news at all: both
        mean that the news is old.
        """
        more = tuple(rows)
        if expires_mjd < self.expires_mjd or (expires_mjd == self.expires_mjd and not more):
            raise ValueError(
                f"valid until {_day(expires_mjd)}: nothing new, the table in force is valid until "
                f"{_day(self.expires_mjd)}"
            )
        table = LeapSeconds((*self.rows, *more), expires_mjd)
        if more and more[0].mjd <= self.expires_mjd:
            raise ValueError(
                f"leap second at {_day(more[0].mjd)}, should be after {_day(self.expires_mjd)}: "
                "until then the table in force knows them all"
            )
        return table

    def check_agrees(self, other: LeapSeconds) -> None:
        """Raise ValueError if `other` says something else of the time that both tables know; the message says what."""
        until = min(self.expires_mjd, other.expires_mjd)
        own, others = ([row for row in table.rows if row.mjd <= until] for table in (self, other))
        for mine, theirs in zip_longest(own, others):
            if mine != theirs:
                raise ValueError(f"says {_said(theirs, until)}, should say {_said(mine, until)}")

    def longer_of(self, other: LeapSeconds) -> LeapSeconds:
        """Return the one of two tables that is known for longer, this one of equals.

        Raises ValueError if they do not agree.
        """
        self.check_agrees(other)
        return max(self, other, key=lambda table: table.expires_mjd)

    def is_old(self, tai_ns: int) -> bool:
        """Return whether the table does not say anything of the time `tai_ns`."""
        return self.utc_at(tai_ns).mjd >= self.expires_mjd

    def document(self) -> dict[str, object]:
        """Return it as data for JSON."""
        return {"rows": [list(row) for row in self.rows], "expires_mjd": self.expires_mjd}

    @classmethod
    def from_document(cls, document: object) -> LeapSeconds:
        """Read what `document` returns. Raises ValueError for anything else."""
        try:
            rows = tuple(LeapRow(operator.index(mjd), operator.index(s)) for mjd, s in document["rows"])  # type: ignore[index]
            return cls(rows, operator.index(document["expires_mjd"]))  # type: ignore[index]
        except (TypeError, KeyError):
            raise ValueError("not a table of leap seconds: has no rows of two numbers, or no `expires_mjd`") from None

    @cached_property
    def _unix_ns(self) -> list[int]:
        return [(row.mjd - MJD_OF_UNIX) * DAY_S * NS for row in self.rows]

    @cached_property
    def starts_tai_ns(self) -> list[int]:
        """When each row begins to hold, ns of TAI since 1958."""
        return [unix_ns + ahead_ns for unix_ns, ahead_ns in zip(self._unix_ns, self._ahead_ns, strict=True)]

    @cached_property
    def _ahead_ns(self) -> list[int]:
        """TAI since 1958 less POSIX time since 1970, under each row."""
        return [(row.tai_utc_s + _TAI_AT_UNIX_S) * NS for row in self.rows]

    def tai_utc_s(self, tai_ns: int) -> int:
        """Return TAI - UTC at a time of TAI, in seconds."""
        return self.rows[max(bisect_right(self.starts_tai_ns, tai_ns) - 1, 0)].tai_utc_s

    # POSIX time, as the clocks of computers have it

    def tai_from_unix(self, unix_ns: int) -> int:
        """Convert ns of POSIX time since 1970 to ns of TAI since 1958.

        The clock of a computer may mean another time by the same number: `possible_tai`.
        """
        return unix_ns + self._ahead_ns[max(bisect_right(self._unix_ns, unix_ns) - 1, 0)]

    def possible_tai(self, unix_ns: int) -> tuple[int, ...]:
        """Return the times of TAI that the clock of a computer may mean by a number of POSIX time: one, or two.

        Such a clock is set back by a second at an inserted one, a little later than it should be. Two times are
        possible from a second before the end of the day to SET_BACK_LATE_NS after it, the later one by a second.
        """
        at = bisect_right(self._unix_ns, unix_ns + NS) - 1  # the row that begins within a second, or has begun last
        inserted = at > 0 and self.rows[at].tai_utc_s > self.rows[at - 1].tai_utc_s
        if not inserted or unix_ns >= self._unix_ns[at] + SET_BACK_LATE_NS:
            return (self.tai_from_unix(unix_ns),)
        return unix_ns + self._ahead_ns[at - 1], unix_ns + self._ahead_ns[at]

    # UTC, as people write it

    def utc_at(self, tai_ns: int) -> UtcTime:
        """Return UTC at ns of TAI since 1958."""
        index = bisect_right(self.starts_tai_ns, tai_ns) - 1
        unix_ns = tai_ns - self._ahead_ns[max(index, 0)]
        following = index + 1
        if 0 < following < len(self.rows) and unix_ns >= self._unix_ns[following]:
            # Beyond the end of its day and before the next row: the leap second.
            return UtcTime(self.rows[following].mjd - 1, DAY_S, unix_ns - self._unix_ns[following])
        return UtcTime.from_unix(unix_ns)

    def utc_text(self, tai_ns: int, digits: int = 3) -> str:
        """Write ns of TAI since 1958 as UTC, rounded down: 2026-03-20T09:35:00.000Z. Raises ValueError beyond 9999."""
        return self.utc_at(tai_ns).text(digits)

    def tai_at(self, utc: UtcTime) -> int:
        """Return ns of TAI since 1958 at an instant of UTC. Raises ValueError for a second that UTC does not have."""
        tai_ns = self.tai_from_unix(utc.unix_ns)
        if utc.second >= DAY_S:
            tai_ns -= NS  # POSIX has the number of the second after it
        if self.utc_at(tai_ns) != utc:
            why = (
                "it was left out, 00:00:00 comes in its place" if utc.second < DAY_S else
                f"no leap second is known there, the table is valid until {_day(self.expires_mjd)}"
            )  # fmt: skip
            raise ValueError(f"{_day(utc.mjd)} has no second {utc.clock}: {why}")
        return tai_ns

    def tai_from_utc(self, utc: datetime) -> int:
        """Convert an aware datetime, which is never in a leap second, to ns of TAI since 1958.

        Raises ValueError for a second that was left out, as `tai_at`.
        """
        return self.tai_at(UtcTime.from_unix((utc - _UNIX_EPOCH) // _MICROSECOND * 1000))


def _day(mjd: int) -> str:
    try:
        return date_of(mjd).isoformat()
    except ValueError:
        return f"MJD {mjd}"


def _said(row: LeapRow | None, until_mjd: int) -> str:
    if row is None:
        return f"no further leap second until {_day(until_mjd)}"
    return f"TAI - UTC is {row.tai_utc_s} s from {_day(row.mjd)} on"


def _check_row(row: LeapRow, before: Sequence[LeapRow]) -> None:
    """Check a row by those before it. Raises ValueError."""
    if not MJD_MIN <= row.mjd <= MJD_MAX:
        raise ValueError(f"leap second at {_day(row.mjd)}, should be in {_day(MJD_MIN)} .. {_day(MJD_MAX)}")
    if date_of(row.mjd).day != 1:  # ITU-R TF.460-6: at the end of a month
        raise ValueError(f"leap second at {_day(row.mjd)}, should be at the first day of a month")
    if not before:
        return
    if known := [earlier for earlier in before if earlier.mjd == row.mjd]:
        raise ValueError(f"leap second at {_day(row.mjd)} is announced twice, known with {known[0].tai_utc_s} s")
    last = before[-1]
    if row.mjd < last.mjd:
        raise ValueError(f"leap second at {_day(row.mjd)}, should be after the last one, {_day(last.mjd)}")
    if abs(row.tai_utc_s - last.tai_utc_s) != 1:
        raise ValueError(
            f"leap second at {_day(row.mjd)}: TAI - UTC is {row.tai_utc_s} s, should be {last.tai_utc_s - 1} or "
            f"{last.tai_utc_s + 1}, one second from that before"
        )


def _table(text: str, expires: date) -> LeapSeconds:
    months = (date.fromisoformat(f"{month}-01") for month in text.split())
    return LeapSeconds(tuple(LeapRow(mjd_of(day), 10 + i) for i, day in enumerate(months)), mjd_of(expires))


# IERS Bulletin C; the list of tzdata 2026.6 (updated on 2026-07-06) has the same rows and this expiry.
BUILT_IN = _table(
    "1972-01 1972-07 1973-01 1974-01 1975-01 1976-01 1977-01 1978-01 1979-01 1980-01 1981-07 1982-07 1983-07 1985-07 "
    "1988-01 1990-01 1991-01 1992-07 1993-07 1994-07 1996-01 1997-07 1999-01 2006-01 2009-01 2012-07 2015-07 2017-01",
    date(2027, 6, 28),
)
