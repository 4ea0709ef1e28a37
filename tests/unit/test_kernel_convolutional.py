"""The convolutional code's kernels: published values, libfec on the same noise, bursts, phases, what they refuse."""

from __future__ import annotations

from random import Random

import numpy as np
import numpy.typing as npt
import pytest

from flight.kernels import ConvolutionalEncoder, KernelError, ViterbiDecoder, soften
from flight.kernels._kernels import ffi, lib
from tests.libfec_viterbi import INSTALL, PREAMBLE, LibfecDecoder, library

OCTETS = ffi.typeof("uint8_t[]")


def noisy(symbols: bytes, ebn0_db: float, generator: np.random.Generator) -> bytes:
    """BPSK in white noise, 8 bits per symbol: +-1 is +-48 of the 127.5 that a soft symbol may be from its middle."""
    sigma = 10 ** (-ebn0_db / 20)  # two symbols per bit: sigma^2 = N0 / (2 Es) = N0 / Eb
    sent = np.frombuffer(symbols, np.uint8) / 127.5 - 1.0
    received = 127.5 + 48 * (sent + sigma * generator.standard_normal(sent.size))
    return np.clip(np.rint(received), 0, 255).astype(np.uint8).tobytes()


def signs(symbols: bytes) -> npt.NDArray[np.int64]:
    return np.frombuffer(symbols, np.uint8).astype(np.int64)


def cost(symbols: bytes, data: bytes) -> int:
    """Of the path of `data` and a tail of zeros: what a decoder makes least."""
    sent = signs(soften(ConvolutionalEncoder().encode(data + b"\0")))[: len(symbols)]
    return int(np.abs(signs(symbols) - sent).sum())


def test_the_impulse_response_is_the_generators() -> None:
    """A one among zeros gives G1 and G2, the second inverted."""
    symbols = f"{int.from_bytes(ConvolutionalEncoder().encode(bytes([0x80, 0])), 'big'):032b}"
    assert int(symbols[0:14:2], 2) == 0o171
    assert int(symbols[1:14:2], 2) == 0o133 ^ 0o177
    assert symbols[14:] == "01" * 9


def test_zeros_and_ones_alternate_on_the_channel() -> None:
    assert ConvolutionalEncoder().encode(bytes(3)).hex() == "55" * 6
    encoder = ConvolutionalEncoder()
    encoder.encode(b"\xff")
    assert encoder.encode(b"\xff\xff").hex() == "aaaaaaaa"
    encoder.reset()
    assert encoder.encode(b"\0").hex() == "5555"


def test_blocks_come_when_they_are_due() -> None:
    decoder = ViterbiDecoder()
    assert (decoder.DELAY_BITS, decoder.BLOCK_BITS) == (128, 256)
    symbols = soften(ConvolutionalEncoder().encode(bytes(200)))
    due = [len(decoder.decode(symbols[i : i + 1])) for i in range(len(symbols))]
    block = 2 * decoder.BLOCK_BITS
    assert [i + 1 for i, octets in enumerate(due) if octets] == [256 + block, 256 + 2 * block, 256 + 3 * block,
                                                                 256 + 4 * block, 256 + 5 * block]  # fmt: skip
    assert set(due) == {0, 32}
    assert decoder.symbols_compared == 5 * block


def test_a_flush_ends_in_the_likeliest_state_or_in_zero() -> None:
    data = Random(3).randbytes(30) + b"\x3f"
    symbols = soften(ConvolutionalEncoder().encode(data))
    decoder = ViterbiDecoder()
    assert decoder.decode(symbols) == b""
    assert decoder.flush() == data
    decoder.decode(symbols)
    assert decoder.flush(to_zero=True) != data
    # The last octet's symbols are lost, but what the encoder ended with is known.
    decoder.reset(from_zero=True)
    decoder.decode(soften(ConvolutionalEncoder().encode(data[:-1] + b"\x80\0"))[:-12] + bytes([127] * 12))
    assert decoder.flush(to_zero=True) == data[:-1] + b"\x80\0"


def test_a_flush_drops_what_fills_no_octet() -> None:
    symbols = soften(ConvolutionalEncoder().encode(b"orbit"))
    decoder = ViterbiDecoder()
    assert decoder.decode(symbols[:-1]) + decoder.flush() == b"orbi"
    assert decoder.symbols_compared == 64
    assert decoder.flush() == b""
    # Half a pair does not come before the next stream.
    assert decoder.decode(symbols) + decoder.flush() == b"orbit"
    assert decoder.symbols_compared == 64 + 80


def test_reset_forgets_stream_and_counters() -> None:
    decoder = ViterbiDecoder()
    decoder.decode(Random(4).randbytes(1001))
    assert decoder.symbol_errors > 0
    decoder.reset()
    assert (decoder.symbol_errors, decoder.symbols_compared) == (0, 0)
    assert decoder.decode(soften(ConvolutionalEncoder().encode(b"again"))) + decoder.flush() == b"again"


