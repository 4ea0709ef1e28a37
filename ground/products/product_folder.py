"""The folder of the products: files are put in whole, under a name of their own, over no other.

A file is written as the working file, which no name from space can be (names.py), and given its name by a hard link:
that is refused if the name is taken, so nothing is written over another file, however many write at once and however
the file system compares names. A file system without hard links reserves the name by an empty file of its own first.
A file that stands there already with just this content is that file.

What a file lacks is not written: it has its length, and takes room on disk for the octets that came alone.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
from collections.abc import Sequence
from pathlib import Path

from flight.core.errors import OrbitnodeError, reason_of
from ground.products.names import candidates

WORKING = ".writing"
BLOCK_OCTETS = 4096  # what a file takes at least: names are no less room than octets
_LOOK_OCTETS = 1 << 16
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)

Piece = tuple[int, bytes]  # octets with their place in the file


def octets_taken(octets: int) -> int:
    """What a file of that length counts: whole blocks, and one at least."""
    return max(BLOCK_OCTETS, -(-octets // BLOCK_OCTETS) * BLOCK_OCTETS)


class ProductFolder:
    """`path` is made if it is not there. Raises OrbitnodeError if it cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._working = path / WORKING
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._write(((0, b""),), 0)  # in place of what a killed process left there
            self._working.unlink()
        except OSError as error:
            raise OrbitnodeError(f"products folder {path} cannot be written: {reason_of(error)}") from None

    def put(self, name: str, pieces: Sequence[Piece], octets: int) -> tuple[str, bool]:
        """Put a file of `octets` with these pieces in, whole or not at all, also when the process is killed: the name
        that it has, which is `name` or that with a number, and whether it was not there before. Raises
        OrbitnodeError.
        """
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
        """Give the working file this name; False if a file has it."""
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
        """Whether the file of this name has the content of the working file. One that cannot be read is another."""
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
