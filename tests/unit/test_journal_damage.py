"""What happens to the files of a journal or a two-generation record, and what the next boot says of it."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from zlib import crc32

import pytest

from flight.core.errors import StorageError
from flight.core.nanoseconds import ns
from flight.linux.platform import LinuxPlatform
from flight.store.generations import Generations, Presence
from flight.store.journal import Journal
from flight.store.vault import Vault
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop
from tests.linux_loop import run_until

PER_SEGMENT = 3
Files = dict[str, bytes]


class Bench:
    """A journal of `segments` segments of three records each, synced; `epoch` as a node would draw it."""

    def __init__(self, segments: int = 61, epoch: int = 7) -> None:
        self.loop, self.disk = VirtualLoop(), Disk(Random(1))
        journal = self.open(epoch)
        for number in range(segments * PER_SEGMENT):
            journal.append(content(number))
        journal.sync()
        self.run()
        self.disk.cut()

    def open(self, epoch: int = 7) -> Journal:
        return Journal(self.disk.boot(self.loop), "j", segment_octets=134, segments_max=200, epoch=epoch)

    def run(self) -> None:
        self.loop.run_until(self.loop.now_ns() + ns(1))


def content(number: int) -> bytes:
    return b"%020d" % number


def name(index: int) -> str:
    return f"j.{index:08d}"


def of_segments(*indices: int) -> set[int]:
    return {i * PER_SEGMENT + n for i in indices for n in range(PER_SEGMENT)}


def make_format_1(files: Files, journal: str = "j") -> None:
    """Turn the heads of `files` into those of format 1, as storage that has flown has them, and take the marks away."""
    owner = crc32(journal.encode()) & 0xFFFF
    for one in [one for one in files if ".mark." in one]:
        del files[one]
    for one in [one for one in files if one.startswith(f"{journal}.0")]:
        raw = files[one]
        (first,) = struct.unpack_from(">Q", raw, 12)
        crc = crc32(b"ONJL" + struct.pack(">IQ", owner, first))
        files[one] = struct.pack(">4sBxHIQ", b"ONJL", 1, owner, crc, first) + raw[44:]


def swap(files: Files) -> None:
    files[name(5)], files[name(40)] = files[name(40)], files[name(5)]


def copy_over_an_early_one(files: Files) -> None:
    files[name(3)] = files[name(50)]


def copy_of_the_newest_to_the_front(files: Files) -> None:
    files[name(0)] = files[name(60)]


def copy_to_a_free_name(files: Files) -> None:
    files[name(75)] = files[name(30)]


def rename_away(files: Files) -> None:
    files[name(99_999_999)] = files.pop(name(20))


@pytest.mark.parametrize("flown", [False, True], ids=["format 2", "format 1"])
@pytest.mark.parametrize(
    ("act", "lost", "misplaced"),
    [
        (swap, of_segments(5, 40), 2),
        (copy_over_an_early_one, of_segments(3), 1),
        (copy_of_the_newest_to_the_front, of_segments(0), 1),
        (copy_to_a_free_name, set(), 1),
        (rename_away, of_segments(20), 1),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_segment_in_the_wrong_place_costs_its_own_records_alone(
    act: Callable[[Files], None], lost: set[int], misplaced: int, flown: bool
) -> None:
    bench = Bench()
    if flown:
        make_format_1(bench.disk.durable)
    act(bench.disk.durable)
    left = dict(bench.disk.durable)
    journal = bench.open()
    found = dict(journal.read())
    assert found == {n: content(n) for n in range(61 * PER_SEGMENT) if n not in lost}
    assert (journal.stats.misplaced, journal.stats.foreign) == (misplaced, 0)
    assert any("not theirs" in damage for damage in journal.damage())
    if 0 not in lost:  # the oldest ones might have been given up
        assert journal.stats.missing == len(lost)
    assert journal.append(b"new") and journal.append(b"newer")
    journal.sync()
    bench.run()
    again = dict(bench.open().read())
    assert found.items() < again.items() and len(again) == len(found) + 2
    grown = {one for one, raw in bench.disk.durable.items() if left.get(one) != raw and ".mark." not in one}
    assert grown <= {name(60), name(61)}, "something was written over what was left alone"


@pytest.mark.parametrize("count", [1, 2, 60])
def test_newest_segments_that_are_gone_are_told_and_their_numbers_are_not_given_again(count: int) -> None:
    bench = Bench()
    for index in range(61 - count, 61):
        del bench.disk.durable[name(index)]
    journal = bench.open()
    assert len(list(journal.read())) == (61 - count) * PER_SEGMENT
    assert journal.cut
    assert journal.stats.gone == count
    assert journal.stats.missing == (count - 1) * PER_SEGMENT, "of the newest one only the beginning is known"
    assert f"from number {(61 - count) * PER_SEGMENT} on, were stored and are gone" in journal.damage()[0]
    assert journal.end > 61 * PER_SEGMENT
    told = journal.damage()
    assert bench.open().damage() == told, "a second look says the same"
    journal = bench.open()
    journal.append(b"after")
    journal.sync()
    bench.run()
    again = bench.open()
    assert again.damage() == [], "it was told; what is new follows what was left"
    assert list(again.read())[-1][1] == b"after"
    assert again.stats.missing == 0


def test_a_newest_segment_with_a_damaged_head_keeps_its_numbers_though_the_mark_is_damaged_too() -> None:
    """When the head reads again, what was written meanwhile is not in its way."""
    bench = Bench(3)
    newest = max((one for one in bench.disk.durable if ".mark." in one), key=lambda one: bench.disk.durable[one][:4])
    damage(bench.disk.durable, newest)
    bench.disk.flip(name(2), bit=231)
    journal = bench.open()
    assert journal.cut
    journal.append(b"meanwhile")
    journal.sync()
    bench.run()
    bench.disk.cut()
    bench.disk.flip(name(2), bit=231)
    found = [record for _, record in bench.open().read()]
    assert found == [*(content(number) for number in range(9)), b"meanwhile"]


def test_a_journal_of_which_nothing_is_left_but_its_mark_was() -> None:
    bench = Bench(3)
    for index in range(3):
        del bench.disk.durable[name(index)]
    journal = bench.open()
    assert (journal.cut, journal.found_nothing) == (True, False)
    assert journal.end > 9
    fresh = Journal(Disk(Random(1)).boot(bench.loop), "j")
    assert (fresh.cut, fresh.found_nothing, fresh.end) == (False, True, 0)


def test_what_was_given_up_is_not_taken_for_lost() -> None:
    bench = Bench(4)
    journal = bench.open()
    journal.drop_before(12)
    assert journal.segments == []
    journal.sync()
    bench.run()
    again = bench.open()
    assert (again.damage(), again.end, again.found_nothing) == ([], 12, False)


def test_a_segment_that_came_back_after_it_was_given_up_is_held_again() -> None:
    """The power failed between the mark that gave it up and its deletion."""
    bench = Bench(0)
    journal = bench.open()
    journal.append(content(0))
    journal.sync()
    bench.run()
    kept = bench.disk.durable[name(0)]
    journal.clear()
    journal.sync()
    bench.run()
    bench.disk.cut()
    bench.disk.durable[name(0)] = kept
    journal = bench.open()
    assert journal.append(b"goes on") and [number for number, _ in journal.read()] == [0, 1]
    journal.sync()
    bench.run()
    bench.disk.cut()
    del bench.disk.durable[name(0)]
    assert bench.open().cut


def test_numbers_go_on_after_everything_was_given_up_and_the_power_failed() -> None:
    bench = Bench(2)
    journal = bench.open()
    journal.clear()
    journal.sync()
    bench.run()
    journal = bench.open()
    journal.append(b"x")
    assert list(journal.read()) == [(6, b"x")]


def test_a_damaged_segment_that_was_given_up_with_all_others_is_no_loss_at_the_end() -> None:
    bench = Bench(3)
    bench.disk.flip(name(1), bit=231)
    for _ in range(2):
        journal = bench.open()
        assert (journal.stats.unreadable, journal.cut) == (1, False)
        journal.clear()
        journal.sync()
        bench.run()


@pytest.mark.parametrize("index", [2, 4], ids=["within", "newest"])
def test_a_segment_cut_down_to_nothing_is_no_segment_that_was_just_begun(index: int) -> None:
    bench = Bench(5)
    bench.disk.durable[name(index)] = b"ONJ"
    journal = bench.open()
    assert journal.stats.unreadable == 1
    assert journal.cut == (index == 4)
    assert {number for number, _ in journal.read()} == of_segments(*{0, 1, 2, 3, 4} - {index})
    journal.append(b"x")
    journal.sync()
    bench.run()
    assert bench.disk.durable[name(index)] == b"ONJ", "left as it is"


def test_a_segment_of_another_life_of_the_journal_is_foreign() -> None:
    """Another node's storage has a journal of the same name, its records of the same numbers."""
    bench, other = Bench(6, epoch=7), Bench(6, epoch=8)
    for index in (1, 5):
        bench.disk.durable[name(index)] = other.disk.durable[name(index)]
    bench.disk.durable[name(9)] = other.disk.durable[name(0)]
    journal = bench.open(epoch=9)
    assert journal.epoch == 7
    assert journal.stats.foreign == 3
    assert {number for number, _ in journal.read()} == of_segments(0, 2, 3, 4)


