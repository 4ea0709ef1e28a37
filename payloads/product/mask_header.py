"""The head of a mask's product: the only part that the node's own process reads.

Layout, big-endian:

    magic         4 octets, "OBSP"
    version       u8, 1 or 2
    bands         u8
    differences   u16, bit b set if band b was coded as difference to band b - 1 (payloads/product/mask.py)
    height, width u16 each
    tile, job     u32 each
    capture time  u64, ns of TAI since 1958-01-01
    fractions     f32 each, shares of classes 1 and 2
    lengths       u32 each, octets of the packed mask and of the packed clear pixels; all ones if those were not sent
    classes       version 2 alone: u16 length, then the names with commas between them
"""

# In version 1 the classes are clear, cloud and shadow. Most products are of that kind and need not say so; version 2
# with these classes is refused, so that a product has one form only.
#
# This file stands apart from payloads/product/mask.py because that one needs numpy, which takes 12 MB of memory and
# belongs in the worker (ADR 0006); a test holds that.
#
# Bounds are checked before anything is allocated: shape and lengths come from outside.

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from flight.contract.names import OWNER_CHARACTERS_MAX, is_name
from flight.core.errors import DecodeError
from payloads.product.answers import CLASSES_MAX, SCREENING
from payloads.product.envelope import DIGEST_OCTETS

BANDS_MAX = 16
PIXELS_MAX = 1 << 22
SAMPLES_MAX = 1 << 23  # 16 MiB of pixels: the most that a decoder may be made to allocate
_NO_PIXELS = 0xFFFFFFFF  # lengths are far below; 0 would not tell "not sent" from a length of 0


@dataclass(frozen=True, slots=True)
class MaskHeader:
    """The head of a mask's product.

    time_ns: capture, TAI since 1958-01-01. cloud_frac, shadow_frac: shares of classes 1 and 2, single precision.
    clear_octets: None if clear pixels were not sent. band_differences: bit b is set if band b was coded as difference
    to band b - 1.
    """

    tile: int
    job: int
    time_ns: int
    bands: int
    height: int
    width: int
    cloud_frac: float
    shadow_frac: float
    band_differences: int
    mask_octets: int
    clear_octets: int | None
    classes: tuple[str, ...] = SCREENING.classes

    MAGIC: ClassVar[bytes] = b"OBSP"
    _STRUCT: ClassVar[struct.Struct] = struct.Struct(">4sBBHHHIIQffII")
    OCTETS: ClassVar[int] = _STRUCT.size

    @property
    def octets(self) -> int:
        """The length of the head itself, in octets."""
        return self.OCTETS + len(self._names)

    @property
    def total_octets(self) -> int:
        """The length of the whole product, in octets."""
        return self.octets + self.mask_octets + (self.clear_octets or 0) + DIGEST_OCTETS

    @property
    def _names(self) -> bytes:
        """The names of the classes as they follow the fixed part."""
        if self.classes == SCREENING.classes:
            return b""
        names = ",".join(self.classes).encode()
        return len(names).to_bytes(2, "big") + names

    def encode(self) -> bytes:
        """Return the octets of the head."""
        names = self._names
        return self._fixed(2 if names else 1) + names

    def _fixed(self, version: int) -> bytes:
        return self._STRUCT.pack(
            self.MAGIC, version, self.bands, self.band_differences, self.height, self.width, self.tile, self.job,
            self.time_ns, self.cloud_frac, self.shadow_frac, self.mask_octets,
            _NO_PIXELS if self.clear_octets is None else self.clear_octets,
        )  # fmt: skip

    @classmethod
    def decode(cls, raw: bytes | memoryview) -> Self:
        """Read the head at the start of `raw`. Raises DecodeError. Does not look at the digest."""
        if len(raw) < cls.OCTETS + DIGEST_OCTETS:
            raise DecodeError(f"product of {len(raw)} octets, shortest is {cls.OCTETS + DIGEST_OCTETS}")
        (magic, version, bands, differences, height, width, tile, job, time_ns, cloud_frac, shadow_frac, mask_octets,
         clear_octets) = cls._STRUCT.unpack_from(raw)  # fmt: skip
        if magic != cls.MAGIC:
            raise DecodeError(f"product begins with {magic.hex()}, should be {cls.MAGIC.hex()}")
        if version not in (1, 2):
            raise DecodeError(f"product version {version}, only 1 and 2 are known")
        if not 1 <= bands <= BANDS_MAX or not 1 <= height * width <= PIXELS_MAX:
            raise DecodeError(
                f"product of {bands} x {height} x {width} samples, at most {BANDS_MAX} bands and {PIXELS_MAX} pixels"
            )
        if bands * height * width > SAMPLES_MAX:
            raise DecodeError(f"product of {bands * height * width} samples, at most {SAMPLES_MAX}")
        if differences & 1 or differences >> bands:
            raise DecodeError(f"band differences {differences:#06x} of {bands} bands, bit 0 is never set")
        sent = None if clear_octets == _NO_PIXELS else clear_octets
        if sent is None and differences:
            raise DecodeError("band differences in a product without clear pixels")
        classes = SCREENING.classes if version == 1 else _classes(raw, cls.OCTETS)
        return cls(
            tile, job, time_ns, bands, height, width, cloud_frac, shadow_frac, differences, mask_octets, sent, classes
        )


def _classes(raw: bytes | memoryview, at: int) -> tuple[str, ...]:
    """Read the names of the classes at octet `at`. Raises DecodeError."""
    # A product is longer than `at` by its digest at least, so the two octets of length are there.
    end = at + 2 + int.from_bytes(raw[at : at + 2], "big")
    classes = tuple(bytes(raw[at + 2 : end]).decode(errors="replace").split(","))
    if not 2 <= len(classes) <= CLASSES_MAX or not all(is_name(name, OWNER_CHARACTERS_MAX) for name in classes):
        raise DecodeError(f"names of classes are {', '.join(classes)!r}, should be 2 .. {CLASSES_MAX} names")
    if classes == SCREENING.classes:
        raise DecodeError("product version 2 with the classes of version 1")
    return classes
