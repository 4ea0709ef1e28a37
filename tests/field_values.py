"""Values of fields as what a test expects them to be: a field may hold any kind, and mypy is to see which one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def real(value: object) -> float:
    assert isinstance(value, int | float), f"{value!r} is not a number"
    return value


def integer(value: object) -> int:
    assert isinstance(value, int), f"{value!r} is not an integer"
    return value


def integers(values: Mapping[str, object]) -> dict[str, int]:
    """Those of the values that are integers, by name."""
    return {name: value for name, value in values.items() if isinstance(value, int)}


def refused(outcome: tuple[int, str] | None) -> int:
    """The failure code of a command that was to be refused."""
    assert outcome is not None, "it was not refused"
    return outcome[0]


def rows(value: object) -> tuple[tuple[Any, ...], ...]:
    assert isinstance(value, tuple), f"{value!r} is not a list of rows"
    return value
