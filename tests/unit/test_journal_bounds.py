"""A journal at its edges: what fits, which numbers are given, what each operation costs, what is counted and told."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import astuple
from random import Random
from typing import Any
from zlib import crc32

import pytest

from flight.core.errors import StorageError
from flight.core.nanoseconds import ns
from flight.store.generations import Generations
from flight.store.journal import Journal
from flight.store.journal_state import JournalStats
from flight.store.segments import HEAD_OCTETS, NO_INDEX, RECORD_OCTETS, Head, owner_of
from sim_hw.machine.disk import Disk, PowerCut
from sim_hw.machine.loop import VirtualLoop

RECORD = 20
ONE = RECORD_OCTETS + RECORD
SEGMENT_OCTETS = HEAD_OCTETS + 3 * ONE  # three records fit exactly


def content(number: int) -> bytes:
    return b"%020d" % number


def name(index: int) -> str:
    return f"j.{index:08d}"


class Bench:
    """A journal of `records` records, three to a segment, all synced."""

    def __init__(self, records: int = 0, segments_max: int = 50) -> None:
        self.loop, self.disk = VirtualLoop(), Disk(Random(1))
        self.journal = self.open(segments_max)
        for number in range(records):
            assert self.journal.append(content(number))
        self.sync()

    def open(self, segments_max: int = 50, *, circular: bool = False) -> Journal:
        self.journal = Journal(
            self.disk.boot(self.loop), "j", segment_octets=SEGMENT_OCTETS, segments_max=segments_max, circular=circular,
            epoch=7,
        )  # fmt: skip
        return self.journal

    def sync(self) -> None:
        done = self.journal.sync()
        self.loop.run_until(self.loop.now_ns() + ns(1))
        assert done.result() is None

    def cut(self) -> None:
        self.disk.cut()

    def shape(self) -> list[tuple[int, int, int, int]]:
        return [(one.index, one.first, one.end, one.octets) for one in self.journal.segments]

    def numbers(self) -> list[int]:
        found = list(self.journal.read())
        assert all(record == content(number) for number, record in found)
        return [number for number, _ in found]


def counted(**expected: int) -> JournalStats:
    return JournalStats(**{**dict.fromkeys(JournalStats.__slots__, 0), **expected})


def test_a_journal_that_never_was_holds_and_counts_nothing() -> None:
    journal = Bench().journal
    assert set(astuple(journal.stats)) == {0}
    assert (journal.first, journal.end, journal.octets, journal.segments) == (0, 0, 0, [])
    assert (journal.cut, journal.found_nothing, journal.damage(), journal.epoch) == (False, True, [], 7)
    assert (list(journal.read()), journal.drop_oldest()) == ([], 0)


def test_an_append_costs_one_write_and_a_new_segment_one_more_for_its_head_and_one_for_its_mark() -> None:
    """Of the first segment the mark goes to both generations."""
    bench = Bench()
    bench.disk.trace = []
    for number in range(8):
        bench.journal.append(content(number))
    mark_a, mark_b = ("replace", "j.mark.a"), ("replace", "j.mark.b")
    assert [(kind, one) for _, kind, one in bench.disk.trace] == [
        ("append", name(0)), mark_b, mark_a, *3 * [("append", name(0))],
        ("append", name(1)), mark_b, *3 * [("append", name(1))],
        ("append", name(2)), mark_a, *2 * [("append", name(2))],
    ]  # fmt: skip
    shape = [(0, 0, 3, SEGMENT_OCTETS), (1, 3, 6, SEGMENT_OCTETS), (2, 6, 8, HEAD_OCTETS + 2 * ONE)]
    for stats in (counted(appended=8), counted()):
        journal = bench.journal
        assert bench.shape() == shape
        assert (journal.first, journal.end, journal.octets) == (0, 8, 3 * HEAD_OCTETS + 8 * ONE)
        assert bench.numbers() == list(range(8))
        assert (journal.stats, journal.damage(), journal.cut) == (stats, [], False)
        bench.sync()
        bench.open()


def test_a_record_that_is_longer_than_what_is_left_gets_a_new_segment_and_one_longer_than_that_one_of_its_own() -> None:
    bench = Bench(1)
    left = SEGMENT_OCTETS - HEAD_OCTETS - ONE - RECORD_OCTETS
    stored = [content(0), bytes(left + 1), b"short", bytes(SEGMENT_OCTETS), b"", bytes(SEGMENT_OCTETS), b"last"]
    for boot in range(2):
        for record in stored[1:5] if boot == 0 else stored[5:]:
            bench.journal.append(record)
        bench.sync()
        bench.open()
    assert [record for _, record in bench.journal.read()] == stored
    assert [end - first for _, first, end, _ in bench.shape()] == [1, 2, 1, 1, 1, 1]
    assert bench.journal.damage() == [] and bench.journal.stats == counted()


@pytest.mark.parametrize("booted", [False, True])
def test_a_record_that_fits_exactly_stays_in_the_segment(booted: bool) -> None:
    bench = Bench(2)
    if booted:
        bench.open()
    bench.journal.append(content(2))
    assert bench.shape() == [(0, 0, 3, SEGMENT_OCTETS)]
    bench.journal.append(b"")
    assert bench.shape()[1:] == [(1, 3, 4, HEAD_OCTETS + RECORD_OCTETS)]


def test_a_circular_journal_that_was_made_smaller_gives_up_two_segments_for_each_new_one_until_it_fits() -> None:
    bench = Bench(30)
    journal = bench.open(4, circular=True)
    held = [10]
    for number in range(30, 60):
        before, octets = len(journal.segments), journal.octets
        journal.append(content(number))
        assert bench.numbers()[-1] == number
        assert journal.octets == sum(one.octets for one in journal.segments)
        if number % 3 == 0:
            held.append(len(journal.segments))
            assert octets - journal.octets == (before + 1 - held[-1]) * SEGMENT_OCTETS - HEAD_OCTETS - ONE
    assert held == [10, 9, 8, 7, 6, 5, 4, 4, 4, 4, 4]
    assert journal.stats == counted(appended=30, dropped=16)
    assert (journal.first, bench.numbers()) == (48, list(range(48, 60)))
    bench.sync()
    assert (bench.open().damage(), bench.numbers()) == ([], list(range(48, 60)))


def test_a_bounded_journal_that_was_made_smaller_refuses_until_enough_was_given_up() -> None:
    bench = Bench(12)
    journal = bench.open(3)
    for refused in (1, 2):
        assert not journal.append(b"no") and journal.stats == counted(refused=refused)
    journal.drop_before(3)
    assert not journal.append(b"no"), "that made it as large as it may be"
    journal.drop_before(5)
    assert not journal.append(b"no"), "of the second one a record is still needed"
    journal.drop_before(6)
    assert journal.append(content(12)) and bench.numbers() == list(range(6, 13))


def test_what_is_given_up_is_gone_with_its_octets() -> None:
    bench = Bench(8)
    journal, octets = bench.journal, bench.journal.octets
    assert journal.drop_oldest() == SEGMENT_OCTETS
    assert (journal.octets, journal.first, journal.end) == (octets - SEGMENT_OCTETS, 3, 8)
    journal.drop_before(5)
    assert journal.first == 3
    journal.drop_before(6)
    assert (journal.first, journal.octets) == (6, HEAD_OCTETS + 2 * ONE)
    assert journal.drop_oldest() == HEAD_OCTETS + 2 * ONE
    assert (journal.octets, journal.first, journal.end, journal.drop_oldest()) == (0, 8, 8, 0)
    for _ in range(2):
        journal.append(content(journal.end))
        assert bench.shape()[0][0] == 3, "no name is given twice"
    assert (journal.octets, bench.numbers()) == (HEAD_OCTETS + 2 * ONE, [8, 9])
    journal.clear()
    bench.sync()
    assert (bench.open().end, bench.journal.damage(), bench.journal.octets) == (10, [], 0)
    bench.journal.append(content(10))
    assert bench.shape()[0][:3] == (4, 10, 11)


@pytest.mark.parametrize("records", [2, 5])
def test_what_was_given_up_is_told_as_lost_at_no_cut_of_the_power(records: int) -> None:
    for cut_at in range(1, 40):
        bench = Bench(records)
        bench.disk.cut_at_operation = bench.disk.operations + cut_at
        end = records
        try:
            bench.journal.clear()
            bench.sync()
            bench.journal.append(content(records))
            bench.sync()
            end += 1
            bench.disk.cut_at_operation = None
        except PowerCut:
            bench.disk.cut_at_operation = None
        bench.cut()
        journal = bench.open()
        assert journal.damage() == [] and journal.stats.missing == 0, cut_at
        assert end <= journal.end <= records + 1
        assert set(bench.numbers()) in (
            {*range(records + 1)},
            {*range(records)},
            {records},
            {*range(3, records)},
            set(),
        )


def test_a_journal_that_begins_before_its_first_record_was_from_then_on() -> None:
    bench = Bench()
    bench.journal.begin()
    bench.journal.begin()
    assert not bench.journal.found_nothing
    bench.sync()
    assert sorted(bench.disk.durable) == ["j.mark.a", "j.mark.b"]
    kept = dict(bench.disk.durable)
    for boot in range(2):
        journal = bench.open()
        journal.begin()
        assert (journal.found_nothing, journal.cut, journal.damage(), journal.end) == (False, False, [], 0)
        bench.sync()
        assert bench.disk.durable == kept, "one that is there is not begun again"
        if boot:
            journal.append(content(0))
    assert bench.shape() == [(0, 0, 1, HEAD_OCTETS + ONE)]


def test_a_journal_that_begins_with_a_number_that_another_store_knows_keeps_it() -> None:
    bench = Bench()
    bench.journal.skip_to(5)
    bench.journal.begin()
    bench.sync()
    journal = bench.open()
    assert (journal.end, journal.cut, journal.damage()) == (5, False, [])
    journal.append(content(5))
    assert bench.shape() == [(0, 5, 6, HEAD_OCTETS + ONE)]


def test_a_journal_of_which_the_marks_alone_are_left_had_records_from_number_0_on() -> None:
    bench = Bench(3)
    del bench.disk.durable[name(0)]
    assert bench.open().damage() == [
        "its newest records, from number 0 on, were stored and are gone", "segments that are gone: 1"
    ]  # fmt: skip


# Numbers


@pytest.mark.parametrize("booted", [False, True])
@pytest.mark.parametrize(("to", "number"), [(0, 4), (4, 4), (5, 5), (900, 900)])
def test_numbers_go_on_from_where_another_store_says_and_none_is_missing(to: int, number: int, booted: bool) -> None:
    bench = Bench(4)
    if booted:
        bench.open()
    bench.journal.skip_to(to)
    assert bench.journal.end == number
    for at in range(4):
        bench.journal.append(content(number + at))
    expected = [*range(4), *range(number, number + 4)]
    for _ in range(2):
        assert bench.numbers() == expected
        assert (bench.journal.end, bench.journal.stats.missing, bench.journal.damage()) == (number + 4, 0, [])
        assert len(bench.journal.segments) == (3 if number == 4 else 4)
        assert bench.shape()[1][:3] == (1, 3, 6 if number == 4 else 4)
        bench.sync()
        bench.open()
    assert bench.journal.stats == counted()


@pytest.mark.parametrize("first", range(11))
def test_reading_begins_with_the_record_that_was_asked_for_and_looks_at_no_segment_before_it(first: int) -> None:
    """What is damaged further ahead is not counted: for who asks so it does not matter any more."""
    bench = Bench(10)
    for index in range(first // 3):
        bench.disk.flip(name(index), 8 * (HEAD_OCTETS + RECORD_OCTETS))
    journal = bench.open()
    assert list(journal.read(first)) == [(number, content(number)) for number in range(first, 10)]
    assert journal.stats == counted()
    list(journal.read())
    damaged = first // 3
    assert journal.stats == counted(damaged=damaged, missing=damaged)


def test_records_beyond_the_number_with_which_the_next_segment_begins_are_not_of_the_journal() -> None:
    """No number is read twice, whatever stands where."""
    bench = Bench(6)
    head = Head(owner_of("j"), 2, 0, 7, 1, 0)
    records = b"".join(
        struct.pack(">II", RECORD, crc32(struct.pack(">IQ", RECORD, number) + content(number))) + content(number)
        for number in (2, 3)
    )
    bench.disk.durable[name(1)] = head.encode() + records
    bench.open()
    assert bench.numbers() == [0, 1, 2, 3]
    assert bench.shape() == [(0, 0, 2, SEGMENT_OCTETS), (1, 2, 4, HEAD_OCTETS + 2 * ONE)]
    assert bench.journal.stats == counted()


# What is damaged, counted once however often it is read


def test_a_segment_that_reads_worse_each_time_is_counted_once_and_its_records_as_they_go() -> None:
    bench = Bench(7)
    bench.disk.flip(name(1), 8 * (HEAD_OCTETS + RECORD_OCTETS))
    journal = bench.open()
    for _ in range(2):
        assert bench.numbers() == [0, 1, 2, 4, 5, 6]
        assert journal.stats == counted(damaged=1, missing=1)
    bench.disk.unreadable.add(name(1))
    for _ in range(2):
        assert bench.numbers() == [0, 1, 2, 6]
        assert journal.stats == counted(damaged=1, missing=3)
    bench.disk.unreadable.clear()
    assert bench.numbers() == [0, 1, 2, 4, 5, 6], "it reads again"
    assert journal.stats == counted(damaged=1, missing=3)
    bench.disk.unreadable |= {name(0), name(1)}
    assert bench.numbers() == [6]
    assert journal.stats == counted(damaged=2, missing=6)


def test_of_a_segment_no_more_octets_are_read_than_were_asked_for() -> None:
    bench = Bench(4)
    segment = bench.journal.segments[0]
    for octets in range(SEGMENT_OCTETS + 2):
        found = bench.journal.read_segment(segment, octets)
        assert [number for number, _ in found] == list(range(max(0, octets - HEAD_OCTETS) // ONE))
    assert bench.journal.stats == counted(appended=4, damaged=1, missing=3)


# The end of the last segment


def test_a_tail_is_torn_at_every_octet_and_cut_off_at_the_first_append() -> None:
    whole = Bench(5).disk.durable[name(1)]
    for octets in range(HEAD_OCTETS, len(whole) + 1):
        bench = Bench(5)
        bench.disk.durable[name(1)] = whole[:octets]
        there = 3 + (octets - HEAD_OCTETS) // ONE
        sound = HEAD_OCTETS + (there - 3) * ONE
        for _ in range(2):
            journal = bench.open()
            assert bench.shape()[1] == (1, 3, there, sound)
            assert (journal.end, journal.octets) == (there, SEGMENT_OCTETS + sound)
            assert journal.stats == counted(damaged=int(octets != sound))
            assert (bench.numbers(), journal.damage()) == (list(range(there)), [])
        bench.journal.append(content(there))
        assert bench.numbers() == list(range(there + 1)) and bench.journal.octets == SEGMENT_OCTETS + sound + ONE
        bench.sync()
        assert bench.disk.durable[name(1)][:sound] == whole[:sound]
        bench.open()
        assert bench.numbers() == list(range(there + 1)) and bench.journal.stats == counted()


@pytest.mark.parametrize("act", [Journal.clear, Journal.drop_oldest, lambda journal: journal.drop_before(1)])
def test_a_torn_tail_that_was_given_up_with_its_segment_is_cut_off_nowhere_else(act: Callable[[Journal], None]) -> None:
    bench = Bench(2)
    bench.disk.durable[name(0)] = bench.disk.durable[name(0)][:-1]
    journal = bench.open()
    act(journal)
    assert (journal.segments, journal.octets, journal.end) == ([], 0, 1)
    journal.append(content(1))
    journal.append(content(2))
    assert bench.numbers() == [1, 2]
    bench.sync()
    bench.open()
    assert bench.numbers() == [1, 2] and name(0) not in bench.disk.durable


def test_a_torn_tail_that_storage_does_not_let_cut_off_takes_nothing_until_it_does() -> None:
    bench = Bench(2)
    bench.disk.durable[name(0)] = bench.disk.durable[name(0)][:-1]
    journal = bench.open()
    bench.disk.read_only = True
    with pytest.raises(StorageError, match="read-only"):
        journal.append(b"x")
    assert (journal.end, bench.numbers(), journal.stats) == (1, [0], counted(damaged=1))
    bench.disk.read_only = False
    journal.append(content(1))
    assert bench.numbers() == [0, 1]


@pytest.mark.parametrize("octets", [1, 7, 8, 15, 16, 40])
def test_behind_rubbish_at_the_end_no_number_is_given_that_it_can_have_held(octets: int) -> None:
    """What does not look like an interrupted write may have been records, of 8 octets each at least."""
    bench = Bench(1)
    before = bench.disk.durable[name(0)] + bytes(octets)
    bench.disk.durable[name(0)] = before
    journal = bench.open()
    if octets < RECORD_OCTETS:
        assert journal.stats == counted(damaged=1), "the beginning of a record"
        journal.append(content(1))
        assert bench.shape() == [(0, 0, 2, HEAD_OCTETS + 2 * ONE)]
        return
    assert journal.stats == counted(damaged=1, spoilt=1)
    assert (journal.end, bench.shape()) == (1 + octets // 8, [(0, 0, 1, len(before))])
    journal.append(content(journal.end))
    assert bench.numbers() == [0, 1 + octets // 8]
    bench.sync()
    assert bench.disk.durable[name(0)] == before, "left as it is"
    assert (bench.open().stats, bench.numbers()) == (counted(), [0, 1 + octets // 8])


class BadSector:
    """A storage that gives back the beginning of one name, and fails if more of it is read."""

    def __init__(self, storage: Any, name: str) -> None:
        self.storage, self.name = storage, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self.storage, name)

    def read(self, name: str, at: int = 0, octets: int | None = None) -> bytes | None:
        if name == self.name and octets != HEAD_OCTETS:
            raise StorageError("input/output error")
        found: bytes | None = self.storage.read(name, at, octets)
        return found


def test_a_last_segment_of_which_the_head_alone_reads_costs_no_number() -> None:
    bench = Bench(5)
    storage: Any = BadSector(bench.disk.boot(bench.loop), name(1))
    journal = bench.journal = Journal(storage, "j", segment_octets=SEGMENT_OCTETS, epoch=7)
    octets = HEAD_OCTETS + 2 * ONE
    assert journal.stats == counted(damaged=1)
    assert journal.damage() == ["its newest records, from number 3 on, were stored and are gone"]
    assert (journal.cut, journal.end, bench.numbers()) == (True, 3 + octets // RECORD_OCTETS, [0, 1, 2])
    new = journal.end
    journal.append(content(new))
    assert bench.numbers() == [0, 1, 2, new]
    bench.sync()
    assert bench.open().damage() == []
    assert {0, 1, 2, new} <= set(bench.numbers()) <= {0, 1, 2, 3, 4, new}


# Names, marks, and what is told


def test_only_names_that_are_a_number_of_eight_digits_or_more_as_it_is_written_are_segments() -> None:
    bench = Bench(3)
    owner = owner_of("j")
    others = ["0", "0000001", "000000001", "1.00000001", "x0000001", "-0000001", "+0000001", "4294967295",
              "04294967294", "99999999999", "1" * 90]  # fmt: skip
    for one in others:
        bench.disk.durable[f"j.{one}"] = b"no segment"
    bench.disk.durable["jj.00000001"] = b"another one's"
    journal = bench.open()
    assert (journal.stats, journal.damage()) == (counted(), [])
    for index in (100_000_000, NO_INDEX - 1):
        bench.disk.durable[f"j.{index}"] = Head(owner, 3, 0, 7, index, 0).encode()
        bench.open()
        assert bench.shape()[1:] == [(index, 3, 3, HEAD_OCTETS)], "a number of nine or ten digits"
        del bench.disk.durable[f"j.{index}"]


def test_what_was_found_wrong_is_told_in_words_with_its_number() -> None:
    bench = Bench(30)
    files = bench.disk.durable
    files[name(2)] = bytes(60)  # foreign
    files[name(3)] = files[name(4)]  # misplaced
    bench.disk.flip(name(5), 100)  # an unreadable head
    bench.disk.flip(name(6), 100)
    del files[name(9)]
    bench.disk.flip("j.mark.a", 100)
    assert bench.open().damage() == [
        "its newest records, from number 27 on, were stored and are gone",
        "segments that are gone: 2",
        "segments with an unreadable head, left alone: 2",
        "segments under a name that is not theirs, left alone: 1",
        "foreign segments, left alone: 1",
        "its high-water mark: one generation is damaged, the other generation stands",
    ]
    del files[name(9 - 1)]
    assert bench.open().damage()[:2] == [
        "its newest records, from number 24 on, were stored and are gone", "segments that are gone: 3"
    ]  # fmt: skip


def mark(owner: int, epoch: int, index: int, held: bool, number: int) -> bytes:
    """As storage that has flown holds it."""
    return struct.pack(">HQI?Q", owner, epoch, index, held, number)


@pytest.mark.parametrize(
    "raw",
    [
        mark(owner_of("k"), 7, 9, True, 99),
        mark(owner_of("j"), 8, 9, True, 99),
        mark(owner_of("j"), 7, 9, True, 99)[:-1],
        mark(owner_of("j"), 7, 9, True, 99) + b"\0",
        b"",
    ],
    ids=["another journal's", "another life's", "short", "long", "empty"],
)
def test_a_mark_that_is_not_the_journals_own_says_nothing(raw: bytes) -> None:
    bench = Bench(5)
    for one in ("j.mark.a", "j.mark.b"):
        del bench.disk.durable[one]
    Generations(bench.disk.boot(bench.loop), "j.mark").save(raw)
    bench.sync()
    bench.open()
    assert (bench.journal.end, bench.journal.cut, bench.journal.epoch) == (5, False, 7)
    assert (bench.journal.damage(), bench.numbers()) == ([], list(range(5)))


@pytest.mark.parametrize("number", [0, 2, 5, 8, 900])
def test_a_mark_of_a_journal_that_gave_up_everything_says_which_numbers_were_given(number: int) -> None:
    bench = Bench(0)
    record = Generations(bench.disk.boot(bench.loop), "j.mark")
    for _ in range(2):
        record.save(mark(owner_of("j"), 7, 3, False, number))
    bench.sync()
    journal = bench.open()
    assert (journal.end, journal.cut, journal.damage(), journal.stats) == (number, False, [], counted())
    journal.append(content(number))
    assert bench.shape() == [(4, number, number + 1, HEAD_OCTETS + ONE)]


@pytest.mark.parametrize(("index", "number", "missing"), [(2, 5, 0), (2, 6, 1), (5, 14, 9)])
def test_a_mark_of_a_newest_segment_that_is_gone_tells_how_many_and_bars_their_numbers(
    index: int, number: int, missing: int
) -> None:
    """Of the newest one only the beginning is known: it may have held any number of records."""
    bench = Bench(5)
    record = Generations(bench.disk.boot(bench.loop), "j.mark")
    record.load()
    for _ in range(2):
        record.save(mark(owner_of("j"), 7, index, True, number))
    bench.sync()
    journal = bench.open()
    assert journal.cut and journal.stats == counted(gone=index - 1, missing=missing)
    assert journal.end >= number + SEGMENT_OCTETS // RECORD_OCTETS
    given = journal.end
    journal.append(content(given))
    assert bench.shape()[-1][:2] == (index + 1, given), "nor is its name given again"
    bench.sync()
    assert (bench.open().damage(), bench.numbers()) == ([], [*range(5), given])


def test_a_newest_segment_under_another_name_keeps_its_numbers() -> None:
    """Full of the shortest records that there are."""
    bench = Bench(3)
    for _ in range((SEGMENT_OCTETS - HEAD_OCTETS) // RECORD_OCTETS):
        bench.journal.append(b"")
    bench.sync()
    end = bench.journal.end
    assert len(bench.journal.segments) == 2
    for away in (90, 0):
        disk = Disk(Random(1))
        disk.durable = dict(bench.disk.durable)
        disk.durable[name(away)] = disk.durable.pop(name(1))
        for one in ("j.mark.a", "j.mark.b"):
            del disk.durable[one]
        journal = Journal(disk.boot(bench.loop), "j", segment_octets=SEGMENT_OCTETS, epoch=7)
        assert journal.stats.misplaced == 1
        assert journal.end >= end
        journal.append(b"new")
        assert list(journal.read())[-1] == (journal.end - 1, b"new") and journal.end > end


def test_storage_that_takes_no_mark_is_asked_again_with_the_next_segment_and_after_a_boot() -> None:
    bench = Bench()
    session: Any = bench.journal._storage  # noqa: SLF001 - a fault in the storage below it

    def replace(_one: str, _octets: bytes) -> None:
        raise StorageError("not now")

    session.replace = replace
    for number in range(4):
        bench.journal.append(content(number))
    assert bench.journal.stats == counted(appended=4, unmarked=2)
    bench.sync()
    assert sorted(bench.disk.durable) == [name(0), name(1)]
    bench.open()
    bench.journal.append(content(4))
    bench.sync()
    assert bench.journal.stats == counted(appended=1)
    owner = owner_of("j")
    assert Generations(bench.disk.boot(bench.loop), "j.mark").load() == mark(owner, 7, 1, True, 3)


@pytest.mark.parametrize("lost", ["j.mark.a", "j.mark.b"])
def test_a_mark_that_stands_alone_is_entered_again_with_the_next_record_and_not_with_the_one_after_it(
    lost: str,
) -> None:
    bench = Bench(7)
    whole = Generations(bench.disk.boot(bench.loop), "j.mark").load()
    assert whole == mark(owner_of("j"), 7, 2, True, 6)
    del bench.disk.durable[lost]
    bench.open()
    bench.disk.trace = []
    bench.journal.append(content(7))
    bench.journal.append(content(8))
    bench.sync()
    marks = [one for _, _, one in bench.disk.trace if "mark" in one]
    assert marks == [lost], "over the one that is gone"
    bench.open()
    assert bench.journal.damage() == []
    assert Generations(bench.disk.boot(bench.loop), "j.mark").load() == whole


def test_a_mark_that_knows_the_last_segment_is_not_entered_again_and_an_older_one_is() -> None:
    bench = Bench(4)
    bench.open()
    bench.disk.trace = []
    bench.journal.append(content(4))
    assert [one for _, _, one in bench.disk.trace] == [name(1)]
    bench.sync()
    bench.disk.durable[name(2)] = Bench(8).disk.durable[name(2)]  # as if storage had refused the mark of the third one
    bench.disk.durable[name(1)] = Bench(6).disk.durable[name(1)]
    bench.open()
    bench.disk.trace = []
    bench.journal.append(content(8))
    assert ("replace", "j.mark.a") in [(kind, one) for _, kind, one in bench.disk.trace]
    bench.sync()
    bench.open()
    assert Generations(bench.disk.boot(bench.loop), "j.mark").load() == mark(owner_of("j"), 7, 2, True, 6)


def test_segments_without_a_mark_are_something_that_was_found() -> None:
    bench = Bench(1)
    for one in ("j.mark.a", "j.mark.b"):
        del bench.disk.durable[one]
    assert not bench.open().found_nothing


def test_a_name_that_something_foreign_has_is_passed_over_alone_and_no_segment_is_missed() -> None:
    bench = Bench(2)
    for index in (1, 2, 4):
        bench.disk.durable[name(index)] = b"rubbish, and more of it"
    bench.open()
    for number in range(2, 10):
        bench.journal.append(content(number))
    for _ in range(2):
        assert [index for index, *_ in bench.shape()] == [0, 3, 5, 6]
        assert bench.numbers() == list(range(10))
        assert bench.journal.damage() == ["foreign segments, left alone: 3"]
        bench.sync()
        bench.open()


# Segments that were begun in one commit, of which a power cut left the later ones


def begun(there: tuple[int, ...]) -> Bench:
    """Two segments that were synced, and of those begun after them the ones that are `there`."""
    bench, whole = Bench(6), Bench(24)
    bench.disk.durable |= {name(index): whole.disk.durable[name(index)] for index in there}
    bench.open()
    return bench


@pytest.mark.parametrize("there", [(3,), (2, 4), (3, 5), (4, 5)])
def test_segments_behind_a_gap_are_joined_once_and_no_other_one_is_written_again(there: tuple[int, ...]) -> None:
    bench = begun(there)
    expected = [*range(6), *(3 * index + at for index in there for at in range(3))]
    gaps = [name(index) for index in there if index - 1 not in (*there, 1)]
    for _ in range(2):
        assert (bench.numbers(), bench.journal.damage(), bench.journal.stats) == (expected, [], counted())
        bench.open()
    bench.disk.trace = []
    for _ in range(7):
        expected.append(bench.journal.end)
        bench.journal.append(content(bench.journal.end))
    written = [one for _, kind, one in bench.disk.trace if kind == "replace" and "mark" not in one]
    assert written == gaps
    assert bench.numbers() == expected
    bench.sync()
    assert (bench.open().damage(), bench.numbers(), bench.journal.stats) == ([], expected, counted())
    del bench.disk.durable[name(there[-1])]
    assert bench.open().stats.gone, "from now on they belong together"


def test_a_segment_behind_a_gap_that_became_the_oldest_is_left_as_it_is() -> None:
    bench = begun((3,))
    bench.journal.drop_before(6)
    assert bench.numbers() == [9, 10, 11]
    for number in range(12, 16):
        bench.journal.append(content(number))
    bench.sync()
    assert (bench.open().damage(), bench.numbers()) == ([], list(range(9, 16)))


def test_a_gap_is_told_as_a_loss_where_the_mark_that_stands_may_be_the_older_one() -> None:
    bench = Bench(8)
    newest = max(("j.mark.a", "j.mark.b"), key=lambda one: bench.disk.durable[one][:4])
    bench.disk.flip(newest, 100)
    del bench.disk.durable[name(1)]
    assert bench.open().stats == counted(gone=1, missing=3)
    assert bench.journal.damage() == [
        "segments that are gone: 1",
        "its high-water mark: one generation is damaged, the other generation stands",
    ]
    assert bench.numbers() == [0, 1, 2, 6, 7]


def test_a_gap_behind_the_first_segments_of_a_journal_that_had_begun_is_no_loss() -> None:
    bench = Bench()
    bench.journal.begin()
    bench.sync()
    whole = Bench(9)
    bench.disk.durable |= {name(index): whole.disk.durable[name(index)] for index in (0, 2)}
    assert (bench.open().damage(), bench.journal.stats, bench.numbers()) == ([], counted(), [0, 1, 2, 6, 7, 8])


def make_format_1(bench: Bench, *indices: int) -> None:
    for index in indices:
        raw = bench.disk.durable[name(index)]
        head = Head.read(raw)
        assert isinstance(head, Head)
        bench.disk.durable[name(index)] = Head(head.owner, head.first).encode() + raw[HEAD_OCTETS:]


@pytest.mark.parametrize("marked", [False, True])
def test_a_gap_between_segments_of_format_1_is_a_loss_whatever_the_mark_says(marked: bool) -> None:
    """Their heads do not know who was ahead of them: the names tell. A mark of an earlier time may have come back."""
    bench, earlier = Bench(15), Bench(3)
    make_format_1(bench, 0, 1, 2, 3, 4)
    for one in ("j.mark.a", "j.mark.b"):
        bench.disk.durable[one] = earlier.disk.durable[one]
        if not marked:
            del bench.disk.durable[one]
    bench.disk.flip(name(3), 8 * (HEAD_OCTETS - 24 + 2 * ONE + RECORD_OCTETS))  # of its last record
    del bench.disk.durable[name(2)]
    assert bench.open().stats == counted(gone=1, missing=3), "nothing else was read yet"
    assert bench.numbers() == [0, 1, 2, 3, 4, 5, 9, 10, 12, 13, 14]
    assert bench.journal.stats == counted(gone=1, missing=4, damaged=1)


def test_a_segment_without_records_that_is_gone_cost_none() -> None:
    bench = Bench(9)
    raw = bench.disk.durable[name(2)]
    bench.disk.durable[name(2)] = Head(owner_of("j"), 6, 3, 7, 2, 1).encode() + raw[HEAD_OCTETS:]
    del bench.disk.durable[name(1)]  # it had numbers 3 to 5 skipped, and none of its own
    assert bench.open().stats == counted(gone=1)
    assert (bench.numbers(), bench.journal.stats) == ([0, 1, 2, 6, 7, 8], counted(gone=1))


def test_the_name_of_a_segment_that_is_gone_is_not_given_again() -> None:
    bench = Bench(9)
    for one in (name(1), "j.mark.a", "j.mark.b"):
        del bench.disk.durable[one]
    bench.open()
    bench.journal.append(content(9))
    assert [index for index, *_ in bench.shape()] == [0, 2, 3]


@pytest.mark.parametrize("began", [False, True])
@pytest.mark.parametrize("octets", [0, 3, 20, 43])
def test_a_segment_that_was_just_begun_as_the_power_failed_never_was(octets: int, began: bool) -> None:
    bench, whole = Bench(0 if began else 3), Bench(6)
    index = 0 if began else 1
    if began:
        bench.journal.begin()
        bench.sync()
    bench.disk.durable[name(index)] = whole.disk.durable[name(index)][:octets]
    for _ in range(2):
        assert (bench.open().damage(), bench.journal.stats) == ([], counted())
        bench.sync()
        assert name(index) not in bench.disk.durable
    bench.disk.durable[name(index)] = b"ONJL"
    bench.disk.read_only = True
    bench.open()
    bench.disk.read_only = False
    bench.journal.append(content(bench.journal.end))
    assert bench.journal.damage() == [] and bench.numbers()[-1] == 3 * index


def test_a_segment_that_was_given_up_and_came_back_damaged_is_no_loss_at_the_end() -> None:
    """The power failed between the mark that gave it up and its deletion."""
    bench = Bench(3)
    kept = bench.disk.durable[name(0)]
    bench.journal.clear()
    bench.sync()
    bench.cut()
    bench.disk.durable[name(0)] = kept
    bench.disk.flip(name(0), 100)
    assert bench.open().damage() == ["segments with an unreadable head, left alone: 1"]
    assert (bench.journal.end, bench.journal.cut) == (3, False)


def test_segments_of_another_life_bar_no_numbers() -> None:
    bench = Bench(3)
    bench.disk.durable[name(5)] = Head(owner_of("j"), 900, 0, 8, 5, 4).encode()
    assert (bench.open().end, bench.journal.stats) == (3, counted(foreign=1))


def test_rubbish_behind_the_last_segment_that_is_left_makes_nothing_less_that_is_missing() -> None:
    """It may have held more numbers than the mark says there were."""
    bench = Bench(8)
    del bench.disk.durable[name(2)]
    bench.disk.durable[name(1)] += bytes(80)
    assert bench.open().stats == counted(gone=1, spoilt=1, damaged=1)
    assert bench.journal.cut and bench.numbers() == list(range(6))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({3: "deleted"}, counted(gone=1, missing=3)),
        ({3: "foreign"}, counted(gone=1, missing=3, foreign=1)),
        ({3: "unreadable"}, counted(unreadable=1, missing=3)),
        ({3: "short"}, counted(unreadable=1, missing=3)),
        ({3: "deleted", 8: "copy of 3"}, counted(misplaced=1, missing=3)),
        ({3: "deleted", 9: "another life's 3"}, counted(gone=1, missing=3, foreign=1)),
        ({2: "deleted", 3: "deleted"}, counted(gone=2, missing=6)),
        ({2: "foreign", 3: "deleted"}, counted(gone=1, missing=6, foreign=1)),
        ({2: "unreadable", 3: "deleted"}, counted(gone=1, missing=6, unreadable=1)),
        ({2: "deleted", 3: "unreadable"}, counted(gone=1, missing=6, unreadable=1)),
        ({2: "copy of 3", 3: "copy of 2"}, counted(misplaced=2, missing=6)),
        ({3: "deleted", 8: "copy of 2"}, counted(misplaced=1, gone=1, missing=3)),
    ],
)
def test_segments_count_as_gone_that_no_name_holds_any_more(changes: dict[int, str], expected: JournalStats) -> None:
    """But for a foreign one before the last of a gap: its name may have been passed over."""
    bench = Bench(18)
    files, whole = bench.disk.durable, dict(bench.disk.durable)
    for index, what in changes.items():
        if what == "deleted":
            del files[name(index)]
        elif what.startswith("copy"):
            files[name(index)] = whole[name(int(what[-1]))]
        elif what.startswith("another"):
            files[name(index)] = Head(owner_of("j"), 9, 0, 8, 3, 2).encode()
        else:
            files[name(index)] = {"foreign": bytes(60), "short": b"ONJL", "unreadable": whole[name(index)][:-1]}[what]
            if what == "unreadable":
                bench.disk.flip(name(index), 100)
    for _ in range(2):
        assert bench.open().stats == expected
    assert bench.numbers() == [number for number in range(18) if number // 3 not in changes]
    assert (bench.journal.stats, bench.journal.cut) == (expected, False)


@pytest.mark.parametrize("given_up", [3, 9])
def test_a_segment_that_was_given_up_and_is_put_back_has_lost_nothing_behind_it(given_up: int) -> None:
    """The one that was begun as the journal held none says so: what is ahead of it was not lost."""
    bench = Bench(given_up)
    kept = bench.disk.durable[name(0)]
    bench.journal.clear()
    bench.journal.append(content(given_up))
    bench.sync()
    bench.cut()
    bench.disk.durable[name(0)] = kept
    for _ in range(2):
        assert (bench.open().damage(), bench.journal.stats) == ([], counted())
    assert bench.numbers() == [0, 1, 2, given_up]
    assert bench.journal.stats == counted()


def test_a_segment_that_names_one_further_ahead_than_there_is_misses_none() -> None:
    bench = Bench(12)
    raw = bench.disk.durable[name(3)]
    bench.disk.durable[name(3)] = Head(owner_of("j"), 9, 0, 7, 3, 1).encode() + raw[HEAD_OCTETS:]
    assert (bench.open().stats, bench.numbers()) == (counted(), list(range(12)))
