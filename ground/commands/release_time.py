"""Release times as people write them: UTC, or seconds from the on-board clock's now."""

from __future__ import annotations

from datetime import UTC, datetime

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import ns, tai_from_utc
from flight.link.time_code import TIME_NS_MAX


def utc_tai_ns(text: str) -> int:
    """`2026-03-20T10:00:00Z` as nanoseconds of TAI since 1958; without an offset it is UTC.

    Raises OrbitnodeError for anything else, and for what the time code cannot tell.
    """
    try:
        utc = datetime.fromisoformat(text)
        utc = utc.replace(tzinfo=UTC) if utc.tzinfo is None else utc
        made = tai_from_utc(utc)
    except (ValueError, OverflowError):
        made = -1
    if not 0 <= made <= TIME_NS_MAX:
        raise OrbitnodeError(f"time is {text!r}, should be UTC such as 2026-03-20T10:00:00Z")
    return made


def release_tai_ns(text: str, onboard_ns: int) -> int:
    """`+90` or `2026-03-20T10:00:00Z` as nanoseconds of TAI since 1958; `onboard_ns` is what the on-board clock shows.

    Raises OrbitnodeError for anything else, and for what the time code cannot tell.
    """
    try:
        if not text.startswith("+"):
            return utc_tai_ns(text)
        made = onboard_ns + ns(float(text))
    except (ValueError, OverflowError, OrbitnodeError):
        made = -1
    if not 0 <= made <= TIME_NS_MAX:
        raise OrbitnodeError(
            f"time is {text!r}, should be UTC such as 2026-03-20T10:00:00Z, or +SECONDS from now on board"
        )
    return made
