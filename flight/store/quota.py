"""One storage shared by users that cannot starve each other: quotas, priorities, and who gives way on a full medium.

The user of a name is what stands before its first dot: `recorder.00000012` belongs to `recorder`, `boot.a` to
`boot`. Three rules, in this order:

1. A user holds at most its quota.
2. Room is kept for whoever is more important (0 is the most important priority). A write must leave one
   `reserve_octets` free for each declared priority above its own; the most important one may use the last octet. So on
   a medium that fills up, the least important user is refused first, the next one a reserve later, and so on.
3. Before a write is refused because room is short, and already when it comes within half a reserve of that, users of
   lower priority are asked to give up octets, the least important first (`on_pressure`).

Whatever else stands on the medium is outside these rules. If it may grow, set `capacity_octets`.
"""

# Why (ADR 0011): a recorder that fills the disk must not keep a command, a parameter or a schedule from being stored.
#
# Why half a reserve ahead: a disk frees the room of a deleted file with the next commit and not at once. Whoever gave
# way only when the room is needed would free it too late for the write that needs it.
#
# A medium that is full earlier than it said (StorageFull from below) is answered in the same way, with one more try. If
# the room comes free only with the commit, that try fails as well, and the write can be made after the next sync.
#
# Nobody asks the medium for its free octets per write, since that is a system call. It is asked after MEASURE_OCTETS,
# or sooner if less is ample; in between the octets written are counted. Far from any limit a write costs two
# comparisons.

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

from flight.core.config import Fault, key, suggestion
from flight.core.errors import SetupError, StorageError
from flight.core.future import Future
from flight.core.platform import Storage
from flight.core.storage import StorageCounters, StorageFull

_O = TypeVar("_O", bytes, bytes | memoryview)
MEASURE_OCTETS = 65536  # octets written before the medium is asked again what it has free
# A user gives up a step's worth of room per question (ADR 0022); so often it is asked for one write.
ROUNDS_MAX = 8


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """The mission section [storage]. A user that is not named here keeps the share that the node gives it."""

    capacity_octets: int = key(0, minimum=0, maximum=1 << 50, text="for all users together; 0: what the medium has")
    reserve_octets: int = key(262_144, minimum=0, maximum=1 << 40, text="kept free for each more important priority")
    quota: Mapping[str, int] = key({}, minimum=0, maximum=1 << 50, text="octets by user")
    priority: Mapping[str, int] = key({}, minimum=0, maximum=9, text="by user, 0 is the most important")

    def faults(self) -> list[tuple[str, str]]:
        """Return a fault for a reserve that leaves nothing of the capacity."""
        if 0 < self.capacity_octets <= self.reserve_octets:
            should = f"should be less than capacity_octets, which is {self.capacity_octets}"
            return [("reserve_octets", f"is {self.reserve_octets}, {should}")]
        return []


@dataclass(frozen=True, slots=True)
class Share:
    """What one user may hold, and how important it is: 0 is the most important."""

    quota_octets: int
    priority: int


@dataclass(slots=True)
class ShareCounters:
    """Octets held now, written since boot, and given up for others; writes refused."""

    held_octets: int = 0
    written_octets: int = 0
    yielded_octets: int = 0
    refused: int = 0


