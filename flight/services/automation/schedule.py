"""ST[11] time-based scheduling: commands that are executed at their time (ECSS-E-ST-70-41C, 6.11).

    inserted --its time, all gates open, in time--> released: Commands.perform, with its row deleted
             --its time, a gate closed-----------> deleted unexecuted: Commands.refuse with Failure.NOT_RELEASED
             --found later than the late rule-----> deleted unexecuted: Commands.refuse with Failure.LATE

Time is that of the on-board clock, looked at anew every second, so that a correction or a jump is followed. Equal
times are released in the order of insertion, one after the end of the other; one that takes longer than `patience_s`
goes on beside those after it. An activity leaves the vault in the transaction that stores its execution as begun, or
its refusal: it is executed at most once, and has its reports. Where the disk does not take that, the activity is not
executed; a bounded number of attempts later it is left to the next boot, whose late rule decides. A change of the
schedule that is on its way to the disk counts already: what it deletes, shifts or disables is not executed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from flight.contract.app import CommandRefused, Durable, Sample, Slices
from flight.contract.failures import Failure
from flight.contract.service import CommandHandler, Sampler, Service, ServiceTask
from flight.core.errors import StorageError
from flight.core.future import Event
from flight.core.nanoseconds import NS, ns
from flight.core.scheduler import SchedulerFull
from flight.core.task import Task
from flight.link.time_code import TIME_NS_MAX
from flight.services.automation.held import HolderParts, check_held, once, request_key, stored
from flight.services.automation.schedule_declarations import WINDOWS, ScheduleConfig, declare
from flight.services.automation.schedule_store import ID, Activity, Gates, ScheduleStore
from flight.services.commanding.command_log import name_commands
from flight.services.reporting.row_report import RowReport
from flight.services.settings.foreign_rows import ForeignRows
from flight.store.vault import Changes, Vault

_LOOK_S = 1.0
_AT_WORK_MAX = 8
_ALL, _BETWEEN, _FROM, _TO = range(len(WINDOWS))

Ids = tuple[tuple[int], ...]  # rows of one number each
Filter = tuple[int, int, int, Ids, Ids]


class Schedule(Service):
    """`tai_ns` is the on-board clock, which others may correct."""

    def __init__(
        self,
        apid: int,
        config: ScheduleConfig,
        parts: HolderParts,
        tai_ns: Callable[[], int],
    ) -> None:
        self.released = 0
        self.late = 0
        self.disabled = 0
        self.refused = 0
        self._config = config
        self._commands = parts.commands
        self._events = parts.events
        self._scheduler = parts.scheduler
        self._tai_ns = tai_ns
        self._store = ScheduleStore(parts.vault, ForeignRows("schedule", parts.events).tell)
        self._changed = Event()
        self._at_work: dict[ID, Task] = {}
        self._given_up: set[ID] = set()  # the disk did not take their release: out of sight until the next boot
        self._held: dict[ID, Activity] = {}
        self._gates = Gates()
        self._give_up_uncertain(parts.vault)
        self._refresh()
        self._next = max((one.number for one in self._held.values()), default=-1) + 1
        reports = {report.subtype: report for report in declare(apid).reports}
        self._detail, self._summary, self._sub_schedules, self._groups = (
            RowReport(parts.telemetry, reports[subtype]) for subtype in (10, 13, 19, 27)
        )

    def _give_up_uncertain(self, vault: Vault) -> None:
        """If the vault lost transactions, an activity that was due by now may have been released in them: never
        twice. Later ones stand: a schedule that ground deleted in what is lost is the lesser risk, and ground is told.
        """
        now_ns = self._tai_ns()
        due = [one for one in self._store.activities().values() if one.time_ns <= now_ns and vault.is_stale(one.row)]
        if not due:
            return
        self._given_up.update(one.id for one in due)
        names = name_commands([one.id[1:] for one in due])
        text = f"{len(due)} activities may have been released in what is gone and are given up: {names}"
        self._events.emit("record_damaged", "schedule", text)
        try:
            vault.stage({one.row: None for one in due})
        except StorageError:
            return  # out of sight until the next boot, which finds them again

    def sample(self) -> Sample:
        """The schedule's own fields of the housekeeping structure `schedule`."""
        count, octets = self._store.used()
        first = self._first()
        return {
            "enabled": int(self._gates.enabled),
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
            CommandHandler("enable_schedule", None, lambda: self._open(enabled=True)),
            CommandHandler("disable_schedule", None, lambda: self._open(enabled=False)),
            CommandHandler("reset_schedule", None, self._reset),
            CommandHandler("insert_activities", self._check_insert, self._insert),
            CommandHandler("delete_activities", self._check_named, lambda ids: self._delete(self._named(ids))),
            CommandHandler("delete_activities_by_filter", _check_filter, lambda *by: self._delete(self._filtered(by))),
            CommandHandler(
                "shift_activities", self._check_shift_named, lambda s, ids: self._shift(s, self._named(ids))
            ),
            CommandHandler(
                "shift_activities_by_filter",
                self._check_shift_filtered,
                lambda s, *by: self._shift(s, self._filtered(by)),
            ),
            CommandHandler(
                "shift_schedule", lambda s: self._check_shift(s, self._all()), lambda s: self._shift(s, self._all())
            ),
            CommandHandler("report_activities", self._check_named, lambda ids: self._send_detail(self._named(ids))),
            CommandHandler(
                "report_activities_by_filter", _check_filter, lambda *by: self._send_detail(self._filtered(by))
            ),
            CommandHandler("report_schedule", None, lambda: self._send_detail(self._all())),
            CommandHandler("summarise_activities", self._check_named, lambda ids: self._send_summary(self._named(ids))),
            CommandHandler(
                "summarise_activities_by_filter", _check_filter, lambda *by: self._send_summary(self._filtered(by))
            ),
            CommandHandler("summarise_schedule", None, lambda: self._send_summary(self._all())),
            CommandHandler("report_sub_schedules", None, self._report_sub_schedules),
            CommandHandler("enable_sub_schedules", None, self._enable_sub_schedules),
            CommandHandler("disable_sub_schedules", None, self._disable_sub_schedules),
            CommandHandler("create_groups", self._check_create, self._create_groups),
            CommandHandler("delete_groups", self._check_delete_groups, self._delete_groups),
            CommandHandler("enable_groups", self._known, lambda rows: self._switch_groups(rows, enable=True)),
            CommandHandler("disable_groups", self._known, lambda rows: self._switch_groups(rows, enable=False)),
            CommandHandler("report_groups", None, self._report_groups),
        )

    def samplers(self) -> Iterable[Sampler]:
        return (Sampler("schedule", self.sample),)

    def tasks(self) -> Iterable[ServiceTask]:
        return (ServiceTask("schedule", self.run, deadline_s=0.05),)

    def _all(self) -> list[Activity]:
        """In order of release, without those that are being released."""
        held = self._store.activities()
        return sorted((one for id, one in held.items() if not self._leaving(id)), key=lambda one: one.order)

    def _leaving(self, id: ID) -> bool:
        return id in self._at_work or id in self._given_up

    def _first(self) -> Activity | None:
        return min(self._held.values(), key=lambda one: one.order, default=None)

    def _change(self, changes: Changes) -> Durable:
        return Durable(changes, self._refresh, self._refresh)

    def _refresh(self) -> None:
        """A change is durable, or failed: have in force what the vault says."""
        self._given_up = {id for id in self._given_up if id in self._store}
        self._held = {one.id: one for one in self._all()}
        self._gates = self._store.gates()
        self._changed.set()

    def _named(self, ids: tuple[ID, ...]) -> list[Activity]:
        held = self._store.activities()
        for id in ids:
            if id not in held or self._leaving(id):
                raise CommandRefused(
                    Failure.BAD_VALUE, "no activity of source {}, APID {}, sequence count {}".format(*id)
                )
        return [held[id] for id in dict.fromkeys(ids)]

    def _check_named(self, ids: tuple[ID, ...]) -> None:
        self._named(ids)

    def _filtered(self, by: Filter) -> list[Activity]:
        window, from_ns, to_ns, sub_schedules, groups = by
        low = from_ns if window in (_BETWEEN, _FROM) else 0
        high = to_ns if window in (_BETWEEN, _TO) else TIME_NS_MAX
        return [
            one
            for one in self._all()
            if low <= one.time_ns <= high
            and (not sub_schedules or (one.sub_schedule,) in sub_schedules)
            and (not groups or (one.group,) in groups)
        ]

    def _check_insert(self, _sub_schedule: int, rows: tuple[tuple[int, int, bytes], ...]) -> None:
        try:
            self._check_rows(rows)
        except CommandRefused:
            self.refused += len(rows)
            raise

    def _check_rows(self, rows: tuple[tuple[int, int, bytes], ...]) -> None:
        gates, taken = self._store.gates(), self._at_work.keys() | self._given_up
        for i, (group, time_ns, request) in enumerate(rows):
            check_held(self._commands, request, f"activity {i}")
            if group not in gates.groups:
                raise CommandRefused(Failure.BAD_VALUE, f"activity {i}: no group {group}, have {_listed(gates.groups)}")
            self._check_time(f"activity {i}", time_ns)
            id = request_key(request)
            if id in taken or id in self._store:
                raise CommandRefused(
                    Failure.BAD_VALUE, f"activity {i}: sequence count {id[2]} of APID {id[1]} is scheduled"
                )
            taken.add(id)
        count, octets = self._store.used()
        config, more = self._config, sum(len(Activity(0, 0, 0, 0, raw, (0, 0, 0)).encode()) for _, _, raw in rows)
        if count + len(rows) > config.activities:
            raise CommandRefused(Failure.NO_ROOM, f"{len(rows)} activities more, {config.activities - count} are free")
        if octets + more > config.octets:
            raise CommandRefused(Failure.NO_ROOM, f"{more} octets more, {config.octets - octets} are free")

    def _check_time(self, what: str, time_ns: int) -> None:
        late_s = self._config.margin_s - (time_ns - self._tai_ns()) / NS
        if late_s > 0:
            raise CommandRefused(
                Failure.LATE, f"{what}: {late_s:.1f} s too late, it takes {self._config.margin_s:g} s ahead"
            )
        if time_ns > TIME_NS_MAX:
            raise CommandRefused(Failure.BAD_VALUE, f"{what}: beyond what the time code tells")

    def _insert(self, sub_schedule: int, rows: tuple[tuple[int, int, bytes], ...]) -> Durable:
        self._check_insert(sub_schedule, rows)
        made: list[Activity] = []
        for group, time_ns, request in rows:
            number = self._next & 0xFFFFFFFF
            made.append(Activity(number, sub_schedule, group, time_ns, request, request_key(request)))
            self._next += 1
        return self._change({one.row: one.encode() for one in made})

    def _delete(self, chosen: Iterable[Activity]) -> Durable:
        return self._change({one.row: None for one in chosen})

    def _check_shift_named(self, offset_s: int, ids: tuple[ID, ...]) -> None:
        self._check_shift(offset_s, self._named(ids))

    def _check_shift_filtered(self, offset_s: int, *by: *Filter) -> None:
        _check_filter(*by)
        self._check_shift(offset_s, self._filtered(by))

    def _check_shift(self, offset_s: int, chosen: Iterable[Activity]) -> None:
        for one in chosen:
            self._check_time(f"sequence count {one.id[2]} of APID {one.id[1]}", one.time_ns + offset_s * NS)

    def _shift(self, offset_s: int, chosen: list[Activity]) -> Durable:
        self._check_shift(offset_s, chosen)
        return self._change({one.row: one.shifted(offset_s * NS).encode() for one in chosen})

    def _reset(self) -> Durable:
        gates = Gates(enabled=False, groups=self._store.gates().groups)
        return self._change({**self._store.clear(), **self._store.set_gates(gates)})

    def _set(self, gates: Gates) -> Durable:
        return self._change(self._store.set_gates(gates))

    def _open(self, *, enabled: bool) -> Durable:
        return self._set(replace(self._store.gates(), enabled=enabled))

    def _enable_sub_schedules(self, rows: Ids) -> Durable:
        gates = self._store.gates()
        still = gates.disabled_sub_schedules - _numbers(rows) if rows else frozenset[int]()
        return self._set(replace(gates, disabled_sub_schedules=still))

    def _disable_sub_schedules(self, rows: Ids) -> Durable:
        """Without rows all there are: those of which an activity is held."""
        gates = self._store.gates()
        more = _numbers(rows) if rows else {one.sub_schedule for one in self._all()}
        return self._set(replace(gates, disabled_sub_schedules=gates.disabled_sub_schedules | more))

    def _check_create(self, rows: tuple[tuple[int, int], ...]) -> None:
        known = self._store.gates().groups
        for group, _ in rows:
            if group in known:
                raise CommandRefused(Failure.BAD_VALUE, f"group {group} is there already")

    def _create_groups(self, rows: tuple[tuple[int, int], ...]) -> Durable:
        self._check_create(rows)
        gates = self._store.gates()
        disabled = {group for group, status in rows if not status}
        return self._set(
            replace(gates, groups=gates.groups | _numbers(rows), disabled_groups=gates.disabled_groups | disabled)
        )

    def _known(self, rows: Ids) -> None:
        known = self._store.gates().groups
        for (group,) in rows:
            if group not in known:
                raise CommandRefused(Failure.BAD_VALUE, f"no group {group}, have {_listed(known)}")

    def _check_delete_groups(self, rows: Ids) -> None:
        self._known(rows)
        chosen = self._deletable(rows)
        used = {one.group for one in self._store.activities().values()} & chosen
        if used:
            raise CommandRefused(Failure.BAD_VALUE, f"activities are in group {_listed(used)}")
        if (0,) in rows:
            raise CommandRefused(Failure.BAD_VALUE, "group 0 is always there")

    def _deletable(self, rows: Ids) -> frozenset[int]:
        return _numbers(rows) if rows else self._store.gates().groups - {0}

    def _delete_groups(self, rows: Ids) -> Durable:
        self._check_delete_groups(rows)
        gates, gone = self._store.gates(), self._deletable(rows)
        return self._set(replace(gates, groups=gates.groups - gone, disabled_groups=gates.disabled_groups - gone))

    def _switch_groups(self, rows: Ids, *, enable: bool) -> Durable:
        self._known(rows)
        gates = self._store.gates()
        chosen = _numbers(rows) if rows else gates.groups
        disabled = gates.disabled_groups - chosen if enable else gates.disabled_groups | chosen
        return self._set(replace(gates, disabled_groups=disabled))

    def _send_detail(self, chosen: Iterable[Activity]) -> Slices:
        return self._detail.send((one.sub_schedule, one.group, one.time_ns, one.request) for one in chosen)

    def _send_summary(self, chosen: Iterable[Activity]) -> Slices:
        return self._summary.send((one.sub_schedule, one.group, one.time_ns, *one.id) for one in chosen)

    def _report_sub_schedules(self) -> Slices:
        disabled = self._gates.disabled_sub_schedules
        known = sorted(disabled | {one.sub_schedule for one in self._held.values()})
        return self._sub_schedules.send((number, int(number not in disabled)) for number in known)

    def _report_groups(self) -> Slices:
        gates = self._gates
        return self._groups.send((number, int(number not in gates.disabled_groups)) for number in sorted(gates.groups))

    async def run(self, task: Task) -> None:
        """Release what is due, earliest first."""
        while True:
            self._changed.clear()
            first = self._first()
            if first is None:
                await self._changed.wait()
                continue
            ahead_ns = first.time_ns - self._tai_ns()
            if ahead_ns > 0:
                await task.wait(self._changed.wait(), min(ahead_ns / NS, _LOOK_S))
                continue
            await self._release(task, first)

    async def _release(self, task: Task, activity: Activity) -> None:
        if not self._store.holds(activity):
            del self._held[activity.id]  # deleted or shifted: in force when that is durable
            return
        if len(self._at_work) >= _AT_WORK_MAX:
            await task.first([one.finished for one in self._at_work.values()], _LOOK_S)
            return

        async def work(mine: Task) -> None:
            await self._end(mine, activity)

        try:
            child = self._scheduler.spawn("schedule.release", once(work))
        except SchedulerFull:
            await task.sleep(_LOOK_S)
            return
        del self._held[activity.id]
        self._at_work[activity.id] = child
        child.finished.add_callback(lambda _: self._left(activity.id))
        await task.wait(child.finished, self._config.patience_s)

    def _left(self, id: ID) -> None:
        del self._at_work[id]
        if id in self._store:
            self._given_up.add(id)

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


def _check_filter(window: int, from_ns: int, to_ns: int, _sub_schedules: Ids, _groups: Ids) -> None:
    if window == _BETWEEN and from_ns > to_ns:
        raise CommandRefused(Failure.BAD_VALUE, f"from_time is {(from_ns - to_ns) / NS:g} s after to_time")


def _numbers(rows: Iterable[tuple[int, ...]]) -> frozenset[int]:
    return frozenset(row[0] for row in rows)


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
