"""The world around one spacecraft: orbit, Sun, stations, power and heat on one timeline."""

# The order in which things move is what keeps a run reproducible. The world is never moved by a timer: whoever reads a
# sensor or changes a load moves it first (`advance`), and it then takes whole steps of one second. So the same sequence
# of readings and switches gives the same floating-point sums, and an hour in which nobody looks is made of the same
# steps as one in which somebody looks each second.
#
# `power` and `thermal` are brought up to `now_ns` by a shorter step (`_settle`) when they are asked for, because a load
# that changes in the middle of a second must be integrated up to that instant with its old power. `read_power` and
# `temperature_c` do not settle: a real sensor samples too, and readings between two steps would differ by nothing that
# matters, at the price of a step each.
#
# What is left out: attitude (the array tracks the Sun, the camera looks down), drag by attitude, thermal and electrical
# influence of the spacecraft on its orbit, and any influence of one spacecraft on another.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flight.core.config import key
from flight.core.nanoseconds import NS
from hal.base import PowerReading
from sim_hw.world.orbit import Eclipse, Orbit, OrbitConfig, Pass, StationConfig
from sim_hw.world.power import PowerConfig, PowerSystem
from sim_hw.world.thermal import ThermalConfig, ThermalSystem

_STEP_NS = NS  # a penumbra lasts 9 s in low orbit: its energy is good to one part in a thousand

# KSAT's polar stations; heights are those of the sites above the sea, 5 degrees is a usual mask.
SVALBARD = StationConfig("svalbard", 78.23, 15.39, 450.0, 5.0)
TROLL = StationConfig("troll", -72.01, 2.53, 1275.0, 5.0)
_ORBIT, _POWER, _THERMAL = OrbitConfig(), PowerConfig(), ThermalConfig()


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """Everything about the world that does not depend on the seed."""

    orbit: OrbitConfig = _ORBIT
    stations: tuple[StationConfig, ...] = key((SVALBARD, TROLL), text="ground stations")
    power: PowerConfig = _POWER
    thermal: ThermalConfig = _THERMAL

    def faults(self) -> list[tuple[str, str]]:
        """Return (key, what is wrong) of stations that cannot be told apart, or are too few or too many."""
        names = [station.name for station in self.stations]
        twice = sorted({name for name in names if names.count(name) > 1})
        if not 1 <= len(names) <= 64:
            return [("stations", f"has {len(names)} entries, should have 1 .. 64")]
        return [("stations", f"name {name!r} is used twice, should be unique") for name in twice]


class World:
    """The physics of one run, at `now_ns` of virtual time.

    Loads and switches act from `now_ns` on: call `advance` up to the present before changing one. The world moves in
    steps that end on whole seconds of virtual time, and when a load changes. Sensors are refreshed by these steps: a
    charge or temperature that is read is that of the last step. Asking for `power` or `thermal` brings them up to
    `now_ns`.
    """

    def __init__(self, config: WorldConfig) -> None:
        """Start at `now_ns` = 0; raises OrbitnodeError if the orbit is impossible."""
        self.config = config
        self.orbit = Orbit(config.orbit)
        self.now_ns = 0
        self._power = PowerSystem(config.power)
        self._thermal = ThermalSystem(config.thermal)
        self._stepped_ns = 0
        self._reading: PowerReading | None = None  # of the last step, until something may have changed it

    @property
    def power(self) -> PowerSystem:
        """The power system at `now_ns`."""
        self._settle()
        return self._power

    @property
    def thermal(self) -> ThermalSystem:
        """The temperatures at `now_ns`."""
        self._settle()
        return self._thermal

    @property
    def start_tai_ns(self) -> int:
        """TAI of t_ns = 0 in nanoseconds since 1958-01-01, the packet time scale."""
        return self.orbit.start_tai_ns

    def advance(self, to_ns: int) -> None:
        """Move on to `to_ns`; a time in the past changes nothing."""
        if to_ns > self.now_ns:
            self.now_ns = to_ns
            while (end_ns := (self._stepped_ns // _STEP_NS + 1) * _STEP_NS) <= to_ns:
                self._step(end_ns)

    def _settle(self) -> None:
        """Bring power and heat up to `now_ns`. The caller may change them, so the kept reading is dropped."""
        if self._stepped_ns < self.now_ns:
            self._step(self.now_ns)
        self._reading = None

    def _step(self, end_ns: int) -> None:
        dt_s = (end_ns - self._stepped_ns) / NS
        # The Sun in the middle of a step holds for all of it: the error of a linear penumbra cancels out.
        sun = self.orbit.sun_frac((self._stepped_ns + end_ns) // 2)
        self._power.advance(dt_s, sun)
        loads, shares = self._power.loads_w(), self.config.thermal
        board_w = (loads["base"] * shares.base_board_frac + loads["payload"] * shares.payload_board_frac
                   + loads["heater"])  # fmt: skip
        self._thermal.advance(dt_s, sun, board_w, loads["radio"] * shares.radio_radiator_frac)
        self._stepped_ns = end_ns
        self._reading = None

    def sun_frac(self, t_ns: int) -> float:
        """Return the share of the Sun's disc in sight at `t_ns`: 0 in the umbra, 1 in full Sun."""
        return self.orbit.sun_frac(t_ns)

    def station_in_sight(self, t_ns: int) -> StationConfig | None:
        """Return the station that sees the spacecraft highest, of those above whose mask it is, or None."""
        best: StationConfig | None = None
        best_deg = -90.0
        for station in self.config.stations:
            elevation = self.orbit.elevation_deg(station, t_ns)
            if elevation >= station.mask_deg and elevation > best_deg:
                best, best_deg = station, elevation
        return best

    def passes(self, t0_ns: int, t1_ns: int) -> list[Pass]:
        """Return every pass over every station in [t0, t1], in order of rise."""
        found = [contact for station in self.config.stations for contact in self.orbit.passes(station, t0_ns, t1_ns)]
        # Two stations may see it rise at the same instant: the name decides, else the order of the file would.
        return sorted(found, key=lambda contact: (contact.start_ns, contact.station.name))

    def eclipses(self, t0_ns: int, t1_ns: int) -> list[Eclipse]:
        """Return every eclipse in [t0, t1], see `Orbit.eclipses`."""
        return self.orbit.eclipses(t0_ns, t1_ns)

    def light_time(self, station: StationConfig) -> Callable[[int], int]:
        """Return the one-way light time to `station` as a function of time, as `Channel.on_rise` takes it."""
        return lambda t_ns: self.orbit.light_time_ns(station, t_ns)

    def set_load_w(self, name: str, power_w: float) -> None:
        """Set what a load takes while switched on, from `now_ns` on. Raises HalError if the name is unknown."""
        self.power.set_load_w(name, power_w)

    def set_switch(self, name: str, on: bool) -> None:
        """Switch a load from `now_ns` on. Raises HalError if the name is unknown."""
        self.power.set_switch(name, on)

    def read_power(self) -> PowerReading:
        """Return what the power sensors showed at the last step."""
        if self._reading is None:
            self._reading = self._power.read()
        return self._reading

    def temperature_c(self, node: str) -> float:
        """Return the temperature of `board` or `radiator` at the last step; raises HalError for another name."""
        return self._thermal.temperature_c(node)
