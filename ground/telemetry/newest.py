"""The newest value of every parameter, beside what the archive knew before."""

from __future__ import annotations

from dataclasses import dataclass

from flight.contract.fields import Field, Plain
from ground.telemetry.limits import NORMAL
from ground.telemetry.node_archive import NodeArchive


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest value of one parameter. `raw` as transmitted, `value` with its label."""

    time_ns: int
    raw: Plain
    value: Plain
    unit: str
    state: str


class NewestValues:
    """`values` by the name of the parameter."""

    def __init__(self, archive: NodeArchive | None) -> None:
        """A late comer begins with what the archive knows."""
        known = {} if archive is None else archive.latest()
        self.values = {
            name: Latest(sample.time_ns, sample.raw, sample.value, sample.unit, NORMAL)
            for name, sample in known.items()
        }
        self._fresh: set[str] = set()

    def keep(self, name: str, time_ns: int, raw: Plain, one: Field, *, live: bool, state: str = NORMAL) -> None:
        """Take a value of the field `one`. What is live is the newest, whatever its time: the on-board clock may have
        been set back.
        """
        known = self.values.get(name)
        if live or known is None or known.time_ns <= time_ns:
            self._fresh.add(name)
            self.values[name] = Latest(time_ns, raw, one.label(raw), one.unit, state)

    def lost(self) -> None:
        """What was taken may not be stored: all of it is fresh again."""
        self._fresh = set(self.values)

    def take_fresh(self) -> dict[str, tuple[int, Plain]]:
        """Time and raw value of what changed since the last call, by name."""
        fresh, self._fresh = self._fresh, set()
        return {name: (self.values[name].time_ns, self.values[name].raw) for name in sorted(fresh)}
