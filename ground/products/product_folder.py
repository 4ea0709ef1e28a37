"""The folder of the products: files are put in whole, under a name of their own, and never over another file.

A file of the same name and content that is there already counts as that file. Octets that an incomplete file lacks are
not written: the file has its full length, but takes room on disk for the octets that came alone.
"""

# A file is written as the working file, whose name no file from space can have (names.py), and then gets its name by a
# hard link. Linking is refused if the name is taken, atomically and by the file system's own idea of equal names: so
# nothing is overwritten, however many write at once. A rename would replace the other file, and asking first whether it
# is there leaves a gap between question and act. A file system without hard links (FAT, some network ones) reserves the
# name by creating an empty file exclusively, and renames over that.
#
# A kill at any instant leaves the working file, which the next start replaces, and at worst that empty file.

from __future__ import annotations

import contextlib
import errno
import hashlib
from collections.abc import Sequence
from pathlib import Path

from flight.core.errors import OrbitnodeError, reason_of
from ground.products.names import candidates

WORKING = ".writing"
BLOCK_OCTETS = 4096  # counted for a file at least: a flood of empty files fills a disk as well
_LOOK_OCTETS = 1 << 16  # compared at a time
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)

Piece = tuple[int, bytes]  # octets with their place in the file


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
            self._write(((0, b""),), 0)
            self._working.unlink()
        except OSError as error:
            raise OrbitnodeError(f"products folder {path} cannot be written: {reason_of(error)}") from None

    def put(self, name: str, pieces: Sequence[Piece], octets: int) -> tuple[str, bool]:
        """Put in a file of `octets` with these pieces, whole or not at all, even if the process is killed.

        Return its name, which is `name` or one made of it, and whether it is new. Raises OrbitnodeError.
        """
        # Places and lengths are hashed too: the same octets at other places are another file.
        digest = hashlib.sha256(b"".join(b"%d %d " % (place, len(piece)) + piece for place, piece in pieces))
        try:
            self._write(pieces, octets)
            for candidate in candidates(name, digest.hexdigest()):
                if self._give_name(self.path / candidate):
                    return candidate, True
                if self._is_there(self.path / candidate):
                    return candidate, False
        except OSError as error:
            raise OrbitnodeError(f"{self.path / name} cannot be written: {reason_of(error)}") from None
        finally:
            with contextlib.suppress(OSError):
                self._working.unlink(missing_ok=True)
        raise OrbitnodeError(f"{self.path / name} cannot be written: every name for it is another file's")

    def _write(self, pieces: Sequence[Piece], octets: int) -> None:
        self._working.unlink(missing_ok=True)
        with self._working.open("xb") as file:
            for place, piece in pieces:
                file.seek(place)
                file.write(piece)
            file.flush()
            file.truncate(octets)

    def _give_name(self, path: Path) -> bool:
        """Give the working file this name; return False if a file has it already."""
        try:
            path.hardlink_to(self._working)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            try:
                path.touch(exist_ok=False)
            except FileExistsError:
                return False
            self._working.replace(path)
        return True

    def _is_there(self, path: Path) -> bool:
        """Return whether the file of this name has the working file's content. One that cannot be read has not."""
        try:
            if not path.is_file() or path.stat().st_size != self._working.stat().st_size:
                return False
            with path.open("rb") as there, self._working.open("rb") as here:
                while True:
                    octets = here.read(_LOOK_OCTETS)
                    if there.read(_LOOK_OCTETS) != octets:
                        return False
                    if not octets:
                        return True
        except OSError:
            return False
