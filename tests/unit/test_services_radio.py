"""The radio duty on a link of datagrams: idle frames only now and then, and what comes up in slices."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from flight.core.nanoseconds import ns
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.link.coding.cltu import encode_cltu
from flight.link.pus import PusTc, PusTm
from flight.link.tc.tc_frame import UNLOCK, TcFrame
from flight.link.tm_tc_stack import FlightLink
from flight.services.radio.radio import RadioLink
from hal.base import HalError
from sim_hw.machine.loop import VirtualLoop
from tests.link_ends import BARE

CONFIG = BARE


class Modem:
    """Has room for one unit, which leaves at once; notes when each was given."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.sent_ns: list[int] = []
        self.waiting: deque[bytes] = deque()
        self.told: Callable[[], None] = lambda: None
        self.heard = True
        self.room = True

    def carrier(self) -> bool:
        return self.heard

    def free_ns(self) -> int:
        return self.loop.now_ns()

    def send(self, _unit: bytes) -> bool:
        if not self.room:
            return False
        self.room = False
        self.sent_ns.append(self.loop.now_ns())
        self.loop.call_at(self.loop.now_ns() + 1_000_000, self.leave)
        return True

    def leave(self) -> None:
        self.room = True
        self.told()

    def receive(self) -> bytes | None:
        return self.waiting.popleft() if self.waiting else None

    def dropped(self) -> int:
        return 7

    def on_event(self, call: Callable[[], None]) -> None:
        self.told = call

    def hear(self, *units: bytes) -> None:
        self.waiting.extend(units)
        self.told()


class Nothing:
    """Nothing to play back, no products, nobody who listens; `kept` is what the last contact may not have brought."""

    searching = False

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        self.told: list[tuple[object, ...]] = []

    def take(self, _budget: object = None) -> None:
        return None

    def departed(self, taken: object) -> None:
        pass

    def returned(self, packets: Iterable[object]) -> None:
        pass

    def unheard(self, packets: Iterable[bytes]) -> None:
        self.kept = list(packets)

    def emit(self, name: str, *values: object) -> None:
        self.told.append((name, *values))


