"""Product codec: what goes in comes out, and nothing but a product or a DecodeError comes out of any octets."""

from __future__ import annotations

import hashlib
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.core.errors import DecodeError
from payloads.product.mask import CLEAR, decode_mask_product, encode_mask_product
from payloads.product.mask_header import MaskHeader


@st.composite
def tiles(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    bands, height, width = draw(st.tuples(st.integers(1, 6), st.integers(1, 12), st.integers(1, 12)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    top = draw(st.sampled_from([1, 300, 10_000, 65_535]))
    samples = random.integers(0, top, (bands, height, width), dtype=np.uint16, endpoint=True)
    mask = random.integers(0, draw(st.integers(0, 2)), (height, width), dtype=np.uint8, endpoint=True)
    return samples, mask


@given(tiles(), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.floats(0, 1))
def test_round_trip(
    tile: tuple[np.ndarray, np.ndarray], number: int, job: int, time_ns: int, cloudy_frac: float
) -> None:
    samples, mask = tile
    raw = encode_mask_product(samples, mask, tile=number, job=job, time_ns=time_ns, cloudy_frac=cloudy_frac)
    product = decode_mask_product(raw)
    assert np.array_equal(product.mask, mask)
    assert (product.header.tile, product.header.job, product.header.time_ns) == (number, job, time_ns)
    assert product.header.cloud_frac == pytest.approx(float((mask == 1).mean()), abs=1e-6)
    assert (product.clear is None) == (product.header.cloud_frac > cloudy_frac)
    if product.clear is not None:
        assert np.array_equal(product.clear, samples[:, mask == CLEAR])
        shown = product.samples(fill=7)
        assert np.array_equal(shown[:, mask == CLEAR], samples[:, mask == CLEAR])
        assert (shown[:, mask != CLEAR] == 7).all()


@given(st.binary(max_size=200))
def test_any_octets(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_mask_product(raw)


def seal(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


@settings(max_examples=120)
@given(tiles(), st.data())
def test_altered_and_sealed_again(tile: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    """Behind a right digest everything else still has to be checked."""
    body = bytearray(encode_mask_product(*tile, tile=1, job=2, time_ns=3)[:-32])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 3))
    try:
        product = decode_mask_product(seal(bytes(body[: len(body) - cut])))
    except DecodeError:
        return
    assert product.mask.shape == (product.header.height, product.header.width)


@given(tiles(), st.data())
def test_altered(tile: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    raw = bytearray(encode_mask_product(*tile, tile=1, job=2, time_ns=3))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DecodeError):
        decode_mask_product(bytes(raw))


def test_bomb_is_refused_without_being_blown_up() -> None:
    mask = zlib.compress(bytes(16))
    bomb = zlib.compress(bytes(30_000_000))
    header = MaskHeader(1, 1, 1, 4, 4, 4, 0.0, 0.0, 0, len(mask), len(bomb))
    raw = seal(header.encode() + mask + bomb)
    tracemalloc.start()
    with pytest.raises(DecodeError, match="exactly 128 octets"):
        decode_mask_product(raw)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"bands": 0}, "0 x 2 x 2"),
        ({"bands": 17}, "17 x 2 x 2"),
        ({"height": 65535, "width": 65535}, "65535 x 65535"),
        ({"bands": 16, "height": 1024, "width": 1024}, "16777216 samples"),
        ({"band_differences": 1}, "bit 0"),
        ({"band_differences": 4}, "band differences"),
        ({"cloud_frac": 0.5}, "header has shares 0.5 and "),
        ({"cloud_frac": float("nan")}, "header has shares nan and "),
    ],
)
def test_header_is_checked(changes: dict[str, int], text: str) -> None:
    mask = zlib.compress(bytes(4))
    clear = zlib.compress(bytes(16))
    good: dict[str, Any] = dict(tile=1, job=1, time_ns=1, bands=2, height=2, width=2, cloud_frac=0.0, shadow_frac=0.0,
                band_differences=0, mask_octets=len(mask), clear_octets=len(clear))  # fmt: skip
    assert decode_mask_product(seal(MaskHeader(**good).encode() + mask + clear)).header.bands == 2
    with pytest.raises(DecodeError, match=text):
        decode_mask_product(seal(MaskHeader(**(good | changes)).encode() + mask + clear))


def test_foreign_magic_version_and_class() -> None:
    raw = encode_mask_product(np.zeros((1, 2, 2), np.uint16), np.zeros((2, 2), np.uint8), tile=1, job=1, time_ns=1)
    with pytest.raises(DecodeError, match="begins with"):
        decode_mask_product(b"XXXX" + raw[4:])
    with pytest.raises(DecodeError, match="version 9"):
        decode_mask_product(raw[:4] + b"\x09" + raw[5:])
    mask = zlib.compress(b"\x03" * 4)
    header = MaskHeader(1, 1, 1, 1, 2, 2, 0.0, 0.0, 0, len(mask), None)
    with pytest.raises(DecodeError, match="class 3"):
        decode_mask_product(seal(header.encode() + mask))
    assert struct.calcsize(">4sBBHHHIIQffII") == len(header.encode())
