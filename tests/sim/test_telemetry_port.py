"""The ground's UDP ports: of the datagrams that reach this machine every one is counted, whatever the load."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from flight.core.nanoseconds import NS
from ground.cli.api.client import GroundClient
from ground.counters import PortCounters
from ground.link.tm_tc_session import GroundSession
from ground.server import telemetry_port
from ground.server.telemetry_port import TelemetryPort
from ground.station import GroundStation
from tests.archives import reading
from tests.ground_dictionary import make
from tests.ground_node import EPOCH_NS, LittleNode
from tests.link_ends import BARE, unit_of
from tests.live_ground import Ground, Wall
from tests.ports import HOST
from tests.waiting import GIVE_UP_S, wait_until

FLOOD = 3000


class Receiver:
    """A port, what it took, and a sender."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.counters = PortCounters()
        self.port = TelemetryPort((HOST, 0), self.taken.append, self.counters)
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sent = 0

    def send(self, octets: bytes) -> None:
        self.sender.sendto(octets, (HOST, self.port.port))
        self.sent += 1

    def take_all(self) -> None:
        while True:
            before = len(self.taken)
            self.port.on_ready()
            if len(self.taken) == before:
                return

    def close(self) -> None:
        self.port.close()
        self.sender.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def small_receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """One with a buffer for some datagrams."""
    monkeypatch.setattr(telemetry_port, "RECEIVE_BUFFER_OCTETS", 8192)
    made = Receiver()
    yield made
    made.close()


def test_what_a_full_buffer_loses_is_counted_also_if_nothing_follows(small_receiver: Receiver) -> None:
    for number in range(FLOOD):
        small_receiver.send(number.to_bytes(2, "big") * 500)
    small_receiver.take_all()
    small_receiver.port.look()
    counters = small_receiver.counters
    assert counters.dropped > 0 and counters.datagrams == len(small_receiver.taken)
    assert counters.datagrams + counters.dropped == small_receiver.sent
    small_receiver.send(b"x")
    small_receiver.take_all()
    assert counters.datagrams + counters.dropped == small_receiver.sent and counters.errors == 0


def test_a_datagram_is_told_with_what_was_dropped_before_it(small_receiver: Receiver) -> None:
    """Exactly that, whenever the kernel is asked between: the link has to know before which frame others lack."""
    port, gaps = small_receiver.port, list[tuple[int, int]]()
    port._receive = lambda octets: gaps.append((int.from_bytes(octets[:4], "big"), port.dropped_before))
    for number in range(FLOOD):
        small_receiver.send(number.to_bytes(4, "big") * 250)
        if number % 400 == 399:
            port.look()  # counts what is dropped behind the datagrams that wait
            port.on_ready()
    small_receiver.take_all()
    numbers = [number for number, _ in gaps]
    assert [dropped for _, dropped in gaps] == [
        number - before - 1 for before, number in zip([-1, *numbers], numbers, strict=False)
    ]
    assert max(dropped for _, dropped in gaps) > 0


def test_a_kernel_that_cannot_be_asked_tells_with_the_next_datagram(
    small_receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry_port, "_SO_MEMINFO", 9999)
    for _ in range(FLOOD):
        small_receiver.send(bytes(1000))
    small_receiver.take_all()
    small_receiver.port.look()
    small_receiver.send(b"x")
    small_receiver.take_all()
    counters = small_receiver.counters
    assert counters.dropped > 0 and counters.datagrams + counters.dropped == small_receiver.sent


def test_a_count_that_is_old_or_wraps_round_is_understood(receiver: Receiver) -> None:
    for told, dropped in ((5, 5), (3, 5), (5, 5), (2**31, 2**31), (2**32 - 1, 2**32 - 1), (4, 2**32 + 4)):
        receiver.port._count_drops(told)
        assert receiver.counters.dropped == dropped


def test_a_pass_of_frames_waits_while_the_ground_is_busy(receiver: Receiver) -> None:
    """A second of frames at 4 Mbit/s: more than the kernel keeps for a socket that asks for nothing."""
    for _ in range(445):
        receiver.send(bytes(1115))
    receiver.take_all()
    receiver.port.look()
    assert (receiver.counters.datagrams, receiver.counters.dropped) == (445, 0)


def test_a_flood_leaves_turns_to_others(receiver: Receiver) -> None:
    for _ in range(300):
        receiver.send(b"x")
    receiver.port.on_ready(limit_ns=0)
    assert len(receiver.taken) == 1
    receiver.port.on_ready(limit_ns=600 * NS)
    assert len(receiver.taken) == 300


