"""A loop's output: a bounded queue, and one helper thread that writes it to a descriptor. Edge code.

Within `diverted`, `sys.stderr` and `sys.stdout` are sinks: for the log, for status lines, and for whatever a library, a
warning or a traceback prints. Writing puts a line into the queue, and never waits and never raises.

States of a sink, by what its helper thread does:

    waiting   nothing is queued
    writing   a chunk is with the kernel, more lines are queued meanwhile
    stalled   still writing after STALL_S: the reader is paused (a full pipe, Ctrl-S on a terminal, a hung disk)
    failing   the write was refused (reader gone, disk full, terminal hung up): it is tried again every `retry_s`,
              from the octet at which it stopped, so that no line is torn
    closed    what is written now is lost; the thread has ended, or is stuck in a write that does not return

`fault` says what is wrong in the states stalled and failing. `lost` counts the lines that were dropped.
"""

# Why (ADR 0020): a loop that others depend on must neither wait for whoever reads its output nor end because nobody
# does. A reader that paused stopped the flight, and a full disk ended it at every boot.
#
# When the queue is full the newest line is dropped, and every line after it until the queue is taken, also one that
# would fit. What led to the trouble is worth more than its repetitions, and the lines that are kept have one gap, whose
# place is known. When the queue is taken, one line in the gap says how many lines are missing, since when, and why.
#
# The descriptor is a duplicate, so that nothing else is ever opened under its number. Its flags are not touched, since
# O_NONBLOCK would be set for every process that shares the open file. The thread blocks all signals: they belong to the
# loop, and a background process is not stopped for writing to its terminal (SIGTTOU).
#
# Who uses what:
#
#     flight, ground, sim       loops: sinks, from before the mission is read until after the last error line. A reader
#                               that does not read delays the end of the process by GIVE_UP_S, one that reads slowly by
#                               CLOSE_S. Neither changes the exit code.
#     every other command       stdout is Python's own: a paused reader pauses a batch or a live view, which harms
#                               nobody; one that is gone, a full disk, or a stdout that was closed from the start ends
#                               the command with exit code 1. stderr may pause a command as well, but its faults end at
#                               a `GuardedStream` (flight/core/guarded_stream.py) and change neither result nor exit
#                               code.
#     a simulated node's log    a file behind a `GuardedStream`: in virtual time nothing is late, and a full disk of
#                               this machine is not the simulated one's.

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TextIO, cast

from flight.core.errors import reason_of

QUEUE_OCTETS = 128 << 10  # about a thousand lines
CHUNK_OCTETS = 4096  # a pipe takes this much at once or not at all
RETRY_S = 1.0
STALL_S = 3.0
GIVE_UP_S = 1.0  # at the end, for one write
CLOSE_S = 10.0  # at the end, for all writes

SLOW = "its reader is paused, or slower than the lines come"


@dataclass(slots=True)
class _Gap:
    """Lines dropped in a row."""

    lines: int
    since_s: float
    reason: str


def _plain_gap(lines: int, over_s: float, reason: str) -> str:
    missing = "1 line is" if lines == 1 else f"{lines} lines are"
    return f"orbitnode: {missing} missing here, lost in {over_s:.1f} s: {reason}\n"


