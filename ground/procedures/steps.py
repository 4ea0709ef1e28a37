"""The steps of a procedure as they happen: an operator that passes every call on to another and reports it."""

# Each step is reported twice, as it begins and as it has ended, so that whoever shows steps can also show what goes on
# at the moment. The second has what is known only at the end: outcome, reason, code, values, and how long it took. A
# call that raises OrbitnodeError has ended too, as "not done". One that Ctrl-C cuts short has not: nobody knows its
# outcome.

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from flight.contract.dictionary import Dictionary
from flight.contract.fields import Plain
from flight.core.errors import OrbitnodeError
from ground.operator import CommandRecord, Operator

SEND, SEND_RAW, WAIT_FOR, WAIT_CONTACT, SLEEP = "send", "send_raw", "wait_for", "wait_contact", "sleep"
CAME, NONE_CAME, CONTACT, NO_CONTACT, SLEPT = "came", "none came", "contact", "no contact", "slept"
NOT_DONE = "not done"  # the call raised OrbitnodeError, which is the reason

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a procedure. It is reported twice: as it begins, with an empty `outcome`, and as it has ended.

    name: the command or packet. limit_s: how long it may wait, or sleeps. began_s, took_s: on the operator's timeline.
    values: the arguments of a command as sent, or the values of a packet that came.
    """

    kind: str
    name: str
    began_s: float
    limit_s: float = 0.0
    took_s: float = 0.0
    outcome: str = ""
    reason: str = ""
    code: int | None = None
    values: Mapping[str, Plain] = field(default_factory=dict)


class ReportingOperator:
    """ground.operator.Operator over `operator` that calls `on_step` twice per step.

    A mere look whether the node is heard (`wait_contact` with 0 s) is not a step: scripts ask it in every turn of a
    loop. `commands` counts those that were sent.
    """

    def __init__(self, operator: Operator, on_step: Callable[[Step], None]) -> None:
        self.commands = 0
        self._operator = operator
        self._on_step = on_step

    @property
    def dictionary(self) -> Dictionary:
        """See Operator.dictionary."""
        return self._operator.dictionary

    def now_s(self) -> float:
        """See Operator.now_s."""
        return self._operator.now_s()

    async def send(self, command: str, **arguments: object) -> CommandRecord:
        """See Operator.send."""
        return await self._send(SEND, command, self._operator.send(command, **arguments))

    async def send_raw(self, command: str, **arguments: object) -> CommandRecord:
        """See Operator.send_raw."""
        return await self._send(SEND_RAW, command, self._operator.send_raw(command, **arguments))

    async def wait_for(self, what: str, timeout_s: float) -> Mapping[str, Plain] | None:
        """See Operator.wait_for."""
        step = self._step(WAIT_FOR, what, timeout_s)
        values = await self._watched(step, self._operator.wait_for(what, timeout_s))
        self._end(step, NONE_CAME if values is None else CAME, values=values or {})
        return values

    async def wait_contact(self, timeout_s: float) -> bool:
        """See Operator.wait_contact."""
        if timeout_s <= 0:
            return await self._operator.wait_contact(timeout_s)
        step = self._step(WAIT_CONTACT, "", timeout_s)
        heard = await self._watched(step, self._operator.wait_contact(timeout_s))
        self._end(step, CONTACT if heard else NO_CONTACT)
        return heard

    async def sleep(self, s: float) -> None:
        """See Operator.sleep."""
        step = self._step(SLEEP, "", s)
        await self._watched(step, self._operator.sleep(s))
        self._end(step, SLEPT)

    async def _send(self, kind: str, command: str, call: Coroutine[Any, Any, CommandRecord]) -> CommandRecord:
        step = self._step(kind, command)
        record = await self._watched(step, call)
        self.commands += 1
        self._end(step, record.outcome, record.reason, code=record.code, values=record.arguments)
        return record

    def _step(self, kind: str, name: str, limit_s: float = 0.0) -> Step:
        return Step(kind, name, self._operator.now_s(), limit_s)

    async def _watched(self, step: Step, call: Coroutine[Any, Any, T]) -> T:
        """Return what the call gives. Reports that the step begins, and if the call raises OrbitnodeError, why."""
        self._on_step(step)
        try:
            return await call
        except OrbitnodeError as error:
            self._end(step, NOT_DONE, str(error))
            raise

    def _end(
        self, step: Step, outcome: str, reason: str = "", *, code: int | None = None,
        values: Mapping[str, Plain] | None = None,
    ) -> None:  # fmt: skip
        took_s = self._operator.now_s() - step.began_s
        self._on_step(replace(step, took_s=took_s, outcome=outcome, reason=reason, code=code, values=values or {}))
