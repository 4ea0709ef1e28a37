"""The scheduler on a host that does all that a real one may do, and some that none should: nobody is forgotten.

The clock of this host moves on at every look, now and then by a long way, for the processor may be taken away between
any two lines. Its calls come early, late, at their time, twice, or in spite of having been cancelled.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.core.nanoseconds import NS
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from tests.executive_load import ExecutiveLoad, WatchedHost, unwoken

CALLS = 1500


@dataclass(slots=True)
class HostileTimer:
    call: Callable[[], None]
    times: int = 1  # how often it will still be made
    stubborn: bool = False  # comes though it was cancelled
    made: bool = False  # once already: what is left of it is the host's doing

    def cancel(self) -> None:
        if not self.stubborn:
            self.times = 0


@dataclass(slots=True)
class HostileHost:
    """Shares are of all calls, or of all looks at the clock."""

    random: Random
    early_frac: float = 0.0
    late_frac: float = 0.0
    twice_frac: float = 0.0
    stubborn_frac: float = 0.0
    look_ns: int = 100
    jump_frac: float = 0.0
    t_ns: int = 1_000_000
    order: int = 0
    heap: list[tuple[int, int, HostileTimer]] = field(default_factory=list)

    def now_ns(self) -> int:
        self.t_ns += self.random.randrange(self.look_ns + 1)
        if self.random.random() < self.jump_frac:
            self.t_ns += self.random.randrange(20_000_000)
        return self.t_ns

    def call_at(self, t_ns: int, call: Callable[[], None]) -> HostileTimer:
        draw = self.random.random
        timer = HostileTimer(call, 1 + (draw() < self.twice_frac), draw() < self.stubborn_frac)
        if draw() < self.early_frac:
            t_ns -= self.random.choice((1, 500, 100_000))
        elif draw() < self.late_frac:
            t_ns += self.random.choice((1, 500, 100_000, 5_000_000))
        self.order += 1
        heapq.heappush(self.heap, (t_ns, self.order, timer))
        return timer

    def make_next_call(self) -> bool:
        """False when nothing is to come, ever."""
        while self.heap:
            t_ns, _, timer = heapq.heappop(self.heap)
            if not timer.times:
                continue
            timer.times -= 1
            timer.made = True
            if timer.times:
                self.order += 1
                heapq.heappush(self.heap, (t_ns + self.random.choice((0, 300, 1_000_000)), self.order, timer))
            self.t_ns = max(self.t_ns, t_ns)  # a call that comes early comes before the clock shows its time
            timer.call()
            return True
        return False


fracs = st.sampled_from((0.0, 0.05, 0.5, 1.0))


def own_clock(host: HostileHost, offset_ns: int, rate: float) -> Callable[[], int]:
    """A clock of processor time that has nothing to do with the host's: another zero, another rate."""
    return lambda: round(host.t_ns * rate) + offset_ns


@given(
    st.integers(0, 2**32), fracs, fracs, st.sampled_from((0.0, 0.05, 0.5)), st.sampled_from((0.0, 0.05, 0.5)),
    st.sampled_from((0, 1, 1000, 100_000)), st.sampled_from((0.0, 0.01)), st.sampled_from((-(10**15), -1000, 0, NS)),
    st.sampled_from((0.001, 1.0, 3.0)),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_no_task_that_is_due_is_left_without_a_wake_up(  # noqa: PLR0917 - hypothesis gives them
    seed: int, early: float, late: float, twice: float, stubborn: float, look_ns: int, jump: float, offset_ns: int,
    rate: float,
) -> None:  # fmt: skip
    random = Random(seed)
    hostile = HostileHost(random, early, late, twice, stubborn, look_ns, jump)
    host = WatchedHost(hostile)
    failures: list[BaseException] = []
    scheduler = Scheduler(host, own_clock(hostile, offset_ns, rate), lambda _, error: failures.append(error))
    load = ExecutiveLoad(scheduler, random)
    begin_ns = hostile.t_ns
    for _ in range(CALLS):
        assert hostile.make_next_call(), "the loop went dry"
        assert not (who := unwoken(scheduler, host)), who
    assert not failures, failures
    assert not load.missing()
    # Nothing piles up either: every call that comes without need takes its own place, no more. Repeats are the host's,
    # and pile up while its clock stands still.
    assert sum(timer.times > 0 and not timer.made for _, _, timer in hostile.heap) <= 64
    hostile.t_ns = max(hostile.t_ns, begin_ns + NS)
    last = dict(load.indices)
    for _ in range(20 * CALLS):
        if all(load.indices.get(task.name, -1) > last.get(task.name, -1) for task in load.tickers):
            break
        hostile.make_next_call()
    else:
        pytest.fail(f"tickers stand: {last} {load.indices}")
    scheduler.close()


def test_a_call_a_moment_before_its_time_is_no_end() -> None:
    """The clock moves on by up to a microsecond at each look, and the host calls half a microsecond early each time."""
    hostile = HostileHost(Random(1), look_ns=1000)
    scheduler = Scheduler(hostile, hostile.now_ns, lambda *_: None)
    ticks: list[int] = []

    async def body(task: Task) -> None:
        async for tick in task.every(0.1):
            ticks.append(tick.index)

    scheduler.spawn("t", body)
    for _ in range(1000):
        assert hostile.heap, f"the loop went dry after {len(ticks)} ticks"
        t_ns, _, timer = heapq.heappop(hostile.heap)
        hostile.t_ns = max(hostile.t_ns, t_ns - 500)
        if timer.times:
            timer.call()
    assert ticks == list(range(len(ticks))) and len(ticks) > 300
