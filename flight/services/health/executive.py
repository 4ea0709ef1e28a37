"""What the executive says of itself: totals as housekeeping, one report per task on request, and events.

The reports answer TC[3,129], which is our own: one TM[3,130] per task, with a histogram of how long the task waited
from being ready or due to its step. Bucket 0 counts waits below 1 us, bucket i those in [2^(i-1), 2^i) us, the last one
all above.
"""

# Totals are housekeeping. The report of a task is sent on request alone: with its histogram it is too long to come down
# for every task at each period. Counters go round at 2^32 as all counters do (ADR 0025), times stay at their greatest
# value, since a longest time that went round would look short.

from __future__ import annotations

from collections.abc import Iterable

from flight.contract.app import Sample, Slices
from flight.contract.dictionary import Command, Declarations, EventDefinition, Report, Structure
from flight.contract.fields import Field, Layout, Value
from flight.contract.service import CommandHandler, Sampler, Service
from flight.core.scheduler import Scheduler
from flight.core.step_budget import PACKETS
from flight.core.task_stats import BUCKETS, TaskReport
from flight.services.reporting.telemetry import Telemetry

_STATES = ("waiting", "ready", "finished")
_SUBTYPE_REPORT = 130
_U32 = 0xFFFFFFFF  # at which times stay
_COUNTERS = (
    Field("steps", "u32", "", "times it ran until it waited again"),
    Field("ticks", "u32", "", "of its periods"),
    Field("late", "u32", "", "ticks finished after their deadline"),
    Field("skipped", "u32", "", "ticks given up"),
    Field("overruns", "u32", "", "steps over the budget"),
    Field("starved", "u32", "", "steps that waited too long for their turn"),
    Field("failures", "u32", "", "exceptions that left it"),
    Field("restarts", "u32", "", "after these"),
)
_WORST = (
    Field("worst_step_us", "u32", "us", "longest step"),
    Field("worst_latency_us", "u32", "us", "longest wait from ready or due to its step"),
)
_REPORT = (
    Field("index", "u8", "", "of this task, from 0"),
    Field("tasks", "u16", "", "reported in this row"),
    Field("task", "str"),
    Field("state", "u8", labels=_STATES),
    Field("critical", "u8", labels=("no", "yes")),
    Field("period_ms", "u32", "ms", "0 if it waits for events"),
    Field("deadline_ms", "u32", "ms", "after ready or due"),
    Field("budget_us", "u32", "us", "for one step"),
    *_COUNTERS,
    *_WORST,
    Field("latency_p50_us", "u32", "us", "good to a factor of two"),
    Field("latency_p99_us", "u32", "us", "the same"),
    Field("cpu_permille", "u16", "", "share of the processor since boot"),
    *(Field(f"latency_{bucket}", "u32", "", "steps in this bucket of the histogram") for bucket in range(BUCKETS)),
)


def declare(apid: int) -> Declarations:
    """Return the command, the report, the structure and the events of the executive."""
    return Declarations(
        structures=(
            Structure(
                apid, 5, "executive", 60.0,
                (
                    Field("tasks", "u16", "", "tasks that run"),
                    Field("refused", "u32", "", "tasks not started, for there were too many"),
                    *_COUNTERS,
                    *_WORST,
                    Field("cpu_permille", "u16", "", "share of the processor since boot, all tasks"),
                    Field("worst_step_task", "str", "", "whose step that was, empty if it has ended"),
                    Field("worst_latency_task", "str", "", "who waited so long, empty if it has ended"),
                ),
            ),
        ),
        events=(
            EventDefinition(
                apid, 120, "realtime_degraded", "low", "the executive goes on without: {missing}",
                (Field("missing", "str"),),
            ),
            EventDefinition(
                apid, 121, "task_starved", "low", "task {task} waited {waited_s:.3f} s for its turn",
                (Field("task", "str"), Field("waited_s", "f32", "s")),
            ),
            EventDefinition(
                apid, 122, "task_overrun", "low", "a step of task {task} took {took_s:.3f} s, over its budget",
                (Field("task", "str"), Field("took_s", "f32", "s")),
            ),
        ),
        commands=(Command("report_tasks", apid, 3, 129, "report every task of the executive once", idempotent=True),),
        reports=(Report(apid, 3, _SUBTYPE_REPORT, "task_report", _REPORT),),
    )  # fmt: skip


class Executive(Service):
    """Reports the tasks of `scheduler`."""

    def __init__(self, apid: int, scheduler: Scheduler, telemetry: Telemetry) -> None:
        self._apid = apid
        self._scheduler = scheduler
        self._telemetry = telemetry
        self._layout = Layout(_REPORT)

    def report(self) -> Slices:
        """Send one packet per task, in the order in which the tasks were started."""
        tasks = self._scheduler.report()
        for index, task_report in enumerate(tasks):
            data = self._layout.encode((index, len(tasks), *_values(task_report)))
            self._telemetry.send(self._apid, 3, _SUBTYPE_REPORT, data)
            # Others have their turn after a few packets (flight.core.step_budget).
            if (index + 1) % PACKETS == 0:
                yield
        return None

    def handlers(self) -> Iterable[CommandHandler]:
        """Return the handler of `report_tasks`."""
        return (CommandHandler("report_tasks", None, self.report),)

    def samplers(self) -> Iterable[Sampler]:
        """Return the sampler of the structure "executive"."""
        return (Sampler("executive", self.sample),)

    def sample(self) -> Sample:
        """Return the values of the structure "executive"."""
        scheduler, totals = self._scheduler, self._scheduler.totals()
        # The worst of all may be that of a task that has ended, which has no name any more.
        step = [task.name for task in scheduler.tasks if task.stats.worst_ns == totals.worst_ns]
        latency = [task.name for task in scheduler.tasks if task.stats.worst_latency_ns == totals.worst_latency_ns]
        return {
            "tasks": len(scheduler.tasks),
            "refused": scheduler.refused,
            "steps": totals.steps,
            "ticks": totals.ticks,
            "late": totals.late,
            "skipped": totals.skipped,
            "overruns": totals.overruns,
            "starved": totals.starved,
            "failures": totals.failures,
            "restarts": totals.restarts,
            "worst_step_us": min(totals.worst_ns // 1000, _U32),
            "worst_latency_us": min(totals.worst_latency_ns // 1000, _U32),
            "cpu_permille": min(totals.cpu_ns * 1000 // scheduler.up_cpu_ns, 0xFFFF),
            "worst_step_task": step[0] if step else "",
            "worst_latency_task": latency[0] if latency else "",
        }


def _values(report: TaskReport) -> tuple[Value, ...]:
    """Return the fields of _REPORT behind `tasks`, in their order."""
    counts = (
        report.steps,
        report.ticks,
        report.late,
        report.skipped,
        report.overruns,
        report.starved,
        report.failures,
        report.restarts,
    )
    limits = (
        report.worst_step_us, report.worst_latency_us,
        # Quantiles come from the histogram and are good to a factor of two: never above the worst, which is exact.
        min(report.latency_p50_us, report.worst_latency_us), min(report.latency_p99_us, report.worst_latency_us),
    )  # fmt: skip
    return (
        report.name, _STATES.index(report.state), int(report.critical),
        *(min(value, _U32) for value in (report.period_ms, report.deadline_ms, report.budget_us)),
        *counts, *(min(value, _U32) for value in limits),
        min(report.cpu_permille, 0xFFFF), *report.latency,
    )  # fmt: skip
