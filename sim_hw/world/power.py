"""The electrical power system: solar array, battery, switched loads, integrated exactly.

Powers in watts at the bus, energies in watt-hours, shares 0 .. 1. Energy balances at any moment:

    generated + stored at start = consumed + curtailed + lost in the battery + stored now

Not modelled: charge taper near full, ageing, temperature of the cells, converter losses.
"""

# Method. Between two calls every power is constant, so the charge is piecewise linear and its integral is exact. Two
# instants break the line: the battery becomes full (the surplus is curtailed from then on) or empty (loads get the
# array's power alone, each the same share of what it asks for). A step is cut at such an instant. There is no step
# size to choose, and no error that would grow with the length of a run.
#
#     sun >= loads      charge with what is over, as far as the charger takes it; the rest is curtailed
#     sun < loads       discharge what is missing, as long as the battery holds anything
#     ... and empty     brownout: served = sun / loads, the unserved energy is counted and in no other sum
#
# Efficiency. Losses are taken as the charge goes in and as it comes out: of what is stored, discharge_efficiency
# reaches the bus. The state of charge is stored / capacity.
#
# The bus voltage is for telemetry alone and feeds back into nothing: the open-circuit voltage is taken as a straight
# line over the charge (real cells fall steeply near empty), less the drop over the internal resistance.

from __future__ import annotations

import math
from dataclasses import dataclass, field

from flight.core.config import key
from hal.base import HalError, PowerReading

SECONDS_PER_HOUR = 3600.0
LOADS = ("base", "payload", "radio", "heater")


@dataclass(frozen=True, slots=True)
class PowerConfig:
    """A small hosted computer on an array that tracks the Sun.

    The defaults are sized, not measured: about 24 W on average over an orbit with 35 of 95 minutes in
    eclipse, of which the base load takes 8 W. Efficiencies are the 0.95 each way that mission studies
    use for lithium-ion cells, and the default depth of discharge is the 20 % usual for years in low orbit
    (Wertz, Everett, Puschell, Space Mission Engineering: The New SMAD, 21.2).
    """

    array_peak_w: float = key(42.0, minimum=0.0, maximum=1e5, text="array output in full Sun, at the bus")
    battery_wh: float = key(40.0, minimum=0.1, maximum=1e6, text="battery capacity")
    soc_start_frac: float = key(0.9, minimum=0.0, maximum=1.0, text="state of charge at the start")
    charge_efficiency: float = key(0.95, minimum=0.01, maximum=1.0, text="stored per watt-hour sent into the battery")
    discharge_efficiency: float = key(0.95, minimum=0.01, maximum=1.0, text="at the bus per watt-hour taken out")
    charge_limit_w: float = key(35.0, minimum=0.0, maximum=1e5, text="most power the charger takes, at the bus")
    depth_of_discharge_frac: float = key(0.2, minimum=0.0, maximum=1.0, text="share of the capacity meant to be used")
    # Two lithium-ion cells in series: 3.0 V empty, 4.2 V full, and some 50 mohm of cells, fuse and wire.
    bus_empty_v: float = key(6.0, minimum=1.0, maximum=400.0, text="open-circuit voltage when empty")
    bus_full_v: float = key(8.4, minimum=1.0, maximum=400.0, text="open-circuit voltage when full")
    battery_ohm: float = key(0.05, minimum=0.0, maximum=10.0, text="internal resistance, for the bus voltage alone")
    base_w: float = key(8.0, minimum=0.0, maximum=1e4, text="host and node, always on")
    payload_w: float = key(1.0, minimum=0.0, maximum=1e4, text="payload computer switched on and idle")
    radio_w: float = key(12.0, minimum=0.0, maximum=1e4, text="radio while transmitting")
    heater_w: float = key(5.0, minimum=0.0, maximum=1e4, text="board heater")

    def faults(self) -> list[tuple[str, str]]:
        """Return (key, what is wrong) of voltages that contradict each other."""
        if self.bus_full_v < self.bus_empty_v:
            return [("bus_full_v", f"is {self.bus_full_v:g}, should not be below bus_empty_v = {self.bus_empty_v:g}")]
        return []


