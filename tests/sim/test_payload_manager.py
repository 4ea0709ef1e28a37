"""The payload manager on the virtual timeline, with real workers and a tiny model: what it decides, what it counts."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from flight.contract.app import AppContext, CommandRefused, Durable, NodeState, PowerMode
from flight.contract.collect import collect
from flight.contract.dictionary import Declarations
from flight.core.errors import StorageError
from flight.core.future import Future
from flight.core.nanoseconds import NS, ns
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.store.vault import Vault
from flight.store.vault_view import VaultView
from flight.swarm.protocol import JobRequest, LocalSwarm
from hal.base import HalError, Image
from payloads import declarations
from payloads.config import EnergyRule, PayloadConfig, TrafficClass, WorkerAppConfig
from payloads.jobs import DELAYS, DROPS
from payloads.manager import InferenceManager
from payloads.pools import AppPools
from payloads.product.mask import decode_mask_product
from payloads.worker import control_group
from payloads.worker.guards import Guard
from sim_hw.machine.disk import Disk, PowerCut
from sim_hw.machine.faults import FaultPlan, PlannedFault
from sim_hw.machine.loop import VirtualLoop
from sim_hw.machine.platform import SimPlatform
from sim_hw.world.world import World, WorldConfig
from tests.waiting import GIVE_UP_RUN_S, GIVE_UP_S

SIDE = 16
FULL = PowerMode("full", 15.0, 4.0, admits=True)
SAFE = PowerMode("safe", 1.0, 20.0, admits=False)
GOOD = NodeState(soc_frac=0.9, board_c=20.0, radiator_c=0.0, mode=FULL, payload_on=True, in_contact=False)
WORLD = World(WorldConfig())
DICTIONARY = collect(
    [InferenceManager.declare(2, PayloadConfig())], mission="t", spacecraft_id=1, version="0", apids={"app": 2}
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright blue is cloud; a pixel of 65535 in the near infrared makes the logits infinite."""
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    weights = np.zeros((3, 4, 1, 1), dtype=np.float32)
    weights[1, 0] = 1.0
    weights[2, 3] = 3e38
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])], "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.ravel())],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    statistics = {"img": [[0.25] * 4, [0.25] * 4], "band_names": ["blue", "green", "red", "nir"]}
    path.with_suffix(".json").write_text(json.dumps({"data": {"dataset_statistics": statistics}}))
    return path


def picture(number: int, *, cloud_rows: int = 4, broken: bool = False, side: int = SIDE) -> Image:
    samples = np.full((4, side, side), 2000, dtype=np.uint16)
    samples[0, :cloud_rows] = 9000
    if broken:
        samples[3] = 65535
    return Image(number, 4, side, side, samples.tobytes())


@dataclass
class Camera:
    """Numbered pictures. Numbers in `broken` give no finite result."""

    light: bool = True
    fault: bool = False
    number: int = 0
    side: int = SIDE
    cloud_rows: int = 4
    broken: set[int] = field(default_factory=set)

    def ready(self) -> bool:
        return self.light

    def capture(self) -> Image:
        if self.fault:
            raise HalError("shutter stuck")
        self.number += 1
        return picture(self.number, cloud_rows=self.cloud_rows, broken=self.number in self.broken, side=self.side)


@dataclass
class Box:
    """An outbox of `capacity` octets."""

    platform: SimPlatform
    capacity: int = 1_000_000
    durable_after_s: float | None = 0.0
    files: dict[str, bytes] = field(default_factory=dict)
    puts: list[tuple[str, int, float, bool | None]] = field(default_factory=list)

    @property
    def backlog_octets(self) -> int:
        return sum(map(len, self.files.values()))

    @property
    def room_octets(self) -> int:
        return max(0, self.capacity - self.backlog_octets)

    def put(
        self, name: str, octets: bytes, *, priority: int = 1, value: float = 1.0, arrive: bool | None = None
    ) -> Future[bool]:
        durable: Future[bool] = Future()
        if len(octets) > self.room_octets:
            durable.set_result(False)
            return durable
        self.files[name] = octets
        self.puts.append((name, priority, value, arrive))
        if self.durable_after_s is None:
            return durable  # the disk has not answered yet
        if self.durable_after_s:
            self.platform.call_at(self.platform.now_ns() + ns(self.durable_after_s), lambda: durable.set_result(True))
        else:
            durable.set_result(True)
        return durable