def test_a_foreign_mark_does_not_disown_the_segments() -> None:
    bench, other = Bench(2, epoch=7), Bench(6, epoch=8)
    for one in [one for one in bench.disk.durable if ".mark." in one]:
        bench.disk.durable[one] = other.disk.durable[one]
        break
    journal = bench.open()
    assert (journal.epoch, journal.stats.foreign) == (7, 0)
    assert len(list(journal.read())) == 6


def test_a_name_at_the_end_of_the_range_does_not_hide_what_is_written_next() -> None:
    bench = Bench(2)
    bench.disk.durable[name(99_999_999)] = b"rubbish"
    journal = bench.open()
    for number in range(9):
        journal.append(content(100 + number))
    journal.sync()
    bench.run()
    assert len(list(bench.open().read())) == 15


def test_a_damaged_length_at_the_end_is_no_write_cut_short() -> None:
    """It seems to reach beyond the end; but no record of a segment is that long."""
    bench = Bench(2)
    raw = bytearray(bench.disk.durable[name(1)])
    raw[-28] ^= 0x80  # the length of the last record
    bench.disk.durable[name(1)] = bytes(raw)
    journal = bench.open()
    assert journal.stats.spoilt == 1
    journal.append(b"x")
    assert [number for number, _ in journal.read()][-1] > 5, "the number of the damaged record is not given again"
    journal.sync()
    bench.run()
    assert bench.disk.durable[name(1)] == bytes(raw)


