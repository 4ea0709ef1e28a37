"""The fault plan of a run: what goes wrong, when, on purpose and reproducibly; and what has come of it."""

# A fault is planned by the clock and may strike later. Three kinds wait until somebody runs into them: the power system
# asks `take` when it is read or switched, the platform when a job starts, and the first one due is handed out. So a
# `worker-kill` planned for the eclipse strikes the next job that starts, however late that is. A `power-cut` happens of
# itself: the spacecraft puts it on the loop, and says so with `take_this`. While a node has no power its cuts pass by
# and are not said to have happened.
#
# Every fault strikes once. `happened_ns` is what the summary and the report take from here: a run in which a planned
# fault never struck has not tested what it seems to have tested, so that is said.
#
# Plans are per spacecraft and depend on nothing random.

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from flight.core.config import suggestion
from flight.core.errors import OrbitnodeError, UsageError
from flight.core.nanoseconds import NS

KINDS = {
    "worker-kill": "the payload worker is killed in the job that starts next",
    "worker-hang": "the job that starts next never answers",
    "eps-mute": "the power system does not answer for a minute",
    "power-cut": "the node loses power and boots again ten seconds later",
}
EPS_MUTE_S = 60.0
REBOOT_S = 10.0  # from the loss of power to the first step of the next boot


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
        """Read `KIND@SECONDS` or `NODE:KIND@SECONDS`; raises UsageError."""
        node, colon, fault = text.rpartition(":")  # from the right: no kind has a colon
        kind, at, seconds = fault.partition("@")
        try:
            at_s = float(seconds)
        except ValueError:
            at_s = -1.0  # as wrong as a negative one
        # 1e9 s is beyond every run, and keeps nan and inf out.
        if not at or not 0 <= at_s < 1e9 or (colon and not node):
            raise UsageError(f"fault {text!r}: should be KIND@SECONDS or NODE:KIND@SECONDS, such as power-cut@600")
        if kind not in KINDS:
            raise UsageError(f"fault {text!r}: unknown kind {kind!r}, {suggestion(kind, KINDS)}")
        return cls(kind, at_s, node)


class FaultPlan:
    """Faults in order of time. `take` hands each out once, to the part it concerns, when its time has come.

    `happened_ns` has the faults that have happened, each with the time at which it did. A fault whose time came but
    which struck nothing, such as a `worker-kill` after which no job started, is not in it.
    """

    def __init__(self, faults: Iterable[PlannedFault] = ()) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: fault.at_s))
        self.happened_ns: dict[PlannedFault, int] = {}
        self._waiting = list(self.faults)

    def take(self, kind: str, now_ns: int) -> bool:
        """Return True once for each fault of `kind` that is due."""
        for fault in self._waiting:
            if fault.kind == kind and fault.at_s * NS <= now_ns:
                self._waiting.remove(fault)
                self.happened_ns[fault] = now_ns
                return True
        return False

    def take_this(self, fault: PlannedFault, now_ns: int) -> None:
        """Note that this one happens now, of itself."""
        self._waiting.remove(fault)
        self.happened_ns[fault] = now_ns

    def of_kind(self, kind: str) -> list[PlannedFault]:
        """Return the faults of `kind`, for kinds that happen of themselves."""
        return [fault for fault in self.faults if fault.kind == kind]


def fault_plans(faults: Sequence[PlannedFault], nodes: Sequence[str], end_s: float) -> dict[str, FaultPlan]:
    """Return the plan of each of `nodes`, in a run that ends at `end_s`.

    Raises OrbitnodeError for a fault that would never happen: of a spacecraft that does not fly, after the end of the
    run, or planned twice.
    """
    plans: dict[str, list[PlannedFault]] = {node: [] for node in nodes}
    for fault in faults:
        if fault.node and fault.node not in nodes:
            raise OrbitnodeError(f"fault '{fault}': no spacecraft {fault.node!r} flies, known: {', '.join(nodes)}")
        if fault.at_s >= end_s:
            raise OrbitnodeError(f"fault '{fault}': the run ends at {end_s:g} s, nothing happens after that")
        own = replace(fault, node="")  # a plan knows its spacecraft, and `first:x@1` is the same fault as `x@1`
        if own in plans[fault.node or nodes[0]]:
            raise OrbitnodeError(f"fault '{fault}': planned twice at one instant, it happens once")
        plans[fault.node or nodes[0]].append(own)
    return {node: FaultPlan(planned) for node, planned in plans.items()}
