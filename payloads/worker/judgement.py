"""What the node believes of an answer: the copies that it made of the slot, held against what it asked for.

Quick, and without numpy: it runs in the flight loop. That the numbers in a table are finite is the worker's word, as
the pixels are; the ground looks again.
"""

from __future__ import annotations

from flight.core.errors import DecodeError
from payloads.product.answers import AnyKind, Mask
from payloads.product.mask_header import MaskHeader
from payloads.product.records import RecordHeader
from payloads.worker.wire import Answer, Request


def fault_of(declared: AnyKind, product: bytes, octets: bytes, asked: Request, said: Answer) -> str:
    """What is wrong with a copied product and answer, "" if they are what was asked for."""
    header: MaskHeader | RecordHeader
    try:
        header = MaskHeader.decode(product) if isinstance(declared, Mask) else RecordHeader.decode(product)
    except DecodeError as error:
        return str(error)
    if header.total_octets != said.product_octets or len(product) != said.product_octets:
        return f"product of {said.product_octets} octets, says {header.total_octets}"
    if (header.tile, header.job, header.time_ns) != (asked.tile, asked.job, asked.time_ns):
        return f"product of tile {header.tile}, job {header.job}; asked was tile {asked.tile}, job {asked.job}"
    fault = _mask_fault(declared, header, asked) if isinstance(declared, Mask) else ""
    if fault:
        return fault
    if len(octets) != said.answer_octets:
        return f"answer of {said.answer_octets} octets, the slot takes {len(octets)}"
    return declared.fault(octets, asked.height, asked.width)


def pixels_withheld(declared: AnyKind, product: bytes) -> bool:
    """Whether the product of a mask goes without pixels that a tile with less of class 1 would have."""
    return isinstance(declared, Mask) and declared.pixels and MaskHeader.decode(product).clear_octets is None


def _mask_fault(declared: Mask, header: MaskHeader | RecordHeader, asked: Request) -> str:
    assert isinstance(header, MaskHeader), "masks have a head of their own"
    if (header.bands, header.height, header.width) != (asked.bands, asked.height, asked.width):
        return (
            f"product of {header.bands} x {header.height} x {header.width} samples, asked was"
            f" {asked.bands} x {asked.height} x {asked.width}"
        )
    if not (0.0 <= header.cloud_frac <= 1.0 and 0.0 <= header.shadow_frac <= 1.0):
        return f"product with shares {header.cloud_frac:g} and {header.shadow_frac:g}, should be in 0 .. 1"
    if header.classes != declared.classes:
        return f"product with classes {', '.join(header.classes)}, declared were {', '.join(declared.classes)}"
    return ""
