"""What every Storage counts: the wear of a commit against a plain model, the counters of a boot, the names it takes."""

from __future__ import annotations

from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.core.errors import StorageError
from flight.core.storage import PAGE_OCTETS, StorageCounters, checked_name, enter_write, flash_octets, is_name

PLACES = st.one_of(st.integers(0, 30), st.integers(PAGE_OCTETS - 2, PAGE_OCTETS + 2), st.integers(0, 5 * PAGE_OCTETS))


@given(st.lists(st.tuples(PLACES, PLACES), max_size=4), st.integers(0, 5), st.booleans())
def test_the_wear_of_a_commit_is_the_pages_that_hold_what_is_new(
    dirty: list[tuple[int, int]], changes: int, folder: bool
) -> None:
    files = [(start, start + octets) for start, octets in dirty]
    pages = changes + folder
    for start, end in files:
        pages += 1 + len({octet // PAGE_OCTETS for octet in range(start, end)})
    assert flash_octets([[stretch] for stretch in files], changes, folder) == pages * PAGE_OCTETS


@given(
    st.lists(st.tuples(st.booleans(), PLACES, st.integers(0, 2 * PAGE_OCTETS)), max_size=8),
    st.integers(0, 3 * PAGE_OCTETS),
)
def test_writes_at_places_wear_the_pages_that_they_touch(writes: list[tuple[bool, int, int]], length: int) -> None:
    tails: dict[str, int] = {}
    patches: dict[str, list[tuple[int, int]]] = {}
    pages: set[int] = set()
    for append, place, octets in writes:
        at = length if append else place
        end = at + octets
        if octets == 0:
            continue
        pages |= {octet // PAGE_OCTETS for octet in range(at, end)}
        enter_write(tails, patches, "f", at, end, length)
        length = max(length, end)
    for tail in tails.values():
        assert flash_octets([[(tail, length), *patches.get("f", ())]], 0, False) == (1 + len(pages)) * PAGE_OCTETS


def test_very_many_places_of_one_file_are_counted_as_one_stretch() -> None:
    tails: dict[str, int] = {}
    patches: dict[str, list[tuple[int, int]]] = {}
    length = 10_000 * PAGE_OCTETS
    for page in range(9_000, 0, -2):
        enter_write(tails, patches, "f", page * PAGE_OCTETS, page * PAGE_OCTETS + 1, length)
        assert len(patches.get("f", ())) <= 256
    assert flash_octets([[(tails["f"], length), *patches["f"]]], 0, False) >= 4_500 * PAGE_OCTETS


def test_a_commit_of_one_short_record_wears_the_medium_as_the_model_says() -> None:
    """A page and an inode of 4 KiB each, as eMMC and SD cards have them: about 80 times the record."""
    counters = StorageCounters(octets=100)
    counters.enter_commit(flash_octets([[(1000, 1100)]], 0, False), 5)
    assert counters.write_amplification == 2 * 4096 / 100


def test_counters_begin_at_nothing_and_keep_the_slowest_commit() -> None:
    counters = StorageCounters()
    assert set(astuple(counters)) == {0} and counters.write_amplification == 0.0
    for duration_ns in (3, 9, 4):
        counters.enter_commit(100, duration_ns)
    assert (counters.commits, counters.flash_octets) == (3, 300)
    assert (counters.commit_last_ns, counters.commit_max_ns) == (4, 9)
    assert counters.write_amplification == 0.0, "nothing was asked to be written"
    counters.octets = 200
    assert counters.write_amplification == 1.5


@pytest.mark.parametrize("name", ["a", "boot.a", "recorder.00000012", "_-.9z", "...", ".a", "x" * 100])
def test_names_that_a_storage_takes(name: str) -> None:
    assert is_name(name) and checked_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "x" * 101, "a\n", "a/b", "A", "é", "a b"])
def test_names_that_a_storage_refuses(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(StorageError, match=r"should be 1 to 100 characters of a-z 0-9 _ \. -"):
        checked_name(name)
