"""Power, heat and the world that joins them: figures that can be worked out by hand, and bad calls."""

from __future__ import annotations

import pytest

from flight.core.config import Fault, read_table
from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from hal.base import HalError
from sim_hw.world.orbit import OrbitConfig, StationConfig
from sim_hw.world.power import PowerConfig, PowerSystem
from sim_hw.world.thermal import ThermalConfig, ThermalSystem
from sim_hw.world.world import SVALBARD, TROLL, World, WorldConfig

HOUR_S = 3600.0


def test_battery_carries_the_eclipse() -> None:
    power = PowerSystem(PowerConfig())
    power.advance(HOUR_S / 2.0, 0.0)
    # 8 W for half an hour through an efficiency of 0.95.
    assert power.stored_wh == pytest.approx(36.0 - 4.0 / 0.95)
    reading = power.read()
    assert (reading.solar_w, reading.load_w, reading.battery_w) == (0.0, 8.0, -8.0)
    assert reading.soc_frac == power.soc_frac == power.lowest_soc_frac
    assert power.counters.consumed_wh["base"] == pytest.approx(4.0)
    assert power.counters.lost_wh == pytest.approx(4.0 / 0.95 - 4.0)


def test_full_battery_curtails_the_array() -> None:
    power = PowerSystem(PowerConfig(soc_start_frac=1.0))
    power.advance(HOUR_S, 1.0)
    assert power.counters.curtailed_wh == pytest.approx(34.0)
    assert power.soc_frac == 1.0
    assert power.read().battery_w == 0.0


def test_charger_has_a_limit() -> None:
    power = PowerSystem(PowerConfig(array_peak_w=100.0, battery_wh=400.0, soc_start_frac=0.5))
    power.advance(HOUR_S, 1.0)
    assert power.read().battery_w == 35.0
    assert power.stored_wh == pytest.approx(200.0 + 35.0 * 0.95)
    assert power.counters.curtailed_wh == pytest.approx(100.0 - 8.0 - 35.0)


def test_empty_battery_is_a_brownout() -> None:
    power = PowerSystem(PowerConfig(battery_wh=8.0, soc_start_frac=0.5))
    power.advance(HOUR_S, 0.0)
    counters = power.counters
    assert (power.soc_frac, power.brownout) == (0.0, True)
    assert counters.total_consumed_wh == pytest.approx(4.0 * 0.95)
    assert counters.unserved_wh == pytest.approx(8.0 - 4.0 * 0.95)
    assert power.loads_w()["base"] == 0.0
    power.advance(60.0, 1.0)
    assert not power.brownout
    assert power.soc_frac > 0.0


def test_depth_of_discharge_is_reported() -> None:
    power = PowerSystem(PowerConfig(soc_start_frac=0.85))
    assert (power.below_limit, power.counters.below_limit_s) == (False, 0.0)
    # 2 Wh above the limit last 2 * 0.95 / 8 hours.
    power.advance(HOUR_S, 0.0)
    assert power.below_limit
    assert power.counters.below_limit_s == pytest.approx(HOUR_S * (1.0 - 2.0 * 0.95 / 8.0))


def test_switches_and_loads() -> None:
    power = PowerSystem(PowerConfig())
    assert power.loads_w() == {"base": 8.0, "payload": 0.0, "radio": 0.0, "heater": 0.0}
    power.set_switch("payload", True)
    power.set_load_w("payload", 25.0)
    power.set_switch("radio", True)
    assert power.read().load_w == 8.0 + 25.0 + 12.0
    assert power.switched_on("payload")
    power.set_switch("payload", False)
    assert power.read().load_w == 20.0
    for call in (lambda: power.set_switch("laser", True), lambda: power.set_load_w("laser", 1.0),
                 lambda: power.switched_on("laser")):  # fmt: skip
        with pytest.raises(HalError, match="unknown load 'laser', known: base, payload, radio, heater"):
            call()
    with pytest.raises(HalError, match="no switch"):
        power.set_switch("base", False)
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(HalError, match="finite and not negative"):
            power.set_load_w("payload", wrong)


def test_bus_voltage_follows_charge() -> None:
    full, low = PowerSystem(PowerConfig(soc_start_frac=1.0)), PowerSystem(PowerConfig(soc_start_frac=0.1))
    full.advance(1.0, 0.0)
    low.advance(1.0, 0.0)
    assert 6.0 < low.read().bus_v < full.read().bus_v < 8.4


@pytest.mark.parametrize(
    ("sun", "board_w", "sink_c"), [(1.0, 7.0, 12.0), (1.0, 15.0, 12.0), (0.0, 7.0, -18.0), (0.0, 0.0, -18.0)]
)
def test_two_nodes_settle_near_the_planning_model(sun: float, board_w: float, sink_c: float) -> None:
    thermal = ThermalSystem(ThermalConfig())
    thermal.advance(200_000.0, sun, board_w, 0.0)
    # The planning model is linear; real radiation is weaker in the cold.
    assert thermal.temperature_c("board") == pytest.approx(sink_c + board_w / 0.35, abs=5.0)
    # At rest the conductance carries exactly the board's heat.
    assert thermal.temperature_c("board") - thermal.temperature_c("radiator") == pytest.approx(board_w, abs=1e-6)


