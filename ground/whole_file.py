"""A file that a command writes: whole or not at all, so that a full disk does not destroy what was there before.

Edge code.
"""

# The file is written under another name beside the target, then renamed over it. A rename within a folder is atomic, so
# whoever opens the file sees the old content or the new one. The other name has the process id in it and is created
# exclusively, so that two commands at a time do not write into one file. There is no fsync: this protects from a
# command that fails, not from a power cut, after which the command can be run again.

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
    """Give a stream whose octets become the content of `path` at the end of the block, if that raises nothing.

    The folder is created. A symbolic link is followed. What is not a file, such as /dev/stdout, is written to directly.
    Raises OrbitnodeError, with the former content in place, if the file cannot be written.
    """
    # Resolved, since a rename over a link would replace the link and leave the file that it names as it was.
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
            if target.exists():  # its rights stay: overwriting in place would have kept them too
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
