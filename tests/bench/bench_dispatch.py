"""What the scheduler itself costs: processor time a step without system calls, and fifty tasks on this machine."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from flight.core.nanoseconds import ns
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from sim_hw.bench.bench_command import BenchError, Row, Survey, at_most, output_of, shown
from sim_hw.machine.loop import VirtualLoop

HERE = Path(__file__).resolve().parent
TASKS, PERIOD_S = 50, 0.1
VIRTUAL_S, TURNS = 40.0, 7
STEP_LIMIT_US, CPU_LIMIT_PERCENT = 5.0, 3.0


def step_us(together: bool) -> float:
    """Processor time of one step: alarm, order by deadline, coroutine, statistics. All tasks due together, or each
    at an instant of its own, which takes a call of the host for every step.
    """
    loop = VirtualLoop()
    scheduler = Scheduler(loop, loop.now_ns, lambda _task, _error: loop.stop())
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


def host_us() -> float:
    """Processor time of one call of the host alone: a timer set and gone off, which a board leaves to the kernel."""
    loop, calls = VirtualLoop(), round(TASKS * VIRTUAL_S / PERIOD_S)

    def again() -> None:
        loop.call_at(loop.now_ns() + 1, again)

    loop.call_at(0, again)
    begin_ns = time.process_time_ns()
    loop.run_until(calls)
    return (time.process_time_ns() - begin_ns) / calls / 1000.0


def dispatch(_brief: bool) -> list[Row]:
    together = min(step_us(together=True) for _ in range(TURNS))  # what else the machine does only adds
    apart = min(step_us(together=False) for _ in range(TURNS)) - min(host_us() for _ in range(TURNS))
    what = f"{TASKS} tasks, virtual time"
    return [
        at_most("dispatch", together, STEP_LIMIT_US, "limit", "us/step", note=f"{what}, started together"),
        shown(
            at_most("dispatch-apart", apart, STEP_LIMIT_US, "limit", "us/step", note=f"{what}, each at its own instant")
        ),
    ]


def load_percent(duration_s: float, together: bool) -> float:
    """Share of a core that fifty tasks at 10 Hz take on this machine."""
    spread_s = 0.0 if together else PERIOD_S
    words = (sys.executable, HERE / "periodic_load.py", str(TASKS), str(PERIOD_S), str(spread_s), str(duration_s))
    percent, steps = output_of(words, 60.0 + 2.0 * duration_s).split()
    if int(steps) < 0.9 * TASKS * duration_s / PERIOD_S:
        raise BenchError(f"only {steps} steps in {duration_s:g} s, this machine is too busy to measure")
    return float(percent)


def load(brief: bool) -> list[Row]:
    duration_s = 3.0 if brief else 10.0
    together, apart = load_percent(duration_s, together=True), load_percent(duration_s, together=False)
    note = f"{TASKS} tasks at {1 / PERIOD_S:g} Hz, user and system time"
    unit = "% of a core"
    return [
        at_most("dispatch-50x10hz", together, CPU_LIMIT_PERCENT, "limit", unit, note=f"{note}, started together"),
        shown(at_most("dispatch-50x10hz-apart", apart, CPU_LIMIT_PERCENT, "limit", unit, note=f"{note}, 500 starts/s")),
    ]


BENCHES = (Survey("dispatch", dispatch), Survey("dispatch-50x10hz", load, long=True))