class SharedStorage:
    """`storage` divided among the users named in `shares`, which `config` overrides.

    `unowned` are the stored names that belong to none of them; they stay, and count against the capacity. Raises
    SetupError if `config` names an unknown user, StorageError if the medium does not answer.
    """

    def __init__(self, storage: Storage, shares: Mapping[str, Share], config: StorageConfig | None = None) -> None:
        assert not any("." in name for name in shares), "a user's name ends at the first dot"
        config = config if config is not None else StorageConfig()
        self._storage = storage
        self._capacity_octets = config.capacity_octets
        settled = _settled(shares, config)
        self._users = {name: UserStorage(self, storage, name, share) for name, share in settled.items()}
        ranks = sorted({user.share.priority for user in self._users.values()})
        self._floors = {priority: rank * config.reserve_octets for rank, priority in enumerate(ranks)}
        self._early_octets = config.reserve_octets // 2
        self._yielding: list[UserStorage] = []  # those who can give way, the least important first
        self._pressing = False  # somebody is being asked to give way
        self._unowned_octets = 0
        unowned: list[str] = []
        for name in storage.names():
            octets = storage.size(name) or 0
            user = self._users.get(name.partition(".")[0])
            if user is None:
                unowned.append(name)
                self._unowned_octets += octets
            else:
                user.usage.held_octets += octets
        self.unowned = tuple(unowned)
        # While `unmeasured_octets`, those written since the medium was asked, are no more than `ample_octets`, only the
        # quota can refuse a write.
        self.unmeasured_octets = self.ample_octets = 0
        self._measure()

    @property
    def users(self) -> Mapping[str, UserStorage]:
        """Every user's part, by the user's name."""
        return self._users

    def user(self, name: str) -> UserStorage:
        """Return the part of the declared user `name`."""
        assert name in self._users, f"storage user {name} has no share"
        return self._users[name]

    def free_octets(self, user: UserStorage) -> int:
        """Return what the medium has for `user` beyond what is kept for others."""
        self._measure()
        return max(0, self._room(0, 0) - self._floors[user.share.priority])

    def admit(self, user: UserStorage, name: str, grown: int, octets: int) -> None:
        """Make room for a write of `octets` that lets its file grow by `grown`; raises StorageFull."""
        share, held = user.share, user.usage.held_octets
        if grown > 0 and held + grown > share.quota_octets:
            raise StorageFull(
                f"cannot write {name}: storage user {user.name} holds {held} of {share.quota_octets} octets, {grown} "
                f"more do not fit; delete something, or raise storage.quota.{user.name}"
            )
        self._measure()
        floor = self._floors[share.priority]
        short = floor + self._early_octets - self._room(grown, octets)
        if short > 0:
            self.press(user, short)
        if self._room(grown, octets) < floor:
            raise StorageFull(f"cannot write {name}: {self._why_refused(user, grown, octets)}")

    def _why_refused(self, user: UserStorage, grown: int, octets: int) -> str:
        free, needed = max(0, self._room(0, 0)), f"{octets} octet{'s' * (octets != 1)} needed"
        if self._room(grown, octets) < 0:  # also without a reserve
            if self._free_octets - self.unmeasured_octets >= octets:
                return f"storage.capacity_octets used up, {needed}, {free} free; make room, or raise it"
            return f"disk full, {needed}, {free} free; make room"
        return (
            f"{needed} for storage user {user.name} of priority {user.share.priority}, {free} free, "
            f"{self._floors[user.share.priority]} kept for more important users; make room, or lower "
            "storage.reserve_octets"
        )

    def enter_yielding(self, user: UserStorage) -> None:
        """Ask `user` to give way from now on, when somebody more important needs room."""
        assert user not in self._yielding, user.name
        self._yielding.append(user)
        self._yielding.sort(key=lambda yielding: yielding.share.priority, reverse=True)

    def press(self, user: UserStorage, octets: int) -> bool:
        """Ask those less important than `user` to give up `octets`; return True if anybody gave any."""
        if self._pressing:
            return False  # a user that writes while it gives up room must not press others, nor itself
        self._pressing = True
        missing = octets
        try:
            for yielding in self._yielding:
                if yielding.share.priority > user.share.priority and missing > 0:
                    missing -= yielding.yield_octets(missing)
        finally:
            self._pressing = False
        if missing == octets:
            return False
        self._storage.sync()  # the room comes free with the commit
        self._measure()
        return True

    def _room(self, grown: int, octets: int) -> int:
        """Return the octets free after a write of `octets` that lets its file grow by `grown`."""
        # `octets` and not `grown`: a replacement stands beside the old content until its commit.
        room = self._free_octets - self.unmeasured_octets - octets
        if self._capacity_octets:
            held = self._unowned_octets + sum(user.usage.held_octets for user in self._users.values())
            room = min(room, self._capacity_octets - held - grown)
        return room

    def _measure(self) -> None:
        self.unmeasured_octets = 0
        self._free_octets = self._storage.free_octets()
        enough = max(self._floors.values(), default=0) + self._early_octets
        self.ample_octets = min(MEASURE_OCTETS, self._room(0, 0) - enough)


