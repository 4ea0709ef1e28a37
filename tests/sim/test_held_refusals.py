"""What schedule and sequences refuse, each with its reason, and what becomes of groups: a node over the radio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flight.contract.failures import Failure
from flight.core.nanoseconds import NS
from flight.link.pus import PusTc
from flight.link.time.time_code import TIME_NS_MAX
from flight.services.automation.schedule import Schedule
from flight.services.automation.sequences import Sequences
from flight.services.time.clock import Clock
from tests.field_values import integer, refused, rows
from tests.sim.conftest import Rig

MORE = """
[schedule]
activities = 20
octets = 1000
margin_s = 5
[sequencing]
loaded = 2
octets = 600
running = 1
[[sequence]]
name = "ours"
steps = [{command = "ping"}, {command = "ping", delay_s = 900}]
"""
Rows = list[tuple[Any, ...]]


class Bench:
    """A rig in contact, and the refusals and reports that came down."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.count = 7000
        rig.until(100.0)

    def ping(self) -> bytes:
        self.count += 1
        return PusTc(1, self.count, 17, 1, b"", source=7).encode()

    def due_ns(self, ahead_s: float = 5_000.0) -> int:
        return int(self.rig.node.part(Clock).tai_ns() + ahead_s * NS)

    def do(self, name: str, *values: Any) -> tuple[int, str] | None:
        """Send a command and wait: why it was refused or failed, None if it was completed."""
        request = self.rig.send(name, *values)
        self.rig.until(self.rig.loop.now_ns() / NS + 2.0)
        stages = self.rig.stages(request)
        if stages == [1, 3, 7]:
            return None
        layout = next(r for r in self.rig.dictionary.reports if (r.service, r.subtype) == (1, 2)).layout
        for subtype in (2, 8):
            for packet in self.rig.reports(1, subtype):
                _, word, code, detail = layout.decode(packet.data)
                if integer(word) & 0x3FFF == request.seq:
                    return integer(code), str(detail)
        raise AssertionError(f"{name}: stages {stages}")

    def rows(self, name: str) -> Rows:
        report = next(r for r in self.rig.dictionary.reports if r.name == name)
        packets = self.rig.reports(report.service, report.subtype)
        return list(rows(report.layout.decode(packets[-1].data)[-1]))


@pytest.fixture
def bench(make_rig: Callable[..., Any]) -> Bench:
    return Bench(make_rig(more=MORE))


def test_groups_are_made_switched_and_given_up(bench: Bench) -> None:
    assert bench.do("create_groups", ((3, 1), (4, 0), (255, 1))) is None
    assert bench.do("create_groups", ((5, 1), (4, 1))) == (Failure.BAD_VALUE, "group 4 already exists")
    assert bench.do("create_groups", ((0, 1),)) == (Failure.BAD_VALUE, "group 0 already exists")
    for name in ("enable_groups", "disable_groups", "delete_groups"):
        assert bench.do(name, ((3,), (6,))) == (Failure.BAD_VALUE, "no group 6, known: 0, 3, 4, 255")
    bench.do("report_groups")
    assert bench.rows("group_status") == [(0, 1), (3, 1), (4, 0), (255, 1)]
    assert bench.do("enable_groups", ((4,),)) is None and bench.do("disable_groups", ((3,), (255,))) is None
    bench.do("report_groups")
    assert bench.rows("group_status") == [(0, 1), (3, 0), (4, 1), (255, 0)]

    assert bench.do("insert_activities", 0, ((3, bench.due_ns(), bench.ping()),)) is None
    assert bench.do("delete_groups", ((3,), (4,))) == (Failure.BAD_VALUE, "activities are still in group 3")
    assert bench.do("delete_groups", ()) == (Failure.BAD_VALUE, "activities are still in group 3")
    assert bench.do("delete_groups", ((0,),)) == (Failure.BAD_VALUE, "group 0 cannot be deleted")
    assert bench.do("delete_groups", ((255,),)) is None
    bench.do("report_groups")
    assert bench.rows("group_status") == [(0, 1), (3, 0), (4, 1)]
    assert bench.do("reset_schedule") is None
    assert bench.do("delete_groups", ()) is None, "all but group 0"
    bench.do("report_groups")
    assert bench.rows("group_status") == [(0, 1)]
    assert bench.do("create_groups", ((3, 1),)) is None, "its status is new with it"
    bench.do("report_groups")
    assert bench.rows("group_status") == [(0, 1), (3, 1)]


