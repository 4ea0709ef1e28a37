"""Time as whole nanoseconds, the one unit inside the flight code, and the scale on which they count: TAI since 1958.

International Atomic Time is the time of packets and of the on-board clock, and counts every second. UTC is behind it by
whole seconds, by one more after each leap second:

    2017-01-01 and after    37 s    IERS Bulletin C 52; no bulletin since has announced another one

UTC times before that day come out wrong, and nothing asks for one. Node, ground and simulator convert between TAI and
UTC by this file alone.
"""

# Why integers: a float of seconds since 1958 resolves 0.5 us, and sums of floats depend on their order. A run must give
# the same digest each time (ADR 0001), so a time is an int everywhere and becomes a float only where people read it.
#
# Why TAI: packet times and schedules must not repeat or jump when a leap second is inserted. UTC appears in texts
# alone.
#
# Why the difference is not configurable (ADR 0029): a node that was told another difference than its ground would be
# off by a second, and nobody would notice. Once a leap second is announced, the difference becomes a table of rows as
# above, which `tai_from_unix` and `utc_from_tai` look up.

from __future__ import annotations

from datetime import UTC, datetime, timedelta

NS = 1_000_000_000  # nanoseconds per second; a clock that is off by 1 part per billion gains 1 ns per second

TAI_MINUS_UTC_S = 37
TAI_MINUS_UTC_SINCE = datetime(2017, 1, 1, tzinfo=UTC)

_TAI_EPOCH = datetime(1958, 1, 1, tzinfo=UTC)  # CCSDS 301.0-B-4, 3.2.2: epoch of the level 1 time code
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TAI_MINUS_UNIX_NS = (TAI_MINUS_UTC_S + (_UNIX_EPOCH - _TAI_EPOCH) // timedelta(seconds=1)) * NS


def ns(seconds: float) -> int:
    """Convert seconds to integer nanoseconds, rounded to the nearest."""
    return round(seconds * NS)


def tai_from_unix(unix_ns: int) -> int:
    """Convert ns of UTC since 1970, leap seconds not counted, to ns of TAI since 1958."""
    return unix_ns + _TAI_MINUS_UNIX_NS


def tai_from_utc(utc: datetime) -> int:
    """Convert an aware datetime to ns of TAI since 1958."""
    return tai_from_unix((utc - _UNIX_EPOCH) // _MICROSECOND * 1000)


def utc_from_tai(tai_ns: int) -> datetime:
    """Convert ns of TAI since 1958 to UTC, rounded down to microseconds; raises OverflowError beyond the year 9999."""
    return _UNIX_EPOCH + (tai_ns - _TAI_MINUS_UNIX_NS) // 1000 * _MICROSECOND


def utc_text(tai_ns: int) -> str:
    """Write ns of TAI since 1958 as UTC with milliseconds, rounded down: 2026-03-20T09:35:00.000Z."""
    return f"{utc_from_tai(tai_ns):%Y-%m-%dT%H:%M:%S}.{tai_ns // 1_000_000 % 1000:03d}Z"
