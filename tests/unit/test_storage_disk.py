"""The simulated disk: what a power cut leaves, faults, the count of operations."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.core.errors import StorageError
from flight.core.nanoseconds import ns
from flight.core.storage import StorageFull
from sim_hw.machine.disk import Disk, DiskSession, PowerCut
from sim_hw.machine.loop import VirtualLoop

MS = 1_000_000


def left_by(operations: list[tuple[str, str, bytes]], seed: int, before: dict[str, bytes]) -> dict[str, bytes]:
    """What is durable after a cut that follows `operations`, none of them synced."""
    disk = Disk(Random(seed))
    disk.durable = dict(before)
    session = disk.boot(VirtualLoop())
    for kind, name, octets in operations:
        act, _, place = kind.partition(" ")
        if act == "write":
            session.write(name, int(place), octets)
        else:
            session.delete(name) if act == "delete" else getattr(session, act)(name, octets)
    disk.cut()
    return disk.durable


def test_files_of_one_window_are_lost_apart_from_each_other() -> None:
    """A later append to one file may be there without an earlier one to another."""
    operations = [("append", "a", b"1234"), ("append", "b", b"5678")]
    seen = [left_by(operations, seed, {}) for seed in range(200)]
    assert any(one == {"b": b"5678"} for one in seen) and any(one == {"a": b"1234"} for one in seen)
    assert any(one.get("a") == b"12" for one in seen) and any(one == {} for one in seen)
    assert any(one == {"a": b"1234", "b": b"5678"} for one in seen) and any(one.get("a") == b"" for one in seen)


def test_changes_keep_their_order_and_follow_the_data_before_them() -> None:
    before = {"old": b"old", "state": b"1"}
    operations = [("append", "log", b"ab"), ("replace", "state", b"2"), ("delete", "old", b""), ("append", "log", b"c")]
    seen = [left_by(operations, seed, before) for seed in range(300)]
    for one in seen:
        if "old" not in one:
            assert one["state"] == b"2"
        if one["state"] == b"2":
            assert one.get("log", b"").startswith(b"ab")
    assert {(one["state"], "old" in one) for one in seen} == {(b"1", True), (b"2", True), (b"2", False)}
    assert any(one.get("log") == b"abc" and one["state"] == b"1" for one in seen)


def test_the_seed_alone_decides_what_is_left() -> None:
    operations = [("append", name, bytes(50)) for name in "abcdefgh"] + [("replace", "a", b"2")]
    assert [left_by(operations, seed, {}) for seed in range(9)] == [left_by(operations, seed, {}) for seed in range(9)]


def test_what_was_appended_to_a_lost_replacement_is_lost_with_it() -> None:
    operations = [("append", "f", b"tail"), ("replace", "f", b"new"), ("append", "f", b"+")]
    seen = {left_by(operations, seed, {"f": b"old"})["f"] for seed in range(200)}
    assert seen == {b"old", b"oldt", b"oldta", b"oldtai", b"oldtail", b"new", b"new+"}


def test_writes_at_places_are_lost_apart_from_each_other_and_torn() -> None:
    operations = [("write 0", "f", b"ab"), ("append", "f", b"cd"), ("write 6", "f", b"ef"), ("write 1", "f", b"XY")]
    seen = {left_by(operations, seed, {}).get("f") for seed in range(3000)}
    assert {None, b"", b"aXYd\0\0ef", b"\0\0\0\0\0\0ef", b"\0XY", b"ab", b"\0\0cd", b"abcd\0\0e"} <= seen
    assert all(len(left) <= 8 for left in seen if left is not None)


def test_what_was_written_ahead_of_a_change_that_survives_is_whole() -> None:
    operations = [("write 3", "f", b"abc"), ("write 0", "f", b"xyz"), ("delete", "old", b"")]
    seen = [left_by(operations, seed, {"old": b"1"}) for seed in range(200)]
    assert all(left.get("f") == b"xyzabc" for left in seen if "old" not in left)
    assert any("old" not in left for left in seen) and any(left.get("f") != b"xyzabc" for left in seen)


operations = st.lists(
    st.tuples(st.sampled_from(["append", "replace", "delete"]), st.sampled_from("abc"), st.binary(max_size=3)),
    max_size=12,
)


@settings(deadline=None)
@given(operations, operations, st.integers(0, 2**32))
def test_synced_is_there_and_each_file_is_one_it_once_was_or_torn(
    synced: list[tuple[str, str, bytes]], after: list[tuple[str, str, bytes]], seed: int
) -> None:
    loop, disk = VirtualLoop(), Disk(Random(seed))
    session = disk.boot(loop)
    for kind, name, octets in synced:
        session.delete(name) if kind == "delete" else getattr(session, kind)(name, octets)
    done = session.sync()
    loop.run_until(10 * MS)
    assert done.done and disk.durable == {name: session.read(name) for name in session.names()}
    possible: dict[str, set[bytes | None]] = {name: {disk.durable.get(name)} for name in "abc"}
    for kind, name, octets in after:
        content = session.read(name) or b""
        session.delete(name) if kind == "delete" else getattr(session, kind)(name, octets)
        if kind == "append":
            possible[name] |= {content + octets[:end] for end in range(len(octets) + 1)}
        else:
            possible[name].add(session.read(name))
    disk.cut()
    assert all(disk.durable.get(name) in contents for name, contents in possible.items())


def test_syncs_share_commits_as_on_a_real_disk() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    disk.trace = []
    session = disk.boot(loop)
    session.append("a", b"1")
    first, second = session.sync(), session.sync()
    loop.run_until(1 * MS)
    session.append("a", b"2")
    third = session.sync()
    loop.run_until(5 * MS)
    assert [one.done for one in (first, second, third)] == [True, True, False] and disk.durable == {"a": b"1"}
    loop.run_until(9 * MS)
    assert third.result() is None and disk.durable == {"a": b"12"} and session.sync().done
    assert disk.trace == [(1, "append", "a"), (2, "append", "a"), (3, "commit", ""), (4, "commit", "")]
    assert session.counters.commits == 2 and session.counters.syncs == 4


def write_and_sync(session: DiskSession, loop: VirtualLoop) -> None:
    session.append("a", b"1")
    session.replace("b", b"2")
    session.sync()
    loop.run_until(10 * MS)


def test_the_power_goes_inside_the_chosen_operation() -> None:
    for cut_at in (1, 2, 3):
        loop, disk = VirtualLoop(), Disk(Random(3), cut_at_operation=cut_at)
        session = disk.boot(loop)
        with pytest.raises(PowerCut):
            write_and_sync(session, loop)
        assert disk.operations == cut_at
        before = dict(disk.durable)
        session.append("a", b"after")
        session.sync()
        loop.run_until(20 * MS)
        assert disk.durable == before, "a node without power writes nothing"


def test_a_full_and_a_read_only_disk_refuse_until_it_is_over() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1), capacity_octets=10)
    session = disk.boot(loop)
    session.append("a", bytes(8))
    for act in (session.append, session.replace):
        with pytest.raises(StorageFull, match=r"b: disk full, no space left"):
            act("b", bytes(3))
    assert session.free_octets() == 2 and session.names() == ["a"]
    session.delete("a")
    session.append("b", bytes(10))
    disk.read_only = True
    changes: list[Callable[[], None]] = [
        lambda: session.append("b", b""),
        lambda: session.replace("b", b""),
        lambda: session.delete("b"),
    ]
    for change in changes:
        with pytest.raises(StorageError, match="b: the file system is read-only"):
            change()
    assert session.read("b") == bytes(10) and session.counters.refused == 5 and disk.operations == 3
    disk.read_only = False
    done = session.sync()
    loop.run_until(10 * MS)
    assert done.result() is None


def test_a_failed_commit_is_final() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    session = disk.boot(loop)
    session.append("a", b"1")
    disk.fail_commits = True
    first = session.sync()
    loop.run_until(10 * MS)
    disk.fail_commits = False
    for act in (first.result, lambda: session.append("a", b""), lambda: session.sync().result()):
        with pytest.raises(StorageError, match="storage failed, restart the node: the disk reports"):
            act()
    assert session.read("a") == b"1" and session.counters.failures == 1
    again = disk.boot(loop)
    again.append("b", b"2")
    done = again.sync()
    loop.run_until(20 * MS)
    assert done.result() is None


def test_a_slow_disk_takes_its_time_and_is_measured() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    session = disk.boot(loop)
    disk.commit_s = 3.0
    session.append("a", b"1")
    done = session.sync()
    loop.run_until(2_999 * MS)
    assert not done.done and session.read("a") == b"1"
    disk.commit_s = 0.001
    loop.run_until(3_000 * MS)
    assert done.result() is None
    session.append("a", b"2")
    session.sync()
    loop.run_until(3_002 * MS)
    assert (session.counters.commit_max_ns, session.counters.commit_last_ns) == (3_000 * MS, 1 * MS)


def test_flipped_bits_and_unreadable_files() -> None:
    disk = Disk(Random(1))
    disk.durable = {"a": bytes(100)}
    assert disk.flip("a", 9) == 9 and disk.durable["a"][:3] == b"\x00\x40\x00"
    bit = disk.flip("a")
    assert disk.durable["a"][bit // 8] & 0x80 >> bit % 8
    session = disk.boot(VirtualLoop())
    assert session.read("a", 1, 1) == b"\x40"
    disk.unreadable.add("a")
    with pytest.raises(StorageError, match="cannot read a: the disk reports an input/output error"):
        session.read("a")


def test_a_sync_of_some_names_leaves_others_to_chance() -> None:
    """What was appended to another file is durable no sooner than its own sync; what was asked for is."""
    kept = set()
    for seed in range(40):
        loop, disk = VirtualLoop(), Disk(Random(seed))
        session = disk.boot(loop)
        for name in ("one", "two"):
            session.append(name, b"begun")
        session.sync()
        loop.run_until(ns(1))
        session.append("two", b" lost?")
        session.append("one", b" kept")
        done = session.sync("one")
        loop.run_until(ns(2))
        assert done.done
        disk.cut()
        assert disk.durable["one"] == b"begun kept"
        kept.add(disk.durable["two"])
    assert b"begun" in kept and b"begun lost?" in kept
