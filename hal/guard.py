"""The guard around one driver: nothing that a driver does ends or stops the node.

Every way into a driver goes through here: its factory, each call of its Protocol, and the callbacks that it leaves with
the host (descriptors, timers). Each runs under a time limit. What comes out of it is either a checked answer or a
HalError that says which device, which call and what happened. States of a device:

    UNOPENED  Its factory failed by a fault of its own. (HalError from a factory is about the configuration, and keeps
              the node from starting.) The next call tries to open it again.
    OPEN      Calls and callbacks are made.
    ASIDE     After a stall, a failed callback, a failed opening, or too much of the loop's time. For 1, 2, 4 .. 60 s
              calls raise HalError at once, its descriptors are not watched and its timers are held. Then it is OPEN
              again and the held timers are due. A minute without a fault brings the pause back to 1 s.

A driver may use the host in the loop's thread alone. From another thread the host raises HalError, and a radio's notice
becomes a fault and is not passed on: the loop's heap is not protected against a second thread.
"""

# Why a guard and not a process per driver (ADR 0021): a process would need a second protocol and a copy of the
# timeline, and each reading would take milliseconds on a small board. A guarded call costs about 4 us.
#
# What sets a device aside. An exception in a call does not: whoever calls paces it, and may be answered next time. A
# stall does, because each one costs the whole loop up to the limit. So does a fault in a callback, because nothing
# paces callbacks. A fault that no caller was waiting for is kept and raised by the next call, so that a service reports
# it. The newest one replaces an older one; those of callbacks are counted.
#
# After a pause, a timer whose callback failed is due again unless that callback had set another one. A driver that
# lives by its timer (the serial board's poll) sets the next one at the end of each call; without this it would never
# run again after one fault.
#
# The loop's time is a bucket. Whatever a call takes beyond QUICK_NS goes in, and CALLBACK_NS per callback; a quarter of
# the time that passes runs out. With more than BURST_NS in it the device is set aside. So a device may be slow once,
# but not always, and a callback that never empties its descriptor, though quick, cannot keep the loop busy for ever.
#
# What a driver calls of the node (setting a timer, a radio's notice) is shielded from the time limit: cut halfway, it
# would leave the loop's heap or a task broken. A call that was cut may leave the DRIVER in any state. It is asked again
# after the pause, not opened again: nobody can close what a driver had opened.

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

CALL_LIMIT_S = 0.5  # the watchdog of the loop allows 10 s, and several devices may stall one after the other
CAPTURE_LIMIT_S = 2.0  # a tile of 64 MB from a file
OPEN_LIMIT_S = 15.0  # at boot, with the import of the libraries that the driver needs
REOPEN_LIMIT_S = 1.5  # later, while the node flies
PAUSE_MIN_NS = NS
PAUSE_MAX_NS = 60_000_000_000
FORGIVE_NS = 60_000_000_000  # since the end of the last pause
BURST_NS = 3_000_000_000
SHARE = 4  # a device may use one part in four of the loop's time
QUICK_NS = 1_000_000  # calls up to this long are free
CALLBACK_NS = 30_000  # so that 8,000 callbacks per second use up a quarter
TIMERS_MAX = 64
WATCHES_MAX = 16
TEXT_MAX = 160  # of what a driver raised: an event carries 255 octets, the name of the device among them
FAR_NS = 2**60  # 36 years: as good as never, and well within the 64 bits of the kernel's timers

_UNOPENED = object()
_Identity = tuple[int, int] | None


@dataclass(slots=True)
class GuardCounters:
    """Counts since the guard was made.

    faults: calls and callbacks that failed. callback_faults: callbacks among them. stalls: those that took too long.
    set_aside: pauses that began. refused: calls made during a pause.
    """

    faults: int = 0
    callback_faults: int = 0
    stalls: int = 0
    set_aside: int = 0
    refused: int = 0


class GuardedTimer:
    """A timer as a driver sees it. A hal.base.Timer."""

    __slots__ = ("_guard", "call", "inner")

    def __init__(self, guard: Guard, call: Callable[[], None]) -> None:
        self._guard = guard
        self.call = call
        self.inner: Timer | None = None

    def cancel(self) -> None:
        """Have the call not made. Harmless if it was made already. Raises HalError from another thread."""
        self._guard.host.cancel(self)


