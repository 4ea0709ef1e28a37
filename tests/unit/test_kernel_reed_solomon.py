"""Reed-Solomon against CADUs of other people, in the corners of the code, and what it refuses."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from flight.kernels import KernelError, decode_reed_solomon, encode_reed_solomon, randomize_tm, tables
from flight.kernels._kernels import ffi, lib

FRAME: dict[str, int] = {"data_octets": 1115, "parity": 32, "interleave": 5}
MARKER_OCTETS = 4


def codeword(data: bytes, parity: int = 32) -> bytearray:
    word = bytearray(data) + bytes(parity)
    encode_reed_solomon(word, data_octets=len(data), parity=parity, interleave=1)
    return word


def hex_lines(path: Path) -> bytearray:
    return bytearray.fromhex(path.read_text(encoding="ascii"))


def test_suomi_npp(shared: Path) -> None:
    """Seven CADUs as received from Suomi-NPP: (255,223), interleave 4, randomized; frames are AOS."""
    cadus = bytearray((shared / "vectors/ccsds-rs/snpp_7cadus_2vcids.dat").read_bytes())
    assert len(cadus) == 7 * 1024
    units = memoryview(cadus)[MARKER_OCTETS:]
    layout = {"data_octets": 892, "parity": 32, "interleave": 4, "count": 7, "stride": 1024}
    # The randomizer's sequence is itself a codeblock of this interleave: only the header tells that it is still there.
    assert set(decode_reed_solomon(units, **layout)) == {0}
    assert units[0] << 2 & 0xFF | units[1] >> 6 != 157
    for start in range(0, len(cadus), 1024):
        units[start : start + 1020] = randomize_tm(units[start : start + 1020])
    before = bytes(units)
    counts = decode_reed_solomon(units, **layout)
    assert counts.tolist() == [0] * 28
    assert bytes(units) == before
    headers = [int.from_bytes(units[start : start + 2], "big") for start in range(0, len(cadus), 1024)]
    assert [(word >> 14, word >> 6 & 0xFF) for word in headers] == [(1, 157)] * 7
    assert Counter(word & 0x3F for word in headers) == {16: 3, 6: 4}
    check = bytes(units[892:1020])
    units[892:1020] = bytes(128)
    encode_reed_solomon(units, **layout)
    assert bytes(units[892:1020]) == check


@pytest.mark.parametrize(("file", "interleave", "vcid_bits"), [("tm_user_data", 5, 4), ("aos_1", 4, 6)])
def test_cadus_of_another_ground_system(shared: Path, file: str, interleave: int, vcid_bits: int) -> None:
    """Thirty CADUs of spacecraft 123, TM or AOS frames, (255,223), not randomized."""
    cadus = hex_lines(shared / f"vectors/dariol83-ccsds/dumpFile_{file}.hex")
    units, stride = memoryview(cadus)[MARKER_OCTETS:], MARKER_OCTETS + 255 * interleave
    layout = {"data_octets": 223 * interleave, "parity": 32, "interleave": interleave, "count": 30, "stride": stride}
    assert len(cadus) == 30 * stride
    sent = bytes(cadus)
    assert decode_reed_solomon(units, **layout).tolist() == [0] * (30 * interleave)
    words = [int.from_bytes(units[start : start + 2], "big") for start in range(0, len(cadus), stride)]
    assert {word >> vcid_bits & 0xFF for word in words} == {123}
    for unit in range(30):
        check = unit * stride + 223 * interleave
        units[check : check + 32 * interleave] = bytes(32 * interleave)
    encode_reed_solomon(units, **layout)
    assert cadus == sent
    for unit in range(30):  # a burst of 16 symbols in each codeword
        start = unit * stride + 7 * unit
        units[start : start + 16 * interleave] = bytes(x ^ 0xA5 for x in units[start : start + 16 * interleave])
    assert decode_reed_solomon(units, **layout).tolist() == [16] * (30 * interleave)
    assert cadus == sent


def test_the_first_powers_in_the_dual_basis() -> None:
    """The rows of the standard's matrix: the images of ALPHA^7, ... ALPHA, 1."""
    assert [tables.WIRE[1 << bit] for bit in range(7, -1, -1)] == [0x8D, 0xEF, 0xEC, 0x86, 0xFA, 0x99, 0xAF, 0x7B]


@pytest.mark.parametrize("parity", [16, 32])
def test_generator_polynomials_read_the_same_both_ways(parity: int) -> None:
    coefficients = tables.generator(parity)
    assert len(coefficients) == parity + 1
    assert coefficients == coefficients[::-1]


@pytest.mark.parametrize("octet", [0x00, 0xFF])
def test_a_codeword_of_one_octet_throughout(octet: int) -> None:
    """All zeros and, as 1 + x + ... + x^254 has every root but 1, all ones are codewords of both codes."""
    for parity in (16, 32):
        assert codeword(bytes([octet]) * (255 - parity), parity) == bytes([octet]) * 255


