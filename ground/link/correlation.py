"""Correlation of the on-board clock with the ground's: offset and drift from time reports. Sans-IO.

A time report says what the on-board clock showed when the first bit of a certain frame left. The ground knows when that
frame came, and how long it was under way. That makes one pair of readings. A straight line through the pairs of a
window says by how much the on-board clock is ahead, and how much faster it goes:

    error(t) = on-board - ground = offset + drift * (t - reference)

    empty --`PAIRS_MIN` pairs--> fitted --`JUMP_PAIRS` outliers in a row, on a line of their own--> fitted, to these
    fitted: with `GATE_PAIRS` or more, a pair further off than `OUTLIER_SIGMA` is an outlier, counted and kept out
"""

# The fit. Some readings are wild (a frame that waited on its way), and one of them would pull a least squares line. So
# the fit starts from the median of slopes between pairs (Theil), which a quarter of wild pairs does not spoil, and goes
# on by least squares with weights from how far each pair lies off the line: Huber's, and 0 beyond `OUTLIER_SIGMA`. A
# few rounds are enough, because the start is good.
#
# A clock that was set. One outlier is an outlier; several in a row that lie on a line of their own are a clock that was
# set, on board or on the ground, and the old line is wrong. Before `GATE_PAIRS` no pair is kept out for lying far off:
# a line through few pairs is not to be trusted more than the next pair. A jump between the first pairs shows as a drift
# that no clock has.
#
# Numbers. Errors are taken relative to the newest pair and times to the middle of the window: absolute times in
# nanoseconds need 61 bits, and a double has 53. Scatter is never below the resolution of the time code, so that pairs
# that lie on a line by chance do not make a gate that nothing passes.
#
# A node reports its time at most once per second: pairs closer than `SPACING_MIN_NS` on the ground were held up on
# their way and are refused. A line whose drift is less certain than a clock can drift says nothing: `now` is None until
# more is known.

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import sqrt
from statistics import median

from flight.core.nanoseconds import NS

WINDOW_PAIRS = 64
PAIRS_MIN = 3
GATE_PAIRS = 8
JUMP_PAIRS = 3
FRAMES_KEPT = 64  # frames that a time report may still name; a quarter of the count's range
OUTLIER_SIGMA = 6.0
SPACING_MIN_NS = 500_000_000
SIGMA_USABLE_NS = NS
_SCATTER_MIN_NS = 15_000.0  # the resolution of the time code: no pair is better than that
_DRIFT_MAX_PPB = 2_000_000.0  # a clock that is further off than this did not drift, it was set
_HUBER = 1.345  # standard deviations up to which a pair has full weight: 95 % efficient for normal scatter
_ROUNDS = 4
_MAD = 1.4826  # median deviation to standard deviation, for a normal distribution
_COUNT = 256
_HALF_STEP_NS = 7_629  # the time code is rounded down to 2^-16 s: on average by half of that


@dataclass(frozen=True, slots=True)
class Pair:
    """The same instant by both clocks, ns of TAI since 1958."""

    ground_ns: int
    onboard_ns: int

    @property
    def error_ns(self) -> int:
        """By how much the on-board clock is ahead, ns."""
        return self.onboard_ns - self.ground_ns


@dataclass(frozen=True, slots=True)
class Correlation:
    """The on-board clock is `offset_ns` ahead at `reference_ns` (ground time) and gains `drift_ppb` ns per second.

    `offset_sigma_ns` and `drift_sigma_ppb` are standard deviations, from the scatter of the pairs about the line.
    `pairs` is how many the line was fitted to.
    """

    reference_ns: int
    offset_ns: float
    drift_ppb: float
    offset_sigma_ns: float
    drift_sigma_ppb: float
    scatter_ns: float
    pairs: int

    def error_ns(self, ground_ns: int) -> float:
        """Return by how much the on-board clock is ahead at `ground_ns`."""
        return self.offset_ns + self.drift_ppb * (ground_ns - self.reference_ns) / NS

    def sigma_ns(self, ground_ns: int) -> float:
        """Return the standard deviation of `error_ns`. It grows with the distance from the pairs."""
        return sqrt(self.offset_sigma_ns**2 + (self.drift_sigma_ppb * (ground_ns - self.reference_ns) / NS) ** 2)

    def tells(self, ground_ns: int) -> bool:
        """Return whether `error_ns` is worth more at `ground_ns` than to take the clocks for equal."""
        sigma_ns = self.sigma_ns(ground_ns)
        return sigma_ns <= SIGMA_USABLE_NS or abs(self.error_ns(ground_ns)) > OUTLIER_SIGMA * sigma_ns

    def samples(self, ground_ns: int) -> dict[str, tuple[float, str]]:
        """Return what is worth keeping of it at `ground_ns`: value and unit by name."""
        return {
            "offset_us": (self.error_ns(ground_ns) / 1e3, "us"),
            "offset_sigma_us": (self.sigma_ns(ground_ns) / 1e3, "us"),
            "drift_ppb": (self.drift_ppb, "ppb"),
            "drift_sigma_ppb": (self.drift_sigma_ppb, "ppb"),
            "scatter_us": (self.scatter_ns / 1e3, "us"),
            "pairs": (self.pairs, ""),
        }


