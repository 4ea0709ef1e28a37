"""Periodic tasks on this machine, as a process of its own, and the share of a core that they took:

    python periodic_load.py TASKS PERIOD_S SPREAD_S SECONDS

The tasks' phases are spread over SPREAD_S: 0 wakes them together. Prints that share in percent, user and system time
together, start-up left out, and the number of steps.
"""

from __future__ import annotations

import resource
import sys
from tempfile import TemporaryDirectory

from flight.core.nanoseconds import NS, ns
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.linux.platform import LinuxPlatform


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main(tasks: int, period_s: float, spread_s: float, duration_s: float) -> None:
    with TemporaryDirectory() as folder:
        platform = LinuxPlatform(folder, "bench")
        scheduler = Scheduler(platform, platform.cpu_ns, lambda _task, _error: platform.stop())
        for number in range(tasks):

            async def body(task: Task, phase_s: float = spread_s * number / tasks) -> None:
                async for _ in task.every(period_s, phase_s=phase_s):
                    pass

            scheduler.spawn(f"task {number}", body)
        begin_ns, begin_s = platform.now_ns(), cpu_s()
        platform.call_at(begin_ns + ns(duration_s), platform.stop)
        platform.run()
        took_s = (platform.now_ns() - begin_ns) / NS
        print(100.0 * (cpu_s() - begin_s) / took_s, scheduler.totals().steps)
        scheduler.close()
        platform.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), *map(float, sys.argv[2:5]))
