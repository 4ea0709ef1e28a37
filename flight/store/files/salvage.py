"""Contents that nobody owns after the vault has lost rows: they are kept, as `uploads/recovered-NUMBER`."""

# A content without a row is usually what a power cut left of a draft or of a deletion, and is deleted. But if the vault
# is damaged or gone, it may as well be a file that the ground was told is stored. Nobody can tell the two apart. So all
# of them become files, under a name that says what they are, and with the sha256 of what is found. The ground looks at
# them, and renames or deletes them; in `uploads` nothing gives way by default. They may be more than the quota there:
# then nothing new is taken before some are deleted.
#
# A vault that is not there at all is lost only if the store is not young: the power may have been cut before anything
# was stored in it for the first time.
#
# One block is read per step. A content is left to the sweep if it is empty or cannot be read, or if the catalogue is
# full.

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable

from flight.core.errors import StorageError
from flight.core.future import Future
from flight.store.files.catalogue import FileCatalogue
from flight.store.files.contents import FileContents
from flight.store.files.file_entry import FileEntry, row_key
from flight.store.files.file_names import UPLOADS
from flight.store.files.finishing import BLOCK_OCTETS
from flight.store.files.refusal import FileRefused
from flight.store.vault import Vault


class Salvage:
    """Makes files of the contents that nobody owns, if the vault has lost rows; `places` says how many more may be."""

    def __init__(
        self,
        catalogue: FileCatalogue,
        contents: FileContents,
        vault: Vault,
        tai_ns: Callable[[], int],
        places: Callable[[], int],
    ) -> None:
        self.recovered = 0
        self._catalogue = catalogue
        self._contents = contents
        self._vault = vault
        self._tai_ns = tai_ns
        self._places = places
        self._storing = 0
        self._is_needed = bool(vault.damage) or (vault.found_nothing and not contents.is_young)
        self._numbers: deque[int] | None = None  # known once all drafts of an earlier boot have been adopted
        self._hash = hashlib.sha256()
        self._at = 0  # how much of the first of them was read

    @property
    def waiting(self) -> int:
        """How many contents are still to be looked at."""
        return len(self._orphans())

    def _orphans(self) -> deque[int]:
        if self._numbers is None:
            self._numbers = deque(self._contents.orphan_numbers() if self._is_needed else ())
        return self._numbers

    def work_off(self) -> int:
        """Read the next block; return how many contents are still to be looked at, 0 if the vault takes nothing now."""
        numbers = self._orphans()
        if not numbers:
            return 0
        number = numbers[0]
        try:
            block = self._contents.read(number, self._at, BLOCK_OCTETS)
        except FileRefused:
            self._take_next()
            return len(numbers)
        self._hash.update(block)
        self._at += len(block)
        if len(block) == BLOCK_OCTETS:
            return len(numbers)
        if self._at and self._places() > self._storing and self._contents.is_orphan(number):
            try:
                self._store(number)
            except StorageError:
                self._at, self._hash = 0, hashlib.sha256()  # the vault takes nothing now: later
                return 0
        self._take_next()
        return len(numbers)

    def _take_next(self) -> None:
        self._orphans().popleft()
        self._at, self._hash = 0, hashlib.sha256()

    def _store(self, number: int) -> None:
        name = f"recovered-{number}"
        while self._catalogue.find(UPLOADS, name) is not None or (UPLOADS, name) in self._catalogue.claims:
            name += "+"
        path = UPLOADS, name
        entry = FileEntry(number, *path, self._at, self._hash.digest(), self._tai_ns())

        def stored(synced: Future[None]) -> None:
            del self._catalogue.claims[path]
            self._storing -= 1
            try:
                synced.result()
            except StorageError:
                return  # the next boot finds out whether the row is there
            self._catalogue.add(entry)
            self.recovered += 1

        done = self._vault.commit({row_key(number): entry.encode()})
        self._contents.adopt(number)
        self._storing += 1
        self._catalogue.claims[path] = done
        done.add_callback(stored)
