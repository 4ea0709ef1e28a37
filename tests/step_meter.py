"""Counts the storage work of every step of a node, and of the boot before them, for tests of ADR 0022."""

# Work is counted, not timed, so the result does not depend on how busy the machine is. The meter stands between node
# and storage (MeteredStorage) and adds up operations and octets.
#
# The platform knows when a step ends, because the scheduler then asks it what the step has cost (`step_cost_ns`). So
# everything counted since the last such call belongs to that step. A call of the host may do work outside the steps in
# it, such as the callbacks of a commit; that work counts as a step of its own, named "host" (`around`).
#
# Everything before the first call of the host is the boot, which has no bound (ADR 0022).

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

CHECKPOINT_OCTETS = 1_700_100  # a full vault, and the head of a generation


@dataclass
class Use:
    """Use of storage in one step, in operations and octets. Replacements count in `replaced`, not in `written`."""

    operations: int = 0
    read: int = 0
    written: int = 0
    replaced: int = 0
    names: Counter[str] = field(default_factory=Counter)

    @property
    def within_bounds(self) -> bool:
        """Whether the step kept the bounds of flight/core/step_budget.py."""
        return (
            self.operations <= OPERATIONS_MAX
            and self.read <= READ_OCTETS_MAX
            and self.written <= WRITTEN_OCTETS_MAX
            and self.replaced <= CHECKPOINT_OCTETS
        )


class StepMeter:
    """Adds up the use per step. `most`: the largest use of each kind, and by whom. `over`: steps beyond the bounds."""

    def __init__(self) -> None:
        self.booting = True
        self.boot = Use()
        self.steps = 0
        self.most: dict[str, tuple[int, str]] = {}
        self.over: list[tuple[str, Use]] = []
        self._use = Use()

    def count(self, name: str, *, read: int = 0, written: int = 0, replaced: int = 0) -> None:
        """Count one operation on the file `name`."""
        use = self.boot if self.booting else self._use
        use.operations += 1
        use.read += read
        use.written += written
        use.replaced += replaced
        use.names[name] += 1

    def end_step(self, who: str) -> None:
        """End a step of `who`: everything counted since the last end belongs to it."""
        use, self._use = self._use, Use()
        self.steps += 1
        for kind in ("operations", "read", "written", "replaced"):
            value = getattr(use, kind)
            if value > self.most.get(kind, (0, ""))[0]:
                self.most[kind] = value, who
        if not use.within_bounds:
            self.over.append((who, use))

    def around(self, call: Callable[[], None]) -> Callable[[], None]:
        """Return the call with its own step around it."""

        def metered() -> None:
            self.booting = False
            self.end_step("host")
            call()
            self.end_step("host")

        return metered


class MeteredStorage:
    """A Storage that counts requests and passes them on."""

    def __init__(self, storage: Any, meter: StepMeter) -> None:
        self._storage = storage
        self._meter = meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def names(self) -> list[str]:
        """Count and pass on."""
        self._meter.count("*")
        found: list[str] = self._storage.names()
        return found

    def read(self, name: str, at: int = 0, octets: int | None = None) -> bytes | None:
        """Count the octets read, and pass on."""
        content: bytes | None = None
        try:
            content = self._storage.read(name, at, octets)
        finally:
            self._meter.count(name, read=len(content or b""))
        return content

    def append(self, name: str, octets: bytes) -> None:
        """Count the octets written, and pass on."""
        self._meter.count(name, written=len(octets))
        self._storage.append(name, octets)

    def write(self, name: str, at: int, octets: bytes | memoryview) -> None:
        """Count the octets written, and pass on."""
        self._meter.count(name, written=len(octets))
        self._storage.write(name, at, octets)

    def replace(self, name: str, octets: bytes) -> None:
        """Count the octets replaced, and pass on."""
        self._meter.count(name, replaced=len(octets))
        self._storage.replace(name, octets)

    def delete(self, name: str) -> None:
        """Count and pass on."""
        self._meter.count(name)
        self._storage.delete(name)


def meter_spacecraft(monkeypatch: pytest.MonkeyPatch) -> StepMeter:
    """Return a meter for every node that a spacecraft boots from now on."""
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
    """A Linux platform whose node is metered. Calls that the storage itself makes in the loop count as well."""

    def __init__(self, storage_dir: Path, name: str) -> None:
        self.meter = StepMeter()
        super().__init__(storage_dir, name)
        self._metered: Any = MeteredStorage(super().storage, self.meter)

    @property
    def storage(self) -> Any:
        """The storage, metered."""
        return self._metered

    def call_at(self, t_ns: int, call: Callable[[], None]) -> Any:
        """Make the call later, as a step of its own."""
        return super().call_at(t_ns, self.meter.around(call))

    def watch(self, fileno: int, on_ready: Callable[[], None]) -> None:
        """Watch the descriptor; what its call does is a step of its own."""
        super().watch(fileno, self.meter.around(on_ready))

    def step_cost_ns(self, task: str) -> int:
        """End the step; it costs nothing in time."""
        self.meter.end_step(task)
        return 0
