"""The file store against a model: power cuts at any operation, boots, damage, a full disk, room given up for others.

What must hold, whatever happens:

- a file that was finished is there and identical, unless it was deleted, replaced, or given up with a report;
- what was never finished is not there, and nothing is served but a content that was finished whole under that number;
- after a sweep storage holds what the catalogue and the adopted drafts name, and nothing else;
- what is shown is the same after the next boot.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flight.core.config import read_table
from flight.core.errors import StorageError
from flight.store.files.draft import Draft, DraftState
from flight.store.files.file_entry import FileEntry
from flight.store.files.file_names import DIRECTORIES
from flight.store.files.files_config import FilesConfig
from flight.store.files.refusal import FileRefused
from sim_hw.machine.disk import PowerCut
from tests.file_bench import FileBench

NAMES = ("a", "b", "c")
PLACES = st.tuples(st.sampled_from(DIRECTORIES), st.sampled_from(NAMES))
LENGTHS = st.one_of(st.integers(0, 40), st.integers(0, 9_000), st.sampled_from((65_536, 70_000)))


def content_of(seed: int, octets: int) -> bytes:
    return Random(seed).randbytes(octets)


@dataclass
class Writing:
    """A draft, and what is to become of it."""

    draft: Draft
    content: bytes


class FileStoreMachine(RuleBasedStateMachine):
    """`certain` are the files that must be there, `whole` the contents that were ever to be finished, by number.

    `unsure` and `changing` are files that a change under way may or may not have taken, or changed. Room that was given
    up for others may be damage after a power cut, since its report comes a step later.
    """

    @initialize(seed=st.integers(0, 2**32), capacity=st.sampled_from((350_000, 2_000_000)), files_max=st.integers(4, 9))
    def begin(self, seed: int, capacity: int, files_max: int) -> None:
        table = {name: {"quota_octets": 150_000} for name in DIRECTORIES} | {"files_max": files_max}
        config = read_table(FilesConfig, table, ("files",), [])
        assert config is not None
        self.bench = FileBench(config, seed=seed, capacity_octets=capacity)
        self.capacity = capacity
        self.certain: dict[int, FileEntry] = {}
        self.whole: dict[int, bytes] = {}
        self.unsure: set[int] = set()
        self.removed: set[int] = set()
        self.flipped: set[int] = set()
        self.writing: list[Writing] = []
        self.numbers: set[int] = set()  # that may not be given again, since something may be known under them
        self.changing: set[int] = set()
        self.cut = False
        self.orderly = True  # no boot has found evictions that were still owed
        self.other = 0

    @contextmanager
    def powered(self) -> Iterator[None]:
        """Do something that may be refused, or be cut short by the power."""
        self.cut = False
        try:
            yield
        except FileRefused:
            pass
        except PowerCut:
            self.cut = True
            self.boot(adopt=[True] * len(self.writing))

    def gone(self, numbers: set[int]) -> None:
        for number in numbers:
            self.certain.pop(number, None)

    @property
    def evicted(self) -> set[int]:
        return {entry.number for entry, _ in self.bench.evicted}

    # Drafts

    @precondition(lambda self: len(self.writing) < 4)
    @rule(place=PLACES, seed=st.integers(0, 3), octets=LENGTHS, known=st.booleans(), replaces=st.booleans(),
          worth=st.tuples(st.integers(0, 3), st.integers(0, 2)))  # fmt: skip
    def draft(
        self, place: tuple[str, str], seed: int, octets: int, known: bool, replaces: bool, worth: tuple[int, int]
    ) -> None:
        with self.powered():
            draft = self.bench.store.draft(
                *place, octets if known else None, replaces=replaces, value=float(worth[0]), priority=worth[1]
            )
            assert draft.number not in self.numbers, "a number is given once"
            self.numbers.add(draft.number)
            self.whole.pop(draft.number, None)
            self.writing.append(Writing(draft, content_of(seed, octets)))

    @precondition(lambda self: self.writing)
    @rule(at=st.integers(0, 3), start=st.floats(0, 1), share=st.floats(0, 1), wild=st.booleans())
    def write(self, at: int, start: float, share: float, wild: bool) -> None:
        one = self.writing[at % len(self.writing)]
        begin = int(start * len(one.content))
        data = one.content[begin : begin + int(share * len(one.content)) + 1]
        with self.powered():
            one.draft.write(begin, bytes(len(data)) if wild else data)

    @precondition(lambda self: self.writing)
    @rule(at=st.integers(0, 3), checked=st.booleans())
    def finish(self, at: int, checked: bool) -> None:
        one = self.writing[at % len(self.writing)]
        number = one.draft.number
        blocks: list[bytes] = []
        former: FileEntry | None = None
        with self.powered():
            for begin in range(0, len(one.content), 30_000):
                one.draft.write(begin, one.content[begin : begin + 30_000])
            former = self.bench.store.find(one.draft.directory, one.draft.name)
            self.whole[number] = one.content
            self.unsure |= {former.number} if former is not None else set()
            entry = self.bench.finish(one.draft, blocks.append if checked else None)
            self.unsure.discard(former.number if former is not None else 0)
            self.writing.remove(one)
            assert former is None or one.draft.terms.replaces
            if former is not None:
                self.removed.add(former.number)
                self.gone({former.number})
            self.certain[number] = entry
            assert not checked or b"".join(blocks) == one.content
        if not self.cut and number not in self.certain:  # refused: nothing has happened
            assert one.draft.state is DraftState.OPEN
            self.whole.pop(number, None)
            self.unsure.discard(former.number if former is not None else 0)

    @precondition(lambda self: self.writing)
    @rule(at=st.integers(0, 3))
    def drop(self, at: int) -> None:
        one = self.writing.pop(at % len(self.writing))
        with self.powered():
            self.bench.store.drop(one.draft)

    # Files

    @precondition(lambda self: self.certain)
    @rule(at=st.integers(0, 9), act=st.sampled_from(("remove", "rename", "lock", "unlock", "sent")), place=PLACES)
    def change(self, at: int, act: str, place: tuple[str, str]) -> None:
        number = sorted(self.certain)[at % len(self.certain)]
        store = self.bench.store
        with self.powered():
            entry = store.of_number(number)
            if entry is None:
                assert number in self.evicted or self.bench.store.owed
                return
            changes = {
                "remove": lambda: store.removal(entry),
                "rename": lambda: store.renaming(entry, *place),
                "lock": lambda: store.locking(entry, True),
                "unlock": lambda: store.locking(entry, False),
                "sent": lambda: store.labelling(entry, b"sent"),
            }
            change = changes[act]()
            self.changing.add(number)
            if act == "remove":
                self.unsure.add(number)
            self.bench.commit(change)
            if act == "remove":
                self.removed.add(number)
                self.gone({number})
            elif (changed := store.of_number(number)) is not None:
                self.certain[number] = changed
                assert act != "rename" or (changed.directory, changed.name) == place
        if not self.cut:
            self.changing.discard(number)
            self.unsure.discard(number)

    @rule(at=st.integers(0, 9), held=st.booleans())
    def hold(self, at: int, held: bool) -> None:
        numbers = sorted(self.certain)
        self.bench.held = {numbers[at % len(numbers)]} if held and numbers else set()

    # Disk and power

    @rule(octets=st.integers(1_000, 120_000))
    def press(self, octets: int) -> None:
        self.other += 1
        with self.powered():
            try:
                self.bench.shared.user("other").append(f"other.{self.other}", bytes(octets))
            except StorageError:
                for name in self.bench.shared.user("other").names():
                    self.bench.shared.user("other").delete(name)

    @rule(full=st.booleans())
    def fill(self, full: bool) -> None:
        self.bench.disk.capacity_octets = 0 if full else self.capacity

    @rule(steps=st.integers(1, 5))
    def sweep_some(self, steps: int) -> None:
        with self.powered():
            for _ in range(steps):
                self.bench.store.sweep()

    @rule(duration_s=st.sampled_from((0.001, 0.1)))
    def advance(self, duration_s: float) -> None:
        with self.powered():
            self.bench.advance(duration_s)

    @rule(operations=st.integers(1, 12))
    def cut_later(self, operations: int) -> None:
        self.bench.disk.cut_at_operation = self.bench.disk.operations + operations

    @precondition(lambda self: self.certain)
    @rule(at=st.integers(0, 9))
    def flip(self, at: int) -> None:
        number = sorted(self.certain)[at % len(self.certain)]
        if self.bench.disk.durable.get(f"files.{number}"):
            self.bench.disk.flip(f"files.{number}")
            self.flipped.add(number)

    @rule(adopt=st.lists(st.booleans(), min_size=4, max_size=4))
    def boot(self, adopt: list[bool]) -> None:
        self.bench.disk.cut_at_operation = None
        self.bench.disk.capacity_octets = self.capacity
        self.orderly = self.orderly and not self.bench.store.owed
        self.bench.boot()
        store = self.bench.store
        writing, self.writing = self.writing, []
        for wanted, one in zip(adopt, writing, strict=False):
            self.adopt(wanted, one)
        self.bench.sweep()
        self.judge()
        # What no sync has covered is known to nobody.
        stored = {entry.number for entry in store.entries()} | {one.draft.number for one in self.writing}
        self.numbers = self.numbers & set(self.certain) | self.removed | self.evicted | stored
        for entry in store.entries():  # what was found holds from here on
            if entry.number not in self.flipped and not store.damage_of(entry):
                self.certain[entry.number] = entry
        self.unsure.clear()
        self.changing.clear()
        self.bench.gave_up = False

    def adopt(self, wanted: bool, one: Writing) -> None:
        draft = one.draft
        if not wanted:
            return
        try:
            again = self.bench.store.adopt(
                draft.number, draft.directory, draft.name, draft.octets, replaces=draft.terms.replaces
            )
        except FileRefused:
            return
        assert again.grown_octets <= max(len(one.content), draft.grown_octets)
        self.writing.append(Writing(again, one.content))

    def judge(self) -> None:
        """After a boot and a sweep."""
        store = self.bench.store
        shown = {entry.number: entry for entry in store.entries()}
        for number, entry in list(self.certain.items()):
            excused = number in self.unsure or number in self.evicted
            assert number in shown or excused, f"file {number} is lost"
            if number not in shown:
                del self.certain[number]
                continue
            found = shown[number]
            assert found == entry or number in self.changing
            assert (found.octets, found.sha256, found.made_ns) == (entry.octets, entry.sha256, entry.made_ns)
        for number, entry in shown.items():
            assert number in self.whole, "never finished"
            assert number not in self.removed, "deleted"
            damage = store.damage_of(entry)
            assert not damage or self.bench.gave_up or number not in self.certain or number in self.flipped, damage
            if damage:
                self.certain.pop(number, None)
                continue
            try:
                assert self.bench.content(entry) == self.whole[number]
            except FileRefused:
                assert number in self.flipped
                self.certain.pop(number, None)
        self.bench.evicted = [(entry, why) for entry, why in self.bench.evicted if entry.number not in shown]
        drafts = {one.draft.number for one in self.writing}
        contents = self.bench.contents()
        assert contents <= set(shown) | drafts, "octets leak"
        held = sum(self.bench.storage.size(name) or 0 for name in self.bench.storage.names())
        assert self.bench.storage.usage.held_octets == held

    @invariant()
    def accounts(self) -> None:
        if not hasattr(self, "bench"):
            return
        store = self.bench.store
        for number in self.certain:
            assert store.of_number(number) is not None or number in self.evicted or store.owed
        for directory in DIRECTORIES:
            entries = store.entries(directory)
            usage = store.usage(directory)
            drafts = [one.draft for one in self.writing if one.draft.directory == directory]
            assert usage.files == len(entries)
            assert usage.octets == sum(e.octets for e in entries) + sum(d.reserved_octets for d in drafts)
            assert usage.octets <= usage.quota_octets or not self.orderly
        assert len(store.entries()) + len(self.writing) <= self.bench.config.files_max or not self.orderly
        assert not self.bench.faults


TestFileStore = FileStoreMachine.TestCase
TestFileStore.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
