r"""Texts of others made harmless for whoever reads them on a terminal, in a log or in a table.

Every character that cannot be seen is shown by its number, as Python writes it: `\x1b`, `\n`, `\u202e`, `\udc80`.
Spaces of every kind stay. `plain` gives one line; `plain_lines` gives lines of which all but the first are indented.
"""

# A text may come from space, out of a file, or from another process, and may hold anything: escape sequences that clear
# a line or type in the reader's name, a line end and behind it a line that looks like ours, marks that reverse the
# order of letters. So every such text passes here on its way to a reader, and none can begin a line of its own.
#
# JSON is for programs, which must get every text as it is. There the format itself escapes such characters
# (`json_text`), so a terminal is as safe. tests/unit/test_plain_text.py checks that nothing is printed past this file.

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from typing import Any

CLEAR_LINE = "\r\x1b[2K"
CLEAR_SCREEN = "\x1b[H\x1b[2J"
INDENT = "  "


def plain(text: object) -> str:
    """Return `text` as one line, with every character that cannot be seen shown by its number."""
    shown = str(text)
    return shown if shown.isprintable() else "".join(map(_shown, shown))


def plain_lines(text: object) -> str:
    """Make a text of our own plain that may have several lines: all but the first are indented."""
    first, *others = str(text).split("\n")
    further = map(plain, others)
    return "\n".join([plain(first), *(line if line.startswith(INDENT) else INDENT + line for line in further)])


def plain_values(value: Any) -> Any:
    """Make every text plain in what was read as JSON, names included."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list):
        return [plain_values(item) for item in value]
    if isinstance(value, dict):
        return {plain(name): plain_values(item) for name, item in value.items()}
    return value


def json_text(
    value: Any, *, indent: int | None = None, sort_keys: bool = False, default: Callable[[Any], Any] | None = None
) -> str:
    """Write `value` as JSON in visible ASCII characters. Raises as `json.dumps` does."""
    text = json.dumps(value, indent=indent, sort_keys=sort_keys, default=default)
    # DEL is ASCII, so JSON lets it through; it can stand only within a text, and its escape means the same.
    return text.replace("\x7f", "\\u007f")


def _shown(character: str) -> str:
    # Python calls every space but U+0020 unprintable, which a reader sees all the same.
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")
