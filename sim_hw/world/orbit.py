"""Where the spacecraft is: SGP4 orbit, Sun, Earth's shadow, ground stations and their passes.

Times are virtual: whole nanoseconds since the start of the run. Lengths are kilometres, angles degrees in configuration
and results, radians inside.
"""

# Frames. SGP4 gives TEME. Spacecraft and station are brought together by Greenwich mean sidereal time, which is the
# pair that Vallado et al., "Revisiting Spacetrack Report #3" (AIAA 2006-6753), appendix C, prescribes: mixing TEME with
# another sidereal time would turn every station by the equation of the equinoxes.
#
# Left out, with what it costs: polar motion and UT1-UTC (under 0.9 s, 0.4 km on the ground), nutation of the Sun (under
# 20 arc seconds), refraction, and the oblateness of the shadow (a few seconds of eclipse). SGP4 itself is good to about
# a kilometre near its epoch. All of that is small against what a run looks at: a pass of ten minutes, an eclipse of
# thirty-five.
#
# Passes and eclipses are found before the run, as roots of a function of time, and not noticed while it goes on. So
# they do not depend on the step of anything, each edge is known to a millisecond, and the loop has one event per edge.
# The search samples at a step and bisects between two signs; a hill that stays below zero at all samples is looked for
# by golden section, so that a grazing pass shorter than a step is not missed.
#
# Vectors are tuples of floats and the arithmetic is spelt out: for three components numpy takes several times as long,
# and this is called for every second of a run.

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sgp4.api import WGS72, Satrec

from flight.core.config import key
from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import ns
from flight.core.utc.leap_seconds import BUILT_IN

Vector = tuple[float, float, float]

SPEED_OF_LIGHT_KM_S = 299_792.458  # exact, SI Brochure 9th edition, 2.3.1
AU_KM = 149_597_870.7  # exact, IAU 2012 Resolution B2
SUN_RADIUS_KM = 695_700.0  # IAU 2015 Resolution B3, nominal solar radius
EARTH_RADIUS_KM = 6_378.137  # WGS 84 (NGA.STND.0036, table 3.1), semi-major axis
EARTH_FLATTENING = 1.0 / 298.257_223_563  # WGS 84, same table
EARTH_MU_WGS72_KM3_S2 = 398_600.8  # WGS 72, the set SGP4 elements are made with (Spacetrack Report #3)
J2000_JD = 2_451_545.0  # 2000-01-01T12:00:00
DAY_NS = 86_400_000_000_000

# Before 1972 UTC was not whole seconds behind TAI. The epoch of elements has two digits of the year, from 1957 on.
_BEGIN, _END = datetime(1972, 1, 1, tzinfo=UTC), datetime(2057, 1, 1, tzinfo=UTC)
_SGP4_EPOCH = datetime(1949, 12, 31, tzinfo=UTC)  # day 0 of sgp4init
_JD_OF_UNIX = 2_440_587.5  # Julian day of 1970-01-01T00:00:00
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)
_RESOLUTION_NS = 1_000_000  # of edges and peaks
_PASS_STEP_NS = 30_000_000_000  # a pass shorter than a step is still found, by its peak
_ECLIPSE_STEP_NS = 60_000_000_000


