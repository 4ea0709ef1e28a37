"""Journal and vault on a disk to whose files anything happens between two boots, against what was written.

Segments, marks and checkpoints are copied, swapped, renamed, deleted, shortened, flipped, put back from earlier and
joined by those of another journal or another life. What must hold then:

- every record of a segment that is as it was, under its own name, is read;
- no record is invented, given twice or out of order, and what is missing is told;
- no number is given twice, but for the newest segment shortened in place, and a newest segment lost with its mark;
- a second look finds the same, and what is written afterwards is there after the next boot.
"""

from __future__ import annotations

from random import Random

from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flight.core.nanoseconds import ns
from flight.store.journal import Journal
from flight.store.vault import Vault
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop

OURS, OTHERS = 0x0123456789ABCDEF, 0xFEDCBA9876543210
SEGMENT_OCTETS = 150
KINDS = ("copy", "swap", "rename", "delete", "shorten", "flip", "restore", "foreign", "other life", "rubbish")


def other_life(name: str, records: int) -> dict[str, bytes]:
    """What another node stores under the same name."""
    loop, disk = VirtualLoop(), Disk(Random(2))
    journal = Journal(disk.boot(loop), name, segment_octets=SEGMENT_OCTETS, segments_max=99, epoch=OTHERS)
    for i in range(records):
        journal.append(b"other %d" % i)
    journal.sync()
    loop.run_until(ns(1))
    return dict(disk.durable)


OTHER_LIFE = other_life("j", 60)
OTHER_NAME = other_life("k", 60)


class Damage:
    """Does things to the files of a disk that nobody uses. `segment`: how the names of segments begin."""

    def __init__(self, disk: Disk, segment: str) -> None:
        self.disk = disk
        self.segment = segment
        self.history: list[dict[str, bytes]] = []

    def remember(self) -> None:
        self.history = [*self.history[-5:], dict(self.disk.durable)]

    def segments(self) -> list[str]:
        names = (name for name in self.disk.durable if name.startswith(self.segment))
        return sorted(name for name in names if name.removeprefix(self.segment).isdecimal())

    def do(self, kind: str, data: st.DataObject, names: list[str]) -> None:
        """One thing to one of `names`."""
        files, draw = self.disk.durable, data.draw
        name = draw(st.sampled_from(names))
        free = f"{self.segment}{draw(st.integers(0, 40)):08d}"
        if kind == "copy":
            files[draw(st.sampled_from([*names, free]))] = files[name]
        elif kind == "swap":
            other = draw(st.sampled_from(names))
            files[name], files[other] = files[other], files[name]
        elif kind == "rename" and free not in files:
            files[free] = files.pop(name)
        elif kind == "delete":
            del files[name]
        elif kind == "shorten":
            files[name] = files[name][: draw(st.integers(0, max(0, len(files[name]) - 1)))]
        elif kind == "flip" and files[name]:
            self.disk.flip(name, draw(st.integers(0, 8 * len(files[name]) - 1)))
        elif kind == "restore":
            earlier = draw(st.sampled_from(self.history))
            files.update({name: earlier[name]} if name in earlier else {})
        elif kind == "foreign":
            files[draw(st.sampled_from([name, free]))] = draw(st.sampled_from(sorted(OTHER_NAME.values())))
        elif kind == "other life":
            taken = draw(st.sampled_from(sorted(OTHER_LIFE)))
            if taken.removeprefix("j.").isdecimal():
                files[draw(st.sampled_from([name, f"{self.segment}{taken.removeprefix('j.')}"]))] = OTHER_LIFE[taken]
        elif kind == "rubbish":
            files[draw(st.sampled_from([name, free]))] = draw(st.binary(max_size=80))


