"""A procedure that forgets an `await`: the call is made, and nothing is done. Found where it stands, and told.

Calls of the operator are watched while a procedure runs; one that was never awaited when it returns has failed it. A
coroutine of the file's own, or one that it imports, that is called and left alone is seen in its text, before it runs.
"""

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

LEFT_MAX = 1000  # calls that may stand unawaited: more is a loop without an `await`
WAIT_MAX_S = 3.2e9  # a hundred years
_CALLS = ("dictionary", "now_s", "send", "send_raw", "wait_for", "wait_contact", "sleep")
T = TypeVar("T")


class AwaitedOperator:
    """ground.operator.Operator over `operator`, which knows of the calls that nobody has awaited."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._made: list[tuple[str, Coroutine[Any, Any, Any]]] = []  # where, and the call; the oldest first

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"an operator has no {name!r}, it has {', '.join(_CALLS)}")

    @property
    def dictionary(self) -> Dictionary:
        return self._operator.dictionary

    def now_s(self) -> float:
        return self._operator.now_s()

    def send(self, command: str, **arguments: object) -> Coroutine[Any, Any, CommandRecord]:
        return self._watched(f"send({command!r})", self._operator.send(command, **arguments))

    def send_raw(self, command: str, **arguments: object) -> Coroutine[Any, Any, CommandRecord]:
        return self._watched(f"send_raw({command!r})", self._operator.send_raw(command, **arguments))

    def wait_for(self, what: str, timeout_s: float) -> Coroutine[Any, Any, Mapping[str, Plain] | None]:
        _check_wait("wait_for", timeout_s)
        return self._watched(f"wait_for({what!r})", self._operator.wait_for(what, timeout_s))

    def wait_contact(self, timeout_s: float) -> Coroutine[Any, Any, bool]:
        _check_wait("wait_contact", timeout_s)
        return self._watched("wait_contact", self._operator.wait_contact(timeout_s))

    def sleep(self, s: float) -> Coroutine[Any, Any, None]:
        _check_wait("sleep", s)
        return self._watched("sleep", self._operator.sleep(s))

    def check(self) -> None:
        """Raise ProcedureFailed if a call was never awaited; it is not done any more."""
        left = self._left()
        self._made = []
        for _, call in left:
            call.close()
        if left:
            more = f", and {len(left) - 1} calls more" if len(left) > 1 else ""
            raise ProcedureFailed(f"{left[0][0]} was never awaited{more}: `await operator....` is what lets it be done")

    def _watched(self, what: str, call: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        if len(self._made) >= LEFT_MAX or not self._made:
            self._made = self._left()
        if len(self._made) >= LEFT_MAX:
            call.close()
            self.check()
        caller = sys._getframe(2)  # noqa: SLF001 - the line of the procedure, behind the call of this operator
        self._made.append((f"line {caller.f_lineno}: operator.{what}", call))
        return call

    def _left(self) -> list[tuple[str, Coroutine[Any, Any, Any]]]:
        """The calls that nobody has begun to wait for."""
        return [one for one in self._made if inspect.getcoroutinestate(one[1]) == inspect.CORO_CREATED]


def _check_wait(call: str, wait_s: object) -> None:
    """Raise OrbitnodeError for what no clock can wait for."""
    if not isinstance(wait_s, Real) or not wait_s <= WAIT_MAX_S:
        raise OrbitnodeError(f"operator.{call}: {wait_s!r} should be a number of seconds, {WAIT_MAX_S:g} at most")


def unawaited_call(source: str, names: Mapping[str, object]) -> tuple[int, str] | None:
    """Line and name of the first call of a coroutine function, `NAME(...)` or `MODULE.NAME(...)`, whose coroutine is
    left alone; None if there is none. The source is valid Python, and `names` are what stands at its top.
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