class Ground:
    """Everything the manager says: events, reports and housekeeping, each through its declared layout."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.reports: list[dict[str, Any]] = []
        self.handlers: dict[str, tuple[Any, Any]] = {}
        self.samplers: dict[str, Callable[[], Mapping[str, Any]]] = {}
        self.loads: list[bool] = []

    def emit(self, name: str, *values: Any) -> None:
        one = next(e for e in DICTIONARY.events if e.name == name)
        decoded = one.layout.decode(one.layout.encode(values))
        self.events.append((name, {f.name: f.label(v) for f, v in zip(one.fields, decoded, strict=True)}))

    def send(self, name: str, *values: Any) -> None:
        one = next(r for r in DICTIONARY.reports if r.name == name)
        decoded = one.layout.decode(one.layout.encode(values))
        self.reports.append({f.name: f.label(v) for f, v in zip(one.fields, decoded, strict=True)})

    def handle(self, name: str, check: Any, execute: Any) -> None:
        self.handlers[name] = check, execute

    def provide(self, structure: str, sample: Callable[[], Mapping[str, Any]]) -> None:
        self.samplers[structure] = sample

    def housekeeping(self, name: str) -> dict[str, Any]:
        one = next(s for s in DICTIONARY.structures if s.name == name)
        sample, names = self.samplers[name](), [field.name for field in one.fields]
        assert sorted(sample) == sorted(names)
        decoded = one.layout.decode(one.layout.encode([sample[name] for name in names]))
        return dict(zip(names, decoded, strict=True))

    def named(self, name: str) -> list[dict[str, Any]]:
        return [values for one, values in self.events if one == name]


class Notes:
    def __init__(self) -> None:
        self.entries: list[tuple[int, str, bytes]] = []

    def enter(self, t_ns: int, channel: str, octets: bytes) -> None:
        self.entries.append((t_ns, channel, octets))


class Bench:
    """One manager on one virtual node."""

    def __init__(self, config: PayloadConfig, *, faults: FaultPlan | None = None, disk: Disk | None = None,
                 loop: VirtualLoop | None = None, pools: AppPools | None = None) -> None:  # fmt: skip
        self.config, self.loop = config, loop or VirtualLoop()
        self.disk = disk or Disk(Random(1))
        self.camera, self.ground, self.notes = Camera(), Ground(), Notes()
        self.state: NodeState | None = GOOD
        self.platform = SimPlatform("t", self.loop, WORLD, self.disk, Random(1), faults=faults, record=self.notes)
        self.box = Box(self.platform)
        self.vault = Vault(self.platform.storage)
        self.rows = VaultView(self.vault, "payload")
        self.task_faults: list[BaseException] = []
        self.scheduler = Scheduler(self.platform, self.platform.cpu_ns, self._failed)
        self.swarm = LocalSwarm()
        ground = self.ground
        self.manager = InferenceManager(
            AppContext(
                "payload",
                self.platform,
                self.scheduler,
                self.rows,
                self.platform.tai_ns,
                config,
                ground,
                ground,
                ground,
                ground,
                self.box,
                self.swarm,
                self.camera,
                lambda: self.state,
                ground.loads.append,
            ),
            pools,
        )
        self.masks: dict[int, bytes] = {}
        self.manager.on_product = lambda info, mask: self.masks.__setitem__(info.tile, mask)
        self.own_pool = pools is None
        self.manager.start()

    def _failed(self, _task: Task, error: BaseException) -> None:
        self.task_faults.append(error)

    def run(self, s: float) -> None:
        self.loop.run_until(self.loop.now_ns() + ns(s))
        self.check()

    def check(self) -> None:
        """Every tile, every commanded job and every held place is accounted for."""
        c = self.manager.statistics()
        assert c.captured == c.screened + c.dropped_total + c.pending
        assert c.requested == c.requested_done + c.requested_dropped + sum(
            job.durable for job in self.manager.jobs.open_jobs()
        )
        assert c.pending <= self.config.queue_tiles
        assert self.task_faults == []

    def command(self, name: str, *values: int) -> str:
        """Completed, or the reason why not; as the node's dispatcher does it."""
        check, execute = self.ground.handlers[name]
        outcome: list[str] = []

        async def body(_task: Task) -> None:
            left: Durable | None = None
            try:
                left = execute(*values)
                if left is not None:
                    await self.rows.commit(left.changes)
                    left.apply()
                outcome.append("completed")
            except CommandRefused as refusal:
                outcome.append(str(refusal))
            except StorageError as error:
                assert left is not None
                left.undo()
                outcome.append(str(error))

        try:
            if check is not None:
                check(*values)
        except CommandRefused as refusal:
            return f"not accepted: {refusal}"
        self.scheduler.spawn("command", body)
        self.run(0.1)
        return outcome[0]

    def close(self) -> None:
        self.scheduler.close()
        if self.own_pool:
            self.manager.close()
        else:  # what is in work comes back, so that the pool is free for the next one
            self.loop.run_until(self.loop.now_ns() + 100_000_000_000)


