"""The recorder in a node over the simulated radio: priority, playback in mid-pass, ST[15] from ground."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from flight.core.nanoseconds import NS, ns
from flight.link.link import Role
from flight.link.pus import PusTm
from flight.services.commanding.command_log import CommandLog
from flight.services.commanding.verification import Verification
from flight.services.radio.radio import RadioLinks
from flight.services.recorder.recorder import Recorder
from flight.services.reporting.telemetry import Telemetry
from tests.field_values import integers, rows
from tests.sim.conftest import PASS_START_S, MakeRig, Rig

IN_PASS_S = PASS_START_S + 60
FAST = "[housekeeping.period_s]\npower = 0.1\nthermal = 0.1\nlink = 0.1\nnode = 0.1\nrecorder = 0.1\n"
EVERYTHING: list[Any] = [[]]


def times(rig: Rig, packets: list[PusTm]) -> list[float]:
    """Seconds since the start of the run."""
    return [(one.time_ns - rig.world.start_tai_ns) / NS for one in packets]


def power_reports(rig: Rig) -> list[PusTm]:
    return [one for one in rig.reports(3, 25) if one.data[:2] == b"\0\2"]


def report(rig: Rig, name: str) -> dict[int, tuple[Any, ...]]:
    """The newest report of that name, a row a store."""
    declared = next(one for one in rig.dictionary.reports if one.name == name)
    (told,) = declared.layout.decode(rig.reports(declared.service, declared.subtype)[-1].data)
    return {row[0]: row[1:] for row in rows(told)}


def test_reports_and_events_are_played_back_before_housekeeping(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(PASS_START_S + 30)
    early = [one for one in rig.packets if one.time_ns < rig.world.start_tai_ns + ns(PASS_START_S - 1)]
    services = [one.service for one in early]
    assert services == sorted(services, key=lambda service: service not in (1, 5))
    assert {3, 5} <= set(services)


def test_a_power_cut_in_mid_playback_goes_on_there_and_loses_nothing_that_was_synced(make_rig: MakeRig) -> None:
    rig = make_rig(faults="power-cut@103", more=FAST)
    rig.until(PASS_START_S - 0.1)
    held = rig.node.part(Recorder).waiting
    assert held > 3000
    rig.until(102.9)
    before = power_reports(rig)
    assert 0 < rig.node.part(Recorder).waiting < held / 2, "the cut falls into the playback"
    rig.until(PASS_START_S + 100)
    assert rig.craft.boots == 2
    after = [one for one in power_reports(rig)[len(before) :] if times(rig, [one])[0] < PASS_START_S]
    old = set(times(rig, before))
    again = [t for t in times(rig, after) if t in old]
    seen = old | set(times(rig, after))
    assert [t for t in range(1, 85) if not any(abs(t - s) < 0.06 for s in seen)] == []
    assert len(again) < 0.7 * len(before), "the pointer survived"
    assert len({one.encode() for one in (*before, *after)}) == len(seen), "octet for octet the same"
    assert rig.node.part(Recorder).waiting == 0


def test_a_contact_that_ends_in_mid_playback_goes_on_in_the_next(make_rig: MakeRig) -> None:
    rig = make_rig(more=FAST)
    rig.until(PASS_START_S + 5)
    (one,) = rig.air.in_sight
    rig.air.set(one)
    before = len(power_reports(rig))
    rig.until(PASS_START_S + 20)
    assert rig.node.part(RadioLinks)[0].in_contact is False
    assert rig.node.part(Recorder).waiting > 1000
    rig.air.rise(one)
    rig.until(PASS_START_S + 80)
    assert rig.node.part(Recorder).returned_packets > 0
    early = [t for t in times(rig, power_reports(rig)) if t < PASS_START_S - 1]
    assert before < len(early)
    assert max(b - a for a, b in pairwise(sorted(early))) < 0.15, "nothing is missing"
    assert len(early) - len(set(early)) <= rig.node.part(Recorder).returned_packets


def contact_ends(rig: Rig) -> Any:
    (one,) = rig.air.in_sight
    rig.air.set(one)
    return one


def test_what_the_modem_held_as_the_contact_ended_comes_in_the_next(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = make_rig(more=FAST)
    made: list[bytes] = []
    emit = rig.node.part(Telemetry).emit

    def keep(packet: bytes) -> None:
        made.append(packet)
        emit(packet)

    monkeypatch.setattr(rig.node.part(Telemetry), "emit", keep)
    rig.until(IN_PASS_S)
    station = contact_ends(rig)
    rig.until(IN_PASS_S + 10)
    made_before, heard_before = len(made), set(rig.raw)
    rig.air.rise(station)
    rig.until(IN_PASS_S + 60)
    missing = set(made[:made_before]) - heard_before
    assert len(missing) > 200, "a second in the modem, and ten out of contact"
    assert missing <= set(rig.raw)


@pytest.mark.parametrize("waited_s", [0.05, 0.5])  # in the real-time queue, in the modem
def test_a_durable_commands_report_on_its_way_as_the_contact_ends_survives_a_power_cut(
    make_rig: MakeRig, waited_s: float
) -> None:
    rig = make_rig(faults=f"power-cut@{IN_PASS_S + 20:g}")
    rig.until(IN_PASS_S)
    request = rig.send("suspend_retrieval", ((1,),))
    while not rig.node.part(Verification).counts["completion_success"]:
        rig.until(rig.loop.now_ns() / NS + 0.01)
    rig.until(rig.loop.now_ns() / NS + waited_s)
    backlog = rig.node.part(RadioLinks)[0].link.backlog_octets(Role.REALTIME)
    assert (backlog > 0) == (waited_s < 0.1)
    station = contact_ends(rig)
    rig.until(IN_PASS_S + 15)
    assert 7 not in rig.stages(request)
    assert len(rig.node.part(CommandLog)) == 0, "its row is gone"
    rig.until(IN_PASS_S + 60)
    assert rig.craft.boots == 2
    rig.air.rise(station)
    rig.until(IN_PASS_S + 90)
    assert rig.stages(request).count(7) == 1


def test_a_time_range_brings_exactly_the_packets_of_that_range_heard_ones_as_well(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(IN_PASS_S)
    for _ in range(5):
        rig.send("ping")
        rig.until(rig.loop.now_ns() / NS + 2)
    rig.until(IN_PASS_S + 20)
    start_ns = rig.world.start_tai_ns
    ends = (start_ns + ns(20), start_ns + ns(IN_PASS_S + 4))
    expected = [one for one in rig.packets if one.service in (1, 5) and ends[0] <= one.time_ns <= ends[1]]
    count = len(rig.packets)
    request = rig.send("retrieve_range", ((0, *ends),))
    rig.until(IN_PASS_S + 30)
    assert rig.stages(request) == [1, 3, 7]
    again = [one for one in rig.packets[count:] if one.service in (1, 5) and one.time_ns <= ends[1]]
    assert sorted(one.encode() for one in again) == sorted(one.encode() for one in expected)
    assert len(again) > 6
    told = [one for one in rig.reports(5, 1) if one.data[:2] == b"\0\x3f"]
    assert len(told) == 1


def test_a_range_that_is_upside_down_or_one_too_many_is_refused(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(IN_PASS_S)
    start_ns = rig.world.start_tai_ns
    backwards = rig.send("retrieve_range", ((0, start_ns + ns(5), start_ns),))
    twice = rig.send("retrieve_range", ((1, start_ns, start_ns), (1, start_ns, start_ns)))
    rig.until(IN_PASS_S + 10)
    assert rig.stages(backwards) == rig.stages(twice) == [2]


def test_stores_are_told_reported_and_keep_what_they_were_told_over_a_reboot(make_rig: MakeRig) -> None:
    rig = make_rig(faults="power-cut@200")
    rig.until(IN_PASS_S)
    requests = [
        rig.send("suspend_retrieval", ((1,),)),
        rig.send("disable_store", ((0,),)),
        rig.send("report_store_status", *EVERYTHING),
        rig.send("report_store_summary", *EVERYTHING),
    ]
    rig.until(IN_PASS_S + 5)
    assert [rig.stages(one) for one in requests] == [[1, 3, 7]] * 4
    assert report(rig, "store_status") == {0: (0, 1, 0), 1: (1, 0, 0)}
    oldest_ns, newest_ns, start_ns, filled, waiting = report(rig, "store_summary")[1]
    begin_ns = rig.world.start_tai_ns
    assert 0 <= oldest_ns - begin_ns < ns(10)
    assert ns(70) < newest_ns - begin_ns < ns(PASS_START_S + 2)
    assert start_ns == newest_ns
    assert (filled, waiting) == (1, 0)
    rig.until(220)
    rig.send("report_store_status", *EVERYTHING)
    rig.until(225)
    assert rig.craft.boots == 2
    assert report(rig, "store_status") == {0: (0, 1, 0), 1: (1, 0, 0)}
    resumed = [rig.send("resume_retrieval", *EVERYTHING), rig.send("enable_store", *EVERYTHING)]
    rig.until(230)
    assert [rig.stages(one) for one in resumed] == [[1, 3, 7]] * 2
    assert rig.node.part(Recorder).enabled == [True, True]


def test_what_was_deleted_is_gone_and_a_start_in_the_past_brings_packets_again(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(IN_PASS_S)
    assert rig.node.part(Recorder).waiting == 0
    start_ns = rig.world.start_tai_ns
    count = len(power_reports(rig))
    requests = [
        rig.send("delete_stored", start_ns + ns(30), ()),
        rig.send("set_retrieval_start", start_ns, ((1,),)),
    ]
    rig.until(IN_PASS_S + 10)
    assert [rig.stages(one) for one in requests] == [[1, 3, 7]] * 2
    again = [t for t in times(rig, power_reports(rig)[count:]) if t < PASS_START_S]
    assert again == sorted(again)
    assert [round(t) for t in again] == [31, 41, 51, 61, 71, 81]


def test_the_recorder_has_a_housekeeping_structure_with_fields_of_its_stores(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(IN_PASS_S)
    layout = next(one for one in rig.dictionary.structures if one.name == "recorder").layout
    newest = [one for one in rig.reports(3, 25) if one.data[:2] == b"\0\x08"][-1]
    values = integers(dict(zip((f.name for f in layout.fields), layout.decode(newest.data[2:]), strict=True)))
    assert values["housekeeping_waiting"] == 0
    assert values["housekeeping_played"] == values["housekeeping_recorded"] > 20
    assert values["reports_recorded"] > values["reports_played"] > 0
    assert values["storage_faults"] == values["lost"] == values["housekeeping_missing"] == 0