def test_a_segment_that_the_medium_does_not_give_back_costs_no_number() -> None:
    bench = Bench(3)
    bench.disk.unreadable.add(name(2))
    journal = bench.open()
    assert journal.cut
    journal.append(b"x")
    journal.sync()
    bench.run()
    assert [number for number, _ in journal.read()][-1] > 8
    bench.disk.unreadable.clear()
    again = bench.open()
    assert {number for number, _ in again.read()} > of_segments(0, 1, 2), "it reads again"


def test_two_segments_begun_in_one_commit_of_which_the_power_took_the_first() -> None:
    """Nothing that was acknowledged is gone, so nothing is told, now or ever."""
    bench = Bench(2)
    journal = bench.open()
    for number in range(6, 12):
        journal.append(content(number))
    session = bench.disk._session  # noqa: SLF001 - what the disk holds and has not made durable
    assert session is not None
    files = {f"j.{index:08d}": session._view[name(index)] for index in (3,)}  # noqa: SLF001 - what the disk holds and has not made durable
    session.pending.clear()
    bench.disk.durable |= {one: bytes(raw) for one, raw in files.items()}
    for _ in range(2):
        journal = bench.open()
        assert journal.damage() == [] and journal.stats.missing == 0
        assert [number for number, _ in journal.read()][:9] == [0, 1, 2, 3, 4, 5, 9, 10, 11]
        journal.append(b"x" * 60)
        journal.sync()
        bench.run()


