"""The folder of the products: files are put in whole, under a name of their own, and never over another file.

A file of the same name and content that is there already counts as that file. Octets that an incomplete file lacks are
not written: the file has its full length, but takes room on disk for the octets that came alone.
"""

# A file is written elsewhere first: one that came down as a working file of its transfer (ground/files), a small one of
# our own as `WORKING`, whose name no file from space can have (names.py). It then gets its name by a hard link. Linking
# is refused if the name is taken, atomically and by the file system's own idea of equal names: so nothing is
# overwritten, however many write at once. A rename would replace the other file, and asking first whether it is there
# leaves a gap between question and act. A file system without hard links (FAT, some network ones) reserves the name by
# creating an empty file exclusively, and renames over that.
#
# A kill at any instant leaves the working file, which the next start replaces or goes on with, and at worst that empty
# file. After a kill between the link and whatever was to follow, the same file is put in again and is recognised.
#
# To compare two files of gigabytes takes longer than the ground may be away from its ports. So `adopt` is a generator:
# it yields after each `LOOK_OCTETS`, and its caller goes on with it when there is time.

from __future__ import annotations

import contextlib
import errno
import hashlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import BinaryIO

from flight.core.errors import OrbitnodeError, reason_of
from ground.products.names import candidates

WORKING = ".writing"
BLOCK_OCTETS = 4096  # counted for a file at least: a flood of empty files fills a disk as well
LOOK_OCTETS = 1 << 20  # compared at a time
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)

Stretch = tuple[int, int]  # octets [start, end) of a file


def octets_taken(octets: int) -> int:
    """Return what a file of that length counts against the bound: whole blocks, and at least one."""
    return max(BLOCK_OCTETS, -(-octets // BLOCK_OCTETS) * BLOCK_OCTETS)


class ProductFolder:
    """The folder `path`, created if it is not there. Raises OrbitnodeError if it cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._working = path / WORKING
        try:
            path.mkdir(parents=True, exist_ok=True)
            # Replaces what a killed process left, and finds a folder that cannot be written before a product comes.
            self._write(b"")
            self._working.unlink()
        except OSError as error:
            raise OrbitnodeError(f"products folder {path} cannot be written: {reason_of(error)}") from None

    def put(self, name: str, content: bytes) -> tuple[str, bool]:
        """Put in a small file of our own, whole or not at all, even if the process is killed.

        Return its name, which is `name` or one made of it, and whether it is new. Raises OrbitnodeError.
        """
        try:
            self._write(content)
            adopting = self.adopt(self._working, name, hashlib.sha256(content).hexdigest(), ((0, len(content)),))
            while True:
                try:
                    next(adopting)
                except StopIteration as end:
                    stored: tuple[str, bool] = end.value
                    return stored
        except OSError as error:
            raise OrbitnodeError(f"{self.path / name} cannot be written: {reason_of(error)}") from None
        finally:
            with contextlib.suppress(OSError):
                self._working.unlink(missing_ok=True)

    def adopt(
        self, working: Path, name: str, digest: str, held: Sequence[Stretch]
    ) -> Generator[None, None, tuple[str, bool]]:
        """Give the file `working`, of the same file system, a name here; yield between slices of the work.

        digest: of its content, hexadecimal. held: the stretches of it that hold anything, which alone are compared.
        Returns as `put` does. `working` may be gone then, else it is the caller's to remove. Raises OrbitnodeError.
        """
        try:
            for candidate in candidates(name, digest):
                if self._give_name(working, self.path / candidate):
                    return candidate, True
                if (yield from _are_alike(self.path / candidate, working, held)):
                    return candidate, False
        except OSError as error:
            raise OrbitnodeError(f"{self.path / name} cannot be written: {reason_of(error)}") from None
        raise OrbitnodeError(f"{self.path / name} cannot be written: every name for it is another file's")

    def _write(self, content: bytes) -> None:
        self._working.unlink(missing_ok=True)
        with self._working.open("xb") as file:
            file.write(content)

    def _give_name(self, working: Path, path: Path) -> bool:
        """Give the working file this name; return False if a file has it already."""
        try:
            path.hardlink_to(working)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            try:
                path.touch(exist_ok=False)
            except FileExistsError:
                return False
            working.replace(path)
        return True


def _are_alike(path: Path, working: Path, held: Sequence[Stretch]) -> Generator[None, None, bool]:
    """Return whether the file at `path` has the working file's content. One that cannot be read has not."""
    try:
        if not path.is_file() or path.stat().st_size != working.stat().st_size:
            return False
        with path.open("rb") as there, working.open("rb") as here:
            for start, end in held:
                for at in range(start, end, LOOK_OCTETS):
                    octets = min(LOOK_OCTETS, end - at)
                    if _read(there, at, octets) != _read(here, at, octets):
                        return False
                    if octets == LOOK_OCTETS:
                        yield
    except OSError:
        return False
    return True


def _read(file: BinaryIO, at: int, octets: int) -> bytes:
    file.seek(at)
    return file.read(octets)
