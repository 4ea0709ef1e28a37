"""Scheduled commands, sequences and event-actions of a whole node, over the simulated radio and over power cuts."""

from __future__ import annotations

from typing import Any

import pytest

from flight.contract.failures import Failure
from flight.contract.fields import Row
from flight.core.nanoseconds import NS
from flight.link.pus import PusTc
from flight.link.sequence_count_ranges import GROUND_SEQ_COUNTS
from flight.mission import MissionError
from flight.services.automation.event_action import EventActions
from flight.services.automation.schedule import Schedule
from flight.services.automation.sequences import Sequences
from flight.services.reporting.events import Events
from flight.services.time.clock import Clock
from tests.field_values import integer, rows
from tests.full_disk import full_disk
from tests.sim.conftest import MakeRig, Rig

SEQUENCE = """
[[sequence]]
name = "greet"
on_event = "boot"
steps = [
    {command = "ping"},
    {command = "set_time_report_rate", delay_s = 5, arguments = {rate = 3}},
    {command = "report_hk", arguments = {structures = [[2]]}},
    {command = "ping", delay_s = 60},
]
"""


class Held:
    """A rig in contact, and telecommands made to be held."""

    def __init__(self, rig: Rig, at_s: float = 100.0) -> None:
        self.rig = rig
        self.count = 5000
        rig.until(at_s)

    def tai_ns(self, t_s: float) -> int:
        """On-board time when the loop shows `t_s`; to whole seconds, as the time code has them."""
        rig = self.rig
        return int(rig.node.part(Clock).tai_ns() + t_s * NS - rig.loop.now_ns())

    def packet(self, name: str, *values: Any) -> bytes:
        command = self.rig.dictionary.command(name)
        data = b"" if command.function is None else command.function.to_bytes(2, "big")
        self.count += 1
        return PusTc(command.apid, self.count, command.service, command.subtype, data + command.layout.encode(values),
                     ack=0b1011, source=7).encode()  # fmt: skip

    def insert(self, t_s: float, packet: bytes, group: int = 0, sub_schedule: int = 0) -> PusTc:
        request: PusTc = self.rig.send("insert_activities", sub_schedule, ((group, self.tai_ns(t_s), packet),))
        return request

    def stages(self, packet: bytes) -> list[int]:
        stages: list[int] = self.rig.stages(PusTc.decode(packet))
        return stages

    def events(self, name: str) -> list[Any]:
        event = next(e for e in self.rig.dictionary.events if e.name == name)
        return [
            event.layout.decode(p.data[2:])
            for p in self.rig.reports(5, event.subtype)
            if int.from_bytes(p.data[:2], "big") == event.number
        ]

    def rows(self, name: str) -> list[Row]:
        """Rows of all reports called `name`."""
        report = next(r for r in self.rig.dictionary.reports if r.name == name)
        return [
            row
            for p in self.rig.reports(report.service, report.subtype)
            for row in rows(report.layout.decode(p.data)[-1])
        ]

    def failure(self, request: PusTc) -> tuple[int, str]:
        report = next(r for r in self.rig.dictionary.reports if (r.service, r.subtype) == (1, 2))
        for packet in self.rig.reports(1, 2):
            _, word, code, detail = report.layout.decode(packet.data)
            if integer(word) & 0x3FFF == request.seq:
                return integer(code), str(detail)
        raise AssertionError("it was not refused")


def test_an_activity_is_executed_at_its_time_after_a_power_cut(make_rig: MakeRig) -> None:
    held = Held(make_rig())
    ping = held.packet("ping")
    inserted = held.insert(200, ping)
    held.rig.until(110)
    assert held.rig.stages(inserted) == [1, 3, 7]
    held.rig.craft.cut_power()
    held.rig.until(199)
    assert held.stages(ping) == [] and held.rig.reports(17, 2) == []
    held.rig.until(210)
    assert held.stages(ping) == [1, 3, 7] and len(held.rig.reports(17, 2)) == 1
    (pong,) = held.rig.reports(17, 2)
    assert 0 <= pong.time_ns - held.tai_ns(200) < 100_000_000
    held.rig.craft.cut_power()
    held.rig.until(400)
    assert len(held.rig.reports(17, 2)) == 1, "executed again"
    assert held.rig.node.part(Schedule).sample()["activities"] == 0


