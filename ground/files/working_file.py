"""The octets of one transfer, at their places, in a file of the folder of transfers. Edge code."""

# To sync may take seconds on a slow disk, and the loop that takes the frames must not wait for that. So after each
# `SYNC_OCTETS` a thread begins to write them out, and whoever needs to know that they are durable asks `sync_soon`: it
# waits itself for `INLINE_OCTETS` at most, and leaves more to the thread.
#
# Once a sync has failed, nobody knows which octets are on the disk, and a second one would report success all the same
# (fsync(2), errors). So the file has failed for good: what is recorded of it stays as it was before.

from __future__ import annotations

import errno
import os
from concurrent.futures import Executor, Future
from pathlib import Path

from flight.core.errors import OrbitnodeError, reason_of

SYNC_OCTETS = 8 << 20  # written to a file before a thread syncs them: at the end it would take as long as for all
INLINE_OCTETS = 1 << 20  # that a caller waits for itself


class FolderFault(OrbitnodeError):
    """The folder does not do what it should. `is_full`: for want of room, which may pass."""

    def __init__(self, text: str, *, is_full: bool = False) -> None:
        super().__init__(text)
        self.is_full = is_full


class WorkingFile:
    """See the head of the file. It is opened when needed, and `close` may be followed by more. Raises FolderFault.

    syncs: runs the syncs that take long; None leaves out every sync. written: octets that this process has written.
    """

    def __init__(self, path: Path, syncs: Executor | None) -> None:
        self.path = path
        self.written = 0
        self._syncs = syncs
        self._file: int | None = None
        self._durable = 0  # of `written`
        self._running: tuple[int, Future[None]] | None = None  # `written` as a sync began, and that sync
        self._fault: OSError | None = None

    @property
    def octets(self) -> int:
        """Where its last octet ends, 0 if nothing is there."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def write(self, at: int, data: bytes | memoryview) -> None:
        """Write octets at their place; what lies between is not there and reads as zeros."""
        with told(self.path, "written"):
            file = self._opened()
            view = memoryview(data)
            while view:
                written = os.pwrite(file, view, at)
                view, at = view[written:], at + written
        self.written += len(data)
        if self.written - self._durable >= SYNC_OCTETS:
            self._look()
            self._begin_sync()

    def read(self, at: int, octets: int) -> bytes:
        """Return the octets from `at` on, fewer at the end of the file."""
        with told(self.path, "read"):
            return os.pread(self._opened(), octets, at)

    def truncate(self, octets: int) -> None:
        """Give the file this length."""
        with told(self.path, "written"):
            os.ftruncate(self._opened(), octets)

    def is_durable(self, written: int) -> bool:
        """Return whether that many of the octets that were written are durable, the first ones."""
        self._look()
        return self._durable >= written

    def sync_soon(self) -> bool:
        """Return whether all that was written is durable. If it is not yet, a thread is at it: ask again later."""
        self._look()
        if self._running is None and self.written - self._durable <= INLINE_OCTETS:
            self.sync()
        elif self._durable < self.written:
            self._begin_sync()
        return self._durable == self.written

    def sync(self) -> None:
        """Make what was written so far durable, however long that takes."""
        if self._running is not None:
            self._running[1].exception()  # waits for it
        self._look()
        if self._durable < self.written:
            try:
                if self._syncs is not None:
                    os.fdatasync(self._opened())
            except OSError as error:
                self._fault = error
            self._durable = self.written
        self._look()

    def close(self) -> None:
        """Give the descriptor back."""
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def _opened(self) -> int:
        if self._file is None:
            # No link is followed: somebody else may have put one there.
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        return self._file

    def _begin_sync(self) -> None:
        """Have a thread sync what was written, unless it is at it."""
        if self._syncs is None:
            self._durable = self.written
        elif self._running is None:
            with told(self.path, "written"):
                file = os.dup(self._opened())  # of its own: the file may be closed meanwhile
            self._running = self.written, self._syncs.submit(_sync_and_close, file)

    def _look(self) -> None:
        """Take in what the thread has done. Raises FolderFault if a sync has ever failed."""
        if self._running is not None and self._running[1].done():
            (self._durable, sync), self._running = self._running, None
            error = sync.exception()
            if isinstance(error, OSError):
                self._fault = error
        if self._fault is not None:
            with told(self.path, "written"):
                raise self._fault


def _sync_and_close(file: int) -> None:
    try:
        os.fdatasync(file)
    finally:
        os.close(file)


class told:  # noqa: N801 - used as a block, and quicker than a generator on a path that each PDU takes
    """Turns what the system says into a FolderFault with the path and what could not be done."""

    def __init__(self, path: Path, done: str) -> None:
        self._path = path
        self._done = done

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _at: object) -> None:
        if isinstance(error, OverflowError):
            raise FolderFault(f"{self._path} cannot be {self._done}: no file is that long") from None
        if isinstance(error, OSError):
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise FolderFault(f"{self._path} cannot be {self._done}: {reason_of(error)}", is_full=is_full) from None
