"""Watchdog duty: tells the platform that the node is well, as long as every critical task gets its turns.

The platform ends a process that does not say so for `[executive] watchdog_s` (on a board flight/linux/watchdog.py).
"""

# That this task runs says that the loop turns and that its alarms come. It does not say that the others get their
# turns: so it looks at them, and if a critical task has waited for its turn for as long as the limit, the stroke is
# left out. A stroke from a thread or from an interrupt would go on while the node is dead (ADR 0017).

from __future__ import annotations

from collections.abc import Callable, Iterable

from flight.contract.service import Service, ServiceTask
from flight.core.nanoseconds import ns
from flight.core.scheduler import Scheduler
from flight.core.task import Task

STROKES = 4  # in one limit, so that one that comes late does no harm


class WatchdogDuty(Service):
    """Strokes the watchdog. stroke: `Platform.stroke`. limit_s: `[executive] watchdog_s`."""

    def __init__(self, scheduler: Scheduler, stroke: Callable[[], None], limit_s: float) -> None:
        self._scheduler = scheduler
        self._stroke = stroke
        self._limit_s = limit_s

    def tasks(self) -> Iterable[ServiceTask]:
        """Return the duty, a critical task itself."""
        return (ServiceTask("watchdog", self.run, deadline_s=self._limit_s / STROKES, critical=True),)

    async def run(self, task: Task) -> None:
        """Stroke four times per limit."""
        limit_ns = ns(self._limit_s)
        async for _ in task.every(self._limit_s / STROKES):
            if all(waited_ns < limit_ns for waited_ns in self._scheduler.critical_waits_ns()):
                self._stroke()
