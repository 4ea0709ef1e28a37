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
    held = bytearray()
    for path in paths:
        try:
            with _opened(path) as file:
                while octets := _read(file, STRETCH_OCTETS - len(held)):
                    held += octets
                    if len(held) == STRETCH_OCTETS:
                        yield bytes(held)
                        done += len(held)
                        held.clear()
                        if told is not None:
                            told(done)
        except OSError as error:
            raise OrbitnodeError(f"{name_of(path)} cannot be read: {reason_of(error)}") from None
    if held:
        yield bytes(held)


def _opened(path: Path) -> FileIO:
    return FileIO(0, closefd=False) if path == STDIN else FileIO(str(path))


def _read(file: FileIO, octets: int) -> bytes:
    """What is there, `octets` at most; nothing at the end alone."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    while not poll.poll(_MOMENT_MS):
        pass  # signals are looked at here
    return file.read(octets)


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
