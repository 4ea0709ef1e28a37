"""The fault plan of a run: what goes wrong, when, on purpose and reproducibly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS, ns

KINDS = {
    "worker-kill": "the payload worker is killed in the job that starts next",
    "worker-hang": "the job that starts next never answers",
    "eps-mute": "the power system does not answer for a minute",
    "power-cut": "the node loses power and boots again ten seconds later",
}
EPS_MUTE_S = 60.0
REBOOT_S = 10.0


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault of `kind`, `at_s` seconds into the run."""

    kind: str
    at_s: float

    @classmethod
    def parse(cls, text: str) -> PlannedFault:
        """From `KIND@SECONDS`; raises OrbitnodeError."""
        kind, at, seconds = text.partition("@")
        try:
            at_s = float(seconds)
        except ValueError:
            at_s = -1.0
        if kind not in KINDS or not at or not 0 <= at_s < 1e9:
            raise OrbitnodeError(f"fault {text!r} is not KIND@SECONDS with KIND one of {', '.join(KINDS)}")
        return cls(kind, at_s)


class FaultPlan:
    """Faults in order of time. `take` hands each out once, to whoever it concerns, when its time has come."""

    def __init__(self, faults: Sequence[PlannedFault] = ()) -> None:
        self._waiting = sorted(faults, key=lambda f: f.at_s)

    def take(self, kind: str, now_ns: int) -> bool:
        """True once for each fault of `kind` that is due."""
        for fault in self._waiting:
            if fault.kind == kind and fault.at_s * NS <= now_ns:
                self._waiting.remove(fault)
                return True
        return False

    def times_ns(self, kind: str) -> list[int]:
        """When faults of `kind` are planned, for those that happen of themselves."""
        return [ns(f.at_s) for f in self._waiting if f.kind == kind]
