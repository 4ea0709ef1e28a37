"""Journal and two-generation records on the simulated disk: round trips, damage, power cuts at any operation."""

from __future__ import annotations

import zlib
from random import Random
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.core.errors import StorageError
from flight.core.nanoseconds import ns
from flight.core.platform import Storage
from flight.store.generations import Generations
from flight.store.journal import Journal
from flight.store.segments import HEAD_OCTETS, RECORD_OCTETS
from sim_hw.machine.disk import Disk, PowerCut
from sim_hw.machine.loop import VirtualLoop


def contents(journal: Journal, first: int = 0) -> list[bytes]:
    return [content for _, content in journal.read(first)]


def test_records_come_back_in_order_over_segments() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    journal = Journal(disk.boot(loop), "j", segment_octets=100)
    records = [bytes([i]) * (10 + i) for i in range(20)]
    assert all(journal.append(r) for r in records[:15])
    journal.sync()
    loop.run_until(ns(1))
    again = Journal(disk.boot(loop), "j", segment_octets=100)
    assert contents(again) == records[:15]
    assert all(again.append(r) for r in records[15:])
    assert contents(again) == records
    assert list(again.read(12)) == list(enumerate(records))[12:]
    again.sync()
    loop.run_until(ns(2))
    assert contents(Journal(disk.boot(loop), "j")) == records


class Looks:
    """How often a record was looked for somewhere."""

    size = 8

    def __init__(self) -> None:
        self.count = 0

    def unpack_from(self, raw: bytes, at: int) -> tuple[int, int]:
        self.count += 1
        return int.from_bytes(raw[at : at + 4], "big"), int.from_bytes(raw[at + 4 : at + 8], "big")