def test_all_groups_and_all_sub_schedules_are_switched_at_once(bench: Bench) -> None:
    bench.do("create_groups", ((3, 1), (4, 0)))
    for sub in (7, 9):
        assert bench.do("insert_activities", sub, ((0, bench.due_ns(), bench.ping()),)) is None
    assert bench.do("disable_groups", ()) is None and bench.do("disable_sub_schedules", ((8,),)) is None
    bench.do("report_groups")
    bench.do("report_sub_schedules")
    assert bench.rows("group_status") == [(0, 0), (3, 0), (4, 0)]
    assert bench.rows("sub_schedule_status") == [(7, 1), (8, 0), (9, 1)]
    assert bench.do("enable_groups", ()) is None and bench.do("disable_sub_schedules", ()) is None
    bench.do("report_groups")
    bench.do("report_sub_schedules")
    assert bench.rows("group_status") == [(0, 1), (3, 1), (4, 1)]
    assert bench.rows("sub_schedule_status") == [(7, 0), (8, 0), (9, 0)]
    assert bench.do("enable_sub_schedules", ((9,), (8,))) is None
    bench.do("report_sub_schedules")
    assert bench.rows("sub_schedule_status") == [(7, 0), (9, 1)]
    assert bench.do("enable_sub_schedules", ()) is None
    bench.do("report_sub_schedules")
    assert bench.rows("sub_schedule_status") == [(7, 1), (9, 1)]


def test_activities_are_refused_by_time_room_and_name(bench: Bench) -> None:
    kept = bench.ping()
    assert bench.do("insert_activities", 0, ((0, bench.due_ns(), kept),)) is None
    seq = PusTc.decode(kept).seq
    assert bench.do("insert_activities", 0, ((0, bench.due_ns(), kept),)) == (
        Failure.BAD_VALUE, f"activity 0: sequence count {seq} of APID 1 is already scheduled",
    )  # fmt: skip
    late = bench.do("insert_activities", 0, ((0, bench.due_ns(4.0), bench.ping()),))
    assert late is not None and late[0] == Failure.LATE
    assert late[1].startswith("activity 0: released in ") and late[1].endswith(" s, should be at least 5 s ahead")
    beyond = bench.do("insert_activities", 0, ((0, TIME_NS_MAX + 1, bench.ping()),))
    assert beyond is not None and beyond[0] == Failure.BAD_VALUE and beyond[1].startswith("activities[0].release_time")
    assert bench.do("shift_activities", 2_000_000_000, ((7, 1, seq),)) is None
    assert bench.do("shift_schedule", 1_000_000_000) == (
        Failure.BAD_VALUE, f"sequence count {seq} of APID 1: release time is beyond the range of the time code",
    )  # fmt: skip
    assert bench.do("shift_activities", -2_000_000_000, ((7, 1, seq),)) is None
    assert bench.rig.node.part(Schedule)._store.used() == (1, 27)  # noqa: SLF001 - what is kept in the vault
    assert bench.do("delete_activities", ((7, 1, seq + 1),)) == (
        Failure.BAD_VALUE, f"no activity of source 7, APID 1, sequence count {seq + 1}",
    )  # fmt: skip
    assert refused(bench.do("shift_activities", -100_000, ((7, 1, seq),))) == Failure.LATE
    assert refused(bench.do("shift_schedule", -100_000)) == Failure.LATE
    assert bench.do("delete_activities_by_filter", 1, bench.due_ns(9.0), bench.due_ns(8.0), (), ()) == (
        Failure.BAD_VALUE, "from_time is 1 s after to_time",
    )  # fmt: skip
    rows = tuple((0, bench.due_ns(), bench.ping()) for _ in range(20))
    assert bench.do("insert_activities", 0, rows) == (Failure.NO_ROOM, "20 to insert, room for 19")
    assert bench.do("insert_activities", 0, rows[:19]) is None
    assert bench.rig.node.part(Schedule)._store.used() == (20, 540)  # noqa: SLF001 - what is kept in the vault
    assert bench.rig.node.part(Schedule).refused == 22


