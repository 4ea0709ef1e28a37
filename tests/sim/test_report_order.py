"""The real-time channel in the order in which its packets were made: what follows from a command never overtakes it."""

from __future__ import annotations

import pytest

from flight.contract.fields import Value
from flight.core.nanoseconds import NS
from flight.link.pus import PusTc
from flight.services.health.status import BootRecord
from flight.services.reporting.events import Events
from flight.services.reporting.telemetry import Telemetry
from tests.sim.conftest import PASS_START_S, MakeRig

PING = PusTc(1, 500, 17, 1, b"", ack=0b1011).encode()
# Durable commands, what they lead to told by events and reports of other services.
DURABLE: tuple[tuple[str, tuple[Value, ...]], ...] = (
    ("set_power_mode", (1,)),
    ("disable_schedule", ()),
    ("enable_schedule", ()),
    ("disable_events", (((40,),),)),
    ("enable_events", (((40,),),)),
)


def test_what_follows_from_a_command_leaves_after_its_reports(make_rig: MakeRig) -> None:
    """`load_sequence`, then `activate_sequence`: the event that it has started once overtook them all, 16 of 16."""
    rig = make_rig()
    rig.until(PASS_START_S + 10)
    begun = len(rig.packets)
    requests = []
    for n in range(16):
        rig.send("load_sequence", f"s{n}", ((0, PING),))
        requests.append(rig.send("activate_sequence", f"s{n}"))
        rig.until(PASS_START_S + 10 + 5 * (n + 1))
    told = [p for p in rig.packets[begun:] if p.apid == 1]
    started = [i for i, p in enumerate(told) if (p.service, p.data[:2]) == (5, b"\0\x5a")]
    completed = [
        i for i, p in enumerate(told)
        if (p.service, p.subtype) == (1, 7) and p.data[:4] in [one.request_id.encode() for one in requests]
    ]  # fmt: skip
    assert len(started) == len(completed) == 16
    assert all(of_command < of_event for of_command, of_event in zip(completed, started, strict=True))


def test_packets_of_an_application_leave_in_the_order_of_their_counts(make_rig: MakeRig) -> None:
    rig = make_rig()
    rig.until(PASS_START_S + 10)
    begun = len(rig.packets)
    for step, (name, values) in enumerate(DURABLE):
        rig.send(name, *values)
        rig.send("load_sequence", f"s{step}", ((0, PING),))
        rig.send("activate_sequence", f"s{step}")
    rig.until(PASS_START_S + 60)
    counts = [p.seq for p in rig.packets[begun:] if p.apid == 1]
    assert len(rig.reports(1, 7)) >= 3 * len(DURABLE)
    assert counts == sorted(counts)


@pytest.mark.parametrize("contact", [True, False])
def test_an_orderly_end_loses_nothing_that_was_made(make_rig: MakeRig, contact: bool) -> None:
    """Neither what stands in line behind a command that waits for the disk, nor what a link has not sent yet."""
    rig = make_rig()
    rig.until(PASS_START_S + 10 if contact else PASS_START_S - 10)
    telemetry, events = rig.node.part(Telemetry), rig.node.part(Events)
    events.emit("device_recovered", "in the queue of the link")
    telemetry.hold()
    events.emit("device_recovered", "in line")
    rig.node.end("SIGTERM", lambda: None)
    closed = rig.node.parts.platform.storage.sync()
    while not closed.done:
        rig.until(rig.loop.now_ns() / NS + 0.001)
    rig.craft.shut_down()
    rig.craft.boot()
    assert rig.node.part(BootRecord).cause == "SIGTERM"
    rig.until(PASS_START_S + 60)
    told = [p.data[3:].decode() for p in rig.reports(5, 1) if p.data[:2] == b"\0\4"]
    assert list(dict.fromkeys(told)) == ["in the queue of the link", "in line"]