@pytest.mark.parametrize("filling", [b"\0", b"\0\0\4\0", b"\0\0\0\4\0"])
def test_a_segment_spoilt_from_end_to_end_is_searched_with_a_bound(
    filling: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hole, and octets that look like the lengths of records wherever one looks."""
    loop, disk = VirtualLoop(), Disk(Random(1))
    journal = Journal(disk.boot(loop), "j", segment_octets=16_384)
    while len(journal.segments) < 3:
        journal.append(bytes(100))
    journal.sync()
    loop.run_until(ns(1))
    spoilt = disk.durable["j.00000001"]
    disk.durable["j.00000001"] = spoilt[:HEAD_OCTETS] + (filling * len(spoilt))[: len(spoilt) - HEAD_OCTETS]
    again = Journal(disk.boot(loop), "j", segment_octets=16_384)
    tries: list[int] = []

    def crc32(octets: bytes, start: int = 0) -> int:
        tries.append(len(octets))
        return zlib.crc32(octets, start)

    monkeypatch.setattr("flight.store.segments.crc32", crc32)
    looks = Looks()
    monkeypatch.setattr("flight.store.segments._RECORD", looks)
    segment = again.segments[1]
    assert again.read_segment(segment, 16_384) == []
    assert again.stats.missing == segment.end - segment.first
    assert len(tries) < 16_384 and sum(tries) < 256 * 16_384, (len(tries), sum(tries))
    assert looks.count < 8192, looks.count
    assert again.read_segment(segment, 16_384) == []
    assert again.stats.missing == segment.end - segment.first, "counted once"


def test_a_hole_in_a_segment_costs_the_records_in_it() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    journal = Journal(disk.boot(loop), "j")
    records = [bytes([number + 1]) * 60 for number in range(100)]
    for record in records:
        journal.append(record)
    journal.append(b"")
    journal.sync()
    loop.run_until(ns(1))
    for begin in range(HEAD_OCTETS, HEAD_OCTETS + 70):  # whatever octet of a record it begins with
        content = bytearray(disk.durable["j.00000000"])
        content[begin : begin + 300] = bytes(300)
        spoilt = Disk(Random(1))
        spoilt.durable["j.00000000"] = bytes(content)
        found = contents(Journal(spoilt.boot(VirtualLoop()), "j"))
        at = begin - HEAD_OCTETS
        gone = range(at // 68, (at + 299 - 3) // 68 + 1)  # a length begins with three zeros
        assert found == [one for number, one in enumerate([*records, b""]) if number not in gone]


def test_writing_goes_on_in_the_last_segment_after_a_boot() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    for boot in range(6):
        journal = Journal(disk.boot(loop), "j")
        journal.append(bytes([boot]))
        journal.sync()
        loop.run_until(loop.now_ns() + ns(1))
    assert sorted(disk.durable) == ["j.00000000", "j.mark.a", "j.mark.b"]
    assert contents(Journal(disk.boot(loop), "j")) == [bytes([boot]) for boot in range(6)]


def test_unsynced_records_may_be_lost_but_never_half_there() -> None:
    for seed in range(60):
        loop, disk = VirtualLoop(), Disk(Random(seed))
        journal = Journal(disk.boot(loop), "j", segment_octets=200)
        records = [bytes([i]) * 30 for i in range(12)]
        for record in records[:4]:
            journal.append(record)
        journal.sync()
        loop.run_until(ns(1))
        for record in records[4:]:
            journal.append(record)
        disk.cut()
        again = Journal(disk.boot(loop), "j", segment_octets=200)
        found = dict(again.read())
        assert found == {number: records[number] for number in found}
        assert {0, 1, 2, 3} <= found.keys()
        assert again.append(b"next")
        assert again.end - 1 > max(found, default=-1), "a number is given once"
        assert list(again.read())[-1][1] == b"next"


@pytest.mark.parametrize("octet", [84, 73, 77], ids=["content", "length", "checksum"])
def test_a_flipped_bit_costs_its_record_alone(octet: int) -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    journal = Journal(disk.boot(loop), "j", segment_octets=134)
    records = [bytes([i]) * 20 for i in range(9)]  # three a segment
    for record in records:
        journal.append(record)
    journal.sync()
    loop.run_until(ns(1))
    damaged = bytearray(disk.durable["j.00000001"])
    damaged[octet] ^= 4  # of the second record of the second segment
    disk.durable["j.00000001"] = bytes(damaged)
    again = Journal(disk.boot(loop), "j")
    assert contents(again) == records[:4] + records[5:]
    assert (again.stats.damaged, again.stats.missing) == (1, 1)


def test_a_missing_segment_is_counted_and_costs_itself() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    journal = Journal(disk.boot(loop), "j", segment_octets=134)
    records = [bytes([i]) * 20 for i in range(9)]
    for record in records:
        journal.append(record)
    journal.sync()
    loop.run_until(ns(1))
    del disk.durable["j.00000001"]
    again = Journal(disk.boot(loop), "j")
    assert contents(again) == records[:3] + records[6:]
    assert again.stats.missing == 3


@pytest.mark.parametrize("case", ["another journal's", "a later format's", "no head"])
def test_a_foreign_segment_is_left_alone_and_counted(case: str) -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    for name in ("j", "k"):
        journal = Journal(disk.boot(loop), name)
        journal.append(name.encode())
        journal.sync()
        loop.run_until(loop.now_ns() + ns(1))
    raw = disk.durable["k.00000000"]
    foreign = {"another journal's": raw, "a later format's": raw[:4] + b"\2" + raw[5:], "no head": b"\0" * 90}[case]
    disk.durable["j.00000007"] = foreign
    again = Journal(disk.boot(loop), "j")
    assert again.stats.foreign == 1
    again.append(b"more")
    assert contents(again) == [b"j", b"more"]
    again.sync()
    loop.run_until(loop.now_ns() + ns(1))
    assert disk.durable["j.00000007"] == foreign


def test_an_older_segment_copied_over_a_name_behind_it_brings_no_record_back_a_second_time() -> None:
    """Numbers only rise from one segment to the next: a copy is sound in itself, and in the wrong place."""
    loop, disk = VirtualLoop(), Disk(Random(1))
    segment_octets = HEAD_OCTETS + 3 * (RECORD_OCTETS + 20)
    journal = Journal(disk.boot(loop), "j", segment_octets=segment_octets)
    records = [bytes([i]) * 20 for i in range(9)]  # three per segment
    for record in records:
        journal.append(record)
    journal.sync()
    loop.run_until(ns(1))
    for copy_of, name in ((0, "j.00000003"), (1, "j.00000004")):
        disk.durable[name] = disk.durable[f"j.{copy_of:08d}"]
    again = Journal(disk.boot(loop), "j", segment_octets=segment_octets)
    assert list(again.read()) == list(enumerate(records))
    assert (again.first, again.end) == (0, 9)
    assert again.append(b"next")
    assert list(again.read())[-1] == (9, b"next"), "a number is given once"


@pytest.mark.parametrize("damaged", range(1, 10))
def test_damage_may_take_eight_records_in_a_row_and_those_behind_are_found(damaged: int) -> None:
    """What is behind more than that is given up to the end of the segment, and counted as missing."""
    loop, disk = VirtualLoop(), Disk(Random(1))
    journal = Journal(disk.boot(loop), "j", segment_octets=700)
    records = [bytes([i]) * 20 for i in range(30)]  # 24 in the first segment
    for record in records:
        journal.append(record)
    journal.sync()
    loop.run_until(ns(1))
    in_first = journal.segments[0].end
    octets = HEAD_OCTETS + 2 * (RECORD_OCTETS + 20)
    spoilt = bytearray(disk.durable["j.00000000"])
    for record in range(damaged):
        spoilt[octets + record * (RECORD_OCTETS + 20) + RECORD_OCTETS] ^= 1
    disk.durable["j.00000000"] = bytes(spoilt)
    again = Journal(disk.boot(loop), "j", segment_octets=700)
    behind = 2 + damaged if damaged <= 8 else in_first
    assert 14 < in_first < 30
    assert list(again.read()) == [*enumerate(records[:2]), *list(enumerate(records))[behind:]]
    assert again.stats.missing == behind - 2


def test_a_bounded_journal_refuses_and_a_circular_one_drops_its_oldest_segment() -> None:
    loop = VirtualLoop()
    bounded = Journal(Disk(Random(1)).boot(loop), "j", segment_octets=110, segments_max=2)
    assert [bounded.append(b"x" * 80) for _ in range(3)] == [True, True, False]
    assert bounded.stats.refused == 1
    bounded.drop_before(1)
    assert bounded.append(b"room again")
    disk = Disk(Random(1))
    circular = Journal(disk.boot(loop), "j", segment_octets=110, segments_max=2, circular=True)
    assert all(circular.append(bytes([i]) * 80) for i in range(5))
    circular.sync()
    loop.run_until(ns(1))
    assert list(Journal(disk.boot(loop), "j").read()) == [(3, bytes([3]) * 80), (4, bytes([4]) * 80)]


def test_clear_survives_reboot() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    journal = Journal(disk.boot(loop), "j")
    journal.append(b"old")
    journal.clear()
    journal.append(b"new")
    journal.sync()
    loop.run_until(ns(1))
    assert list(Journal(disk.boot(loop), "j").read()) == [(1, b"new")]


def test_boot_reads_heads_and_the_last_segment_however_much_is_stored() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    journal = Journal(disk.boot(loop), "j", segment_octets=1000, segments_max=50)
    for _ in range(400):
        journal.append(bytes(100))
    journal.sync()
    loop.run_until(ns(1))
    session = disk.boot(loop)
    read: list[int] = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(session, name)

        def read(self, name: str, at: int = 0, octets: int | None = None) -> bytes | None:
            raw = session.read(name, at, octets)
            read.append(len(raw or b""))
            return raw

    again = Journal(cast("Storage", Counting()), "j")
    assert (again.first, again.end) == (0, 400)
    assert sum(read) < 1000 + 50 * HEAD_OCTETS + 100


@given(st.binary(max_size=300), st.booleans())
def test_any_segment_content_is_read_or_counted_as_damaged(raw: bytes, with_head: bool) -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    journal = Journal(disk.boot(loop), "j")
    journal.append(b"one")
    journal.sync()
    loop.run_until(ns(1))
    head = disk.durable["j.00000000"] if with_head else bytes(HEAD_OCTETS)
    disk.durable["j.00000000"] = head + raw
    again = Journal(disk.boot(loop), "j")
    found = contents(again)
    octets = sum(len(record) + 8 for record in found)
    if with_head:
        assert found[0] == b"one"
        assert again.stats.damaged == (HEAD_OCTETS + octets < len(head + raw))
        assert again.append(b"two")
        assert contents(again) == [*found, b"two"]
    else:
        assert (found, again.stats.foreign) == ([], 1)


def test_a_power_cut_at_any_operation_leaves_the_old_or_the_new_generation() -> None:
    """`acknowledged` is what a completed save covered: never anything older comes back."""
    for cut_at in range(1, 40):
        loop, disk = VirtualLoop(), Disk(Random(cut_at), cut_at_operation=cut_at)
        record = Generations(disk.boot(loop), "p")
        acknowledged, written = -1, -1
        try:
            for i in range(20):
                written = i
                done = record.save(bytes([i]) * 3)
                loop.run_until(loop.now_ns() + ns(1))
                if done.done:
                    acknowledged = i
        except PowerCut:
            pass
        disk.cut_at_operation = None
        found = Generations(disk.boot(loop), "p").load()
        value = found[0] if found else -1
        assert acknowledged <= value <= written


def test_damaged_generation_is_counted_and_the_other_one_stands() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    record = Generations(disk.boot(loop), "p")
    record.save(b"one")
    record.save(b"two")
    loop.run_until(ns(1))
    newest = max(disk.durable, key=lambda name: disk.durable[name][:4])
    disk.durable[newest] = disk.durable[newest][:-1] + b"X"
    again = Generations(disk.boot(loop), "p")
    assert again.load() == b"one"
    assert again.damaged == 1


def test_a_refused_write_leaves_the_next_one_to_the_older_generation() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1), capacity_octets=100)
    record = Generations(disk.boot(loop), "p")
    for content in (b"one", b"two"):
        record.save(content)
    loop.run_until(ns(1))
    with pytest.raises(StorageError, match="disk full"):
        record.save(bytes(200))
    record.save(b"three")
    loop.run_until(ns(2))
    again = Generations(disk.boot(loop), "p")
    assert again.load() == b"three"
    newest = max(disk.durable, key=lambda name: disk.durable[name][:4])
    del disk.durable[newest]
    assert Generations(disk.boot(loop), "p").load() == b"two", "the newest good generation was written over"


@given(st.binary(max_size=64))
def test_any_stored_generation_is_read_or_counted(raw: bytes) -> None:
    disk = Disk(Random(1))
    disk.durable["p.a"] = raw
    record = Generations(disk.boot(VirtualLoop()), "p")
    assert (record.load() is None) == (record.damaged == 1)


def test_a_full_disk_says_so() -> None:
    session = Disk(Random(1), capacity_octets=100).boot(VirtualLoop())
    session.append("a", bytes(90))
    with pytest.raises(StorageError, match="disk full"):
        session.append("a", bytes(11))
    session.replace("a", bytes(100))  # what it replaces counts no more


def test_nothing_of_a_cut_session_reaches_the_disk_any_more() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    session = disk.boot(loop)
    session.append("a", b"x")
    done = session.sync()
    disk.cut()
    before = dict(disk.durable)
    loop.run_until(ns(1))
    session.append("a", b"y")
    assert disk.durable == before
    assert not done.done
