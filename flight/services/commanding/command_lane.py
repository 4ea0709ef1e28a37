"""Lanes of telecommands that wait for execution: each with a queue and a rate of its own."""

from __future__ import annotations

from collections.abc import Callable

from flight.core.future import Queue
from flight.core.nanoseconds import NS
from flight.services.commanding.handler_table import Telecommand


class Bucket:
    """A token bucket: `rate_hz` in the long run, `burst` at once."""

    def __init__(self, rate_hz: float, burst: int, now_ns: Callable[[], int]) -> None:
        self._token_ns = round(NS / rate_hz)
        self._depth_ns = burst * self._token_ns
        self._now_ns = now_ns
        self._empty_ns = now_ns() - self._depth_ns  # when the bucket would have been empty

    def take(self) -> bool:
        """Take a token; False if there is none."""
        now_ns = self._now_ns()
        empty_ns = max(self._empty_ns, now_ns - self._depth_ns) + self._token_ns
        if empty_ns > now_ns:
            return False
        self._empty_ns = empty_ns
        return True


class Lane:
    """Commands executed one after the other."""

    def __init__(self, capacity: int, rate_hz: float, now_ns: Callable[[], int]) -> None:
        self.queue: Queue[Telecommand] = Queue(capacity)
        self.bucket = Bucket(rate_hz, capacity, now_ns)
