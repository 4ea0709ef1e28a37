"""The command `orbitnode bench`: runs every tests/bench/bench_*.py of the checkout, ours beside other people's code.

Such a file offers `BENCHES`, a tuple of `Bench` and `Survey`. A `Bench` is a race: ours and the peer do the same work.
A `Survey` measures in its own way, such as by processes of its own, and gives as many rows as it likes, each made by
`at_least`, `at_most` or `shown`. In every row more is better for the `ratio`, and the row is `ok` if it reaches its
`floor`.
"""

# Why ratios and floors: absolute figures of this machine say nothing about another one, and little about the same one
# an hour later. Two programs timed on one machine in one minute are comparable, so what is held by a floor is the ratio
# of ours to a peer. A peer may be called a limit, such as a line rate: then the absolute figure counts.
#
# Why turns: ours and the peer are timed alternately, TURNS times TURN_S each, in one process. What else the machine
# does then meets both, and the median of the turns' ratios forgets the ones it met alone. TURN_S is long against the
# clock's resolution, and the whole race takes half a second.
#
# `prepare` makes the input and imports the peer outside the measured time. A peer that is not installed is a fault that
# says what to install, never a row that is left out in silence; the other benchmarks are measured nevertheless, and the
# command fails.

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from statistics import median

from flight.core.config import suggestion
from flight.core.errors import OrbitnodeError, SetupError, UsageError
from flight.core.nanoseconds import NS
from flight.text.plain_text import json_text, plain

HELP = "measure our parts beside those of others; fail if one misses its floor"

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "bench"
TURNS = 11
TURN_S = 0.02
RATIO_MAX = 9999.0  # if the other side cost nothing that could be measured
_COMPILE_S = 60.0


class BenchError(OrbitnodeError):
    """Raised if a benchmark is not there, or cannot be run as asked."""


@dataclass(frozen=True, slots=True)
class Race:
    """Two ways of doing the same work. `amount` is how much of the bench's unit one call does."""

    ours: Callable[[], object]
    peer: Callable[[], object]
    amount: float


@dataclass(frozen=True, slots=True)
class Bench:
    """One race, which makes one row. `prepare` makes the input and imports the peer, outside the measured time."""

    name: str
    peer_name: str
    unit: str
    floor: float
    prepare: Callable[[], Race]


@dataclass(frozen=True, slots=True)
class Row:
    """One measured row; `ours` and `peer` in `unit`. `note` is what a reader of the row must know."""

    name: str
    ours: float
    peer: float
    peer_name: str
    unit: str
    ratio: float
    floor: float
    ok: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Survey:
    """Rows of one measurement. `measure(brief)` is shorter if brief, and its figures say less then.

    long: it takes so long that being brief shortens it; its rows are then marked as brief.
    """

    name: str
    measure: Callable[[bool], Sequence[Row]]
    long: bool = False


Measured = Bench | Survey


def at_least(
    name: str, ours: float, peer: float, peer_name: str, unit: str, floor: float, *, ratio: float | None = None,
    note: str = "",
) -> Row:  # fmt: skip
    """Make a row of which more is better. ratio: ours / peer if it is not given."""
    if ratio is None:
        ratio = min(ours / peer, RATIO_MAX) if peer > 0 else RATIO_MAX
    return Row(name, ours, peer, peer_name, unit, ratio, floor, ratio >= floor, note)


def at_most(
    name: str, ours: float, peer: float, peer_name: str, unit: str, floor: float = 1.0, *,
    ratio: float | None = None, note: str = "",
) -> Row:  # fmt: skip
    """Make a row of which less is better: a cost beside a peer's, or beside a limit. ratio: peer / ours."""
    if ratio is None:
        ratio = min(peer / ours, RATIO_MAX) if ours > 0 else RATIO_MAX
    return Row(name, ours, peer, peer_name, unit, ratio, floor, ratio >= floor, note)


def shown(row: Row) -> Row:
    """Return the row without a floor: for information beside others."""
    return replace(row, floor=0.0, ok=True)


