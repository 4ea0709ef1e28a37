"""The files of a node: found by directory and name once they are whole, and only then.

draft      a content without a name. A power cut, or a boot that does not adopt it, ends it
file       a content and its row in the vault. It stays until it is deleted, replaced or evicted
damaged    a row whose content is missing, of another length or with another sha256: shown, and never served

draft --finish: hashed, content synced, then row stored--> file
file  --removal: row gone and stored, then content gone--> nothing
file  --eviction: reported, then row gone, then content--> nothing
"""

# What a power cut leaves, by the instant at which it comes (ADR 0043):
#
#     as a draft is written      a content that no row names: `adopt` goes on with it, or `sweep` deletes it
#     ahead of the row           the same
#     after the row              the file, whole, since its content was durable first
#     as a file replaces one     the former or the new one: one transaction changes both rows
#     after the row was removed  a content that no row names
#
# What is lost by damage: if the vault lost transactions, files whose rows are gone get other names (salvage.py), and
# rows that came back (`Vault.is_stale`) are damaged, since their contents went after them. No number is given twice
# (contents.py), so a row that came back never shows a content of another file.
#
# Nothing here takes longer for a longer file or for more files, except `entries`, the search for what may give way, and
# the boot: these look at each of at most FILES_MAX entries.

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass

from flight.core.errors import DecodeError, StorageError
from flight.core.future import Future
from flight.core.platform import Storage
from flight.core.task import Task
from flight.store.files.admission import Admission
from flight.store.files.catalogue import FileCatalogue
from flight.store.files.contents import FileContents, number_of
from flight.store.files.draft import Draft, DraftState, Terms
from flight.store.files.eviction import PER_STEP, Evictions, OnEvicted
from flight.store.files.file_changes import FileChange, FileChanges
from flight.store.files.file_entry import ROW, FileEntry, row_key
from flight.store.files.file_names import LOGS, NAME_MAX, checked_directory
from flight.store.files.files_config import FilesConfig
from flight.store.files.finishing import BLOCK_OCTETS, Finisher
from flight.store.files.refusal import FileRefused, Reason
from flight.store.files.salvage import Salvage
from flight.store.vault import Vault


@dataclass(frozen=True, slots=True)
class Usage:
    """What a directory holds.

    octets: of its files, and what drafts have reserved. room_octets: of a new file for which nothing need give way.
    """

    octets: int
    files: int
    quota_octets: int
    room_octets: int