def test_warming_takes_the_planning_models_time() -> None:
    thermal = ThermalSystem(ThermalConfig(board_start_c=12.0, radiator_start_c=12.0))
    thermal.advance(2571.0, 1.0, 10.0, 0.0)
    # One time constant C / G: 63 % of the 28.6 K.
    assert thermal.temperature_c("board") - 12.0 == pytest.approx(0.632 * 28.6, rel=0.12)
    assert thermal.highest_c("board") == thermal.temperature_c("board")


def test_unknown_sensor() -> None:
    with pytest.raises(HalError, match="unknown temperature sensor 'sink', known: board, radiator"):
        ThermalSystem(ThermalConfig()).temperature_c("sink")


def test_a_world_lives_through_an_orbit() -> None:
    world = World(WorldConfig())
    world.set_switch("payload", True)
    world.set_load_w("payload", 15.0)
    lowest, dark_s = 1.0, 0
    for second in range(1, 95 * 60 + 1):
        world.advance(second * NS)
        lowest = min(lowest, world.read_power().soc_frac)
        dark_s += world.sun_frac(second * NS) == 0.0
    counters = world.power.counters
    assert world.now_ns == 5700 * NS
    assert dark_s == pytest.approx(34.43 * 60, abs=2)
    assert counters.generated_wh == pytest.approx(42.0 * (95.0 - 34.58) / 60.0, rel=2e-3)
    assert counters.consumed_wh["payload"] == pytest.approx(15.0 * 95.0 / 60.0)
    assert 0.6 < lowest < 0.75
    assert 45.0 < world.thermal.highest_c("board") < 60.0


def test_one_long_step_equals_many_short_ones() -> None:
    long, short = World(WorldConfig()), World(WorldConfig())
    long.advance(40 * 60 * NS)
    for t_ns in range(0, 40 * 60 * NS + 1, 60 * NS):
        short.advance(t_ns)
        short.advance(t_ns - 1)
    assert long.read_power() == short.read_power()
    assert long.temperature_c("board") == short.temperature_c("board")


def test_stations_in_sight() -> None:
    world = World(WorldConfig())
    minute = 60 * NS
    assert world.station_in_sight(10 * minute) is None
    assert world.station_in_sight(20 * minute) is SVALBARD
    assert world.station_in_sight(75 * minute) is TROLL
    assert [p.station.name for p in world.passes(0, 95 * minute)] == ["svalbard", "troll"]
    assert len(world.eclipses(0, 95 * minute)) == 1
    assert 1_800_000 < world.light_time(SVALBARD)(20 * minute) < 8_000_000
    assert world.start_tai_ns == world.orbit.start_tai_ns


def test_world_config_from_a_table() -> None:
    faults: list[Fault] = []
    table = {
        "orbit": {"inclination_deg": 51.6},
        "stations": [{"name": "here", "latitude_deg": 1.0, "longitude_deg": 2}],
        "power": {"battery_wh": 80},
        "thermal": {"conductance_w_k": 0.25},
    }
    made = read_table(WorldConfig, table, (), faults)
    assert faults == []
    assert made is not None
    assert made.stations == (StationConfig("here", 1.0, 2.0),)
    assert (made.orbit.inclination_deg, made.power.battery_wh, made.thermal.conductance_w_k) == (51.6, 80.0, 0.25)
    World(made)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"stations": []}, "should have 1 .. 64"),
        ({"stations": [{"name": "a", "latitude_deg": 1.0, "longitude_deg": 2.0}] * 2}, "used twice"),
        ({"stations": [{"latitude_deg": 1.0, "longitude_deg": 2.0}]}, "is missing"),
        ({"stations": [{"name": "a", "latitude_deg": 99.0, "longitude_deg": 2.0}]}, "-90 .. 90"),
        ({"power": {"soc_start_frac": 1.5}}, "0 .. 1"),
        ({"power": {"bus_full_v": 5.0}}, "should not be below bus_empty_v"),
        ({"thermal": {"emissivity": 0}}, "0.01 .. 1"),
    ],
)
def test_bad_world_config(table: dict[str, object], text: str) -> None:
    faults: list[Fault] = []
    read_table(WorldConfig, table, (), faults)
    assert text in "; ".join(f.text for f in faults)


def test_a_world_needs_an_orbit() -> None:
    with pytest.raises(OrbitnodeError, match="perigee"):
        World(WorldConfig(orbit=OrbitConfig(eccentricity=0.5)))
