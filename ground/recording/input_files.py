"""The octets of a recording, in stretches: files one after the other, or what comes in at a pipe. Edge code.

A pipe may be silent for hours. A signal that arrives just before a read that waits is noticed by that read's end alone,
so nothing waits in a read: it is asked first whether there is something, for a moment at a time.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from pathlib import Path

from flight.core.errors import OrbitnodeError, reason_of

STRETCH_OCTETS = 4 << 20
STDIN = Path("-")

_MOMENT_MS = 500


def stretches(paths: Sequence[Path], told: Callable[[int], None] | None = None) -> Iterator[bytes]:
    """The octets of the files in their order, as if they were one; "-" is the standard input.

    told: called with the octets read so far. Raises OrbitnodeError if a file cannot be read.
    """
    done = 0
    for path in paths:
        try:
            with _opened(path) as file:
                while octets := _stretch(file):
                    done += len(octets)
                    yield octets
                    if told is not None:
                        told(done)
        except OSError as error:
            raise OrbitnodeError(f"{name_of(path)} cannot be read: {reason_of(error)}") from None


def _opened(path: Path) -> FileIO:
    return FileIO(0, closefd=False) if path == STDIN else FileIO(str(path))


def _stretch(file: FileIO) -> bytes:
    """As many octets as a stretch has; fewer at the end alone."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    parts: list[bytes] = []
    room = STRETCH_OCTETS
    while room:
        while not poll.poll(_MOMENT_MS):
            pass  # signals are looked at here
        octets = file.read(room)
        if not octets:
            break
        parts.append(octets)
        room -= len(octets)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def name_of(path: Path) -> str:
    """How the input is called in what is said to people."""
    return "standard input" if path == STDIN else str(path)


def total_octets(paths: Sequence[Path]) -> int | None:
    """How much there is to read; None if a pipe is among the files, or one is not there."""
    try:
        if any(path == STDIN or not path.is_file() for path in paths):
            return None
        return sum(path.stat().st_size for path in paths)
    except OSError:
        return None
