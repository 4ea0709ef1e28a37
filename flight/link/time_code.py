"""CCSDS unsegmented time code, level 1: TAI since 1958, 4 octets of seconds and 2 of fraction (301.0-B-4, 3.2)."""

from __future__ import annotations

from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS

CUC_OCTETS = 6
# 301.0-B-4, 3.2.2: epoch 1958 TAI, 4 octets of seconds, 2 of fraction. The P-field is implicit: it is not sent.
P_FIELD = 0x1E
TIME_NS_MAX = ((1 << 48) - 1) * NS >> 16  # the last time that the code can tell, in 2094


def encode_cuc(tai_ns: int) -> bytes:
    """The T-field of a time in nanoseconds since 1958-01-01 TAI, rounded down to 2^-16 s."""
    ticks = (tai_ns << 16) // NS
    assert 0 <= ticks < 1 << 48, tai_ns
    return ticks.to_bytes(CUC_OCTETS, "big")


def decode_cuc(raw: bytes | memoryview) -> int:
    """Nanoseconds since 1958-01-01 TAI: the first that encodes to `raw`; raises DecodeError."""
    if len(raw) != CUC_OCTETS:
        raise DecodeError(f"time code of {len(raw)} octets, CUC 4 + 2 takes {CUC_OCTETS}")
    return -(-int.from_bytes(raw, "big") * NS >> 16)
