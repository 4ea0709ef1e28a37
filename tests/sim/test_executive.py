"""What the executive tells of its tasks, and what `orbitnode tm tasks` makes of it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS, ns
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.core.task_stats import BUCKETS
from flight.link.pus import PusTm
from flight.services.health.executive import Executive, declare
from flight.services.health.status import Status
from flight.services.reporting.events import Events
from flight.services.reporting.telemetry import Telemetry
from ground.cli.tasks import choose, duration, histogram, rows
from ground.telemetry.decoder import Decoder
from sim_hw.boot_accounts import ENDED, task_totals
from sim_hw.machine.loop import VirtualLoop
from sim_hw.report.run_report import store_rows, task_rows
from tests.field_values import integer
from tests.sim.conftest import MakeRig, Rig

DONE = [1, 3, 7]


class Kept:
    """In place of the recorder: keeps what it is given."""

    def __init__(self) -> None:
        self.packets: list[PusTm] = []

    def store(self, packet: bytes, heard: bool) -> bool:
        self.packets.append(PusTm.decode(packet))
        return not heard


def telemetry(kept: Kept | None = None) -> Telemetry:
    return Telemetry(lambda: 0, kept or Kept())


def fly(cost_ns: Callable[[str], int], seconds: float = 10.0) -> Scheduler:
    """Two tasks for ten seconds, each step as long as `cost_ns` says; the scheduler."""
    loop = VirtualLoop()
    scheduler = Scheduler(loop, loop.now_ns, lambda _task, _error: None, step_cost_ns=cost_ns)

    async def tick(task: Task) -> None:
        async for _ in task.every(0.1, deadline_s=0.02):
            pass

    async def once(task: Task) -> None:
        await task.sleep(1.0)
        if not task.stats.failures:
            raise ValueError("as planned")
        await task.sleep(1000.0)

    scheduler.spawn("control", tick, critical=True, budget_s=0.005)
    scheduler.spawn("other", once)
    loop.run_until(ns(seconds))
    return scheduler


def reported(scheduler: Scheduler) -> list[dict[str, Any]]:
    kept = Kept()
    list(Executive(1, scheduler, telemetry(kept)).report())
    (report,) = declare(1).reports
    names = [f.name for f in report.fields]
    assert {(packet.apid, packet.service, packet.subtype) for packet in kept.packets} == {(1, 3, 130)}
    made = []
    for packet in kept.packets:
        row = dict(zip(names, report.layout.decode(packet.data), strict=True))
        labels = {f.name: f.labels for f in report.fields if f.labels}
        made.append(row | {name: labels[name][integer(row[name])] for name in labels})
    return made


def test_every_task_is_reported_with_its_counts_and_histogram() -> None:
    control, other = reported(fly(lambda name: 1_000_000 if name == "control" else 0))
    assert (control["task"], control["state"], control["critical"]) == ("control", "waiting", "yes")
    assert (control["index"], other["index"], control["tasks"]) == (0, 1, 2)
    assert (control["period_ms"], control["deadline_ms"], control["budget_us"]) == (100, 1000, 5000)
    assert control["ticks"] in (100, 101)
    assert control["worst_step_us"] == 1000 and control["cpu_permille"] == 10
    assert (control["late"], control["overruns"]) == (0, 0)
    assert sum(control[f"latency_{i}"] for i in range(BUCKETS)) == control["steps"]
    assert (other["failures"], other["restarts"], other["period_ms"]) == (1, 1, 0)


def test_what_goes_wrong_is_counted() -> None:
    (control, *_) = reported(fly(lambda _name: 30_000_000))
    assert control["late"] >= 90 and control["overruns"] >= 90
    executive = Executive(1, fly(lambda _name: 30_000_000), telemetry())
    names = [f.name for f in declare(1).structures[0].fields]
    totals = executive.sample()
    assert sorted(totals) == sorted(names)
    assert totals["worst_step_us"] == 30_000 and totals["worst_step_task"] == "control"
    assert integer(totals["overruns"]) >= 90 and totals["failures"] == 1
    declare(1).structures[0].layout.encode([totals[name] for name in names])


def test_what_a_task_counted_stays_when_it_has_ended() -> None:
    loop = VirtualLoop()
    scheduler = Scheduler(loop, loop.now_ns, lambda *_: None, step_cost_ns=lambda name: 9_000_000 * (name == "short"))

    async def short(task: Task) -> None:
        await task.sleep(1.0)
        raise ValueError("every time")

    async def steady(task: Task) -> None:
        async for _ in task.every(1.0):
            pass

    scheduler.spawn("short", short)
    scheduler.spawn("steady", steady)
    status, executive = Status(1, scheduler, 2**48 - 1), Executive(1, scheduler, telemetry())
    seen = []
    for t_s in range(1, 12):
        loop.run_until(t_s * NS)
        sample = status.sample()
        seen.append([integer(sample[n]) for n in ("steps", "ticks", "skipped", "late", "overruns", "task_failures")])
    assert [task.name for task in scheduler.tasks] == ["steady"]
    assert all(a <= b for before, after in pairwise(seen) for a, b in zip(before, after, strict=True))
    assert seen[-1][-1] == 4, "failures"
    assert status.sample()["boot_epoch"] == 2**48 - 1, "not cut to 32 bits"
    told = executive.sample()
    assert (told["worst_step_us"], told["worst_step_task"]) == (9000, "")
    totals = task_totals(scheduler)
    assert list(totals) == ["steady", ENDED]
    assert sum(one.steps for one in totals.values()) == seen[-1][0]


def test_tasks_are_ordered_and_found_by_name() -> None:
    tasks = reported(fly(lambda name: 1_000_000 if name == "control" else 2_000))
    assert [t["task"] for t in choose(tasks, "cpu", "")] == ["control", "other"]
    assert [t["task"] for t in choose(tasks, "worst", "")] == ["control", "other"]
    assert choose(tasks, "late", "other")[0]["task"] == "other"
    with pytest.raises(OrbitnodeError, match="no task 'x', known: control, other"):
        choose(tasks, "cpu", "x")


def test_table_and_histogram_show_what_was_counted() -> None:
    tasks = reported(fly(lambda _name: 1_500_000))
    heading, control, other = rows(tasks)
    assert control[0] == "control" and control[heading.index("max step")] == "1.5 ms"
    assert other[heading.index("period")] == "-" and control[heading.index("cpu")].endswith(" %")
    lines = histogram(tasks[0])
    assert lines[0].startswith("control: waiting, critical, ")
    shares = [float(line.split("%")[0].split()[-1]) for line in lines[3:]]
    assert sum(shares) == pytest.approx(100, abs=1) and lines[3].endswith("#")
    nothing = tasks[0] | {f"latency_{i}": 0 for i in range(BUCKETS)}
    assert len(histogram(nothing)) == 3


@pytest.mark.parametrize(("us", "text"), [(0, "0 us"), (999, "999 us"), (1500, "1.5 ms"), (2_500_000, "2.5 s")])
def test_durations_have_a_unit_that_suits_them(us: int, text: str) -> None:
    assert duration(us) == text


def test_report_rows_have_a_cell_for_each_head() -> None:
    counts = ("steps", "ticks", "late", "skipped", "overruns", "starved", "failures")
    times = ("worst_us", "worst_latency_us", "latency_p50_us", "latency_p99_us", "cpu_permille")
    idle = dict.fromkeys((*counts, *times), 0) | {"name": "idle"}
    busy = idle | {"name": "busy", "cpu_permille": 12.5}
    head, first, _ = task_rows([idle, busy])
    assert len(first) == len(head) and first[0] == "busy" and first[-1] == "1.25 %"
    store = dict.fromkeys(("recorded", "played_back", "overwritten", "refused", "waiting", "octets"), 1000)
    head, row = store_rows([store | {"name": "reports", "fill_frac": 0.123}])
    assert row == ["reports", *["1,000"] * 6, "12.3%"] and len(head) == len(row)


def test_ground_hears_of_every_task_of_a_node(make_rig: MakeRig) -> None:
    rig: Rig = make_rig(more="[housekeeping]\nperiod_s = {executive = 5.0}\n[executive]\nstarve_s = 2.0\n")
    rig.until(100)
    request = rig.send("report_tasks")
    rig.until(110)
    assert rig.stages(request) == DONE
    decoder = Decoder(rig.dictionary)
    told = [decoder.decode(raw) for raw in rig.raw if raw[6:9][1:] == bytes((3, 130))]
    assert [one.values["index"] for one in told] == list(range(integer(told[0].values["tasks"])))
    assert {"power", "commands", "radio.s-band"} <= {one.values["task"] for one in told}
    assert any(one.name == "executive" for one in map(decoder.decode, rig.raw))


class Mute(Exception):
    """Its text raises."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "text"), [(Mute(), "Mute"), (SystemExit(3), "SystemExit: 3"), (GeneratorExit(), "GeneratorExit")]
)
def test_a_task_may_fail_with_anything(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch, error: BaseException, text: str
) -> None:
    """With an error that has no text, and with what would end a program."""
    rig: Rig = make_rig()
    told = []
    rig.until(5)
    emit = rig.node.part(Events).emit

    def hear(name: str, *values: Any) -> None:
        told.append((name, *values))
        emit(name, *values)

    monkeypatch.setattr(rig.node.part(Events), "emit", hear)

    async def body(task: Task) -> None:
        await task.sleep(1.0)
        if not task.stats.failures:
            raise error
        await task.sleep(1000.0)

    task = rig.node.scheduler.spawn("app", body)
    rig.until(20)
    assert ("task_failed", "app", text) in told
    assert (task.stats.failures, task.waiting) == (1, True)
