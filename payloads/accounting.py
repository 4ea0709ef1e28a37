"""Counters of the payload manager: tiles, reasons, octets, joules, and the summary made of them.

Two sums hold at any moment. For tiles: captured = screened + dropped + pending. For jobs asked for by command:
requested = requested_done + requested_dropped + open.
"""

# Energy is a budget by the mission's mode table, not a measurement (ADR 0008): the power that the mode grants times the
# time on the node's timeline. So it is the same in every run of one seed. What the payload draws is shared in equal
# parts among the jobs that run: nothing tells which of them takes more.
#
# `energy_j` counts all joules as they are drawn. Each of them is in exactly one of three: `energy_lost_j` has those of
# attempts that ended without a product; `running_j` those of attempts that have not ended; the rest was spent on
# products, and `tile_energy_j` is its mean. A job keeps its joules over attempts, so an attempt's own share is the
# difference to what the job had at its beginning (`_begun_j`).
#
# Wall time (infer_s, pack_s) is measured and shown to a person. It must reach no decision and no telemetry: two runs of
# one seed would differ.

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from flight.contract.app import NodeState
from flight.core.nanoseconds import NS
from payloads.jobs import DELAYS, DROPS, Job, Reason
from payloads.product.answers import AnyKind

_TIMES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class ProductInfo:
    """One finished tile, for those who watch (`InferenceManager.on_product`).

    name: of its file. pixels_withheld: the mask was sent without the tile's pixels.
    """

    job: int
    tile: int
    priority: int
    app: str
    answer: AnyKind
    name: str
    octets: int
    pixels_withheld: bool
    energy_j: float
    attempts: int
    t_ns: int


@dataclass(slots=True)
class AppCounters:
    """What became of the jobs of one worker app. failed: attempts without a result."""

    done: int = 0
    failed: int = 0
    octets_product: int = 0


@dataclass(slots=True)
class Counters:
    """What has happened since boot. first_failure: its detail. by_app: by the name of the worker app."""

    captured: int = 0
    screened: int = 0
    cloudy: int = 0
    delayed: Counter[Reason] = field(default_factory=Counter)
    dropped: Counter[Reason] = field(default_factory=Counter)
    requested: int = 0
    restored: int = 0
    requested_done: int = 0
    requested_dropped: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    first_failure: str = ""
    retried: int = 0
    interrupted: int = 0
    capture_faults: int = 0
    octets_captured: int = 0
    octets_raw: int = 0
    octets_product: int = 0
    energy_j: float = 0.0
    energy_lost_j: float = 0.0
    by_app: dict[str, AppCounters] = field(default_factory=dict)
    # Wall time of inference and of packing: for the summary alone, no decision and no telemetry sees them.
    infer_s: deque[float] = field(default_factory=lambda: deque(maxlen=_TIMES_MAX))
    pack_s: deque[float] = field(default_factory=lambda: deque(maxlen=_TIMES_MAX))


class EnergyAccount:
    """Shares what the payload draws among the running jobs. `running` has a place per worker, and its owner changes it.

    The power drawn changes with the node's mode and switch. So call `accrue` before and after each change of what runs,
    and now and then in between.
    """

    def __init__(
        self,
        counters: Counters,
        running: Sequence[Job | None],
        now_ns: Callable[[], int],
        state: Callable[[], NodeState | None],
    ) -> None:
        self._counters = counters
        self._running = running
        self._now_ns = now_ns
        self._state = state
        self._drawn_w = 0.0
        self._begun_j = [0.0] * len(running)  # per worker: what its job had taken before this attempt
        self._accrued_ns = 0

    def accrue(self) -> None:
        """Share what the payload drew since the last call among the jobs that ran meanwhile."""
        now_ns = self._now_ns()
        running = [job for job in self._running if job is not None]
        if running:
            drawn_j = self._drawn_w * (now_ns - self._accrued_ns) / NS
            self._counters.energy_j += drawn_j
            for job in running:
                job.energy_j += drawn_j / len(running)
        self._accrued_ns = now_ns
        # The power from now on. Before the first state it stays 0.
        state = self._state()
        if state is not None:
            self._drawn_w = state.mode.payload_w if state.payload_on else 0.0

    def begin(self, worker: int, job: Job) -> None:
        """Begin the account of an attempt by this worker."""
        self._begun_j[worker] = job.energy_j

    def attempt_j(self, worker: int, job: Job) -> float:
        """Return the joules that this attempt has taken."""
        return job.energy_j - self._begun_j[worker]

    @property
    def running_j(self) -> float:
        """The joules taken so far by attempts that have not ended."""
        pairs = zip(self._running, self._begun_j, strict=True)
        return sum(job.energy_j - begun_j for job, begun_j in pairs if job is not None)


