"""Reading a TOML text so that every fault has its line: of what is not TOML, and of where a key stands in what is."""

# A fault in a mission is worth little without its line, and tomllib keeps none. So the text is walked a second time, by
# a scanner that knows only as much of TOML as is needed to find where keys and values begin. tomllib has read the text
# before, so it is valid TOML: the scanner has no error of its own, and asserts what it relies on.
#
# A path is a tuple of keys and indices: ("link", 0, "rate_bps"). An array of tables is counted by its headers, an array
# in one value by its elements. What has no place of its own is found at the nearest table around it.

from __future__ import annotations

import re
import tomllib
from typing import Any

Path = tuple[str | int, ...]

_FAULT = re.compile(r"(.*) \(at (?:line ([0-9]+), column ([0-9]+)|end of document)\)", re.DOTALL)  # as tomllib has it
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^\s,\]}#]+(?: [0-9][^\s,\]}#]*)?")  # one blank may stand between a date and its time
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}


def read_toml(text: str, at: str) -> dict[str, Any]:
    """Return the table that a TOML text holds. Raises ValueError with `FILE:LINE: what is wrong`; `at` is the file."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
        found = _FAULT.fullmatch(str(error))
        if found is None:
            raise ValueError(f"{at}: not valid TOML: {error}") from None
        what, line, column = found.groups()
        last = text.rstrip("\n").count("\n") + 1
        place = f"column {column}" if column else "at the end of the file"
        raise ValueError(f"{at}:{line or last}: not valid TOML: {what} ({place})") from None


class TomlLines:
    """Lines of every table, key and array element of one TOML text, counted from 1.

    tomllib must have read the text before: invalid TOML is not detected. A table that is only named on the way to
    another (`[a.b]`, `a.b = 1`) stands where it is first named.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._lines: dict[Path, int] = {}
        self._counts: dict[Path, int] = {}  # index of the newest element of each array of tables
        table: Path = ()
        self._skip()
        while self._at < len(text):
            if text[self._at] == "[":
                table = self._header()
            else:
                self._key_value(table)
            self._skip()

    def find(self, path: Path) -> int | None:
        """Return the line of `path`, or of the nearest table around it that has one; None if there is none."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return None

    def has(self, path: Path) -> bool:
        """Return whether `path` itself stands in the text."""
        return path in self._lines

    def _header(self) -> Path:
        """Read `[a.b]` or `[[a.b]]`; return the path that it opens, for an array of tables its newest element."""
        array = self._text.startswith("[[", self._at)
        self._at += 1 + array
        line = self._line
        parts = self._dotted()
        self._at += 1 + array
        path: Path = ()
        for i, part in enumerate(parts):
            path = (*path, part)
            self._lines.setdefault(path, line)
            if path in self._counts and i < len(parts) - 1:
                path = (*path, self._counts[path])  # [a.b] behind [[a]] belongs to the newest a
        if array:
            self._counts[path] = self._counts.get(path, -1) + 1
            path = (*path, self._counts[path])
        self._lines[path] = line  # its own header counts, also if `[path.more]` came first and entered a line
        return path

    def _key_value(self, table: Path) -> None:
        line = self._line
        parts = self._dotted()
        path = table
        for part in parts:
            path = (*path, part)
            self._lines.setdefault(path, line)
        self._at += 1  # =
        self._skip()
        self._value(path)

    def _value(self, path: Path) -> None:
        """Step over a value, and enter what stands in it."""
        char = self._text[self._at]
        if char in "\"'":
            self._string()
        elif char in "[{":
            self._enclosed(path, "]" if char == "[" else "}")
        else:
            found = _SCALAR.match(self._text, self._at)
            assert found is not None, "tomllib has read this text"
            self._at = found.end()

    def _enclosed(self, path: Path, end: str) -> None:
        """Step over an array, whose elements are numbered, or an inline table, whose keys are named."""
        self._at += 1
        index = 0
        self._skip()
        while self._text[self._at] != end:
            if self._text[self._at] == ",":
                self._at += 1
            elif end == "]":
                self._lines.setdefault((*path, index), self._line)
                self._value((*path, index))
                index += 1
            else:
                self._key_value(path)
            self._skip()
        self._at += 1

    def _dotted(self) -> list[str]:
        """Read a key such as `a."b c".d`, up to what follows it; return its parts."""
        parts = []
        while True:
            self._skip()
            bare = _BARE.match(self._text, self._at)
            if bare is not None:
                parts.append(bare[0])
                self._at = bare.end()
            else:
                parts.append(self._string())
            self._skip()
            if self._text[self._at] != ".":
                return parts
            self._at += 1

    def _string(self) -> str:
        """Step over a string of any of the four kinds; return its content, exact for the kinds that may be keys."""
        text, start = self._text, self._at
        mark = text[start] * 3 if text.startswith(text[start] * 3, start) else text[start]
        at = start + len(mark)
        while not text.startswith(mark, at):
            at += 2 if text[at] == "\\" and mark[0] == '"' else 1  # an escaped quote does not end the string
        content = text[start + len(mark) : at]
        at += len(mark)
        while len(mark) == 3 and text.startswith(mark[0], at):  # one or two quotes may precede the closing three
            at += 1
        self._line += text.count("\n", start, at)
        self._at = at
        return _ESCAPE.sub(_unescape, content) if mark == '"' else content

    def _skip(self) -> None:
        """Step over blanks, line ends and comments."""
        found = _BLANK.match(self._text, self._at)
        assert found is not None, "the pattern matches an empty text as well"
        self._line += self._text.count("\n", self._at, found.end())
        self._at = found.end()


def _unescape(found: re.Match[str]) -> str:
    code = found[1] or found[2]
    return chr(int(code, 16)) if code else _ESCAPES.get(found[3], found[3])