def test_what_fell_due_without_power_is_executed_or_refused_by_the_late_rule(make_rig: MakeRig) -> None:
    held = Held(make_rig(more="[schedule]\nlate_s = 8\n[schedule.sub_schedule_late_s]\n3 = 60\n"))
    late, allowed, soon = (held.packet("ping") for _ in range(3))
    held.insert(151, late)
    held.insert(151, allowed, sub_schedule=3)
    held.insert(157, soon)
    held.rig.until(150)
    held.rig.craft.cut_power()  # until 160
    held.rig.until(200)
    assert [held.stages(one) for one in (late, allowed, soon)] == [[2], [1, 3, 7], [1, 3, 7]]
    assert held.failure(PusTc.decode(late))[0] == Failure.LATE
    ((apid, seq, late_s, limit_s),) = held.events("activity_late")
    assert (apid, seq, limit_s) == (1, PusTc.decode(late).seq, 8) and 8 < late_s < 12
    schedule = held.rig.node.part(Schedule)
    assert (schedule.late, schedule.released, schedule.disabled) == (1, 2, 0)


def test_whatever_wakes_the_schedule_nothing_is_released_before_its_time(make_rig: MakeRig) -> None:
    """Every change of the schedule wakes its task: here commands and what follows one, up to a millisecond before."""
    held = Held(make_rig())
    held.rig.until(120)
    due_s = [150.0, 155.25, 160.5, 166.0]
    for t_s in due_s:
        held.insert(t_s, held.packet("ping"))
    schedule = held.rig.node.part(Schedule)
    for done, t_s in enumerate(due_s):
        for ahead_s in (1.15, 1.0, 0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.005, 0.001):
            held.rig.until(t_s - ahead_s)
            held.rig.send("enable_schedule")
            schedule.timetable.refresh()
            held.rig.until(t_s - ahead_s / 2)
            assert schedule.released == done, f"{ahead_s} s early"
        held.rig.until(t_s + 0.1)
        assert schedule.released == done + 1
    held.rig.until(175)
    late_ns = [pong.time_ns - held.tai_ns(t_s) for pong, t_s in zip(held.rig.reports(17, 2), due_s, strict=True)]
    assert all(-20_000 < one < 50_000_000 for one in late_ns), late_ns  # a time code counts in 15 us


def test_a_disabled_group_loses_its_activities_and_says_so(make_rig: MakeRig) -> None:
    held = Held(make_rig())
    held.rig.send("create_groups", ((9, 1),))
    first, other = held.packet("ping"), held.packet("ping")
    held.rig.until(105)
    held.insert(150, first, group=9)
    held.insert(150, other)
    held.rig.send("disable_groups", ((9,),))
    held.rig.send("report_groups")
    held.rig.until(200)
    assert (held.stages(first), held.stages(other)) == ([2], [1, 3, 7])
    assert held.failure(PusTc.decode(first)) == (Failure.NOT_RELEASED, "group 9")
    assert held.rows("group_status") == [(0, 1), (9, 0)]


def test_of_equal_times_the_first_has_had_its_effect_before_the_second(make_rig: MakeRig) -> None:
    held = Held(make_rig())
    first, second = held.packet("disable_sub_schedules", ((5,),)), held.packet("ping")
    held.insert(150, second, sub_schedule=4)
    held.insert(150, first)
    third = held.packet("ping")
    held.insert(150, third, sub_schedule=5)
    held.rig.until(160)
    assert held.stages(second) == held.stages(first) == [1, 3, 7]
    assert held.events("activity_disabled") == [(1, PusTc.decode(third).seq, "sub-schedule 5")]


def test_a_shift_by_filter_moves_what_it_chooses(make_rig: MakeRig) -> None:
    held = Held(make_rig())
    moved, stays = held.packet("ping"), held.packet("ping")
    held.insert(150, moved, sub_schedule=4)
    held.insert(150, stays, sub_schedule=5)
    held.rig.send("shift_activities_by_filter", 100, 1, held.tai_ns(149), held.tai_ns(151), ((4,),), ())
    held.rig.until(200)
    assert (held.stages(moved), held.stages(stays)) == ([], [1, 3, 7])
    held.rig.until(260)
    assert held.stages(moved) == [1, 3, 7]
    (pong,) = [p for p in held.rig.reports(17, 2) if p.time_ns > held.tai_ns(200)]
    assert 0 <= pong.time_ns - held.tai_ns(250) < 100_000_000


