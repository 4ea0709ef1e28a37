"""The Viterbi decoder of libfec (Phil Karn, LGPL), another decoder of the same code, for tests and benches."""

from __future__ import annotations

from functools import cache
from typing import Any

from cffi import FFI

INSTALL = "libfec is not installed; Debian: apt-get install libfec0"

# Symbols of an octet of zeros before a block, without noise. libfec gives a known start no more weight than a quarter
# of one symbol; after this octet it is as certain of the start as our decoder.
PREAMBLE = bytes([0, 255] * 8)

_DECLARATIONS = """
void *create_viterbi27(int len);
void delete_viterbi27(void *vp);
void set_viterbi27_polynomial(int polys[2]);
int init_viterbi27(void *vp, int starting_state);
int update_viterbi27_blk(void *vp, unsigned char *syms, int nbits);
int chainback_viterbi27(void *vp, unsigned char *data, unsigned int nbits, unsigned int endstate);
"""
_V27POLYA, _V27POLYB = 0x6D, 0x4F
_TAIL_BITS = 6


@cache
def library() -> tuple[FFI, Any] | None:
    """Return cffi and the library, set to the code of CCSDS 131.0-B-5, 3.3; None if it is not installed."""
    ffi = FFI()
    ffi.cdef(_DECLARATIONS)
    try:
        libfec: Any = ffi.dlopen("libfec.so.0")
    except OSError:
        return None
    libfec.set_viterbi27_polynomial([_V27POLYB, -_V27POLYA])
    return ffi, libfec


class LibfecDecoder:
    """Decodes blocks whose encoder starts in state 0 and returns to it by six zero bits. Needs `library()`."""

    def __init__(self, data_octets: int) -> None:
        """data_octets: of one block, without the tail."""
        found = library()
        assert found is not None, INSTALL
        ffi, self._libfec = found
        self._bits = 8 * data_octets
        self._from_buffer = ffi.from_buffer
        self._type = ffi.typeof("unsigned char[]")
        decoder = self._libfec.create_viterbi27(self._bits)
        self._decoder = ffi.gc(decoder, self._libfec.delete_viterbi27)
        self._out = bytearray(data_octets)
        self._into = self._from_buffer(self._type, self._out)

    def decode(self, symbols: bytes | memoryview) -> bytes:
        """Return the data of one block of 2 * (8 * data_octets + 6) soft symbols."""
        steps = self._bits + _TAIL_BITS
        assert len(symbols) == 2 * steps
        self._libfec.init_viterbi27(self._decoder, 0)
        self._libfec.update_viterbi27_blk(self._decoder, self._from_buffer(self._type, symbols), steps)
        self._libfec.chainback_viterbi27(self._decoder, self._into, self._bits, 0)
        return bytes(self._out)