class Bench:
    def __init__(self, idle_s: float, step_cost_ns: int = 0) -> None:
        self.loop = VirtualLoop()
        self.modem = Modem(self.loop)
        self.commands: list[bytes] = []
        self.on_command: Callable[[bytes], None] = lambda _: None
        self.faults: list[BaseException] = []
        self.store = Nothing()
        nothing: Any = self.store
        self.link = RadioLink(
            "udp", self.modem, FlightLink(CONFIG), playback=nothing, products=nothing, on_command=self.take_command,
            on_contact=lambda: None, on_frame=lambda *_: None, idle_s=idle_s, events=nothing, now_ns=self.loop.now_ns,
        )  # fmt: skip
        self.scheduler = Scheduler(
            self.loop, self.loop.now_ns, lambda _, error: self.faults.append(error),
            step_cost_ns=lambda _: step_cost_ns,
        )  # fmt: skip
        self.task = self.scheduler.spawn("radio", self.link.run)

    def take_command(self, raw: bytes) -> None:
        self.commands.append(raw)
        self.on_command(raw)

    def run(self, duration_s: float) -> list[int]:
        """When units went out meanwhile, in milliseconds from now."""
        now_ns, before = self.loop.now_ns(), len(self.modem.sent_ns)
        self.loop.run_until(now_ns + ns(duration_s))
        assert self.faults == []
        return [(sent_ns - now_ns) // 1_000_000 for sent_ns in self.modem.sent_ns[before:]]


def pings(*counts: int) -> bytes:
    """One CLTU with these telecommands in one BD frame."""
    data = b"".join(PusTc(1, count, 17, 1, b"").encode() for count in counts)
    return encode_cltu(TcFrame(CONFIG.spacecraft_id, 0, 0, data, bypass=True).encode())


PACKET = PusTm(1, 0, 17, 2, b"", 0).encode()


def test_a_synchronous_link_is_filled_without_a_gap() -> None:
    assert Bench(0.0).run(0.0995) == list(range(100))


def test_a_link_of_datagrams_carries_an_idle_frame_now_and_then() -> None:
    bench = Bench(0.1)
    assert bench.run(0.35) == [0, 100, 200, 300]


def test_a_modem_that_fails_in_something_else_still_gets_its_idle_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(0.1)

    def fail() -> int:
        raise HalError("no such counter")

    monkeypatch.setattr(bench.modem, "dropped", fail)
    assert bench.link.dropped == 0
    assert bench.run(0.65) == list(range(0, 700, 100))


def test_a_packet_goes_out_at_once_and_puts_the_idle_frame_off() -> None:
    bench = Bench(0.1)
    bench.run(0.03)

    def send() -> None:
        assert bench.link.send_realtime(PACKET)

    bench.loop.call_at(ns(0.05), send)
    assert bench.run(0.15) == [20, 120]


def test_a_new_clcw_goes_out_at_once() -> None:
    bench = Bench(10.0)
    bench.run(1)
    bench.modem.hear(pings(1))
    assert bench.run(0.5) == [0]
    bench.modem.hear(b"no telecommand")
    assert bench.run(0.5) == []


def test_a_flood_of_control_commands_is_one_event() -> None:
    bench = Bench(0.1)
    unlock = TcFrame(CONFIG.spacecraft_id, 0, 0, UNLOCK, bypass=True, control=True)
    for _ in range(20):
        bench.modem.hear(*[encode_cltu(unlock.encode())] * 10)
        bench.run(0.2)
    assert [told for told in bench.store.told if told[0] == "control_flood"] == [("control_flood", "udp", 60)]
    assert bench.link.link.counters.uplink_rejected["control_rate"] == 200 - 63  # 3.8 s bring 3 more
    assert bench.link.link.counters.control_commands == 63


def test_out_of_contact_nothing_is_sent_and_in_contact_again_at_once() -> None:
    bench = Bench(0.1)
    bench.run(0.25)
    bench.modem.heard = False
    bench.modem.told()
    assert bench.run(1) == []
    assert not bench.link.send_realtime(PACKET)
    bench.modem.heard = True
    bench.modem.told()
    assert bench.run(0.05) == [0]


def numbered(count: int, octets: int = 100) -> list[bytes]:
    return [PusTm(1, i, 3, 25, bytes(octets - 21), 0).encode() for i in range(count)]


def end_contact(bench: Bench) -> list[bytes]:
    bench.modem.heard = False
    bench.modem.told()
    bench.run(0.01)
    return bench.store.kept


def test_real_time_packets_are_kept_for_as_many_units_as_a_modem_holds() -> None:
    bench = Bench(0.0)
    bench.run(0.1)
    first, second, third = numbered(3)
    bench.link.send_realtime(first)
    bench.run(0.020)
    bench.link.send_realtime(second)
    bench.run(0.010)
    bench.link.send_realtime(third)
    assert end_contact(bench) == [second, third]
    bench.modem.heard = True
    bench.modem.told()
    bench.run(0.1)
    assert end_contact(bench) == []


def test_what_waits_in_the_real_time_queue_is_kept_and_no_more_than_the_modem_and_the_queue_hold() -> None:
    bench = Bench(0.0)
    bench.run(0.1)
    for packet in numbered(400, octets=3000):  # of nearly three units each
        assert bench.link.send_realtime(packet)
        bench.run(0.003)
    packets = numbered(8, octets=3000)
    for packet in packets:
        assert bench.link.send_realtime(packet)
    kept = end_contact(bench)
    assert kept[-8:] == packets
    assert 16 * CONFIG.frame_octets <= sum(map(len, kept[:-8])) <= 19 * CONFIG.frame_octets


def test_a_long_real_time_queue_is_given_back_in_slices_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(0.0)
    bench.run(0.1)
    given: list[list[bytes]] = []
    monkeypatch.setattr(bench.store, "unheard", lambda packets: given.append(list(packets)))
    packets = numbered(300, octets=200)
    for packet in packets:
        assert bench.link.send_realtime(packet)
    end_contact(bench)
    assert [packet for part in given for packet in part][-300:] == packets
    assert max(map(len, given)) <= 64
    assert bench.link.unheard == 0


@pytest.mark.parametrize("units", [[pings(i) for i in range(100)], [pings(*range(70)), pings(*range(70, 100))]])
def test_what_comes_up_is_taken_in_slices_and_in_order(units: list[bytes]) -> None:
    bench = Bench(10.0)
    bench.run(1)
    taken: Counter[int] = Counter()
    bench.on_command = lambda _: taken.update((bench.task.stats.steps,))
    bench.modem.hear(*units)
    bench.run(0.5)
    assert [PusTc.decode(raw).seq for raw in bench.commands] == list(range(100))
    assert max(taken.values()) <= 16
    assert bench.link.dropped == 7


def test_forged_frames_without_end_make_no_other_task_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step takes a millisecond, and the modem always has more: what is due at 10 Hz is done in time."""
    bench = Bench(10.0, step_cost_ns=1_000_000)
    bench.run(1)
    forged = encode_cltu(TcFrame(CONFIG.spacecraft_id ^ 1, CONFIG.tc_vcid, 0, bytes(20)).encode()) * 50
    heard = 0

    def receive() -> bytes:
        nonlocal heard
        heard += 1
        return forged if heard % 100 else forged + pings(heard // 100)

    async def control(task: Task) -> None:
        async for _ in task.every(0.1, deadline_s=0.2):
            pass

    monkeypatch.setattr(bench.modem, "receive", receive)
    task = bench.scheduler.spawn("control", control, deadline_s=0.2, critical=True)
    bench.modem.told()
    bench.run(5)
    assert heard > 2000 and len(bench.commands) == heard // 100
    assert (task.stats.late, task.stats.skipped, task.stats.ticks >= 48) == (0, 0, True), task.stats
    assert bench.link.link.counters.uplink_rejected["spacecraft"] == 50 * heard


class Sick(Modem):
    """A modem of which the calls named in `sick` fail, and which then tells nothing either, but for `free_ns`."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__(loop)
        self.sick: tuple[str, ...] = ()

    def _fail(self, name: str) -> None:
        if name in self.sick:
            raise HalError(f"{name} fails")

    def carrier(self) -> bool:
        self._fail("carrier")
        return super().carrier()

    def free_ns(self) -> int:
        self._fail("free_ns")
        return super().free_ns()

    def send(self, unit: bytes) -> bool:
        self._fail("send")
        return super().send(unit)

    def receive(self) -> bytes | None:
        self._fail("receive")
        return super().receive()

    def dropped(self) -> int:
        self._fail("dropped")
        return super().dropped()

    def leave(self) -> None:
        self.room = True
        if not self.sick or "free_ns" in self.sick:
            self.told()


@pytest.mark.parametrize("call", ["carrier", "receive", "send", "free_ns", "dropped"])
def test_a_modem_that_fails_is_told_once_and_asked_until_it_is_well(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setattr("tests.unit.test_services_radio.Modem", Sick)
    bench = Bench(0.0)
    events: list[tuple[object, ...]] = []
    monkeypatch.setattr(bench.store, "emit", lambda *event: events.append(event))
    assert bench.run(0.1)
    assert isinstance(bench.modem, Sick)
    bench.modem.sick = (call,)
    dropped = bench.link.dropped
    assert dropped == (0 if call == "dropped" else 7)  # the newest that is known
    bench.link.send_realtime(PusTm(1, 0, 17, 2, b"", time_ns=0).encode())
    bench.modem.told()
    bench.run(10.0)
    assert events.count(("device_fault", f"radio udp {call}", f"{call} fails")) == 1
    assert [event for event in events if event[0] == "device_recovered"] == []
    assert (bench.link.in_contact, ("contact_lost", "udp") in events) == (call != "carrier", call == "carrier")
    bench.modem.sick = ()
    assert bench.link.dropped == 7
    bench.link.send_realtime(PusTm(1, 1, 17, 2, b"", time_ns=0).encode())
    assert bench.run(2.0)  # it tells nothing by itself, and units go out again
    assert bench.link.in_contact and events.count(("device_recovered", f"radio udp {call}")) == 1
    assert not bench.task.finished.done
