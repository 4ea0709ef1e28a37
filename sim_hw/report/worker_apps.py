"""What each worker app did in a run: by the node's own count, and by what of its answers reached the ground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ground.telemetry.archive_rows import ProductRow
from payloads.accounting import Statistics


def worker_apps(payloads: Sequence[Statistics], products: Sequence[ProductRow]) -> dict[str, Any]:
    """By the app's name. `rows` of tables and `values` of scalars, with their range, are those of received products."""
    made: dict[str, Any] = {}
    for one in payloads:
        for name, counts in one.by_app.items():
            of_app = made.setdefault(name, {"done": 0, "failed": 0, "octets_product": 0})
            of_app["done"] += counts.done
            of_app["failed"] += counts.failed
            of_app["octets_product"] += counts.octets_product
    for name, of_app in made.items():
        facts = [row.facts for row in products if row.facts.get("app") == name]
        rows = [one["rows"] for one in facts if "rows" in one]
        if rows:
            of_app["rows"] = sum(rows)
        values = [one["values"] for one in facts if "values" in one]
        if values:
            of_app["values"] = scalar_ranges(values)
    return made


def scalar_ranges(values: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float] | None]:
    """The range of each scalar by name. A worker may have lied about what its app declares: not all need the same."""
    names = dict.fromkeys(key for one in values for key in one)
    return {key: _range([one[key] for one in values if key in one]) for key in names}


def app_rows(apps: Mapping[str, Any]) -> list[list[str]]:
    """Column heads and a row per app, for the report."""
    rows = [["app", "products", "failed attempts", "octets", "received answers"]]
    for name, one in apps.items():
        shown = [f"{one['rows']:,} rows"] if "rows" in one else []
        shown += [f"{key} {_shown(value)}" for key, value in one.get("values", {}).items()]
        rows.append([name, f"{one['done']:,}", f"{one['failed']:,}", f"{one['octets_product']:,}", "; ".join(shown)])
    return rows


def _range(values: Sequence[Any]) -> dict[str, float] | None:
    """Lowest, mean and highest; None for labels, which have no order."""
    if not all(isinstance(value, int | float) for value in values):
        return None
    return {"min": min(values), "mean": sum(values) / len(values), "max": max(values)}


def _shown(value: Mapping[str, float] | None) -> str:
    if value is None:
        return "-"
    return f"{_figure(value['min'])} .. {_figure(value['max'])}, mean {_figure(value['mean'])}"


def _figure(value: float) -> str:
    """Whole numbers whole, others with three digits, or without a fraction if they are large."""
    if isinstance(value, int) or 1e3 <= abs(value) < 1e12:
        return f"{value:,.0f}"
    return f"{value:.3g}"
