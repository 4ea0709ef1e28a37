"""The files of a storage folder and their descriptors, of which a process has 1,024 by default."""

# A file stays open from its first use on, because opening it again costs more than the write. Beyond OPEN_FILES_MAX
# those that were opened longest ago are closed. A file with octets that no commit has covered stays open, since the
# commit makes them durable through that very descriptor: an error of write-back is reported once, and to a descriptor
# that was opened later perhaps not at all (fsync(2)).

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice

OPEN_FILES_MAX = 64
READ_OCTETS = 1 << 20  # per system call


class File:
    """A visible name: where its content is now, how long it is, and its descriptor while that is open."""

    __slots__ = ("fileno", "octets", "path")

    def __init__(self, path: str, fileno: int | None, octets: int) -> None:
        self.path, self.fileno, self.octets = path, fileno, octets

    def write_at(self, at: int, octets: bytes | memoryview) -> None:
        """Write `octets` at octet `at`. If that fails, the file is not longer than before; raises OSError."""
        assert self.fileno is not None
        written = os.pwrite(self.fileno, octets, at)
        if written == len(octets):
            return
        view = memoryview(octets)
        try:
            while written < len(octets):
                written += os.pwrite(self.fileno, view[written:], at + written)
        except OSError:
            if at + written > self.octets:
                os.ftruncate(self.fileno, self.octets)
            raise

    def write_rest(self, octets: bytes, written: int) -> None:
        """Write at the end what remains of `octets` after the first `written`.

        If that fails, takes all of it back and raises OSError.
        """
        assert self.fileno is not None
        view = memoryview(octets)
        try:
            while written < len(octets):
                written += os.pwrite(self.fileno, view[written:], self.octets + written)
        except OSError:
            if written:
                os.ftruncate(self.fileno, self.octets)
            raise


def create_file(path: str) -> File:
    """Make an empty file, and open it. Raises OSError, also if `path` exists."""
    return File(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), 0)


def read_part(fileno: int, at: int, end: int) -> bytes:
    """Read octets `at` up to `end`; fewer if the file ends before. Raises OSError."""
    parts: list[bytes] = []
    while at < end and (part := os.pread(fileno, min(end - at, READ_OCTETS), at)):
        parts.append(part)
        at += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class OpenFiles:
    """Open files by descriptor, the one that was opened longest ago first. `in_use` says which must stay open."""

    def __init__(self, in_use: Callable[[File], bool]) -> None:
        self._in_use = in_use
        self._files: dict[int, File] = {}

    def descriptor(self, file: File) -> int:
        """Return the descriptor of `file`, opened if need be. Raises OSError."""
        if file.fileno is None:
            file.fileno = os.open(file.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            self.add(file)
        return file.fileno

    def add(self, file: File) -> None:
        """Take in a file that was just opened; close others if there are too many."""
        assert file.fileno is not None
        files = self._files
        files[file.fileno] = file
        excess = len(files) - OPEN_FILES_MAX
        if excess > 0:
            clean = (fileno for fileno, other in files.items() if other is not file and not self._in_use(other))
            for fileno in list(islice(clean, excess)):
                os.close(fileno)
                files.pop(fileno).fileno = None

    def remove(self, file: File) -> None:
        """Hand the descriptor of `file` over to the caller."""
        if file.fileno is not None:
            del self._files[file.fileno]

    def close(self) -> None:
        """Close all files. They have no descriptor then, so that a use after this is noticed."""
        for fileno, file in self._files.items():
            file.fileno = None
            os.close(fileno)
        self._files = {}
