"""Run a command line in the process of the test, if the test is about arguments, outcomes and messages.

A test of anything that belongs to a process (streams, signals, limits, the end of the interpreter) starts a process.
"""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout

from flight.cli import main


def command_line(*words: str) -> tuple[int, str, str]:
    """Run `orbitnode` with these words; return exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as ended:  # wrong use
            code = int(ended.code or 0)
    return code, out.getvalue(), err.getvalue()
