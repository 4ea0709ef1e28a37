"""Telecommand coding equals a plain Python model, bit by bit, in both error modes and for any octets."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.core.errors import DecodeError
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


@dataclass
class Received:
    """What a receiver should say of all octets at once."""

    units: list[bytes] = field(default_factory=list)
    broken: int = 0
    aborted: int = 0
    codeblocks: int = 0
    corrected: int = 0
    skipped: int = 0
    open: bool = False


def receiver_model(data: bytes, mode: ErrorMode) -> Received:
    """The machine of the module's docstring, one codeblock after the other."""
    out, at = Received(), 0
    while True:
        skipped = start_model(data[at:], mode)
        out.skipped += skipped
        at += skipped
        if at + 2 > len(data):
            return out
        at += 2
        out.open, frames = True, b""
        while out.open:
            block = data[at : at + 8]
            if len(block) < 8:
                return out
            information, _, corrected, ended = decode_model(block, mode)
            out.codeblocks += not ended
            out.corrected += corrected
            if len(frames) == 7 * CODEBLOCKS_MAX and not ended:
                # Too long; a unit may begin in what was one codeblock too many.
                out.open, out.aborted = False, out.aborted + 1
            elif not ended:
                frames += information
                at += 8
            else:
                out.open = False
                out.units += [frames] if frames else []
                out.aborted += not frames
                out.broken += bool(frames) and block != TAIL
                at += 8 if frames and block == TAIL else 0


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
    assert said(receiver, got) == receiver_model(data, mode)
    assert receiver.units == len(got)


def said(receiver: CltuReceiver, units: list[bytes]) -> Received:
    counted = (receiver.broken, receiver.aborted, receiver.codeblocks, receiver.corrected, receiver.skipped)
    return Received(units, *counted, receiver.open)


def one_cltu_model(cltu: bytes, mode: ErrorMode) -> bytes | None:
    """The information of exactly one CLTU; None if it is not whole. Any octets that are not a codeblock end it."""
    body = cltu[2:]
    codeblocks = len(body) // 8 - 1
    if len(body) % 8 or not 1 <= codeblocks <= CODEBLOCKS_MAX or start_model(cltu[:2], mode):
        return None
    information, good, corrected, ended = decode_model(body, mode)
    return information if ended and good + corrected == codeblocks else None


cltus = st.binary(min_size=1, max_size=30).map(make_cltu)


@given(
    cltus | st.builds(wrong_somewhere, cltus, noise) | st.binary(max_size=40) | cltus.map(lambda one: one[:-8]), modes
)
def test_one_cltu_is_taken_whole_or_refused(cltu: bytes, mode: ErrorMode) -> None:
    want = one_cltu_model(cltu, mode)
    if want is None:
        with pytest.raises(DecodeError):
            decode_cltu(cltu, mode)
    else:
        assert decode_cltu(cltu, mode) == want
        assert decode_cltu(cltu, mode, randomized=True) == randomize_tc(want)


@pytest.mark.parametrize(("mode", "wrong_bits"), [(ErrorMode.SEC, 0), (ErrorMode.SEC, 1), (ErrorMode.TED, 0)])
@pytest.mark.parametrize("more", [-1, 0, 1, 2, 3])
@pytest.mark.parametrize("first", [1, 10, 8 * CODEBLOCKS_MAX + 1, 8 * CODEBLOCKS_MAX + 9, 5000])
def test_no_unit_without_end_is_kept(mode: ErrorMode, wrong_bits: int, more: int, first: int) -> None:
    codeblock = flipped(codeblock_model(b"1234567"), *range(9, 9 + wrong_bits))
    endless = b"\xeb\x90" + codeblock * (CODEBLOCKS_MAX + more)
    receiver = CltuReceiver(mode)
    data = endless + make_cltu(b"abcdefg")
    want = receiver_model(data, mode)
    assert said(receiver, receiver.feed(data[:first]) + receiver.feed(data[first:])) == want
    # As many codeblocks as there may be are a unit, which the next start sequence ends; one more is too many.
    assert (want.aborted, want.broken) == ((1, 0) if more > 0 else (0, 1))