@pytest.mark.parametrize(
    ("window", "chosen"), [(0, [10, 20, 30, 40]), (1, [20, 30]), (2, [20, 30, 40]), (3, [10, 20, 30])]
)
def test_a_filter_chooses_by_time_with_both_ends(bench: Bench, window: int, chosen: list[int]) -> None:
    base_ns = bench.due_ns()
    times = {number: base_ns + number * NS for number in (10, 20, 30, 40)}
    assert bench.do("insert_activities", 0, tuple((0, t, bench.ping()) for t in times.values())) is None
    timetable = bench.rig.node.part(Schedule).timetable
    held = {round((one.time_ns - base_ns) / NS): one.time_ns for one in timetable.within_reach()}
    assert sorted(held) == [10, 20, 30, 40]
    assert bench.do("summarise_activities_by_filter", window, held[20], held[30], (), ()) is None
    assert [round((row[2] - base_ns) / NS) for row in bench.rows("activity_summary")] == chosen
    assert bench.do("delete_activities_by_filter", window, held[20], held[30], (), ()) is None
    left = [round((one.time_ns - base_ns) / NS) for one in timetable.within_reach()]
    assert left == sorted({10, 20, 30, 40} - set(chosen))


def test_sequences_are_refused_by_name_steps_and_room(bench: Bench) -> None:
    step = ((0, bench.ping()),)
    refused: dict[tuple[Any, ...], tuple[int, str]] = {
        ("load_sequence", "", step): (Failure.BAD_VALUE, "a name has 1 .. 32 octets"),
        ("load_sequence", "x" * 33, step): (Failure.BAD_VALUE, "a name has 1 .. 32 octets"),
        ("load_sequence", "ours", step): (Failure.BAD_VALUE, "sequence 'ours' already exists"),
        ("load_sequence", "new", ()): (Failure.BAD_VALUE, "a sequence needs at least one step"),
        ("load_sequence", "new", ((0, bench.ping()), (604_800_001, bench.ping()))): (
            Failure.BAD_VALUE, "step 1: delay of 604800001 ms, at most 604800 s",
        ),
        ("load_sequence", "new", tuple((0, bench.ping()) for _ in range(40))):
         (Failure.NO_ROOM, "681 octets, room for 600"),
        ("unload_sequence", "ours"): (Failure.BAD_VALUE, "sequence 'ours' is the mission's own"),
        ("unload_sequence", "none"): (Failure.BAD_VALUE, "no sequence 'none', known: ours"),
        ("activate_sequence", "none"): (Failure.BAD_VALUE, "no sequence 'none', known: ours"),
        ("report_sequence", "none"): (Failure.BAD_VALUE, "no sequence 'none', known: ours"),
        ("abort_sequence", "none"): (Failure.BAD_VALUE, "no sequence 'none', known: ours"),
        ("abort_sequence", "ours"): (Failure.BAD_VALUE, "sequence 'ours' is not running"),
    }  # fmt: skip
    for (name, *values), why in refused.items():
        assert bench.do(name, *values) == why, (name, values)
    assert bench.do("load_sequence", "x" * 32, step) is None and bench.do("load_sequence", "b", step) is None
    assert bench.do("load_sequence", "b", step) == (Failure.BAD_VALUE, "sequence 'b' already exists")
    assert bench.do("load_sequence", "c", step) == (Failure.NO_ROOM, "2 loaded, at most 2")
    assert bench.do("activate_sequence", "ours") is None
    assert bench.do("activate_sequence", "ours") == (Failure.BAD_VALUE, "sequence 'ours' is running")
    assert bench.do("activate_sequence", "b") == (Failure.NO_ROOM, "at most 1 running at a time")
    assert bench.do("unload_sequence", "b") is None
    assert bench.do("load_sequence", "b", ((0, bench.ping()), (900_000, bench.ping()))) is None
    assert bench.do("abort_sequence", "ours") is None and bench.do("activate_sequence", "b") is None
    assert bench.do("unload_sequence", "b") == (Failure.BAD_VALUE, "sequence 'b' is running")
    assert bench.do("abort_all_sequences") is None and bench.do("unload_sequence", "b") is None
    assert list(bench.rig.node.part(Sequences).sample().values())[:2] == [2, 0]