def test_a_known_start_is_held_against_the_symbols() -> None:
    """The symbols say that there were ones in the memory; who is told of zeros does not believe them."""
    data = Random(5).randbytes(20)
    encoder = ConvolutionalEncoder()
    encoder.encode(b"\xff")
    symbols = soften(encoder.encode(data))
    unknown, known = ViterbiDecoder(), ViterbiDecoder(from_zero=True)
    assert unknown.decode(symbols) + unknown.flush() == data
    assert unknown.symbol_errors == 0
    out = known.decode(symbols) + known.flush()
    assert out[2:] == data[2:]
    sent = signs(soften(ConvolutionalEncoder().encode(out)))
    assert known.symbol_errors == np.count_nonzero(sent != signs(symbols)) > 0


def test_after_a_flush_to_zeros_the_next_stream_is_held_to_begin_with_them() -> None:
    encoder = ConvolutionalEncoder()
    encoder.encode(b"\xff")
    symbols = soften(encoder.encode(Random(15).randbytes(20)))
    for to_zero in (False, True):
        decoder = ViterbiDecoder(from_zero=not to_zero)
        decoder.flush(to_zero=to_zero)
        decoder.decode(symbols)
        decoder.flush()
        assert (decoder.symbol_errors > 0) == to_zero


@pytest.mark.parametrize("lost", [0, 2, 48, 300])
def test_recovery_after_a_burst_or_lost_symbols(lost: int) -> None:
    """`lost` symbols are missing, or where none are, 200 are noise. Beyond 20 octets all is well again."""
    source = Random(6)
    data = source.randbytes(1000)
    symbols = soften(ConvolutionalEncoder().encode(data))
    middle = len(symbols) // 2
    rest = symbols[middle + lost :] if lost else source.randbytes(200) + symbols[middle + 200 :]
    decoder = ViterbiDecoder()
    out = decoder.decode(symbols[:middle] + rest) + decoder.flush()
    assert out[:480] == data[:480]
    late, sent = (np.unpackbits(np.frombuffer(octets, np.uint8)) for octets in (out, data))
    assert np.array_equal(late[4160:], sent[4160 + lost // 2 :][: late[4160:].size])
    assert late.size == (8000 - lost // 2) // 8 * 8


def test_the_code_is_transparent() -> None:
    data = Random(7).randbytes(500)
    symbols = bytes(255 - symbol for symbol in soften(ConvolutionalEncoder().encode(data)))
    decoder = ViterbiDecoder()
    out = decoder.decode(symbols) + decoder.flush()
    assert out == bytes(255 - octet for octet in data)
    assert decoder.symbol_errors == 0


@pytest.mark.parametrize("ebn0_db", [2.5, 4.0, 100.0])
@pytest.mark.parametrize("hard", [False, True])
def test_symbol_errors_tell_the_phase(ebn0_db: float, hard: bool) -> None:
    data = Random(8).randbytes(5000)
    symbols = noisy(soften(ConvolutionalEncoder().encode(data)), ebn0_db, np.random.default_rng(8))
    if hard:
        symbols = soften(np.packbits(np.frombuffer(symbols, np.uint8) >> 7).tobytes())
    shares = []
    for phase in (0, 1):
        decoder = ViterbiDecoder()
        for start in range(phase, len(symbols), 4096):
            decoder.decode(memoryview(symbols)[start : start + 4096])
        shares.append(decoder.symbol_errors / decoder.symbols_compared)
    assert shares[0] < 0.105
    assert shares[1] > 0.115


def test_symbol_errors_are_the_channels() -> None:
    data = Random(9).randbytes(4000)
    clean = soften(ConvolutionalEncoder().encode(data))
    symbols = noisy(clean, 5.0, np.random.default_rng(9))
    decoder = ViterbiDecoder()
    out = decoder.decode(symbols)
    assert out == data[: len(out)]
    received, sent = (signs(part)[: 16 * len(out)] for part in (symbols, clean))
    certain = (received != 127) & (received != 128)
    assert decoder.symbols_compared == np.count_nonzero(certain)
    assert decoder.symbol_errors == np.count_nonzero(((received > 127) != (sent > 127)) & certain)


def test_erasures_alone_are_counted_nowhere() -> None:
    decoder = ViterbiDecoder()
    assert len(decoder.decode(bytes([127, 128] * 2000)) + decoder.flush()) == 250
    assert (decoder.symbol_errors, decoder.symbols_compared) == (0, 0)


def test_an_endless_stream_of_the_worst_symbols() -> None:
    """Metrics that overflow would show: every symbol as wrong as can be, for a million bits, and then data again."""
    data = Random(10).randbytes(300)
    symbols = soften(ConvolutionalEncoder().encode(data))
    decoder = ViterbiDecoder()
    for filler in (bytes(100_000), b"\xff" * 100_000, Random(11).randbytes(100_000)):
        for _ in range(7):
            decoder.decode(filler)
        out = decoder.decode(symbols)
        out += decoder.flush()
        assert out.endswith(data[20:])


@pytest.mark.skipif(library() is None, reason=INSTALL)
@pytest.mark.parametrize("ebn0_db", [1.0, 3.0, 100.0])
def test_libfec_decides_the_same(ebn0_db: float) -> None:
    generator, blocks, octets = np.random.default_rng(12), 200, 128
    peer = LibfecDecoder(1 + octets)
    ours, other = 0, 0
    for _ in range(blocks):
        data = generator.bytes(octets)
        clean = soften(ConvolutionalEncoder().encode(data + b"\0"))[: 16 * octets + 12]
        symbols = noisy(clean, ebn0_db, generator)
        decoder = ViterbiDecoder(from_zero=True)
        mine = decoder.decode(symbols) + decoder.flush(to_zero=True)
        theirs = peer.decode(PREAMBLE + symbols)[1:]
        # Beyond the window the search is not the whole one: the path may be a worse one, hardly ever.
        if mine != theirs:
            assert cost(symbols, mine) == cost(symbols, theirs)
        ours += mine != data
        other += theirs != data
    assert ours == other
    assert ebn0_db > 3.0 or ours > 0


def test_kernels_refuse_what_is_no_stretch_of_octets() -> None:
    every_other = memoryview(bytes(20))[::2]
    for kernel in (ConvolutionalEncoder().encode, soften, ViterbiDecoder().decode):
        with pytest.raises((TypeError, ValueError, BufferError)):
            kernel(every_other)
        with pytest.raises(TypeError):
            kernel("text")  # type: ignore[arg-type] # not octets


def test_any_buffer_gives_the_same() -> None:
    data = Random(13).randbytes(999)
    for view in (bytearray(data), memoryview(data), memoryview(b"x" + data)[1:]):
        assert ConvolutionalEncoder().encode(view) == ConvolutionalEncoder().encode(data)
        assert soften(view) == soften(data)
        assert ViterbiDecoder().decode(view) == ViterbiDecoder().decode(data)


def test_short_outputs_are_refused_and_change_nothing() -> None:
    out = ffi.from_buffer(OCTETS, bytearray(31))
    memory = bytearray(b"\x2a")
    assert lib.ob_convolve(b"ab", 2, out, 3, ffi.from_buffer(OCTETS, memory)) == lib.OB_E_SPACE
    assert memory == b"\x2a"
    assert lib.ob_soften(b"a", 1, out, 7) == lib.OB_E_SPACE
    state = ffi.new("ob_viterbi *")
    lib.ob_viterbi_start(state, 1)
    assert lib.ob_viterbi_octets(state, 768) == 32
    assert lib.ob_viterbi_decode(state, bytes(768), 768, out, 31) == lib.OB_E_SPACE
    assert state.held == 0
    assert lib.ob_viterbi_decode(state, bytes(767), 767, out, 0) == 0
    assert lib.ob_viterbi_flush(state, 0, out, 31) == lib.OB_E_SPACE
    assert state.held == 767


@pytest.mark.parametrize(("held", "walked"), [(768, 0), (2**32 - 1, 0), (255, 128), (768, 128), (300, 64), (300, 1)])
def test_a_state_that_is_none_is_refused(held: int, walked: int) -> None:
    state = ffi.new("ob_viterbi *")
    lib.ob_viterbi_start(state, 0)
    state.held, state.walked = held, walked
    out = ffi.from_buffer(OCTETS, bytearray(64))
    assert lib.ob_viterbi_octets(state, 1) == lib.OB_E_LAYOUT
    assert lib.ob_viterbi_decode(state, b"x", 1, out, 64) == lib.OB_E_LAYOUT
    assert lib.ob_viterbi_flush(state, 0, out, 64) == lib.OB_E_LAYOUT
    decoder = ViterbiDecoder()
    decoder._state.held = 768  # noqa: SLF001 - a decoder with symbols held
    with pytest.raises(KernelError, match="viterbi_decode: sizes"):
        decoder.decode(b"x")
    with pytest.raises(KernelError, match="viterbi_flush: sizes"):
        decoder.flush()


def test_any_memory_to_begin_with_is_gone_after_six_bits() -> None:
    data = Random(14).randbytes(60)
    want = ConvolutionalEncoder().encode(data)
    for memory in range(256):
        register = bytearray([memory])
        out = bytearray(120)
        lib.ob_convolve(data, 60, ffi.from_buffer(OCTETS, out), 120, ffi.from_buffer(OCTETS, register))
        assert out[2:] == want[2:]
        assert register[0] == data[-1] & 0x3F
        decoder = ViterbiDecoder()
        assert decoder.decode(soften(out)) + decoder.flush() == data
