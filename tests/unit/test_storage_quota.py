"""Users of one storage: quotas, who is refused first on a full medium, who gives way, exact accounts."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flight.config import Fault, read_table
from flight.core.errors import SetupError, StorageError
from flight.core.quota import ROUNDS_MAX, Share, SharedStorage, StorageConfig, UserStorage
from flight.core.storage import StorageFull
from sim_hw.disk import Disk, DiskSession
from sim_hw.loop import VirtualLoop

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
    assert recorder.read("recorder.0", 1, 2) == b"23"
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


def test_a_full_medium_refuses_by_priority() -> None:
    shared = shared_on(Disk(Random(1), capacity_octets=1000))
    recorder, schedule, commands = (shared.user(name) for name in ("recorder", "schedule", "commands"))
    recorder.append("recorder.0", bytes(800))
    assert recorder.free_octets() == 0
    with pytest.raises(StorageError, match=r"priority 2, 200 are free, 200 of them kept for more important users"):
        recorder.append("recorder.0", b"1")
    schedule.append("schedule.a", bytes(100))
    with pytest.raises(StorageError, match="priority 1, 100 are free, 100 of them kept"):
        schedule.append("schedule.a", b"1")
    commands.append("commands.a", bytes(100))
    with pytest.raises(StorageError, match="0 are free"):
        commands.append("commands.a", b"1")
    recorder.delete("recorder.0")
    commands.append("commands.a", b"1")


def test_the_less_important_give_way_before_a_refusal() -> None:
    shared = shared_on(Disk(Random(1), capacity_octets=1000))
    recorder, commands = shared.user("recorder"), shared.user("commands")
    recorder.on_pressure(lambda octets: drop_oldest(recorder))
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
    with pytest.raises(StorageError, match="200 are free, 200 of them kept"):
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
    recorder.on_pressure(lambda octets: asked.append("recorder"))

    def give_one(octets: int) -> None:
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
    with pytest.raises(StorageError, match="90 are free"):
        commands.append("commands.c", bytes(100))
    assert asked == ["recorder", *ROUNDS_MAX * ["schedule"]]


def test_configuration() -> None:
    faults: list[Fault] = []
    table = {"quota": {"recorder": -1}, "priority": {"recorder": 10}, "capacity_octets": 5}
    assert read_table(StorageConfig, table, ("storage",), faults) is None
    assert [".".join(map(str, fault.path)) for fault in faults] == [
        "storage.quota.recorder",
        "storage.priority.recorder",
    ]
    assert StorageConfig(capacity_octets=5, reserve_octets=5).faults()
    with pytest.raises(SetupError, match=r"storage\.priority\.recrder: no such user of storage, did you mean recorder"):
        shared_on(Disk(Random(1)), StorageConfig(priority={"recrder": 1}))
    changed = shared_on(Disk(Random(1)), StorageConfig(priority={"schedule": 2}, quota={"recorder": 7}))
    assert changed.user("schedule").share == Share(300, 2) and changed.user("recorder").share == Share(7, 2)


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
        recorder.on_pressure(lambda octets: drop_oldest(recorder))

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
        """Only noticed where it is asked: the model asks always, so a boot goes with it."""
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
