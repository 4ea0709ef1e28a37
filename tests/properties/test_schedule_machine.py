"""The time-based schedule against a simple model, over power cuts at any operation, time off, and clock jumps.

All release times are whole tens of seconds and every rule ends five seconds after one, so that the model always knows
what was due.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from structlog.typing import FilteringBoundLogger

from flight.contract.dictionary import Command, EventDefinition
from flight.contract.fields import Field
from flight.core.nanoseconds import NS
from flight.core.scheduler import Scheduler
from flight.link.pus import PusTc, PusTm
from flight.services.automation import schedule_declarations as st11
from flight.services.automation.held_commands import HolderParts
from flight.services.automation.schedule import Schedule
from flight.services.automation.schedule_store import ScheduleStore
from flight.services.commanding.command_log import CommandLog
from flight.services.commanding.commands import Commands, CommandsConfig
from flight.services.commanding.refusals import Refusals
from flight.services.commanding.verification import Verification
from flight.services.reporting import events as st05
from flight.services.reporting.events import Events
from flight.services.reporting.telemetry import Telemetry
from flight.store.vault import Vault
from sim_hw.machine.disk import Disk, PowerCut
from sim_hw.machine.loop import VirtualLoop
from tests.serving import serve

TEN = 10 * NS
EPOCH = 2 * 10**18
LATE = 60 * NS
GATES = ("schedule", "sub-schedule", "groups", "create")
# Tens of seconds ahead, group (2 is not there at first), whether the command is a durable one.
AHEAD = st.lists(
    st.tuples(st.integers(1, 12), st.sampled_from((0, 0, 0, 1, 1, 1, 1, 2)), st.booleans()), min_size=1, max_size=5
)
NOTE = Command("note", 1, 8, 1, "", (Field("n", "u16"),), function=1)
NOTE_LONG = Command("note_long", 1, 8, 1, "", (Field("n", "u16"),), function=2, durable=True)
DECLARED = st11.declare(1)
COMMANDS = (NOTE, NOTE_LONG, *DECLARED.commands)
EVENTS: tuple[EventDefinition, ...] = (*st05.declare(1).events, *DECLARED.events)


class Silent:
    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda *_, **__: None


class Boot:
    """One life of commands and schedule. What goes down is not lost."""

    def __init__(self, world: ScheduleOverPowerCuts) -> None:
        loop, recorder, log = world.loop, Recorder(world.down), Silent()
        telemetry = Telemetry(world.tai_ns, recorder)
        self.scheduler = Scheduler(loop, loop.now_ns, world.on_fault)
        storage = world.disk.boot(loop)
        self.vault = Vault(storage, checkpoint_octets=1500)
        verification = Verification(1, telemetry)
        command_log = CommandLog(self.vault, telemetry, verification, lambda: True, storage.sync)
        events = Events(1, EVENTS, telemetry, cast("FilteringBoundLogger", log))
        self.commands = Commands(
            COMMANDS, CommandsConfig(), self.scheduler, self.vault, log=command_log, verification=verification,
            refusals=Refusals(1, telemetry, 20), events=events, modes=("nominal",), mode=lambda: "nominal",
        )  # fmt: skip
        parts = HolderParts(self.vault, self.commands, telemetry, events, self.scheduler)
        self.schedule = Schedule(1, st11.ScheduleConfig(activities=12), parts, world.tai_ns)
        serve(self.schedule, self.commands)
        self.commands.handle("note", None, world.executed.append)
        self.commands.handle("note_long", None, world.executed.append)
        self.commands.assert_complete()
        for body in (self.commands.run, self.commands.run_urgent, command_log.run, self.schedule.run):
            self.scheduler.spawn(body.__qualname__, body)
        command_log.recover()


class Recorder:
    def __init__(self, down: list[bytes]) -> None:
        self.down = down

    def store(self, packet: bytes, _heard: bool) -> bool:
        self.down.append(packet)
        return True


@dataclass(frozen=True)
class Entry:
    order: int
    time_ns: int
    group: int
    sub: int


@dataclass(frozen=True)
class Model:
    """What the schedule holds, by the sequence count of the activity, and its gates."""

    held: dict[int, Entry]
    enabled: bool = True
    groups: frozenset[int] = frozenset({0})
    off_groups: frozenset[int] = frozenset()
    off_subs: frozenset[int] = frozenset()

    def open(self, one: Entry) -> bool:
        return self.enabled and one.group not in self.off_groups and one.sub not in self.off_subs

    def content(self) -> dict[int, tuple[int, int, int]]:
        return {n: (one.time_ns, one.group, one.sub) for n, one in self.held.items()}

    def gates(self) -> tuple[object, ...]:
        return self.enabled, self.groups, self.off_groups, self.off_subs


class ScheduleOverPowerCuts(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 999))
    def begin(self, seed: int) -> None:
        self.disk, self.loop = Disk(Random(seed)), VirtualLoop()
        self.jump_ns = 0
        self.down: list[bytes] = []
        self.executed: list[int] = []
        self.faults: list[BaseException] = []
        self.model = Model({})
        self.sure: set[int] = set()  # reported as inserted
        self.deleted: set[int] = set()
        self.seq = 0
        self.now = Boot(self)
        self.loop.run_until(5 * NS)
        self.seen_ns = 0  # when the node began to look at the present row of times
        self.create_group(status=1)

    def tai_ns(self) -> int:
        return EPOCH + self.loop.now_ns() + self.jump_ns

    def on_fault(self, _: object, error: BaseException) -> None:
        self.faults.append(error)

    def send(self, name: str, after: Model, *values: Any, fits: bool = True) -> bool:
        """Give a command that makes the model `after`; True if it was completed, without a cut meanwhile."""
        command = next(c for c in COMMANDS if c.name == name)
        self.seq += 1
        request = PusTc(1, self.seq, 11, command.subtype, command.layout.encode(values))
        try:
            self.now.commands.on_packet(request.encode())
            self.loop.run_until(self.loop.now_ns() + NS // 2)
        except PowerCut:
            self.boot_again(0, [self.model, after] if fits else [self.model])
            return False
        done = self.reports(request.seq)
        assert done == ([7] if fits else [2]), (name, values, done)
        if fits:
            self.model = after
        self.run_to_grid()
        return fits

    def run_to_grid(self, tens: int = 0) -> None:
        """Run to five seconds after a ten, `tens` further, and compare what has ended."""
        end_ns = (self.loop.now_ns() // TEN + tens) * TEN + 5 * NS
        end_ns += TEN * (end_ns < self.loop.now_ns())
        before = len(self.executed)
        try:
            self.loop.run_until(end_ns)
        except PowerCut:
            self.boot_again(0, [self.model])
            return
        self.settle(self.executed[before:], exact=True)

    def settle(self, executed: list[int], *, exact: bool) -> None:
        """Take what was due out of the model; `exact`: nothing but time has passed."""
        now_ns, held = self.tai_ns(), self.model.held
        due = sorted((n for n in held if held[n].time_ns <= now_ns), key=lambda n: (held[n].time_ns, held[n].order))
        if exact:
            assert executed == [n for n in due if self.wanted(n)]
        self.model = replace(self.model, held={n: one for n, one in held.items() if n not in due})
        for n in due:
            assert n not in self.store(), "due and held still"
            assert len(self.reports(n)) == 1, n

    def wanted(self, n: int) -> bool:
        """Whether the late rule and the gates let it be executed when the node sees it due."""
        one = self.model.held[n]
        return self.model.open(one) and max(one.time_ns, self.seen_ns) - one.time_ns <= LATE

    def boot_again(self, off_tens: int, candidates: list[Model]) -> None:
        """Power was lost: what the node then has is what it had before or after the command that was cut short, but for
        what was at its release.
        """
        self.now.scheduler.close()
        self.disk.cut_at_operation = None
        cut_ns = self.tai_ns()
        self.loop.run_until(self.loop.now_ns() + off_tens * TEN)
        self.now = Boot(self)
        found = self.store()
        for model in candidates:
            missing = model.content().items() - found.items()
            if found.items() <= model.content().items() and all(t <= cut_ns for _, (t, _, _) in missing) \
                    and self.gates() == model.gates():  # fmt: skip
                break
        else:
            raise AssertionError((found, candidates))
        assert not found.keys() & set(self.executed), "executed and held still"
        self.model = replace(model, held={n: one for n, one in model.held.items() if n in found})
        self.deleted |= {n for one in candidates for n in one.held if n not in model.held}
        self.seen_ns = self.tai_ns()
        before = len(self.executed)
        self.loop.run_until(self.loop.now_ns() // TEN * TEN + 5 * NS + TEN)
        self.settle(self.executed[before:], exact=True)

    def store(self) -> dict[int, tuple[int, int, int]]:
        held = ScheduleStore(self.now.vault, lambda _, fault: self.faults.append(fault)).activities()
        return {one.id[2]: (one.time_ns, one.group, one.sub_schedule) for one in held.values()}

    def gates(self) -> tuple[object, ...]:
        gates = ScheduleStore(self.now.vault, lambda _, fault: self.faults.append(fault)).gates()
        return gates.enabled, gates.groups, gates.disabled_groups, gates.disabled_sub_schedules

    def reports(self, seq: int) -> list[int]:
        """Final reports of a request; one that was repeated octet for octet counts once."""
        packets = [PusTm.decode(raw) for raw in dict.fromkeys(self.down)]
        return [
            p.subtype
            for p in packets
            if p.service == 1 and p.subtype in (2, 4, 7, 8) and int.from_bytes(p.data[2:4], "big") & 0x3FFF == seq
        ]

    @rule(ahead=AHEAD, sub=st.integers(0, 1))
    def insert_more(self, ahead: list[tuple[int, int, bool]], sub: int) -> None:
        self.insert(ahead, sub)

    @rule(ahead=AHEAD, sub=st.integers(0, 1), tens=st.integers(1, 12))
    def insert_and_wait(self, ahead: list[tuple[int, int, bool]], sub: int, tens: int) -> None:
        self.insert(ahead, sub)
        self.run_to_grid(tens)

    def insert(self, ahead: list[tuple[int, int, bool]], sub: int) -> None:
        rows, held = [], dict(self.model.held)
        base_ns = (self.tai_ns() - EPOCH) // TEN * TEN + EPOCH
        names: list[int] = []
        for tens, group, long in ahead:
            self.seq += 1
            command = NOTE_LONG if long else NOTE
            assert command.function is not None
            data = command.function.to_bytes(2, "big") + command.layout.encode([self.seq])
            rows.append((group, base_ns + tens * TEN, PusTc(1, self.seq, 8, 1, data, source=3).encode()))
            held[self.seq] = Entry(self.seq, base_ns + tens * TEN, group, sub)
            names.append(self.seq)
        fits = len(held) <= 12 and all(group in self.model.groups for _, group, _ in ahead)
        if self.send("insert_activities", replace(self.model, held=held), sub, tuple(rows), fits=fits):
            self.sure |= set(names)

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.model.held)), min_size=1, unique=True))
        after = replace(self.model, held={n: one for n, one in self.model.held.items() if n not in chosen})
        self.send("delete_activities", after, tuple((3, 1, n) for n in chosen))
        self.deleted |= set(chosen) - self.store().keys()

    @precondition(lambda self: self.model.held)
    @rule(data=st.data(), tens=st.integers(-10, 20))
    def shift(self, data: st.DataObject, tens: int) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.model.held)), min_size=1, unique=True))
        self.give_shift(chosen, tens, "shift_activities", tens * 10, tuple((3, 1, n) for n in chosen))

    @rule(tens=st.integers(-2, 5), sub=st.integers(0, 1))
    def shift_sub_schedule(self, tens: int, sub: int) -> None:
        chosen = [n for n, one in self.model.held.items() if one.sub == sub]
        self.give_shift(chosen, tens, "shift_activities_by_filter", tens * 10, 0, 0, 0, ((sub,),), ())

    def give_shift(self, chosen: list[int], tens: int, name: str, *values: Any) -> None:
        held = dict(self.model.held)
        for n in chosen:
            held[n] = replace(held[n], time_ns=held[n].time_ns + tens * TEN)
        fits = all(held[n].time_ns >= self.tai_ns() + 2 * NS for n in chosen)
        self.send(name, replace(self.model, held=held), *values, fits=fits)

    @rule(
        gate=st.sampled_from(("schedule", "sub-schedule", "groups", "create")), on=st.booleans(), sub=st.integers(0, 1)
    )
    def switch(self, gate: str, on: bool, sub: int) -> None:
        model, verb = self.model, "enable" if on else "disable"
        if gate == "schedule":
            self.send(f"{verb}_schedule", replace(model, enabled=on))
        elif gate == "sub-schedule":
            off = model.off_subs - {sub} if on else model.off_subs | {sub}
            self.send(f"{verb}_sub_schedules", replace(model, off_subs=off), ((sub,),))
        elif gate == "groups":
            self.send(f"{verb}_groups", replace(model, off_groups=frozenset() if on else model.groups), ())
        elif 2 not in model.groups:
            self.create_group(int(on), 2)

    def create_group(self, status: int, group: int = 1) -> None:
        off = self.model.off_groups | ({group} if not status else set())
        after = replace(self.model, groups=self.model.groups | {group}, off_groups=off)
        self.send("create_groups", after, ((group, status),))

    @rule()
    def reset(self) -> None:
        before = set(self.model.held)
        after = replace(self.model, held={}, enabled=False, off_groups=frozenset(), off_subs=frozenset())
        self.send("reset_schedule", after)
        self.deleted |= before - self.store().keys()

    @rule(tens=st.integers(1, 8))
    def pass_time(self, tens: int) -> None:
        self.run_to_grid(tens)

    @rule(tens=st.sampled_from((-5, 1, 3, 7, 8, 12)))
    def set_clock(self, tens: int) -> None:
        self.jump_ns += tens * TEN
        self.seen_ns = self.tai_ns()
        self.run_to_grid(1)

    @rule(off_tens=st.sampled_from((0, 1, 3, 7, 8, 12)))
    def lose_power(self, off_tens: int) -> None:
        self.boot_again(off_tens, [self.model])

    @rule(operations=st.integers(1, 8))
    def lose_power_soon(self, operations: int) -> None:
        self.disk.cut_at_operation = self.disk.operations + operations

    @invariant()
    def nothing_is_executed_twice_or_lost(self) -> None:
        if not hasattr(self, "now"):
            return
        assert self.faults == []
        assert max(Counter(self.executed).values(), default=1) == 1
        assert self.store() == self.model.content()
        for n in self.sure - self.store().keys() - self.deleted:
            assert len(self.reports(n)) == 1, f"{n} was inserted, and is lost"


ScheduleOverPowerCuts.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestScheduleOverPowerCuts = ScheduleOverPowerCuts.TestCase
