"""The ticks of a periodic task: absolute indices, bounded catch-up, and what was skipped."""

from __future__ import annotations

from collections.abc import Generator
from types import coroutine
from typing import TYPE_CHECKING

from flight.core.future import Event
from flight.core.task_stats import Tick

if TYPE_CHECKING:
    from flight.core.scheduler import Task


class Ticks:
    """The ticks of one `Task.every`. An asynchronous generator would take twice as long for each."""

    __slots__ = (
        "_deadline_ns", "_due_ns", "_finish_by_ns", "_index", "_period_ns", "_scheduler", "_serve_ns", "_stop", "_task",
    )  # fmt: skip

    def __init__(self, task: Task, first_ns: int, period_ns: int, deadline_ns: int, stop: Event | None) -> None:
        self._task = task
        self._scheduler = task._scheduler
        self._due_ns = first_ns
        self._period_ns = period_ns
        self._deadline_ns = deadline_ns
        self._serve_ns = min(deadline_ns, task._starve_ns)
        self._stop = stop
        self._index = 0
        self._finish_by_ns: int | None = None  # of the tick that the body works at

    def __aiter__(self) -> Ticks:
        return self

    @coroutine
    def __anext__(self) -> Generator[Task, None, Tick]:
        task, stop, due_ns = self._task, self._stop, self._due_ns
        task._finish_by_ns = self._finish_by_ns
        if stop is None:
            task.begin_wait(due_ns, self._serve_ns)
            yield task
        else:
            if not stop.is_set:
                task.begin_wait(due_ns, self._serve_ns, (stop.wait(),))
                yield task
            if stop.is_set:
                raise StopAsyncIteration
        index, period_ns, stats = self._index, self._period_ns, task.stats
        late_ns, skipped = self._scheduler.step_ns - due_ns, 0
        if late_ns >= period_ns:
            skipped = max(0, late_ns // period_ns - self._scheduler.catch_up_max)
            due_ns, index, late_ns = due_ns + skipped * period_ns, index + skipped, late_ns - skipped * period_ns
            stats.skipped += skipped
        stats.ticks += 1
        self._finish_by_ns, self._due_ns, self._index = due_ns + self._deadline_ns, due_ns + period_ns, index + 1
        return tuple.__new__(Tick, (index, due_ns, late_ns, skipped))  # half the time of Tick(...)