@pytest.mark.parametrize(("step_s", "waits"), [(0, True), (50, True), (-3600, False), (3600, False)])
def test_a_datagram_is_told_with_the_time_at_which_it_came(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, step_s: int, waits: bool
) -> None:
    """However long it waited; of a clock that was set meanwhile nothing is believed."""
    came: list[int] = []
    receiver.port._receive = lambda _: came.append(receiver.port.came_ns)
    begin_ns = time.time_ns()
    receiver.send(b"a")
    sent_ns = time.time_ns()
    taken_ns, now_ns = sent_ns + step_s * NS, 10**15
    clocks = SimpleNamespace(time_ns=lambda: taken_ns, monotonic_ns=lambda: now_ns)
    monkeypatch.setattr(telemetry_port, "time", clocks)
    receiver.port.on_ready()
    if waits:
        assert now_ns - (taken_ns - begin_ns) <= came[0] <= now_ns - (taken_ns - sent_ns)
    else:
        assert came == [now_ns]


def test_a_frame_that_waited_is_correlated_by_the_time_at_which_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    station = GroundStation(make(), GroundSession(BARE), epoch_tai_ns=EPOCH_NS, path_delay_ns=lambda _: 7)
    came: list[int] = []
    monkeypatch.setattr(station.correlator, "on_frame", lambda _, at_ns: came.append(at_ns))
    node = LittleNode(Wall(), [(0.0, 1e12)])
    for now_s, waited_s in ((5, 3), (6, 0)):
        node.tm(1, 5, 2, b"\x00\x02\x00")
        station.on_downlink(unit_of(node.link), now_s * NS, waited_ns=waited_s * NS)
    assert came == [EPOCH_NS + 2 * NS - 7, EPOCH_NS + 6 * NS - 7]


def test_datagrams_of_any_length_are_taken_whole(receiver: Receiver) -> None:
    for length in (0, 1, 1115, 65_507):
        receiver.send(bytes(length))
    receiver.take_all()
    assert [len(octets) for octets in receiver.taken] == [1, 1115, 65_507]
    assert (receiver.counters.datagrams, receiver.counters.empty) == (4, 1)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    made = Ground(tmp_path, status_s=0.2)
    yield made
    made.kill()


def test_every_datagram_to_a_ground_is_a_frame_or_refused_or_dropped(ground: Ground) -> None:
    """It stands still meanwhile, and more comes than its buffer holds; some of it is not a frame."""
    node = LittleNode(Wall(), [(0.0, 1e12)])
    units = [unit_of(node.link) for _ in range(12_000)]
    for at in range(0, len(units), 10):
        units[at] = (b"", b"x", bytes(1115), bytes(3000))[at // 10 % 4]
    os.kill(ground.process.pid, signal.SIGSTOP)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for unit in units:
            one.sendto(unit, (HOST, ground.tm))
    os.kill(ground.process.pid, signal.SIGCONT)

    def account() -> tuple[int, int, int]:
        with GroundClient(ground.api) as client:
            counters = client.ask(do="status")["counters"]
        refused = sum(n for name, n in counters.items() if name.startswith("link.frames_rejected."))
        refused += counters["udp.empty"]
        assert counters["udp.datagrams"] == counters["link.frames"] + refused
        return counters["link.frames"], refused, counters["udp.dropped"]

    wait_until(lambda: sum(account()) >= len(units), lambda: f"{account()} of {len(units)}")
    frames, refused, dropped = account()
    assert frames + refused + dropped == len(units)
    assert frames > 0 and refused > 0 and dropped > 0


def test_the_status_line_tells_what_this_machine_dropped(ground: Ground) -> None:
    os.kill(ground.process.pid, signal.SIGSTOP)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for _ in range(12_000):
            one.sendto(bytes(1115), (HOST, ground.tm))
    os.kill(ground.process.pid, signal.SIGCONT)
    assert ground.process.stderr is not None
    while b"dropped by this machine" not in (line := ground.process.stderr.readline()):
        assert line


def test_what_has_come_is_taken_before_the_ground_ends(ground: Ground) -> None:
    node = LittleNode(Wall(), [(0.0, 1e12)])
    os.kill(ground.process.pid, signal.SIGSTOP)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for _ in range(500):
            one.sendto(unit_of(node.link), (HOST, ground.tm))
    ground.process.send_signal(signal.SIGINT)
    os.kill(ground.process.pid, signal.SIGCONT)
    assert ground.process.wait(GIVE_UP_S) == 0
    with reading(ground.folder / "archive.db") as archive:
        assert archive.counters("udp.datagrams")[-1][1] == archive.counters("link.frames")[-1][1] == 500
