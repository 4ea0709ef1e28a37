"""The fault plan of a run: what goes wrong, when, on purpose and reproducibly; and what has come of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from flight.core.errors import OrbitnodeError, UsageError
from flight.core.nanoseconds import NS

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
        """From `KIND@SECONDS` or `NODE:KIND@SECONDS`; raises UsageError."""
        node, colon, rest = text.rpartition(":")
        kind, at, seconds = rest.partition("@")
        try:
            at_s = float(seconds)
        except ValueError:
            at_s = -1.0
        if kind not in KINDS or not at or not 0 <= at_s < 1e9 or (colon and not node):
            raise UsageError(
                f"fault {text!r} is not KIND@SECONDS or NODE:KIND@SECONDS with KIND one of {', '.join(KINDS)}"
            )
        return cls(kind, at_s, node)


class FaultPlan:
    """Faults in order of time. `take` hands each out once, to whoever it concerns, when its time has come.

    `happened_ns` has the faults that have happened, each with the time at which it did. A fault whose time came and to
    which nothing fell, such as a `worker-kill` after which no job started, is not in it.
    """

    def __init__(self, faults: Iterable[PlannedFault] = ()) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: fault.at_s))
        self.happened_ns: dict[PlannedFault, int] = {}
        self._waiting = list(self.faults)

    def take(self, kind: str, now_ns: int) -> bool:
        """True once for each fault of `kind` that is due."""
        for fault in self._waiting:
            if fault.kind == kind and fault.at_s * NS <= now_ns:
                self._waiting.remove(fault)
                self.happened_ns[fault] = now_ns
                return True
        return False

    def take_this(self, fault: PlannedFault, now_ns: int) -> None:
        """This one happens now of itself."""
        self._waiting.remove(fault)
        self.happened_ns[fault] = now_ns

    def of_kind(self, kind: str) -> list[PlannedFault]:
        """The faults of `kind`, for those that happen of themselves."""
        return [fault for fault in self.faults if fault.kind == kind]


def fault_plans(faults: Sequence[PlannedFault], nodes: Sequence[str], end_s: float) -> dict[str, FaultPlan]:
    """The plan of each of `nodes`, in a run that ends at `end_s`.

    Raises OrbitnodeError for a fault that would never happen: of a spacecraft that does not fly, after the end, or the
    same once more.
    """
    plans: dict[str, list[PlannedFault]] = {node: [] for node in nodes}
    for fault in faults:
        if fault.node and fault.node not in nodes:
            raise OrbitnodeError(f"fault '{fault}': no spacecraft {fault.node!r} flies, have {', '.join(nodes)}")
        if fault.at_s >= end_s:
            raise OrbitnodeError(f"fault '{fault}': the run ends at {end_s:g} s, nothing happens after that")
        own = replace(fault, node="")
        if own in plans[fault.node or nodes[0]]:
            raise OrbitnodeError(f"fault '{fault}': planned twice at one instant, it happens once")
        plans[fault.node or nodes[0]].append(own)
    return {node: FaultPlan(planned) for node, planned in plans.items()}
