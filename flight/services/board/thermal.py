"""Thermal duty: samples the temperature sensors and keeps the board above freezing with its heater."""

# A thermostat with two thresholds: on below `heater_on_c`, off above `heater_off_c`, unchanged in between. Without a
# fresh reading the board's temperature is NaN, and every comparison with NaN is false: the heater stays as it is,
# whichever way that is. A sensor that fails while the board is cold must not switch the heater off.
#
# An order is not a fact: the heater may have been left on by the boot before, and a board may miss an order or forget
# it when it restarts. `_heater_known` says that the order was taken; it is dropped every REPEAT_TICKS samples and
# whenever a device recovers, and then the order is given again. Nothing here is stored: the first samples after a boot
# say it all.

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from flight.contract.app import EventSink, Sample
from flight.contract.dictionary import Declarations, EventDefinition, Structure
from flight.contract.fields import Field, Limits
from flight.contract.service import Sampler, Service, ServiceTask
from flight.contract.settings import setting, settings_of
from flight.core.config import key
from flight.core.nanoseconds import ns
from flight.core.task import Task
from flight.services.board.device import Device
from flight.services.settings.parameters import Parameters
from hal.base import Heater, Thermometer

_SWITCHES = ("off", "on")
STALE_S = 20.0  # a temperature older than this says nothing
REPEAT_TICKS = 15  # samples until the heater's order is given again


@dataclass(frozen=True, slots=True)
class ThermalConfig:
    """Mission section [thermal]."""

    sample_period_s: float = key(2.0, minimum=0.1, maximum=60, text="the temperature sensors are read so often")
    heater_on_c: float = setting(
        10, 2.0, unit="degC", minimum=-40, maximum=40, below="heater_off_c",
        text="board temperature below which the heater is on",
    )  # fmt: skip
    heater_off_c: float = setting(
        11, 6.0, unit="degC", minimum=-40, maximum=40, text="board temperature above which the heater is off"
    )
    board_warm_c: float = key(55.0, minimum=0, maximum=120, below="board_hot_c", text="yellow limit")
    board_hot_c: float = key(65.0, minimum=0, maximum=120, text="red limit")


def declare(apid: int, config: ThermalConfig) -> Declarations:
    """Return events, structure and settings of the thermal duty."""
    limits = Limits(yellow=(-10.0, config.board_warm_c), red=(-20.0, config.board_hot_c))
    return Declarations(
        structures=(
            Structure(
                apid, 3, "thermal", 10.0,
                (
                    Field("board_c", "f32", "degC", "compute board", limits=limits),
                    Field("radiator_c", "f32", "degC", "radiator"),
                    Field("heater", "u8", "", "board heater", labels=_SWITCHES),
                    Field("sensor_faults", "u16", "", "sensor and heater calls that failed"),
                ),
            ),
        ),
        events=(
            EventDefinition(
                apid, 30, "heater_switched", "info", "heater {state} at {board_c:.1f} degC",
                (Field("state", "u8", labels=_SWITCHES), Field("board_c", "f32")),
            ),
            EventDefinition(
                apid, 31, "board_hot", "medium", "board at {board_c:.1f} degC, limit {limit_c:.1f}",
                (Field("board_c", "f32"), Field("limit_c", "f32")),
            ),
        ),
        settings=settings_of(config),
    )  # fmt: skip


class Thermal(Service):
    """The newest temperatures, NaN without a good sample in STALE_S, and a thermostat with two thresholds."""

    def __init__(self, config: ThermalConfig, board: Thermometer, radiator: Thermometer, heater: Heater | None,
                 parameters: Parameters, events: EventSink) -> None:  # fmt: skip
        self.board_c = self.radiator_c = float("nan")
        self._config = config
        self._board = board
        self._radiator = radiator
        self._heater = heater
        self._heater_on = False
        # Taken to be off at boot, and ordered so: it may be on since the boot before.
        self._heater_known = False
        self._hot = False
        self._read_ns: dict[str, int] = {}
        self._parameters = parameters
        self._events = events
        self._devices = {name: Device(name, events) for name in ("board thermometer", "radiator thermometer", "heater")}

    def samplers(self) -> Iterable[Sampler]:
        """Return the sampler of the structure "thermal"."""
        return (Sampler("thermal", self._sample),)

    def tasks(self) -> Iterable[ServiceTask]:
        """Return the thermal duty, a critical task."""
        return (ServiceTask("thermal", self.run, deadline_s=0.5, critical=True),)

    async def run(self, task: Task) -> None:
        """Sample the sensors once per period, regulate the heater, and watch for heat."""
        async for tick in task.every(self._config.sample_period_s, deadline_s=0.5):
            failing = [device for device in self._devices.values() if not device.healthy]
            self.board_c = self._read("board thermometer", self._board, self.board_c, tick.due_ns)
            self.radiator_c = self._read("radiator thermometer", self._radiator, self.radiator_c, tick.due_ns)
            if tick.index % REPEAT_TICKS == 0 or any(device.healthy for device in failing):
                self._heater_known = False  # a board that is back may have restarted
            self._regulate()
            self._watch_heat()

    def _read(self, name: str, sensor: Thermometer, before_c: float, now_ns: int) -> float:
        """Return the sensor's temperature in degrees Celsius: the last one if it fails, NaN once that is stale."""
        read_c = self._devices[name].ask(sensor.read_c)
        if read_c is not None:
            self._read_ns[name] = now_ns
            return read_c
        return before_c if now_ns - self._read_ns.get(name, 0) <= ns(STALE_S) else math.nan

    def _regulate(self) -> None:
        """Order the heater on or off. Comparisons with NaN are false: without a reading it stays as it is."""
        want = self._heater_on
        if self.board_c < self._parameters.get("heater_on_c"):
            want = True
        elif self.board_c > self._parameters.get("heater_off_c"):
            want = False
        heater = self._heater
        if heater is None or (want == self._heater_on and self._heater_known):
            return
        if self._devices["heater"].order(lambda: heater.set_on(want)):
            self._heater_known = True
            if want != self._heater_on:
                self._heater_on = want
                self._events.emit("heater_switched", int(want), self.board_c)

    def _watch_heat(self) -> None:
        limit_c = self._config.board_warm_c
        if not self._hot and self.board_c > limit_c:
            self._hot = True
            self._events.emit("board_hot", self.board_c, limit_c)
        # 2 K below the limit, so that a temperature near it does not repeat the event.
        elif self._hot and self.board_c < limit_c - 2.0:
            self._hot = False

    def _sample(self) -> Sample:
        return {
            "board_c": self.board_c,
            "radiator_c": self.radiator_c,
            "heater": int(self._heater_on),
            "sensor_faults": sum(device.faults for device in self._devices.values()),
        }