def quantile(values: Sequence[float], q: float) -> float:
    """Return the least of `values` that a share of at least `q` of them does not exceed, or NaN without any."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]


def output_of(command: Sequence[str | Path], timeout_s: float) -> str:
    """Return what a program prints; raises BenchError, with the last line of its stderr, if it fails or is too slow."""
    words = [str(word) for word in command]
    try:
        process = subprocess.run(words, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{' '.join(words)}: not done within {timeout_s:g} s") from None
    if process.returncode != 0:
        last_line = process.stderr.strip().rpartition("\n")[2]
        raise BenchError(f"{' '.join(words)}: exit status {process.returncode}{last_line and ': '}{last_line}")
    return process.stdout


def compiled(source: Path, folder: Path, *options: str) -> Path:
    """Build the program of one C source into `folder`; raises SetupError if it cannot be built."""
    program = folder / source.stem
    command = ["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", str(source), "-o", str(program), *options]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_S, check=False)
    except FileNotFoundError:
        raise SetupError("no C compiler (cc) for the program to compare with; Debian: apt-get install gcc") from None
    if process.returncode != 0:
        errors = (line for line in process.stderr.splitlines() if "error" in line)
        reason = next(errors, f"exit status {process.returncode}")
        raise SetupError(f"cc cannot build {source}: {reason}")
    return program


def _per_call_s(call: Callable[[], object], calls: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(calls):
        call()
    return (time.perf_counter_ns() - start) / calls / NS


def _calls_in_a_turn(call: Callable[[], object]) -> int:
    call()  # the first one pays for caches and lazy imports
    return max(1, int(TURN_S / max(_per_call_s(call, 1), 1e-9)))


def measure(bench: Measured, brief: bool = False) -> Sequence[Row]:
    """Run one bench; raises SetupError, which says what to install, if the peer is missing."""
    try:
        if isinstance(bench, Survey):
            rows = bench.measure(brief)
            return [replace(row, note=_joined("brief", row.note)) for row in rows] if brief and bench.long else rows
        race = bench.prepare()
    except ModuleNotFoundError as missing:
        raise SetupError(f"{missing.name} is not installed; pip install 'orbitnode[dev]'") from None
    return [_run_race(bench, race)]


def _joined(*notes: str) -> str:
    return ", ".join(note for note in notes if note)


def _run_race(bench: Bench, race: Race) -> Row:
    calls = _calls_in_a_turn(race.ours), _calls_in_a_turn(race.peer)
    turns = [(_per_call_s(race.ours, calls[0]), _per_call_s(race.peer, calls[1])) for _ in range(TURNS)]
    # The median of the ratios, not the ratio of the medians: a turn in which the machine was busy slows both down.
    ratio = median(peer_s / ours_s for ours_s, peer_s in turns)
    ours = race.amount / median(ours_s for ours_s, _ in turns)
    peer = race.amount / median(peer_s for _, peer_s in turns)
    return at_least(bench.name, ours, peer, bench.peer_name, bench.unit, bench.floor, ratio=ratio)


def find_benches(folder: Path) -> list[Measured]:
    """Return the benches of every bench_*.py in `folder`, in order of file and place; raises BenchError."""
    paths = sorted(folder.glob("bench_*.py"))
    if not paths:
        raise BenchError(f"no benchmarks in {folder}; they are part of the checkout, not of the installed package")
    benches: list[Measured] = []
    for path in paths:
        spec = spec_from_file_location(path.stem, path)
        assert spec is not None, path
        assert spec.loader is not None, path
        module = sys.modules[path.stem] = module_from_spec(spec)  # dataclasses look it up there
        spec.loader.exec_module(module)
        benches += module.BENCHES
    return benches


def choose(benches: Sequence[Measured], names: Sequence[str]) -> list[Measured]:
    """Return those whose name starts with one of `names`, or all without any; raises UsageError for an unknown one."""
    for name in names:
        if not any(bench.name.startswith(name) for bench in benches):
            raise UsageError(f"no benchmark {name!r}, {suggestion(name, {bench.name for bench in benches})}")
    return [bench for bench in benches if not names or any(bench.name.startswith(name) for name in names)]


def table(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the rows as lines of text, each as soon as it is measured."""
    yield f"{'benchmark':<26} {'ours':>10} {'peer':>10}  {'unit':<12} {'ratio':>7} {'floor':>6}      peer"
    for row in rows:
        verdict = "ok" if row.ok else "LOW"
        floor = f"{row.floor:.2f}" if row.floor else "-"
        note = f" ({row.note})" if row.note else ""
        yield (
            f"{row.name:<26} {row.ours:>10.4g} {row.peer:>10.4g}  {row.unit:<12} {row.ratio:>7.2f} {floor:>6}"
            f"  {verdict:<3} {row.peer_name}{note}"
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `orbitnode bench` to its parser."""
    parser.add_argument(
        "names", nargs="*", metavar="NAME",
        help="only benchmarks whose name starts so; `profile` alone measures the node's tasks, for virtual time",
    )  # fmt: skip
    parser.add_argument("--brief", action="store_true", help="shorten the long ones; their rows say so")
    parser.add_argument("--json", action="store_true", help="print a JSON list of rows instead of a table")
    group = parser.add_argument_group("profile")
    group.add_argument("-o", "--out", type=Path, default=Path("out", "cpu_profile.json"), metavar="FILE",
                       help="file for the profile (default %(default)s)")  # fmt: skip
    group.add_argument("--seconds", type=float, default=60.0, metavar="N", help="how long the node flies (default 60)")
    group.add_argument("--mission", type=Path, metavar="FILE", help="mission file (default: the orbit mission)")


def execute(args: argparse.Namespace) -> int:
    """Run the benchmarks, or the profile; return 1 if a row misses its floor or cannot be measured.

    Raises OrbitnodeError.
    """
    if not math.isfinite(args.seconds):
        raise UsageError(f"--seconds {args.seconds:g}, should be a number")
    if args.names == ["profile"]:
        from sim_hw.bench import profile  # it imports a node and a ground, of which the others need nothing

        return profile.run(args.mission or profile.DEFAULT_MISSION, args.out, args.seconds)
    verdicts: list[bool] = []

    def measured(benches: Sequence[Measured]) -> Iterator[Row]:
        for bench in benches:
            try:
                rows = measure(bench, args.brief)
            except OrbitnodeError as fault:
                print(plain(f"orbitnode bench: {bench.name} not measured: {fault}"), file=sys.stderr, flush=True)
                verdicts.append(False)
                continue
            for row in rows:
                verdicts.append(row.ok)
                yield row

    results = measured(choose(find_benches(FOLDER), args.names))
    if args.json:
        print(json_text([asdict(row) for row in results], indent=2))
    else:
        for line in table(results):
            print(plain(line), flush=True)
    return 0 if all(verdicts) else 1