def test_a_detail_report_gives_back_what_was_inserted(make_rig: MakeRig) -> None:
    held = Held(make_rig())
    packets = [held.packet("set_time_report_rate", i % 8) for i in range(50)]
    times = [held.tai_ns(500 - i) // NS * NS for i in range(50)]
    for part in range(0, 50, 10):
        rows = [(0, times[i], packets[i]) for i in range(part, part + 10)]
        held.rig.send("insert_activities", 2, tuple(rows))
    held.rig.until(140)
    held.rig.send("report_schedule")
    held.rig.send("summarise_schedule")
    held.rig.until(160)
    assert held.rows("activities") == [(2, 0, t, p) for t, p in sorted(zip(times, packets, strict=True))]
    assert [row[-1] for row in held.rows("activity_summary")] == [PusTc.decode(p).seq for p in reversed(packets)]
    assert len(held.rig.reports(11, 10)) > 1 and all(len(p.data) <= 1001 for p in held.rig.reports(11, 10))


def test_insertions_are_refused_whole_and_say_why(make_rig: MakeRig) -> None:
    held = Held(make_rig(more="[schedule]\nactivities = 2\nmargin_s = 5\n"))
    ping, broken = held.packet("ping"), held.packet("reset_schedule")[:-1] + b"x"
    refused = {
        held.rig.send("insert_activities", 0, rows): reason
        for rows, reason in (
            (((0, held.tai_ns(300), ping), (0, held.tai_ns(60), held.packet("ping"))),
             (Failure.LATE, "activity 1: release time lies 4")),
            (((0, held.tai_ns(300), ping), (0, held.tai_ns(300), ping)),
             (Failure.BAD_VALUE, "activity 1: sequence count")),
            (((3, held.tai_ns(300), ping),), (Failure.BAD_VALUE, "activity 0: no group 3, known: 0")),
            (((0, held.tai_ns(300), broken),), (Failure.BAD_VALUE, "activity 0: telecommand")),
            (((0, held.tai_ns(300), held.packet("insert_activities", 0, ())),),
             (Failure.BAD_VALUE, "activity 0: TC[11,4]")),
            (tuple((0, held.tai_ns(300), held.packet("ping")) for _ in range(3)),
             (Failure.NO_ROOM, "3 to insert, room for 2")),
        )
    }  # fmt: skip
    held.rig.until(120)
    for request, (code, text) in refused.items():
        found = held.failure(request)
        assert found[0] == code and found[1].startswith(text), found
    assert held.rig.node.part(Schedule).sample()["activities"] == 0


def test_a_clock_that_is_set_forward_releases_what_is_due(make_rig: MakeRig) -> None:
    held = Held(make_rig())
    ping, over = held.packet("ping"), held.packet("ping")
    held.insert(300, ping)
    held.insert(200, over)
    held.rig.until(110)
    held.rig.send("adjust_time", 180_000_000)
    held.rig.until(115)
    assert held.stages(over) == [2] and held.stages(ping) == []
    held.rig.until(140)
    assert held.stages(ping) == [1, 3, 7]


def test_a_sequence_runs_by_command_and_ends_at_reboot(make_rig: MakeRig) -> None:
    held = Held(make_rig())
    steps = [held.packet("ping") for _ in range(3)]
    load = held.rig.send("load_sequence", "three", tuple(zip((0, 5000, 60_000), steps, strict=True)))
    held.rig.until(105)
    start = held.rig.send("activate_sequence", "three")
    held.rig.until(120)
    again = held.rig.send("activate_sequence", "three")
    held.rig.send("report_sequences")
    held.rig.send("report_sequence", "three")
    held.rig.until(130)
    assert held.rig.stages(load) == held.rig.stages(start) == [1, 3, 7]
    assert held.failure(again) == (Failure.BAD_VALUE, "sequence 'three' is running")
    assert [held.stages(one) for one in steps] == [[1, 3, 7], [1, 3, 7], []]
    assert held.rows("sequence_status") == [("three", 1, 2, 3)]
    assert held.rows("sequence_content") == list(zip((0, 5000, 60_000), steps, strict=True))
    held.rig.craft.cut_power()
    held.rig.until(250)
    assert held.events("sequence_aborted") == [("three", 2, 3, "reboot")]
    assert held.stages(steps[2]) == []
    held.rig.send("activate_sequence", "three")
    held.rig.until(254)
    held.rig.send("abort_all_sequences")
    held.rig.until(270)
    assert held.rows("sequences_aborted") == [("three",)]
    assert held.events("sequence_aborted")[1:] == [("three", 1, 3, "aborted by command")]
    held.rig.send("unload_sequence", "three")
    held.rig.send("report_sequences")
    held.rig.until(280)
    assert held.rows("sequence_status") == [("three", 1, 2, 3)]


def test_a_sequence_of_the_mission_starts_on_its_event(make_rig: MakeRig) -> None:
    held = Held(make_rig(more=SEQUENCE))
    assert held.events("sequence_started") == [("greet", "event boot")]
    counts = [p.data[2:4] for p in held.rig.reports(1, 7)]
    assert [int.from_bytes(one, "big") & 0x3FFF for one in counts] == [GROUND_SEQ_COUNTS + i for i in range(4)]
    held.rig.craft.cut_power()
    held.rig.until(140)
    assert list(held.rig.node.part(Sequences).sample().values()) == [1, 1, 1, 0], "it was over, and is started again"


def test_faults_of_the_missions_sequences_are_all_named(make_rig: MakeRig) -> None:
    text = SEQUENCE.replace('"boot"', '"bot"').replace("rate = 3", "rat = 3").replace('"ping", delay', '"pig", delay')
    with pytest.raises(MissionError) as told:
        make_rig(more=text)
    said = str(told.value)
    assert len(told.value.faults) == 4, "an argument that there is not is also one that is missing"
    assert "no event 'bot'" in said and "argument rat," in said and "rate is missing" in said and "'pig'" in said


def test_an_event_brings_about_its_command_once_in_a_while(make_rig: MakeRig) -> None:
    sequence = SEQUENCE.replace('"boot"', '"sequence_ended"')
    held = Held(make_rig(more=sequence))
    ended = next(e for e in held.rig.dictionary.events if e.name == "sequence_ended").number
    ping = held.packet("ping")
    held.rig.send("add_event_actions", ((1, ended, ping),))
    held.rig.send("report_event_actions")
    held.rig.send("load_sequence", "one", ((0, held.packet("ping")),))
    held.rig.send("activate_sequence", "one")
    held.rig.until(110)
    assert held.rows("event_actions") == [(1, ended, 0)]
    assert held.stages(ping) == [], "it is disabled at first"
    assert [e[0] for e in held.events("sequence_started")] == ["one", "greet"]
    held.rig.send("enable_event_actions", ((1, ended),))
    held.rig.until(120)
    held.rig.send("activate_sequence", "one")
    held.rig.until(125)
    held.rig.send("activate_sequence", "one")
    held.rig.until(130)
    assert held.stages(ping) == [1, 3, 7], "the second time was too soon after"
    assert list(held.rig.node.part(EventActions).sample().values()) == [1, 3, 1]
    assert [p.seq for p in held.rig.reports(1, 7) if p.data[2:4] == (0xC000 | GROUND_SEQ_COUNTS).to_bytes(2, "big")]
    held.rig.craft.cut_power()
    held.rig.until(160)
    held.rig.send("report_event_actions")
    held.rig.until(170)
    assert held.rows("event_actions")[-1] == (1, ended, 1)


def test_housekeeping_tells_what_is_held(make_rig: MakeRig) -> None:
    held = Held(make_rig())
    ping = held.packet("ping")
    held.insert(300, ping)
    held.insert(120, held.packet("ping"))
    held.rig.send("load_sequence", "one", ((0, ping),))
    held.rig.send("disable_sub_schedules", ())
    held.rig.until(140)
    held.rig.send("report_hk", ((9,),))
    held.rig.until(145)
    structure = next(s for s in held.rig.dictionary.structures if s.name == "schedule")
    data = [p.data for p in held.rig.reports(3, 25) if p.data[:2] == b"\0\x09"][-1]
    shown = dict(zip((f.name for f in structure.fields), structure.layout.decode(data[2:]), strict=True))
    assert shown["enabled"] == 1 and shown["activities"] == 1 and shown["capacity"] == 256
    assert (shown["released"], shown["disabled"], shown["late"]) == (0, 1, 0)
    assert abs(integer(shown["next_release"]) - held.tai_ns(300)) < 100_000
    assert (shown["sequences"], shown["sequences_running"], shown["actions"]) == (1, 0, 0)


def test_a_full_disk_delays_a_release_and_loses_none(make_rig: MakeRig) -> None:
    held = Held(make_rig())
    ping = held.packet("ping")
    held.insert(150, ping)
    held.rig.until(149)
    with full_disk(held.rig.craft.disk):
        held.rig.until(153)
        assert held.stages(ping) == []
    held.rig.until(160)
    assert held.stages(ping) == [1, 3, 7]
    ((_, seq, reason),) = held.events("activity_waits")
    assert seq == PusTc.decode(ping).seq and "space" in reason


def test_a_disk_that_stays_full_leaves_the_activity_to_the_next_boot(make_rig: MakeRig) -> None:
    held = Held(make_rig())
    ping = held.packet("ping")
    held.insert(150, ping)
    held.rig.until(149)
    with full_disk(held.rig.craft.disk):
        held.rig.until(180)
        assert held.events("activity_not_stored") == [(1, PusTc.decode(ping).seq)]
    held.rig.send("delete_activities", ((7, 1, PusTc.decode(ping).seq),))
    held.rig.until(185)
    assert held.stages(ping) == [] and held.rig.reports(17, 2) == [], "never without its transaction"
    held.rig.craft.cut_power()
    held.rig.until(230)
    assert held.stages(ping) == [1, 3, 7], "45 s late, 60 s are allowed"


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [("delete", [], []), ("shift", [], [1, 3, 7]), ("reset", [], []), ("disable", [2], [2])],
)
def test_a_change_on_its_way_to_the_disk_counts_at_the_release(
    make_rig: MakeRig, change: str, before: list[int], after: list[int]
) -> None:
    held = Held(make_rig())
    ping = held.packet("ping")
    held.insert(150, ping)
    held.rig.until(148.5)
    disk = held.rig.craft.disk
    fast, disk.commit_s = disk.commit_s, 3.0
    ids = ((7, 1, PusTc.decode(ping).seq),)
    name, values = {
        "delete": ("delete_activities", (ids,)), "shift": ("shift_activities", (50, ids)),
        "reset": ("reset_schedule", ()), "disable": ("disable_schedule", ()),
    }[change]  # fmt: skip
    request = held.rig.send(name, *values)
    held.rig.until(150.5)
    assert held.rig.stages(request) == [], "it is on its way"
    held.rig.until(170)
    disk.commit_s = fast
    assert held.rig.stages(request) == [1, 3, 7]
    assert held.stages(ping) == before
    held.rig.until(210)
    assert held.stages(ping) == after


