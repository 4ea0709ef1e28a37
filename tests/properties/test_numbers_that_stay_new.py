"""Numbers that must not come again: over boots of the node whose storage tears, refuses, forgets or lies, and over
starts of the ground with its archive, with another one, and with none.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from flight.core.nanoseconds import NS
from flight.link.cfdp.header import Mode, TransactionId
from flight.link.cfdp.numbers import EPOCH_BITS, TransactionNumbers
from flight.link.cfdp.transactions.entity import Entity
from flight.link.cfdp.transactions.entity_config import EntityConfig
from flight.link.cfdp.transactions.indications import FileComplete, TransactionFinished
from flight.link.cfdp.transactions.requests import PutRequest, Retained
from flight.services.health.status import BootRecord
from flight.store.generations import Generations
from ground.telemetry.archive import Archive
from sim_hw.machine.disk import Disk, PowerCut
from sim_hw.machine.loop import VirtualLoop
from tests.archives import entered
from tests.ground_dictionary import make

CONTENT = b"of one size"
BOOTS = ("sound", "cut at once", "cut in the write", "read-only", "commits fail", "unreadable", "damaged", "lost")


class OneFile:
    """The one file of the sender, and whatever the receiver takes."""

    octets = len(CONTENT)

    def open_source(self, _name: str) -> OneFile:
        return self

    def open_destination(self, _transaction: TransactionId) -> OneFile:
        return self

    def admit(self, transaction: TransactionId, name: str, octets: int) -> None:
        """Take every file."""

    def read(self, at: int, octets: int) -> bytes:
        return CONTENT[at : at + octets]

    def write(self, at: int, data: bytes | memoryview) -> None:
        assert data == CONTENT[at : at + len(data)]


class Craft:
    """One disk, booted again and again; each boot sends files of one name to a receiver that never forgets."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.loop = VirtualLoop()
        self.disk = Disk(Random(self.random.getrandbits(64)))
        self.receiver = Entity(EntityConfig(entity=1, ended=4096), OneFile(), TransactionNumbers(0, 0))
        self.receiver.set_contact(True, 0)
        self.boots: set[tuple[int, int]] = set()
        self.faults = 0
        self.sent = self.arrived = 0

    def boot(self, how: str, files: int) -> None:
        disk = self.disk
        if how == "lost":
            disk.durable.clear()
        if how == "damaged":
            disk.durable = {name: octets[:-1] for name, octets in disk.durable.items()}
        disk.read_only, disk.fail_commits = how == "read-only", how == "commits fail"
        disk.unreadable = {"boot.a", "boot.b"} if how == "unreadable" else set()
        disk.cut_at_operation = disk.operations + 1 if how == "cut in the write" else None
        session = disk.boot(self.loop)
        epoch = Random(self.random.getrandbits(64))  # the platform's, as sim_hw.spacecraft makes it
        try:
            record = BootRecord(Generations(session, "boot"), self._fault, epoch)
        except PowerCut:
            return
        assert (record.count, record.epoch) not in self.boots
        self.boots.add((record.count, record.epoch))
        if how != "cut at once":
            self.loop.run_until(self.loop.now_ns() + NS)
        numbers = TransactionNumbers(record.count, record.epoch)
        sender = Entity(EntityConfig(entity=2), OneFile(), numbers)
        sender.set_contact(True, 0)
        for _ in range(files):
            sender.put(PutRequest(1, "screen-0-1.obsp", "screen-0-1.obsp", Mode.UNACKNOWLEDGED), 0)
            self.sent += 1
            while (pdu := sender.next_pdu(0)) is not None:
                sender.on_time(0)
                self._receive(pdu)
        disk.cut()

    def _receive(self, pdu: bytes) -> None:
        for told in self.receiver.on_pdu(pdu, 0):
            if isinstance(told, FileComplete):
                ended = self.receiver.settle(told.transaction, Retained(), 0)
                self.arrived += sum(isinstance(each, TransactionFinished) and each.whole for each in ended)

    def _fault(self, _fault: str) -> None:
        self.faults += 1


@given(st.integers(0, 2**32), st.lists(st.tuples(st.sampled_from(BOOTS), st.integers(1, 5)), max_size=20))
def test_every_product_of_every_boot_arrives_whatever_becomes_of_the_storage(
    seed: int, boots: list[tuple[str, int]]
) -> None:
    craft = Craft(seed)
    for how, files in boots:
        craft.boot(how, files)
    assert craft.arrived == craft.sent
    assert (craft.receiver.counters.ignored.total(), craft.receiver.counters.renewed) == (0, 0)
    assert craft.faults == sum(how in ("read-only", "commits fail") for how, _ in boots)


@given(
    st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1), st.integers(0, 2**40), st.integers(1, 200),
    st.integers(1, 200),
)  # fmt: skip
def test_the_numbers_of_two_starts_never_meet(first: int, second: int, starts: int, some: int, others: int) -> None:
    """With different marks whatever is drawn: also both the same, or the last before the bits begin again."""
    one, two = TransactionNumbers(starts, first), TransactionNumbers(starts + 1, second)
    numbers = [one.take() for _ in range(some)] + [two.take() for _ in range(others)]
    assert len(set(numbers)) == some + others
    assert all(0 <= number < 1 << 63 for number in numbers)


@given(st.integers(0, 2**40), st.integers(0, 2**48 - 1), st.integers(1, 5))
@example(2**15 - 1, 2**48 - 1, 3)
@example(2**15, 2**48 - 2, 3)
def test_a_number_is_the_start_and_then_the_epoch_with_one_more_for_each(starts: int, epoch: int, count: int) -> None:
    """docs/adr/0018: bits 62 to 48 and 47 to 0; both go round, and neither touches the other."""
    numbers = TransactionNumbers(starts, epoch)
    for place in range(epoch, epoch + count):
        assert f"{numbers.take():064b}" == f"0{starts % 2**15:015b}{place % 2**48:048b}"


@settings(max_examples=20)  # each start makes its commit durable
@given(
    st.integers(0, 2**32),
    st.lists(st.tuples(st.sampled_from(("same", "copied", "new", "none")), st.integers(1, 20)), max_size=12),
)
def test_files_that_go_up_never_share_a_number(seed: int, starts: list[tuple[str, int]]) -> None:
    """A ground that is started again with its archive, with a copy of it as it was once, a new one, or none."""
    random, seen, total = Random(seed), set[int](), 0
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / "archive.db"
        with Archive(old):
            pass
        empty = old.read_bytes()
        for index, (how, files) in enumerate(starts):
            path = old if how == "same" else Path(folder) / f"{index}.db"
            if how == "copied":
                path.write_bytes(empty)
            mark = 0
            if how != "none":
                with entered(path, make()) as archive:
                    mark = archive.next_start()
            numbers = TransactionNumbers(mark, random.getrandbits(EPOCH_BITS))
            seen |= {numbers.take() for _ in range(files)}
            total += files
    assert len(seen) == total


@settings(max_examples=20)
@given(st.integers(0, 2**48 - 1), st.lists(st.integers(1, 20), max_size=8))
def test_a_ground_started_again_with_its_archive_needs_no_luck(epoch: int, starts: list[int]) -> None:
    """The mark alone keeps the numbers apart, whatever is drawn: here the same each time."""
    seen = set[int]()
    with tempfile.TemporaryDirectory() as folder:
        for files in starts:
            with entered(Path(folder) / "archive.db", make()) as archive:
                numbers = TransactionNumbers(archive.next_start(), epoch)
            seen |= {numbers.take() for _ in range(files)}
    assert len(seen) == sum(starts)