def worker_app(model: Path, **changes: Any) -> WorkerAppConfig:
    return replace(
        WorkerAppConfig("screen", "payloads.apps.screen:Screen", str(model), reserve_octets=3000), **changes
    )  # fmt: skip


def config_of(model: Path, **changes: Any) -> PayloadConfig:
    base = PayloadConfig(
        worker_app=(worker_app(model),), height=SIDE, width=SIDE, capture_period_s=5.0, queue_tiles=6,
        traffic=(TrafficClass("routine", 3, 600.0), TrafficClass("alert", 0, 60.0)),
        pattern=("routine", "routine", "routine", "alert"),
        energy=(EnergyRule(0, 0.5, 0.6), EnergyRule(255, 0.7, 0.8)), heat_stop_c=50.0, heat_resume_c=45.0,
        wall_limit_s=GIVE_UP_RUN_S,
    )  # fmt: skip
    return replace(base, **changes)


@pytest.fixture(scope="module")
def shared_pool(model: Path) -> Iterator[AppPools]:
    """One pool for all examples: processes are slow to start, and hold nothing between tiles."""
    pool = AppPools.of(config_of(model))
    pool.start()
    yield pool
    pool.close()


@pytest.fixture
def bench(model: Path, shared_pool: AppPools) -> Iterator[Callable[..., Bench]]:
    """Makes benches; with a pool of their own where `own_pool` is asked for."""
    made: list[Bench] = []

    def make(own_pool: bool = False, **options: Any) -> Bench:
        parts = {name: options.pop(name) for name in ("faults", "disk", "loop") if name in options}
        made.append(Bench(config_of(model, **options), pools=None if own_pool else shared_pool, **parts))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_nominal(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.run(99.5)
    c = b.manager.statistics()
    assert (c.captured, c.screened, c.dropped_total, c.pending) == (20, 20, 0, 0)
    assert c.energy_j == pytest.approx(20 * 15.0 * 4.0)
    assert c.tile_energy_j == pytest.approx(60.0)
    assert c.octets_raw == c.octets_captured == 20 * 2048
    assert c.octets_product == b.box.backlog_octets
    assert c.infer_median_ms > 0
    product = decode_mask_product(b.box.files["screen-00000003-00000003.obsp"])
    assert (product.header.tile, product.header.cloud_frac) == (3, 0.25)
    assert product.header.time_ns == WORLD.start_tai_ns + 10_000_000_000
    assert b.masks[3] == product.mask.tobytes()
    assert b.ground.loads[:2] == [True, False]
    hk = b.ground.housekeeping("payload")
    assert (hk["captured"], hk["screened"], hk["pending"]) == (20, 20, 0)
    assert b.ground.housekeeping("payload_energy")["tile_energy_j"] == 60.0


def test_same_run_twice_gives_the_same_decisions(bench: Callable[..., Bench]) -> None:
    runs = []
    for _ in range(2):
        b = bench(
            own_pool=True,
            faults=FaultPlan([PlannedFault("worker-kill", 20.0), PlannedFault("worker-hang", 40.0)]),
            workers=2,
        )
        b.run(150)
        runs.append((b.notes.entries, b.ground.events))
    assert runs[0] == runs[1]


def test_before_the_first_state_nothing_starts(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.state = None
    b.run(20)
    assert b.manager.statistics().pending == 5
    b.state = GOOD
    b.run(30)
    assert b.manager.statistics().screened > 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"soc_frac": 0.4}, "energy"),
        ({"board_c": 51.0}, "heat"),
        ({"mode": SAFE}, "mode"),
        ({"payload_on": False}, "power_off"),
    ],
)
def test_delays_are_counted_once_a_job(bench: Callable[..., Bench], change: dict[str, Any], reason: str) -> None:
    b = bench(queue_tiles=50)
    b.state = replace(GOOD, **change)
    b.run(29)
    c = b.manager.statistics()
    assert c.screened == 0
    assert c.delayed == {"energy": 0, "heat": 0, "downlink": 0, "mode": 0, "power_off": 0, reason: 6}
    b.state = GOOD
    b.camera.light = False
    b.run(60)
    assert b.manager.statistics().screened == 6
    assert b.ground.housekeeping("payload")[f"delayed_{reason}"] == 6


