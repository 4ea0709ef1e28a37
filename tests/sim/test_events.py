"""ST[05] over the simulated radio: events disabled by number, kept over a power cut, and held back in a burst."""

from __future__ import annotations

from flight.link.pus import PusTm
from flight.services.reporting.event_gate import EventGate
from flight.services.reporting.events import Events
from ground.telemetry.decoder import Decoder
from tests.field_values import integer
from tests.sim.conftest import MakeRig, Rig

IN_PASS_S = 120.0
DONE, REFUSED = [1, 3, 7], [2]


def event(rig: Rig, name: str) -> int:
    return integer(next(e.number for e in rig.dictionary.events if e.name == name))


def reported(rig: Rig, name: str) -> list[PusTm]:
    return [p for p in rig.packets if p.service == 5 and p.subtype <= 4 and p.apid == 1
            and int.from_bytes(p.data[:2], "big") == event(rig, name)]  # fmt: skip


def rows(*numbers: int) -> tuple[tuple[int], ...]:
    return tuple((one,) for one in numbers)


def test_a_disabled_event_is_not_reported_and_stays_so_over_a_power_cut(make_rig: MakeRig) -> None:
    rig = make_rig(faults="power-cut@200")
    rig.until(IN_PASS_S)
    heard: list[str] = []
    rig.node.part(Events).listen(lambda one: heard.append(one.name))
    off = rig.send("disable_events", rows(event(rig, "payload_power"), event(rig, "power_mode")))
    rig.send("payload_power", 0)
    rig.until(IN_PASS_S + 5)
    assert rig.stages(off) == DONE
    assert not reported(rig, "payload_power")
    assert "payload_power" in heard, "what listens on board hears of it all the same"
    rig.until(260)
    assert rig.craft.boots == 2
    rig.send("payload_power", 1)
    rig.send("report_disabled_events")
    rig.until(265)
    assert not reported(rig, "payload_power")
    numbers = sorted((event(rig, "payload_power"), event(rig, "power_mode")))
    assert rig.reports(5, 8)[-1].data == b"\2" + b"".join(n.to_bytes(2, "big") for n in numbers)
    on = rig.send("enable_events", rows(event(rig, "payload_power")))
    rig.send("payload_power", 0)
    rig.send("report_hk", rows(1))
    rig.until(270)
    assert rig.stages(on) == DONE
    assert len(reported(rig, "payload_power")) == 1
    node = Decoder(rig.dictionary).decode([p for p in rig.reports(3, 25) if p.data[:2] == b"\0\1"][-1].encode())
    assert node.values["events_disabled"] == 1
    assert integer(node.values["events_info"]) >= 3


def test_what_is_no_event_and_the_boot_are_refused(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(IN_PASS_S)
    refused = [
        rig.send("disable_events", rows(event(rig, "boot"))),
        rig.send("disable_events", rows(event(rig, "power_mode"), 9999)),
        rig.send("enable_events", rows(9999)),
    ]
    report = rig.send("report_disabled_events")
    rig.until(IN_PASS_S + 5)
    assert [rig.stages(one) for one in refused] == [REFUSED] * 3
    assert rig.stages(report) == DONE
    assert rig.reports(5, 8)[-1].data == b"\0"


def test_a_burst_of_one_event_is_held_back_and_counted(make_rig: MakeRig) -> None:
    rig = make_rig(more="[events]\nburst = 3\nwindow_s = 10.0\n")
    rig.until(IN_PASS_S)
    emit = rig.node.part(Events).emit
    for i in range(8):
        emit("payload_power", i % 2)
    emit("heater_switched", 1, 2.0)
    rig.until(IN_PASS_S + 5)
    assert len(reported(rig, "payload_power")) == 3
    assert len(reported(rig, "heater_switched")) == 1
    assert not reported(rig, "events_throttled")
    rig.until(IN_PASS_S + 11)
    (told,) = reported(rig, "events_throttled")
    decoded = Decoder(rig.dictionary).decode(told.encode())
    assert decoded.text == "5 more of event payload_power were not reported"
    assert decoded.values["event_number"] == event(rig, "payload_power")
    emit("payload_power", 0)
    rig.until(IN_PASS_S + 30)
    assert len(reported(rig, "payload_power")) == 4
    assert len(reported(rig, "events_throttled")) == 1
    assert (rig.node.part(EventGate).held_back, rig.node.event_counts()["info"]) == (
        5,
        rig.node.part(Events).counts["info"],
    )
