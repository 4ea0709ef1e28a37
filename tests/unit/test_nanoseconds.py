"""Time as whole nanoseconds: seconds, TAI and UTC, by values from elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from flight.core.nanoseconds import (
    NS,
    TAI_MINUS_UTC_S,
    TAI_MINUS_UTC_SINCE,
    ns,
    tai_from_unix,
    tai_from_utc,
    utc_from_tai,
    utc_text,
)

# 2026-03-20T09:35:00Z is 1,773,999,300 s after 1970 and 2,152,690,537 s of TAI after 1958.
UNIX_NS, TAI_NS = 1_773_999_300 * NS, 2_152_690_537 * NS
WHEN = datetime(2026, 3, 20, 9, 35, tzinfo=UTC)


def test_seconds_are_rounded_to_the_nearest_nanosecond() -> None:
    assert [ns(s) for s in (0, 1, 0.1, 1.4e-9, 1.6e-9, -1.6e-9)] == [0, NS, 100_000_000, 1, 2, -2]


def test_tai_is_ahead_of_utc_by_37_seconds_since_2017() -> None:
    """IERS Bulletin C 52: from 2017 January 1, 0h UTC, until further notice UTC-TAI = -37 s."""
    assert (37, datetime(2017, 1, 1, tzinfo=UTC)) == (TAI_MINUS_UTC_S, TAI_MINUS_UTC_SINCE)
    assert tai_from_unix(UNIX_NS) == TAI_NS
    assert tai_from_unix(UNIX_NS + 1) == TAI_NS + 1
    assert utc_text(0) == "1957-12-31T23:59:23.000Z"


def test_utc_and_tai_are_each_other_s_inverse() -> None:
    for us in (0, 1, 999_999):
        when, tai_ns = WHEN + timedelta(microseconds=us), TAI_NS + us * 1000
        assert tai_from_utc(when) == tai_from_utc(when.astimezone(timezone(timedelta(hours=5)))) == tai_ns
        assert utc_from_tai(tai_ns) == utc_from_tai(tai_ns + 999) == when
    with pytest.raises(OverflowError):
        utc_from_tai(10_000 * 366 * 86_400 * NS)


def test_utc_as_text_is_rounded_down() -> None:
    late_ns = (0, 5_000_000, 999_999_999, NS)
    assert [utc_text(TAI_NS + late) for late in late_ns] == [
        "2026-03-20T09:35:00.000Z", "2026-03-20T09:35:00.005Z", "2026-03-20T09:35:00.999Z", "2026-03-20T09:35:01.000Z",
    ]  # fmt: skip
