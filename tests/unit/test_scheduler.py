"""The scheduler on virtual time: order, ticks, lateness, waiting, cancelling, restarts."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from itertools import pairwise
from typing import Any

from flight.core.errors import MisuseError
from flight.core.future import Event, Future, Queue
from flight.core.nanoseconds import NS, ns
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.core.task_stats import BUCKETS, bucket_bounds_us, quantile_us
from sim_hw.machine.loop import VirtualLoop


class SteppingHost(VirtualLoop):
    """Virtual time that a task can spend, as a busy processor would."""

    def spend(self, duration_s: float) -> None:
        self._now_ns += ns(duration_s)


def make(**options: Any) -> tuple[SteppingHost, Scheduler, list[tuple[str, BaseException]]]:
    host = SteppingHost()
    faults: list[tuple[str, BaseException]] = []
    scheduler = Scheduler(host, host.now_ns, lambda task, error: faults.append((task.name, error)), **options)
    return host, scheduler, faults


def test_ready_tasks_run_earliest_deadline_first() -> None:
    host, scheduler, _ = make()
    order: list[str] = []

    def body(name: str) -> Callable[[Task], Coroutine[Any, Any, None]]:
        async def run(_task: Task) -> None:
            order.append(name)

        return run

    for name, deadline_s in (("slow", 3.0), ("fast", 0.1), ("middle", 1.0)):
        scheduler.spawn(name, body(name), deadline_s=deadline_s)
    host.run_until(0)
    assert order == ["fast", "middle", "slow"]


def test_ticks_stand_on_absolute_times_however_long_the_work_takes() -> None:
    host, scheduler, _ = make()
    dues: list[int] = []

    async def run(task: Task) -> None:
        async for tick in task.every(1.0, phase_s=0.25, deadline_s=0.2):
            dues.append(tick.due_ns)
            host.spend(0.1)

    task = scheduler.spawn("t", run)
    host.run_until(ns(5))
    assert dues == [ns(0.25 + i) for i in range(5)]
    assert (task.stats.ticks, task.stats.late, task.stats.skipped) == (5, 0, 0)


def test_a_late_task_replays_a_few_ticks_and_skips_the_rest() -> None:
    host, scheduler, _ = make(catch_up_max=2)
    seen: list[tuple[int, int]] = []

    async def run(task: Task) -> None:
        async for tick in task.every(1.0, deadline_s=0.5):
            seen.append((tick.index, tick.skipped))
            if tick.index == 1:
                host.spend(7.5)

    task = scheduler.spawn("t", run)
    host.run_until(ns(10))
    # At 8.5 s the ticks 2 .. 8 are due: tick 8 and two before it are done, 2 .. 5 are given up.
    assert seen == [(0, 0), (1, 0), (6, 4), (7, 0), (8, 0), (9, 0), (10, 0)]
    assert task.stats.skipped == 4
    assert task.stats.late == 3  # 1, whose work took too long, and the replayed 6 and 7


def test_overrun_and_worst_step_are_counted() -> None:
    host, scheduler, _ = make()

    async def run(task: Task) -> None:
        async for tick in task.every(1.0):
            host.spend(0.3 if tick.index == 2 else 0.01)

    task = scheduler.spawn("t", run, budget_s=0.1)
    host.run_until(ns(4))
    assert task.stats.overruns == 1
    assert task.stats.worst_ns == ns(0.3)
    assert sum(task.stats.latency) == task.stats.steps


def test_latency_of_a_task_that_had_to_wait_its_turn() -> None:
    host, scheduler, _ = make()

    async def hog(_task: Task) -> None:
        host.spend(0.004)

    async def other(task: Task) -> None:
        pass

    scheduler.spawn("hog", hog, deadline_s=0.1)
    waited = scheduler.spawn("other", other, deadline_s=1.0)
    host.run_until(ns(1))
    assert waited.stats.worst_latency_ns == ns(0.004)
    assert waited.stats.latency[(4000).bit_length()] == 1


def test_wait_ends_with_the_future_or_with_its_time() -> None:
    host, scheduler, _ = make()
    results: list[tuple[bool, int]] = []
    early, never = Event(), Event()

    async def run(task: Task) -> None:
        results.append((await task.wait(early.wait(), 5.0), host.now_ns()))
        results.append((await task.wait(never.wait(), 2.0), host.now_ns()))

    scheduler.spawn("t", run)
    host.call_at(ns(1), early.set)
    host.run_until(ns(10))
    assert results == [(True, ns(1)), (False, ns(3))]


def test_waits_that_are_given_up_leave_nothing_behind() -> None:
    host, scheduler, _ = make()
    event = Event()
    woken: list[int] = []

    async def run(task: Task) -> None:
        for _ in range(100):
            await task.wait(event.wait(), 1.0)
        await event.wait()
        woken.append(host.now_ns())

    scheduler.spawn("t", run)
    host.run_until(ns(100.5))
    assert len(event.wait()._callbacks) == 1  # noqa: SLF001 - a callback left behind is seen nowhere else
    host.call_at(ns(101), event.set)
    host.run_until(ns(102))
    assert woken == [ns(101)]


def test_cancel_runs_clean_up_and_leaves_nothing_waiting() -> None:
    host, scheduler, _ = make()
    event = Event()
    trail: list[str] = []

    async def run(_task: Task) -> None:
        try:
            await event.wait()
            trail.append("woken")
        finally:
            trail.append("cleaned")

    task = scheduler.spawn("t", run)
    host.run_until(ns(1))
    task.cancel()
    host.run_until(ns(2))
    event.set()
    host.run_until(ns(3))
    assert trail == ["cleaned"]
    assert task.finished.done


def test_a_failing_task_is_reported_and_restarted_up_to_its_limit() -> None:
    host, scheduler, faults = make(restarts_max=2)

    async def run(task: Task) -> None:
        await task.sleep(1.0)
        raise RuntimeError("broken")

    task = scheduler.spawn("t", run)
    host.run_until(ns(20))
    assert [(name, str(error)) for name, error in faults] == [("t", "broken")] * 3
    assert (task.stats.failures, task.stats.restarts, task.finished.done) == (3, 2, True)


def test_restarts_come_back_after_a_good_stretch_and_giving_up_is_told() -> None:
    host = SteppingHost()
    given_up: list[str] = []
    scheduler = Scheduler(
        host,
        host.now_ns,
        lambda *_: None,
        restarts_max=2,
        forgive_s=60.0,
        on_given_up=lambda t: given_up.append(t.name),
    )

    async def seldom(task: Task) -> None:
        await task.sleep(100.0)
        raise RuntimeError

    async def often(task: Task) -> None:
        await task.sleep(10.0)
        raise RuntimeError

    lasting = scheduler.spawn("seldom", seldom)
    scheduler.spawn("often", often)
    host.run_until(ns(5000))
    assert lasting.stats.failures == 50
    assert not lasting.finished.done
    assert given_up == ["often"]


def test_a_task_that_is_always_late_does_not_keep_others_from_their_turn() -> None:
    host, scheduler, _ = make()
    seen: list[str] = []

    async def hog(task: Task) -> None:
        async for _ in task.every(0.010):
            host.spend(0.012)

    async def other(task: Task) -> None:
        async for _ in task.every(0.1, deadline_s=0.05):
            seen.append("other")

    late = scheduler.spawn("hog", hog, deadline_s=0.010, budget_s=0.011)
    scheduler.spawn("other", other)
    host.call_at(ns(0.5), lambda: seen.append("host"))
    host.run_until(ns(1.0))
    assert seen.count("other") >= 9
    assert "host" in seen
    assert late.stats.overruns == late.stats.steps - 1 == late.stats.ticks


def test_a_stopped_task_is_served_by_its_own_deadline_not_by_that_of_its_next_tick() -> None:
    host, scheduler, _ = make()
    stop = Event()
    order: list[str] = []

    async def slow(task: Task) -> None:
        async for _ in task.every(3600.0, phase_s=3600.0, stop=stop):
            pass
        order.append("stopped")

    async def plain(_task: Task) -> None:
        await stop.wait()
        order.append("plain")

    scheduler.spawn("slow", slow, deadline_s=0.1)
    scheduler.spawn("plain", plain, deadline_s=5.0)
    host.call_at(ns(1), stop.set)
    host.run_until(ns(2))
    assert order == ["stopped", "plain"]


def test_awaiting_something_foreign_is_the_tasks_fault_not_the_loops() -> None:
    host, scheduler, faults = make(restarts_max=0)

    class Foreign:
        def __await__(self) -> Generator[object, None, None]:
            yield "something"

    async def run(_task: Task) -> None:
        await Foreign()

    task = scheduler.spawn("t", run)
    host.run_until(ns(1))
    assert task.finished.done
    assert "not str" in str(faults[0][1])


def test_cancel_holds_whatever_the_clean_up_does() -> None:
    host, scheduler, faults = make()
    starts: list[str] = []

    async def awaits_and_fails(task: Task) -> None:
        starts.append("a")
        try:
            await task.sleep(100)
        finally:
            await task.sleep(1)
            raise RuntimeError("in clean-up")

    async def cancels_itself(task: Task) -> None:
        starts.append("b")
        task.cancel()
        await task.sleep(100)
        starts.append("never")

    first = scheduler.spawn("a", awaits_and_fails)
    second = scheduler.spawn("b", cancels_itself)
    host.run_until(ns(1))
    first.cancel()
    host.run_until(ns(10))
    assert starts == ["a", "b"]
    assert first.finished.done
    assert second.finished.done
    assert [str(error) for _, error in faults] == ["in clean-up"]


def test_close_copes_with_a_body_that_awaits_in_its_clean_up() -> None:
    host, scheduler, faults = make()
    closed: list[int] = []

    async def run(task: Task) -> None:
        try:
            await task.sleep(100)
        finally:
            await task.sleep(1)

    async def good(task: Task) -> None:
        try:
            await task.sleep(100)
        finally:
            closed.append(1)

    scheduler.spawn("t", run)
    scheduler.spawn("good", good)
    host.run_until(ns(1))
    scheduler.close()
    assert closed == [1]
    assert len(faults) == 1


def test_one_task_waits_for_another_and_for_a_queue() -> None:
    host, scheduler, _ = make()
    queue: Queue[int] = Queue(2)
    got: list[int] = []

    async def producer(task: Task) -> None:
        async for tick in task.every(1.0):
            queue.put(tick.index)
            if tick.index == 3:
                return

    async def consumer(_task: Task) -> None:
        while True:
            got.append(await queue.get())

    made = scheduler.spawn("producer", producer)

    async def last(_task: Task) -> None:
        await made.finished
        got.append(-1)

    scheduler.spawn("consumer", consumer)
    scheduler.spawn("last", last)
    host.run_until(ns(9))
    assert sorted(got[:4]) == [0, 1, 2, 3]
    assert -1 in got


def test_a_full_queue_refuses_and_counts() -> None:
    queue: Queue[int] = Queue(2)
    assert [queue.put(i) for i in range(4)] == [True, True, False, False]
    assert (queue.refused, queue.take(), len(queue)) == (2, 0, 1)


def test_future_keeps_its_first_outcome() -> None:
    future: Future[int] = Future()
    future.set_result(1)
    future.set_result(2)
    future.set_error(RuntimeError())
    assert future.result() == 1


def test_a_future_calls_back_when_it_is_done_and_at_once_where_it_is() -> None:
    future, called = Future[int](), list[tuple[str, int]]()

    def first(done: Future[int]) -> None:
        called.append(("first", done.result()))

    def second(done: Future[int]) -> None:
        called.append(("second", done.result()))

    for callback in (first, second, first):
        future.add_callback(callback)
    future.remove_callback(first)
    future.remove_callback(lambda _: None)
    assert called == []
    future.set_result(5)
    assert called == [("second", 5), ("first", 5)]
    future.add_callback(second)
    assert called[2:] == [("second", 5)]


def test_close_ends_every_task_where_it_stands() -> None:
    host, scheduler, _ = make()
    trail: list[str] = []

    async def run(task: Task) -> None:
        try:
            await task.sleep(100)
        finally:
            trail.append("closed")

    scheduler.spawn("t", run)
    host.run_until(ns(1))
    scheduler.close()
    host.run_until(ns(200))
    assert trail == ["closed"]


def test_ticks_end_at_a_stop_that_is_cleared_at_once_and_none_comes_early() -> None:
    host, scheduler, faults = make()
    stop = Event()
    lates_ns: list[int] = []

    async def run(task: Task) -> None:
        async for tick in task.every(1.0, stop=stop):
            lates_ns.append(tick.late_ns)

    def pulse() -> None:
        stop.set()
        stop.clear()

    task = scheduler.spawn("t", run)
    host.call_at(ns(1.5), pulse)
    host.run_until(ns(5))
    assert (lates_ns, task.finished.done, faults) == ([0, 0], True, [])


def test_ticks_end_when_they_are_stopped() -> None:
    host, scheduler, _ = make()
    stop = Event()
    trail: list[float] = []

    async def run(task: Task) -> None:
        async for tick in task.every(1.0, stop=stop):
            trail.append(tick.due_ns / NS)
        trail.append(host.now_ns() / NS)

    scheduler.spawn("t", run)
    host.call_at(ns(2.5), stop.set)
    host.run_until(ns(9))
    assert trail == [0.0, 1.0, 2.0, 2.5]


def test_the_host_gets_a_turn_between_many_ready_tasks() -> None:
    host, scheduler, _ = make()
    seen: list[str] = []

    async def run(task: Task) -> None:
        seen.append(task.name)

    for i in range(200):
        scheduler.spawn(f"t{i}", run)
    host.call_at(0, lambda: seen.append("host"))
    host.run_until(0)
    assert seen.index("host") == 64


def test_the_first_of_several_futures() -> None:
    host, scheduler, _ = make()
    futures: list[Future[int]] = [Future() for _ in range(3)]
    seen: list[tuple[int | None, int]] = []

    async def run(task: Task) -> None:
        seen.append((await task.first(futures, 1.0), host.now_ns()))
        seen.append((await task.first(futures), host.now_ns()))
        seen.append((await task.first(futures, 1.0), host.now_ns()))

    task = scheduler.spawn("t", run)
    host.call_at(ns(3), lambda: futures[2].set_result(0))
    host.call_at(ns(3), lambda: futures[1].set_result(0))
    host.run_until(ns(9))
    assert seen == [(None, ns(1)), (1, ns(3)), (1, ns(3))]
    assert task.finished.done
    assert [len(future._callbacks) for future in futures] == [0, 0, 0]  # noqa: SLF001 - a callback left behind is seen nowhere else


def test_overruns_are_told_once_until_a_good_stretch() -> None:
    host, told = SteppingHost(), []
    scheduler = Scheduler(
        host, host.now_ns, lambda *_: None, forgive_s=60.0, on_overrun=lambda _task, took_ns: told.append(took_ns)
    )

    async def run(task: Task) -> None:
        async for tick in task.every(10.0):
            if tick.index < 5 or tick.index == 20:
                host.spend(0.2)

    task = scheduler.spawn("t", run, budget_s=0.1)
    host.run_until(ns(300))
    assert told == [ns(0.2)] * 2
    assert task.stats.overruns == 6


def test_a_task_cannot_make_another_wait() -> None:
    host, scheduler, faults = make(restarts_max=0)

    async def sleeps(task: Task) -> None:
        await task.sleep(5.0)

    first = scheduler.spawn("first", sleeps)

    async def meddles(_task: Task) -> None:
        await first.sleep(1.0)

    scheduler.spawn("meddler", meddles, deadline_s=2.0)
    host.run_until(ns(4))
    assert [(name, type(error)) for name, error in faults] == [("meddler", MisuseError)]
    assert first.waiting
    host.run_until(ns(6))
    assert first.finished.done


def test_a_body_may_close_its_own_scheduler() -> None:
    host, scheduler, faults = make()
    trail: list[str] = []

    async def run(task: Task) -> None:
        try:
            scheduler.close()
            await task.sleep(1.0)
            trail.append("went on")
        finally:
            trail.append("cleaned")

    task = scheduler.spawn("t", run)
    other = scheduler.spawn("other", lambda task: task.sleep(9.0), deadline_s=0.1)
    for until_s in (0, 20):
        host.run_until(ns(until_s))
        assert (trail, faults, task.finished.done, other.finished.done) == (["cleaned"], [], True, True)


def test_report_says_what_a_table_of_tasks_shows() -> None:
    host, scheduler, _ = make()

    async def run(task: Task) -> None:
        async for _ in task.every(0.5, deadline_s=0.2):
            host.spend(0.003)

    scheduler.spawn("t", run, deadline_s=0.25, budget_s=0.002, critical=True)
    host.run_until(ns(10.1))
    (report,) = scheduler.report()
    assert (report.name, report.state, report.critical) == ("t", "waiting", True)
    assert (report.period_ms, report.deadline_ms, report.budget_us) == (500, 250, 2000)
    assert (report.steps, report.ticks, report.late, report.overruns) == (22, 21, 0, 21)
    assert (report.worst_step_us, report.cpu_permille) == (3000, 6)
    assert report.step[(3000).bit_length()] == 21
    assert (report.latency_p50_us, sum(report.latency)) == (1, 22)


def test_quantiles_are_upper_edges_of_buckets() -> None:
    histogram = [0] * BUCKETS
    assert quantile_us(histogram, 0.5) == 0
    histogram[3], histogram[10] = 98, 2
    assert [quantile_us(histogram, q) for q in (0.0, 0.5, 0.98, 0.99, 1.0)] == [8, 8, 8, 1024, 1024]


def test_buckets_follow_one_another_from_below_a_microsecond_on() -> None:
    bounds = [bucket_bounds_us(bucket) for bucket in range(BUCKETS)]
    assert bounds[:4] == [(0, 1), (1, 2), (2, 4), (4, 8)]
    assert all(low == before for (_, before), (low, _) in pairwise(bounds))
