"""What each step of a task costs the processor: a profile of a real run, to draw from in virtual time.

The file is JSON:

    {"format": "orbitnode-cpu-profile/1", "machine": "a Raspberry Pi 5",
     "tasks": {"power": {"steps": 5700, "us": [[0.0, 16], [0.94, 32], [1.0, 870]]}, "*": ...}}

`us` is the inverse of the distribution of a step's length: points [share of steps, microseconds], both rising, from
share 0 to share 1, with straight lines between them. `*` serves every task that is not named; without it such a task
costs nothing. `steps` says how many steps the points come from.
"""

# Why a distribution and not a mean: what late starts come from are the rare long steps. A drawn step is as long as a
# real one was at that share, so the tail is there.
#
# Why the inverse: drawing is then one random number and one look-up, and a task for which there is no entry draws as
# well (`draw_ns`), so that adding a task to a profile does not shift the numbers of all others.
#
# A profile made from a live node (`orbitnode bench profile`) comes from histograms whose buckets double in width, so
# each length is good to a factor of two. The last bucket ends at the longest step that was seen, not at its edge.
#
# Cost makes virtual time pass between the steps of a node and thereby changes the digest: a run with a profile and one
# without are different runs, each reproducible.

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

from flight.core.errors import SetupError, reason_of
from flight.core.task_stats import TaskReport, bucket_bounds_us

FORMAT = "orbitnode-cpu-profile/1"
ANY_TASK = "*"
TASKS_MAX, POINTS_MAX, OCTETS_MAX = 1024, 256, 1_000_000
STEP_MAX_US = 60e6


@dataclass(frozen=True, slots=True)
class StepCost:
    """The lengths of one task's steps: microseconds `us[i]` at the share `shares[i]`."""

    steps: int
    shares: tuple[float, ...]
    us: tuple[float, ...]

    def at_ns(self, share: float) -> int:
        """Return the length, in ns, that `share` (0 .. 1) of the steps do not exceed."""
        i = min(bisect_right(self.shares, share), len(self.shares) - 1)
        share_before, share_after = self.shares[i - 1], self.shares[i]
        low, high = self.us[i - 1], self.us[i]
        return round(1000.0 * (low + (high - low) * (share - share_before) / (share_after - share_before)))


@dataclass(frozen=True, slots=True)
class CpuProfile:
    """Step costs by task, as they were on `machine`."""

    machine: str
    tasks: Mapping[str, StepCost]

    def draw_ns(self, task: str, random: Random) -> int:
        """Return the length of one step, in ns. Draws from `random` once, whatever the task."""
        share = random.random()
        cost = self.tasks.get(task) or self.tasks.get(ANY_TASK)
        return 0 if cost is None else cost.at_ns(share)

    @classmethod
    def load(cls, path: Path | str) -> CpuProfile:
        """Read a file; raises SetupError, which names the file, the place in it and what would be right."""
        path = Path(path)
        try:
            with path.open("rb") as file:
                octets = file.read(OCTETS_MAX + 1)  # one more, to tell a file that is too long
        except OSError as error:
            raise SetupError(f"CPU profile {path}: {reason_of(error)}") from None
        if len(octets) > OCTETS_MAX:
            raise SetupError(f"CPU profile {path}: has more than {OCTETS_MAX:,} octets")
        try:
            return cls.decode(octets)
        except ValueError as error:
            raise SetupError(f"CPU profile {path}: {error}") from None

    @classmethod
    def decode(cls, octets: bytes) -> CpuProfile:
        """Read the content of a file; raises ValueError, which says what is wrong in it."""
        try:
            document: object = json.loads(octets)
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"is not JSON: {error}") from None
        document = _object(document, "the file")
        if document.get("format") != FORMAT:
            raise ValueError(f"format is {_show(document.get('format'))}, should be {FORMAT!r}")
        machine = document.get("machine", "")
        if not isinstance(machine, str):
            raise ValueError(f"machine is {_show(machine)}, should be a text")
        tasks = _object(document.get("tasks"), "tasks")
        if not 1 <= len(tasks) <= TASKS_MAX:
            raise ValueError(f"tasks has {len(tasks)} entries, should have 1 .. {TASKS_MAX}")
        return cls(machine, {name: _cost(name, entry) for name, entry in tasks.items()})

    @classmethod
    def from_reports(cls, machine: str, reports: Iterable[TaskReport]) -> CpuProfile:
        """Make a profile from the step histograms of a real run, good to their factor of two.

        Tasks of one name are taken together, and `*` is all of them. Raises ValueError if no task has run.
        """
        histograms: dict[str, list[int]] = {}
        worst_us: dict[str, int] = {}
        for report in reports:
            for name in (report.name, ANY_TASK):
                seen = histograms.setdefault(name, [0] * len(report.step))
                histograms[name] = [a + b for a, b in zip(seen, report.step, strict=True)]
                worst_us[name] = max(worst_us.get(name, 0), report.worst_step_us)
        tasks = {name: _measured(counts, worst_us[name]) for name, counts in sorted(histograms.items()) if any(counts)}
        if not tasks:
            raise ValueError("no task has run, there is nothing to make a profile of")
        return cls(machine, tasks)

    def encode(self) -> bytes:
        """Return the content of a file, one line per task."""
        lines = []
        for name, cost in sorted(self.tasks.items()):
            points = list(zip(cost.shares, cost.us, strict=True))
            lines.append(f"  {json.dumps(name)}: {json.dumps({'steps': cost.steps, 'us': points})}")
        head = f'{{"format": {json.dumps(FORMAT)}, "machine": {json.dumps(self.machine)}, "tasks": {{\n'
        return (head + ",\n".join(lines) + "\n}}\n").encode()