class LogSink:
    """A text stream that writes to the file behind `stream` without ever waiting for it.

    `describe_gap` writes the line for a gap; it is given how many lines were dropped, in how many seconds, and why. The
    helper thread calls it. It may be replaced at any time.
    """

    errors = "backslashreplace"

    def __init__(self, stream: TextIO, *, queue_octets: int = QUEUE_OCTETS, retry_s: float = RETRY_S) -> None:
        self.lost = 0
        self.describe_gap: Callable[[int, float, str], str] = _plain_gap
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self._stream = stream
        self._fileno = _duplicate(stream)
        self._is_terminal = _is_terminal(stream)
        self._queue_octets = queue_octets
        self._retry_s = retry_s
        self._partial = ""  # a line whose end has not been written yet
        self._queue: deque[bytes] = deque()
        self._octets = 0  # in the queue, and in the batch that the thread is writing
        self._gap: _Gap | None = None
        self._refused = ""  # why the last write failed, empty after one that did not
        self._writing_since_s: float | None = None
        self._closing = False
        self._thread: threading.Thread | None = None
        # Re-entrant, because a signal handler may write while the loop does.
        self._changed = threading.Condition(threading.RLock())

    # What a text stream offers

    def write(self, text: str) -> int:
        """Queue all whole lines, keep the remainder for the next call; return the number of characters taken: all."""
        with self._changed:
            head, end, self._partial = (self._partial + text).rpartition("\n")
            self._enqueue(head + end)
            if len(self._partial) > CHUNK_OCTETS:  # somebody writes without line ends: the remainder has a bound too
                self._enqueue_partial()
        return len(text)

    def flush(self) -> None:
        """Queue a line that has no end yet, such as a status line on a terminal. Waits for nothing."""
        with self._changed:
            self._enqueue_partial()

    def isatty(self) -> bool:
        """Return whether the file behind this sink is a terminal."""
        return self._is_terminal

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor, for what writes past the queue and may block, such as the dump of a crash.

        Raises OSError if there is none.
        """
        if self._fileno is None:
            raise OSError("the stream behind this sink has no descriptor")
        return self._fileno

    # What the owner asks

    @property
    def fault(self) -> str:
        """Why lines are not getting out at present; empty while they are."""
        with self._changed:
            stalled = self._writing_since_s is not None and time.monotonic() - self._writing_since_s > STALL_S
            return self._refused or (SLOW if stalled else self._gap.reason if self._gap is not None else "")

    def start(self) -> None:
        """Start the helper thread."""
        # Not left to the first line: a thread inherits the priority of the moment, which may be the loop's by then.
        with self._changed:
            if self._thread is not None or self._closing:
                return
            thread = threading.Thread(target=self._run, name="log-sink", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # this process may have no more threads: the next line tries again
                self._refused = str(error)
                return
            self._thread = thread

    def drain(self, timeout_s: float) -> bool:
        """Wait until everything queued is written; return False if that took longer than `timeout_s`."""
        with self._changed:
            self._enqueue_partial()
            return self._changed.wait_for(lambda: not self._octets and self._gap is None, timeout_s)

    def close(self) -> bool:
        """Write what is queued; return False if lines were left behind.

        Waits for CLOSE_S at most, and for less if one write takes longer than GIVE_UP_S.
        """
        with self._changed:
            self._enqueue_partial()
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is None:
            self._release()
        else:
            deadline_s = time.monotonic() + CLOSE_S
            while thread.is_alive() and time.monotonic() < deadline_s:
                thread.join(GIVE_UP_S)
                since_s = self._writing_since_s
                if since_s is not None and time.monotonic() - since_s >= GIVE_UP_S:
                    break
        with self._changed:
            return not self._octets and self._gap is None

    # The loop's side of the queue; called with the lock held

    def _enqueue_partial(self) -> None:
        text, self._partial = self._partial, ""
        self._enqueue(text)

    def _enqueue(self, text: str) -> None:
        if not text:
            return
        octets = text.encode(self.encoding, self.errors)
        if self._closing or self._gap is not None or self._octets + len(octets) > self._queue_octets:
            lines = max(1, text.count("\n"))
            self.lost += lines
            if self._gap is None:
                # A single line longer than the queue is dropped whatever the reader does.
                too_long = f"a line of {len(octets)} octets, at most {self._queue_octets} are kept"
                self._gap = _Gap(0, time.monotonic(), SLOW if self._octets else too_long)
            self._gap.lines += lines
            self._gap.reason = self._refused or self._gap.reason
        else:
            self._queue.append(octets)
            self._octets += len(octets)
        self._changed.notify_all()
        self.start()

    # The thread's side

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while (batch := self._take_batch()) is not None:
            if not self._write_batch(batch):
                break
        self._release()

    def _take_batch(self) -> bytes | None:
        """Wait for lines, and take everything queued with a line for the gap behind it; None when the sink closes."""
        with self._changed:
            self._octets = 0  # the batch before has been written
            self._writing_since_s = None
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._queue or self._gap is not None or self._closing)
            if not self._queue and self._gap is None:
                return None
            batch = b"".join(self._queue)
            self._queue.clear()
            gap, self._gap = self._gap, None
            if gap is not None:
                line = self.describe_gap(gap.lines, time.monotonic() - gap.since_s, gap.reason)
                batch += line.encode(self.encoding, self.errors)
            self._octets = len(batch)
            return batch

    def _write_batch(self, batch: bytes) -> bool:
        """Write all of `batch`; return False if the sink closes while the file refuses."""
        at = 0
        while at < len(batch):
            # Chunks end with a line if possible: another process may write to the same file in between.
            end = batch.rfind(b"\n", at, at + CHUNK_OCTETS) + 1 or at + CHUNK_OCTETS
            self._writing_since_s = time.monotonic()
            try:
                at += self._write(batch[at:end])
                self._refused = ""
            except BlockingIOError:  # somebody who shares the open file has set O_NONBLOCK
                if not self._poll() and self._closing:
                    return False
            except (OSError, ValueError) as error:
                self._refused = reason_of(error)
                if self._closing:
                    return False
                with self._changed:
                    if self._gap is not None:
                        self._gap.reason = self._refused
                    self._changed.wait_for(lambda: self._closing, self._retry_s)
        return True

    def _write(self, octets: bytes) -> int:
        if self._fileno is not None:
            return os.write(self._fileno, octets)
        self._stream.write(octets.decode(self.encoding, "replace"))
        self._stream.flush()
        return len(octets)

    def _poll(self) -> bool:
        """Wait until the descriptor takes octets, for `retry_s` at most; return whether it does."""
        assert self._fileno is not None
        poll = select.poll()
        poll.register(self._fileno, select.POLLOUT)
        return bool(poll.poll(self._retry_s * 1000))

    def _release(self) -> None:
        if self._fileno is not None:
            os.close(self._fileno)
            self._fileno = None


def _duplicate(stream: TextIO) -> int | None:
    """Return a descriptor of our own for the file behind `stream`; None for a stream in memory."""
    try:
        return os.dup(stream.fileno())
    except (OSError, ValueError):
        return None


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _is_same_file(first: TextIO, second: TextIO) -> bool:
    try:
        return os.path.sameopenfile(first.fileno(), second.fileno())
    except (OSError, ValueError):
        return False


@contextmanager
def diverted() -> Iterator[LogSink]:
    """Make `sys.stderr` and `sys.stdout` sinks within this block, and give the one of stderr.

    Within another such block that one's sink is given. At the end what was written gets out, unless one write takes
    longer than GIVE_UP_S, or all of them longer than CLOSE_S.
    """
    stderr, stdout = sys.stderr, sys.stdout
    if isinstance(cast("object", stderr), LogSink):
        yield cast("LogSink", stderr)
        return
    with ExitStack() as closing:
        sink = LogSink(stderr)
        closing.callback(sink.close)
        sink.start()
        if _is_same_file(stderr, stdout):
            printed = sink  # two queues to one file would mix the order of lines
        else:
            printed = LogSink(stdout)
            closing.callback(printed.close)
        sys.stderr, sys.stdout = cast("TextIO", sink), cast("TextIO", printed)
        try:
            yield sink
        finally:
            sys.stderr, sys.stdout = stderr, stdout


def open_standard_descriptors() -> bool:
    """Open descriptors 0, 1 and 2 on /dev/null if they are closed, and their streams if they are missing.

    Return whether stdout was missing: what is written to it reaches nobody.
    """
    # A process that was started with one of them closed (`2>&-`) would open its first file under that number, and
    # whatever is printed past Python would go into that file.
    while (fileno := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fileno, True)
    os.close(fileno)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for the life of the process
    missing = sys.stdout is None
    if missing:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    return missing
