"""ST[03] over the simulated radio: structures defined from ground, switched, re-timed, reported by change, kept."""

from __future__ import annotations

from typing import Any

from flight.contract.dictionary import hk_parameters
from flight.contract.failures import Failure
from flight.core.nanoseconds import NS, ns
from flight.link.pus import PusTm
from ground.telemetry.decoder import Decoder
from tests.field_values import real
from tests.sim.conftest import MakeRig, Rig

IN_PASS_S = 120.0
DONE, REFUSED, FAILED = [1, 3, 7], [2], [1, 3, 8]


def number(rig: Rig, name: str) -> int:
    return next(n for n, one in hk_parameters(rig.dictionary.structures).items() if one.name == name)


def sids(*numbers: int) -> tuple[tuple[int], ...]:
    return tuple((one,) for one in numbers)


def create(rig: Rig, sid: int, period_s: float, *names: str) -> Any:
    return rig.send("create_hk", sid, period_s, sids(*(number(rig, name) for name in names)), 0)


def reports(rig: Rig, sid: int, after_s: float = 0.0) -> list[PusTm]:
    """TM[3,25] of that structure made after that time of the simulation."""
    start_ns = rig.world.start_tai_ns + ns(after_s)
    return [p for p in rig.reports(3, 25) if p.data[:2] == sid.to_bytes(2, "big") and p.time_ns >= start_ns]


def code(rig: Rig, request: Any) -> int:
    failure = next(p for p in rig.packets if p.service == 1 and p.subtype in (2, 8)
                   and int.from_bytes(p.data[2:4], "big") & 0x3FFF == request.seq)  # fmt: skip
    return int.from_bytes(failure.data[4:6], "big")


