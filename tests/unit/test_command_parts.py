"""Small parts of commanding by themselves: the rate limit, retries on a disk that refuses, names of held commands,
refusals gathered into ranges, stages counted.
"""

from __future__ import annotations

from typing import Any

import pytest

from flight.contract.app import CommandRefused
from flight.contract.failures import Failure
from flight.core.errors import StorageError
from flight.core.nanoseconds import NS, ns
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.link.pus import PusTc, PusTm, RequestId
from flight.services.automation.held_commands import (
    ADD_EVENT_ACTIONS,
    INSERT_ACTIVITIES,
    LOAD_SEQUENCE,
    check_held,
    once,
    request_key,
    stored,
)
from flight.services.commanding import refusals as st01_128
from flight.services.commanding import verification as st01
from flight.services.commanding.command_lane import Bucket
from flight.services.commanding.refusals import Refusals
from flight.services.commanding.verification import Verification
from flight.services.reporting.telemetry import Telemetry
from sim_hw.machine.loop import VirtualLoop
from tests.field_values import rows


class Keeping:
    """A recorder that keeps every packet."""

    def __init__(self) -> None:
        self.packets: list[PusTm] = []

    def store(self, packet: bytes, _heard: bool) -> bool:
        self.packets.append(PusTm.decode(packet))
        return True


def telemetry(keeping: Keeping) -> Telemetry:
    recorder: Any = keeping
    return Telemetry(lambda: 2_000_000_000 * NS, recorder)


# The rate limit


def test_a_bucket_gives_its_burst_at_once_and_its_rate_in_the_long_run() -> None:
    now_ns = 100 * NS
    bucket = Bucket(10.0, 3, lambda: now_ns)
    assert [bucket.take() for _ in range(5)] == [True, True, True, False, False]
    now_ns += NS // 10 - 1
    assert not bucket.take(), "a nanosecond early"
    now_ns += 1
    assert [bucket.take() for _ in range(2)] == [True, False]
    now_ns += 2 * NS // 10
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    now_ns += 3600 * NS
    assert [bucket.take() for _ in range(4)] == [True, True, True, False], "no more than the burst is saved"
    taken = 0
    for _ in range(1000):
        now_ns += NS // 100
        taken += bucket.take()
    assert taken == 100


# Held commands


def test_a_held_command_is_named_by_source_application_and_count() -> None:
    """ECSS-E-ST-70-41C, 6.11.4.4.3."""
    for source, apid, seq in (
        (0xBEEF, 0x2AB, 0x1234),
        (0, 0x7FF, 0x3FFF),
        (0x00FF, 0x100, 0x00FF),
        (0xFF00, 1, 0x3F00),
    ):
        assert request_key(PusTc(apid, seq, 17, 1, b"", source=source).encode()) == (source, apid, seq)


@pytest.mark.parametrize("kind", [INSERT_ACTIVITIES, LOAD_SEQUENCE, ADD_EVENT_ACTIONS])
def test_what_holds_commands_is_not_held(kind: tuple[int, int]) -> None:
    nobody: Any = None
    assert kind in {(11, 4), (21, 1), (19, 1)}
    with pytest.raises(
        CommandRefused, match=rf"activity 3: TC\[{kind[0]},{kind[1]}\] holds commands itself"
    ) as refused:
        check_held(nobody, PusTc(1, 2, *kind, b"").encode(), "activity 3")
    assert refused.value.code == Failure.BAD_VALUE


def test_other_commands_are_checked_and_the_refusal_says_which() -> None:
    class Commands:
        def check(self, raw: bytes) -> None:
            if len(raw) != 13:
                raise CommandRefused(Failure.TOO_MANY, "why")

    commands: Any = Commands()
    for service, subtype in ((11, 1), (21, 4), (19, 4), (4, 11), (17, 1)):
        check_held(commands, PusTc(1, 2, service, subtype, b"").encode(), "x")
        with pytest.raises(CommandRefused, match="step 2: why") as refused:
            check_held(commands, PusTc(1, 2, service, subtype, b"data").encode(), "step 2")
        assert refused.value.code == Failure.TOO_MANY
    for octets in range(13):
        with pytest.raises(CommandRefused, match="step 2: why"):
            check_held(commands, PusTc(1, 2, 11, 4, b"").encode()[:octets] if octets < 11 else bytes(octets), "step 2")


