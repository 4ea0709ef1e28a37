"""Several spacecraft in one run: each flies as it would alone, whatever becomes of the others.

Three minutes without payload, a pass from 90 s on. The spacecraft differ in name, number, orbit, links and script.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from flight.core.errors import OrbitnodeError, SetupError
from flight.core.nanoseconds import ns
from flight.link.tm.tm_frame import TmFrame
from flight.mission import MISSIONS, load
from flight.services.commanding.commands import Commands
from ground.procedures.procedure import Procedure, load_named
from sim_hw.config import SimConfig
from sim_hw.machine.disk import Disk, PowerCut
from sim_hw.machine.faults import FaultPlan, PlannedFault, fault_plans
from sim_hw.mission_run import MissionRun, check_fleet
from sim_hw.report.closing_table import ROWS, closing_table
from sim_hw.report.outputs import RunFolder
from sim_hw.report.summary import RunFacts, summarise
from sim_hw.run import progress_line
from sim_hw.spacecraft import Spacecraft
from sim_hw.spacecraft_run import SpacecraftRun
from sim_hw.world.scenes import FolderSource
from tests.archives import reading
from tests.command_line import command_line
from tests.sim.conftest import START, MakeRig
from tests.waiting import GIVE_UP_RUN_S

END_S = 180.0
FRAME_OCTETS = {"first": 1115, "second": 510, "third": 1115}
SECOND_LINKS = """
[[link]]
name = "uhf"
driver = "sim:uhf"
rate_bps = 64_000
coding = "rs(255,223)"
carries = ["realtime", "playback"]
[[link]]
name = "x-band"
driver = "sim:x-band"
kind = "aos"
"""
SECOND_RUN = """
script = "tests.fleet_scripts:settings"
clock_offset_s = 2.5
world.orbit.mean_anomaly_deg = 0.4
world.power.soc_start_frac = 0.8
"""
# Of each spacecraft: keys of its node, keys of its run, and further tables.
SPACECRAFT = {
    "first": ("spacecraft_id = 0x101\n", 'script = "tests.fleet_scripts:pings"\n', ""),
    "second": ("spacecraft_id = 0x202\nframe_octets = 510\n", SECOND_RUN, SECOND_LINKS),
    "third": ("spacecraft_id = 0x303\n", 'script = "tests.fleet_scripts:settings"\nbit_error_rate = 2e-4\n', ""),
}


def mission_file(folder: Path, name: str) -> Path:
    """The mission of that spacecraft as a file, from a minute and a half before a pass."""
    node, run, more = SPACECRAFT[name]
    path = folder / f"{name}.toml"
    path.write_text(
        f'extends = "{(MISSIONS / "orbit.toml").as_posix()}"\napp = []\n[node]\nname = "{name}"\n{node}'
        f'[sim]\nworld.orbit.start = "{START}"\n{run}{more}'
    )
    return path


def tiles(folder: Path) -> Path:
    made = folder / "tiles"
    made.mkdir(exist_ok=True)
    np.savez(made / "a.npz", refl=np.zeros((256, 256, 6), np.uint16))
    return made


@dataclass
class Flown:
    """A run that has ended, its files closed."""

    run: MissionRun
    folder: Path
    by_name: dict[str, SpacecraftRun] = field(default_factory=dict)
    executed: dict[str, int] = field(default_factory=dict)
    summaries: dict[str, dict[str, Any]] = field(default_factory=dict)

    def channels(self, name: str) -> dict[str, str]:
        """The digest of each channel of that spacecraft."""
        return self.by_name[name].digest.channels


def fly(
    folder: Path, names: Sequence[str], faults: Sequence[str] = (), cut_at: dict[str, int] | None = None,
    procedure: Procedure | None = None,
) -> Flown:  # fmt: skip
    """These spacecraft until END_S; `cut_at` cuts the power at a storage operation, by name."""
    folder.mkdir()
    missions = [load(mission_file(folder, name), {"sim": SimConfig}) for name in names]
    source = FolderSource(tiles(folder))
    plans = fault_plans([PlannedFault.parse(text) for text in faults], names, END_S)
    run = MissionRun(
        missions, lambda _: source, RunFolder(folder / "out", names), seed=7, duration_s=END_S, faults=plans,
        procedure=procedure,
    )  # fmt: skip
    flown = Flown(run, folder / "out", {one.name: one for one in run.spacecraft})
    try:
        run.start()
        for name, operation in (cut_at or {}).items():
            flown.by_name[name].spacecraft.disk.cut_at_operation = operation
        for t_s in range(5, int(END_S) + 5, 5):
            run.advance(ns(t_s))
        for one in run.spacecraft:
            assert one.spacecraft.node is not None
            flown.executed[one.name] = one.spacecraft.node.part(Commands).counts.executed
        run.finish()
        facts = RunFacts(seed=7, orbits=1.0, wall_s=1.0, scenes="synthetic")
        flown.summaries = {one.name: summarise(one, facts) for one in run.spacecraft}
    finally:
        run.finish()
        run.archive.close()
        run.out.complete()
        run.out.close()
    return flown


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Flown:
    return fly(tmp_path_factory.mktemp("pair") / "run", ["first", "second"])


def test_each_spacecraft_has_its_own_files_and_the_run_one_archive(pair: Flown) -> None:
    assert sorted(path.name for path in pair.folder.iterdir()) == ["archive.db", "first", "second"]
    for name, number in (("first", 0x101), ("second", 0x202)):
        octets, size = (pair.folder / name / "downlink.tm").read_bytes(), FRAME_OCTETS[name]
        frames = [TmFrame.decode(octets[at : at + size], size) for at in range(0, len(octets), size)]
        assert len(frames) > 1000 and {frame.spacecraft_id for frame in frames} == {number}
        assert len(frames) == pair.by_name[name].session.counters.frames
        assert (pair.folder / name / "packets.bin").stat().st_size > 1000
        log = (pair.folder / name / "node.log").read_text().splitlines()
        assert log and all(name in line for line in log)


def test_a_command_reaches_the_node_that_it_is_for_and_no_other(pair: Flown) -> None:
    sent = {"first": ["ping"] * 3, "second": ["set_parameters", "report_parameters"]}
    assert pair.executed == {name: len(commands) for name, commands in sent.items()}
    for name, commands in sent.items():
        assert pair.by_name[name].ground.script_failures == []
        with reading(pair.folder / "archive.db", name) as archive:
            assert [(row.number, row.name, row.outcome) for row in archive.commands()] == [
                (place, command, "completed") for place, command in enumerate(commands, 1)
            ]
            assert archive.dictionary() == pair.by_name[name].dictionary
            assert len(archive.series("power.soc_frac")) > 5
            assert bool(archive.counters("links.x-band.link.frames")) == (name == "second")
    with reading(pair.folder / "archive.db", "first") as first, reading(pair.folder / "archive.db", "second") as second:
        assert "parameter.soc_safe_frac" not in first.latest()
        assert second.latest()["parameter.soc_safe_frac"].value == 0.55


def test_a_procedure_is_for_the_operator_of_the_first_spacecraft(pair: Flown, tmp_path: Path) -> None:
    run = fly(tmp_path / "run", ["first", "second"], procedure=load_named("tests.fleet_scripts:settings"))
    assert run.executed == {"first": 2, "second": 2}
    assert run.channels("second") == pair.channels("second") and run.channels("first") != pair.channels("first")


def test_every_channel_bears_the_name_of_its_node(pair: Flown) -> None:
    assert {"first.link.down", "first.link.up", "first.storage"} <= pair.channels("first").keys()
    assert {"second.link.down", "second.x-band.down", "second.storage"} <= pair.channels("second").keys()
    for name in ("first", "second"):
        assert all(channel.startswith(f"{name}.") for channel in pair.channels(name))
    assert pair.run.digest.channels == pair.channels("first") | pair.channels("second")
    assert pair.run.digest.entries == sum(one.digest.entries for one in pair.by_name.values())


def test_a_spacecraft_flies_alone_as_it_does_beside_another(pair: Flown, tmp_path: Path) -> None:
    alone = fly(tmp_path / "alone", ["first"])
    assert alone.channels("first") == pair.channels("first")
    assert alone.by_name["first"].digest.hexdigest() == pair.by_name["first"].digest.hexdigest()
    assert alone.run.digest.hexdigest() == alone.by_name["first"].digest.hexdigest()
    for name in ("downlink.tm", "packets.bin", "uplink.cltu", "node.log"):
        assert (alone.folder / name).read_bytes() == (pair.folder / "first" / name).read_bytes(), name
    assert alone.summaries["first"] == pair.summaries["first"]


@pytest.mark.campaign
def test_the_order_of_further_spacecraft_changes_nothing_for_any(pair: Flown, tmp_path: Path) -> None:
    runs = [
        fly(tmp_path / name, ["first", *rest]) for name, *rest in (("a", "second", "third"), ("b", "third", "second"))
    ]
    for name in ("first", "second", "third"):
        assert runs[0].channels(name) == runs[1].channels(name)
        assert runs[0].by_name[name].digest.hexdigest() == runs[1].by_name[name].digest.hexdigest()
    assert runs[0].channels("second") == pair.channels("second")
    assert runs[0].run.digest.hexdigest() != runs[1].run.digest.hexdigest()


def assert_only_second_was_struck(struck: Flown, pair: Flown) -> None:
    assert [one.spacecraft.boots for one in struck.run.spacecraft] == [1, 2]
    assert [len(one.lives) for one in struck.run.spacecraft] == [1, 2]
    first, whole = struck.by_name["first"], pair.by_name["first"]
    assert first.digest.hexdigest() == whole.digest.hexdigest()
    assert first.spacecraft.disk.durable == whole.spacecraft.disk.durable
    assert struck.channels("second") != pair.channels("second")


def test_a_planned_power_cut_strikes_its_own_spacecraft(pair: Flown, tmp_path: Path) -> None:
    assert_only_second_was_struck(fly(tmp_path / "run", ["first", "second"], ["second:power-cut@100"]), pair)


def test_a_power_cut_inside_a_storage_operation_strikes_the_spacecraft_of_that_disk(
    pair: Flown, tmp_path: Path
) -> None:
    operations = pair.by_name["second"].spacecraft.disk.operations
    struck = fly(tmp_path / "run", ["first", "second"], cut_at={"second": operations // 2})
    assert_only_second_was_struck(struck, pair)


def test_a_spacecraft_alone_on_a_loop_passes_on_the_power_cut_of_another_disk(make_rig: MakeRig) -> None:
    craft: Spacecraft = make_rig().craft
    other = Disk(Random(2))

    def cut() -> None:
        raise PowerCut(other)

    craft.loop.call_at(ns(1), cut)
    with pytest.raises(PowerCut) as caught:
        craft.run_until(ns(2))
    assert caught.value.disk is other and craft.boots == 1 and craft.node is not None


def test_what_a_node_held_at_the_end_is_not_lost_by_ending_twice(pair: Flown) -> None:
    """Each run here was finished twice."""
    assert all(one.ended_alive and len(one.still_up) == 1 for one in pair.run.spacecraft)


def test_missions_that_cannot_fly_together(tmp_path: Path) -> None:
    first = load(mission_file(tmp_path, "first"), {"sim": SimConfig})
    mission_file(tmp_path, "second")
    path = tmp_path / "late.toml"
    path.write_text(
        f'extends = "{(tmp_path / "second.toml").as_posix()}"\n[sim.world.orbit]\nstart = "2026-03-21T00:00:00Z"\n'
    )
    late = load(path, {"sim": SimConfig})
    path = tmp_path / "products.toml"
    path.write_text(f'extends = "{(tmp_path / "second.toml").as_posix()}"\n[node]\nname = "products"\n')
    named = load(path, {"sim": SimConfig})
    out = RunFolder(tmp_path / "out", ["first"])
    for missions, text in (
        ([first, first], "are both of node 'first': give each a node.name of its own"),
        ([first, named], "a node of several cannot be called 'products', as a file of a run is"),
        ([first, late], f"begin at {START} and 2026-03-21T00:00:00Z: give both the same sim.world.orbit.start"),
    ):
        with pytest.raises(SetupError) as caught:
            MissionRun(missions, lambda _: FolderSource(tiles(tmp_path)), out, seed=1, duration_s=1.0)
        assert text in str(caught.value) and "\n" not in str(caught.value)


def test_the_live_line_and_the_closing_table_tell_each_spacecraft_apart(pair: Flown) -> None:
    assert all(
        "charge" in progress_line(one, END_S) and "frames" in progress_line(one, END_S) for one in pair.run.spacecraft
    )
    text = io.StringIO()
    console = Console(width=160, file=text)
    console.print(closing_table("2 spacecraft", pair.summaries, "digest of the run: 12ab"))
    lines = text.getvalue().splitlines()
    heads = next(line for line in lines if "first" in line)
    assert "second" in heads and any("digest of the run: 12ab" in line for line in lines)
    commands = next(line for line in lines if "commands" in line)
    assert "3 sent, 3 completed" in commands and "2 sent, 2 completed" in commands


@pytest.mark.campaign
def test_two_spacecraft_from_the_command_line(pair: Flown, tmp_path: Path) -> None:
    missions = [str(mission_file(tmp_path, name)) for name in ("first", "second")]
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.html").write_text("of a run before")
    command = [sys.executable, "-m", "flight.cli", "run", "--scenes", str(tiles(tmp_path)), "--seed", "7", "--orbits"]
    shared = [
        *command,
        str(END_S / 5700),
        "--mission",
        missions[0],
        "--mission",
        missions[1],
        "--out",
        str(out),
        "--json",
    ]
    done = subprocess.run(
        shared, env=os.environ | {"PYTHONHASHSEED": "99"}, capture_output=True, text=True, timeout=GIVE_UP_RUN_S,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads((out / "summary.json").read_text())
    assert (document["format"], document["seed"], document["mission_s"]) == ("orbitnode-fleet/1", 7, END_S)
    assert document["digest"] == pair.run.digest.hexdigest() and document["wall_s"] > 0
    assert list(document["spacecraft"]) == ["first", "second"]
    for name, summary in document["spacecraft"].items():
        assert summary == json.loads((out / name / "summary.json").read_text())
        assert summary["digest"] == pair.by_name[name].digest.hexdigest()
        assert summary["script_failures"] == [] and summary["mission"] == name
        assert (out / name / "report.html").stat().st_size > 10_000
        assert json.loads((out / name / "dictionary.json").read_text())["mission"] == name
    assert not (out / "report.html").exists()


def test_what_a_fleet_does_not_have_is_said_in_one_line_before_the_last_run_is_replaced(tmp_path: Path) -> None:
    missions = [str(mission_file(tmp_path, name)) for name in ("first", "second")]
    out = tmp_path / "out"
    out.mkdir()
    (out / "summary.json").write_text("the last run")
    command = ["run", "--scenes", str(tiles(tmp_path)), "--out", str(out)]
    for more, says, code in (
        (["--mission", missions[0], "--mission", missions[0]], "are both of node 'first'", 1),
        (
            ["--mission", missions[0], "--mission", missions[1], "--fault", "third:power-cut@5"],
            "fault 'third:power-cut@5': no spacecraft 'third' flies, known: first, second",
            1,
        ),
        (["--mission", missions[0], "--fault", ":power-cut@5"], "should be KIND@SECONDS or NODE:KIND@SECONDS", 2),
    ):
        returned, printed, said = command_line(*command, *more)
        assert returned == code and printed == ""
        last = said.splitlines()[-1]
        assert last.startswith(f"orbitnode{' run' * (code == 2)}: error: ") and says in last
        assert code == 2 or said.count("\n") == 1
    assert (out / "summary.json").read_text() == "the last run"


def test_a_fault_is_of_the_first_spacecraft_unless_it_names_another() -> None:
    faults = [PlannedFault.parse(text) for text in ("power-cut@5", "b:power-cut@6", "a:eps-mute@7")]
    plans = fault_plans(faults, ["a", "b", "c"], 10.0)
    times = {name: [fault.at_s for fault in plan.of_kind("power-cut")] for name, plan in plans.items()}
    assert times == {"a": [5.0], "b": [6.0], "c": []}
    assert [fault.at_s for fault in plans["a"].of_kind("eps-mute")] == [7.0] and isinstance(plans["c"], FaultPlan)


@pytest.mark.parametrize("at", ["10", "99999"])
def test_a_fault_after_the_end_of_the_run_is_refused(at: str) -> None:
    with pytest.raises(OrbitnodeError, match=rf"fault 'a:eps-mute@{at}': the run ends at 10 s"):
        fault_plans([PlannedFault.parse(f"a:eps-mute@{at}")], ["a"], 10.0)


def test_a_run_opens_no_device_of_this_machine() -> None:
    with pytest.raises(
        SetupError, match=r"bench.toml: eps 'serial:/tmp/orbitnode/board' is a real device; `orbitnode r"
    ):
        check_fleet([load(MISSIONS / "bench.toml", {"sim": SimConfig})])


def test_the_closing_table_tells_several_worker_apps_apart() -> None:
    def app(done: int, failed: int) -> dict[str, int]:
        return {"done": done, "failed": failed, "octets_product": 0}

    def line(apps: dict[str, Any]) -> str:
        return next(cell for head, cell in ROWS if head == "worker apps")({"worker_apps": apps})

    assert (
        line({"screen": app(1200, 0), "ndvi": app(0, 6)})
        == "screen 1,200 products, ndvi 0 products and 6 failed attempts"
    )
    assert line({"screen": app(97, 0)}) == ""
