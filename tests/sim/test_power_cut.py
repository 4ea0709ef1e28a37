"""Power cuts at each sort of storage operation in ten minutes of commanding; `make power-cut` takes every operation.

In parts of equal work, which the processes of a test run share: each cuts at places all over the scenario.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

EACH, PARTS = 4, 2
FREQUENT = {"append recorder.housekeeping", "append recorder.reports", "append vault.journal", "commit"}
# So rare in the scenario that the power fails in every one of them.
MARKS = {f"replace {name}.mark" for name in ("recorder.housekeeping", "recorder.reports", "vault.journal")}


@pytest.mark.parametrize("part", range(1, PARTS + 1))
def test_power_cuts_lose_nothing_acknowledged_and_repeat_nothing(part: int) -> None:
    """In a process of its own: it forks at each point."""
    sampled = ["--jobs", "1", "--sample", str(EACH), "--part", f"{part}/{PARTS}"]
    command = [sys.executable, "-m", "tests.sim.power_cut", *sampled]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    told, last = run.stdout.strip().splitlines()
    cut = {sort: int(count) for count, sort in (one.split(" ", 1) for one in told.removeprefix("cut at: ").split(", "))}
    assert {sort for sort in FREQUENT if cut[sort] == EACH // PARTS} == FREQUENT, told
    assert cut.keys() >= MARKS and ("replace boot" in cut or part > 1), told
    assert int(last.split()[0]) == sum(cut.values()), last