class GuardedHost:
    """The host as a driver sees it. `behind` is the platform itself, for drivers that share something on it.

    It remembers what the driver has left with the platform, to hold it back during a pause and to remove it at the end.
    """

    def __init__(self, guard: Guard, behind: Host) -> None:
        self.behind = behind
        self.limit: CallLimit = behind.limit
        self.now_ns = behind.now_ns
        self.armed = 0  # timers set so far: tells whether a callback has set one
        self.timers: set[GuardedTimer] = set()
        self.watches: dict[int, tuple[Callable[[], None], _Identity]] = {}
        self._guard = guard

    def call_at(self, t_ns: int, call: Callable[[], None]) -> Timer:
        """Have `call` made at `t_ns`, or at once if that has passed.

        Raises HalError if `call` cannot be called, if TIMERS_MAX timers are pending, and from another thread.
        """
        self._guard.check_thread()
        if not callable(call):
            raise HalError(f"call_at: the callback is of type {type(call).__name__} and cannot be called")
        if len(self.timers) >= TIMERS_MAX:
            raise HalError(f"more than {TIMERS_MAX} timers pending")
        now_ns = self.now_ns()
        # Not before now: the heap is ordered by time, and a driver that sets its timers in the past would always go
        # first.
        t_ns = min(max(int(t_ns), now_ns), now_ns + FAR_NS)
        timer = GuardedTimer(self._guard, call)

        # One shielded step: a call that is cut must not leave a timer in the heap that nothing here knows of.
        def arm() -> None:
            timer.inner = self.behind.call_at(t_ns, partial(self._guard.on_timer, timer))
            self.timers.add(timer)
            self.armed += 1

        self.limit.shield(arm)
        return timer

    def cancel(self, timer: GuardedTimer) -> None:
        """Have the timer's call not made. Raises HalError from another thread."""
        self._guard.check_thread()

        def cancel() -> None:
            if timer in self.timers:
                self.timers.discard(timer)
                if timer.inner is not None:
                    timer.inner.cancel()

        self.limit.shield(cancel)

    def watch(self, fileno: int, on_ready: Callable[[], None]) -> None:
        """Call `on_ready` whenever the descriptor is readable.

        Raises HalError if it cannot be watched or `on_ready` not called, over WATCHES_MAX, and from another thread.
        """
        self._guard.check_thread()
        if not callable(on_ready):
            raise HalError(f"watch: the callback is of type {type(on_ready).__name__} and cannot be called")
        if len(self.watches) >= WATCHES_MAX and fileno not in self.watches:
            raise HalError(f"more than {WATCHES_MAX} descriptors watched")

        def watch() -> None:
            if not self._guard.aside:  # otherwise watching begins as the pause ends
                self.behind.watch(fileno, partial(self._guard.on_ready, fileno))
            self.watches[fileno] = (on_ready, _identity(fileno))

        self.limit.shield(watch)

    def unwatch(self, fileno: int) -> None:
        """Stop watching the descriptor, if this driver watches it. Raises HalError from another thread."""
        self._guard.check_thread()

        def unwatch() -> None:
            self.suspend(fileno)
            self.watches.pop(fileno, None)

        self.limit.shield(unwatch)

    def suspend(self, fileno: int) -> None:
        """Stop watching the descriptor for a while, if it is still the file that the driver gave."""
        # A driver that closed it first has freed its number, which may be another driver's by now.
        if fileno in self.watches and _identity(fileno) in (None, self.watches[fileno][1]):
            self.behind.unwatch(fileno)

    def resume(self, fileno: int) -> None:
        """Watch the descriptor again. Raises HalError if it is closed, or another file has its number by now."""
        if _identity(fileno) != self.watches[fileno][1]:
            raise HalError(f"descriptor {fileno} was closed while it was watched")
        self.behind.watch(fileno, partial(self._guard.on_ready, fileno))

    def release(self) -> None:
        """Cancel all timers and stop watching all descriptors that the driver has left here."""
        for timer in tuple(self.timers):
            self.cancel(timer)
        for fileno in tuple(self.watches):
            self.unwatch(fileno)


