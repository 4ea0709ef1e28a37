"""A text stream whose writing never raises, for those whose work does not depend on whether their words are read."""

# Used for stderr and for a simulated node's log. A disk that is full, a reader that left, a closed stream or a
# character that the encoding lacks must change neither the result of a command nor its exit code (ADR 0020). The stream
# counts what it could not write, so that the owner can say so elsewhere. It may wait for its reader: a loop, which may
# not, uses a LogSink (flight/linux/log_sink.py).

from __future__ import annotations

import io
from typing import Protocol

from flight.core.errors import reason_of


class LineStream(Protocol):
    """What a log needs of a text stream."""

    def write(self, text: str, /) -> object:
        """Write `text`."""

    def flush(self) -> object:
        """Hand on what the stream still holds."""

    def isatty(self) -> bool:
        """Return whether a person reads this on a terminal."""


class GuardedStream:
    """A text stream whose faults end here: `faults` counts the writes that failed, `fault` is the last reason.

    What its encoding lacks is written as escapes. Without a stream (None) everything is dropped. Writing may wait.
    """

    errors = "backslashreplace"

    def __init__(self, stream: LineStream | None) -> None:
        self.faults = 0
        self.fault = ""
        self.encoding: str = getattr(stream, "encoding", None) or "utf-8"
        self._stream = stream

    def write(self, text: str, /) -> int:
        """Write `text`, and return its length whether or not the stream took it."""
        if self._stream is not None:
            # There and back: what the encoding lacks comes out as escapes, so that the stream refuses no character.
            known = text.encode(self.encoding, self.errors).decode(self.encoding)
            try:
                self._stream.write(known)
            except (OSError, ValueError) as error:  # ValueError: it was closed
                self._count(error)
        return len(text)

    def flush(self) -> None:
        """Hand on what the stream still holds; a fault is counted."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._count(error)

    def close(self) -> None:
        """Close the stream behind this one: a log does not need that, but its file does."""
        if isinstance(self._stream, io.IOBase):
            try:
                self._stream.close()
            except OSError as error:
                self._count(error)

    def isatty(self) -> bool:
        """Return whether a person reads this on a terminal."""
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:  # it was closed
            return False

    def fileno(self) -> int:
        """Return the descriptor of the stream behind this one. Raises OSError if it has none."""
        if isinstance(self._stream, io.IOBase):
            return self._stream.fileno()
        raise OSError("the stream behind this one has no descriptor")

    def _count(self, error: Exception) -> None:
        self.faults += 1
        self.fault = reason_of(error)
