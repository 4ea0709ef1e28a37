"""The Platform of a Linux board: timerfd and epoll loop, group-committed files, real clocks. Edge code.

One thread, the main one, runs the loop and all flight code. SIGINT, SIGTERM and SIGHUP end the loop after the calls
that are due, and `run` says which signal it was. A second signal cuts a loop short that is stuck in a call: SIGINT
raises KeyboardInterrupt there, SIGTERM raises SystemExit.
"""

# The loop. Calls wait in a heap of (t_ns, order given, call). One timerfd is set to the earliest of them, and the same
# epoll watches it and all descriptors, so that the loop sleeps in exactly one place. A round makes a bounded number of
# due calls and then looks at the descriptors, so that neither starves the other.
#
# Helper threads, each for something that can block for longer than the loop may wait. No task ever runs in them:
#
#     storage-commit    fdatasync of what was written (flight/linux/commit_thread.py)
#     log-sink          writes the log to a reader that may pause (flight/linux/log_sink.py); one or two of them
#     watchdog          ends the process if the loop stands still (flight/linux/watchdog.py); C code has its own timer
#     end               ends the process if something keeps it from ending in order (watchdog.end_within)
#
# Signals. Python runs a handler in the main thread between two instructions. The handler writes nothing and touches no
# state of the node: it notes the number and asks the loop to stop. set_wakeup_fd wakes the epoll, which a handler alone
# would not do if the signal came just before the loop went to sleep.
#
# SIGHUP never cuts a call short: of a terminal that hangs up, the kernel and the shell tell the same process, so two of
# them are one request. For the same reason SIGHUP no longer ends the process after the first ending signal: what is
# still to come is the orderly end. SIGALRM belongs to the time limit of drivers (flight/linux/call_limit.py).
#
# TAI. The system has no clock that goes evenly over a leap second: CLOCK_TAI equals CLOCK_REALTIME until a time daemon
# has told the kernel the difference, and CLOCK_REALTIME is set back by a second. The kernel does so at the first tick
# after the end of the day, 1 to 10 ms late, later if it is busy. So around an inserted second one number means two
# times, a second apart:
#
#     true UTC          23:59:59.000   23:59:60.000   23:59:60.004   00:00:00.000   00:00:00.050
#     CLOCK_REALTIME    23:59:59.000   00:00:00.000   23:59:59.004   00:00:00.000   00:00:00.050
#                       |------------- two times are possible: which one? ----------------------|
#
# Of the two it is the one that is nearer to where the monotonic clock puts it, which goes evenly, from the last reading
# that could mean one time alone. A node that begins within that time has no such reading. It takes the earlier of the
# two for its first one and goes on from there: it may be a second behind until the end of the guard (50 ms), and is
# then set right. Neither moves TAI back.
#
# At a removed second the clock shows the second that is left out for as long as the kernel is late, and is then set
# forward. By the table both numbers are the same time, so nothing is to be decided.

from __future__ import annotations

import ctypes
import heapq
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, TypeVar

from flight.core.errors import OrbitnodeError
from flight.core.future import Future
from flight.core.platform import External
from flight.core.utc.leap_seconds import BUILT_IN, LeapSeconds
from flight.linux.call_limit import CallLimits
from flight.linux.descriptors import need_descriptors
from flight.linux.ending_signals import ending_signals
from flight.linux.open_files import OPEN_FILES_MAX
from flight.linux.storage import CHANGES_MAX, LinuxStorage
from flight.linux.timerfd import TimerFd
from flight.linux.watchdog import Watchdog, take_report
from hal.base import HalError

T = TypeVar("T")

CALLS_PER_ROUND = 64
READY_PER_ROUND = 64
CANCELLED_KEPT = 256
DESCRIPTORS = OPEN_FILES_MAX + CHANGES_MAX + 64  # storage at its most; then loop, drivers and workers
_PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class LoopCounters:
    """What the loop has done. `expiries` are those of the timer; `late_max_ns` is the worst lateness of a call."""

    rounds: int = 0
    calls: int = 0
    ready: int = 0
    expiries: int = 0
    late_max_ns: int = 0


