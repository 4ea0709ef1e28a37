"""Schedule and sequences over real commands, a disk and a clock, without a radio: times to the nanosecond, bounds to
the octet, and what happens when the node is full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from flight.contract.app import CommandRefused, Durable
from flight.contract.dictionary import Command, EventDefinition, Report
from flight.contract.failures import Failure
from flight.contract.fields import Field
from flight.core.future import Future
from flight.core.nanoseconds import NS, ns
from flight.core.scheduler import TASKS_MAX, Scheduler
from flight.core.task import Task
from flight.link.pus import PusTc, PusTm
from flight.link.time.time_code import TIME_NS_MAX
from flight.services.automation import schedule_declarations as st11
from flight.services.automation import sequence_declarations as st21
from flight.services.automation.held_commands import HolderParts, request_key
from flight.services.automation.schedule import Schedule
from flight.services.automation.schedule_store import Activity
from flight.services.automation.sequences import Sequences
from flight.services.commanding import commands as st01
from flight.services.commanding.command_log import CommandLog
from flight.services.commanding.commands import Commands, CommandsConfig
from flight.services.commanding.refusals import Refusals
from flight.services.commanding.verification import Verification
from flight.services.reporting import events as st05
from flight.services.reporting.events import Events
from flight.services.reporting.telemetry import Telemetry
from flight.store.vault import Vault
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop
from tests.field_values import refused, rows
from tests.full_disk import full_disk
from tests.serving import execute, serve

EPOCH = 2 * 10**18  # a whole second, which the time code tells exactly
ACTIVITY_OCTETS = 14 + 17  # docs/guides/mission.md: the packet and 14 octets
NOTE = Command("note", 1, 8, 1, "", (Field("n", "u16"),), function=1)
NOTE_LONG = Command("note_long", 1, 8, 1, "", (Field("n", "u16"),), function=2, durable=True)
CRASH = Command("crash", 1, 8, 1, "", (), function=3)
FULL = Command("full", 1, 8, 1, "", (), function=4)
LINGER = Command("linger", 1, 8, 1, "", (), function=5)
DECLARED = st11.declare(1), st21.declare(1)
COMMANDS = (NOTE, NOTE_LONG, CRASH, FULL, LINGER, *DECLARED[0].commands, *DECLARED[1].commands)
EVENTS: tuple[EventDefinition, ...] = (
    *st01.declare(1).events, *st05.declare(1).events, *DECLARED[0].events, *DECLARED[1].events,
)  # fmt: skip
REPORTS: tuple[Report, ...] = (*DECLARED[0].reports, *DECLARED[1].reports)


def note(n: int, command: Command = NOTE) -> bytes:
    """A telecommand to be held, with `n` as sequence count."""
    data = (command.function or 0).to_bytes(2, "big") + command.layout.encode([n] * len(command.arguments))
    return PusTc(1, n, 8, 1, data, source=3).encode()


def sampled(service: Any) -> tuple[Any, ...]:
    """The values of its housekeeping, in the order of their fields."""
    return tuple(service.sample().values())


class Silent:
    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda *_, **__: None


class Boot:
    """One life of commands, schedule and sequences. `noted` are the commands that were executed, with their times."""

    def __init__(
        self,
        disk: Disk,
        loop: VirtualLoop,
        schedule: dict[str, Any],
        sequencing: dict[str, Any],
        of_mission: dict[str, tuple[tuple[int, bytes], ...]],
    ) -> None:
        self.disk, self.loop = disk, loop
        self.jump_ns = 0
        self.raw: list[bytes] = []
        self.noted: list[tuple[int, float]] = []
        self.gate: Future[None] = Future()  # of `linger`
        self.faults: list[BaseException] = []
        self.seq = 0
        recorder: Any = self
        log: Any = Silent()
        telemetry = Telemetry(self.tai_ns, recorder)
        self.scheduler = Scheduler(loop, loop.now_ns, lambda _, error: self.faults.append(error))
        storage = disk.boot(loop)
        self.vault = Vault(storage)
        verification = Verification(1, telemetry)
        command_log = CommandLog(self.vault, telemetry, verification, lambda: True, storage.sync)
        self.emitted = Events(1, EVENTS, telemetry, log)
        self.commands = Commands(
            COMMANDS, CommandsConfig(queue=1024), self.scheduler, self.vault, log=command_log,
            verification=verification, refusals=Refusals(1, telemetry, 20), events=self.emitted, modes=("nominal",),
            mode=lambda: "nominal",
        )  # fmt: skip
        parts = HolderParts(self.vault, self.commands, telemetry, self.emitted, self.scheduler)
        self.schedule = Schedule(1, st11.ScheduleConfig(**schedule), parts, self.tai_ns)
        self.sequences = Sequences(1, st21.SequencingConfig(**sequencing), of_mission, parts)
        serve(self.schedule, self.commands)
        serve(self.sequences, self.commands)
        self.commands.handle("note", None, self._note)
        self.commands.handle("note_long", None, self._note_long)
        self.commands.handle("crash", None, self._crash)
        self.commands.handle("full", None, self._full)
        self.commands.handle("linger", None, self._linger)
        for body in (self.commands.run, self.commands.run_urgent, command_log.run, self.schedule.run):
            self.scheduler.spawn(body.__qualname__, body)
        command_log.recover()

    def _note(self, n: int) -> None:
        self.noted.append((n, self.t_s))

    def _note_long(self, n: int) -> Durable:
        return Durable({}, lambda: self.noted.append((n, self.t_s)))

    def _crash(self) -> None:
        raise ArithmeticError("in a handler")

    def _full(self) -> None:
        raise CommandRefused(Failure.BAD_VALUE, "no")

    async def _linger(self) -> None:
        await self.gate

    @property
    def t_s(self) -> float:
        return self.loop.now_ns() / NS

    def tai_ns(self) -> int:
        return EPOCH + self.loop.now_ns() + self.jump_ns

    def store(self, packet: bytes, _heard: bool) -> bool:
        self.raw.append(packet)
        return True

    def until(self, t_s: float) -> None:
        self.loop.run_until(ns(t_s))

    def give(self, name: str, *values: Any) -> PusTc:
        command = next(c for c in COMMANDS if c.name == name)
        self.seq += 1
        data = b"" if command.function is None else command.function.to_bytes(2, "big")
        request = PusTc(1, self.seq, command.service, command.subtype, data + command.layout.encode(values))
        self.commands.on_packet(request.encode())
        return request

    def outcome(self, request: PusTc) -> tuple[int, str] | None:
        """Code and text of its failure, None if it was completed."""
        ends = [p for p in self.packets(1) if p.data[:4] == request.request_id.encode() and p.subtype in (2, 4, 7, 8)]
        (end,) = ends
        return None if end.subtype == 7 else (int.from_bytes(end.data[4:6], "big"), end.data[7:].decode())

    def stages(self, request: PusTc) -> list[int]:
        return [p.subtype for p in self.packets(1) if p.data[:4] == request.request_id.encode()]

    def do(self, name: str, *values: Any) -> tuple[int, str] | None:
        request = self.give(name, *values)
        self.until(self.t_s + 0.5)
        return self.outcome(request)

    def insert(self, t_s: float, *numbers: int, sub: int = 0, group: int = 0, command: Command = NOTE) -> Any:
        """Schedule notes for when the loop shows `t_s`; done in no time."""
        rows = tuple((group, EPOCH + ns(t_s), note(n, command)) for n in numbers)
        request = self.give("insert_activities", sub, rows)
        self.loop.run_until(self.loop.now_ns())
        return self.outcome(request)

    def packets(self, service: int) -> list[PusTm]:
        return [p for p in map(PusTm.decode, self.raw) if p.service == service]

    def events(self, name: str) -> list[tuple[Any, ...]]:
        event = next(e for e in EVENTS if e.name == name)
        return [
            tuple(event.layout.decode(p.data[2:]))
            for p in self.packets(5)
            if (p.subtype, int.from_bytes(p.data[:2], "big")) == (event.subtype, event.number)
        ]

    def report(self, command: str, report: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows that the command brings down."""
        self.raw.clear()
        assert self.do(command, *values) is None
        one = next(r for r in REPORTS if r.name == report)
        packets = [p for p in self.packets(one.service) if p.subtype == one.subtype]
        assert packets, "a report of no rows is a report"
        return [row for p in packets for row in rows(one.layout.decode(p.data)[-1])]

    def held(self) -> list[int]:
        return [row[-1] for row in self.report("summarise_schedule", "activity_summary")]

    def fill(self, leave: int = 0) -> list[Task]:
        """Start tasks that do nothing until the scheduler takes `leave` more."""

        async def idle(task: Task) -> None:
            await task.sleep(1e6)

        return [self.scheduler.spawn("idle", idle) for _ in range(TASKS_MAX - len(self.scheduler.tasks) - leave)]


