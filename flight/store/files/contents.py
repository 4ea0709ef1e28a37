"""Contents on storage: `files.NUMBER`, each under a number that is given once and never again."""

# Numbers (ADR 0018, ADR 0043). A number names a content in rows of the vault, in records of transfers and on storage.
# Any of these may come back from an earlier time: a lost transaction brings back a row, a power cut a content. Under a
# number that was given twice the row would then show another file. So:
#
# - The record `files.mark`, of two generations, holds a number up to which all may have been given. It is raised by a
#   block before the first number of that block is given. It is a replacement made ahead of the content, so whatever of
#   that number becomes durable with a sync or with a replacement, the mark is durable with it.
# - At boot numbers go on from the mark, and above every number that is seen in the vault or on storage.
# - If the mark is damaged, behind or gone, they go on 2^20 above all that is seen: the vault may be gone as well.
#
# Deletions. What storage does not delete at once is owed, and tried again step by step. What nobody owns at boot is
# owed as well, once the drafts of the boot before have been adopted.
#
# A commit of somebody else must not wait long for the octets of files. If names have changed a commit takes everything
# that is not durable (flight/linux/pending_changes.py), so the files are synced after each _UNSYNCED_OCTETS.

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Collection

from flight.core.errors import StorageError
from flight.core.future import Future
from flight.core.platform import Storage
from flight.core.storage import StorageFull
from flight.store.files.refusal import FileRefused, Reason
from flight.store.generations import Generations, Presence

USER = "files"
_PREFIX = f"{USER}."
_MARK = f"{USER}.mark"
_MARK_NUMBER = struct.Struct(">Q")
_BLOCK = 64  # numbers that one write of the mark is good for
_JUMP = 1 << 20
_NUMBER = re.compile(r"[1-9][0-9]{0,18}")
_NUMBER_MAX = 1 << 62  # a name or a key with a wilder number is damage, and would leave no numbers above it
_UNSYNCED_OCTETS = 1 << 20


class FileContents:
    """The contents on `storage`. `rows` are the numbers that the vault names: their contents have an owner."""

    def __init__(self, storage: Storage, rows: Collection[int]) -> None:
        self.swept = 0
        self.syncing: Future[None] | None = None  # the newest sync that was asked for because much was written
        self._storage = storage
        self._unsynced = 0
        self._mark = Generations(storage, _MARK)
        self._owed: deque[str] = deque()
        marks = f"{_MARK}.a", f"{_MARK}.b"
        orphans = [name for name in storage.names() if name.startswith(_PREFIX) and name not in marks]
        self._orphans: dict[str, None] = dict.fromkeys(orphans)
        found = [number for name in orphans if (number := number_of(name.removeprefix(_PREFIX))) is not None]
        for number in rows:
            self._orphans.pop(_name(number), None)
        self.is_young = True  # nothing was ever stored, or by one boot alone and not much
        self._next, self._reserved = self._first_number(max((*rows, *found), default=0)), 0

    def _first_number(self, highest: int) -> int:
        """Return the number from which on none was ever given. `highest`: the highest one that is seen."""
        marks = [raw for raw in self._mark.load_all() if len(raw) == _MARK_NUMBER.size]
        mark = int(_MARK_NUMBER.unpack(marks[0])[0]) if marks else 0
        self.is_young = max(mark, highest) <= 1 + _BLOCK
        new = self._mark.found is Presence.NOTHING and not highest
        sound = self._mark.found is Presence.WHOLE and mark > highest
        return max(mark, highest + 1) if new or sound else max(mark, highest) + _JUMP

    @property
    def owed(self) -> int:
        """How many deletions are still to be made, without those of contents that nobody owns."""
        return len(self._owed)

    @property
    def orphans(self) -> int:
        """How many contents nobody owns."""
        return len(self._orphans)

    def orphan_numbers(self) -> list[int]:
        """Return the numbers of the contents that nobody owns, the oldest first."""
        numbers = (number_of(name.removeprefix(_PREFIX)) for name in self._orphans)
        return sorted(number for number in numbers if number is not None)

    def is_orphan(self, number: int) -> bool:
        """Return whether nobody owns a content."""
        return _name(number) in self._orphans

    def new_number(self) -> int:
        """Return a number that was never given. Raises FileRefused."""
        if self._next >= self._reserved:
            try:
                self._mark.stage(_MARK_NUMBER.pack(self._next + _BLOCK))
            except StorageError as error:
                raise refusal_of(error) from None
            self._reserved = self._next + _BLOCK
        number = self._next
        self._next += 1
        return number

    def adopt(self, number: int) -> int:
        """Take a content of an earlier boot out of those that nobody owns; return its length, 0 if there is none."""
        self._orphans.pop(_name(number), None)
        self._next = max(self._next, number + 1)
        return self.size(number) or 0

    def size(self, number: int) -> int | None:
        """Return the length of a content, None if there is none."""
        return self._storage.size(_name(number))

    def free_octets(self) -> int:
        """Return how many octets storage takes, 0 if it does not answer."""
        try:
            return self._storage.free_octets()
        except StorageError:
            return 0

    def read(self, number: int, at: int, octets: int) -> bytes:
        """Return octets of a content, fewer if it ends before. Raises FileRefused."""
        try:
            found = self._storage.read(_name(number), at, octets)
        except StorageError as error:
            raise FileRefused(Reason.DAMAGED, str(error)) from None
        return found or b""

    def write(self, number: int, at: int, octets: bytes | memoryview) -> None:
        """Write octets of a content. Raises StorageError, StorageFull if there is no room."""
        self._storage.write(_name(number), at, octets)
        self._unsynced += len(octets)
        if self._unsynced >= _UNSYNCED_OCTETS:
            self._unsynced = 0
            self.syncing = self._storage.sync(_PREFIX)

    def sync(self) -> Future[None]:
        """Return a future that is done when everything that was written to contents is durable."""
        self._unsynced = 0
        return self._storage.sync(_PREFIX)

    def delete(self, number: int) -> bool:
        """Delete a content, or owe it if storage does not. Return whether it is deleted."""
        return self._delete(_name(number))

    def work_off(self, deletions: int, *, sweep: bool) -> int:
        """Make as many of the owed deletions, those of orphans too if `sweep`; return how many more there are."""
        for _ in range(min(deletions, len(self._owed))):
            if not self._delete(self._owed.popleft()):
                return 0  # storage deletes nothing now: later
            deletions -= 1
        while sweep and self._orphans and deletions > 0:
            name = next(iter(self._orphans))
            del self._orphans[name]
            deletions -= 1
            self.swept += 1
            if not self._delete(name):
                return 0
        return len(self._owed) + (len(self._orphans) if sweep else 0)

    def _delete(self, name: str) -> bool:
        try:
            self._storage.delete(name)
        except StorageError:
            self._owed.append(name)
            return False
        return True


def number_of(text: str) -> int | None:
    """Return the number that `text` is, in the one way in which it is written here; None if it is not one."""
    if _NUMBER.fullmatch(text) is None:
        return None
    number = int(text)
    return number if number < _NUMBER_MAX else None


def refusal_of(error: StorageError) -> FileRefused:
    """Return the refusal that says the same."""
    return FileRefused(Reason.ROOM if isinstance(error, StorageFull) else Reason.STORAGE, str(error))


def _name(number: int) -> str:
    return f"{_PREFIX}{number}"
