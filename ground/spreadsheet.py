"""Text that a spreadsheet may open: a cell must stay text, and not become a formula that is executed."""

from __future__ import annotations

# Texts of the downlink or of somebody's dictionary go into CSV files, and spreadsheets execute formulas that they find
# there (CWE-1236). A quote before the text is what they themselves use to mark a text. Numbers are never guarded.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # beginnings of a formula, and characters that are skipped before one


def guarded(text: str) -> str:
    """Return the text as a cell of a CSV file, with a quote before it if a spreadsheet would take it for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
