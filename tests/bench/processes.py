"""The commands of the project as processes, for benchmarks that measure a whole node."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sim_hw.bench.bench_command import BenchError

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0  # to begin, or to end


@contextmanager
def process(what: str, log: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `orbitnode` with these arguments, and end it on the way out. Raises BenchError if it ended by itself."""
    with log.open("wb") as out:
        started = subprocess.Popen(
            [sys.executable, "-m", "flight.cli", *map(str, arguments)], cwd=ROOT, stdout=out, stderr=out
        )
    try:
        yield started
        if started.poll() is not None:
            said = log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise BenchError(f"{what} ended: {said}")
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(START_S)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
