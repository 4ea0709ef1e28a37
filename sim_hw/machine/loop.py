"""Virtual time: a heap of calls at integer nanoseconds, shared by every node, the world and the ground."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TypeVar

from hal.base import HalError

T = TypeVar("T")


class NoLimit:
    """hal.base.CallLimit of virtual time: wall time reaches no decision there, so calls are simply made."""

    def run(self, call: Callable[[], T], _limit_s: float) -> T:
        return call()

    def shield(self, call: Callable[[], T]) -> T:
        return call()


class Call:
    """A pending call. A cancelled one stays in the heap until its time and is passed over."""

    __slots__ = ("call",)

    call: Callable[[], None] | None  # set by who makes it: an __init__ takes longer than all the rest of `call_at`

    def cancel(self) -> None:
        self.call = None


class VirtualLoop:
    """The one timeline of a run. Calls of one instant are made in the order they were asked for."""

    def __init__(self) -> None:
        self.limit = NoLimit()
        self.calls = 0
        self._now_ns = 0
        self._order = 0
        self._heap: list[tuple[int, int, Call]] = []
        self._stopped = False

    def now_ns(self) -> int:
        return self._now_ns

    def call_at(self, t_ns: int, call: Callable[[], None]) -> Call:
        pending = Call()
        pending.call = call
        self._order += 1
        heapq.heappush(self._heap, (max(t_ns, self._now_ns), self._order, pending))
        return pending

    def watch(self, fileno: int, _on_ready: Callable[[], None]) -> None:
        raise HalError(f"descriptor {fileno}: virtual time has no descriptors, only simulated devices")

    def unwatch(self, fileno: int) -> None:
        raise HalError(f"descriptor {fileno}: virtual time has no descriptors, only simulated devices")

    def stop(self) -> None:
        self._stopped = True

    def run_until(self, end_ns: int) -> None:
        """Make every call due up to and including `end_ns`; the clock stands there afterwards."""
        self._stopped = False
        heap = self._heap
        while heap and heap[0][0] <= end_ns and not self._stopped:
            self._now_ns, _, pending = heapq.heappop(heap)
            call = pending.call
            if call is not None:
                self.calls += 1
                call()
        if not self._stopped:
            self._now_ns = max(self._now_ns, end_ns)
