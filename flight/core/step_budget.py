"""How much storage work one step may do, and how that bound is kept (ADR 0022).

A step is what a task runs between two awaits, with everything that is called inside it: handlers of commands, samplers
of housekeeping, hooks of events, callbacks of futures. The rule: the storage work of a step, and its computing, have a
bound that does not depend on how much is stored. It is OPERATIONS_MAX storage operations (reads, appends, replacements,
deletions), READ_OCTETS_MAX read, WRITTEN_OCTETS_MAX written, and beside these one checkpoint of the vault.
"""

# Why: nothing is preempted, so the longest step is how late everybody else can be, the power duty and the watchdog
# included. Storage usually answers from memory, but not always: a step that asks a hundred times may wait a hundred
# times. A test counts the operations in every step of a node whose stores are full, damaged and foreign.
#
# How it is kept:
#
# - Whoever reads what is stored is given a `Budget` by the owner of the step, and cannot read without one. What the
#   budget does not admit is left for the next step, and the reader remembers how far it came. So a search through a
#   thousand segments takes five hundred steps, with everybody else's turns between them.
# - A command's handler with more to do than one step holds is a generator: at each `yield` others have their turn
#   (flight.services.commanding.execution). Its outcome is still one transaction.
# - Work that nobody waits for is owed, and a task does it one budget at a time: deleting segments (Recorder.run),
#   giving up more room than one budget deletes.
# - Reports of many packets send PACKETS per step.
# - The boot is exempt, since nobody else has a turn yet. It is linear in the number of segments, and reads only their
#   heads, the last segment of a journal, and the vault.

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")

OPERATIONS_MAX = 128
READ_OCTETS_MAX = 65_536
WRITTEN_OCTETS_MAX = 131_072
PACKETS = 8  # that a report of many sends in one step

# A budget is far below the bounds above: a step may hold several of them, and writes of its own beside them.
_OPERATIONS = 8
_OCTETS = 32_768  # two segments of a packet store
_BOOT = 1 << 62


class Budget:
    """Storage work that a step may still ask for. `spent`: something was refused, and is left for the next step."""

    __slots__ = ("octets", "operations", "spent")

    def __init__(self, operations: int = _OPERATIONS, octets: int = _OCTETS) -> None:
        self.operations = operations
        self.octets = octets
        self.spent = False

    @classmethod
    def of_boot(cls) -> Budget:
        """Return a budget that admits everything: before the first step there is nobody to keep waiting."""
        return cls(_BOOT, _BOOT)

    def take(self, octets: int = 0) -> bool:
        """Return whether one more operation, on that many octets, is admitted; it then counts as done."""
        # Once something was refused everything is: whoever comes next would overtake the reader that has to wait.
        if self.spent or self.operations < 1 or self.octets < octets:
            self.spent = True
            return False
        self.operations -= 1
        self.octets -= octets
        return True

    def renew(self) -> None:
        """Start over, as a new step has begun."""
        self.operations, self.octets, self.spent = _OPERATIONS, _OCTETS, False


def in_steps(search: Callable[[Budget], T], budget: Budget) -> Generator[None, None, T]:
    """Return what `search` finds, in as many steps as that takes.

    If its budget was spent `search` is called again in the next step, and must go on from where it stopped.
    """
    while True:
        found = search(budget)
        if not budget.spent:
            return found
        yield
        budget.renew()