@pytest.mark.parametrize(("failures", "at_s"), [(0, 0.0), (1, 0.5), (2, 1.5), (3, 3.5), (4, 7.5), (5, 15.5), (6, 15.5)])
def test_a_refused_transaction_is_tried_six_times_at_growing_intervals(failures: int, at_s: float) -> None:
    loop = VirtualLoop()
    tried: list[float] = []
    told: list[str] = []
    ended: list[tuple[bool, float]] = []

    async def attempt() -> None:
        tried.append(loop.now_ns() / NS)
        if len(tried) <= failures:
            raise StorageError(f"full {len(tried)}")

    async def body(task: Task) -> None:
        ended.append((await stored(task, attempt, told.append), loop.now_ns() / NS))

    Scheduler(loop, loop.now_ns, lambda _, error: pytest.fail(str(error))).spawn("x", body)
    loop.run_until(100 * NS)
    assert ended == [(failures < 6, at_s)]
    assert tried == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5][: failures + 1]
    assert told == ["full 1"][:failures]


# Refusals of a burst


Row = tuple[int, int, int, int, int, int]


class Gathered:
    def __init__(self, each_max: int = 0) -> None:
        self.keeping = Keeping()
        self.refusals = Refusals(5, telemetry(self.keeping), each_max)

    def rows(self) -> list[Row]:
        """What the summary says: code, APID, first, last, count, exact."""
        self.keeping.packets.clear()
        self.refusals.flush()
        (report,) = st01_128.declare(5).reports
        found: list[Row] = []
        for packet in self.keeping.packets:
            assert (packet.apid, packet.service, packet.subtype) == (5, 1, 128)
            (values,) = report.layout.decode(packet.data)
            found += rows(values)
        return found


def test_the_first_refusals_of_a_period_are_reported_one_by_one() -> None:
    gathered = Gathered(3)
    for _ in range(2):
        assert [gathered.refusals.admit(RequestId(1, seq), 5) for seq in range(5)] == [True] * 3 + [False] * 2
        assert gathered.rows() == [(5, 1, 3, 4, 2, 1)]
    assert gathered.rows() == []


def test_refusals_in_a_row_are_a_range_for_each_code_and_application() -> None:
    gathered = Gathered()
    for apid, seq, code in ((1, 7, 5), (2, 9, 5), (1, 8, 5), (1, 9, 4), (2, 10, 5), (1, 9, 5), (1, 11, 5), (1, 9, 5)):
        assert not gathered.refusals.admit(RequestId(apid, seq), code)
    assert gathered.rows() == [
        (5, 1, 7, 9, 3, 1), (5, 2, 9, 10, 2, 1), (4, 1, 9, 9, 1, 1), (5, 1, 11, 11, 1, 1), (5, 1, 9, 9, 1, 1),
    ]  # fmt: skip


def test_a_range_goes_round_with_the_count_and_ends_when_it_holds_every_one() -> None:
    gathered = Gathered()
    for number in range(16_384 + 2):
        gathered.refusals.admit(RequestId(1, (16_380 + number) % 16_384), 5)
    assert gathered.rows() == [(5, 1, 16_380, 16_379, 16_384, 1), (5, 1, 16_380, 16_381, 2, 1)]


def test_when_the_ranges_are_used_up_the_rest_is_counted_by_code() -> None:
    gathered = Gathered()
    bound = st01_128.RANGES_MAX
    for number in range(bound):
        gathered.refusals.admit(RequestId(1, 2 * number), 5)
    for seq, code in ((100, 4), (7, 5), (200, 4), (3, 4)):
        gathered.refusals.admit(RequestId(2, seq), code)
    gathered.refusals.admit(RequestId(1, 2 * bound - 1), 5)  # goes on from the end of the last range
    rows = gathered.rows()
    assert rows[: bound - 1] == [(5, 1, 2 * n, 2 * n, 1, 1) for n in range(bound - 1)]
    assert rows[bound - 1 :] == [
        (5, 1, 2 * bound - 2, 2 * bound - 1, 2, 1), (4, 2, 100, 3, 3, 0), (5, 2, 7, 7, 1, 0),
    ]  # fmt: skip


def test_a_summary_comes_a_second_after_the_first_refusal() -> None:
    loop, gathered = VirtualLoop(), Gathered()
    Scheduler(loop, loop.now_ns, lambda _, error: pytest.fail(str(error))).spawn("x", gathered.refusals.run)
    for at_s in (5.3, 5.9, 20.7):
        loop.run_until(ns(at_s))
        gathered.refusals.admit(RequestId(1, 1), 5)
        loop.run_until(ns(at_s + 0.05))
    assert len(gathered.keeping.packets) == 1
    loop.run_until(ns(21.69))
    assert len(gathered.keeping.packets) == 1
    loop.run_until(ns(21.71))
    assert len(gathered.keeping.packets) == 2


