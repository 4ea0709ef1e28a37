"""Which signals end a loop in order: Ctrl-C, a supervisor's SIGTERM, a terminal that hangs up. Edge code."""

from __future__ import annotations

import signal


def ending_signals() -> tuple[signal.Signals, ...]:
    """SIGINT, SIGTERM, and SIGHUP unless whoever started the process had it ignored, as nohup does."""
    always = (signal.SIGINT, signal.SIGTERM)
    return always if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*always, signal.SIGHUP)
