"""Parameters against a simple model, over power cuts at any operation and changes of the software."""

from __future__ import annotations

import struct
from random import Random
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flight.contract.app import CommandRefused, Durable
from flight.contract.dictionary import Setting
from flight.contract.parameter_table import contradiction, encode_table
from flight.core.errors import StorageError
from flight.services.reporting.telemetry import Telemetry
from flight.services.settings.parameters import Parameters
from flight.store.vault import Vault
from sim_hw.machine.disk import Disk, PowerCut
from sim_hw.machine.loop import VirtualLoop
from tests.full_disk import full_disk
from tests.serving import no_upload

# Three versions of the software: names come and go, bounds and types tighten, values must agree that needed not before.
VERSIONS = (
    (
        Setting(1, "low", "", 2.0, 0.0, 9.0, ""),
        Setting(2, "high", "", 5.0, 0.0, 9.0, ""),
        Setting(3, "count", "", 3.0, 0.0, 9.0, ""),
        Setting(4, "old", "", 1.0, 0.0, 9.0, ""),
    ),
    (
        Setting(1, "low", "", 2.0, 0.0, 9.0, "", below="middle"),
        Setting(2, "high", "", 6.0, 0.0, 9.0, ""),
        Setting(3, "count", "", 3.0, 0.0, 5.0, "", type="u8"),
        Setting(5, "middle", "", 4.0, 0.0, 9.0, "", below="high"),
    ),
    (
        Setting(2, "high", "", 5.0, 3.0, 9.0, ""),
        Setting(7, "low", "", 1.0, 0.0, 9.0, "", below="high"),
        Setting(4, "old", "", 1.0, 0.0, 9.0, ""),
        Setting(3, "count", "", 1.0, 0.0, 9.0, "", type="i16"),
    ),
)
Stored = dict[str, float]
Change = dict[str, float | None]

VALUES = st.one_of(st.integers(-1, 10).map(float), st.sampled_from((2.5, float("nan"))))
ROWS = st.lists(st.tuples(st.integers(0, 7), VALUES), max_size=4).map(tuple)


def fits(setting: Setting, value: float) -> bool:
    return setting.minimum <= value <= setting.maximum and (setting.type == "f64" or value == int(value))


def resolved(version: tuple[Setting, ...], stored: Stored) -> tuple[Stored, set[str], set[str]]:
    """What is in force after a boot, which stored values are refused, and which of them for a contradiction."""
    kept = {s.name: stored[s.name] for s in version if s.name in stored and fits(s, stored[s.name])}
    refused = {s.name for s in version if s.name in stored} - kept.keys()
    values = {s.name: s.default for s in version}
    against: set[str] = set()
    while (pair := contradiction(version, values | kept)) is not None:
        against |= {name for name in pair if kept.pop(name, None) is not None}
    return values | kept, refused | against, against


NO_TELEMETRY = cast("Telemetry", None)  # no value is reported here


class Events:
    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def emit(self, name: str, *values: Any) -> None:
        self.seen.append((name, *values))


