"""Power cuts spread over the storage operations of ten minutes of commanding; `make power-cut` takes every one.

In parts of equal work, which the processes of a test run share: each cuts at places all over the scenario.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

EVERY, PARTS = 23, 5


@pytest.mark.parametrize("part", range(PARTS))
def test_power_cuts_lose_nothing_acknowledged_and_repeat_nothing(part: int) -> None:
    """In a process of its own: it forks at each point."""
    places = ["--first", str(EVERY * (part + 1)), "--every", str(EVERY * PARTS)]
    command = [sys.executable, "-m", "tests.sim.power_cut", "--jobs", "1", *places]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    last = run.stdout.strip().splitlines()[-1]
    assert int(last.split()[0]) >= 100 // PARTS, last
