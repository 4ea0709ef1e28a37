"""The watchdog of the flight loop: ends a process whose node stands still, so that a supervisor starts it anew.
Edge code.

The node strokes it while all is well (flight/services/health/watchdog.py). A thread of its own looks eight times in
`limit_s` whether a stroke has come:

    FED      a stroke came since the look before
    HUNGRY   none came; eight looks in a row without one lead to ENDED (at boot, before the first stroke, six times
             as many: storage may have much to recover)
    ENDED    it writes where the process stands, all stacks, to the file STALL in the node's storage folder and to the
             log, and ends the process at once with status 70

A call of a driver that was cut off (flight/linux/call_limit.py) is a sign of life as well, though no stroke: the limits
of several drivers that block, one behind the other, may be longer than that of the loop, above all at boot. How often
that may be is bounded, since each of them is set aside for longer and longer.

Looks are counted, not seconds. A process that was stopped, or a machine that is so busy that the loop gets no turn,
keeps this thread waiting as well: each look that comes late counts once, and a good loop strokes in between.

Two things could hold the thread up. If native code holds the interpreter's lock, no Python thread runs: for that case
`faulthandler` has a timer of its own, in C, set anew at every look; it goes off three limits later than the thread
would, writes the stacks as well and ends the process with status 1. It does count seconds, so a process that was
stopped for longer than that is ended when it goes on. If the disk or the reader of the log is what hangs, writing
would hang with it: the words are written by a helper thread that is waited for only so long.

The file has room set aside at boot, so that a full disk does not silence it. What native code does wrong (a
segmentation fault, a bus error) is written there too, by `faulthandler` as the signal comes. The next boot finds the
file, says its first line as the cause of the boot, and keeps it as STALL.last for a person to read.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import os
import re
import stat
import sys
import threading
import time
from collections.abc import Callable
from io import TextIOWrapper
from types import FrameType

STALLED = 70  # exit status
LOOKS = 8
BOOT_FACTOR = 6
WRITE_S = 2.0  # what the last words may take
END_S = 5.0  # what the interpreter may take to end
CAUSE_OCTETS_MAX = 180  # with the boot record's own words a cause fits into an event
_ROOM_OCTETS = 65_536
_STDERR = 2
_NAME, _KEPT_NAME = "STALL", "STALL.last"  # upper case: outside the names that storage holds
_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+) in (?P<function>.*)$', re.MULTILINE)


class Watchdog:
    """Watches over this process from now on; see the head of the file.

    folder: the node's storage folder. where: what the node was doing, in a few words, asked by another thread.
    log: writes lines to the log; may block. cuts: counts calls of drivers that were cut off.
    """

    def __init__(
        self,
        limit_s: float,
        folder: str,
        where: Callable[[], str] = lambda: "the boot",
        log: Callable[[str], None] = lambda _line: None,
        cuts: Callable[[], int] = lambda: 0,
    ) -> None:
        self.where = where
        self._cuts = cuts
        self._limit_s = limit_s
        self._log = log
        self._strokes = 0
        self._main_thread = threading.main_thread().ident
        self._memory = os.memfd_create("stacks")  # now: a node that stands may have no descriptors left
        self._file = _open_report(os.path.join(folder, _NAME))
        if self._file is not None:
            faulthandler.enable(self._file, all_threads=True)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def stroke(self) -> None:
        """All is well."""
        self._strokes += 1

    def close(self) -> None:
        """The process ends in order: nothing to be told to the next boot."""
        self._ended.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        if self._file is not None:
            faulthandler.disable()
            with contextlib.suppress(OSError):
                os.unlink(self._file.name)
            self._file.close()
        os.close(self._memory)

    def _watch(self) -> None:
        slice_s = self._limit_s / LOOKS
        seen, seen_cuts, hungry = 0, 0, 0
        while not self._ended.wait(slice_s):
            strokes, cuts = self._strokes, self._cuts()
            if strokes and not seen:
                _run_above_the_loop()  # by now the loop has the priority that the mission asks for
            hungry = 0 if (strokes, cuts) != (seen, seen_cuts) else hungry + 1
            seen, seen_cuts = strokes, cuts
            looks = LOOKS if strokes else LOOKS * BOOT_FACTOR
            if hungry >= looks:
                self._end_process(looks * slice_s)
            left_s = (looks - hungry + 3 * LOOKS) * slice_s
            faulthandler.dump_traceback_later(left_s, exit=True, file=self._file or _STDERR)

    def _end_process(self, stood_s: float) -> None:
        frame = sys._current_frames().get(self._main_thread or 0)  # noqa: SLF001 - the only way to another thread's stack
        faulthandler.dump_traceback_later(2 * WRITE_S, exit=True, file=_STDERR)  # whatever happens from here on
        try:
            line = f"watchdog: no turn for {stood_s:g} s in {self.where()}, at {_place(frame)}"
            writer = threading.Thread(target=self._write, args=(line[:CAUSE_OCTETS_MAX],), daemon=True)
            writer.start()
            writer.join(WRITE_S)
        finally:  # also when no thread can be had for the words
            os._exit(STALLED)

    def _write(self, line: str) -> None:
        text = f"{line}\n{self._stacks()}"
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.write(self._file.fileno(), text.encode(errors="replace"))
                os.fsync(self._file.fileno())
        self._log(text)

    def _stacks(self) -> str:
        """Where every thread stands, by way of memory: a file or a pipe might hold this thread up."""
        faulthandler.dump_traceback(self._memory, all_threads=True)
        return os.pread(self._memory, _ROOM_OCTETS // 2, 0).decode(errors="replace")


def take_report(folder: str) -> str:
    """Why the process before this one ended, in one line of at most CAUSE_OCTETS_MAX octets; empty if it left no
    word. It is told once.
    """
    path = os.path.join(folder, _NAME)
    try:
        with open(path, "rb", opener=_open_file) as file:
            text = file.read(_ROOM_OCTETS).replace(b"\0", b"").decode(errors="replace")
        if not (text and _kept(path, os.path.join(folder, _KEPT_NAME))):
            os.unlink(path)
    except OSError:
        return ""
    return _summary(text).encode()[:CAUSE_OCTETS_MAX].decode(errors="ignore")


def _open_file(path: str, flags: int) -> int:
    """Opens a file and nothing else: no FIFO, which would wait for a writer, and no link to somewhere else."""
    fileno = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fileno).st_mode):
        os.close(fileno)
        raise OSError(errno.EINVAL, "not a file", path)
    return fileno


def _kept(path: str, kept_path: str) -> bool:
    try:
        os.rename(path, kept_path)
    except OSError:  # a folder is in its place, or nothing can be written
        return False
    return True


def _summary(text: str) -> str:
    first = text.partition("\n")[0]
    if first.startswith("watchdog:"):
        return first
    # What faulthandler wrote: "Timeout (...)!", or "Fatal Python error: ..."; of several threads the main one is last.
    current = text.rpartition("Current thread")[2] if "Current thread" in text else text.rpartition("Thread 0x")[2]
    found = _FRAME.search(current)
    where = f", at {_short(found['file'])}:{found['line']} in {found['function']}" if found else ""
    if first.startswith("Timeout"):
        return f"watchdog: the interpreter stood still{where}"
    return f"{first.removeprefix('Fatal Python error: ').lower()}{where}"


def end_within(status: int) -> None:
    """Have this process end with `status` END_S after its main thread, even if something in it does not.

    Python waits without limit for threads that are no daemons and for handlers of atexit. A driver, or a library that
    it uses, may leave such a thing behind, and a node that has ended itself would never be started anew.
    """

    def wait() -> None:
        threading.main_thread().join()
        time.sleep(END_S)
        os._exit(status)

    with contextlib.suppress(RuntimeError):  # no more threads in this process
        threading.Thread(target=wait, name="end", daemon=True).start()


def _open_report(path: str) -> TextIOWrapper | None:
    """The file for the last words, with its room set aside; None if this folder takes none."""
    with contextlib.suppress(OSError):
        os.unlink(path)  # it has been read, or is no file: nothing is written through a link, nor into a FIFO
    try:
        file = open(path, "x", encoding="utf-8")  # noqa: SIM115 - it stays open as long as the process lives
    except OSError:
        return None
    with contextlib.suppress(OSError):  # a file system that cannot say: then it is tried as it comes
        os.posix_fallocate(file.fileno(), 0, _ROOM_OCTETS)
    return file


def _run_above_the_loop() -> None:
    """A loop with real-time priority that spins would never let this thread in: give it the next higher one."""
    with contextlib.suppress(OSError, ValueError):
        loop = os.getpid()  # as a thread's number: the main thread's
        if os.sched_getscheduler(loop) == os.SCHED_FIFO:
            priority = os.sched_getparam(loop).sched_priority + 1
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_FIFO, os.sched_param(priority))


def _place(frame: FrameType | None) -> str:
    if frame is None:
        return "no frame"
    return f"{_short(frame.f_code.co_filename)}:{frame.f_lineno} in {frame.f_code.co_name}"


def _short(path: str) -> str:
    return "/".join(path.split("/")[-2:])
