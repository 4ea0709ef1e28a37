"""The file store: drafts and files, names, room and what gives way, damage, power cuts at places of their own."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight.core.config import read_table
from flight.core.errors import DecodeError, MisuseError
from flight.core.task import Task
from flight.linux.platform import LinuxPlatform
from flight.store.files.draft import DraftState
from flight.store.files.file_entry import ROW_OCTETS_MAX, FileEntry, row_key
from flight.store.files.file_names import DIRECTORIES, split_path
from flight.store.files.file_store import FileStore
from flight.store.files.files_config import FILES_MAX, FilesConfig
from flight.store.files.finishing import BLOCK_OCTETS
from flight.store.files.refusal import FileRefused, Reason
from flight.store.quota import Share, SharedStorage
from flight.store.vault import OCTETS_MAX, Vault
from tests.file_bench import FileBench, value_of
from tests.full_disk import full_disk


def config_of(**tables: Any) -> FilesConfig:
    """The section [files] with these tables and keys; each directory holds 10,000 octets."""
    given_keys = {name: {"quota_octets": 10_000} for name in DIRECTORIES}
    for name, value in tables.items():
        given_keys[name] = given_keys.get(name, {}) | value if isinstance(value, dict) else value
    config = read_table(FilesConfig, given_keys, ("files",), [])
    assert config is not None
    return config


@pytest.fixture(name="bench")
def bench_of_defaults() -> FileBench:
    return FileBench(config_of())


def refused(reason: Reason, act: Callable[[], object]) -> str:
    with pytest.raises(FileRefused) as caught:
        act()
    assert caught.value.reason is reason, caught.value
    return caught.value.text


# Names


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("products/x", ("products", "x")),
        ("/logs/A-b_c+1.tar.gz", ("logs", "A-b_c+1.tar.gz")),
        ("x", ("uploads", "x")),
        ("models/" + "n" * 200, ("models", "n" * 200)),
        ("-", ("uploads", "-")),
    ],
)
def test_paths_that_lead_to_a_file(path: str, place: tuple[str, str]) -> None:
    assert split_path(path) == place


@pytest.mark.parametrize(
    ("path", "reason", "text"),
    [
        ("", Reason.NAME, "the name is empty"),
        ("/", Reason.NAME, "has no name"),
        ("/x", Reason.NAME, "has no name"),
        ("products/", Reason.NAME, "the name is empty"),
        ("..", Reason.NAME, "begins with a dot"),
        ("products/..", Reason.NAME, "begins with a dot"),
        ("products/../x", Reason.DIRECTORY, "no directory 'products/..'"),
        ("//products/x", Reason.DIRECTORY, "no directory '/products'"),
        ("products//x", Reason.DIRECTORY, "no directory 'products/'"),
        ("etc/passwd", Reason.DIRECTORY, "no directory 'etc', should be one of products, uploads, models, logs"),
        ("Products/x", Reason.DIRECTORY, "no directory 'Products'"),
        ("x" * 201, Reason.NAME, "has 201 characters"),
        ("a\0b", Reason.NAME, r"has '\x00' at 1"),
        ("pr\u043educt", Reason.NAME, r"has '\u043e' at 2, should be of A-Z a-z 0-9 . _ - +"),
        ("a b", Reason.NAME, "has ' ' at 1"),
        ("a\\b", Reason.NAME, "has"),
        ("y" * 3000 + "/x", Reason.DIRECTORY, "y..."),
    ],
)
def test_paths_that_are_refused_with_the_reason(path: str, reason: Reason, text: str) -> None:
    said = refused(reason, lambda: split_path(path))
    assert text in said and said.isascii() and said.isprintable() and len(said) < 700


@given(
    st.text()
    | st.text("./\\pxa-")
    | st.sampled_from(DIRECTORIES).flatmap(lambda d: st.text().map(lambda n: f"{d}/{n}"))
)
def test_any_text_is_a_place_in_the_store_or_is_refused_in_words(text: str) -> None:
    said: FileRefused | None = None
    try:
        directory, name = split_path(text)
    except FileRefused as refusal:
        said = refusal
    if said is not None:
        assert said.reason in (Reason.NAME, Reason.DIRECTORY) and said.text.isprintable()
        return
    assert directory in DIRECTORIES and name and "/" not in name and not name.startswith(".")
    assert split_path(f"/{directory}/{name}") == (directory, name)


# Rows


entries = st.builds(
    FileEntry,
    number=st.integers(1, 2**62),
    directory=st.sampled_from(DIRECTORIES),
    name=st.text("aZ09._-+", min_size=1, max_size=200).filter(lambda name: not name.startswith(".")),
    octets=st.integers(0, 2**63),
    sha256=st.binary(min_size=32, max_size=32),
    made_ns=st.integers(0, 2**63),
    priority=st.integers(0, 9),
    value=st.floats(allow_nan=False, allow_infinity=False),
    locked=st.booleans(),
    label=st.binary(max_size=64),
)


@given(entries)
def test_a_row_gives_the_entry_back(entry: FileEntry) -> None:
    row = entry.encode()
    assert FileEntry.decode(entry.number, row) == entry
    assert len(row_key(entry.number)) + len(row) <= ROW_OCTETS_MAX


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: b"\x01\x00\x00\x01" + tail))
def test_any_row_is_an_entry_or_is_refused(row: bytes) -> None:
    try:
        assert FileEntry.decode(7, row).encode() == row
    except DecodeError:
        pass


def test_the_vault_has_room_for_the_longest_catalogue_beside_its_own_megabyte() -> None:
    assert FILES_MAX * ROW_OCTETS_MAX + 1_000_000 <= OCTETS_MAX


# Drafts and files


def test_a_file_is_there_once_it_is_whole_and_after_a_power_cut(bench: FileBench) -> None:
    draft = bench.store.draft("products", "a", 6, priority=2, value=0.5, label=b"new")
    draft.write(3, b"def")
    assert bench.store.find("products", "a") is None and draft.grown_octets == 6
    draft.write(0, memoryview(b"abc"))
    entry = bench.finish(draft)
    assert entry == bench.store.find("products", "a") == bench.store.of_number(entry.number)
    assert (entry.octets, entry.sha256) == (6, hashlib.sha256(b"abcdef").digest())
    assert (entry.priority, entry.value, entry.label, entry.locked) == (2, 0.5, b"new", False)
    bench.boot()
    assert bench.store.entries() == bench.store.entries("products") == [entry] and bench.store.entries("logs") == []
    assert bench.store.read(entry, 2, 3) == b"cde" and bench.store.read(entry, 4, 100) == b"ef"
    assert bench.store.read(entry, 6, 1) == b"" and bench.content(entry) == b"abcdef"


def test_an_empty_file_is_a_file(bench: FileBench) -> None:
    entry = bench.put("logs", "nothing", b"")
    bench.boot()
    bench.sweep()
    assert bench.store.entries() == [entry] and bench.content(entry) == b"" and not bench.store.damage_of(entry)


@given(st.lists(st.tuples(st.integers(0, 200), st.binary(min_size=1, max_size=80)), max_size=12), st.booleans())
def test_octets_in_any_order_and_again_come_out_as_written(writes: list[tuple[int, bytes]], checked: bool) -> None:
    bench = FileBench(config_of())
    draft = bench.store.draft("uploads", "x", None)
    model = b""
    for at, data in writes:
        draft.write(at, data)
        model = model.ljust(at, b"\0")
        model = model[:at] + data + model[at + len(data) :]
    seen: list[bytes] = []
    entry = bench.finish(draft, seen.append if checked else None)
    assert entry.sha256 == hashlib.sha256(model).digest() and bench.content(entry) == model
    assert b"".join(seen) == (model if checked else b"")


def test_a_long_file_is_hashed_in_slices_between_which_others_have_their_turn() -> None:
    bench = FileBench(config_of(uploads={"quota_octets": 1_000_000}))
    content = bytes(range(256)) * 2_000
    draft = bench.store.draft("uploads", "x", len(content))
    for at in (300_000, 0):
        draft.write(at, content[at : at + 300_000 if at == 0 else None])
    draft.write(0, content[:300_000])
    blocks: list[int] = []
    steps = bench.scheduler.spawn("other", lambda task: _count_steps(task, blocks))
    entry = bench.finish(draft, lambda block: blocks.append(len(block)))
    steps.cancel()
    assert entry.sha256 == hashlib.sha256(content).digest()
    taken = [block for block in blocks if block]
    assert sum(taken) == len(content) and max(taken) <= BLOCK_OCTETS
    assert all(not (a and b) for a, b in pairwise(blocks)), "a turn of somebody else between"


async def _count_steps(task: Task, blocks: list[int]) -> None:
    while True:
        blocks.append(0)
        await task.sleep(0)
        if len(blocks) > 100:
            return


def test_a_check_that_refuses_leaves_a_draft_that_can_be_finished_later(bench: FileBench) -> None:
    draft = bench.store.draft("uploads", "x", 3)
    draft.write(0, b"abc")

    def check(_block: bytes) -> None:
        raise FileRefused(Reason.DAMAGED, "the checksum is another")

    refused(Reason.DAMAGED, lambda: bench.finish(draft, check))
    assert bench.store.find("uploads", "x") is None and draft.state is DraftState.OPEN
    draft.write(0, b"abd")
    assert bench.content(bench.finish(draft)) == b"abd"


def test_a_draft_takes_what_was_announced_and_nothing_more(bench: FileBench) -> None:
    draft = bench.store.draft("uploads", "x", 4)
    assert "1 to 5 are outside" in refused(Reason.LENGTH, lambda: draft.write(1, b"1234"))
    refused(Reason.LENGTH, lambda: draft.write(-1, b"1"))
    refused(Reason.LENGTH, lambda: draft.write(1 << 70, b"1"))
    draft.write(3, b"")
    assert draft.grown_octets == 0
    draft.write(0, b"123")
    assert "has 3 of 4 octets" in refused(Reason.LENGTH, lambda: bench.finish(draft))
    draft.write(3, b"4")
    bench.finish(draft)
    refused(Reason.BUSY, lambda: draft.write(0, b"x"))
    refused(Reason.BUSY, lambda: bench.finish(draft))
    refused(Reason.LENGTH, lambda: bench.store.draft("uploads", "y", -1))


def test_places_beyond_four_gibioctets_are_places(tmp_path: Path) -> None:
    """On a real file system; the content has a gap, so that it takes no room and no time."""
    octets = (1 << 32) + 1
    config = config_of(uploads={"quota_octets": 1 << 33})
    for boot in range(2):
        platform = LinuxPlatform(tmp_path / "store", "unit")
        storage = SharedStorage(platform.storage, {"vault": Share(6_000_000, 0), "files": Share(1 << 34, 2)})
        store = FileStore(config, storage.user("files"), Vault(storage.user("vault")), tai_ns=platform.tai_ns)
        if boot == 0:
            draft = store.draft("uploads", "large", octets)
            draft.write(octets - 1, b"x")
            refused(Reason.LENGTH, partial(draft.write, octets, b"x"))
            assert store.usage("uploads").octets == octets
        else:
            draft = store.adopt(1, "uploads", "large", octets)
            store.drop(draft)
            assert store.usage("uploads").octets == 0
        assert draft.grown_octets == octets
        platform.close()


def test_a_draft_of_unknown_length_and_name_learns_both(bench: FileBench) -> None:
    draft = bench.store.draft("uploads", "", None)
    draft.write(4, b"5678")
    refused(Reason.NAME, lambda: bench.finish(draft))
    refused(Reason.LENGTH, lambda: bench.store.rename_draft(draft, "models", "net", 7))
    refused(Reason.QUOTA, lambda: bench.store.rename_draft(draft, "models", "net", 10_001))
    refused(Reason.NAME, lambda: bench.store.rename_draft(draft, "models", "../net", 8))
    assert bench.store.usage("uploads").octets == 8 and bench.store.usage("models").octets == 0
    bench.store.rename_draft(draft, "models", "net", 9)
    assert bench.store.usage("uploads").octets == 0 and bench.store.usage("models").octets == 9
    draft.write(0, b"1234")
    draft.write(8, b"9")
    assert bench.content(bench.finish(draft)) == b"123456789"
    assert bench.store.usage("models").octets == 9


def test_of_two_drafts_of_one_name_the_last_to_finish_holds_if_both_replace(bench: FileBench) -> None:
    first = bench.store.draft("uploads", "x", 1)
    refused(Reason.BUSY, lambda: bench.store.draft("uploads", "x", 1))
    second = bench.store.draft("uploads", "x", 1, replaces=True)
    second.write(0, b"2")
    first.write(0, b"1")
    bench.finish(second)
    assert "there is a file uploads/x already" in refused(Reason.EXISTS, lambda: bench.finish(first))
    refused(Reason.EXISTS, lambda: bench.store.draft("uploads", "x", 1))
    third = bench.store.draft("uploads", "x", 1, replaces=True)
    third.write(0, b"3")
    entry = bench.finish(third)
    bench.store.drop(first)
    assert bench.store.entries() == [entry] and bench.contents() == {entry.number}
    bench.boot()
    assert bench.store.entries() == [entry] and bench.content(entry) == b"3"


def test_two_that_finish_at_once_under_one_name_do_so_one_after_the_other(bench: FileBench) -> None:
    drafts = [bench.store.draft("uploads", "x", 1, replaces=True) for _ in range(3)]
    done: list[FileEntry] = []

    async def finish(task: Task, at: int) -> None:
        drafts[at].write(0, b"%d" % at)
        done.append(await bench.store.finish(task, drafts[at]))

    for at in range(3):
        bench.scheduler.spawn(f"{at}", partial(finish, at=at))
    bench.advance()
    assert len(done) == 3 and bench.store.entries() == [done[-1]] and bench.contents() == {done[-1].number}
    bench.boot()
    assert bench.store.entries() == [done[-1]]


def test_a_task_that_is_cancelled_while_its_row_is_stored_has_its_file_all_the_same(bench: FileBench) -> None:
    draft = bench.store.draft("uploads", "x", 1)
    draft.write(0, b"1")

    async def finish(task: Task) -> None:
        await bench.store.finish(task, draft)

    task = bench.scheduler.spawn("finish", finish)
    while draft.state is not DraftState.STORED:
        bench.advance(0.001)
    task.cancel()
    bench.store.drop(draft)
    bench.advance()
    assert [entry.name for entry in bench.store.entries()] == ["x"]
    other = bench.store.draft("uploads", "y", 1)
    other.write(0, b"1")
    task = bench.scheduler.spawn("finish", lambda task: _finish(bench, task, other))
    bench.advance(0.001)
    task.cancel()
    bench.advance()
    assert other.state is DraftState.OPEN and bench.finish(other).name == "y"


async def _finish(bench: FileBench, task: Task, draft: Any) -> None:
    await bench.store.finish(task, draft)


def test_a_draft_that_is_dropped_leaves_nothing_also_while_it_is_finished(bench: FileBench) -> None:
    draft = bench.store.draft("uploads", "x", 3)
    draft.write(0, b"abc")
    bench.store.drop(draft)
    bench.store.drop(draft)
    assert bench.contents() == set() and bench.store.usage("uploads").octets == 0
    draft = bench.store.draft("uploads", "x", 3)
    draft.write(0, b"abc")
    refused(Reason.ABSENT, lambda: bench.finish(draft, lambda _block: bench.store.drop(draft)))
    assert bench.contents() == set() and bench.store.usage("uploads").octets == 0


def test_wild_attributes_are_the_callers_mistake(bench: FileBench) -> None:
    for terms in ({"priority": 10}, {"priority": -1}, {"value": float("nan")}, {"label": bytes(65)}):
        with pytest.raises(MisuseError):
            bench.store.draft("uploads", "x", 1, **terms)
    assert bench.store.usage("uploads").octets == 0


# Room


def test_much_that_is_written_is_synced_on_its_way_and_holds_no_command_up() -> None:
    bench = FileBench(config_of(uploads={"quota_octets": 10_000_000}))
    draft = bench.store.draft("uploads", "x", 5_000_000)
    dirty, most = 0, 0
    for at in range(0, 5_000_000, 50_000):
        before = bench.storage.counters.syncs
        draft.write(at, bytes(50_000))
        dirty = 0 if bench.storage.counters.syncs > before else dirty + 50_000
        most = max(most, dirty)
    assert most <= 1 << 20 and bench.store.syncing is not None and not bench.store.syncing.done
    bench.advance()
    assert bench.store.syncing.done


def test_several_drafts_cannot_overrun_the_quota(bench: FileBench) -> None:
    drafts = [bench.store.draft("uploads", f"{at}", 3_000) for at in range(3)]
    said = refused(Reason.QUOTA, lambda: bench.store.draft("uploads", "more", 1_001))
    assert said == "uploads may hold 10000 octets, 1 are missing and nothing there may give way; delete something"
    usage = bench.store.usage("uploads")
    assert (usage.octets, usage.files, usage.quota_octets, usage.room_octets) == (9_000, 0, 10_000, 1_000)
    growing = bench.store.draft("uploads", "growing", None)
    growing.write(0, bytes(1_000))
    refused(Reason.QUOTA, lambda: growing.write(1_000, b"1"))
    bench.store.drop(drafts[0])
    growing.write(1_000, b"1")
    assert "never fit; raise files.uploads.quota_octets" in refused(
        Reason.QUOTA, lambda: bench.store.draft("uploads", "x", 10_001)
    )


def test_room_of_the_storage_is_reserved_for_drafts_that_grow_into_it() -> None:
    bench = FileBench(config_of(uploads={"quota_octets": 1_000_000}), quota_octets=500_000)
    first = bench.store.draft("uploads", "1", 300_000)
    assert "the storage lacks 20 octets" in refused(Reason.ROOM, lambda: bench.store.draft("uploads", "2", 200_000))
    second = bench.store.draft("uploads", "2", 199_000)
    first.write(299_999, b"1")  # the gap counts as held, and nothing is reserved twice
    second.write(0, bytes(199_000))
    first.write(0, bytes(299_999))
    assert {bench.finish(first).octets, bench.finish(second).octets} == {300_000, 199_000}


def test_a_disk_that_is_full_in_the_middle_refuses_and_the_draft_goes_on_later(bench: FileBench) -> None:
    draft = bench.store.draft("uploads", "x", 6)
    draft.write(0, b"abc")
    with full_disk(bench.disk):
        assert "no space left" in refused(Reason.ROOM, lambda: draft.write(3, b"def"))
        refused(Reason.ROOM, lambda: bench.finish(bench.store.draft("uploads", "y", 0)))
    draft.write(3, b"def")
    assert bench.content(bench.finish(draft)) == b"abcdef"


def test_a_disk_that_fails_refuses_with_its_reason(bench: FileBench) -> None:
    draft = bench.store.draft("uploads", "x", 3)
    draft.write(0, b"abc")
    bench.disk.fail_commits = True
    assert "storage failed, restart the node" in refused(Reason.STORAGE, lambda: bench.finish(draft))
    refused(Reason.STORAGE, lambda: draft.write(0, b"x"))


def test_a_row_that_may_not_be_stored_is_no_file(bench: FileBench) -> None:
    draft = bench.store.draft("uploads", "x", 7_000)
    draft.write(0, bytes(7_000))
    commits = bench.vault.commits

    def fails_behind_the_content(_block: bytes) -> None:
        bench.loop.call_at(bench.loop.now_ns() + 5_000_000, lambda: setattr(bench.disk, "fail_commits", True))

    refused(Reason.STORAGE, lambda: bench.finish(draft, fails_behind_the_content))
    assert bench.vault.commits == commits + 1, "it was the row"
    assert bench.store.entries() == [] and draft.state is DraftState.ENDED


def test_a_full_vault_refuses_the_row_and_the_draft_stays() -> None:
    bench = FileBench(config_of(), vault_octets=1_000)
    draft = bench.store.draft("uploads", "x", 1)
    draft.write(0, b"1")
    bench.vault.commit({"filler": bytes(980)})
    assert "the vault is full" in refused(Reason.STORAGE, lambda: bench.finish(draft))
    bench.vault.commit({"filler": None})
    assert bench.content(bench.finish(draft)) == b"1"


def test_products_that_are_worth_least_per_octet_give_way_and_none_that_is_worth_more() -> None:
    bench = FileBench(config_of())
    for name, priority, value, octets in (("a", 1, 5.0, 4_000), ("b", 1, 1.0, 3_000), ("c", 2, 50.0, 2_000)):
        bench.put("products", name, bytes(octets), priority=priority, value=value)
    refused(Reason.QUOTA, lambda: bench.store.draft("products", "poor", 3_500, value=0.1))
    assert len(bench.store.entries()) == 3 and bench.evicted == []
    bench.store.draft("products", "d", 3_000, value=2.0)
    assert [entry.name for entry, _ in bench.evicted] == ["c"], "the less important first"
    bench.store.draft("products", "e", 1_000, value=2.0)
    assert [(entry.name, why) for entry, why in bench.evicted][1:] == [("b", "room for products/e")]
    assert [entry.name for entry in bench.store.entries()] == ["a"]
    bench.advance()
    bench.boot()
    assert [entry.name for entry in bench.store.entries()] == ["a"]


def test_logs_give_way_by_age_but_what_is_locked_held_or_spent_is_told_apart() -> None:
    bench = FileBench(config_of())
    logs = [bench.put("logs", f"{at}", bytes(2_000)) for at in range(5)]
    bench.commit(bench.store.locking(logs[0], True))
    bench.held = {logs[1].number}
    bench.commit(bench.store.labelling(logs[3], b"sent"))
    bench.put("logs", "5", bytes(2_000))
    bench.put("logs", "6", bytes(2_000))
    assert [entry.name for entry, _ in bench.evicted] == ["3", "2"]
    assert [entry.name for entry in bench.store.entries()] == ["0", "1", "4", "5", "6"]
    bench.commit(bench.store.locking(logs[0], False))
    bench.put("logs", "7", bytes(2_000))
    assert [entry.name for entry, _ in bench.evicted] == ["3", "2", "0"]


def test_a_full_catalogue_makes_room_by_the_rules_of_the_less_important_directories() -> None:
    bench = FileBench(config_of(files_max=3))
    bench.put("uploads", "u", b"1")
    bench.put("logs", "l", b"1")
    bench.put("products", "p", b"1")
    bench.put("models", "m", b"1")
    assert [entry.name for entry, _ in bench.evicted] == ["l"]
    bench.put("uploads", "v", b"1")
    assert [entry.name for entry, _ in bench.evicted] == ["l", "p"]
    assert "there are 3 files" in refused(Reason.TABLE, lambda: bench.store.draft("uploads", "w", 1))


def test_many_files_give_way_in_steps_and_none_without_a_report() -> None:
    bench = FileBench(config_of())
    for at in range(50):
        bench.put("logs", f"{at}", bytes(200))
    draft = bench.store.draft("logs", "large", 10_000)
    assert len(bench.evicted) == 8 and bench.store.entries() == []
    draft.write(0, bytes(10_000))
    bench.sweep()
    assert len({entry.number for entry, _ in bench.evicted}) == len(bench.evicted) == 50
    bench.finish(draft)
    assert bench.contents() == {draft.number}


def test_files_give_way_to_what_is_more_important_and_that_is_reported_afterwards() -> None:
    bench = FileBench(config_of(logs={"quota_octets": 1_000_000}), capacity_octets=600_000)
    for at in range(20):
        bench.put("logs", f"{at}", bytes(20_000))
    bench.shared.user("other").append("other.1", bytes(170_000))
    assert bench.evicted == [] and len(bench.store.entries()) < 20, "not in the middle of a write"
    bench.advance()
    gone = 20 - len(bench.store.entries())
    bench.sweep()
    assert [entry.name for entry, _ in bench.evicted] == [f"{at}" for at in range(gone)]
    bench.boot()
    assert len(bench.store.entries()) == 20 - gone and bench.store.damaged == 0


# Changes


def test_files_are_renamed_and_deleted_with_the_transaction_of_a_command(bench: FileBench) -> None:
    entry = bench.put("uploads", "x", b"abc")
    other = bench.put("models", "y", b"def")
    refused(Reason.EXISTS, lambda: bench.store.renaming(entry, "models", "y"))
    refused(Reason.NAME, lambda: bench.store.renaming(entry, "models", "../y"))
    change = bench.store.renaming(entry, "models", "x")
    refused(Reason.BUSY, lambda: bench.store.renaming(other, "models", "x"))
    bench.vault.commit(dict(change.changes) | {"command.1": b"done"})
    bench.advance()
    assert bench.store.find("uploads", "x") == entry
    change.apply()
    (moved,) = [found for found in bench.store.entries("models") if found.name == "x"]
    assert (moved.number, bench.content(moved), bench.store.find("uploads", "x")) == (entry.number, b"abc", None)
    removal = bench.store.removal(moved)
    bench.vault.commit(removal.changes)
    refused(Reason.ABSENT, lambda: bench.store.labelling(moved, b"late"))
    bench.advance()
    removal.apply()
    removal.apply()
    refused(Reason.ABSENT, lambda: bench.store.read(moved, 0, 1))
    assert bench.store.entries() == [other] and bench.contents() == {other.number}
    undone = bench.store.renaming(other, "models", "z")
    undone.undo()
    bench.commit(bench.store.renaming(other, "models", "z"))
    assert [found.name for found in bench.store.entries()] == ["z"]


def test_two_changes_under_way_do_not_undo_each_other(bench: FileBench) -> None:
    entry = bench.put("uploads", "x", b"abc")
    bench.store.commit(bench.store.renaming(entry, "logs", "y"))
    bench.store.commit(bench.store.labelling(entry, b"label"))
    bench.store.commit(bench.store.locking(entry, True))
    bench.advance()
    (found,) = bench.store.entries()
    assert (found.directory, found.name, found.label, found.locked) == ("logs", "y", b"label", True)
    for change in (lambda: bench.store.removal(found), lambda: bench.store.renaming(found, "logs", "z")):
        refused(Reason.LOCKED, change)
    refused(Reason.LOCKED, lambda: bench.store.draft("logs", "y", 1, replaces=True))
    bench.boot()
    assert bench.store.entries() == [found]


def test_a_file_moves_only_where_it_fits(bench: FileBench) -> None:
    bench.put("models", "net", bytes(9_000))
    entry = bench.put("uploads", "x", bytes(2_000))
    refused(Reason.QUOTA, lambda: bench.store.renaming(entry, "models", "x"))
    refused(Reason.DIRECTORY, lambda: bench.store.renaming(entry, "etc", "x"))


# What a boot finds


def test_a_draft_of_the_boot_before_is_adopted_and_others_are_swept(bench: FileBench) -> None:
    kept, lost = bench.store.draft("uploads", "kept", 6), bench.store.draft("uploads", "lost", 6)
    kept.write(0, b"abc")
    lost.write(0, b"abc")
    bench.storage.sync()
    bench.advance()
    bench.boot()
    draft = bench.store.adopt(kept.number, "uploads", "kept", 6, label=b"again")
    assert draft.grown_octets == 3
    refused(Reason.BUSY, lambda: bench.store.adopt(kept.number, "uploads", "kept", 6))
    bench.sweep()
    assert bench.contents() == {kept.number} and bench.store.swept == 1
    draft.write(3, b"def")
    entry = bench.finish(draft)
    assert bench.content(entry) == b"abcdef" and entry.label == b"again"
    bench.boot()
    refused(Reason.EXISTS, lambda: bench.store.adopt(kept.number, "uploads", "kept", 6))
    empty = bench.store.adopt(lost.number, "uploads", "lost", 6)
    assert empty.grown_octets == 0
    refused(Reason.BUSY, lambda: bench.store.draft("uploads", "lost", 6))


def test_a_content_longer_than_its_record_says_is_not_adopted(bench: FileBench) -> None:
    draft = bench.store.draft("uploads", "x", 6)
    draft.write(0, b"abcdef")
    bench.storage.sync()
    bench.advance()
    bench.boot()
    refused(Reason.DAMAGED, lambda: bench.store.adopt(draft.number, "uploads", "x", 5))
    bench.sweep()
    assert bench.contents() == set()


def test_damage_is_shown_and_never_served(bench: FileBench) -> None:
    names = ("gone", "short", "flipped", "sound")
    files = {name: bench.put("uploads", name, bytes(100)) for name in names}
    bench.disk.cut()
    del bench.disk.durable[f"files.{files['gone'].number}"]
    bench.disk.durable[f"files.{files['short'].number}"] = bytes(99)
    bench.disk.flip(f"files.{files['flipped'].number}", 5)
    bench.boot()
    bench.sweep()
    assert [entry.name for entry in bench.store.entries()] == list(names)
    assert bench.store.damage_of(files["gone"]) == "the content is gone"
    assert bench.store.damage_of(files["short"]) == "the content has 99 of 100 octets"
    for name in ("gone", "short"):
        refused(Reason.DAMAGED, partial(bench.store.read, files[name], 0, 1))
    assert bench.store.damage_of(files["flipped"]) == "" and bench.store.damaged == 2
    assert "its sha256 is another" in refused(Reason.DAMAGED, lambda: value_of(bench.store.verify(files["flipped"])))
    refused(Reason.DAMAGED, lambda: bench.store.read(files["flipped"], 0, 1))
    assert bench.store.damaged == 3 and bench.content(files["sound"]) == bytes(100)
    bench.commit(bench.store.removal(files["gone"]))
    bench.commit(bench.store.renaming(files["short"], "logs", "short"))
    assert bench.store.damaged == 2 and bench.store.damage_of(files["short"])
    bench.disk.unreadable = {f"files.{files['sound'].number}"}
    refused(Reason.DAMAGED, lambda: bench.store.read(files["sound"], 0, 1))


def test_rows_that_cannot_be_read_or_have_one_name_are_shown_and_can_be_deleted(bench: FileBench) -> None:
    old = bench.put("uploads", "x", b"old")
    new = bench.put("uploads", "y", b"new")
    bench.vault.commit(
        {row_key(9): b"\x07rubbish", row_key(old.number): new.encode(), "file.x": b"?", "file.007": b"?"}
    )
    bench.advance()
    bench.boot()
    shown = {entry.path: entry for entry in bench.store.entries()}
    assert set(shown) == {"uploads/y", f"uploads/y+{old.number}", "logs/unreadable-9"}
    assert shown["uploads/y"] == new
    bench.commit(bench.store.labelling(shown[f"uploads/y+{old.number}"], b"label"))
    refused(Reason.DAMAGED, lambda: bench.store.read(shown["logs/unreadable-9"], 0, 1))
    bench.commit(bench.store.removal(shown["logs/unreadable-9"]))
    bench.boot()
    assert {entry.path for entry in bench.store.entries()} == {"uploads/y", f"uploads/y+{old.number}"}


@pytest.mark.parametrize("gone", ["", "files.mark.a", "files.mark.b", "files.mark", "vault", "contents"])
def test_no_number_is_given_twice_whatever_is_lost(gone: str) -> None:
    bench = FileBench(config_of(files_max=500))
    given_numbers: list[int] = []
    for _ in range(3):
        for at in range(70):
            given_numbers.append(bench.put("logs", f"{at}", b"1", replaces=True).number)
        bench.advance()
        bench.disk.cut()
        begins = {"": "never", "contents": "files."}.get(gone, gone)
        for name in [name for name in bench.disk.durable if name.startswith(begins)]:
            if gone != "contents" or ".mark" not in name:
                del bench.disk.durable[name]
        bench.boot()
        bench.sweep()
        assert bench.store.adopt(given_numbers[-1] + 3, "uploads", "later", 0).number not in given_numbers
    assert len(set(given_numbers)) == len(given_numbers)


def test_a_row_that_came_back_with_a_lost_vault_segment_shows_no_other_content(bench: FileBench) -> None:
    first = bench.put("uploads", "x", b"first")
    early = {name: octets for name, octets in bench.disk.durable.items() if name.startswith("vault")}
    bench.commit(bench.store.removal(first))
    bench.put("uploads", "y", b"other")
    bench.disk.cut()
    for name in [name for name in bench.disk.durable if name.startswith("vault")]:
        del bench.disk.durable[name]
    bench.disk.durable |= early
    bench.boot()
    bench.sweep()
    assert [entry.name for entry in bench.store.entries()] == ["x"] and "gone" in bench.store.damage_of(first)
    assert bench.put("uploads", "x", b"again", replaces=True).number > first.number + 1
    assert bench.contents() == {entry.number for entry in bench.store.entries()}


@pytest.mark.parametrize("loss", ["all of it", "a segment"])
def test_files_whose_rows_the_vault_has_lost_are_found_again_under_another_name(bench: FileBench, loss: str) -> None:
    long = random.Random(1).randbytes(BLOCK_OCTETS * 2)
    bench = FileBench(config_of(uploads={"quota_octets": 200_000}))
    files = [bench.put("uploads", "x", b"first")]
    bench.boot()
    files += [bench.put("products", "y", b"second"), bench.put("uploads", "z", long)]
    bench.put("logs", "empty", b"")
    bench.disk.cut()
    for name in [name for name in bench.disk.durable if name.startswith("vault")]:
        if loss == "all of it":
            del bench.disk.durable[name]
        else:
            bench.disk.durable[name] = bytes(len(bench.disk.durable[name]))
    bench.boot()
    bench.disk.read_only = True
    assert bench.store.sweep() == 0 and len(bench.contents()) == 4  # the vault takes nothing: later
    bench.disk.read_only = False
    bench.sweep()
    found = bench.store.entries()
    assert [entry.path for entry in found] == [f"uploads/recovered-{file.number}" for file in files]
    assert [entry.sha256 for entry in found] == [file.sha256 for file in files] and bench.store.recovered == 3
    bench.boot()
    bench.sweep()
    assert bench.store.entries() == found and bench.content(found[2]) == long
    refused(Reason.QUOTA, lambda: bench.store.draft("uploads", "new", 100_000))
    bench.commit(bench.store.removal(found[2]))
    bench.put("uploads", "new", b"new")


def test_no_more_is_found_again_than_the_catalogue_has_room_for() -> None:
    bench = FileBench(config_of(files_max=3))
    files = [bench.put("uploads", f"{i}", b"x") for i in range(2)]
    bench.boot()
    files.append(bench.put("uploads", "2", b"x"))
    bench.disk.cut()
    bench.disk.durable |= {f"files.{files[-1].number + 1}": b"y"}
    for name in [name for name in bench.disk.durable if name.startswith("vault")]:
        del bench.disk.durable[name]
    bench.boot()
    bench.sweep()
    assert [entry.number for entry in bench.store.entries()] == [file.number for file in files]
    assert bench.store.swept == 1


def test_foreign_names_are_swept_and_a_disk_that_refuses_is_asked_again(bench: FileBench) -> None:
    entry = bench.put("uploads", "x", b"1")
    bench.disk.cut()
    bench.disk.durable |= {f"files.{name}": b"?" for name in ("x", "007", "99999999999999999999", "77")}
    bench.boot()
    bench.disk.read_only = True
    assert bench.store.sweep() == 0
    bench.disk.read_only = False
    bench.sweep()
    assert bench.contents() == {entry.number} and bench.store.swept == 4
