"""The octets of a recording, in stretches: files one after the other, or what comes in at a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from flight.core.errors import OrbitnodeError, reason_of

STRETCH_OCTETS = 4 << 20
STDIN = Path("-")


def stretches(paths: Sequence[Path], told: Callable[[int], None] | None = None) -> Iterator[bytes]:
    """The octets of the files in their order, as if they were one; "-" is the standard input.

    told: called with the octets read so far. Raises OrbitnodeError if a file cannot be read.
    """
    done = 0
    for path in paths:
        try:
            with _opened(path) as file:
                while octets := file.read(STRETCH_OCTETS):
                    done += len(octets)
                    yield octets
                    if told is not None:
                        told(done)
        except OSError as error:
            raise OrbitnodeError(f"{name_of(path)} cannot be read: {reason_of(error)}") from None


def _opened(path: Path) -> IO[bytes]:
    if path == STDIN:
        return open(0, "rb", closefd=False)
    return path.open("rb")


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
