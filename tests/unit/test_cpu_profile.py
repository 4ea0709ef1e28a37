"""The CPU profile: drawing, writing and reading back, every malformed file refused with its reason; and a node's
steps taking virtual time from it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.core.errors import SetupError
from flight.core.nanoseconds import NS, ns
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.core.task_stats import BUCKETS
from sim_hw.machine.cpu_profile import ANY_TASK, FORMAT, CpuProfile
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop
from sim_hw.machine.platform import SimPlatform
from sim_hw.world.world import World, WorldConfig


def profile(**tasks: Sequence[Sequence[float]]) -> CpuProfile:
    entries = {name: {"steps": 1, "us": us} for name, us in tasks.items()}
    return CpuProfile.decode(json.dumps({"format": FORMAT, "machine": "bench", "tasks": entries}).encode())


def run(cpu: CpuProfile | None, duration_s: float = 10.0, seed: int = 1) -> tuple[Scheduler, list[int]]:
    """A task at 10 Hz beside one that is ready at the same moments; when the second had its steps."""
    loop = VirtualLoop()
    platform = SimPlatform("n", loop, World(WorldConfig()), Disk(Random(1)), Random(seed), cpu=cpu)
    starved: list[str] = []
    scheduler = Scheduler(platform, platform.cpu_ns, lambda *_: None, step_cost_ns=platform.step_cost_ns,
                          on_starved=lambda task, _: starved.append(task.name), starve_s=2.0)  # fmt: skip
    steps: list[int] = []

    async def work(task: Task) -> None:
        async for _ in task.every(0.1, deadline_s=0.05):
            pass

    async def watch(task: Task) -> None:
        async for _ in task.every(0.1, phase_s=0.1 - loop.now_ns() / NS, deadline_s=10.0):
            steps.append(loop.now_ns())

    scheduler.spawn("work", work, budget_s=0.015)
    scheduler.spawn("watch", watch, budget_s=0.015)
    loop.run_until(ns(duration_s))
    return scheduler, steps


def test_a_step_takes_its_cost_and_the_next_one_starts_after_it() -> None:
    scheduler, steps = run(profile(work=[[0, 10_000], [1, 10_000]]))
    work, watch = scheduler.report()
    assert steps == [ns(0.1) * i + ns(0.010) for i in range(1, 100)]
    # One step before the first of 101 ticks.
    assert (work.worst_step_us, work.overruns, work.late, work.cpu_permille) == (10_000, 0, 0, 102)
    assert (watch.worst_step_us, watch.latency_p50_us, watch.worst_latency_us) == (0, 16_384, 20_000)


def test_overruns_lateness_and_skips_come_from_the_profile_and_the_seed_alone() -> None:
    cpu = profile(work=[[0, 5_000], [0.8, 20_000], [1, 450_000]])
    first, second, other = (run(cpu, 60.0, seed)[0].totals() for seed in (1, 1, 2))
    assert first == second != other
    assert min(first.overruns, first.late, first.skipped) > 0
    assert first.worst_ns <= ns(0.45)


def test_a_task_that_takes_all_the_time_does_not_starve_the_other() -> None:
    scheduler, steps = run(profile(work=[[0, 300_000], [1, 300_000]]), 60.0)
    assert len(steps) > 20
    assert scheduler.report()[1].worst_latency_us <= 2_000_000 + 300_000


def test_without_a_profile_steps_take_no_time() -> None:
    scheduler, steps = run(None)
    assert steps == [ns(0.1) * i for i in range(1, 101)]
    assert scheduler.totals().cpu_ns == 0


def test_a_task_without_entry_takes_that_of_any_task_or_nothing() -> None:
    random = Random(1)
    assert profile(a=[[0, 7], [1, 7]]).draw_ns("b", random) == 0
    assert profile(**{"a": [[0, 7], [1, 7]], ANY_TASK: [[0, 9], [1, 9]]}).draw_ns("b", random) == 9_000


@given(st.integers(0, 2**32))
def test_draws_follow_the_points(seed: int) -> None:
    made, random = profile(a=[[0, 10], [0.5, 20], [0.9, 20], [1, 120]]), Random(seed)
    assert 10_000 <= made.draw_ns("a", random) <= 120_000
    cost = made.tasks["a"]
    assert [cost.at_ns(share) for share in (0.0, 0.25, 0.5, 0.7, 0.95, 1.0)] == [10_000, 15_000, 20_000, 20_000, 70_000,
                                                                                120_000]  # fmt: skip


histograms = st.lists(st.integers(0, 1000), min_size=BUCKETS, max_size=BUCKETS)


@given(histograms, histograms, st.integers(0, 10**6))
def test_a_profile_of_a_run_reads_back_and_keeps_its_distribution(a: list[int], b: list[int], worst_us: int) -> None:
    report = run(None, 0.0)[0].report()[0]
    fields = {name: getattr(report, name) for name in report.__slots__} | {"worst_step_us": worst_us}
    reports = [type(report)(**fields | {"name": name, "step": tuple(one)}) for name, one in (("a", a), ("b", b))]
    if not any(a + b):
        with pytest.raises(ValueError, match="no task has run"):
            CpuProfile.from_reports("bench", reports)
        return
    made = CpuProfile.from_reports("bench", reports)
    assert CpuProfile.decode(made.encode()) == made
    assert made.tasks[ANY_TASK].steps == sum(a) + sum(b)
    for name, histogram in (("a", a), ("b", b)):
        if any(histogram):
            seen = 0
            for bucket, count in enumerate(histogram[:-1]):
                seen += count
                if count and any(histogram[bucket + 1 :]):
                    assert made.tasks[name].at_ns(seen / sum(histogram)) == pytest.approx(1000 << bucket, rel=1e-6)


GOOD: dict[str, object] = {"format": FORMAT, "machine": "m", "tasks": {"a": {"steps": 1, "us": [[0, 1], [1, 2]]}}}


def with_us(us: object) -> dict[str, object]:
    return GOOD | {"tasks": {"a": {"steps": 1, "us": us}}}


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ([], r"the file is \[\], should be an object"),
        ({}, f"format is null, should be '{FORMAT}'"),
        (GOOD | {"format": "orbitnode-cpu-profile/2"}, f"should be '{FORMAT}'"),
        (GOOD | {"machine": 3}, "machine is 3, should be a text"),
        (GOOD | {"tasks": 3}, "tasks is 3, should be an object"),
        (GOOD | {"tasks": {}}, "tasks has 0 entries, should have 1 .. 1024"),
        (GOOD | {"tasks": {"a": 3}}, "tasks.a is 3, should be an object"),
        (GOOD | {"tasks": {"a": {"steps": -1, "us": []}}}, "tasks.a.steps is -1"),
        (GOOD | {"tasks": {"a": {"steps": 1, "us": [], "ms": 1}}}, "tasks.a has ms, should have steps and us"),
        (with_us([[0, 1]]), "2 .. 256 pairs"),
        (with_us([[0, 1], [1, -2]]), r"tasks.a.us\[1\] is \[1, -2\], should be \[share 0 .. 1, microseconds"),
        (with_us([[0, 1], [1, float("nan")]]), r"tasks.a.us\[1\]"),
        (with_us([[0, 1], [1]]), r"tasks.a.us\[1\]"),
        (with_us([[0, 1], "ab"]), r"tasks.a.us\[1\]"),
        (with_us([[0.1, 1], [1, 2]]), "shares 0.1 .. 1, should have 0 .. 1"),
        (with_us([[0, 1], [0.5, 2], [0.5, 3], [1, 4]]), "should rise"),
        (with_us([[0, 3], [1, 2]]), "should rise"),
    ],
)
def test_a_malformed_file_is_refused_with_its_reason(tmp_path: Path, document: object, text: str) -> None:
    path = tmp_path / "cpu.json"
    path.write_text(json.dumps(document))
    with pytest.raises(SetupError, match=f"CPU profile {path}: .*{text}"):
        CpuProfile.load(path)


def test_a_file_that_is_not_there_or_not_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cpu.json"
    with pytest.raises(SetupError, match="No such file"):
        CpuProfile.load(path)
    for octets in (b"", b"\xff\xfe", b"{", b"[" * 100_000):
        path.write_bytes(octets)
        with pytest.raises(SetupError, match="is not JSON"):
            CpuProfile.load(path)
    path.write_bytes(b" " * 1_000_001)
    with pytest.raises(SetupError, match="more than"):
        CpuProfile.load(path)


@given(st.binary(max_size=60))
def test_any_octets_are_read_or_refused(octets: bytes) -> None:
    with pytest.raises(ValueError):
        CpuProfile.decode(octets)
