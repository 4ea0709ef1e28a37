"""Whether what an app hands over can be called as the node will call it."""

# It is asked when the app hands it over, at boot, and not left to the first call, which may come days later and then
# fails a command or a report. Signatures decide. What takes other arguments is refused by a line that says what it
# takes and what it is called with; whether it may be async, the caller decides (flight/app_host.py).

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence


def call_fault(what: object, arguments: Sequence[str]) -> str:
    """Say why `what` cannot be called with one value for each of `arguments`, in order.

    Returns "" if it can, or if that cannot be known.
    """
    if not callable(what):
        return f"is {type(what).__name__}, should be a function"
    try:
        signature = inspect.signature(what)
    except (TypeError, ValueError):  # a function in C may have no signature: then the first call must show
        return ""
    try:
        signature.bind(*arguments)
    except TypeError:
        given = ", ".join(arguments) or "nothing"
        # Without annotations, whose texts may be long and are not what is wrong.
        plain = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
        return f"takes {inspect.Signature(plain)}, it is called with {given}"
    return ""


def is_async(what: object) -> bool:
    """Return whether a call of it gives a coroutine or an asynchronous generator."""
    return inspect.iscoroutinefunction(what) or is_async_generator(what)


def is_async_generator(what: object) -> bool:
    """Return whether it is an `async def` with a `yield` in it, also within a `partial`."""
    while isinstance(what, functools.partial):
        what = what.func
    return inspect.isasyncgenfunction(what)
