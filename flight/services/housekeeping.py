"""ST[03] housekeeping: periodic reports of declared structures, their period settable from ground."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flight.app import CommandRefused
from flight.config import key
from flight.core.errors import SetupError
from flight.core.future import Event
from flight.core.scheduler import Scheduler, Task
from flight.dictionary import Command, Declarations, Structure
from flight.fields import Field, Layout, Value
from flight.services.telemetry import Telemetry
from flight.services.verification import BAD_VALUE

PERIOD_MIN_S = 0.1
PERIOD_MAX_S = 3600.0
_SID_OCTETS = 2
_FIRST_REPORT_S = 1.0  # after boot: the duties have read their sensors by then


@dataclass(frozen=True, slots=True)
class HousekeepingConfig:
    period_s: Mapping[str, float] = key({}, minimum=0, maximum=PERIOD_MAX_S, text="period by structure, 0 for off")

    def faults(self) -> list[tuple[str, str]]:
        """The names are checked at boot: what structures there are depends on the app."""
        return [
            ("period_s", f"{name} is {period_s:g}, should be 0 for off, or {PERIOD_MIN_S:g} and more")
            for name, period_s in self.period_s.items()
            if 0 < period_s < PERIOD_MIN_S
        ]


def declare(apid: int, structures: tuple[Structure, ...]) -> Declarations:
    """The commands; `structures` are all there are, so that ground can name one."""
    text = "; ".join(f"{s.sid} {s.name}" for s in structures)
    return Declarations(
        commands=(
            Command(
                "set_hk_period", apid, 3, 31,
                "set the collection interval of a housekeeping structure until the next boot, 0 for off",
                (
                    Field("structure", "u16", text=text),
                    Field("period_s", "f32", "s", minimum=0, maximum=PERIOD_MAX_S),
                ),
            ),
            Command(
                "report_hk", apid, 3, 27, "report a housekeeping structure once",
                (Field("structure", "u16", text=text),),
            ),
        )
    )  # fmt: skip


class _Collector:
    """One structure: who samples it and how often."""

    def __init__(self, structure: Structure, period_s: float, sample: Callable[[], Sequence[Value]]) -> None:
        self.structure = structure
        self.layout: Layout = structure.layout
        self.period_s = period_s
        self.sample = sample
        self.changed = Event()


class Housekeeping:
    """All housekeeping structures of a node. A structure nobody samples is our own mistake."""

    def __init__(self, structures: tuple[Structure, ...], config: HousekeepingConfig, telemetry: Telemetry,
                 scheduler: Scheduler) -> None:  # fmt: skip
        self._structures = {s.name: s for s in structures}
        unknown = sorted(config.period_s.keys() - self._structures.keys())
        if unknown:
            have = ", ".join(sorted(self._structures))
            raise SetupError(f"housekeeping.period_s: no structure {', '.join(unknown)}, have {have}")
        self._config = config
        self._telemetry = telemetry
        self._scheduler = scheduler
        self._collectors: dict[int, _Collector] = {}

    def provide(self, structure: str, sample: Callable[[], Sequence[Value]]) -> None:
        declared = self._structures[structure]
        period_s = self._config.period_s.get(structure, declared.period_s)
        collector = _Collector(declared, period_s, sample)
        self._collectors[declared.sid] = collector

        async def collect(task: Task) -> None:
            await self._collect(task, collector)

        self._scheduler.spawn(f"hk.{structure}", collect)

    def check_structure(self, sid: int, period_s: float = 0.0) -> None:
        if sid not in self._collectors:
            have = ", ".join(str(s) for s in sorted(self._collectors))
            raise CommandRefused(BAD_VALUE, f"no structure {sid}, have {have}")
        if 0 < period_s < PERIOD_MIN_S:
            raise CommandRefused(BAD_VALUE, f"period {period_s:g} s, shortest is {PERIOD_MIN_S:g} s, 0 is off")

    def set_period(self, sid: int, period_s: float) -> None:
        collector = self._collectors[sid]
        collector.period_s = period_s
        collector.changed.set()

    def report(self, sid: int) -> None:
        collector = self._collectors[sid]
        data = sid.to_bytes(_SID_OCTETS, "big") + collector.layout.encode(collector.sample())
        self._telemetry.send(collector.structure.apid, 3, 25, data)

    async def _collect(self, task: Task, collector: _Collector) -> None:
        """Report each period; a new period starts a new row of ticks, period 0 waits for another."""
        while True:
            collector.changed.clear()
            if collector.period_s <= 0:
                await collector.changed.wait()
                continue
            async for _ in task.every(
                collector.period_s, phase_s=min(_FIRST_REPORT_S, collector.period_s), stop=collector.changed
            ):
                self.report(collector.structure.sid)
