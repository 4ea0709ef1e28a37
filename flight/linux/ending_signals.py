"""Which signals end a loop in order: Ctrl-C, a supervisor's SIGTERM, a terminal that hangs up. Edge code."""

from __future__ import annotations

import signal
from types import FrameType


def ending_signals() -> tuple[signal.Signals, ...]:
    """SIGINT, SIGTERM, and SIGHUP unless whoever started the process had it ignored, as nohup does."""
    always = (signal.SIGINT, signal.SIGTERM)
    return always if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*always, signal.SIGHUP)


def interrupt_on_ending_signals() -> None:
    """Have each of them raise KeyboardInterrupt, as Ctrl-C does, for what has no loop to end."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in ending_signals():
        signal.signal(number, interrupt)
