"""Several worker apps in one run: a mask, scalars and a table, from the tile to the ground's archive and report.

Real workers, the apps that come with the project, and a screening model of one layer.
"""

from __future__ import annotations

import csv
import json
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flight.core.errors import SetupError
from flight.mission import MISSIONS, MissionError, load
from ground.server.command_answers import command_list
from payloads.apps.ndvi import Ndvi
from payloads.apps.water import Water
from payloads.config import PayloadConfig, TrafficClass, WorkerAppConfig
from payloads.pools import AppPools
from payloads.product.decode import decode_product
from payloads.product.records import RecordProduct
from sim_hw.config import SimConfig
from sim_hw.mission_run import MissionRun
from sim_hw.report.outputs import RunFolder
from sim_hw.report.run_report import report
from sim_hw.report.summary import RunFacts, summarise
from sim_hw.report.worker_apps import scalar_ranges
from sim_hw.spacecraft_run import SpacecraftRun
from sim_hw.world.scenes import Tile
from tests.field_values import integer
from tests.sim.conftest import START
from tests.unit.test_payload_pool import save_model
from tests.waiting import GIVE_UP_RUN_S

SIDE = 16
END_S = 240.0
APPS = f"""
[[payload.worker_app]]
name = "screen"
code = "payloads.apps.screen:Screen"
model = "MODEL"

[[payload.worker_app]]
name = "ndvi"
code = "payloads.apps.ndvi:Ndvi"
time_frac = 0.2
reserve_octets = 1000

[[payload.worker_app]]
name = "water"
code = "payloads.apps.water:Water"
time_frac = 0.4
reserve_octets = 10_000

[[payload.traffic]]
name = "routine"
priority = 3
deadline_s = 2400

[[payload.traffic]]
name = "vegetation"
priority = 2
deadline_s = 1200
app = "ndvi"

[[payload.traffic]]
name = "flood"
priority = 0
deadline_s = 300
app = "water"

[payload]
bands = 4
height = {SIDE}
width = {SIDE}
capture_period_s = 3.0
wall_limit_s = {GIVE_UP_RUN_S}
pattern = ["routine", "vegetation", "flood"]
"""
SCRIPT = """
async def order(op):
    assert await op.wait_contact(600.0)
    record = await op.send("submit_job", tiles=2, priority=1, deadline_s=100, app="ndvi")
    assert record.outcome == "completed", record
    assert (await op.send("list_jobs")).outcome == "completed"
    status = await op.wait_for("job_status", 30.0)
    assert status["app"] in ("screen", "ndvi", "water"), status
"""