def parse_utc(text: str) -> datetime:
    """Read `2026-03-20T09:35:00Z` as an aware datetime; raises ValueError, which says what would be right."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time, write it like 2026-03-20T09:35:00Z") from None
    if when.utcoffset() != timedelta(0):
        raise ValueError(f"{text!r} is not UTC, end it with Z")
    return when.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class OrbitConfig:
    """Mean elements for sgp4init (WGS 72). The default is Sun-synchronous, 550 km, ascending node at 10:30."""

    epoch: str = key("2026-03-20T00:00:00Z", text="UTC of the elements")
    start: str = key("2026-03-20T09:35:00Z", text="UTC at which a run starts")
    mean_motion_rev_day: float = key(15.0549, minimum=0.5, maximum=17.0, text="mean motion, revolutions a day")
    eccentricity: float = key(1e-4, minimum=0.0, maximum=0.9, text="eccentricity")
    inclination_deg: float = key(97.593, minimum=0.0, maximum=180.0, text="inclination")
    raan_deg: float = key(336.944, minimum=0.0, maximum=360.0, text="right ascension of the ascending node")
    arg_perigee_deg: float = key(0.0, minimum=0.0, maximum=360.0, text="argument of perigee")
    mean_anomaly_deg: float = key(0.0, minimum=0.0, maximum=360.0, text="mean anomaly")
    bstar: float = key(1e-5, minimum=-1.0, maximum=1.0, text="SGP4 drag term, 1/Earth radii")

    def faults(self) -> list[tuple[str, str]]:
        """Return what contradicts itself: (key, what is wrong and what would be right)."""
        found = []
        for name, text in (("epoch", self.epoch), ("start", self.start)):
            try:
                when = parse_utc(text)
            except ValueError as error:
                found.append((name, str(error)))
                continue
            if not _BEGIN <= when < _END:
                years = f"{_BEGIN.year} .. {_END.year - 1}"
                why = "the years for which leap seconds are defined and SGP4 elements hold"
                found.append((name, f"{text} should be in {years}, {why}"))
        n = self.mean_motion_rev_day * 2.0 * math.pi / 86_400.0
        # Kepler's third law gives the semi-major axis. Below 150 km drag ends an orbit within about a day.
        perigee_km = (EARTH_MU_WGS72_KM3_S2 / n**2) ** (1.0 / 3.0) * (1.0 - self.eccentricity) - EARTH_RADIUS_KM
        if perigee_km < 150.0:
            found.append(("mean_motion_rev_day", f"puts the perigee at {perigee_km:.0f} km, should be 150 km or more"))
        return found


@dataclass(frozen=True, slots=True)
class StationConfig:
    """A ground station. Latitude and longitude are geodetic (WGS 84), altitude above the ellipsoid."""

    name: str = key(text="short name")
    latitude_deg: float = key(minimum=-90.0, maximum=90.0, text="geodetic latitude, north positive")
    longitude_deg: float = key(minimum=-180.0, maximum=360.0, text="longitude, east positive")
    altitude_m: float = key(0.0, minimum=-500.0, maximum=9000.0, text="height above the ellipsoid")
    mask_deg: float = key(5.0, minimum=0.0, maximum=90.0, text="lowest elevation with contact")


@dataclass(frozen=True, slots=True)
class Look:
    """The spacecraft as a station sees it; azimuth from north over east, 0 .. 360."""

    elevation_deg: float
    azimuth_deg: float
    range_km: float

    @property
    def light_time_ns(self) -> int:
        """One-way travel time of a signal over this range."""
        return ns(self.range_km / SPEED_OF_LIGHT_KM_S)


@dataclass(frozen=True, slots=True)
class Pass:
    """A stretch [start_ns, end_ns) above a station's mask, cut at the ends of the span that was asked for."""

    station: StationConfig
    start_ns: int
    end_ns: int
    peak_ns: int
    peak_elevation_deg: float


@dataclass(frozen=True, slots=True)
class Eclipse:
    """A stretch [start_ns, end_ns) without full Sun, and the umbra in it; None if the Sun never goes out."""

    start_ns: int
    end_ns: int
    umbra: tuple[int, int] | None


def windows_above(height: Callable[[int], float], t0_ns: int, t1_ns: int, step_ns: int,
                  resolution_ns: int = _RESOLUTION_NS) -> list[tuple[int, int]]:  # fmt: skip
    """Return every stretch [start, end) of [t0, t1] in which `height` is not negative.

    `height` is sampled each `step_ns` and its edges are found by bisection, to `resolution_ns`. If three samples under
    zero form a hill, its peak is looked for, so that a stretch shorter than a step is not missed.
    """
    assert t0_ns <= t1_ns, (t0_ns, t1_ns)
    assert step_ns > resolution_ns > 0, (step_ns, resolution_ns)
    times = [*range(t0_ns, t1_ns, step_ns), t1_ns]
    values = [height(t) for t in times]
    for i in range(len(times) - 2, 0, -1):  # backwards: what is inserted does not move what is still to be seen
        if values[i - 1] <= values[i] >= values[i + 1] and values[i] < 0.0:
            peak = peak_time(height, times[i - 1], times[i + 1], resolution_ns)
            value = height(peak)
            if value >= 0.0 and peak != times[i]:
                place = bisect.bisect_left(times, peak)
                times.insert(place, peak)
                values.insert(place, value)
    found: list[tuple[int, int]] = []
    start = t0_ns if values[0] >= 0.0 else None
    for i in range(1, len(times)):
        above = values[i] >= 0.0
        if above == (start is not None):
            continue
        edge = _edge(height, times[i - 1], times[i], above, resolution_ns)
        if start is None:
            start = edge
        else:
            found.append((start, edge))
            start = None
    if start is not None and start < t1_ns:
        found.append((start, t1_ns))
    return found


