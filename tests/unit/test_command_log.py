"""The command log by itself: rows as they are stored, numbers that are never given twice, and its limits."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from flight.contract.failures import Failure
from flight.core.future import Future
from flight.core.nanoseconds import ns
from flight.core.scheduler import Scheduler
from flight.link.pus import PusTm, RequestId
from flight.services.commanding import verification as st01
from flight.services.commanding.command_log import ROWS_MAX, CommandLog
from flight.services.commanding.verification import Verification
from flight.services.reporting.telemetry import Telemetry
from flight.store.vault import Vault
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop

REQUEST = RequestId(0x2AB, 0x1234)
OPEN, DONE = bytes.fromhex("01 1aab d234"), bytes.fromhex("02 1aab d234")


class Life:
    """One boot of a log over `disk`; `heard` are the reports that left."""

    def __init__(self, disk: Disk, loop: VirtualLoop) -> None:
        self.heard: list[bytes] = []
        self.keeping = True
        self.synced: Future[None] | None = None  # in place of the disk's own answer
        recorder: Any = self
        telemetry = Telemetry(lambda: 2 * 10**18, recorder)
        storage = disk.boot(loop)
        self.vault = Vault(storage)
        self.verification = Verification(1, telemetry)
        self.log = CommandLog(
            self.vault, telemetry, self.verification, lambda: True, lambda: self.synced or storage.sync()
        )
        self.scheduler = Scheduler(loop, loop.now_ns, lambda _, error: pytest.fail(str(error)))
        self.scheduler.spawn("log", self.log.run)

    def store(self, packet: bytes, _heard: bool) -> bool:
        if self.keeping:
            self.heard.append(packet)
        return self.keeping


class World:
    def __init__(self) -> None:
        self.disk, self.loop = Disk(Random(1)), VirtualLoop()
        self.lives: list[Life] = []

    def boot(self) -> Life:
        self.lives.append(Life(self.disk, self.loop))
        return self.lives[-1]

    def settle(self, duration_s: float = 1.0) -> None:
        self.loop.run_until(self.loop.now_ns() + ns(duration_s))


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.settle(0)
    for life in world.lives:
        life.scheduler.close()


def test_rows_are_stored_as_they_always_were(world: World) -> None:
    """Another version of the software finds them after a boot: state, request, terminal report."""
    log = world.boot().log
    assert log.open(REQUEST) == ("command.00000000", {"command.00000000": OPEN})
    assert log.done("command.00000000", REQUEST, b"report") == {"command.00000000": DONE + b"report"}
    assert log.open(REQUEST)[0] == "command.00000001"
    assert len(log) == 2


@pytest.mark.parametrize("highest", [0, 9, 0x10, 0x1F, 0xFFFF])
def test_numbers_go_on_behind_the_highest_that_is_stored(world: World, highest: int) -> None:
    life = world.boot()
    life.vault.commit({f"command.{number:08x}": OPEN for number in {0, highest // 2, highest}})
    world.settle()
    again = world.boot()
    assert again.log.open(REQUEST)[0] == f"command.{highest + 1:08x}"
    assert len(again.log) == len({0, highest // 2, highest}) + 1


def test_a_number_of_a_row_that_cannot_be_read_is_not_given_again(world: World) -> None:
    life = world.boot()
    life.vault.commit({"command.0000000a": b"\7" + OPEN[1:], "command.00000003": OPEN, "command.x": OPEN})
    world.settle()
    again = world.boot()
    assert (again.log.foreign, len(again.log)) == (2, 1)
    assert again.log.open(REQUEST)[0] == "command.0000000b"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("0000000", OPEN), ("000000000", OPEN), ("0000000G", OPEN), ("0000000A", OPEN), ("00000000", b""),
        ("00000000", OPEN[:4]), ("00000000", b"\0" + OPEN[1:]), ("00000000", b"\3" + OPEN[1:]),
        ("00000000", OPEN[:1] + bytes(4)), ("00000000", DONE + b"no report"),
    ],
)  # fmt: skip
def test_a_row_that_is_not_ours_is_counted_and_left(world: World, key: str, value: bytes) -> None:
    life = world.boot()
    life.vault.commit({f"command.{key}": value})
    world.settle()
    again = world.boot()
    assert (again.log.foreign, len(again.log)) == (1, 0)
    again.log.recover()
    world.settle()
    assert again.heard == [] and again.vault.get(f"command.{key}") == value


def test_what_was_open_is_interrupted_and_what_was_done_is_said_again(world: World) -> None:
    first = world.boot()
    report = first.verification.make_failure(REQUEST, st01.COMPLETED, Failure.DEVICE, "why")
    rows = {"command.00000000": OPEN, "command.00000001": DONE + report, "command.00000002": DONE}
    first.vault.commit(rows)
    world.settle()
    life = world.boot()
    life.log.recover()
    world.settle()
    assert (life.log.interrupted, life.log.reported_again, life.log.foreign) == (1, 1, 0)
    cut_short, again = (PusTm.decode(packet) for packet in life.heard)
    assert again.encode() == report
    assert (cut_short.service, cut_short.subtype, cut_short.data[:4]) == (1, 8, REQUEST.encode())
    assert int.from_bytes(cut_short.data[4:6], "big") == Failure.INTERRUPTED
    assert life.vault.get("command.00000000") == DONE + life.heard[0]
    assert len(life.log) == 3


def test_the_log_takes_256_commands_of_which_32_are_for_urgent_ones(world: World) -> None:
    log = world.boot().log
    keys = []
    for count in range(ROWS_MAX):
        assert (log.full(urgent=False), log.full(urgent=True)) == (count >= 224, False)
        keys.append(log.open(REQUEST)[0])
    assert (ROWS_MAX, len(log), log.full(urgent=True)) == (256, 256, True)
    log.forget(keys[0])
    log.forget(keys[0])
    assert (len(log), log.full(urgent=True), log.full(urgent=False)) == (255, False, True)


def test_what_was_recovered_once_is_not_said_again(world: World) -> None:
    first = world.boot()
    first.vault.commit({"command.00000000": OPEN, "command.00000001": DONE + b""})
    world.settle()
    life = world.boot()
    for _ in range(2):
        life.log.recover()
        world.settle()
    assert (life.log.interrupted, len(life.heard)) == (1, 1)


def test_an_interruption_that_is_not_stored_is_not_said(world: World) -> None:
    """The next boot says it: said twice it might be said in two ways."""
    first = world.boot()
    first.vault.commit({"command.00000000": OPEN})
    world.settle()
    life = world.boot()
    world.disk.fail_commits = True
    life.log.recover()
    world.settle(30)
    assert (life.heard, life.log.interrupted, len(life.log)) == ([], 1, 1)


def test_a_report_that_nothing_keeps_is_tried_again_every_ten_seconds(world: World) -> None:
    life = world.boot()
    key, opening = life.log.open(REQUEST)
    report = life.verification.make_failure(REQUEST, st01.COMPLETED, Failure.DEVICE, "why")
    life.vault.commit({**opening, **life.log.done(key, REQUEST, report)})
    life.keeping = False
    life.log.emit(key, report)
    world.settle(9.9)
    life.keeping = True
    assert life.heard == []
    world.settle(0.2)
    assert life.heard == [report]
    world.settle(10)
    assert (life.heard, len(life.log), life.vault.get(key)) == ([report], 0, None)


def test_a_row_stays_until_the_storage_says_that_the_report_is_durable(world: World) -> None:
    """What went to the recorder stands there from the next sync on, not before."""
    life = world.boot()
    key, opening = life.log.open(REQUEST)
    life.vault.commit(opening)
    life.synced = Future()
    life.log.emit(key, b"")
    world.settle(60)
    assert (len(life.log), life.vault.get(key)) == (1, OPEN)
    life.synced.set_result(None)
    world.settle(10)
    assert (len(life.log), life.vault.get(key)) == (0, None)
