"""The Reed-Solomon kernels equal a plain Python model of the code, and other people's codecs if there are some."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random

import pytest
import reedsolo
from hypothesis import given
from hypothesis import strategies as st

from flight.core.errors import SetupError
from flight.kernels import decode_reed_solomon, encode_reed_solomon
from flight.kernels._kernels import ffi, lib
from tests import libfec_reed_solomon as libfec

OCTETS, COUNTS = ffi.typeof("uint8_t[]"), ffi.typeof("int8_t[]")


# --- the model: polynomial division in the conventional basis, and a change of basis before and after ---

# The standard's matrix from the conventional to the dual basis: where each bit of an octet goes, the highest first.
MATRIX = (0b10001101, 0b11101111, 0b11101100, 0b10000110, 0b11111010, 0b10011001, 0b10101111, 0b01111011)


def _to_dual(octet: int) -> int:
    total = 0
    for bit, row in enumerate(MATRIX):
        total ^= row if octet << bit & 0x80 else 0
    return total


TO_DUAL = bytes(_to_dual(octet) for octet in range(256))
FROM_DUAL = bytes(TO_DUAL.index(octet) for octet in range(256))


def product(a: int, b: int) -> int:
    """In GF(256) by x^8 + x^7 + x^2 + x + 1."""
    total = 0
    for bit in range(8):
        total ^= a << bit if b >> bit & 1 else 0
    for bit in range(14, 7, -1):
        total ^= 0x187 << bit - 8 if total >> bit & 1 else 0
    return total


def alpha(exponent: int) -> int:
    total = 1
    for _ in range(exponent % 255):
        total = product(total, 2)
    return total


@cache
def multiples(parity: int) -> list[int]:
    """The generator polynomial, its highest coefficient left out, times each octet; coefficients as octets."""
    generator = [1]
    for root in range(128 - parity // 2, 128 + parity // 2):
        times_root = [product(coefficient, alpha(11 * root)) for coefficient in generator]
        generator = [a ^ b for a, b in zip([*generator, 0], [0, *times_root], strict=True)]
    return [int.from_bytes(bytes(product(c, octet) for c in generator[1:]), "big") for octet in range(256)]


def check_symbols(data: bytes, parity: int) -> bytes:
    """Of one codeword; virtual fill of zeros in front changes nothing."""
    remainder, low = 0, (1 << 8 * (parity - 1)) - 1
    for octet in data.translate(FROM_DUAL):
        remainder = (remainder & low) << 8 ^ multiples(parity)[octet ^ remainder >> 8 * (parity - 1)]
    return remainder.to_bytes(parity, "big").translate(TO_DUAL)


# --- codeblocks, several in one buffer ---


@dataclass(frozen=True, slots=True)
class Layout:
    parity: int
    interleave: int
    symbols: int  # of data, a codeword
    count: int
    gap: int  # octets from the end of a codeblock to the next

    @property
    def data_octets(self) -> int:
        return self.symbols * self.interleave

    @property
    def unit(self) -> int:
        return (self.symbols + self.parity) * self.interleave

    @property
    def octets(self) -> int:
        return self.count * (self.unit + self.gap) - self.gap

    @property
    def codewords(self) -> int:
        return self.count * self.interleave

    def at(self, codeword: int) -> slice:
        """Where the octets of a codeword stand, codewords counted through all units."""
        unit, first = divmod(codeword, self.interleave)
        start = unit * (self.unit + self.gap)
        return slice(start + first, start + self.unit, self.interleave)

    @property
    def arguments(self) -> tuple[int, int, int, int, int]:
        return self.count, self.unit + self.gap, self.data_octets, self.parity, self.interleave

    @property
    def keywords(self) -> dict[str, int]:
        return dict(zip(("count", "stride", "data_octets", "parity", "interleave"), self.arguments, strict=True))


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    parity = draw(st.sampled_from((16, 32)))
    most = 255 - parity
    symbols = draw(st.integers(1, 9) | st.integers(1, most) | st.just(most))
    return Layout(
        parity, draw(st.sampled_from((1, 2, 3, 4, 5, 8))), symbols, draw(st.integers(1, 3)), draw(st.integers(0, 9))
    )


def encoded(layout: Layout, source: Random) -> bytes:
    """Random frames with the model's check symbols, and random octets in the gaps."""
    octets = bytearray(source.randbytes(layout.octets))
    for codeword in range(layout.codewords):
        data = bytes(octets[layout.at(codeword)][: layout.symbols])
        octets[layout.at(codeword)] = data + check_symbols(data, layout.parity)
    return bytes(octets)


def encode_portable(octets: bytearray, layout: Layout) -> None:
    assert lib.ob_rs_encode_portable(ffi.from_buffer(OCTETS, octets), len(octets), *layout.arguments) == layout.count


def decode_portable(octets: bytearray, layout: Layout) -> list[int]:
    corrected = bytearray(layout.codewords)
    bad = lib.ob_rs_decode_portable(
        ffi.from_buffer(OCTETS, octets),
        len(octets),
        *layout.arguments,
        ffi.from_buffer(COUNTS, corrected),
        layout.codewords,
    )
    counts = list(memoryview(corrected).cast("b"))
    assert bad == counts.count(-1)
    return counts


