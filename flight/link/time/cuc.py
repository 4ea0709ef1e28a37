"""CUC, the unsegmented time code of CCSDS 301.0-B-4, 3.2, with every option of its P-field.

A format has 1 to 7 octets of whole seconds and 0 to 10 of fractions of a second, counted from 1958-01-01 TAI (level 1)
or from an epoch of the agency's own (level 2). The node's own format has functions of its own (time_code.py).
"""

# P-field, one octet, and a second one if more than 4 + 3 octets are meant:
#
#     ext 1 | code 3 (001: 1958, 010: agency) | seconds less one 2 | fractions 2
#     ext 1 | further seconds 2               | further fractions 3 | of the mission 2
#
# The T-field is one big number of ticks, 2^-(8 * fraction octets) s each. `decode_ticks` and `encode_ticks` are exact
# for every format. In whole nanoseconds, encoding rounds down and decoding rounds up to the first nanosecond of a tick,
# so a time that went through the code once stays as it is: encode(decode(code)) == code. That holds as long as a tick
# is not shorter than a nanosecond, up to 3 octets of fractions. With more of them, ticks share a nanosecond.
#
# Roll-over. N octets of seconds say a time modulo 256^N s: 4 minutes, 18 hours, 194 days, 136 years. `decode` takes the
# first period after the epoch, `decode_near` the one that comes nearest to a time that is known by other means, and
# `encode` refuses what `decode` would not give back; `encode_ticks` of ticks modulo `period_ticks` is for a sender that
# rolls over.

from __future__ import annotations

from dataclasses import dataclass

from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS

LEVEL_1, LEVEL_2 = 0b001, 0b010  # code identification
SECONDS_OCTETS_MAX, FRACTION_OCTETS_MAX = 7, 10
_EXTENDED = 0x80


@dataclass(frozen=True, slots=True)
class Cuc:
    """A format of CUC. `epoch_ns`: TAI since 1958 at the agency's epoch (level 2); None for 1958 (level 1).

    Raises ValueError for a format that the standard does not have.
    """

    seconds_octets: int = 4
    fraction_octets: int = 2
    epoch_ns: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.seconds_octets <= SECONDS_OCTETS_MAX:
            raise ValueError(f"{self.seconds_octets} octets of seconds, CUC has 1 .. {SECONDS_OCTETS_MAX}")
        if not 0 <= self.fraction_octets <= FRACTION_OCTETS_MAX:
            raise ValueError(f"{self.fraction_octets} octets of fractions, CUC has 0 .. {FRACTION_OCTETS_MAX}")

    @property
    def octets(self) -> int:
        """Length of the T-field."""
        return self.seconds_octets + self.fraction_octets

    @property
    def p_field(self) -> bytes:
        """The P-field that says this format, 1 octet or 2."""
        seconds, fraction = min(self.seconds_octets, 4), min(self.fraction_octets, 3)
        more_seconds, more_fraction = self.seconds_octets - seconds, self.fraction_octets - fraction
        first = (LEVEL_1 if self.epoch_ns is None else LEVEL_2) << 4 | (seconds - 1) << 2 | fraction
        if not (more_seconds or more_fraction):
            return bytes((first,))
        return bytes((_EXTENDED | first, more_seconds << 5 | more_fraction << 2))

    @property
    def period_ticks(self) -> int:
        """Ticks after which the code rolls over."""
        return 1 << 8 * self.octets

    @property
    def last_ns(self) -> int:
        """The last time, ns of TAI since 1958, that `decode` returns."""
        return self._from_ticks(self.period_ticks - 1)

    # Exact

    def encode_ticks(self, ticks: int) -> bytes:
        """Return the T-field of a number of ticks since the epoch. Raises ValueError outside 0 .. period_ticks - 1."""
        if not 0 <= ticks < self.period_ticks:
            raise ValueError(f"{ticks} ticks, CUC {self} takes 0 .. {self.period_ticks - 1}")
        return ticks.to_bytes(self.octets, "big")

    def decode_ticks(self, raw: bytes | memoryview) -> int:
        """Return the ticks since the epoch. Raises DecodeError for another length."""
        if len(raw) != self.octets:
            raise DecodeError(f"time code of {len(raw)} octets, CUC {self} takes {self.octets}")
        return int.from_bytes(raw, "big")

    # In nanoseconds of TAI since 1958

    def encode(self, tai_ns: int) -> bytes:
        """Return the T-field of a time, rounded down to a tick. Raises ValueError outside the range of the code."""
        ticks = (tai_ns - (self.epoch_ns or 0) << 8 * self.fraction_octets) // NS
        return self.encode_ticks(ticks)

    def decode(self, raw: bytes | memoryview) -> int:
        """Return the first time that encodes to `raw`. Raises DecodeError for another length."""
        return self._from_ticks(self.decode_ticks(raw))

    def decode_near(self, raw: bytes | memoryview, near_ns: int) -> int:
        """Return the time nearest to `near_ns` that `raw` may mean, however often the code has rolled over since.

        Raises DecodeError for another length.
        """
        period_s = 1 << 8 * self.seconds_octets  # whole seconds, so periods keep the rounding
        first_ns = self.decode(raw)
        periods = (2 * (near_ns - first_ns) + period_s * NS) // (2 * period_s * NS)
        return first_ns + periods * period_s * NS

    def _from_ticks(self, ticks: int) -> int:
        return (self.epoch_ns or 0) - (-ticks * NS >> 8 * self.fraction_octets)  # two minus signs round up

    def __str__(self) -> str:
        return f"{self.seconds_octets} + {self.fraction_octets}"


def read_cuc_p_field(raw: bytes | memoryview, epoch_ns: int | None = None) -> tuple[Cuc, int]:
    """Read a P-field at the head of `raw`; return the format and the octets that the P-field takes.

    epoch_ns: what a level 2 P-field means, TAI since 1958. Raises DecodeError for any other code, for octets that are
    missing, and for level 2 without `epoch_ns`.
    """
    if not len(raw):
        raise DecodeError("time code without a P-field")
    first = raw[0]
    code = first >> 4 & 0b111
    if code not in (LEVEL_1, LEVEL_2):
        raise DecodeError(f"P-field {first:02x} says time code {code:03b}, CUC is 001 or 010")
    if code == LEVEL_2 and epoch_ns is None:
        raise DecodeError(f"P-field {first:02x} says an epoch of the agency's own, which is not known here")
    seconds, fraction, length = (first >> 2 & 0b11) + 1, first & 0b11, 1
    if first & _EXTENDED:
        if len(raw) < 2:
            raise DecodeError(f"P-field {first:02x} is extended, its second octet is missing")
        if raw[1] & _EXTENDED:
            raise DecodeError(f"P-field {first:02x}{raw[1]:02x} has a third octet, which CUC does not define")
        seconds, fraction, length = seconds + (raw[1] >> 5 & 0b11), fraction + (raw[1] >> 2 & 0b111), 2
    return Cuc(seconds, fraction, epoch_ns if code == LEVEL_2 else None), length
