"""A number with its noun, which agrees with it: `1 packet`, `2,000 packets`."""

from __future__ import annotations


def plural(number: float, noun: str) -> str:
    """Return `noun` as it stands behind `number`."""
    return noun if number == 1 else f"{noun}s"


def counted(number: int, noun: str) -> str:
    """Return the number, with commas between thousands, and its noun."""
    return f"{number:,} {plural(number, noun)}"
