"""Counts the storage work of every step of a node, and of the boot before them; for tests.

A platform tells where a step ends: the scheduler asks it what the step has cost. What a call of the host does beside
the steps in it, such as the callbacks of a commit, counts as a step of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flight.core.step_budget import OPERATIONS_MAX, READ_OCTETS_MAX, WRITTEN_OCTETS_MAX
from flight.linux.platform import LinuxPlatform
from sim_hw.machine.platform import SimPlatform

CHECKPOINT_OCTETS = 1_000_100  # what a vault holds, and the head of a generation


@dataclass
class Use:
    """Of storage, in one step. `checkpoints` are the replacements, which are not in `written`."""

    operations: int = 0
    read: int = 0
    written: int = 0
    replaced: int = 0
    names: Counter[str] = field(default_factory=Counter)

    @property
    def within_bounds(self) -> bool:
        return (
            self.operations <= OPERATIONS_MAX
            and self.read <= READ_OCTETS_MAX
            and self.written <= WRITTEN_OCTETS_MAX
            and self.replaced <= CHECKPOINT_OCTETS
        )


class StepMeter:
    """`most` is the largest use of each kind, with who it was; `over` the steps that exceeded the bounds."""

    def __init__(self) -> None:
        self.booting = True
        self.boot = Use()
        self.steps = 0
        self.most: dict[str, tuple[int, str]] = {}
        self.over: list[tuple[str, Use]] = []
        self._use = Use()

    def count(self, name: str, *, read: int = 0, written: int = 0, replaced: int = 0) -> None:
        use = self.boot if self.booting else self._use
        use.operations += 1
        use.read += read
        use.written += written
        use.replaced += replaced
        use.names[name] += 1

    def end_step(self, who: str) -> None:
        """What was counted since the last end was one step of `who`."""
        use, self._use = self._use, Use()
        self.steps += 1
        for kind in ("operations", "read", "written", "replaced"):
            value = getattr(use, kind)
            if value > self.most.get(kind, (0, ""))[0]:
                self.most[kind] = value, who
        if not use.within_bounds:
            self.over.append((who, use))

    def around(self, call: Callable[[], None]) -> Callable[[], None]:
        def metered() -> None:
            self.booting = False
            self.end_step("host")
            call()
            self.end_step("host")

        return metered


class MeteredStorage:
    """A Storage that counts what is asked of it; all else is the storage's own."""

    def __init__(self, storage: Any, meter: StepMeter) -> None:
        self._storage = storage
        self._meter = meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def names(self) -> list[str]:
        self._meter.count("*")
        found: list[str] = self._storage.names()
        return found

    def read(self, name: str, at: int = 0, octets: int | None = None) -> bytes | None:
        content: bytes | None = None
        try:
            content = self._storage.read(name, at, octets)
        finally:
            self._meter.count(name, read=len(content or b""))
        return content

    def append(self, name: str, octets: bytes) -> None:
        self._meter.count(name, written=len(octets))
        self._storage.append(name, octets)

    def replace(self, name: str, octets: bytes) -> None:
        self._meter.count(name, replaced=len(octets))
        self._storage.replace(name, octets)

    def delete(self, name: str) -> None:
        self._meter.count(name)
        self._storage.delete(name)


def meter_spacecraft(monkeypatch: pytest.MonkeyPatch) -> StepMeter:
    """A meter for every node that a spacecraft boots from now on."""
    meter = StepMeter()

    class Metered(SimPlatform):
        def __init__(self, *args: Any, **more: Any) -> None:
            meter.booting = True
            super().__init__(*args, **more)
            storage: Any = MeteredStorage(self.storage, meter)
            self.storage = storage

        def call_at(self, t_ns: int, call: Callable[[], None]) -> Any:
            return super().call_at(t_ns, meter.around(call))

        def step_cost_ns(self, task: str) -> int:
            meter.end_step(task)
            return super().step_cost_ns(task)

    monkeypatch.setattr("sim_hw.spacecraft.SimPlatform", Metered)
    return meter


class MeteredLinuxPlatform(LinuxPlatform):
    """A Linux platform whose node is metered. Storage's own calls of the loop count as well."""

    def __init__(self, storage_dir: Path, name: str) -> None:
        self.meter = StepMeter()
        super().__init__(storage_dir, name)
        self._metered: Any = MeteredStorage(super().storage, self.meter)

    @property
    def storage(self) -> Any:
        return self._metered

    def call_at(self, t_ns: int, call: Callable[[], None]) -> Any:
        return super().call_at(t_ns, self.meter.around(call))

    def watch(self, fileno: int, on_ready: Callable[[], None]) -> None:
        super().watch(fileno, self.meter.around(on_ready))

    def step_cost_ns(self, task: str) -> int:
        self.meter.end_step(task)
        return 0
