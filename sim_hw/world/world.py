"""The world around one spacecraft: orbit, Sun, stations, power and heat on one timeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flight.core.config import key
from flight.core.nanoseconds import NS
from hal.base import PowerReading
from sim_hw.world.orbit import Eclipse, Orbit, OrbitConfig, Pass, StationConfig
from sim_hw.world.power import PowerConfig, PowerSystem
from sim_hw.world.thermal import ThermalConfig, ThermalSystem

_STEP_NS = NS

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
        names = [station.name for station in self.stations]
        twice = sorted({name for name in names if names.count(name) > 1})
        if not 1 <= len(names) <= 64:
            return [("stations", f"has {len(names)} entries, should have 1 .. 64")]
        return [("stations", f"name {name!r} is used twice, should be unique") for name in twice]


class World:
    """The physics of one run, at `now_ns` of virtual time.

    Loads and switches act from `now_ns` on: call `advance` up to the present before changing one.
    The world moves in steps that end on whole seconds of virtual time, and at changes of a load; the Sun in the
    middle of a step holds for all of it, which makes the energy of a penumbra (9 s) good to one part in a thousand.
    Sensors are refreshed by these steps: charge and temperatures that are read are those of the last one. `power`
    and `thermal` are brought up to `now_ns` by whoever asks for them.
    """

    def __init__(self, config: WorldConfig) -> None:
        """Raises OrbitnodeError for an orbit that cannot be."""
        self.config = config
        self.orbit = Orbit(config.orbit)
        self.now_ns = 0
        self._power = PowerSystem(config.power)
        self._thermal = ThermalSystem(config.thermal)
        self._stepped_ns = 0
        self._reading: PowerReading | None = None

    @property
    def power(self) -> PowerSystem:
        self._settle()
        return self._power

    @property
    def thermal(self) -> ThermalSystem:
        self._settle()
        return self._thermal

    @property
    def start_tai_ns(self) -> int:
        """TAI of t_ns = 0 in nanoseconds since 1958-01-01, the packet time scale."""
        return self.orbit.start_tai_ns

    def advance(self, to_ns: int) -> None:
        """Move on to `to_ns`; a time that is past changes nothing."""
        if to_ns > self.now_ns:
            self.now_ns = to_ns
            while (end_ns := (self._stepped_ns // _STEP_NS + 1) * _STEP_NS) <= to_ns:
                self._step(end_ns)

    def _settle(self) -> None:
        """Bring power and heat up to `now_ns`; what comes may change them, so that no reading is kept."""
        if self._stepped_ns < self.now_ns:
            self._step(self.now_ns)
        self._reading = None

    def _step(self, end_ns: int) -> None:
        dt_s = (end_ns - self._stepped_ns) / NS
        sun = self.orbit.sun_frac((self._stepped_ns + end_ns) // 2)
        self._power.advance(dt_s, sun)
        loads, shares = self._power.loads_w(), self.config.thermal
        board_w = (loads["base"] * shares.base_board_frac + loads["payload"] * shares.payload_board_frac
                   + loads["heater"])  # fmt: skip
        self._thermal.advance(dt_s, sun, board_w, loads["radio"] * shares.radio_radiator_frac)
        self._stepped_ns = end_ns
        self._reading = None

    def sun_frac(self, t_ns: int) -> float:
        """Share of the Sun's disc in sight at `t_ns`, 0 in the umbra."""
        return self.orbit.sun_frac(t_ns)

    def station_in_sight(self, t_ns: int) -> StationConfig | None:
        """The station above whose mask the spacecraft stands highest, None where there is none."""
        best: StationConfig | None = None
        best_deg = -90.0
        for station in self.config.stations:
            elevation = self.orbit.elevation_deg(station, t_ns)
            if elevation >= station.mask_deg and elevation > best_deg:
                best, best_deg = station, elevation
        return best

    def passes(self, t0_ns: int, t1_ns: int) -> list[Pass]:
        """Every pass over every station in [t0, t1], in order of rise."""
        found = [one for station in self.config.stations for one in self.orbit.passes(station, t0_ns, t1_ns)]
        return sorted(found, key=lambda one: (one.start_ns, one.station.name))

    def eclipses(self, t0_ns: int, t1_ns: int) -> list[Eclipse]:
        return self.orbit.eclipses(t0_ns, t1_ns)

    def light_time(self, station: StationConfig) -> Callable[[int], int]:
        """One-way light time to `station` as a function of the time, as `Channel.on_rise` wants it."""
        return lambda t_ns: self.orbit.light_time_ns(station, t_ns)

    def set_load_w(self, name: str, power_w: float) -> None:
        """What a load takes while on, from `now_ns`. An unknown name raises HalError."""
        self.power.set_load_w(name, power_w)

    def set_switch(self, name: str, on: bool) -> None:
        """Switch a load from `now_ns`. An unknown name raises HalError."""
        self.power.set_switch(name, on)

    def read_power(self) -> PowerReading:
        if self._reading is None:
            self._reading = self._power.read()
        return self._reading

    def temperature_c(self, node: str) -> float:
        """Temperature of `board` or `radiator`; another name raises HalError."""
        return self._thermal.temperature_c(node)
