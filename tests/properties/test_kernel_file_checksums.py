"""The checksums of files equal plain models and other people's code, however the file is cut into pieces."""

from __future__ import annotations

import zlib

import crcmod
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.kernels import KernelError, crc32c, modular_checksum
from flight.link.cfdp.checksums import CHECKSUMS, CRC32, CRC32C, MODULAR, NULL

octets = st.binary(max_size=700)
words = st.integers(0, 2**32 - 1)


def crc32c_model(data: bytes, before: int = 0) -> int:
    """Bit by bit, the lowest bit of an octet first."""
    register = before ^ 0xFFFFFFFF
    for octet in data:
        for bit in range(8):
            feedback = (register ^ octet >> bit) & 1
            register = register >> 1 ^ (0x82F63B78 if feedback else 0)
    return register ^ 0xFFFFFFFF


def modular_model(data: bytes, before: int = 0, offset: int = 0) -> int:
    """Octet by octet, each at its place in its word."""
    places = (octet << 8 * (3 - (offset + i) % 4) for i, octet in enumerate(data))
    return (before + sum(places)) % 2**32


@given(octets, words)
def test_crc32c_is_the_shift_register(data: bytes, before: int) -> None:
    assert crc32c(data, before) == crc32c_model(data, before)


@given(octets)
def test_crc32c_is_that_of_crcmod(data: bytes) -> None:
    assert crc32c(data) == crcmod.mkCrcFun(0x11EDC6F41, initCrc=0, rev=True, xorOut=0xFFFFFFFF)(data)


@given(octets, words, st.integers(0, 2**64 - 1))
def test_modular_checksum_is_the_sum_of_words(data: bytes, before: int, offset: int) -> None:
    assert modular_checksum(data, before, offset) == modular_model(data, before, offset)


@given(octets, st.integers(0, 9))
def test_any_buffer_at_any_address_gives_the_same(data: bytes, skip: int) -> None:
    tail = data[skip:]
    for view in (bytearray(tail), memoryview(data)[skip:], memoryview(bytearray(data))[skip:]):
        assert crc32c(view) == crc32c(tail)
        assert modular_checksum(view) == modular_checksum(tail)


@pytest.mark.parametrize("before", [-1, 2**32])
def test_a_checksum_of_more_than_32_bits_is_refused(before: int) -> None:
    with pytest.raises(KernelError, match=r"outside 0\.\.4294967295"):
        crc32c(b"", before)
    with pytest.raises(KernelError, match=r"outside 0\.\.4294967295"):
        modular_checksum(b"", before, 0)


@pytest.mark.parametrize("number", CHECKSUMS)
@given(data=octets, cuts=st.lists(st.integers(0, 700), max_size=5))
def test_a_file_in_pieces_has_the_checksum_of_the_whole(number: int, data: bytes, cuts: list[int]) -> None:
    kind = CHECKSUMS[number]
    value, at = 0, 0
    for end in [*sorted(cuts), len(data)]:
        piece = memoryview(data)[at:end]
        value, at = kind.add(piece, value, at), at + len(piece)
    assert value == kind.of(data)


def test_checksums_of_the_check_string() -> None:
    check = b"123456789"
    assert CHECKSUMS[CRC32C].of(check) == 0xE3069283
    assert CHECKSUMS[CRC32].of(check) == zlib.crc32(check) == 0xCBF43926
    assert CHECKSUMS[NULL].of(check) == 0
    assert CHECKSUMS[MODULAR].of(check) == (0x31323334 + 0x35363738 + 0x39000000) % 2**32


def test_crc32c_is_that_of_anycrc() -> None:
    anycrc = pytest.importorskip("anycrc")  # not among the few packages of `make check-aarch64`
    for octets_count in (0, 1, 7, 8, 9, 1000, 65536):
        data = bytes(3 * i % 251 for i in range(octets_count))
        assert crc32c(data) == anycrc.Model("CRC32C").calc(data)


def test_the_modular_checksum_of_the_standard() -> None:
    # 727.0-B-5, annex F: the octets 00, 01, 02 ... 0E, in segments that do not end with words
    data = bytes(range(15))
    assert CHECKSUMS[MODULAR].of(data) == 0x181C2015
    value = CHECKSUMS[MODULAR].add(data[:5], 0, 0)
    assert CHECKSUMS[MODULAR].add(data[5:], value, 5) == 0x181C2015
