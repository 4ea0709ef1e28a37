"""Judge an answer: compare the copies that the node made of the slot with what it had asked for."""

# A worker shares its process with an app that is not trusted, so everything from there may be false. What
# is checked is what could harm the node or mislead the ground: that product and answer have the sizes stated, belong to
# this tile and job, and are of the declared kind. A product of another tile must never be sent under this one's name.
#
# What is not checked: the product's SHA-256, which takes longer than a step may, and which a worker that wanted to fake
# a product could compute as well (ADR 0019); and the values in a table or the pixels, which are the worker's word. The
# ground checks the first, and looks at the values again.
#
# It runs in the flight loop: quick, and without numpy.

from __future__ import annotations

from flight.core.errors import DecodeError
from payloads.product.answers import AnyKind, Mask
from payloads.product.mask_header import MaskHeader
from payloads.product.records import RecordHeader
from payloads.worker.wire import Answer, Request


def fault_of(declared: AnyKind, product: bytes, octets: bytes, asked: Request, answer: Answer) -> str:
    """Say what is wrong with a copied product and answer, "" if they are what was asked for.

    asked: the request. answer: the message in which the worker states their sizes.
    """
    header: MaskHeader | RecordHeader
    try:
        header = MaskHeader.decode(product) if isinstance(declared, Mask) else RecordHeader.decode(product)
    except DecodeError as error:
        return str(error)
    if header.total_octets != answer.product_octets or len(product) != answer.product_octets:
        return f"product of {answer.product_octets} octets, its header says {header.total_octets}"
    if (header.tile, header.job, header.time_ns) != (asked.tile, asked.job, asked.time_ns):
        return f"product of tile {header.tile}, job {header.job}, should be of tile {asked.tile}, job {asked.job}"
    fault = _mask_fault(declared, header, asked) if isinstance(declared, Mask) else ""
    if fault:
        return fault
    if len(octets) != answer.answer_octets:
        return f"answer of {answer.answer_octets} octets, the slot takes {len(octets)}"
    return declared.fault(octets, asked.height, asked.width)


def pixels_withheld(declared: AnyKind, product: bytes) -> bool:
    """Return whether the product of a mask lacks the pixels that a tile with less of class 1 would have."""
    return isinstance(declared, Mask) and declared.pixels and MaskHeader.decode(product).clear_octets is None


def _mask_fault(declared: Mask, header: MaskHeader | RecordHeader, asked: Request) -> str:
    assert isinstance(header, MaskHeader), "masks have a head of their own"
    if (header.bands, header.height, header.width) != (asked.bands, asked.height, asked.width):
        return (
            f"product of {header.bands} x {header.height} x {header.width} samples, should be"
            f" {asked.bands} x {asked.height} x {asked.width}"
        )
    if not (0.0 <= header.cloud_frac <= 1.0 and 0.0 <= header.shadow_frac <= 1.0):
        return f"product with shares {header.cloud_frac:g} and {header.shadow_frac:g}, should be in 0 .. 1"
    if header.classes != declared.classes:
        return f"product with classes {', '.join(header.classes)}, should be {', '.join(declared.classes)}"
    return ""
