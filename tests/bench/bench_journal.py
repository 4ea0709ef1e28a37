"""The journal beside a C program that does the same, and a durable transaction beside a bare write and fdatasync.

Group commit: so many records, one sync for them, and the next records are written while it runs. The program's file
stands in the same folder as the journal's segments.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from flight.core.future import Future
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.linux.platform import LinuxPlatform
from flight.store.journal import Journal
from flight.store.vault import Vault
from sim_hw.bench.bench_command import Row, Survey, at_least, at_most, compiled, output_of, quantile, shown

HERE = Path(__file__).resolve().parent
OUT = HERE.parents[1] / "out"  # on the disk of the checkout: the folder for temporary files is often none
RECORD = b"\x5a" * 100
IN_FLIGHT = 2
TURNS, TURN_RECORDS = 9, 20_000
TURN_GROUP, LARGE_GROUP = 64, 512  # a turn of the loop has 64 steps; the large one is bound by the processor
TRANSACTIONS, BRIEF_TRANSACTIONS = 300, 60
FREE_MACHINE = "wants a free machine and disk"


@contextmanager
def folder() -> Iterator[Path]:
    OUT.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=OUT, prefix="bench-") as made:
        yield Path(made)


def fly(platform: LinuxPlatform, body: Callable[[Task], Awaitable[None]]) -> None:
    """Run one task on the platform's loop to its end; what it raises is raised here."""
    faults: list[BaseException] = []

    def on_fault(_task: Task, error: BaseException) -> None:
        faults.append(error)
        platform.stop()

    async def whole(task: Task) -> None:
        await body(task)
        platform.stop()

    scheduler = Scheduler(platform, platform.cpu_ns, on_fault)
    scheduler.spawn("bench", whole)
    platform.run()
    scheduler.close()
    if faults:
        raise faults[0]


def journal_s(platform: LinuxPlatform, group: int, groups: int) -> float:
    """Seconds that the journal takes from the first record until the last one is durable."""
    journal = Journal(platform.storage, f"group{group}", segment_octets=1 << 20, segments_max=4, circular=True)

    async def body(task: Task) -> None:
        waiting: deque[Future[None]] = deque()
        for _ in range(groups):
            for _ in range(group):
                journal.append(RECORD)
            waiting.append(journal.sync())
            await task.sleep(0.0)  # a group is what one turn of the loop writes
            while len(waiting) >= IN_FLIGHT:
                await waiting.popleft()
        for sync in waiting:
            await sync

    start_s = time.perf_counter()
    fly(platform, body)
    return time.perf_counter() - start_s


def program_s(program: Path, into: Path, group: int, groups: int) -> float:
    words = [str(program), str(into / "control"), *map(str, (len(RECORD), group, groups, IN_FLIGHT))]
    return float(output_of(words, 120.0))


def append(_brief: bool) -> list[Row]:
    with folder() as into:
        program = compiled(HERE / "journal_append.c", into, "-pthread")
        platform = LinuxPlatform(into / "store", "bench")
        try:
            return [
                append_row("journal-append", platform, program, into, TURN_GROUP),
                shown(append_row("journal-append-large", platform, program, into, LARGE_GROUP)),
            ]
        finally:
            platform.close()


def append_row(name: str, platform: LinuxPlatform, program: Path, into: Path, group: int) -> Row:
    groups = TURN_RECORDS // group
    turns = [(journal_s(platform, group, groups), program_s(program, into, group, groups)) for _ in range(TURNS)]
    ours, peer = (group * groups / 1000.0 / median(turn[i] for turn in turns) for i in (0, 1))
    ratio = median(theirs / mine for mine, theirs in turns)
    note = f"{len(RECORD)} octets, {group} a sync, {IN_FLIGHT} syncs in flight, {FREE_MACHINE}"
    return at_least(name, ours, peer, "C program", "krecords/s", 0.5, ratio=ratio, note=note)


def transaction(brief: bool) -> list[Row]:
    """One durable transaction after the other, and between two of them a write and fdatasync by hand."""
    ours_us: list[float] = []
    peer_us: list[float] = []
    with folder() as into:
        platform = LinuxPlatform(into / "store", "bench")
        vault = Vault(platform.storage)
        control = os.open(into / "control", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        async def body(_task: Task) -> None:
            for number in range(BRIEF_TRANSACTIONS if brief else TRANSACTIONS):
                start_ns = time.perf_counter_ns()
                await vault.commit({f"bench.{number % 16}": RECORD})
                ours_us.append((time.perf_counter_ns() - start_ns) / 1000.0)
                start_ns = time.perf_counter_ns()
                os.write(control, RECORD)
                os.fdatasync(control)
                peer_us.append((time.perf_counter_ns() - start_ns) / 1000.0)

        try:
            fly(platform, body)
        finally:
            os.close(control)
            platform.close()
    return [
        at_most(name, quantile(ours_us, q), quantile(peer_us, q), "write + fdatasync", "us", floor, note=FREE_MACHINE)
        for name, q, floor in (("transaction-p50", 0.5, 0.5), ("transaction-p99", 0.99, 0.0))
    ]


BENCHES = (
    Survey("journal-append", append),
    Survey("transaction", transaction, long=True),
)
