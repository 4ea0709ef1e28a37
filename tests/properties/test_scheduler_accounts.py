"""What the scheduler counts, tells and orders, to the nanosecond, against plain models of what its docstrings say."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import asdict, dataclass, fields
from random import Random
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from flight.core.executive_section import ExecutiveConfig
from flight.core.future import Event
from flight.core.nanoseconds import NS
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.core.task_stats import BUCKETS, TaskReport, TaskStats
from sim_hw.machine.loop import Call, VirtualLoop
from tests.executive_load import WatchedHost

MS = 1_000_000
FORGIVE_NS, BUDGET_NS, STARVE_NS = 20 * NS, 3 * MS, 40 * MS


class Spending(VirtualLoop):
    """Virtual time that a step spends, as a busy processor would; and another clock, twice as quick, for processors."""

    def spend(self, took_ns: int) -> None:
        self._now_ns += took_ns

    def cpu_ns(self) -> int:
        return 2 * self._now_ns - 7 * NS


def around(*edges: int) -> st.SearchStrategy[int]:
    return st.sampled_from([edge + more for edge in edges for more in (-1, 0, 1)])


def bucket(duration_ns: int) -> int:
    """The first whose end, 2^i us, is beyond the duration."""
    return next((i for i in range(BUCKETS - 1) if duration_ns < 1000 << i), BUCKETS - 1)


def histogram(durations_ns: Iterable[int]) -> list[int]:
    counts = [0] * BUCKETS
    for one in durations_ns:
        counts[bucket(one)] += 1
    return counts


def told_of(times: list[tuple[int, int]]) -> list[int]:
    """Of cases at their times: the first, and each that comes more than FORGIVE_NS after the one before."""
    return [what for i, (at_ns, what) in enumerate(times) if not i or at_ns - times[i - 1][0] > FORGIVE_NS]


DURATIONS = st.one_of(
    around(1000, 2000, 1024_000, BUDGET_NS, BUDGET_NS // 2, STARVE_NS, (1 << 18) * 1000, (1 << 17) * 1000),
    st.integers(0, 5 * NS),
)


@given(st.lists(st.tuples(DURATIONS, around(FORGIVE_NS) | st.integers(6 * NS, 50 * NS)), min_size=1, max_size=12))
def test_every_step_and_every_wait_is_counted_and_told(rounds: list[tuple[int, int]]) -> None:
    """One task takes so long in each step, and another waits just as long for its turn. Steps are measured by the
    processor's clock, waits by the host's; a gap is from the end of one step to the end of the next.
    """
    host = Spending()
    host.spend(3 * NS)  # neither clock is at zero when the node begins
    overruns: list[int] = []
    starved: list[int] = []
    scheduler = Scheduler(
        host, host.cpu_ns, lambda *_: None, forgive_s=FORGIVE_NS / NS,
        on_overrun=lambda _task, took_ns: overruns.append(took_ns),
        on_starved=lambda _task, waited_ns: starved.append(waited_ns),
    )  # fmt: skip
    event, ends_ns = Event(), [host.now_ns()]

    async def works(task: Task) -> None:
        for took_ns, gap_ns in rounds:
            await task.sleep((gap_ns - took_ns) / NS)
            event.set()
            host.spend(took_ns)
            ends_ns.append(host.now_ns())

    async def waits(_task: Task) -> None:
        while True:
            await event.wait()
            event.clear()

    worker = scheduler.spawn("works", works, budget_s=BUDGET_NS / NS, starve_s=STARVE_NS / NS)
    waiter = scheduler.spawn("waits", waits, starve_s=STARVE_NS / NS)
    host.run_until(1000 * NS)
    durations = [took_ns for took_ns, _ in rounds]
    assert ends_ns == [3 * NS + sum(gap_ns for _, gap_ns in rounds[:i]) for i in range(len(rounds) + 1)]
    processor = [2 * one for one in durations]
    for task, steps, latencies in ((worker, processor, [0] * len(rounds)), (waiter, [0] * len(rounds), durations)):
        stats = task.stats
        assert stats.step == histogram([0, *steps]) and stats.latency == histogram([0, *latencies])
        assert stats.steps == len(rounds) + 1
        assert stats.worst_ns == max([one for one in steps if one >= 1000], default=0)
        assert stats.worst_latency_ns == max([one for one in latencies if one >= 1000], default=0)
        assert stats.cpu_ns == sum(one for one in steps if one >= 1000)
    over = [(at_ns, took_ns) for at_ns, took_ns in zip(ends_ns[1:], processor, strict=True) if took_ns > BUDGET_NS]
    hungry = [(at_ns, waited_ns) for at_ns, waited_ns in zip(ends_ns[1:], durations, strict=True)
              if waited_ns >= STARVE_NS]  # fmt: skip
    assert (worker.stats.overruns, overruns) == (len(over), told_of(over))
    assert (waiter.stats.starved, starved) == (len(hungry), told_of(hungry))
    assert (worker.stats.starved, waiter.stats.overruns) == (0, 0)
    (report,) = scheduler.report()
    assert (report.name, report.state, report.period_ms, report.deadline_ms, report.budget_us) == (
        "waits", "waiting", 0, 1000, 50_000,
    )  # fmt: skip
    assert scheduler.up_cpu_ns == 2 * (1000 - 3) * NS
    totals = scheduler.totals()
    assert (totals.steps, totals.overruns, totals.starved) == (2 * len(rounds) + 2, len(over), len(hungry))


@given(
    st.lists(around(FORGIVE_NS) | st.integers(1, 3 * NS), min_size=1, max_size=20), st.integers(0, 4), st.integers(0, 3)
)
@example([1] * 8, 2, 0)
def test_restarts_come_back_after_more_than_the_stretch(gaps_ns: list[int], restarts_max: int, late_s: int) -> None:
    host = Spending()
    host.spend(late_s * 30 * NS)
    failures: list[int] = []
    given_up: list[int] = []
    scheduler = Scheduler(
        host, host.cpu_ns, lambda *_: failures.append(host.now_ns()), restarts_max=restarts_max,
        forgive_s=FORGIVE_NS / NS, on_given_up=lambda _task: given_up.append(host.now_ns()),
    )  # fmt: skip
    left = iter(gaps_ns)

    async def body(task: Task) -> None:
        gap_ns = next(left, None)
        if gap_ns is None:
            return
        await task.sleep(gap_ns / NS)
        raise ArithmeticError

    task = scheduler.spawn("t", body)
    host.run_until(host.now_ns() + 1000 * NS)
    expected, in_a_row = 0, 0
    for i, gap_ns in enumerate(gaps_ns):
        in_a_row = 1 if i and gap_ns > FORGIVE_NS else in_a_row + 1
        expected += 1
        if in_a_row > restarts_max:
            break
    gone = in_a_row > restarts_max
    assert (len(failures), task.stats.failures, task.stats.restarts) == (expected, expected, expected - gone)
    assert given_up == failures[-1:] * gone and task.finished.done


@dataclass(frozen=True)
class Sleeper:
    """Sleeps for so long, or ticks at that time for the first time; `serve_ns` is its own deadline or the tick's."""

    at_ns: int
    serve_ns: int
    starve_ns: int
    ticks: bool


