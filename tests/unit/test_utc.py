"""UTC and TAI: instants known from elsewhere, leap seconds, the rules of the table, and the list of IERS."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from flight.core.errors import DecodeError, SetupError
from flight.core.nanoseconds import NS
from flight.core.utc.leap_second_list import LIST_OCTETS_MAX, read_leap_second_list
from flight.core.utc.leap_seconds import BUILT_IN, ROWS_MAX, SET_BACK_LATE_NS, LeapRow, LeapSeconds
from flight.core.utc.utc_time import UtcTime, date_of, mjd_of
from ground.cli.leap_seconds import contradiction
from ground.leap_second_file import SYSTEM_LIST, ground_table, read_table
from tests.leap_second_lists import listed, listed_rows

# 2026-03-20T09:35:00Z is 1,773,999,300 s after 1970 and 2,152,690,537 s of TAI after 1958.
UNIX_NS, TAI_NS = 1_773_999_300 * NS, 2_152_690_537 * NS
# All 27 leap seconds (IERS Bulletin C): the last day of June or December of these years.
JUNE = (1972, 1981, 1982, 1983, 1985, 1992, 1993, 1994, 1997, 2012, 2015)
DECEMBER = (1972, 1973, 1974, 1975, 1976, 1977, 1978, 1979, 1987, 1989, 1990, 1995, 1998, 2005, 2008, 2016)
NEXT = LeapRow(mjd_of(date(2028, 1, 1)), 38)
LONGER = BUILT_IN.extended((NEXT,), mjd_of(date(2028, 6, 28)))
REMOVED = BUILT_IN.extended((LeapRow(NEXT.mjd, 36),), NEXT.mjd)


def tai(text: str, table: LeapSeconds = BUILT_IN) -> int:
    return table.tai_at(UtcTime.parse(text))


def test_known_instants() -> None:
    assert BUILT_IN.tai_from_unix(UNIX_NS) == tai("2026-03-20T09:35:00Z") == TAI_NS
    assert BUILT_IN.tai_from_unix(UNIX_NS + 1) == TAI_NS + 1
    assert BUILT_IN.utc_text(TAI_NS) == "2026-03-20T09:35:00.000Z"
    # The epoch of GPS is 1980-01-06T00:00:00Z, when TAI - UTC was 19 s: 8,040 days after 1958.
    assert tai("1980-01-06T00:00:00Z") == (8_040 * 86_400 + 19) * NS
    # J2000.0 is 11:58:55.816 UTC (TT - TAI = 32.184 s): 15,340 days after 1958, less 32.184 s from noon.
    assert tai("2000-01-01T11:58:55.816Z") == (15_340 * 86_400 + 43_200) * NS - 32_184_000_000
    assert BUILT_IN.utc_text(0) == "1957-12-31T23:59:50.000Z", "as in 1972, before which UTC had other seconds"


@pytest.mark.parametrize(("year", "day"), [(y, "06-30") for y in JUNE] + [(y, "12-31") for y in DECEMBER])
def test_a_leap_second_is_shown_and_tai_goes_on_evenly(year: int, day: str) -> None:
    before = tai(f"{year}-{day}T23:59:58Z")
    after = f"{year}-07-01" if day == "06-30" else f"{year + 1}-01-01"
    shown = [BUILT_IN.utc_text(before + i * NS // 2) for i in range(8)]
    assert shown == [
        f"{day_text}T{clock}.{half}00Z"
        for day_text, clock in (
            (f"{year}-{day}", "23:59:58"), (f"{year}-{day}", "23:59:59"), (f"{year}-{day}", "23:59:60"),
            (after, "00:00:00"),
        )
        for half in (0, 5)
    ]  # fmt: skip
    assert [tai(text) for text in shown] == [before + i * NS // 2 for i in range(8)]
    assert BUILT_IN.tai_utc_s(before + 2 * NS) + 1 == BUILT_IN.tai_utc_s(before + 3 * NS)


def test_there_are_27_of_them_and_no_other_day_has_one() -> None:
    assert len(BUILT_IN.rows) - 1 == len(JUNE) + len(DECEMBER) == 27
    assert BUILT_IN.rows[0].tai_utc_s == 10 and BUILT_IN.rows[-1] == (mjd_of(date(2017, 1, 1)), 37)
    for text in ("2011-12-31T23:59:60Z", "1971-12-31T23:59:60Z", "2026-12-31T23:59:60Z"):
        with pytest.raises(ValueError, match=f"^{text[:10]} has no second 23:59:60: .* valid until 2027-06-28"):
            tai(text)


def test_posix_time_has_one_number_for_two_seconds() -> None:
    end = 1_483_228_800 * NS  # 2017-01-01
    assert [BUILT_IN.tai_from_unix(end + late) for late in (-1, 0)] == [
        tai("2016-12-31T23:59:59.999999999Z"), tai("2017-01-01T00:00:00Z"),
    ]  # fmt: skip
    leap_ns = tai("2016-12-31T23:59:60Z")
    for late in (-NS, -1, 0, 1, SET_BACK_LATE_NS - 1):
        assert BUILT_IN.possible_tai(end + late) == (leap_ns + late, leap_ns + NS + late)
    for late in (-NS - 1, SET_BACK_LATE_NS):
        assert BUILT_IN.possible_tai(end + late) == (BUILT_IN.tai_from_unix(end + late),)
    assert len(BUILT_IN.possible_tai(63_072_000 * NS - 1)) == 1, "the first row begins with no leap second"
    assert BUILT_IN.possible_tai(UNIX_NS) == (TAI_NS,)
    assert BUILT_IN.possible_tai(-UNIX_NS) == (BUILT_IN.tai_from_unix(-UNIX_NS),)


def test_a_removed_second_is_left_out() -> None:
    before = tai("2027-12-31T23:59:57Z", REMOVED)
    assert [REMOVED.utc_text(before + i * NS, 0)[11:] for i in range(4)] == [
        "23:59:57Z", "23:59:58Z", "00:00:00Z", "00:00:01Z",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="2027-12-31 has no second 23:59:59: it was left out, 00:00:00 comes in its"):
        tai("2027-12-31T23:59:59Z", REMOVED)
    with pytest.raises(ValueError, match="2027-12-31 has no second 23:59:59: it was left out"):
        REMOVED.tai_from_utc(datetime(2027, 12, 31, 23, 59, 59, 999_999, UTC))
    unix_ns = UtcTime.parse("2028-01-01T00:00:00Z").unix_ns
    assert len(REMOVED.possible_tai(unix_ns - 1)) == 1
    assert REMOVED.tai_from_unix(unix_ns) == before + 2 * NS


def test_datetimes() -> None:
    when = datetime(2026, 3, 20, 9, 35, tzinfo=UTC)
    for us in (0, 1, 999_999):
        tai_ns = TAI_NS + us * 1000
        moment = when + timedelta(microseconds=us)
        assert BUILT_IN.tai_from_utc(moment.astimezone(timezone(timedelta(hours=5)))) == tai_ns
        assert BUILT_IN.utc_at(tai_ns + 999) == (mjd_of(date(2026, 3, 20)), 34_500, us * 1000 + 999)


def test_texts_are_rounded_down_and_are_both_ascii_codes() -> None:
    utc = UtcTime.parse("2016-12-31T23:59:60.123456789Z")
    assert utc == (57_753, 86_400, 123_456_789)
    assert [utc.text(digits) for digits in (0, 3, 9)] == [
        "2016-12-31T23:59:60Z", "2016-12-31T23:59:60.123Z", "2016-12-31T23:59:60.123456789Z",
    ]  # fmt: skip
    assert utc.text_b(1) == "2016-366T23:59:60.1Z"
    for text in ("2016-366T23:59:60.123456789", "2016-12-31T23:59:60.1234567899Z", "2016-366T23:59:60.123456789999Z"):
        assert UtcTime.parse(text) == utc
    late_ns = (0, 5_000_000, 999_999_999)
    assert [BUILT_IN.utc_text(TAI_NS + late)[17:] for late in late_ns] == ["00.000Z", "00.005Z", "00.999Z"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not a time, write it like"), ("2026-03-20", "is not a time"), ("2026-03-20T09:35Z", "is not a time"),
        ("2026-02-29T00:00:00Z", "no such day"), ("2026-366T00:00:00Z", "no such day"),
        ("2026-000T00:00:00Z", "no such day"), ("0000-01-01T00:00:00Z", "no such day"),
        ("2026-03-20T24:00:00Z", "no such time of the day"), ("2026-03-20T23:58:60Z", "no such time of the day"),
        ("2026-03-20T00:60:00Z", "no such time of the day"), ("\u0662026-03-20T00:00:00Z", "is not a time"),
    ],
)  # fmt: skip
def test_other_texts_are_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        UtcTime.parse(text)


def test_days_outside_the_calendar() -> None:
    assert date_of(mjd_of(date(9999, 12, 31))) == date(9999, 12, 31)
    for mjd in (10**7, -(10**7), 10**30):
        with pytest.raises(ValueError, match="outside the years"):
            date_of(mjd)
        with pytest.raises(ValueError, match=f"MJD {mjd} is outside"):
            UtcTime(mjd, 0).text()


def test_a_table_is_old_from_its_expiry_on() -> None:
    at = tai("2027-06-28T00:00:00Z")
    assert [BUILT_IN.is_old(at - 1), BUILT_IN.is_old(at), LONGER.is_old(at)] == [False, True, False]


@pytest.mark.parametrize(
    ("rows", "expires", "says"),
    [
        ([(2017, 1, 38)], (2028, 6, 28), "2017-01-01 is announced twice, known with 37 s"),
        ([(2015, 7, 38)], (2028, 6, 28), "2015-07-01 is announced twice, known with 36 s"),
        ([(2028, 1, 38), (2028, 1, 38)], (2028, 6, 28), "2028-01-01 is announced twice, known with 38 s"),
        ([(2016, 1, 38)], (2028, 6, 28), "2016-01-01, should be after the last one, 2017-01-01"),
        ([(2028, 1, 38), (2027, 7, 39)], (2028, 6, 28), "2027-07-01, should be after the last one, 2028-01-01"),
        ([(2028, 1, 39)], (2028, 6, 28), "TAI - UTC is 39 s, should be 36 or 38"),
        ([(2028, 1, 37)], (2028, 6, 28), "TAI - UTC is 37 s, should be 36 or 38"),
        ([], (2027, 6, 28), "nothing new, the table in force is valid until 2027-06-28"),
        ([(2028, 1, 38)], (2027, 6, 27), "valid until 2027-06-27: nothing new"),
        ([(2028, 1, 38)], (2027, 12, 31), "valid until 2027-12-31, should be in 2028-01-01 .. 2101-01-01"),
        ([(2028, 1, 38)], (2101, 1, 2), "valid until 2101-01-02, should be in 2028-01-01 .. 2101-01-01"),
        ([(2020, 1, 38)], (2028, 6, 28), "2020-01-01, should be after 2027-06-28: until then the table in force knows"),
        ([(2027, 6, 38)], (2028, 6, 28), "2027-06-01, should be after 2027-06-28"),
        ([(2018, 1, 36), (2028, 1, 37)], (2028, 6, 28), "2018-01-01, should be after 2027-06-28"),
        ([(2102, 1, 38)], (2101, 1, 1), "2102-01-01, should be in 1972-01-01 .. 2101-01-01"),
    ],
)
def test_news_that_do_not_continue_the_table_are_refused(
    rows: list[tuple[int, int, int]], expires: tuple[int, int, int], says: str
) -> None:
    more = [LeapRow(mjd_of(date(year, month, 1)), tai_utc_s) for year, month, tai_utc_s in rows]
    with pytest.raises(ValueError, match=says):
        BUILT_IN.extended(more, mjd_of(date(*expires)))


def test_a_table_knows_each_day_before_its_expiry_and_no_time_that_was_known_ever_changes() -> None:
    """A row at the expiry is the leap second of the day before it, which the table has, or says that it is not."""
    first = mjd_of(date(2028, 1, 1))
    for tai_utc_s in (36, 38):
        row = LeapRow(first, tai_utc_s)
        known = BUILT_IN.extended((row,), first)  # its last day has this leap second
        with pytest.raises(ValueError, match="2028-01-01 is announced twice"):
            known.extended((row,), first + 100)
        none = BUILT_IN.extended((), first)
        with pytest.raises(ValueError, match="2028-01-01, should be after 2028-01-01: until then"):
            none.extended((row,), first + 100)
        before = BUILT_IN.extended((), first - 1)
        after = before.extended((row,), first + 100)
        end_ns = before.tai_at(UtcTime(first - 1, 0))  # when the table before it becomes old
        for early_ns in (0, 1, NS, 86_400 * NS):
            assert not before.is_old(end_ns - 1 - early_ns)
            assert before.utc_at(end_ns - 1 - early_ns) == after.utc_at(end_ns - 1 - early_ns)
        assert before.is_old(end_ns)


def test_a_leap_second_is_at_the_end_of_a_month_and_rows_have_a_bound() -> None:
    with pytest.raises(ValueError, match="2028-01-02, should be at the first day of a month"):
        BUILT_IN.extended((LeapRow(NEXT.mjd + 1, 38),), NEXT.mjd + 1)
    many = [LeapRow(mjd_of(date(2028 + i // 2, 1 + 6 * (i % 2), 1)), 38 + i) for i in range(ROWS_MAX)]
    assert len(BUILT_IN.extended(many[: ROWS_MAX - 28], many[-1].mjd).rows) == ROWS_MAX
    with pytest.raises(ValueError, match=r"65 rows of leap seconds, should be 1 \.\. 64"):
        BUILT_IN.extended(many[: ROWS_MAX - 27], many[-1].mjd)
    with pytest.raises(ValueError, match="0 rows"):
        LeapSeconds((), NEXT.mjd)


def test_a_table_as_a_document() -> None:
    assert LeapSeconds.from_document(LONGER.document()) == LONGER
    documents: tuple[object, ...] = (
        None, {}, [], {"rows": 1, "expires_mjd": 2}, {"rows": [[1.5, 2]], "expires_mjd": 2},
        {"rows": [], "expires_mjd": 60_000}, {"rows": [[1]], "expires_mjd": 60_000},
    )  # fmt: skip
    for document in documents:
        with pytest.raises(ValueError, match=r"leap seconds|values to unpack"):
            LeapSeconds.from_document(document)


def test_a_table_that_contradicts_the_nodes_is_not_sent() -> None:
    def node(table: LeapSeconds) -> dict[str, int]:
        last = table.rows[-1]
        return {"last_mjd": last.mjd, "last_tai_utc_s": last.tai_utc_s, "expires_mjd": table.expires_mjd}

    none = BUILT_IN.extended((), LONGER.expires_mjd)
    for one, other in ((BUILT_IN, BUILT_IN), (BUILT_IN, LONGER), (BUILT_IN, none), (BUILT_IN, REMOVED)):
        assert contradiction(one, node(other)) == contradiction(other, node(one)) == ""
    for one, other in ((none, LONGER), (LONGER, none), (REMOVED, LONGER), (LONGER, REMOVED), (none, REMOVED)):
        said = f"the node says TAI - UTC is {other.rows[-1].tai_utc_s} s from"
        assert contradiction(one, node(other)).startswith(said)


# The list of IERS


def test_a_list_is_read_and_checked() -> None:
    text = listed(LONGER)
    assert read_leap_second_list(text.encode()) == LONGER
    assert read_leap_second_list(text.replace("\n", "\r\n").encode()) == LONGER
    assert read_leap_second_list(text.replace("#$\t ", "#$").replace("#@\t", "#@").encode()) == LONGER
    for made in range(200):  # some of them have words with leading zeroes
        assert read_leap_second_list(listed(LONGER, made).encode()) == LONGER


def test_a_comment_may_be_of_any_encoding() -> None:
    """No octet ends a line but CR and LF, and no mark of UTF-8 at the beginning is part of one."""
    text = listed(LONGER)
    for word in ("\u0105 \u2026 \u0405", "\x85", "\u2028\u2029", "\x0b\x0c\x1c\x1d\x1e\xa0", "\0"):
        for encoding in ("utf-8", "latin-1", "cp1251"):
            octets = word.encode(encoding, "replace")
            assert read_leap_second_list(text.encode().replace(b"words", octets)) == LONGER
            assert read_leap_second_list(text.encode().replace(b"\t# ", b"\t# " + octets)) == LONGER
    assert read_leap_second_list(b"\xef\xbb\xbf" + text.encode()) == LONGER
    assert read_leap_second_list(text.replace("\n", "\r").encode()) == LONGER
    for blank in (b"\xa0", b"\x85", b"\x1c"):
        with pytest.raises(DecodeError, match=r"line 33: .*should be a time since 1900"):
            read_leap_second_list(text.encode().replace(b"\t38\t", blank + b"38\t"))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("\t38\t", "\t36\t", "SHA-1 mismatch"), ("#$\t 3", "#$\t 4", "SHA-1 mismatch"),
        ("#@", "# ", "no line `#@` and the expiry of the list: .* cut"),
        ("\t38\t", "\tx\t", r"line 33: .*should be a time since 1900"),
        ("2272060800", "2272060801", "line 5: 2272060801 s since 1900 is not the beginning of a day"),
        ("2272060800", "2272060800999", "line 5"), ("#h", "# h", "no line `#h` and 5 words of SHA-1: .* cut"),
        ("#\n#h", "#h 1 2 3 4\n#h", r"line 34: '#h 1 2 3 4', should be `#h` and 5 words of SHA-1"),
        ("#\n#h", "#h 1 2 3 4 5\n#h", "line 35: a second `#h`"),
        ("#@\t", "#@\t-", "line 4: .*should be `#@` and the exp"),
        ("#@", "#@ 3991593600\n#@", "line 5: a second `#@`"),
        ("#$", "#$ 3x\n#$", "line 3: .*should be `#[$]` and when"),
    ],
)  # fmt: skip
def test_a_list_that_was_altered_is_refused(old: str, new: str, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        read_leap_second_list(listed(LONGER).replace(old, new).encode())


def test_a_list_that_was_cut_anywhere_is_refused() -> None:
    """By octets or by lines, and a row left out in the middle: never a table that lacks a leap second."""
    octets = listed(LONGER).encode()
    assert read_leap_second_list(octets.rstrip()) == LONGER
    for at in range(len(octets.rstrip())):
        with pytest.raises(DecodeError):
            read_leap_second_list(octets[:at])
    lines = octets.splitlines(keepends=True)
    for index, line in enumerate(lines):
        rest = b"".join(lines[:index] + lines[index + 1 :])
        if line.startswith((b"# ", b"#\n")):
            assert read_leap_second_list(rest) == LONGER
        else:
            with pytest.raises(DecodeError):
                read_leap_second_list(rest)


def test_a_list_with_a_right_checksum_has_to_keep_the_rules_as_well() -> None:
    rows = [(86_400 * (row.mjd - mjd_of(date(1900, 1, 1))), row.tai_utc_s) for row in LONGER.rows]
    twice = listed_rows([*rows[:-1], (rows[-1][0], 39)], LONGER.expires_mjd)
    with pytest.raises(DecodeError, match="TAI - UTC is 39 s, should be 36 or 38"):
        read_leap_second_list(twice.encode())
    for octets in (b"", bytes(range(256)), b"\n" * 100, b"#@ 3991593600\n"):
        with pytest.raises(DecodeError):
            read_leap_second_list(octets)
    with pytest.raises(DecodeError, match=f"{LIST_OCTETS_MAX} at most"):
        read_leap_second_list(bytes(LIST_OCTETS_MAX + 1))


@pytest.mark.skipif(not SYSTEM_LIST.is_file(), reason=f"this machine has no {SYSTEM_LIST}")
def test_the_list_of_this_machine_agrees_with_what_is_built_in() -> None:
    table = read_table(SYSTEM_LIST)
    shorter = min(len(table.rows), len(BUILT_IN.rows))
    assert table.rows[:shorter] == BUILT_IN.rows[:shorter] and shorter >= 28
    assert ground_table("").expires_mjd == max(table.expires_mjd, BUILT_IN.expires_mjd)


def without(month: date, expires: date) -> LeapSeconds:
    """The built-in table without a leap second, its later rows one second less."""
    rows = [row for row in BUILT_IN.rows if row.mjd != mjd_of(month)]
    return LeapSeconds(
        tuple(row if row.mjd < mjd_of(month) else LeapRow(row.mjd, row.tai_utc_s - 1) for row in rows), mjd_of(expires)
    )


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (without(date(2017, 1, 1), date(2028, 6, 28)),
         "says no further leap second until 2027-06-28, should say TAI - UTC is 37 s from 2017-01-01 on"),
        (without(date(2017, 1, 1), date(2017, 1, 1)), "says no further leap second until 2017-01-01"),
        (without(date(1979, 1, 1), date(2028, 6, 28)), "is 18 s from 1980-01-01 on, should say .* from 1979-01-01 on"),
        (LeapSeconds((*BUILT_IN.rows, LeapRow(mjd_of(date(2020, 1, 1)), 38)), mjd_of(date(2028, 6, 28))),
         "is 38 s from 2020-01-01 on, should say no further leap second until 2027-06-28"),
        (LeapSeconds((*BUILT_IN.rows, LeapRow(mjd_of(date(2020, 1, 1)), 36)), mjd_of(date(2020, 1, 1))),
         "is 36 s from 2020-01-01 on, should say no further leap second until 2020-01-01"),
        (LeapSeconds(BUILT_IN.rows[1:], BUILT_IN.expires_mjd), "is 11 s from 1972-07-01 on, should say .* 1972-01-01"),
    ],
)  # fmt: skip
def test_a_list_that_lacks_a_leap_second_or_has_one_more_contradicts_the_built_in_table(
    table: LeapSeconds, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "list"
    file.write_text(listed(table))
    with pytest.raises(SetupError, match=f"list: says .*{says.removeprefix('says ')}"):
        ground_table(str(file))
    monkeypatch.setattr("ground.leap_second_file.SYSTEM_LIST", file)
    assert ground_table("") == BUILT_IN


def test_tables_agree_if_they_have_the_same_rows_until_the_earlier_expiry() -> None:
    older = LeapSeconds(BUILT_IN.rows[:-1], mjd_of(date(2016, 12, 28)))
    for one, other in ((older, BUILT_IN), (BUILT_IN, LONGER), (older, LONGER), (BUILT_IN, REMOVED)):
        assert one.longer_of(other) == other.longer_of(one) == other
    same = LeapSeconds(BUILT_IN.rows, BUILT_IN.expires_mjd)
    assert BUILT_IN.longer_of(same) is BUILT_IN
    for one, other in ((REMOVED, LONGER), (LONGER, LeapSeconds(BUILT_IN.rows, NEXT.mjd))):
        for first, second in ((one, other), (other, one)):
            with pytest.raises(ValueError, match="from 2028-01-01 on"):
                first.longer_of(second)


def test_the_grounds_table_is_the_file_that_is_named(tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_text(listed(LONGER))
    assert ground_table(str(file)) == LONGER
    other = LeapSeconds((*BUILT_IN.rows[:-1], LeapRow(mjd_of(date(2017, 7, 1)), 37)), mjd_of(date(2028, 1, 1)))
    file.write_text(listed(other))
    says = "list: says TAI - UTC is 37 s from 2017-07-01 on, should say TAI - UTC is 37 s from 2017-01-01 on"
    with pytest.raises(SetupError, match=says):
        ground_table(str(file))
    for name, says in ((tmp_path, "not a file"), (tmp_path / "none", "No such file")):
        with pytest.raises(SetupError, match=says):
            ground_table(str(name))
    file.write_text("nonsense")
    with pytest.raises(SetupError, match="list: line 1"):
        ground_table(str(file))
