"""Commands and reports of ST[11] about what is enabled: the schedule, its sub-schedules, its groups.

An activity is released through three gates: that of the schedule as a whole, of its sub-schedule, of its group. A gate
is closed by command and looked at as the activity's time comes: nothing is deleted when it closes, and what comes due
while it is closed is deleted unexecuted. A group is known from its creation to its deletion, and cannot go while
activities are in it; sub-schedules need no introduction.

Commands change the rows' gates, reports tell of those in force (schedule_timetable.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from flight.contract.app import CommandRefused, Durable, Slices
from flight.contract.failures import Failure
from flight.contract.service import CommandHandler
from flight.services.automation.schedule_store import Gates
from flight.services.automation.schedule_timetable import Timetable
from flight.services.reporting.row_report import RowReport

Ids = tuple[tuple[int], ...]  # rows of one number each


class GateCommands:
    """The gates of `timetable`, with the reports for sub-schedules and groups."""

    def __init__(self, timetable: Timetable, sub_schedules: RowReport, groups: RowReport) -> None:
        self._timetable = timetable
        self._store = timetable.store
        self._sub_schedules = sub_schedules
        self._groups = groups

    def handlers(self) -> Iterable[CommandHandler]:
        """The commands it serves."""
        return (
            CommandHandler("enable_schedule", None, lambda: self._open(enabled=True)),
            CommandHandler("disable_schedule", None, lambda: self._open(enabled=False)),
            CommandHandler("report_sub_schedules", None, self._report_sub_schedules),
            CommandHandler("enable_sub_schedules", None, self._enable_sub_schedules),
            CommandHandler("disable_sub_schedules", None, self._disable_sub_schedules),
            CommandHandler("create_groups", self._check_create, self._create_groups),
            CommandHandler("delete_groups", self._check_delete_groups, self._delete_groups),
            CommandHandler("enable_groups", self._known, lambda rows: self._switch_groups(rows, enable=True)),
            CommandHandler("disable_groups", self._known, lambda rows: self._switch_groups(rows, enable=False)),
            CommandHandler("report_groups", None, self._report_groups),
        )

    def _set(self, gates: Gates) -> Durable:
        return self._timetable.change(self._store.set_gates(gates))

    def _open(self, *, enabled: bool) -> Durable:
        return self._set(replace(self._store.gates(), enabled=enabled))

    def _enable_sub_schedules(self, rows: Ids) -> Durable:
        gates = self._store.gates()
        still = gates.disabled_sub_schedules - _numbers(rows) if rows else frozenset[int]()
        return self._set(replace(gates, disabled_sub_schedules=still))

    def _disable_sub_schedules(self, rows: Ids) -> Durable:
        """Without rows all there are: those of which an activity is held."""
        gates = self._store.gates()
        more = _numbers(rows) if rows else {one.sub_schedule for one in self._timetable.within_reach()}
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
                raise CommandRefused(Failure.BAD_VALUE, f"no group {group}, have {listed(known)}")

    def _check_delete_groups(self, rows: Ids) -> None:
        self._known(rows)
        chosen = self._deletable(rows)
        used = {one.group for one in self._store.activities().values()} & chosen
        if used:
            raise CommandRefused(Failure.BAD_VALUE, f"activities are in group {listed(used)}")
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

    def _report_sub_schedules(self) -> Slices:
        disabled = self._timetable.gates.disabled_sub_schedules
        known = sorted(disabled | {one.sub_schedule for one in self._timetable.waiting})
        return self._sub_schedules.send((number, int(number not in disabled)) for number in known)

    def _report_groups(self) -> Slices:
        gates = self._timetable.gates
        return self._groups.send((number, int(number not in gates.disabled_groups)) for number in sorted(gates.groups))


def _numbers(rows: Iterable[tuple[int, ...]]) -> frozenset[int]:
    return frozenset(row[0] for row in rows)


def listed(numbers: Iterable[int]) -> str:
    """The numbers in order, as a refusal names them."""
    return ", ".join(map(str, sorted(numbers)))
