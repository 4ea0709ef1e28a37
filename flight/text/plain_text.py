"""Texts of others made harmless for whoever reads them on a terminal, in a log or in a table.

A text may come from space, out of a file, or from another process, and may then hold anything: escape sequences that
clear a line or type for the one who reads, a line end and behind it a line that looks like ours, marks that turn the
order of letters round. So it passes here on its way to a reader, and everything that is not to be seen is shown by its
number, as Python writes it: `\\x1b`, `\\n`, `\\u202e`, `\\udc80`. Spaces of every kind stay.

What comes out of `plain` is one line, and of `plain_lines` one whose further lines are indented: no text of others
begins a line of its own. JSON is for programs, which get every text as it is: there such characters are escaped by the
format (`json_text`), and a terminal is as safe.

`tests/unit/test_plain_text.py` sees to it that nothing is printed past this.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from typing import Any

CLEAR_LINE = "\r\x1b[2K"
CLEAR_SCREEN = "\x1b[H\x1b[2J"
INDENT = "  "


def plain(text: object) -> str:
    """The text as one line without anything that is not to be seen."""
    shown = str(text)
    return shown if shown.isprintable() else "".join(map(_shown, shown))


def plain_lines(text: object) -> str:
    """The same for a text of ours that may have several lines: further ones are indented."""
    first, *others = str(text).split("\n")
    return "\n".join([plain(first), *(one if one.startswith(INDENT) else INDENT + one for one in map(plain, others))])


def plain_values(value: Any) -> Any:
    """The same for every text in what was read as JSON, names included."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list):
        return [plain_values(one) for one in value]
    if isinstance(value, dict):
        return {plain(name): plain_values(one) for name, one in value.items()}
    return value


def json_text(
    value: Any, *, indent: int | None = None, sort_keys: bool = False, default: Callable[[Any], Any] | None = None
) -> str:
    """JSON in visible ASCII characters."""
    made = json.dumps(value, indent=indent, sort_keys=sort_keys, default=default)
    return made.replace("\x7f", "\\u007f")  # the one that JSON would let through, and only within a text


def _shown(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")
