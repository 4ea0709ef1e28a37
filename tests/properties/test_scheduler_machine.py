"""The scheduler under any order of spawning, waking, failing, cancelling and closing: nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flight.core.future import Event
from flight.core.nanoseconds import NS, ns
from flight.core.scheduler import Scheduler, SchedulerFull
from flight.core.task import Task
from sim_hw.machine.loop import VirtualLoop

EVENTS, CATCH_UP_MAX = 3, 2


class SchedulerMachine(RuleBasedStateMachine):
    """Tasks of every kind over three events, in virtual time with and without costs."""

    @initialize()
    def start(self) -> None:
        self.loop = VirtualLoop()
        self.cost_ns = 0
        self.faults = 0
        self.failing: set[str] = set()
        self.events = [Event() for _ in range(EVENTS)]
        self.scheduler = Scheduler(self.loop, self.loop.now_ns, self._on_fault, step_cost_ns=lambda _: self.cost_ns,
                                   catch_up_max=CATCH_UP_MAX, restarts_max=2)  # fmt: skip
        self.spawned: list[Task] = []
        self.most = dict.fromkeys(("steps", "ticks", "skipped", "failures", "cpu_ns"), 0)

    def _on_fault(self, _task: Task, error: BaseException) -> None:
        assert type(error) is ArithmeticError, error
        self.faults += 1

    def _spawn(self, body: Callable[[Task], Coroutine[Any, Any, None]], deadline_s: float) -> None:
        if not self.scheduler.closed and len(self.scheduler.tasks) < 40:
            name = f"t{len(self.spawned)}"
            self.spawned.append(self.scheduler.spawn(name, body, deadline_s=deadline_s))

    def _may_fail(self, task: Task) -> None:
        if task.name in self.failing:
            self.failing.discard(task.name)
            raise ArithmeticError

    @rule(
        period_ms=st.integers(1, 900), phase_ms=st.integers(0, 500), stop=st.none() | st.integers(0, EVENTS - 1),
        deadline_s=st.floats(0.001, 20.0),
    )  # fmt: skip
    def spawn_ticker(self, period_ms: int, phase_ms: int, stop: int | None, deadline_s: float) -> None:
        async def body(task: Task) -> None:
            start_ns, last = self.loop.now_ns() + phase_ms * 1_000_000, -1
            async for tick in task.every(
                period_ms / 1000, phase_s=phase_ms / 1000, stop=None if stop is None else self.events[stop]
            ):
                assert tick.due_ns == start_ns + tick.index * period_ms * 1_000_000
                assert tick.index == last + 1 + tick.skipped, "a tick is delivered once, or counted as skipped"
                assert 0 <= tick.late_ns <= (CATCH_UP_MAX + 1) * period_ms * 1_000_000
                assert self.loop.now_ns() == tick.due_ns + tick.late_ns
                last = tick.index
                self._may_fail(task)

        self._spawn(body, deadline_s)

    @rule(
        which=st.lists(st.integers(0, EVENTS - 1), min_size=1, max_size=4),
        timeout_s=st.none() | st.floats(0.0, 5.0),
        deadline_s=st.floats(0.001, 20.0),
    )
    def spawn_waiter(self, which: list[int], timeout_s: float | None, deadline_s: float) -> None:
        async def body(task: Task) -> None:
            while True:
                begin_ns = self.loop.now_ns()
                futures = [self.events[i].wait() for i in which]
                index = await task.first(futures, timeout_s)
                if index is None:
                    assert timeout_s is not None and self.loop.now_ns() >= begin_ns + ns(timeout_s)
                    assert not any(future.done for future in futures)
                else:
                    assert futures[index].done and not any(future.done for future in futures[:index])
                self._may_fail(task)
                await task.sleep(0.25)

        self._spawn(body, deadline_s)

    @precondition(lambda self: self.spawned)
    @rule(data=st.data(), clean_up_s=st.floats(0.0, 1.0))
    def spawn_joiner(self, data: st.DataObject, clean_up_s: float) -> None:
        other = data.draw(st.sampled_from(self.spawned))

        async def body(task: Task) -> None:
            try:
                while not await task.wait(other.finished, 0.5):
                    self._may_fail(task)
                assert other.finished.done
            finally:
                if not self.scheduler.closed:
                    await task.sleep(clean_up_s)

        self._spawn(body, 1.0)

    @rule(ms=st.integers(0, 3000))
    def pass_time(self, ms: int) -> None:
        self.loop.run_until(self.loop.now_ns() + ms * 1_000_000)

    @rule(event=st.integers(0, EVENTS - 1))
    def set_event(self, event: int) -> None:
        self.events[event].set()

    @rule(event=st.integers(0, EVENTS - 1))
    def clear_event(self, event: int) -> None:
        self.events[event].clear()

    @rule(cost_us=st.sampled_from([0, 0, 10, 2000, 60_000]))
    def computing_takes(self, cost_us: int) -> None:
        self.cost_ns = cost_us * 1000

    @precondition(lambda self: self.spawned)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.spawned)).cancel()

    @precondition(lambda self: self.spawned)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        self.failing.add(data.draw(st.sampled_from(self.spawned)).name)

    @precondition(lambda self: len(self.spawned) > 5)
    @rule()
    def close(self) -> None:
        self.scheduler.close()
        assert all(task.finished.done for task in self.spawned)
        steps = self.scheduler.totals().steps
        self.loop.run_until(self.loop.now_ns() + 5 * NS)
        assert self.scheduler.totals().steps == steps

    @invariant()
    def a_future_calls_back_only_who_waits_for_it(self) -> None:
        live = [task for task in self.spawned if not task.finished.done]
        assert all(not task.waiting for task in self.spawned if task.finished.done)
        for future in [event.wait() for event in self.events] + [task.finished for task in self.spawned]:
            waits = sum(list(task.futures).count(future) for task in live)
            assert len(future._callbacks) == (0 if future.done else waits)  # noqa: SLF001 - a callback left behind is seen nowhere else

    @invariant()
    def no_alarm_for_a_task_that_has_finished(self) -> None:
        alarms = [task for _, number, task, _ in self.scheduler.alarms if task.alarm == number]
        assert len(alarms) == len(set(alarms))
        assert not any(task.finished.done for task in alarms)
        assert {task for task in self.spawned if task.alarm} == set(alarms)

    @invariant()
    def live_tasks_are_the_listed_ones_and_sums_never_go_back(self) -> None:
        if not self.scheduler.closed:
            assert self.scheduler.tasks == [task for task in self.spawned if not task.finished.done]
        totals = self.scheduler.totals()
        for name, before in self.most.items():
            assert getattr(totals, name) >= before
            self.most[name] = getattr(totals, name)
        assert totals.failures == self.faults
        assert sum(totals.latency) == totals.steps

    def teardown(self) -> None:
        if hasattr(self, "scheduler"):
            self.scheduler.close()


SchedulerMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestSchedulerMachine = SchedulerMachine.TestCase


@given(st.lists(st.floats(0.001, 30.0), min_size=1, max_size=60), st.floats(0.01, 20.0))
def test_what_is_ready_together_runs_by_its_deadline(deadlines: list[float], starve_s: float) -> None:
    loop, order, event = VirtualLoop(), [], Event()
    scheduler = Scheduler(loop, loop.now_ns, lambda *_: None, starve_s=starve_s)

    def waits(number: int) -> Callable[[Task], Coroutine[Any, Any, None]]:
        async def body(_task: Task) -> None:
            await event.wait()
            order.append(number)

        return body

    for number, deadline_s in enumerate(deadlines):
        scheduler.spawn(f"t{number}", waits(number), deadline_s=deadline_s)
    loop.run_until(NS)
    event.set()
    loop.run_until(2 * NS)
    served = [min(ns(deadline_s), ns(starve_s)) for deadline_s in deadlines]
    assert order == sorted(range(len(deadlines)), key=served.__getitem__)
    assert scheduler.tasks == []


@given(st.integers(1, 8), st.floats(0.2, 2.0))
@settings(max_examples=10, deadline=None)
def test_nobody_starves_however_busy_the_others_are(hogs: int, starve_s: float) -> None:
    loop, waited = VirtualLoop(), []
    scheduler = Scheduler(loop, loop.now_ns, lambda *_: None, step_cost_ns=lambda _: ns(0.02), starve_s=starve_s,
                          on_starved=lambda task, waited_ns: waited.append((task.name, waited_ns)))  # fmt: skip

    async def hog(task: Task) -> None:
        async for _ in task.every(0.01, deadline_s=0.01):
            pass

    async def patient(task: Task) -> None:
        while True:
            await task.sleep(0.1)

    for i in range(hogs):
        scheduler.spawn(f"hog{i}", hog)
    last = scheduler.spawn("patient", patient, deadline_s=1000.0)
    loop.run_until(15 * NS)
    bound_ns = ns(starve_s) + (hogs + 1) * ns(0.02)
    assert last.stats.worst_latency_ns <= bound_ns
    assert last.stats.steps >= 15 * NS // (bound_ns + ns(0.12)) - 1
    assert last.stats.starved > 3
    assert [name for name, _ in waited].count("patient") == 1, "told once, until it has been well for a while"


def test_a_full_scheduler_refuses_and_takes_again() -> None:
    loop = VirtualLoop()
    scheduler = Scheduler(loop, loop.now_ns, lambda *_: None)

    async def short(task: Task) -> None:
        await task.sleep(1.0)

    for _ in range(3):
        tasks = [scheduler.spawn("short", short) for _ in range(256)]
        with pytest.raises(SchedulerFull, match="256 tasks run"):
            scheduler.spawn("one more", short)
        loop.run_until(loop.now_ns() + 2 * NS)
        assert all(task.finished.done for task in tasks)
    assert (scheduler.tasks, scheduler.refused, scheduler.totals().steps) == ([], 3, 2 * 3 * 256)
