"""`orbitnode procedure`: run a procedure against the live node, and show its steps as they happen."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import TextIO, cast

from flight.core.errors import OrbitnodeError
from flight.linux.ending_signals import interrupted_by_ending_signals
from flight.text.plain_stream import PlainStream
from ground.cli.api.api_operator import ApiOperator
from ground.cli.api.client import add_connection_arguments
from ground.cli.terminal.step_lines import JsonLines, LastingLines, PlainLines
from ground.procedures.procedure import Procedure, load_file, run_to_end
from ground.procedures.steps import ReportingOperator

# The exit status tells what happened: 0 the procedure returned, 1 it failed or the ground was lost, 130 it was
# interrupted. An interruption wins over a return, since a procedure that catches KeyboardInterrupt, or is interrupted
# in its clean-up, returns as if all were well. It does not win over a fault, which says more.

HELP = "run a procedure against the live node"

RETURNED, FAILED, INTERRUPTED = "returned", "failed", "interrupted"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `orbitnode procedure`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "A procedure is `async def NAME(operator)` in a Python file; FUNCTION says which, if the file has several and\n"
        "none is called `procedure`. The same file runs in virtual time: orbitnode run --procedure FILE."
    )
    parser.add_argument("action", choices=("run",), metavar="ACTION", help="run")
    parser.add_argument("file", metavar="FILE[:FUNCTION]", help="the procedure's file, for example checkout.py")
    add_connection_arguments(parser)


def execute(args: argparse.Namespace) -> int:
    """Run the procedure and return 0. Raises OrbitnodeError if it failed, or the ground is lost or not there."""
    # Ending signals become KeyboardInterrupt, so that a `finally` of the procedure can still send its commands.
    with interrupted_by_ending_signals() as was_interrupted:
        fault = _run(args, procedure := load_file(args.file), was_interrupted)
    if fault:
        raise OrbitnodeError(f"procedure {procedure.name} failed: {fault}")
    return 0


def _run(args: argparse.Namespace, procedure: Procedure, was_interrupted: Callable[[], bool]) -> str:
    """Run the procedure against the live node and show its steps. Return its fault, empty if there was none.

    Raises KeyboardInterrupt if it was interrupted, also if it caught that and returned.
    """
    with ApiOperator(args.port) as operator:
        lines = LastingLines((JsonLines if args.json else PlainLines)(operator.utc_text))
        reporting = ReportingOperator(operator, lines.step)
        begun_s = operator.now_s()
        fault, outcome = "", INTERRUPTED
        try:
            # What a procedure prints is for people: between JSON lines it would break whoever parses them.
            out, err = (cast("TextIO", PlainStream(stream)) for stream in (sys.stdout, sys.stderr))
            with redirect_stdout(err if args.json else out), redirect_stderr(err):
                fault = run_to_end(procedure, reporting) or operator.lost
            if fault or not was_interrupted():
                outcome = FAILED if fault else RETURNED
        finally:
            lines.end(procedure.name, outcome, fault, commands=reporting.commands, took_s=operator.now_s() - begun_s)
    if outcome == INTERRUPTED:
        raise KeyboardInterrupt
    return fault
