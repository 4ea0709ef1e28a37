"""Which events leave: switches as they were stored, windows and what is held back in them."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from flight.contract.dictionary import EventDefinition
from flight.core.nanoseconds import NS, ns
from flight.core.scheduler import Scheduler
from flight.services.reporting.event_gate import BOOT, EventGate, EventsConfig, row_of
from flight.store.vault import Vault
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop

A = EventDefinition(1, 7, "a", "low", "")
B = EventDefinition(2, 7, "b", "high", "")
START = EventDefinition(1, 1, BOOT, "info", "")


class Gate:
    """A gate with its task on a virtual loop; `told` is what ended windows had held back."""

    def __init__(self, burst: int = 2, window_s: float = 10.0, stored: tuple[str, ...] = ()) -> None:
        self.loop = VirtualLoop()
        self.told: list[tuple[float, str, int]] = []
        self.vault = Vault(Disk(Random(1)).boot(self.loop))
        self.vault.stage(dict.fromkeys(stored, b""))
        self.gate = EventGate((A, B, START), EventsConfig(burst, window_s), self.vault, self.loop.now_ns, self._tell)
        self.scheduler = Scheduler(self.loop, self.loop.now_ns, lambda _, error: self.fail(error))
        self.scheduler.spawn("events", self.gate.run)
        self.at(0)

    def fail(self, error: BaseException) -> None:
        raise error

    def _tell(self, event: EventDefinition, count: int) -> None:
        self.told.append((self.loop.now_ns() / NS, event.name, count))

    def at(self, t_s: float) -> None:
        self.loop.run_until(ns(t_s))


def test_each_event_has_windows_of_its_own() -> None:
    one = Gate()
    one.at(5)
    assert [one.gate.admit(A) for _ in range(4)] == [True, True, False, False]
    one.at(8)
    assert [one.gate.admit(B) for _ in range(3)] == [True, True, False]
    one.at(14.9)
    assert not one.gate.admit(A)
    assert one.told == []
    one.at(60)
    assert one.told == [(15, "a", 3), (18, "b", 1)]
    assert one.gate.admit(A)
    assert one.gate.held_back == 4


def test_a_window_that_ends_with_the_next_event_is_told_once() -> None:
    one = Gate()
    one.scheduler.close()
    assert [one.gate.admit(A) for _ in range(3)] == [True, True, False]
    one.at(11)
    assert one.gate.admit(A)
    assert one.told == [(11, "a", 1)]


def test_the_boot_event_is_never_held_back() -> None:
    one = Gate(burst=1)
    assert all(one.gate.admit(START) for _ in range(5))


def test_switches_are_restored_and_those_of_no_event_dropped() -> None:
    one = Gate(stored=(row_of(1, 7), row_of(1, 99), "events.x"))
    assert not one.gate.admit(A)
    assert one.gate.admit(B)
    assert one.gate.off(1) == [7]
    assert one.gate.dropped == ["1.99", "x"]
    assert [name for name, _ in one.vault.rows("events.")] == ["1.7"]
    one.gate.switch(True, [(1, 7)])
    assert one.gate.admit(A)
    assert (one.gate.disabled, one.gate.held_back) == (1, 0)


@given(st.lists(st.tuples(st.integers(0, 8), st.sampled_from((A, B))), max_size=60), st.integers(1, 4))
def test_every_occurrence_is_reported_or_told_of(steps: list[tuple[int, EventDefinition]], burst: int) -> None:
    one = Gate(burst=burst)
    t_s, passed = 0, 0
    for wait_s, event in steps:
        t_s += wait_s
        one.at(t_s)
        passed += one.gate.admit(event)
    one.at(t_s + 20)
    one.scheduler.close()
    held = sum(count for _, _, count in one.told)
    assert passed + held == len(steps)
    assert held == one.gate.held_back
