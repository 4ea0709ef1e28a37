"""The vault: what a completed commit covered is there after power loss at any operation, whole transactions only."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

import flight.store.vault
from flight.core.errors import DecodeError, MisuseError, StorageError
from flight.core.nanoseconds import ns
from flight.store.journal import Journal
from flight.store.journal_state import JournalStats
from flight.store.segments import HEAD_OCTETS
from flight.store.vault import Changes, Vault
from sim_hw.machine.disk import Disk, PowerCut
from sim_hw.machine.loop import VirtualLoop


def run(loop: VirtualLoop) -> None:
    loop.run_until(loop.now_ns() + ns(1))


def test_what_was_committed_is_there_after_a_boot() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    vault = Vault(disk.boot(loop))
    done = vault.commit({"a.1": b"one", "a.2": b"", "b": b"x"})
    vault.stage({"a.1": None, "a.3": b"three"})
    assert vault.rows("a.") == [("2", b""), ("3", b"three")]
    states = [done.done]
    run(loop)
    states.append(done.done)
    assert states == [False, True]
    again = Vault(disk.boot(loop))
    assert again.get("b") == b"x"
    assert "a.2" in again and again.get("a.4") is None
    assert again.damage == []


def test_power_cut_at_any_operation_keeps_whole_transactions_and_all_acknowledged_ones() -> None:
    """Every transaction sets three rows to one number; checkpoints come every few of them."""
    for cut_at in range(1, 90):
        loop, disk = VirtualLoop(), Disk(Random(cut_at), cut_at_operation=cut_at)
        acknowledged = begun = -1
        try:
            vault = Vault(disk.boot(loop), checkpoint_octets=200)
            for number in range(40):
                begun = number
                one = {key: bytes([number]) for key in "abc"}
                done = vault.commit({**one, f"n{number}": b"", f"n{number - 2}": None})
                run(loop)
                if done.done:
                    acknowledged = number
        except PowerCut:
            pass
        disk.cut_at_operation = None
        again = Vault(disk.boot(loop), checkpoint_octets=200)
        values = {again.get(key) for key in "abc"}
        assert len(values) == 1, cut_at
        (value,) = values
        number = value[0] if value else -1
        assert acknowledged <= number <= begun, cut_at
        assert [name for name, _ in again.rows("n")] == sorted(str(n) for n in (number - 1, number) if n >= 0), cut_at
        assert again.damage == []


def test_a_large_map_is_encoded_over_many_transactions_and_stored_as_it_was_at_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    vault = Vault(disk.boot(loop), checkpoint_octets=20_000)
    vault.stage({f"a{number:02d}": b"" for number in range(64)})  # a slice that is much shorter than the others
    expected = {f"{number:05d}": bytes(200) for number in range(4000)}
    for first in range(0, 4000, 200):
        vault.stage({f"row.{number:05d}": bytes(200) for number in range(first, first + 200)})
    encoded: list[int] = []

    def encode(changes: Changes, plain: Any = flight.store.vault.encode_changes) -> bytes:
        octets: bytes = plain(changes)
        encoded.append(len(octets))
        return octets

    monkeypatch.setattr("flight.store.vault.encode_changes", encode)
    before, most = vault.checkpoints, 0
    for number in range(1000):
        name, value = f"{number * 7 % 4000:05d}", None if number % 3 == 0 else bytes([number % 256]) * 150
        vault.stage({f"row.{name}": value})
        most = max(most, sum(encoded))
        encoded.clear()
        if value is None:
            expected.pop(name, None)
        else:
            expected[name] = value
        if number % 100 == 50:
            vault.commit({"mark": bytes([number % 256])})
            run(loop)
            for one in (vault, Vault(copy(disk).boot(loop))):
                assert one.rows("row.") == sorted(expected.items())
                assert one.octets == 64 * 3 + 5 + sum(len(f"row.{key}") + len(value) for key, value in expected.items())
    assert vault.checkpoints > before + 3
    assert 30_000 < most < 100_000, "of a map of more than 800,000 octets"


def copy(disk: Disk) -> Disk:
    """Another one with the same on it."""
    other = Disk(Random(1))
    other.durable.update(disk.durable)
    return other


def test_power_cut_while_a_checkpoint_is_encoded_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_SLICE_OCTETS", 1), ("_SLICE_TIMES", 0), ("_SLICE_ROWS", 1)):
        monkeypatch.setattr(f"flight.store.vault.{name}", value)
    test_power_cut_at_any_operation_keeps_whole_transactions_and_all_acknowledged_ones()


def test_a_damaged_newest_checkpoint_loses_nothing() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    vault = Vault(disk.boot(loop), checkpoint_octets=300)
    for number in range(60):
        vault.commit({f"row{number % 7}": bytes([number]) * 9})
        run(loop)
    assert vault.checkpoints > 2
    rows = vault.rows("")
    newest = max((n for n in disk.durable if "checkpoint" in n), key=lambda n: disk.durable[n][:4])
    disk.durable[newest] = disk.durable[newest][:-1] + b"?"
    again = Vault(disk.boot(loop), checkpoint_octets=300)
    assert again.rows("") == rows
    assert again.damage == ["checkpoint: one generation is damaged, the other generation stands"]


def test_a_damaged_transaction_is_told_and_later_ones_count() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    storage = disk.boot(loop)
    vault = Vault(storage)
    for number in range(1500):
        vault.stage({f"row{number % 5}": number.to_bytes(2, "big") + bytes(60)})
    storage.sync()
    run(loop)
    first = min(n for n in disk.durable if "journal" in n)
    raw = bytearray(disk.durable[first])
    raw[len(raw) // 2] ^= 1
    disk.durable[first] = bytes(raw)
    again = Vault(disk.boot(loop))
    assert again.rows("") == vault.rows("")
    assert len(again.damage) == 1 and "unreadable" in again.damage[0]


def test_the_map_is_bounded_and_deleting_makes_room() -> None:
    vault = Vault(Disk(Random(1)).boot(VirtualLoop()), octets_max=100)
    vault.stage({"a": bytes(80)})
    with pytest.raises(StorageError, match="the vault is full"):
        vault.stage({"b": bytes(30)})
    assert vault.get("b") is None
    vault.stage({"a": None, "b": bytes(90)})
    assert vault.octets == 91


def test_a_full_disk_refuses_and_changes_nothing() -> None:
    disk = Disk(Random(1), capacity_octets=200)
    vault = Vault(disk.boot(VirtualLoop()))
    vault.stage({"a": bytes(50)})
    with pytest.raises(StorageError):
        vault.commit({"a": None, "b": bytes(200)})
    assert vault.rows("") == [("a", bytes(50))]


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from(["vault.checkpoint.a", "vault.journal.00000000"]))
def test_any_stored_octets_make_a_vault(raw: bytes, name: str) -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    disk.durable[name] = raw
    vault = Vault(disk.boot(loop))
    assert vault.rows("") == []
    assert vault.damage or len(raw) < HEAD_OCTETS
    vault.commit({"a": b"b"})
    run(loop)
    assert Vault(disk.boot(loop)).get("a") == b"b"


class VaultMachine(RuleBasedStateMachine):
    """Against a dictionary, with reboots and power cuts between and within."""

    keys = Bundle("keys")

    @initialize()
    def begin(self) -> None:
        self.loop, self.disk = VirtualLoop(), Disk(Random(3))
        self.vault = Vault(self.disk.boot(self.loop), checkpoint_octets=400)
        self.versions: list[dict[str, bytes]] = [{}]  # states since the last one known to be durable, that one first

    @rule(target=keys, key=st.text("ab.", min_size=1, max_size=4))
    def name(self, key: str) -> str:
        return key

    @rule(changes=st.dictionaries(keys, st.none() | st.binary(max_size=60), max_size=4), wait=st.booleans())
    def change(self, changes: dict[str, bytes | None], wait: bool) -> None:
        done = self.vault.commit(changes)
        state = dict(self.versions[-1])
        for key, value in changes.items():
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
        self.versions.append(state)
        if wait:
            run(self.loop)
            assert done.done
            del self.versions[:-1]

    @rule()
    def lose_power(self) -> None:
        self.disk.cut()
        self.vault = Vault(self.disk.boot(self.loop), checkpoint_octets=400)
        found = dict(self.vault.rows(""))
        assert found in self.versions
        self.versions = [found]

    @invariant()
    def holds(self) -> None:
        vault, rows = self.vault, self.versions[-1]
        for prefix in ("", "a", "ab", ".", "b."):
            cut = len(prefix)
            assert vault.rows(prefix) == sorted((k[cut:], v) for k, v in rows.items() if k.startswith(prefix))
        assert all(
            vault.get(key) == rows.get(key) and (key in vault) == (key in rows) for key in ("a", "b", "ab", *rows)
        )
        assert not any(vault.is_stale(key) for key in rows) and vault.damage == []
        assert self.vault.octets == sum(len(k) + len(v) for k, v in self.versions[-1].items())


TestVaultMachine = VaultMachine.TestCase
TestVaultMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def stored(rows: int, checkpoint_octets: int = 131_072) -> tuple[VirtualLoop, Disk]:
    """A disk with that many transactions, each synced."""
    loop, disk = VirtualLoop(), Disk(Random(1))
    vault = Vault(disk.boot(loop), checkpoint_octets=checkpoint_octets)
    for number in range(rows):
        vault.commit({f"row{number}": bytes(20)})
        run(loop)
    return loop, disk


def test_a_bit_flipped_in_the_newest_transaction_is_told() -> None:
    loop, disk = stored(5)
    disk.flip("vault.journal.00000000", bit=8 * (len(disk.durable["vault.journal.00000000"]) - 3))
    again = Vault(disk.boot(loop))
    assert len(again.rows("")) == 4
    assert again.damage == [
        "the newest transactions of the journal were unreadable",
        "rows older than the lost transactions, which may have changed or deleted them: 4",
    ]


def test_a_journal_whose_beginning_is_gone_is_told() -> None:
    loop, disk = stored(2200)
    del disk.durable["vault.journal.00000000"]
    again = Vault(disk.boot(loop))
    assert again.rows("")
    assert "transactions of the journal that are missing" in again.damage[0]


def test_two_damaged_checkpoints_are_told_as_what_they_are() -> None:
    loop, disk = stored(3500, 20_000)
    for name in [n for n in disk.durable if "checkpoint" in n]:
        disk.durable[name] = disk.durable[name][:-1] + b"?"
    again = Vault(disk.boot(loop))
    assert again.damage[0] == "checkpoint: both generations are damaged: what was stored is gone"
    assert "missing" in again.damage[1]


def test_a_checkpoint_of_another_format_leaves_the_one_before_it() -> None:
    loop, disk = stored(100, 500)
    rows = Vault(disk.boot(loop)).rows("")
    newest = max((n for n in disk.durable if "checkpoint" in n), key=lambda n: disk.durable[n][:4])
    version = int.from_bytes(disk.durable[newest][:4], "big")
    content = disk.durable[newest][12:20] + b"\xff of another format"
    head = struct.pack(">III", version, len(content), 0)
    crc = zlib.crc32(head + content)
    disk.durable[newest] = struct.pack(">III", version, len(content), crc) + content
    again = Vault(disk.boot(loop))
    assert again.rows("") == rows
    assert again.damage == ["a checkpoint is of another format and was left out"]


def test_a_journal_that_filled_up_while_no_checkpoint_could_be_stored_gets_room_again() -> None:
    class NoReplace:
        """A disk that takes appends alone, as long as `refusing`."""

        refusing = True

        def __init__(self, session: Any) -> None:
            self.session = session

        def __getattr__(self, name: str) -> Any:
            return getattr(self.session, name)

        def replace(self, name: str, octets: bytes) -> None:
            if self.refusing:
                raise StorageError("not now")
            self.session.replace(name, octets)

    loop, disk = VirtualLoop(), Disk(Random(1))
    storage: Any = NoReplace(disk.boot(loop))
    vault = Vault(storage, checkpoint_octets=100_000)
    kept = {f"kept{number:03d}": b"%d" % number for number in range(200)}
    vault.stage(kept)
    with suppress(StorageError):
        for _ in range(3000):
            vault.stage({"row": bytes(900)})
    assert vault.checkpoint_faults > 10
    storage.refusing = False
    with pytest.raises(StorageError, match="journal is full"):
        vault.stage({"row": bytes(900)})
    run(loop)
    run(loop)
    assert vault.checkpoints == 2, "two in a row empty the journal"
    assert len([name for name in storage.names() if name.startswith("vault.journal.0")]) <= 1
    vault.commit({"row": bytes(901)})
    run(loop)
    again = Vault(disk.boot(loop))
    assert dict(again.rows("")) == kept | {"row": bytes(901)} and again.damage == []


def test_a_lost_newest_segment_is_told_with_what_it_covers() -> None:
    """Rows that it deleted are back, and known for what they are."""
    loop, disk = stored(1800)
    vault = Vault(disk.boot(loop))
    vault.commit({f"row{number}": None for number in range(100)})
    run(loop)
    names = sorted(n for n in disk.durable if n.startswith("vault.journal.0"))
    del disk.durable[names[-1]]
    again = Vault(disk.boot(loop))
    assert again.get("row0") == bytes(20) and again.is_stale("row0")
    assert any("its newest records, from number" in damage and "are gone" in damage for damage in again.damage)
    assert any("rows older than the lost transactions" in damage for damage in again.damage)
    assert Vault(disk.boot(loop)).damage == again.damage
    again = Vault(disk.boot(loop))
    again.commit({"row0": b"new"})
    run(loop)
    assert not again.is_stale("row0") and again.is_stale("row1")
    last = Vault(disk.boot(loop))
    assert last.get("row0") == b"new" and not last.is_stale("row0")
    assert last.is_stale("row1"), "for as long as nothing has written it"
    assert last.damage == [], "it was told by the boot that found it"


def test_what_was_written_after_a_lost_stretch_is_not_stale() -> None:
    loop, disk = stored(3800)
    names = sorted(n for n in disk.durable if n.startswith("vault.journal.0"))
    assert len(names) >= 3
    del disk.durable[names[1]]
    again = Vault(disk.boot(loop))
    stale = [again.is_stale(f"row{number}") for number in range(3800) if f"row{number}" in again]
    assert stale[0] and not stale[-1] and sorted(stale, reverse=True) == stale
    assert "segments that are gone: 1" in " ".join(again.damage)


def test_a_vault_that_never_was_is_told_from_one_that_is_gone() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    vault = Vault(disk.boot(loop), epoch=5)
    assert vault.found_nothing and vault.damage == []
    disk.boot(loop)
    vault = Vault(disk.boot(loop), epoch=5)
    vault.commit({})
    run(loop)
    again = Vault(disk.boot(loop), epoch=6)
    assert not again.found_nothing and again.epoch == 5, "the number drawn first stays"
    for name in list(disk.durable):
        if "mark" not in name:
            del disk.durable[name]
    lost = Vault(disk.boot(loop))
    assert not lost.found_nothing
    assert lost.damage == ["journal: its newest records, from number 0 on, were stored and are gone",
                           "journal: segments that are gone: 1"]  # fmt: skip


def vault_on(disk: Disk, loop: VirtualLoop, **options: Any) -> Vault:
    return Vault(disk.boot(loop), epoch=7, **options)


def journal_of(disk: Disk) -> list[str]:
    return sorted(name for name in disk.durable if name.startswith("vault.journal.0"))


def append_record(loop: VirtualLoop, disk: Disk, record: bytes) -> None:
    """A transaction as somebody else would write it, sound as far as the journal knows."""
    journal = Journal(disk.boot(loop), "vault.journal", epoch=7)
    journal.append(record)
    journal.sync()
    run(loop)


def test_a_vault_that_never_was_holds_and_counts_nothing() -> None:
    vault = vault_on(Disk(Random(1)), VirtualLoop())
    assert (vault.octets, vault.commits, vault.checkpoints, vault.checkpoint_faults) == (0, 0, 0, 0)
    assert (vault.damage, vault.rows(""), vault.found_nothing, vault.epoch) == ([], [], True, 7)
    assert vault.stats == JournalStats()
    vault.commit({"a": b"1"})
    vault.stage({"b": b"2"})
    vault.commit({"a": None})
    assert (vault.commits, vault.octets, vault.stats.appended) == (2, 2, 3)


def test_the_map_takes_as_many_octets_as_it_may_and_tells_how_many_are_free() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    vault = vault_on(disk, loop, octets_max=100)
    vault.stage({"a": bytes(99)})
    for more in ({"b": b""}, {"a": bytes(100)}):
        with pytest.raises(StorageError, match=r"^the vault is full, octets needed: 1, free: 0$"):
            vault.stage(more)
    vault.commit({"a": bytes(99), "c": None})
    vault.commit({"b": bytes(9), "a": bytes(89)})
    with pytest.raises(StorageError, match=r"^the vault is full, octets needed: 13, free: 0$"):
        vault.stage({"key": bytes(10)})
    run(loop)
    smaller = vault_on(disk, loop, octets_max=50)
    assert smaller.octets == 100 and smaller.damage == []
    smaller.stage({"a": bytes(88)})
    smaller.stage({"a": bytes(88)})
    with pytest.raises(StorageError, match=r"^the vault is full, octets needed: 1, free: -49$"):
        smaller.stage({"a": bytes(89)})


@pytest.mark.parametrize("boots", [False, True])
@pytest.mark.parametrize(("checkpoint_octets", "every"), [(67, 4), (88, 4), (89, 5)])
def test_a_checkpoint_comes_with_the_transaction_that_fills_up_what_is_between_two(
    checkpoint_octets: int, every: int, boots: bool
) -> None:
    """Whatever boots are between them: what is to be read again at the next one does not grow with their number."""
    loop, disk = VirtualLoop(), Disk(Random(1))
    vault = vault_on(disk, loop, checkpoint_octets=checkpoint_octets)
    for number in range(16):
        vault.commit({"row": b"%014d" % number})  # 22 octets of journal: length, name, length, value
        run(loop)
        assert sum("checkpoint" in name for name in disk.durable) == min(2, (number + 1) // every)
        if boots:
            vault = vault_on(disk, loop, checkpoint_octets=checkpoint_octets)
    assert boots or (vault.checkpoints, vault.checkpoint_faults) == (16 // every, 0)
    assert vault_on(disk, loop).rows("") == [("row", b"%014d" % 15)]


def test_checkpoints_of_a_large_map_keep_up_with_large_transactions() -> None:
    """Each is done before the next is due, and the journal takes all there is."""
    loop, disk = VirtualLoop(), Disk(Random(1))
    vault = vault_on(disk, loop)
    rows = [f"row{number:03d}" for number in range(900)]
    for at in range(0, 900, 20):
        vault.stage({row: bytes(1000) for row in rows[at : at + 20]})
    vault.commit({})
    run(loop)
    before = vault.checkpoints
    for number in range(210):
        at = number % 45 * 20
        vault.commit({row: b"%03d" % number + bytes(1000) for row in rows[at : at + 20]})
        run(loop)
    assert vault.checkpoints - before == 210 // 7, "each 131,072 octets"
    assert vault.checkpoint_faults == 0


def test_a_checkpoint_that_takes_longer_than_the_next_is_due_is_not_begun_anew() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    vault = vault_on(disk, loop, checkpoint_octets=1000)
    vault.commit({f"row{number:03d}": bytes(1000) for number in range(300)})
    for number in range(60):
        vault.commit({f"row{number:03d}": b"%d" % number + bytes(1000)})
        run(loop)
    assert vault.checkpoints > 4
    assert len(vault_on(disk, loop).rows("")) == 300


def test_a_vault_that_was_never_written_to_was_there_all_the_same() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    storage = disk.boot(loop)
    assert Vault(storage, epoch=5).found_nothing
    storage.sync()
    run(loop)
    again = Vault(disk.boot(loop), epoch=6)
    assert (again.found_nothing, again.epoch, again.damage) == (False, 5, [])


def test_the_journal_holds_no_more_than_what_the_older_checkpoint_does_not() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    vault = vault_on(disk, loop, checkpoint_octets=100_000)
    most = 0
    for number in range(900):
        vault.commit({f"row{number % 9}": b"%d" % number + bytes(2000)})
        if number % 9 == 0:
            run(loop)
        most = max(most, len(journal_of(disk)))
    assert vault.checkpoints > 10 and 3 <= most <= 5
    run(loop)
    rows = vault.rows("")
    newest = max((n for n in disk.durable if "checkpoint" in n), key=lambda n: disk.durable[n][:4])
    del disk.durable[newest]
    again = vault_on(disk, loop)
    assert again.rows("") == rows
    assert again.damage == ["checkpoint: one generation is gone, the other generation stands"]
    assert not any(again.is_stale(key) for key, _ in rows)


@pytest.mark.parametrize("how", ["commit", "write"])
def test_a_checkpoint_that_is_not_stored_is_counted_and_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    storage = disk.boot(loop)
    vault = Vault(storage, checkpoint_octets=80, epoch=7)
    for number in range(3):
        vault.commit({"row": b"%014d" % number})
        run(loop)

    def refuse(name: str, octets: bytes, taken: Any = storage.replace) -> None:
        if "checkpoint" in name:
            raise StorageError("not now")
        taken(name, octets)

    if how == "write":
        monkeypatch.setattr(storage, "replace", refuse)
    disk.fail_commits = how == "commit"
    done = vault.commit({"row": b"%014d" % 3})
    run(loop)
    assert (vault.checkpoints, vault.checkpoint_faults) == (0, 1)
    assert vault.get("row") == b"%014d" % 3, "it was asked to remember that"
    disk.fail_commits = False
    again = vault_on(disk, loop)
    if how == "write":
        assert done.result() is None
    else:
        with pytest.raises(StorageError):
            done.result()
    assert again.damage == [] and (again.get("row") == b"%014d" % 3 or how == "commit")


def test_what_a_checkpoint_holds_is_there_without_any_journal_and_numbers_go_on_above_it() -> None:
    """What is committed afterwards is not taken for older than the checkpoint."""
    loop, disk = stored(40, 300)
    for name in [n for n in disk.durable if "journal" in n]:
        del disk.durable[name]
    held = vault_on(disk, loop)
    rows = held.rows("")
    assert len(rows) > 25 and not held.found_nothing
    held.commit({"row0": b"new"})
    run(loop)
    again = vault_on(disk, loop)
    assert dict(again.rows("")) == dict(rows) | {"row0": b"new"}
    assert again.damage == [] and not again.is_stale("row1")


def test_a_journal_alone_is_something_that_was_found() -> None:
    loop, disk = stored(3)
    assert not any("checkpoint" in name for name in disk.durable)
    vault = vault_on(disk, loop)
    assert not vault.found_nothing and vault.damage == [] and len(vault.rows("")) == 3


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (b"\3ab", "transaction of 3 octets ends in a key at octet 0"),
        (b"\1a\0\0\0\2x", "transaction of 7 octets ends in a value at octet 6"),
        (b"\1a\0\0\0\0\1\xff\0\0\0\0", "transaction with a key that is not UTF-8 at octet 6"),
    ],
)
def test_a_transaction_of_another_format_is_told_and_all_before_it_is_stale(record: bytes, told: str) -> None:
    loop, disk = stored(3)
    append_record(loop, disk, record)
    vault = vault_on(disk, loop)
    assert (vault.damage, len(vault.rows(""))) == ([told], 3)
    assert all(vault.is_stale(key) for key, _ in vault.rows(""))
    vault.commit({"after": b"", "row0": b"new"})
    run(loop)
    again = vault_on(disk, loop)
    assert again.damage == [told]
    assert [key for key, _ in again.rows("") if again.is_stale(key)] == ["row1", "row2"]


changes = st.dictionaries(st.text(max_size=3), st.none() | st.binary(max_size=9), max_size=4)


@given(changes)
def test_a_transaction_comes_back_as_it_was_and_none_that_was_cut_off_is_taken(one: dict[str, bytes | None]) -> None:
    record = b"".join(
        bytes((len(key.encode()),)) + key.encode()
        + (0xFFFFFFFF if value is None else len(value)).to_bytes(4, "big") + (value or b"")
        for key, value in one.items()
    )  # fmt: skip
    assert flight.store.vault.encode_changes(one) == record
    assert list(flight.store.vault.decode_changes(record)) == list(one.items())
    if not one:
        return
    ends, at = {0}, 0
    for key, value in one.items():
        at += 5 + len(key.encode()) + len(value or b"")
        ends.add(at)
    for octets in range(len(record)):
        if octets in ends:
            assert (
                list(flight.store.vault.decode_changes(record[:octets]))
                == list(one.items())[: sorted(ends).index(octets)]
            )
        else:
            with pytest.raises(DecodeError, match=f"transaction of {octets} octets ends in a"):
                list(flight.store.vault.decode_changes(record[:octets]))


def test_a_key_may_have_255_octets() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    vault = vault_on(disk, loop)
    key = "é" * 127 + "x"
    vault.commit({key: b"1"})
    with pytest.raises(MisuseError, match="key of 256 octets, 255 at most"):
        vault.commit({key + "y": b"1"})
    run(loop)
    assert vault_on(disk, loop).rows("") == [(key, b"1")]


def test_one_transaction_that_is_unreadable_makes_the_rows_before_it_stale_and_no_other() -> None:
    loop, disk = stored(5)
    raw = disk.durable["vault.journal.00000000"]
    place = raw.index(b"row2")
    disk.flip("vault.journal.00000000", 8 * (place + 20))
    vault = vault_on(disk, loop)
    assert [key for key, _ in vault.rows("")] == ["row0", "row1", "row3", "row4"]
    assert [key for key, _ in vault.rows("") if vault.is_stale(key)] == ["row0", "row1"]
    assert vault.damage == [
        "transactions of the journal that are missing or unreadable: 1",
        "rows older than the lost transactions, which may have changed or deleted them: 2",
    ]


def test_everything_that_is_gone_is_told_in_order_and_by_number() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    vault = vault_on(disk, loop)
    for number in range(800):
        vault.commit({f"row{number}": bytes(500)})
        if number % 50 == 0:
            run(loop)
    run(loop)
    assert vault.checkpoints == 3
    files, names = dict(disk.durable), journal_of(disk)
    heads = [struct.unpack_from(">Q", files[name], 12)[0] for name in names]
    assert len(names) == 5
    covered = max(struct.unpack_from(">Q", files[n], 12)[0] for n in files if "checkpoint" in n)
    older = min(struct.unpack_from(">Q", files[n], 12)[0] for n in files if "checkpoint" in n)
    assert heads[1] < heads[2] <= older < heads[3] < heads[4] < covered, (heads, older, covered)
    # The newest segment, and the newest checkpoint: what only they held.
    newest = max((n for n in files if "checkpoint" in n), key=lambda n: files[n][:4])
    del disk.durable[names[4]], disk.durable[newest]
    again = vault_on(disk, loop)
    assert again.damage == [
        "checkpoint: one generation is gone, the other generation stands",
        f"journal: its newest records, from number {heads[4]} on, were stored and are gone",
        "journal: segments that are gone: 1",
        f"rows older than the lost transactions, which may have changed or deleted them: {heads[4]}",
    ]
    assert len(again.rows("")) == heads[4] and all(again.is_stale(key) for key, _ in again.rows(""))
    # The segment between the older checkpoint and the rest.
    disk.cut()
    disk.durable = dict(files)
    for name in (*names[:3], newest):
        del disk.durable[name]
    again = vault_on(disk, loop)
    assert again.damage == [
        "checkpoint: one generation is gone, the other generation stands",
        f"transactions of the journal that are missing or unreadable: {heads[3] - older}",
        f"rows older than the lost transactions, which may have changed or deleted them: {older}",
    ]
    assert [key for key, _ in again.rows("") if again.is_stale(key)] == sorted(f"row{n}" for n in range(older))
    # Nothing that is needed.
    disk.cut()
    disk.durable = dict(files)
    for name in names[:3]:
        del disk.durable[name]
    again = vault_on(disk, loop)
    assert (again.damage, len(again.rows(""))) == ([], 800)
    assert not any(again.is_stale(key) for key, _ in again.rows(""))
