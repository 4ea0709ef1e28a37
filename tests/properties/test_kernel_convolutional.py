"""Convolutional encoder and Viterbi decoder: plain models, every path the same, what the code must correct."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from flight.kernels import ConvolutionalEncoder, ViterbiDecoder, soften
from flight.kernels._kernels import ffi, lib

STATES = range(64)
# No more than a flush holds: what it delivers is the one likeliest path from the start to the end.
BLOCK_OCTETS = lib.OB_VITERBI_FLUSH_OCTETS

# What hypothesis draws octet by octet is short, so long inputs are made from a seed.
seeds = st.integers(0, 1 << 32)
octets = st.binary(max_size=30) | st.builds(lambda seed, size: Random(seed).randbytes(size), seeds, st.integers(0, 300))
# Few values make many ties.
values = st.sampled_from([bytes(range(256)), b"\x00\xff", b"\x00\x7f\x80\xff", b"\x40\xc0\xff"])
cuts = st.lists(st.integers(0, 3000), max_size=8)


def noise(seed: int, size: int, chosen: bytes) -> bytes:
    return bytes(Random(seed).choices(chosen, k=size))


soft = st.binary(max_size=100) | st.builds(noise, seeds, st.integers(0, 3000), values)


def pieces(data: bytes, at: list[int]) -> list[bytes]:
    return [data[start:end] for start, end in pairwise([0, *sorted(at), max([len(data), *at])])]


def parity(word: int) -> int:
    return word.bit_count() % 2


def outputs(memory: int, bit: int) -> tuple[int, int]:
    """C1 and C2: the register as the standard writes it, the bit that comes in leftmost."""
    register = bit << 6 | int(f"{memory:06b}"[::-1], 2)
    return parity(register & 0o171), 1 - parity(register & 0o133)


def next_memory(memory: int, bit: int) -> int:
    return memory << 1 & 63 | bit


BRANCHES = {(memory, bit): outputs(memory, bit) for memory in STATES for bit in (0, 1)}


def bits_of(data: bytes) -> list[int]:
    return [octet >> place & 1 for octet in data for place in range(7, -1, -1)]


def encode_model(data: bytes, memory: int = 0) -> list[int]:
    symbols: list[int] = []
    for bit in bits_of(data):
        symbols += BRANCHES[memory, bit]
        memory = next_memory(memory, bit)
    return symbols


def cost(symbols: bytes, sent: list[int]) -> int:
    return sum(255 - symbol if one else symbol for symbol, one in zip(symbols, sent, strict=True))


def least_cost(symbols: bytes, from_zero: bool, to_zero: bool) -> int:
    """Of all paths through the trellis: the search that no decoder can do better than."""
    memory, bit = (index.ravel() for index in np.indices((64, 2)))
    sent = 255 * np.array([BRANCHES[m, b] for m, b in zip(memory.tolist(), bit.tolist(), strict=True)])
    # The two ways into each memory stand side by side.
    ways = np.argsort(memory << 1 & 63 | bit, kind="stable")
    costs = np.zeros(64, np.int64)
    if from_zero:
        costs[1:] = 1 << 40
    for pair in np.frombuffer(symbols, np.uint8).astype(np.int64).reshape(-1, 2):
        totals = costs[memory] + np.abs(pair - sent).sum(axis=1)
        costs = totals[ways].reshape(64, 2).min(axis=1)
    return int(costs[0] if to_zero else costs.min())


def decode(symbols: bytes, *, from_zero: bool = False, to_zero: bool = False) -> bytes:
    decoder = ViterbiDecoder(from_zero=from_zero)
    return decoder.decode(symbols) + decoder.flush(to_zero=to_zero)


def encoded(data: bytes) -> bytes:
    """Soft symbols without noise of `data` and an octet of zeros."""
    return soften(ConvolutionalEncoder().encode(data + b"\0"))


def spoiled(symbols: bytes, places: set[int], value: int | None = None) -> bytes:
    """With other symbols at `places`: `value`, or the inverse of what was there."""
    out = bytearray(symbols)
    for place in places:
        out[place] = 255 - out[place] if value is None else value
    return bytes(out)


@given(octets, cuts)
def test_the_encoder_is_the_shift_register(data: bytes, at: list[int]) -> None:
    encoder = ConvolutionalEncoder()
    symbols = b"".join(encoder.encode(piece) for piece in pieces(data, at))
    assert bits_of(symbols) == encode_model(data)


@given(octets)
def test_soft_symbols_are_the_bits(data: bytes) -> None:
    assert list(soften(data)) == [255 * bit for bit in bits_of(data)]


@given(octets, cuts)
def test_what_was_encoded_comes_back_however_cut(data: bytes, at: list[int]) -> None:
    decoder = ViterbiDecoder()
    out = b"".join(decoder.decode(piece) for piece in pieces(encoded(data), at))
    assert out + decoder.flush(to_zero=True) == data + b"\0"
    assert (decoder.symbol_errors, decoder.symbols_compared) == (0, 16 * len(data) + 16)


@given(soft, cuts)
def test_cuts_change_nothing_in_noise(symbols: bytes, at: list[int]) -> None:
    whole, cut = ViterbiDecoder(), ViterbiDecoder()
    assert b"".join(cut.decode(piece) for piece in pieces(symbols, at)) == whole.decode(symbols)
    assert cut.flush() == whole.flush()
    assert (cut.symbol_errors, cut.symbols_compared) == (whole.symbol_errors, whole.symbols_compared)


@given(soft, st.booleans(), st.booleans())
def test_every_path_is_the_portable_one(symbols: bytes, from_zero: bool, to_zero: bool) -> None:
    found = []
    for start in (lib.ob_viterbi_start, lib.ob_viterbi_start_portable):
        state = ffi.new("ob_viterbi *")
        start(state, from_zero)
        out = bytearray(len(symbols) // 16 + lib.OB_VITERBI_FLUSH_OCTETS)
        view = ffi.from_buffer(ffi.typeof("uint8_t[]"), out)
        written = lib.ob_viterbi_decode(state, symbols, len(symbols), view, len(out))
        rest = ffi.from_buffer(ffi.typeof("uint8_t[]"), memoryview(out)[written:])
        flushed = lib.ob_viterbi_flush(state, to_zero, rest, len(rest))
        assert written + flushed == len(symbols) // 16
        found.append((bytes(out), state.symbol_errors, state.symbols_compared))
    assert found[0] == found[1]


blocks = st.builds(
    lambda seed, size, chosen: noise(seed, 16 * size, chosen), seeds, st.integers(0, BLOCK_OCTETS), values
)


@given(blocks, st.booleans(), st.booleans())
def test_no_path_is_likelier_than_the_one_decoded(symbols: bytes, from_zero: bool, to_zero: bool) -> None:
    data = decode(symbols, from_zero=from_zero, to_zero=to_zero)
    assert 16 * len(data) == len(symbols)
    assume(not (to_zero and not data))
    if to_zero:
        assert data[-1] & 0x3F == 0
    starts = [0] if from_zero else STATES
    found = min(cost(symbols, encode_model(data, start)) for start in starts)
    assert found == least_cost(symbols, from_zero, to_zero)


@given(soft)
def test_errors_are_counted_against_the_data_encoded_again(symbols: bytes) -> None:
    decoder = ViterbiDecoder(from_zero=True)
    data = decoder.decode(symbols)
    # The path of a later block need not start where that of the block before it ended.
    assume(len(data) <= decoder.BLOCK_BITS // 8)
    sent = encode_model(data)
    kept = [(symbol >= 128, one) for symbol, one in zip(symbols, sent, strict=False) if symbol not in (127, 128)]
    assert decoder.symbols_compared == len(kept)
    assert decoder.symbol_errors == sum(hard != one for hard, one in kept)


@given(octets, st.data())
def test_any_four_symbol_errors_are_corrected(data: bytes, draw: st.DataObject) -> None:
    """The free distance is 10: no two codewords differ in fewer places."""
    symbols = encoded(data)
    places = draw.draw(st.sets(st.integers(0, len(symbols) - 1), max_size=4))
    assert decode(spoiled(symbols, places), from_zero=True, to_zero=True) == data + b"\0"


@given(octets, st.data(), st.sampled_from([127, 128]))
def test_any_nine_erasures_are_filled(data: bytes, draw: st.DataObject, erasure: int) -> None:
    symbols = encoded(data)
    places = draw.draw(st.sets(st.integers(0, len(symbols) - 1), max_size=9))
    start = draw.draw(st.integers(0, len(symbols) - 9))
    for chosen in (places, set(range(start, start + 9))):
        assert decode(spoiled(symbols, chosen, erasure), from_zero=True, to_zero=True) == data + b"\0"


@given(seeds)
def test_four_errors_in_every_hundred_symbols_are_corrected(seed: int) -> None:
    source = Random(seed)
    data = source.randbytes(400)
    symbols = encoded(data)
    places = {start + place for start in range(100, 6300, 100) for place in source.sample(range(40), 4)}
    decoder = ViterbiDecoder()
    out = decoder.decode(spoiled(symbols, places))
    errors, compared = decoder.symbol_errors, decoder.symbols_compared
    assert out == data[: len(out)]
    assert compared == 16 * len(out)
    assert errors == sum(place < compared for place in places)
