"""Scheduling from ground against a whole node: records of scheduled commands, and the command line."""

from __future__ import annotations

import argparse
import json
import re
import time
from typing import Any, ClassVar, Self

import pytest

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from flight.core.utc.leap_seconds import BUILT_IN
from flight.link.sequence_count_ranges import GROUND_SEQ_COUNTS
from flight.link.tm_tc_stack import LinkConfig
from flight.services.time.clock import Clock
from ground.cli import schedule as schedule_command
from ground.commands.commanding import CommandEncoder
from ground.commands.release_time import release_tai_ns
from ground.link.correlation import Correlation
from ground.link.onboard_clock import OnboardClock, read_clock
from ground.link.tm_tc_session import GroundSession
from ground.operator import COMPLETED, REJECTED, SCHEDULED, CommandRecord
from ground.server.command_answers import give
from ground.server.requests import read_request
from ground.server.telemetry_answers import latest
from ground.station import GroundStation
from sim_hw.ground_segment import GroundSegment
from tests.mission_security import stored_security
from tests.sim.conftest import PASS_START_S, MakeRig, Rig


class Ground:
    """A station in place of the rig's bare session."""

    def __init__(self, rig: Rig, ahead_s: int = 0, until_s: float = 100) -> None:
        """A node whose clock is `ahead_s` ahead of the ground's."""
        self.rig = rig
        config = rig.mission.links[0].config
        epoch_ns = rig.node.part(Clock).tai_ns() - rig.loop.now_ns()
        assert isinstance(config, LinkConfig)
        epoch_ns -= ahead_s * NS
        security = stored_security(rig.mission)
        session = GroundSession(config, security.security)
        self.station = GroundStation(rig.dictionary, session, epoch_tai_ns=epoch_ns, security=security)
        self.segment = GroundSegment(self.station, rig.air, rig.loop)
        rig.until(until_s)

    def schedule(self, name: str, after_s: float, **more: Any) -> tuple[CommandRecord, CommandRecord]:
        now_ns = self.rig.loop.now_ns()
        release_ns = release_tai_ns(f"+{after_s}", self.station.onboard_clock(now_ns).onboard_ns, BUILT_IN)
        record, scheduled, cltus = self.station.schedule(name, {}, release_ns, now_ns, **more)
        self.segment.uplink(cltus)
        return record, scheduled


def test_a_scheduled_command_waits_for_its_time_over_a_reboot(make_rig: MakeRig) -> None:
    ground = Ground(make_rig())
    record, scheduled = ground.schedule("ping", 120)
    ground.rig.until(110)
    assert record.outcome == COMPLETED
    assert [stage.name for stage in scheduled.stages] == ["sent", SCHEDULED]
    assert ground.station.tracker.scheduled == {scheduled.number} and ground.station.tracker.open_count == 0
    ground.rig.craft.cut_power()
    ground.rig.until(215)
    assert scheduled.is_open, "neither the reboot nor the time-out of other commands ends it"
    ground.rig.until(225)
    assert scheduled.outcome == COMPLETED and ground.station.tracker.scheduled == frozenset()


@pytest.mark.parametrize("ahead_s", [0, 3600, -3600])
@pytest.mark.parametrize(("until_s", "known_by"), [(100.0, "live telemetry"), (200.0, "time reports")])
def test_seconds_from_now_are_the_nodes_however_wrong_its_clock_is(
    make_rig: MakeRig, ahead_s: int, until_s: float, known_by: str
) -> None:
    ground = Ground(make_rig(), ahead_s, until_s)
    now_ns = ground.rig.loop.now_ns()
    request = read_request(b'{"do": "schedule", "name": "ping", "at": "+60"}')
    record, about, cltus = give(ground.station, request, now_ns)
    ground.segment.uplink(cltus)
    assert known_by in about["clock_known_by"] and abs(about["clock_ahead_s"] - ahead_s) < 2.0
    scheduled = ground.station.tracker.record(about["scheduled"])
    assert scheduled is not None
    ground.rig.until(until_s + 57)
    assert record.outcome == COMPLETED and scheduled.is_open
    ground.rig.until(until_s + 63)
    assert scheduled.outcome == COMPLETED


def test_before_the_node_is_heard_the_grounds_clock_is_used_and_said(make_rig: MakeRig) -> None:
    ground = Ground(make_rig(), until_s=0)
    assert ground.station.onboard_clock(0).known_by == "the ground's own clock, because the node was not heard yet"
    assert ground.station.onboard_clock(0).ahead_ns == 0


