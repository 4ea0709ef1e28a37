"""Which files there are, in memory: by number, by name, and per directory in the order in which they would give way."""

# A file gives way in this order, the first one first:
#
#     rule "oldest"   damaged or spent ones, then the others; among these the lower number, which is the older file.
#                     (Numbers only rise, and a clock may be set.)
#     rule "value"    damaged or spent ones, then the others; among these the less important (greater priority number),
#                     then the one that is worth less per octet, then the older one
#     rule "none"     none
#
# A locked file never gives way. Whether a file may give way just now is its owner's business, and is asked last.

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator

from flight.core.future import Future
from flight.store.files.file_entry import FileEntry
from flight.store.files.file_names import DIRECTORIES
from flight.store.files.files_config import NONE, VALUE, FilesConfig

Rank = tuple[int, int, float, int]  # lower ones give way first
_KEPT = 1  # neither damaged nor spent
_NEWEST = 1 << 63  # above every number


class FileCatalogue:
    """The files that can be found.

    octets, files: sums by directory. claims: names that a transaction under way is about to give, until it is done.
    """

    def __init__(self, config: FilesConfig, spent: Callable[[FileEntry], bool]) -> None:
        self.octets = dict.fromkeys(DIRECTORIES, 0)
        self.files = dict.fromkeys(DIRECTORIES, 0)
        self.claims: dict[tuple[str, str], Future[None]] = {}
        self._rules = {directory: config.directory(directory).evict for directory in DIRECTORIES}
        self._spent = spent
        self._by_number: dict[int, FileEntry] = {}
        self._by_path: dict[tuple[str, str], FileEntry] = {}
        self._damage: dict[int, str] = {}
        self._ranks: dict[int, Rank] = {}
        self._order: dict[str, list[Rank]] = {directory: [] for directory in DIRECTORIES}

    def __len__(self) -> int:
        return len(self._by_number)

    def of_number(self, number: int) -> FileEntry | None:
        """Return the file of that number, or None."""
        return self._by_number.get(number)

    def find(self, directory: str, name: str) -> FileEntry | None:
        """Return the file of that name, or None."""
        return self._by_path.get((directory, name))

    def entries(self, directory: str = "") -> list[FileEntry]:
        """Return the files of a directory, or of all, in the order of their numbers."""
        entries = self._by_number.values()
        return sorted((e for e in entries if directory in ("", e.directory)), key=lambda entry: entry.number)

    @property
    def damaged(self) -> int:
        """How many files are known to be damaged."""
        return len(self._damage)

    def damage_of(self, number: int) -> str:
        """Say what is wrong with a content, empty if nothing is known to be."""
        return self._damage.get(number, "")

    def add(self, entry: FileEntry, damage: str = "") -> None:
        """Enter a file, in place of what stands under its number; its name must be free."""
        self.remove(entry.number)
        path = entry.directory, entry.name
        assert path not in self._by_path, path
        self._by_number[entry.number] = self._by_path[path] = entry
        self.octets[entry.directory] += entry.octets
        self.files[entry.directory] += 1
        if damage:
            self._damage[entry.number] = damage
        if not entry.locked and self._rules[entry.directory] != NONE:
            rank = self._ranks[entry.number] = self.rank(entry)
            insort(self._order[entry.directory], rank)

    def remove(self, number: int) -> FileEntry | None:
        """Take a file out, and return it; None if there is none of that number."""
        entry = self._by_number.pop(number, None)
        if entry is None:
            return None
        del self._by_path[entry.directory, entry.name]
        self.octets[entry.directory] -= entry.octets
        self.files[entry.directory] -= 1
        self._damage.pop(number, None)
        rank = self._ranks.pop(number, None)
        if rank is not None:
            order = self._order[entry.directory]
            del order[bisect_left(order, rank)]
        return entry

    def enter_damage(self, entry: FileEntry, damage: str) -> None:
        """Note that a content is not what it was."""
        known = self._by_number.get(entry.number)
        if known is not None:
            self.add(known, damage)

    def rank(self, entry: FileEntry) -> Rank:
        """Return the place of a file, which may be one to come, in the order of its directory."""
        kept = 0 if entry.number in self._damage or self._spent(entry) else _KEPT
        if self._rules[entry.directory] != VALUE:
            return kept, 0, 0.0, entry.number
        return kept, *_worth(entry.priority, entry.value, entry.octets), entry.number

    def rank_of_new(self, directory: str, octets: int, priority: int, value: float) -> Rank:
        """Return the rank of a file to come: those below it may give way to it."""
        if self._rules[directory] != VALUE:
            return _KEPT, 0, 0.0, _NEWEST
        return _KEPT, *_worth(priority, value, octets), _NEWEST

    def giving_way(self, directory: str, below: Rank | None = None) -> Iterator[FileEntry]:
        """Yield the files of a directory that give way, the first one first; only those of a rank below `below`."""
        for rank in self._order[directory]:
            if below is not None and rank >= below:
                return
            yield self._by_number[rank[-1]]


def _worth(priority: int, value: float, octets: int) -> tuple[int, float]:
    return -priority, value / max(1, octets)
