"""The command `orbitnode bench`: runs every tests/bench/bench_*.py of the checkout, ours beside other people's code.

Such a file offers `BENCHES`, a tuple of `Bench`. Ours and the peer are timed in turns in one process, so that what
else the machine does meets both; a row's `ratio` is the median over the turns of ours / peer in units of work per
second, and the row is `ok` where the ratio reaches its `floor`. Absolute figures are not compared between machines.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from statistics import median

from flight.core.errors import OrbitnodeError, SetupError

HELP = "measure our kernels and loop beside those of others; fail where a floor is missed"

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "bench"
TURNS = 11
TURN_S = 0.02


class BenchError(OrbitnodeError):
    """A benchmark is not there, or cannot be run as asked."""


@dataclass(frozen=True, slots=True)
class Race:
    """Two ways of doing the same work. `amount` is how much of the bench's unit one call does."""

    ours: Callable[[], object]
    peer: Callable[[], object]
    amount: float


@dataclass(frozen=True, slots=True)
class Bench:
    """One row to be: `prepare` makes the input and imports the peer, outside the measured time."""

    name: str
    peer_name: str
    unit: str
    floor: float
    prepare: Callable[[], Race]


@dataclass(frozen=True, slots=True)
class Row:
    """One measured row; `ours` and `peer` in `unit`, more is better."""

    name: str
    ours: float
    peer: float
    peer_name: str
    unit: str
    ratio: float
    floor: float
    ok: bool


def _per_call_s(call: Callable[[], object], calls: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(calls):
        call()
    return (time.perf_counter_ns() - start) / calls / 1e9


def _calls_in_a_turn(call: Callable[[], object]) -> int:
    call()
    return max(1, int(TURN_S / max(_per_call_s(call, 1), 1e-9)))


def measure(bench: Bench) -> Row:
    """Run one bench. A missing peer raises SetupError that says what to install."""
    try:
        race = bench.prepare()
    except ModuleNotFoundError as missing:
        raise SetupError(f"bench {bench.name}: {missing.name} is not installed; pip install 'orbitnode[dev]'") from None
    calls = _calls_in_a_turn(race.ours), _calls_in_a_turn(race.peer)
    turns = [(_per_call_s(race.ours, calls[0]), _per_call_s(race.peer, calls[1])) for _ in range(TURNS)]
    ratio = median(peer_s / ours_s for ours_s, peer_s in turns)
    ours = race.amount / median(ours_s for ours_s, _ in turns)
    peer = race.amount / median(peer_s for _, peer_s in turns)
    return Row(bench.name, ours, peer, bench.peer_name, bench.unit, ratio, bench.floor, ratio >= bench.floor)


def find_benches(folder: Path) -> list[Bench]:
    """The benches of every bench_*.py in `folder`, in order of file and place."""
    paths = sorted(folder.glob("bench_*.py"))
    if not paths:
        raise BenchError(f"no benchmarks in {folder}; they are part of the checkout, not of the installed package")
    benches: list[Bench] = []
    for path in paths:
        spec = spec_from_file_location(path.stem, path)
        assert spec is not None, path
        assert spec.loader is not None, path
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        benches += module.BENCHES
    return benches


def choose(benches: Sequence[Bench], names: Sequence[str]) -> list[Bench]:
    """Those whose name starts with one of `names`; all where none is given."""
    for name in names:
        if not any(bench.name.startswith(name) for bench in benches):
            known = ", ".join(sorted({bench.name for bench in benches}))
            raise BenchError(f"no benchmark {name!r}, there are: {known}")
    return [bench for bench in benches if not names or any(bench.name.startswith(name) for name in names)]


def table(rows: Iterator[Row]) -> Iterator[str]:
    """The rows as lines of text, each as soon as it is measured."""
    yield f"{'benchmark':<26} {'ours':>10} {'peer':>10}  {'unit':<12} {'ratio':>7} {'floor':>6}      peer"
    for row in rows:
        verdict = "ok" if row.ok else "LOW"
        yield (
            f"{row.name:<26} {row.ours:>10.4g} {row.peer:>10.4g}  {row.unit:<12} {row.ratio:>7.2f} {row.floor:>6.2f}"
            f"  {verdict:<3} {row.peer_name}"
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="only benchmarks whose name starts so")
    parser.add_argument("--json", action="store_true", help="print a JSON list of rows instead of a table")


def execute(args: argparse.Namespace) -> int:
    rows: list[Row] = []

    def measured(benches: Sequence[Bench]) -> Iterator[Row]:
        for bench in benches:
            rows.append(measure(bench))
            yield rows[-1]

    results = measured(choose(find_benches(FOLDER), args.names))
    if args.json:
        print(json.dumps([asdict(row) for row in results], indent=2))
    else:
        for line in table(results):
            print(line, flush=True)
    return 0 if all(row.ok for row in rows) else 1
