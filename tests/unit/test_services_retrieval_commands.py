"""ST[15] by its own commands and reports: which stores are meant, up to when, what is kept, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from itertools import count, islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.contract.app import CommandRefused, Durable, Sample
from flight.contract.failures import Failure
from flight.contract.fields import Value
from flight.core.nanoseconds import NS, ns
from flight.core.step_budget import Budget
from flight.link.pus import PusTm
from flight.services.recorder.retrieval_commands import RetrievalCommands, declare
from flight.services.reporting.telemetry import Telemetry
from tests.recorder_bench import T0_NS, RecorderBench, finish, number_of, packet, small
from tests.serving import serve

APID = 1
SERVICES = (5, 3, 9)  # of which each store takes one
STORES = (
    small("reports", services=(5,), always=True),
    small("rest", priority=1),
    small("science", priority=2, services=(9,), kind="bounded", capacity_octets=100_000),
)
TICK_NS = 20_000  # a little more than the resolution of a time in a packet, 2^-16 s
CHOICES = st.lists(st.integers(0, 2), max_size=4)  # of stores; empty: all


class Console:
    """The recorder's commands as the ground gives them, and its reports as the ground reads them."""

    def __init__(self) -> None:
        self.bench = RecorderBench(*STORES)
        self.declared = declare(APID, self.bench.config)
        self.sent: list[bytes] = []
        self.boot()

    def boot(self) -> None:
        self.handlers: dict[str, tuple[Callable[..., None] | None, Callable[..., Any]]] = {}
        self.samples: dict[str, Callable[[], Sample]] = {}
        me: Any = self
        telemetry = Telemetry(lambda: T0_NS, me)
        telemetry.use([me])
        serve(RetrievalCommands(APID, self.bench.config, self.bench.recorder, telemetry, me), me, me)

    def reboot(self) -> None:
        self.bench.reboot()
        self.boot()

    def handle(self, name: str, check: Callable[..., None] | None, execute: Callable[..., Any]) -> None:
        self.handlers[name] = check, execute

    def provide(self, structure: str, sample: Callable[[], Sample]) -> None:
        self.samples[structure] = sample

    def send_realtime(self, raw: bytes) -> bool:
        self.sent.append(raw)
        return True

    def store(self, _raw: bytes, heard: bool) -> bool:
        return heard

    def arguments(self, name: str, *values: Any) -> tuple[Value, ...]:
        layout = next(one for one in self.declared.commands if one.name == name).layout
        return layout.decode(layout.encode(values))

    def outcome(self, name: str, *values: Any) -> Durable | None:
        """What the command leaves to be done."""
        arguments = self.arguments(name, *values)
        check, execute = self.handlers[name]
        if check is not None:
            check(*arguments)
        out = execute(*arguments)
        made: Durable | None = finish(out) if isinstance(out, Generator) else out
        assert (made is not None) == next(one.durable for one in self.declared.commands if one.name == name), name
        return made

    def send(self, name: str, *values: Any) -> None:
        made = self.outcome(name, *values)
        if made is not None:
            self.bench.apply(made)

    def report(self, name: str, stores: Iterable[int] = ()) -> dict[str, dict[str, Any]]:
        """By store and field; the store of each row as the ground shows it."""
        self.send(f"report_{name}", [(index,) for index in stores])
        raw = PusTm.decode(self.sent[-1])
        declared = next(one for one in self.declared.reports if one.name == name)
        assert (raw.apid, raw.service, raw.subtype) == (APID, declared.service, declared.subtype)
        (field,), made = declared.fields, declared.layout.decode(raw.data)
        rows: Any = made[0]
        shown = [dict(zip((one.name for one in field.fields), row, strict=True)) for row in rows]
        labels = field.fields[0].labels
        assert [labels[row["store"]] for row in shown] == sorted(
            {labels[row["store"]] for row in shown}, key=labels.index
        ), "each store once, in order"
        return {labels[row.pop("store")]: row for row in shown}

    def held(self, index: int) -> list[int]:
        """The packets of a store that are not hidden, by their numbers."""
        store, number, out = self.bench.recorder.stores[index], 0, list[int]()
        while number < store.end.number:
            read = store.read_from(number, Budget())
            assert read is not None
            out += [number_of(one.packet) for one in read[0]]
            number = read[1]
        return out

    def fill(self, packets: int) -> None:
        """As many to each store, one a second."""
        for number in range(packets):
            for service in SERVICES:
                self.bench.recorder.store(packet(number, service))


def chosen(stores: Iterable[int]) -> set[int]:
    return set(stores) or set(range(len(STORES)))


def rows(stores: Iterable[int]) -> list[tuple[int]]:
    return [(index,) for index in stores]


def test_every_command_is_served_and_the_structure_provided() -> None:
    console = Console()
    assert set(console.handlers) == {one.name for one in console.declared.commands}
    assert set(console.samples) == {one.name for one in console.declared.structures}
    console.bench.close()


