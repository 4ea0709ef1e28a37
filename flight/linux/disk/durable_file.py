"""A small file that is written whole or not at all, and outlives a loss of power once the call returns. Edge code.

    write_rough     the new content beside its place: a file of its own, synced
    replace_file    the same, and then its name in one step
    sync_folder     names that were given or taken away in a folder

All raise OSError, which the caller puts into words: it knows what the file is for.
"""

# Why so many steps (ADR 0044). A rename within a folder is atomic, so whoever opens the name finds the former content
# or the new one. It says nothing of the octets, which may still be in memory: hence they are synced before the rename,
# or a loss of power would leave the name on an empty file. The name itself is an octet of the folder, and is durable
# when that is synced.
#
# The rough file has a name that its caller gives. With a fixed one, what a killed writer left is overwritten by the
# next one; that needs a lock, which all callers with a fixed name hold for other reasons. It is always a new file: a
# link that somebody has put there is not followed, and the rights are the caller's from the first octet, whatever the
# umask takes away or a file before it had.
#
# An error leaves the former content in place and no rough file. Anything else that ends the writer, such as SIGKILL,
# leaves a rough file, which never counts as anything.

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

PRIVATE = 0o600


def write_rough(rough: Path, fill: Callable[[BinaryIO], object], mode: int = PRIVATE) -> None:
    """Make a new file `rough` of what `fill` writes; its octets are on the disk on return, its name may not be.

    A file of that name is deleted first. Raises FileExistsError if anything else stands there.
    """
    with suppress(FileNotFoundError):
        if stat.S_ISREG(rough.lstat().st_mode):
            rough.unlink()
    file = os.open(rough, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with open(file, "wb") as stream:
            os.fchmod(file, mode)
            fill(stream)
            stream.flush()
            os.fsync(file)
    except OSError:
        _remove(rough)
        raise


def replace_file(target: Path, octets: bytes, rough: Path, mode: int = PRIVATE) -> None:
    """Make `octets` the content of `target`, by way of `rough` in the same folder. All of it is durable on return."""
    write_rough(rough, lambda stream: stream.write(octets), mode)
    try:
        rough.replace(target)
    except OSError:
        _remove(rough)
        raise
    sync_folder(target.parent)


def sync_folder(folder: str | Path) -> None:
    """Make the names in a folder durable: those that files were given, and that others no longer have."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _remove(rough: Path) -> None:
    with suppress(OSError):  # what is to be reported is the error before
        rough.unlink()
