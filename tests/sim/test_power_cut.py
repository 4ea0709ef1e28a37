"""Power cuts spread over the storage operations of ten minutes of commanding; `make power-cut` takes every one."""

from __future__ import annotations

import subprocess
import sys


def test_power_cuts_lose_nothing_acknowledged_and_repeat_nothing() -> None:
    """In a process of its own: it forks at each point."""
    command = [sys.executable, "-m", "tests.sim.power_cut", "--every", "23"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    last = run.stdout.strip().splitlines()[-1]
    assert run.returncode == 0, run.stdout + run.stderr
    assert int(last.split()[0]) >= 100, last
