"""The kernel's absolute timer as a descriptor: timerfd on CLOCK_MONOTONIC, nanosecond deadlines.

Python offers timerfd from 3.13 on. This goes through libc, so that 3.11 and 3.12 have it as well.
"""

# Why not the timeout of epoll: it counts whole milliseconds, and the kernel adds the process's timer slack to it (50 us
# by default). A timerfd has neither, and being a descriptor it wakes the same epoll as everything else.

from __future__ import annotations

import ctypes
import os

from flight.core.nanoseconds import NS

_CLOCK_MONOTONIC = 1  # linux/time.h
_TFD_TIMER_ABSTIME = 1  # linux/timerfd.h


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


class TimerFd:
    """One timer. At the time that `set` was given its descriptor becomes readable, until the next `set`."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fileno = int(self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        if self.fileno < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = _Itimerspec()
        self._pointer = ctypes.byref(self._spec)

    def set(self, t_ns: int | None) -> None:
        """Expire once at `t_ns` (CLOCK_MONOTONIC), at once if that is past. None disarms. Raises OSError."""
        # A value of 0 would disarm the timer, so the past is 1 ns.
        seconds, nanoseconds = divmod(max(t_ns, 1), NS) if t_ns is not None else (0, 0)
        self._spec.it_value.tv_sec, self._spec.it_value.tv_nsec = seconds, nanoseconds
        if self._libc.timerfd_settime(self.fileno, _TFD_TIMER_ABSTIME, self._pointer, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fileno)
