"""The Operator Protocol: what a procedure may ask, in any kind of time.

One coroutine written against it runs in the simulator's virtual time, on the bench and in flight. It awaits nothing but
its operator's calls, one after the other. `tests/contract/test_operator_contract.py` holds every operator to this page.
"""

# Rules that keep both kinds of time alike (ADR 0032): a record is a snapshot, because over a wire it could not go on
# changing; a name that no packet has is an error at once, not a wait for its whole time; and no call waits for ever,
# since in virtual time an endless wait would end the run, and in flight the procedure would never reach its clean-up.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from flight.contract.dictionary import Dictionary
from flight.contract.fields import Plain

# Outcomes, which are also the last stage of a command.
COMPLETED, FAILED, REJECTED, LOST = "completed", "failed", "rejected", "lost"

# The stages before an outcome, in their order.
SENT, ACKNOWLEDGED, ACCEPTED, STARTED = "sent", "acknowledged", "accepted", "started"
TIMED_OUT = "timed out"  # the stage before LOST, if no final report came in time
SCHEDULED = "scheduled"  # the node holds the command for its time


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
    final report in time, or the link cannot tell whether it arrived; a report that comes later overrules it). `code`
    is the node's failure code, None without one.
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
        """Whether the command has no outcome yet."""
        return not self.outcome

    def stage_ns(self, name: str) -> int | None:
        """Return when the stage `name` was first reached, None if it was not."""
        return next((s.now_ns for s in self.stages if s.name == name), None)

    def snapshot(self) -> CommandRecord:
        """Return a copy of the record as it is now, which later stages do not change."""
        return replace(self, stages=list(self.stages))

    @property
    def round_trip_ns(self) -> int | None:
        """The time from sending to the node's final report, None without one."""
        sent = self.stage_ns(SENT)
        final = next((s.now_ns for s in self.stages if s.name in (COMPLETED, FAILED, REJECTED)), None)
        return None if sent is None or final is None else final - sent


class ProcedureFailed(Exception):
    """Raised by a procedure to fail. Its text says what was seen and what should have been.

    It is not an OrbitnodeError, so that a procedure which catches refusals does not catch its own failure.
    """


class Operator(Protocol):
    """A person's hands and eyes on one node. No call waits for ever.

    Any call may raise OrbitnodeError, whose text is the reason why it cannot be done.
    """

    @property
    def dictionary(self) -> Dictionary:
        """All packets and commands of the node, as the ground has them: for procedures that fit several missions."""

    def now_s(self) -> float:
        """Return seconds on the ground's timeline, on which the stages of commands are as well."""

    async def send(self, command: str, **arguments: object) -> CommandRecord:
        """Send a command, wait for its outcome, and return its record as it is then.

        What comes later does not change the record. A command or an argument that the dictionary does not admit raises
        OrbitnodeError before anything is sent.
        """

    async def send_raw(self, command: str, **arguments: object) -> CommandRecord:
        """Send as `send` does, but without the ground's range checks: to see the node refuse."""

    async def wait_for(self, what: str, timeout_s: float) -> Mapping[str, Plain] | None:
        """Return the values of the next packet called `what` (structure, event or report), None if none comes in time.

        Packets that came since the last command was given, and were not returned yet, count too, the oldest first: the
        reports that a command brings arrive before it is completed. With a `timeout_s` of 0 or less the call only
        looks. A name that no packet has raises OrbitnodeError.
        """

    async def wait_contact(self, timeout_s: float) -> bool:
        """Return True as soon as the node is heard, False if that does not happen in time. 0 or less only looks."""

    async def sleep(self, s: float) -> None:
        """Let `s` seconds pass."""
