"""Time as whole nanoseconds."""

from __future__ import annotations

from flight.core.nanoseconds import NS, ns


def test_seconds_are_rounded_to_the_nearest_nanosecond() -> None:
    assert [ns(s) for s in (0, 1, 0.1, 1.4e-9, 1.6e-9, -1.6e-9)] == [0, NS, 100_000_000, 1, 2, -2]
