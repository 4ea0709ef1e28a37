"""Wait in real time: for a fact, never for a duration.

How long something takes depends on what else the machine does, so no test may depend on it. A test waits until a fact
is there (a line was printed, a packet came, a counter was reached). It gives up at a limit that only a fault reaches.
"""

from __future__ import annotations

import time
from collections.abc import Callable

GIVE_UP_S = 120.0  # for one fact
GIVE_UP_RUN_S = 600.0  # for a process that does whole seconds of work on an idle machine
_LOOK_S = 0.01


def wait_until(fact: Callable[[], object], what: str | Callable[[], str], limit_s: float = GIVE_UP_S) -> None:
    """Return as soon as `fact()` is true. Raises AssertionError if it never is; `what` says what has not happened."""
    end_s = time.monotonic() + limit_s
    while not fact():
        assert time.monotonic() < end_s, f"not within {limit_s:g} s: {what if isinstance(what, str) else what()}"
        time.sleep(_LOOK_S)
