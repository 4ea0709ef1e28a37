"""Ten minutes of commanding, and what must hold wherever in them the power fails.

`python -m tests.sim.power_cut` (make power-cut) flies the scenario in virtual time once for every storage operation in
it, with the power cut inside that operation, and checks the promises of the flight software against what the ground
has seen:

- every command reported accepted has exactly one terminal report (a volatile one: unless the node booted after it);
- no command starts twice, and what the node holds for later is released once;
- parameters, modes and schedule are as the reports say, nothing half-written;
- packets recorded long enough before the cut all come down;
- the node answers a ping at the end.
"""

# The method. A boot finds only what is on storage, and storage changes only in its operations, so the cuts are made
# there, one inside each. The simulated disk counts its operations, and loses power inside the one that it is told, with
# all the tearing and reordering that it does (sim_hw/machine/disk.py). Virtual time and a fixed
# seed make every run the same up to its cut, so "operation 700" names one instant for ever, and `--at 700` repeats it.
#
# A run per cut from the beginning would cost the whole scenario each time. Instead one run without a cut goes through
# the scenario and forks at each chosen operation (`explore`). The child loses its power there, flies to the end and
# writes down what is wrong. So a point costs only the time after it. `fly(cut_at)` gives the same result without a
# fork.
#
# What is wrong is judged by the reports and packets that came down, by how often each command was executed on board,
# and by the state of the node at the end. Contacts begin and end within the scenario, so cuts fall both into contact
# and out of it.
#
# Operations are of very different frequency. A sample takes the same number of every sort of operation (what is done to
# which file, whatever the number of the segment), so that rare ones, such as a checkpoint, are all among the cuts.

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from flight.catalogue import dictionary_of
from flight.contract.dictionary import Dictionary
from flight.contract.fields import Value
from flight.core.log import node_log
from flight.core.nanoseconds import NS, ns
from flight.link.actions import PacketReceived
from flight.link.pus import PusTc, PusTm, RequestId
from flight.link.tm_tc_stack import LinkConfig
from flight.mission import MISSIONS, Mission, load
from flight.node import Node
from flight.services.board.power import Power, PowerConfig
from flight.services.commanding.commands import Commands
from flight.services.settings.parameters import Parameters
from ground.link.actions import SendCltu
from ground.link.tm_tc_session import GroundSession
from sim_hw.machine.disk import PowerCut
from sim_hw.machine.loop import VirtualLoop
from sim_hw.spacecraft import Spacecraft
from sim_hw.world.world import World, WorldConfig
from tests.field_values import rows
from tests.mission_security import ground_security, mission_keys, stored_at_once

SEED = 5
END_S = 600.0
CONTACTS_S = ((60.0, 200.0), (290.0, 420.0), (500.0, 600.0))
UNSYNCED_S = 8.0  # packets recorded this short a time before a cut may be lost
MISSION = """
[[link]]
name = "s-band"
driver = "sim:s-band"
coding = "frame"
idle_s = 5.0

[housekeeping.period_s]
node = 2.0
power = 0.5
thermal = 1.0
link = 2.0
"""
ACCEPTED, REFUSED, STARTED, COMPLETED, FAILED = 1, 2, 3, 7, 8
TERMINAL = (REFUSED, 4, COMPLETED, FAILED)


