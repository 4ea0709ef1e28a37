"""The Reed-Solomon kernels beside libfec: codeblocks of (255,223) at interleave 5, frames of 1,115 octets.

Ours corrects whole codeblocks as they came in, a batch a call. libfec is called once a codeword and is given its
codewords already apart from each other; a call costs it a few percent. Decoding puts the errors back before each turn.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from flight.kernels import decode_reed_solomon, encode_reed_solomon
from flight.kernels._kernels import ffi, lib
from sim_hw.bench.bench_command import Bench, Race
from tests import libfec_reed_solomon as libfec

FRAMES, FRAME_OCTETS, PARITY, INTERLEAVE = 40, 1115, 32, 5
UNIT = FRAME_OCTETS + PARITY * INTERLEAVE
CODEWORDS = FRAMES * INTERLEAVE
LAYOUT = (FRAMES, UNIT, FRAME_OCTETS, PARITY, INTERLEAVE)
KEYWORDS = dict(zip(("count", "stride", "data_octets", "parity", "interleave"), LAYOUT, strict=True))
MEGABYTES = FRAMES * FRAME_OCTETS / 1e6


def frames() -> bytearray:
    units = bytearray(Random(3).randbytes(FRAMES * UNIT))
    encode_reed_solomon(units, **KEYWORDS)
    return units


def codewords(units: bytes | bytearray) -> bytearray:
    """The same octets, one codeword after the other."""
    parts = [units[start : start + UNIT] for start in range(0, len(units), UNIT)]
    return bytearray(b"".join(part[first::INTERLEAVE] for part in parts for first in range(INTERLEAVE)))


def encode_ours(units: bytearray) -> Callable[[], object]:
    return lambda: encode_reed_solomon(units, **KEYWORDS)


def encode_portable(units: bytearray) -> Callable[[], object]:
    target = ffi.from_buffer(ffi.typeof("uint8_t[]"), units)
    return lambda: lib.ob_rs_encode_portable(target, len(units), *LAYOUT)


def decode_ours(units: bytearray) -> Callable[[], object]:
    return lambda: list(decode_reed_solomon(units, **KEYWORDS))


def decode_portable(units: bytearray) -> Callable[[], object]:
    target, counts = ffi.from_buffer(ffi.typeof("uint8_t[]"), units), bytearray(CODEWORDS)
    corrected = ffi.from_buffer(ffi.typeof("int8_t[]"), counts)
    arguments = (target, len(units), *LAYOUT, corrected, CODEWORDS)

    def decode() -> list[int]:
        lib.ob_rs_decode_portable(*arguments)
        return list(memoryview(counts).cast("b"))

    return decode


def encode_beside_libfec(ours: Callable[[bytearray], Callable[[], object]]) -> Race:
    peer = libfec.library().encode_rs_ccsds
    want = codewords(frames())
    units = frames()
    words = libfec.ffi.new("unsigned char[]", bytes(want))
    calls = [(words + at, words + at + 223, 0) for at in range(0, len(want), 255)]

    def encode() -> None:
        for call in calls:
            peer(*call)

    for run in (encode, ours(units)):
        run()
    assert codewords(units) == bytes(libfec.ffi.buffer(words, len(want))) == want
    return Race(ours(units), encode, MEGABYTES)


def decode_beside_libfec(ours: Callable[[bytearray], Callable[[], object]], errors: int) -> Race:
    peer = libfec.library().decode_rs_ccsds
    sent, source = frames(), Random(4)
    received = bytearray(sent)
    for codeword in range(CODEWORDS):
        unit, first = divmod(codeword, INTERLEAVE)
        for place in source.sample(range(255), errors):
            received[unit * UNIT + place * INTERLEAVE + first] ^= source.randint(1, 255)
    units, kept = bytearray(received), bytes(received)
    apart = bytes(codewords(received))
    words = libfec.ffi.new("unsigned char[]", apart)
    calls = [(words + at, libfec.ffi.NULL, 0, 0) for at in range(0, len(apart), 255)]
    restore = libfec.ffi.memmove
    decode_units = ours(units)

    def decode() -> list[int]:
        restore(words, apart, len(apart))
        return [peer(*call) for call in calls]

    def decode_batch() -> object:
        units[:] = kept
        return decode_units()

    assert decode() == decode_batch() == [errors] * CODEWORDS
    assert codewords(units) == bytes(libfec.ffi.buffer(words, len(apart))) == codewords(sent)
    return Race(decode_batch, decode, MEGABYTES)


def race_encoding(name: str, floor: float, ours: Callable[[bytearray], Callable[[], object]]) -> Bench:
    return Bench(name, "libfec", "MB/s", floor, partial(encode_beside_libfec, ours))


def race_decoding(name: str, floor: float, ours: Callable[[bytearray], Callable[[], object]], errors: int) -> Bench:
    return Bench(name, "libfec", "MB/s", floor, partial(decode_beside_libfec, ours, errors))


BENCHES = (
    race_encoding("rs-encode", 10.0, encode_ours),
    race_decoding("rs-decode-clean", 10.0, decode_ours, 0),
    race_decoding("rs-decode-3-errors", 5.0, decode_ours, 3),
    race_decoding("rs-decode-16-errors", 2.0, decode_ours, 16),
    race_encoding("rs-encode-portable", 2.0, encode_portable),
    race_decoding("rs-decode-clean-portable", 2.0, decode_portable, 0),
    race_decoding("rs-decode-3-portable", 2.0, decode_portable, 3),
    race_decoding("rs-decode-16-portable", 2.0, decode_portable, 16),
)