def test_a_reset_takes_also_what_waits_for_the_disk(make_rig: MakeRig) -> None:
    held = Held(make_rig())
    waiting = held.packet("ping")
    held.insert(150, waiting)
    held.rig.until(149)
    with full_disk(held.rig.craft.disk):
        held.rig.until(158)
    held.rig.send("reset_schedule")
    held.rig.send("enable_schedule")
    held.rig.until(175)
    assert held.stages(waiting) == [] and list(held.rig.node.part(Schedule).sample().values())[:2] == [1, 0]


def test_what_the_disk_never_took_can_be_inserted_again_after_a_reset(make_rig: MakeRig) -> None:
    held = Held(make_rig())
    ping = held.packet("ping")
    held.insert(150, ping)
    held.rig.until(149)
    with full_disk(held.rig.craft.disk):
        held.rig.until(180)
    held.rig.send("reset_schedule")
    held.rig.send("enable_schedule")
    held.rig.until(190)
    again = held.insert(200, ping)
    held.rig.until(210)
    assert held.rig.stages(again) == [1, 3, 7] and held.stages(ping) == [1, 3, 7]


def test_a_sequence_that_ended_on_a_full_disk_can_be_started_again(make_rig: MakeRig) -> None:
    held = Held(make_rig())
    steps = ((0, held.packet("ping")), (5000, held.packet("ping")))
    held.rig.send("load_sequence", "two", steps)
    held.rig.send("activate_sequence", "two")
    held.rig.until(104)
    with full_disk(held.rig.craft.disk):
        held.rig.until(140)
        assert [e[0] for e in held.events("sequence_aborted")] == ["two"]
    abort, start = held.rig.send("abort_sequence", "two"), held.rig.send("activate_sequence", "two")
    held.rig.until(150)
    assert held.failure(abort) == (Failure.BAD_VALUE, "sequence 'two' is not running")
    assert held.rig.stages(start) == [1, 3, 7]
    assert held.events("sequence_ended") == [("two",)]
    assert held.rig.node.parts.vault.rows("sequence.run.") == []


