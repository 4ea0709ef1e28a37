"""The helper thread that makes commits, one at a time.

A commit is fdatasync of the written files that it takes (flight/linux/pending_changes.py), then the renames and
deletions in the order in which they were asked for, then fsync of the folder.
"""

# Why a thread: fdatasync takes milliseconds on a good medium and seconds on a bad one, and the loop may wait for
# neither. The thread knows its commit and the folder and nothing else, so there is no state to lock: a commit is handed
# over as a frozen object by one queue, and comes back with its result by another. An eventfd tells the loop's epoll.
#
# Why in this order: what a journal's mark or a checkpoint promises must hold after a power cut at any instant. A
# replaced content takes its name only after its octets are durable, so the name never shows half of it; and a rename
# never becomes durable before data that was written ahead of it.

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

from flight.core.errors import StorageError
from flight.linux.pending_changes import Commit
from flight.linux.storage_folder import StorageFolder, reason_of
from hal.base import Host

Result = tuple[Commit, StorageError | None, int]  # what was done, its fault, nanoseconds that it took


class CommitThread:
    """Makes commits in `folder`. `on_done` is called in the loop's thread after each, also if `take` has its result."""

    def __init__(self, host: Host, folder: StorageFolder, on_done: Callable[[], None]) -> None:
        self._host = host
        self._folder = folder
        self._on_done = on_done
        self._work: SimpleQueue[Commit | None] = SimpleQueue()
        self._done: SimpleQueue[Result] = SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        host.watch(self._wake, self._on_wake)
        self._thread = threading.Thread(target=self._run, name="storage-commit", daemon=True)
        self._thread.start()

    def begin(self, commit: Commit) -> None:
        """Begin `commit`. The one before it must have been taken."""
        self._work.put(commit)

    def take(self) -> Result:
        """Wait for the commit that was begun; return its result."""
        return self._done.get()

    def close(self) -> None:
        """End the thread. Every result must have been taken."""
        self._work.put(None)
        self._thread.join()
        self._host.unwatch(self._wake)
        os.close(self._wake)

    def _on_wake(self) -> None:
        os.eventfd_read(self._wake)
        self._on_done()

    def _run(self) -> None:
        while (commit := self._work.get()) is not None:
            start_ns = self._host.now_ns()
            error = self._make(commit)
            for fileno in commit.retired:
                with contextlib.suppress(OSError):  # nobody can reach its content any more, so nothing is lost
                    os.close(fileno)
            self._done.put((commit, error, self._host.now_ns() - start_ns))
            os.eventfd_write(self._wake, 1)

    def _make(self, commit: Commit) -> StorageError | None:
        try:
            for fileno in commit.dirty:
                os.fdatasync(fileno)
            for path, new_path in commit.changes:
                _apply_change(path, new_path)
            if commit.folder:
                os.fsync(self._folder.fileno)
        except OSError as error:
            reason = reason_of(error)
            return StorageError(f"storage folder {self._folder.directory} failed, restart the node: {reason}")
        return None


def _apply_change(path: str, new_path: str | None) -> None:
    if new_path is not None:
        os.rename(path, new_path)
        return
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # the name was made and deleted between two commits
