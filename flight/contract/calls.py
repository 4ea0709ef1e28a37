"""Whether what an app hands over can be called as the node will call it.

Found as it is handed over, at boot, and not when it is called for the first time, which may be days later.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence


def call_fault(what: object, arguments: Sequence[str]) -> str:
    """Why `what` cannot be called with one value for each of `arguments`, in order; "" if it can, or if nobody can
    tell.
    """
    if not callable(what):
        return f"is {type(what).__name__}, should be a function"
    try:
        signature = inspect.signature(what)
    except (TypeError, ValueError):  # one of C may not say
        return ""
    try:
        signature.bind(*arguments)
    except TypeError:
        given = ", ".join(arguments) or "nothing"
        plain = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
        return f"takes {inspect.Signature(plain)}, it is called with {given}"
    return ""


def is_async(what: object) -> bool:
    """Whether a call of it gives a coroutine, or what is to be gone through by `async for`."""
    return inspect.iscoroutinefunction(what) or is_async_generator(what)


def is_async_generator(what: object) -> bool:
    """Whether it is an `async def` with `yield` in it."""
    while isinstance(what, functools.partial):
        what = what.func
    return inspect.isasyncgenfunction(what)
