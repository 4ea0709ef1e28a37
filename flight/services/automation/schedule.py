"""ST[11] time-based scheduling: commands that are executed at their time (ECSS-E-ST-70-41C, 6.11).

    inserted --its time, all gates open, in time--> released: Commands.perform, with its row deleted
             --its time, a gate is closed---------> deleted unexecuted: Commands.refuse with Failure.NOT_RELEASED
             --found later than the late rule-----> deleted unexecuted: Commands.refuse with Failure.LATE

An activity is executed at most once, and every one that comes due gets a report, unless the vault has lost transactions
(see schedule_timetable.py, which also holds what is in force). What ground may command stands in
schedule_activities.py and schedule_gates.py.
"""

# Time is that of the on-board clock. The next release is looked at again every second and not by one long timer, so
# that a correction of the clock or a jump of it is followed. Activities of the same time are released in the order of
# their insertion, one after the end of the other. One that takes longer than `patience_s` goes on beside those after
# it, and at most _AT_WORK_MAX do.
#
# What survives a reboot: the activities and the gates, which are rows of the vault. An activity leaves the vault in the
# transaction that stores its execution as begun, or its refusal. So a loss of power finds it either in the schedule or
# in the command log, never in both and never in neither. A node that was without power at the time of a release finds
# the activity at boot, and the late rule decides: late by no more than `late_s` it is still executed, else refused.
#
# If the disk does not take that transaction, the activity is not executed: executed and still in the schedule it would
# be executed again. After a bounded number of attempts it is left to the next boot.

from __future__ import annotations

from collections.abc import Callable, Iterable

from flight.contract.app import Durable, Sample
from flight.contract.failures import Failure
from flight.contract.service import CommandHandler, Sampler, Service, ServiceTask
from flight.core.nanoseconds import NS, ns
from flight.core.scheduler import SchedulerFull
from flight.core.task import Task
from flight.services.automation.held_commands import HolderParts, once, stored
from flight.services.automation.schedule_activities import ActivityCommands
from flight.services.automation.schedule_declarations import ScheduleConfig, declare
from flight.services.automation.schedule_gates import GateCommands
from flight.services.automation.schedule_store import Activity, Gates
from flight.services.automation.schedule_timetable import Timetable
from flight.services.reporting.row_report import RowReport

_LOOK_S = 1.0  # between two looks at the clock, which may have been set
_AT_WORK_MAX = 8  # releases that have begun and not ended


class Schedule(Service):
    """The schedule of one node. `tai_ns` is the on-board clock, which others may correct.

    Activities since boot: `released`, and `late` and `disabled`, which were not executed.
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
        """Activities since boot that were not taken into the schedule."""
        return self._activities.refused

    def sample(self) -> Sample:
        """Return the schedule's own fields of the housekeeping structure `schedule`."""
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
        """Return the handlers of ST[11]."""
        return (
            CommandHandler("reset_schedule", None, self._reset),
            *self._activities.handlers(),
            *self._gates.handlers(),
        )

    def samplers(self) -> Iterable[Sampler]:
        """Return the sampler of the schedule's own fields."""
        return (Sampler("schedule", self.sample),)

    def tasks(self) -> Iterable[ServiceTask]:
        """Return the task that releases activities."""
        return (ServiceTask("schedule", self.run, deadline_s=0.05),)

    def _reset(self) -> Durable:
        # The groups that ground created are kept; that one of them or a sub-schedule was disabled is not.
        gates = Gates(enabled=False, groups=self._store.gates().groups)
        return self.timetable.change({**self._store.clear(), **self._store.set_gates(gates)})

    async def run(self, task: Task) -> None:
        """Release what is due, the earliest first."""
        while True:
            # Cleared before the timetable is read: a change in between wakes the task once more.
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
            # A change on its way to the disk deletes or shifts it. It comes back with the change, or if that fails.
            self.timetable.drop(activity)
            return
        if len(self.timetable.at_work) >= _AT_WORK_MAX:
            await task.first([release.finished for release in self.timetable.at_work], _LOOK_S)
            return

        async def work(mine: Task) -> None:
            await self._end(mine, activity)

        try:
            child = self._scheduler.spawn("schedule.release", once(work))
        # Nothing was begun and the activity still waits: it is tried again, and the late rule bounds that.
        except SchedulerFull:
            await task.sleep(_LOOK_S)
            return
        self.timetable.begin(activity, child)
        await task.wait(child.finished, self._config.patience_s)

    async def _end(self, task: Task, activity: Activity) -> None:
        """Execute the activity, or refuse it, by the clock and the gates as they are when the disk takes it."""
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
        # Goes into the transaction that opens or refuses the command: never in the schedule and begun at once.
        gone = {activity.row: None}
        # Asked at each attempt: while the disk is tried, gates may close and time goes on.
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