SWITCHES = {
    "enable_store": ("storage", 1), "disable_store": ("storage", 0),
    "resume_retrieval": ("open_retrieval", 1), "suspend_retrieval": ("open_retrieval", 0),
}  # fmt: skip
STEPS = st.tuples(
    st.sampled_from([*SWITCHES, "retrieve_range", "retrieve_range", "abort_range", "abort_range", "reboot"]), CHOICES
)


@given(st.lists(STEPS, min_size=5, max_size=12), CHOICES)
def test_a_store_does_what_it_was_told_last_and_ranges_alone_end_with_the_power(
    steps: list[tuple[str, list[int]]], asked: list[int]
) -> None:
    console = Console()
    right = {one.name: {"storage": 1, "open_retrieval": 1, "range_retrieval": 0} for one in STORES}
    for name, stores in steps:
        names = {STORES[index].name for index in chosen(stores)}
        if name == "reboot":
            console.reboot()
            for row in right.values():
                row["range_retrieval"] = 0
        elif name == "retrieve_range":
            stores = stores or [0, 2]
            told = [(index, T0_NS, T0_NS) for index in stores]
            running = any(right[STORES[index].name]["range_retrieval"] for index in stores)
            if running or len(set(stores)) < len(stores):
                with pytest.raises(CommandRefused, match="one range at a time, abort_range ends the one before") as no:
                    console.send(name, told)
                assert no.value.code == Failure.TOO_MANY
            else:
                console.send(name, told)
                for index in stores:
                    right[STORES[index].name]["range_retrieval"] = 1
        else:
            console.send(name, rows(stores))
            key, value = SWITCHES.get(name, ("range_retrieval", 0))
            for row in (right[one] for one in names):
                row[key] = value
        assert console.report("store_status") == right
    names = {STORES[index].name for index in chosen(asked)}
    assert console.report("store_status", asked) == {name: right[name] for name in names}
    for index, one in enumerate(STORES):
        kept = console.bench.recorder.store(packet(1, SERVICES[index]))
        assert kept == bool(right[one.name]["storage"])
    console.bench.close()


@given(
    st.integers(0, 120), st.sampled_from([-TICK_NS, 0, TICK_NS]), CHOICES, st.integers(0, 120), CHOICES, st.booleans()
)
def test_what_was_deleted_up_to_a_time_is_gone_and_open_retrieval_starts_at_another(
    number: int, off_ns: int, deleted_of: list[int], start: int, started_of: list[int], cut: bool
) -> None:
    """A packet of just that time is deleted, and retrieved; all stores at once, over a power cut as well."""
    console, count = Console(), 100
    console.fill(count)
    console.bench.play()
    time_ns = T0_NS + number * NS + off_ns
    made = console.outcome("delete_stored", time_ns, rows(deleted_of))
    assert made is not None
    if cut:  # it is durable, and what it would do in memory is never done
        console.bench.vault.commit(made.changes)
        console.bench.run(6)
        console.reboot()
    else:
        console.bench.apply(made)
    first = number + (off_ns >= 0)
    held = {
        index: [one for one in range(count) if index not in chosen(deleted_of) or one >= first] for index in range(3)
    }
    assert {index: console.held(index) for index in range(3)} == held
    console.send("set_retrieval_start", T0_NS + start * NS + off_ns, rows(started_of))
    if cut:
        console.reboot()
    again = start + (off_ns > 0)
    right = [one for index in sorted(chosen(started_of)) for one in held[index] if one >= again]
    assert console.bench.play() == right
    assert console.bench.recorder.overwritten == 0, "it was deleted on purpose"
    console.bench.close()


ENDS = st.tuples(st.integers(0, 99), st.sampled_from([-0.4, 0.0, 0.4]))  # at a packet or beside it


@given(st.tuples(ENDS, ENDS), st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True))
def test_a_range_brings_the_packets_of_both_its_ends_and_between_heard_or_not(
    ends: tuple[tuple[int, float], tuple[int, float]], stores: list[int]
) -> None:
    console = Console()
    console.fill(100)
    console.bench.play()
    from_ns, to_ns = sorted(T0_NS + ns(number + off_s) for number, off_s in ends)
    (ranges,) = next(one for one in console.declared.commands if one.name == "retrieve_range").arguments
    named = [{"store": index, "from_time": from_ns, "to_time": to_ns} for index in stores]
    console.send("retrieve_range", [tuple(row[one.name] for one in ranges.fields) for row in named])
    console.fill(3)  # later, though of those times
    for one in console.bench.recorder.retrievals:
        one.suspended = True
    right = [number for number in range(100) if from_ns <= T0_NS + number * NS <= to_ns]
    assert console.bench.play() == right * len(stores)
    assert all(row["range_retrieval"] == 0 for row in console.report("store_status").values())
    told = [("range_retrieved", STORES[index].name, len(right)) for index in stores]
    console.bench.run(6)
    assert [one for one in console.bench.events if one[0] == "range_retrieved"] == told
    console.bench.close()


