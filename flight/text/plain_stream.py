"""A text stream for what other people's code prints, such as an operator's procedure.

Its lines stay lines and its tabs tabs. Every other character that cannot be seen is shown by its number.
"""

# Such code prints values out of telemetry as they come to it, so its output may hold anything that a plain text must
# not (flight/text/plain_text.py). The stream denies being a terminal: a library that colours its output would print
# escape sequences, which come out as numbers here.

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
        """Write `text`, made plain, and return the number of characters taken, which is all of them."""
        lines = text.split("\n")
        self._stream.write("\n".join("\t".join(map(plain, line.split("\t"))) for line in lines))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write each of `lines`, made plain."""
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        """Return False, so that nobody colours the text."""
        return False
