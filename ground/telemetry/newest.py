"""The newest value of every parameter, those that the archive knew before included."""

# Which sample is the newest cannot be told by its time, since the on-board clock may be set back: what is live is the
# newest. So the archive stores it as a row of its own, written with each commit. `_fresh` names what changed since the
# last one. If a write was lost everything is fresh again, because nobody knows what of it was stored.

from __future__ import annotations

from dataclasses import dataclass

from flight.contract.fields import Field, Plain
from ground.telemetry.limits import NORMAL
from ground.telemetry.node_archive import NodeArchive


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest value of one parameter: `raw` as transmitted, `value` with its label, `state` by its limits."""

    time_ns: int
    raw: Plain
    value: Plain
    unit: str
    state: str
    has_limits: bool = False  # and was held against them: a value from the archive was not


class NewestValues:
    """The newest values, by name of the parameter in `values`."""

    def __init__(self, archive: NodeArchive | None) -> None:
        """Begin with what the archive knows."""
        known = {} if archive is None else archive.latest()
        self.values = {
            name: Latest(sample.time_ns, sample.raw, sample.value, sample.unit, NORMAL)
            for name, sample in known.items()
        }
        self._fresh: set[str] = set()

    def keep(self, name: str, time_ns: int, raw: Plain, field: Field, *, live: bool, state: str | None = None) -> None:
        """Take a value of `field`. It becomes the newest if it is live, or not older than the one that is known.

        state: by its limits, None if it has none.
        """
        known = self.values.get(name)
        if live or known is None or known.time_ns <= time_ns:
            self._fresh.add(name)
            self.values[name] = Latest(time_ns, raw, field.label(raw), field.unit, state or NORMAL, state is not None)

    def lost(self) -> None:
        """Mark everything as fresh: what was taken may not have been stored."""
        self._fresh = set(self.values)

    def take_fresh(self) -> dict[str, tuple[int, Plain]]:
        """Return time and raw value of what changed since the last call, by name."""
        fresh, self._fresh = self._fresh, set()
        return {name: (self.values[name].time_ns, self.values[name].raw) for name in sorted(fresh)}