class UserStorage:
    """A flight.core.platform.Storage for one user: its own names alone, within its share."""

    def __init__(self, shared: SharedStorage, storage: Storage, name: str, share: Share) -> None:
        self.name, self.share = name, share
        self.usage = ShareCounters()
        self._shared = shared
        self._storage = storage
        self._prefix = f"{name}."
        self._quota_octets = share.quota_octets
        self._on_pressure: Callable[[int], object] | None = None

    @property
    def counters(self) -> StorageCounters:
        """What the whole medium has counted."""
        return self._storage.counters

    def on_pressure(self, call: Callable[[int], object]) -> None:
        """Have `call(octets)` delete about that much whenever somebody more important needs the room."""
        self._on_pressure = call
        self._shared.enter_yielding(self)

    def names(self) -> list[str]:
        """Return the user's stored names, sorted."""
        return [name for name in self._storage.names() if self._owns(name)]

    def size(self, name: str) -> int | None:
        """Return how many octets are stored under `name`, None if there is no such name."""
        assert self._owns(name), name
        return self._storage.size(name)

    def read(self, name: str, at: int = 0, octets: int | None = None) -> bytes | None:
        """Return the content from octet `at` on, at most `octets` of it; None if there is no such name."""
        assert self._owns(name), name
        return self._storage.read(name, at, octets)

    def append(self, name: str, octets: bytes) -> None:
        """Add to the end of `name`. Raises StorageFull if the share, or what others need more, leaves no room."""
        # Written out in place of `_owns`: of all operations this one is made most often.
        assert name.startswith(self._prefix) or name == self.name, name
        self._write(self._storage.append, name, octets, len(octets))

    def write(self, name: str, at: int, octets: bytes | memoryview) -> None:
        """Put `octets` at octet `at`. A gap counts as held. Raises StorageFull as `append` does."""
        assert self._owns(name), name
        storage = self._storage
        grown = max(0, at + len(octets) - (storage.size(name) or 0)) if octets else 0
        self._write(lambda _name, _octets: storage.write(name, at, octets), name, octets, grown)

    def replace(self, name: str, octets: bytes) -> None:
        """Set the whole content. Raises StorageFull as `append` does."""
        assert self._owns(name), name
        self._write(self._storage.replace, name, octets, len(octets) - (self._storage.size(name) or 0))

    def delete(self, name: str) -> None:
        """Forget the name, and count its octets as free. Nothing happens if it is unknown."""
        assert self._owns(name), name
        octets = self._storage.size(name) or 0
        self._storage.delete(name)
        self.usage.held_octets -= octets

    def sync(self, prefix: str = "") -> Future[None]:
        """Return a future that is done when every user's names are durable, or those that begin with `prefix`."""
        return self._storage.sync(prefix)

    def free_octets(self) -> int:
        """Return what this user can still write, by its quota and by the room that nobody more important needs."""
        unused_octets = max(0, self.share.quota_octets - self.usage.held_octets)
        return min(unused_octets, self._shared.free_octets(self))

    def yield_octets(self, octets: int) -> int:
        """Ask the user to give up `octets`, in several rounds if need be; return what it gave up."""
        assert self._on_pressure is not None, self.name
        before = self.usage.held_octets
        for _ in range(ROUNDS_MAX):
            held = self.usage.held_octets
            if before - held >= octets:
                break
            try:
                self._on_pressure(octets - (before - held))
            except StorageError:
                break  # it cannot even delete
            if self.usage.held_octets >= held:
                break  # it has nothing more to give
        given = max(0, before - self.usage.held_octets)
        self.usage.yielded_octets += given
        return given

    def _owns(self, name: str) -> bool:
        return name.startswith(self._prefix) or name == self.name

    def _write(self, act: Callable[[str, _O], None], name: str, octets: _O, grown: int) -> None:
        written, usage, shared = len(octets), self.usage, self._shared
        # A gap takes no room of the medium, but it is held, and so counts against the capacity.
        taken = max(written, grown)
        ample = shared.unmeasured_octets + taken <= shared.ample_octets  # far from every limit but the quota
        try:
            if not ample or usage.held_octets + grown > self._quota_octets:
                shared.admit(self, name, grown, written)
            try:
                act(name, octets)
            except StorageFull:  # the medium is full earlier than it said
                if not shared.press(self, written):
                    raise
                act(name, octets)
        except StorageError:
            usage.refused += 1
            raise
        usage.held_octets += grown
        usage.written_octets += written
        shared.unmeasured_octets += taken


def share_faults(users: Collection[str], config: StorageConfig) -> list[Fault]:
    """Return a fault for each share of `config` that is given to a user that does not exist."""
    return [
        Fault(("storage", table, name), f"unknown storage user, {suggestion(name, users)}")
        for table, names in (("quota", config.quota), ("priority", config.priority))
        for name in names
        if name not in users
    ]


def _settled(shares: Mapping[str, Share], config: StorageConfig) -> dict[str, Share]:
    """Return `shares` as `config` changes them. Raises SetupError for unknown users."""
    if unknown := share_faults(shares, config):
        raise SetupError("\n".join(f"{'.'.join(map(str, fault.path))}: {fault.text}" for fault in unknown))
    return {
        name: Share(config.quota.get(name, share.quota_octets), config.priority.get(name, share.priority))
        for name, share in shares.items()
    }