def decode_both(received: bytes | bytearray, layout: Layout) -> tuple[list[int], bytes]:
    """What the wrapper and the portable path agree on."""
    ours, portable = bytearray(received), bytearray(received)
    counts = decode_reed_solomon(ours, **layout.keywords).tolist()
    assert counts == decode_portable(portable, layout)
    assert ours == portable
    return counts, bytes(ours)


seeds = st.integers(0, 1 << 32)


@given(layouts(), seeds)
def test_encoding_is_the_division_of_the_model(layout: Layout, seed: int) -> None:
    want = encoded(layout, Random(seed))
    blank = bytearray(want)
    for codeword in range(layout.codewords):
        blank[layout.at(codeword)] = want[layout.at(codeword)][: layout.symbols] + bytes(layout.parity)
    ours, portable = bytearray(blank), bytearray(blank)
    encode_reed_solomon(ours, **layout.keywords)
    encode_portable(portable, layout)
    assert ours == portable == want


@given(layouts(), seeds, st.data())
def test_up_to_e_errors_are_corrected_and_counted(layout: Layout, seed: int, draws: st.DataObject) -> None:
    source = Random(seed)
    sent = encoded(layout, source)
    received = bytearray(sent)
    errors = [draws.draw(st.integers(0, layout.parity // 2)) for _ in range(layout.codewords)]
    for codeword in range(layout.codewords):
        word = received[layout.at(codeword)]
        for place in source.sample(range(len(word)), errors[codeword]):
            word[place] ^= source.randint(1, 255)
        received[layout.at(codeword)] = word
    assert decode_both(received, layout) == (errors, sent)


@given(layouts(), seeds, st.integers(0, 24))
def test_whatever_is_corrected_is_a_codeword(layout: Layout, seed: int, errors: int) -> None:
    """Random octets (0 errors stand for them), and codewords with about as many errors as can be corrected."""
    source = Random(seed)
    received = bytearray(source.randbytes(layout.octets) if errors == 0 else encoded(layout, source))
    for codeword in range(layout.codewords):
        word = received[layout.at(codeword)]
        for place in source.sample(range(len(word)), min(errors, len(word))):
            word[place] ^= source.randint(1, 255)
        received[layout.at(codeword)] = word
    counts, decoded = decode_both(received, layout)
    seen = bytearray(decoded)
    for codeword, count in enumerate(counts):
        before, after = received[layout.at(codeword)], decoded[layout.at(codeword)]
        assert sum(a != b for a, b in zip(before, after, strict=True)) == max(count, 0)
        assert count <= layout.parity // 2
        if count >= 0:
            assert check_symbols(after[: layout.symbols], layout.parity) == after[layout.symbols :]
        seen[layout.at(codeword)] = before
    assert seen == received, "octets between the codeblocks"


@given(st.binary(min_size=17, max_size=255))
def test_any_octets_as_one_codeword(received: bytes) -> None:
    for parity in (16, 32):
        if parity < len(received):
            layout = Layout(parity, 1, len(received) - parity, 1, 0)
            counts, decoded = decode_both(received, layout)
            assert counts != [-1] or decoded == received


@pytest.mark.parametrize("parity", [16, 32])
@given(seed=seeds)
def test_the_code_is_reedsolo_s(parity: int, seed: int) -> None:
    """reedsolo in the conventional basis, its exponents of ALPHA^11."""
    source = Random(seed)
    codec = reedsolo.RSCodec(parity, nsize=255, fcr=128 - parity // 2, prim=0x187, generator=alpha(11))
    layout = Layout(parity, 1, source.randint(1, 255 - parity), 1, 0)
    sent = encoded(layout, source)
    data = sent[: layout.symbols]
    assert bytes(codec.encode(bytearray(data.translate(FROM_DUAL)))).translate(TO_DUAL) == sent
    received = bytearray(sent)
    for place in source.sample(range(len(sent)), min(3, len(sent))):
        received[place] ^= source.randint(1, 255)
    theirs = codec.decode(bytearray(received.translate(FROM_DUAL)))[1]
    counts, decoded = decode_both(received, layout)
    assert bytes(theirs).translate(TO_DUAL) == decoded
    assert counts == [3]


@given(layouts(), seeds, st.integers(0, 18))
def test_the_codec_is_libfec_s(layout: Layout, seed: int, errors: int) -> None:
    try:
        libfec.library()
    except SetupError as missing:
        pytest.skip(str(missing))
    source = Random(seed)
    octets = bytearray(source.randbytes(layout.octets))
    encode_reed_solomon(octets, **layout.keywords)
    received = bytearray(octets)
    for codeword in range(layout.codewords):
        word = octets[layout.at(codeword)]
        assert libfec.encode(bytes(word[: layout.symbols]), layout.parity) == word[layout.symbols :]
        for place in source.sample(range(len(word)), min(errors, len(word))):
            word[place] ^= source.randint(1, 255)
        received[layout.at(codeword)] = word
    counts, decoded = decode_both(received, layout)
    for codeword, count in enumerate(counts):
        theirs = libfec.decode(bytes(received[layout.at(codeword)]), layout.parity)
        if errors <= layout.parity // 2:
            assert (count, decoded[layout.at(codeword)]) == theirs