class _Call:
    """One entry of the heap. A cancelled one stays there, without its call, until its time."""

    __slots__ = ("call", "loop")

    # `call_at` sets both: an __init__ would take longer than everything else that it does.
    call: Callable[[], None] | None
    loop: LinuxPlatform

    def cancel(self) -> None:
        """Take the call back. Nothing happens if it has been made."""
        if self.call is not None:
            self.call = None
            self.loop.on_cancel()


class _Family:
    """Processes that a library or a driver forks off this one: they end with it.

    A forked process holds everything that this one has open: the lock of its storage, its sockets. If it outlived a
    node that was killed, the next node could not start. What is started as a program of its own holds nothing, and goes
    on.
    """

    def __init__(self) -> None:
        self._parent = 0
        self._libc = ctypes.CDLL(None)

    def join(self) -> None:
        """End every process with this one that is forked off from now on."""
        if not self._parent:  # a hook cannot be taken back, so it is set once per process
            os.register_at_fork(after_in_child=self._on_fork)
        self._parent = os.getpid()

    def _on_fork(self) -> None:
        self._libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != self._parent:  # the parent ended before the call: its death signal never comes
            os._exit(1)


_FAMILY = _Family()


class LinuxPlatform:
    """This computer. `storage_dir` is made if it is missing; `name` is the node's, for messages.

    seed: None takes the system's entropy. Raises StorageError if the folder cannot be used, SetupError if this process
    may not open as many files as a node has open at its most.
    """

    def __init__(self, storage_dir: str | Path, name: str, seed: int | None = None) -> None:
        need_descriptors(DESCRIPTORS)
        _FAMILY.join()
        self.name = name
        self.counters = LoopCounters()
        self.now_ns = time.monotonic_ns
        # Wall time, not processor time: a task that blocks keeps the others waiting just as one that computes.
        self.cpu_ns = time.monotonic_ns
        self.leap_seconds: LeapSeconds = BUILT_IN
        self._told: tuple[int, int] | None = None  # TAI and `now_ns` when the clock last meant one time
        self._random = Random(seed)
        self._heap: list[tuple[int, int, _Call]] = []
        self._order = 0
        self._cancelled = 0
        self._armed_ns: int | None = None
        self._stopping = False
        self._signal: int | None = None
        self._closed = False
        self._watchdog: Watchdog | None = None
        self._watched: dict[int, Callable[[], None]] = {}
        self._works: dict[int, list[Callable[[], None]]] = {}
        self.limit = CallLimits()
        self._timer = TimerFd()
        self._epoll = select.epoll()
        try:
            # Edge-triggered: one event per expiry, and no system call to make the timer unready again.
            self._epoll.register(self._timer.fileno, select.EPOLLIN | select.EPOLLET)
            self._watched[self._timer.fileno] = self._on_timer
            self._storage = LinuxStorage(storage_dir, self)
            self._last_words = take_report(self._storage.directory)
        except OrbitnodeError:
            self._epoll.close()
            self._timer.close()
            self.limit.close()
            raise

    # time

    def tai_ns(self) -> int:
        """Return nanoseconds of TAI since 1958, by the system's clock."""
        unix_ns, now_ns = time.time_ns(), time.monotonic_ns()
        possible = self.leap_seconds.possible_tai(unix_ns)
        if self._told is None:
            tai_ns = possible[0]
        else:
            even_ns = self._told[0] + now_ns - self._told[1]
            tai_ns = min(possible, key=lambda possible_ns: abs(possible_ns - even_ns))
        if len(possible) == 1 or self._told is None:
            self._told = (tai_ns, now_ns)
        return tai_ns

    def step_cost_ns(self, _task: str) -> int:
        """Return 0: a step takes what it takes."""
        return 0

    def call_at(self, t_ns: int, call: Callable[[], None]) -> _Call:
        """Make `call` at `t_ns` of `now_ns`, or as soon as possible after it, in the order given if times are equal."""
        entry = _Call()
        entry.call, entry.loop = call, self
        self._order += 1
        heapq.heappush(self._heap, (t_ns, self._order, entry))
        return entry

    def on_cancel(self) -> None:
        """Count a cancelled call, and sweep cancelled ones out when they are most of the heap."""
        # Time-outs that are cancelled a hundred times per second would pile up until their time.
        self._cancelled += 1
        if self._cancelled > CANCELLED_KEPT and 2 * self._cancelled > len(self._heap):
            self._heap[:] = [item for item in self._heap if item[2].call is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    # descriptors

    def watch(self, fileno: int, on_ready: Callable[[], None]) -> None:
        """Call `on_ready` whenever the descriptor is readable, hung up or in error; the last watcher counts."""
        try:
            self._epoll.register(fileno, select.EPOLLIN)
        except FileExistsError:
            pass
        except OSError as error:
            raise HalError(f"descriptor {fileno} cannot be watched: {error.strerror}") from None
        self._watched[fileno] = on_ready

    def unwatch(self, fileno: int) -> None:
        """Forget the descriptor. Harmless if it is not watched, or closed already."""
        if self._watched.pop(fileno, None) is None or self._closed:
            return
        try:
            self._epoll.unregister(fileno)
        except OSError:
            pass  # closed before, so the kernel has forgotten it

    # everything else of the Platform

    @property
    def storage(self) -> LinuxStorage:
        """The files of the storage folder."""
        return self._storage

    @property
    def random(self) -> Random:
        """The node's randomness, by the seed or by the system's entropy."""
        return self._random

    def unpredictable(self, octets: int) -> bytes:
        """Return octets of the system's entropy."""
        return os.urandom(octets)

    def complete(self, work: External[T], _duration_s: float) -> Future[T]:
        """Return a future that is done as soon as the reply is there. The duration is for virtual time, and unused."""
        future: Future[T] = Future()
        filenos = tuple(work.filenos())

        def look() -> None:
            try:
                reply = work.poll()
            except OrbitnodeError as error:
                future.set_error(error)
            else:
                if reply is None:
                    # It may name fewer by now: a socket that was closed at the other end would be ready for ever.
                    for fileno in set(filenos).difference(work.filenos()):
                        self._forget_work(fileno, look)
                    return
                future.set_result(reply)
            first.cancel()
            for fileno in filenos:
                self._forget_work(fileno, look)

        for fileno in filenos:
            # Several works may share a descriptor (one worker's pipe), and each of them looks.
            waiting = self._works.setdefault(fileno, [])
            waiting.append(look)
            self.watch(fileno, partial(self._on_work, fileno))
        first = self.call_at(self.now_ns(), look)  # the reply may have been read before this call
        return future

    def _on_work(self, fileno: int) -> None:
        for look in tuple(self._works.get(fileno, ())):
            if look in self._works.get(fileno, ()):  # an earlier one may have ended this one's wait
                look()

    def _forget_work(self, fileno: int, look: Callable[[], None]) -> None:
        waiting = self._works.get(fileno)
        if waiting is None or look not in waiting:
            return
        waiting.remove(look)
        if not waiting:
            del self._works[fileno]
            self.unwatch(fileno)

    def note(self, channel: str, octets: bytes) -> None:
        """Do nothing: real time keeps no record of decisions."""

    def start_watchdog(self, limit_s: float, log: Callable[[str], None]) -> Watchdog:
        """End the process if `stroke` is not called for that long, until `close`. See flight/linux/watchdog.py."""
        assert self._watchdog is None, "one process has one watchdog"
        self._watchdog = Watchdog(limit_s, self._storage.directory, log=log, cuts=lambda: self.limit.cut)
        return self._watchdog

    def stroke(self) -> None:
        """Tell the watchdog, if there is one, that the node is well."""
        if self._watchdog is not None:
            self._watchdog.stroke()

    def take_last_words(self) -> str:
        """Return why the process before this one ended, as its watchdog has written; empty from the second call on."""
        words, self._last_words = self._last_words, ""
        return words

    def stop(self) -> None:
        """End `run` after the calls that are due."""
        self._stopping = True

    # the loop

    def run(self) -> int | None:
        """Run until `stop` or a signal; return the signal's number, None if there was none.

        May be called again. Signals are taken only in the main thread. A `stop` from before this call ends it after the
        calls that are due.
        """
        self._signal = None
        restore = self._take_signals() if threading.current_thread() is threading.main_thread() else None
        try:
            while not self._stopping:
                self._round()
            self._make_due_calls()
        finally:
            if restore is not None:
                restore()
            self._stopping = False
        return self._signal  # read last: one that came after a `stop` counts as well

    def _round(self) -> None:
        self.counters.rounds += 1
        self._make_due_calls()
        heap = self._heap
        while heap and heap[0][2].call is None:
            heapq.heappop(heap)
            self._cancelled -= 1
        if self._stopping:
            return
        timeout_s = -1
        if heap and heap[0][0] != self._armed_ns:
            if heap[0][0] > time.monotonic_ns():
                self._armed_ns = heap[0][0]
                self._timer.set(self._armed_ns)
            else:
                timeout_s = 0  # due by now: look at the descriptors without sleeping
        for fileno, _ in self._epoll.poll(timeout_s, READY_PER_ROUND):
            on_ready = self._watched.get(fileno)  # an earlier one of this round may have unwatched it
            if on_ready is not None:
                self.counters.ready += 1
                on_ready()

    def _make_due_calls(self) -> None:
        heap, counters, now_ns = self._heap, self.counters, time.monotonic_ns()
        for _ in range(CALLS_PER_ROUND):
            if not heap or heap[0][0] > now_ns:
                break
            t_ns, _, entry = heapq.heappop(heap)
            call, entry.call = entry.call, None
            if call is None:
                self._cancelled -= 1
            else:
                counters.calls += 1
                counters.late_max_ns = max(counters.late_max_ns, now_ns - t_ns)
                call()

    def _on_timer(self) -> None:
        # The timer is one-shot, so an event is one expiry and there is no count to read. The scheduler counts missed
        # ticks by their absolute indices.
        self.counters.expiries += 1
        self._armed_ns = None

    def _take_signals(self) -> Callable[[], None]:
        """Let the signals that end a process end the loop; return a function that puts the earlier handlers back."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

        def on_signal(number: int, _frame: FrameType | None) -> None:
            # The byte in the pipe wakes the loop. Only a loop that does not come back by itself is cut short.
            if self._signal is not None:
                if number == signal.SIGHUP:
                    return
                raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
            self._signal = number
            self.stop()

        def on_wake() -> None:
            os.read(reader, 64)  # one byte per signal that has a handler in Python, also those of others

        try:
            self.watch(reader, on_wake)
        except HalError:
            os.close(reader)
            os.close(writer)
            raise
        earlier: dict[signal.Signals, Any] = {}
        earlier_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in ending_signals():
            earlier[number] = signal.signal(number, on_signal)

        def restore() -> None:
            for number, handler in earlier.items():
                is_told_again = number == signal.SIGHUP and self._signal is not None
                signal.signal(number, signal.SIG_IGN if is_told_again and handler == signal.SIG_DFL else handler)
            signal.set_wakeup_fd(earlier_fd)
            self.unwatch(reader)
            os.close(reader)
            os.close(writer)

        return restore

    def close(self) -> None:
        """Make what was written durable, forget calls and descriptors. Raises StorageError if that fails."""
        if self._closed:
            return
        try:
            self._storage.close()
        finally:
            self._closed = True
            self._heap.clear()
            self._watched.clear()
            self._works.clear()
            self._epoll.close()
            self._timer.close()
            self.limit.close()
            if self._watchdog is not None:
                self._watchdog.close()  # last, so that whatever hangs on the way here is noticed as well
