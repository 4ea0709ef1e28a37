"""Commands and reports of ST[11] about activities: inserting, deleting, shifting in time, reporting.

Activities are chosen by request id, by a filter, or all of them.
"""

# Whatever is chosen, a command changes all of it or nothing. It is checked before its acceptance, so that ground hears
# at once, and again when it is executed, against what the rows say by then (schedule_timetable.py): commands before it
# may have filled the schedule or deleted what it names.
#
# No activity is given a release time nearer than `margin_s`, by inserting or by shifting: it could not be released in
# time, and would be late by the time it is stored. None is given a time that the time code cannot hold.

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from flight.contract.app import CommandRefused, Durable, Slices
from flight.contract.failures import Failure
from flight.contract.service import CommandHandler
from flight.core.nanoseconds import NS
from flight.link.time.time_code import TIME_NS_MAX
from flight.services.automation.held_commands import check_held, request_key
from flight.services.automation.schedule_declarations import WINDOWS, ScheduleConfig
from flight.services.automation.schedule_gates import Ids, listed
from flight.services.automation.schedule_store import ID, Activity
from flight.services.automation.schedule_timetable import Timetable
from flight.services.commanding.commands import Commands
from flight.services.reporting.row_report import RowReport

_ALL, _BETWEEN, _FROM, _TO = range(len(WINDOWS))

Filter = tuple[int, int, int, Ids, Ids]


