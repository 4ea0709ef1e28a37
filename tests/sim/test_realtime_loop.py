"""Scheduler and Linux loop together at 100 Hz: every period is a tick or counted as skipped, also over a stall."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

from flight.core.nanoseconds import NS
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.core.task_stats import Tick
from flight.linux.platform import LinuxPlatform

HZ, TICKS, STALL_AT, STALL_S = 100, 40, 10, 0.15
PERIOD_NS = NS // HZ
CATCH_UP_MAX = 3


def stall() -> None:
    """Hold up the whole loop."""
    time.sleep(STALL_S)


def test_ticks_and_skips_account_for_every_period(tmp_path: Path) -> None:
    platform = LinuxPlatform(tmp_path, "loop")
    scheduler = Scheduler(platform, platform.cpu_ns, lambda _task, _error: platform.stop(), catch_up_max=CATCH_UP_MAX)
    ticks: list[Tick] = []

    async def body(task: Task) -> None:
        async for tick in task.every(period_s=1 / HZ, deadline_s=0.005):
            assert platform.now_ns() >= tick.due_ns, "a tick came before its time"
            ticks.append(tick)
            if len(ticks) == STALL_AT:
                stall()
            if len(ticks) == TICKS:
                platform.stop()
                return  # those that are due to be caught up with would still have their turn

    task = scheduler.spawn("ticker", body)
    platform.run()
    scheduler.close()
    platform.close()
    assert len(ticks) == task.stats.ticks == TICKS and task.stats.failures == 0
    first, last = ticks[0], ticks[-1]
    assert all(tick.due_ns == first.due_ns + tick.index * PERIOD_NS for tick in ticks)
    assert [tick.index for tick in ticks[1:]] == [before.index + 1 + tick.skipped for before, tick in pairwise(ticks)]
    assert last.index + 1 == task.stats.ticks + task.stats.skipped
    # The stall lasted at least this many periods: a few are replayed, the rest given up and counted.
    assert ticks[STALL_AT].skipped >= STALL_S * HZ - CATCH_UP_MAX - 2
