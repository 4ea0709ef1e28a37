"""The watchdog of the flight loop: ends a process whose node stands still, so that a supervisor starts it again.

Edge code. The node strokes it while all is well (flight/services/health/watchdog.py). A thread of its own looks eight
times in `limit_s` whether a stroke has come:

    FED      a stroke came since the look before
    HUNGRY   none came; eight looks in a row without one lead to ENDED (at boot, before the first stroke, six times
             as many, because storage may have much to recover)
    ENDED    it writes the stacks of all threads to the file STALL in the node's storage folder and to the log, and ends
             the process at once with status 70
"""

# Looks are counted, not seconds (ADR 0017). A process that was stopped, or a machine so busy that the loop gets no
# turn, keeps this thread waiting as well: a look that comes late counts once, and a good loop strokes in between.
#
# A call of a driver that was cut off (flight/linux/call_limit.py) is a sign of life too, though not a stroke: the
# limits of several drivers that block one behind the other may be longer together than that of the loop, above all at
# boot. That cannot go on for ever, since each of these drivers is set aside for longer each time.
#
# Two things could hold the thread up:
#
# - Native code that holds the interpreter's lock: then no Python thread runs. For this case `faulthandler` has a timer
#   in C, which is set again at every look. It goes off three limits later than the thread would, writes the stacks as
#   well, and ends the process with status 1. It does count seconds, so a process that was stopped for longer than that
#   is ended when it goes on.
# - The disk, or the reader of the log, may be what hangs, and writing would hang with it. So a helper thread writes the
#   last words, and is waited for only WRITE_S.
#
# The file has room set aside at boot, so that a full disk does not silence it. If native code crashes (a segmentation
# fault, a bus error), `faulthandler` writes that there too, as the signal comes. The next boot finds the file, reports
# its first line as the cause of the boot, and keeps it as STALL.last for a person to read.

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
LOOKS = 8  # per limit
BOOT_FACTOR = 6
WRITE_S = 2.0  # how long writing the last words may take
END_S = 5.0  # how long the interpreter may take to end
CAUSE_OCTETS_MAX = 180  # with the boot record's own words a cause of this length fits into an event
_ROOM_OCTETS = 65_536
_STDERR = 2
_NAME, _KEPT_NAME = "STALL", "STALL.last"  # upper case: outside the names that storage holds
_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+) in (?P<function>.*)$', re.MULTILINE)


class Watchdog:
    """Watches over this process from now on; see the head of the file.

    folder: the node's storage folder. where: says in a few words what the node is doing, called by another thread.
    log: writes lines to the log, and may block. cuts: counts calls of drivers that were cut off.
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
        self._memory = os.memfd_create("stacks")  # opened now: a node that stands still may have no descriptors left
        self._file = _open_report(os.path.join(folder, _NAME))
        if self._file is not None:
            faulthandler.enable(self._file, all_threads=True)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def stroke(self) -> None:
        """Say that all is well: the limit begins again."""
        self._strokes += 1

    def close(self) -> None:
        """Stop watching. The process ends in order, and there is nothing to tell the next boot."""
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
            native_s = (looks - hungry + 3 * LOOKS) * slice_s
            faulthandler.dump_traceback_later(native_s, exit=True, file=self._file or _STDERR)

    def _end_process(self, stood_s: float) -> None:
        frame = sys._current_frames().get(self._main_thread or 0)  # noqa: SLF001 - the only way to another thread's stack
        faulthandler.dump_traceback_later(2 * WRITE_S, exit=True, file=_STDERR)  # if even this thread gets stuck
        try:
            line = f"watchdog: no turn for {stood_s:g} s in {self.where()}, at {_place(frame)}"
            writer = threading.Thread(target=self._write, args=(line[:CAUSE_OCTETS_MAX],), daemon=True)
            writer.start()
            writer.join(WRITE_S)
        finally:  # also if no thread can be started for the words
            os._exit(STALLED)  # no clean-up: it would wait for whatever stands still

    def _write(self, line: str) -> None:
        text = f"{line}\n{self._stacks()}"
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.write(self._file.fileno(), text.encode(errors="replace"))
                os.fsync(self._file.fileno())
        self._log(text)

    def _stacks(self) -> str:
        """Return the stacks of all threads, by way of memory: a file or a pipe might hold this thread up."""
        faulthandler.dump_traceback(self._memory, all_threads=True)
        return os.pread(self._memory, _ROOM_OCTETS // 2, 0).decode(errors="replace")


def take_report(folder: str) -> str:
    """Return why the process before this one ended, in one line of at most CAUSE_OCTETS_MAX octets.

    Empty if it left no report, or if the report was taken before: it is renamed to STALL.last.
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
    """Open a file and nothing else: no FIFO, which would wait for a writer, and no link to another place."""
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
    """End this process with `status` END_S after its main thread, even if something in it does not end."""
    # Python waits without limit for threads that are not daemons and for handlers of atexit. A driver, or a library
    # that it uses, may leave such a thread behind, and a node that has ended itself would never be started again.

    def wait() -> None:
        threading.main_thread().join()
        time.sleep(END_S)
        os._exit(status)

    with contextlib.suppress(RuntimeError):  # this process may have no more threads
        threading.Thread(target=wait, name="end", daemon=True).start()


def _open_report(path: str) -> TextIOWrapper | None:
    """Open the file for the last words, with its room set aside; return None if this folder takes none."""
    with contextlib.suppress(OSError):
        os.unlink(path)  # it was read already, or is not a file: nothing is written through a link or into a FIFO
    try:
        file = open(path, "x", encoding="utf-8")  # noqa: SIM115 - it stays open as long as the process lives
    except OSError:
        return None
    with contextlib.suppress(OSError):  # some file systems cannot set room aside: then there may be room when needed
        os.posix_fallocate(file.fileno(), 0, _ROOM_OCTETS)
    return file


def _run_above_the_loop() -> None:
    """Give this thread the next higher priority, if the loop has a real-time one."""
    # Otherwise a loop that spins would never let this thread run.
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
