"""Nanoseconds as integers: the one unit of time inside the flight code."""

from __future__ import annotations

NS = 1_000_000_000  # in a second; and so many parts per billion are nanoseconds per second


def ns(seconds: float) -> int:
    """Convert seconds to integer nanoseconds, rounded to the nearest."""
    return round(seconds * NS)
