"""A time limit on calls in the main thread, so that a driver that blocks cannot stop the loop. Edge code.

A limited call runs under a timer of the process (ITIMER_REAL, SIGALRM):

    IDLE     no timer is set; a signal that is late finds nothing to do
    ACTIVE   the timer fires first when the limit is over, then every BEAT_S until the call has ended
    OVER     after GRACE_BEATS signals: every further one raises `_Cut` in the call

A driver must not use SIGALRM or timers of the process.
"""

# Why a signal (ADR 0021): in Python a thread cannot be interrupted from outside, but a signal handler may raise in the
# main thread, also out of a system call that blocks. Python repeats such a call after a signal (PEP 475) unless the
# handler raises.
#
# Why several signals: one may land just before the system call that blocks, and a driver may swallow the exception
# (`_Cut` is not an Exception, but a bare `except:` takes it all the same). Why GRACE_BEATS: on a machine that is busy,
# or that was suspended, the limit may pass without the driver having had the processor. Signals do not queue up while
# the process waits, so each further beat is time that the driver had and failed to use.
#
# Why nothing is ever raised outside the call: handlers run in the main thread between two bytecodes, and know the frame
# that they interrupt. `_Cut` is raised only if that frame is `_invoke` or was called from it, and all of that is inside
# the `try` of `limited`, whose `finally` decides by the count of beats. Between the return of `_invoke` and the end of
# the timer the interrupted frame is `limited`'s own, and the handler does nothing. What the driver calls of the node
# (the loop's heap, a task's event) is shielded: cut in the middle, it would leave the loop broken.
#
# What cannot be cut: code in C that does not come back to the interpreter, and a loop that swallows every exception.
# Those are for the loop's watchdog. The handler stays as long as a platform is open, since a late signal would
# otherwise end the process.

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
    """Make the call. Its frame marks where cutting is allowed: in itself, and in what it calls."""
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
        """Take SIGALRM, for the first user."""
        self.users += 1
        if self.users == 1:
            self._earlier = signal.signal(signal.SIGALRM, self._on_beat)

    def restore(self) -> None:
        """Give SIGALRM back, for the last user."""
        self.users -= 1
        if self.users == 0:
            signal.signal(signal.SIGALRM, self._earlier or signal.SIG_DFL)

    def limited(self, call: Callable[[], T], limit_s: float) -> T:
        """Make the call; raise StalledError if it did not return within `limit_s`."""
        self._beats = self.shielded = 0
        try:
            self.active = True
            signal.setitimer(signal.ITIMER_REAL, limit_s, BEAT_S)
            return _invoke(call)
        finally:
            self.active = False
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            # By the count and not by the exception: the call may have swallowed it, or raised another in its place.
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
    """A hal.base.CallLimit for one platform.

    Outside the main thread calls are simply made. Inside a limited call they are made under the limit of that call.
    """

    def __init__(self) -> None:
        self._open = threading.current_thread() is threading.main_thread()
        self._main = threading.main_thread().ident
        self.cut = 0  # calls that were cut so far
        if self._open:
            _ALARM.install()

    def run(self, call: Callable[[], T], limit_s: float) -> T:
        """Return what `call` returns. Raises StalledError if that takes longer than `limit_s`."""
        if not self._open or _ALARM.active or threading.get_ident() != self._main:
            return call()
        try:
            return _ALARM.limited(call, limit_s)
        except StalledError:
            self.cut += 1
            raise

    def shield(self, call: Callable[[], T]) -> T:
        """Make `call`, a call of a driver into the node, and cut nothing within it."""
        if threading.get_ident() != self._main:
            return call()
        _ALARM.shielded += 1
        try:
            return call()
        finally:
            _ALARM.shielded -= 1

    def close(self) -> None:
        """Give the signal back. Harmless the second time. Only the main thread can do it."""
        if self._open and threading.get_ident() == self._main:
            self._open = False
            _ALARM.restore()
