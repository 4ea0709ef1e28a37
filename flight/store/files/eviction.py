"""Files that give way: found, hidden at once, and taken away a few per step."""

# States of a file that gives way:
#
#     found --> hidden: nobody finds it any more, its octets count as free
#     hidden --> told: `on_evicted` has been called, which reports it
#     told --> gone: one transaction has taken the rows of several away, and behind it their contents are deleted
#
# A row goes before its content (ADR 0043). Storage keeps that order by itself: a deletion is never durable before what
# was written ahead of it. So nobody waits for the transaction, and the room is there in the same step. If the power is
# cut ahead of the transaction, the file is there again after the boot, and has been reported as given up. So a report
# may come twice, or of a file that stayed, but no file goes without one.
#
# Room for somebody more important (`give_up`) is asked for in the middle of somebody's write, which may be one of the
# vault or of the recorder: neither of them can take a write within a write. So there the content goes first, and the
# report and the row follow in the next step. After a power cut between them the file is shown as damaged.

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flight.core.errors import StorageError
from flight.store.files.catalogue import FileCatalogue, Rank
from flight.store.files.contents import FileContents
from flight.store.files.file_entry import FileEntry, row_key
from flight.store.files.file_names import DIRECTORIES
from flight.store.files.files_config import FilesConfig
from flight.store.vault import Vault

PER_STEP = 8
OnEvicted = Callable[[FileEntry, str], None]
_FOR_OTHERS = "room for what is more important"


@dataclass(slots=True)
class Shortage:
    """What is missing for a file to come: octets of its directory's quota, octets of room, places in the catalogue."""

    quota: int
    room: int
    files: int

    def meet(self, entry: FileEntry, directory: str) -> None:
        """Count a file that gives way."""
        if entry.directory == directory:
            self.quota -= entry.octets
        self.room -= entry.octets
        self.files -= 1

    @property
    def shared(self) -> bool:
        """Whether something is missing that files of other directories can give."""
        return self.room > 0 or self.files > 0


@dataclass(slots=True)
class _Hidden:
    entry: FileEntry
    why: str
    held_octets: int  # of its content, which is still there
    told: bool = False


class Evictions:
    """Finds the files that give way, and takes them away."""

    def __init__(
        self,
        config: FilesConfig,
        catalogue: FileCatalogue,
        contents: FileContents,
        vault: Vault,
        on_evicted: OnEvicted,
        evictable: Callable[[FileEntry], bool],
    ) -> None:
        self.hidden_octets = 0  # of files that are hidden and whose contents are still there
        self.evicted = 0
        self._catalogue = catalogue
        self._contents = contents
        self._vault = vault
        self._on_evicted = on_evicted
        self._evictable = evictable
        self._hidden: deque[_Hidden] = deque()
        self._priorities = {directory: config.directory(directory).priority for directory in DIRECTORIES}
        self._last_first = sorted(DIRECTORIES, key=lambda directory: -self._priorities[directory])

    @property
    def waiting(self) -> int:
        """How many files are hidden and not yet gone."""
        return len(self._hidden)

    def find(self, directory: str, shortage: Shortage, below: Rank) -> list[FileEntry]:
        """Return files to give way to one of `directory`; `shortage` then says what is missing all the same.

        Less important directories give first, but no quota but their own. Of its own directory only files of a rank
        below `below` go.
        """
        found: dict[int, FileEntry] = {}

        def take(entries: Iterator[FileEntry], missing: Callable[[], bool]) -> None:
            while missing() and (entry := next(entries, None)) is not None:
                if entry.number not in found and self._evictable(entry):
                    found[entry.number] = entry
                    shortage.meet(entry, directory)

        take(self._catalogue.giving_way(directory, below), lambda: shortage.quota > 0)
        for other in self._last_first:
            if self._priorities[other] > self._priorities[directory]:
                take(self._catalogue.giving_way(other), lambda: shortage.shared)
        take(self._catalogue.giving_way(directory, below), lambda: shortage.shared)
        return list(found.values())

    def hide(self, entries: list[FileEntry], why: str) -> None:
        """Take files out of the catalogue; they go in the steps to come."""
        for entry in entries:
            self._catalogue.remove(entry.number)
            self.hidden_octets += entry.octets
            self._hidden.append(_Hidden(entry, why, entry.octets))

    def work_off(self) -> int:
        """Take away a few of the hidden files; return how many more there are."""
        batch = [self._hidden.popleft() for _ in range(min(PER_STEP, len(self._hidden)))]
        if not batch:
            return 0
        for hidden in batch:
            if not hidden.told:
                hidden.told = True
                self.evicted += 1
                self._on_evicted(hidden.entry, hidden.why)
        try:
            self._vault.commit({row_key(hidden.entry.number): None for hidden in batch})
        except StorageError:
            self._hidden.extendleft(reversed(batch))
            return 0  # the vault takes nothing now: later
        for hidden in batch:
            self.hidden_octets -= hidden.held_octets
            self._contents.delete(hidden.entry.number)
        return len(self._hidden)

    def give_up(self, octets: int) -> int:
        """Delete the contents of a few files for somebody more important; return the octets gained."""
        gained = 0
        for directory in self._last_first:
            entries = self._catalogue.giving_way(directory)
            victims: list[FileEntry] = []
            while gained < octets and len(victims) < PER_STEP and (entry := next(entries, None)) is not None:
                if self._evictable(entry):
                    victims.append(entry)
                    gained += entry.octets
            for entry in victims:
                self._catalogue.remove(entry.number)
                self._hidden.append(_Hidden(entry, _FOR_OTHERS, 0))
                self._contents.delete(entry.number)
            if victims:
                break
        return gained
