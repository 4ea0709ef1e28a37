"""The convolutional code beside libfec: one CADU's worth of data in noise, decoded and encoded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flight.core.errors import SetupError
from flight.kernels import ConvolutionalEncoder, ViterbiDecoder, soften
from flight.kernels._kernels import ffi, lib
from sim_hw.bench.bench_command import Bench, Race
from tests.libfec_viterbi import INSTALL, LibfecDecoder, library

DATA_OCTETS = 1280
MBIT = 8 * DATA_OCTETS / 1e6
SIGMA = 10 ** (-4.0 / 20)  # Eb/N0 of 4 dB: 5 % of the symbols are wrong, and the data are right
OCTETS = ffi.typeof("uint8_t[]")


def block() -> tuple[bytes, bytes]:
    """Data, the last six bits of them zero, and their soft symbols in noise."""
    generator = np.random.default_rng(1)
    data = generator.bytes(DATA_OCTETS - 1) + b"\0"
    sent = np.frombuffer(soften(ConvolutionalEncoder().encode(data)), np.uint8) / 127.5 - 1.0
    received = 127.5 + 48 * (sent + SIGMA * generator.standard_normal(sent.size))
    return data, np.clip(np.rint(received), 0, 255).astype(np.uint8).tobytes()


def beside_libfec(decode: Callable[[bytes], bytes], tail: Callable[[], bytes]) -> Race:
    """`decode` goes on with an endless stream; libfec decodes block by block, the only way that it has."""
    if library() is None:
        raise SetupError(f"{INSTALL}")
    data, symbols = block()
    peer = LibfecDecoder(DATA_OCTETS - 1)
    theirs = memoryview(symbols)[: 2 * (8 * (DATA_OCTETS - 1) + 6)]
    assert peer.decode(theirs) == data[:-1]
    assert decode(symbols) + tail() == data
    return Race(lambda: decode(symbols), lambda: peer.decode(theirs), MBIT)


def viterbi_beside_libfec() -> Race:
    decoder = ViterbiDecoder()
    return beside_libfec(decoder.decode, decoder.flush)


def portable_beside_libfec() -> Race:
    state = ffi.new("ob_viterbi *")
    lib.ob_viterbi_start_portable(state, 0)
    out = bytearray(DATA_OCTETS + lib.OB_VITERBI_FLUSH_OCTETS)
    into = ffi.from_buffer(OCTETS, out)

    def decode(symbols: bytes) -> bytes:
        written = lib.ob_viterbi_decode(state, symbols, len(symbols), into, len(out))
        return bytes(out[:written])

    def tail() -> bytes:
        written = lib.ob_viterbi_flush(state, 0, into, len(out))
        return bytes(out[:written])

    return beside_libfec(decode, tail)


def convolve_beside_numpy() -> Race:
    """libfec has no encoder. NumPy at its best: whole arrays of bits, a handful of XORs."""
    data, _ = block()
    encoder = ConvolutionalEncoder()

    def vectors() -> bytes:
        bits = np.zeros(6 + 8 * DATA_OCTETS, np.uint8)
        bits[6:] = np.unpackbits(np.frombuffer(data, np.uint8))
        newest, one, two, three, five, six = (bits[6 - k : bits.size - k] for k in (0, 1, 2, 3, 5, 6))
        common = newest ^ two ^ three ^ six
        symbols = np.empty((common.size, 2), np.uint8)
        symbols[:, 0] = common ^ one
        symbols[:, 1] = common ^ five ^ 1
        return np.packbits(symbols).tobytes()

    assert vectors() == encoder.encode(data)
    return Race(lambda: encoder.encode(data), vectors, MBIT)


BENCHES = (
    Bench("viterbi", "libfec", "Mbit/s", 3.0, viterbi_beside_libfec),
    Bench("viterbi-portable", "libfec", "Mbit/s", 2.0, portable_beside_libfec),
    Bench("convolve", "NumPy", "Mbit/s", 3.0, convolve_beside_numpy),
)
