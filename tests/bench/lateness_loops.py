"""The loops of the lateness benchmark, each run as a process of its own:

    python lateness_loops.py flight|asyncio|trio PERIOD_NS TICKS

Prints the lateness of every tick in nanoseconds, one a line, after the last one. Lateness is the time of the first
statement of the tick's body less the time at which the tick was due.
"""

from __future__ import annotations

import sys
import time
from tempfile import TemporaryDirectory

from flight.core.nanoseconds import NS, ns


def of_flight(period_ns: int, ticks: int) -> list[int]:
    """A periodic task as a node has them. A tick that the scheduler gave up counts as late by a period."""
    from flight.core.scheduler import Scheduler
    from flight.core.task import Task
    from flight.linux.platform import LinuxPlatform

    late_ns: list[int] = []
    with TemporaryDirectory() as folder:
        platform = LinuxPlatform(folder, "bench")
        scheduler = Scheduler(platform, platform.cpu_ns, lambda _task, _error: platform.stop())

        async def body(task: Task) -> None:
            period_s = period_ns / NS
            async for tick in task.every(period_s, phase_s=period_s):
                late_ns.append(time.monotonic_ns() - tick.due_ns)
                late_ns.extend([period_ns] * tick.skipped)
                if len(late_ns) >= ticks:
                    platform.stop()

        scheduler.spawn("control", body)
        platform.run()
        scheduler.close()
        platform.close()
    return late_ns


def of_asyncio(period_ns: int, ticks: int) -> list[int]:
    import asyncio

    late_ns: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        start_s = loop.time()

        def tick(index: int) -> None:
            due_s = start_s + index * period_ns / NS
            late_ns.append(ns(loop.time() - due_s))
            if index == ticks:
                done.set_result(None)
            else:
                loop.call_at(start_s + (index + 1) * period_ns / NS, tick, index + 1)

        loop.call_at(start_s + period_ns / NS, tick, 1)
        await done

    asyncio.run(main())
    return late_ns


def of_trio(period_ns: int, ticks: int) -> list[int]:
    import trio

    late_ns: list[int] = []

    async def main() -> None:
        start_s = trio.current_time()
        for index in range(1, ticks + 1):
            due_s = start_s + index * period_ns / NS
            await trio.sleep_until(due_s)
            late_ns.append(ns(trio.current_time() - due_s))

    trio.run(main)
    return late_ns


if __name__ == "__main__":
    loops = {"flight": of_flight, "asyncio": of_asyncio, "trio": of_trio}
    print("\n".join(map(str, loops[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3])))))
