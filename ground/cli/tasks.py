"""`orbitnode tm tasks`: the tasks of the node's executive, live like top, or one task's latency as a histogram."""

# Tasks are shown by report, not from housekeeping: the node sends them when asked (`report_tasks`), a report per task.
# So every look is a command of its own, and EVERY_S_MIN bounds how often that is, for the sake of the link.
#
# A narrow terminal loses whole columns, in the order of _DROPPED_FIRST, rather than have them cut: what says that
# something is wrong (late, skipped, overruns) stays longest.

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count, takewhile
from typing import Any

from flight.core.errors import OrbitnodeError
from flight.text.plain_text import CLEAR_SCREEN, json_text, plain
from flight.text.plural import counted, plural
from ground.cli.api.client import GroundClient, pace
from ground.operator import COMPLETED

COMMAND, REPORT = "report_tasks", "task_report"
SORTS: Mapping[str, Callable[[Mapping[str, Any]], tuple[float, ...]]] = {
    "cpu": lambda task: (task["cpu_permille"], task["steps"]),
    "late": lambda task: (task["late"] + task["skipped"] + task["starved"], task["overruns"], task["worst_latency_us"]),
    "worst": lambda task: (task["worst_step_us"],),
}
EVERY_S_MIN, EVERY_S_MAX = 0.2, 3600.0
_BAR = 50  # characters of the longest bar of a histogram
_COLUMNS = (  # heading, and the field of the report that stands below it
    ("task", "task"), ("state", "state"), ("period", "period_ms"), ("steps", "steps"), ("ticks", "ticks"),
    ("late", "late"), ("skipped", "skipped"), ("overruns", "overruns"), ("starved", "starved"),
    ("failures", "failures"), ("max step", "worst_step_us"), ("wait p50", "latency_p50_us"),
    ("wait p99", "latency_p99_us"), ("max wait", "worst_latency_us"), ("cpu", "cpu_permille"),
)  # fmt: skip
_TEXTS = {"task", "state"}
_TIMES = {"worst_step_us", "latency_p50_us", "latency_p99_us", "worst_latency_us"}
_DROPPED_FIRST = (
    "ticks", "state", "latency_p50_us", "failures", "period_ms", "steps", "worst_latency_us", "starved",
    "latency_p99_us",
)  # fmt: skip
_BAD = {"late", "skipped", "overruns", "starved", "failures"}  # counts that are 0 while all is well


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `orbitnode tm tasks` to those of `tm`."""
    group = parser.add_argument_group("tm tasks")
    group.add_argument("task", nargs="?", default="", metavar="TASK", help="one task, with its waits as a histogram")
    group.add_argument("--sort", choices=SORTS, default="cpu", help="which tasks come first (default %(default)s)")
    group.add_argument(
        "--every", type=float, default=2.0, metavar="S", help="seconds between looks (default %(default)s)"
    )
    group.add_argument("--once", action="store_true", help="show them once and end")


def execute(args: argparse.Namespace) -> int:
    """Show the tasks until Ctrl-C, or once, and return 0.

    Raises OrbitnodeError if the node does not answer, or has no such task.
    """
    with GroundClient(args.port, faithful=args.json) as client, suppress(KeyboardInterrupt):
        show = _shower(args)
        for _ in pace(args.every):
            show(choose(ask(client, args.every), args.sort, args.task))
            if args.once:
                break
    return 0


def ask(client: GroundClient, every_s: float) -> list[dict[str, Any]]:
    """Return every task of the node as the node reports it now. Raises OrbitnodeError if it does not."""
    # At least 10 s for the answer, however often it is asked for: a link with a long way must not look like a failure.
    tasks: list[dict[str, Any]] = []
    last: dict[str, Any] = {}
    for last in client.lines(do="command", name=COMMAND, texts=[], timeout_s=max(10.0, every_s)):
        if last.get("report") == REPORT:
            tasks.append(last["values"])
    if last["outcome"] != COMPLETED:
        raise OrbitnodeError(f"{COMMAND} {last['outcome']}: {last['reason']}")
    # Two clients that ask at the same time each see both answers: of two reports of one task the newest is right.
    newest = {int(task["index"]): task for task in tasks}
    return [newest[index] for index in sorted(newest)]


def choose(tasks: Sequence[dict[str, Any]], sort: str, name: str) -> list[dict[str, Any]]:
    """Return the tasks in the order asked for, or the one called `name`. Raises OrbitnodeError if there is none."""
    if name:
        found = [task for task in tasks if task["task"] == name]
        if not found:
            raise OrbitnodeError(f"no task {name!r}, known: {', '.join(sorted({str(task['task']) for task in tasks}))}")
        return found
    return sorted(tasks, key=SORTS[sort], reverse=True)


def rows(tasks: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the headings, then a row of texts per task."""
    table = [[heading for heading, _ in _COLUMNS]]
    table += [[_cell(name, task[name]) for _, name in _COLUMNS] for task in tasks]
    return table


