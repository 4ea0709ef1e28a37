"""Commands and reports of ST[11] about what is enabled: the schedule, its sub-schedules, its groups.

An activity is released through three gates: that of the whole schedule, of its sub-schedule, and of its group.
"""

# A gate is closed by command and looked at when an activity's time comes. Nothing is deleted when it closes, so a gate
# that opens again in time has cost nothing. What comes due while a gate is closed is deleted unexecuted, and reported.
#
# A group exists from its creation to its deletion, and cannot be deleted while activities are in it. Group 0 always
# exists. Sub-schedules need not be created: all numbers are there, enabled.
#
# Commands change the gates of the rows, which count at once for the commands behind them. Reports tell of the gates in
# force (schedule_timetable.py).

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
    """Serves the commands about the gates of `timetable`, with the reports of sub-schedules and groups."""

    def __init__(self, timetable: Timetable, sub_schedules: RowReport, groups: RowReport) -> None:
        self._timetable = timetable
        self._store = timetable.store
        self._sub_schedules = sub_schedules
        self._groups = groups

    def handlers(self) -> Iterable[CommandHandler]:
        """Return the handlers of the commands about gates."""
        return (
            CommandHandler("enable_schedule", None, lambda: self._set_schedule(enabled=True)),
            CommandHandler("disable_schedule", None, lambda: self._set_schedule(enabled=False)),
            CommandHandler("report_sub_schedules", None, self._report_sub_schedules),
            CommandHandler("enable_sub_schedules", None, self._enable_sub_schedules),
            CommandHandler("disable_sub_schedules", None, self._disable_sub_schedules),
            CommandHandler("create_groups", self._check_create, self._create_groups),
            CommandHandler("delete_groups", self._check_delete_groups, self._delete_groups),
            CommandHandler("enable_groups", self._check_known, lambda rows: self._switch_groups(rows, enable=True)),
            CommandHandler("disable_groups", self._check_known, lambda rows: self._switch_groups(rows, enable=False)),
            CommandHandler("report_groups", None, self._report_groups),
        )

    def _change(self, gates: Gates) -> Durable:
        return self._timetable.change(self._store.set_gates(gates))

    def _set_schedule(self, *, enabled: bool) -> Durable:
        return self._change(replace(self._store.gates(), enabled=enabled))

    def _enable_sub_schedules(self, rows: Ids) -> Durable:
        gates = self._store.gates()
        still_disabled = gates.disabled_sub_schedules - _numbers(rows) if rows else frozenset[int]()
        return self._change(replace(gates, disabled_sub_schedules=still_disabled))

    def _disable_sub_schedules(self, rows: Ids) -> Durable:
        """Disable the named sub-schedules. Without any: those of which an activity is held."""
        gates = self._store.gates()
        more = _numbers(rows) if rows else {activity.sub_schedule for activity in self._timetable.within_reach()}
        return self._change(replace(gates, disabled_sub_schedules=gates.disabled_sub_schedules | more))

    def _check_create(self, rows: tuple[tuple[int, int], ...]) -> None:
        known = self._store.gates().groups
        for group, _ in rows:
            if group in known:
                raise CommandRefused(Failure.BAD_VALUE, f"group {group} already exists")

    def _create_groups(self, rows: tuple[tuple[int, int], ...]) -> Durable:
        self._check_create(rows)
        gates = self._store.gates()
        disabled = {group for group, status in rows if not status}
        return self._change(
            replace(gates, groups=gates.groups | _numbers(rows), disabled_groups=gates.disabled_groups | disabled)
        )

    def _check_known(self, rows: Ids) -> None:
        known = self._store.gates().groups
        for (group,) in rows:
            if group not in known:
                raise CommandRefused(Failure.BAD_VALUE, f"no group {group}, known: {listed(known)}")

    def _check_delete_groups(self, rows: Ids) -> None:
        self._check_known(rows)
        chosen = self._deletable(rows)
        used = {activity.group for activity in self._store.activities().values()} & chosen
        if used:
            raise CommandRefused(Failure.BAD_VALUE, f"activities are still in group {listed(used)}")
        if (0,) in rows:
            raise CommandRefused(Failure.BAD_VALUE, "group 0 cannot be deleted")

    def _deletable(self, rows: Ids) -> frozenset[int]:
        return _numbers(rows) if rows else self._store.gates().groups - {0}

    def _delete_groups(self, rows: Ids) -> Durable:
        self._check_delete_groups(rows)
        gates, gone = self._store.gates(), self._deletable(rows)
        return self._change(replace(gates, groups=gates.groups - gone, disabled_groups=gates.disabled_groups - gone))

    def _switch_groups(self, rows: Ids, *, enable: bool) -> Durable:
        self._check_known(rows)
        gates = self._store.gates()
        chosen = _numbers(rows) if rows else gates.groups
        disabled = gates.disabled_groups - chosen if enable else gates.disabled_groups | chosen
        return self._change(replace(gates, disabled_groups=disabled))

    def _report_sub_schedules(self) -> Slices:
        disabled = self._timetable.gates.disabled_sub_schedules
        known = sorted(disabled | {activity.sub_schedule for activity in self._timetable.waiting})
        return self._sub_schedules.send((number, int(number not in disabled)) for number in known)

    def _report_groups(self) -> Slices:
        gates = self._timetable.gates
        return self._groups.send((number, int(number not in gates.disabled_groups)) for number in sorted(gates.groups))


def _numbers(rows: Iterable[tuple[int, ...]]) -> frozenset[int]:
    return frozenset(row[0] for row in rows)


def listed(numbers: Iterable[int]) -> str:
    """Return the numbers in order, as a refusal names them."""
    return ", ".join(map(str, sorted(numbers)))
