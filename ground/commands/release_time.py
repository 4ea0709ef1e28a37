"""Release times as people write them: in UTC, or in seconds from now by the on-board clock."""

from __future__ import annotations

from datetime import UTC, datetime

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import ns
from flight.core.utc.leap_seconds import LeapSeconds
from flight.core.utc.utc_time import UtcTime
from flight.link.time.time_code import TIME_NS_MAX


def utc_tai_ns(text: str, leap_seconds: LeapSeconds) -> int:
    """Return `2026-03-20T10:00:00Z` as nanoseconds of TAI since 1958; a time without an offset is UTC.

    Raises OrbitnodeError for any other text, for a leap second that the table does not have, and for times that the
    time code cannot express.
    """
    try:
        if ":60" in text:
            tai_ns = leap_seconds.tai_at(UtcTime.parse(text))
        else:
            utc = datetime.fromisoformat(text)  # takes more forms than the ASCII codes of CCSDS: offsets, a date alone
            tai_ns = leap_seconds.tai_from_utc(utc.replace(tzinfo=UTC) if utc.tzinfo is None else utc)
    except (ValueError, OverflowError):
        tai_ns = -1  # out of range, like a date before 1958: one message for all that is wrong
    if not 0 <= tai_ns <= TIME_NS_MAX:
        raise OrbitnodeError(f"time {text!r}: should be UTC such as 2026-03-20T10:00:00Z")
    return tai_ns


def release_tai_ns(text: str, onboard_ns: int, leap_seconds: LeapSeconds) -> int:
    """Return `+90` or `2026-03-20T10:00:00Z` as nanoseconds of TAI since 1958.

    onboard_ns: what the on-board clock shows now, from which `+90` counts. Raises OrbitnodeError for any other text,
    and for times that the time code cannot express.
    """
    # From the on-board clock and not from ours: the node releases the command by it, however far it is off.
    try:
        if not text.startswith("+"):
            return utc_tai_ns(text, leap_seconds)
        release_ns = onboard_ns + ns(float(text))
    except (ValueError, OverflowError, OrbitnodeError):
        release_ns = -1
    if not 0 <= release_ns <= TIME_NS_MAX:
        raise OrbitnodeError(
            f"time {text!r}: should be UTC such as 2026-03-20T10:00:00Z, or +SECONDS from now on board"
        )
    return release_ns
