"""ST[11] time-based scheduling: commands that are executed at their time (ECSS-E-ST-70-41C, 6.11).

    inserted --its time, all gates open, in time--> released: Commands.perform, with its row deleted
             --its time, a gate closed-----------> deleted unexecuted: Commands.refuse with Failure.NOT_RELEASED
             --found later than the late rule-----> deleted unexecuted: Commands.refuse with Failure.LATE

Time is that of the on-board clock, looked at anew every second, so that a correction or a jump is followed. Equal
times are released in the order of insertion, one after the end of the other; one that takes longer than `patience_s`
goes on beside those after it. An activity leaves the vault in the transaction that stores its execution as begun, or
its refusal: it is executed at most once, and has its reports. Where the disk does not take that, the activity is not
executed; a bounded number of attempts later it is left to the next boot, whose late rule decides.

What is in force stands in schedule_timetable.py; what ground commands, in schedule_activities.py and schedule_gates.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flight.contract.app import Durable, Sample
from flight.contract.failures import Failure
from flight.contract.service import CommandHandler, Sampler, Service, ServiceTask
from flight.core.nanoseconds import NS, ns
from flight.core.scheduler import SchedulerFull
from flight.core.task import Task
from flight.services.automation.held import HolderParts, once, stored
from flight.services.automation.schedule_activities import ActivityCommands
from flight.services.automation.schedule_declarations import ScheduleConfig, declare
from flight.services.automation.schedule_gates import GateCommands
from flight.services.automation.schedule_store import Activity, Gates
from flight.services.automation.schedule_timetable import Timetable
from flight.services.reporting.row_report import RowReport

_LOOK_S = 1.0
_AT_WORK_MAX = 8


class Schedule(Service):
    """`tai_ns` is the on-board clock, which others may correct. Activities since boot: `released`; `late` and
    `disabled`, which were not executed.
    """

    def __init__(self, apid: int, config: ScheduleConfig, parts: HolderParts, tai_ns: Callable[[], int]) -> None:
        self.released = 0
        self.late = 0
        self.disabled = 0
        self._config = config
        self._commands = parts.commands
        self._events = parts.events
        self._scheduler = parts.scheduler
        self._tai_ns = tai_ns
        self.timetable = Timetable(parts.vault, parts.events, tai_ns())
        self._store = self.timetable.store
        reports = {report.subtype: RowReport(parts.telemetry, report) for report in declare(apid).reports}
        self._activities = ActivityCommands(
            config, parts.commands, self.timetable, tai_ns, detail=reports[10], summary=reports[13]
        )
        self._gates = GateCommands(self.timetable, sub_schedules=reports[19], groups=reports[27])

    @property
    def refused(self) -> int:
        """Activities since boot that were not taken in."""
        return self._activities.refused

    def sample(self) -> Sample:
        """The schedule's own fields of the housekeeping structure `schedule`."""
        count, octets = self._store.used()
        first = self.timetable.first()
        return {
            "enabled": int(self.timetable.gates.enabled),
            "activities": count,
            "capacity": self._config.activities,
            "octets": octets,
            "released": self.released,
            "late": self.late,
            "disabled": self.disabled,
            "refused": self.refused,
            "next_release": 0 if first is None else first.time_ns,
        }

    def handlers(self) -> Iterable[CommandHandler]:
        return (
            CommandHandler("reset_schedule", None, self._reset),
            *self._activities.handlers(),
            *self._gates.handlers(),
        )

    def samplers(self) -> Iterable[Sampler]:
        return (Sampler("schedule", self.sample),)

    def tasks(self) -> Iterable[ServiceTask]:
        return (ServiceTask("schedule", self.run, deadline_s=0.05),)

    def _reset(self) -> Durable:
        gates = Gates(enabled=False, groups=self._store.gates().groups)
        return self.timetable.change({**self._store.clear(), **self._store.set_gates(gates)})

    async def run(self, task: Task) -> None:
        """Release what is due, earliest first."""
        while True:
            self.timetable.changed.clear()
            first = self.timetable.first()
            if first is None:
                await self.timetable.changed.wait()
                continue
            ahead_ns = first.time_ns - self._tai_ns()
            if ahead_ns > 0:
                await task.wait(self.timetable.changed.wait(), min(ahead_ns / NS, _LOOK_S))
                continue
            await self._release(task, first)

    async def _release(self, task: Task, activity: Activity) -> None:
        if not self._store.holds(activity):
            self.timetable.drop(activity)
            return
        if len(self.timetable.at_work) >= _AT_WORK_MAX:
            await task.first([one.finished for one in self.timetable.at_work], _LOOK_S)
            return

        async def work(mine: Task) -> None:
            await self._end(mine, activity)

        try:
            child = self._scheduler.spawn("schedule.release", once(work))
        except SchedulerFull:
            await task.sleep(_LOOK_S)
            return
        self.timetable.begin(activity, child)
        await task.wait(child.finished, self._config.patience_s)

    async def _end(self, task: Task, activity: Activity) -> None:
        """Execute the activity, or refuse it, as the clock and the gates stand when the disk takes it."""
        name = activity.id[1:]
        ended = waits = False

        async def attempt() -> None:
            nonlocal ended
            if self._store.holds(activity):  # not cleared by a reset, nor by a transaction that failed for good
                await self._execute_or_refuse(task, activity)
                ended = True

        def on_fault(reason: str) -> None:
            nonlocal waits
            waits = True
            self._events.emit("activity_waits", *name, reason)

        await stored(task, attempt, on_fault)
        if waits and not ended:
            self._events.emit("activity_not_stored", *name)

    async def _execute_or_refuse(self, task: Task, activity: Activity) -> None:
        gone = {activity.row: None}
        closed, limit_s = self._store.gates().closed(activity), self._late_s(activity)
        late_ns = self._tai_ns() - activity.time_ns
        name = activity.id[1:]
        if closed:
            await self._commands.refuse(activity.request, Failure.NOT_RELEASED, closed, gone)
            self.disabled += 1
            self._events.emit("activity_disabled", *name, closed)
        elif late_ns > ns(limit_s):
            await self._commands.refuse(activity.request, Failure.LATE, f"{late_ns / NS:.1f} s", gone)
            self.late += 1
            self._events.emit("activity_late", *name, late_ns / NS, limit_s)
        else:
            await self._commands.perform(task, activity.request, gone)
            self.released += 1

    def _late_s(self, activity: Activity) -> float:
        return self._config.sub_schedule_late_s.get(str(activity.sub_schedule), self._config.late_s)
