"""The folder of a storage: made if it is not there, locked for one process, cleared of what was never committed.

The lock is a flock(2) on a file of the folder, which goes with the process however that ends; its content tells who
holds it. On a file system that is read-only nobody can write, so there is nothing to hold, and what is there can be
read.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from pathlib import Path

from flight.core.errors import StorageError
from flight.core.storage import INPUT_OUTPUT_ERROR, NO_SPACE, READ_ONLY, is_name
from flight.linux.open_files import File

LOCK_NAME = "LOCK"  # upper case and "~": outside the names that may be stored
_TEMPORARY = re.compile(r"~[0-9]+")


class StorageFolder:
    """`directory`, open and held by a lock for this process alone.

    `found` has the files in it by name. Raises StorageError, with path and reason, if the folder cannot be made, read
    or locked, or holds under a storage's name what is not a file.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = os.path.abspath(directory)  # whoever changes the current folder does not take it along
        self.fileno = self._open()
        try:
            self._lock = self._take_lock()
        except StorageError:
            os.close(self.fileno)
            raise
        try:
            self.found = self._scan()
        except StorageError:
            self.close()
            raise

    def path(self, name: str) -> str:
        """Where the content of `name` belongs."""
        return os.path.join(self.directory, name)

    def temporary_path(self, number: int) -> str:
        """A path outside the names that may be stored; what is there at the next start is removed."""
        return self.path(f"~{number}")

    @property
    def is_read_only(self) -> bool:
        """Whether the file system is mounted read-only."""
        return bool(os.fstatvfs(self.fileno).f_flag & os.ST_RDONLY)

    def free_octets(self) -> int:
        """Room by statvfs(3), for users other than root. Raises StorageError."""
        try:
            found = os.fstatvfs(self.fileno)
        except OSError as error:
            raise self._fault(reason_of(error)) from None
        return found.f_bavail * found.f_frsize

    def close(self) -> None:
        """Give up the folder and its lock."""
        os.close(self.fileno)
        os.close(self._lock)

    def _fault(self, reason: str) -> StorageError:
        return StorageError(f"storage folder {self.directory}: {reason}")

    def _open(self) -> int:
        try:
            if not os.path.isdir(self.directory):
                os.makedirs(self.directory, exist_ok=True)
                _sync_folder(os.path.dirname(self.directory))
            return os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            occupied = isinstance(error, NotADirectoryError | FileExistsError)
            raise self._fault("is not a folder" if occupied else reason_of(error)) from None

    def _take_lock(self) -> int:
        path = self.path(LOCK_NAME)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            if error.errno == errno.EROFS:
                return os.dup(self.fileno)
            raise self._fault(reason_of(error)) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.write(lock, b"%d\n" % os.getpid())
        except OSError as error:
            if isinstance(error, BlockingIOError):
                holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
                reason = f"held by another process ({holder or 'unknown'}): end it, or choose another folder"
            else:
                reason = f"{LOCK_NAME}: {reason_of(error)}"
            os.close(lock)
            raise self._fault(reason) from None
        return lock

    def _scan(self) -> dict[str, File]:
        """The files by name. A replacement that was never committed is removed."""
        found: dict[str, File] = {}
        try:
            with os.scandir(self.directory) as entries:
                for entry in entries:
                    if _TEMPORARY.fullmatch(entry.name):
                        _remove(entry.path)
                    elif is_name(entry.name):
                        if not entry.is_file(follow_symlinks=False):
                            raise self._fault(f"{entry.name} is no file, remove it")
                        found[entry.name] = File(entry.path, None, entry.stat().st_size)
        except OSError as error:
            raise self._fault(reason_of(error)) from None
        return found


def reason_of(error: OSError) -> str:
    """Why the system refused, in words for an operator."""
    return _REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()


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