class Guard:
    """The guard of one device. See the head of the file. `make(host)` calls the driver's factory."""

    def __init__(self, name: str, host: Host, make: Callable[[Host], object]) -> None:
        self.name = name
        self.counters = GuardCounters()
        self.host = GuardedHost(self, host)
        # Called after a fault that no caller was waiting for, and at the end of a pause.
        self.on_fault: Callable[[], None] = lambda: None
        self._make = make
        self._driver = _UNOPENED
        self._thread = threading.get_ident()  # the loop's, which is the one that calls
        self._limit = host.limit
        self._now_ns = host.now_ns
        self._kept_fault = ""  # of a callback, for the next call to raise
        self._reason = ""  # of the pause
        self.aside = False
        self._until_ns = 0  # when the pause ends, or ended
        self.pause_ns = 0
        self._held_timers: list[GuardedTimer] = []  # came due during the pause, or failed and are to be tried again
        self._used_ns = 0  # the bucket of the loop's time, as it was at _used_at_ns
        self._used_at_ns = host.now_ns()

    @property
    def driver(self) -> object:
        """The driver itself, or None if it could not be opened so far."""
        return None if self._driver is _UNOPENED else self._driver

    def open(self) -> None:
        """Open the device at boot. Raises HalError if the factory does; any other fault sets the device aside."""
        try:
            self._try_open(OPEN_LIMIT_S)
        except (StalledError, _Fault) as error:
            self._set_aside(str(error))

    def call(self, method: str, check: Callable[[object], T], *arguments: object, limit_s: float = 0.0) -> T:
        """Call the driver's `method` and return its answer, checked by `check`.

        limit_s: time limit, CALL_LIMIT_S if 0. Raises HalError, whatever the driver does.
        """
        if self.aside:
            self.counters.refused += 1
            # The reason of the pause is the newest fault: reported now, it is not reported again after the pause.
            self._kept_fault = ""
            raise HalError(f"set aside, {self._reason}")
        if self._kept_fault:
            fault, self._kept_fault = self._kept_fault, ""
            raise HalError(fault)
        if self._driver is _UNOPENED:
            self._reopen()
        driver = self._driver
        try:
            # The look-up and the check are inside as well: both may run code of the driver's.
            return self.run(method, lambda: check(getattr(driver, method)(*arguments)), limit_s or CALL_LIMIT_S)
        except StalledError as error:
            self._set_aside(str(error))
            raise HalError(str(error)) from None

    # What the host calls.

    def on_timer(self, timer: GuardedTimer) -> None:
        """Make the call of a timer that is due, or hold it while the device is set aside."""
        if timer not in self.host.timers:
            return  # cancelled while it was held
        if self.aside:
            self._held_timers.append(timer)  # at most TIMERS_MAX
            return
        self.host.timers.discard(timer)
        armed = self.host.armed
        # It failed and set no other timer: it will be due again after the pause. See the head of the file.
        if not self._call_back(timer.call) and self.host.armed == armed:
            self.host.timers.add(timer)
            self._held_timers.append(timer)

    def on_ready(self, fileno: int) -> None:
        """Make the callback of a descriptor that is ready, if the driver watches it and is not set aside."""
        watched = self.host.watches.get(fileno)
        if watched is not None and not self.aside:
            self._call_back(watched[0])

    def check_thread(self) -> None:
        """Raise HalError if the caller is not in the loop's thread."""
        if threading.get_ident() != self._thread:
            raise HalError("called from another thread than the loop's, which is not allowed")

    def notice(self, call: Callable[[], None]) -> None:
        """Pass on a notice of the driver to the node, uncut, if it comes in the loop's own thread."""
        if threading.get_ident() != self._thread:
            # Not raised: it would end the driver's own thread, and the node would never hear of it.
            self._kept_fault = f"{self.name}: called back from another thread, which is not allowed"
            return
        self._limit.shield(call)

    def _call_back(self, call: Callable[[], None]) -> bool:
        """Run a callback of the driver. Returns True if it came to its end without a fault."""
        self._used_ns += CALLBACK_NS
        try:
            self.run("callback", call, CALL_LIMIT_S)
        except HalError as error:
            self.counters.callback_faults += 1
            self._kept_fault = str(error)
            self._set_aside(str(error))
            self.on_fault()
            return False
        if self.aside:  # it took too much of the loop's time
            self.on_fault()
        return True

    # What calls the driver.

    def run(self, what: str, call: Callable[[], T], limit_s: float) -> T:
        """Make a call into the driver and return its result. `what` names it in messages.

        Raises HalError, whatever the driver raises, and StalledError if the call took longer than `limit_s`.
        """
        begin_ns, self._thread, process = self._now_ns(), threading.get_ident(), os.getpid()
        try:
            return self._limit.run(partial(self._attempt, what, call), limit_s)
        except StalledError:
            self.counters.stalls += 1
            fault: HalError = StalledError(f"{self.name}: {what} did not return within {limit_s:g} s")
        except HalError as error:
            fault = error
        finally:
            # The driver forked and the child has come back. There must be one node, and this is not it: end without
            # cleaning up, since everything here is the parent's.
            if os.getpid() != process:
                os._exit(1)
            self._use(begin_ns)
        self.counters.faults += 1
        raise fault

    def _attempt(self, what: str, call: Callable[[], T]) -> T:
        """Make the call, and turn whatever it raises into HalError.

        All of this is under the time limit: the text of an exception and its destructor are code of the driver's too.
        """
        try:
            return call()
        except HalError as error:
            fault = HalError(_line(error) or f"{self.name}: {what} failed and did not say why")
        except BaseException as error:  # also SystemExit: a driver may raise anything, and the node goes on
            if isinstance(error, KeyboardInterrupt) and _is_ctrl_c():
                raise
            fault = _Fault(f"{self.name}: {what} raised {type(error).__name__}: {_line(error)}{_place(error)}")
        # Raised here and not in the handlers, so that it keeps no frame of the driver's, and so none of its objects.
        raise fault

    def _use(self, begin_ns: int) -> None:
        """Put the time of a call into the bucket. See the head of the file."""
        now_ns = self._now_ns()
        # Run out first, then fill: a bucket that was empty for long has no credit.
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

    # Pauses.

    def _set_aside(self, reason: str) -> None:
        """Begin a pause in which nothing of the driver runs, or start the current one again for a new reason."""
        now_ns = self._now_ns()
        if not self.aside:  # a second fault within one pause does not double the next
            forgiven = now_ns - self._until_ns > FORGIVE_NS
            self.pause_ns = PAUSE_MIN_NS if forgiven else min(2 * self.pause_ns, PAUSE_MAX_NS)
            self.pause_ns = max(self.pause_ns, PAUSE_MIN_NS)
            self.counters.set_aside += 1
        self.aside, self._reason = True, reason
        self._until_ns = now_ns + self.pause_ns
        for fileno in self.host.watches:
            self.host.suspend(fileno)
        self.host.behind.call_at(self._until_ns, self._come_back)

    def _come_back(self) -> None:
        """End the pause: watch the descriptors again and make the calls of the held timers."""
        # Each _set_aside has set a timer; only that of the newest one counts.
        if not self.aside or self._now_ns() < self._until_ns:
            return
        self.aside = False
        for fileno in tuple(self.host.watches):
            try:
                self.host.resume(fileno)
            except HalError as error:
                del self.host.watches[fileno]
                self._kept_fault = f"{self.name}: {error}"
        due, self._held_timers = self._held_timers, []
        for timer in due:
            self.on_timer(timer)  # which holds it again if an earlier one has set the device aside
        self.on_fault()