class JournalDamageMachine(RuleBasedStateMachine):
    @initialize(circular=st.booleans())
    def begin(self, circular: bool) -> None:
        self.loop, self.disk = VirtualLoop(), Disk(Random(3))
        self.circular = circular
        self.given: dict[int, set[bytes]] = {}  # all that was ever written
        self.barred = self.synced = -1  # no number up to this one may be given again
        self.floor = 0  # what is below it was given up
        self.count = 0
        self.damage = Damage(self.disk, "j.")
        self.sound_marks = True
        self.journal = self.open()

    def open(self) -> Journal:
        return Journal(
            self.disk.boot(self.loop), "j", segment_octets=SEGMENT_OCTETS, segments_max=12, circular=self.circular,
            epoch=OURS,
        )  # fmt: skip

    def sync(self) -> None:
        self.journal.sync()
        self.loop.run_until(self.loop.now_ns() + ns(1))
        self.synced = self.barred

    def write(self, octets: int) -> None:
        self.count += 1
        content = b"%d" % self.count + b"." * octets
        number = self.journal.end
        if self.journal.append(content):
            assert number > self.barred, "a number is given twice"
            self.given.setdefault(number, set()).add(content)
            self.barred = number

    @rule(sizes=st.lists(st.integers(0, 60), min_size=1, max_size=8), sync=st.booleans())
    def append(self, sizes: list[int], sync: bool) -> None:
        for octets in sizes:
            self.write(octets)
        if sync:
            self.sync()

    @precondition(lambda self: self.journal.segments)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        ends = [segment.end for segment in self.journal.segments]
        number = data.draw(st.sampled_from(ends))
        self.floor = max(self.floor, number)
        self.journal.drop_before(number)

    @rule()
    def lose_power(self) -> None:
        """What was synced is there, and nothing is said to be wrong."""
        before = list(self.journal.read())
        told = self.told()
        self.sync()
        self.disk.cut()
        self.journal = self.open()
        assert list(self.journal.read()) == before
        assert all(now <= then for now, then in zip(self.told(), told, strict=True)), (self.told(), told)

    def told(self) -> tuple[int, ...]:
        journal, stats = self.journal, self.journal.stats
        return (stats.gone, stats.foreign, stats.misplaced, stats.unreadable, stats.spoilt, journal.cut)

    @rule()
    def lose_power_unsynced(self) -> None:
        told = self.told()
        self.disk.cut()
        self.journal = self.open()
        self.barred = self.synced  # what was never synced never was
        assert all(now <= then for now, then in zip(self.told(), told, strict=True)), (self.told(), told)

    @rule(data=st.data(), kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3), mark=st.booleans())
    def suffer(self, data: st.DataObject, kinds: list[str], mark: bool) -> None:
        self.sync()
        self.disk.cut()
        self.damage.remember()
        before = dict(self.disk.durable)
        held = {segment.index: (segment.first, segment.end) for segment in self.journal.segments}
        read = dict(self.journal.read())
        newest = f"j.{max(held):08d}" if held else ""
        whole_marks = self.sound_marks
        for kind in kinds:
            names = self.damage.segments()
            # With less than two marks a journal of few segments cannot tell which life is its own.
            if names and (kind != "other life" or (whole_marks and not mark and "j.mark.a" in before)):
                self.damage.do(kind, data, names)
        marks = sorted(name for name in self.disk.durable if name.startswith("j.mark"))
        if mark and whole_marks and marks:
            self.disk.flip(data.draw(st.sampled_from(marks)))
            whole_marks = False
        after = self.disk.durable
        note(f"changed: {[name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]}")
        self.journal = self.open()
        found = list(self.journal.read())
        numbers = [number for number, _ in found]
        assert numbers == sorted(set(numbers))
        assert all(content in self.given[number] for number, content in found)
        for index, (first, end) in held.items():
            name = f"j.{index:08d}"
            if after.get(name) == before[name]:
                kept = {number: content for number, content in read.items() if first <= number < end}
                assert kept.items() <= dict(found).items(), f"{name} is as it was, and was not read"
        changed = newest and after.get(newest) != before[newest]
        if changed and (newest in after or not whole_marks):
            # Shortened in place, or gone with the newer mark: the journal cannot know all that was there.
            self.barred = self.synced = max(numbers, default=-1)
            self.damage.history.clear()
        # Others were given up, or never synced.
        lost = {number for number in read.keys() - set(numbers) if self.floor <= number <= self.synced}
        # The oldest ones may have been given up: who needs them knows by a mark of its own.
        there = min((index for index in held if f"j.{index:08d}" in after), default=0)
        inner = [f"j.{index:08d}" for index in held if index >= there]
        if lost and not (changed and newest in after) and whole_marks and any(
            before[name] != after.get(name) for name in inner
        ):  # fmt: skip
            stats = self.journal.stats
            assert self.journal.damage() or stats.missing or stats.spoilt or stats.damaged
        self.look_again(found)
        self.write(5)
        self.restore_marks()

    def look_again(self, found: list[tuple[int, bytes]]) -> None:
        stats, told, end = self.journal.stats, self.journal.damage(), self.journal.end
        again = self.open()
        assert list(again.read()) == found
        assert (again.damage(), again.end) == (told, end)
        assert again.stats == stats
        self.journal = again

    def restore_marks(self) -> None:
        """Begin segments until both marks are of now, and see that what is written is there."""
        last = self.journal.segments[-1].index if self.journal.segments else -1
        if self.circular:
            while not self.journal.segments or self.journal.segments[-1].index < last + 3:
                self.write(60)
        self.sound_marks = self.circular
        written = list(self.journal.read())
        self.sync()
        self.journal = self.open()
        assert list(self.journal.read()) == written
        self.damage.remember()

    @invariant()
    def is_bounded(self) -> None:
        assert self.journal.octets == sum(segment.octets for segment in self.journal.segments)


