"""The command log by itself: rows as they are stored, numbers that are never given twice, and its limits."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from flight.core.scheduler import Scheduler
from flight.core.vault import Vault
from flight.link.pus import PusTm, RequestId
from flight.services import verification as st01
from flight.services.command_log import ROWS_MAX, CommandLog
from flight.services.telemetry import Telemetry
from flight.services.verification import Verification
from sim_hw.disk import Disk
from sim_hw.loop import VirtualLoop

S = 10**9
REQUEST = RequestId(0x2AB, 0x1234)
OPEN, DONE = bytes.fromhex("01 1aab d234"), bytes.fromhex("02 1aab d234")


class Life:
    """One boot of a log over `disk`; `heard` are the reports that left."""

    def __init__(self, disk: Disk, loop: VirtualLoop) -> None:
        self.heard: list[bytes] = []
        recorder: Any = self
        telemetry = Telemetry(lambda: 2 * 10**18, [], recorder)
        storage = disk.boot(loop)
        self.vault = Vault(storage)
        self.verification = Verification(1, telemetry)
        self.drained = True
        self.log = CommandLog(self.vault, telemetry, self.verification, lambda: self.drained, storage.sync)

    def store(self, packet: bytes, heard: bool) -> bool:
        self.heard.append(packet)
        return True


class World:
    def __init__(self) -> None:
        self.disk, self.loop = Disk(Random(1)), VirtualLoop()

    def boot(self) -> Life:
        return Life(self.disk, self.loop)

    def settle(self) -> None:
        self.loop.run_until(self.loop.now_ns() + S)


@pytest.fixture
def world() -> World:
    return World()


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
    report = first.verification.make_failure(REQUEST, st01.COMPLETED, st01.DEVICE, "why")
    rows = {"command.00000000": OPEN, "command.00000001": DONE + report, "command.00000002": DONE}
    first.vault.commit(rows)
    world.settle()
    life = world.boot()
    life.drained = False  # the reports do not leave the node: the rows stay
    scheduler = Scheduler(world.loop, world.loop.now_ns, lambda _, error: pytest.fail(repr(error)))
    scheduler.spawn("commands.close", life.log.run)
    life.log.recover()
    world.settle()
    assert (life.log.interrupted, life.log.reported_again, life.log.foreign) == (1, 1, 0)
    cut_short, again = (PusTm.decode(packet) for packet in life.heard)
    assert again.encode() == report
    assert (cut_short.service, cut_short.subtype, cut_short.data[:4]) == (1, 8, REQUEST.encode())
    assert int.from_bytes(cut_short.data[4:6], "big") == st01.INTERRUPTED
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
