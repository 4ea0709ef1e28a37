"""Orbit, Sun, shadow and passes against the tabled first orbit and textbook examples."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from flight.core.config import Fault, read_table
from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS, ns
from sim_hw.world.orbit import (
    AU_KM,
    EARTH_RADIUS_KM,
    SPEED_OF_LIGHT_KM_S,
    Orbit,
    OrbitConfig,
    StationConfig,
    _Site,
    parse_utc,
    windows_above,
)
from sim_hw.world.world import SVALBARD, TROLL

MINUTE_NS = 60_000_000_000


@pytest.fixture(scope="module")
def orbit() -> Orbit:
    return Orbit(OrbitConfig())


def at(orbit: Orbit, moment: str) -> int:
    """Virtual time of a moment of UTC; may lie before the run."""
    utc = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    return round((utc - orbit.start_utc).total_seconds()) * NS


def minutes(t_ns: int) -> float:
    return round(t_ns / MINUTE_NS, 1)


def test_passes_of_the_first_orbit(orbit: Orbit) -> None:
    (north,) = orbit.passes(SVALBARD, 0, 95 * MINUTE_NS)
    (south,) = orbit.passes(TROLL, 0, 95 * MINUTE_NS)
    assert (minutes(north.start_ns), minutes(north.end_ns)) == (15.5, 24.5)
    assert (minutes(south.start_ns), minutes(south.end_ns)) == (71.0, 80.7)
    assert north.start_ns < north.peak_ns < north.end_ns
    assert 5.0 < north.peak_elevation_deg < 90.0


def test_eclipse_of_the_first_orbit(orbit: Orbit) -> None:
    (eclipse,) = orbit.eclipses(0, 95 * MINUTE_NS)
    assert eclipse.umbra is not None
    # The table's edges are those of a cylindrical shadow, which lie inside the penumbra.
    assert eclipse.start_ns < 28.9 * MINUTE_NS < eclipse.umbra[0] < eclipse.umbra[1] < 63.5 * MINUTE_NS
    assert eclipse.end_ns == pytest.approx(63.5 * MINUTE_NS, abs=6e9)
    assert 5e9 < eclipse.umbra[0] - eclipse.start_ns < 15e9


def test_edges_are_good_to_a_millisecond(orbit: Orbit) -> None:
    (one,) = orbit.passes(SVALBARD, 0, 95 * MINUTE_NS)
    for edge in (one.start_ns, one.end_ns):
        before = orbit.elevation_deg(SVALBARD, edge - 1_000_000) - 5.0
        after = orbit.elevation_deg(SVALBARD, edge) - 5.0
        assert before * after <= 0.0
    (eclipse,) = orbit.eclipses(0, 95 * MINUTE_NS)
    assert orbit.sun_frac(eclipse.start_ns - 2_000_000) == 1.0
    assert orbit.sun_frac(eclipse.start_ns + 10_000_000) < 1.0
    assert eclipse.umbra is not None
    assert orbit.sun_frac(eclipse.umbra[0] + 2_000_000) == 0.0


def test_penumbra_falls_from_one_to_nothing(orbit: Orbit) -> None:
    (eclipse,) = orbit.eclipses(0, 95 * MINUTE_NS)
    assert eclipse.umbra is not None
    steps = range(eclipse.start_ns, eclipse.umbra[0], 100_000_000)
    shares = [orbit.sun_frac(t) for t in steps]
    assert all(a >= b for a, b in pairwise(shares))
    assert shares[0] > 0.999
    assert shares[-1] < 0.01
    middle = shares[len(shares) // 2]
    assert 0.4 < middle < 0.6


def test_a_pass_under_way_is_cut_at_the_span(orbit: Orbit) -> None:
    (one,) = orbit.passes(SVALBARD, 20 * MINUTE_NS, 22 * MINUTE_NS)
    assert (one.start_ns, one.end_ns) == (20 * MINUTE_NS, 22 * MINUTE_NS)
    assert orbit.passes(SVALBARD, 30 * MINUTE_NS, 30 * MINUTE_NS) == []


def test_every_window_of_95_minutes_has_contact(orbit: Orbit) -> None:
    for k in range(16):
        start = k * 95 * MINUTE_NS
        found = [p for s in (SVALBARD, TROLL) for p in orbit.passes(s, start, start + 95 * MINUTE_NS)]
        assert sum(p.end_ns - p.start_ns for p in found) >= 7.5 * MINUTE_NS


def test_sidereal_time_of_the_textbook(orbit: Orbit) -> None:
    """Vallado, Fundamentals of Astrodynamics and Applications, example 3-5: 152.578 787 81 degrees."""
    t_ns = at(orbit, "1992-08-20T12:14")
    assert math.degrees(orbit.gmst_rad(t_ns)) == pytest.approx(152.578_787_81, abs=1e-5)


def test_sun_of_the_textbook(orbit: Orbit) -> None:
    """Vallado, the same book, example 5-1: 2006-04-02, (0.9771945, 0.1924424, 0.0834308) AU."""
    sun = [c / AU_KM for c in orbit.sun_km(at(orbit, "2006-04-02"))]
    assert sun == pytest.approx([0.977_194_5, 0.192_442_4, 0.083_430_8], abs=2e-4)


def test_look_angles_of_known_directions() -> None:
    site = _Site(StationConfig("equator", 0.0, 90.0, 0.0, 0.0))
    # On the equator at 90 degrees east, with no sidereal time: up is +y, east is -x, north is +z.
    assert site.local((0.0, EARTH_RADIUS_KM + 500.0, 0.0), 0.0) == pytest.approx((0.0, 0.0, 500.0), abs=1e-9)
    assert site.local((-7.0, EARTH_RADIUS_KM, 3.0), 0.0) == pytest.approx((7.0, 3.0, 0.0), abs=1e-9)
    # A quarter turn later the same inertial point is a quarter turn further west.
    assert site.local((-EARTH_RADIUS_KM, 0.0, 0.0), math.pi / 2.0) == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)
    pole = _Site(StationConfig("pole", 90.0, 0.0, 0.0, 0.0))
    assert pole.local((0.0, 0.0, 7000.0), 1.0)[2] == pytest.approx(7000.0 - 6356.752_3, abs=1e-3)


def test_light_time_and_range(orbit: Orbit) -> None:
    (one,) = orbit.passes(SVALBARD, 0, 95 * MINUTE_NS)
    look = orbit.look(SVALBARD, one.peak_ns)
    assert 550.0 < look.range_km < 1500.0
    assert 0.0 <= look.azimuth_deg < 360.0
    assert orbit.light_time_ns(SVALBARD, one.peak_ns) == ns(look.range_km / SPEED_OF_LIGHT_KM_S)
    assert 2000.0 < orbit.range_km(SVALBARD, one.start_ns) < 2400.0


def test_atomic_time_of_the_start(orbit: Orbit) -> None:
    unix = int(datetime(2026, 3, 20, 9, 35, tzinfo=UTC).timestamp())
    assert orbit.start_tai_ns == (unix + 4383 * 86_400 + 37) * NS
    assert orbit.utc(90_000_000_000).isoformat() == "2026-03-20T09:36:30+00:00"
    assert minutes(orbit.period_ns) == 95.6


def test_a_peak_between_samples_is_found() -> None:
    found = windows_above(lambda t: 1.0 - abs(t - 12_345_678_900) / NS, 0, 10**11, 7_000_000_000)
    assert len(found) == 1
    assert found[0] == pytest.approx((11_345_678_900, 13_345_678_900), abs=1_000_000)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"epoch": "yesterday"}, "is not a time"),
        ({"start": "2026-03-20T09:35:00+02:00"}, "is not UTC"),
        ({"start": "2026-03-20T09:35:00"}, "is not UTC"),
        ({"start": "1971-03-20T09:35:00Z"}, "1972 .. 2056"),
        ({"mean_motion_rev_day": 16.9}, "puts the perigee at"),
        ({"eccentricity": 0.5}, "puts the perigee at"),
        ({"inclination_deg": 200}, "should be in 0 .. 180"),
        ({"raan": 1.0}, "did you mean raan_deg"),
    ],
)
def test_bad_elements_are_said(table: dict[str, object], text: str) -> None:
    faults: list[Fault] = []
    read_table(OrbitConfig, table, ("orbit",), faults)
    assert text in "; ".join(f.text for f in faults)


def test_an_orbit_refuses_what_it_cannot_fly() -> None:
    with pytest.raises(OrbitnodeError, match="perigee"):
        Orbit(OrbitConfig(mean_motion_rev_day=16.9))
    with pytest.raises(OrbitnodeError, match="SGP4 error"):
        Orbit(OrbitConfig(bstar=0.5, epoch="2025-03-20T00:00:00Z", mean_motion_rev_day=16.2))


def test_utc_is_asked_for() -> None:
    assert parse_utc("2026-03-20T09:35:00+00:00") == datetime(2026, 3, 20, 9, 35, tzinfo=UTC)
    with pytest.raises(ValueError, match="write it like"):
        parse_utc("20 March")
