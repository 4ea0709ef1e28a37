"""What is counted about a task, and what telemetry says of it: counters, histograms, a frozen report."""

# Durations are kept as histograms over powers of two. A step costs one `bit_length` and one addition that way, a
# histogram has a fixed size in telemetry, and histograms of several tasks can be added up. The price is that a quantile
# is good to a factor of two; the worst cases are kept exactly beside it.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

# Bucket i counts durations in [2^(i-1), 2^i) us, bucket 0 those below 1 us, the last one all from 0.26 s on.
BUCKETS = 20


def bucket_bounds_us(bucket: int) -> tuple[int, int]:
    """Return [low, high) of a bucket. The last bucket has no upper end; its `high` is twice its `low`."""
    return (1 << bucket) >> 1, 1 << bucket  # shifted back, so that bucket 0 begins at 0


def quantile_us(histogram: Sequence[int], q: float) -> int:
    """Return the upper edge in us of the bucket in which the share `q` (0 .. 1) of all that was counted is reached.

    Returns 0 if nothing was counted. Good to a factor of two, as the buckets are.
    """
    assert 0.0 <= q <= 1.0, q
    wanted, seen = q * sum(histogram), 0
    for bucket, count in enumerate(histogram):
        seen += count
        if count and seen >= wanted:
            return bucket_bounds_us(bucket)[1]
    return 0


def _empty() -> list[int]:
    return [0] * BUCKETS


@dataclass(slots=True)
class TaskStats:
    """Counters of one task since it was spawned.

    late: ticks finished after their deadline. skipped: ticks given up. overruns: steps over the budget. starved:
    steps that waited `starve_s` or longer for their turn. worst_ns: the longest step; cpu_ns: all steps together.
    worst_latency_ns, latency: waits from being ready, or due, to the step. step: the lengths of steps.
    """

    ticks: int = 0
    late: int = 0
    skipped: int = 0
    overruns: int = 0
    starved: int = 0
    failures: int = 0
    restarts: int = 0
    cpu_ns: int = 0
    worst_ns: int = 0
    worst_latency_ns: int = 0
    latency: list[int] = field(default_factory=_empty)
    step: list[int] = field(default_factory=_empty)

    @property
    def steps(self) -> int:
        """How many steps there were: each is in the histogram."""
        return sum(self.step)

    def count_step(self, took_ns: int) -> None:
        """Count a step that took that long."""
        bucket = (took_ns // 1000).bit_length()
        self.step[bucket if bucket < BUCKETS else -1] += 1
        self.cpu_ns += took_ns
        self.worst_ns = max(self.worst_ns, took_ns)

    def count_wait(self, waited_ns: int) -> None:
        """Count a wait of so long, from being ready or due to the step."""
        bucket = (waited_ns // 1000).bit_length()
        self.latency[bucket if bucket < BUCKETS else -1] += 1
        self.worst_latency_ns = max(self.worst_latency_ns, waited_ns)

    def add(self, other: TaskStats) -> None:
        """Add the counters of `other`, and keep the worse of both worst cases."""
        self.ticks += other.ticks
        self.late += other.late
        self.skipped += other.skipped
        self.overruns += other.overruns
        self.starved += other.starved
        self.failures += other.failures
        self.restarts += other.restarts
        self.cpu_ns += other.cpu_ns
        self.worst_ns = max(self.worst_ns, other.worst_ns)
        self.worst_latency_ns = max(self.worst_latency_ns, other.worst_latency_ns)
        self.latency = [a + b for a, b in zip(self.latency, other.latency, strict=True)]
        self.step = [a + b for a, b in zip(self.step, other.step, strict=True)]


class Tick(NamedTuple):
    """One turn of a periodic task. `skipped` counts the ticks given up just before this one."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody wants of a tick
    due_ns: int
    late_ns: int
    skipped: int


@dataclass(frozen=True, slots=True)
class TaskReport:
    """One task as telemetry shows it.

    state: "waiting", "ready" (the one that runs among them) or "finished". period_ms: of its last `every`, 0 before
    the first. latency_p50_us, latency_p99_us: upper edges of histogram buckets. cpu_permille: share of the
    processor since the scheduler started. latency, step: the histograms, see BUCKETS.
    """

    name: str
    state: str
    critical: bool
    period_ms: int
    deadline_ms: int
    budget_us: int
    steps: int
    ticks: int
    late: int
    skipped: int
    overruns: int
    starved: int
    failures: int
    restarts: int
    worst_step_us: int
    worst_latency_us: int
    latency_p50_us: int
    latency_p99_us: int
    cpu_permille: int
    latency: tuple[int, ...]
    step: tuple[int, ...]

    @classmethod
    def of(
        cls,
        stats: TaskStats,
        up_ns: int,
        *,
        name: str,
        state: str,
        critical: bool,
        period_ns: int,
        deadline_ns: int,
        budget_ns: int,
    ) -> Self:
        """Make a task's report from its counters, `up_ns` (above 0) after the start, by the clock of steps."""
        return cls(
            name=name,
            state=state,
            critical=critical,
            period_ms=period_ns // 1_000_000,
            deadline_ms=deadline_ns // 1_000_000,
            budget_us=budget_ns // 1000,
            steps=stats.steps,
            ticks=stats.ticks,
            late=stats.late,
            skipped=stats.skipped,
            overruns=stats.overruns,
            starved=stats.starved,
            failures=stats.failures,
            restarts=stats.restarts,
            worst_step_us=stats.worst_ns // 1000,
            worst_latency_us=stats.worst_latency_ns // 1000,
            latency_p50_us=quantile_us(stats.latency, 0.5),
            latency_p99_us=quantile_us(stats.latency, 0.99),
            cpu_permille=stats.cpu_ns * 1000 // up_ns,
            latency=tuple(stats.latency),
            step=tuple(stats.step),
        )
