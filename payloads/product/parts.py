"""A large product in parts: what fits a short contact goes first, as a product of its own.

Of a mask's product the first part is the mask without the pixels. It is a whole product that every decoder knows. The
second part is the product as it was made: so whoever gets both needs no rule for putting them together, and the mask,
which takes a few percent of the pixels, comes twice.
"""

# No numpy here: the node cuts the part off in the flight loop (ADR 0006). What it copies and hashes is the packed mask,
# a few thousand octets.

from __future__ import annotations

from dataclasses import replace

from flight.core.errors import DecodeError
from payloads.product.envelope import sealed
from payloads.product.mask_header import MaskHeader


def mask_part(product: bytes) -> bytes | None:
    """Return the product of the mask alone, None if `product` has nothing beside the mask or is not a mask's."""
    try:
        header = MaskHeader.decode(product)
    except DecodeError:
        return None
    if header.clear_octets is None or header.total_octets != len(product):
        return None
    head = replace(header, clear_octets=None, band_differences=0)
    return sealed(head.encode() + product[header.octets : header.octets + header.mask_octets])
