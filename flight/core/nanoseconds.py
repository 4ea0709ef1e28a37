"""Time as whole nanoseconds, the one unit inside the flight code.

The scale on which they count is International Atomic Time since 1958, TAI: the time of packets and of the on-board
clock. It counts every second. What people read is UTC, by the table of leap seconds (flight/core/utc/leap_seconds.py).
"""

# Why integers: a float of seconds since 1958 resolves 0.5 us, and sums of floats depend on their order. A run must give
# the same digest each time (ADR 0001), so a time is an int everywhere and becomes a float only where people read it.
#
# Why TAI: packet times and schedules must not repeat or jump when a leap second is inserted. UTC appears in texts
# alone.

from __future__ import annotations

NS = 1_000_000_000  # nanoseconds per second; a clock that is off by 1 part per billion gains 1 ns per second


def ns(seconds: float) -> int:
    """Convert seconds to integer nanoseconds, rounded to the nearest."""
    return round(seconds * NS)