class World:
    def __init__(self) -> None:
        self.disk, self.loop = Disk(Random(1)), VirtualLoop()
        self.disk.commit_s = 0.0
        self.lives: list[Boot] = []

    def boot(
        self,
        *,
        schedule: dict[str, Any] | None = None,
        sequencing: dict[str, Any] | None = None,
        of_mission: dict[str, tuple[tuple[int, bytes], ...]] | None = None,
    ) -> Boot:
        if self.lives:
            self.lives[-1].scheduler.close()
        self.lives.append(Boot(self.disk, self.loop, schedule or {}, sequencing or {}, of_mission or {}))
        self.lives[-1].seq = 5000 + 100 * len(self.lives)
        return self.lives[-1]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.lives[-1].scheduler.close()
    assert not any(life.faults for life in made.lives)


# The schedule


def test_a_release_time_is_taken_from_the_margin_on(world: World) -> None:
    one = world.boot(schedule={"margin_s": 2.0})
    one.until(5)
    assert one.insert(7, 1) is None and one.insert(8, 2) is None
    one.jump_ns = 1
    assert one.insert(7, 3) == (
        Failure.LATE,
        "activity 0: released in 1.9 s, should be at least 2 s ahead",
    )
    one.jump_ns = 0
    assert one.insert(5.5, 4) == (
        Failure.LATE,
        "activity 0: released in 0.5 s, should be at least 2 s ahead",
    )
    for at_s, late in ((4.5, "0.5"), (-218_202_091, "218,202,096")):
        assert one.insert(at_s, 5) == (
            Failure.LATE,
            f"activity 0: release time lies {late} s in the past, should be at least 2 s ahead",
        )
    assert one.do("shift_activities", -2, ((3, 1, 2),)) == (
        Failure.LATE, "sequence count 2 of APID 1: released in 1.0 s, should be at least 2 s ahead",
    )  # fmt: skip
    assert one.schedule.refused == 4, "activities that were not taken in"
    broken = (0, EPOCH + 9 * NS, note(5)[:-1] + b"x")
    code, detail = one.do("insert_activities", 0, (broken,)) or (0, "")
    assert code == Failure.BAD_VALUE and detail.startswith("activity 0: telecommand")
    assert one.insert(9.25, 5, 5) == (Failure.BAD_VALUE, "activity 1: sequence count 5 of APID 1 is already scheduled")
    assert one.insert(9.25, 5, 6, 4) is None
    one.until(20)
    assert one.noted == [(1, 7.0), (2, 8.0), (5, 9.25), (6, 9.25), (4, 9.25)]


@pytest.mark.parametrize(
    ("bounds", "refusal"),
    [
        ({"activities": 3}, "2 to insert, room for 1"),
        ({"octets": 3 * ACTIVITY_OCTETS}, f"{2 * ACTIVITY_OCTETS} more octets, room for {ACTIVITY_OCTETS}"),
    ],
)
def test_activities_are_taken_up_to_the_bounds_of_their_number_and_octets(
    world: World, bounds: dict[str, int], refusal: str
) -> None:
    one = world.boot(schedule=bounds)
    assert one.insert(900, 1, 2) is None
    assert one.insert(900, 3, 4) == (Failure.NO_ROOM, refusal)
    assert one.schedule.refused == 2
    assert one.insert(900, 3) is None
    assert one.insert(800, 4) is not None
    assert sampled(one.schedule) == (
        1, 3, bounds.get("activities", 256), 3 * ACTIVITY_OCTETS, 0, 0, 0, 3, EPOCH + 900 * NS,
    )  # fmt: skip
    assert one.held() == [1, 2, 3]
    assert one.do("delete_activities", tuple((3, 1, n) for n in (3, 1, 3))) is None, "one of them named twice"
    assert one.held() == [2] and one.insert(800, 4, 5) is None
    assert one.held() == [4, 5, 2]
    assert sampled(one.schedule)[-1] == EPOCH + 800 * NS
    assert one.do("reset_schedule") is None
    assert sampled(one.schedule) == (0, 0, bounds.get("activities", 256), 0, 0, 0, 0, 3, 0)


