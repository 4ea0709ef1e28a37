"""The `[sim]` section of mission.toml: everything about a run that is not the node's own."""

from __future__ import annotations

from dataclasses import dataclass

from flight.core.config import key
from sim_hw.world.world import WorldConfig


@dataclass(frozen=True, slots=True)
class SimConfig:
    """A run: its length, the quality of the air, the operator's script, and the world."""

    orbit_min: float = key(95.0, minimum=1, maximum=1000, text="minutes that count as one orbit")
    bit_error_rate: float = key(1e-7, minimum=0, maximum=0.5, text="share of bits that arrive inverted, each way")
    acquisition_s: float = key(2.0, minimum=0, maximum=600, text="from rise above the mask to lock")
    script: str = key("ground.procedures.first_orbit:first_orbit", text='operator script as "module:function"')
    clock_offset_s: float = key(0.0, minimum=-1e8, maximum=1e8, text="error of the board's clock at the start")
    clock_drift_ppm: float = key(0.0, minimum=-1000, maximum=1000, text="by which the board's clock runs too fast")
    cpu_profile: str = key("", text="file of what tasks' steps cost, from `orbitnode bench profile`; empty: nothing")
    world: WorldConfig = key(WorldConfig(), text="orbit, stations, power, thermal")  # noqa: RUF009 - frozen