TestJournalDamage = JournalDamageMachine.TestCase
TestJournalDamage.settings = settings(
    max_examples=200, stateful_step_count=12, deadline=None, phases=set(Phase) - {Phase.explain}
)


class VaultRun:
    """A vault with some life behind it: `told` are the changes of each transaction, in order."""

    def __init__(self, seed: int, transactions: int, checkpoint_octets: int) -> None:
        random = Random(seed)
        self.loop, self.disk = VirtualLoop(), Disk(Random(seed))
        self.checkpoint_octets = checkpoint_octets
        self.values: dict[str, set[bytes]] = {}
        self.rows: dict[str, bytes] = {}
        damage = self.damage = Damage(self.disk, "vault.journal.")
        vault = self.open()
        for number in range(transactions):
            key = f"row{random.randrange(12)}"
            value = None if random.random() < 0.4 else b"%d" % number + bytes(random.choice((10, 3000)))
            vault.commit({key: value})
            self.run()
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
                self.values.setdefault(key, set()).add(value)
            if random.random() < 0.1:
                damage.remember()
        damage.remember()
        self.disk.cut()

    def run(self) -> None:
        self.loop.run_until(self.loop.now_ns() + ns(1))

    def open(self) -> Vault:
        return Vault(self.disk.boot(self.loop), checkpoint_octets=self.checkpoint_octets, epoch=OURS)


@settings(max_examples=120, deadline=None)
@given(
    data=st.data(),
    seed=st.integers(0, 5),
    transactions=st.integers(1, 120),
    checkpoint_octets=st.sampled_from((4_000, 40_000, 1_000_000)),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
    whole=st.booleans(),
)
def test_a_damaged_vault_believes_no_row_that_it_cannot_vouch_for(
    data: st.DataObject, seed: int, transactions: int, checkpoint_octets: int, kinds: list[str], whole: bool
) -> None:
    """`whole`: the damage is to anything, checkpoints and marks included; else to segments alone."""
    run = VaultRun(seed, transactions, checkpoint_octets)
    before = dict(run.disk.durable)
    newest = run.damage.segments()[-1]
    for kind in kinds:
        names = sorted(run.disk.durable) if whole else run.damage.segments()
        if names:
            run.damage.do(kind, data, names)
    after = run.disk.durable
    vault = run.open()
    found = dict(vault.rows(""))
    told = list(vault.damage)
    assert all(value in run.values[key] for key, value in found.items()), "a value that nobody stored"
    journals = [name for name in before if before[name] != after.get(name)]
    silent = (newest in journals and newest in after) or (newest in journals and len(journals) > 1)
    if not silent and not any("checkpoint" in name or "mark" in name for name in journals):
        sure = {key: value for key, value in found.items() if not vault.is_stale(key)}
        assert sure.items() <= run.rows.items()
        assert found == run.rows or told
    again = run.open()
    assert (dict(again.rows("")), again.damage) == (found, told)
    again.commit({"row0": b"new"})
    run.run()
    last = run.open()
    assert dict(last.rows("")) == found | {"row0": b"new"}
