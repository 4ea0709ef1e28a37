"""The node's table of leap seconds, flown: added by command, kept, refused, old; and a leap second that comes."""

from __future__ import annotations

import io
import itertools
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from flight.contract.app import CommandRefused
from flight.contract.failures import Failure
from flight.core.log import gap_line, node_log
from flight.core.nanoseconds import NS
from flight.core.utc.leap_seconds import BUILT_IN, LeapRow, LeapSeconds
from flight.core.utc.utc_time import UtcTime, mjd_of
from flight.link.pus import PusTc
from flight.mission import MISSIONS
from flight.services.time import leap_seconds
from flight.services.time.clock import Clock
from flight.services.time.leap_seconds import LeapSecondTable, stored_table
from sim_hw.report.time_axis import Clock as ReportClock
from sim_hw.report.time_axis import TimeAxis
from sim_hw.world.orbit import Orbit, OrbitConfig
from tests.sim.conftest import MakeRig, Rig

ROOT = Path(__file__).parents[2]

DONE = [1, 3, 7]
KEY = "time.leap_seconds"
EXPIRES = mjd_of(date(2028, 6, 28))
FIRST, SECOND, THIRD = (
    LeapRow(mjd_of(date(year, month, 1)), ahead) for year, month, ahead in ((2027, 7, 38), (2028, 1, 39), (2028, 7, 39))
)


def stored(table: LeapSeconds) -> bytes:
    rows = b"".join(row.mjd.to_bytes(4, "big") + row.tai_utc_s.to_bytes(2, "big") for row in table.rows)
    return table.expires_mjd.to_bytes(4, "big") + rows


def events(rig: Rig, number: int) -> list[bytes]:
    return [p.data[2:] for p in rig.packets if p.service == 5 and p.data[:2] == number.to_bytes(2, "big")]


def detail(rig: Rig, request: PusTc) -> tuple[int, str]:
    (failure,) = [p for p in rig.reports(1, 2) if p.data[:4] == request.request_id.encode()]
    return int.from_bytes(failure.data[4:6], "big"), failure.data[7:].decode()


def table(rig: Rig) -> LeapSeconds:
    return rig.node.part(LeapSecondTable).table


