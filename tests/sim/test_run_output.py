"""`orbitnode run` on a disk of this machine that is full: the run says so, and the simulated node does not notice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from flight.core.guarded_stream import GuardedStream
from flight.core.nanoseconds import ns
from flight.mission import load
from sim_hw.config import SimConfig
from sim_hw.mission_run import MissionRun
from sim_hw.report.outputs import RunFolder
from sim_hw.world.scenes import FolderSource
from tests.full_disk import FULL_DEVICE, NO_SPACE, on_small_disk
from tests.waiting import GIVE_UP_RUN_S

ROOT = Path(__file__).resolve().parents[2]
START = "2026-03-20T09:49:00Z"  # a pass begins soon


def tiles(folder: Path) -> Path:
    (folder / "tiles").mkdir(exist_ok=True)
    np.savez(folder / "tiles" / "a.npz", refl=np.zeros((256, 256, 6), np.uint16))
    return folder / "tiles"


def fly(folder: Path, mission: Path, *, log: Path | None = None) -> tuple[str, int, int]:
    """The digest of a minute, the failures of tasks, and the writes that the log's file refused."""
    made = load(mission, {"sim": SimConfig})
    name = made.node.name
    folders = RunFolder(folder / "out", [name])
    out = folders.of(name)
    if log:
        out.log.close()
        out.log = GuardedStream(log.open("w", encoding="utf-8"))
    run = MissionRun([made], lambda _: FolderSource(tiles(folder)), folders, seed=1, duration_s=60.0)
    try:
        run.start()
        run.advance(ns(60))
        node = run.spacecraft[0].spacecraft.node
        assert node is not None
        return run.digest.hexdigest(), node.scheduler.totals().failures, out.log.faults
    finally:
        run.finish()
        run.archive.close()
        folders.close()


def test_a_log_that_cannot_be_written_reaches_no_decision_of_the_simulated_node(
    tmp_path: Path, bare_mission: Callable[[str], Path]
) -> None:
    mission = bare_mission("")
    written, refused = fly(tmp_path, mission), fly(tmp_path, mission, log=FULL_DEVICE)
    assert written[0] == refused[0] and written[1] == refused[1] == 0
    assert written[2] == 0 and refused[2] > 0


def test_a_disk_that_fills_up_ends_the_run_in_one_line(tmp_path: Path, bare_mission: Callable[[str], Path]) -> None:
    """On a real file system of half a mebibyte, in a mount namespace of its own."""
    disk = tmp_path / "disk"
    mount = on_small_disk(disk, 512)
    mission = bare_mission(f'[sim.world.orbit]\nstart = "{START}"\n[housekeeping]\nperiod_s = {{power = 1.0}}\n')
    run = [sys.executable, "-m", "flight.cli", "run", "--mission", mission, "--orbits", "0.2", "--out", disk / "run"]
    done = subprocess.run(
        [*mount, *map(str, run), "--scenes", str(tiles(tmp_path))], cwd=ROOT, capture_output=True, text=True,
        timeout=GIVE_UP_RUN_S, check=False,
    )  # fmt: skip
    *progress, error = done.stderr.splitlines()
    assert done.returncode == 1 and not [line for line in progress if " min " not in line]
    assert error.startswith(f"orbitnode: error: {disk}/run/")
    assert error.endswith(f" cannot be written: {NO_SPACE}; the run is not whole")
