"""The flight loop's wake-ups beside those of a plain loop that does nothing but sleep."""

from __future__ import annotations

import atexit
import time
from tempfile import TemporaryDirectory

from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.linux.platform import LinuxPlatform
from sim_hw.bench.bench_command import Bench, Race

WAKES, SLEEP_S = 20, 0.001


def sleeps_beside_time_sleep() -> Race:
    """Sleeps of 1 ms, one after the other: what a turn takes over 1 ms a wake is lateness.

    Ours goes the whole way of a flight task: coroutine, scheduler, heap, timerfd, epoll. The median turn is what
    counts: the tail belongs to whoever else uses the machine.
    """
    folder = TemporaryDirectory()
    atexit.register(folder.cleanup)
    platform = LinuxPlatform(folder.name, "bench")
    atexit.register(platform.close)

    def ours() -> None:
        scheduler = Scheduler(platform, platform.cpu_ns, lambda _task, _error: platform.stop())

        async def body(task: Task) -> None:
            for _ in range(WAKES):
                await task.sleep(SLEEP_S)
            platform.stop()

        task = scheduler.spawn("sleeper", body)
        platform.run()
        scheduler.close()
        assert task.stats.steps == WAKES + 1, task.stats

    def plain() -> None:
        for _ in range(WAKES):
            time.sleep(SLEEP_S)

    return Race(ours, plain, WAKES)


BENCHES = (Bench("loop-sleeps", "time.sleep", "wakes/s", 0.5, sleeps_beside_time_sleep),)
