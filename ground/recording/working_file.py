"""A file that is put in its place when it is whole, and leaves nothing behind if it never is.

What stands at its name and is no ordinary file (/dev/stdout, a FIFO) is written as it is: there is nothing to replace.
"""

from __future__ import annotations

from io import BufferedWriter
from pathlib import Path
from types import TracebackType
from typing import Self

from flight.core.errors import OrbitnodeError, reason_of
from flight.kernels import ReadBuffer

_WORKING_MAX = 10_000


class WorkingFile:
    """Use as a context. Raises OrbitnodeError if the file cannot be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._target = path
        self._working: Path | None = None
        self._file: BufferedWriter | None = None

    def __enter__(self) -> Self:
        try:
            self._target = self._path.resolve()  # through links: they stay
            if self._target.exists() and not self._target.is_file():
                self._file = self._target.open("wb")
            else:
                self._working, self._file = _new_file(self._target)
        except OSError as error:
            raise self._refused(error) from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if self._file is not None:
                self._file.close()
            if self._working is not None:
                self._working.unlink(missing_ok=True)
        except OSError:
            pass  # it was not finished, and why was said

    def write(self, octets: ReadBuffer) -> None:
        assert self._file is not None
        try:
            self._file.write(octets)
        except OSError as error:
            raise self._refused(error) from None

    def finish(self) -> None:
        """Put it in its place."""
        assert self._file is not None
        try:
            self._file.close()
            if self._working is not None:
                self._working.replace(self._target)
                self._working = None
        except OSError as error:
            raise self._refused(error) from None

    def _refused(self, error: OSError) -> OrbitnodeError:
        return OrbitnodeError(f"{self._path} cannot be written: {reason_of(error)}")


def _new_file(target: Path) -> tuple[Path, BufferedWriter]:
    for number in range(_WORKING_MAX):
        path = target.with_name(f".orbitnode-packets-{number}")
        try:
            return path, path.open("xb")
        except FileExistsError:
            continue
    raise OrbitnodeError(f"{target.parent} holds {_WORKING_MAX} unfinished files .orbitnode-packets-*; delete them")
