"""Frames through the whole downlink coding and back: every code, any split, wrong bits, no unsound frame taken."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flight.kernels import ConvolutionalEncoder, ViterbiDecoder, soften
from flight.link.coding.inner_decoder import LOOK_SYMBOLS, InnerDecoder
from flight.link.coding.tm_coding import (
    CODINGS,
    MARKER_OCTETS,
    PARITY,
    RANDOMIZERS,
    CodingCounters,
    TmCoding,
    TmDecoder,
    TmEncoder,
)
from flight.link.tm.tm_frame import TmFrame
from flight.link.tm_tc_stack import FlightLink, LinkConfig
from tests.link_ends import unit_of

codings = st.builds(
    TmCoding,
    frame_octets=st.sampled_from([40, 120, 600]),
    parity=st.sampled_from([0, 16, 32]),
    interleave=st.sampled_from([4, 5, 8]),
    randomizer=st.sampled_from(RANDOMIZERS),
    convolutional=st.booleans(),
)


def cut(octets: bytes, source: Random, pieces: int) -> list[bytes]:
    at = sorted(source.randrange(len(octets) + 1) for _ in range(pieces))
    return [octets[a:b] for a, b in zip([0, *at], [*at, len(octets)], strict=True)]


def received(decoder: TmDecoder, stream: bytes, source: Random, pieces: int = 5) -> list[tuple[bytes, bool]]:
    return [one for piece in cut(stream, source, pieces) for one in decoder.feed(piece)]


@settings(max_examples=60)
@given(coding=codings, seed=st.integers(0, 2**32), count=st.integers(1, 4))
def test_frames_come_back_whatever_the_split(coding: TmCoding, seed: int, count: int) -> None:
    source = Random(seed)
    encoder, decoder = TmEncoder(coding), TmDecoder(coding)
    frames = [source.randbytes(coding.frame_octets) for _ in range(count)]
    units = [encoder.encode(frame) for frame in frames]
    assert {len(unit) for unit in units} == {coding.unit_octets}
    # Units that follow push the last ones through the delay of the inner code.
    after = [encoder.encode(source.randbytes(coding.frame_octets)) for _ in range(6)] if coding.convolutional else []
    got = received(decoder, b"".join([*units, *after]), source)
    assert got[:count] == [(frame, True) for frame in frames]
    assert all(sound for _, sound in got)
    assert decoder.counters.symbols_corrected == decoder.counters.codewords_uncorrectable == 0


@settings(max_examples=40)
@given(
    parity=st.sampled_from([16, 32]),
    interleave=st.sampled_from([1, 4, 5]),
    seed=st.integers(0, 2**32),
    more=st.booleans(),
)
def test_up_to_e_wrong_symbols_a_codeword_are_corrected_and_more_are_told(
    parity: int, interleave: int, seed: int, more: bool
) -> None:
    source = Random(seed)
    coding = TmCoding(223 * interleave - interleave * 3, parity, interleave)
    frame = source.randbytes(coding.frame_octets)
    unit = bytearray(TmEncoder(coding).encode(frame))
    errors = parity // 2 + (6 if more else 0)
    for codeword in range(interleave):
        symbols = range(MARKER_OCTETS + codeword, len(unit), interleave)
        for place in source.sample(symbols, errors):
            unit[place] ^= source.randrange(1, 256)
    decoder = TmDecoder(coding)
    ((octets, sound),) = decoder.feed(bytes(unit))
    counters = decoder.counters
    assert counters.codewords == interleave
    if not more:
        assert (octets, sound) == (frame, True)
        assert (counters.codewords_corrected, counters.symbols_corrected) == (interleave, interleave * errors)
    else:
        # A word beyond E is taken for another codeword about once in E! times: with E = 8 once in 40,000.
        assert not sound
        assert counters.codewords_uncorrectable == interleave
        assert counters.symbols_corrected == 0


@pytest.mark.parametrize("codeword", [0, 2, 4])
@pytest.mark.parametrize("coding", ["rs(255,223)", "rs(255,239)"])
def test_one_unsound_codeword_spoils_its_frame_alone(coding: str, codeword: int) -> None:
    made = LinkConfig(coding=coding).tm_coding
    assert made is not None
    assert made.parity == PARITY[coding]
    source = Random(5)
    frames = [source.randbytes(1115) for _ in range(3)]
    encoder = TmEncoder(made)
    units = [bytearray(encoder.encode(frame)) for frame in frames]
    # Forty wrong symbols; and beside them, and in another unit, a few that can be corrected.
    for unit, at, wrong in ((1, codeword, 40), (1, (codeword + 1) % 5, 5), (2, 4, 3)):
        for place in range(MARKER_OCTETS + at, MARKER_OCTETS + at + 5 * wrong, 5):
            units[unit][place] ^= 0xA5
    decoder = TmDecoder(made)
    batch = decoder.feed(b"".join(map(bytes, units)))
    assert [sound for _, sound in batch] == [True, False, True]
    assert list(batch.unsound) == [0, 1, 0]
    want = [0] * 15
    want[5 + codeword], want[5 + (codeword + 1) % 5], want[14] = -1, 5, 3
    assert list(batch.corrected) == want
    # Of 15 codewords two corrected and one given up, eight symbols; no inner code.
    assert (len(batch), decoder.counters) == (3, CodingCounters(15, 2, 1, 8, 0, 0, 0))
    decoder.feed(encoder.encode(frames[0]))
    assert (decoder.counters.codewords, decoder.counters.symbols_corrected) == (20, 8)
    assert [octets for octets, sound in batch if sound] == [frames[0], frames[2]]


def test_a_reset_forgets_half_a_unit() -> None:
    source = Random(6)
    coding = TmCoding(1115)
    encoder, decoder = TmEncoder(coding), TmDecoder(coding)
    frames = [source.randbytes(1115) for _ in range(3)]
    units = [encoder.encode(frame) for frame in frames]
    assert len(decoder.feed(units[0][:600])) == 0
    decoder.reset()
    assert [*decoder.feed(b"".join(units)), *decoder.finish()] == [(frame, True) for frame in frames]
    assert decoder.counters.codewords == 15


def test_a_bit_error_rate_of_1e_3_costs_no_frame() -> None:
    source = Random(9)
    coding = TmCoding(1115)
    encoder, decoder = TmEncoder(coding), TmDecoder(coding)
    frames = [source.randbytes(1115) for _ in range(300)]
    stream = bytearray(b"".join(map(encoder.encode, frames)))
    flips = 0
    for bit in range(8 * len(stream)):
        if source.random() < 1e-3:
            stream[bit >> 3] ^= 0x80 >> (bit & 7)
            flips += 1
    got = received(decoder, bytes(stream), source, 40)
    assert got == [(frame, True) for frame in frames]
    # Nearly every wrong bit is a wrong symbol of its own; the rest are in markers and check symbols' neighbours.
    assert 0.97 * flips < decoder.counters.symbols_corrected + decoder.synchronizer.counters.marker_bit_errors <= flips


@pytest.mark.parametrize("dropped", [0, 1, 2, 3])
def test_the_inner_code_finds_its_pairs_after_lost_symbols(dropped: int) -> None:
    source = Random(7)
    coding = TmCoding(400, 32, 4, convolutional=True)
    encoder, decoder = TmEncoder(coding), TmDecoder(coding)
    frames = [source.randbytes(400) for _ in range(60)]
    stream = b"".join(map(encoder.encode, frames))
    bits = "".join(f"{octet:08b}" for octet in stream)
    cut_at = 8 * len(stream) // 2
    bits = bits[:cut_at] + bits[cut_at + dropped :]
    bits = bits[: len(bits) // 8 * 8]
    stream = int(bits, 2).to_bytes(len(bits) // 8, "big")
    got = [octets for octets, sound in received(decoder, stream, source, 30) if sound]
    lost = [frame for frame in frames if frame not in got]
    # Two looks, a few units, and the end that stays in the decoder.
    assert len(lost) <= (3 if dropped % 2 == 0 else 2 * LOOK_SYMBOLS // (8 * coding.unit_octets) + 5)
    assert decoder.counters.node_slips == dropped % 2
    assert got == [frame for frame in frames if frame in got]


def inner_stream(count: int, seed: int) -> tuple[TmCoding, list[bytes], list[bytes]]:
    source = Random(seed)
    coding = TmCoding(1115, convolutional=True)
    encoder = TmEncoder(coding)
    frames = [source.randbytes(1115) for _ in range(count)]
    return coding, frames, [encoder.encode(frame) for frame in frames]


def test_the_inner_code_counts_symbols_and_wrong_ones_over_the_ends_of_streams() -> None:
    coding, frames, _ = inner_stream(3, 14)
    decoder = TmDecoder(coding)
    assert decoder.counters == CodingCounters(0, 0, 0, 0, 0, 0, 0)
    for times in (1, 2):
        encoder = TmEncoder(coding)
        stream = bytearray(b"".join(map(encoder.encode, frames)))
        for place in range(100, len(stream), 200):
            stream[place] ^= 1
        got = [*decoder.feed(bytes(stream)), *decoder.finish()]
        assert got == [(frame, True) for frame in frames]
        counters = decoder.counters
        assert counters.channel_symbols == times * 8 * len(stream)
        assert counters.channel_symbol_errors == times * len(range(100, len(stream), 200))
        assert (counters.node_slips, counters.symbols_corrected) == (0, 0)


@pytest.mark.parametrize("noise_octets", [100, 2050, 3000, 20_000, 20_001])
def test_the_inner_code_comes_up_behind_noise(noise_octets: int) -> None:
    coding, frames, units = inner_stream(40, 11)
    decoder = TmDecoder(coding)
    stream = Random(noise_octets).randbytes(noise_octets) + b"".join(units)
    got = [octets for octets, sound in received(decoder, stream, Random(1), 60) if sound]
    assert len(got) >= 34
    assert got == [frame for frame in frames if frame in got]


def test_the_inner_code_comes_back_from_a_burst_of_noise_and_from_slips() -> None:
    coding, frames, units = inner_stream(80, 12)
    bits = "".join(f"{octet:08b}" for octet in b"".join(units[:20]))
    burst = "".join(f"{octet:08b}" for octet in Random(3).randbytes(12_000))
    bits += burst + "".join(f"{octet:08b}" for octet in b"".join(units[20:]))
    for place in (8 * len(units[0]) * 8, len(bits) * 2 // 3):
        bits = bits[:place] + bits[place + 1 :]
    bits = bits[: len(bits) // 8 * 8]
    decoder = TmDecoder(coding)
    stream = int(bits, 2).to_bytes(len(bits) // 8, "big")
    got = [octets for octets, sound in received(decoder, stream, Random(2), 100) if sound]
    assert len(got) >= 62
    assert got == [frame for frame in frames if frame in got]


# A look ends, and a symbol is to be dropped, four symbols behind the noise that comes first, and then once more.
@pytest.mark.parametrize("noise_symbols", [*range(2, 7), *range(LOOK_SYMBOLS + 3, LOOK_SYMBOLS + 8)])
def test_a_reset_of_the_inner_decoder_forgets_all(noise_symbols: int) -> None:
    coding, frames, units = inner_stream(12, 13)
    decoder = TmDecoder(coding)
    decoder.feed(Random(4).randbytes(5 * LOOK_SYMBOLS // 8))
    assert decoder._inner is not None  # noqa: SLF001 - noise past the synchronizer
    decoder._inner.feed_soft(Random(5).randbytes(noise_symbols))  # noqa: SLF001 - noise past the synchronizer
    decoder.reset()
    got = [*received(decoder, b"".join(units), Random(6)), *decoder.finish()]
    assert got == [(frame, True) for frame in frames]


def inner_model(symbols: bytes) -> tuple[bytes, int, int, int]:
    """The machine of the module's docstring, a look at a time: data, symbols compared, wrong ones, slips."""
    viterbi, data = ViterbiDecoder(), b""
    compared = errors = slips = at = 0
    while at < len(symbols):
        compared_before, errors_before = viterbi.symbols_compared, viterbi.symbol_errors
        data += viterbi.decode(symbols[at : at + LOOK_SYMBOLS])
        at += LOOK_SYMBOLS
        wrong = viterbi.symbol_errors - errors_before
        if at <= len(symbols) and wrong > 0.115 * (viterbi.symbols_compared - compared_before):
            compared, errors, slips = compared + viterbi.symbols_compared, errors + viterbi.symbol_errors, slips + 1
            viterbi.reset()
            at += 1
    return data, compared + viterbi.symbols_compared, errors + viterbi.symbol_errors, slips


