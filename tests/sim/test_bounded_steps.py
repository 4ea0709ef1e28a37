"""No step does more storage work than flight.core.step_budget says, however much is stored and whatever became of it.

Counted, never timed: a whole node in the simulator and one on Linux files, its stores full, with holes, damaged,
unreadable, foreign and overlong segments, a full schedule and a big vault; and the radio's refill by itself.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flight.core.nanoseconds import NS, ns
from flight.core.scheduler import Scheduler
from flight.core.step_budget import OPERATIONS_MAX, READ_OCTETS_MAX
from flight.core.task import Task
from flight.link.pus import PusTc, RequestId
from flight.link.tm_tc_stack import FlightLink
from flight.linux.platform import LinuxPlatform
from flight.mission import load
from flight.node import Node, build
from flight.services.automation.held_commands import request_key
from flight.services.automation.schedule_store import Activity
from flight.services.commanding.command_log import CommandLog
from flight.services.commanding.commands import Commands
from flight.services.commanding.verification import Verification
from flight.services.radio.radio import RadioLink
from flight.services.recorder.packet_store import OWNER, PacketStore, StoreConfig
from flight.services.recorder.recorder import Recorder
from sim_hw.machine.disk import Disk
from tests.link_ends import BARE
from tests.linux_loop import run_until
from tests.mission_security import mission_keys
from tests.recorder_bench import T0_NS, RecorderBench, packet, small
from tests.sim.conftest import PASS_START_S, MakeRig, Rig
from tests.sim.test_realtime_flight import Bench
from tests.step_meter import MeteredLinuxPlatform, MeteredStorage, StepMeter, meter_spacecraft
from tests.waiting import GIVE_UP_S

STORES = """
[schedule]
activities = 1000
octets = 500_000
[[recorder.store]]
name = "reports"
capacity_octets = 1_000_000
priority = 0
services = [1, 5]
always = true
[[recorder.store]]
name = "housekeeping"
capacity_octets = 700_000
always = true
[[recorder.store]]
name = "science"
kind = "bounded"
capacity_octets = 400_000
priority = 2
services = [9]
always = true
"""
REPORTS = StoreConfig("reports", capacity_octets=1_000_000, priority=0, services=(1, 5), always=True)
IN_A_SEGMENT = 130  # packets of 100 octets, and more than half of them
CUT_SHORT = 200  # commands that a loss of power ended
LATE_NS = T0_NS + ns(10_000_000)


class Greedy:
    """A modem that takes whatever it is given."""

    def __init__(self) -> None:
        self.units = 0

    def carrier(self) -> bool:
        return True

    def send(self, _unit: bytes) -> bool:
        self.units += 1
        return True

    def free_ns(self) -> int:
        return 0

    def receive(self) -> None:
        return None

    def dropped(self) -> int:
        return 0

    def on_event(self, call: object) -> None:
        pass


class Nobody:
    """No products, and nobody who listens."""

    def take(self) -> None:
        return None

    def emit(self, name: str, *values: object) -> None:
        pass


@pytest.mark.parametrize("idle_s", [0.0, 0.1])
def test_a_refill_of_the_radio_reads_no_more_than_a_step_may(idle_s: float) -> None:
    """One packet in a segment waits, all others were heard: as many segments as fill four frames were read at once."""
    bench, meter = RecorderBench(small(capacity_octets=1_000_000, always=True)), StepMeter()
    for number in range(60 * IN_A_SEGMENT):
        bench.recorder.store(packet(number), heard=number % IN_A_SEGMENT != 0)
    bench.run(6)
    metered: Any = MeteredStorage(bench.storage, meter)
    bench.recorder.stores[0]._storage = bench.recorder.stores[0].journal._storage = metered  # noqa: SLF001 - a meter before the storage
    assert len(bench.recorder.stores[0].journal.segments) >= 34
    meter.booting = False

    def cost_ns(task: str) -> int:
        meter.end_step(task)
        return 0

    nobody: Any = Nobody()
    modem: Any = Greedy()
    link = RadioLink(
        "udp", modem, FlightLink(BARE), playback=bench.recorder, products=nobody, on_command=lambda _: None,
        on_contact=lambda: None, on_frame=lambda *_: None, idle_s=idle_s, events=nobody, now_ns=bench.loop.now_ns,
    )  # fmt: skip
    faults: list[BaseException] = []
    scheduler = Scheduler(bench.loop, bench.loop.now_ns, lambda _, e: faults.append(e), step_cost_ns=cost_ns)
    task = scheduler.spawn("radio", link.run)

    async def watch(mine: Task) -> None:
        while bench.recorder.waiting:
            await mine.sleep(0)
        task.cancel()

    scheduler.spawn("watch", watch)
    while not task.finished.done:
        bench.loop.run_until(bench.loop.now_ns() + ns(0.01))
    assert faults == []
    assert bench.recorder.played_back == 60
    assert meter.most["read"][0] <= READ_OCTETS_MAX and meter.most["operations"][0] <= OPERATIONS_MAX, meter.most
    assert modem.units < 600, "the channel is not spent on searching"
    bench.close()


def fill(recorder: Any, science: int = 3000) -> None:
    """Every store full; of the reports few have not been heard."""
    for number in range(9000):
        recorder.store(packet(number, 5), heard=number % IN_A_SEGMENT != 0)
    for number in range(7000):
        recorder.store(packet(number))
    for number in range(science):
        recorder.store(packet(number, 9), heard=number % 500 != 0)


def spoil(read: Any, write: Any, names: list[str]) -> None:
    """Holes one after the other, damage, swapped and copied segments, and one that is longer than all others."""
    reports = [name for name in names if name.startswith(f"{OWNER}.reports.")]
    others = [name for name in names if name.startswith(f"{OWNER}.housekeeping.")]
    for name in (*reports[4:30], *others[3:20]):
        whole = read(name)
        write(name, whole[:20] + bytes(len(whole) - 20))
    random = Random(1)
    for name in (*reports[31:36], *others[21:25]):
        content = bytearray(read(name))
        for _ in range(20):
            content[random.randrange(20, len(content))] ^= 0x5A
        write(name, bytes(content))
    write(reports[37], read(others[25]))
    write(reports[39], read(reports[40]))
    write(reports[41], read(reports[41]) + b"\0\0\1\0" * 50_000)


def fill_vault(vault: Any, rows: int = 3000) -> None:
    """Two thirds of what it may hold, and as many activities as there may be."""
    for first in range(0, rows, 100):
        vault.stage({f"test.other.{number:06d}": bytes(200) for number in range(first, first + 100)})
    for number in range(1000):
        request = PusTc(1, number, 17, 1, bytes(180), source=7).encode()
        one = Activity(number, number % 200, 0, LATE_NS * 2 + ns(number), request, request_key(request))
        vault.stage({one.row: one.encode()})
    for number in range(CUT_SHORT):
        vault.stage({f"command.{number:08x}": b"\1" + RequestId(1, 3000 + number).encode()})


async def keep_the_vault_busy(task: Task, vault: Any) -> None:
    """More than goes into a checkpoint's share of the journal."""
    for number in range(400):
        vault.stage({f"test.busy.{number % 10}": bytes(1000)})
        await task.sleep(0)


