"""Lanes in which telecommands wait for their execution: each has a queue and a rate of its own."""

# The bucket holds no number of tokens that a timer refills, but the instant at which it would have been empty: one
# integer, exact in nanoseconds, the same in virtual and in real time. A full bucket was empty one depth ago; taking a
# token moves that instant one token on; a bucket whose instant would lie in the future has no token left.

from __future__ import annotations

from collections.abc import Callable

from flight.core.future import Queue
from flight.core.nanoseconds import NS
from flight.services.commanding.handler_table import Telecommand


class Bucket:
    """A token bucket: `burst` tokens at once, `rate_hz` tokens per second in the long run."""

    def __init__(self, rate_hz: float, burst: int, now_ns: Callable[[], int]) -> None:
        self._token_ns = round(NS / rate_hz)
        self._depth_ns = burst * self._token_ns
        self._now_ns = now_ns
        self._empty_ns = now_ns() - self._depth_ns  # when the bucket would have been empty; now it is full

    def take(self) -> bool:
        """Take a token, or return False if there is none."""
        now_ns = self._now_ns()
        # A bucket holds no more than its depth, however long nobody took from it.
        empty_ns = max(self._empty_ns, now_ns - self._depth_ns) + self._token_ns
        if empty_ns > now_ns:
            return False
        self._empty_ns = empty_ns
        return True


class Lane:
    """Commands that are executed one after the other. The rate's burst is as large as the queue."""

    def __init__(self, capacity: int, rate_hz: float, now_ns: Callable[[], int]) -> None:
        self.queue: Queue[Telecommand] = Queue(capacity)
        self.bucket = Bucket(rate_hz, capacity, now_ns)
