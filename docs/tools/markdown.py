"""Pieces of Markdown that GitHub and Sphinx show alike: tables, and texts that are not markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

LINE_BREAK = "<br>"  # inside a cell


def plain(text: str) -> str:
    """`text` with its code spans as they are, and nothing else in it taken for markup."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([<*])", r"\\\1", part) for part in parts)


def code(text: object) -> str:
    """Return a code span."""
    return f"`{text}`"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table, without a line feed at its end. A bar in a cell is escaped, an empty cell is a dash."""
    cells = [[str(cell).replace("|", r"\|") or "-" for cell in line] for line in (heads, *rows)]
    head, *lines = ["| " + " | ".join(line) + " |" for line in cells]
    return "\n".join([head, "|" + "---|" * len(heads), *lines])