@settings(max_examples=20)
@given(st.lists(st.integers(1, 30_000), max_size=12), st.integers(0, 2**32))
def test_where_calls_cut_the_symbols_changes_nothing(pieces: list[int], seed: int) -> None:
    source = Random(seed)
    symbols = soften(ConvolutionalEncoder().encode(source.randbytes(5000)))[source.randrange(2) :]
    lost = source.randrange(len(symbols))
    symbols = source.randbytes(source.randrange(20_000)) + symbols[:lost] + symbols[lost + 1 :]
    decoder, at, got = InnerDecoder(), 0, b""
    for piece in [*pieces, len(symbols)]:
        got += decoder.feed_soft(symbols[at : at + piece])
        at += piece
    want = inner_model(symbols)
    assert (got, decoder.symbols_compared, decoder.symbol_errors, decoder.node_slips) == want
    # The next stream is decoded as if it were the first; the counters go on.
    if source.randrange(2):
        decoder.finish()
    else:
        decoder.reset()
    compared, errors = decoder.symbols_compared, decoder.symbol_errors
    assert compared >= want[1] and errors >= want[2]
    data, more_compared, more_errors, more_slips = inner_model(symbols[1:])
    assert decoder.feed_soft(symbols[1:]) == data
    assert (decoder.symbols_compared, decoder.symbol_errors) == (compared + more_compared, errors + more_errors)
    assert decoder.node_slips == want[3] + more_slips


