"""Users of one storage: quotas, who is refused first on a full medium, who gives way, exact accounts."""

from __future__ import annotations

from dataclasses import astuple
from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flight.core.config import Fault, read_table
from flight.core.errors import SetupError, StorageError
from flight.core.storage import StorageFull
from flight.store.quota import MEASURE_OCTETS, ROUNDS_MAX, Share, SharedStorage, StorageConfig, UserStorage
from sim_hw.machine.disk import Disk, DiskSession
from sim_hw.machine.loop import VirtualLoop
from tests.full_disk import full_disk

RESERVE = 100
SHARES = {"commands": Share(300, 0), "schedule": Share(300, 1), "recorder": Share(10_000, 2)}


def shared_on(disk: Disk, config: StorageConfig | None = None) -> SharedStorage:
    return SharedStorage(disk.boot(VirtualLoop()), SHARES, config or StorageConfig(reserve_octets=RESERVE))


def drop_oldest(user: UserStorage) -> None:
    for name in user.names()[:1]:
        user.delete(name)


def test_a_user_sees_and_fills_its_own_part() -> None:
    disk = Disk(Random(1))
    disk.durable |= {"recorder.0": b"12345", "commands.a": b"x", "older.version": b"??"}
    shared = shared_on(disk)
    recorder = shared.user("recorder")
    assert recorder.names() == ["recorder.0"] and recorder.size("recorder.0") == 5
    assert recorder.read("recorder.0", 1, 2) == b"23" and recorder.read("recorder.0") == b"12345"
    assert shared.unowned == ("older.version",) and set(shared.users) == set(SHARES)
    recorder.append("recorder.0", b"6")
    recorder.replace("recorder", b"position")
    assert recorder.names() == ["recorder", "recorder.0"]
    assert recorder.usage.held_octets == 14 and recorder.usage.written_octets == 9
    assert shared.user("commands").usage.held_octets == 1
    with pytest.raises(AssertionError):
        recorder.delete("commands.a")


def test_beyond_the_quota_is_refused_with_user_and_quota() -> None:
    shared = shared_on(Disk(Random(1)), StorageConfig(quota={"commands": 50}))
    commands = shared.user("commands")
    commands.replace("commands.a", bytes(40))
    with pytest.raises(StorageError, match=r"user commands holds 40 of 50 octets, 11 more .*raise storage.quota.comm"):
        commands.append("commands.b", bytes(11))
    commands.replace("commands.a", bytes(50))
    with pytest.raises(StorageError, match="1 more do not fit"):
        commands.replace("commands.a", bytes(51))
    assert commands.free_octets() == 0 and commands.usage.refused == 2
    commands.delete("commands.a")
    commands.append("commands.b", bytes(50))
    assert commands.usage.held_octets == 50


def test_what_is_written_at_a_place_counts_as_far_as_it_lets_the_file_grow() -> None:
    disk = Disk(Random(1))
    recorder = shared_on(disk, StorageConfig(capacity_octets=1000, reserve_octets=RESERVE)).user("recorder")
    recorder.write("recorder.0", 90, bytes(10))
    assert (recorder.usage.held_octets, recorder.usage.written_octets) == (100, 10), "a gap counts as held"
    recorder.write("recorder.0", 5, memoryview(bytes(20)))
    recorder.write("recorder.0", 99, b"12")
    recorder.write("recorder.1", 50, b"")
    assert (recorder.usage.held_octets, recorder.usage.written_octets) == (101, 32)
    with pytest.raises(StorageFull, match="kept for more important users"):
        recorder.write("recorder.1", 690, bytes(10))
    commands = shared_on(disk, StorageConfig(quota={"commands": 50})).user("commands")
    with pytest.raises(StorageError, match=r"user commands holds 0 of 50 octets, 51 more .*raise storage.quota.comm"):
        commands.write("commands.a", 50, b"1")
    assert commands.usage.refused == 1 and commands.names() == []


def test_a_full_medium_refuses_by_priority() -> None:
    shared = shared_on(Disk(Random(1), capacity_octets=1000))
    recorder, schedule, commands = (shared.user(name) for name in ("recorder", "schedule", "commands"))
    recorder.append("recorder.0", bytes(800))
    assert recorder.free_octets() == 0
    with pytest.raises(StorageError, match="priority 2, 200 free, 200 kept for more important users; make room, or"):
        recorder.append("recorder.0", b"1")
    schedule.append("schedule.a", bytes(100))
    with pytest.raises(StorageError, match=r"1 octet needed .* priority 1, 100 free, 100 kept"):
        schedule.append("schedule.a", b"1")
    commands.append("commands.a", bytes(100))
    with pytest.raises(StorageError, match=r"^cannot write commands\.a: disk full, 1 octet needed, 0 free; make room$"):
        commands.append("commands.a", b"1")
    recorder.delete("recorder.0")
    commands.append("commands.a", b"1")


