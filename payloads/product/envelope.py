"""What products of every kind share: they end in a SHA-256, and nothing in them unpacks to more than the head says."""

from __future__ import annotations

import hashlib
import zlib

from flight.core.errors import DecodeError

DIGEST_OCTETS = 32


def sealed(octets: bytes) -> bytes:
    """Return `octets` with their SHA-256 appended."""
    return octets + hashlib.sha256(octets).digest()


def check_seal(raw: bytes | memoryview, total_octets: int) -> None:
    """Raise DecodeError unless `raw` is the whole, unaltered product of `total_octets`."""
    if len(raw) != total_octets:
        raise DecodeError(f"product of {len(raw)} octets, its header says {total_octets}")
    view = memoryview(raw)
    if hashlib.sha256(view[:-DIGEST_OCTETS]).digest() != bytes(view[-DIGEST_OCTETS:]):
        raise DecodeError("product does not match its sha256: it was altered or cut")


def inflate(packed: bytes | memoryview, expected: int, what: str) -> bytes:
    """Unpack exactly `expected` octets from `packed`, by zlib. Raises DecodeError if there are more or fewer."""
    unpacker = zlib.decompressobj()
    try:
        # One more than expected is enough to see that there are more: a small file could unpack to gigabytes.
        octets = unpacker.decompress(packed, expected + 1)
    except zlib.error as error:
        raise DecodeError(f"{what}: {error}") from None
    if len(octets) != expected or not unpacker.eof or unpacker.unused_data:
        raise DecodeError(f"{what}: compressed data does not unpack to exactly {expected} octets")
    return octets
