"""The fixed part of a screening product: all of it that the node's own process reads.

It stands apart from payloads/product.py because that one needs numpy, which belongs into the worker: 12 MB of memory.
Layout, big-endian: magic, version, bands, band differences, shape, tile, job, capture time, fractions, lengths.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from flight.core.errors import DecodeError

BANDS_MAX = 16
PIXELS_MAX = 1 << 22
SAMPLES_MAX = 1 << 23  # 16 MiB of pixels: what a decoder may be made to allocate
DIGEST_OCTETS = 32
_NO_PIXELS = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class ProductHeader:
    """The fixed part of a product.

    time_ns: capture, TAI since 1958-01-01. cloud_frac, shadow_frac: shares of the tile, single precision.
    clear_octets: None where clear pixels were not sent. band_differences: bit b set where band b was stored as
    difference to band b - 1.
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

    MAGIC: ClassVar[bytes] = b"OBSP"
    VERSION: ClassVar[int] = 1
    _STRUCT: ClassVar[struct.Struct] = struct.Struct(">4sBBHHHIIQffII")
    OCTETS: ClassVar[int] = _STRUCT.size

    @property
    def total_octets(self) -> int:
        return self.OCTETS + self.mask_octets + (self.clear_octets or 0) + DIGEST_OCTETS

    def encode(self) -> bytes:
        return self._STRUCT.pack(
            self.MAGIC, self.VERSION, self.bands, self.band_differences, self.height, self.width, self.tile, self.job,
            self.time_ns, self.cloud_frac, self.shadow_frac, self.mask_octets,
            _NO_PIXELS if self.clear_octets is None else self.clear_octets,
        )  # fmt: skip

    @classmethod
    def decode(cls, raw: bytes | memoryview) -> Self:
        """The header at the start of `raw`; raises DecodeError. The digest is not looked at."""
        if len(raw) < cls.OCTETS + DIGEST_OCTETS:
            raise DecodeError(f"product of {len(raw)} octets, shortest is {cls.OCTETS + DIGEST_OCTETS}")
        (magic, version, bands, differences, height, width, tile, job, time_ns, cloud_frac, shadow_frac, mask_octets,
         clear_octets) = cls._STRUCT.unpack_from(raw)  # fmt: skip
        if magic != cls.MAGIC:
            raise DecodeError(f"product begins with {magic.hex()}, should be {cls.MAGIC.hex()}")
        if version != cls.VERSION:
            raise DecodeError(f"product version {version}, only {cls.VERSION} is known")
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
        return cls(tile, job, time_ns, bands, height, width, cloud_frac, shadow_frac, differences, mask_octets, sent)
