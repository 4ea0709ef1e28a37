"""Release times as people write them: in UTC, or in seconds from now by the on-board clock."""

from __future__ import annotations

from datetime import UTC, datetime

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import ns, tai_from_utc
from flight.link.time_code import TIME_NS_MAX


def utc_tai_ns(text: str) -> int:
    """Return `2026-03-20T10:00:00Z` as nanoseconds of TAI since 1958; a time without an offset is UTC.

    Raises OrbitnodeError for any other text, and for times that the time code cannot express.
    """
    try:
        utc = datetime.fromisoformat(text)
        utc = utc.replace(tzinfo=UTC) if utc.tzinfo is None else utc
        tai_ns = tai_from_utc(utc)
    except (ValueError, OverflowError):
        tai_ns = -1  # out of range, like a date before 1958: one message for all that is wrong
    if not 0 <= tai_ns <= TIME_NS_MAX:
        raise OrbitnodeError(f"time {text!r}: should be UTC such as 2026-03-20T10:00:00Z")
    return tai_ns


def release_tai_ns(text: str, onboard_ns: int) -> int:
    """Return `+90` or `2026-03-20T10:00:00Z` as nanoseconds of TAI since 1958.

    onboard_ns: what the on-board clock shows now, from which `+90` counts. Raises OrbitnodeError for any other text,
    and for times that the time code cannot express.
    """
    # From the on-board clock and not from ours: the node releases the command by it, however far it is off.
    try:
        if not text.startswith("+"):
            return utc_tai_ns(text)
        release_ns = onboard_ns + ns(float(text))
    except (ValueError, OverflowError, OrbitnodeError):
        release_ns = -1
    if not 0 <= release_ns <= TIME_NS_MAX:
        raise OrbitnodeError(
            f"time {text!r}: should be UTC such as 2026-03-20T10:00:00Z, or +SECONDS from now on board"
        )
    return release_ns
