"""Collection of housekeeping on a virtual loop: ticks, samples, what is stored and what of it is taken back."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.contract.app import CommandRefused, Durable, Sample
from flight.contract.dictionary import FIELDS_MAX, Structure
from flight.contract.failures import Failure
from flight.contract.fields import Field
from flight.core.errors import DecodeError, SetupError
from flight.core.nanoseconds import NS, ns
from flight.core.scheduler import Scheduler
from flight.services.reporting.housekeeping import Housekeeping, HousekeepingConfig
from flight.services.reporting.structures import Plan, Structures
from flight.store.vault import Vault
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop
from tests.serving import execute

STRUCTURES = (
    Structure(1, 1, "a", 1.0, (Field("x", "u8"), Field("y", "f32"))),
    Structure(2, 2, "b", 0.0, (Field("n", "u16"),)),
    Structure(1, 3, "c", 10.0, (Field("text", "str"), Field("at", "time"))),
)
X, Y, N, TEXT, AT = 256, 257, 512, 768, 769


class Bench:
    """Housekeeping with its task, a vault, and what it says: (time, APID, service, subtype, data), events by name."""

    def __init__(self, vault: Vault | None = None, **config: Any) -> None:
        self.loop = VirtualLoop()
        self.sent: list[tuple[float, int, int, int, bytes]] = []
        self.told: list[tuple[Any, ...]] = []
        self.faults: list[BaseException] = []
        self.vault = vault or Vault(Disk(Random(1)).boot(self.loop))
        sink: Any = self
        self.hk = Housekeeping(
            1,
            STRUCTURES,
            HousekeepingConfig(**config),
            self.vault,
            telemetry=sink,
            events=sink,
            now_ns=self.loop.now_ns,
        )
        self.scheduler = Scheduler(
            self.loop,
            self.loop.now_ns,
            lambda _, error: self.faults.append(error),
            step_cost_ns=lambda name: ns(0.55) if name == "slow" else 0,
        )

    def send(self, apid: int, service: int, subtype: int, data: bytes) -> None:
        self.sent.append((self.loop.now_ns() / NS, apid, service, subtype, data))

    def emit(self, *event: Any) -> None:
        self.told.append(event)

    def start(
        self, a: Callable[[], Any] = lambda: {"x": 7, "y": 0.5}, b: Callable[[], Any] = lambda: {"n": 9}
    ) -> Bench:
        samplers: dict[str, Callable[[], Sample]] = {"a": a, "b": b, "c": lambda: {"text": "t", "at": 0}}
        for name, sample in samplers.items():
            self.hk.provide(name, sample)
        self.task = self.scheduler.spawn("housekeeping", self.hk.run)
        self.at(0)
        return self

    def at(self, t_s: float) -> None:
        self.loop.run_until(ns(t_s))

    def do(self, outcome: Durable) -> None:
        """What becomes of a durable command whose disk answers at once."""
        self.vault.stage(outcome.changes)
        outcome.apply()

    def times(self, sid: int) -> list[float]:
        return [t for t, _, _, subtype, data in self.sent if subtype == 25 and data[:2] == sid.to_bytes(2, "big")]


def create(bench: Bench, sid: int, period_s: float, *numbers: int) -> None:
    bench.do(execute(bench.hk, "create_hk", sid, period_s, tuple((n,) for n in numbers), 0))
    bench.do(execute(bench.hk, "enable_hk", ((sid,),)))


def test_a_period_for_a_structure_that_is_not_there() -> None:
    with pytest.raises(SetupError, match=r"no structure d, known: a, b, c"):
        Bench(period_s={"d": 1.0})


def test_a_structure_nobody_samples_is_found() -> None:
    bench = Bench()
    bench.hk.provide("a", lambda: {"x": 1, "y": 2.0})
    with pytest.raises(
        SetupError, match=r"^housekeeping structure b: nobody samples it\nhousekeeping structure c: nobody"
    ):
        bench.hk.check_samples()


def test_names_that_do_not_fit_their_structure_are_found_at_boot_all_at_once() -> None:
    bench = Bench()
    bench.hk.provide("a", lambda: {"x": 1, "z": 2.0})
    bench.hk.provide("b", lambda: {"n": 1})
    bench.hk.provide("b", lambda: {"n": 2})
    bench.hk.provide("c", lambda: {"text": "t"})
    with pytest.raises(SetupError) as caught:
        bench.hk.check_samples()
    assert str(caught.value).splitlines() == [
        "housekeeping structure a: its sample lacks y; has no field for z",
        "housekeeping structure b: its sample repeats n",
        "housekeeping structure c: its sample lacks at",
    ]


def test_several_owners_give_parts_of_one_structure() -> None:
    bench = Bench(period_s={"a": 1.0})
    bench.hk.provide("a", lambda: {"y": 0.5})
    bench.hk.provide("a", lambda: {"x": 7})
    bench.hk.provide("b", lambda: {"n": 0x1_0003})
    bench.hk.provide("c", lambda: {"at": 0, "text": ""})
    bench.hk.check_samples()
    list(execute(bench.hk, "report_hk", ((1,), (2,))))
    assert [data for *_, data in bench.sent] == [b"\0\1\x07" + struct.pack(">f", 0.5), b"\0\2\0\3"]


def test_a_sampler_that_fails_at_boot_does_not_keep_the_node_from_booting() -> None:
    bench = Bench()
    bench.hk.provide("a", lambda: {"x": 1 // 0})
    bench.hk.provide("b", lambda: {"n": sys.exit(1)})
    bench.hk.provide("c", lambda: {"text": "", "at": 0})
    bench.hk.check_samples()


def test_ticks_are_absolute_and_a_new_period_starts_a_new_row() -> None:
    bench = Bench(period_s={"a": 0.5}).start()
    bench.at(2.2)
    assert bench.times(1) == [0.5, 1.0, 1.5, 2.0]
    assert bench.times(2) == []  # on request alone
    bench.do(execute(bench.hk, "set_hk_period", ((1, 3.0),)))
    bench.at(9)
    assert bench.times(1)[4:] == [3.2, 6.2]
    bench.do(execute(bench.hk, "disable_hk", ((1,),)))
    bench.at(30)
    assert bench.times(1)[6:] == []
    with pytest.raises(CommandRefused, match="structure 2 has no period"):
        execute(bench.hk, "enable_hk", ((2,),))


def test_missed_ticks_are_skipped_and_counted() -> None:
    bench = Bench(period_s={"a": 0.1, "c": 0.0}).start()
    bench.at(1.05)
    bench.scheduler.spawn("slow", nothing)  # takes 0.55 s
    bench.at(3)
    assert bench.task.stats.skipped == 5
    assert bench.task.stats.ticks + bench.task.stats.skipped == 30
    assert all(abs(t * 10 - round(t * 10)) < 1e-6 for t in bench.times(1))


async def nothing(task: Any) -> None:
    pass


def test_sources_are_sampled_once_a_report() -> None:
    calls: list[str] = []
    bench = Bench(period_s={"a": 0.0, "c": 0.0})

    def counted(name: str, sample: Sample) -> Sample:
        calls.append(name)
        return sample

    bench.start(a=lambda: counted("a", {"x": 7, "y": 0.5}), b=lambda: counted("b", {"n": 9}))
    create(bench, 300, 1.0, Y, N, X)
    bench.at(3.5)
    assert calls == ["a", "b"] * 3
    assert bench.sent[-1][1:] == (1, 3, 25, struct.pack(">HfHB", 300, 0.5, 9, 7))


def test_a_structure_that_cannot_be_sampled_is_set_aside() -> None:
    bench = Bench(period_s={"a": 0.5, "c": 1.0}).start(a=lambda: {"x": 1 // 0, "y": 0.5})
    bench.at(5)
    assert bench.times(3) == [1, 2, 3, 4, 5]
    assert bench.times(1) == [] and bench.faults == []
    says = "housekeeping structure a: its sampler raises ZeroDivisionError: integer division or modulo by zero"
    assert bench.told == [("hk_failed", "a", says)]


def test_structures_that_all_fail_cost_the_others_nothing() -> None:
    """More of them than a task may fail, at one instant, and again whenever they are enabled."""
    failing = {name: lambda: 1 // 0 for name in ("a", "b")}
    bench = Bench(period_s={"a": 0.5, "b": 0.5, "c": 1.0}).start(**failing)
    for s in range(1, 6):
        bench.at(s)
        bench.do(execute(bench.hk, "enable_hk", ((1,), (2,))))
    bench.at(8)
    assert len(bench.told) >= 10 and {one[0] for one in bench.told} == {"hk_failed"}
    assert bench.times(3) == [1, 2, 3, 4, 5, 6, 7, 8] and not bench.task.finished.done


def test_a_report_on_request_that_cannot_be_sampled_fails_its_command_alone() -> None:
    bench = Bench(period_s={"a": 0.0}).start(a=lambda: {"x": "seven", "y": 0.5})
    with pytest.raises(CommandRefused) as refused:
        list(execute(bench.hk, "report_hk", ((1,),)))
    assert refused.value.code == Failure.UNFINISHED
    says = "housekeeping structure a: its sample has x: 'seven' is not a whole number of type int"
    assert str(refused.value) == says and bench.times(1) == []


@pytest.mark.parametrize("nan", [float("nan"), -float("nan")])
def test_a_nan_that_stays_is_no_change(nan: float) -> None:
    values = [nan]
    bench = Bench(period_s={"c": 0.0}).start(a=lambda: {"x": 7, "y": values[0]})
    bench.do(execute(bench.hk, "set_hk_on_change", ((1, 3600.0),)))
    bench.at(10.5)
    assert bench.times(1) == [1]
    values[0] = 1.0
    bench.at(20)
    assert bench.times(1) == [1, 11]
    list(execute(bench.hk, "report_hk", ((1,),)))  # asked for: the next change counts from here
    bench.at(30)
    assert bench.times(1) == [1, 11, 20]


def test_definitions_come_back_and_what_does_not_fit_is_dropped() -> None:
    bench = Bench(period_s={"c": 0.0}).start()
    create(bench, 300, 2.0, X, N)
    create(bench, 301, 2.0, TEXT, AT)
    good = bench.vault.get("housekeeping.300")
    assert good is not None
    bench.vault.stage({
        "housekeeping.302": good.replace(b"a.x", b"a.z"), "housekeeping.2": good, "housekeeping.9": b"\1\0",
        "housekeeping.x": good, "housekeeping.303": good, "housekeeping.200": good,
        "housekeeping.70000": good, "housekeeping.3_02": good, "housekeeping.302 ": good, "housekeeping.-2": good,
    })  # fmt: skip
    again = Bench(bench.vault, defined_max=2).start()
    assert sorted(event[1] for event in again.told) == [
        "-2", "2", "200", "302", "302 ", "303", "3_02", "70000", "9", "x",
    ]  # fmt: skip
    assert sorted(name for name, _ in again.vault.rows("housekeeping.")) == ["300", "301"]
    again.at(4.5)
    assert len(again.times(300)) == len(again.times(301)) == 2
    assert [data[:2] for _, _, _, subtype, data in again.sent if subtype == 10] == [b"\x01\x2c", b"\x01\x2d"]
    with pytest.raises(CommandRefused, match="structures defined from ground: 2, at most 2"):
        execute(again.hk, "create_hk", 302, 1.0, ((X,),), 0)


def test_a_definition_on_its_way_to_the_disk_counts() -> None:
    bench = Bench(defined_max=1).start()
    first = execute(bench.hk, "create_hk", 300, 1.0, ((X,),), 0)
    bench.vault.stage(first.changes)
    with pytest.raises(CommandRefused, match="structures defined from ground: 1, at most 1"):
        execute(bench.hk, "create_hk", 301, 1.0, ((X,),), 0)
    first.apply()
    assert bench.hk._planned(300).parameters == (X,)  # noqa: SLF001 - seen nowhere else


@pytest.mark.parametrize("name", ["70000", "3_00", "300 ", "-300", "0300"])
def test_a_key_that_names_no_structure(name: str) -> None:
    bench = Bench().start()
    create(bench, 300, 2.0, X)
    bench.vault.stage({f"housekeeping.{name}": bench.vault.get("housekeeping.300"), "housekeeping.300": None})
    again = Bench(bench.vault).start()
    again.at(5)
    assert [event[:2] for event in again.told] == [("hk_dropped", name)] and again.faults == []
    assert again.hk._defined == 0  # noqa: SLF001 - seen nowhere else


def test_a_row_that_could_not_be_dropped_is_as_if_it_were_not_there() -> None:
    bench = Bench(defined_max=1).start()
    bench.vault.stage({"housekeeping.1": b"\1\0", "housekeeping.300": b"\1\0", "housekeeping.70000": b"\1\0"})
    bench.do(execute(bench.hk, "set_hk_period", ((1, 2.0),)))
    create(bench, 300, 1.0, X)
    bench.at(5)
    assert bench.times(300) and bench.faults == []


KNOWN = Structures(STRUCTURES)
periods = st.floats(0.1, 3600)
keepalives = st.floats(0, 86_400)


@given(st.booleans(), periods, keepalives, st.lists(st.sampled_from(sorted(KNOWN.parameters)), max_size=255), st.data())
def test_a_plan_is_stored_as_it_is(
    on: bool, period_s: float, keepalive_s: float, numbers: list[int], data: Any
) -> None:
    plan = Plan(on, period_s, keepalive_s, tuple(numbers))
    sid = data.draw(st.integers(FIELDS_MAX, 65535) if numbers else st.sampled_from([1, 2, 3]))
    assert KNOWN.decode(sid, KNOWN.encode(plan)) == plan


@given(st.integers(0, 65535), st.binary(max_size=60))
def test_any_octets_are_a_plan_or_a_decode_error(sid: int, octets: bytes) -> None:
    try:
        plan = KNOWN.decode(sid, octets)
    except DecodeError:
        return
    assert (sid in KNOWN.by_sid) != bool(plan.parameters)
