"""Where a key stands in a TOML text: the parser that reads the values does not say."""

from __future__ import annotations

import re

Path = tuple[str | int, ...]

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


class TomlLines:
    """Lines of every table header and key of one TOML text, counted from 1."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Path, int] = {}
        counts: dict[Path, int] = {}
        table: Path = ()
        quote = ""  # inside a multi-line string nothing is a key
        for number, line in enumerate(text.splitlines(), 1):
            if quote:
                quote = "" if quote in line else quote
                continue
            header, found = _HEADER.match(line), _KEY.match(line)
            if header:
                table = self._resolve(header[2], counts)
                if header[1] == "[[":
                    counts[table] = counts.get(table, -1) + 1
                    table = (*table, counts[table])
                self._lines.setdefault(table, number)
            elif found:
                self._lines.setdefault((*table, *_parts(found[1])), number)
            for mark in ('"""', "'''"):
                if line.count(mark) == 1:
                    quote = mark

    @staticmethod
    def _resolve(name: str, counts: dict[Path, int]) -> Path:
        """A header's path; under an array of tables it means the newest element."""
        path: Path = ()
        parts = _parts(name)
        for i, part in enumerate(parts):
            path = (*path, part)
            if path in counts and i < len(parts) - 1:
                path = (*path, counts[path])
        return path

    def find(self, path: Path) -> int | None:
        """The line of `path`, or of the nearest table around it that has one."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return None

    def has(self, path: Path) -> bool:
        return path in self._lines


def _parts(name: str) -> list[str]:
    return [part.strip("\"'") for part in _PART.findall(name)]
