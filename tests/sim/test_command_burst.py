"""Twenty thousand telecommands in a second: every one accounted for, the node alive, its control tasks on time."""

from __future__ import annotations

import time
from collections import Counter
from functools import cache, partial
from pathlib import Path

import pytest

from flight.core.nanoseconds import ns
from flight.core.task import Task
from flight.link.coding.cltu import encode_cltu
from flight.link.pus import PusTc, RequestId
from flight.link.tc.tc_frame import TcFrame
from flight.services.commanding.commands import Commands
from flight.services.radio.radio import RadioLinks
from sim_hw.machine.platform import SimPlatform
from tests.bench.flight_node import FlightNode
from tests.field_values import integers, rows
from tests.sim.conftest import MakeRig, Rig
from tests.waiting import wait_until

BURST = 20_000
# The burst is made by hand. With link security: tests/bench/bench_flood.py.
CLEAR = """[[link]]
name = "s-band"
driver = "sim:s-band"
coding = "rs(255,223)"
uplink_rate_bps = 16_000
uplink_security = "clear"
"""
START_S = 120.0
SEQ_MODULUS = 1 << 14


@cache
def ping_cltus(spacecraft_id: int, ack: int) -> list[bytes]:
    """As BD frames, with one sequence count after the other."""
    cltus = []
    for i in range(BURST):
        request = PusTc(1, i % SEQ_MODULUS, 17, 1, b"", ack=ack)
        cltus.append(encode_cltu(TcFrame(spacecraft_id, 0, 0, request.encode(), bypass=True).encode()))
    return cltus


def named_refusals(rig: Rig) -> tuple[Counter[int], int]:
    """How often each sequence count is named as refused, and how many refusals are only counted."""
    named: Counter[int] = Counter()
    for report in rig.reports(1, 2):
        named[RequestId.decode(report.data).seq] += 1
    layout = next(r.layout for r in rig.dictionary.reports if r.name == "refusals")
    unnamed = 0
    for report in rig.reports(1, 128):
        for _, _, first, _, count, exact in rows(layout.decode(report.data)[0]):
            if exact:
                named.update((first + i) % SEQ_MODULUS for i in range(count))
            else:
                unnamed += count
    return named, unnamed


def radio_cost_ns(_: SimPlatform, task: str) -> int:
    """A processor on which twenty thousand commands take more than the second that they come in."""
    return 1_000_000 if task.startswith("radio") else 50_000


@pytest.mark.parametrize("slow", [False, True], ids=["any processor", "a slow processor"])
def test_a_burst_in_virtual_time(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch, slow: bool) -> None:
    if slow:
        monkeypatch.setattr(SimPlatform, "step_cost_ns", radio_cost_ns)
    rig = make_rig(more=CLEAR)
    rig.until(START_S)

    async def control(task: Task) -> None:
        async for _ in task.every(0.1, deadline_s=0.05):
            pass

    task = rig.node.scheduler.spawn("control", control, deadline_s=0.05, critical=True)
    for i, cltu in enumerate(ping_cltus(rig.mission.node.spacecraft_id, ack=0b1001)):
        rig.loop.call_at(ns(START_S) + i * 50_000, partial(rig.air.modem.hear, cltu))
    rig.until(START_S + 100.0)
    counts, dropped = rig.node.part(Commands).counts, sum(link.dropped for link in rig.node.part(RadioLinks))
    assert (counts.unreadable, counts.waiting) == (0, 0)
    assert counts.executed + counts.refused.total() + dropped == BURST
    assert (dropped > 0) is slow
    assert counts.executed > 200
    named, unnamed = named_refusals(rig)
    assert named.total() + unnamed == counts.refused.total()
    assert unnamed == 0 or slow
    accepted = Counter(RequestId.decode(report.data).seq for report in rig.reports(1, 1))
    assert accepted.total() == len(rig.reports(1, 7)) == counts.executed
    assert max((named + accepted).values()) <= -(-BURST // SEQ_MODULUS), "a request has two outcomes"
    assert (task.stats.late, task.stats.skipped) == (0, 0) and task.stats.ticks > 900
    ping = rig.send("ping")
    rig.until(START_S + 110.0)
    assert rig.stages(ping)[-1] == 7


@pytest.mark.campaign
def test_a_burst_over_udp(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = "[housekeeping]\nperiod_s = { commands = 0.5, link = 0.5, node = 0.5 }\n"
    with FlightNode(tmp_path, more) as node:
        cltus = ping_cltus(node.dictionary.spacecraft_id, ack=0)
        before, link_before = integers(node.structure("commands")), integers(node.structure("link"))
        start_s = time.monotonic()
        for i, cltu in enumerate(cltus):
            if i % 200 == 0:
                time.sleep(max(0.0, start_s + i / BURST - time.monotonic()))
            node.send(cltu)
        sent_s = time.monotonic() - start_s
        sent, dropped, done = BURST, 0, before

        def accounted_for() -> bool:
            """Asked after one more ping each time, which has the kernel tell how many it dropped before that."""
            nonlocal sent, dropped, done
            node.send(node.encode("ping", ack=0)[0])
            sent += 1
            link_after, after = integers(node.structure("link")), integers(node.structure("commands"))
            done = {name: after[name] - before[name] for name in ("unreadable", "executed", "refused", "waiting")}
            dropped = link_after["rx_dropped"] - link_before["rx_dropped"]
            return done["executed"] + done["refused"] + done["unreadable"] + dropped == sent and not done["waiting"]

        wait_until(accounted_for, lambda: f"{sent} commands have an outcome: {done}, dropped {dropped}")
        assert done["executed"] > 1
        totals = integers(node.structure("node"))
        assert node.alive
    with capsys.disabled():
        print(
            f"\n{BURST} commands in {sent_s:.2f} s: {done['executed']} executed, {done['refused']} refused, {dropped} "
            f"dropped by the kernel; ticks {totals['ticks']}, late {totals['late']}, skipped {totals['skipped']}"
        )
