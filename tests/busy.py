"""Run the suite several times on a machine that is busy with something else (`make test-busy`).

`python -m tests.busy [--processes N] [--times N] [--freeze-s S] [-- pytest's arguments]` computes in N processes beside
pytest. For each run it says how it ended, how long it took, and what share of the machine the busy processes had. The
exit status is 1 if a run failed.
"""

# Two ways to find a test that depends on time:
#
# - Busy processes take the processors away, a little at a time, as other work does. Their share is measured and
#   printed: a run beside processes that had nothing proves nothing. `computed_s` fails if one of them has ended.
# - `--freeze-s` stops processes of the suite (SIGSTOP) at random places, each time some of them, for up to that many
#   seconds. In a minute that finds what a busy machine shows once a week: a reading that is fresh in one line and stale
#   in the next, an answer that lies there while its time-out runs. Some and not all are stopped, because the faults lie
#   between processes. `--seed` chooses places and processes, but the suite is at another place each time, so the same
#   seed need not find the same fault again.
#
# Nothing may stay behind. A busy process looks at its parent every few milliseconds and ends when the parent is gone,
# however that ended. A freeze always ends with SIGCONT.

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Only computes, and looks at its parent every few milliseconds.
BUSY = """
import os, sys
parent = int(sys.argv[1])
while os.getppid() == parent:
    sum(range(100_000))
"""
_BETWEEN_S = 0.15  # between two freezes, on average
_FROZEN_FRAC = 0.6  # of the suite's processes, each time
_PPID, _UTIME, _STIME = 1, 11, 12  # fields of /proc/PID/stat after the name, proc(5)


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


@contextmanager
def busy(processes: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start processes that compute until the end of the block, or of this process."""
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
    """Return the processor time of all of them so far. Raises AssertionError if one has ended."""
    ticks = 0
    for process in processes:
        assert process.poll() is None, f"busy process {process.pid} ended with status {process.returncode}"
        fields = _stat(process.pid)
        ticks += int(fields[_UTIME]) + int(fields[_STIME])
    return ticks / os.sysconf("SC_CLK_TCK")


def family(root: int) -> list[int]:
    """Return the ids of a process, its children, their children, and so on."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            children.setdefault(int(_stat(int(entry.name))[_PPID]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def freeze(process: subprocess.Popen[Any], longest_s: float, random: Random) -> int:
    """Stop some of the process's family again and again until it has ended; return how often."""
    times = 0
    while process.poll() is None:
        time.sleep(random.expovariate(1 / _BETWEEN_S))
        chosen = [pid for pid in family(process.pid) if random.random() < _FROZEN_FRAC]
        try:
            for pid in chosen:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            time.sleep(min(longest_s, random.expovariate(4 / longest_s)))
        finally:
            for pid in chosen:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        times += 1
    return times


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suite as asked; return 1 if a run failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.busy", description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=4, metavar="N", help="busy processes (default %(default)s)")
    parser.add_argument("--times", type=int, default=3, metavar="N", help="runs of the suite (default %(default)s)")
    parser.add_argument(
        "--freeze-s", type=float, metavar="S", help="also stop processes of the suite for up to S seconds"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="chooses the places at which they are stopped")
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="for pytest, after --")
    args = parser.parse_args(argv)
    lines: list[str] = []
    failed = 0
    with busy(args.processes) as processes:
        for number in range(1, args.times + 1):
            begin_s, computed_before_s = time.monotonic(), computed_s(processes)
            suite = subprocess.Popen([sys.executable, "-m", "pytest", *args.arguments], cwd=ROOT)
            frozen = freeze(suite, args.freeze_s, Random(args.seed + number - 1)) if args.freeze_s else 0
            status = suite.wait()
            took_s = time.monotonic() - begin_s
            share = (computed_s(processes) - computed_before_s) / (took_s * (os.cpu_count() or 1))
            failed += status != 0
            outcome = f"failed with status {status}" if status else "passed"
            lines.append(
                f"run {number} of {args.times}: {outcome} in {took_s:.0f} s beside {args.processes} processes, "
                f"which had {share:.0%} of {os.cpu_count()} processors"
                + (f"; stopped {frozen} times" if frozen else "")
            )
            print(lines[-1], flush=True)
    print("\n".join(("", *lines)))
    return bool(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
