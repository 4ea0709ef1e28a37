"""Thermal duty: samples the temperature sensors and keeps the board above freezing with its heater."""

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
REPEAT_TICKS = 15


@dataclass(frozen=True, slots=True)
class ThermalConfig:
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
    """The newest temperatures, NaN without a good sample in `STALE_S`; a thermostat with two thresholds."""

    def __init__(self, config: ThermalConfig, board: Thermometer, radiator: Thermometer, heater: Heater | None,
                 parameters: Parameters, events: EventSink) -> None:  # fmt: skip
        self.board_c = self.radiator_c = float("nan")
        self._config = config
        self._board = board
        self._radiator = radiator
        self._heater = heater
        self._heater_on = False
        # A heater outlives a restart of the node, and a board may miss an order or forget it when it restarts itself:
        # the heater is told what we take it to be at boot, and again and again.
        self._heater_known = False
        self._hot = False
        self._read_ns: dict[str, int] = {}
        self._parameters = parameters
        self._events = events
        self._devices = {name: Device(name, events) for name in ("board thermometer", "radiator thermometer", "heater")}

    def samplers(self) -> Iterable[Sampler]:
        return (Sampler("thermal", self._sample),)

    def tasks(self) -> Iterable[ServiceTask]:
        return (ServiceTask("thermal", self.run, deadline_s=0.5, critical=True),)

    async def run(self, task: Task) -> None:
        async for tick in task.every(self._config.sample_period_s, deadline_s=0.5):
            sick = [device for device in self._devices.values() if not device.healthy]
            self.board_c = self._read("board thermometer", self._board, self.board_c, tick.due_ns)
            self.radiator_c = self._read("radiator thermometer", self._radiator, self.radiator_c, tick.due_ns)
            if tick.index % REPEAT_TICKS == 0 or any(device.healthy for device in sick):
                self._heater_known = False  # a board that is back may have restarted
            self._regulate()
            self._watch_heat()

    def _read(self, name: str, sensor: Thermometer, before_c: float, now_ns: int) -> float:
        """The sensor's temperature; where it fails the one before, and NaN once that is stale."""
        read_c = self._devices[name].ask(sensor.read_c)
        if read_c is not None:
            self._read_ns[name] = now_ns
            return read_c
        return before_c if now_ns - self._read_ns.get(name, 0) <= ns(STALE_S) else math.nan

    def _regulate(self) -> None:
        """Comparisons with NaN are false: without a reading the heater stays as it is."""
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
        elif self._hot and self.board_c < limit_c - 2.0:
            self._hot = False

    def _sample(self) -> Sample:
        return {
            "board_c": self.board_c,
            "radiator_c": self.radiator_c,
            "heater": int(self._heater_on),
            "sensor_faults": sum(device.faults for device in self._devices.values()),
        }
