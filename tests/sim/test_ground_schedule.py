"""Scheduling from ground against a whole node: records of scheduled commands, and the command line."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any, ClassVar, Self

import pytest

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS
from flight.link.request_source import GROUND_SEQ_COUNTS
from flight.link.stack import LinkConfig
from flight.services.time.clock import Clock
from ground.cli import schedule as schedule_command
from ground.commands.commanding import CommandEncoder
from ground.commands.release_time import release_tai_ns
from ground.link.session import GroundSession
from ground.operator import COMPLETED, REJECTED, SCHEDULED, CommandRecord
from ground.server.command_answers import give
from ground.server.requests import read_request
from ground.station import GroundStation
from sim_hw.ground_segment import GroundSegment
from tests.sim.conftest import MakeRig, Rig


class Ground:
    """A station in place of the rig's bare session."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        config = rig.mission.links[0].config
        epoch_ns = rig.node.part(Clock).tai_ns() - rig.loop.now_ns()
        assert isinstance(config, LinkConfig)
        self.station = GroundStation(rig.dictionary, GroundSession(config), epoch_tai_ns=epoch_ns)
        self.segment = GroundSegment(self.station, rig.air, rig.loop)
        rig.until(100)

    def schedule(self, name: str, after_s: float, **more: Any) -> tuple[CommandRecord, CommandRecord]:
        now_ns = self.rig.loop.now_ns()
        release_ns = release_tai_ns(f"+{after_s}", self.station.onboard_tai_ns(now_ns))
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
        ("1970-01-01T00:00:00Z", 378_691_237 * NS),
        ("1970-01-01T01:00:00.25+01:00", 378_691_237 * NS + NS // 4),
        ("1970-01-01T00:00:00", 378_691_237 * NS),
    ],
)
def test_release_times_as_people_write_them(text: str, tai_ns: int) -> None:
    assert release_tai_ns(text, 5 * NS) == tai_ns


@pytest.mark.parametrize("text", ["", "90", "+", "+nan", "+inf", "tomorrow", "2026-13-01T00:00:00Z", "1900-01-01"])
def test_other_texts_are_no_release_times(text: str) -> None:
    with pytest.raises(OrbitnodeError, match="should be UTC such as"):
        release_tai_ns(text, 5 * NS)


def asked(*texts: str) -> dict[str, Any]:
    """What the command line asks of the ground process."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    schedule_command.add_arguments(parser)
    return schedule_command._asked(parser.parse_intermixed_args(texts))


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
    with pytest.raises(argparse.ArgumentTypeError, match=r"should be|takes|belong"):
        asked(*texts)


class Client:
    """The ground process, as far as the command line sees it."""

    lines_: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, port: int) -> None:
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
