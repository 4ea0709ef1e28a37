"""The product of a mask: class mask, cloud fraction and losslessly compressed clear pixels of one tile.

Layout, big-endian:

    header       payloads/product/mask_header.py
    mask         uint8 [row, column], zlib
    clear        uint16 [band, clear pixel], coded as below; no octets if only the mask is sent
    sha256       over everything before it

Clear pixels are those of class 0, in raster order. They are coded in four steps, which lose nothing:

    1. In each band, each pixel becomes its difference to the pixel before it, modulo 2^16.
    2. In each band but the first, these become differences to those of the band before, if that makes them smaller; a
       bit in the header says so.
    3. Signs are folded in: 0, -1, 1, -2 ... become 0, 1, 2, 3 ...
    4. All low octets come before all high ones, and zlib packs them by run lengths and Huffman codes (Z_RLE).
"""

# Why so. Neighbouring pixels, and neighbouring bands at one pixel, are alike, so differences are small. Folding keeps
# small negative ones small as well, and after the split almost all high octets are 0, which is one long run. String
# matching finds little in what remains: Z_RLE is smaller on these residuals and takes a third of the time.
#
# The mask tells which clear pixels follow, and how many, so their count needs no field of its own and cannot contradict
# it. The shares of cloud and shadow are in the header for a reader who does not unpack; a decoder compares them with
# the mask.

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flight.core.errors import DecodeError
from payloads.product.answers import SCREENING, Mask
from payloads.product.envelope import DIGEST_OCTETS, check_seal, inflate, sealed
from payloads.product.mask_header import MaskHeader

CLEAR, CLOUD, SHADOW = 0, 1, 2

Classes = NDArray[np.uint8]
Samples = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class MaskProduct:
    """A decoded product. mask: uint8 [row, column]; clear: uint16 [band, clear pixel in raster order] or None."""

    header: MaskHeader
    mask: Classes
    clear: Samples | None

    def samples(self, fill: int = 0) -> Samples:
        """Return the picture, uint16 [band, row, column], with `fill` for pixels that are not clear or not sent."""
        picture = np.full((self.header.bands, *self.mask.shape), fill, dtype=np.uint16)
        if self.clear is not None:
            picture[:, self.mask == CLEAR] = self.clear
        return picture


def fractions(mask: Classes) -> tuple[float, float]:
    """Return the shares of classes 1 and 2 in `mask`, rounded to single precision as the header carries them."""
    counts = np.bincount(mask.ravel(), minlength=3)
    return float(np.float32(counts[CLOUD] / mask.size)), float(np.float32(counts[SHADOW] / mask.size))


def encode_mask_product(
    samples: Samples, mask: Classes, *, tile: int, job: int, time_ns: int, cloudy_frac: float = 1.0,
    declared: Mask = SCREENING,
) -> bytes:  # fmt: skip
    """Return the product of one tile.

    samples: uint16 [band, row, column]. mask: uint8 [row, column], of the classes of `declared`. Clear pixels are left
    out if the share of class 1 is over `cloudy_frac`. Takes about 10 ms for 4 x 256 x 256 samples, so it runs in the
    worker, never in the flight loop.
    """
    bands, height, width = samples.shape
    assert samples.dtype == np.uint16, samples.dtype
    assert mask.dtype == np.uint8, mask.dtype
    assert mask.shape == (height, width), (samples.shape, mask.shape)
    assert int(mask.max()) < len(declared.classes), int(mask.max())
    cloud_frac, shadow_frac = fractions(mask)
    packed_mask = zlib.compress(mask.tobytes(), 6)
    packed_clear: bytes | None = None
    differences = 0
    if declared.pixels and cloud_frac <= cloudy_frac:
        residuals, differences = _forward(samples[:, mask == CLEAR])
        packed_clear = _deflate(residuals)
    header = MaskHeader(
        tile, job, time_ns, bands, height, width, cloud_frac, shadow_frac, differences, len(packed_mask),
        None if packed_clear is None else len(packed_clear), declared.classes,
    )  # fmt: skip
    return sealed(header.encode() + packed_mask + (packed_clear or b""))


def decode_mask_product(raw: bytes | memoryview) -> MaskProduct:
    """Decode what `encode_mask_product` made. Raises DecodeError for octets that are not a whole, unaltered product.

    Never allocates more than the header's shape asks for, which is bounded (SAMPLES_MAX).
    """
    header = MaskHeader.decode(raw)
    check_seal(raw, header.total_octets)
    view = memoryview(raw)
    mask_at = header.octets
    clear_at = mask_at + header.mask_octets
    octets = inflate(view[mask_at:clear_at], header.height * header.width, "mask")
    mask = np.frombuffer(octets, dtype=np.uint8).reshape(header.height, header.width)
    if int(mask.max()) >= len(header.classes):
        raise DecodeError(f"mask has class {int(mask.max())}, highest is {len(header.classes) - 1}")
    # Compared as octets: a NaN in the header would equal nothing, not even itself.
    if struct.pack(">ff", header.cloud_frac, header.shadow_frac) != struct.pack(">ff", *fractions(mask)):
        found = " and ".join(f"{share:g}" for share in fractions(mask))
        raise DecodeError(f"header has shares {header.cloud_frac:g} and {header.shadow_frac:g}, the mask has {found}")
    if header.clear_octets is None:
        return MaskProduct(header, mask, None)
    count = int(np.count_nonzero(mask == CLEAR))
    residuals = inflate(view[clear_at:-DIGEST_OCTETS], 2 * header.bands * count, "clear pixels")
    return MaskProduct(header, mask, _backward(residuals, header.bands, count, header.band_differences))


def _forward(clear: Samples) -> tuple[bytes, int]:
    """Return the residuals of uint16 [band, pixel], all low octets before all high ones, and the bits of the header."""
    deltas = np.diff(clear, axis=1, prepend=np.zeros((len(clear), 1), dtype=np.uint16))
    folded = np.empty(clear.shape, dtype=np.uint16)  # C order, whatever order indexing left `clear` in
    differences = 0
    for band, delta in enumerate(deltas):
        folded[band] = _fold(delta)
        if band:
            against_band = _fold(delta - deltas[band - 1])
            # The sum stands in for the packed size, which would take zlib to find out.
            if against_band.sum(dtype=np.int64) < folded[band].sum(dtype=np.int64):
                folded[band] = against_band
                differences |= 1 << band
    return folded.astype("<u2").view(np.uint8).reshape(-1, 2).T.tobytes(), differences


def _backward(octets: bytes, bands: int, count: int, differences: int) -> Samples:
    planes = np.frombuffer(octets, dtype=np.uint8).reshape(2, bands, count)
    deltas = _unfold(planes[0].astype(np.uint16) | planes[1].astype(np.uint16) << 8)
    for band in range(1, bands):
        if differences >> band & 1:
            deltas[band] += deltas[band - 1]
    return np.cumsum(deltas, axis=1, dtype=np.uint16)


def _fold(delta: Samples) -> Samples:
    # The shift to the right copies the sign: 0 or all ones, which turns a negative number's bits round.
    signed = delta.view(np.int16)
    return ((signed << 1) ^ (signed >> 15)).view(np.uint16)


def _unfold(folded: Samples) -> Samples:
    lowest = np.uint16(1)
    sign = np.negative(folded & lowest)  # modulo 2^16: all ones if the lowest bit says negative
    unfolded: Samples = (folded >> lowest) ^ sign
    return unfolded


def _deflate(octets: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    return packer.compress(octets) + packer.flush()
