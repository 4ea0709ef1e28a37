"""Values of fields as the kind that a test expects: a field may hold any kind, and mypy must see which one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def real(value: object) -> float:
    """Return the value as a number."""
    assert isinstance(value, int | float), f"{value!r} is not a number"
    return value


def integer(value: object) -> int:
    """Return the value as an integer."""
    assert isinstance(value, int), f"{value!r} is not an integer"
    return value


def integers(values: Mapping[str, object]) -> dict[str, int]:
    """Return those of the values that are integers, by name."""
    return {name: value for name, value in values.items() if isinstance(value, int)}


def refused(outcome: tuple[int, str] | None) -> int:
    """Return the failure code of a command that had to be refused."""
    assert outcome is not None, "it was not refused"
    return outcome[0]


def rows(value: object) -> tuple[tuple[Any, ...], ...]:
    """Return the value as a list of rows."""
    assert isinstance(value, tuple), f"{value!r} is not a list of rows"
    return value