@settings(max_examples=30)
@given(coding=codings, seed=st.integers(0, 2**32), count=st.integers(1, 4))
def test_the_end_of_a_stream_gives_its_last_frame(coding: TmCoding, seed: int, count: int) -> None:
    source = Random(seed)
    encoder, decoder = TmEncoder(coding), TmDecoder(coding)
    frames = [source.randbytes(coding.frame_octets) for _ in range(count)]
    got = [*received(decoder, b"".join(map(encoder.encode, frames)), source), *decoder.finish()]
    assert got == [(frame, True) for frame in frames]


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=200), max_size=6), codings)
def test_any_octets_give_frames_of_the_right_length(pieces: list[bytes], coding: TmCoding) -> None:
    decoder = TmDecoder(coding)
    for piece in pieces:
        for octets, _ in decoder.feed(piece):
            assert len(octets) == coding.frame_octets
    assert decoder.synchronizer.held_octets < 2 * coding.cadu_octets + 8


@given(
    st.sampled_from([("rs(255,223)", 223), ("rs(255,239)", 239), ("cadu", None)]),
    st.integers(1, 8),
    st.integers(64, 2048) | st.sampled_from([223 * 4, 223 * 4 + 4, 223 * 5, 223 * 5 + 5, 239 * 8, 239 * 8 + 8]),
)
@example(("rs(255,223)", 223), 5, 1115)
@example(("rs(255,223)", 223), 5, 1120)
@example(("rs(255,239)", 239), 8, 1912)
@example(("rs(255,239)", 239), 8, 1920)
def test_frames_that_fit_a_codeblock(coding: tuple[str, int | None], interleave: int, octets: int) -> None:
    """131.0-B-5, 4: interleaves of 1, 2, 3, 4, 5 and 8; virtual fill in whole symbols of each codeword."""
    name, most = coding
    fits = most is None or (
        interleave in (1, 2, 3, 4, 5, 8) and octets % interleave == 0 and octets <= most * interleave
    )
    wrong = LinkConfig(coding=name, interleave=interleave, frame_octets=octets).faults()
    assert [key for key, _ in wrong] == ([] if fits else ["interleave"])
    if most is not None and interleave in (1, 2, 3, 4, 5, 8) and not fits:
        assert f"multiples of {interleave} up to {most * interleave} octets fit" in wrong[0][1]


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("convolutional", [False, True])
def test_both_ends_of_a_link(coding: str, convolutional: bool) -> None:
    config = LinkConfig(coding=coding, convolutional=convolutional and coding != "frame")
    link = FlightLink(config)
    units = [unit_of(link) for _ in range(4)]
    assert {len(unit) for unit in units} == {config.unit_octets}
    if config.tm_coding is None:
        frames = units
    else:
        frames = [octets for octets, sound in TmDecoder(config.tm_coding).feed(b"".join(units)) if sound]
    assert [TmFrame.decode(raw, 1115).master_count for raw in frames] == list(range(len(frames)))
    assert len(frames) >= 3
