"""Every Storage: what is read after what was written, in this process and after a reboot."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flight.core.errors import StorageError
from flight.core.storage import PAGE_OCTETS
from sim_hw.machine.platform import SimPlatform


def commit(bench: Any) -> None:
    future = bench.platform.storage.sync()
    assert bench.until(lambda: future.done)
    future.result()


def test_reads_see_writes_at_once(bench: Any) -> None:
    storage = bench.platform.storage
    assert storage.names() == []
    assert storage.read("log") is None
    storage.append("log", b"one ")
    storage.append("log", b"two")
    storage.replace("state", b"first")
    assert storage.read("log") == b"one two" and storage.read("state") == b"first"
    storage.replace("state", b"")
    storage.append("state", b"tail")
    assert storage.read("state") == b"tail"
    storage.replace("log", b"new")
    storage.append("log", b"!")
    assert storage.read("log") == b"new!" and storage.names() == ["log", "state"]
    storage.delete("log")
    storage.delete("never-there")
    assert storage.read("log") is None and storage.names() == ["state"]
    storage.append("log", b"again")
    assert storage.read("log") == b"again"


def test_a_part_is_read_and_the_size_known(bench: Any) -> None:
    storage = bench.platform.storage
    assert storage.size("log") is None and storage.read("log", 3, 4) is None
    storage.append("log", b"0123456789")
    storage.append("log", b"abcdef")
    assert storage.size("log") == 16
    assert storage.read("log", 8, 4) == b"89ab" and storage.read("log", 12) == b"cdef"
    assert storage.read("log", 14, 100) == b"ef" and storage.read("log", 0, 0) == b""
    assert storage.read("log", 16, 1) == storage.read("log", 1000) == b""
    commit(bench)
    assert storage.read("log", 8, 4) == b"89ab"
    bench.reboot()
    storage = bench.platform.storage
    assert storage.size("log") == 16 and storage.read("log", 8, 4) == b"89ab"
    storage.replace("log", b"new")
    assert storage.size("log") == 3 and storage.read("log", 1, 9) == b"ew"
    storage.delete("log")
    assert storage.size("log") is None and storage.read("log", 1, 1) is None


def test_what_was_synced_is_there_after_a_reboot(bench: Any) -> None:
    storage = bench.platform.storage
    storage.append("log", bytes(range(256)))
    storage.replace("state", b"first")
    commit(bench)
    storage.replace("state", b"second")
    storage.append("log", b"tail")
    storage.append("gone", b"x")
    storage.delete("gone")
    commit(bench)
    bench.reboot()
    storage = bench.platform.storage
    assert storage.names() == ["log", "state"]
    assert storage.read("log") == bytes(range(256)) + b"tail" and storage.read("state") == b"second"
    storage.append("log", b"after")
    assert storage.read("log") == bytes(range(256)) + b"tailafter"


def test_a_sync_of_some_names_is_done_and_covers_them(bench: Any) -> None:
    storage = bench.platform.storage
    for name in ("one.log", "two.log"):
        storage.append(name, b"begun ")
    commit(bench)
    storage.append("one.log", b"more")
    storage.append("two.log", b"more")
    some = storage.sync("one.")
    none = storage.sync("three.")
    assert bench.until(lambda: some.done and none.done)
    some.result(), none.result()
    storage.append("two.log", b" and more")
    rest = storage.sync()
    assert bench.until(lambda: rest.done)
    bench.reboot()
    assert bench.platform.storage.read("one.log") == b"begun more"
    assert bench.platform.storage.read("two.log") == b"begun more and more"


def test_octets_are_written_at_any_place_and_gaps_read_as_zeros(bench: Any) -> None:
    storage = bench.platform.storage
    storage.write("file", 6, b"world")
    assert storage.size("file") == 11 and storage.read("file") == bytes(6) + b"world"
    storage.write("file", 0, memoryview(b"hello "))
    storage.append("file", b"!")
    storage.write("file", 0, b"J")
    assert storage.read("file") == b"Jello world!"
    storage.write("file", 11, b"?!")
    storage.write("file", 500, b"")
    assert storage.size("file") == 13, "without octets the length stays"
    storage.write("empty", 7, b"")
    assert storage.read("empty") == b""
    commit(bench)
    storage.write("file", 2, b"LL")
    commit(bench)
    bench.reboot()
    storage = bench.platform.storage
    assert storage.names() == ["empty", "file"] and storage.read("file") == b"JeLLo world?!"
    storage.replace("file", b"new")
    storage.write("file", 4, b"er")
    commit(bench)
    storage.delete("file")
    storage.write("file", 1, b"again")
    assert storage.read("file") == b"\0again"
    commit(bench)
    bench.reboot()
    assert bench.platform.storage.read("file") == b"\0again"


def test_places_beyond_four_gibioctets_are_places(bench: Any) -> None:
    """On a real file system alone: the simulated disk would hold the gap in memory."""
    if isinstance(bench.platform, SimPlatform):
        pytest.skip("the simulated disk holds gaps in memory")
    storage = bench.platform.storage
    far = (1 << 32) + 1
    storage.write("file", far - 1, b"x")
    assert storage.size("file") == far and storage.read("file", far - 2) == b"\0x"
    storage.write("file", 5, b"near")
    before = storage.counters.flash_octets
    commit(bench)
    assert storage.counters.flash_octets - before == PAGE_OCTETS * (2 + 1 + 1), "a gap is not written"
    bench.reboot()
    storage = bench.platform.storage
    assert storage.size("file") == far and storage.read("file", 4, 6) == b"\0near\0"
    storage.delete("file")


def test_writes_during_a_commit_belong_to_the_next(bench: Any) -> None:
    storage = bench.platform.storage
    storage.replace("state", b"1")
    first = storage.sync()
    bench.until(lambda: False, 0.0)  # the commit has begun
    storage.replace("state", b"2")
    storage.append("state", b"3")
    storage.delete("other")
    second = storage.sync()
    assert bench.until(lambda: first.done and second.done)
    first.result(), second.result()
    assert storage.read("state") == b"23"
    bench.reboot()
    assert bench.platform.storage.read("state") == b"23"


def test_sync_with_nothing_to_do_is_done_soon(bench: Any) -> None:
    future = bench.platform.storage.sync()
    assert bench.until(lambda: future.done)
    assert future.result() is None


def test_a_bad_name_is_refused(bench: Any) -> None:
    for name in ("", "a/b", "../up", "Upper", "sp ace"):
        with pytest.raises(StorageError):
            bench.platform.storage.append(name, b"x")


def test_wear_is_counted_in_pages(bench: Any) -> None:
    storage = bench.platform.storage
    counters = storage.counters

    def pages() -> int:
        before: int = counters.flash_octets
        commit(bench)
        written: int = counters.flash_octets - before
        assert written % PAGE_OCTETS == 0
        return written // PAGE_OCTETS

    for _ in range(40):
        storage.append("log", bytes(100))
    assert pages() == 1 + 1 + 1  # the page, the inode, the folder with a new name
    storage.append("log", bytes(100))
    assert pages() == 2 + 1  # the record lies across two pages
    storage.append("log", bytes(100))
    storage.append("other", bytes(2 * PAGE_OCTETS))
    assert pages() == (1 + 1) + (2 + 1) + 1
    storage.replace("state", b"lost")
    storage.replace("state", bytes(PAGE_OCTETS + 1))
    storage.delete("other")
    assert pages() == (2 + 1) + 2 + 1  # data and inode, a rename and a deletion, the folder
    storage.write("state", 9 * PAGE_OCTETS + 1, b"far")
    for _ in range(3):
        storage.write("state", PAGE_OCTETS - 1, b"ab")
    assert pages() == 1 + 2 + 1  # the page at the end, two of which one octet each was written, the inode
    storage.write("state", 1, b"x")
    assert pages() == 1 + 1
    assert pages() == 0 and counters.commits == 6
    assert counters.octets == 4200 + 2 * PAGE_OCTETS + 4 + PAGE_OCTETS + 1 + 3 + 6 + 1
    assert counters.write_amplification == counters.flash_octets / counters.octets
    assert 0 < counters.commit_last_ns <= counters.commit_max_ns


def test_the_free_octets_are_told(bench: Any) -> None:
    storage = bench.platform.storage
    assert storage.free_octets() > 1_000_000


edits = st.lists(
    st.tuples(
        st.sampled_from(["append", "write", "replace", "delete"]),
        st.sampled_from(["a", "log.0"]),
        st.binary(max_size=20),
    ),
    max_size=12,
)


def commits(*acts: str) -> st.SearchStrategy[list[tuple[str, str, bytes]]]:
    return st.sampled_from(acts).map(lambda act: [(act, "", b"")])


# A real disk takes up to a quarter of a second for one fsync, and a commit of two names has three: few examples
# with two commits each, the first of them under way while edits go on, and many edits, which cost nothing.
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(st.tuples(edits, commits("sync"), edits, commits("wait", "reboot"), edits))
def test_any_sequence_equals_a_dictionary(bench: Any, stretches: tuple[list[tuple[str, str, bytes]], ...]) -> None:
    for name in bench.platform.storage.names():
        bench.platform.storage.delete(name)
    model: dict[str, bytes] = {}
    for act, name, octets in chain.from_iterable(stretches):
        storage = bench.platform.storage
        if act == "append":
            storage.append(name, octets)
            model[name] = model.get(name, b"") + octets
        elif act == "write":  # at a place that depends on the octets: in it, at its end, or behind
            place = sum(octets) % 40
            storage.write(name, place, octets)
            former = model.get(name, b"")
            if octets:
                former = former.ljust(place, b"\0")
                former = former[:place] + octets + former[place + len(octets) :]
            model[name] = former
        elif act == "replace":
            storage.replace(name, octets)
            model[name] = octets
        elif act == "delete":
            storage.delete(name)
            model.pop(name, None)
        elif act == "sync":
            storage.sync()
            bench.until(lambda: False, 0.0)
        else:
            commit(bench)
            if act == "reboot":
                bench.reboot()
        storage = bench.platform.storage
        assert storage.names() == sorted(model)
        assert {n: storage.read(n) for n in model} == model
        assert {n: storage.size(n) for n in model} == {n: len(content) for n, content in model.items()}
