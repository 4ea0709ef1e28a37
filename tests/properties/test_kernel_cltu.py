"""Telecommand coding equals a plain Python model, bit by bit, in both error modes and for any octets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.kernels import ErrorMode, decode_codeblocks, find_start, make_cltu, randomize_tc
from flight.link.coding.cltu import CODEBLOCKS_MAX, CltuReceiver, decode_cltu, encode_cltu

BITS = 63
TAIL = bytes.fromhex("c5c5c5c5c5c5c579")
modes = st.sampled_from(ErrorMode)


def parity_model(information: bytes) -> list[int]:
    """The shift register of 231.0-B-4, figure 3-2: 7 parity bits, not complemented."""
    register = [0] * 7  # of x^0 to x^6
    for octet in information:
        for place in range(7, -1, -1):
            feedback = register[6] ^ octet >> place & 1
            register = [feedback, *register[:6]]
            for power in (2, 6):
                register[power] ^= feedback
    return register[::-1]


def codeblock_model(information: bytes) -> bytes:
    last = 0
    for bit in parity_model(information):
        last = last << 1 | bit ^ 1
    return information + bytes((last << 1,))


def cltu_model(data: bytes) -> bytes:
    data += b"\x55" * (-len(data) % 7)
    return b"\xeb\x90" + b"".join(codeblock_model(data[at : at + 7]) for at in range(0, len(data), 7)) + TAIL


def flipped(octets: bytes, *bits: int) -> bytes:
    out = bytearray(octets)
    for bit in bits:
        out[bit // 8] ^= 0x80 >> bit % 8
    return bytes(out)


def decode_model(data: bytes, mode: ErrorMode) -> tuple[bytes, int, int, bool]:
    """Information octets, codeblocks good and corrected, whether one followed that was not taken."""
    information, good, corrected = b"", 0, 0
    for at in range(0, len(data) - 7, 8):
        block = data[at : at + 8]
        filler = block[7] & 1
        plain = block[:7] + bytes((block[7] & 0xFE,))
        # One wrong bit at most: the codeword is found by trying each, not by its syndrome.
        words = [plain] if mode is ErrorMode.TED or filler else [plain, *(flipped(plain, bit) for bit in range(BITS))]
        word = next((word for word in words if codeblock_model(word[:7]) == word), None)
        if word is None:
            return information, good, corrected, True
        information += word[:7]
        good += word == plain
        corrected += word != plain
    return information, good, corrected, False


def start_model(data: bytes, mode: ErrorMode) -> int:
    allowed = 1 if mode is ErrorMode.SEC else 0
    for at in range(len(data)):
        wrong = int.from_bytes(data[at : at + 2], "big") ^ int.from_bytes(b"\xeb\x90"[: len(data) - at], "big")
        if wrong.bit_count() <= allowed:
            return at
    return len(data)


def wrong_somewhere(cltu: bytes, bits: list[int]) -> bytes:
    return flipped(cltu, *(bit % (8 * len(cltu)) for bit in bits))


noise = st.lists(st.integers(0, 8 * 80 - 1), max_size=4)
damaged_runs = st.builds(
    lambda data, bits: wrong_somewhere(make_cltu(data)[2:], bits), st.binary(min_size=1, max_size=70), noise
)


@given(st.binary(min_size=1, max_size=80))
def test_cltu_is_the_shift_register(data: bytes) -> None:
    assert make_cltu(data) == make_cltu(bytearray(data)) == cltu_model(data)


@given(st.binary(max_size=80) | damaged_runs, modes)
def test_codeblocks_are_decoded_as_the_model_does(data: bytes, mode: ErrorMode) -> None:
    run = decode_codeblocks(data, mode)
    assert (run.information, run.good, run.corrected, run.ended) == decode_model(data, mode)
    assert run == decode_codeblocks(memoryview(b"x" + data)[1:], mode)
    assert run.octets == len(run.information) // 7 * 8


starts = st.lists(st.sampled_from([b"\xeb", b"\x90", b"\xeb\x90", b"\xea\x90", b"\xeb\x91", b"\x55", b"\0"]))


@given(starts.map(b"".join) | st.binary(max_size=40), modes)
def test_search_finds_the_first_start_sequence(data: bytes, mode: ErrorMode) -> None:
    assert find_start(data, mode) == start_model(data, mode)


@given(st.binary(min_size=7, max_size=7), st.integers(0, BITS - 1))
def test_any_wrong_bit_is_corrected_or_detected(information: bytes, bit: int) -> None:
    damaged = flipped(codeblock_model(information), bit)
    run = decode_codeblocks(damaged, ErrorMode.SEC)
    assert (run.information, run.good, run.corrected, run.ended) == (information, 0, 1, False)
    assert decode_codeblocks(damaged, ErrorMode.TED).ended


@given(st.binary(min_size=7, max_size=7), st.sets(st.integers(0, BITS), min_size=2, max_size=2))
def test_two_wrong_bits_are_no_codeblock_in_sec(information: bytes, bits: set[int]) -> None:
    """Of all 64: with the filler bit wrong too, the other one is not corrected."""
    assert decode_codeblocks(flipped(codeblock_model(information), *bits), ErrorMode.SEC).ended


@given(st.binary(min_size=7, max_size=7), st.sets(st.integers(0, BITS - 1), min_size=1, max_size=3))
def test_up_to_three_wrong_bits_are_no_codeblock_in_ted(information: bytes, bits: set[int]) -> None:
    assert decode_codeblocks(flipped(codeblock_model(information), *bits), ErrorMode.TED).ended


@given(st.binary(min_size=1, max_size=1024), modes, st.booleans())
def test_cltu_round_trip(frame: bytes, mode: ErrorMode, randomized: bool) -> None:
    cltu = encode_cltu(frame, randomized=randomized)
    assert decode_cltu(cltu, mode, randomized=randomized)[: len(frame)] == frame
    receiver = CltuReceiver(mode, randomized)
    (unit,) = receiver.feed(cltu)
    assert unit[: len(frame)] == frame
    assert (receiver.units, receiver.broken, receiver.codeblocks) == (1, 0, -(-len(frame) // 7))
    if randomized:
        assert cltu == cltu_model(randomize_tc(frame))


def receiver_model(data: bytes, mode: ErrorMode) -> list[bytes]:
    """The machine of the module's docstring over all octets at once, one codeblock after the other."""
    units, at = [], 0
    while True:
        at += start_model(data[at:], mode)
        if at + 2 > len(data):
            return units
        at += 2
        frames = b""
        while True:
            block = data[at : at + 8]
            if len(block) < 8:
                return units
            information, *_, ended = decode_model(block, mode)
            if ended:
                units += [frames] if frames else []
                at += 8 if frames and block == TAIL else 0
                break
            if len(frames) == 7 * CODEBLOCKS_MAX:
                break
            frames += information
            at += 8


