"""Where a key stands in a TOML text: the parser that reads the values does not say."""

from __future__ import annotations

import re

Path = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^\s,\]}#]+(?: [0-9][^\s,\]}#]*)?")  # a date and its time may be parted by one blank
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}


class TomlLines:
    """Lines of every table, key and array element of one TOML text, counted from 1.

    The text has been read by tomllib already: what is not TOML is not looked for. A table that is only named on
    the way to another (`[a.b]`, `a.b = 1`) stands where it is first named.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._lines: dict[Path, int] = {}
        self._counts: dict[Path, int] = {}  # newest element of each array of tables
        table: Path = ()
        self._skip()
        while self._at < len(text):
            if text[self._at] == "[":
                table = self._header()
            else:
                self._key_value(table)
            self._skip()

    def find(self, path: Path) -> int | None:
        """The line of `path`, or of the nearest table around it that has one."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return None

    def has(self, path: Path) -> bool:
        return path in self._lines

    def _header(self) -> Path:
        """`[a.b]` or `[[a.b]]`: the path it opens; under an array of tables it means the newest element."""
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
                path = (*path, self._counts[path])
        if array:
            self._counts[path] = self._counts.get(path, -1) + 1
            path = (*path, self._counts[path])
        self._lines[path] = line  # where the table's own header stands, if `[path.more]` came before it
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
        """Step over a value, noting what stands in it."""
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
        """An array, whose elements are numbered, or an inline table, whose keys are named."""
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
        """A key, `a."b c".d`, up to what follows it."""
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
        """Step over a string of any of the four kinds. The content is exact for those that may be keys."""
        text, start = self._text, self._at
        mark = text[start] * 3 if text.startswith(text[start] * 3, start) else text[start]
        at = start + len(mark)
        while not text.startswith(mark, at):
            at += 2 if text[at] == "\\" and mark[0] == '"' else 1
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
        assert found is not None, "it matches nothing, too"
        self._line += self._text.count("\n", self._at, found.end())
        self._at = found.end()


def _unescape(found: re.Match[str]) -> str:
    code = found[1] or found[2]
    return chr(int(code, 16)) if code else _ESCAPES.get(found[3], found[3])