def test_a_range_that_ends_before_it_begins_is_refused_and_nothing_of_the_command_is_done() -> None:
    console = Console()
    console.fill(10)
    with pytest.raises(CommandRefused, match="store rest: the range ends before it begins") as refused:
        console.send("retrieve_range", [(0, T0_NS, T0_NS), (1, T0_NS + TICK_NS, T0_NS)])
    assert refused.value.code == Failure.BAD_VALUE
    assert not any(row["range_retrieval"] for row in console.report("store_status").values())
    console.bench.close()


def test_of_two_ranges_that_were_accepted_together_the_second_is_refused_when_its_turn_comes() -> None:
    console = Console()
    arguments = console.arguments("retrieve_range", [(0, T0_NS, T0_NS + NS)])
    check, execute = console.handlers["retrieve_range"]
    assert check is not None
    for _ in range(2):
        check(*arguments)
    execute(*arguments)
    with pytest.raises(CommandRefused, match="store reports: one range at a time"):
        execute(*arguments)
    console.bench.close()


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 150), st.booleans()), max_size=6), st.integers(0, 300), CHOICES
)
def test_the_summary_says_how_full_a_store_is_and_of_what_times(
    records: list[tuple[int, int, bool]], played: int, asked: list[int]
) -> None:
    """Of the first packet held, the last one ever stored, and the next one to be played back."""
    console, numbers = Console(), count()
    bench = console.bench
    made: list[list[int]] = [[], [], []]
    waiting_ones: set[int] = set()
    for index, packets, heard in records:
        for number in islice(numbers, packets):
            if bench.recorder.store(packet(number, SERVICES[index]), heard):
                made[index].append(number)
                waiting_ones |= set() if heard else {number}
    waiting_ones -= set(bench.play(played))
    right = {}
    for index in chosen(asked):
        store = bench.recorder.stores[index]
        held = console.held(index)
        waits = [one for one in held if one in waiting_ones]
        times = (held[0], made[index][-1], waits[0] if waits else made[index][-1]) if held else ()
        oldest, newest, start = ([T0_NS + one * NS for one in times]) if held else (0, 0, 0)
        filled = store.filled_frac()
        waiting = store.filled_frac(made[index].index(waits[0])) if waits else 0.0
        right[STORES[index].name] = {
            "oldest_time": oldest, "newest_time": newest, "start_time": start,
            "filled_percent": round(100 * filled), "waiting_percent": round(100 * waiting),
        }  # fmt: skip
    assert console.report("store_summary", asked) == right
    bench.close()


@pytest.mark.parametrize("beyond", [0, 1 << 32], ids=["", "beyond 32 bits"])
def test_housekeeping_shows_each_stores_own_counts_and_they_wrap(beyond: int) -> None:
    console, fresh = Console(), count(1_000_003, 1_009)
    console.fill(150)
    console.bench.play(170)
    recorder = console.bench.recorder
    right: dict[str, Value] = {name: next(fresh) for name in ("storage_faults", "lost", "returned")}
    recorder.storage_faults, recorder.lost, recorder.returned_packets = (
        int(str(right[name])) + beyond for name in ("storage_faults", "lost", "returned")
    )
    for _ in range(4):
        recorder._hold(bytes(30))  # noqa: SLF001 - a packet that waits in memory
    right["in_memory"] = 4
    for store, retrieval in zip(recorder.stores, recorder.retrievals, strict=True):
        recorded, refused, missing, played, overwritten = (next(fresh) for _ in range(5))
        store.recorded, store.refused, store.journal.stats.missing = (
            one + beyond for one in (recorded, refused, missing)
        )
        retrieval.played_back, retrieval._overwritten = played + beyond, overwritten + beyond  # noqa: SLF001 - a count of its own
        right |= {
            f"{store.name}_waiting": retrieval.waiting, f"{store.name}_recorded": recorded,
            f"{store.name}_played": played, f"{store.name}_overwritten": overwritten,
            f"{store.name}_refused": refused, f"{store.name}_missing": missing,
            f"{store.name}_filled_frac": store.octets / store.config.capacity_octets,
        }  # fmt: skip
    (structure,) = console.declared.structures
    sample = console.samples["recorder"]()
    values = structure.layout.decode(structure.layout.encode([sample[one.name] for one in structure.fields]))
    shown = dict(zip((one.name for one in structure.fields), values, strict=True))
    assert shown == {
        name: pytest.approx(value, rel=1e-6) if isinstance(value, float) else value for name, value in right.items()
    }
    waiting = [shown[f"{store.name}_waiting"] for store in recorder.stores]
    assert waiting == [0, 130, 150]
    console.bench.close()