def tile(number: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Water in a corner, green land elsewhere, and more of the one with each tile."""
    samples = np.full((SIDE, SIDE, 4), 500, np.uint16)
    samples[..., 3] = 3000
    samples[: 6 + number, :6, 1] = 1500
    samples[: 6 + number, :6, 3] = 100
    return np.moveaxis(samples, -1, 0)


class Tiles:
    """Three small tiles over and over."""

    count = 3

    def tile(self, number: int) -> Tile:
        return Tile(tile(number), None, f"t{number}")


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SpacecraftRun, dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("apps")
    model = save_model(folder / "m.onnx", "good")
    (folder / "orders.py").write_text(SCRIPT)
    (folder / "mission.toml").write_text(
        f'extends = "{(MISSIONS / "orbit.toml").as_posix()}"\n{APPS.replace("MODEL", str(model))}'
        f'[power]\nsoc_safe_frac = 0.5\n[sim]\nscript = "orders:order"\n[sim.world.orbit]\nstart = "{START}"\n'
        "[sim.world.power]\nsoc_start_frac = 0.95\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        mission = load(folder / "mission.toml", {"sim": SimConfig})
        out = RunFolder(folder / "out", [mission.node.name])
        run = MissionRun([mission], lambda _: Tiles(), out, seed=5, duration_s=END_S)
        try:
            run.start()
            run.advance(run.end_ns)
        finally:
            run.finish()
    (flown,) = run.spacecraft
    summary = summarise(flown, RunFacts(seed=5, orbits=0.1, wall_s=1.0, scenes="tiles"))
    yield flown, json.loads(json.dumps(summary))
    run.archive.close()


def test_each_app_answers_its_tiles(flown: tuple[SpacecraftRun, dict[str, Any]]) -> None:
    run, summary = flown
    assert run.ground.script_failures == []
    tiles, apps = summary["tiles"], summary["worker_apps"]
    assert tiles["captured"] == tiles["screened"] + tiles["dropped"] + tiles["pending"]
    assert sum(one["done"] for one in apps.values()) == tiles["screened"] > 30
    assert all(one["done"] > 8 and one["failed"] == 0 for one in apps.values()), apps
    assert apps["ndvi"]["done"] > apps["screen"]["done"], "two more by command, and they take less time"
    assert apps["ndvi"]["octets_product"] / apps["ndvi"]["done"] < 300
    assert apps["water"]["rows"] > 0
    assert -1.0 <= apps["ndvi"]["values"]["ndvi_mean"]["min"] <= apps["ndvi"]["values"]["ndvi_mean"]["max"] <= 1.0


def test_the_ground_has_what_the_apps_found(flown: tuple[SpacecraftRun, dict[str, Any]]) -> None:
    """Each answer is the app's own, computed here once more from the tile; what a person reads lies beside it."""
    run, _ = flown
    rows = [row for row in run.archive.products() if row.complete]
    kinds = {row.facts["kind"] for row in rows}
    assert kinds == {"mask", "scalars", "table"}
    folder = run.out.path("products")
    newest = max(run.archive.series("answer.ndvi.ndvi_mean"))
    shown = run.station.latest["answer.ndvi.ndvi_mean"]
    assert (shown.time_ns, shown.value) == newest
    means = [float(v) for _, v in run.archive.series("answer.ndvi.ndvi_mean") if isinstance(v, float)]
    ndvi = [row for row in rows if row.facts.get("app") == "ndvi"]
    assert sorted(means) == pytest.approx(sorted(row.facts["values"]["ndvi_mean"] for row in ndvi))
    latest = max(ndvi, key=lambda row: int(row.facts["time_ns"]))
    shown = run.station.latest["answer.ndvi.ndvi_mean"]
    assert (shown.time_ns, shown.value) == (latest.facts["time_ns"], latest.facts["values"]["ndvi_mean"])
    for row in rows:
        if row.facts["kind"] == "mask":
            assert row.name.startswith("screen-") and (folder / row.facts["mask"]).exists()
            continue
        product = decode_product((folder / row.name).read_bytes())
        assert isinstance(product, RecordProduct)
        samples = tile(product.header.tile % 3)
        if row.facts["app"] == "ndvi":
            assert row.name.startswith("ndvi-")
            own = Ndvi(None).run(samples)  # type: ignore[arg-type] # it needs no settings
            assert product.rows() == [pytest.approx(tuple(map(float, own.values())))]
        else:
            own_rows = Water(None).run(samples)  # type: ignore[arg-type] # it needs no settings
            assert [pytest.approx(one) for one in own_rows] == product.rows()
            with (folder / row.facts["table"]).open(newline="") as file:
                table = list(csv.reader(file))
            assert table[0] == ["row [px]", "column [px]", "area_px [px]"]
            assert len(table) == 1 + row.facts["rows"] == 1 + len(own_rows)


def test_the_list_of_commands_names_the_app_that_is_meant_by_default(
    flown: tuple[SpacecraftRun, dict[str, Any]],
) -> None:
    (submit,) = (one for one in command_list(flown[0].dictionary) if one["name"] == "submit_job")
    (app,) = (one for one in submit["arguments"] if one["name"] == "app")
    assert (app["is"], app["default"]) == ("one of screen, ndvi, water", "screen")


def test_housekeeping_and_report_tell_the_apps_apart(flown: tuple[SpacecraftRun, dict[str, Any]]) -> None:
    run, summary = flown
    done = [integer(v) for _, v in run.archive.series("payload_apps.ndvi_done")]
    assert done and done == sorted(done) and 0 < done[-1] <= summary["worker_apps"]["ndvi"]["done"]
    run.out.folder.mkdir(exist_ok=True)
    report(run, summary, run.out.path("report.html"))
    text = run.out.path("report.html").read_text()
    assert "Worker apps" in text and "ndvi_mean" in text and "rows" in text


# Bad input

BROKEN = """
    from flight.contract.fields import Field
    from payloads.product.answers import Mask, Scalars, Table

    class Base:
        def __init__(self, settings): pass
        @staticmethod
        def check(settings): pass
        def run(self, samples): return {"mean": 1.0, "more": 2.0}

    class Undeclared(Base): pass
    class Strange(Base): ANSWER = "mask"
    class Empty(Base): ANSWER = Scalars(())
    class Huge(Base): ANSWER = Table((Field("a", "f64"),), rows_max=1 << 40)
    class Misfit(Base): ANSWER = Scalars((Field("mean", "f32"),))
    class Raising(Base):
        class Answers(Mask):
            def check(self): raise RuntimeError("no mind")
        ANSWER = Answers(("a", "b"))
    class PayloadApp:
        def declare(apid, config): ...
        def start(self): ...
"""


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], AppPools]:
    (tmp_path / "broken_apps.py").write_text(textwrap.dedent(BROKEN))
    monkeypatch.syspath_prepend(str(tmp_path))

    def pools(name: str) -> AppPools:
        return AppPools.of(PayloadConfig(worker_app=(WorkerAppConfig("bad", f"broken_apps:{name}"),)))

    return pools


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Undeclared", "worker app 'broken_apps:Undeclared' has no ANSWER, which should be a Mask, Table"),
        ("Strange", "worker app 'broken_apps:Strange' has no ANSWER, which should be a Mask, Table"),
        ("Empty", "worker app 'broken_apps:Empty': its ANSWER has 0 fields, should have 1 .. 32"),
        ("Huge", "worker app 'broken_apps:Huge': its ANSWER rows_max is 1099511627776, should be in 1 .. "),
        ("Raising", "worker app 'broken_apps:Raising': its ANSWER is Answers, should be one of the four kinds, not"),
        ("Absent", "worker app 'broken_apps:Absent': module 'broken_apps' has no attribute 'Absent'; should be like"),
        ("PayloadApp", "worker app 'broken_apps:PayloadApp' has no check or run: it is a payload app, which [[app]] "),
    ],
)
def test_an_app_without_a_sound_declaration_does_not_start(
    broken: Callable[[str], AppPools], name: str, text: str
) -> None:
    with pytest.raises(SetupError) as caught:
        broken(name)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"worker_app": ()}, ("worker_app", "has 0 entries, should have 1 .. 8")),
        (
            {"worker_app": (WorkerAppConfig("a", "x:X"), WorkerAppConfig("a", "y:Y"))},
            ("worker_app", "names are a, a, should all differ"),
        ),
        (
            {"traffic": (TrafficClass("routine", 3, 600.0, "nvdi"),), "pattern": ("routine",)},
            ("traffic", "class routine is for 'nvdi', should be of screen"),
        ),
    ],
)
def test_apps_and_traffic_must_fit_each_other(changes: dict[str, Any], fault: tuple[str, str]) -> None:
    assert fault in PayloadConfig(**changes).faults()