@pytest.mark.parametrize("parity", [16, 32])
def test_an_error_in_the_virtual_fill_is_no_correction(parity: int) -> None:
    """A word within one symbol of a codeword, but that symbol was never sent."""
    whole = codeword(b"\x01" + bytes(254 - parity), parity)
    for fill in (1, 100, 254 - parity):
        shortened = whole[fill:]
        received = bytes(shortened)
        layout = {"data_octets": len(shortened) - parity, "parity": parity, "interleave": 1}
        assert decode_reed_solomon(shortened, **layout).tolist() == [-1]
        assert shortened == received
        shortened[-1] ^= 0x10
        assert decode_reed_solomon(shortened, **layout).tolist() == [-1]


@pytest.mark.parametrize("parity", [16, 32])
def test_each_symbol_can_be_the_wrong_one(parity: int) -> None:
    sent = codeword(bytes(range(255 - parity)), parity)
    for place in range(255):
        received = bytearray(sent)
        received[place] ^= 1 << place % 8
        assert decode_reed_solomon(received, data_octets=255 - parity, parity=parity, interleave=1).tolist() == [1]
        assert received == sent


def test_one_lost_codeword_leaves_the_others() -> None:
    sent = bytearray(x * 7 & 0xFF for x in range(1115)) + bytes(160)
    encode_reed_solomon(sent, **FRAME)
    received = bytearray(sent)
    for place in range(17):
        received[5 * place + 2] ^= 0x55
    for place in range(16):
        received[1274 - 5 * place] ^= 0xAA
    want = bytearray(sent)
    want[2:85:5] = received[2:85:5]
    assert decode_reed_solomon(received, **FRAME).tolist() == [0, 0, -1, 0, 16]
    assert received == want


def test_numpy_views_the_counts_without_a_copy() -> None:
    counts = decode_reed_solomon(bytearray(1275), **FRAME)
    view = np.asarray(counts)
    assert view.dtype == np.int8
    assert np.shares_memory(view, np.frombuffer(cast("bytearray", counts.obj), dtype=np.uint8))


@pytest.mark.parametrize(
    ("octets", "change", "text"),
    [
        (1275, {"parity": 8}, "8 check symbols per codeword, should be 16 or 32"),
        (1275, {"interleave": 6}, "interleave is 6, should be one of 1, 2, 3, 4, 5, 8"),
        (1275, {"interleave": 0}, "interleave is 0, should be one of 1, 2, 3, 4, 5, 8"),
        (1275, {"data_octets": 0}, " 0 data octets, should be a multiple of 5 up to 1115"),
        (1275, {"data_octets": 1114}, "1114 data octets, should be a multiple of 5 up to 1115"),
        (1280, {"data_octets": 1120}, "1120 data octets, should be a multiple of 5 up to 1115"),
        (1274, {}, "1274 octets, should be at least 1275 for a count of 1"),
        (2553, {"count": 2, "stride": 1279}, "2553 octets, should be at least 2554 for a count of 2"),
        (2550, {"count": 2, "stride": 0}, "a stride of 0 octets, should be at least 1275"),
        (2550, {"count": 2, "stride": 1274}, "a stride of 1274 octets, should be at least 1275"),
        (1275, {"count": 1 << 60, "stride": 1 << 62}, f"for a count of {1 << 60}"),
    ],
)
def test_layouts_that_do_not_fit(octets: int, change: dict[str, int], text: str) -> None:
    units = bytearray(b"\x5a" * octets)
    for kernel in (encode_reed_solomon, decode_reed_solomon):
        with pytest.raises(KernelError, match=text) as refused:
            kernel(units, **FRAME | change)
        assert refused.value.code == lib.OB_E_LAYOUT
    portable = FRAME | {"stride": 0, "count": 1} | change
    count, stride, data_octets, parity, interleave = (
        portable[name] for name in ("count", "stride", "data_octets", "parity", "interleave")
    )
    arguments = (count, stride, data_octets, parity, interleave)
    target, counts = (ffi.from_buffer(ffi.typeof(t), bytearray(octets)) for t in ("uint8_t[]", "int8_t[]"))
    assert lib.ob_rs_encode_portable(target, octets, *arguments) == lib.OB_E_LAYOUT
    assert lib.ob_rs_decode_portable(target, octets, *arguments, counts, octets) == lib.OB_E_LAYOUT
    assert units == b"\x5a" * octets


def test_what_is_no_number_or_no_buffer() -> None:
    unit: Any
    for kernel in (encode_reed_solomon, decode_reed_solomon):
        for name in ("data_octets", "parity", "interleave", "count", "stride"):
            with pytest.raises(OverflowError):
                kernel(bytearray(1275), **FRAME | {name: -1})
        for unit in (bytes(1275), memoryview(bytes(1275)), memoryview(bytearray(2550))[::2], "text"):
            with pytest.raises((TypeError, BufferError, ValueError)):
                kernel(unit, **FRAME)


def test_no_codeblocks() -> None:
    encode_reed_solomon(bytearray(), **FRAME, count=0)
    assert decode_reed_solomon(bytearray(), **FRAME, count=0).tolist() == []


def test_too_few_counts_are_refused() -> None:
    target, counts = (ffi.from_buffer(ffi.typeof(t), bytearray(1275)) for t in ("uint8_t[]", "int8_t[]"))
    for kernel in (lib.ob_rs_decode, lib.ob_rs_decode_portable):
        assert kernel(target, 1275, 1, 1275, 1115, 32, 5, counts, 4) == lib.OB_E_SPACE
        assert kernel(target, 1275, 1, 1275, 1115, 32, 5, counts, 5) == 0
