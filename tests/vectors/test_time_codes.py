"""Time codes against implementations that share no code with ours, spacepackets (CDS) and puslib (CUC)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from puslib.time import CucTime
from spacepackets.ccsds.time import CdsShortTimestamp

from flight.core.nanoseconds import NS
from flight.core.utc.leap_seconds import BUILT_IN
from flight.core.utc.utc_time import UtcTime
from flight.link.time.cds import Cds, CdsTime
from flight.link.time.cuc import Cuc, read_cuc_p_field
from flight.link.time.explicit import TimeContext, decode_explicit, read_p_field


@given(st.integers(0, 0xFFFF), st.integers(0, 86_399_999))
def test_cds_short_of_spacepackets(day: int, ms: int) -> None:
    theirs = CdsShortTimestamp(day, ms, init_dt_unix_stamp=False)
    ours = Cds()
    assert ours.p_field + ours.encode_fields(CdsTime(day, ms)) == theirs.pack()
    back = CdsShortTimestamp.unpack(theirs.pack())
    assert ours.decode_fields(theirs.pack()[1:]) == (back.ccsds_days, back.ms_of_day, 0)


@given(st.datetimes(datetime(1972, 1, 2), datetime(2099, 12, 31)))
def test_instants_of_spacepackets(when: datetime) -> None:
    when = when.replace(tzinfo=UTC, microsecond=when.microsecond // 1000 * 1000)
    raw = CdsShortTimestamp.from_datetime(when).pack()
    tai_ns, octets = decode_explicit(raw)
    shown = UtcTime.from_unix(round(datetime.fromisoformat(BUILT_IN.utc_text(tai_ns)).timestamp() * 1000) * 1_000_000)
    assert octets == 7
    # Theirs goes through a float of seconds, which may be off by a millisecond.
    assert abs(datetime.fromisoformat(shown.text()) - when) <= timedelta(milliseconds=1)


@pytest.mark.parametrize("seconds", range(1, 8))
@pytest.mark.parametrize("fraction", range(11))
@pytest.mark.parametrize("epoch", [None, datetime(1980, 1, 6)])
def test_cuc_of_puslib(seconds: int, fraction: int, epoch: datetime | None) -> None:
    """Every length of both parts, the extended P-field included."""
    whole, part = (1 << 8 * seconds) - 2, (1 << 8 * fraction) - 3 if fraction else 0
    theirs = CucTime(seconds=whole, fraction=part, basic_unit_length=seconds, frac_unit_length=fraction, epoch=epoch)
    epoch_ns = None if epoch is None else 694_656_019 * NS
    ours = Cuc(seconds, fraction, epoch_ns)
    t_field = ours.encode_ticks(whole << 8 * fraction | part)
    head = ours.p_field
    assert read_p_field(head, TimeContext(epoch_ns=epoch_ns)) == (ours, len(head))
    assert read_cuc_p_field(head, epoch_ns) == (ours, len(head))
    assert _octets(theirs, fraction) == head + t_field


def _octets(theirs: CucTime, fraction: int) -> bytes:
    if fraction:
        packed: bytes = bytes(theirs)
        return packed
    # puslib cannot pack a fraction of no octets; its parts can.
    whole = theirs.seconds.to_bytes(theirs._format.basic_unit_length, "big")  # noqa: SLF001 - no other way
    head: bytes = bytes(theirs._format)  # noqa: SLF001 - no other way
    return b"".join((head, whole))


@pytest.mark.parametrize(
    ("raw", "utc"),
    [
        # Days and seconds since 1958 by the calendar of Python, TAI - UTC by IERS.
        ("1e 6efaa525 8000", "2017-01-01T00:00:00.500Z"), ("1c 804f7369", "2026-03-20T09:35:00.000Z"),
        ("40 542d 05265c00", "2016-12-31T23:59:60.000Z"), ("41 542e 00000001 03e7", "2017-01-01T00:00:00.001Z"),
        ("46 00ca99 00000000 3b9ac9ff", "2100-01-01T00:00:00.000Z"),
        ("50 2016 1231 235960", "2016-12-31T23:59:60.000Z"), ("5a 2016 0366 235959 2550", "2016-12-31T23:59:59.255Z"),
    ],
)  # fmt: skip
def test_known_instants(raw: str, utc: str) -> None:
    octets = bytes.fromhex(raw)
    tai_ns, length = decode_explicit(octets)
    assert (BUILT_IN.utc_text(tai_ns), length) == (utc, len(octets))
