"""Run the loop of a Linux platform until a fact is there."""

from __future__ import annotations

from collections.abc import Callable

from flight.core.nanoseconds import ns
from flight.linux.platform import LinuxPlatform
from hal.base import Timer
from tests.waiting import GIVE_UP_S

LOOK_NS = 2_000_000


def run_until(platform: LinuxPlatform, done: Callable[[], bool], timeout_s: float = GIVE_UP_S) -> bool:
    """Run the loop until `done()`. Returns False if that did not come true within `timeout_s`, or before a `stop`.

    The limit is for giving up, not for measuring: a test says nothing about how long things take. Raises
    KeyboardInterrupt if a signal ended the loop, so that the whole test run ends and not just this wait.
    """
    end_ns = platform.now_ns() + ns(timeout_s)
    next_look: Timer | None = None

    def look() -> None:
        nonlocal next_look
        if done() or platform.now_ns() > end_ns:
            platform.stop()
        else:
            next_look = platform.call_at(platform.now_ns() + LOOK_NS, look)

    next_look = platform.call_at(platform.now_ns(), look)
    try:
        ended_by = platform.run()
    finally:
        next_look.cancel()  # otherwise it would end the next wait
    if ended_by is not None:
        raise KeyboardInterrupt(f"signal {ended_by}")
    return done()
