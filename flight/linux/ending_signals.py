"""Which signals end a program in order: Ctrl-C, a supervisor's SIGTERM, a terminal that hangs up. Edge code.

Two ways to take them, beside that of a loop (flight/linux/platform.py):

    interrupted_by_ending_signals    each raises KeyboardInterrupt, wherever the program is
    ending_asked                     the first one asks for the end, and work that comes in steps ends between two of
                                     them; the second one raises KeyboardInterrupt. Within `deaf` none raises: that is
                                     for what must not be cut short
"""

# Why a thread. Python runs the handler of a signal in the main thread, between two instructions. A signal may come just
# before the main thread enters a system call, be delivered to a thread of a library in C, or come while the one before
# it is dealt with: then the handler waits until that call returns, which may take an hour. So both ways keep a thread
# that every signal wakes by the wakeup descriptor. It nudges the main thread with SIGURG, which cuts the system call
# short, and Python runs the handlers that wait. A loop needs no such thread: its epoll watches the wakeup descriptor.
#
# One request may come as several signals: of a terminal that hangs up, the kernel and the shell tell the same process,
# and `timeout` signals the process and its group. So a signal that comes again within REPEAT_S is the same request, and
# cuts no clean-up short. Ctrl-C comes from a person, and counts each time.
#
# An exception may also be raised at a place that loses it: in a finalizer, or in a call of a driver, whose faults end
# there. So whoever has asked twice gets the exception again with each nudge, until it has got out of the block.

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType
from typing import Any

NUDGES = 10  # one second of them: a call that begins later lets Python run the handler first
REPEAT_S = 1.0
_NUDGE_S = 0.1

Handler = Callable[[int, FrameType | None], None]


def ending_signals() -> tuple[signal.Signals, ...]:
    """Return SIGINT, SIGTERM, and SIGHUP unless whoever started the process had it ignored, as nohup does."""
    always = (signal.SIGINT, signal.SIGTERM)
    return always if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*always, signal.SIGHUP)


class _Repeats:
    """Tells a second request from one that is signalled twice."""

    def __init__(self) -> None:
        self._first_s: dict[int, float] = {}

    def has(self, number: int) -> bool:
        """Return whether this signal, which has come, only repeats an earlier one."""
        now_s = time.monotonic()
        first_s = self._first_s.get(number)
        if number != signal.SIGINT and first_s is not None and now_s - first_s < REPEAT_S:
            return True
        self._first_s[number] = now_s
        return False


class _Nudge:
    """A block with handlers in place, in which each signal nudges the main thread, NUDGES times or while `lasts()`.

    Outside the main thread, which alone can have handlers, the block changes nothing. It gives a function that says
    whether a signal has come, since what a handler raised may have been caught.
    """

    # A handler may raise, which would leave the block half begun or half ended. So signals that come meanwhile are
    # noted, and dealt with once everything is in place, or given back: what they raise comes out of the block, and not
    # later.

    def __init__(self, handlers: Mapping[signal.Signals, Handler], lasts: Callable[[], bool] = lambda: False) -> None:
        self._handlers = handlers
        self._lasts = lasts
        self._over = threading.Event()
        self._woken = self._wake = self._earlier_fd = -1
        self._earlier: dict[signal.Signals, Any] = {}
        self._thread: threading.Thread | None = None
        self._is_busy = True  # the block is beginning or ending
        self._noted: list[int] = []
        self._has_come = False

    def __enter__(self) -> Callable[[], bool]:
        if threading.current_thread() is threading.main_thread():
            self._begin()
        return lambda: self._has_come

    def _begin(self) -> None:
        self._earlier = {number: signal.getsignal(number) for number in self._handlers}
        has_begun = False
        try:
            for number in self._handlers:
                signal.signal(number, self._on_signal)
            self._woken, self._wake = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._wake, False)
            thread = threading.Thread(target=self._nudge, name="ending", daemon=True)
            thread.start()
            self._thread = thread
            self._earlier_fd = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
            self._is_busy = False
            self._deal_with_noted()
            has_begun = True
        finally:
            if not has_begun:
                self._is_busy = True
                self._give_back()

    def __exit__(self, *_: object) -> None:
        self._is_busy = True
        if self._earlier:
            self._give_back()
            self._deal_with_noted()

    def _give_back(self) -> None:
        if self._thread is not None:
            signal.set_wakeup_fd(self._earlier_fd)
            self._over.set()
            with suppress(BlockingIOError):
                os.write(self._wake, b"\0")
            self._thread.join()
        for fileno in (self._woken, self._wake):
            if fileno >= 0:
                os.close(fileno)
        # The earlier handlers may raise as well. Blocked signals reach them only when all of them are in place again.
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, self._earlier)
        try:
            for number, handler in self._earlier.items():
                signal.signal(number, handler)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._has_come |= number != signal.SIGURG
        # Python looks for signals once more as `__exit__` begins, before its first line has set `_is_busy`.
        if self._is_busy or (frame is not None and frame.f_code is _Nudge.__exit__.__code__):
            self._noted.append(number)
        else:
            self._handlers[signal.Signals(number)](number, frame)

    def _deal_with_noted(self) -> None:
        while self._noted:
            number = self._noted.pop(0)
            self._handlers[signal.Signals(number)](number, None)

    def _nudge(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        main = threading.main_thread().ident
        assert main is not None
        while not self._over.is_set():
            if not set(os.read(self._woken, 256)) - {signal.SIGURG}:  # a nudge is a signal too, and wakes this thread
                continue
            nudged = 0
            while (nudged < NUDGES or self._lasts()) and not self._over.wait(_NUDGE_S):
                signal.pthread_kill(main, signal.SIGURG)
                nudged += 1


def interrupted_by_ending_signals() -> AbstractContextManager[Callable[[], bool]]:
    """Let each of them raise KeyboardInterrupt within this block, as Ctrl-C does. For programs without a loop to end.

    Gives a function that says whether a signal has come.
    """
    repeats = _Repeats()

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if not repeats.has(number):
            raise KeyboardInterrupt

    return _Nudge(dict.fromkeys(ending_signals(), interrupt) | {signal.SIGURG: lambda _number, _frame: None})


class EndingAsked:
    """Whether somebody has asked for the end, by a signal. `ending_asked` gives one of these."""

    def __init__(self) -> None:
        self.asked = False
        self._twice = False
        self._is_deaf = False
        self._repeats = _Repeats()

    def check(self) -> None:
        """Raise KeyboardInterrupt if the end was asked for."""
        if self.asked:
            raise KeyboardInterrupt

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Let no signal cut this block short; one that comes only sets `asked`."""
        self._is_deaf = True
        try:
            yield
        finally:
            self._is_deaf = False

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take the signals within this block."""
        handlers = dict.fromkeys(ending_signals(), self._on_signal) | {signal.SIGURG: self._on_nudge}
        with _Nudge(handlers, lasts=lambda: self._twice):
            try:
                yield
            finally:
                self._is_deaf = True  # the exception has got out: further nudges must not raise it again

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._is_deaf:
            self.asked = True
            return
        if self._repeats.has(number):
            return
        if not self.asked:
            self.asked = True
            return
        self._twice = True
        raise KeyboardInterrupt

    def _on_nudge(self, _number: int, _frame: FrameType | None) -> None:
        if self._twice and not self._is_deaf:
            raise KeyboardInterrupt


@contextmanager
def ending_asked() -> Iterator[EndingAsked]:
    """Take the ending signals within this block; see the head of the file. Only the main thread can take any."""
    ending = EndingAsked()
    with ending.taken():
        yield ending