def _edge(height: Callable[[int], float], low: int, high: int, rising: bool, resolution_ns: int) -> int:
    """Return the first instant, to the resolution, behind the one crossing in (low, high]."""
    while high - low > resolution_ns:
        middle = (low + high) // 2
        if (height(middle) >= 0.0) == rising:
            high = middle
        else:
            low = middle
    return high


def peak_time(height: Callable[[int], float], low: int, high: int, resolution_ns: int = _RESOLUTION_NS) -> int:
    """Return the time at which `height`, with one hill in [low, high], is highest; by golden section."""
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    # Of the two inner points one is used again in the next round, so each round evaluates `height` once.
    early, late = high - round(ratio * (high - low)), low + round(ratio * (high - low))
    at_early, at_late = height(early), height(late)
    while high - low > resolution_ns:
        if at_early >= at_late:
            high, late, at_late = late, early, at_early
            early = high - round(ratio * (high - low))
            at_early = height(early)
        else:
            low, early, at_early = early, late, at_late
            late = low + round(ratio * (high - low))
            at_late = height(late)
    return (low + high) // 2


class Orbit:
    """The geometry of one run. Every `t_ns` is virtual time: nanoseconds since the start of the run."""

    def __init__(self, config: OrbitConfig) -> None:
        """Set up SGP4; raises OrbitnodeError for elements that it does not take."""
        wrong = config.faults()
        if wrong:
            raise OrbitnodeError("orbit: " + "; ".join(f"{name}: {text}" for name, text in wrong))
        self.config = config
        self.start_utc = parse_utc(config.start)
        # TAI of t_ns = 0, in nanoseconds since 1958-01-01 (CCSDS 301.0-B-4, level 1).
        self.start_tai_ns = BUILT_IN.tai_from_utc(self.start_utc)
        self._jd_day, self._jd_frac = _julian(self.start_utc)
        self._satellite = Satrec()
        # "i" is the improved mode of AIAA 2006-6753, as against the old operational one. 0.0, 0.0 are the derivatives
        # of the mean motion, which SGP4 does not use.
        self._satellite.sgp4init(
            WGS72, "i", 1, (parse_utc(config.epoch) - _SGP4_EPOCH) / timedelta(days=1),
            config.bstar, 0.0, 0.0, config.eccentricity, math.radians(config.arg_perigee_deg),
            math.radians(config.inclination_deg), math.radians(config.mean_anomaly_deg),
            config.mean_motion_rev_day * 2.0 * math.pi / 1440.0, math.radians(config.raan_deg))  # fmt: skip
        self._sites: dict[StationConfig, _Site] = {}
        self.position_km(0)  # raises now, and not in the middle of a run, if these elements give no orbit

    @property
    def period_ns(self) -> int:
        """One revolution by the mean motion."""
        return round(DAY_NS / self.config.mean_motion_rev_day)

    def utc(self, t_ns: int) -> datetime:
        """Return civil time, to the microsecond, as if no leap second came during the run.

        So the geometry goes on evenly, as the Earth does: UTC steps at a leap second, the Earth's rotation does not.
        """
        return self.start_utc + timedelta(microseconds=t_ns // 1000)

    def position_km(self, t_ns: int) -> Vector:
        """Return the spacecraft in TEME, kilometres; raises OrbitnodeError once the orbit has decayed."""
        code, position, _ = self._satellite.sgp4(self._jd_day, self._jd_frac + t_ns / DAY_NS)
        if code:
            raise OrbitnodeError(f"orbit: SGP4 error {code} at {self.utc(t_ns):%Y-%m-%dT%H:%M:%SZ}, "
                                 "take elements of an epoch nearer to the start of the run")  # fmt: skip
        x, y, z = position
        return x, y, z

    def sun_km(self, t_ns: int) -> Vector:
        """Return the geocentric Sun, kilometres, mean equator and equinox of date (good to 0.01 degree, 1950-2050).

        The Astronomical Almanac, section C, "Low precision formulas for the Sun".
        """
        n = (self._jd_day - J2000_JD) + self._jd_frac + t_ns / DAY_NS
        mean_longitude = 280.460 + 0.985_647_4 * n
        g = math.radians(357.528 + 0.985_600_3 * n)
        longitude = math.radians(mean_longitude + 1.915 * math.sin(g) + 0.020 * math.sin(2.0 * g))
        obliquity = math.radians(23.439 - 0.000_000_4 * n)
        r = AU_KM * (1.000_14 - 0.016_71 * math.cos(g) - 0.000_14 * math.cos(2.0 * g))
        along = r * math.sin(longitude)
        return r * math.cos(longitude), along * math.cos(obliquity), along * math.sin(obliquity)

    def gmst_rad(self, t_ns: int) -> float:
        """Return Greenwich mean sidereal time, 0 .. 2 pi, with UT1 taken as UTC.

        IAU 1982 (Aoki et al., Astron. Astrophys. 105, 359; Vallado AIAA 2006-6753, appendix C).
        """
        t = ((self._jd_day - J2000_JD) + self._jd_frac + t_ns / DAY_NS) / 36_525.0
        seconds = 67_310.548_41 + (876_600.0 * 3600.0 + 8_640_184.812_866) * t + 0.093_104 * t**2 - 6.2e-6 * t**3
        return math.radians(seconds % 86_400.0 / 240.0)

    def sun_frac(self, t_ns: int) -> float:
        """Return the share of the Sun's disc in sight, 0 (umbra) .. 1.

        Conical shadow of a spherical Earth: Montenbruck and Gill, Satellite Orbits (2000), 3.4.2, eqs. 3.85-3.94.
        """
        sun, earth, apart = self._discs(t_ns)
        if apart >= sun + earth:
            return 1.0
        if apart <= earth - sun:
            return 0.0
        if apart <= sun - earth:  # annular: the Earth inside the Sun's disc, seen from far outside low orbit
            return 1.0 - (earth / sun) ** 2
        x = (apart**2 + sun**2 - earth**2) / (2.0 * apart)
        y = math.sqrt(max(sun**2 - x**2, 0.0))
        covered = (sun**2 * math.acos(_unit(x / sun)) + earth**2 * math.acos(_unit((apart - x) / earth))
                   - apart * y)  # fmt: skip
        return _unit(max(0.0, 1.0 - covered / (math.pi * sun**2)))

    def _discs(self, t_ns: int) -> Vector:
        """Return the apparent radius of the Sun, of the Earth, and the angle between their centres, radians."""
        x, y, z = self.position_km(t_ns)
        sx, sy, sz = self.sun_km(t_ns)
        dx, dy, dz = sx - x, sy - y, sz - z
        to_sun, to_earth = math.sqrt(dx * dx + dy * dy + dz * dz), math.sqrt(x * x + y * y + z * z)
        apart = math.acos(_unit(-(x * dx + y * dy + z * dz) / (to_sun * to_earth)))
        return math.asin(SUN_RADIUS_KM / to_sun), math.asin(min(1.0, EARTH_RADIUS_KM / to_earth)), apart

    def look(self, station: StationConfig, t_ns: int) -> Look:
        """Return elevation over the local horizon (normal of the ellipsoid), azimuth and range of the spacecraft."""
        site = self._site(station)
        east, north, up = site.local(self.position_km(t_ns), self.gmst_rad(t_ns))
        distance = math.sqrt(east * east + north * north + up * up)
        azimuth = math.degrees(math.atan2(east, north)) % 360.0
        return Look(math.degrees(math.asin(_unit(up / distance))), azimuth, distance)

    def elevation_deg(self, station: StationConfig, t_ns: int) -> float:
        """Return the elevation of the spacecraft over the horizon of `station`, degrees."""
        return self.look(station, t_ns).elevation_deg

    def range_km(self, station: StationConfig, t_ns: int) -> float:
        """Return the distance between `station` and the spacecraft, kilometres."""
        return self.look(station, t_ns).range_km

    def light_time_ns(self, station: StationConfig, t_ns: int) -> int:
        """Return the one-way travel time of a signal between spacecraft and station, both taken at `t_ns`."""
        # Neither moves while the signal travels: in 10 ms the range changes by 70 m at most, 0.2 us of light time.
        return self.look(station, t_ns).light_time_ns

    def passes(self, station: StationConfig, t0_ns: int, t1_ns: int) -> list[Pass]:
        """Return every pass over one station in [t0, t1], rise and set to 1 ms."""

        def above_mask(t_ns: int) -> float:
            return self.look(station, t_ns).elevation_deg - station.mask_deg

        found = []
        for start, end in windows_above(above_mask, t0_ns, t1_ns, _PASS_STEP_NS):
            # A pass that is cut by t0 or t1 may be highest at its edge.
            peak = max((start, peak_time(above_mask, start, end), end), key=above_mask)
            found.append(Pass(station, start, end, peak, self.elevation_deg(station, peak)))
        return found

    def eclipses(self, t0_ns: int, t1_ns: int) -> list[Eclipse]:
        """Return every eclipse in [t0, t1], from first to last contact of the penumbra, to 1 ms."""

        def penumbra(t_ns: int) -> float:
            sun, earth, apart = self._discs(t_ns)
            return sun + earth - apart

        def umbra(t_ns: int) -> float:
            sun, earth, apart = self._discs(t_ns)
            return earth - sun - apart

        found = []
        for start, end in windows_above(penumbra, t0_ns, t1_ns, _ECLIPSE_STEP_NS):
            dark = windows_above(umbra, start, end, _ECLIPSE_STEP_NS)
            found.append(Eclipse(start, end, dark[0] if dark else None))
        return found

    def _site(self, station: StationConfig) -> _Site:
        site = self._sites.get(station)
        if site is None:
            # Stations come from the mission file; the bound only keeps a careless caller from leaking.
            if len(self._sites) >= 256:
                self._sites.clear()
            site = self._sites[station] = _Site(station)
        return site


class _Site:
    """A station's place and local axes in the Earth-fixed frame."""

    __slots__ = ("_east", "_north", "_place", "_up")

    def __init__(self, station: StationConfig) -> None:
        latitude, longitude = math.radians(station.latitude_deg), math.radians(station.longitude_deg)
        sin_lat, cos_lat = math.sin(latitude), math.cos(latitude)
        sin_lon, cos_lon = math.sin(longitude), math.cos(longitude)
        # Geodetic to Cartesian: NGA.STND.0036, eq. 4-14.
        e2 = EARTH_FLATTENING * (2.0 - EARTH_FLATTENING)
        curvature, height = EARTH_RADIUS_KM / math.sqrt(1.0 - e2 * sin_lat**2), station.altitude_m / 1000.0
        across = (curvature + height) * cos_lat
        self._place = (across * cos_lon, across * sin_lon, (curvature * (1.0 - e2) + height) * sin_lat)
        self._up = (cos_lat * cos_lon, cos_lat * sin_lon, sin_lat)
        self._east = (-sin_lon, cos_lon, 0.0)
        self._north = (-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat)

    def local(self, teme_km: Vector, gmst_rad: float) -> Vector:
        """Return east, north and up of a TEME position as seen from here, kilometres."""
        sin_g, cos_g = math.sin(gmst_rad), math.cos(gmst_rad)
        x, y, z = self._place
        dx = cos_g * teme_km[0] + sin_g * teme_km[1] - x
        dy = cos_g * teme_km[1] - sin_g * teme_km[0] - y
        dz = teme_km[2] - z
        east, north, up = self._east, self._north, self._up
        return (east[0] * dx + east[1] * dy, north[0] * dx + north[1] * dy + north[2] * dz,
                up[0] * dx + up[1] * dy + up[2] * dz)  # fmt: skip


def _unit(value: float) -> float:
    """Return `value` held in -1 .. 1, against rounding before acos and asin."""
    return max(-1.0, min(1.0, value))


def _julian(when: datetime) -> tuple[float, float]:
    """Return the Julian day at the last midnight and the fraction of the day; two numbers keep 0.01 us."""
    past = when - _UNIX
    return _JD_OF_UNIX + past.days, (past.seconds + past.microseconds / 1e6) / 86_400.0