def test_a_scheduled_command_is_waited_for_by_the_clock_that_releases_it(make_rig: MakeRig) -> None:
    """Inserted by the ground's clock, before the node was heard: its own shows an hour less."""
    ground = Ground(make_rig(), -3600, PASS_START_S - 15)
    tracker = ground.station.tracker
    _, scheduled = ground.schedule("ping", 100)
    ground.rig.until(200)
    assert scheduled.is_open and tracker.scheduled == {scheduled.number}
    due_ns = tracker.next_time_ns
    assert due_ns is not None and abs(due_ns / NS - (PASS_START_S - 15 + 100 + 3600 + 30)) < 5


def test_the_age_of_a_value_is_by_the_clock_that_stamped_it(make_rig: MakeRig) -> None:
    ground = Ground(make_rig(), 3600, 200)
    ages = {name: one["age_s"] for name, one in latest(ground.station, "", ground.rig.loop.now_ns()).items()}
    assert "correlation.offset_us" in ages and "node.uptime_s" in ages
    assert all(isinstance(age_s, float) and -5 < age_s < 120 for age_s in ages.values())


def test_live_telemetry_that_contradicts_the_correlation_is_believed() -> None:
    """The clock was set just now: the correlation takes three time reports to see it."""
    clock = OnboardClock()
    known = Correlation(0, 3600.0 * NS, 0.0, 1000.0, 1.0, 1000.0, 10)
    for live_s, want_s in ((3600.5, 3600.0), (0.5, 0.5)):
        clock.heard(round(live_s * NS), 0)
        assert read_clock(clock, known, 10 * NS, 10 * NS).ahead_ns == want_s * NS


def test_the_console_says_which_clock_a_release_goes_by(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schedule_command, "GroundClient", Client)
    done = {"done": True, "name": "insert_activities", "outcome": COMPLETED, "reason": "", "scheduled": 7, "apid": 1,
            "seq": 4, "release": "2026-03-20T10:00:00Z", "clock_known_by": "the node's time reports",
            "clock_ahead_s": 3600.0}  # fmt: skip
    Client.lines_ = [done]
    parser = argparse.ArgumentParser()
    schedule_command.add_arguments(parser)
    assert schedule_command.execute(parser.parse_args(["insert", "+5", "ping"])) == 0
    assert "by the on-board clock: +3600.000 s against the ground's, by the node's time reports" in (
        capsys.readouterr().out
    )


def test_a_refused_insertion_ends_the_scheduled_command_too(make_rig: MakeRig) -> None:
    ground = Ground(make_rig())
    record, scheduled = ground.schedule("ping", 60, group=7)
    ground.rig.until(105)
    assert record.outcome == scheduled.outcome == REJECTED
    assert "not scheduled" in scheduled.reason and "no group 7" in scheduled.reason


def test_the_server_schedules_by_name_and_says_under_what_number(make_rig: MakeRig) -> None:
    ground = Ground(make_rig())
    now_ns = time.monotonic_ns()
    wanted = read_request(b'{"do": "schedule", "name": "ping", "at": "+90", "group": 0}')
    record, about, _ = give(ground.station, wanted, now_ns)
    assert record.name == "insert_activities"
    scheduled = ground.station.tracker.record(about["scheduled"])
    assert scheduled is not None and (scheduled.name, scheduled.seq) == ("ping", about["seq"])
    for wrong in ({"at": "soon"}, {"at": "+90", "group": 256}, {"at": "+90", "name": "pin"}):
        with pytest.raises(OrbitnodeError):
            give(ground.station, {"do": "schedule", "name": "ping", **wrong}, now_ns)
    assert ground.station.tracker.open_count == 1


def test_a_ground_leaves_the_counts_of_the_missions_own_steps_alone(make_rig: MakeRig) -> None:
    dictionary = make_rig().dictionary
    encoder = CommandEncoder(dictionary, first_seq={1: GROUND_SEQ_COUNTS - 1})
    assert [encoder.encode("ping", {}).request.seq for _ in range(2)] == [GROUND_SEQ_COUNTS - 1, 0]
    assert CommandEncoder(dictionary, first_seq={1: GROUND_SEQ_COUNTS}).encode("ping", {}).request.seq == 0