class ActivityCommands:
    """Serves the commands about the activities of `timetable`.

    `detail` and `summary` report activities whole and in short. `refused`: activities since boot that were not taken
    in. `tai_ns` is the on-board clock.
    """

    def __init__(
        self,
        config: ScheduleConfig,
        commands: Commands,
        timetable: Timetable,
        tai_ns: Callable[[], int],
        detail: RowReport,
        summary: RowReport,
    ) -> None:
        self.refused = 0
        self._config = config
        self._commands = commands
        self._timetable = timetable
        self._store = timetable.store
        self._tai_ns = tai_ns
        self._detail = detail
        self._summary = summary
        # Behind the numbers of what is held: an activity of an earlier boot was inserted before any of this one.
        self._next = max((activity.number for activity in timetable.waiting), default=-1) + 1

    def handlers(self) -> Iterable[CommandHandler]:
        """Return the handlers of the commands about activities."""
        return (
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
                "shift_schedule",
                lambda s: self._check_shift(s, self._timetable.within_reach()),
                lambda s: self._shift(s, self._timetable.within_reach()),
            ),
            CommandHandler("report_activities", self._check_named, lambda ids: self._send_detail(self._named(ids))),
            CommandHandler(
                "report_activities_by_filter", _check_filter, lambda *by: self._send_detail(self._filtered(by))
            ),
            CommandHandler("report_schedule", None, lambda: self._send_detail(self._timetable.within_reach())),
            CommandHandler("summarise_activities", self._check_named, lambda ids: self._send_summary(self._named(ids))),
            CommandHandler(
                "summarise_activities_by_filter", _check_filter, lambda *by: self._send_summary(self._filtered(by))
            ),
            CommandHandler("summarise_schedule", None, lambda: self._send_summary(self._timetable.within_reach())),
        )

    def _named(self, ids: tuple[ID, ...]) -> list[Activity]:
        held = self._store.activities()
        for id in ids:
            if id not in held or self._timetable.is_leaving(id):
                raise CommandRefused(
                    Failure.BAD_VALUE, "no activity of source {}, APID {}, sequence count {}".format(*id)
                )
        # Each once, in the order of the command: an id that is named twice must not be shifted twice.
        return [held[id] for id in dict.fromkeys(ids)]

    def _check_named(self, ids: tuple[ID, ...]) -> None:
        self._named(ids)

    def _filtered(self, by: Filter) -> list[Activity]:
        window, from_ns, to_ns, sub_schedules, groups = by
        # A window that has no end in that direction reaches as far as the time code does.
        low = from_ns if window in (_BETWEEN, _FROM) else 0
        high = to_ns if window in (_BETWEEN, _TO) else TIME_NS_MAX
        return [
            activity
            for activity in self._timetable.within_reach()
            if low <= activity.time_ns <= high
            and (not sub_schedules or (activity.sub_schedule,) in sub_schedules)
            and (not groups or (activity.group,) in groups)
        ]

    def _check_insert(self, _sub_schedule: int, rows: tuple[tuple[int, int, bytes], ...]) -> None:
        try:
            self._check_rows(rows)
        except CommandRefused:
            # Housekeeping counts activities, not commands: all of them were refused.
            self.refused += len(rows)
            raise

    def _check_rows(self, rows: tuple[tuple[int, int, bytes], ...]) -> None:
        gates, taken = self._store.gates(), set[ID]()
        for i, (group, time_ns, request) in enumerate(rows):
            check_held(self._commands, request, f"activity {i}")
            if group not in gates.groups:
                known = listed(gates.groups)
                raise CommandRefused(Failure.BAD_VALUE, f"activity {i}: no group {group}, known: {known}")
            self._check_time(f"activity {i}", time_ns)
            # An id is held once: rows have it as their key, and reports of two commands would look alike.
            id = request_key(request)
            if id in taken or self._timetable.is_leaving(id) or id in self._store:
                raise CommandRefused(
                    Failure.BAD_VALUE, f"activity {i}: sequence count {id[2]} of APID {id[1]} is already scheduled"
                )
            taken.add(id)
        count, octets = self._store.used()
        config, more = self._config, sum(len(Activity(0, 0, 0, 0, raw, (0, 0, 0)).encode()) for _, _, raw in rows)
        if count + len(rows) > config.activities:
            raise CommandRefused(Failure.NO_ROOM, f"{len(rows)} to insert, room for {config.activities - count}")
        if octets + more > config.octets:
            raise CommandRefused(Failure.NO_ROOM, f"{more} more octets, room for {config.octets - octets}")

    def _check_time(self, what: str, time_ns: int) -> None:
        margin_s = self._config.margin_s
        ahead_s = (time_ns - self._tai_ns()) / NS
        if ahead_s < margin_s:
            if ahead_s >= 0:
                # Rounded down: a time that is too early by a nanosecond must not look right.
                when = f"released in {math.floor(ahead_s * 10) / 10:.1f} s"
            else:
                when = f"release time lies {-ahead_s:,.{0 if ahead_s < -10 else 1}f} s in the past"
            raise CommandRefused(Failure.LATE, f"{what}: {when}, should be at least {margin_s:g} s ahead")
        if time_ns > TIME_NS_MAX:
            raise CommandRefused(Failure.BAD_VALUE, f"{what}: release time is beyond the range of the time code")

    def _insert(self, sub_schedule: int, rows: tuple[tuple[int, int, bytes], ...]) -> Durable:
        self._check_insert(sub_schedule, rows)
        inserted: list[Activity] = []
        for group, time_ns, request in rows:
            number = self._next & 0xFFFFFFFF
            inserted.append(Activity(number, sub_schedule, group, time_ns, request, request_key(request)))
            self._next += 1
        return self._timetable.change({activity.row: activity.encode() for activity in inserted})

    def _delete(self, chosen: Iterable[Activity]) -> Durable:
        return self._timetable.change({activity.row: None for activity in chosen})

    def _check_shift_named(self, offset_s: int, ids: tuple[ID, ...]) -> None:
        self._check_shift(offset_s, self._named(ids))

    def _check_shift_filtered(self, offset_s: int, *by: *Filter) -> None:
        _check_filter(*by)
        self._check_shift(offset_s, self._filtered(by))

    def _check_shift(self, offset_s: int, chosen: Iterable[Activity]) -> None:
        for activity in chosen:
            self._check_time(
                f"sequence count {activity.id[2]} of APID {activity.id[1]}", activity.time_ns + offset_s * NS
            )

    def _shift(self, offset_s: int, chosen: list[Activity]) -> Durable:
        self._check_shift(offset_s, chosen)
        return self._timetable.change({activity.row: activity.shifted(offset_s * NS).encode() for activity in chosen})

    def _send_detail(self, chosen: Iterable[Activity]) -> Slices:
        return self._detail.send(
            (activity.sub_schedule, activity.group, activity.time_ns, activity.request) for activity in chosen
        )

    def _send_summary(self, chosen: Iterable[Activity]) -> Slices:
        return self._summary.send(
            (activity.sub_schedule, activity.group, activity.time_ns, *activity.id) for activity in chosen
        )


def _check_filter(window: int, from_ns: int, to_ns: int, _sub_schedules: Ids, _groups: Ids) -> None:
    if window == _BETWEEN and from_ns > to_ns:
        raise CommandRefused(Failure.BAD_VALUE, f"from_time is {(from_ns - to_ns) / NS:g} s after to_time")