SLEEPERS = st.builds(
    Sleeper,
    st.integers(1, 400).map(lambda n: n * 50 * MS),
    st.integers(1, 200).map(lambda n: n * 50 * MS),
    st.integers(1, 200).map(lambda n: n * 50 * MS),
    st.booleans(),
)


@given(st.lists(SLEEPERS, min_size=1, max_size=40))
def test_what_fell_due_while_the_processor_was_taken_is_served_by_its_deadline(sleepers: list[Sleeper]) -> None:
    host, order = Spending(), list[int]()
    scheduler = Scheduler(host, host.now_ns, lambda *_: None)

    def body(number: int, one: Sleeper) -> Callable[[Task], Coroutine[Any, Any, None]]:
        async def run(task: Task) -> None:
            if one.ticks:
                async for tick in task.every(3600.0, phase_s=one.at_ns / NS, deadline_s=one.serve_ns / NS):
                    assert tick.due_ns == one.at_ns
                    break
            else:
                await task.sleep(one.at_ns / NS)
            order.append(number)

        return run

    async def hog(task: Task) -> None:
        await task.sleep(1e-6)
        host.spend(10 * NS)

    for number, one in enumerate(sleepers):
        deadline_ns = 1 if one.ticks else one.serve_ns
        scheduler.spawn(f"t{number}", body(number, one), deadline_s=deadline_ns / NS, starve_s=one.starve_ns / NS)
    scheduler.spawn("hog", hog)
    host.run_until(30 * NS)
    taken_ns = 10 * NS + 1000
    serve_by = [one.at_ns + min(one.serve_ns, one.starve_ns) for one in sleepers]
    expected = sorted(
        range(len(sleepers)),
        key=lambda n: (max(sleepers[n].at_ns, taken_ns), serve_by[n]),
    )
    assert order == expected


