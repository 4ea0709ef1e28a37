"""Properties of power, heat and the window finder under any input."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.core.nanoseconds import NS
from sim_hw.world.orbit import windows_above
from sim_hw.world.power import LOADS, PowerConfig, PowerSystem
from sim_hw.world.thermal import ZERO_C_K, ThermalConfig, ThermalSystem

stretches = st.lists(
    st.tuples(
        st.floats(0.0, 20_000.0),
        st.floats(0.0, 1.0),
        st.sampled_from(LOADS[1:]),
        st.booleans(),
        st.floats(0.0, 60.0),
    ),
    max_size=30,
)
configs = st.builds(
    PowerConfig,
    array_peak_w=st.floats(0.0, 100.0),
    battery_wh=st.floats(0.5, 100.0),
    soc_start_frac=st.floats(0.0, 1.0),
    charge_efficiency=st.floats(0.5, 1.0),
    discharge_efficiency=st.floats(0.5, 1.0),
    charge_limit_w=st.floats(0.0, 50.0),
    base_w=st.floats(0.0, 20.0),
)


@given(configs, stretches)
def test_energy_balances(config: PowerConfig, history: list[tuple[float, float, str, bool, float]]) -> None:
    power = PowerSystem(config)
    start_wh, demand_wh = power.stored_wh, 0.0
    for dt_s, sun, name, on, load_w in history:
        power.set_switch(name, on)
        power.set_load_w(name, load_w)
        asked_w = config.base_w + sum(power._load_w[one] for one in LOADS[1:] if power.switched_on(one))  # noqa: SLF001 - a constant of the model
        demand_wh += asked_w * dt_s / 3600.0
        power.advance(dt_s, sun)
        assert 0.0 <= power.soc_frac <= 1.0
        reading = power.read()
        assert reading.battery_w <= config.charge_limit_w
        assert reading.bus_v >= 0.0
    c = power.counters
    tolerance = 1e-9 * (1.0 + c.generated_wh + demand_wh + start_wh)
    left = start_wh + c.generated_wh - c.total_consumed_wh - c.curtailed_wh - c.lost_wh - power.stored_wh
    assert abs(left) <= tolerance
    assert abs(demand_wh - c.total_consumed_wh - c.unserved_wh) <= tolerance
    stored = start_wh + c.charged_wh * config.charge_efficiency - c.discharged_wh / config.discharge_efficiency
    assert abs(stored - power.stored_wh) <= tolerance
    assert min(c.curtailed_wh, c.unserved_wh, c.below_limit_s) >= 0.0
    assert c.lost_wh >= -tolerance


@given(configs, st.floats(0.0, 1.0), st.lists(st.floats(0.0, 5000.0), min_size=1, max_size=10))
def test_cutting_a_stretch_changes_nothing(config: PowerConfig, sun: float, parts: list[float]) -> None:
    whole, cut = PowerSystem(config), PowerSystem(config)
    whole.advance(math.fsum(parts), sun)
    for part in parts:
        cut.advance(part, sun)
    assert cut.stored_wh == pytest.approx(whole.stored_wh, abs=1e-9)
    assert cut.counters.curtailed_wh == pytest.approx(whole.counters.curtailed_wh, abs=1e-9)
    assert cut.counters.below_limit_s == pytest.approx(whole.counters.below_limit_s, abs=1e-4)


heats = st.floats(0.0, 50.0)


def reference(config: ThermalConfig, dt_s: float, sun: float, board_w: float, radiator_w: float) -> tuple[float, float]:
    """Classical Runge-Kutta with 0.5 s steps on the full non-linear equations."""
    model = ThermalSystem(config)
    env, rad = model.environment_w(sun), model._radiating  # noqa: SLF001 - a constant of the model

    def rate(b: float, r: float) -> tuple[float, float]:
        flow = config.conductance_w_k * (r - b)
        return (board_w + flow) / config.board_j_k, (radiator_w + env - flow - rad * r**4) / config.radiator_j_k

    b, r = config.board_start_c + ZERO_C_K, config.radiator_start_c + ZERO_C_K
    steps = max(1, math.ceil(dt_s / 0.5))
    h = dt_s / steps
    for _ in range(steps):
        k1 = rate(b, r)
        k2 = rate(b + h / 2 * k1[0], r + h / 2 * k1[1])
        k3 = rate(b + h / 2 * k2[0], r + h / 2 * k2[1])
        k4 = rate(b + h * k3[0], r + h * k3[1])
        b += h / 6 * (k1[0] + 2 * k2[0] + 2 * k3[0] + k4[0])
        r += h / 6 * (k1[1] + 2 * k2[1] + 2 * k3[1] + k4[1])
    return b - ZERO_C_K, r - ZERO_C_K


@settings(max_examples=25)
@given(st.floats(0.0, 2000.0), st.floats(0.0, 1.0), heats, heats, st.floats(-40.0, 70.0), st.floats(-40.0, 70.0))
def test_heat_follows_the_equations(dt_s: float, sun: float, board_w: float, radiator_w: float, b: float,
                                    r: float) -> None:  # fmt: skip
    config = ThermalConfig(board_start_c=b, radiator_start_c=r)
    thermal = ThermalSystem(config)
    thermal.advance(dt_s, sun, board_w, radiator_w)
    expected = reference(config, dt_s, sun, board_w, radiator_w)
    assert (thermal.temperature_c("board"), thermal.temperature_c("radiator")) == pytest.approx(expected, abs=0.01)


@given(
    st.builds(
        ThermalConfig,
        board_j_k=st.floats(1.0, 1e5),
        radiator_j_k=st.floats(1.0, 1e5),
        conductance_w_k=st.floats(1e-3, 1e3),
        radiator_m2=st.floats(1e-2, 10.0),
    ),
    st.lists(st.tuples(st.floats(0.0, 1e4), st.floats(0.0, 1.0), heats, heats), max_size=4),
)
@settings(max_examples=50)
def test_heat_never_runs_away(config: ThermalConfig, history: list[tuple[float, float, float, float]]) -> None:
    thermal = ThermalSystem(config)
    for dt_s, sun, board_w, radiator_w in history:
        thermal.advance(dt_s, sun, board_w, radiator_w)
    # No hotter than when all heat leaves through the radiator and the board's through the conductance.
    radiator_k = ((100.0 + thermal.environment_w(1.0)) / thermal._radiating) ** 0.25  # noqa: SLF001 - a constant of the model
    radiator_k = max(radiator_k, config.board_start_c + ZERO_C_K, config.radiator_start_c + ZERO_C_K)
    assert 0.0 < thermal.temperature_c("radiator") + ZERO_C_K <= radiator_k + 1.0
    assert 0.0 < thermal.temperature_c("board") + ZERO_C_K <= radiator_k + 50.0 / config.conductance_w_k + 1.0


@given(st.integers(2, 40), st.floats(0.0, 6.28), st.floats(-0.95, 0.95), st.integers(1, 400))
def test_windows_hold_what_is_above(period_s: int, phase: float, level: float, span_s: int) -> None:
    def height(t_ns: int) -> float:
        return math.sin(2.0 * math.pi * t_ns / (period_s * NS) + phase) - level

    step_ns = period_s * NS // 5
    found = windows_above(height, 0, span_s * NS, step_ns)
    edges = [edge for window in found for edge in window]
    assert edges == sorted(set(edges))
    ms = 2_000_000
    for start, end in found:
        assert height(start) >= 0.0
        if end - start > 2 * ms:
            assert height((start + end) // 2) >= 0.0
        if start > ms:
            assert height(start - ms) < 0.01
    outside = [0, *edges, span_s * NS]
    for low, high in zip(outside[::2], outside[1::2], strict=True):
        if high - low > 2 * ms and high - low < period_s * NS:
            assert height((low + high) // 2) <= 0.01