@pytest.mark.parametrize(("sub", "limit_s"), [(0, 60), (7, 5), (70, 60)])
@pytest.mark.parametrize("more_ns", [0, 1])
def test_what_fell_due_before_the_boot_is_executed_as_late_as_the_rule_allows(
    world: World, sub: int, limit_s: int, more_ns: int
) -> None:
    config = {"late_s": 60.0, "sub_schedule_late_s": {"7": 5.0}}
    assert world.boot(schedule=config).insert(10, 1, sub=sub) is None
    world.lives[-1].scheduler.close()
    world.loop.run_until((10 + limit_s) * NS + more_ns)
    one = world.boot(schedule=config)
    one.until(90)
    assert [n for n, _ in one.noted] == [1] * (not more_ns)
    assert (one.schedule.released, one.schedule.late, one.schedule.disabled) == (1 - more_ns, more_ns, 0)
    if more_ns:
        assert one.events("activity_late") == [(1, 1, pytest.approx(limit_s), limit_s)]
        assert one.outcome(PusTc.decode(note(1))) == (Failure.LATE, f"{limit_s}.0 s")
    assert one.held() == []


def test_what_is_disabled_at_its_time_says_so(world: World) -> None:
    one = world.boot()
    one.do("create_groups", ((4, 0),))
    assert one.insert(10, 1, group=4) is None and one.insert(10, 2, sub=9) is None and one.insert(10, 3) is None
    assert one.do("disable_sub_schedules", ((9,),)) is None
    one.until(15)
    assert [n for n, _ in one.noted] == [3]
    assert one.events("activity_disabled") == [(1, 1, "group 4"), (1, 2, "sub-schedule 9")]
    assert one.outcome(PusTc.decode(note(2))) == (Failure.NOT_RELEASED, "sub-schedule 9")
    assert one.do("disable_schedule") is None and one.insert(20, 5) is None
    one.until(25)
    assert one.events("activity_disabled")[2:] == [(1, 5, "schedule")]
    assert sampled(one.schedule)[4:8] == (1, 0, 3, 0)
    for given, status in (
        (("disable_sub_schedules", ((7,), (8,))), [(7, 0), (8, 0), (9, 0)]),
        (("enable_sub_schedules", ((8,), (5,))), [(7, 0), (9, 0)]), (("enable_sub_schedules", ()), []),
    ):  # fmt: skip
        assert one.do(*given) is None and one.report("report_sub_schedules", "sub_schedule_status") == status


@pytest.mark.parametrize("jump_s", [89.2, 60.0, -1e-9, -30.0])
def test_a_clock_that_jumps_is_followed_within_a_second(world: World, jump_s: float) -> None:
    """Nothing wakes the schedule but its own look at the clock."""
    one = world.boot()
    assert one.insert(100, 1) is None
    one.until(10.3)
    one.jump_ns = ns(jump_s)
    due_s = 100 - jump_s
    one.until(200)
    ((_, t_s),) = one.noted
    assert max(due_s, 10.3) <= t_s <= max(due_s, 11.3) and (t_s == due_s or due_s < 11.3)


def test_one_that_takes_long_is_waited_for_so_long_and_no_more_than_eight_are_at_work(world: World) -> None:
    """The disk takes no transaction for a while; what is at work then is all done when it does."""
    one = world.boot(schedule={"patience_s": 3.0, "late_s": 1000.0})
    assert one.insert(10, *range(1, 13)) is None
    one.until(9)
    world.disk.commit_s = 60.0

    def at_work() -> int:
        return [task.name for task in one.scheduler.tasks].count("schedule.release")

    begun = []
    for t_s in range(9, 50):
        one.until(t_s + 0.5)
        begun.append(at_work())
    assert begun == [0, *(n for n in range(1, 8) for _ in range(3)), *[8] * 19]
    assert one.held() == [9, 10, 11, 12], "those that are being released are no more in the schedule"
    assert one.do("delete_activities", ((3, 1, 1),)) == (
        Failure.BAD_VALUE,
        "no activity of source 3, APID 1, sequence count 1",
    )
    assert one.insert(200, 1) == (Failure.BAD_VALUE, "activity 0: sequence count 1 of APID 1 is already scheduled")
    world.disk.commit_s = 0.004
    one.until(100)
    assert sorted(n for n, _ in one.noted) == list(range(1, 13))
    assert (one.schedule.released, at_work(), one.held()) == (12, 0, [])


def test_a_scheduler_without_room_delays_releases_and_refuses_sequences(world: World) -> None:
    one = world.boot(of_mission={"ours": ((0, note(50)),)})
    assert one.insert(10, 1) is None
    one.until(5)
    idle = one.fill()
    refused = one.scheduler.refused
    one.until(13.5)
    assert one.noted == [] and one.scheduler.refused == refused + 4, "tried once a second"
    one.sequences.start("ours", "a test")
    one.until(13.6)
    ((name, step, steps, cause),) = one.events("sequence_aborted")
    assert (name, step, steps) == ("ours", 0, 1) and "sequence.ours not started: 256 tasks run" in cause
    assert sampled(one.sequences) == (1, 0, 0, 1) and one.events("sequence_started") == []
    assert one.vault.rows("sequence.run.") == []
    for task in idle[:3]:
        task.cancel()
    one.until(20)
    assert one.noted == [(1, 14.0)]
    one.sequences.start("ours", "a test")
    one.until(21)
    assert [n for n, _ in one.noted] == [1, 50]
    assert one.events("sequence_started") == [("ours", "a test")] and sampled(one.sequences) == (
        1,
        0,
        1,
        1,
    )


def test_equal_times_keep_the_order_of_insertion_over_boots_and_when_numbers_are_used_up(world: World) -> None:
    one = world.boot()
    assert one.insert(50, 5, 4) is None and one.insert(50, 3) is None
    numbers = [int.from_bytes(octets[:4], "big") for _, octets in one.vault.rows("schedule.activity.")]
    assert sorted(numbers) == [0, 1, 2]
    one = world.boot()
    assert one.insert(50, 2) is None and one.held() == [5, 4, 3, 2]
    (key, octets), *_ = one.vault.rows("schedule.activity.")
    one.vault.commit({f"schedule.activity.{key}": b"\xff\xff\xff\xff" + octets[4:]})
    one.until(10)
    one = world.boot()
    assert one.insert(60, 9, 8) is None
    one.until(70)
    assert [n for n, _ in one.noted] == [5, 4, 3, 2, 9, 8]


