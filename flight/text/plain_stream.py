"""A text stream for what other people's code prints, such as a procedure of an operator's.

Such code prints values out of telemetry as they come to it. Its lines stay lines and its tabs tabs; whatever else is
not to be seen is shown by its number. It says that it is no terminal, so that nobody colours what would not be shown.
"""

from __future__ import annotations

from typing import Any, TextIO

from flight.text.plain_text import plain


class PlainStream:
    """See the head of the file. Faults are those of `stream`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Returns the characters taken, all."""
        lines = text.split("\n")
        self._stream.write("\n".join("\t".join(map(plain, line.split("\t"))) for line in lines))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """The same for each of them."""
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        return False