class ParametersOverPowerCuts(RuleBasedStateMachine):
    """`acked` is what the ground was told is stored; `unsure` the changes given since, of which a beginning may be."""

    @initialize(seed=st.integers(0, 999))
    def begin(self, seed: int) -> None:
        self.disk, self.loop = Disk(Random(seed)), VirtualLoop()
        self.version = VERSIONS[0]
        self.acked: Stored = {}
        self.unsure: list[Change] = []
        self.boot()

    def recovered(self) -> Vault:
        while True:
            try:
                return Vault(self.disk.boot(self.loop), checkpoint_octets=400)
            except PowerCut:
                continue

    def boot(self) -> None:
        self.vault = self.recovered()
        self.events = Events()
        self.parameters = Parameters(1, self.version, self.vault, NO_TELEMETRY, self.events, no_upload)
        stored = {name: struct.unpack(">d", octets)[0] for name, octets in self.vault.rows("parameter.")}
        possible = [dict(self.acked)]
        for change in self.unsure:
            possible.append({k: v for k, v in (possible[-1] | change).items() if v is not None})
        assert stored in possible
        self.acked, self.unsure = stored, []
        self.force, self.refused, self.against = resolved(self.version, stored)
        unknown = stored.keys() - {s.name for s in self.version}
        self.check_events(len(stored) - len(unknown) - len(self.refused), len(unknown))

    def check_events(self, in_force: int, unknown: int) -> None:
        assert [e[1:] for e in self.events.seen if e[0] == "parameters_restored"] == [
            (in_force, unknown, len(self.refused))
        ] * bool(self.acked)
        assert {e[1] for e in self.events.seen if e[0] == "parameter_refused"} == self.refused

    def give(self, make: Any, change: Change) -> None:
        """A command that is right by itself; what the node then makes of the whole set must be the model's idea."""
        newest = dict(self.acked)
        for one in self.unsure:
            newest = {k: v for k, v in (newest | one).items() if v is not None}
        held = {s.name: s.default for s in self.version}
        held |= {k: v for k, v in newest.items() if k in held and k not in self.refused}
        defaults = {s.name: s.default for s in self.version}
        wanted = {k: defaults[k] if v is None else v for k, v in change.items()}
        if contradiction(self.version, held | wanted) is not None:
            with pytest.raises(CommandRefused, match="should stay below"):
                make()
            return
        durable: Durable = make()
        given: Change = dict.fromkeys(self.against) | change
        self.unsure.append(given)
        try:
            done = self.vault.commit(durable.changes)
        except PowerCut:
            self.boot()
            return
        self.against = set()
        self.refused -= given.keys()
        done.add_callback(lambda done: self.stored(done, durable, given, wanted))

    def stored(self, done: Any, durable: Durable, given: Change, wanted: Stored) -> None:
        done.result()
        durable.apply()
        assert self.unsure.pop(0) is given
        self.acked = {k: v for k, v in (self.acked | given).items() if v is not None}
        self.force |= wanted

    @rule(rows=ROWS)
    def set_any(self, rows: tuple[tuple[int, float], ...]) -> None:
        known = {s.number: s for s in self.version}
        numbers = [n for n, _ in rows]
        single = len(set(numbers)) == len(numbers)
        if rows and single and all(n in known and fits(known[n], v) for n, v in rows):
            self.parameters.check_rows(rows)
        else:
            with pytest.raises(CommandRefused):
                self.parameters.check_rows(rows)

    @rule(data=st.data(), by_table=st.booleans())
    def set_right(self, data: st.DataObject, by_table: bool) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.version), min_size=1, max_size=3, unique=True))
        values = {s.name: float(data.draw(st.integers(int(s.minimum), int(s.maximum)))) for s in chosen}
        rows = tuple((s.number, values[s.name]) for s in chosen)
        self.parameters.check_rows(rows)
        if not by_table:
            self.give(lambda: self.parameters.set_rows(rows), dict(values))
        elif contradiction(self.version, values) is None:
            table = encode_table(self.version, values)
            self.parameters.check_table(table)
            self.give(lambda: self.parameters.load(table), dict(values))

    @rule(numbers=st.lists(st.integers(0, 7), max_size=2, unique=True))
    def reset(self, numbers: list[int]) -> None:
        names = {s.number: s.name for s in self.version}
        wanted = tuple((n,) for n in numbers)
        if not names.keys() >= set(numbers):
            with pytest.raises(CommandRefused, match="no parameter"):
                self.parameters.check_numbers(wanted)
            return
        chosen = [names[n] for n in numbers] or list(names.values())
        self.give(lambda: self.parameters.reset(wanted), dict.fromkeys(chosen))

    @rule(ms=st.integers(0, 9))
    def pass_time(self, ms: int) -> None:
        try:
            self.loop.run_until(self.loop.now_ns() + ms * 1_000_000)
        except PowerCut:
            self.boot()

    @rule(operations=st.integers(1, 6))
    def cut_soon(self, operations: int) -> None:
        self.disk.cut_at_operation = self.disk.operations + operations

    @rule()
    def cut_now(self) -> None:
        self.boot()

    @precondition(lambda self: not self.unsure)
    @rule()
    def boot_in_peace(self) -> None:
        """What is in force after a boot is what was in force before it."""
        before = {s.name: self.parameters.get(s.name) for s in self.version}
        self.boot()
        assert {s.name: self.parameters.get(s.name) for s in self.version} == before

    @rule(number=st.integers(0, 2))
    def other_software(self, number: int) -> None:
        self.version = VERSIONS[number]
        self.boot()

    @invariant()
    def in_force_is_what_the_model_has(self) -> None:
        values = {s.name: self.parameters.get(s.name) for s in self.version}
        assert values == self.force
        assert contradiction(self.version, values) is None


TestParametersOverPowerCuts = ParametersOverPowerCuts.TestCase
TestParametersOverPowerCuts.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_disk_without_room_changes_nothing() -> None:
    disk, loop = Disk(Random(1)), VirtualLoop()
    vault = Vault(disk.boot(loop))
    made = Parameters(1, VERSIONS[0], vault, NO_TELEMETRY, Events(), no_upload)
    with full_disk(disk):
        durable = made.set_rows(((1, 4.0),))
        with pytest.raises(StorageError):
            vault.commit(durable.changes)
        assert made.get("low") == 2.0
    assert made.set_rows(((1, 5.0),)).changes.keys() == {"parameter.low"}
