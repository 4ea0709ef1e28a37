"""Text that a spreadsheet may open: a cell must stay what it says, and not become a formula that is run."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with which a formula begins, or what is passed over before one


def guarded(text: str) -> str:
    """The text as a cell of a CSV file: with a quote before it if a spreadsheet would take it for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