class _Fault(HalError):
    """A driver raised something that is not a HalError: a bug of its own, not a word about its device."""


def guarded_call(name: str, host: Host, what: str, call: Callable[[], T]) -> T:
    """Make one call into a driver's code for which there is no device yet, such as the import of its module.

    Raises HalError, whatever the call raises, and StalledError if it takes longer than a device may take to open.
    """
    try:
        return Guard(name, host, lambda _: None).run(what, call, OPEN_LIMIT_S)
    except _Fault as fault:
        raise HalError(str(fault)) from None


def _identity(fileno: int) -> _Identity:
    """Return what tells one open file from another under the same number, or None if none is open under it."""
    try:
        found = os.fstat(fileno)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def behind(host: Host) -> Host:
    """Return the platform behind a guarded host: the one that all devices of a node share."""
    return host.behind if isinstance(host, GuardedHost) else host


def _is_ctrl_c() -> bool:
    """Return whether a KeyboardInterrupt came from the user: while the loop runs, a signal ends the loop instead."""
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _line(error: BaseException) -> str:
    """Return the error's text as one printable line of TEXT_MAX characters at most. It may have any length, or fail."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - __str__ of a driver's exception is driver code, and may raise anything
        return "(without a text)"
    text = " ".join(text[: 4 * TEXT_MAX].split())  # cut first: splitting megabytes takes time
    shown = "".join(character if character.isprintable() else "?" for character in text[:TEXT_MAX])
    return shown if len(text) <= TEXT_MAX else f"{shown}..."


def _place(error: BaseException) -> str:
    """Return the file and line at which the driver raised the error, in brackets, or "" if they are not known."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    code = trace.tb_frame.f_code
    if code.co_filename.startswith("<"):  # Python's importer: a module that cannot be parsed has no line that raised
        return ""
    return f" ({code.co_filename.rpartition('/')[2]}:{trace.tb_lineno})"
