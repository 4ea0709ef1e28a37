"""What the time-based schedule adds to the dictionary and to the mission file (ECSS-E-ST-70-41C, 6.11 and 8.11).

Three differences from the layouts of the standard: both time tags of a time window are always present, a shift is in
whole seconds, and group 0 always exists, for those who need no groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flight.contract.dictionary import Command, Declarations, EventDefinition, Report, Structure
from flight.contract.fields import Field
from flight.core.config import key

WINDOWS = ("all", "between", "from", "to")
STATUS = ("disabled", "enabled")

_SUB_SCHEDULE = Field("sub_schedule", "u8")
_GROUP = Field("group", "u8")
_RELEASE = Field("release_time", "time", "ns", "TAI since 1958")
_ID = (Field("source", "u16"), Field("apid", "u16"), Field("seq", "u16"))
_REQUESTS = Field("requests", "rows", text="request ids", fields=_ID)
_OFFSET = Field("offset_s", "i32", "s", "added to the release times")
_FILTER = (
    Field("window", "u8", text="which release times, both ends included", labels=WINDOWS),
    Field("from_time", "time", "ns", "of the windows between and from", default=0),
    Field("to_time", "time", "ns", "of the windows between and to", default=0),
    Field("sub_schedules", "rows", text="none for all", fields=(_SUB_SCHEDULE,), default=()),
    Field("groups", "rows", text="none for all", fields=(_GROUP,), default=()),
)
_STATUS = Field("status", "u8", labels=STATUS)
_ACTIVITIES = Field("activities", "rows", fields=(_GROUP, _RELEASE, Field("request", "packet", text="the telecommand")))
_SUB_SCHEDULES = Field("sub_schedules", "rows", text="none for all", fields=(_SUB_SCHEDULE,), default=())
_GROUPS = Field("groups", "rows", text="none for all", fields=(_GROUP,), default=())


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """Mission section [schedule]: how much may be held, and how late a command may be."""

    activities: int = key(256, minimum=1, maximum=1000, text="commands held for their time at most")
    octets: int = key(64_000, minimum=1000, maximum=500_000, text="their packets and 14 octets each at most")
    margin_s: float = key(2.0, minimum=0, maximum=3600, text="a release time is at least this far ahead")
    late_s: float = key(60.0, minimum=0, maximum=86400, text="a command that is later than this is not executed")
    sub_schedule_late_s: Mapping[str, float] = key({}, minimum=0, maximum=86400, text="the same per sub-schedule")
    patience_s: float = key(5.0, minimum=0.1, maximum=600, text="how long the next one waits for the one before")

    def faults(self) -> list[tuple[str, str]]:
        """Return a fault for each key of `sub_schedule_late_s` that is not a sub-schedule."""
        return [
            ("sub_schedule_late_s", f"{name!r} is not a sub-schedule, should be 0 .. 255")
            for name in self.sub_schedule_late_s
            if not (name.isdecimal() and len(name) <= 3 and int(name) <= 255)
        ]


def declare(apid: int) -> Declarations:
    """Return commands, reports and events of ST[11], and the structure that it shares with ST[19] and ST[21]."""
    return Declarations(
        commands=_commands(apid),
        reports=_reports(apid),
        events=_events(apid),
        structures=(_structure(apid),),
    )


def _commands(apid: int) -> tuple[Command, ...]:
    # What changes the schedule is durable: it is reported when it would survive a loss of power. Reports are volatile.
    def change(name: str, subtype: int, text: str, *arguments: Field) -> Command:
        return Command(name, apid, 11, subtype, text, arguments, durable=True)

    def report(name: str, subtype: int, text: str, *arguments: Field) -> Command:
        return Command(name, apid, 11, subtype, text, arguments)

    return (
        change("enable_schedule", 1, "release scheduled commands at their time"),
        change("disable_schedule", 2, "delete them unexecuted at their time"),
        change("reset_schedule", 3, "disable, and forget every activity; enable all sub-schedules and groups"),
        change("insert_activities", 4, "schedule commands, all of them or none", _SUB_SCHEDULE, _ACTIVITIES),
        change("delete_activities", 5, "take scheduled commands out", _REQUESTS),
        change("delete_activities_by_filter", 6, "take scheduled commands out", *_FILTER),
        change("shift_activities", 7, "move scheduled commands in time", _OFFSET, _REQUESTS),
        change("shift_activities_by_filter", 8, "move scheduled commands in time", _OFFSET, *_FILTER),
        report("report_activities", 9, "report scheduled commands whole", _REQUESTS),
        report("report_activities_by_filter", 11, "report scheduled commands whole", *_FILTER),
        report("summarise_activities", 12, "report release times and request ids", _REQUESTS),
        report("summarise_activities_by_filter", 14, "report release times and request ids", *_FILTER),
        change("shift_schedule", 15, "move every scheduled command in time", _OFFSET),
        report("report_schedule", 16, "report every scheduled command whole"),
        report("summarise_schedule", 17, "report all release times and request ids"),
        report("report_sub_schedules", 18, "report the status of the sub-schedules"),
        change("enable_sub_schedules", 20, "release their commands again", _SUB_SCHEDULES),
        change("disable_sub_schedules", 21, "delete their commands unexecuted at their time", _SUB_SCHEDULES),
        change("create_groups", 22, "make groups known",
               Field("groups", "rows", text="none are there yet", fields=(_GROUP, _STATUS))),
        change("delete_groups", 23, "forget groups that no activity is in", _GROUPS),
        change("enable_groups", 24, "release their commands again", _GROUPS),
        change("disable_groups", 25, "delete their commands unexecuted at their time", _GROUPS),
        report("report_groups", 26, "report the status of the groups"),
    )  # fmt: skip


def _reports(apid: int) -> tuple[Report, ...]:
    detail = (_SUB_SCHEDULE, *_ACTIVITIES.fields)
    return (
        Report(apid, 11, 10, "activities", (Field("activities", "rows", fields=detail),)),
        Report(apid, 11, 13, "activity_summary",
               (Field("activities", "rows", fields=(_SUB_SCHEDULE, _GROUP, _RELEASE, *_ID)),)),
        Report(apid, 11, 19, "sub_schedule_status",
               (Field("sub_schedules", "rows", fields=(_SUB_SCHEDULE, _STATUS)),)),
        Report(apid, 11, 27, "group_status", (Field("groups", "rows", fields=(_GROUP, _STATUS)),)),
    )  # fmt: skip


def _events(apid: int) -> tuple[EventDefinition, ...]:
    return (
        EventDefinition(
            apid, 80, "activity_late", "medium",
            "scheduled command {seq} of APID {apid} not executed: {late_s:.1f} s late, {limit_s:g} s are allowed",
            (*_ID[1:], Field("late_s", "f64", "s"), Field("limit_s", "f32", "s")),
        ),
        EventDefinition(
            apid, 81, "activity_disabled", "low",
            "scheduled command {seq} of APID {apid} not executed: {what} is disabled",
            (*_ID[1:], Field("what", "str")),
        ),
        EventDefinition(
            apid, 82, "activity_waits", "medium", "scheduled command {seq} of APID {apid} waits for the disk: {reason}",
            (*_ID[1:], Field("reason", "str")),
        ),
        EventDefinition(
            apid, 83, "activity_not_stored", "high",
            "scheduled command {seq} of APID {apid} not executed: the disk did not take it, the next boot decides",
            _ID[1:],
        ),
    )  # fmt: skip


def _structure(apid: int) -> Structure:
    """Return the structure of everything that the node holds for later: schedule, sequences, event-actions."""
    return Structure(
        apid, 9, "schedule", 30.0,
        (
            Field("enabled", "u8", labels=STATUS),
            Field("activities", "u16"),
            Field("capacity", "u16"),
            Field("octets", "u32", "B"),
            Field("released", "u32"),
            Field("late", "u32", "", "not executed: too late"),
            Field("disabled", "u32", "", "not executed: disabled at their time"),
            Field("refused", "u32", "", "not taken in"),
            Field("next_release", "time", "ns", "TAI since 1958, 0 for none"),
            Field("sequences", "u16", "", "known, those of the mission included"),
            Field("sequences_running", "u8"),
            Field("sequences_started", "u32"),
            Field("sequences_aborted", "u32"),
            Field("actions", "u16", "", "events that have one"),
            Field("actions_fired", "u32"),
            Field("actions_suppressed", "u32", "", "within hold_s, or with the queue full"),
        ),
    )  # fmt: skip
