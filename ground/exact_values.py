"""Values of packets as JSON and back. JSON has no NaN and no infinity, so these travel as texts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from flight.contract.fields import Plain


def jsonable(value: Plain) -> Plain:
    """The value itself; `nan`, `inf` or `-inf` as text if it is not finite."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def jsonable_all(values: Mapping[str, Plain]) -> dict[str, Plain]:
    """Each of `values` as `jsonable` gives it."""
    return {name: jsonable(value) for name, value in values.items()}


def not_finite(values: Mapping[str, Plain]) -> list[str]:
    """Names of the values that `jsonable` makes texts of: with these, `exact` can tell them from texts."""
    return [name for name, value in values.items() if jsonable(value) is not value]


def exact(values: Mapping[str, Plain], numbers: Sequence[str]) -> dict[str, Plain]:
    """The values as they were before they became JSON; `numbers` are what `not_finite` named. Raises ValueError."""
    return {name: float(value) if name in numbers else value for name, value in values.items()}
