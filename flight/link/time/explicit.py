"""Time codes that say themselves what they are: a P-field with its T-field behind it (CCSDS 301.0-B-4, 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

from flight.core.errors import DecodeError
from flight.core.utc.leap_seconds import BUILT_IN, LeapSeconds
from flight.link.time import calendar_codes, cds, cuc
from flight.link.time.calendar_codes import Ccs, read_ccs_p_field
from flight.link.time.cds import Cds, read_cds_p_field
from flight.link.time.cuc import Cuc, read_cuc_p_field

TimeFormat = Cuc | Cds | Ccs


@dataclass(frozen=True, slots=True)
class TimeContext:
    """What a P-field leaves to be known otherwise.

    epoch_ns: the agency's epoch of CUC, TAI since 1958. epoch_mjd: that of CDS. leap_seconds: for codes that say UTC.
    """

    epoch_ns: int | None = None
    epoch_mjd: int | None = None
    leap_seconds: LeapSeconds = BUILT_IN


NO_AGENCY = TimeContext()


def read_p_field(raw: bytes | memoryview, context: TimeContext = NO_AGENCY) -> tuple[TimeFormat, int]:
    """Return the format that a P-field at the head of `raw` says, and the octets that the P-field takes.

    Raises DecodeError for octets that are missing, for codes that the standard does not define or leaves to an agency,
    and for an agency's epoch that `context` does not have.
    """
    if not len(raw):
        raise DecodeError("time code without a P-field")
    code = raw[0] >> 4 & 0b111
    if code in (cuc.LEVEL_1, cuc.LEVEL_2):
        return read_cuc_p_field(raw, context.epoch_ns)
    if code == cds.CODE:
        return read_cds_p_field(raw, context.epoch_mjd)
    if code == calendar_codes.CODE:
        return read_ccs_p_field(raw)
    what = "is an agency's own" if code == 0b110 else "is not defined"
    raise DecodeError(f"P-field {raw[0]:02x}: time code {code:03b} {what}")


def encode_explicit(tai_ns: int, form: TimeFormat, leap_seconds: LeapSeconds = BUILT_IN) -> bytes:
    """Return P-field and T-field of a time, ns of TAI since 1958, rounded down.

    Raises ValueError outside the range of the code.
    """
    if isinstance(form, Cuc):
        return form.p_field + form.encode(tai_ns)
    return form.p_field + form.encode(leap_seconds.utc_at(tai_ns))


def decode_explicit(raw: bytes | memoryview, context: TimeContext = NO_AGENCY) -> tuple[int, int]:
    """Read P-field and T-field at the head of `raw`; return ns of TAI since 1958, and the octets of both.

    Raises DecodeError for whatever is not such a code, is cut, or names a second that UTC does not have.
    """
    form, at = read_p_field(raw, context)
    end = at + form.octets
    if len(raw) < end:
        raise DecodeError(f"time code of {len(raw)} octets, its P-field says {end}")
    if isinstance(form, Cuc):
        return form.decode(raw[at:end]), end
    utc = form.decode(raw[at:end])
    try:
        return context.leap_seconds.tai_at(utc), end
    except ValueError as error:
        raise DecodeError(str(error)) from None
