"""Turn an app's result into the octets of its declared answer, and those into a product. In the worker only.

A result that does not fit the declaration raises BadOutput, which says what is wrong and what would be right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from flight.contract.fields import Field, FieldError, Layout, Value
from payloads.apps.base import BadOutput
from payloads.product.answers import AnyKind, Mask, Octets, Scalars, Table
from payloads.product.mask import Samples, encode_mask_product
from payloads.product.records import encode_record_product
from payloads.worker.wire import Request


def answer_octets(declared: AnyKind, result: Any, shape: tuple[int, int]) -> bytes:
    """Return the octets of what an app returned for a tile of `shape` rows and columns. Raises BadOutput."""
    match declared:
        case Mask():
            return _mask_octets(declared, result, shape)
        case Table():
            return _table_octets(declared, result)
        case Scalars():
            return _scalar_octets(declared, result)
        case Octets():
            return _plain_octets(declared, result)


def product_of(declared: AnyKind, answer: bytes, tile: Samples, request: Request, app: str) -> bytes:
    """Return the product of one tile's answer, which `answer_octets` made."""
    if isinstance(declared, Mask):
        return encode_mask_product(
            tile, np.frombuffer(answer, dtype=np.uint8).reshape(tile.shape[1:]), tile=request.tile, job=request.job,
            time_ns=request.time_ns, cloudy_frac=request.cloudy_frac, declared=declared,
        )  # fmt: skip
    return encode_record_product(
        declared, answer, app=app, tile=request.tile, job=request.job, time_ns=request.time_ns
    )  # fmt: skip


def _mask_octets(declared: Mask, result: Any, shape: tuple[int, int]) -> bytes:
    if not isinstance(result, np.ndarray) or result.dtype != np.uint8 or result.shape != shape:
        kind = f"{result.dtype} {result.shape}" if isinstance(result, np.ndarray) else type(result).__name__
        raise BadOutput(f"app gave {kind}, should be uint8 {shape}")  # nothing is converted: it would hide a mistake
    if int(result.max()) >= len(declared.classes):
        raise BadOutput(f"app gave class {int(result.max())}, highest is {len(declared.classes) - 1}")
    return result.tobytes()


def _table_octets(declared: Table, result: Any) -> bytes:
    if isinstance(result, str | bytes | Mapping) or not isinstance(result, Iterable):
        raise BadOutput(f"app gave {type(result).__name__}, should be rows of {_names(declared.fields)}")
    layout, rows = Layout(declared.fields), []
    for number, row in enumerate(result):
        if number == declared.rows_max:  # stops here: a generator may go on for ever
            raise BadOutput(f"app gave more rows than the {declared.rows_max} declared as rows_max")
        rows.append(layout.encode(_row(declared.fields, row, f"row {number}: ")))
    return b"".join(rows)


def _scalar_octets(declared: Scalars, result: Any) -> bytes:
    if not isinstance(result, Mapping):
        raise BadOutput(f"app gave {type(result).__name__}, should be a mapping of {_names(declared.fields)}")
    return Layout(declared.fields).encode(_row(declared.fields, result))


def _plain_octets(declared: Octets, result: Any) -> bytes:
    if not isinstance(result, bytes | bytearray | memoryview):
        raise BadOutput(f"app gave {type(result).__name__}, should be bytes")
    octets = bytes(result)
    if len(octets) > declared.size_max:
        raise BadOutput(f"app gave {len(octets)} octets, more than the {declared.size_max} declared as size_max")
    return octets


def _row(fields: Sequence[Field], row: Any, where: str = "") -> list[Value]:
    """Return the values of one row, given by name or in order, as their fields carry them. Raises BadOutput."""
    names = [field.name for field in fields]
    if isinstance(row, Mapping):
        if sorted(map(str, row)) != sorted(names):
            raise BadOutput(f"{where}app gave {', '.join(map(str, row)) or 'nothing'}, should be {', '.join(names)}")
        values = [row[name] for name in names]
    elif isinstance(row, str | bytes) or not isinstance(row, Iterable):
        raise BadOutput(f"{where}app gave {type(row).__name__}, should be {', '.join(names)}")
    else:
        values = list(row)
        if len(values) != len(names):
            raise BadOutput(f"{where}app gave {len(values)} values, should be {', '.join(names)}")
    try:
        return [field.admit(_plain(value)) for field, value in zip(fields, values, strict=True)]
    except FieldError as error:
        raise BadOutput(f"{where}{error}") from None


def _plain(value: Any) -> Any:
    """Return a number of numpy as one of Python."""
    return value.item() if isinstance(value, np.generic) else value


def _names(fields: Sequence[Field]) -> str:
    return ", ".join(field.name for field in fields)