def test_a_filter_chooses_by_sub_schedule_and_group(world: World) -> None:
    """No rows of either mean all of them; both must fit."""
    one = world.boot()
    one.do("create_groups", ((1, 1), (2, 1)))
    for n, (sub, group) in enumerate([(0, 0), (0, 1), (5, 0), (5, 1), (6, 2)], 1):
        assert one.insert(100 * n, n, sub=sub, group=group) is None

    def chosen(window: int, subs: tuple[int, ...], groups: tuple[int, ...], from_s: float = 0, to_s: float = 0) -> Any:
        from_ns, to_ns = (EPOCH + ns(t_s) for t_s in (from_s, to_s))
        rows = one.report(
            "summarise_activities_by_filter", "activity_summary", window, from_ns, to_ns,
            tuple((n,) for n in subs), tuple((n,) for n in groups),
        )  # fmt: skip
        return [row[-1] for row in rows]

    assert chosen(0, (), ()) == [1, 2, 3, 4, 5]
    assert chosen(0, (5,), ()) == [3, 4] and chosen(0, (0, 6), ()) == [1, 2, 5]
    assert chosen(0, (), (1,)) == [2, 4] and chosen(0, (), (0, 2)) == [1, 3, 5]
    assert chosen(0, (5,), (1,)) == [4] and chosen(0, (6,), (1,)) == []
    assert chosen(2, (5,), (), from_s=400) == [4] and chosen(3, (), (0,), to_s=100) == [1]
    assert chosen(1, (), (), 200, 200) == [2] and chosen(1, (), (), 199.75, 299.75) == [2]
    assert chosen(1, (), (), 200.25, 300) == [3] and chosen(3, (), (), to_s=299.75) == [1, 2]
    backwards = one.do("delete_activities_by_filter", 1, EPOCH + 2 * NS, EPOCH + 7 * NS // 4, (), ())
    assert backwards == (Failure.BAD_VALUE, "from_time is 0.25 s after to_time")
    assert chosen(2, (), (), from_s=300, to_s=100) == [3, 4, 5], "only the window between has both"
    assert one.report("report_activities_by_filter", "activities", 0, 0, 0, ((6,),), ()) == [
        (6, 2, EPOCH + 500 * NS, note(5)),
    ]  # fmt: skip
    assert one.report("report_activities", "activities", ((3, 1, 4), (3, 1, 1))) == [
        (5, 1, EPOCH + 400 * NS, note(4)), (0, 0, EPOCH + 100 * NS, note(1)),
    ]  # fmt: skip
    assert one.report("summarise_activities", "activity_summary", ((3, 1, 3),)) == [(5, 0, EPOCH + 300 * NS, 3, 1, 3)]
    for name in ("report_activities", "summarise_activities", "delete_activities"):
        assert one.do(name, ((3, 1, 9),)) == (Failure.BAD_VALUE, "no activity of source 3, APID 1, sequence count 9")
    assert one.do("shift_activities_by_filter", 1000, 0, 0, 0, ((5,),), ((1,),)) is None
    assert refused(one.do("shift_activities_by_filter", -1000, 0, 0, 0, ((6,),), ())) == Failure.LATE
    assert one.do("shift_activities_by_filter", 1, 1, EPOCH + NS, EPOCH, (), ()) == (
        Failure.BAD_VALUE, "from_time is 1 s after to_time",
    )  # fmt: skip
    assert one.do("shift_activities", 10, ((3, 1, 5),)) is None and one.do("shift_schedule", 7) is None
    assert [(row[2] - EPOCH) / NS for row in one.report("summarise_schedule", "activity_summary")] == [
        107, 207, 307, 517, 1407,
    ]  # fmt: skip
    assert one.do("delete_activities_by_filter", 0, 0, 0, ((0,),), ((1,),)) is None and one.held() == [1, 3, 5, 4]


def test_group_0_is_always_there_and_stays_as_it_is(world: World) -> None:
    one = world.boot()
    assert one.do("create_groups", ((1, 1), (2, 0), (255, 1))) is None
    assert one.do("disable_groups", ((0,), (1,))) is None
    assert one.insert(100, 1) is None and one.insert(100, 2, group=2) is None
    assert one.do("delete_groups", ()) == (Failure.BAD_VALUE, "activities are still in group 2")
    assert one.do("delete_groups", ((0,), (1,))) == (Failure.BAD_VALUE, "activities are still in group 0")
    assert one.do("delete_activities", ((3, 1, 2),)) is None
    assert one.do("delete_groups", ()) is None, "all the others"
    assert one.report("report_groups", "group_status") == [(0, 0)]
    assert one.do("create_groups", ((1, 1),)) is None, "its status is new with it"
    assert one.report("report_groups", "group_status") == [(0, 0), (1, 1)]
    assert one.do("enable_groups", ()) is None
    assert one.report("report_groups", "group_status") == [(0, 1), (1, 1)]
    assert one.do("reset_schedule") is None
    assert one.do("delete_groups", ((0,),)) == (Failure.BAD_VALUE, "group 0 cannot be deleted")


def test_a_shift_reaches_as_far_as_the_time_code(world: World) -> None:
    one = world.boot()
    for n, before_ns in ((1, 10 * NS), (2, 10 * NS - NS // 4), (3, 10 * NS + NS // 4), (4, 10 * NS - 1)):
        raw = note(n)
        held = Activity(n, 0, 0, TIME_NS_MAX - before_ns, raw, request_key(raw))
        one.vault.commit({held.row: held.encode()})
    one.until(1)
    one = world.boot()
    for n, fits in ((1, True), (2, False), (3, True), (4, False)):
        beyond = (Failure.BAD_VALUE, f"sequence count {n} of APID 1: release time is beyond the range of the time code")
        assert one.do("shift_activities", 10, ((3, 1, n),)) == (None if fits else beyond)
    assert one.held() == [4, 2, 3, 1]


def test_a_release_that_waited_for_the_disk_is_told_as_what_became_of_it(world: World) -> None:
    one = world.boot()
    assert one.insert(10, 1) is None
    one.until(9)
    with full_disk(world.disk):
        one.until(10.1)
        assert one.stages(one.give("delete_activities", ((3, 1, 1),))) == [2], "it is being released"
        one.schedule.timetable.refresh()
        assert one.held() == []
        one.until(11)
    one.until(20)
    assert one.noted == [(1, 11.5)] and one.events("activity_not_stored") == []
    assert sampled(one.schedule)[4:8] == (1, 0, 0, 0)


def test_what_is_deleted_in_the_very_moment_of_its_release_is_not_executed(world: World) -> None:
    """Between the look at what is due and the step that executes it."""
    reset: list[PusTc] = []
    world.loop.call_at(10 * NS, lambda: reset.append(world.lives[-1].give("reset_schedule")))
    one = world.boot()
    assert one.insert(10, 1) is None
    one.until(20)
    assert one.outcome(reset[0]) is None and one.noted == []
    assert one.events("activity_not_stored") == [] and sampled(one.schedule)[1:8] == (
        0,
        256,
        0,
        0,
        0,
        0,
        0,
    )


def test_what_the_disk_never_took_is_out_of_sight_until_the_next_boot_or_a_reset(world: World) -> None:
    one = world.boot(schedule={"late_s": 500.0})
    assert one.insert(10, 1, 2) is None and one.insert(400, 3) is None
    one.until(9)
    with full_disk(world.disk):
        one.until(60)
    assert one.events("activity_not_stored") == [(1, 1), (1, 2)] and one.noted == []
    assert [event[:2] for event in one.events("activity_waits")] == [(1, 1), (1, 2)]
    assert one.held() == [3] and sampled(one.schedule)[-1] == EPOCH + 400 * NS
    assert one.do("delete_activities", ((3, 1, 1),)) == (
        Failure.BAD_VALUE,
        "no activity of source 3, APID 1, sequence count 1",
    )
    assert one.insert(300, 1) == (Failure.BAD_VALUE, "activity 0: sequence count 1 of APID 1 is already scheduled")
    assert one.do("enable_schedule") is None and one.held() == [3], "a change does not bring them back"
    two = world.boot(schedule={"late_s": 500.0})
    two.until(70)
    assert [n for n, _ in two.noted] == [1, 2] and two.held() == [3]
    assert sampled(two.schedule)[4:8] == (2, 0, 0, 0)


def test_after_a_reset_what_the_disk_never_took_may_come_again(world: World) -> None:
    one = world.boot()
    assert one.insert(10, 1) is None
    one.until(9)
    with full_disk(world.disk):
        one.until(60)
    assert one.do("reset_schedule") is None and one.do("enable_schedule") is None
    assert one.insert(100, 1) is None and one.held() == [1]
    one.until(110)
    assert one.noted == [(1, 100.0)]


def test_what_may_have_been_released_in_lost_transactions_is_given_up(world: World) -> None:
    """The newest transactions are gone, and with them perhaps that it was released: what was due by now."""
    one = world.boot(schedule={"late_s": 500.0})
    for n, t_s in ((1, 20), (2, 60), (3, 61), (4, 400)):
        assert one.insert(t_s, n) is None
    for n in range(200):
        one.vault.commit({f"noise.{n}": bytes(900)})
        one.until(one.t_s + 0.01)
    one.scheduler.close()
    names = sorted(name for name in world.disk.durable if name.startswith("vault.journal.0"))
    assert len(names) > 1
    del world.disk.durable[names[-1]]
    world.loop.run_until(60 * NS)
    lost = "2 of the activities may have been released in what is gone, given up: 1/1, 1/2"
    with full_disk(world.disk):
        full = world.boot(schedule={"late_s": 500.0})  # which cannot even delete them
        full.until(60.5)
        assert ("schedule", lost) in full.events("record_damaged")
        assert full.noted == [] and sampled(full.schedule)[1] == 4 and sampled(full.schedule)[-1] == EPOCH + 61 * NS
        full.scheduler.close()
    again = world.boot(schedule={"late_s": 500.0})
    again.until(62)
    assert ("schedule", lost) in again.events("record_damaged") and sampled(again.schedule)[1] == 1
    assert again.held() == [4] and again.noted == [(3, 61.0)]
    last = world.boot()
    last.until(70)
    assert last.events("record_damaged") == [] and last.noted == []


def test_rows_of_the_schedule_that_no_software_of_ours_wrote_are_told_once_and_left(world: World) -> None:
    one = world.boot()
    foreign = {"schedule.activity.x": b"?" * 40, "schedule.state": b"?"}
    one.vault.commit(foreign)
    one.until(1)
    one = world.boot()
    assert one.insert(10, 1) is None
    one.until(20)
    assert [(record, text.partition(" ")[0]) for record, text in one.events("record_damaged")] == [
        ("schedule", "schedule.activity.x"), ("schedule", "schedule.state"),
    ]  # fmt: skip
    assert one.noted == [(1, 10.0)] and all(one.vault.get(key) == value for key, value in foreign.items())


def test_a_command_is_checked_before_it_is_accepted_and_anew_when_its_turn_comes(world: World) -> None:
    """Two commands that come at once: the first makes the second wrong, which was right when it was accepted. Given
    alone it is refused before that.
    """
    one = world.boot(schedule={"margin_s": 0.0}, of_mission={"ours": ((900_000, note(1)),)})
    for n in range(1, 10):
        assert one.insert(1000 + n, n, sub=n) is None
    one.do("create_groups", ((3, 1), (4, 1), (5, 1)))
    one.do("load_sequence", "b", ((900_000, note(1)),))
    row = (0, EPOCH + 2000 * NS, note(20))
    by_filter = (0, 0, 0, ((7,),), ())
    for first, second, refusal in (
        (("create_groups", ((8, 1),)), None, (Failure.BAD_VALUE, "group 8 already exists")),
        (("delete_groups", ((3,),)), None, (Failure.BAD_VALUE, "no group 3, known: 0, 4, 5, 8")),
        (("delete_groups", ((4,),)), ("enable_groups", ((4,),)), (Failure.BAD_VALUE, "no group 4, known: 0, 5, 8")),
        (("delete_groups", ((5,),)), ("disable_groups", ((0,), (5,))), (Failure.BAD_VALUE, "no group 5, known: 0, 8")),
        (("insert_activities", 0, (row,)), None,
         (Failure.BAD_VALUE, "activity 0: sequence count 20 of APID 1 is already scheduled")),
        (("delete_activities", ((3, 1, 2),)), None,
         (Failure.BAD_VALUE, "no activity of source 3, APID 1, sequence count 2")),
        (("delete_activities", ((3, 1, 3),)), ("shift_activities", 5, ((3, 1, 3),)),
         (Failure.BAD_VALUE, "no activity of source 3, APID 1, sequence count 3")),
        (("shift_activities", -600, ((3, 1, 4),)), None, (Failure.LATE, "sequence count 4 of APID 1: ")),
        (("shift_activities_by_filter", -600, *by_filter), None, (Failure.LATE, "sequence count 7 of APID 1: ")),
        (("shift_schedule", -250), None, (Failure.LATE, "sequence count 4 of APID 1: ")),
        (("load_sequence", "a", ((0, note(1)),)), None, (Failure.BAD_VALUE, "sequence 'a' already exists")),
        (("unload_sequence", "a"), None, (Failure.BAD_VALUE, "no sequence 'a', known: ours, b")),
        (("activate_sequence", "ours"), None, (Failure.BAD_VALUE, "sequence 'ours' is running")),
        (("activate_sequence", "b"), ("unload_sequence", "b"), (Failure.BAD_VALUE, "sequence 'b' is running")),
    ):  # fmt: skip
        requests = [one.give(*first), one.give(*(second or first))]
        one.until(one.t_s)
        assert [one.stages(request) for request in requests] == [[1, 7], [1, 8]], first
        requests[0] = one.give(*(second or first))
        assert one.stages(requests[0]) == [2], first
        for request in requests:
            code, detail = one.outcome(request) or (0, "")
            assert code == refusal[0] and detail.startswith(refusal[1]), first
    assert one.schedule.refused == 2, "of insertions alone, whenever it was"


# Sequences


def test_a_step_begins_its_delay_after_the_one_before_began_and_not_before_that_has_ended(world: World) -> None:
    one = world.boot()
    steps = tuple((delay_ms, note(n)) for n, delay_ms in enumerate((1500, 0, 2000, 4000), 1))
    assert one.do("load_sequence", "four", steps) is None
    one.until(10)
    one.give("activate_sequence", "four")
    one.until(11.4999)
    assert one.noted == []
    one.until(12)
    assert one.noted == [(1, 11.5), (2, 11.5)]
    one.until(13)
    world.disk.commit_s = 3.0  # for step 3, due at 13.5; step 4 is due at 17.5
    one.until(14)
    assert one.report("report_sequences", "sequence_status") == [("four", 1, 3, 4)], "begun as its row has it"
    assert one.vault.get("sequence.run.four") == b"\3\4"
    world.disk.commit_s = 0.0
    one.until(17.4999)
    assert one.noted[2:] == [(3, 16.5)]
    one.until(30)
    assert one.noted[3:] == [(4, 17.5)]
    assert one.events("sequence_ended") == [("four",)] and one.events("sequence_aborted") == []
    assert sampled(one.sequences) == (1, 0, 1, 0)
    one.give("activate_sequence", "four")
    one.until(33)
    world.disk.commit_s = 6.0  # longer than the delay of the step after it
    one.until(34)
    world.disk.commit_s = 0.0
    one.until(60)
    assert one.noted[4:] == [(1, 31.5), (2, 31.5), (3, 39.5), (4, 39.5)]


def test_a_sequence_says_how_far_it_came_whatever_ends_it(world: World) -> None:
    one = world.boot(sequencing={"running": 2}, of_mission={"ours": ((0, note(1)), (60_000, note(2)))})
    assert one.report("report_sequences", "sequence_status") == [("ours", 0, 0, 2)]
    one.give("activate_sequence", "ours")
    one.until(5)
    assert one.report("report_sequences", "sequence_status") == [("ours", 1, 1, 2)]
    assert one.vault.get("sequence.run.ours") == b"\1\2", "one of two steps has begun"
    assert one.do("abort_sequence", "ours") is None
    assert one.events("sequence_aborted") == [("ours", 1, 2, "aborted by command")]
    assert one.report("report_sequences", "sequence_status") == [("ours", 0, 0, 2)]
    assert one.do("abort_sequence", "ours") == (Failure.BAD_VALUE, "sequence 'ours' is not running")

    one.raw.clear()
    one.give("activate_sequence", "ours")
    one.until(15)
    with full_disk(world.disk):
        one.until(100)
        ((name, step, steps, cause),) = one.events("sequence_aborted")
        assert (name, step, steps) == ("ours", 1, 2) and cause.startswith("the disk did not store the next step: ")
        assert sampled(one.sequences) == (1, 0, 2, 2)

    assert one.do("load_sequence", "crash", ((0, note(2)), (0, note(3, CRASH)), (5000, note(4)))) is None
    one.give("activate_sequence", "crash")
    one.until(150)
    assert one.events("sequence_aborted")[1:] == [("crash", 2, 3, "a fault in a command, an event says which")]
    assert [n for n, _ in one.noted] == [1, 1, 2] and one.events("sequence_ended") == []
    assert [str(error) for error in one.faults] == ["in a handler"]
    one.faults.clear()
    assert one.do("load_sequence", "refused", ((0, note(5, FULL)), (0, note(6)))) is None
    one.give("activate_sequence", "refused")
    one.until(155)
    assert one.events("sequence_ended") == [("refused",)], "what becomes of a step is in its reports"
    assert one.outcome(PusTc.decode(note(5, FULL))) == (Failure.BAD_VALUE, "no")

    one.give("activate_sequence", "ours")
    one.until(156)
    one = world.boot()
    one.until(157)
    assert one.events("sequence_aborted") == [("ours", 1, 2, "reboot")]
    assert sampled(one.sequences) == (2, 0, 0, 1) and one.vault.rows("sequence.run.") == []
    one = world.boot()
    one.until(158)
    assert one.events("sequence_aborted") == [], "it was told"


def test_sequences_are_taken_up_to_the_bounds_of_their_number_and_octets(world: World) -> None:
    """A step takes its packet and four octets, a sequence one more."""
    octets = 1 + 2 * (4 + len(note(1)))
    two = ((0, note(1)), (604_800_000, note(2)))
    broken = note(2)[:-1] + b"x"
    one = world.boot(sequencing={"loaded": 2, "octets": 2 * octets}, of_mission={"ours": two})
    assert one.do("load_sequence", "a", two) is None
    assert one.do("load_sequence", "b", (*two, (0, note(3)))) == (
        Failure.NO_ROOM,
        f"{octets + 21} octets, room for {octets}",
    )
    assert one.do("load_sequence", "b", two) is None
    assert one.do("load_sequence", "c", two[:1]) == (Failure.NO_ROOM, "2 loaded, at most 2")
    assert one.do("unload_sequence", "a") is None
    assert one.do("load_sequence", "c", ((604_800_001, note(1)),)) == (
        Failure.BAD_VALUE, "step 0: delay of 604800001 ms, at most 604800 s",
    )  # fmt: skip
    code, detail = one.do("load_sequence", "c", ((0, note(1)), (0, broken))) or (0, "")
    assert code == Failure.BAD_VALUE and detail.startswith("step 1: telecommand")
    assert one.do("load_sequence", "x" * 32, two) is None
    assert one.stages(one.give("report_sequence", "c")) == [2], "before it is accepted"
    assert sampled(one.sequences) == (3, 0, 0, 0)
    assert [row[0] for row in one.report("report_sequences", "sequence_status")] == ["ours", "b", "x" * 32]


def test_no_more_sequences_run_than_may_and_those_that_are_about_to_count(world: World) -> None:
    steps = ((10_000, note(1)),)
    one = world.boot(sequencing={"running": 2}, of_mission=dict.fromkeys("abc", steps))
    world.disk.commit_s = 1.0
    first = one.give("activate_sequence", "a")
    one.until(0.5)
    assert sampled(one.sequences) == (3, 0, 0, 0), "on its way to the disk"
    for name in "abcx":
        one.sequences.start(name, "a test")
    one.until(2.5)
    assert one.outcome(first) is None
    assert one.events("sequence_started") == [("b", "a test"), ("a", "command")]
    assert one.events("sequence_not_started") == [
        ("a", "sequence 'a' is running"), ("c", "at most 2 running at a time"),
        ("x", "no sequence 'x', known: a, b, c"),
    ]  # fmt: skip
    assert one.do("activate_sequence", "c") == (Failure.NO_ROOM, "at most 2 running at a time")
    assert one.do("activate_sequence", "a") == (Failure.BAD_VALUE, "sequence 'a' is running")
    world.disk.commit_s = 0.0
    one.until(20)
    assert one.events("sequence_ended") == [("b",), ("a",)]
    one.sequences.start("c", "a test")
    with full_disk(world.disk):
        one.sequences.start("b", "a test")
    assert [name for name, _ in one.events("sequence_not_started")[3:]] == ["b"]
    assert sampled(one.sequences) == (3, 1, 3, 0)


def test_the_row_of_a_sequence_that_runs_is_there_until_it_ends(world: World) -> None:
    """Also if the disk did not drop the row of its run before, and drops it with that of another one."""
    later = ((5000, note(1)), (5000, note(2)))
    one = world.boot(of_mission={"a": later, "b": later, "c": ((60_000, note(3)),)})
    one.sequences.start("a", "a test")
    one.give("activate_sequence", "b")
    one.until(1)
    assert one.vault.rows("sequence.run.") == [("a", b"\0\2"), ("b", b"\0\2")]
    with full_disk(world.disk):
        one.until(100)
        assert [event[:3] for event in one.events("sequence_aborted")] == [("a", 0, 2), ("b", 0, 2)]
        assert [text.partition(":")[0] for _, text in one.events("record_not_stored")] == ["their end"] * 2
        assert len(one.vault.rows("sequence.run.")) == 2
    one.sequences.start("c", "a test")
    one.until(119)
    one.give("activate_sequence", "a")
    one.until(119.5)
    world.disk.commit_s = 2.0
    activated = one.give("activate_sequence", "b")
    one.until(120)
    assert one.stages(activated) == [], "on its way"
    execute(one.sequences, "abort_sequence", "c")
    one.until(123)  # c has ended, a runs, and b was on its way
    assert one.events("sequence_aborted")[2:] == [("c", 0, 1, "aborted by command")]
    assert [name for name, _ in one.vault.rows("sequence.run.")] == ["a", "b"]
    world.disk.commit_s = 0.0
    one.until(150)
    assert one.events("sequence_ended") == [("a",), ("b",)] and one.vault.rows("sequence.run.") == []
    assert one.sequences._ended_rows == set(), "none is dropped again"  # noqa: SLF001 - dropped rows are seen nowhere else


def test_a_sequence_that_ends_before_the_turn_of_its_abortion_is_not_running(world: World) -> None:
    one = world.boot(of_mission={"a": ((2000, note(1)),)})
    one.sequences.start("a", "a test")
    one.until(1.5)
    lingers, abort = one.give("linger"), one.give("abort_sequence", "a")
    one.until(3)
    assert one.events("sequence_ended") == [("a",)] and one.stages(abort) == [1]
    one.gate.set_result(None)
    one.until(4)
    assert one.outcome(lingers) is None
    assert (one.stages(abort), one.outcome(abort)) == ([1, 8], (Failure.BAD_VALUE, "sequence 'a' is not running"))


def test_an_activation_that_the_disk_does_not_take_can_be_given_again(world: World) -> None:
    one = world.boot(of_mission={"a": ((0, note(1)),)})
    with full_disk(world.disk):
        assert one.do("activate_sequence", "a") is not None
    assert sampled(one.sequences) == (1, 0, 0, 0)
    assert one.do("activate_sequence", "a") is None
    assert [n for n, _ in one.noted] == [1]


def test_rows_that_no_software_of_ours_wrote_are_told_and_left(world: World) -> None:
    one = world.boot()
    good = (b"\1" + (604_800_000).to_bytes(4, "big") + note(1)), (b"\1" + (604_800_001).to_bytes(4, "big") + note(1))
    one.vault.commit({
        "sequence.load.good": good[0], "sequence.load.late": good[1], "sequence.load.none": b"\0",
        "sequence.run." + "n" * 33: b"\1\2", "sequence.run.three": b"\1\2\3", "sequence.run.": b"\1\2",
        "sequence.run." + "n" * 32: b"\1\2",
    })  # fmt: skip
    one.until(1)
    one = world.boot()
    one.until(2)
    told = [text.partition(" left out: ") for _, text in one.events("record_damaged")]
    assert {key: why for key, _, why in told if key} == {
        "sequence.load.late": "delay of 604800001 ms", "sequence.load.none": "a sequence needs at least one step",
        "sequence.run.": "it names no sequence that ran", "sequence.run." + "n" * 33: "it names no sequence that ran",
        "sequence.run.three": "it names no sequence that ran",
    }  # fmt: skip
    assert one.events("sequence_aborted") == [("n" * 32, 1, 2, "reboot")]
    assert one.report("report_sequences", "sequence_status") == [("good", 0, 0, 1)]
    for name in ("activate_sequence", "report_sequence"):
        assert one.do(name, "late") == (
            Failure.BAD_VALUE, "sequence 'late' was stored by another version, it can only be unloaded",
        )  # fmt: skip
    assert one.do("unload_sequence", "late") is None
    assert one.do("load_sequence", "late", ((0, note(2)),)) is None and one.do("activate_sequence", "late") is None
    assert [n for n, _ in one.noted] == [2]


# The octets, as ECSS-E-ST-70-41C, 8.11 and 8.21, has them but for what the head of the declarations says


def test_requests_and_reports_of_the_schedule_are_laid_out_as_in_the_standard(world: World) -> None:
    one = world.boot()
    packet = note(0x0102)
    time = (2 * NS + 100).to_bytes(4, "big") + bytes(2)
    layouts = {c.subtype: c.layout for c in DECLARED[0].commands}
    assert {c.service for c in DECLARED[0].commands} == {11}
    assert layouts[22].encode([((7, 1), (9, 0))]) == bytes.fromhex("02 0701 0900")
    assert layouts[4].encode([5, ((7, EPOCH + 100 * NS, packet),)]) == b"\x05\x01\x07" + time + packet
    assert layouts[5].encode([((0x0304, 0x0506, 0x0708),)]) == bytes.fromhex("01 0304 0506 0708")
    assert layouts[7].encode([-2, ((3, 1, 2),)]) == bytes.fromhex("fffffffe 01 0003 0001 0002")
    assert layouts[6].encode([1, EPOCH + 100 * NS, EPOCH + 100 * NS, ((5,),), ((7,), (9,))]) == (
        b"\x01" + time + time + b"\x01\x05" + b"\x02\x07\x09"
    )
    for subtype in (6, 11, 14):
        (by_filter,) = [c for c in DECLARED[0].commands if c.subtype == subtype]
        defaults = [one.default for one in by_filter.arguments[1:] if one.default is not None]
        assert by_filter.layout.encode([0, *defaults]) == bytes(1 + 2 * 6 + 2), "times and rows may be left out"
    assert layouts[8].encode([-1, 0, 0, 0, (), ()]) == b"\xff" * 4 + bytes(15)
    assert layouts[15].encode([3]) == bytes.fromhex("00000003")
    for subtype in (20, 21, 23, 24, 25):
        assert layouts[subtype].encode([((8,),)]) == b"\x01\x08"
    one.do("create_groups", ((7, 1), (9, 0)))
    assert one.insert(100, 0x0102, sub=5, group=7) is None
    sent: dict[int, bytes] = {}
    for name in ("report_schedule", "summarise_schedule", "report_sub_schedules", "report_groups"):
        one.raw.clear()
        assert one.do(name) is None
        sent |= {p.subtype: p.data for p in one.packets(11)}
    assert sent == {
        10: b"\x01\x05\x07" + time + packet,
        13: b"\x01\x05\x07" + time + bytes.fromhex("0003 0001 0102"),
        19: bytes.fromhex("01 0501"),
        27: bytes.fromhex("03 0001 0701 0900"),
    }
    names = {r.subtype: [one.name for one in r.fields[0].fields] for r in DECLARED[0].reports}
    assert names == {
        10: ["sub_schedule", "group", "release_time", "request"],
        13: ["sub_schedule", "group", "release_time", "source", "apid", "seq"],
        19: ["sub_schedule", "status"],
        27: ["group", "status"],
    }
    labels = {(r.subtype, f.name): f.labels for r in DECLARED[0].reports for f in r.fields[0].fields if f.labels}
    assert labels == {(19, "status"): ("disabled", "enabled"), (27, "status"): ("disabled", "enabled")}
    (window,) = {f.labels for c in DECLARED[0].commands for f in c.arguments if f.name == "window"}
    assert window == ("all", "between", "from", "to")


def test_requests_and_reports_of_sequences_are_laid_out_as_they_always_were(world: World) -> None:
    one = world.boot()
    packet = note(1)
    layouts = {c.subtype: c.layout for c in DECLARED[1].commands}
    assert {c.service for c in DECLARED[1].commands} == {21}
    name = b"\x02ab"
    assert layouts[1].encode(["ab", ((0x01020304, packet),)]) == name + bytes.fromhex("01 01020304") + packet
    assert one.do("load_sequence", "ab", ((90_000, packet),)) is None
    assert one.do("activate_sequence", "ab") is None
    sent: dict[int, bytes] = {}
    for command, values in (("report_sequences", ()), ("report_sequence", ("ab",)), ("abort_all_sequences", ())):
        one.raw.clear()
        assert one.do(command, *values) is None
        sent |= {p.subtype: p.data for p in one.packets(21)}
    assert sent == {
        7: b"\x01" + name + bytes.fromhex("01 00 01"),
        12: name + b"\x01" + (90_000).to_bytes(4, "big") + packet,
        14: b"\x01" + name,
    }
    names = {r.subtype: [one.name for one in r.fields[-1].fields] for r in DECLARED[1].reports}
    assert names == {7: ["sequence", "status", "step", "steps"], 12: ["delay_ms", "request"], 14: ["sequence"]}
    state = next(r for r in DECLARED[1].reports if r.subtype == 7).fields[0].fields[1]
    assert (state.name, state.labels) == ("status", ("inactive", "running"))


# What the mission file may say


def test_a_sub_schedule_is_named_by_its_number() -> None:
    for name, fits in (("0", True), ("255", True), ("007", True), ("256", False), ("0001", False), ("-1", False),
                       ("x", False), ("", False), ("1.", False)):  # fmt: skip
        faults = st11.ScheduleConfig(sub_schedule_late_s={"3": 1.0, name: 2.0}).faults()
        says = f"{name!r} is not a sub-schedule, should be 0 .. 255"
        assert faults == [("sub_schedule_late_s", says)] * (not fits), name


def test_a_sequence_of_the_mission_has_a_name_and_steps() -> None:
    step = st21.StepConfig("ping")
    for name, fits in (("a", True), ("é" * 16, True), ("", False), ("x" * 33, False), ("é" * 17, False)):
        told = [("name", f"is {name!r}, should be 1 .. 32 octets")] * (not fits)
        assert st21.SequenceConfig(name, (step,)).faults() == told
    for steps, fits in ((1, True), (255, True), (0, False), (256, False)):
        told = [("steps", f"has {steps} steps, should have 1 .. 255")] * (not fits)
        assert st21.SequenceConfig("a", (step,) * steps).faults() == told
    assert len(st21.SequenceConfig("", ()).faults()) == 2