def burst_of_summaries(rig: Rig) -> None:
    """One behind the other: each reads as much as a step may."""
    summary, before = rig.dictionary.command("report_store_summary"), len(rig.reports(15, 13))
    for count in range(8):
        raw = PusTc(summary.apid, 900 + count, 15, 12, summary.layout.encode((((0,),),)), ack=0b1011).encode()
        rig.node.part(Commands).on_packet(raw)
    rig.until(rig.loop.now_ns() / NS + 8)
    assert len(rig.reports(15, 13)) == before + 8


COMMANDS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("report_store_summary", ([],)),
    ("report_schedule", ()),
    ("summarise_schedule", ()),
    ("report_tasks", ()),
    ("retrieve_range", ([(0, T0_NS, LATE_NS), (1, T0_NS + ns(6990), LATE_NS), (2, T0_NS, T0_NS + ns(10))],)),
    ("report_hk", ([(sid,) for sid in (1, 2, 3, 4, 5, 6, 7, 8, 10)] * 20,)),
    ("report_hk_definition", ([(sid,) for sid in (1, 2, 3, 4, 5, 6, 7, 8, 10)] * 20,)),
    ("set_retrieval_start", (T0_NS + ns(3500), [])),
    ("set_retrieval_start", (T0_NS + ns(8900), [])),
    ("delete_stored", (T0_NS + ns(6000), [])),
    ("report_store_summary", ([],)),
    ("reset_schedule", ()),
    ("delete_stored", (T0_NS + ns(9500), [])),
)