class Wire:
    """A modem at the end of a wire: whole units in both directions, one per period, only in contact."""

    def __init__(self, loop: VirtualLoop, period_s: float = 0.05) -> None:
        self.on_unit: Any = lambda _unit: None
        self.contact = self._power = False
        self._loop = loop
        self._period_ns = ns(period_s)
        self._out: list[bytes] = []
        self._in: list[bytes] = []
        self._notify: Any = lambda: None
        self._loop.call_at(0, self._tick)

    def set_power(self, on: bool) -> None:
        self._power = on
        self._out.clear()
        self._in.clear()

    def set_contact(self, contact: bool) -> None:
        self.contact = contact
        self._notify()

    def uplink(self, octets: bytes) -> None:
        if self.contact and self._power:
            self._in.append(octets)
            self._notify()

    def carrier(self) -> bool:
        return self.contact and self._power

    def send(self, unit: bytes) -> bool:
        if self._out:
            return False
        self._out.append(unit)
        return True

    def free_ns(self) -> int:
        return self._loop.now_ns()

    def receive(self) -> bytes | None:
        return self._in.pop(0) if self._in else None

    def dropped(self) -> int:
        return 0

    def on_event(self, call: Any) -> None:
        self._notify = call

    def _tick(self) -> None:
        self._loop.call_at(self._loop.now_ns() + self._period_ns, self._tick)
        if self._out and self.contact and self._power:
            unit = self._out.pop(0)
            self.on_unit(unit)
            self._notify()


