"""The folder of a storage: made if it is not there, locked for one process, cleared of what was never committed."""

# The lock is a flock(2), which the kernel releases with the process however that ends. It is on the folder itself,
# which takes no room: a node boots from a disk that is full or read-only, and from a folder whose LOCK is not a file.
# The file LOCK says who holds the folder, and carries the lock on file systems that cannot lock folders (NFS).
#
# Under a stored name there may be something that is not a file: a folder, a link, a FIFO, put there by a person or left
# by damage to the file system. Nothing is read or written through it, since a link may lead anywhere and a FIFO blocks.
# It is entered in `odd` and its content is unreadable; all other names work as ever. When the name is to be written or
# deleted, what stands there is set aside as NAME~1, for a person to look at.
#
# Temporary files are removed at the start: what was never renamed was never durable, and nobody was told that it was.

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from pathlib import Path

from flight.core.errors import StorageError
from flight.core.storage import INPUT_OUTPUT_ERROR, NO_SPACE, READ_ONLY, is_name
from flight.linux.disk.durable_file import sync_folder
from flight.linux.open_files import File

LOCK_NAME = "LOCK"  # upper case and "~": outside the names that may be stored
ASIDE_MAX = 100
_TEMPORARY = re.compile(r"~([0-9]{1,9})")
# A node does without LOCK if it cannot be made or written for one of these reasons: there is no room for it.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
# What flock(2) says of a folder on a file system that locks only what is open for writing.
_NO_FOLDER_LOCK = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


class StorageFolder:
    """`directory`, open and held by a lock for this process alone.

    `found` has the files in it by name, `odd` what stands under a storable name and is not a file, such as "a folder".
    `temporary` is the highest number of a temporary name that could not be removed. Raises StorageError, with path and
    reason, if the folder cannot be made, read or locked.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = os.path.abspath(directory)  # it stays the same if somebody changes the current folder
        self.odd: dict[str, str] = {}
        self.temporary = 0
        self.fileno = self._open()
        self._lock: int | None = None
        try:
            self._take_lock()
            self.found = self._scan()
        except StorageError:
            self.close()
            raise

    def path(self, name: str) -> str:
        """Return the path at which the content of `name` belongs."""
        return os.path.join(self.directory, name)

    def temporary_path(self, number: int) -> str:
        """Return a path outside the names that may be stored. What is there at the next start is removed."""
        return self.path(f"~{number}")

    def free_octets(self) -> int:
        """Return the room by statvfs(3), for users other than root. Raises StorageError."""
        try:
            found = os.fstatvfs(self.fileno)
        except OSError as error:
            raise self._fault(reason_of(error)) from None
        return found.f_bavail * found.f_frsize

    def close(self) -> None:
        """Give up the folder and its lock."""
        os.close(self.fileno)
        if self._lock is not None:
            os.close(self._lock)

    def set_aside(self, name: str) -> None:
        """Rename what is not a file away from `name`, as it is. Raises OSError."""
        for number in range(1, ASIDE_MAX + 1):
            aside = self.path(f"{name}~{number}")
            if not os.path.lexists(aside):
                os.rename(self.path(name), aside)
                del self.odd[name]
                return
        raise OSError(errno.EEXIST, f"{ASIDE_MAX} of its kind ({name}~1 ..) were set aside already, remove them")

    def _fault(self, reason: str) -> StorageError:
        return StorageError(f"storage folder {self.directory}: {reason}")

    def _open(self) -> int:
        try:
            if not os.path.isdir(self.directory):
                os.makedirs(self.directory, exist_ok=True)
                sync_folder(os.path.dirname(self.directory))
            return os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            occupied = isinstance(error, NotADirectoryError | FileExistsError)
            raise self._fault("is not a folder" if occupied else reason_of(error)) from None

    def _take_lock(self) -> None:
        """Lock the folder, and the file LOCK in it if it can be opened."""
        holds = self._lock_descriptor(self.fileno)
        try:
            self._lock = _open_lock(self.path(LOCK_NAME))
        except OSError as error:
            if holds and (error.errno in _NO_ROOM or error.errno in _NOT_A_FILE):
                return
            raise self._fault(f"{LOCK_NAME}: {reason_of(error)}") from None
        if not self._lock_descriptor(self._lock) and not holds:
            raise self._fault("cannot be locked on this file system; choose another folder")
        try:
            os.ftruncate(self._lock, 0)
            os.write(self._lock, b"%d\n" % os.getpid())
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise self._fault(f"{LOCK_NAME}: {reason_of(error)}") from None

    def _lock_descriptor(self, fileno: int) -> bool:
        """Lock a descriptor for this process; return False if its file system cannot. Raises StorageError."""
        try:
            fcntl.flock(fileno, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._fault(f"held by another process ({self._holder()}); end it, or choose another folder") from None
        except OSError as error:
            if error.errno in _NO_FOLDER_LOCK:
                return False
            raise self._fault(reason_of(error)) from None
        return True

    def _holder(self) -> str:
        """Return the id of the process that holds the folder, as LOCK says, or "unknown"."""
        try:
            fileno = os.open(self.path(LOCK_NAME), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return "unknown"
        try:
            return os.pread(fileno, 20, 0).decode("ascii", "replace").strip() or "unknown"
        except OSError:
            return "unknown"
        finally:
            os.close(fileno)

    def _scan(self) -> dict[str, File]:
        """Return the files by name. A replacement that was never committed is removed."""
        found: dict[str, File] = {}
        try:
            with os.scandir(self.directory) as entries:
                for entry in entries:
                    if (temporary := _TEMPORARY.fullmatch(entry.name)) is not None:
                        if not _remove(entry.path):
                            self.temporary = max(self.temporary, int(temporary[1]))
                    elif is_name(entry.name):
                        seen = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(seen.st_mode):
                            # Otherwise it would look like one that the medium does not give back, and be given up.
                            if not os.access(entry.path, os.R_OK):
                                raise self._fault(f"{entry.name} may not be read by this user")
                            found[entry.name] = File(entry.path, None, seen.st_size)
                        else:
                            self.odd[entry.name] = _KINDS.get(stat.S_IFMT(seen.st_mode), "a device")
        except OSError as error:
            raise self._fault(reason_of(error)) from None
        return found


def reason_of(error: OSError) -> str:
    """Say why the system refused, in words for an operator."""
    return _REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()


def _open_lock(path: str) -> int:
    """Open the file at `path` to lock it, made if it is not there. Raises OSError, also for what is not a file."""
    fileno = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    if not stat.S_ISREG(os.fstat(fileno).st_mode):
        os.close(fileno)
        raise OSError(errno.EINVAL, "is not a file, remove it")
    return fileno


def _remove(path: str) -> bool:
    """Delete a temporary file; return False if it stays, being on a read-only file system or not a file."""
    try:
        os.unlink(path)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EISDIR):
            raise
        return False
    return True


# What open(2) says of a LOCK that is a folder, a link, a socket, or what _open_lock finds not to be a file.
_NOT_A_FILE = (errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.EINVAL)
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}
_REASONS: dict[int, str] = {
    errno.ENOSPC: NO_SPACE,
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than is allowed",
    errno.EROFS: READ_ONLY,
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.ENOTDIR: "is not a folder",
    errno.EIO: INPUT_OUTPUT_ERROR,
}