@pytest.mark.parametrize(
    ("text", "tai_ns"),
    [
        ("+90", 5 * NS + 90 * NS),
        ("+0.5", 5 * NS + NS // 2),
        ("1970-01-01T00:00:00Z", 378_691_210 * NS),
        ("1970-01-01T01:00:00.25+01:00", 378_691_210 * NS + NS // 4),
        ("1970-01-01T00:00:00", 378_691_210 * NS),
        ("2016-12-31T23:59:60Z", 1_861_920_036 * NS),
        ("2016-12-31T23:59:60.5Z", 1_861_920_036 * NS + NS // 2),
        ("2017-01-01T00:00:00Z", 1_861_920_037 * NS),
        ("2016-366T23:59:59Z", 1_861_920_035 * NS),
        ("2017-01-01T05:29:60+05:30", 1_861_920_036 * NS),
    ],
)
def test_release_times_as_people_write_them(text: str, tai_ns: int) -> None:
    assert release_tai_ns(text, 5 * NS, BUILT_IN) == tai_ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "90",
        "+",
        "+nan",
        "+inf",
        "tomorrow",
        "2026-13-01T00:00:00Z",
        "1900-01-01",
        "2026-12-31T23:58:60Z",
        "10:60:00",
    ],
)
def test_other_texts_are_no_release_times(text: str) -> None:
    says = f"time {text!r}: should be UTC such as 2026-03-20T10:00:00Z, or +SECONDS from now on board"
    with pytest.raises(OrbitnodeError, match=f"^{re.escape(says)}$"):
        release_tai_ns(text, 5 * NS, BUILT_IN)


def test_a_release_in_a_leap_second_that_is_not_known_is_refused_with_the_reason() -> None:
    with pytest.raises(OrbitnodeError, match=r"60Z': 2026-12-31 has no second 23:59:60: no leap second is known there"):
        release_tai_ns("2026-12-31T23:59:60Z", 5 * NS, BUILT_IN)


def asked(*texts: str) -> dict[str, Any]:
    """What the command line asks of the ground process."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    schedule_command.add_arguments(parser)
    return schedule_command._request_of(parser.parse_intermixed_args(texts))


def test_the_command_line_asks_for_what_it_says() -> None:
    insertion = asked("insert", "+90", "set_power_mode", "mode=eco", "--group", "3")
    assert insertion == {
        "do": "schedule", "name": "set_power_mode", "texts": ["mode=eco"], "at": "+90", "group": 3, "sub_schedule": 0,
    }  # fmt: skip
    assert asked("--group", "3", "insert", "+90", "--port", "1", "set_power_mode", "mode=eco") == insertion
    assert asked("delete", "1:42", "7:1:43")["arguments"] == {"requests": [[0, 1, 42], [7, 1, 43]]}
    assert asked("shift", "+60")["name"] == "shift_schedule"
    assert asked("shift", "-60", "1:42")["arguments"] == {"offset_s": -60, "requests": [[0, 1, 42]]}
    assert asked("enable")["name"] == "enable_schedule"
    assert asked("disable", "--group", "3")["arguments"] == {"groups": [[3]]}
    assert asked("disable", "--sub-schedule", "3")["name"] == "disable_sub_schedules"


@pytest.mark.parametrize(
    "texts",
    [
        ("delete",),
        ("delete", "42"),
        ("delete", "1:x"),
        ("shift",),
        ("shift", "1.5"),
        ("shift", "9999999999"),
        ("insert", "+90"),
        ("list", "1:42"),
        ("list", "--group", "1"),
        ("enable", "--group", "1", "--sub-schedule", "2"),
    ],
)
def test_wrong_use_is_told(texts: tuple[str, ...]) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"should be|is not a|takes|belong"):
        asked(*texts)


class Client:
    """The ground process, as far as the command line sees it."""

    lines_: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, port: int, *, faithful: bool) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def lines(self, **_: Any) -> list[dict[str, Any]]:
        return self.lines_


def test_the_list_has_a_row_an_activity(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(schedule_command, "GroundClient", Client)
    done = {"done": True, "name": "summarise_schedule", "outcome": COMPLETED, "reason": ""}
    values = {f"activities[{i}].{name}": value for i in range(2) for name, value in (("seq", 5 + i), ("group", 0))}
    Client.lines_ = [{"report": "activity_summary", "values": values}, done]
    parser = argparse.ArgumentParser()
    schedule_command.add_arguments(parser)
    assert schedule_command.execute(parser.parse_args(["list", "--json"])) == 0
    assert json.loads(capsys.readouterr().out)["activities"] == [{"seq": 5, "group": 0}, {"seq": 6, "group": 0}]
    Client.lines_ = [done]
    assert schedule_command.execute(parser.parse_args(["list"])) == 0
    assert "nothing is scheduled" in capsys.readouterr().out
    Client.lines_ = [done | {"outcome": "rejected", "reason": "late [10 s]"}]
    assert schedule_command.execute(parser.parse_args(["list"])) == 1
    assert "rejected: late [10 s]" in capsys.readouterr().out
