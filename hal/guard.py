"""The guard around one driver: nothing that a driver does ends or stops the node.

Every way into a driver goes through here: its factory, each call of its Protocol, and the callbacks that it leaves with
the host (descriptors, timers). Each is made under a time limit, and whatever comes out of it is either a checked answer
or a HalError that says which device, which call and what happened. States of a device:

    UNOPENED  its factory failed by a fault of its own (not by HalError, which is about the configuration and keeps the
              node from starting); it is tried again at the next call
    OPEN      calls and callbacks are made
    ASIDE     after a stall, a failed callback, a failed opening, or too much of the loop's time: for 1, 2, 4 .. 60 s
              calls raise HalError at once, its descriptors are not watched and its timers are held. Then it is OPEN
              again, the timers are made up for, and so is a callback that failed without setting a timer: a driver
              that lives by its timer is not dead by one fault. A minute without a fault brings the pause back to 1 s.

An exception in a call does not set the device aside, since whoever calls paces it. A fault that nobody called for, as
in a callback, is kept and raised by the next call. Only the last such fault is kept; all are counted.

The loop's time is a bucket: what a call takes beyond QUICK_NS goes in, and CALLBACK_NS for each callback; a quarter of
the time that passes runs out. When BURST_NS are in it the device is set aside: it may be slow for once, and not always,
and a callback that never empties its descriptor does not keep the loop busy for ever.

A driver may use the host in the loop's thread alone. From another one the loop's heap would be broken: there the host
raises, and a radio's notice becomes a fault and is not passed on.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from hal.base import CallLimit, HalError, Host, StalledError, Timer
from hal.nanoseconds import NS

T = TypeVar("T")

CALL_LIMIT_S = 0.5
CAPTURE_LIMIT_S = 2.0  # a tile of 64 MB from a file
OPEN_LIMIT_S = 15.0  # at boot, with the import of the libraries that the driver needs
REOPEN_LIMIT_S = 1.5  # later, beside a node that flies
PAUSE_MIN_NS = NS
PAUSE_MAX_NS = 60_000_000_000
FORGIVE_NS = 60_000_000_000
BURST_NS = 3_000_000_000
SHARE = 4  # one part of so many of the loop's time
QUICK_NS = 1_000_000
CALLBACK_NS = 30_000  # 8,000 a second in the long run
TIMERS_MAX = 64
WATCHES_MAX = 16
TEXT_MAX = 160  # an event carries 255 octets, the name of the device among them
FAR_NS = 2**60

_UNOPENED = object()
_Identity = tuple[int, int] | None


@dataclass(slots=True)
class GuardCounters:
    """Calls that failed, callbacks that did, stalls among both, times set aside, calls refused while it was."""

    faults: int = 0
    callback_faults: int = 0
    stalls: int = 0
    set_aside: int = 0
    refused: int = 0


class GuardedTimer:
    """A driver's timer. hal.base.Timer."""

    __slots__ = ("_guard", "call", "inner")

    def __init__(self, guard: Guard, call: Callable[[], None]) -> None:
        self._guard = guard
        self.call = call
        self.inner: Timer | None = None

    def cancel(self) -> None:
        self._guard.host.cancel(self)


class GuardedHost:
    """The host as a driver sees it. `behind` is the platform itself, for drivers that share something on it."""

    def __init__(self, guard: Guard, behind: Host) -> None:
        self.behind = behind
        self.limit: CallLimit = behind.limit
        self.now_ns = behind.now_ns
        self.armed = 0  # timers set so far
        self.timers: set[GuardedTimer] = set()
        self.watches: dict[int, tuple[Callable[[], None], _Identity]] = {}
        self._guard = guard

    def call_at(self, t_ns: int, call: Callable[[], None]) -> Timer:
        """Raises HalError for what is no time or cannot be called, and over TIMERS_MAX pending timers."""
        self._guard.check_thread()
        if not callable(call):
            raise HalError(f"timer for {type(call).__name__}, which cannot be called")
        if len(self.timers) >= TIMERS_MAX:
            raise HalError(f"more than {TIMERS_MAX} timers pending")
        now_ns = self.now_ns()
        # Not before now: the heap is ordered by time, and what is due in the past goes before all others.
        t_ns = min(max(int(t_ns), now_ns), now_ns + FAR_NS)
        timer = GuardedTimer(self._guard, call)

        def arm() -> None:
            timer.inner = self.behind.call_at(t_ns, partial(self._guard.on_timer, timer))
            self.timers.add(timer)
            self.armed += 1

        self.limit.shield(arm)
        return timer

    def cancel(self, timer: GuardedTimer) -> None:
        self._guard.check_thread()

        def cancel() -> None:
            if timer in self.timers:
                self.timers.discard(timer)
                if timer.inner is not None:
                    timer.inner.cancel()

        self.limit.shield(cancel)

    def watch(self, fileno: int, on_ready: Callable[[], None]) -> None:
        """Raises HalError for what cannot be watched or called, and over WATCHES_MAX descriptors."""
        self._guard.check_thread()
        if not callable(on_ready):
            raise HalError(f"watch with {type(on_ready).__name__}, which cannot be called")
        if len(self.watches) >= WATCHES_MAX and fileno not in self.watches:
            raise HalError(f"more than {WATCHES_MAX} descriptors watched")

        def watch() -> None:
            if not self._guard.aside:  # else it is watched when the pause ends
                self.behind.watch(fileno, partial(self._guard.on_ready, fileno))
            self.watches[fileno] = (on_ready, _identity(fileno))

        self.limit.shield(watch)

    def unwatch(self, fileno: int) -> None:
        """Only what this driver watches: the number may be another's by now."""
        self._guard.check_thread()

        def unwatch() -> None:
            self.rest(fileno)
            self.watches.pop(fileno, None)

        self.limit.shield(unwatch)

    def rest(self, fileno: int) -> None:
        """Have the descriptor watched no more, if it is still the one that the driver gave."""
        if fileno in self.watches and _identity(fileno) in (None, self.watches[fileno][1]):
            self.behind.unwatch(fileno)

    def resume(self, fileno: int) -> None:
        """Have the descriptor watched again; raises HalError if it is closed, or another one by now."""
        if _identity(fileno) != self.watches[fileno][1]:
            raise HalError(f"descriptor {fileno} was closed while it was watched")
        self.behind.watch(fileno, partial(self._guard.on_ready, fileno))

    def release(self) -> None:
        """Forget all that a driver has left here."""
        for timer in tuple(self.timers):
            self.cancel(timer)
        for fileno in tuple(self.watches):
            self.unwatch(fileno)


