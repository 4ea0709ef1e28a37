"""`orbitnode flight`, with the steps of its tasks measured in processor time of the loop's thread:

    python thread_timed_node.py REPORT flight --mission ...

When it ends, the file REPORT has, as JSON, how long the steps were: their number, quantiles, and the longest ones with
their tasks and the seconds since the first step.

A node measures steps by the monotonic clock, which is right for it: a step that waits for the processor is late. But
what other processes of this machine take says nothing about the node, so a benchmark of its steps leaves it out.
"""

from __future__ import annotations

import json
import sys
import time
from array import array
from pathlib import Path
from typing import Any

import flight.cli
from flight.core.nanoseconds import NS
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.linux import flight_command
from flight.linux.platform import LinuxPlatform
from sim_hw.bench.bench_command import quantile

QUANTILES = (0.5, 0.99, 0.9999)
_LONGEST = 5
_took_ns = array("q")
_longest: list[tuple[int, str, int]] = []
_first_ns: list[int] = []


class _ThreadTimed(LinuxPlatform):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.cpu_ns = time.thread_time_ns


def _note_steps() -> None:
    """Have every step noted as the scheduler accounts for it."""
    account = vars(Scheduler)["_account"]

    def noted(self: Scheduler, task: Task, waited_ns: int, took_ns: int, end_ns: int) -> None:
        _took_ns.append(took_ns)
        if not _first_ns:
            _first_ns.append(time.monotonic_ns())
        if len(_longest) < _LONGEST or took_ns > _longest[-1][0]:
            _longest.append((took_ns, task.name, time.monotonic_ns() - _first_ns[0]))
            _longest.sort(reverse=True)
            del _longest[_LONGEST:]
        account(self, task, waited_ns, took_ns, end_ns)

    setattr(Scheduler, "_account", noted)  # noqa: B010  # a note before it


def _report() -> dict[str, Any]:
    return {
        "steps": len(_took_ns),
        "quantiles_ms": {str(q): quantile(_took_ns, q) / 1e6 for q in QUANTILES},
        "longest": [[took_ns / 1e6, task, after_ns / NS] for took_ns, task, after_ns in _longest],
    }


if __name__ == "__main__":
    vars(flight_command)["LinuxPlatform"] = _ThreadTimed
    _note_steps()
    report_path = Path(sys.argv.pop(1))
    try:
        code = flight.cli.main()
    finally:
        report_path.write_text(json.dumps(_report()), encoding="utf-8")
    sys.exit(code)
