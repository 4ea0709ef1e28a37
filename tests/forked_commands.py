"""Run several command lines in the same surroundings, each in its own process, but load the commands only once.

A Python is started in the surroundings (closed streams, limits, a locale) and loads the commands there. Then it forks
once per line, before anything has run. So each process has its own streams and descriptors, and ends as an interpreter
does. Exit codes come by a pipe of their own, whatever the standard streams are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import GIVE_UP_RUN_S

ROOT = Path(__file__).resolve().parents[1]
_EACH = """
import json, os, sys
import flight.cli as c
lines, codes, is_read = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "read"
for name in {words[0] for words in lines if words} & c.installed_commands().keys():
    c.installed_commands()[name].load()
for words in lines:
    forked = os.fork()
    if not forked:
        os.close(codes)
        sys.argv[1:] = words
        sys.exit(c.main())
    code = os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1])
    os.write(codes, b"%d\\n" % code)
    if is_read:
        try:
            os.write(2, b"\\0")
        except OSError:  # closed
            pass
"""


@dataclass(frozen=True)
class Done:
    """Exit code of a command line, and its stderr if that could be read."""

    returncode: int
    stderr: str


def run_each(
    lines: Sequence[Sequence[str]], *, first: str = "", cwd: Path = ROOT, env: Mapping[str, str] | None = None,
    stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE, preexec_fn: Callable[[], None] | None = None,
) -> list[Done]:  # fmt: skip
    """Run these command lines one after the other; `first` is Python that runs before anything is loaded."""
    reader, codes = os.pipe()
    is_read = "read" if stderr == subprocess.PIPE else "not read"  # a pipe that is full would take no mark
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"{first}\n{_EACH}", json.dumps(lines), str(codes), is_read], cwd=cwd, env=env,
            stdout=stdout, stderr=stderr, pass_fds=[codes], preexec_fn=preexec_fn, timeout=GIVE_UP_RUN_S, check=False,
            text=True, errors="replace",
        )  # fmt: skip
    finally:
        os.close(codes)
        with open(reader, encoding="ascii") as told:
            exits = [int(line) for line in told]
    assert done.returncode == 0 and len(exits) == len(lines), done.stderr
    said = (done.stderr or "").split("\0")[:-1] or [""] * len(lines)
    return [Done(*one) for one in zip(exits, said, strict=True)]
