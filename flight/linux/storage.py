"""Storage on a Linux file system: one file a name, changes committed in groups by a helper thread. Edge code.

Appends go straight into the page cache. A replaced content is written to a temporary file, read from there at
once, and takes its name only in a commit. A commit is: fdatasync of every file written since the last one, the
renames and deletions in the order they were asked for, fsync of the folder. So a rename never becomes durable
before data that was written ahead of it.

States of a commit: none wanted -> wanted (`sync` was called; starts in the loop's next round, so that all syncs
of this round share it) -> running in the helper thread (further syncs wait for the next) -> done, or failed.

An append or replacement that finds the disk full is taken back whole, and works again once there is room: a file
system sets the room for a write aside when write(2) accepts it. A failed commit is final, also one for want of
room (thin volumes, network and quota file systems notice it that late): after any failed write-back the kernel
marks the pages clean or drops them and tells it once (fsync(2), errors), so a second fdatasync would report
success for octets that are nowhere. Every later write and sync fails with the same reason until the node starts
again on what is really there.

A disk that hangs holds the helper thread, not the loop: reads, names and changes go on in memory, changes up to
CHANGES_MAX. The kernel itself makes a writer wait once its unwritten pages pass vm.dirty_ratio.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from flight.core.errors import StorageError
from flight.core.future import Future
from flight.core.storage import (
    INPUT_OUTPUT_ERROR,
    NO_SPACE,
    READ_ONLY,
    StorageCounters,
    StorageFull,
    checked_name,
    flash_octets,
    is_name,
)
from hal.base import Host

LOCK_NAME = "LOCK"  # upper case and "~": outside the names that may be stored
TEMPORARY = re.compile(r"~[0-9]+")
CHANGES_MAX = 256  # each holds a descriptor, of which a process has 1,024 by default
OPEN_FILES_MAX = 64
READ_OCTETS = 1 << 20  # of one system call


class _File:
    """A visible name: where its content is now, how long it is, and its descriptor while that is open."""

    __slots__ = ("fileno", "octets", "path")

    def __init__(self, path: str, fileno: int | None, octets: int) -> None:
        self.path, self.fileno, self.octets = path, fileno, octets


@dataclass(frozen=True, slots=True)
class _Commit:
    """What one commit does, in this order."""

    dirty: tuple[int, ...]
    changes: tuple[tuple[str, str | None], ...]  # (path, new path), None deletes
    folder: bool  # names were added, renamed or deleted
    retired: tuple[int, ...]  # descriptors to close afterwards
    waiting: tuple[Future[None], ...]
    flash_octets: int
    leaving_octets: int  # held by the file system until this is done


class LinuxStorage:
    """The Storage of one node in the folder `directory`, held by a lock for this process alone.

    Raises StorageError, with path and reason, where the folder cannot be made, written or locked.
    """

    def __init__(self, directory: str | Path, host: Host) -> None:
        self.directory = os.path.abspath(directory)  # whoever changes the current folder does not take it along
        self.counters = StorageCounters()
        self._host = host
        self._failed: str | None = None
        self._files: dict[str, _File] = {}
        self._opened: dict[int, _File] = {}  # files of `_files` by descriptor, the least lately opened first
        self._temporary = 0
        self._dirty: dict[int, int] = {}  # descriptor: the first octet that no commit has covered
        self._changes: list[tuple[str, str | None]] = []
        self._folder_changed = False
        self._retired: list[int] = []
        self._leaving_octets = 0
        self._waiting: list[tuple[str, Future[None]]] = []
        self._running: _Commit | None = None
        self._wanted = False
        self._closed = False
        self._open_folder()
        self._work: SimpleQueue[_Commit | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[_Commit, StorageError | None, int]] = SimpleQueue()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        host.watch(self._wake, self._on_wake)
        self._helper = threading.Thread(target=self._help, name="storage-commit", daemon=True)
        self._helper.start()

    # opening

    def _open_folder(self) -> None:
        try:
            if not os.path.isdir(self.directory):
                os.makedirs(self.directory, exist_ok=True)
                _sync_folder(os.path.dirname(os.path.abspath(self.directory)))
            self._folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            reason = "is not a folder" if isinstance(error, NotADirectoryError | FileExistsError) else _reason(error)
            raise StorageError(f"storage folder {self.directory}: {reason}") from None
        try:
            self._lock = self._take_lock()
        except StorageError:
            os.close(self._folder)
            raise
        try:
            with os.scandir(self.directory) as entries:
                for entry in entries:
                    if TEMPORARY.fullmatch(entry.name):
                        _remove(entry.path)  # a replace that was never committed
                    elif is_name(entry.name):
                        if not entry.is_file(follow_symlinks=False):
                            raise StorageError(f"storage folder {self.directory}: {entry.name} is no file, remove it")
                        self._files[entry.name] = _File(entry.path, None, entry.stat().st_size)
        except (OSError, StorageError) as error:
            os.close(self._folder)
            os.close(self._lock)
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"storage folder {self.directory}: {_reason(error)}") from None

    def _take_lock(self) -> int:
        path = self._path(LOCK_NAME)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            if error.errno == errno.EROFS:
                return os.dup(self._folder)  # nothing to hold: nobody can write here, what there is can be read
            raise StorageError(f"storage folder {self.directory}: {_reason(error)}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.write(lock, b"%d\n" % os.getpid())
        except OSError as error:
            if isinstance(error, BlockingIOError):
                holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
                reason = f"held by another process ({holder or 'unknown'}): end it, or choose another folder"
            else:
                reason = f"{LOCK_NAME}: {_reason(error)}"
            os.close(lock)
            raise StorageError(f"storage folder {self.directory}: {reason}") from None
        return lock

    # the Storage Protocol

    def names(self) -> list[str]:
        return sorted(self._files)

    def size(self, name: str) -> int | None:
        file = self._files.get(checked_name(name))
        return None if file is None else file.octets

    def read(self, name: str, at: int = 0, octets: int | None = None) -> bytes | None:
        assert at >= 0 and (octets is None or octets >= 0), (at, octets)
        file = self._files.get(checked_name(name))
        if file is None:
            return None
        end = file.octets if octets is None else min(at + octets, file.octets)
        try:
            if file.fileno is None and self._is_read_only():
                fileno = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)  # one to write with cannot be had
                try:
                    return _read_part(fileno, at, end)
                finally:
                    os.close(fileno)
            return _read_part(self._descriptor(file), at, end)
        except OSError as error:
            raise StorageError(f"cannot read {self._path(name)}: {_reason(error)}") from None

    def append(self, name: str, octets: bytes) -> None:
        known = file = self._files.get(name)
        if file is None or file.fileno is None or self._failed is not None:
            file = self._open_to_append(name)
        fileno, before = file.fileno, file.octets
        assert fileno is not None
        try:
            written = os.pwrite(fileno, octets, before)
            if written != len(octets):
                self._write_rest(file, octets, written)
        except OSError as error:
            if known is None:
                self._forget(name, file)
            raise self._refusal("append to", name, error) from None
        file.octets = before + len(octets)
        if fileno not in self._dirty:
            self._dirty[fileno] = before
        self.counters.octets += len(octets)

    def replace(self, name: str, octets: bytes) -> None:
        self._refuse_if_failed(name)
        try:
            file = self._open_temporary(checked_name(name))
            assert file.fileno is not None
            try:
                self._write_rest(file, octets, 0)
            except OSError:
                os.close(file.fileno)
                os.unlink(file.path)
                raise
        except OSError as error:
            raise self._refusal("replace", name, error) from None
        file.octets = len(octets)
        self._enter_temporary(name, file)
        self.counters.octets += len(octets)

    def delete(self, name: str) -> None:
        file = self._files.get(checked_name(name))
        if file is None:
            return
        self._refuse_if_failed(name)
        self._forget(name, file)

    def sync(self, prefix: str = "") -> Future[None]:
        """A future that fails with StorageError where the commit did.

        Where names have come, changed or gone the commit takes everything, for the sake of the order.
        """
        future: Future[None] = Future()
        self.counters.syncs += 1
        if self._failed is not None:
            future.set_error(StorageError(self._failed))
        elif not (self._running or self._renaming or self._dirty_under((prefix,))):
            future.set_result(None)
        else:
            self._waiting.append((prefix, future))
            self._want_commit()
        return future

    def free_octets(self) -> int:
        """By statvfs(3), for users other than root. Raises StorageError."""
        try:
            found = os.fstatvfs(self._folder)
        except OSError as error:
            raise StorageError(f"storage folder {self.directory}: {_reason(error)}") from None
        running = self._running.leaving_octets if self._running is not None else 0
        return found.f_bavail * found.f_frsize + self._leaving_octets + running

    def close(self) -> None:
        """Commit what is left, give back the folder. Raises StorageError where that fails. Loop's thread only.

        Nobody hears of it: futures that are not done stay so, as those who wait for them are gone.
        """
        if self._closed:
            return
        self._closed = True
        if self._running is not None:
            self._enter(*self._done.get())
        self._waiting = []
        last = self._take_commit()
        if self._failed is not None:  # what was asked for after the failure must not overwrite what is sound
            last = _Commit((), (), False, last.retired, (), 0, 0)
        self._work.put(last)
        self._enter(*self._done.get())
        self._work.put(None)
        self._helper.join()
        self._host.unwatch(self._wake)
        for file in self._opened.values():
            file.fileno = None  # so that use after this is noticed
        for fileno in (*self._opened, self._wake, self._folder, self._lock):
            os.close(fileno)
        if self._failed is not None:
            raise StorageError(self._failed)

    # changes that wait for a commit

    @property
    def _renaming(self) -> bool:
        return bool(self._changes or self._folder_changed)

    def _dirty_under(self, prefixes: tuple[str, ...]) -> dict[int, int]:
        """Descriptors of files that begin so and are not committed, each with its first such octet."""
        names = {fileno: os.path.basename(self._opened[fileno].path) for fileno in self._dirty}
        return {fileno: start for fileno, start in self._dirty.items() if names[fileno].startswith(prefixes)}

    def _is_read_only(self) -> bool:
        return bool(os.fstatvfs(self._folder).f_flag & os.ST_RDONLY)

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def _refuse_if_failed(self, name: str) -> None:
        assert not self._closed, "storage used after close"
        if self._failed is not None:
            self.counters.refused += 1
            raise StorageError(self._failed)
        if len(self._changes) >= CHANGES_MAX:
            # Only a caller that never syncs, or a disk that hangs, comes here.
            self._want_commit()
            self.counters.refused += 1
            raise StorageError(f"cannot change {self._path(name)}: {CHANGES_MAX} changes wait for the disk")

    def _refusal(self, act: str, name: str, error: OSError) -> StorageError:
        """What to raise for a write that changed nothing."""
        self.counters.refused += 1
        kind = StorageFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
        return kind(f"cannot {act} {self._path(name)}: {_reason(error)}")

    def _open_to_append(self, name: str) -> _File:
        """The file of `name` with an open descriptor, made where there is none."""
        self._refuse_if_failed(name)
        try:
            file = self._files.get(checked_name(name)) or self._create(name)
            self._descriptor(file)
        except OSError as error:
            raise self._refusal("append to", name, error) from None
        return file

    def _write_rest(self, file: _File, octets: bytes, written: int) -> None:
        """Write what is left of `octets` after the first `written`; where that fails, take all of it back."""
        assert file.fileno is not None
        view = memoryview(octets)
        try:
            while written < len(octets):
                written += os.pwrite(file.fileno, view[written:], file.octets + written)
        except OSError:
            if written:
                os.ftruncate(file.fileno, file.octets)
            raise

    def _descriptor(self, file: _File) -> int:
        """The open descriptor of `file`; the least lately opened clean one is closed where there are too many."""
        if file.fileno is None:
            file.fileno = os.open(file.path, os.O_RDWR | os.O_CLOEXEC)
            self._enter_open(file, file.fileno)
        return file.fileno

    def _enter_open(self, file: _File, fileno: int) -> None:
        self._opened[fileno] = file
        if self._failed is not None:
            return  # a content may be under either of its names now: keep what is open
        running = self._running.dirty if self._running is not None else ()
        clean = [one for one in self._opened if one != fileno and one not in self._dirty and one not in running]
        for one in clean[: max(0, len(self._opened) - OPEN_FILES_MAX)]:
            os.close(one)
            self._opened.pop(one).fileno = None

    def _create(self, name: str) -> _File:
        """An empty file for an unknown name; under a temporary one while a deletion of that name waits."""
        path = self._path(name)
        waiting = self._changes if self._running is None else [*self._running.changes, *self._changes]
        if any(path in change for change in waiting):
            file = self._open_temporary(name)
            self._enter_temporary(name, file)
            return file
        fileno = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._folder_changed = True
        file = self._files[name] = _File(path, fileno, 0)
        self._enter_open(file, fileno)
        return file

    def _open_temporary(self, name: str) -> _File:
        self._temporary += 1
        path = self._path(f"~{self._temporary}")
        return _File(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), 0)

    def _enter_temporary(self, name: str, file: _File) -> None:
        """Make `file` the content of `name`, at once for readers and in the next commit for the disk."""
        assert file.fileno is not None
        earlier = self._files.get(name)
        if earlier is not None:
            self._retire(earlier)
        self._files[name] = file
        self._dirty[file.fileno] = 0
        self._enter_open(file, file.fileno)
        self._change(file.path, self._path(name))

    def _forget(self, name: str, file: _File) -> None:
        del self._files[name]
        self._retire(file)
        self._change(self._path(name), None)

    def _retire(self, file: _File) -> None:
        """Close the descriptor of a content that nobody can reach any more, once no commit uses it."""
        self._leaving_octets += file.octets
        if file.fileno is not None:
            self._dirty.pop(file.fileno, None)
            del self._opened[file.fileno]
            self._retired.append(file.fileno)
            file.fileno = None

    def _change(self, path: str, new_path: str | None) -> None:
        """Enter a rename or deletion. A replaced content that was itself never committed is dropped."""
        target = new_path or path
        for earlier, earlier_target in tuple(self._changes):
            if earlier_target == target:
                with contextlib.suppress(OSError):  # one that stays is removed at the next start
                    os.unlink(earlier)
                self._changes.remove((earlier, earlier_target))
        if new_path is None and (path, None) in self._changes:
            self._changes.remove((path, None))
        self._changes.append((path, new_path))

    # commits

    def _want_commit(self) -> None:
        if not self._wanted and self._running is None:
            self._wanted = True
            self._host.call_at(self._host.now_ns(), self._start_commit)

    def _start_commit(self) -> None:
        self._wanted = False
        if self._running is None and not self._closed and self._failed is None:
            self._running = self._take_commit()
            self._work.put(self._running)

    def _take_commit(self) -> _Commit:
        """What those who wait have asked for; everything where names have changed, or nobody waits."""
        folder = self._renaming
        scope = ("",) if folder or not self._waiting else tuple({prefix for prefix, _ in self._waiting})
        dirty = self._dirty_under(scope)
        extents = ((start, self._opened[fileno].octets) for fileno, start in dirty.items())
        made = _Commit(
            tuple(dirty), tuple(self._changes), folder, tuple(self._retired), tuple(one for _, one in self._waiting),
            flash_octets(extents, len(self._changes), folder), self._leaving_octets,
        )  # fmt: skip
        # From here on a file whose rename is on its way is reachable under both names; the open descriptor is used.
        self._dirty = {fileno: start for fileno, start in self._dirty.items() if fileno not in dirty}
        self._changes, self._retired, self._waiting = [], [], []
        self._folder_changed, self._leaving_octets = False, 0
        return made

    def _on_wake(self) -> None:
        os.eventfd_read(self._wake)
        if self._running is None:
            return
        self._finish(*self._done.get())
        if self._waiting:
            self._want_commit()

    def _finish(self, commit: _Commit, error: StorageError | None, duration_ns: int) -> None:
        """Take the result of a commit and tell those who wait for it."""
        self._enter(commit, error, duration_ns)
        waiting = commit.waiting
        if self._failed is not None:
            waiting, self._waiting = (*waiting, *(one for _, one in self._waiting)), []
        for future in waiting:
            if self._failed is None:
                future.set_result(None)
            else:
                future.set_error(StorageError(self._failed))

    def _enter(self, commit: _Commit, error: StorageError | None, duration_ns: int) -> None:
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

    # the helper thread: knows its commit and the folder, nothing else

    def _help(self) -> None:
        while (commit := self._work.get()) is not None:
            start_ns = self._host.now_ns()
            error = self._perform(commit)
            for fileno in commit.retired:
                with contextlib.suppress(OSError):  # its content is out of reach already: nothing is lost with it
                    os.close(fileno)
            self._done.put((commit, error, self._host.now_ns() - start_ns))
            os.eventfd_write(self._wake, 1)

    def _perform(self, commit: _Commit) -> StorageError | None:
        try:
            for fileno in commit.dirty:
                os.fdatasync(fileno)
            for path, new_path in commit.changes:
                _apply_change(path, new_path)
            if commit.folder:
                os.fsync(self._folder)
        except OSError as error:
            return StorageError(f"storage folder {self.directory} failed, restart the node: {_reason(error)}")
        return None


def _apply_change(path: str, new_path: str | None) -> None:
    if new_path is not None:
        os.rename(path, new_path)
        return
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # the name was made and deleted between two commits


def _read_part(fileno: int, at: int, end: int) -> bytes:
    parts: list[bytes] = []
    while at < end and (part := os.pread(fileno, min(end - at, READ_OCTETS), at)):
        parts.append(part)
        at += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _remove(path: str) -> None:
    """Delete a temporary file; on a read-only file system it stays."""
    try:
        os.unlink(path)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise


def _sync_folder(path: str) -> None:
    fileno = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fileno)
    finally:
        os.close(fileno)


def _reason(error: OSError) -> str:
    return _REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()


_REASONS: dict[int, str] = {
    errno.ENOSPC: NO_SPACE,
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than is allowed",
    errno.EROFS: READ_ONLY,
    errno.EACCES: "no permission to write",
    errno.EPERM: "no permission to write",
    errno.ENOTDIR: "is not a folder",
    errno.EIO: INPUT_OUTPUT_ERROR,
}
