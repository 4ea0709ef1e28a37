"""A folder in which anything may stand: its plain files by their paths, read, written and removed through no link.

Edge code.
"""

# Each part of a path is opened from the folder before it, and none through a symbolic link. So nothing outside of the
# folder is touched, whatever stands in it, and whoever changes it meanwhile. Only the folder itself may be reached by a
# link: whoever named it has chosen that.
#
# Nothing but a plain file is ever opened. A FIFO would hold the command for ever, and a device may act.

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from flight.core.errors import OrbitnodeError, reason_of

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class PlainFolder:
    """The folder at `path`. Paths within it are relative, with "/" between their parts. Methods raise OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fault(self, path: str) -> str:
        """Return what stands in the place of a plain file, or of a folder on the way to it; empty if nothing does."""
        parts = PurePosixPath(path).parts
        for count in range(1, len(parts) + 1):
            part = "/".join(parts[:count])
            try:
                mode = os.lstat(self.path / part).st_mode
            except FileNotFoundError:
                return ""
            if stat.S_ISLNK(mode):
                return f"{part} is a symbolic link, which is not followed"
            if count < len(parts) and not stat.S_ISDIR(mode):
                return f"{part} is not a folder"
            if count == len(parts) and not stat.S_ISREG(mode):
                return f"{part} is not a plain file"
        return ""

    def size_octets(self, path: str) -> int | None:
        """Return the size of a file without opening it, None if it is absent."""
        try:
            return os.lstat(self.path / path).st_size
        except FileNotFoundError:
            return None

    def read(self, path: str, octets_max: int) -> bytes:
        """Return the first octets of a file."""
        with self._parent(path) as parent, open(os.open(Path(path).name, _READ, dir_fd=parent), "rb") as stream:
            return stream.read(octets_max)

    def sha256(self, path: str) -> str:
        """Return the digest of a file in hexadecimal."""
        with self._parent(path) as parent, open(os.open(Path(path).name, _READ, dir_fd=parent), "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def write(self, path: str, content: bytes) -> None:
        """Write a file whole or not at all, and the folders on the way to it. Raises OrbitnodeError."""
        name = Path(path).name
        rough = f".{name}.{os.getpid()}~"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self._parent(path, create=True) as parent:
                try:
                    with open(os.open(rough, _WRITE, 0o666, dir_fd=parent), "wb") as stream:
                        stream.write(content)
                        with suppress(FileNotFoundError):  # the rights of the file that it replaces stay
                            before = os.stat(name, dir_fd=parent, follow_symlinks=False)
                            os.fchmod(stream.fileno(), stat.S_IMODE(before.st_mode))
                    os.replace(rough, name, src_dir_fd=parent, dst_dir_fd=parent)
                finally:
                    with suppress(OSError):
                        os.unlink(rough, dir_fd=parent)
        except OSError as error:
            raise OrbitnodeError(f"{self.path / path} cannot be written: {reason_of(error)}") from None

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError), self._parent(path) as parent:
            os.unlink(Path(path).name, dir_fd=parent)

    def files(self) -> Iterator[str]:
        """Yield the paths of all that is not a folder, in no order. No link is followed."""
        folders = [""]
        while folders:
            folder = folders.pop()
            with os.scandir(self.path / folder) as entries:
                for entry in entries:
                    path = f"{folder}{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(f"{path}/")
                    else:
                        yield path

    @contextmanager
    def _parent(self, path: str, *, create: bool = False) -> Iterator[int]:
        """Give a descriptor of the folder in which a file stands."""
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in PurePosixPath(path).parts[:-1]:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=folder)
                inner = os.open(part, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)