def test_a_structure_is_defined_enabled_received_and_forgotten(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(IN_PASS_S)
    made = create(rig, 300, 0.5, "power.soc_frac", "thermal.board_c", "power.mode")
    on = rig.send("enable_hk", sids(300))  # at once: its definition is on its way
    rig.until(IN_PASS_S + 12)
    assert rig.stages(made) == rig.stages(on) == DONE
    assert 20 <= len(reports(rig, 300)) <= 24
    decoder = Decoder(rig.dictionary)
    for raw in rig.raw:
        decoder.recall(raw)
    ours = decoder.decode(reports(rig, 300)[-1].encode())
    assert list(ours.values) == ["power.soc_frac", "thermal.board_c", "power.mode"]
    newest = decoder.decode(reports(rig, 2)[-1].encode())
    assert abs(real(ours.values["power.soc_frac"]) - real(newest.values["soc_frac"])) < 0.01
    assert ours.values["power.mode"] == newest.values["mode"]

    early = rig.send("delete_hk", sids(300))
    rig.send("disable_hk", sids(300))
    gone = rig.send("delete_hk", sids(300))
    again = rig.send("enable_hk", sids(300))
    rig.until(IN_PASS_S + 15)
    count = len(reports(rig, 300))
    rig.until(IN_PASS_S + 20)
    assert rig.stages(early) == rig.stages(again) == FAILED
    assert rig.stages(gone) == DONE
    assert len(reports(rig, 300)) == count


def test_what_ground_decided_survives_a_power_cut(make_rig: MakeRig) -> None:
    rig = make_rig(faults="power-cut@200")
    rig.until(IN_PASS_S)
    create(rig, 300, 1.0, "power.soc_frac")
    create(rig, 301, 1.0, "link.tc_frames")
    rig.send("enable_hk", sids(300))
    rig.send("set_hk_period", ((2, 0.5), (3, 5.0)))
    rig.send("disable_hk", sids(4))
    last = rig.send("set_hk_on_change", ((3, 60.0),))
    rig.until(IN_PASS_S + 5)
    assert rig.stages(last) == DONE
    rig.until(260)
    assert rig.craft.boots == 2
    rig.send("report_hk_period", sids(2, 3, 4, 300, 301))
    rig.until(264)
    layout = next(r for r in rig.dictionary.reports if r.name == "hk_period").layout
    assert layout.decode(rig.reports(3, 35)[-1].data) == (
        ((2, 1, 0.5), (3, 1, 5.0), (4, 0, 10.0), (300, 1, 1.0), (301, 0, 1.0)),
    )
    assert len(reports(rig, 300, 250)) >= 10
    assert not reports(rig, 301) and not reports(rig, 4, 210)
    # The ground of another day learns what is defined from the boot.
    assert [int.from_bytes(p.data[:2], "big") for p in rig.reports(3, 10)] == [300, 301, 300, 301]


def test_reports_by_change_come_when_a_value_changed_and_at_least_so_often(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(IN_PASS_S)
    create(rig, 300, 0.5, "power.payload", "power.mode")
    create(rig, 301, 0.5, "node.uptime_s")
    rig.send("set_hk_on_change", ((300, 20.0), (301, 3600.0)))
    rig.send("enable_hk", sids(300, 301))
    rig.until(IN_PASS_S + 30)
    rig.send("payload_power", 0)
    rig.until(IN_PASS_S + 60)
    times = [(p.time_ns - reports(rig, 300)[0].time_ns) / NS for p in reports(rig, 300)]
    assert len(times) == 4  # the first, a keepalive, the switched payload, a keepalive
    assert abs(times[1] - 20) < 0.1 and 25 < times[2] < 35 and abs(times[3] - times[2] - 20) < 0.1
    assert 55 <= len(reports(rig, 301)) <= 62  # the uptime changes each second, it is looked at twice
    rig.send("set_hk_on_change", ((300, 0.0),))
    rig.until(IN_PASS_S + 70)
    assert len(reports(rig, 300, IN_PASS_S + 62)) >= 14


def test_a_structure_is_reported_once_on_request(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(IN_PASS_S)
    create(rig, 300, 60.0, "power.soc_frac")
    request = rig.send("report_hk", sids(300, 3))
    rig.until(IN_PASS_S + 3)
    assert rig.stages(request) == DONE
    assert len(reports(rig, 300)) == 1
    structure = rig.send("report_hk_definition", sids(2))
    rig.until(IN_PASS_S + 6)
    assert rig.stages(structure) == DONE
    power = next(s for s in rig.dictionary.structures if s.sid == 2)
    data = rig.reports(3, 10)[-1].data
    assert data[:3] == b"\0\2\1" and data[7] == len(power.fields)
    assert data[8:10] == (2 * 256).to_bytes(2, "big") and data[-1] == 0


def test_commands_that_cannot_be_are_refused_with_a_reason(make_rig: MakeRig) -> None:
    rig = make_rig(more="[housekeeping]\ndefined_max = 1\nparameters_max = 2\n")
    rig.until(IN_PASS_S)
    refused = [
        create(rig, 255, 1.0, "power.soc_frac"),
        create(rig, 300, 0.01, "power.soc_frac"),
        create(rig, 300, 1.0),
        create(rig, 300, 1.0, "power.soc_frac", "power.soc_frac"),
        create(rig, 300, 1.0, "power.soc_frac", "power.mode", "thermal.board_c"),
        rig.send("create_hk", 300, 1.0, sids(0xFFFF), 0),
        rig.send("create_hk", 300, 1.0, sids(512), 1),
        rig.send("delete_hk", sids(2)),
        rig.send("enable_hk", sids(2, 199)),
        rig.send("set_hk_period", ((2, 0.0),)),
        rig.send("set_hk_on_change", ((2, -1.0),)),
        rig.send("report_hk", sids(199)),
    ]
    rig.until(IN_PASS_S + 8)
    assert [rig.stages(one) for one in refused] == [REFUSED] * len(refused)
    made = create(rig, 300, 1.0, "power.soc_frac")
    failed = [
        create(rig, 300, 1.0, "power.mode"),
        create(rig, 301, 1.0, "power.mode"),
        rig.send("report_hk", sids(3, 400)),
        rig.send("set_hk_period", ((400, 1.0),)),
        rig.send("disable_hk", sids(400)),
    ]
    count = len(reports(rig, 3))
    rig.until(IN_PASS_S + 11)
    assert rig.stages(made) == DONE
    assert [rig.stages(one) for one in failed] == [FAILED] * len(failed)
    assert {code(rig, one) for one in (*refused, *failed)} == {Failure.BAD_VALUE}
    assert len(reports(rig, 3)) <= count + 1, "all or nothing: the structure that is there was not reported either"