@dataclass(frozen=True, slots=True)
class Statistics:
    """A summary of the counters.

    delayed, dropped: by the label of the reason. failures: by what the worker did. first_failure: the detail of the
    first, "" if there was none. guards_missing: labels. Times are wall time.
    """

    captured: int
    screened: int
    cloudy: int
    dropped_total: int
    pending: int
    waiting: int
    delayed: Mapping[str, int]
    dropped: Mapping[str, int]
    requested: int
    restored: int
    requested_done: int
    requested_dropped: int
    failures: Mapping[str, int]
    first_failure: str
    retried: int
    interrupted: int
    worker_restarts: int
    hang_limit_fired: int
    guards_missing: tuple[str, ...]
    capture_faults: int
    octets_captured: int
    octets_raw: int
    octets_product: int
    energy_j: float
    energy_lost_j: float
    energy_running_j: float
    tile_energy_j: float
    by_app: Mapping[str, AppCounters]
    infer_median_ms: float
    infer_p99_ms: float
    pack_median_ms: float


def summarise(
    counters: Counters,
    *,
    pending: int,
    waiting: int,
    energy_running_j: float,
    worker_restarts: int,
    hang_limit_fired: int,
    guards_missing: tuple[str, ...] = (),
) -> Statistics:
    """Return the summary of `counters` and of what only their owner knows."""
    c = counters
    return Statistics(
        captured=c.captured,
        screened=c.screened,
        cloudy=c.cloudy,
        dropped_total=c.dropped.total(),
        pending=pending,
        waiting=waiting,
        delayed=MappingProxyType({r.label: c.delayed[r] for r in DELAYS}),
        dropped=MappingProxyType({r.label: c.dropped[r] for r in DROPS}),
        requested=c.requested,
        restored=c.restored,
        requested_done=c.requested_done,
        requested_dropped=c.requested_dropped,
        failures=MappingProxyType(dict(sorted(c.failures.items()))),
        first_failure=c.first_failure,
        retried=c.retried,
        interrupted=c.interrupted,
        worker_restarts=worker_restarts,
        hang_limit_fired=hang_limit_fired,
        guards_missing=guards_missing,
        capture_faults=c.capture_faults,
        octets_captured=c.octets_captured,
        octets_raw=c.octets_raw,
        octets_product=c.octets_product,
        energy_j=c.energy_j,
        energy_lost_j=c.energy_lost_j,
        energy_running_j=energy_running_j,
        tile_energy_j=(c.energy_j - c.energy_lost_j - energy_running_j) / c.screened if c.screened else 0.0,
        by_app=MappingProxyType({name: replace(of_app) for name, of_app in c.by_app.items()}),  # copies: these count on
        infer_median_ms=1e3 * quantile(c.infer_s, 0.5),
        infer_p99_ms=1e3 * quantile(c.infer_s, 0.99),
        pack_median_ms=1e3 * quantile(c.pack_s, 0.5),
    )


def quantile(values: deque[float], share: float) -> float:
    """Return the smallest value that at least `share` of all values do not exceed, or 0 if there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
