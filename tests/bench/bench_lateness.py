"""Lateness of a 100 Hz task: ours beside a C loop, asyncio and trio, each in a process of its own, in turns.

Lateness is the time of the first statement of a tick's body less the time at which the tick was due. A tick late by
a period or more counts as skipped, whoever runs it. The first ticks of a slice warm up and do not count. All share
the machine with whatever else it does, so that they run in short slices by turns; a figure is the median over the
slices, a ratio the median over the turns.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from flight.core.nanoseconds import NS
from sim_hw.bench.bench_command import Row, Survey, at_most, compiled, output_of, quantile, shown

HERE = Path(__file__).resolve().parent
PERIOD_NS = 10_000_000
WARM_TICKS = 20
SKIPPED_MORE_MAX = 0.001  # share of ticks, beside the C loop's
FREE_MACHINE = "wants a free machine"


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to look: `turns` times one slice of each loop."""

    turns: int
    slice_s: float  # of C and ours
    peer_slice_s: float  # of asyncio and trio


FULL, BRIEF = Plan(30, 5.0, 1.0), Plan(5, 1.0, 0.5)


@dataclass(slots=True)
class Slices:
    """What was seen of one loop, a slice a place; microseconds."""

    command: Sequence[str]
    slice_s: float
    p50_us: list[float] = field(default_factory=list)
    p99_us: list[float] = field(default_factory=list)
    ticks: int = 0
    skipped: int = 0

    def take(self) -> None:
        """Run one slice."""
        ticks = WARM_TICKS + round(self.slice_s * NS / PERIOD_NS)
        text = output_of([*self.command, str(PERIOD_NS), str(ticks)], 60.0 + 10.0 * self.slice_s)
        late_ns = [int(line) for line in text.split()][WARM_TICKS:]
        self.p50_us.append(quantile(late_ns, 0.5) / 1000.0)
        self.p99_us.append(quantile(late_ns, 0.99) / 1000.0)
        self.ticks += len(late_ns)
        self.skipped += sum(late >= PERIOD_NS for late in late_ns)

    @property
    def skipped_percent(self) -> float:
        return 100.0 * self.skipped / self.ticks


def lateness(brief: bool) -> list[Row]:
    plan = BRIEF if brief else FULL
    if find_spec("trio") is None:
        raise ModuleNotFoundError(name="trio")
    loops = [sys.executable, str(HERE / "lateness_loops.py")]
    with TemporaryDirectory() as folder:
        control = Slices([str(compiled(HERE / "nanosleep.c", Path(folder)))], plan.slice_s)
        ours = Slices([*loops, "flight"], plan.slice_s)
        peers = {name: Slices([*loops, name], plan.peer_slice_s) for name in ("asyncio", "trio")}
        for turn in range(plan.turns):
            everyone = [control, ours, *peers.values()]
            for each in everyone if turn % 2 == 0 else reversed(everyone):
                each.take()
    return rows(control, ours, peers)


def rows(control: Slices, ours: Slices, peers: dict[str, Slices]) -> list[Row]:
    c_name = "C clock_nanosleep"
    ticks = f"{ours.ticks} ticks, {FREE_MACHINE}"
    made = [
        beside("lateness-100hz-p50", ours.p50_us, control.p50_us, c_name, 1 / 1.5, ticks),
        at_most(
            "lateness-100hz-skipped", ours.skipped_percent, control.skipped_percent + 100 * SKIPPED_MORE_MAX,
            f"{c_name} + {SKIPPED_MORE_MAX:.1%}", "%", note=f"{ours.skipped} and {control.skipped} ticks",
        ),
        *(beside(f"lateness-100hz-{name}", ours.p50_us, peer.p50_us, name, 5.0, "p50") for name, peer in peers.items()),
        shown(beside("lateness-100hz-p99", ours.p99_us, control.p99_us, c_name, 0.0, ticks)),
    ]  # fmt: skip
    made += [
        shown(beside(f"lateness-p99-{name}", ours.p99_us, peer.p99_us, name, 0.0, "")) for name, peer in peers.items()
    ]
    return made


def beside(name: str, ours_us: list[float], peer_us: list[float], peer: str, floor: float, note: str) -> Row:
    ratio = median(theirs / mine for mine, theirs in zip(ours_us, peer_us, strict=True))
    return at_most(name, median(ours_us), median(peer_us), peer, "us", floor, ratio=ratio, note=note)


BENCHES = (Survey("lateness-100hz", lateness, long=True),)