class Guard:
    """See the head of the file. `make(host)` is the factory's call."""

    def __init__(self, name: str, host: Host, make: Callable[[Host], object]) -> None:
        self.name = name
        self.counters = GuardCounters()
        self.host = GuardedHost(self, host)
        self.on_fault: Callable[[], None] = lambda: None  # a fault that nobody called for, and the end of a pause
        self._make = make
        self._driver = _UNOPENED
        self._thread = threading.get_ident()  # the loop's, which is the one that calls
        self._limit = host.limit
        self._now_ns = host.now_ns
        self._kept = ""
        self._reason = ""
        self.aside = False
        self._until_ns = 0  # when the pause ends, or ended
        self.pause_ns = 0
        self._held: list[GuardedTimer] = []
        self._used_ns = 0
        self._used_at_ns = host.now_ns()

    @property
    def driver(self) -> object:
        """The driver itself, None while it could not be opened."""
        return None if self._driver is _UNOPENED else self._driver

    def open(self) -> None:
        """Open at boot. Raises HalError if the driver says so; any other fault sets the device aside."""
        try:
            self._try_open(OPEN_LIMIT_S)
        except (StalledError, _Fault) as error:
            self._set_aside(str(error))

    def call(self, method: str, check: Callable[[object], T], *arguments: object, limit_s: float = 0.0) -> T:
        """The checked answer of `method`; limit_s is CALL_LIMIT_S unless said. Raises HalError."""
        if self.aside:
            self.counters.refused += 1
            self._kept = ""
            raise HalError(f"set aside, {self._reason}")
        if self._kept:
            kept, self._kept = self._kept, ""
            raise HalError(kept)
        if self._driver is _UNOPENED:
            self._reopen()
        driver = self._driver
        try:
            return self.run(method, lambda: check(getattr(driver, method)(*arguments)), limit_s or CALL_LIMIT_S)
        except StalledError as error:
            self._set_aside(str(error))
            raise HalError(str(error)) from None

    # the host's side

    def on_timer(self, timer: GuardedTimer) -> None:
        """A timer of the driver is due."""
        if timer not in self.host.timers:
            return
        if self.aside:
            self._held.append(timer)  # at most TIMERS_MAX
            return
        self.host.timers.discard(timer)
        armed = self.host.armed
        if not self._call_back(timer.call) and self.host.armed == armed:
            self.host.timers.add(timer)
            self._held.append(timer)

    def on_ready(self, fileno: int) -> None:
        """A descriptor of the driver is ready."""
        watched = self.host.watches.get(fileno)
        if watched is not None and not self.aside:
            self._call_back(watched[0])

    def check_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise HalError("called from another thread than the loop's, which is not allowed")

    def notice(self, call: Callable[[], None]) -> None:
        """The driver has something to tell the node: pass it on, whole, in the loop's own thread."""
        if threading.get_ident() != self._thread:
            self._kept = f"{self.name}: called back from another thread, which is not allowed"
            return
        self._limit.shield(call)

    def _call_back(self, call: Callable[[], None]) -> bool:
        """True if the callback came to its end without a fault."""
        self._used_ns += CALLBACK_NS
        try:
            self.run("callback", call, CALL_LIMIT_S)
        except HalError as error:
            self.counters.callback_faults += 1
            self._kept = str(error)
            self._set_aside(str(error))
            self.on_fault()
            return False
        if self.aside:  # it took too much time
            self.on_fault()
        return True

    # the driver's side

    def run(self, what: str, call: Callable[[], T], limit_s: float) -> T:
        """Make a call into the driver: its result, or HalError; StalledError if it was cut off."""
        begin_ns, self._thread, process = self._now_ns(), threading.get_ident(), os.getpid()
        try:
            return self._limit.run(partial(self._attempt, what, call), limit_s)
        except StalledError:
            self.counters.stalls += 1
            fault: HalError = StalledError(f"{self.name}: {what} did not return within {limit_s:g} s")
        except HalError as error:
            fault = error
        finally:
            if os.getpid() != process:  # it forked, and the child came back: there is one node, and that is not it
                os._exit(1)
            self._use(begin_ns)
        self.counters.faults += 1
        raise fault

    def _attempt(self, what: str, call: Callable[[], T]) -> T:
        """All of it under the limit: the text of what a driver raises, and its destructor, are driver code as well."""
        try:
            return call()
        except HalError as error:
            fault = HalError(_line(error) or f"{self.name}: {what} failed and did not say why")
        except BaseException as error:  # a driver may raise anything; the node goes on
            if isinstance(error, KeyboardInterrupt) and _is_ctrl_c():
                raise
            fault = _Fault(f"{self.name}: {what} raised {type(error).__name__}: {_line(error)}{_place(error)}")
        # Raised here, so that it holds nothing of the driver's frames.
        raise fault

    def _use(self, begin_ns: int) -> None:
        """Count the time of a call. See the head of the file."""
        now_ns = self._now_ns()
        drained_ns = max(0, self._used_ns - (now_ns - self._used_at_ns) // SHARE)
        self._used_ns, self._used_at_ns = drained_ns + max(0, now_ns - begin_ns - QUICK_NS), now_ns
        if self._used_ns > BURST_NS and not self.aside:
            self._used_ns = 0
            self._set_aside(f"{self.name}: took more than a quarter of the loop's time")

    def _try_open(self, limit_s: float) -> None:
        try:
            driver = self.run("opening", lambda: self._make(self.host), limit_s)
            if driver is None:
                raise _Fault(f"{self.name}: the factory returned None, should return a driver")
        except HalError:
            self.host.release()
            raise
        self._driver = driver

    def _reopen(self) -> None:
        try:
            self._try_open(REOPEN_LIMIT_S)
        except HalError as error:
            self._set_aside(str(error))
            raise HalError(str(error)) from None

    # aside

    def _set_aside(self, reason: str) -> None:
        """Nothing of the driver runs for a while."""
        now_ns = self._now_ns()
        if not self.aside:
            forgiven = now_ns - self._until_ns > FORGIVE_NS
            self.pause_ns = PAUSE_MIN_NS if forgiven else min(2 * self.pause_ns, PAUSE_MAX_NS)
            self.pause_ns = max(self.pause_ns, PAUSE_MIN_NS)
            self.counters.set_aside += 1
        self.aside, self._reason = True, reason
        self._until_ns = now_ns + self.pause_ns
        for fileno in self.host.watches:
            self.host.rest(fileno)
        self.host.behind.call_at(self._until_ns, self._come_back)

    def _come_back(self) -> None:
        if not self.aside or self._now_ns() < self._until_ns:
            return
        self.aside = False
        for fileno in tuple(self.host.watches):
            try:
                self.host.resume(fileno)
            except HalError as error:
                del self.host.watches[fileno]
                self._kept = f"{self.name}: {error}"
        held, self._held = self._held, []
        for timer in held:
            self.on_timer(timer)
        self.on_fault()


class _Fault(HalError):
    """What a driver raised that was no HalError."""


def guarded_call(name: str, host: Host, what: str, call: Callable[[], T]) -> T:
    """Make one call into a driver's code that belongs to no device yet, such as the import of its module.

    Raises HalError for whatever it raises, and StalledError if it takes longer than a device may take to open.
    """
    try:
        return Guard(name, host, lambda _: None).run(what, call, OPEN_LIMIT_S)
    except _Fault as fault:
        raise HalError(str(fault)) from None


def _identity(fileno: int) -> _Identity:
    """What tells one open file from another under the same number; None if there is none."""
    try:
        found = os.fstat(fileno)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def behind(host: Host) -> Host:
    """The platform behind a guarded host: the one that all devices of a node share."""
    return host.behind if isinstance(host, GuardedHost) else host


def _is_ctrl_c() -> bool:
    """Whether KeyboardInterrupt is the user's: while the loop runs, a signal ends the loop instead."""
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _line(error: BaseException) -> str:
    """The error's text on one line; it may be of any length, or fail itself."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - as above
        return "(without a text)"
    text = " ".join(text[: 4 * TEXT_MAX].split())
    shown = "".join(one if one.isprintable() else "?" for one in text[:TEXT_MAX])
    return shown if len(text) <= TEXT_MAX else f"{shown}..."


def _place(error: BaseException) -> str:
    """The file and line of the driver where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    code = trace.tb_frame.f_code
    if code.co_filename.startswith("<"):  # Python's own, which imports a module and cannot parse it
        return ""
    return f" ({code.co_filename.rpartition('/')[2]}:{trace.tb_lineno})"