def test_charge_has_hysteresis_and_spares_the_urgent(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.state = replace(GOOD, soc_frac=0.65)  # below the routine threshold, above that of alerts
    b.run(59)
    c = b.manager.statistics()
    assert c.screened == 3, "the three alerts of twelve tiles"
    assert b.ground.named("gate_shut")[0] | {"board_c": 0} == {
        "reason": "energy", "from_priority": 1, "soc_frac": pytest.approx(0.65), "board_c": 0,
    }  # fmt: skip
    b.state = replace(GOOD, soc_frac=0.75)  # over the lower threshold, not yet over the upper one
    b.run(20)
    assert b.manager.statistics().screened == 4
    b.state = replace(GOOD, soc_frac=0.81)
    b.run(20)
    assert b.manager.statistics().screened > 6
    assert len(b.ground.named("gate_shut")) == len(b.ground.named("gate_open")) == 1


def test_full_outbox_delays(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.box.capacity = 3500  # products of this size take some 200 octets, a job needs 3000 to start
    b.run(60)
    c = b.manager.statistics()
    assert 0 < c.screened < c.captured
    assert c.delayed["downlink"] > 0
    b.box.files.clear()
    b.run(10)
    assert b.manager.statistics().screened > c.screened


def test_a_job_ends_only_when_its_product_is_durable(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.box.durable_after_s = None  # the disk does not answer
    assert b.command("submit_job", 1, 0, 500) == "completed"
    b.run(40)
    assert len(b.box.files) == 1 and b.manager.statistics().screened == 0
    assert [name for name, _ in b.rows.rows("job.")], "the request stays until the product is safe"
    assert b.manager.jobs.busy == 1


def test_products_are_put_with_the_priority_of_their_jobs_and_the_value_of_their_app(
    bench: Callable[..., Bench], model: Path
) -> None:
    b = bench(worker_app=(worker_app(model, value=2.5),))
    b.run(60)
    assert {value for _, _, value, _ in b.box.puts} == {2.5}
    assert {priority for _, priority, _, _ in b.box.puts} == {0, 3}


def test_a_large_product_goes_in_two_parts_its_mask_first(bench: Callable[..., Bench], model: Path) -> None:
    b = bench(worker_app=(worker_app(model, progressive_octets=100),))
    b.run(10)
    (first, *_), (second, *_) = b.box.puts[:2]
    assert first == second.replace(".obsp", "-mask.obsp")
    mask, whole = decode_mask_product(b.box.files[first]), decode_mask_product(b.box.files[second])
    assert mask.clear is None and whole.clear is not None
    assert (mask.mask == whole.mask).all() and mask.header.job == whole.header.job
    assert len(b.box.files[first]) < len(b.box.files[second])


def test_room_taken_by_others_meanwhile_drops(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.run(1)
    b.box.capacity = 0
    b.run(5)
    assert b.manager.statistics().dropped["downlink"] == 1


def test_full_queue_gives_up_the_tile_of_lowest_rank(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.state = replace(GOOD, payload_on=False)
    b.run(49)  # ten tiles for six places: two are alerts
    dropped = b.ground.named("job_dropped")
    assert [one["job"] for one in dropped] == [7, 6, 9, 10]
    assert {one["reason"] for one in dropped} == {"queue"}
    assert b.manager.statistics().dropped["queue"] == 4


def test_deadline_passes(bench: Callable[..., Bench]) -> None:
    b = bench(traffic=(TrafficClass("routine", 3, 12.0), TrafficClass("alert", 0, 8.0)))
    b.state = replace(GOOD, mode=SAFE)
    b.run(60)
    c = b.manager.statistics()
    assert c.dropped["deadline"] == c.captured - c.pending > 8


def test_cloudy_tiles_send_no_pixels(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.camera.cloud_rows = 14
    b.run(9)
    c = b.manager.statistics()
    assert c.screened == c.cloudy == 2 - c.pending
    assert decode_mask_product(next(iter(b.box.files.values()))).clear is None


def test_killed_worker_costs_one_attempt(bench: Callable[..., Bench]) -> None:
    b = bench(own_pool=True, faults=FaultPlan([PlannedFault("worker-kill", 9.0)]))
    b.run(60)
    c = b.manager.statistics()
    assert c.failures == {"died": 1}
    assert (c.retried, c.worker_restarts, c.dropped_total) == (1, 1, 0)
    assert b.ground.named("worker_failed") == [{"job": 3, "failure": "died", "attempt": 1, "detail": "killed"}]
    assert c.energy_lost_j == pytest.approx(60.0)


def test_energy_is_shared_by_jobs_that_run_at_once(bench: Callable[..., Bench]) -> None:
    b = bench(own_pool=True, workers=2, capture_period_s=2.0)
    b.run(60)
    c = b.manager.statistics()
    done = [job for job in b.manager.jobs.ended if job.state.name == "DONE"]
    assert c.screened > 20
    assert 59 * 15.0 * 0.9 <= c.energy_j <= 60 * 15.0  # one power limit, however many workers are at work
    assert sum(job.energy_j for job in done) <= c.energy_j
    assert min(job.energy_j for job in done[2:]) == pytest.approx(30.0, rel=0.3)


def test_energy_follows_the_mode_while_a_job_runs_and_what_runs_is_in_the_account(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.run(1)
    assert b.manager.jobs.busy == 1
    b.state = replace(GOOD, mode=SAFE)
    b.run(1)
    c = b.manager.statistics()
    assert 15.0 <= c.energy_j <= 32.0
    b.run(1.5)
    assert b.manager.statistics().energy_j == pytest.approx(c.energy_j + 1.5, abs=1.0)
    assert b.manager.statistics().energy_running_j == b.manager.statistics().energy_j


def test_off_and_on_between_two_looks_is_seen(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    b = bench(own_pool=True)
    b.run(8)
    resets: list[int] = []
    monkeypatch.setattr(b.manager.pools, "reset", lambda: resets.append(1))
    b.state = replace(GOOD, payload_cycles=1)
    b.run(8)
    assert resets == [1]


def test_a_worker_that_died_between_jobs_costs_no_attempt_but_is_reported(bench: Callable[..., Bench]) -> None:
    b = bench(own_pool=True)
    b.run(9.5)
    before = b.manager.statistics()
    assert b.manager.jobs.pending == 0
    (pid,) = b.manager.pools.pids
    pid_fd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert select.select([pid_fd], [], [], GIVE_UP_S)[0], "all of its threads have ended"
    os.close(pid_fd)
    b.run(20)
    c = b.manager.statistics()
    assert (c.failures, c.retried, c.worker_restarts, c.dropped_total) == ({"died": 1}, 0, 1, 0)
    assert c.screened > before.screened
    assert [e["detail"] for e in b.ground.named("worker_failed")] == ["found dead before the job"]


def test_hung_worker_is_killed_on_the_timeline(bench: Callable[..., Bench]) -> None:
    b = bench(own_pool=True, faults=FaultPlan([PlannedFault("worker-hang", 9.0)]), hang_s=20.0)
    b.run(120)
    c = b.manager.statistics()
    assert c.failures == {"hung": 1}
    assert c.hang_limit_fired == 0
    assert b.ground.named("worker_failed")[0]["detail"] == "no answer in 20 s"
    assert c.energy_lost_j == pytest.approx(15.0 * 20.0)
    assert c.screened > 10


def test_output_that_is_not_finite_fails_after_two_attempts(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.camera.broken = {2}
    b.run(60)
    c = b.manager.statistics()
    assert c.failures == {"bad output": 2}
    assert c.dropped["failed"] == 1
    assert [e["attempt"] for e in b.ground.named("worker_failed")] == [1, 2]
    assert c.screened > 8


def test_workers_given_up_until_the_payload_is_switched(bench: Callable[..., Bench]) -> None:
    b = bench(own_pool=True, restarts_max=1)
    b.camera.broken = {1}
    b.run(30)
    assert len(b.ground.named("workers_given_up")) == 1
    assert b.manager.statistics().screened == 0
    b.state = replace(GOOD, payload_on=False)
    b.run(3)
    b.state = GOOD
    b.run(30)
    assert b.manager.statistics().screened > 0


def test_switched_off_in_mid_job(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.camera.light = True
    b.run(2)
    b.camera.light = False
    b.state = replace(GOOD, payload_on=False)
    b.run(10)
    c = b.manager.statistics()
    assert (c.screened, c.interrupted, c.pending) == (0, 1, 1)
    b.state = GOOD
    b.run(10)
    assert b.manager.statistics().screened == 1


def test_imager_fault_and_wrong_shape(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.camera.fault = True
    b.run(9)
    assert b.manager.statistics().capture_faults == 2
    assert b.ground.named("capture_failed")[0] == {"detail": "shutter stuck"}
    b.camera.fault, b.camera.side = False, 8
    b.run(10)
    c = b.manager.statistics()
    assert c.captured == c.dropped["shape"] == 2


def test_submit_list_cancel(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.camera.light = False
    assert b.command("submit_job", 3, 1, 500) == "completed"
    assert b.ground.named("jobs_submitted") == [{"first": 1, "last": 3, "priority": 1}]
    assert b.command("list_jobs") == "completed"
    assert [(r["job"], r["state"], r["tile"], r["left_s"]) for r in b.ground.reports] == [
        (1, "waiting", 0, 499), (2, "waiting", 0, 499), (3, "waiting", 0, 499),
    ]  # fmt: skip
    assert b.command("cancel_job", 2) == "completed"
    assert b.command("cancel_job", 2) == "not accepted: job 2"
    b.camera.light = True
    b.run(15)
    assert b.manager.statistics().requested_done == 2
    b.camera.light = False
    b.run(20)
    b.ground.reports.clear()
    assert b.command("list_jobs") == "completed"
    states = {r["job"]: (r["state"], r["reason"]) for r in b.ground.reports}
    assert states[2] == ("dropped", "cancelled")
    assert states[1] == ("done", "none")
    assert b.command("cancel_job", 1) == "not accepted: job 1"


def test_a_node_without_a_camera_refuses_to_take_pictures(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.manager._commands._context = replace(b.manager._commands._context, imager=None)  # noqa: SLF001 - a node without a camera
    assert b.command("submit_job", 1, 1, 500) == "not accepted: this node has no camera"


def test_running_job_is_not_cancelled_and_the_table_is_bounded(bench: Callable[..., Bench]) -> None:
    b = bench(jobs_max=32)
    b.run(1)
    assert b.command("cancel_job", 1) == "not accepted: job 1"
    b.camera.light = False
    assert b.command("submit_job", 32, 1, 500) == "completed"
    assert b.command("submit_job", 1, 1, 500) == "not accepted: 32 open, 1 asked for, 32 at most"
    b.run(500)
    c = b.manager.statistics()
    assert c.requested_dropped == 32, "no light before the deadline"
    assert c.dropped["deadline"] == 0, "they never had a tile"


def test_requests_survive_a_loss_of_power(bench: Callable[..., Bench]) -> None:
    before = bench(own_pool=True)
    before.camera.light = False
    assert before.command("submit_job", 2, 1, 500) == "completed"
    before.run(5)
    before.disk.cut()
    before.close()
    after = bench(own_pool=True, disk=before.disk, loop=before.loop)
    assert after.ground.named("jobs_restored") == [{"jobs": 2}]
    after.run(30)
    c = after.manager.statistics()
    assert c.requested_done == 2
    jobs = {int(name[16:24]) for name in after.box.files}
    assert {1, 2} <= jobs
    assert min(jobs - {1, 2}) > 1000, "numbers of the boot before do not come again"
    after.disk.cut()
    after.close()
    assert bench(own_pool=True, disk=after.disk, loop=after.loop).ground.named("jobs_restored") == []


def test_power_lost_at_every_write_of_a_submission(bench: Callable[..., Bench]) -> None:
    """What was completed is there after boot; what was not completed is there wholly or not at all."""
    for cut in range(1, 8):
        disk = Disk(Random(cut))
        b = bench(disk=disk)
        b.camera.light = False
        b.run(1)
        disk.cut_at_operation = disk.operations + cut
        completed = False
        with contextlib.suppress(PowerCut, IndexError):  # IndexError: the command has no outcome any more
            completed = b.command("submit_job", 2, 1, 500) == "completed"
            b.run(1)
        b.close()
        disk.cut_at_operation = None
        disk.cut()
        after = bench(disk=disk, loop=b.loop)
        restored = after.ground.named("jobs_restored")
        assert restored in ([], [{"jobs": 2}])
        assert restored or not completed


def test_damaged_ledger_is_said(bench: Callable[..., Bench]) -> None:
    disk, loop = Disk(Random(1)), VirtualLoop()
    Vault(disk.boot(loop)).commit({"payload.job.0000000007": b"rubbish", "payload.next": b"?"})
    loop.run_until(NS)
    b = bench(disk=disk, loop=loop)
    assert b.ground.named("ledger_failed") == [{"detail": "2 rows are unreadable"}]
    assert b.vault.get("payload.job.0000000007") == b"rubbish", "another version may know it"


def test_full_disk_fails_the_command_and_nothing_stays(bench: Callable[..., Bench]) -> None:
    b = bench(disk=Disk(Random(1), capacity_octets=40))
    b.camera.light = False
    assert "disk full" in b.command("submit_job", 3, 1, 500)
    assert b.manager.statistics().waiting == 0


def test_foreign_job_with_its_own_picture(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.camera.light = False
    b.run(1)
    admission = b.swarm.submit(JobRequest("screen", 0, b.loop.now_ns() + 60_000_000_000, picture(77)))
    assert admission.job is not None
    b.run(6)
    assert 77 in b.masks


def test_declarations_are_whole() -> None:
    assert {code.name: int(code) for code in declarations.JobFailure} == {
        "UNKNOWN_JOB": 100, "JOB_TABLE_FULL": 101, "JOB_RUNNING": 102, "JOB_REFUSED": 103,
    }  # fmt: skip
    document = DICTIONARY.document()
    assert isinstance(InferenceManager.declare(2, PayloadConfig()), Declarations)
    assert {c["name"] for c in document["commands"]} == {"submit_job", "cancel_job", "list_jobs"}


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["soc", "heat", "mode", "switch", "light", "room", "submit", "cancel", "fault", "empty"]),
            st.integers(0, 9),
            st.floats(0.5, 20),
        ),
        max_size=12,
    )
)
def test_the_sum_holds_whatever_happens(
    model: Path, shared_pool: AppPools, steps: list[tuple[str, int, float]]
) -> None:
    b = Bench(config_of(model), pools=shared_pool)
    try:
        for what, number, run_s in steps:
            assert b.state is not None
            if what == "soc":
                b.state = replace(b.state, soc_frac=number / 10)
            elif what == "heat":
                b.state = replace(b.state, board_c=number * 8.0)
            elif what == "mode":
                b.state = replace(b.state, mode=(FULL, SAFE)[number % 2])
            elif what == "switch":
                b.state = replace(b.state, payload_on=bool(number % 2))
            elif what == "light":
                b.camera.light = bool(number % 2)
            elif what == "room":
                b.box.capacity = number * 2000
            elif what == "empty":
                b.box.files.clear()
            elif what == "submit":
                b.command("submit_job", number + 1, number % 3, 10 + number * 20)
            elif what == "cancel":
                b.command("cancel_job", number)
            else:
                b.camera.fault = bool(number % 2)
            for _ in range(4):
                b.run(run_s / 4)
    finally:
        b.close()


def test_ground_sees_which_guards_hold(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that may not make control groups says so once, at its start, and in its housekeeping."""
    monkeypatch.setattr(control_group, "home", lambda: None)
    one = Bench(config_of(model, worker_app=(worker_app(model, guards_off=("no_network",)),)))
    try:
        one.run(30.0)
        pool = one.manager.pools
        (event,) = one.ground.named("guards_missing")
        assert event["guards"] == ", ".join(pool.missing.labels)
        assert "cgroup" in event["guards"]
        assert "no_network" not in event["guards"]
        held = Guard(one.ground.housekeeping("payload")["isolation"])
        assert held == pool.guards
        assert Guard.NO_NEW_PRIVILEGES | Guard.MEMORY_LIMIT in held
        assert not Guard.NO_NETWORK & held
        assert one.manager.statistics().guards_missing == pool.missing.labels
    finally:
        one.close()


def test_guards_off_must_be_guards(model: Path) -> None:
    ((name, text),) = worker_app(model, guards_off=("moat", "cgroup")).faults()
    assert name == "guards_off"
    assert text.startswith("names moat, should be of no_new_privileges, ")


def test_housekeeping_shows_what_its_fields_are_named_after(bench: Callable[..., Bench]) -> None:
    """Values and names are matched by position alone: each counter here is one that no other field has."""
    b = bench()
    b.state = None  # nothing starts: what is captured waits
    b.run(12)
    b.state = GOOD
    b.run(3.5)
    b.state = None
    assert b.command("submit_job", 2, 0, 3_000) == "completed"
    counters, stats = b.manager.counters, b.manager.pools["screen"].stats
    right: dict[str, Any] = {"pending": 4, "running": 1, "waiting": 2}
    for number, name in enumerate(("captured", "screened", "cloudy", "capture_faults"), 100):
        setattr(counters, name, number)
        right[name] = number
    for number, reason in enumerate((*DELAYS, *DROPS), 200):
        kind, counter = ("delayed", counters.delayed) if number < 200 + len(DELAYS) else ("dropped", counters.dropped)
        counter[reason] = number
        right[f"{kind}_{reason.label}"] = number
    stats.restarts, counters.failures = 300, Counter({"hung": 150, "died": 160})
    right |= {"dropped": counters.dropped.total(), "worker_restarts": 300, "worker_failures": 310}
    right["isolation"] = int(b.manager.pools.guards)
    shown = b.ground.housekeeping("payload")
    assert shown == right and len(set(right.values())) == len(right)
    counters.captured = counters.screened + counters.dropped.total() + b.manager.jobs.pending
    b.run(4)
    counters.screened, counters.energy_j, counters.energy_lost_j = 4, 90.0, 10.0
    counters.octets_raw, counters.octets_product = 6_400, 1_600
    assert b.ground.housekeeping("payload_energy") == {
        "energy_j": 90.0, "energy_lost_j": 10.0, "tile_energy_j": 20.0, "octets_raw": 6_400, "octets_product": 1_600,
        "product_frac": 0.25,
    }  # fmt: skip
    stats.restarts = 0  # the pool is shared
    counters.captured = counters.screened + counters.dropped.total() + b.manager.jobs.pending
