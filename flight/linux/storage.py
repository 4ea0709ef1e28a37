"""Storage on a Linux file system: one file per name, changes committed in groups by a helper thread. Edge code.

Appends and positional writes go straight into the page cache. A replaced content is written to a temporary file, is
read from there at once, and takes its name only in a commit (flight/linux/commit_thread.py).

States of a commit:

    none wanted   --sync of what is not durable-----> wanted     in the loop's next round, so that all syncs of this
                                                                 round share it
    wanted        --the loop's next round-----------> running    in the helper thread; further syncs wait for the next
    running       --done, nobody waits--------------> none wanted
    running       --done, others wait meanwhile-----> wanted
    running       --failed--------------------------> failed     for good
"""

# What a power cut leaves, by the instant at which it comes:
#
#     after an append, before its commit        any beginning of the appended octets, also none
#     after a write at a place, before its      any of the octets there, also none, whatever became of other writes; a
#     commit                                    gap and what is missing read as zeros, or as before
#     after a replacement, before its commit    the old content; the temporary file is removed at the next start
#     within a commit                           per name the old or the new content, earlier changes before later ones
#     after a commit                            all that was asked for before its `sync`
#
# A full disk. An append or replacement that finds no room is taken back whole, and works again once there is room: a
# file system sets the room for a write aside when write(2) accepts it. A positional write into a gap needs room as
# well. If it finds none, the length is what it was, but a part of the octets may be there.
#
# A failed commit is final (ADR 0011), also one for lack of room, which thin volumes, network and quota file systems
# notice that late. After any failed write-back the kernel marks the pages clean or drops them, and reports the error
# once (fsync(2), errors): a second fdatasync would report success for octets that are nowhere. So every later write and
# sync fails with the same reason, until the node starts again on what is really there.
#
# A disk that hangs holds the helper thread and not the loop: reads, names and changes go on in memory, up to
# CHANGES_MAX changes. The kernel itself makes a writer wait once its unwritten pages pass vm.dirty_ratio.

from __future__ import annotations

import errno
import os
from pathlib import Path

from flight.core.errors import StorageError
from flight.core.future import Future
from flight.core.storage import StorageCounters, StorageFull, checked_name
from flight.linux.commit_thread import CommitThread
from flight.linux.open_files import File, OpenFiles, create_file, read_part
from flight.linux.pending_changes import Commit, PendingChanges
from flight.linux.storage_folder import StorageFolder, reason_of
from hal.base import Host

CHANGES_MAX = 256  # each may hold a descriptor, of which a process has 1,024 by default