@dataclass(slots=True)
class PowerCounters:
    """Energy since the start, in watt-hours. `lost_wh` is what the battery's efficiencies cost.

    `unserved_wh` is what loads asked for with the battery empty and did not get; it is in no other sum.
    """

    generated_wh: float = 0.0
    curtailed_wh: float = 0.0
    charged_wh: float = 0.0
    discharged_wh: float = 0.0
    lost_wh: float = 0.0
    unserved_wh: float = 0.0
    below_limit_s: float = 0.0
    consumed_wh: dict[str, float] = field(default_factory=lambda: dict.fromkeys(LOADS, 0.0))

    @property
    def total_consumed_wh(self) -> float:
        """Energy that all loads together took."""
        return math.fsum(self.consumed_wh.values())  # exact, so that the balance does not depend on their order


@dataclass(slots=True)
class _Flow:
    """The constant powers of one stretch; `served` is the share of the demand that is met."""

    solar_w: float
    demand_w: float
    served: float
    charge_w: float
    discharge_w: float

    @property
    def load_w(self) -> float:
        return self.demand_w * self.served

    @property
    def curtailed_w(self) -> float:
        return max(0.0, self.solar_w - self.load_w - self.charge_w)


class PowerSystem:
    """An array, a battery and four loads; `payload`, `radio` and `heater` start switched off.

    `read` and `set_switch` are those of hal.base.Eps. A changed load holds from the time that `advance` has reached.
    """

    def __init__(self, config: PowerConfig) -> None:
        self.config = config
        self.counters = PowerCounters()
        self._capacity_wh = config.battery_wh
        self._stored_wh = config.battery_wh * config.soc_start_frac
        self._lowest_soc = config.soc_start_frac
        self._sun_frac = 1.0
        self._load_w = {"base": config.base_w, "payload": config.payload_w,
                        "radio": config.radio_w, "heater": config.heater_w}  # fmt: skip
        self._on = {name: name == "base" for name in LOADS}

    @property
    def soc_frac(self) -> float:
        """State of charge, 0 (empty) .. 1 (full)."""
        return self._stored_wh / self._capacity_wh

    @property
    def lowest_soc_frac(self) -> float:
        """The lowest state of charge so far."""
        return self._lowest_soc

    @property
    def stored_wh(self) -> float:
        """Energy in the battery."""
        return self._stored_wh

    @property
    def below_limit(self) -> bool:
        """Whether the battery is discharged deeper than the configured depth."""
        return self.soc_frac < 1.0 - self.config.depth_of_discharge_frac

    @property
    def brownout(self) -> bool:
        """Whether the battery is empty and the array alone does not carry the loads."""
        return self._flow().served < 1.0

    def set_load_w(self, name: str, power_w: float) -> None:
        """Set what a load takes while switched on.

        Raises HalError if the name is unknown, or the power is negative or not finite.
        """
        self._known(name)
        if not (0.0 <= power_w < math.inf):
            raise HalError(f"load {name}: {power_w} W, should be finite and not negative")
        self._load_w[name] = power_w

    def set_switch(self, name: str, on: bool) -> None:
        """Switch a load. Raises HalError if the name is unknown, or to switch off the base load."""
        self._known(name)
        if name == "base" and not on:
            raise HalError("load base has no switch, known: payload, radio, heater")
        self._on[name] = on

    def switched_on(self, name: str) -> bool:
        """Return whether a load is switched on; raises HalError if the name is unknown."""
        self._known(name)
        return self._on[name]

    def loads_w(self) -> dict[str, float]:
        """Return what each load takes now: 0 if it is off, less than it asks for in a brownout."""
        served = self._flow().served
        return {name: self._load_w[name] * served if on else 0.0 for name, on in self._on.items()}

    def _known(self, name: str) -> None:
        if name not in self._load_w:
            raise HalError(f"unknown load {name!r}, known: {', '.join(LOADS)}")

    def advance(self, dt_s: float, sun_frac: float) -> None:
        """Let `dt_s` seconds pass with the array at `sun_frac` (0 .. 1) of its peak."""
        assert dt_s >= 0.0, dt_s
        assert 0.0 <= sun_frac <= 1.0, sun_frac
        self._sun_frac = sun_frac
        remaining_s = dt_s
        # Constant powers fill or empty the battery once at most, so two stretches always suffice.
        for _ in range(3):
            if remaining_s <= 0.0:
                break
            flow = self._flow()
            remaining_s -= self._run(flow, remaining_s)
        assert remaining_s <= 0.0, remaining_s

    def _flow(self) -> _Flow:
        config, solar_w = self.config, self.config.array_peak_w * self._sun_frac
        demand_w = 0.0
        for name, on in self._on.items():
            if on:
                demand_w += self._load_w[name]
        if solar_w >= demand_w:
            room = self._stored_wh < self._capacity_wh
            return _Flow(solar_w, demand_w, 1.0, min(solar_w - demand_w, config.charge_limit_w) if room else 0.0, 0.0)
        if self._stored_wh > 0.0:
            return _Flow(solar_w, demand_w, 1.0, 0.0, demand_w - solar_w)
        return _Flow(solar_w, demand_w, solar_w / demand_w, 0.0, 0.0)

    def _run(self, flow: _Flow, dt_s: float) -> float:
        """Let `dt_s` pass, or less if the battery fills or empties before; return the seconds that passed."""
        config, counters, stored = self.config, self.counters, self._stored_wh
        rate_w = flow.charge_w * config.charge_efficiency - flow.discharge_w / config.discharge_efficiency
        hours = dt_s / SECONDS_PER_HOUR
        end = stored + rate_w * hours
        bound = self._capacity_wh if rate_w > 0.0 else 0.0
        if rate_w != 0.0 and (end >= bound if rate_w > 0.0 else end <= bound):
            # Exactly the bound, not the sum: `_flow` compares with it, and would take a hair below full for room.
            hours, end = (bound - stored) / rate_w, bound
            passed_s = min(dt_s, hours * SECONDS_PER_HOUR)
        else:
            passed_s = dt_s
        counters.below_limit_s += self._below_s(stored, end, passed_s)
        self._stored_wh = end
        self._lowest_soc = min(self._lowest_soc, end / self._capacity_wh)
        counters.generated_wh += flow.solar_w * hours
        counters.curtailed_wh += flow.curtailed_w * hours
        counters.charged_wh += flow.charge_w * hours
        counters.discharged_wh += flow.discharge_w * hours
        counters.lost_wh += (flow.charge_w - flow.discharge_w - rate_w) * hours
        counters.unserved_wh += flow.demand_w * (1.0 - flow.served) * hours
        for name, on in self._on.items():
            if on:
                counters.consumed_wh[name] += self._load_w[name] * flow.served * hours
        return passed_s

    def _below_s(self, start_wh: float, end_wh: float, dt_s: float) -> float:
        """Return the seconds that a linear stretch spends below the depth-of-discharge limit."""
        limit = self._capacity_wh * (1.0 - self.config.depth_of_discharge_frac)
        low, high = min(start_wh, end_wh), max(start_wh, end_wh)
        if low >= limit:
            return 0.0
        return dt_s if high <= limit else dt_s * (limit - low) / (high - low)

    def read(self) -> PowerReading:
        """Return the reading that a sensor would give now."""
        flow = self._flow()
        battery_w = flow.charge_w - flow.discharge_w
        config = self.config
        open_v = config.bus_empty_v + (config.bus_full_v - config.bus_empty_v) * self.soc_frac
        # The current is taken at the open-circuit voltage: exact would be a quadratic, and it differs by millivolts.
        return PowerReading(self.soc_frac, flow.solar_w, flow.load_w, battery_w,
                            max(0.0, open_v + battery_w / open_v * config.battery_ohm))  # fmt: skip
