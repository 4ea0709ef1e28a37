"""Time codes with every option of their P-fields: round trips, roll-over of every field, any octets."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS
from flight.core.utc.leap_seconds import BUILT_IN, LeapRow
from flight.core.utc.utc_time import DAY_S, MJD_OF_TAI, UtcTime, mjd_of
from flight.link.time.calendar_codes import Ccs, decode_ascii, encode_ascii
from flight.link.time.cds import Cds, CdsTime, Finer
from flight.link.time.cuc import Cuc
from flight.link.time.explicit import TimeContext, decode_explicit, encode_explicit, read_p_field
from flight.link.time.time_code import TIME_NS_MAX, decode_cuc, encode_cuc

TAI_2100 = BUILT_IN.tai_at(UtcTime.parse("2100-12-31T00:00:00Z"))
CONTEXT = TimeContext(epoch_ns=694_656_019 * NS, epoch_mjd=51_544)  # GPS's epoch; 2000-01-01
PAST = st.integers(0, TAI_2100)
LEAPS = st.builds(  # near one of the leap seconds
    lambda row, late: BUILT_IN.starts_tai_ns[row] + late,
    st.integers(0, len(BUILT_IN.rows) - 1), st.integers(-3 * NS, 3 * NS),
)  # fmt: skip
TIMES = PAST | LEAPS
CUCS = st.builds(Cuc, st.integers(1, 7), st.integers(0, 10), st.sampled_from([None, CONTEXT.epoch_ns]))
CDSS = st.builds(Cds, st.sampled_from([2, 3]), st.sampled_from(Finer), st.sampled_from([None, CONTEXT.epoch_mjd]))
CCSS = st.builds(Ccs, st.booleans(), st.integers(0, 6))
FORMATS = CUCS | CDSS | CCSS


@given(CUCS, st.data())
def test_every_cuc_code_survives(form: Cuc, data: st.DataObject) -> None:
    raw = data.draw(st.binary(min_size=form.octets, max_size=form.octets))
    ticks = form.decode_ticks(raw)
    assert form.encode_ticks(ticks) == raw
    tai_ns = form.decode(raw)
    if form.fraction_octets <= 3:
        assert form.encode(tai_ns) == raw
        assert tai_ns == form.decode_near(raw, tai_ns)
    else:
        assert abs(form.decode_ticks(form.encode(tai_ns - 1 if ticks else tai_ns)) - ticks) <= 2 * form.period_ticks
    assert form.decode(bytes(form.octets)) == (form.epoch_ns or 0) <= tai_ns <= form.last_ns
    with pytest.raises(DecodeError, match="takes"):
        form.decode_ticks(raw + b"\0")


@given(CUCS, TIMES)
def test_a_time_through_cuc_loses_less_than_a_tick(form: Cuc, tai_ns: int) -> None:
    period_ns = (1 << 8 * form.seconds_octets) * NS
    since_ns = tai_ns - (form.epoch_ns or 0)
    if not 0 <= since_ns < period_ns:
        with pytest.raises(ValueError, match="ticks, CUC"):
            form.encode(tai_ns)
    raw = form.encode((form.epoch_ns or 0) + since_ns % period_ns)  # as a sender that rolls over does
    back_ns = form.decode_near(raw, tai_ns)
    # Less than a tick behind, and less than a nanosecond ahead: decoding rounds up.
    assert tai_ns - back_ns + 1 > -1 and (tai_ns - back_ns) << 8 * form.fraction_octets < NS
    # However wrong the time is that is known otherwise, below half a period.
    for wrong_ns in (-period_ns // 2 + 2 * NS, period_ns // 2 - 2 * NS):
        assert form.decode_near(raw, tai_ns + wrong_ns) == back_ns


@pytest.mark.parametrize("seconds", [1, 2, 3, 4, 5, 6, 7])
def test_cuc_rolls_over_into_the_next_period(seconds: int) -> None:
    form = Cuc(seconds, 2)
    last = form.decode(b"\xff" * form.octets)
    first = form.decode_near(bytes(form.octets), last)
    assert 0 < first - last < NS >> 15
    assert first == (1 << 8 * seconds) * NS
    with pytest.raises(ValueError, match="ticks, CUC"):
        form.encode(first)
    assert form.encode(last + 1)[-1] == 0xFF


@given(st.integers(0, (1 << 48) - 1), st.integers(0, TIME_NS_MAX))
@example((1 << 48) - 1, TIME_NS_MAX)
def test_the_nodes_own_code_is_the_general_one(ticks: int, tai_ns: int) -> None:
    own = Cuc()
    raw = ticks.to_bytes(6, "big")
    assert (own.decode(raw), own.encode(tai_ns)) == (decode_cuc(raw), encode_cuc(tai_ns))
    assert 0 <= own.last_ns - TIME_NS_MAX <= 1
    assert own.p_field == b"\x1e"


@given(CDSS, st.data())
def test_every_cds_code_survives(form: Cds, data: st.DataObject) -> None:
    fields = CdsTime(
        data.draw(st.integers(0, form.period_days - 1)),
        data.draw(st.integers(0, DAY_S * 1000 + 999)),
        data.draw(st.integers(0, form.finer.per_ms - 1)),
    )
    raw = form.encode_fields(fields)
    assert len(raw) == form.octets and form.decode_fields(raw) == fields
    utc = form.decode(raw)
    if form.finer is not Finer.PICOSECONDS:
        assert form.encode(utc) == raw
    assert form.day_near(utc, utc.mjd) == utc
    assert form.day_near(utc._replace(mjd=utc.mjd - 3 * form.period_days), utc.mjd) == utc


@given(CDSS, TIMES)
def test_a_time_through_cds_loses_less_than_its_resolution(form: Cds, tai_ns: int) -> None:
    utc = BUILT_IN.utc_at(tai_ns)
    days = utc.mjd - (MJD_OF_TAI if form.epoch_mjd is None else form.epoch_mjd)
    if not 0 <= days < form.period_days:
        with pytest.raises(ValueError, match=r"day .* is outside"):
            form.encode_tai(tai_ns, BUILT_IN)
        return
    lost_ns = tai_ns - form.decode_tai(form.encode_tai(tai_ns, BUILT_IN), BUILT_IN)
    assert 0 <= lost_ns < (1_000_000, 1000, 1)[form.finer]


def test_fields_of_cds_roll_over() -> None:
    """Finer into the millisecond, that into the day, the day into the next period."""
    for finer, step_ns, last in ((Finer.NOTHING, 1_000_000, 0), (Finer.MICROSECONDS, 1000, 999)):
        form = Cds(finer=finer)
        for text, day, ms in (("2016-12-30", 21_548, 86_399_999), ("2016-12-31", 21_549, 86_400_999)):
            tai_ns = BUILT_IN.tai_at(UtcTime(MJD_OF_TAI + day, ms // 1000, 999_999_999)) + 1 - step_ns
            assert form.decode_fields(form.encode_tai(tai_ns, BUILT_IN)) == (day, ms, last), text
            assert form.decode_fields(form.encode_tai(tai_ns + step_ns, BUILT_IN)) == (day + 1, 0, 0)
        assert form.decode_fields(form.encode_tai(10 * NS + 999_999, BUILT_IN))[2] == last
    form = Cds()
    end = form.decode(b"\xff\xff" + bytes(4))
    assert (end.date, form.day_near(form.decode(bytes(6)), end.mjd).date) == (date(2137, 6, 6), date(2137, 6, 7))
    with pytest.raises(ValueError, match="day 65536 of CDS is outside"):
        form.encode(UtcTime(MJD_OF_TAI + 65_536, 0))
    assert Cds(3).decode(Cds(3).encode(UtcTime(MJD_OF_TAI + 65_536, 0))).date == date(2137, 6, 7)


def test_a_leap_second_of_a_day_that_has_none() -> None:
    form = Cds()
    raw = form.encode_fields(CdsTime(21_550, 86_400_000))
    with pytest.raises(DecodeError, match="2017-01-01 has no second 23:59:60"):
        form.decode_tai(raw, BUILT_IN)
    with pytest.raises(DecodeError, match="2017-01-01 has no second 23:59:60"):
        decode_explicit(form.p_field + raw)
    known = BUILT_IN.extended((LeapRow(mjd_of(date(2028, 1, 1)), 38),), mjd_of(date(2029, 1, 1)))
    raw = form.encode_fields(CdsTime(mjd_of(date(2027, 12, 31)) - MJD_OF_TAI, 86_400_500))
    tai_ns, _ = decode_explicit(form.p_field + raw, TimeContext(leap_seconds=known))
    assert known.utc_text(tai_ns) == "2027-12-31T23:59:60.500Z"
    with pytest.raises(DecodeError):
        decode_explicit(form.p_field + raw)


@pytest.mark.parametrize(
    ("form", "raw", "says"),
    [
        (Cds(), "0000 05265fe8", "millisecond 86401000 of CDS is outside 0 .. 86400999"),
        (Cds(finer=Finer.MICROSECONDS), "0000 00000000 03e8", "1000 microseconds of CDS are outside 0 .. 999"),
        (Cds(finer=Finer.PICOSECONDS), "0000 00000000 3b9aca00", "1000000000 picoseconds of CDS are outside"),
        (Cds(), "0000", "time code of 2 octets, this CDS takes 6"),
        (Ccs(), "2026 0320 093500 00", "this CCS takes 7"),
        (Ccs(), "2026 1320 093500", "no such day"),
        (Ccs(), "2026 0320 093560", "no such time of the day"),
        (Ccs(), "202a 0320 093500", "digits that are not decimal"),
        (Ccs(day_of_year=True), "2026 1079 093500", "day 1079 of the year"),
        (Ccs(day_of_year=True), "2026 0366 093500", "no such day"),
    ],
)
def test_fields_out_of_range_are_refused(form: Cds | Ccs, raw: str, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        form.decode(bytes.fromhex(raw))


@pytest.mark.parametrize(
    ("form", "utc", "raw"),
    [
        (Ccs(), "2016-12-31T23:59:60Z", "2016 1231 235960"),
        (Ccs(day_of_year=True), "2016-12-31T23:59:60Z", "2016 0366 235960"),
        (Ccs(decimal_octets=1), "1958-01-01T00:00:00.129Z", "1958 0101 000000 12"),
        (Ccs(decimal_octets=6), "2100-02-28T12:34:56.123456789Z", "2100 0228 123456 123456789000"),
    ],
)
def test_ccs_codes(form: Ccs, utc: str, raw: str) -> None:
    assert form.encode(UtcTime.parse(utc)) == bytes.fromhex(raw)
    digits = min(2 * form.decimal_octets, 9)
    assert form.decode(bytes.fromhex(raw)).text(digits) == UtcTime.parse(utc).text(digits)


@given(CCSS, TIMES)
def test_a_time_through_ccs_and_ascii_loses_less_than_its_resolution(form: Ccs, tai_ns: int) -> None:
    utc = BUILT_IN.utc_at(tai_ns)
    back_ns = BUILT_IN.tai_at(form.decode(form.encode(utc)))
    assert 0 <= tai_ns - back_ns < max(10 ** (9 - 2 * form.decimal_octets), 1)
    assert form.encode(BUILT_IN.utc_at(back_ns)) == form.encode(utc)
    assert decode_ascii(encode_ascii(utc, day_of_year=form.day_of_year, digits=9)) == utc


@given(FORMATS)
def test_a_p_field_says_its_format(form: Cuc | Cds | Ccs) -> None:
    assert read_p_field(form.p_field + b"\xff" * 30, CONTEXT) == (form, len(form.p_field))
    is_extended = isinstance(form, Cuc) and (form.seconds_octets > 4 or form.fraction_octets > 3)
    assert len(form.p_field) == (2 if is_extended else 1)
    for cut in range(len(form.p_field)):
        with pytest.raises(DecodeError):
            read_p_field(form.p_field[:cut], CONTEXT)


@given(FORMATS, TIMES, st.binary(max_size=4))
def test_an_explicit_code_is_read_from_the_head_of_more(form: Cuc | Cds | Ccs, tai_ns: int, more: bytes) -> None:
    try:
        raw = encode_explicit(tai_ns, form)
    except ValueError:
        return  # outside the range of a short code, or before an epoch
    back_ns, octets = decode_explicit(raw + more, CONTEXT)
    assert octets == len(raw)
    if not isinstance(form, Cuc) or form.fraction_octets <= 3:  # beyond, ticks are shorter than a nanosecond
        assert encode_explicit(back_ns, form) == raw
    for cut in range(len(raw)):
        with pytest.raises(DecodeError):
            decode_explicit(raw[:cut], CONTEXT)


@given(st.binary(max_size=24), st.booleans())
@example(bytes.fromhex("9c80"), True)
@example(bytes.fromhex("4000000526 5c00"), True)
def test_any_octets_are_a_time_or_a_decode_error(raw: bytes, agency: bool) -> None:
    for octets in (raw, memoryview(raw)):
        try:
            _, length = decode_explicit(octets, CONTEXT if agency else TimeContext())
        except DecodeError:
            continue
        assert 0 < length <= len(raw)
    try:
        decode_ascii(raw)
    except DecodeError:
        pass


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_a_decode_error(text: str) -> None:
    try:
        utc = decode_ascii(text.encode())
    except DecodeError:
        return
    assert decode_ascii(encode_ascii(utc, digits=9)) == utc


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ("", "without a P-field"), ("00", "time code 000 is not defined"), ("30", "time code 011 is not defined"),
        ("60", "time code 110 is an agency's own"), ("70", "time code 111 is not defined"),
        ("2e", "an epoch of the agency's own, which is not known here"),
        ("48", "an epoch of the agency's own"), ("43", "resolution 11, which CDS does not define"),
        ("c0", "does not say CDS"), ("57", "7 octets of decimals"), ("d0", "does not say CCS"),
        ("9e", "its second octet is missing"), ("9e80", "has a third octet"),
    ],
)  # fmt: skip
def test_p_fields_that_mean_nothing(raw: str, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        read_p_field(bytes.fromhex(raw))


@pytest.mark.parametrize("make", [
    lambda: Cuc(0), lambda: Cuc(8), lambda: Cuc(4, -1), lambda: Cuc(4, 11), lambda: Cds(1), lambda: Cds(4),
    lambda: Ccs(decimal_octets=7), lambda: Ccs(decimal_octets=-1),
])  # fmt: skip
def test_formats_that_the_standard_does_not_have(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match="octets of"):
        make()


def test_dates_from_1958_to_2100() -> None:
    """CUC of 4 octets ends in 2094; an extended one, CDS and CCS go on."""
    for year in range(1959, 2101):
        tai_ns = BUILT_IN.tai_at(UtcTime.parse(f"{year}-01-01T00:00:00Z"))
        forms: list[Cuc | Cds | Ccs] = [Cuc(5, 3), Cds(), Cds(3, Finer.MICROSECONDS), Ccs(), Ccs(day_of_year=True)]
        if year <= 2094:
            forms.append(Cuc())
        for form in forms:
            assert BUILT_IN.utc_text(decode_explicit(encode_explicit(tai_ns, form))[0], 0) == f"{year}-01-01T00:00:00Z"
    with pytest.raises(ValueError, match="ticks, CUC 4"):
        Cuc().encode(BUILT_IN.tai_at(UtcTime.parse("2095-01-01T00:00:00Z")))
