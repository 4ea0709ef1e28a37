"""Correlation: the line is found within its own uncertainty, wild readings are left out, a set clock is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from flight.core.nanoseconds import NS, ns
from ground.link.correlation import FRAMES_KEPT, PAIRS_MIN, WINDOW_PAIRS, Correlation, Correlator, Pair, fit
from ground.link.tm_tc_session import GroundSession
from ground.station import GroundStation
from tests.ground_dictionary import make
from tests.link_ends import BARE

T0 = 2_152_000_000 * NS


def feed(
    correlator: Correlator,
    times_s: Iterable[float],
    offset_ns: int,
    drift_ppb: float,
    noise: Callable[[], float] = lambda: 0.0,
) -> Correlation | None:
    """Pairs of a clock that is `offset_ns` ahead at T0; returns the last correlation."""
    made = None
    for t_s in times_s:
        t_ns = ns(t_s)
        error = offset_ns + drift_ppb * t_ns / NS + noise()
        made = correlator.take(Pair(T0 + t_ns, T0 + t_ns + round(error)))
    return made


@given(
    offset_ns=st.integers(-(10**17), 10**17),
    drift_ppb=st.integers(-500_000, 500_000),
    noise_us=st.floats(1, 5_000),
    pairs=st.integers(10, 80),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60)
def test_offset_and_drift_are_found_within_the_uncertainty_that_is_told(
    offset_ns: int, drift_ppb: int, noise_us: float, pairs: int, seed: int
) -> None:
    random = Random(seed)
    correlator = Correlator()
    feed(correlator, [10.0 * i for i in range(pairs)], offset_ns, drift_ppb, lambda: random.gauss(0, noise_us * 1e3))
    made, last_ns = correlator.now, T0 + 10 * NS * (pairs - 1)
    assert made is not None and PAIRS_MIN <= made.pairs <= WINDOW_PAIRS
    assert abs(made.drift_ppb - drift_ppb) <= 6 * made.drift_sigma_ppb
    assert abs(made.error_ns(last_ns) - (offset_ns + drift_ppb * 10.0 * (pairs - 1))) <= 6 * made.sigma_ns(last_ns)
    # The uncertainty is not an excuse: with so many pairs it is of the order of the noise.
    assert made.sigma_ns(last_ns) <= 4e3 * noise_us + 30_000


@given(seed=st.integers(0, 2**32), wild=st.floats(0.5, 1e6))
@settings(max_examples=30)
def test_wild_readings_change_nothing(seed: int, wild: float) -> None:
    random = Random(seed)
    clean, disturbed = Correlator(), Correlator()
    for i in range(60):
        pair = Pair(T0 + i * NS, T0 + i * NS + 5000 + round(random.gauss(0, 100_000)))
        clean.take(pair)
        disturbed.take(pair if i < 10 or i % 5 != 3 else Pair(pair.ground_ns, pair.onboard_ns + ns(wild)))
    assert clean.now is not None and disturbed.now is not None
    end_ns = T0 + 60 * NS
    assert abs(clean.now.error_ns(end_ns) - disturbed.now.error_ns(end_ns)) < 6 * disturbed.now.sigma_ns(end_ns)
    assert disturbed.counters.jumps == 0
    assert disturbed.counters.outliers + disturbed.now.pairs <= 60


def test_a_clock_that_was_set_starts_anew_and_is_counted_once() -> None:
    correlator = Correlator()
    feed(correlator, range(0, 100, 5), 0, 2_000)
    assert feed(correlator, (100, 105), 3 * NS, 2_000) is None
    made = feed(correlator, (110,), 3 * NS, 2_000)
    assert made is not None and made.pairs == PAIRS_MIN
    assert abs(made.error_ns(T0 + 110 * NS) - (3 * NS + 220_000)) < 1000
    assert (correlator.counters.jumps, correlator.counters.outliers) == (1, 0)


def test_a_clock_set_before_there_was_a_line_is_no_drift() -> None:
    correlator = Correlator()
    feed(correlator, (0, 5), 0, 0)
    assert feed(correlator, (10,), 1000 * NS, 0) is None
    made = feed(correlator, (15, 20), 1000 * NS, 0)
    assert made is not None and abs(made.drift_ppb) < 1
    assert correlator.counters.jumps == 1


def test_the_window_forgets_and_stays_bounded() -> None:
    correlator = Correlator(8)
    feed(correlator, range(100), 0, 1_000)
    made = feed(correlator, range(100, 120), 20_000, 800)  # ages: the clock's rate changes slowly
    assert made is not None and made.pairs == 8
    assert abs(made.drift_ppb - 800) < 10


def test_reports_of_frames_that_were_not_received_make_no_pair() -> None:
    correlator = Correlator()
    for count in range(FRAMES_KEPT + 6):
        correlator.on_frame(count, T0 + count)
    assert correlator.on_report(5, T0) is None  # a whole window ago
    assert correlator.on_report(200, T0) is None
    assert correlator.on_report(69, T0) is None  # the first pair makes no line yet
    correlator.restart()
    assert correlator.on_report(68, T0) is None
    assert (correlator.counters.unmatched, correlator.counters.pairs) == (3, 1)


def test_a_step_of_the_grounds_own_clock_back_starts_anew() -> None:
    correlator = Correlator()
    feed(correlator, range(100, 200, 10), 0, 0)
    made = feed(correlator, (50, 60, 70), 0, 0)
    assert made is not None and correlator.counters.jumps == 1


def test_times_far_from_zero_keep_their_microseconds() -> None:
    pairs = [Pair(T0 + i * NS, T0 + i * NS + 40 * 365 * 86_400 * NS + i) for i in range(5)]
    made = fit(pairs)
    assert abs(made.error_ns(T0) - 40 * 365 * 86_400 * NS) < 1000
    assert abs(made.drift_ppb - 1) < 0.1


@given(gaps_ns=st.lists(st.integers(1, 3_000_000), min_size=3, max_size=20), before=st.sampled_from([0, 1, 20]))
def test_reports_that_were_held_up_and_come_in_a_burst_make_no_line(gaps_ns: list[int], before: int) -> None:
    correlator = Correlator()
    feed(correlator, range(-before, 0), 0, 0)
    known, ground_ns = correlator.now, T0 + 60 * NS
    for i, gap_ns in enumerate(gaps_ns):
        ground_ns += gap_ns
        correlator.take(Pair(ground_ns, T0 + i * NS))
    assert correlator.now == known and correlator.counters.crowded == len(gaps_ns) - 1
    assert correlator.counters.jumps == 0


def test_there_is_no_line_while_its_drift_could_be_anything() -> None:
    correlator = Correlator()
    for t_s, late_ns in ((0, 0), (1, 30_000_000), (2, 0), (3, 30_000_000)):
        made = correlator.take(Pair(T0 + t_s * NS + late_ns, T0 + t_s * NS))
    assert (made, correlator.now) == (None, None)
    feed(correlator, range(4, 40), 0, 0)
    made = correlator.now
    assert made is not None and abs(made.error_ns(T0 + 100 * NS)) < 1e6


def test_a_line_tells_nothing_where_its_uncertainty_has_grown_beyond_what_it_says() -> None:
    uncertain = Correlation(T0, 0.0, 1000.0, 1e6, 1e6, 1e6, 3)
    assert uncertain.tells(T0 + 100 * NS) and not uncertain.tells(T0 + 10_000 * NS)
    assert Correlation(T0, 3600e9, 1000.0, 1e6, 1e6, 1e6, 3).tells(T0 + 10_000 * NS)
    station = GroundStation(make(), GroundSession(BARE), epoch_tai_ns=T0)
    station.correlator.now = uncertain
    assert station.onboard_clock(50 * NS).onboard_ns == T0 + 50 * NS + 50_000
    assert station.onboard_clock(10_000 * NS).onboard_ns == T0 + 10_000 * NS
