"""Virtual time: a heap of calls at integer nanoseconds, shared by every node, the world and the ground."""

# The machine that makes a run reproducible. Time is an integer number of nanoseconds and moves only from one call to
# the next: nothing happens between two calls, and no call takes time by itself. Rules that callers rely on:
#
#     - Calls of one instant are made in the order they were asked for (`_order`). A heap alone would not keep it.
#     - A call for the past is made at the present instant, after those already due. Time never steps back.
#     - A call that raises leaves the loop at its instant, with everything behind it still pending. A power cut is such
#       an exception (machine/disk.py), and the loop goes on afterwards for whoever still lives.
#     - Wall time is never asked, so a slow machine gives the same run. What really computes (a payload worker) is
#       waited for at the instant at which its reply is due, see SimPlatform.complete.
#
# Cancelling marks a call and leaves it in the heap: taking it out would cost a search for each frame that is
# acknowledged in time. The heap is bounded all the same, since a mark is dropped when its time comes.

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TypeVar

from hal.base import HalError

T = TypeVar("T")


class NoLimit:
    """hal.base.CallLimit of virtual time: wall time reaches no decision there, so calls are simply made."""

    def run(self, call: Callable[[], T], _limit_s: float) -> T:
        """Return what `call` returns; it has no limit."""
        return call()

    def shield(self, call: Callable[[], T]) -> T:
        """Return what `call` returns; nothing could cut it short."""
        return call()


class Call:
    """A pending call. A cancelled one stays in the heap until its time and is then skipped."""

    __slots__ = ("call",)

    call: Callable[[], None] | None  # set by `call_at`: an __init__ would take longer than all the rest of it

    def cancel(self) -> None:
        """Do not make this call. Harmless once it was made."""
        self.call = None


class VirtualLoop:
    """The one timeline of a run. Calls of one instant are made in the order they were asked for.

    `calls` counts those that were made.
    """

    def __init__(self) -> None:
        self.limit = NoLimit()
        self.calls = 0
        self._now_ns = 0
        self._order = 0
        self._heap: list[tuple[int, int, Call]] = []
        self._stopped = False

    def now_ns(self) -> int:
        """Return the present, nanoseconds since the start of the run."""
        return self._now_ns

    def call_at(self, t_ns: int, call: Callable[[], None]) -> Call:
        """Have `call` called at `t_ns`, or now if that is past; return it, to be cancelled."""
        pending = Call()
        pending.call = call
        self._order += 1
        heapq.heappush(self._heap, (max(t_ns, self._now_ns), self._order, pending))
        return pending

    def watch(self, fileno: int, _on_ready: Callable[[], None]) -> None:
        """Raise HalError: a descriptor becomes ready in real time, which does not pass here."""
        raise HalError(f"descriptor {fileno}: virtual time has no descriptors, only simulated devices")

    def unwatch(self, fileno: int) -> None:
        """Raise HalError, as `watch`."""
        raise HalError(f"descriptor {fileno}: virtual time has no descriptors, only simulated devices")

    def stop(self) -> None:
        """End `run_until` after the present call."""
        self._stopped = True

    def run_until(self, end_ns: int) -> None:
        """Make every call due up to and including `end_ns`; the clock stands there afterwards.

        After `stop` it stands at the call that stopped it. Raises what a call raises.
        """
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