@dataclass(slots=True)
class CorrelationCounters:
    """What became of the time reports.

    `pairs` that came; `unmatched` reports whose frame was not received; `outliers`; `crowded` pairs, too close behind
    another; `jumps` of the on-board clock.
    """

    pairs: int = 0
    unmatched: int = 0
    outliers: int = 0
    crowded: int = 0
    jumps: int = 0


class Correlator:
    """See the head of the file. `now` is the newest correlation, None if the pairs do not tell one."""

    def __init__(self, window_pairs: int = WINDOW_PAIRS) -> None:
        assert window_pairs >= PAIRS_MIN, window_pairs
        self.counters = CorrelationCounters()
        self.now: Correlation | None = None
        self._pairs: deque[Pair] = deque(maxlen=window_pairs)
        self._suspects: deque[Pair] = deque(maxlen=JUMP_PAIRS)
        self._frames: dict[int, int] = {}  # when the frame of each count left, the oldest first
        self._last_ns: int | None = None  # ground time of the last pair that was not refused

    def on_frame(self, count: int, left_ns: int) -> None:
        """Note a frame of the real-time channel: its count, and when its first bit left, in ground time."""
        self._frames.pop(count, None)  # so that it comes last in the order
        self._frames[count] = left_ns
        if len(self._frames) > FRAMES_KEPT:
            # An old frame must go before its count comes round: a report of a lost frame would be matched with it.
            del self._frames[next(iter(self._frames))]

    def on_report(self, count: int, onboard_ns: int) -> Correlation | None:
        """Take a time report, of the frame `count` and the on-board time then; return the new correlation, if any."""
        left_ns = self._frames.pop(count % _COUNT, None)
        if left_ns is None:
            self.counters.unmatched += 1
            return None
        return self.take(Pair(left_ns, onboard_ns + _HALF_STEP_NS))

    def restart(self) -> None:
        """Forget the frames: the node was restarted, and reports to come are of frames with other counts."""
        self._frames.clear()

    def take(self, pair: Pair) -> Correlation | None:
        """Count a pair in; return the correlation that it leads to, None if it is refused or one of too few."""
        self.counters.pairs += 1
        if self._last_ns is not None and 0 <= pair.ground_ns - self._last_ns < SPACING_MIN_NS:
            self.counters.crowded += 1
            return None
        self._last_ns = pair.ground_ns
        if self._pairs and pair.ground_ns <= self._pairs[-1].ground_ns:
            self.counters.outliers += 1  # not after the one before: the ground's own clock was set
            return self._suspect(pair)
        if self.now is not None and len(self._pairs) >= GATE_PAIRS:
            limit_ns = OUTLIER_SIGMA * sqrt(self.now.scatter_ns**2 + self.now.sigma_ns(pair.ground_ns) ** 2)
            if abs(pair.error_ns - self.now.error_ns(pair.ground_ns)) > limit_ns:
                self.counters.outliers += 1
                return self._suspect(pair)
        self._suspects.clear()
        self._pairs.append(pair)
        return self._fit()

    def _suspect(self, pair: Pair) -> Correlation | None:
        """Keep an outlier beside; with enough of them in a row on a line of their own, fit to these instead."""
        if self._suspects and pair.ground_ns <= self._suspects[-1].ground_ns:
            self._suspects.clear()
        self._suspects.append(pair)
        if len(self._suspects) < JUMP_PAIRS:
            return None
        suspects = list(self._suspects)
        scatter_ns = self.now.scatter_ns if self.now is not None else _SCATTER_MIN_NS
        if _bend_ns(suspects, _slope_ppb(suspects)) > OUTLIER_SIGMA * scatter_ns:
            return None
        self.counters.jumps += 1
        self.counters.outliers -= JUMP_PAIRS  # they were right, the line was not
        self._pairs.clear()
        self._pairs.extend(self._suspects)
        self._suspects.clear()
        self.now = None
        return self._fit()

    def _fit(self) -> Correlation | None:
        if len(self._pairs) < PAIRS_MIN:
            return None
        fitted = fit(list(self._pairs))
        if abs(fitted.drift_ppb) > _DRIFT_MAX_PPB + OUTLIER_SIGMA * fitted.drift_sigma_ppb:
            # The clock was set between the first few pairs: the newest counts.
            self.counters.jumps += 1
            newest = self._pairs[-1]
            self._pairs.clear()
            self._pairs.append(newest)
            self.now = None
            return None
        self.now = fitted if fitted.drift_sigma_ppb <= _DRIFT_MAX_PPB else None
        return self.now