pieces = st.lists(
    st.builds(lambda data, bits: wrong_somewhere(make_cltu(data), bits), st.binary(min_size=1, max_size=30), noise)
    | st.binary(max_size=12),
    max_size=5,
)


@given(pieces, modes, st.lists(st.integers(0, 400), max_size=4))
def test_receiver_is_its_machine_whatever_the_split(parts: list[bytes], mode: ErrorMode, cuts: list[int]) -> None:
    data = b"".join(parts)
    at = sorted(min(cut, len(data)) for cut in cuts)
    receiver = CltuReceiver(mode)
    got = [unit for a, b in zip([0, *at], [*at, len(data)], strict=True) for unit in receiver.feed(data[a:b])]
    assert got == receiver_model(data, mode)
    assert receiver.units == len(got) >= receiver.broken


@pytest.mark.parametrize("mode", ErrorMode)
def test_no_unit_without_end_is_kept(mode: ErrorMode) -> None:
    endless = b"\xeb\x90" + codeblock_model(b"1234567") * (CODEBLOCKS_MAX + 3)
    receiver = CltuReceiver(mode)
    assert receiver.feed(endless + make_cltu(b"abcdefg")) == receiver_model(endless + make_cltu(b"abcdefg"), mode)
    assert receiver.aborted == 1
