"""Telecommand coding: every error pattern of few bits, the share of random codeblocks taken, what is refused."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest

from flight.kernels import ErrorMode, KernelError, decode_codeblocks, make_cltu
from flight.kernels._kernels import ffi, lib

OCTETS = ffi.typeof("uint8_t[]")
BLOCK = make_cltu(b"\x13\x57\x9b\xdf\x02\x46\x8a")[2:10]
TAIL = bytes.fromhex("c5c5c5c5c5c5c579")


def flipped(block: bytes, bits: tuple[int, ...]) -> bytes:
    wrong = sum(1 << 63 - bit for bit in bits)
    return (int.from_bytes(block, "big") ^ wrong).to_bytes(8, "big")


def taken(blocks: bytes, mode: ErrorMode) -> tuple[int, int]:
    run = decode_codeblocks(blocks, mode)
    return run.good, run.corrected


def test_all_errors_of_up_to_three_bits() -> None:
    """The code is linear: what holds for the errors of one codeword holds for those of all."""
    for bit in range(63):
        assert decode_codeblocks(flipped(BLOCK, (bit,)), ErrorMode.SEC).information == BLOCK[:7]
        assert taken(flipped(BLOCK, (bit,)), ErrorMode.TED) == (0, 0)
    for bits in combinations(range(64), 2):
        assert taken(flipped(BLOCK, bits), ErrorMode.SEC) == (0, 0)
    for count in (2, 3):
        for places in combinations(range(63), count):
            assert taken(flipped(BLOCK, places), ErrorMode.TED) == (0, 0)


def test_the_filler_bit_alone_is_no_error() -> None:
    for mode in ErrorMode:
        assert taken(flipped(BLOCK, (63,)), mode) == (1, 0)


def test_a_tail_with_two_wrong_bits_still_ends_the_unit() -> None:
    assert taken(TAIL, ErrorMode.SEC) == taken(TAIL, ErrorMode.TED) == (0, 0)
    for bits in [*combinations(range(63), 1), *combinations(range(63), 2)]:
        assert taken(flipped(TAIL, bits), ErrorMode.SEC) == (0, 0)


def test_share_of_random_codeblocks_that_is_taken() -> None:
    """Whatever the information octets are, among the 256 last octets 2 fit, and 63 more can be corrected."""
    source = Random(7)
    for information in (source.randbytes(7) for _ in range(20)):
        for mode, share in ((ErrorMode.SEC, (2, 63)), (ErrorMode.TED, (2, 0))):
            each = [taken(information + bytes((last,)), mode) for last in range(256)]
            assert (sum(good for good, _ in each), sum(corrected for _, corrected in each)) == share


def test_a_run_says_where_it_stopped() -> None:
    run = decode_codeblocks(BLOCK + flipped(BLOCK, (5,)) + TAIL + BLOCK, ErrorMode.SEC)
    assert (run.information, run.good, run.corrected, run.ended, run.octets) == (BLOCK[:7] * 2, 1, 1, True, 16)
    run = decode_codeblocks(BLOCK + BLOCK[:7], ErrorMode.TED)
    assert (run.good, run.ended, run.octets) == (1, False, 8)


def test_no_frame_is_no_cltu() -> None:
    with pytest.raises(KernelError, match="do not fit together"):
        make_cltu(b"")


def test_refused_room_and_modes() -> None:
    out, result = ffi.from_buffer(OCTETS, bytearray(40)), ffi.new(ffi.typeof("ob_codeblocks *"))
    for room in range(18):
        assert lib.ob_encode_cltu(b"1234567", 7, out, room) == lib.OB_E_SPACE
    assert lib.ob_encode_cltu(b"1234567", 7, out, 18) == 18
    assert lib.ob_encode_cltu(b"12345678", 8, out, 25) == lib.OB_E_SPACE
    assert lib.ob_decode_codeblocks(BLOCK * 2, 16, lib.OB_BCH_SEC, out, 13, result) == lib.OB_E_SPACE
    for mode in (-1, 2):
        assert lib.ob_decode_codeblocks(BLOCK, 8, mode, out, 40, result) == lib.OB_E_LAYOUT
        assert lib.ob_find_start(BLOCK, 8, mode) == lib.OB_E_LAYOUT