def test_storage_that_refuses_the_mark_keeps_nobody_from_writing_and_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(1)
    journal = bench.open()
    storage = journal._storage  # noqa: SLF001 - a fault in the storage below it
    with monkeypatch.context() as refusing:
        refusing.setattr(storage, "replace", _refuse)
        assert all(journal.append(content(number)) for number in range(3, 9))
        assert journal.stats.unmarked == 2
    assert all(journal.append(content(number)) for number in range(9, 12))
    journal.sync()
    bench.run()
    del bench.disk.durable[name(3)]
    assert bench.open().cut


def _refuse(_name: str, _octets: bytes) -> None:

    raise StorageError("not now")


def test_damage_that_takes_eight_records_in_a_row_leaves_those_behind_it() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    journal = Journal(disk.boot(loop), "j")
    for number in range(20):
        journal.append(content(number))
    journal.sync()
    loop.run_until(ns(1))
    raw = bytearray(disk.durable[name(0)])
    raw[44 + 4 * 28 : 44 + 12 * 28] = b"\xff" * (8 * 28)
    disk.durable[name(0)] = bytes(raw)
    again = Journal(disk.boot(loop), "j")
    assert [number for number, _ in again.read()] == [*range(4), *range(12, 20)]
    assert (again.stats.missing, again.stats.damaged) == (8, 1)
    list(again.read())
    assert (again.stats.missing, again.stats.damaged) == (8, 1), "counted once, however often it is read"


def test_storage_that_has_flown_with_format_1_is_read_and_goes_on_in_format_2() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    vault = Vault(disk.boot(loop))
    for number in range(200):
        vault.commit({f"row{number % 90}": b"%d" % number + bytes(900)})
        loop.run_until(loop.now_ns() + ns(1))
    rows = vault.rows("")
    disk.cut()
    make_format_1(disk.durable, "vault.journal")
    for number in range(90):
        vault = Vault(disk.boot(loop))
        assert (vault.damage, vault.found_nothing, vault.rows("")) == ([], False, rows)
        vault.commit({"row0": b"%d" % number + bytes(900)})
        loop.run_until(loop.now_ns() + ns(1))
        rows = vault.rows("")
    formats = [raw[4] for name, raw in sorted(disk.durable.items()) if name.startswith("vault.journal.0")]
    assert formats == sorted(formats) and {1, 2} == set(formats)
    del disk.durable[max(name for name in disk.durable if name.startswith("vault.journal.0"))]
    assert any("newest records" in one for one in Vault(disk.boot(loop)).damage)


def test_files_of_a_real_disk_that_changed_places(tmp_path: Path) -> None:
    """The same on Linux: swapped, copied, and the newest deleted."""

    def boot() -> tuple[LinuxPlatform, Journal]:
        platform = LinuxPlatform(tmp_path / "store", "unit")
        return platform, Journal(platform.storage, "j", segment_octets=134, segments_max=200, epoch=7)

    def settle(platform: LinuxPlatform, journal: Journal) -> None:
        done = journal.sync()
        assert run_until(platform, lambda: done.done)
        done.result()
        platform.close()

    platform, journal = boot()
    for number in range(30):
        journal.append(content(number))
    settle(platform, journal)
    store = tmp_path / "store"
    (store / name(2)).rename(store / "aside")
    (store / name(7)).rename(store / name(2))
    (store / "aside").rename(store / name(7))
    shutil.copy(store / name(4), store / name(20))
    (store / name(9)).unlink()
    platform, journal = boot()
    assert {number for number, _ in journal.read()} == set(range(27)) - of_segments(2, 7)
    assert (journal.stats.misplaced, journal.stats.gone, journal.cut) == (3, 1, True)
    journal.append(b"new")
    settle(platform, journal)
    platform, journal = boot()
    assert list(journal.read())[-1][1] == b"new"
    platform.close()


