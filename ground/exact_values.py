"""Values of packets as JSON and back. JSON has no NaN and no infinity, so these travel as texts."""

# A text alone cannot come back as what it was: "nan" may be a number that is not finite, or the text of a packet. So
# the names of the numbers travel beside the values (`not_finite`), and only these are turned back. Infinity and NaN as
# bare words, which Python's json would write, are refused by parsers of other languages.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from flight.contract.fields import Plain


def jsonable(value: Plain) -> Plain:
    """Return the value itself, or `nan`, `inf` or `-inf` as text if it is not finite."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def jsonable_all(values: Mapping[str, Plain]) -> dict[str, Plain]:
    """Return each of `values` as `jsonable` gives it."""
    return {name: jsonable(value) for name, value in values.items()}


def not_finite(values: Mapping[str, Plain]) -> list[str]:
    """Return the names of the values that `jsonable` turns into texts, which `exact` needs to turn them back."""
    return [name for name, value in values.items() if jsonable(value) is not value]


def exact(values: Mapping[str, Plain], numbers: Sequence[str]) -> dict[str, Plain]:
    """Return the values as they were before they became JSON. `numbers`: what `not_finite` gave.

    Raises ValueError if a value of these names is a text that is not a number.
    """
    return {name: float(value) if name in numbers else value for name, value in values.items()}