def test_leap_seconds_are_added_told_and_kept_over_a_boot(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(100)
    before_ns = rig.node.part(Clock).tai_ns() - rig.loop.now_ns()
    request = rig.send("add_leap_seconds", EXPIRES, (FIRST, SECOND))
    rig.until(110)
    assert rig.stages(request) == DONE
    longer = BUILT_IN.extended((FIRST, SECOND), EXPIRES)
    assert (table(rig), rig.node.parts.vault.get(KEY)) == (longer, stored(longer))
    (told,) = events(rig, 112)
    assert b"2028-01-01" in told and b"2028-06-28" in told
    assert rig.node.part(Clock).tai_ns() - rig.loop.now_ns() == before_ns, "on-board time is TAI: it never moves"
    rig.craft.cut_power()
    rig.until(200)
    assert table(rig) == longer
    more = rig.send("add_leap_seconds", EXPIRES + 180, ())
    rig.until(210)
    assert (rig.stages(more), table(rig).expires_mjd) == (DONE, EXPIRES + 180)
    back = rig.send("reset_leap_seconds")
    rig.until(220)
    assert (rig.stages(back), table(rig), rig.node.parts.vault.get(KEY)) == (DONE, BUILT_IN, None)


@pytest.mark.parametrize(
    ("expires", "rows", "says"),
    [
        (EXPIRES, [(mjd_of(date(2017, 1, 1)), 38)], "leap second at 2017-01-01 is announced twice, known with 37 s"),
        (EXPIRES, [FIRST, FIRST], "leap second at 2027-07-01 is announced twice, known with 38 s"),
        (EXPIRES, [SECOND, FIRST], "leap second at 2028-01-01: TAI - UTC is 39 s, should be 36 or 38"),
        (EXPIRES, [(FIRST[0] + 1, 38)], "leap second at 2027-07-02, should be at the first day of a month"),
        (EXPIRES, [(mjd_of(date(2016, 7, 1)), 38)], "2016-07-01, should be after the last one, 2017-01-01"),
        (
            EXPIRES,
            [(mjd_of(date(2020, 1, 1)), 38)],
            "2020-01-01, should be after 2027-06-28: until then the table in fo",
        ),
        (BUILT_IN.expires_mjd, [], "nothing new, the table in force is valid until 2027-06-28"),
        (10**6, [FIRST], "expires_mjd: 1000000 is outside 41317 .. 88434"),
    ],
)
def test_news_that_do_not_continue_the_table_are_refused_with_the_reason(
    make_rig: MakeRig, expires: int, rows: list[tuple[int, int]], says: str
) -> None:
    rig = make_rig()
    rig.until(100)
    request = rig.send("add_leap_seconds", expires, tuple(rows))
    rig.until(110)
    assert rig.stages(request) == [2]
    code, text = detail(rig, request)
    assert code == Failure.BAD_VALUE and says in text
    assert (table(rig), rig.node.parts.vault.get(KEY)) == (BUILT_IN, None)


def test_a_leap_second_on_its_way_to_the_disk_is_announced_already(make_rig: MakeRig) -> None:
    """At admission, and again when the turn of a command comes that was right when it was admitted."""
    rig = make_rig()
    rig.until(100)
    rig.send("ping")  # its number is stored before the disk is slow, so that the others need not wait for theirs
    rig.until(105)
    rig.craft.disk.commit_s = 8.0
    requests = [rig.send("add_leap_seconds", EXPIRES + i, (FIRST,)) for i in range(2)]
    rig.until(140)
    assert [rig.stages(request) for request in requests] == [DONE, [2]]
    assert "2027-07-01 is announced twice, known with 38 s" in detail(rig, requests[1])[1]
    assert table(rig).rows == (*BUILT_IN.rows, FIRST) and table(rig).expires_mjd == EXPIRES
    service = rig.node.part(LeapSecondTable)
    service.check_add(EXPIRES + 101, (THIRD,))
    service.check_add(EXPIRES + 102, (THIRD,))
    rig.node.parts.vault.stage(service.add(EXPIRES + 101, (THIRD,)).changes)
    with pytest.raises(CommandRefused, match="2028-07-01 is announced twice"):
        service.add(EXPIRES + 102, (THIRD,))


@pytest.mark.campaign
@pytest.mark.parametrize(
    "octets",
    [b"", b"\0", bytes(4) + b"\1", bytes.fromhex("0000ffff 0000f000 0001"), bytes.fromhex("ffffffff"),
     EXPIRES.to_bytes(4, "big") + bytes.fromhex("0000e19a 0026"), EXPIRES.to_bytes(4, "big"),
     stored(LeapSeconds((*BUILT_IN.rows, LeapRow(mjd_of(date(2020, 1, 1)), 38)), EXPIRES)),
     stored(LeapSeconds((*BUILT_IN.rows, LeapRow(mjd_of(date(2020, 1, 1)), 38)), mjd_of(date(2020, 6, 28)))),
     stored(LeapSeconds(BUILT_IN.rows[:-1], EXPIRES))],
)  # fmt: skip
def test_a_stored_table_that_does_not_fit_is_left_as_it_is(make_rig: MakeRig, octets: bytes) -> None:
    rig = make_rig()
    rig.until(95)
    rig.node.parts.vault.commit({KEY: octets})
    rig.until(100)
    rig.craft.cut_power()
    rig.until(130)
    assert table(rig) == BUILT_IN
    assert rig.node.parts.vault.get(KEY) == octets
    assert any(KEY.encode() in p.data for p in rig.packets if p.service == 5)
    request = rig.send("add_leap_seconds", EXPIRES, (FIRST,))
    rig.until(140)
    assert (rig.stages(request), table(rig).rows[-1]) == (DONE, FIRST)
    rig.craft.cut_power()
    rig.until(170)
    assert table(rig).rows[-1] == FIRST


def test_software_that_is_newer_or_older_than_what_is_stored(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table that is known for longer is in force, if the two agree; a missing row is a contradiction as well."""
    first = BUILT_IN.extended((FIRST,), mjd_of(date(2027, 12, 28)))
    third = first.extended((THIRD,), mjd_of(date(2028, 12, 28)))
    rig = make_rig()
    rig.until(95)
    vault = rig.node.parts.vault
    for built_in, kept, in_force in (
        (BUILT_IN, LeapSeconds(BUILT_IN.rows[:-1], mjd_of(date(2016, 12, 28))), BUILT_IN),
        (BUILT_IN, third, third),
        (third, first, third),
        (first, third, third),
        (BUILT_IN.extended((), EXPIRES), first, None),  # newer software knows that it did not come
        (third, BUILT_IN.extended((), EXPIRES), None),  # what is stored says that it does not come
    ):
        monkeypatch.setattr(leap_seconds, "BUILT_IN", built_in)
        vault.commit({KEY: stored(kept)})
        table, damage = stored_table(vault)
        assert table == (in_force or built_in)
        assert ("should say" in damage) == (in_force is None)


def test_an_old_table_is_told_once_per_boot_and_once_it_expires(make_rig: MakeRig) -> None:
    rig = make_rig(more="[time]\nstep_max_s = 1e9\n")
    rig.until(100)
    assert events(rig, 113) == [], "it holds until 2027"
    years = rig.send("adjust_time", 700 * 86_400 * 1_000_000)
    rig.until(110)
    assert rig.stages(years) == DONE
    rig.node.part(LeapSecondTable).look()  # an hour has passed
    rig.node.part(LeapSecondTable).look()
    rig.until(112)
    assert [b"2027-06-28" in text for text in events(rig, 113)] == [True]
    rig.craft.cut_power()
    rig.until(180)
    assert len(events(rig, 113)) == 2, "once more at the boot"
    news = rig.send("add_leap_seconds", EXPIRES, ())
    rig.until(190)
    assert rig.stages(news) == DONE
    rig.until(400)
    assert len(events(rig, 113)) == 2, "it is new again"
    short = rig.send("add_leap_seconds", EXPIRES + 1, ())
    rig.node.parts.platform.leap_seconds = LeapSeconds(BUILT_IN.rows, 60_000)
    rig.until(410)
    assert rig.stages(short) == DONE and table(rig).expires_mjd == EXPIRES + 1


# A leap second that comes


def test_time_goes_on_evenly_over_the_leap_second_of_2016() -> None:
    orbit = Orbit(OrbitConfig(epoch="2016-12-31T00:00:00Z", start="2016-12-31T23:59:50Z"))
    assert orbit.start_tai_ns == BUILT_IN.tai_at(UtcTime.parse("2016-12-31T23:59:50Z"))
    clock = ReportClock(orbit.start_tai_ns, 20.0)
    assert [clock.utc_text(t_s) for t_s in (9, 10, 11)] == ["31 Dec 23:59:59", "31 Dec 23:59:60", "01 Jan 00:00:00"]
    assert clock.both(10) == "0:00:10, 31 Dec 23:59:60 UTC"
    out = io.StringIO()
    times = iter(orbit.start_tai_ns + t_s * NS for t_s in (9, 10, 11))
    log = node_log("n", lambda: next(times), out, form="json")
    for _ in range(3):
        log.warning("tick")
    shown = [json.loads(line)["time"] for line in out.getvalue().splitlines()]
    assert shown == ["2016-12-31T23:59:59.000Z", "2016-12-31T23:59:60.000Z", "2017-01-01T00:00:00.000Z"]
    end_ns = orbit.start_tai_ns + 12 * NS
    assert '"since": "2016-12-31T23:59:60.000Z"' in gap_line("n", lambda: end_ns, form="json")(3, 2.0, "x")


def test_ticks_of_a_report_stay_legible_behind_a_leap_second() -> None:
    start = BUILT_IN.tai_at(UtcTime.parse("2016-12-31T23:50:00Z"))
    shown = {tick.t_s: tick.utc for tick in TimeAxis(ReportClock(start, 1200.0)).ticks()}
    assert [shown[t_s] for t_s in (0.0, 480.0, 600.0, 720.0)] == [
        "23:50:00", "23:58:00", "23:59:60", "01 Jan 00:01:59",
    ]  # fmt: skip


def test_a_node_logs_by_the_table_that_ground_sent(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(100)
    rig.send("add_leap_seconds", EXPIRES, (FIRST,))
    rig.until(110)
    leap_ns = table(rig).tai_at(UtcTime.parse("2027-06-30T23:59:60Z"))
    out = io.StringIO()
    node_log("n", lambda: leap_ns, out, form="json", leap_seconds=lambda: table(rig)).warning("tick")
    assert json.loads(out.getvalue())["time"] == "2027-06-30T23:59:60.000Z"


@pytest.mark.campaign
def test_a_run_over_a_leap_second_says_so_and_nothing_jumps(tmp_path: Path) -> None:
    """Packet times are TAI: samples are ten seconds apart, before the leap second, over it and behind it."""
    mission, out = tmp_path / "leap.toml", tmp_path / "out"
    base = (MISSIONS / "orbit.toml").as_posix()
    orbit = 'epoch = "2016-12-31T00:00:00Z"\nstart = "2016-12-31T23:50:00Z"\n'
    mission.write_text(f'extends = "{base}"\napp = []\n[sim.world.orbit]\n{orbit}')
    run = [sys.executable, "-m", "flight.cli", "run", "--mission", mission, "--orbits", "1", "--out", out]
    done = subprocess.run([*map(str, run), "--json"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "23:59:60" in (out / "report.html").read_text()
    query = "SELECT s.time_ns FROM samples s JOIN parameters p ON p.id = s.parameter WHERE p.name = ? ORDER BY 1"
    with closing(sqlite3.connect(out / "archive.db")) as archive:
        times = [time_ns for (time_ns,) in archive.execute(query, ("power.soc_frac",))]
    leap_ns = BUILT_IN.tai_at(UtcTime.parse("2016-12-31T23:59:60Z"))
    near = [time_ns for time_ns in times if abs(time_ns - leap_ns) < 120 * NS]
    assert len(near) == 24
    assert max(abs(after - before - 10 * NS) for before, after in itertools.pairwise(near)) < NS // 10
