"""Release times as people write them: UTC, or seconds from the on-board clock's now."""

from __future__ import annotations

from datetime import UTC, datetime

from flight.core.errors import OrbitnodeError
from flight.link.time_code import TIME_NS_MAX
from ground.times import tai_from_unix

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def release_tai_ns(text: str, onboard_ns: int) -> int:
    """`+90` or `2026-03-20T10:00:00Z` as nanoseconds of TAI since 1958; `onboard_ns` is what the on-board clock shows.

    Raises OrbitnodeError for anything else, and for what the time code cannot tell.
    """
    wrong = OrbitnodeError(f"time {text!r}, should be UTC such as 2026-03-20T10:00:00Z, or +SECONDS from now on board")
    try:
        if text.startswith("+"):
            made = onboard_ns + round(float(text) * 1e9)
        else:
            utc = datetime.fromisoformat(text)
            utc = utc.replace(tzinfo=UTC) if utc.tzinfo is None else utc
            since = utc - _EPOCH
            made = tai_from_unix((since.days * 86400 + since.seconds) * 10**9 + since.microseconds * 1000)
    except (ValueError, OverflowError):
        raise wrong from None
    if not 0 <= made <= TIME_NS_MAX:
        raise wrong
    return made
