"""What each worker app did in a run: by the node's own count, and by what of its answers reached the ground."""

# Two sides again: `done` and `failed` are the node's own counts, over all boots; `rows` and `values` are read from the
# products that the ground received whole. An app whose products were lost on the way has the first and not the second.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ground.telemetry.archive_rows import ProductRow
from payloads.accounting import Statistics


def worker_apps(payloads: Sequence[Statistics], products: Sequence[ProductRow]) -> dict[str, Any]:
    """Return what each app did, by its name.

    `rows` of tables and `values` of scalars, with their range, are those of received products.
    """
    by_name: dict[str, Any] = {}
    for account in payloads:
        for name, counts in account.by_app.items():
            of_app = by_name.setdefault(name, {"done": 0, "failed": 0, "octets_product": 0})
            of_app["done"] += counts.done
            of_app["failed"] += counts.failed
            of_app["octets_product"] += counts.octets_product
    for name, of_app in by_name.items():
        facts = [row.facts for row in products if row.facts.get("app") == name]
        rows = [product["rows"] for product in facts if "rows" in product]
        if rows:
            of_app["rows"] = sum(rows)
        values = [product["values"] for product in facts if "values" in product]
        if values:
            of_app["values"] = scalar_ranges(values)
    return by_name


def scalar_ranges(values: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float] | None]:
    """Return the range of each scalar by name. Not all products need have the same: a worker may send what it likes."""
    names = dict.fromkeys(key for product in values for key in product)
    return {key: _range([product[key] for product in values if key in product]) for key in names}


def app_rows(apps: Mapping[str, Any]) -> list[list[str]]:
    """Return column heads and a row per app, for the report."""
    rows = [["app", "products", "failed attempts", "octets", "received answers"]]
    for name, counts in apps.items():
        shown = [f"{counts['rows']:,} rows"] if "rows" in counts else []
        shown += [f"{key} {_shown(value)}" for key, value in counts.get("values", {}).items()]
        rows.append(
            [name, f"{counts['done']:,}", f"{counts['failed']:,}", f"{counts['octets_product']:,}", "; ".join(shown)]
        )
    return rows


def _range(values: Sequence[Any]) -> dict[str, float] | None:
    """Return lowest, mean and highest, or None for labels, which have no order."""
    if not all(isinstance(value, int | float) for value in values):
        return None
    return {"min": min(values), "mean": sum(values) / len(values), "max": max(values)}


def _shown(value: Mapping[str, float] | None) -> str:
    if value is None:
        return "-"
    return f"{_figure(value['min'])} .. {_figure(value['max'])}, mean {_figure(value['mean'])}"


def _figure(value: float) -> str:
    """Write whole numbers whole, others with three digits, or without a fraction if they are large."""
    if isinstance(value, int) or 1e3 <= abs(value) < 1e12:
        return f"{value:,.0f}"
    return f"{value:.3g}"
