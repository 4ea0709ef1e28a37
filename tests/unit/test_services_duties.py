"""Power and thermal duties on the simulated board: protection, modes, thermostat, and devices that fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from math import isnan, nan
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flight.catalogue import dictionary_of
from flight.contract.app import CommandRefused, Durable
from flight.contract.failures import Failure
from flight.core.nanoseconds import ns
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.mission import MISSIONS, load
from flight.services.board.power import Power, PowerConfig
from flight.services.board.thermal import Thermal, ThermalConfig
from flight.services.settings.parameters import Parameters
from flight.store.vault import Vault
from hal.base import Eps, Governor, HalError, Heater, PowerReading, Thermometer
from sim_hw.machine.disk import Disk
from sim_hw.machine.faults import FaultPlan, PlannedFault
from sim_hw.machine.loop import VirtualLoop
from sim_hw.machine.platform import SimPlatform
from sim_hw.machine.simulated_devices import SimEps, SimGovernor, SimHeater, SimThermometer
from sim_hw.world.world import World, WorldConfig
from tests.serving import no_upload, serve


@dataclass
class Sink:
    """Events, reports and handlers, as the duties give them."""

    events: list[tuple[Any, ...]] = field(default_factory=list)
    commands: dict[str, tuple[Callable[..., None] | None, Callable[..., Any]]] = field(default_factory=dict)
    samples: dict[str, Callable[[], Any]] = field(default_factory=dict)

    def emit(self, name: str, *values: Any) -> None:
        self.events.append((name, *values))

    def send(self, *arguments: Any) -> None:
        pass

    def handle(self, name: str, check: Any, execute: Any) -> None:
        self.commands[name] = (check, execute)

    def provide(self, structure: str, sample: Any) -> None:
        self.samples[structure] = sample

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [event[1:] for event in self.events if event[0] == name]


@dataclass
class Moody:
    """A device in front of the simulated one: what it measures is set by hand, and its orders may fail."""

    eps: Eps | None = None
    soc_frac: float | None = None
    celsius: float | None = None
    mute: bool = False
    stuck: bool = False
    orders: list[tuple[Any, ...]] = field(default_factory=list)

    def read(self) -> PowerReading:
        assert self.eps is not None
        self._answer(self.mute)
        reading = self.eps.read()
        return reading if self.soc_frac is None else replace(reading, soc_frac=self.soc_frac)

    def read_c(self) -> float:
        self._answer(self.mute)
        assert self.celsius is not None
        return self.celsius

    def set_switch(self, name: str, on: bool) -> None:
        self._answer(self.mute or self.stuck)
        assert self.eps is not None
        self.eps.set_switch(name, on)
        self.orders.append((name, on))

    def set_on(self, on: bool) -> None:
        self._answer(self.mute or self.stuck)
        self.orders.append(("heater", on))

    def set_limit_w(self, power_w: float) -> None:
        self._answer(self.mute or self.stuck)
        self.orders.append(("limit", power_w))

    @staticmethod
    def _answer(faulty: bool) -> None:
        if faulty:
            raise HalError("no answer")


class Bench:
    """Both duties with real parameters on a simulated platform."""

    def __init__(self, mission_path: Path, faults: str = "") -> None:
        self.mission = load(mission_path)
        self.loop, self.world = VirtualLoop(), World(WorldConfig())
        plan = FaultPlan([PlannedFault.parse(one) for one in faults.split()])
        self.platform = SimPlatform("n", self.loop, self.world, Disk(Random(1)), Random(1), faults=plan)
        self.sink: Any = Sink()  # takes the place of Telemetry and Events, too
        self.failures: list[BaseException] = []
        self.scheduler = Scheduler(self.platform, self.platform.cpu_ns, lambda _, error: self.failures.append(error))
        settings = dictionary_of(self.mission).settings
        sink: Any = self.sink
        self.vault = Vault(self.platform.storage)
        self.parameters = Parameters(1, settings, self.vault, sink, sink, no_upload)

    def power(self, eps: Eps, governor: Governor | None = None) -> Power:
        power = Power(self.mission.section(PowerConfig), eps, governor, self.parameters, self.vault, self.sink)
        serve(power, self.sink, self.sink)
        self.scheduler.spawn("power", power.run)
        return power

    def thermal(self, board: Thermometer, radiator: Thermometer, heater: Heater | None) -> Thermal:
        thermal = Thermal(self.mission.section(ThermalConfig), board, radiator, heater, self.parameters, self.sink)
        serve(thermal, self.sink, self.sink)
        self.scheduler.spawn("thermal", thermal.run)
        return thermal

    def order(self, command: str, value: int) -> None:
        """Execute a command to its end, as the command task would; raises what its handler raises."""
        refused: list[CommandRefused] = []

        async def body(_: Task) -> None:
            try:
                outcome: Durable = self.sink.commands[command][1](value)
                await self.vault.commit(outcome.changes)
                outcome.apply()
            except CommandRefused as refusal:
                refused.append(refusal)

        self.scheduler.spawn("order", body)
        self.run(0.1)
        if refused:
            raise refused[0]

    def run(self, duration_s: float) -> None:
        self.loop.run_until(self.loop.now_ns() + ns(duration_s))
        assert self.failures == []


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def one(faults: str = "") -> Bench:
        path = tmp_path / "bare.toml"
        path.write_text(f'extends = "{(MISSIONS / "orbit.toml").as_posix()}"\napp = []\n')
        benches.append(Bench(path, faults))
        return benches[-1]

    yield one
    for bench in benches:
        bench.scheduler.close()


SAFE, ECO, NOMINAL = 0, 1, 2


def test_low_charge_protects_and_recovery_gives_the_mode_back(make: Callable[..., Bench]) -> None:
    bench = make()
    eps = Moody(SimEps(bench.platform), soc_frac=0.8)
    power = bench.power(eps)
    bench.run(3)
    assert (power.mode.name, bench.sink.events) == ("nominal", [])
    eps.soc_frac = 0.6  # the threshold itself is not below it
    bench.run(3)
    assert power.mode.name == "nominal"
    eps.soc_frac = 0.59
    bench.run(30)
    assert (power.mode.name, power.mode.admits) == ("safe", False)
    assert bench.sink.named("battery_low") == [(0.59,)]
    eps.soc_frac = 0.66
    bench.run(3)
    assert power.mode.name == "safe"
    eps.soc_frac = 0.661
    bench.run(3)
    assert power.mode.name == "nominal"
    assert bench.sink.named("power_mode") == [(NOMINAL, SAFE, 2), (SAFE, NOMINAL, 3)]


def test_while_protecting_only_the_safe_mode_may_be_commanded_and_then_it_stays(make: Callable[..., Bench]) -> None:
    bench = make()
    eps = Moody(SimEps(bench.platform), soc_frac=0.5)
    power = bench.power(eps)
    bench.run(3)
    check, _ = bench.sink.commands["set_power_mode"]
    for one in (check, lambda mode: bench.order("set_power_mode", mode)):
        with pytest.raises(
            CommandRefused, match="battery is low, only mode safe is admitted until it has recovered"
        ) as refused:
            one(ECO)
        assert refused.value.code == Failure.REFUSED_IN_MODE
    check(SAFE)
    bench.order("set_power_mode", SAFE)
    eps.soc_frac = 0.9
    bench.run(3)
    assert power.mode.name == "safe"  # the operator asked for it: recovery does not take it away
    bench.order("set_power_mode", ECO)
    assert power.mode.name == "eco"


def test_thresholds_that_are_set_are_those_that_count(make: Callable[..., Bench]) -> None:
    bench = make()
    power = bench.power(Moody(SimEps(bench.platform), soc_frac=0.8))
    with pytest.raises(CommandRefused, match=r"soc_safe_frac: 0.9 should stay below soc_resume_frac, which is 0.66"):
        bench.parameters.set_rows(((1, 0.9),))
    bench.parameters.set_rows(((1, 0.9), (2, 0.95))).apply()
    bench.run(60)
    assert power.mode.name == "safe"
    assert len(bench.sink.named("battery_low")) == 1


def test_no_number_for_a_charge_changes_nothing(make: Callable[..., Bench]) -> None:
    bench = make()
    power = bench.power(Moody(SimEps(bench.platform), soc_frac=nan))
    assert all(isnan(value) for value in list(bench.sink.samples["power"]().values())[:5])
    bench.run(5)
    assert power.mode.name == "nominal"
    assert bench.sink.events == []


def test_a_switch_that_the_eps_refuses_fails_the_command_and_nothing_else(make: Callable[..., Bench]) -> None:
    bench = make()
    eps = Moody(SimEps(bench.platform))
    power = bench.power(eps)
    bench.run(3)
    eps.stuck = True
    with pytest.raises(CommandRefused, match="the EPS did not switch payload") as refused:
        bench.order("payload_power", 0)
    assert refused.value.code == Failure.DEVICE
    assert power.payload_on
    bench.run(20)
    assert [e for e in bench.sink.events if e[0].startswith("device")] == [
        ("device_fault", "eps switches", "no answer")
    ]
    assert bench.sink.samples["power"]()["eps_faults"] == 1  # one fault, and it is not tried again: the sender was told
    eps.stuck = False
    bench.order("payload_power", 0)
    assert not bench.world.power.switched_on("payload")
    assert bench.sink.events[-2:] == [("device_recovered", "eps switches"), ("payload_power", 0)]
    assert bench.sink.samples["power"]()["payload"] == 0


def test_an_eps_that_is_mute_at_boot_gets_its_orders_when_it_answers(make: Callable[..., Bench]) -> None:
    bench = make("eps-mute@0")
    power = bench.power(SimEps(bench.platform))
    bench.run(30)
    power.switch_transmitter(True)
    assert isnan(bench.sink.samples["power"]()["soc_frac"])
    assert bench.sink.samples["power"]()["eps_faults"] > 30
    bench.run(60)
    assert power.reading is not None
    assert bench.world.power.switched_on("payload")
    assert bench.world.power.switched_on("radio")
    assert [e[:2] for e in bench.sink.events] == [
        ("device_fault", "eps switches"), ("device_fault", "eps"),
        ("device_recovered", "eps switches"), ("device_recovered", "eps"),
    ]  # fmt: skip


def test_an_eps_that_is_back_gets_its_orders_at_once(make: Callable[..., Bench]) -> None:
    """It may have restarted, and have switched as it does then."""
    bench = make()
    eps = Moody(SimEps(bench.platform))
    bench.power(eps)
    bench.run(5)
    eps.mute = True
    bench.run(2)
    bench.world.set_switch("payload", False)
    eps.mute = False
    bench.run(2)
    assert bench.world.power.switched_on("payload")


def test_a_heater_on_a_board_that_is_back_gets_its_order_at_once(make: Callable[..., Bench]) -> None:
    bench = make()
    board, heater = Moody(celsius=20.0), Moody()
    bench.thermal(board, Moody(celsius=20.0), heater)
    bench.run(5)
    board.mute = True
    bench.run(4)
    board.mute = False
    before = len(heater.orders)
    bench.run(4)
    assert heater.orders[before:] == [("heater", False)]


def test_a_governor_that_fails_is_one_fault_and_gets_its_limit_later(make: Callable[..., Bench]) -> None:
    bench = make()
    governor = Moody(stuck=True)
    power = bench.power(SimEps(bench.platform), governor)
    bench.run(10)
    power.set_computing("payload", True)
    bench.run(10)
    assert bench.sink.events == [("device_fault", "payload governor", "no answer")]
    governor.stuck = False
    bench.run(2)
    assert governor.orders == [("limit", 15.0)]
    assert bench.sink.events[1:] == [("device_recovered", "payload governor")]
    assert bench.sink.samples["power"]()["eps_faults"] == 0


def test_the_limit_follows_work_mode_and_switch(make: Callable[..., Bench]) -> None:
    bench = make()
    power = bench.power(SimEps(bench.platform), SimGovernor(bench.platform))

    def drawn() -> float:
        return bench.world.power.loads_w()["payload"]

    bench.run(2)
    assert drawn() == 1.0
    power.set_computing("payload", True)
    assert drawn() == 15.0
    bench.order("set_power_mode", ECO)
    assert drawn() == 7.0
    power.switch_payload(False)
    assert drawn() == 0.0
    power.set_computing("payload", False)
    power.switch_payload(True)
    assert drawn() == 1.0


def test_the_thermostat_switches_at_two_thresholds(make: Callable[..., Bench]) -> None:
    bench = make()
    board, heater = Moody(celsius=20.0), Moody()
    thermal = bench.thermal(board, SimThermometer(bench.platform, "radiator"), heater)
    states = []
    for celsius in (20.0, 2.0, 1.9, 5.9, 6.0, 6.1, 2.0, -30.0):
        board.celsius = celsius
        bench.run(2)
        states.append(bench.sink.samples["thermal"]()["heater"])
    assert states == [0, 0, 1, 1, 1, 0, 0, 1]
    assert bench.sink.named("heater_switched") == [(1, 1.9), (0, 6.1), (1, -30.0)]
    assert heater.orders == [("heater", False), ("heater", True), ("heater", False), ("heater", True)]
    assert not isnan(thermal.radiator_c)


def test_a_heater_left_on_by_the_life_before_is_switched_off(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.world.set_switch("heater", True)
    bench.thermal(Moody(celsius=20.0), Moody(celsius=20.0), SimHeater(bench.platform))
    bench.run(3)
    assert not bench.world.power.switched_on("heater")
    assert bench.sink.events == []


def test_without_a_number_the_heater_stays_as_it_is(make: Callable[..., Bench]) -> None:
    bench = make()
    board, heater = Moody(mute=True), Moody()
    thermal = bench.thermal(board, Moody(celsius=1.0), heater)
    bench.run(5)
    assert isnan(thermal.board_c)
    board.mute, board.celsius = False, 0.0
    bench.run(2)
    board.celsius = nan
    bench.run(2)
    assert bench.sink.samples["thermal"]()["heater"] == 1
    board.mute = True
    bench.run(20)
    assert bench.sink.named("device_fault") == [("board thermometer", "no answer")] * 2
    assert bench.sink.named("device_recovered") == [("board thermometer",)]
    assert bench.sink.samples["thermal"]()["sensor_faults"] >= 10


def test_a_heater_that_fails_is_one_fault_and_is_tried_again(make: Callable[..., Bench]) -> None:
    bench = make()
    heater = Moody(stuck=True)
    bench.thermal(Moody(celsius=-5.0), Moody(celsius=0.0), heater)
    bench.run(20)
    assert bench.sink.events == [("device_fault", "heater", "no answer")]
    assert bench.sink.samples["thermal"]()["heater"] == 0
    heater.stuck = False
    bench.run(2)
    assert bench.sink.events[1:] == [("device_recovered", "heater"), ("heater_switched", 1, -5.0)]


def test_no_heater_and_a_hot_board(make: Callable[..., Bench]) -> None:
    bench = make()
    board = Moody(celsius=55.1)
    bench.thermal(board, Moody(celsius=0.0), None)
    bench.run(20)
    board.celsius = 54.0
    bench.run(4)
    board.celsius = 56.0
    bench.run(4)
    assert bench.sink.named("board_hot") == [(55.1, 55.0)]  # no second one before it was 2 degrees cooler
    board.celsius = 52.9
    bench.run(4)
    board.celsius = 60.0
    bench.run(4)
    assert len(bench.sink.named("board_hot")) == 2


def test_a_stored_mode_that_this_mission_does_not_have_is_told(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.vault.stage({"power": b"\1no such mode"})
    power = bench.power(SimEps(bench.platform))
    ((name, record, text),) = [one for one in bench.sink.events if one[0] == "record_damaged"]
    assert (name, record) == ("record_damaged", "power mode")
    assert text == f"power left out: no mode 'no such mode' here, it starts in {power.mode.name}"
