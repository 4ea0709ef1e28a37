"""Which signals end a loop in order: Ctrl-C, a supervisor's SIGTERM, a terminal that hangs up. Edge code.

Two ways to take them, beside that of a loop (flight/linux/platform.py):

    interrupted_by_ending_signals    each raises KeyboardInterrupt, wherever the program is
    ending_asked                     the first one asks, and work that comes in steps ends between two of them; the
                                     second one raises KeyboardInterrupt. Within `deaf` none does: what must not be cut

Python's handler of a signal runs in the main thread, between two of its instructions. A signal may come just before the
main thread enters a system call, be given to a thread of a library in C, or come while the one before it is dealt with:
then the handler waits until that call returns, which may take an hour. So both ways keep a thread that every signal
wakes. It nudges the main thread with SIGURG, which cuts the call short, and Python runs what waits.

One request may come as several signals: of a terminal that hangs up the kernel and the shell tell the same process, and
`timeout` tells the process and its group. So one that comes again within REPEAT_S is the same request, and cuts no
clean-up short; Ctrl-C is a person's, and counts each time.

An exception may also fall where it is lost: into a finalizer, or into a call of a driver, whose faults end where they
arise. So whoever has asked twice gets the exception again with each nudge, until it is out.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType
from typing import Any

NUDGES = 10  # a call that begins later than this after its signal lets Python run the handler first
REPEAT_S = 1.0
_NUDGE_S = 0.1

Handler = Callable[[int, FrameType | None], None]


def ending_signals() -> tuple[signal.Signals, ...]:
    """SIGINT, SIGTERM, and SIGHUP unless whoever started the process had it ignored, as nohup does."""
    always = (signal.SIGINT, signal.SIGTERM)
    return always if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*always, signal.SIGHUP)


class _Repeats:
    """Tells a second signal from one that is told twice."""

    def __init__(self) -> None:
        self._first_s: dict[int, float] = {}

    def has(self, number: int) -> bool:
        """Whether this signal, which has come, only repeats one."""
        now_s = time.monotonic()
        first_s = self._first_s.get(number)
        if number != signal.SIGINT and first_s is not None and now_s - first_s < REPEAT_S:
            return True
        self._first_s[number] = now_s
        return False


class _Nudge:
    """Within this block handlers are in place, and each signal makes the main thread look NUDGES times, or for as long
    as `lasts()`. Outside the main thread, which alone can have handlers, the block changes nothing.

    A handler may raise, which would leave the block half begun or half ended. So signals that come meanwhile are noted,
    and dealt with once everything is in place, or given back: what they raise comes out of the block, and not later.

    Gives a function that says whether a signal has come, for what a handler raised may have been caught.
    """

    def __init__(self, handlers: Mapping[signal.Signals, Handler], lasts: Callable[[], bool] = lambda: False) -> None:
        self._handlers = handlers
        self._lasts = lasts
        self._over = threading.Event()
        self._woken = self._wake = self._earlier_fd = -1
        self._earlier: dict[signal.Signals, Any] = {}
        self._thread: threading.Thread | None = None
        self._is_busy = True  # beginning or ending
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
        for one in (self._woken, self._wake):
            if one >= 0:
                os.close(one)
        # What was there before may raise as well: it hears of what comes from here on when all of it is there again.
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, self._earlier)
        try:
            for number, handler in self._earlier.items():
                signal.signal(number, handler)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._has_come |= number != signal.SIGURG
        # The last look before `__exit__` has done anything is within its frame.
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
            if not set(os.read(self._woken, 256)) - {signal.SIGURG}:  # the nudges come by here as well
                continue
            nudged = 0
            while (nudged < NUDGES or self._lasts()) and not self._over.wait(_NUDGE_S):
                signal.pthread_kill(main, signal.SIGURG)
                nudged += 1


def interrupted_by_ending_signals() -> AbstractContextManager[Callable[[], bool]]:
    """Have each of them raise KeyboardInterrupt within this block, as Ctrl-C does, for what has no loop to end. Gives
    a function that says whether one has.
    """
    repeats = _Repeats()

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if not repeats.has(number):
            raise KeyboardInterrupt

    return _Nudge(dict.fromkeys(ending_signals(), interrupt) | {signal.SIGURG: lambda _number, _frame: None})


class EndingAsked:
    """Whether somebody has asked for the end, by a signal; `ending_asked` gives one."""

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
        """Nothing within this block is cut short."""
        self._is_deaf = True
        try:
            yield
        finally:
            self._is_deaf = False

    @contextmanager
    def taken(self) -> Iterator[None]:
        """The signals come here within this block."""
        handlers = dict.fromkeys(ending_signals(), self._on_signal) | {signal.SIGURG: self._on_nudge}
        with _Nudge(handlers, lasts=lambda: self._twice):
            try:
                yield
            finally:
                self._is_deaf = True  # it has got out

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
    """Take the ending signals within this block; see the head of the file. Only the main thread can."""
    ending = EndingAsked()
    with ending.taken():
        yield ending