class FileStore:
    """The files on `storage`, which is the part of one user, `files`, and in rows `file.NUMBER` of `vault`.

    on_evicted(entry, why): a file is given up to make room. It is called from `sweep`, `draft`, `rename_draft` and
    `Draft.write`, before the row goes. evictable: whether the file may be given up now, such as False while it is being
    sent. spent: its owner has no more use for the file, so it goes before all others; must depend on the entry alone.
    """

    def __init__(
        self,
        config: FilesConfig,
        storage: Storage,
        vault: Vault,
        *,
        tai_ns: Callable[[], int],
        on_evicted: OnEvicted = lambda _entry, _why: None,
        evictable: Callable[[FileEntry], bool] = lambda _entry: True,
        spent: Callable[[FileEntry], bool] = lambda _entry: False,
    ) -> None:
        self._config = config
        self._vault = vault
        self._catalogue = FileCatalogue(config, spent)
        rows = {number: row for key, row in vault.rows(ROW) if (number := number_of(key)) is not None}
        self._contents = FileContents(storage, rows)
        self._evictions = Evictions(config, self._catalogue, self._contents, vault, on_evicted, evictable)
        self._admission = Admission(config, self._catalogue, self._contents, self._evictions)
        self._finisher = Finisher(self._catalogue, self._contents, self._admission, vault, tai_ns)
        self._changes = FileChanges(self._catalogue, self._contents, self._admission, vault)
        self._salvage = Salvage(
            self._catalogue, self._contents, vault, tai_ns,
            places=lambda: config.files_max - len(self._catalogue) - len(self._admission.drafts),
        )  # fmt: skip
        for number in sorted(rows, reverse=True):  # the newest first: of two of one name it is the one that holds
            self._recover(number, rows[number])

    # What is there

    @property
    def evicted(self) -> int:
        """Files given up since the boot."""
        return self._evictions.evicted

    @property
    def swept(self) -> int:
        """Contents without a row that were deleted since the boot."""
        return self._contents.swept

    @property
    def recovered(self) -> int:
        """Contents that were found after a loss of the vault, and are files under a new name, since the boot."""
        return self._salvage.recovered

    @property
    def owed(self) -> int:
        """How much there is for `sweep` to do."""
        return self._evictions.waiting + self._contents.owed + self._contents.orphans

    @property
    def damaged(self) -> int:
        """Files that are known to be damaged."""
        return self._catalogue.damaged

    @property
    def syncing(self) -> Future[None] | None:
        """The newest sync of much that was written. Who writes faster than the disk awaits it now and then."""
        return self._contents.syncing

    def find(self, directory: str, name: str) -> FileEntry | None:
        """Return the file of that name, or None."""
        return self._catalogue.find(directory, name)

    def of_number(self, number: int) -> FileEntry | None:
        """Return the file of that number, or None."""
        return self._catalogue.of_number(number)

    def entries(self, directory: str = "") -> list[FileEntry]:
        """Return the files of a directory, or of all, in the order of their numbers, so that the oldest is first."""
        return self._catalogue.entries(directory)

    def usage(self, directory: str) -> Usage:
        """Return what a directory holds and still takes. Raises FileRefused if there is no such directory."""
        quota = self._config.directory(checked_directory(directory)).quota_octets
        octets = self._admission.used(directory)
        room = max(0, min(quota - octets, self._admission.room()))
        return Usage(octets, self._catalogue.files[directory], quota, room)

    def damage_of(self, entry: FileEntry) -> str:
        """Say what is wrong with the content of a file, empty if nothing is known to be."""
        return self._catalogue.damage_of(entry.number)

    def read(self, entry: FileEntry, at: int, octets: int) -> bytes:
        """Return octets of a file. Raises FileRefused if it is gone, damaged or unreadable.

        That the content is what it was is known of files that this boot has finished, and after `verify`.
        """
        if self._catalogue.of_number(entry.number) is None:
            raise FileRefused(Reason.ABSENT, f"there is no file {entry.path}")
        damage = self._catalogue.damage_of(entry.number)
        if damage:
            raise FileRefused(Reason.DAMAGED, f"{entry.path}: {damage}")
        try:
            found = self._contents.read(entry.number, at, max(0, min(octets, entry.octets - at)))
        except FileRefused as error:
            self._catalogue.enter_damage(entry, error.text)
            raise
        if len(found) < min(octets, entry.octets - at):
            self._refuse_damaged(entry, "the content is shorter than it was")
        return found

    def load(self, entry: FileEntry) -> Generator[None, None, bytes]:
        """Return the whole content, in slices, its sha256 checked. Raises FileRefused."""
        blocks: list[bytes] = []
        yield from self._hash(entry, blocks.append)
        return b"".join(blocks)

    def verify(self, entry: FileEntry) -> Generator[None, None, None]:
        """Check the sha256 of the content, in slices. Raises FileRefused, with DAMAGED if it is another."""
        yield from self._hash(entry, lambda _block: None)

    def _hash(self, entry: FileEntry, take: Callable[[bytes], None]) -> Generator[None, None, None]:
        digest = hashlib.sha256()
        for at in range(0, entry.octets, BLOCK_OCTETS):
            block = self.read(entry, at, BLOCK_OCTETS)
            digest.update(block)
            take(block)
            yield
        self.read(entry, 0, 0)  # refuses what has gone meanwhile
        if digest.digest() != entry.sha256:
            self._refuse_damaged(entry, "the content is not what was stored, its sha256 is another")

    def _refuse_damaged(self, entry: FileEntry, damage: str) -> None:
        self._catalogue.enter_damage(entry, damage)
        raise FileRefused(Reason.DAMAGED, f"{entry.path}: {damage}")

    # Files to come

    def draft(
        self,
        directory: str,
        name: str,
        octets: int | None,
        *,
        priority: int = 1,
        value: float = 1.0,
        label: bytes = b"",
        replaces: bool = False,
    ) -> Draft:
        """Begin a file, with room for `octets` of it reserved. Raises FileRefused; MisuseError for wild attributes.

        octets: None if the length is not known yet. name: empty if it is not known yet (`rename_draft`). replaces: a
        file of that name gives way once this one is whole.
        """
        terms = Terms(priority, value, label, replaces)
        self._admission.check(directory, name, replaces)
        if octets is not None and octets < 0:
            raise FileRefused(Reason.LENGTH, f"{directory}/{name} of {octets} octets, should be 0 or more")
        draft = self._new_draft(self._contents.new_number(), directory, name, octets, terms)
        self._admission.enter(draft, octets or 0)
        return draft

    def adopt(
        self,
        number: int,
        directory: str,
        name: str,
        octets: int | None,
        *,
        priority: int = 1,
        value: float = 1.0,
        label: bytes = b"",
        replaces: bool = False,
    ) -> Draft:
        """Go on with a draft of an earlier boot. Raises FileRefused; EXISTS if that very number is a whole file.

        `Draft.grown_octets` says how long the content is that was found.
        """
        if self._catalogue.of_number(number) is not None:
            raise FileRefused(Reason.EXISTS, f"{directory}/{name} is whole already, as file {number}")
        if number in self._admission.drafts:
            raise FileRefused(Reason.BUSY, f"{directory}/{name}: content {number} is being written already")
        terms = Terms(priority, value, label, replaces)
        self._admission.check(directory, name, replaces)
        found = self._contents.size(number) or 0
        if octets is not None and found > octets:
            raise FileRefused(Reason.DAMAGED, f"{directory}/{name} has {found} octets on storage, more than {octets}")
        draft = self._new_draft(number, directory, name, octets, terms)
        draft.begin_again_with(found)
        self._admission.enter(draft, found if octets is None else octets)
        self._contents.adopt(number)
        return draft

    def rename_draft(self, draft: Draft, directory: str, name: str, octets: int | None) -> None:
        """Give a draft another name and length, since octets may come before what says these. Raises FileRefused."""
        former = draft.directory, draft.name, draft.octets
        if draft.state is not DraftState.OPEN:
            raise FileRefused(Reason.BUSY, f"{draft.path} is {draft.state.value}")
        self._admission.check(directory, name, draft.terms.replaces, draft)
        if octets is not None and draft.grown_octets > octets:
            text = f"{directory}/{name} has {draft.grown_octets} octets already, more than {octets}"
            raise FileRefused(Reason.LENGTH, text)
        reserved = draft.reserved_octets
        self._admission.leave(draft)
        draft.directory, draft.name, draft.octets = directory, name, octets
        try:
            self._admission.enter(draft, draft.grown_octets if octets is None else octets)
        except FileRefused:
            draft.directory, draft.name, draft.octets = former
            self._admission.put_back(draft, reserved)
            raise

    def _new_draft(self, number: int, directory: str, name: str, octets: int | None, terms: Terms) -> Draft:
        return Draft(
            self._contents, number, directory, name, octets, terms,
            reserve=self._admission.extend, relieve=self._relieve,
        )  # fmt: skip

    def _relieve(self) -> None:
        self._evictions.work_off()
        self._contents.work_off(PER_STEP, sweep=False)

    def drop(self, draft: Draft) -> None:
        """Give up a draft and its content. Nothing happens to one that has become a file, or is just being stored."""
        if draft.state in (DraftState.OPEN, DraftState.FINISHING):
            draft.state = DraftState.ENDED
            self._admission.leave(draft)
            self._contents.delete(draft.number)

    async def finish(self, task: Task, draft: Draft, check: Callable[[bytes], None] | None = None) -> FileEntry:
        """Make a draft a file: hash it in slices, make the content durable, then its row. Raises FileRefused.

        `check` is given every block in order, and may raise FileRefused. A draft that is refused stays a draft, unless
        the storage itself has failed. All octets up to the announced length must have been written.
        """
        return await self._finisher.finish(task, draft, check)

    # Changes, each to be stored by the caller in the same step

    def commit(self, change: FileChange) -> Future[None]:
        """Store a change by itself; return a future that is done when it is durable and applied. Raises FileRefused."""
        return self._changes.commit(change)

    def removal(self, entry: FileEntry) -> FileChange:
        """Return the change that deletes a file. Raises FileRefused if it is gone or locked."""
        return self._changes.removal(entry)

    def renaming(self, entry: FileEntry, directory: str, name: str) -> FileChange:
        """Return the change that renames a file. Raises FileRefused if it is gone or locked, or the name is taken."""
        return self._changes.renaming(entry, directory, name)

    def locking(self, entry: FileEntry, locked: bool) -> FileChange:
        """Return the change that locks or unlocks a file: a locked one is neither deleted nor evicted nor replaced."""
        return self._changes.locking(entry, locked)

    def labelling(self, entry: FileEntry, label: bytes) -> FileChange:
        """Return the change that sets the owner's own state of a file. Raises FileRefused if the file is gone."""
        return self._changes.labelling(entry, label)

    # Duties

    def sweep(self) -> int:
        """Do a bounded part of what is owed: evictions, deletions, contents that nobody owns. Return how much is left.

        If the vault has lost rows, contents that nobody owns become files (salvage.py); otherwise they are deleted.

        To be called after all drafts of an earlier boot were adopted, until it returns 0, and then once in a while.
        """
        salvaging = self._salvage.work_off()
        sweeps = not self._salvage.waiting
        return salvaging + self._evictions.work_off() + self._contents.work_off(PER_STEP, sweep=sweeps)

    def give_up(self, octets: int) -> int:
        """Make room for somebody more important (UserStorage.on_pressure); return the octets gained."""
        return self._evictions.give_up(octets)

    def _recover(self, number: int, row: bytes) -> None:
        """Enter a file that the vault names at boot, with what is wrong with it."""
        size = self._contents.size(number)
        try:
            entry, damage = FileEntry.decode(number, row), ""
        except DecodeError as error:
            entry = FileEntry(number, LOGS, f"unreadable-{number}", size or 0, bytes(32), 0)
            damage = str(error)
        if not damage and size is None:
            damage = "the content is gone"
            if self._vault.is_stale(row_key(number)):
                damage += ", as the file may be: transactions of the vault were lost"
        elif not damage and size != entry.octets:
            damage = f"the content has {size} of {entry.octets} octets"
        name, pluses = entry.name, ""
        while self._catalogue.find(entry.directory, entry.name) is not None:  # a lost transaction brought this one back
            pluses += "+"
            suffix = f"{pluses}{number}"
            entry = dataclasses.replace(entry, name=name[: NAME_MAX - len(suffix)] + suffix)
        self._catalogue.add(entry, damage)
        if pluses:
            with suppress(StorageError):  # if it is not stored, the next boot gives the same name
                self._vault.stage({row_key(number): entry.encode()})
