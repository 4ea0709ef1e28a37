"""Decode the file of a product of any kind: its first octets tell the format."""

from __future__ import annotations

from flight.core.errors import DecodeError
from payloads.product.mask import MaskProduct, decode_mask_product
from payloads.product.mask_header import MaskHeader
from payloads.product.records import RecordHeader, RecordProduct, decode_record_product

Product = MaskProduct | RecordProduct


def is_product(raw: bytes) -> bool:
    """Return whether `raw` begins as a product does."""
    return raw.startswith((MaskHeader.MAGIC, RecordHeader.MAGIC))


def decode_product(raw: bytes | memoryview) -> Product:
    """Decode the product. Raises DecodeError for octets that are not a whole, unaltered one."""
    magic = bytes(raw[: len(MaskHeader.MAGIC)])
    if magic == MaskHeader.MAGIC:
        return decode_mask_product(raw)
    if magic == RecordHeader.MAGIC:
        return decode_record_product(raw)
    raise DecodeError(
        f"product begins with {magic.hex()}, should be {MaskHeader.MAGIC.hex()} or {RecordHeader.MAGIC.hex()}"
    )