class LinuxStorage:
    """The Storage of one node in the folder `directory`, held by a lock for this process alone.

    Raises StorageError, with path and reason, if the folder cannot be made, read or locked. A read-only one is
    accepted: then writing raises.
    """

    def __init__(self, directory: str | Path, host: Host) -> None:
        self.counters = StorageCounters()
        self._host = host
        self._folder = StorageFolder(directory)
        self._files = self._folder.found
        self._odd = self._folder.odd
        self._open = OpenFiles(self._is_in_use)
        self._pending = PendingChanges()
        self._temporary = self._folder.temporary  # number of the newest temporary file
        # (prefix, future) of everybody whose sync the next commit answers
        self._waiting: list[tuple[str, Future[None]]] = []
        self._wanted = False
        self._running: Commit | None = None
        self._failed: str | None = None
        self._closed = False
        self._commits = CommitThread(host, self._folder, self._on_done)

    @property
    def directory(self) -> str:
        """The folder's absolute path."""
        return self._folder.directory

    # The Storage Protocol (flight.core.platform)

    def names(self) -> list[str]:
        """Return every name that has a content, sorted, also one whose content is not a file and cannot be read."""
        return sorted((*self._files, *self._odd))

    def size(self, name: str) -> int | None:
        """Return how many octets are stored under `name`, None if there is no such name."""
        file = self._files.get(name)  # looked up first: positional writes ask each time
        if file is None:
            return 0 if checked_name(name) in self._odd else None
        return file.octets

    def read(self, name: str, at: int = 0, octets: int | None = None) -> bytes | None:
        """Return the content of `name` from octet `at` on, at most `octets` of it; None if there is no such name.

        Raises StorageError.
        """
        assert at >= 0 and (octets is None or octets >= 0), (at, octets)
        file = self._files.get(checked_name(name))
        if file is None:
            if name in self._odd:
                raise StorageError(f"cannot read {self._folder.path(name)}: it is {self._odd[name]}, not a file")
            return None
        end = file.octets if octets is None else min(at + octets, file.octets)
        try:
            return self._read_part(file, at, end)
        except OSError as error:
            raise StorageError(f"cannot read {self._folder.path(name)}: {reason_of(error)}") from None

    def _read_part(self, file: File, at: int, end: int) -> bytes:
        try:
            return read_part(self._open.descriptor(file), at, end)
        except OSError as error:
            if file.fileno is not None or error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
        # Files are opened for writing as well. On a read-only medium that fails, and reading must go on all the same.
        fileno = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return read_part(fileno, at, end)
        finally:
            os.close(fileno)

    def append(self, name: str, octets: bytes) -> None:
        """Add `octets` to the end of `name`, which is made if need be. Raises StorageError, with nothing written."""
        # The quick way for a file that is open; everything else, and every check, is in `_open_to_write`.
        known = file = self._files.get(name)
        if file is None or file.fileno is None or self._failed is not None:
            file = self._open_to_write("append to", name)
        fileno, before = file.fileno, file.octets
        assert fileno is not None
        try:
            written = os.pwrite(fileno, octets, before)
            if written != len(octets):
                file.write_rest(octets, written)
        except OSError as error:
            if known is None:  # the name was made for this append, which has written nothing
                self._forget(name, file)
            raise self._refusal("append to", name, error) from None
        file.octets = before + len(octets)
        dirty = self._pending.dirty
        if file not in dirty:
            dirty[file] = before
        self.counters.octets += len(octets)

    def write(self, name: str, at: int, octets: bytes | memoryview) -> None:
        """Put `octets` at octet `at` of `name`, which is made if need be. Raises StorageError.

        The length is then as it was, and so are all octets but those that were to be overwritten.
        """
        assert at >= 0, at
        known = file = self._files.get(name)
        if file is None or file.fileno is None or self._failed is not None:
            file = self._open_to_write("write to", name)
        try:
            file.write_at(at, octets)
        except OSError as error:
            if known is None:
                self._forget(name, file)
            raise self._refusal("write to", name, error) from None
        self._pending.enter_write(file, at, len(octets))
        self.counters.octets += len(octets)

    def replace(self, name: str, octets: bytes) -> None:
        """Make `octets` the whole content of `name`. Raises StorageError, with the former content in place."""
        self._refuse_if_failed(name)
        checked_name(name)
        self._set_aside("replace", name)
        try:
            file = self._create_temporary()
            try:
                file.write_rest(octets, 0)
            except OSError:
                assert file.fileno is not None
                os.close(file.fileno)
                os.unlink(file.path)
                raise
        except OSError as error:
            raise self._refusal("replace", name, error) from None
        file.octets = len(octets)
        self._enter_temporary(name, file)
        self.counters.octets += len(octets)

    def delete(self, name: str) -> None:
        """Forget `name`. Nothing happens if it is unknown. Raises StorageError."""
        file = self._files.get(checked_name(name))
        if file is None and name not in self._odd:
            return
        self._refuse_if_failed(name)
        if file is None:
            self._set_aside("delete", name)
        else:
            self._forget(name, file)

    def sync(self, prefix: str = "") -> Future[None]:
        """Return a future that is done when what was written under names that begin with `prefix` is durable.

        It fails with StorageError if the commit does. If names have come, changed or gone the commit takes everything,
        because their order counts.
        """
        future: Future[None] = Future()
        self.counters.syncs += 1
        if self._failed is not None:
            future.set_error(StorageError(self._failed))
        elif not (self._running or self._pending.renaming or self._pending.dirty_under((prefix,))):
            future.set_result(None)
        else:
            self._waiting.append((prefix, future))
            self._want_commit()
        return future

    def free_octets(self) -> int:
        """Return the room for further octets, with that of contents on their way out. Raises StorageError."""
        running = self._running.leaving_octets if self._running is not None else 0
        return self._folder.free_octets() + self._pending.leaving_octets + running

    def close(self) -> None:
        """Commit what remains, and give back the folder. Raises StorageError if that fails. Loop's thread only.

        Futures that are not done stay so: those who wait for them are gone.
        """
        if self._closed:
            return
        self._closed = True
        if self._running is not None:
            self._enter(*self._commits.take())
        self._waiting = []
        last = self._pending.take(())
        if self._failed is not None:  # what was asked for after the failure must not overwrite what is sound
            last = Commit((), (), False, last.retired, (), 0, 0)
        self._commits.begin(last)
        self._enter(*self._commits.take())
        self._commits.close()
        self._open.close()
        self._folder.close()
        if self._failed is not None:
            raise StorageError(self._failed)

    # Names and their files

    def _refuse_if_failed(self, name: str) -> None:
        assert not self._closed, "storage used after close"
        if self._failed is not None:
            self.counters.refused += 1
            raise StorageError(self._failed)
        if len(self._pending.changes) >= CHANGES_MAX:
            # Only a caller that never syncs, or a disk that hangs, gets here.
            self._want_commit()
            self.counters.refused += 1
            raise StorageError(f"cannot change {self._folder.path(name)}: {CHANGES_MAX} changes wait for the disk")

    def _refusal(self, act: str, name: str, error: OSError) -> StorageError:
        """Return the error to raise for a write that changed nothing, and count it."""
        self.counters.refused += 1
        kind = StorageFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
        return kind(f"cannot {act} {self._folder.path(name)}: {reason_of(error)}")

    def _set_aside(self, act: str, name: str) -> None:
        """Free the name for a file, if what stands there is not one. Raises StorageError."""
        if name in self._odd:
            try:
                self._folder.set_aside(name)
                self._pending.folder_changed = True
            except OSError as error:
                raise self._refusal(act, name, error) from None

    def _is_in_use(self, file: File) -> bool:
        """Return whether the descriptor of `file` must stay open."""
        # A commit may need it. After a failure nobody knows under which of its two names a content is to be found.
        running = self._running.dirty if self._running is not None else ()
        return self._failed is not None or file in self._pending.dirty or file.fileno in running

    def _open_to_write(self, act: str, name: str) -> File:
        """Return the file of `name` with an open descriptor, made if it is not there. Raises StorageError."""
        self._refuse_if_failed(name)
        checked_name(name)
        self._set_aside(act, name)
        try:
            file = self._files.get(name) or self._create(name)
            self._open.descriptor(file)
        except OSError as error:
            raise self._refusal(act, name, error) from None
        return file

    def _create(self, name: str) -> File:
        """Make an empty file for an unknown name."""
        # If a deletion of that name still waits, the new file must not be what it deletes: it gets a temporary name.
        path = self._folder.path(name)
        running = self._running.changes if self._running is not None else ()
        if any(path in change for change in (*running, *self._pending.changes)):
            file = self._create_temporary()
            self._enter_temporary(name, file)
            return file
        file = self._files[name] = create_file(path)
        self._pending.folder_changed = True
        self._open.add(file)
        return file

    def _create_temporary(self) -> File:
        self._temporary += 1
        return create_file(self._folder.temporary_path(self._temporary))

    def _enter_temporary(self, name: str, file: File) -> None:
        """Make `file` the content of `name`: at once for readers, in the next commit for the disk."""
        earlier = self._files.get(name)
        if earlier is not None:
            self._retire(earlier)
        self._files[name] = file
        self._pending.dirty[file] = 0
        self._open.add(file)
        self._pending.change(file.path, self._folder.path(name))

    def _forget(self, name: str, file: File) -> None:
        del self._files[name]
        self._retire(file)
        self._pending.change(self._folder.path(name), None)

    def _retire(self, file: File) -> None:
        self._open.remove(file)
        self._pending.retire(file)

    # Commits

    def _want_commit(self) -> None:
        if not self._wanted and self._running is None:
            self._wanted = True
            self._host.call_at(self._host.now_ns(), self._begin_commit)

    def _begin_commit(self) -> None:
        self._wanted = False
        if self._running is None and not self._closed and self._failed is None:
            self._running = self._pending.take(self._waiting)
            self._waiting = []
            self._commits.begin(self._running)

    def _on_done(self) -> None:
        if self._running is None:
            return
        self._finish(*self._commits.take())
        if self._waiting:
            self._want_commit()

    def _finish(self, commit: Commit, error: StorageError | None, duration_ns: int) -> None:
        """Take the result of a commit, and resolve the futures of those who wait for it."""
        self._enter(commit, error, duration_ns)
        waiting = commit.waiting
        if self._failed is not None:
            waiting, self._waiting = (*waiting, *(future for _, future in self._waiting)), []
        for future in waiting:
            if self._failed is None:
                future.set_result(None)
            else:
                future.set_error(StorageError(self._failed))

    def _enter(self, commit: Commit, error: StorageError | None, duration_ns: int) -> None:
        self._running = None
        self.counters.enter_commit(commit.flash_octets, duration_ns)
        if error is None:
            for path, new_path in commit.changes:
                # The name may have another content by now, or none.
                file = None if new_path is None else self._files.get(os.path.basename(new_path))
                if file is not None and new_path is not None and file.path == path:
                    file.path = new_path
        else:
            self.counters.failures += 1
            self._failed = str(error)