def _measured(histogram: list[int], worst_us: int) -> StepCost:
    """Turn a histogram into points: each bucket's share at its upper edge, the longest step at the end."""
    filled = [bucket for bucket, count in enumerate(histogram) if count]
    steps, seen = sum(histogram), 0
    shares, us = [0.0], [float(bucket_bounds_us(filled[0])[0])]
    for bucket in filled:
        low, high = bucket_bounds_us(bucket)
        if low > us[-1]:  # nothing in the buckets between: a step up, as steep as the format allows
            shares.append(math.nextafter(shares[-1], 1.0))
            us.append(float(low))
        seen += histogram[bucket]
        shares.append(seen / steps)
        us.append(float(high))
    us[-1] = max(float(worst_us), us[-2])
    return StepCost(steps, tuple(shares), tuple(us))


def _cost(task: str, entry: object) -> StepCost:
    where = f"tasks.{task}"
    entry = _object(entry, where)
    unknown = sorted(set(entry) - {"steps", "us"})
    if unknown:
        raise ValueError(f"{where} has {', '.join(unknown)}, should have steps and us")
    steps, points = entry.get("steps"), entry.get("us")
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 0:
        raise ValueError(f"{where}.steps is {_show(steps)}, should be a whole number of 0 or more")
    if not isinstance(points, list) or not 2 <= len(points) <= POINTS_MAX:
        raise ValueError(f"{where}.us is {_show(points)}, should be 2 .. {POINTS_MAX} pairs [share, microseconds]")
    pairs = [_point(f"{where}.us[{i}]", point) for i, point in enumerate(points)]
    shares, us = tuple(share for share, _ in pairs), tuple(length for _, length in pairs)
    if shares[0] != 0.0 or shares[-1] != 1.0:
        raise ValueError(f"{where}.us has shares {shares[0]:g} .. {shares[-1]:g}, should have 0 .. 1")
    if any(a >= b for a, b in pairwise(shares)) or any(a > b for a, b in pairwise(us)):
        raise ValueError(f"{where}.us should rise from pair to pair")
    return StepCost(steps, shares, us)


def _point(where: str, point: object) -> tuple[float, float]:
    match point:
        case [int() | float() as share, int() | float() as us] if 0 <= share <= 1 and 0 <= us <= STEP_MAX_US:
            return float(share), float(us)
    raise ValueError(f"{where} is {_show(point)}, should be [share 0 .. 1, microseconds 0 .. {STEP_MAX_US:,.0f}]")


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {_show(value)}, should be an object")
    return value


def _show(value: object) -> str:
    """Return a value as JSON, cut if it is long."""
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
