"""The whole suite, several times running, on a machine that is busy with something else (make test-busy).

`python -m tests.busy [--processes N] [--times N] [-- pytest's arguments]` computes in N processes beside pytest and
says for each run how it ended, how long it took and how much of the machine the busy processes had. Exit status 1 if a
run failed. A busy process ends by itself as soon as the one that started it is gone, however that was ended.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Nothing but computing; a look at the parent every few milliseconds.
BUSY = """
import os, sys
parent = int(sys.argv[1])
while os.getppid() == parent:
    sum(range(100_000))
"""


@contextmanager
def busy(processes: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many processes that compute until the end of the block, or of this process."""
    command = [sys.executable, "-S", "-c", BUSY, str(os.getpid())]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(processes):
            started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        yield started
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def computed_s(processes: Sequence[subprocess.Popen[bytes]]) -> float:
    """Processor time of all of them so far. AssertionError if one has ended."""
    ticks = 0
    for process in processes:
        assert process.poll() is None, f"busy process {process.pid} ended with status {process.returncode}"
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime, proc(5)
    return ticks / os.sysconf("SC_CLK_TCK")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.busy", description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=4, metavar="N", help="busy processes (default %(default)s)")
    parser.add_argument("--times", type=int, default=3, metavar="N", help="runs of the suite (default %(default)s)")
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="for pytest, after --")
    args = parser.parse_args(argv)
    lines: list[str] = []
    failed = 0
    with busy(args.processes) as processes:
        for number in range(1, args.times + 1):
            begin_s, computed_before_s = time.monotonic(), computed_s(processes)
            status = subprocess.run([sys.executable, "-m", "pytest", *args.arguments], cwd=ROOT, check=False).returncode
            took_s = time.monotonic() - begin_s
            share = (computed_s(processes) - computed_before_s) / (took_s * (os.cpu_count() or 1))
            failed += status != 0
            outcome = f"failed with status {status}" if status else "passed"
            lines.append(
                f"run {number} of {args.times}: {outcome} in {took_s:.0f} s beside {args.processes} processes, "
                f"which had {share:.0%} of {os.cpu_count()} processors"
            )
            print(lines[-1], flush=True)
    print("\n".join(("", *lines)))
    return bool(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
