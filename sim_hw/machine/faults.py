"""The fault plan of a run: what goes wrong, when, on purpose and reproducibly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    """One fault of `kind`, `at_s` seconds into the run, of the spacecraft `node`; the first one if that is empty."""

    kind: str
    at_s: float
    node: str = ""

    def __str__(self) -> str:
        return f"{self.node}{':' * bool(self.node)}{self.kind}@{self.at_s:g}"

    @classmethod
    def parse(cls, text: str) -> PlannedFault:
        """From `KIND@SECONDS` or `NODE:KIND@SECONDS`; raises OrbitnodeError."""
        node, colon, rest = text.rpartition(":")
        kind, at, seconds = rest.partition("@")
        try:
            at_s = float(seconds)
        except ValueError:
            at_s = -1.0
        if kind not in KINDS or not at or not 0 <= at_s < 1e9 or (colon and not node):
            raise OrbitnodeError(
                f"fault {text!r} is not KIND@SECONDS or NODE:KIND@SECONDS with KIND one of {', '.join(KINDS)}"
            )
        return cls(kind, at_s, node)


class FaultPlan:
    """Faults in order of time. `take` hands each out once, to whoever it concerns, when its time has come."""

    def __init__(self, faults: Iterable[PlannedFault] = ()) -> None:
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


def fault_plans(faults: Sequence[PlannedFault], nodes: Sequence[str], end_s: float) -> dict[str, FaultPlan]:
    """The plan of each of `nodes`, in a run that ends at `end_s`.

    Raises OrbitnodeError for a fault that would never happen: of a spacecraft that does not fly, or after the end.
    """
    for fault in faults:
        if fault.node and fault.node not in nodes:
            raise OrbitnodeError(f"fault '{fault}': no spacecraft {fault.node!r} flies, have {', '.join(nodes)}")
        if fault.at_s >= end_s:
            raise OrbitnodeError(f"fault '{fault}': the run ends at {end_s:g} s, nothing happens after that")
    return {node: FaultPlan(f for f in faults if (f.node or nodes[0]) == node) for node in nodes}
