"""A text stream that never raises, for those whose work does not hang on whether their words are read."""

from __future__ import annotations

import io
from typing import Protocol

from flight.core.errors import reason_of


class LineStream(Protocol):
    """What a log needs of a text stream."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...

    def isatty(self) -> bool: ...


class GuardedStream:
    """A text stream whose faults end here: `faults` counts writes that it did not take, `fault` is the last reason.

    What its encoding lacks is written as escapes. A stream that is not there (None) takes nothing. Writing may wait.
    """

    errors = "backslashreplace"

    def __init__(self, stream: LineStream | None) -> None:
        self.faults = 0
        self.fault = ""
        self.encoding: str = getattr(stream, "encoding", None) or "utf-8"
        self._stream = stream

    def write(self, text: str, /) -> int:
        if self._stream is not None:
            # The characters that it can encode, so that none is refused.
            known = text.encode(self.encoding, self.errors).decode(self.encoding)
            try:
                self._stream.write(known)
            except (OSError, ValueError) as error:  # ValueError: it was closed
                self._count(error)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._count(error)

    def close(self) -> None:
        """Close the stream behind, which a log does not need but its file does."""
        if isinstance(self._stream, io.IOBase):
            try:
                self._stream.close()
            except OSError as error:
                self._count(error)

    def isatty(self) -> bool:
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:
            return False

    def fileno(self) -> int:
        """Raises OSError for a stream without a descriptor."""
        if isinstance(self._stream, io.IOBase):
            return self._stream.fileno()
        raise OSError("the stream behind this one has no descriptor")

    def _count(self, error: Exception) -> None:
        self.faults += 1
        self.fault = reason_of(error)
