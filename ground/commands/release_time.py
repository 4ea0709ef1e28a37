"""Times as people write them: in UTC, or, of a release, in seconds from now by the on-board clock.

UTC is a day, and a time of the day if it is not 00:00:00, in any of these forms:

    2026-03-20T10:00:00Z           month and day; or day of the year, 2026-079
    2026-03-20 10:00               T or a blank; without seconds
    2026-03-20T10:00:00.25         with decimals; without Z it is UTC as well
    2026-03-20T12:00:00+02:00      any clock, with its distance from UTC
    2016-12-31T23:59:60Z           a leap second; 2017-01-01T00:59:60+01:00 is the same one
"""

# There is one way from a text to TAI for all forms: the text is read as a day and a second of it, brought to UTC, and
# what UTC has at that place is the table's to say. So a second that UTC does not have (:60 without a leap second, or
# 23:59:59 if it was left out) is refused in every form, and one that it has is taken in every form.
#
# Not by `datetime`: it has no 23:59:60, and nothing finer than microseconds.

from __future__ import annotations

import re

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS, ns
from flight.core.utc.leap_seconds import LeapSeconds
from flight.core.utc.utc_time import DAY_S, UtcTime
from flight.link.time.time_code import TIME_NS_MAX

_FORM = re.compile(
    r"(?P<day>\d{4}-(?:\d\d-\d\d|\d{3}))"
    r"(?:[T ](?P<minute>\d\d:\d\d)(?::(?P<second>\d\d)(?:[.,](?P<decimals>\d{1,18}))?)?"
    r"(?:Z|(?P<ahead>[+-])(?P<hours>[01]\d|2[0-3])(?::?(?P<minutes>[0-5]\d))?)?)?",
    re.ASCII,
)
_UTC = "UTC such as 2026-03-20T10:00:00Z"


def utc_tai_ns(text: str, leap_seconds: LeapSeconds) -> int:
    """Return `2026-03-20T10:00:00Z` as nanoseconds of TAI since 1958; a time without an offset is UTC.

    Raises OrbitnodeError for any other text, for a second that UTC does not have by the table, and for times that the
    time code cannot express.
    """
    return _tai_ns(text, leap_seconds, _UTC)


def release_tai_ns(text: str, onboard_ns: int, leap_seconds: LeapSeconds) -> int:
    """Return `+90` or `2026-03-20T10:00:00Z` as nanoseconds of TAI since 1958.

    onboard_ns: what the on-board clock shows now, from which `+90` counts. Raises OrbitnodeError as `utc_tai_ns`.
    """
    should_be = f"{_UTC}, or +SECONDS from now on board"
    if not text.startswith("+"):
        return _tai_ns(text, leap_seconds, should_be)
    # From the on-board clock and not from ours: the node releases the command by it, however far it is off.
    try:
        release_ns = onboard_ns + ns(float(text))
    except (ValueError, OverflowError):
        release_ns = -1
    return _expressible(release_ns, text, should_be)


def _tai_ns(text: str, leap_seconds: LeapSeconds, should_be: str) -> int:
    try:
        utc = _utc(text)
    except ValueError:
        raise OrbitnodeError(f"time {text!r}: should be {should_be}") from None
    try:
        return _expressible(leap_seconds.tai_at(utc), text, should_be)
    except ValueError as error:
        raise OrbitnodeError(f"time {text!r}: {error}") from None


def _expressible(tai_ns: int, text: str, should_be: str) -> int:
    if not 0 <= tai_ns <= TIME_NS_MAX:  # like a date before 1958
        raise OrbitnodeError(f"time {text!r}: should be {should_be}")
    return tai_ns


def _utc(text: str) -> UtcTime:
    """Read a text as an instant of UTC, which need not exist. Raises ValueError."""
    read = _FORM.fullmatch(text)
    if read is None:
        raise ValueError
    # Second 60 is read as the one before it, and is set at the end: where the last second of a day is, only UTC says.
    second = read["second"] or "00"
    is_leap = second == "60"
    clock = f"{read['minute'] or '00:00'}:{'59' if is_leap else second}.{read['decimals'] or '0'}"
    local = UtcTime.parse(f"{read['day']}T{clock}")
    ahead_s = int(read["hours"] or 0) * 3600 + int(read["minutes"] or 0) * 60
    utc = UtcTime.from_unix(local.unix_ns - (-ahead_s if read["ahead"] == "-" else ahead_s) * NS)
    if not is_leap:
        return utc
    if utc.second != DAY_S - 1:
        raise ValueError
    return utc._replace(second=DAY_S)