def test_the_less_important_give_way_before_a_refusal() -> None:
    shared = shared_on(Disk(Random(1), capacity_octets=1000))
    recorder, commands = shared.user("recorder"), shared.user("commands")
    recorder.on_pressure(lambda _octets: drop_oldest(recorder))
    for i in range(8):
        recorder.append(f"recorder.{i}", bytes(100))
    commands.append("commands.a", bytes(150))
    assert recorder.usage.yielded_octets == 0, "so much is kept for commands"
    commands.append("commands.b", bytes(40))
    assert recorder.names()[0] == "recorder.1", "asked before the last of the reserve is used"
    commands.append("commands.c", bytes(100))
    assert recorder.names()[0] == "recorder.2" and recorder.usage.yielded_octets == 200
    assert commands.usage.refused == 0


def test_a_capacity_bounds_all_users_on_a_larger_medium() -> None:
    disk = Disk(Random(1))
    disk.durable["older"] = bytes(400)
    shared = shared_on(disk, StorageConfig(capacity_octets=1000, reserve_octets=RESERVE))
    shared.user("recorder").append("recorder.0", bytes(400))
    with pytest.raises(StorageError, match="200 free, 200 kept"):
        shared.user("recorder").append("recorder.0", b"1")
    shared.user("commands").replace("commands.a", bytes(200))
    shared.user("commands").replace("commands.a", bytes(200))


@pytest.mark.parametrize("capacity", [180, 0])
def test_a_medium_full_earlier_than_it_said_is_tried_once_more_after_giving_way(capacity: int) -> None:
    disk = Disk(Random(1))
    shared = shared_on(disk)
    recorder, commands = shared.user("recorder"), shared.user("commands")
    asked: list[int] = []

    def give(octets: int) -> None:
        asked.append(octets)
        drop_oldest(recorder)

    recorder.on_pressure(give)
    for i in range(3):
        recorder.append(f"recorder.{i}", bytes(60))
    disk.capacity_octets = capacity
    if capacity:
        commands.append("commands.a", bytes(100))
        assert commands.usage.refused == 0
    else:
        with pytest.raises(StorageError, match="disk full"):
            commands.append("commands.a", bytes(100))
        assert commands.usage.refused == 1 and commands.usage.held_octets == 0
    assert asked == [100, 40] and recorder.names() == ["recorder.2"]


def test_who_gives_little_is_asked_a_bounded_number_of_times() -> None:
    shared = shared_on(Disk(Random(1), capacity_octets=300))
    recorder, schedule, commands = (shared.user(name) for name in ("recorder", "schedule", "commands"))
    asked: list[str] = []
    recorder.on_pressure(lambda _octets: asked.append("recorder"))

    def give_one(_octets: int) -> None:
        asked.append("schedule")
        drop_oldest(schedule)

    schedule.on_pressure(give_one)
    for i in range(20):
        schedule.append(f"schedule.{i:02d}", bytes(5))
    asked.clear()
    commands.append("commands.a", bytes(150))
    commands.append("commands.b", bytes(30))
    assert asked == ["recorder", *6 * ["schedule"]], "the least important first"
    asked.clear()
    with pytest.raises(StorageError, match="disk full, 100 octets needed, 90 free; make room"):
        commands.append("commands.c", bytes(100))
    assert asked == ["recorder", *ROUNDS_MAX * ["schedule"]]


def test_configuration() -> None:
    faults: list[Fault] = []
    table = {"quota": {"recorder": -1}, "priority": {"recorder": 10}, "capacity_octets": 5}
    assert read_table(StorageConfig, table, ("storage",), faults) is None
    assert [".".join(map(str, fault.path)) for fault in faults] == [
        "storage.quota.recorder",
        "storage.priority.recorder",
        "storage.reserve_octets",
    ]
    assert StorageConfig(capacity_octets=5, reserve_octets=5).faults()
    with pytest.raises(SetupError, match=r"storage\.priority\.recrder: unknown storage user, did you mean recorder"):
        shared_on(Disk(Random(1)), StorageConfig(priority={"recrder": 1}))
    with pytest.raises(SetupError, match=r"^storage\.quota\.x: .*\nstorage\.priority\.y: "):
        shared_on(Disk(Random(1)), StorageConfig(quota={"x": 1}, priority={"y": 1}))
    changed = shared_on(Disk(Random(1)), StorageConfig(priority={"schedule": 2}, quota={"recorder": 7}))
    assert changed.user("schedule").share == Share(300, 2) and changed.user("recorder").share == Share(7, 2)


