"""The octets of a recording in stretches of fixed size: files one after the other, or a pipe. Edge code.

A stretch may hold the end of one file and the start of the next, so a recording in several files decodes like one.
"""

# Why poll before every read: a pipe may be silent for hours. Python runs signal handlers between bytecodes only, and a
# signal that arrives just before a blocking read() starts would not be seen until that read ends. poll() with a timeout
# returns at least twice a second, and Ctrl-C is handled then.

from __future__ import annotations

import select
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from pathlib import Path

from flight.core.errors import OrbitnodeError, reason_of

STRETCH_OCTETS = 4 << 20  # as much as detection looks at, and little beside the memory of any machine
STDIN = Path("-")

_MOMENT_MS = 500


def stretches(paths: Sequence[Path], on_progress: Callable[[int], None] | None = None) -> Iterator[bytes]:
    """Yield the octets of the files in their order, as if they were one file; "-" is the standard input.

    on_progress: called with the number of octets read so far. Raises OrbitnodeError if a file cannot be read.
    """
    done = 0
    stretch = bytearray()
    for path in paths:
        try:
            with _opened(path) as file:
                while octets := _read(file, STRETCH_OCTETS - len(stretch)):
                    stretch += octets
                    if len(stretch) == STRETCH_OCTETS:
                        yield bytes(stretch)
                        done += len(stretch)
                        stretch.clear()
                        if on_progress is not None:
                            on_progress(done)
        except OSError as error:
            raise OrbitnodeError(f"{name_of(path)} cannot be read: {reason_of(error)}") from None
    if stretch:
        yield bytes(stretch)


def _opened(path: Path) -> FileIO:
    # FileIO, not open(): no buffer of its own, so that poll() tells of everything that is still to be read.
    return FileIO(0, closefd=False) if path == STDIN else FileIO(str(path))


def _read(file: FileIO, octets: int) -> bytes:
    """Return what is there, at most `octets`; empty only at the end of the file."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    while not poll.poll(_MOMENT_MS):
        pass  # signal handlers run here
    return file.read(octets)


def name_of(path: Path) -> str:
    """Return the name of an input in messages."""
    return "standard input" if path == STDIN else str(path)


def total_octets(paths: Sequence[Path]) -> int | None:
    """Return the size of all files in octets; None if one of them is a pipe or is missing."""
    try:
        if any(path == STDIN or not path.is_file() for path in paths):
            return None
        return sum(path.stat().st_size for path in paths)
    except OSError:
        return None
