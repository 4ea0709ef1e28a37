"""Which signals end a loop in order: Ctrl-C, a supervisor's SIGTERM, a terminal that hangs up. Edge code.

Two ways to take them, beside that of a loop (flight/linux/platform.py):

    interrupt_on_ending_signals    each raises KeyboardInterrupt, wherever the program is
    ending_asked                   the first one asks, and work that comes in steps ends between two of them; the second
                                   one raises KeyboardInterrupt. Within `deaf` none does: what must not be cut in two

An exception may fall where it is lost: into a finalizer, or into a call of a driver, whose faults end where they arise.
And a signal may be given to a thread of a library in C, or come as the one before it is being dealt with: then Python's
handler waits for the main thread, which may stand in a system call for long. So a thread of its own is woken by every
signal and nudges the main thread from then on with SIGURG, and whoever has asked twice gets the exception again and
again until it is out.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

_NUDGE_S = 0.1


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


class EndingAsked:
    """Whether somebody has asked for the end, by a signal; `ending_asked` gives one."""

    def __init__(self) -> None:
        self.asked = False
        self._twice = False
        self._is_deaf = False
        self._over = threading.Event()
        self._woken, self.wake = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.wake, False)
        self._nudging = threading.Thread(target=self._nudge, name="ending", daemon=True)
        self._nudging.start()

    def check(self) -> None:
        """Raise KeyboardInterrupt if the end was asked for."""
        if self.asked:
            raise KeyboardInterrupt

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Nothing within this block is cut short."""
        self._is_deaf = True
        try:
            yield
        finally:
            self._is_deaf = False

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """Take a signal, in the main thread."""
        if self._is_deaf or not self.asked:
            self.asked = True
            return
        self._twice = True
        raise KeyboardInterrupt

    def on_nudge(self, _number: int, _frame: FrameType | None) -> None:
        """Look again, in the main thread."""
        if self._twice and not self._is_deaf:
            raise KeyboardInterrupt

    def close(self) -> None:
        """It has got out."""
        self._is_deaf = True
        self._over.set()
        with suppress(BlockingIOError):
            os.write(self.wake, b"\0")
        self._nudging.join()
        os.close(self._woken)
        os.close(self.wake)

    def _nudge(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        main = threading.main_thread().ident
        assert main is not None
        os.read(self._woken, 1)
        while not self._over.wait(_NUDGE_S):
            signal.pthread_kill(main, signal.SIGURG)


@contextmanager
def ending_asked() -> Iterator[EndingAsked]:
    """Take the ending signals within this block; see the head of the file. Only the main thread can."""
    taken = EndingAsked()
    earlier: dict[signal.Signals, Any] = {}
    earlier_fd = -1
    is_main = threading.current_thread() is threading.main_thread()
    try:
        if is_main:
            earlier_fd = signal.set_wakeup_fd(taken.wake, warn_on_full_buffer=False)
            handlers = dict.fromkeys(ending_signals(), taken.on_signal) | {signal.SIGURG: taken.on_nudge}
            earlier = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        yield taken
    finally:
        if is_main:
            signal.set_wakeup_fd(earlier_fd)
        taken.close()
        for number, handler in earlier.items():
            signal.signal(number, handler)