@pytest.mark.parametrize("change", [{"model": "a\0"}, {"readable": ("/x", "\0")}, {"environment": ("A\0B",)}])
def test_no_path_and_no_variable_has_a_nul(change: dict[str, Any]) -> None:
    ((name, text),) = WorkerAppConfig("a", "x:X", **change).faults()
    assert name in change and text.startswith("has a NUL character")


def test_faults_of_an_app_are_placed_in_the_mission(tmp_path: Path) -> None:
    path = tmp_path / "mission.toml"
    path.write_text(
        f'extends = "{(MISSIONS / "orbit.toml").as_posix()}"\n[[payload.worker_app]]\nname = "N D"\ncode = "a:b"\n'
        'time_frac = 0\nguards_off = ["moat"]\n'
    )
    with pytest.raises(MissionError) as caught:
        load(path, {"sim": SimConfig})
    faults = [line.removeprefix(f"{path}:") for line in caught.value.faults]
    assert faults[0].startswith("5: payload.worker_app[0].time_frac: is 0, should be in 0.001 .. 1000")


def test_a_failed_attempt_names_the_app_if_there_are_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "misfit_apps.py").write_text(textwrap.dedent(BROKEN))
    monkeypatch.syspath_prepend(str(tmp_path))
    apps = APPS.replace("MODEL", str(save_model(tmp_path / "m.onnx", "good")))
    (tmp_path / "mission.toml").write_text(
        f'extends = "{(MISSIONS / "orbit.toml").as_posix()}"\n'
        f"{apps.replace('payloads.apps.ndvi:Ndvi', 'misfit_apps:Misfit')}[sim.world.power]\nsoc_start_frac = 0.95\n"
    )
    mission = load(tmp_path / "mission.toml", {"sim": SimConfig})
    out = RunFolder(tmp_path / "out", [mission.node.name])
    run = MissionRun([mission], lambda _: Tiles(), out, seed=5, duration_s=30.0)
    try:
        run.start()
        run.advance(run.end_ns)
    finally:
        run.finish()
    log = out.of(mission.node.name).path("node.log").read_text()
    assert "worker of ndvi bad output in attempt 1: app gave mean, more, should be mean" in log
    assert "worker of screen" not in log and "worker of water" not in log


def test_what_a_worker_declared_against_its_app_stands_beside_the_rest() -> None:
    assert scalar_ranges([{"x": 1.0}, {"y": 2.0, "x": 3.0}, {"z": "label"}]) == {
        "x": {"min": 1.0, "mean": 2.0, "max": 3.0}, "y": {"min": 2.0, "mean": 2.0, "max": 2.0}, "z": None,
    }  # fmt: skip