def test_who_comes_late_by_its_own_work_is_not_served_before_those_who_waited() -> None:
    """The tick that fell due during the work counts from the end of the work: for its turn, and as its latency."""
    host, order = Spending(), list[str]()
    scheduler = Scheduler(host, host.now_ns, lambda *_: None)
    event = Event()

    async def busy(task: Task) -> None:
        async for tick in task.every(1.0, deadline_s=0.5):
            order.append("busy")
            if tick.index == 0:
                event.set()
                host.spend(2 * NS + NS // 2)
            elif tick.index == 3:
                return

    async def waits(_task: Task) -> None:
        await event.wait()
        order.append("waits")

    worker = scheduler.spawn("busy", busy, deadline_s=0.1)
    scheduler.spawn("waits", waits, deadline_s=2.0)
    host.run_until(10 * NS)
    assert order == ["busy", "waits", "busy", "busy", "busy"]
    assert (worker.stats.worst_latency_ns, worker.stats.late, worker.stats.ticks) == (0, 2, 4)


@given(around(NS // 2) | st.integers(0, NS))
def test_a_tick_is_late_when_its_work_ends_after_its_deadline(took_ns: int) -> None:
    host = Spending()
    scheduler = Scheduler(host, host.now_ns, lambda *_: None)

    async def body(task: Task) -> None:
        async for tick in task.every(2.0, phase_s=1.0, deadline_s=0.5):
            if tick.index == 1:
                host.spend(took_ns)

    task = scheduler.spawn("t", body)
    host.run_until(9 * NS)
    assert (task.stats.ticks, task.stats.late, task.stats.skipped) == (5, took_ns > NS // 2, 0)


def test_how_long_critical_tasks_wait_is_known_whether_they_are_ready_or_due() -> None:
    """What the watchdog asks in the middle of a step: those whose time has come, to the nanosecond."""
    host, seen = Spending(), list[list[int]]()
    scheduler = Scheduler(host, host.now_ns, lambda *_: None)
    event = Event()

    async def asks(task: Task) -> None:
        await task.sleep(1.0)
        event.set()
        for took_ns in (0, NS - 1, 1, NS // 4):
            host.spend(took_ns)
            seen.append(sorted(scheduler.critical_waits_ns()))

    async def ready(_task: Task) -> None:
        await event.wait()

    async def due(task: Task) -> None:
        await task.wait(event.wait(), 1.25)  # ended by the event: that alarm is nobody's any more
        await task.sleep(2.0)

    async def later(task: Task) -> None:
        await task.sleep(2.0 if task.critical else 1.5)

    scheduler.spawn("asks", asks, critical=True, deadline_s=0.1)
    for name, body, critical in (("a", ready, True), ("b", ready, False), ("c", later, True), ("d", later, False),
                                 ("e", due, True)):  # fmt: skip
        scheduler.spawn(name, body, critical=critical)
    host.run_until(NS - 1)
    assert scheduler.critical_waits_ns() == []
    host.run_until(20 * NS)
    assert seen == [[0, 0], [NS - 1] * 2, [0, NS, NS], [NS // 4, NS + NS // 4, NS + NS // 4]]


@given(
    st.lists(st.sampled_from((0, 0, 1, 999, 1000, NS // 4)) | st.integers(0, 2 * NS), min_size=1, max_size=20),
    st.sampled_from((0, 1)) | st.integers(0, 5 * NS),
)
def test_steps_that_cost_virtual_time_follow_one_another_without_a_gap(costs: list[int], begin_ns: int) -> None:
    loop, started, others = VirtualLoop(), list[int](), list[int]()
    loop.run_until(begin_ns)
    scheduler = Scheduler(loop, loop.now_ns, lambda *_: None, step_cost_ns=lambda name: costs[int(name)])

    async def body(_task: Task) -> None:
        started.append(loop.now_ns())

    for number in range(len(costs)):
        scheduler.spawn(str(number), body)
    starts = [begin_ns + sum(costs[:number]) for number in range(len(costs) + 1)]
    for at_ns in starts:
        loop.call_at(at_ns, lambda: others.append(loop.now_ns()))
    loop.run_until(100 * NS)
    assert (started, others) == (starts[:-1], starts), "the processor is taken, the host goes on"
    totals = scheduler.totals()
    assert totals.step == histogram(costs) and totals.cpu_ns == sum(one for one in costs if one >= 1000)
    assert totals.latency == histogram(at_ns - begin_ns for at_ns in starts[:-1])
    assert scheduler.tasks == []


def test_what_falls_due_while_virtual_time_is_taken_has_its_step_at_the_end_of_that() -> None:
    loop, seen = VirtualLoop(), list[tuple[str, int]]()
    scheduler = Scheduler(loop, loop.now_ns, lambda *_: None, step_cost_ns=lambda name: 200 * MS * (name == "works"))

    async def works(task: Task) -> None:
        seen.append((task.name, loop.now_ns()))
        await task.sleep(0.35)
        seen.append((task.name, loop.now_ns()))

    async def wakes(task: Task) -> None:
        for _ in range(4):
            await task.sleep(0.1)
            seen.append((task.name, loop.now_ns() // MS))

    scheduler.spawn("wakes", wakes)
    scheduler.spawn("works", works)
    loop.run_until(NS)
    assert seen == [
        ("works", 0), ("wakes", 200), ("wakes", 300), ("works", 350 * MS), ("wakes", 550), ("wakes", 650),
    ]  # fmt: skip
    assert loop.calls < 20, "the host is not asked again and again meanwhile"


def test_the_host_has_its_turn_after_a_millisecond_of_steps() -> None:
    host, seen = Spending(), list[str]()
    scheduler = Scheduler(host, host.now_ns, lambda *_: None)

    async def body(task: Task) -> None:
        seen.append(task.name)
        host.spend(MS // 4)

    for number in range(20):
        scheduler.spawn(f"t{number}", body)
    host.call_at(0, lambda: seen.append("host"))
    host.run_until(NS)
    assert seen.index("host") == 4 and len(seen) == 21


def test_alarms_that_were_not_needed_do_not_pile_up_and_the_others_stay_in_time() -> None:
    """Many wait for long, are woken long before, and wait again; in the end nobody wakes them any more."""
    host, random = Spending(), Random(1)
    scheduler = Scheduler(host, host.now_ns, lambda *_: None)
    events = [Event() for _ in range(200)]
    late_ns: list[int] = []
    most = 0

    def waits(event: Event) -> Callable[[Task], Coroutine[Any, Any, None]]:
        async def run(task: Task) -> None:
            while True:
                limit_s = random.randrange(1000, 30_000)
                due_ns = host.now_ns() + limit_s * NS
                if not await task.wait(event.wait(), limit_s):
                    late_ns.append(host.now_ns() - due_ns)
                    return
                event.clear()

        return run

    async def rouses(task: Task) -> None:
        nonlocal most
        for _ in range(5000):
            await task.sleep(0.01)
            random.choice(events).set()
            most = max(most, len(scheduler.alarms))

    for event in events:
        scheduler.spawn("waits", waits(event))
    scheduler.spawn("rouses", rouses)
    host.run_until(40_000 * NS)
    assert late_ns == [0] * 200 and scheduler.tasks == []
    assert 1000 < most <= 4 * 256 + 2


def test_an_alarm_before_the_one_that_is_armed_is_in_time_and_takes_its_place() -> None:
    host = WatchedHost(loop := VirtualLoop())
    woken: list[int] = []
    pending: list[int] = []
    event = Event()
    scheduler = Scheduler(host, loop.now_ns, lambda *_: None)

    async def patient(task: Task) -> None:
        await task.sleep(3600.0)

    async def brief(task: Task) -> None:
        await task.sleep(3599.8)
        woken.append(loop.now_ns() // MS)

    async def frequent(task: Task) -> None:
        for _ in range(100):
            await event.wait()
            event.clear()
            await task.sleep(0.1)
            pending.append(len(host.pending))

    scheduler.spawn("patient", patient)
    loop.run_until(MS)
    scheduler.spawn("brief", brief)
    loop.run_until(5000 * NS)
    assert woken == [3_599_801]
    scheduler.spawn("patient", patient)
    loop.run_until(5001 * NS)
    scheduler.spawn("frequent", frequent)
    for number in range(100):
        loop.call_at((5001 + number) * NS, event.set)
    loop.run_until(10_000 * NS)
    assert max(pending) <= 2, "the turn and the alarm"
    assert len(pending) == 100 and scheduler.tasks == []


class Stuttering(VirtualLoop):
    """Makes every call twice."""

    def call_at(self, t_ns: int, call: Callable[[], None]) -> Call:
        super().call_at(t_ns + 3 * MS, call)
        return super().call_at(t_ns, call)


def test_a_call_that_comes_twice_takes_back_nothing_that_is_not_its_own() -> None:
    loop, ticks = Stuttering(), list[int]()
    scheduler = Scheduler(loop, loop.now_ns, lambda *_: None)

    async def body(task: Task) -> None:
        async for tick in task.every(0.01):
            ticks.append(tick.index)
            if tick.index == 12:
                return

    scheduler.spawn("t", body)
    loop.run_until(NS)
    assert ticks == list(range(13)) and loop.calls < 40


def test_a_closed_scheduler_leaves_nothing_to_come_and_nobody_ready() -> None:
    """Nor do its tasks come back when clean-up of one wakes another, fails, or was cancelled."""
    host = WatchedHost(loop := VirtualLoop())
    failed: list[str] = []
    scheduler = Scheduler(host, loop.now_ns, lambda task, _: failed.append(task.name), restarts_max=9)
    event, early, trail = Event(), Event(), list[str]()

    async def body(task: Task) -> None:
        try:
            await task.first([early.wait() if task.name == "d" else event.wait()], 100.0)
            trail.append("woken")
        finally:
            trail.append(task.name)
            event.set()
            if task.name == "b":
                raise ArithmeticError

    tasks = [scheduler.spawn(name, body) for name in "abcd"]
    loop.run_until(NS)
    early.set()  # d is ready, and a turn is asked for
    scheduler.close()
    assert [(task.finished.done, task.waiting) for task in tasks] == [(True, False)] * 4
    assert all(timer.t_ns == NS for timer in host.pending), "no alarm is left"
    steps = scheduler.totals().steps
    loop.run_until(500 * NS)
    assert (trail, failed, host.pending, scheduler.closed) == (["a", "b", "c", "d"], ["b"], set(), True)
    assert [task.stats.restarts for task in tasks] == [0] * 4 and scheduler.totals().steps == steps


def test_who_runs_is_known_during_the_step_and_a_report_needs_no_time_to_have_passed() -> None:
    loop, seen = VirtualLoop(), list[Task | None]()
    scheduler = Scheduler(loop, loop.now_ns, lambda *_: None)

    async def body(task: Task) -> None:
        seen.append(scheduler.running)
        if not task.stats.failures:
            raise ArithmeticError

    assert scheduler.running is None
    task = scheduler.spawn("t", body)
    (report,) = scheduler.report()
    assert (report.state, report.steps, report.cpu_permille, report.period_ms) == ("ready", 0, 0, 0)
    loop.run_until(0)
    assert seen == [task, task] and scheduler.running is None
    assert task.report(1).state == "finished"


@given(st.lists(st.lists(st.integers(0, 10**6), min_size=10, max_size=10), min_size=1, max_size=4))
def test_sums_of_counters_are_sums_and_the_worst_of_worst_cases(counts: list[list[int]]) -> None:
    names = [one.name for one in fields(TaskStats) if one.type == "int"]
    assert len(names) == 10
    assert asdict(TaskStats()) == dict.fromkeys(names, 0) | {"step": [0] * BUCKETS, "latency": [0] * BUCKETS}
    counted: list[dict[str, Any]] = [dict(zip(names, one, strict=True)) for one in counts]
    total, parts = TaskStats(), [TaskStats(**one) for one in counted]
    for number, part in enumerate(parts):
        part.step[number], part.latency[BUCKETS - 1 - number] = 3, 5
        total.add(part)
    for name in names:
        values = [getattr(part, name) for part in parts]
        assert getattr(total, name) == (max(values) if name.startswith("worst") else sum(values)), name
    assert total.step[: len(parts)] == [3] * len(parts) and sum(total.step) == 3 * len(parts) == total.steps
    assert total.latency[::-1][: len(parts)] == [5] * len(parts) and sum(total.latency) == 5 * len(parts)


def test_a_report_shows_each_counter_under_its_name() -> None:
    stats = TaskStats(1, 2, 3, 4, 5, 7, 6, 9 * NS, 7_000_999, 8_000_999)
    stats.latency[3], stats.latency[10], stats.step[4] = 98, 2, 11
    report = TaskReport.of(
        stats, 9 * NS, name="n", state="ready", critical=True, period_ns=7200 * NS + 999_999, deadline_ns=3600 * NS,
        budget_ns=500 * NS + 999,
    )  # fmt: skip
    assert asdict(report) == {
        "name": "n", "state": "ready", "critical": True, "period_ms": 7_200_000, "deadline_ms": 3_600_000,
        "budget_us": 500_000_000, "steps": 11, "ticks": 1, "late": 2, "skipped": 3, "overruns": 4, "starved": 5,
        "failures": 7, "restarts": 6, "worst_step_us": 7000, "worst_latency_us": 8000, "latency_p50_us": 8,
        "latency_p99_us": 1024, "cpu_permille": 1000, "latency": tuple(stats.latency), "step": tuple(stats.step),
    }  # fmt: skip


def test_what_is_not_said_is_as_the_guides_say() -> None:
    """docs/guides/mission.md, [executive]; docs/guides/dictionary.md of task_overrun, task_starved, task_given_up."""
    limits = {name: one.default for name, one in inspect.signature(Scheduler).parameters.items()}
    config = asdict(ExecutiveConfig())
    shared = ("catch_up_max", "restarts_max", "starve_s", "critical_starve_s")
    assert {name: limits[name] for name in shared} == {name: config[name] for name in shared}
    assert limits["forgive_s"] == 600.0
    assert inspect.signature(Scheduler.spawn).parameters["budget_s"].default == 0.05
