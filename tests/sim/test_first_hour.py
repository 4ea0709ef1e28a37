"""The first hour of a new user: an app of one's own, a mission with modes and a name of its own, flown as it stands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flight.mission import MISSIONS
from tests.waiting import GIVE_UP_RUN_S

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guides" / "app.md"
MISSION = f"""\
extends = "{(MISSIONS / "orbit.toml").as_posix()}"

[[app]]
name = "beacon"
app = "beacon:Beacon"
apid = 2

[beacon]
period_s = 2.0

[power]
start_mode = "cruise"

[[power.mode]]
name = "asleep"
payload_w = 1.0
tile_s = 60.0
admits = false

[[power.mode]]
name = "cruise"
payload_w = 15.0
tile_s = 5.0
"""


def guide_app() -> str:
    """`beacon.py` as it stands in the guide."""
    blocks = re.findall(r"```python[^\n]*\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if "class Beacon:" in block]
    return str(found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "beacon.py").write_text(guide_app())
    (tmp_path / "mission.toml").write_text(MISSION)
    return tmp_path


def orbitnode(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flight.cli", *words]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}"}
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=GIVE_UP_RUN_S, check=False
    )


def flown(folder: Path, orbits: float, *words: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    done = orbitnode(folder, "run", "--mission", "mission.toml", "--orbits", str(orbits), "--out", "out", *words)
    return done, json.loads((folder / "out" / "summary.json").read_text())


@pytest.mark.campaign
def test_the_default_script_fits_a_mission_with_an_app_and_modes_of_its_own(folder: Path) -> None:
    done, summary = flown(folder, 0.3)
    assert done.returncode == 0, done.stderr
    assert summary["script_failures"] == []
    commands = summary["commands"]
    assert commands["completed"] >= 8 and commands["rejected"] == 1 and commands["failed"] == commands["lost"] == 0
    assert "tiles" not in done.stdout and "inference" not in done.stdout, (
        "nothing is said of a payload that is not there"
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "await operator.send('submit_job')",
            "procedure.py:2: unknown command 'submit_job', known: abort_all_sequences, ",
        ),
        ("operator.send('ping')", "procedure.py: line 2: operator.send('ping') was never awaited"),
        (
            "await operator.send('set_power_mode', mode='eco')",
            "procedure.py:2: set_power_mode: mode: 'eco' is not one of asl",
        ),
    ],
)
def test_a_procedure_that_fails_is_the_exit_status_and_a_line_in_summary_and_terminal(
    folder: Path, line: str, says: str
) -> None:
    (folder / "procedure.py").write_text(f"async def checkout(operator):\n    {line}\n")
    done, summary = flown(folder, 0.01, "--procedure", "procedure.py")
    assert done.returncode == 1
    (failure,) = summary["script_failures"]
    assert says in failure
    assert done.stderr.splitlines()[-1] == f"orbitnode: error: the operator's procedure failed: {failure}"
    assert "failed:" in done.stdout