def test_a_sequence_is_not_activated_twice_while_the_disk_is_slow(make_rig: MakeRig) -> None:
    held = Held(make_rig())
    held.rig.send("load_sequence", "one", ((60_000, held.packet("ping")),))
    held.rig.until(105)
    held.rig.craft.disk.commit_s = 8.0
    first, second = held.rig.send("activate_sequence", "one"), held.rig.send("activate_sequence", "one")
    unload = held.rig.send("unload_sequence", "one")
    held.rig.until(150)
    assert held.rig.stages(first) == [1, 3, 7]
    assert held.failure(second) == held.failure(unload) == (Failure.BAD_VALUE, "sequence 'one' is running")


def test_a_disk_that_hangs_bounds_the_actions_at_work(make_rig: MakeRig) -> None:
    held = Held(make_rig(more="[event_action]\nhold_s = 0.1\n"))
    event = next(e for e in held.rig.dictionary.events if e.name == "device_fault")
    held.rig.send("add_event_actions", ((event.apid, event.number, held.packet("ping")),))
    held.rig.send("enable_event_actions", ((event.apid, event.number),))
    held.rig.until(105)
    held.rig.craft.disk.commit_s = 1e6
    for i in range(20):
        held.rig.node.part(Events).emit("device_fault", "imager", "it is a test")
        held.rig.until(105 + 6 * (i + 1))
    names = [task.name for task in held.rig.node.scheduler.tasks]
    assert names.count("event_action.perform") == 8
    assert list(held.rig.node.part(EventActions).sample().values()) == [1, 8, 12]


