"""A forgotten `await` in a procedure: the call is made and nothing happens. It is found and reported with its line.

`AwaitedOperator` watches the operator's calls while a procedure runs, and fails it if one was never awaited when it
returns. `unawaited_call` finds, before it runs, a coroutine function that its file calls without awaiting it.
"""

# Two ways, because each sees what the other cannot. A call of the operator may be kept in a variable and awaited later,
# or never: only its state at the end tells. Of other coroutines we never see the objects, but a statement that consists
# of the bare call is always a mistake, and it shows in the syntax tree.
#
# Python itself only warns of such a coroutine, at some later time and on stderr. A command that was never sent must not
# end as a warning: the procedure would return, and its operator believe that it was done.

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Coroutine, Mapping
from numbers import Real
from typing import Any, TypeVar

from flight.contract.dictionary import Dictionary
from flight.contract.fields import Plain
from flight.core.errors import OrbitnodeError
from ground.operator import CommandRecord, Operator, ProcedureFailed
from ground.procedures.packet_values import PacketValues

LEFT_MAX = 1000  # calls that may be open without an `await`: more is a loop that forgot it
WAIT_MAX_S = 3.2e9  # a hundred years; clocks of nanoseconds in 64 bits hold no more than three times that
_CALLS = ("dictionary", "now_s", "send", "send_raw", "wait_for", "wait_contact", "sleep")
T = TypeVar("T")


class AwaitedOperator:
    """ground.operator.Operator over `operator`, which knows which calls nobody has awaited.

    Its methods are plain functions that return coroutines, so that a call is seen when it is made, not when it is
    awaited.
    """

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._calls: list[tuple[str, Coroutine[Any, Any, Any]]] = []  # line of the procedure, and call; oldest first

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"an operator has no {name!r}, it has {', '.join(_CALLS)}")

    @property
    def dictionary(self) -> Dictionary:
        """See Operator.dictionary."""
        return self._operator.dictionary

    def now_s(self) -> float:
        """See Operator.now_s."""
        return self._operator.now_s()

    def send(self, command: str, **arguments: object) -> Coroutine[Any, Any, CommandRecord]:
        """See Operator.send."""
        return self._watched(f"send({command!r})", self._operator.send(command, **arguments))

    def send_raw(self, command: str, **arguments: object) -> Coroutine[Any, Any, CommandRecord]:
        """See Operator.send_raw."""
        return self._watched(f"send_raw({command!r})", self._operator.send_raw(command, **arguments))

    def wait_for(self, what: str, timeout_s: float) -> Coroutine[Any, Any, Mapping[str, Plain] | None]:
        """See Operator.wait_for. Raises OrbitnodeError at once if `timeout_s` is not a number of seconds."""
        _check_wait("wait_for", timeout_s)
        return self._watched(f"wait_for({what!r})", self._values(what, timeout_s))

    def wait_contact(self, timeout_s: float) -> Coroutine[Any, Any, bool]:
        """See Operator.wait_contact. Raises OrbitnodeError at once if `timeout_s` is not a number of seconds."""
        _check_wait("wait_contact", timeout_s)
        return self._watched("wait_contact", self._operator.wait_contact(timeout_s))

    def sleep(self, s: float) -> Coroutine[Any, Any, None]:
        """See Operator.sleep. Raises OrbitnodeError at once if `s` is not a number of seconds."""
        _check_wait("sleep", s)
        return self._watched("sleep", self._operator.sleep(s))

    def check(self) -> None:
        """Raise ProcedureFailed if a call was never awaited. Such a call can no longer be awaited afterwards."""
        forgotten = self._unawaited()
        self._calls = []
        for _, call in forgotten:
            call.close()  # else Python warns of it on stderr as well
        if forgotten:
            others = len(forgotten) - 1
            more = f", nor were {others} other calls" if others > 1 else ", nor was another call" if others else ""
            raise ProcedureFailed(f"{forgotten[0][0]} was never awaited{more}: `await operator....` carries it out")

    async def _values(self, what: str, timeout_s: float) -> Mapping[str, Plain] | None:
        values = await self._operator.wait_for(what, timeout_s)
        return None if values is None else PacketValues(what, dict(values))

    def _watched(self, what: str, call: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        # Sifted only when the list is full, so that a long procedure pays for it once in LEFT_MAX calls.
        if len(self._calls) >= LEFT_MAX or not self._calls:
            self._calls = self._unawaited()
        if len(self._calls) >= LEFT_MAX:
            call.close()
            self.check()
        caller = sys._getframe(2)  # noqa: SLF001 - the line of the procedure, behind the call of this operator
        self._calls.append((f"line {caller.f_lineno}: operator.{what}", call))
        return call

    def _unawaited(self) -> list[tuple[str, Coroutine[Any, Any, Any]]]:
        """Return the calls that nobody has begun to await."""
        return [entry for entry in self._calls if inspect.getcoroutinestate(entry[1]) == inspect.CORO_CREATED]


def _check_wait(call: str, wait_s: object) -> None:
    """Raise OrbitnodeError for a duration that no clock can wait for."""
    # `not <=` and not `>`: NaN compares false with everything.
    if not isinstance(wait_s, Real) or not wait_s <= WAIT_MAX_S:
        raise OrbitnodeError(f"operator.{call}: {wait_s!r} should be a number of seconds, {WAIT_MAX_S:g} at most")


def unawaited_call(source: str, names: Mapping[str, object]) -> tuple[int, str] | None:
    """Return line and name of the first call of a coroutine function whose result is thrown away; None without one.

    Calls of the forms `NAME(...)` and `MODULE.NAME(...)` are looked at. `source` must be valid Python, and `names` what
    its top level defines.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = node.value.func
            match called:
                case ast.Name(name):
                    meant = names.get(name)
                case ast.Attribute(ast.Name(module), name) if inspect.ismodule(names.get(module)):
                    meant = vars(names[module]).get(name)
                case _:
                    continue
            if inspect.iscoroutinefunction(meant):
                return node.lineno, ast.unparse(called)
    return None
