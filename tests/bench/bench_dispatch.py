"""What the scheduler itself costs: processor time a step without system calls, and fifty tasks on this machine."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from flight.core.scheduler import Scheduler, Task, ns
from sim_hw.bench import BenchError, Row, Survey, at_most, output_of
from sim_hw.loop import VirtualLoop

HERE = Path(__file__).resolve().parent
TASKS, PERIOD_S = 50, 0.1
VIRTUAL_S, TURNS = 40.0, 7
STEP_LIMIT_US, CPU_LIMIT_PERCENT = 5.0, 3.0


def step_us(together: bool) -> float:
    """Processor time of one step: alarm, order by deadline, coroutine, statistics. All tasks due together, or each
    at an instant of its own, which takes a call of the host for every step."""
    loop = VirtualLoop()
    scheduler = Scheduler(loop, loop.now_ns, lambda task, error: loop.stop())
    for number in range(TASKS):

        async def body(task: Task, phase_s: float = 0.0 if together else PERIOD_S * number / TASKS) -> None:
            async for _ in task.every(PERIOD_S, phase_s=phase_s):
                pass

        scheduler.spawn(f"task {number}", body)
    begin_ns = time.process_time_ns()
    loop.run_until(ns(VIRTUAL_S))
    took_ns = time.process_time_ns() - begin_ns
    steps = scheduler.totals().steps
    scheduler.close()
    assert steps >= TASKS * VIRTUAL_S / PERIOD_S, steps
    return took_ns / steps / 1000.0


def dispatch(brief: bool) -> list[Row]:
    apart = min(step_us(together=False) for _ in range(TURNS))  # what else the machine does only adds
    together = min(step_us(together=True) for _ in range(TURNS))
    what = f"{TASKS} tasks, virtual time"
    return [
        at_most("dispatch", apart, STEP_LIMIT_US, "limit", "us/step", note=f"{what}, each at its own instant"),
        at_most("dispatch-together", together, STEP_LIMIT_US, "limit", "us/step", note=f"{what}, all at once"),
    ]


def load_percent(duration_s: float) -> float:
    """Share of a core that fifty tasks at 10 Hz take on this machine, each at an instant of its own."""
    words = (sys.executable, HERE / "periodic_load.py", str(TASKS), str(PERIOD_S), str(duration_s))
    percent, steps = output_of(words, 60.0 + 2.0 * duration_s).split()
    if int(steps) < 0.9 * TASKS * duration_s / PERIOD_S:
        raise BenchError(f"bench dispatch: only {steps} steps in {duration_s:g} s, this machine is too busy to measure")
    return float(percent)


def load(brief: bool) -> list[Row]:
    percent = load_percent(3.0 if brief else 10.0)
    note = f"{TASKS} tasks at {1 / PERIOD_S:g} Hz, user and system time"
    return [at_most("dispatch-50x10hz", percent, CPU_LIMIT_PERCENT, "limit", "% of a core", note=note)]


BENCHES = (Survey("dispatch", dispatch), Survey("dispatch-50x10hz", load, long=True))