# Two generations


def saved(count: int) -> tuple[VirtualLoop, Disk]:
    loop, disk = VirtualLoop(), Disk(Random(1))
    record = Generations(disk.boot(loop), "p")
    for number in range(1, count + 1):
        record.save(b"%d" % number)
    loop.run_until(ns(1))
    return loop, disk


def damage(files: Files, one: str) -> None:
    files[one] = files[one][:-1] + b"?"


def test_generations_tell_never_was_from_was_and_is_gone() -> None:
    loop = VirtualLoop()
    never = Generations(Disk(Random(1)).boot(loop), "p")
    assert never.load() is None
    assert (never.found, never.fault) == (Presence.NOTHING, "")
    for count in (1, 2, 3):
        loop, disk = saved(count)
        whole = Generations(disk.boot(loop), "p")
        assert whole.load() == b"%d" % count
        assert (whole.found, whole.fault) == (Presence.WHOLE, "")
        for one in list(disk.durable):
            damage(disk.durable, one)
        gone = Generations(disk.boot(loop), "p")
        assert gone.load() is None
        what = "its only generation is" if count == 1 else "both generations are"
        assert (gone.found, gone.fault) == (Presence.LOST, f"{what} damaged: what was stored is gone")


@pytest.mark.parametrize("case", ["damaged", "gone", "not in its place", "unreadable", "of an earlier time"])
def test_one_lost_generation_is_told_by_kind(case: str) -> None:
    loop, disk = saved(5)
    earlier = dict(disk.durable)
    record = Generations(disk.boot(loop), "p")
    record.load()
    for number in range(6, 10):
        record.save(b"%d" % number)
    loop.run_until(loop.now_ns() + ns(1))
    disk.cut()
    if case == "damaged":
        damage(disk.durable, "p.b")
    elif case == "gone":
        del disk.durable["p.b"]
    elif case == "not in its place":
        disk.durable["p.b"] = disk.durable["p.a"]
    elif case == "unreadable":
        disk.unreadable.add("p.b")
    else:
        disk.durable["p.b"] = earlier["p.b"]
    record = Generations(disk.boot(loop), "p")
    assert record.load() == b"8"
    assert (record.found, record.fault) == (
        Presence.ONE_LOST, f"one generation is {case}, the other generation stands"
    )  # fmt: skip


def test_nothing_old_comes_back_after_both_generations_were_unreadable() -> None:
    loop, disk = saved(9)
    disk.unreadable |= {"p.a", "p.b"}
    record = Generations(disk.boot(loop), "p")
    assert record.load() is None
    assert record.fault == "both generations are unreadable: what was stored is gone"
    record.save(b"anew")
    loop.run_until(loop.now_ns() + ns(1))
    disk.unreadable.clear()
    again = Generations(disk.boot(loop), "p")
    assert (again.load(), again.found) == (b"anew", Presence.WHOLE)


def test_the_version_does_not_go_back_where_both_generations_are_damaged() -> None:
    loop, disk = saved(9)
    for one in list(disk.durable):
        damage(disk.durable, one)
    record = Generations(disk.boot(loop), "p")
    assert record.load() is None
    record.save(b"anew")
    loop.run_until(loop.now_ns() + ns(1))
    assert sorted(int.from_bytes(raw[:4], "big") for raw in disk.durable.values()) == [10, 11]