def faults_of(table: dict[str, object]) -> list[str]:
    faults: list[Fault] = []
    read_table(StorageConfig, table, ("storage",), faults)
    return [".".join(map(str, fault.path)) for fault in faults]


@pytest.mark.parametrize(
    ("one", "low", "high"),
    [("capacity_octets", 0, 1 << 50), ("reserve_octets", 0, 1 << 40), ("quota.vault", 0, 1 << 50),
     ("priority.vault", 0, 9)],
)  # fmt: skip
def test_the_bounds_are_those_of_the_guide(one: str, low: int, high: int) -> None:
    """docs/guides/mission.md; the reserve is less than the capacity, if there is one."""
    name, _, user = one.partition(".")
    for value, fits in ((low, True), (low - 1, False), (high, True), (high + 1, False)):
        assert faults_of({name: {user: value} if user else value}) == ([] if fits else [f"storage.{one}"]), value
    assert StorageConfig() == StorageConfig(0, 262_144, {}, {})
    assert StorageConfig(10, 9).faults() == StorageConfig(0, 9).faults() == StorageConfig(0, 0).faults() == []
    for capacity in (9, 8):
        ((key, fault),) = StorageConfig(capacity, 9).faults()
        should = f"should be less than capacity_octets, which is {capacity}"
        assert (key, fault) == ("reserve_octets", f"is 9, {should}")


def test_one_reserve_is_kept_for_each_priority_that_somebody_has() -> None:
    """However far apart their numbers are, and however many have the same."""
    shares = {"a": Share(10_000, 0), "b": Share(10_000, 4), "c": Share(10_000, 4), "d": Share(10_000, 9)}
    disk = Disk(Random(1), capacity_octets=1000)
    shared = SharedStorage(disk.boot(VirtualLoop()), shares, StorageConfig(reserve_octets=RESERVE))
    assert {name: user.free_octets() for name, user in shared.users.items()} == {
        "a": 1000, "b": 900, "c": 900, "d": 800
    }  # fmt: skip
    for name, octets in (("d", 800), ("c", 100), ("a", 100)):
        user = shared.user(name)
        user.append(f"{name}.0", bytes(octets))
        assert user.free_octets() == 0
        full = "disk full, 1 octet needed, 0 free" if name == "a" else "kept for more important users"
        with pytest.raises(StorageFull, match=full):
            user.append(f"{name}.0", b"1")
    assert shared.user("b").free_octets() == 0, "never less"


def test_a_user_begins_with_nothing_counted() -> None:
    assert {astuple(user.usage) for user in shared_on(Disk(Random(1))).users.values()} == {(0, 0, 0, 0)}


def test_the_less_important_are_asked_in_order_and_nobody_as_important_or_more() -> None:
    shares = {"a": Share(10_000, 1), "b": Share(10_000, 1), "c": Share(10_000, 2), "d": Share(10_000, 3),
              "first": Share(10_000, 0)}  # fmt: skip
    disk = Disk(Random(1), capacity_octets=1000)
    shared = SharedStorage(disk.boot(VirtualLoop()), shares, StorageConfig(reserve_octets=0))
    asked: list[tuple[str, int]] = []

    def gives(name: str) -> None:
        user = shared.user(name)

        def give(octets: int) -> None:
            asked.append((name, octets))
            drop_oldest(user)

        user.on_pressure(give)

    for name in ("c", "first", "d", "b"):
        gives(name)
        for at in range(2):
            shared.user(name).append(f"{name}.{at}", bytes(100))
    a = shared.user("a")
    a.append("a.0", bytes(200))
    assert asked == [], "nothing is missing"
    a.append("a.1", bytes(1))
    assert asked == [("d", 1)], "the least important, as much as is missing"
    asked.clear()
    a.append("a.1", bytes(99 + 250))
    assert asked == [("d", 250), ("d", 150), ("c", 150), ("c", 50)], "each as long as it gives"
    assert shared.user("c").usage.yielded_octets + shared.user("d").usage.yielded_octets == 400
    asked.clear()
    with pytest.raises(StorageFull):
        a.append("a.1", bytes(101))
    assert {name for name, _ in asked} <= {"c", "d"}, "neither its equal nor who is more important"
    assert shared.user("b").usage.yielded_octets == shared.user("first").usage.yielded_octets == 0


