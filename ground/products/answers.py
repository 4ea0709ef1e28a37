"""The facts of a decoded product, and its answer in a form that everybody reads: a mask as PNG, a table as CSV."""

# A product comes from space: its names, labels and numbers are the sender's claim. So a picture has as many colours as
# classes are possible, a table is bounded before it is written, and no cell may become a formula in a spreadsheet.

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from flight.contract.fields import Field, Plain, Value
from flight.core.errors import OrbitnodeError
from ground.spreadsheet import guarded
from payloads.product.decode import Product
from payloads.product.mask import MaskProduct
from payloads.product.records import RecordProduct

# Clear, cloud, cloud shadow: their lightness alone tells them apart, in print and for colour-blind readers. Then
# further classes, from light to dark.
MASK_COLOURS = (
    (93, 143, 99), (245, 247, 250), (58, 63, 92), (222, 210, 160), (190, 160, 200), (160, 190, 215), (200, 140, 110),
    (130, 160, 160), (150, 120, 150), (120, 130, 90), (100, 110, 150), (130, 80, 80), (70, 100, 90), (90, 60, 100),
    (60, 60, 40), (20, 20, 25),
)  # fmt: skip
CSV_VALUES_MAX = 1 << 18  # about a second's work, in which the ground does nothing else; the product has more


@dataclass(frozen=True, slots=True)
class Readable:
    """A file to be put beside the product: `suffix` ends its name, `key` is the fact that names it."""

    key: str
    suffix: str
    octets: bytes


def facts_of(product: Product) -> dict[str, Any]:
    """Return what the product says of itself, ready for JSON."""
    header = product.header
    facts: dict[str, Any] = {"tile": header.tile, "job": header.job, "time_ns": header.time_ns}
    if isinstance(product, MaskProduct):
        return facts | {
            "kind": "mask", "classes": list(product.header.classes), "cloud_frac": product.header.cloud_frac,
            "shadow_frac": product.header.shadow_frac, "clear_sent": product.clear is not None,
        }  # fmt: skip
    declared = product.declaration
    facts |= {"app": declared.app, "kind": declared.kind}
    if declared.kind == "scalars":
        return facts | {"values": scalars_of(product)}
    if declared.kind == "table":
        return facts | {"rows": product.row_count}
    return facts | {"octets": len(product.answer)}


def scalars_of(product: RecordProduct) -> dict[str, Plain]:
    """Return the values of scalars by name, enumerated ones as their labels."""
    fields, (row,) = product.declaration.fields, product.rows()
    return {field.name: field.label(value) for field, value in zip(fields, row, strict=True)}


def readable(product: Product) -> Readable | None:
    """Return the answer as a file of its own; None for scalars, which the facts hold.

    Raises OrbitnodeError for a table that would take too long.
    """
    if isinstance(product, MaskProduct):
        png = io.BytesIO()
        mask_picture(product.mask).save(png, "PNG")
        return Readable("mask", "mask.png", png.getvalue())
    if product.declaration.kind == "table":
        return Readable("table", "table.csv", _csv(product).encode())
    if product.declaration.kind == "octets":
        return Readable("answer", f"answer.{product.declaration.suffix}", product.answer)
    return None


def mask_picture(mask: NDArray[np.uint8]) -> Picture.Image:
    """Return a class mask, uint8 [row, column] with classes 0..15, as a palette picture."""
    picture = Picture.fromarray(np.ascontiguousarray(mask, dtype=np.uint8), mode="L").convert("P")
    # Converting a grey picture keeps its numbers as palette indices.
    picture.putpalette(
        [channel for colour in MASK_COLOURS for channel in colour] + [0] * (3 * (256 - len(MASK_COLOURS)))
    )
    return picture


def _csv(product: RecordProduct) -> str:
    """Return a line per row under a head of names, with units in brackets. Raises OrbitnodeError beyond the bound."""
    text, fields = io.StringIO(), product.declaration.fields
    values = product.row_count * len(fields)
    if values > CSV_VALUES_MAX:
        raise OrbitnodeError(
            f"table of {product.row_count} rows is not shown as CSV: {values} values, {CSV_VALUES_MAX} at most"
        )
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([f"{field.name} [{field.unit}]" if field.unit else field.name for field in fields])
    writer.writerows([_cell(field, value) for field, value in zip(fields, row, strict=True)] for row in product.rows())
    return text.getvalue()


def _cell(field: Field, value: Value) -> Plain:
    """Return the value as it is shown; a label that a spreadsheet would take for a formula gets a quote before it."""
    shown = field.label(value)
    return guarded(shown) if isinstance(shown, str) else shown
