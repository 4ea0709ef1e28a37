"""A file that a command writes: whole or not at all, so that a full disk costs nobody what was there before.

Edge code.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from flight.core.errors import OrbitnodeError, reason_of


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A stream whose octets become the content of `path` at the end of the block, if it ends well. The folder is made.

    A link is followed: who names it means what it names. What is not a file, such as /dev/stdout, is written to as it
    is. Raises OrbitnodeError, with the former content in place, if the disk does not take it.
    """
    target = Path(os.path.realpath(path))
    rough = target.with_name(f".{target.name}.{os.getpid()}~")
    try:
        if _is_device(path):
            with path.open("wb") as stream:
                yield stream
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise OrbitnodeError(f"{path} cannot be written: it is a folder; name a file")
        try:
            with rough.open("xb") as stream:
                yield stream
            if target.exists():
                rough.chmod(stat.S_IMODE(target.stat().st_mode))
            rough.replace(target)
        finally:
            with suppress(OSError):
                rough.unlink(missing_ok=True)
    except OSError as error:
        raise OrbitnodeError(f"{path} cannot be written: {reason_of(error)}") from None


def _is_device(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