def histogram(task: Mapping[str, Any]) -> list[str]:
    """Return lines with the task's facts, then a line per bucket of its waits from ready, or due, to the step."""
    counts = [int(task[f"latency_{bucket}"]) for bucket in takewhile(lambda i: f"latency_{i}" in task, count())]
    most, total = max([*counts, 1]), max(sum(counts), 1)
    filled = [bucket for bucket, steps in enumerate(counts) if steps]
    critical = ", critical" if task["critical"] == "yes" else ""
    limits = f"deadline {task['deadline_ms']} ms, budget {duration(task['budget_us'])}"
    steps = counted(task["steps"], "step")
    lines = [
        f"{task['task']}: {task['state']}{critical}, {steps}, {limits}",
        f"longest step {duration(task['worst_step_us'])}, longest wait {duration(task['worst_latency_us'])}",
        "wait for the processor:",
    ]
    for bucket in range(filled[0], filled[-1] + 1) if filled else ():
        # Bucket i counts waits of 2^(i-1) to 2^i us, bucket 0 those below 1 us (flight/services/health/executive.py).
        low, high = (1 << bucket) >> 1, 1 << bucket
        above = "and more" if bucket == len(counts) - 1 else f".. {duration(high)}"
        bar = "#" * -(-_BAR * counts[bucket] // most)  # rounded up: a bucket with a single wait shows as well
        lines.append(
            f"{duration(low):>8} {above:<10} {counts[bucket]:>10,} {counts[bucket] / total:6.1%}  {bar}".rstrip()
        )
    return lines


def duration(us: float) -> str:
    """Return a time in microseconds with a unit that suits it."""
    if us < 1000:
        return f"{us:g} us"
    return f"{us / 1000:.3g} ms" if us < 1_000_000 else f"{us / 1e6:.3g} s"


def _cell(name: str, value: Any) -> str:
    if name in _TIMES:
        return duration(value)
    if name == "period_ms":
        return duration(value * 1000) if value else "-"
    return f"{value / 10:.1f} %" if name == "cpu_permille" else str(value) if name in _TEXTS else f"{value:,}"


def _shower(args: argparse.Namespace) -> Callable[[list[dict[str, Any]]], None]:
    """Return what shows an answer: as JSON lines, as a live table if rich is there, else as plain lines."""
    if args.json:
        return lambda tasks: print(json_text({"tasks": tasks}), flush=True)
    if args.task:
        return lambda tasks: _print_lines(histogram(tasks[0]), clear=sys.stdout.isatty() and not args.once)
    # A board has no rich, and the same command may be run there.
    try:
        from ground.cli.terminal.console import PlainConsole
    except ImportError:
        return lambda tasks: _print_lines(_aligned(rows(tasks)))
    console = PlainConsole()

    def show(tasks: list[dict[str, Any]]) -> None:
        if console.is_terminal and not args.once:
            console.clear()
        if console.is_terminal:
            console.print(_table(tasks, console.width))
        else:
            _print_lines(_aligned(rows(tasks)))

    return show


def _print_lines(lines: Sequence[str], *, clear: bool = False) -> None:
    if clear:
        print(CLEAR_SCREEN, end="")
    for line in lines:
        print(plain(line), flush=True)


def _aligned(texts: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows as lines, each column as wide as its widest cell, texts to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in texts) for i in range(len(_COLUMNS))]
    return [
        "  ".join(
            cell.ljust(width) if name in _TEXTS else cell.rjust(width)
            for cell, width, (_, name) in zip(row, widths, _COLUMNS, strict=True)
        ).rstrip()
        for row in texts
    ]


def _fitting(texts: Sequence[Sequence[str]], width: int) -> set[str]:
    """Return the columns that fit beside each other; if the terminal is narrow, those that say least go first."""
    # 2 between columns; the last one needs none, hence `width + 2` below.
    wide = {name: 2 + max(len(row[i]) for row in texts) for i, (_, name) in enumerate(_COLUMNS)}
    for name in _DROPPED_FIRST:
        if sum(wide.values()) <= width + 2:
            break
        del wide[name]
    return set(wide)


def _table(tasks: Sequence[Mapping[str, Any]], width: int) -> Any:
    """Return the rows as a table of rich in which counts that should be 0 stand out."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), caption=_caption(tasks), caption_justify="left")
    heading, *others = rows(tasks)
    shown = _fitting([heading, *others], width)
    for text, name in [(text, name) for text, name in _COLUMNS if name in shown]:
        table.add_column(text, justify="left" if name in _TEXTS else "right", no_wrap=True)
    for row, task in zip(others, tasks, strict=True):
        cells = [
            Text(cell, "bold red" if name in _BAD and task[name] else "")
            for cell, (_, name) in zip(row, _COLUMNS, strict=True)
            if name in shown
        ]
        table.add_row(*cells, style="bold" if task["critical"] == "yes" else "")
    return table


def _caption(tasks: Sequence[Mapping[str, Any]]) -> str:
    cpu = sum(task["cpu_permille"] for task in tasks) / 10
    number = f"{len(tasks)} {plural(len(tasks), 'task')}"
    return f"{number}, {cpu:.1f} % of a processor since boot; critical ones bold; Ctrl-C ends it"