class Medium:
    """A disk whose questions for free octets and syncs are counted."""

    def __init__(self, session: DiskSession) -> None:
        self.session = session
        self.questions = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def free_octets(self) -> int:
        self.questions += 1
        return self.session.free_octets()


def test_the_medium_is_asked_once_for_many_small_writes_and_in_time_where_little_is_left() -> None:
    medium: Any = Medium(Disk(Random(1), capacity_octets=1_000_000).boot(VirtualLoop()))
    shared = SharedStorage(medium, {"a": Share(2_000_000, 0)}, StorageConfig(reserve_octets=RESERVE))
    user = shared.user("a")
    assert medium.questions == 1
    for _ in range(8 * MEASURE_OCTETS // 1024):
        user.append("a.0", bytes(1024))
    assert medium.questions == 8
    while user.usage.held_octets < 998_500:
        user.append("a.0", bytes(1000))
    assert medium.questions <= 998_500 // MEASURE_OCTETS + 20
    with pytest.raises(StorageFull):
        user.append("a.0", bytes(20_000))
    left = 1_000_000 - user.usage.held_octets
    for _ in range(left):
        user.append("a.0", b"1")
    with pytest.raises(StorageFull, match="disk full, 1 octet needed, 0 free"):
        user.append("a.0", b"1")


def test_room_that_was_given_up_is_committed_at_once() -> None:
    """On a real disk it comes free with the commit alone."""
    shared = shared_on(Disk(Random(1), capacity_octets=1000))
    recorder, commands = shared.user("recorder"), shared.user("commands")
    recorder.on_pressure(lambda _octets: drop_oldest(recorder))
    for at in range(8):
        recorder.append(f"recorder.{at}", bytes(100))
    counters = recorder.counters
    before = counters.syncs
    commands.append("commands.a", bytes(149))
    assert counters.syncs == before, "nobody was asked"
    commands.append("commands.a", bytes(2))
    assert counters.syncs == before + 1 and commands.counters is counters
    assert recorder.usage.yielded_octets == 100


def test_what_is_written_while_giving_way_asks_nobody_to_give_way() -> None:
    shares = {"a": Share(10_000, 0), "b": Share(10_000, 1), "c": Share(10_000, 2)}
    disk = Disk(Random(1), capacity_octets=300)
    shared = SharedStorage(disk.boot(VirtualLoop()), shares, StorageConfig(reserve_octets=0))
    a, b, c = (shared.user(name) for name in "abc")
    asked: list[str] = []

    def give_b(_octets: int) -> None:
        asked.append("b")
        b.delete("b.0")
        with pytest.raises(StorageFull):
            b.append("b.1", bytes(210))

    def give_c(_octets: int) -> None:
        asked.append("c")

    b.append("b.0", bytes(100))
    c.append("c.0", bytes(100))
    b.on_pressure(give_b)
    c.on_pressure(give_c)
    a.append("a.0", bytes(150))
    assert asked == ["c", "b"]
    asked.clear()
    with pytest.raises(StorageFull):
        b.append("b.2", bytes(60))
    assert asked == ["c"], "and afterwards it does again"


def test_who_cannot_even_delete_is_left_alone_and_who_grows_gave_nothing() -> None:
    shares = {"a": Share(10_000, 0), "b": Share(10_000, 1), "c": Share(10_000, 2)}
    disk = Disk(Random(1), capacity_octets=300)
    shared = SharedStorage(disk.boot(VirtualLoop()), shares, StorageConfig(reserve_octets=0))
    a, b, c = (shared.user(name) for name in "abc")
    asked: list[tuple[str, int]] = []

    def fail(octets: int) -> None:
        asked.append(("c", octets))
        raise StorageError("read-only")

    def grow(octets: int) -> None:
        asked.append(("b", octets))
        b.append("b.0", bytes(5))

    c.on_pressure(fail)
    b.on_pressure(grow)
    b.append("b.0", bytes(100))
    with pytest.raises(StorageFull):
        a.append("a.0", bytes(201))
    assert asked == [("c", 1), ("b", 1)]
    assert (b.usage.yielded_octets, c.usage.yielded_octets, b.usage.held_octets) == (0, 0, 105)


def test_a_user_is_told_what_it_can_still_write_of_both_its_quota_and_the_room() -> None:
    shared = shared_on(Disk(Random(1), capacity_octets=700))
    commands, recorder = shared.user("commands"), shared.user("recorder")
    assert (commands.free_octets(), recorder.free_octets()) == (300, 500)
    commands.append("commands.a", bytes(250))
    assert (commands.free_octets(), recorder.free_octets()) == (50, 250)
    smaller = StorageConfig(capacity_octets=700, reserve_octets=RESERVE, quota={"commands": 100})
    disk = Disk(Random(1))
    disk.durable = {"commands.a": bytes(120), "commands": b"1", "commandsx.a": bytes(40)}
    shared = shared_on(disk, smaller)
    commands = shared.user("commands")
    assert (commands.usage.held_octets, commands.free_octets()) == (121, 0)
    assert shared.unowned == ("commandsx.a",) and commands.names() == ["commands", "commands.a"]
    assert shared.user("recorder").free_octets() == 700 - 161 - 200
    with pytest.raises(StorageFull, match="holds 121 of 100 octets, 1 more"):
        commands.append("commands.a", b"1")
    for octets in (120, 119):
        commands.replace("commands.a", bytes(octets))
        assert commands.usage.held_octets == octets + 1, "what does not grow is taken"


def test_a_replacement_stands_beside_the_old_content_until_its_commit() -> None:
    """So it needs the room of both on the medium; of a capacity it takes what it grows."""
    shared = shared_on(Disk(Random(1), capacity_octets=500), StorageConfig(reserve_octets=0))
    commands = shared.user("commands")
    commands.append("commands.a", bytes(260))
    with pytest.raises(StorageFull, match="disk full, 260 octets needed, 240 free"):
        commands.replace("commands.a", bytes(260))
    commands.replace("commands.a", bytes(240))
    assert commands.usage.held_octets == 240
    shared = shared_on(Disk(Random(1)), StorageConfig(capacity_octets=300, reserve_octets=0))
    commands = shared.user("commands")
    commands.append("commands.a", bytes(200))
    commands.replace("commands.a", bytes(300))
    assert (commands.usage.held_octets, commands.usage.written_octets, commands.free_octets()) == (300, 500, 0)


def test_a_sync_is_of_the_names_that_were_asked_for() -> None:
    loop = VirtualLoop()
    disk = Disk(Random(1))
    shared = SharedStorage(disk.boot(loop), SHARES, StorageConfig(reserve_octets=RESERVE))
    commands = shared.user("commands")
    commands.append("commands.a", b"x")
    assert shared.user("recorder").sync("recorder.").done and not commands.sync("commands.").done
    assert not shared.user("recorder").sync().done


@pytest.mark.parametrize("asked", [False, True])
def test_a_write_for_which_nobody_gave_way_is_not_tried_again(asked: bool) -> None:
    """Nor is one of somebody who was asked to."""
    disk = Disk(Random(1))
    shared = shared_on(disk)
    recorder, commands = shared.user("recorder"), shared.user("commands")

    def fail_to_give(_octets: int) -> None:
        recorder.append("recorder.0", b"what is left")

    if asked:
        recorder.on_pressure(fail_to_give)
    with full_disk(disk), pytest.raises(StorageFull, match="disk full"):
        commands.append("commands.a", bytes(100))
    assert commands.counters.refused == commands.usage.refused + recorder.usage.refused == 1 + asked


def test_who_fails_after_it_gave_some_is_not_asked_again() -> None:
    shared = shared_on(Disk(Random(1), capacity_octets=500), StorageConfig(reserve_octets=0))
    recorder, commands = shared.user("recorder"), shared.user("commands")
    asked: list[int] = []

    def give_and_fail(octets: int) -> None:
        asked.append(octets)
        drop_oldest(recorder)
        raise StorageError("input/output error")

    recorder.on_pressure(give_and_fail)
    for at in range(5):
        recorder.append(f"recorder.{at}", bytes(100))
    with pytest.raises(StorageFull):
        commands.append("commands.a", bytes(150))
    assert asked == [150] and recorder.usage.yielded_octets == 100


def test_what_is_free_is_told_as_the_medium_is_now() -> None:
    disk = Disk(Random(1), capacity_octets=700)
    commands = shared_on(disk, StorageConfig(reserve_octets=0)).user("commands")
    disk.capacity_octets = 90
    assert commands.free_octets() == 90


def test_a_capacity_is_kept_to_the_octet() -> None:
    for octets, fits in ((250, True), (251, False)):
        shared = shared_on(Disk(Random(1)), StorageConfig(capacity_octets=250, reserve_octets=0))
        if fits:
            shared.user("commands").append("commands.a", bytes(octets))
            continue
        with pytest.raises(StorageFull, match=r"storage\.capacity_octets used up, 251 octets needed, 250 free"):
            shared.user("commands").append("commands.a", bytes(octets))


USERS = st.sampled_from(sorted(SHARES))
FILES = st.sampled_from("ab")
SIZES = st.one_of(st.integers(0, 60), st.integers(0, 320))


class SharedMachine(RuleBasedStateMachine):
    """Against a plain model: a dictionary of sizes, and the rules written out as arithmetic on it."""

    @initialize(capacity=st.integers(0, 1500), configured=st.integers(0, 1500), foreign=st.integers(0, 200))
    def start(self, capacity: int, configured: int, foreign: int) -> None:
        self.config = StorageConfig(capacity_octets=configured, reserve_octets=RESERVE)
        self.disk = Disk(Random(1), capacity_octets=capacity)
        self.model = {"foreign": foreign}
        self.boot()

    @rule()
    def boot(self) -> None:
        self.disk.cut()
        self.disk.durable = {name: bytes(octets) for name, octets in self.model.items()}
        self.session: DiskSession = self.disk.boot(VirtualLoop())
        self.shared = SharedStorage(self.session, SHARES, self.config)
        recorder = self.shared.user("recorder")
        recorder.on_pressure(lambda _octets: drop_oldest(recorder))

    def held(self, user: str) -> int:
        return sum(octets for name, octets in self.model.items() if name.startswith(user + "."))

    def expect(self, user: str, grown: int, octets: int) -> bool:
        """Whether the write is taken; the recorder's files that give way for it leave the model."""
        share = SHARES[user]
        if grown > 0 and self.held(user) + grown > share.quota_octets:
            return False
        floor = RESERVE * share.priority

        def room() -> int:
            held = sum(self.model.values())
            left = max(0, self.disk.capacity_octets - held) - octets
            return min(left, (self.config.capacity_octets or 10**9) - held - grown)

        short = floor + RESERVE // 2 - room()
        if user != "recorder":
            for _ in range(ROUNDS_MAX):
                oldest = min((name for name in self.model if name.startswith("recorder.")), default=None)
                if short <= 0 or oldest is None or not self.model[oldest]:
                    if short > 0 and oldest is not None:
                        del self.model[oldest]  # an empty one goes, which ends the questions
                    break
                short -= self.model.pop(oldest)
        return room() >= floor

    @rule(user=USERS, file=FILES, octets=SIZES, act=st.sampled_from(["append", "replace"]))
    def write(self, user: str, file: str, octets: int, act: str) -> None:
        name = f"{user}.{file}"
        before = self.model.get(name, 0)
        grown = octets if act == "append" else octets - before
        part = self.shared.user(user)
        refused = part.usage.refused
        try:
            getattr(part, act)(name, bytes(octets))
            taken = True
        except StorageFull:
            taken = False
        assert taken == self.expect(user, grown, octets)
        assert part.usage.refused == refused + (not taken)
        if taken:
            self.model[name] = before + grown

    @rule(user=USERS, file=FILES)
    def delete(self, user: str, file: str) -> None:
        self.shared.user(user).delete(f"{user}.{file}")
        self.model.pop(f"{user}.{file}", None)

    @rule(capacity=st.integers(0, 1500))
    def change_the_medium(self, capacity: int) -> None:
        """Noticed only when it is asked: the model asks always, so a boot goes with it."""
        self.disk.capacity_octets = capacity
        self.boot()

    @invariant()
    def accounts_are_exact(self) -> None:
        if not hasattr(self, "shared"):
            return
        assert {name: self.session.size(name) for name in self.session.names()} == self.model
        for user in SHARES:
            part = self.shared.user(user)
            assert part.usage.held_octets == self.held(user)
            assert {name: part.size(name) for name in part.names()} == {
                name: octets for name, octets in self.model.items() if name.startswith(user + ".")
            }


SharedMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSharedMachine = SharedMachine.TestCase