def test_a_row_of_refusals_is_laid_out_as_it_always_was() -> None:
    gathered = Gathered()
    for seq in (0x1234, 0x1235):
        gathered.refusals.admit(RequestId(0x2AB, seq), 0x0C)
    gathered.refusals.flush()
    (packet,) = gathered.keeping.packets
    assert packet.data == bytes.fromhex("01 000c 02ab 1234 1235 00000002 01")
    (ranges,) = st01_128.declare(5).reports[0].fields
    assert [one.name for one in ranges.fields] == ["code", "apid", "first", "last", "count", "exact"]


# Stages


@pytest.mark.parametrize(("stage", "flag", "name"), [(1, 1, "acceptance"), (3, 2, "start"), (7, 8, "completion")])
def test_a_stage_is_counted_always_and_reported_as_asked(stage: int, flag: int, name: str) -> None:
    """ECSS-E-ST-70-41C, 8.1: success if its flag asks for it, failure always."""
    keeping = Keeping()
    verification = Verification(5, telemetry(keeping))
    for ack in (0, flag, 15 - flag, 15):
        verification.success(PusTc(0x2AB, 0x1234, 17, 1, b"", ack=ack), stage)
    verification.failure(PusTc(0x2AB, 0x1234, 17, 1, b"", ack=0), stage, Failure.LATE, "why")
    verification.count(stage, st01.NONE)
    verification.count(stage, Failure.STORAGE)
    assert verification.counts == {f"{name}_success": 5, f"{name}_failure": 2}
    subtypes = [(one.apid, one.service, one.subtype) for one in keeping.packets]
    assert subtypes == [(5, 1, stage)] * 2 + [(5, 1, stage + 1)]
    assert keeping.packets[0].data == bytes.fromhex("1aab d234")
    assert keeping.packets[2].data == bytes.fromhex("1aab d234 000c 03") + b"why"


def test_reports_of_stages_are_declared_under_the_application_that_makes_them() -> None:
    declared = [(one.apid, one.service, one.subtype, one.name) for one in st01.declare(5).reports]
    names = {1: "acceptance_success", 2: "acceptance_failure", 3: "start_success", 4: "start_failure",
             7: "completion_success", 8: "completion_failure"}  # fmt: skip
    assert sorted(declared) == [(5, 1, subtype, name) for subtype, name in names.items()]
    assert [(one.apid, one.service, one.subtype) for one in st01_128.declare(5).reports] == [(5, 1, 128)]


def test_failure_codes_have_the_numbers_that_they_always_had() -> None:
    """The ground of another version shows their meaning by number."""
    assert {code.name: int(code) for code in Failure} == {
        "UNKNOWN_APID": 1, "UNKNOWN_COMMAND": 2, "BAD_LENGTH": 3, "BAD_VALUE": 4, "QUEUE_FULL": 5,
        "REFUSED_IN_MODE": 6, "DEVICE": 7, "STORAGE": 8, "UNFINISHED": 9, "TOO_MANY": 10, "INTERRUPTED": 11,
        "LATE": 12, "NO_ROOM": 20, "NOT_RELEASED": 21, "FILE_NAME": 30, "NO_DIRECTORY": 31, "FILE_EXISTS": 32,
        "NO_FILE": 33, "FILE_QUOTA": 34, "TOO_MANY_FILES": 35, "FILE_LOCKED": 36, "FILE_BUSY": 37, "FILE_DAMAGED": 38,
        "NO_TRANSFER": 39,
    }  # fmt: skip
    assert st01.NONE == 0


def test_every_failure_code_counts_as_a_failure() -> None:
    verification = Verification(5, telemetry(Keeping()))
    for code in Failure:
        verification.count(st01.COMPLETED, code)
    assert verification.counts == {"completion_failure": 24}


def test_the_body_of_a_held_command_is_run_once_however_often_its_task_starts() -> None:
    loop, runs = VirtualLoop(), []

    async def work(_task: Task) -> None:
        runs.append(loop.now_ns())
        raise ValueError("a fault in a handler")

    Scheduler(loop, loop.now_ns, lambda _, _error: None).spawn("x", once(work))
    loop.run_until(100 * NS)
    assert len(runs) == 1
