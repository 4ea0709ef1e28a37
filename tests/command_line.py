"""A command line in the process of the test, if the test is about arguments, outcomes and messages.

What is about being a process (streams, signals, limits, the end of the interpreter) has one of its own.
"""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout

from flight.cli import main


def command_line(*words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `orbitnode` with these words."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as ended:  # wrong use
            code = int(ended.code or 0)
    return code, out.getvalue(), err.getvalue()