@dataclass
class Sent:
    """One telecommand and all that was heard of it: its distinct reports by subtype."""

    name: str
    values: tuple[Value, ...]
    durable: bool
    t_s: float
    boot: int
    reports: dict[int, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    details: list[str] = field(default_factory=list)

    @property
    def terminals(self) -> int:
        return sum(len(self.reports[subtype]) for subtype in TERMINAL)

    @property
    def completed(self) -> bool:
        return bool(self.reports[COMPLETED])


class Flight:
    """One run of the scenario."""

    def __init__(self, mission: Mission, seed: int, cut_at: int | None) -> None:
        self.mission = mission
        self.loop = VirtualLoop()
        self.world = World(WorldConfig())
        self.wire = Wire(self.loop)
        self.craft = Spacecraft(
            mission, self.loop, self.world, Random(seed), radios={"s-band": self.wire}, on_boot=self._booted,
            on_down=lambda _node: self.downs_s.append(self.now_s),
            log=node_log("power-cut", lambda: 0, io.StringIO(), level="critical"), keys=lambda: mission_keys(mission),
        )  # fmt: skip
        self.craft.disk.cut_at_operation = cut_at
        self.dictionary: Dictionary = dictionary_of(mission)
        config = mission.links[0].config
        assert isinstance(config, LinkConfig)
        self.security = ground_security(mission)
        self.session = GroundSession(config, self.security)
        self.wire.on_unit = self._heard
        self.sent: dict[RequestId, Sent] = {}
        self.held: dict[RequestId, Sent] = {}  # scheduled commands, inside others
        self.steps: dict[RequestId, Sent] = {}  # of sequences, which a reboot aborts
        self.packets: dict[bytes, PusTm] = {}
        self.executions: Counter[RequestId] = Counter()
        self.boots_s: list[float] = []
        self.downs_s: list[float] = []
        self.final: dict[str, object] | None = None
        self._seq = 0
        self._tag = 0

    @property
    def now_s(self) -> float:
        return self.loop.now_ns() / NS

    def fly(self) -> None:
        for start_s, end_s in CONTACTS_S:
            self.loop.call_at(ns(start_s), lambda: self.wire.set_contact(True))
            self.loop.call_at(ns(end_s), lambda: self.wire.set_contact(False))
        script(self)
        try:
            self.craft.boot()
        except PowerCut:
            self.craft.node = None
            self.downs_s.append(0.0)
            self.craft.loop.call_at(ns(10), self.craft._reboot)  # noqa: SLF001 - what a cut leads to
        while self.loop.now_ns() < ns(END_S):
            self.craft.run_until(ns(END_S))
        self.wire.set_contact(True)
        self.craft.run_until(ns(END_S + 20))  # up again, wherever it was cut
        self.command("ping")
        self.craft.run_until(ns(END_S + 60))
        node = self.craft.node
        assert node is not None, "off at the end"
        modes = [mode.name for mode in self.mission.section(PowerConfig).mode]
        self.final = {name: node.part(Parameters).get(name) for name in ("heater_on_c", "soc_safe_frac")}
        self.final["structures"] = sorted(int(name) for name, _ in node.parts.vault.rows("housekeeping."))
        self.final |= {"payload": int(node.part(Power).payload_on), "mode": modes.index(node.part(Power).mode.name)}
        self.craft.shut_down()

    # The ground's side

    def at(self, t_s: float, name: str, *values: Value) -> None:
        self.loop.call_at(ns(t_s), lambda: self.command(name, *values))

    def command(self, name: str, *values: Value) -> None:
        packet = self.packet(name, values, self.sent)
        self._tag += 1
        now_ns = self.loop.now_ns()
        actions = self.session.send_bypass(packet, now_ns, self._tag)
        for one in stored_at_once(self.session, self.security, actions, now_ns):
            if isinstance(one, SendCltu):
                self.wire.uplink(one.octets)

    def held_packet(self, name: str, *values: Value) -> bytes:
        return self.packet(name, values, self.held)

    def step_packet(self, name: str, *values: Value) -> bytes:
        return self.packet(name, values, self.steps)

    def packet(self, name: str, values: tuple[Value, ...], table: dict[RequestId, Sent]) -> bytes:
        command = self.dictionary.command(name)
        data = b"" if command.function is None else command.function.to_bytes(2, "big")
        data += command.layout.encode(values)
        request = PusTc(command.apid, self._seq, command.service, command.subtype, data, ack=0b1011)
        self._seq += 1
        boot = len(self.boots_s)
        table[request.request_id] = Sent(name, values, command.durable, self.now_s, boot)
        return request.encode()

    def _heard(self, unit: bytes) -> None:
        now_ns = self.loop.now_ns()
        actions = self.session.on_downlink(unit, now_ns)
        for one in stored_at_once(self.session, self.security, actions, now_ns):
            if isinstance(one, SendCltu):
                self.wire.uplink(one.octets)
            elif isinstance(one, PacketReceived) and one.packet[0] & 8 and one.packet not in self.packets:
                packet = PusTm.decode(one.packet)
                self.packets[one.packet] = packet
                if packet.service == 1 and packet.subtype < 128:
                    request = RequestId.decode(packet.data)
                    sent = self.sent.get(request) or self.held.get(request) or self.steps[request]
                    sent.reports[packet.subtype].add(one.packet)
                    sent.details.append(f"{packet.subtype}:{packet.data[4:]!r}")

    # The node's side

    def _booted(self, node: Node) -> None:
        self.boots_s.append(self.now_s)
        execution = node.part(Commands).execution
        execute = execution.execute

        def counting(task: Any, tc: Any) -> Any:
            self.executions[tc.request.request_id] += 1
            return execute(task, tc)

        execution.execute = counting  # type: ignore[method-assign] # a counter around it


def script(flight: Flight) -> None:
    """What the operator sends, and when. Names of parameters by number: 1 soc_safe_frac, 10 heater_on_c."""
    tai_ns = flight.world.start_tai_ns

    def later(release_s: float, name: str, *values: Value) -> tuple[int, int, bytes]:
        return (0, tai_ns + ns(release_s), flight.held_packet(name, *values))

    for start_s, end_s in CONTACTS_S:
        for i in range(int((end_s - start_s) / 10) - 1):
            at_s = start_s + 4.0 + 10.0 * i
            flight.at(at_s, "ping")
            flight.at(at_s + 1.1, "set_parameters", ((10, round(1.0 + at_s / 1000, 6)),))
            flight.at(at_s + 2.2, "payload_power", i % 2)
            flight.at(at_s + 3.3, "set_power_mode", 1 + i % 3)
            flight.at(at_s + 4.4, "set_parameters", ((10, 99.0),))  # outside its range
    for i in range(8):
        flight.at(70.0 + i, "insert_activities", 0, (later(100.0 + 55.0 * i, "ping"),))
        row = later(110.0 + 50.0 * i, "set_parameters", ((1, round(0.3 + i / 100, 6)),))
        flight.at(80.0 + i, "insert_activities", 0, (row,))
    doomed = later(450.0, "set_power_mode", 0)
    flight.at(90.0, "insert_activities", 0, (doomed,))
    request = PusTc.decode(doomed[2])
    flight.at(300.0, "delete_activities", ((request.source, request.apid, request.seq),))
    flight.at(92.0, "enable_schedule")
    moved = later(330.0, "ping")
    flight.at(93.0, "insert_activities", 0, (moved,))
    request = PusTc.decode(moved[2])
    flight.at(310.0, "shift_activities", 200, ((request.source, request.apid, request.seq),))
    flight.at(94.0, "create_groups", ((5, 1),))
    in_group = (5, tai_ns + ns(230.0), flight.held_packet("ping"))
    flight.at(95.0, "insert_activities", 0, (in_group,))
    flight.at(96.0, "disable_groups", ((5,),))
    for i, start_s in enumerate((100.0, 320.0, 520.0)):
        name = f"sequence-{i}"
        steps = ((500, flight.step_packet("ping")), (4000, flight.step_packet("set_drift_correction", 10 + i)))
        flight.at(start_s, "load_sequence", name, steps)
        flight.at(start_s + 2.0, "activate_sequence", name)
        flight.at(start_s + 30.0, "unload_sequence", name)
        structure = 300 + i
        flight.at(start_s + 5.0, "create_hk", structure, 1.0, ((2 * 256,), (3 * 256,)), 0)
        flight.at(start_s + 6.0, "enable_hk", ((structure,),))
        flight.at(start_s + 7.0, "set_hk_period", ((structure, 5.0),))
        flight.at(start_s + 8.0, "set_hk_on_change", ((structure, 60.0),))
        flight.at(start_s + 40.0, "disable_hk", ((structure,),))
        flight.at(start_s + 41.0, "delete_hk", ((structure,),))
        flight.at(start_s + 9.0, "disable_events", ((22,),))
        flight.at(start_s + 50.0, "enable_events", ((22,),))
        flight.at(start_s + 10.0, "set_time_report_rate", i)
        flight.at(start_s + 11.0, "retrieve_range", ((1, tai_ns + ns(10.0), tai_ns + ns(40.0)),))
        flight.at(start_s + 12.0, "report_store_summary", ())
    flight.at(400.0, "create_hk", 310, 4.0, ((2 * 256 + 1,),), 0)


def check(flight: Flight) -> list[str]:
    """What does not hold; empty where everything does."""
    wrong: list[str] = []
    last_boot = len(flight.boots_s)
    for request, one in flight.sent.items():
        held_by_boot = one.boot == last_boot
        if one.terminals > 1:
            wrong.append(f"{one.name} at {one.t_s} s has {one.terminals} terminal reports: {one.details}")
        if one.reports[ACCEPTED] and one.terminals == 0 and (one.durable or held_by_boot):
            wrong.append(f"{one.name} at {one.t_s} s was accepted and never ended")
        if flight.executions[request] > 1 or len(one.reports[STARTED]) > 1:
            wrong.append(f"{one.name} at {one.t_s} s was executed {flight.executions[request]} times")
    wrong += _check_held(flight)
    wrong += _check_state(flight)
    wrong += _check_recorded(flight)
    last = list(flight.sent.values())[-1]
    if last.name != "ping" or not last.completed:
        wrong.append(f"the node does not answer at the end: {last.details}")
    return wrong


def _check_held(flight: Flight) -> list[str]:
    """Whatever was reported as inserted and not as deleted ends once; the rest does not happen."""
    wrong = []
    inserted = {
        PusTc.decode(row[2]).request_id
        for one in flight.sent.values()
        if one.name == "insert_activities" and one.completed
        for row in rows(one.values[1])
    }
    deleted = {
        RequestId(row[1], row[2])
        for one in flight.sent.values()
        if one.name == "delete_activities" and one.completed
        for row in rows(one.values[0])
    }
    for request, one in flight.steps.items():
        if one.terminals > 1 or flight.executions[request] > 1 or bool(one.reports[ACCEPTED]) > one.terminals:
            wrong.append(f"step {one.name} ended {one.terminals} times: {one.details}")
    for request, one in flight.held.items():
        expected = int(request in inserted - deleted)
        if one.terminals != expected:
            wrong.append(f"held {one.name} {one.values} ended {one.terminals} times, not {expected}: {one.details}")
        if flight.executions[request] > expected:
            wrong.append(f"held {one.name} {one.values} was executed {flight.executions[request]} times")
    return wrong


def _check_state(flight: Flight) -> list[str]:
    """Parameters, switch and mode are those of the last command of its kind that was reported completed."""
    wrong = []
    assert flight.final is not None
    ended = [one for one in (*flight.held.values(), *flight.sent.values()) if one.completed]
    settings = [rows(one.values[0])[0] for one in ended if one.name == "set_parameters"]
    wanted = {
        "heater_on_c": [value for number, value in settings if number == 10],
        "soc_safe_frac": [value for number, value in settings if number == 1],
        "payload": [one.values[0] for one in ended if one.name == "payload_power"],
        "mode": [one.values[0] for one in ended if one.name == "set_power_mode"],
    }  # fmt: skip
    made = {one.values[0] for one in ended if one.name == "create_hk"}
    gone = {rows(one.values[0])[0][0] for one in ended if one.name == "delete_hk"}
    if flight.final["structures"] != sorted(made - gone):
        wrong.append(f"structures {flight.final['structures']}, reported were {sorted(made - gone)}")
    for name, values in wanted.items():
        if values and flight.final[name] != values[-1]:
            wrong.append(f"{name} is {flight.final[name]}, the last one reported was {values[-1]!r}")
    return wrong


def _check_recorded(flight: Flight) -> list[str]:
    """Power housekeeping comes every half second; gaps are where the node was off, or in what was not yet synced."""
    wrong = []
    start_ns = flight.world.start_tai_ns
    times_s = sorted(
        (p.time_ns - start_ns) / NS for p in flight.packets.values() if (p.service, p.subtype) == (3, 25)
        and p.data[:2] == b"\0\2"
    )  # fmt: skip
    times_s = [t_s for t_s in times_s if t_s < END_S]
    downs_s = [down_s for down_s in flight.downs_s if down_s < END_S]
    for a_s, b_s in zip([0.0, *times_s], [*times_s, END_S], strict=True):
        lost = any(down_s - UNSYNCED_S <= a_s < down_s + 0.6 for down_s in downs_s)
        if b_s - a_s > 2.1 and not lost:
            wrong.append(f"housekeeping from {a_s:.1f} to {b_s:.1f} s is missing")
    return wrong


def fly(mission: Mission, cut_at: int | None, seed: int = SEED) -> Flight:
    """One run, cut at one operation or never."""
    flight = Flight(mission, seed, cut_at)
    flight.fly()
    return flight


def explore(mission: Mission, chosen: Callable[[int], bool], jobs: int, told: Callable[[int, list[str]], None]) -> int:
    """Fly once without a cut, and from each chosen storage operation on once more with it; how many cuts there were.

    The run forks at the operation: the child loses its power there, flies on to the end and leaves what is wrong in a
    file; so each point costs only what comes after it, and is the same as `fly(cut_at)`.
    """
    folder = Path(tempfile.mkdtemp(prefix="power-cut-"))
    flight = Flight(mission, SEED, None)
    disk = flight.craft.disk
    count = disk.count
    children: dict[int, int] = {}
    points = 0
    child_of = 0

    def collect() -> None:
        pid, status = os.wait()
        point = children.pop(pid)
        result = folder / str(point)
        died = [f"the run ended with status {status}"]
        told(point, died if status or not result.exists() else json.loads(result.read_text()))

    def counting(kind: str, name: str) -> None:
        nonlocal points, child_of
        point = disk.operations + 1
        if not child_of and flight.now_s < END_S and chosen(point):
            points += 1
            while len(children) >= jobs:
                collect()
            pid = os.fork()
            if pid:
                children[pid] = point
            else:
                child_of = disk.cut_at_operation = point
        count(kind, name)

    disk.count = counting  # type: ignore[method-assign] # a fork before it
    flight.fly()
    if child_of:
        (folder / str(child_of)).write_text(json.dumps(check(flight)))
        os._exit(0)
    while children:
        collect()
    told(0, check(flight))
    shutil.rmtree(folder)
    return points


def sort_of(kind: str, name: str) -> str:
    """What a storage operation is, whatever the number of its segment or the letter of its generation."""
    return f"{kind} {re.sub(r'[.]([0-9]+|[ab])$', '', name)}".strip()


def sample(mission: Mission, each: int) -> dict[int, str]:
    """Storage operations from all over the scenario and the sort of each: `each` of every sort, all of rarer ones.

    Sort by sort, so that every Nth of them has its share of each; and no two sorts at the same moments.
    """
    flight = Flight(mission, SEED, None)
    disk = flight.craft.disk
    disk.trace = trace = list[tuple[int, str, str]]()
    ends: list[int] = []
    flight.loop.call_at(ns(END_S), lambda: ends.append(disk.operations))
    flight.fly()
    by_sort: dict[str, list[int]] = defaultdict(list)
    for number, kind, name in trace[: ends[0]]:
        by_sort[sort_of(kind, name)].append(number)
    chosen: dict[int, str] = {}
    for place, (sort, numbers) in enumerate(sorted(by_sort.items())):
        count = min(each, len(numbers))
        step = len(numbers) / count
        chosen |= {numbers[int((i + place / len(by_sort)) * step)]: sort for i in range(count)}
    return chosen


def write_mission(folder: Path) -> Path:
    """A node without payload on a link that sends idle frames now and then only."""
    path = folder / "power_cut.toml"
    base = (MISSIONS / "orbit.toml").as_posix()
    path.write_text(f'extends = "{base}"\napp = []\n{MISSION}')
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--at", type=int, metavar="N", help="cut at this storage operation alone")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="cut at every Nth storage operation")
    parser.add_argument("--sample", type=int, metavar="N", help="cut at N storage operations of every sort")
    parser.add_argument("--part", default="1/1", metavar="K/OF", help="cut at this part of the sample alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mission = load(write_mission(Path(folder)))
    if args.at is not None:
        wrong = check(fly(mission, args.at))
        print("\n".join(wrong) or f"cut at operation {args.at}: nothing wrong")
        return bool(wrong)
    failed: dict[int, list[str]] = {}
    sampled: dict[int, str] = {}
    cut: Counter[str] = Counter()  # by the sort of operation, if it is of the sample
    done = 0

    def told(point: int, wrong: list[str]) -> None:
        nonlocal done
        done += 1
        cut.update([sampled[point]] if point in sampled else [])
        if wrong:
            failed[point] = wrong
            print(f"cut at operation {point}: " + "; ".join(wrong), flush=True)
        elif done % 100 == 0:
            print(f"{done} power cuts, {len(failed)} with something wrong", flush=True)

    if args.sample is not None:
        part, parts = map(int, args.part.split("/"))
        sampled = dict(list(sample(mission, args.sample).items())[part - 1 :: parts])
        points = explore(mission, sampled.__contains__, args.jobs, told)
        print("cut at: " + ", ".join(f"{count} {sort}" for sort, count in sorted(cut.items())))
    else:
        points = explore(mission, lambda point: point % args.every == 0, args.jobs, told)
    print(f"{points} power cuts at storage operations of the scenario, {len(failed)} with something wrong")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
