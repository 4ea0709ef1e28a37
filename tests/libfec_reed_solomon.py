"""The Reed-Solomon codecs of libfec, another implementation: one codeword per call, its octets as on the wire."""

from __future__ import annotations

from functools import cache
from typing import Any

from cffi import FFI

from flight.core.errors import SetupError

DECLARATIONS = """
void encode_rs_ccsds(unsigned char *data, unsigned char *parity, int pad);
int decode_rs_ccsds(unsigned char *data, int *eras_pos, int no_eras, int pad);
void *init_rs_char(int symsize, int gfpoly, int fcr, int prim, int nroots, int pad);
void encode_rs_char(void *rs, unsigned char *data, unsigned char *parity);
int decode_rs_char(void *rs, unsigned char *data, int *eras_pos, int no_eras);
extern unsigned char Taltab[256];
extern unsigned char Tal1tab[256];
"""

ffi = FFI()
ffi.cdef(DECLARATIONS)


@cache
def library() -> Any:
    """Return the functions of libfec. Raises SetupError if it is not on this machine."""
    try:
        lib: Any = ffi.dlopen("libfec.so.0")
        lib.encode_rs_ccsds(ffi.new("unsigned char[223]"), ffi.new("unsigned char[32]"), 0)  # fills Taltab, Tal1tab
    except OSError:
        raise SetupError("libfec is not on this machine; Debian: apt-get install libfec-dev") from None
    return lib


@cache
def _code_of_16(pad: int) -> Any:
    """Return the codec of (255,239), which libfec has only in the conventional basis."""
    return library().init_rs_char(8, 0x187, 120, 11, 16, pad)


@cache
def _bases() -> tuple[bytes, bytes]:
    """Return the tables from the conventional to the dual basis and back, for `bytes.translate`."""
    return bytes(library().Taltab), bytes(library().Tal1tab)


def encode(data: bytes, parity: int) -> bytes:
    """Return the `parity` (16 or 32) check symbols of one codeword with at most 255 - parity symbols of data."""
    lib, check, pad = library(), ffi.new("unsigned char[]", parity), 255 - parity - len(data)
    if parity == 32:
        lib.encode_rs_ccsds(ffi.from_buffer("unsigned char[]", bytearray(data)), check, pad)
        return bytes(check)
    to_dual, from_dual = _bases()
    lib.encode_rs_char(_code_of_16(pad), ffi.from_buffer("unsigned char[]", data.translate(from_dual)), check)
    return bytes(check).translate(to_dual)


def decode(word: bytes, parity: int) -> tuple[int, bytes]:
    """Return the number of corrected symbols, or -1 if libfec gave up in any way, and the codeword after it."""
    lib, pad = library(), 255 - len(word)
    if parity == 32:
        octets = bytearray(word)
        corrected = lib.decode_rs_ccsds(ffi.from_buffer("unsigned char[]", octets), ffi.NULL, 0, pad)
        return max(corrected, -1), bytes(octets)
    to_dual, from_dual = _bases()
    octets = bytearray(word.translate(from_dual))
    corrected = lib.decode_rs_char(_code_of_16(pad), ffi.from_buffer("unsigned char[]", octets), ffi.NULL, 0)
    return max(corrected, -1), bytes(octets).translate(to_dual)
