"""CCSDS unsegmented time code, level 1: TAI since 1958, 4 octets of seconds and 2 of fraction (301.0-B-4, 3.2)."""

# The code counts steps of 2^-16 s, 15.26 us, and times here are whole nanoseconds. Encoding rounds down and decoding
# rounds up, to the first nanosecond of the step. So decode(encode(t)) <= t, and encode(decode(code)) == code: a time
# that went through the code once stays as it is, however often it goes through it again.

from __future__ import annotations

from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS

CUC_OCTETS = 6
# 301.0-B-4, 3.2.2: epoch 1958 TAI, 4 octets of seconds, 2 of fraction. The P-field is implicit: it is not sent.
P_FIELD = 0x1E
TIME_NS_MAX = ((1 << 48) - 1) * NS >> 16  # the last time that the code can express, in 2094


def encode_cuc(tai_ns: int) -> bytes:
    """Return the T-field of a time in nanoseconds since 1958-01-01 TAI, rounded down to 2^-16 s."""
    ticks = (tai_ns << 16) // NS
    assert 0 <= ticks < 1 << 48, tai_ns
    return ticks.to_bytes(CUC_OCTETS, "big")


def decode_cuc(raw: bytes | memoryview) -> int:
    """Return the first time that encodes to `raw`, in ns since 1958-01-01 TAI; raises DecodeError if not 6 octets."""
    if len(raw) != CUC_OCTETS:
        raise DecodeError(f"time code of {len(raw)} octets, CUC 4 + 2 takes {CUC_OCTETS}")
    return -(-int.from_bytes(raw, "big") * NS >> 16)  # two minus signs round up instead of down
