"""Every Eps, Thermometer, Heater and Governor: readings that make sense, orders that have an effect."""

from __future__ import annotations

from typing import Any

import pytest

from hal.base import HalError


def test_readings_are_those_of_the_world(board: Any) -> None:
    reading = board.eps.read()
    assert 0.0 <= reading.soc_frac <= 1.0 and reading.solar_w >= 0.0 and reading.load_w > 0.0
    assert reading.bus_v > 0.0
    assert reading.soc_frac == pytest.approx(board.world.read_power().soc_frac, abs=0.01)
    for name, thermometer in board.thermometers.items():
        assert thermometer.read_c() == pytest.approx(board.world.temperature_c(name), abs=0.5)


def test_switches_switch(board: Any) -> None:
    for on in (True, False, True):
        board.eps.set_switch("payload", on)
        assert board.bench.until(lambda on=on: board.world.power.switched_on("payload") is on)
        assert board.eps.read().load_w > 0.0


def test_the_heater_and_the_limit_are_drawn(board: Any) -> None:
    def drawn(load: str, power_w: float) -> bool:
        return bool(abs(board.world.power.loads_w()[load] - power_w) < 0.01)

    board.heater.set_on(True)
    assert board.bench.until(lambda: drawn("heater", 5.0))
    board.heater.set_on(False)
    assert board.bench.until(lambda: drawn("heater", 0.0))
    board.eps.set_switch("payload", True)
    board.governor.set_limit_w(12.5)
    assert board.bench.until(lambda: drawn("payload", 12.5))
    board.governor.set_limit_w(0.0)
    assert board.bench.until(lambda: drawn("payload", 0.0))


def test_unknown_names_are_refused(board: Any) -> None:
    with pytest.raises(HalError, match="warp"):
        board.eps.set_switch("warp", True)
    with pytest.raises(HalError, match="attic"):
        board.open_thermometer("attic").read_c()