def fit(pairs: list[Pair]) -> Correlation:
    """Return the line through at least three pairs at different times. The reference is the middle of the window."""
    assert len(pairs) >= PAIRS_MIN, len(pairs)
    reference_ns = (pairs[0].ground_ns + pairs[-1].ground_ns) // 2
    base_ns = pairs[-1].error_ns  # so that doubles keep their nanoseconds
    times = [(p.ground_ns - reference_ns) / NS for p in pairs]
    errors = [float(p.error_ns - base_ns) for p in pairs]
    slope = _slope_ppb(pairs)
    middle = median(e - slope * t for t, e in zip(times, errors, strict=True))
    weights = [1.0] * len(pairs)
    for _ in range(_ROUNDS):
        residuals = [e - middle - slope * t for t, e in zip(times, errors, strict=True)]
        scatter = max(_MAD * median(map(abs, residuals)), _SCATTER_MIN_NS)
        weights = [_weight(abs(r) / scatter) for r in residuals]
        slope, middle = _weighted(times, errors, weights)
    residuals = [e - middle - slope * t for t, e in zip(times, errors, strict=True)]
    total = sum(weights)
    mean = sum(w * t for w, t in zip(weights, times, strict=True)) / total
    spread = sum(w * (t - mean) ** 2 for w, t in zip(weights, times, strict=True))
    used = sum(w > 0 for w in weights)
    free = max(used - 2, 1)  # degrees of freedom: the line itself takes two
    # Few pairs tell little of their own scatter: they may lie on a line by chance.
    scatter = sqrt(sum(w * r * r for w, r in zip(weights, residuals, strict=True)) / free)
    scatter = (1 + 2 / free) * max(scatter, _SCATTER_MIN_NS)
    return Correlation(
        reference_ns, base_ns + middle, slope,
        scatter * sqrt(1 / total + mean * mean / spread), scatter / sqrt(spread), scatter, used,
    )  # fmt: skip


def _weighted(times: list[float], errors: list[float], weights: list[float]) -> tuple[float, float]:
    """Return slope and value at 0 of the weighted least squares line."""
    total = sum(weights)
    mean_t = sum(w * t for w, t in zip(weights, times, strict=True)) / total
    mean_e = sum(w * e for w, e in zip(weights, errors, strict=True)) / total
    spread = sum(w * (t - mean_t) ** 2 for w, t in zip(weights, times, strict=True))
    slope = sum(
        w * (t - mean_t) * (e - mean_e) for w, t, e in zip(weights, times, errors, strict=True)
    ) / spread  # fmt: skip
    return slope, mean_e - slope * mean_t


def _weight(deviation: float) -> float:
    """Return the weight of a pair that lies `deviation` standard deviations off: Huber's, and 0 for a wild one."""
    if deviation > OUTLIER_SIGMA:
        return 0.0
    return 1.0 if deviation <= _HUBER else _HUBER / deviation


def _slope_ppb(pairs: list[Pair]) -> float:
    """Return the median of the slopes from each pair to the one half a window on (Theil).

    It is right as long as three quarters of the pairs are.
    """
    half = len(pairs) // 2
    return median(
        NS * (b.error_ns - a.error_ns) / (b.ground_ns - a.ground_ns) for a, b in zip(pairs, pairs[half:], strict=False)
    )


def _bend_ns(pairs: list[Pair], slope_ppb: float) -> float:
    """Return the largest deviation from the line with that slope through the middle of the pairs."""
    first = pairs[0]
    residuals = [p.error_ns - first.error_ns - slope_ppb * (p.ground_ns - first.ground_ns) / NS for p in pairs]
    middle = median(residuals)
    return max(abs(r - middle) for r in residuals)