def test_rows_of_other_software_are_left_out_told_and_left_alone(make_rig: MakeRig) -> None:
    """Sound transactions, other keys and values."""
    held = Held(make_rig())
    ping, good = held.packet("ping"), held.packet("ping")
    head, id = bytes(14), f"0007.001.{PusTc.decode(ping).seq:04x}"
    foreign = {
        "event_action.event.boot": b"\1" + ping, "event_action.event.": b"\1", "event_action.event.001.0001": b"\1",
        "event_action.event.001.0001.x": b"\1" + ping, "event_action.event.001.0002": b"\7" + ping,
        "schedule.activity.x": head + ping, "schedule.activity.0007.001.0001": head + ping,
        f"schedule.activity.{id}": head + ping[:-1] + b"x", "schedule.state": b"x",
        "sequence.load.short": b"\1", "sequence.load.broken": b"\1" + bytes(4) + ping[:-1] + b"x",
        "sequence.load." + "n" * 40: b"\1" + bytes(4) + ping, "sequence.run.short": b"\5",
    }  # fmt: skip
    held.rig.send("load_sequence", "good", ((0, good),))
    held.rig.until(105)
    held.rig.node.parts.vault.commit(foreign)
    held.rig.until(110)
    held.rig.craft.cut_power()
    held.rig.until(130)
    told = [record for record, _ in held.events("record_damaged")]
    assert told.count("event actions") == 5 and told.count("schedule") == 4 and told.count("sequences") == 4
    for name in ("report_event_actions", "report_schedule", "report_sequences", "delete_all_event_actions"):
        request = held.rig.send(name)
        held.rig.until(held.rig.loop.now_ns() / NS + 2)
        assert held.rig.stages(request) == [1, 3, 7], name
    assert held.rows("event_actions") == held.rows("activities") == [] == held.events("task_failed")
    assert held.rows("sequence_status") == [("good", 0, 0, 1)]
    assert all(held.rig.node.parts.vault.get(key) == value for key, value in foreign.items())
    inserted, loaded = held.insert(180, ping), held.rig.send("load_sequence", "broken", ((0, ping),))
    unloaded = held.rig.send("unload_sequence", "broken")
    held.rig.until(190)
    assert held.failure(loaded) == (Failure.BAD_VALUE, "sequence 'broken' already exists")
    assert held.failure(inserted)[1].endswith("is already scheduled") and held.rig.stages(unloaded) == [1, 3, 7]
