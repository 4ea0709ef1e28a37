"""The machine's clock as packet time: TAI since 1958-01-01."""

from __future__ import annotations

from datetime import UTC, datetime

# TAI - UTC since 2017-01-01 (IERS Bulletin C; no leap second has been announced since).
TAI_MINUS_UTC_S = 37
_UNIX_EPOCH_S = int((datetime(1970, 1, 1, tzinfo=UTC) - datetime(1958, 1, 1, tzinfo=UTC)).total_seconds())


def tai_from_unix(unix_ns: int) -> int:
    """Nanoseconds of UTC since 1970, leap seconds not counted, as TAI since 1958."""
    return unix_ns + (_UNIX_EPOCH_S + TAI_MINUS_UTC_S) * 10**9