def test_no_step_of_a_node_does_more_than_its_share_whatever_is_stored(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = meter_spacecraft(monkeypatch)
    rig = make_rig(more=STORES)
    rig.until(5)
    fill(rig.node.part(Recorder))
    fill_vault(rig.node.parts.vault)
    rig.until(20)
    rig.craft.cut_power()
    disk: Disk = rig.craft.disk
    names = sorted(disk.durable)
    segments = [name for name in names if name.startswith(f"{OWNER}.")]
    spoil(disk.durable.__getitem__, disk.durable.__setitem__, segments)
    disk.unreadable.update(segments[50:53])
    meter.over.clear()
    meter.most.clear()
    meter.boot.names.clear()
    rig.until(PASS_START_S + 5)
    assert rig.craft.boots == 2
    # Three reads of a segment at most; the newest also takes what the boot reports, a packet each.
    assert max(times for name, times in meter.boot.names.items() if name.startswith(f"{OWNER}.")) <= 5, "read at boot"
    rig.node.scheduler.spawn("busy", lambda task: keep_the_vault_busy(task, rig.node.parts.vault))
    burst_of_summaries(rig)
    sent = []
    for name, values in COMMANDS:
        sent.append(rig.send(name, *values))
        rig.until(rig.loop.now_ns() / NS + 8)
    contact = rig.air.in_sight[0]
    rig.air.set(contact)  # whatever is in the real-time queue goes back to the recorder
    rig.until(rig.loop.now_ns() / NS + 20)
    assert [(name, rig.stages(one)) for (name, _), one in zip(COMMANDS, sent, strict=True)] == [
        (name, [1, 3, 7]) for name, _ in COMMANDS
    ]
    assert len(rig.reports(11, 10)) > 200, "the whole schedule was reported"
    assert rig.node.part(CommandLog).interrupted == CUT_SHORT
    assert len({one.encode() for one in rig.reports(1, 8)}) == CUT_SHORT, "each has its report"
    assert rig.node.parts.vault.checkpoints > 0
    assert rig.node.part(Recorder).stores[0].stats.foreign + rig.node.part(Recorder).stores[0].missing > 0
    assert not any(store._is_to_discard() for store in rig.node.part(Recorder).stores), "what was deleted is gone"  # noqa: SLF001 - seen nowhere else
    assert sum(store.octets for store in rig.node.part(Recorder).stores) < 400_000
    assert meter.over == [], meter.most
    assert meter.most["read"][0] > 16_000, "segments were read"


def test_no_step_on_linux_does_more_than_its_share(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    before = LinuxPlatform(folder, "before")
    fill_on(before)
    before.close()
    names = sorted(path.name for path in folder.iterdir() if path.name.startswith(f"{OWNER}."))
    spoil(lambda name: (folder / name).read_bytes(), lambda name, octets: (folder / name).write_bytes(octets), names)
    bench = Bench(tmp_path)
    bench.write(f"[recorder]\nsync_period_s = 0.5\n{STORES}")
    text = bench.mission.read_text()
    bench.mission.write_text(text.replace('coding = "frame"', 'coding = "frame"\nrate_bps = 8_000_000'))
    board = bench.sim()
    platform = MeteredLinuxPlatform(folder, "bench-1")
    try:
        mission = load(bench.mission)
        node = build(mission, platform, keys=mission_keys(mission))
        try:
            meter = platform.meter
            platform.call_at(platform.now_ns(), partial(send_all, node))
            assert run_until(platform, lambda: node.part(Commands).counts.executed == len(COMMANDS), 60.0)
            assert run_until(
                platform,
                lambda: (
                    sum(store.octets for store in node.part(Recorder).stores) < 100_000
                    and not node.part(Recorder).waiting
                ),
                60.0,
            )
            assert node.part(Verification).counts["completion_success"] == len(COMMANDS)
            assert meter.over == [], meter.most
            assert meter.most["read"][0] > 16_000, "segments were read"
        finally:
            node.close()
    finally:
        platform.close()
        bench.down.close()
        board.terminate()
        board.communicate(timeout=GIVE_UP_S)


def send_all(node: Node) -> None:
    """All commands, one behind the other."""
    for count, (name, values) in enumerate(COMMANDS):
        command = node.dictionary.command(name)
        data = command.layout.encode(values)
        node.part(Commands).on_packet(PusTc(command.apid, count, command.service, command.subtype, data).encode())


def fill_on(platform: LinuxPlatform) -> None:
    """What `fill` does, on files."""
    stores = [
        PacketStore(platform.storage, REPORTS),
        PacketStore(platform.storage, StoreConfig("housekeeping", capacity_octets=700_000)),
    ]
    for number in range(7000):
        stores[0].store(packet(number, 5), heard=number % IN_A_SEGMENT != 0)
        stores[1].store(packet(number), heard=False)
        if number % 1000 == 0:
            synced = platform.storage.sync()
            assert run_until(platform, partial(getattr, synced, "done"))
