"""A time limit on calls in the main thread, so that a driver that blocks cannot stop the loop. Edge code.

A thread cannot be interrupted from outside in Python, but a signal handler may raise in the main thread, also out of
a system call that blocks: Python repeats such a call after a signal (PEP 475) unless the handler raises. So a limited
call runs under a timer of the process (ITIMER_REAL, SIGALRM):

    IDLE     no timer is set; a signal that is late finds nothing to do
    ACTIVE   the timer fires first when the limit is over, then every BEAT_S until the call has ended
    OVER     after GRACE_BEATS signals: every further one raises `_Cut` in the call

Several signals rather than one: one may land just before the system call that blocks, and a driver may swallow the
exception (`_Cut` is no Exception, but `except:` takes it all the same). And GRACE_BEATS: on a machine that is busy, or
that was suspended, the limit may pass without the driver having had the processor. Signals do not pile up while the
process waits, so that each further beat is time that it had, and failed to use.

Why nothing is raised outside the call. Handlers run in the main thread between two bytecodes, with the frame that they
interrupt. `_Cut` is raised only where that frame is `_invoke` or was called from it, and all of that is inside the
`try` of `_limited`, whose `finally` decides by the count of beats. Between the return of `_invoke` and the end of the
timer the interrupted frame is `_limited`'s own, and the handler does nothing. What the driver calls of the node (the
loop's heap, a task's event) is shielded: it would be left half done, and the loop with it.

What cannot be cut: code in C that does not come back to the interpreter, and a loop that swallows everything. Those are
for the loop's watchdog. A driver must not use SIGALRM or timers of the process; the handler stays for as long as a
platform is open, since a late signal would otherwise end the process.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

from hal.base import StalledError

T = TypeVar("T")

BEAT_S = 0.1
GRACE_BEATS = 2


class _Cut(BaseException):
    """Raised inside a call that is over its limit."""


def _invoke(call: Callable[[], T]) -> T:
    """The frame below which a call may be cut."""
    return call()


_INVOKE = _invoke.__code__


class _Alarm:
    """The process's one timer and handler. There is one, because signals belong to the process."""

    def __init__(self) -> None:
        self.users = 0
        self.active = False
        self.shielded = 0
        self._beats = 0
        self._earlier: Any = None

    def install(self) -> None:
        self.users += 1
        if self.users == 1:
            self._earlier = signal.signal(signal.SIGALRM, self._on_beat)

    def restore(self) -> None:
        self.users -= 1
        if self.users == 0:
            signal.signal(signal.SIGALRM, self._earlier or signal.SIG_DFL)

    def limited(self, call: Callable[[], T], limit_s: float) -> T:
        self._beats = self.shielded = 0
        try:
            self.active = True
            signal.setitimer(signal.ITIMER_REAL, limit_s, BEAT_S)
            return _invoke(call)
        finally:
            self.active = False
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            # By the count and not by the exception: the call may have swallowed it, or made another one of it.
            if self._beats > GRACE_BEATS:
                raise StalledError(f"did not return within {limit_s:g} s") from None

    def _on_beat(self, _number: int, frame: FrameType | None) -> None:
        if not self.active or self.shielded:
            return
        inside = frame
        while inside is not None and inside.f_code is not _INVOKE:
            inside = inside.f_back
        if inside is None:
            return
        self._beats += 1
        if self._beats > GRACE_BEATS:
            raise _Cut


_ALARM = _Alarm()


class CallLimits:
    """hal.base.CallLimit for one platform. Outside the main thread calls are simply made, and inside a limited call
    under the limit of that one.
    """

    def __init__(self) -> None:
        self._open = threading.current_thread() is threading.main_thread()
        self._main = threading.main_thread().ident
        self.cut = 0  # calls so far
        if self._open:
            _ALARM.install()

    def run(self, call: Callable[[], T], limit_s: float) -> T:
        if not self._open or _ALARM.active or threading.get_ident() != self._main:
            return call()
        try:
            return _ALARM.limited(call, limit_s)
        except StalledError:
            self.cut += 1
            raise

    def shield(self, call: Callable[[], T]) -> T:
        if threading.get_ident() != self._main:
            return call()
        _ALARM.shielded += 1
        try:
            return call()
        finally:
            _ALARM.shielded -= 1

    def close(self) -> None:
        """Give the signal back; harmless the second time. Only the main thread can."""
        if self._open and threading.get_ident() == self._main:
            self._open = False
            _ALARM.restore()
