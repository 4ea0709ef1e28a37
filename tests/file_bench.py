"""A file store on a simulated disk, with its vault and a scheduler: for tests that cut the power and boot again."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from random import Random
from typing import Any, TypeVar

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import ns
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from flight.store.files.draft import Draft
from flight.store.files.file_changes import FileChange
from flight.store.files.file_entry import FileEntry
from flight.store.files.file_store import FileStore
from flight.store.files.files_config import FilesConfig
from flight.store.quota import Share, SharedStorage, StorageConfig
from flight.store.vault import Vault
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop

T = TypeVar("T")
T0_NS = 2_000_000_000_000_000_000


class FileBench:
    """`disk` outlives the boots. `evicted`: what was reported as given up, of all boots.

    gave_up: somebody more important has asked for room.
    """

    def __init__(
        self,
        config: FilesConfig,
        *,
        seed: int = 1,
        capacity_octets: int = 64_000_000,
        quota_octets: int = 32_000_000,
        vault_octets: int = 1_000_000,
    ) -> None:
        self.config = config
        self.loop = VirtualLoop()
        self.disk = Disk(Random(seed), capacity_octets=capacity_octets)
        self.evicted: list[tuple[FileEntry, str]] = []
        self.held: set[int] = set()  # numbers of files that their owner does not let go
        self.gave_up = False
        self.quota_octets = quota_octets
        self.vault_octets = vault_octets
        self.boot()

    def boot(self) -> None:
        """Cut the power, if there is any, and boot. Drafts are not adopted, and nothing is swept."""
        shares = {"vault": Share(4_000_000, 0), "other": Share(50_000_000, 1), "files": Share(self.quota_octets, 2)}
        self.shared = SharedStorage(self.disk.boot(self.loop), shares, StorageConfig(reserve_octets=20_000))
        self.storage = self.shared.user("files")
        self.vault = Vault(self.shared.user("vault"), epoch=5, octets_max=self.vault_octets)
        self.store = FileStore(
            self.config,
            self.storage,
            self.vault,
            tai_ns=lambda: T0_NS + self.loop.now_ns(),
            on_evicted=lambda entry, why: self.evicted.append((entry, why)),
            evictable=lambda entry: entry.number not in self.held,
            spent=lambda entry: entry.label == b"sent",
        )
        self.storage.on_pressure(self._give_up)
        self.faults: list[BaseException] = []
        self.scheduler = Scheduler(self.loop, self.loop.now_ns, lambda _, error: self.faults.append(error))

    def _give_up(self, octets: int) -> None:
        self.gave_up = True
        self.store.give_up(octets)

    def run(self, body: Callable[[Task], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine as a task to its end; return what it returns, or raise what it raises."""
        outcome: list[T] = []
        raised: list[OrbitnodeError] = []

        async def guarded(task: Task) -> None:
            try:
                outcome.append(await body(task))
            except OrbitnodeError as error:  # others are mistakes of the code under test
                raised.append(error)

        task = self.scheduler.spawn("test", guarded)
        while not task.finished.done:
            self.advance(0.01)
        for error in (*raised, *self.faults):
            raise error
        return outcome[0]

    def advance(self, duration_s: float = 0.1) -> None:
        """Let time pass, and commits come to their end."""
        self.loop.run_until(self.loop.now_ns() + ns(duration_s))

    def finish(self, draft: Draft, check: Callable[[bytes], None] | None = None) -> FileEntry:
        """Make a draft a file."""

        async def body(task: Task) -> FileEntry:
            return await self.store.finish(task, draft, check)

        return self.run(body)

    def put(self, directory: str, name: str, content: bytes, **terms: Any) -> FileEntry:
        """Store a whole file."""
        draft = self.store.draft(directory, name, len(content), **terms)
        for at in range(0, len(content), 60_000):
            draft.write(at, content[at : at + 60_000])
        return self.finish(draft)

    def commit(self, change: FileChange) -> None:
        """Store a change and wait for it."""
        done = self.store.commit(change)
        self.advance()
        done.result()

    def sweep(self) -> None:
        """Sweep until nothing is owed."""
        for _ in range(10_000):
            if not self.store.sweep():
                self.advance()
                return
        raise AssertionError("the sweep does not end")

    def content(self, entry: FileEntry) -> bytes:
        """Return the whole content, its sha256 checked."""
        return value_of(self.store.load(entry))

    def contents(self) -> set[int]:
        """Return the numbers of all contents on storage."""
        return {int(name.removeprefix("files.")) for name in self.storage.names() if ".mark." not in name}


def value_of(slices: Generator[None, None, T]) -> T:
    """Run a generator to its end; return what it returns."""
    while True:
        try:
            next(slices)
        except StopIteration as end:
            value: T = end.value
            return value
