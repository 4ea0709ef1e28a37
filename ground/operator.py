"""The Operator Protocol: what a procedure may ask, in any kind of time.

One coroutine written against it runs in the simulator's virtual time, on the bench and in flight. It awaits nothing but
its operator's calls, one after the other. `tests/contract/test_operator_contract.py` holds every operator to this page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from flight.contract.dictionary import Dictionary
from flight.contract.fields import Plain

COMPLETED, FAILED, REJECTED, LOST = "completed", "failed", "rejected", "lost"

# The stages a command goes through, in their order. The last four end it.
SENT, ACKNOWLEDGED, ACCEPTED, STARTED = "sent", "acknowledged", "accepted", "started"
TIMED_OUT = "timed out"
SCHEDULED = "scheduled"  # held on board for its time


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a command's verification. `now_ns` is on the ground's timeline."""

    name: str
    now_ns: int
    detail: str = ""


@dataclass(slots=True)
class CommandRecord:
    """One command from the moment it was given.

    `outcome` is "" while it is open, then "completed", "failed" (the node started it and could not finish, or would
    not start), "rejected" (refused by the node at acceptance, or by the ground, and never executed), or "lost" (no
    final report in time, or the link cannot tell whether it arrived; what comes later still overrules it). `code` is
    the node's failure code.
    """

    number: int
    name: str
    arguments: Mapping[str, Plain]
    apid: int
    seq: int
    stages: list[Stage] = field(default_factory=list)
    outcome: str = ""
    reason: str = ""
    code: int | None = None

    @property
    def is_open(self) -> bool:
        return not self.outcome

    def stage_ns(self, name: str) -> int | None:
        """When the stage `name` was reached, None if it was not."""
        return next((s.now_ns for s in self.stages if s.name == name), None)

    def snapshot(self) -> CommandRecord:
        """The record as it is now: what comes later does not change it."""
        return replace(self, stages=list(self.stages))

    @property
    def round_trip_ns(self) -> int | None:
        """From sending to the node's final report."""
        sent = self.stage_ns(SENT)
        final = next((s.now_ns for s in self.stages if s.name in (COMPLETED, FAILED, REJECTED)), None)
        return None if sent is None or final is None else final - sent


class ProcedureFailed(Exception):
    """Raised by a procedure to fail: its text says what was seen and what should have been."""


class Operator(Protocol):
    """A person's hands and eyes on one node. No call waits for ever.

    Any call may raise OrbitnodeError: the reason why it cannot be done.
    """

    @property
    def dictionary(self) -> Dictionary:
        """What the node can say and be told, as the ground has it: what a procedure for more than one mission asks."""

    def now_s(self) -> float:
        """Seconds on the ground's timeline, on which the stages of commands are as well."""

    async def send(self, command: str, **arguments: object) -> CommandRecord:
        """Send, and return when the final report came, or when it is rejected or lost: the record as it is then. What
        comes later does not change it.

        A command or an argument that the dictionary does not admit raises OrbitnodeError before anything is sent.
        """

    async def send_raw(self, command: str, **arguments: object) -> CommandRecord:
        """As `send`, without the ground's range checks: to see the node refuse."""

    async def wait_for(self, what: str, timeout_s: float) -> Mapping[str, Plain] | None:
        """The values of the next packet called `what` (structure, event or report); None if none came in time.

        Packets that came since the last command was given and were not returned yet count, the oldest first: the
        reports that a command brings arrive before it is completed. 0 or less only looks. A name that no packet has
        raises OrbitnodeError.
        """

    async def wait_contact(self, timeout_s: float) -> bool:
        """True as soon as the node is heard, False if that did not happen in time. 0 or less only looks."""

    async def sleep(self, s: float) -> None:
        """Let that much time pass."""
