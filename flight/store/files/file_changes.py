"""Changes of whole files: deleted, renamed, locked, labelled. Each is a transaction that somebody else stores."""

# A change is made from the row as the vault has it at that instant, and not from what is shown. So two changes of one
# file that are both under way do not undo each other, and a file whose row is gone, though not yet durably, is gone.
#
# A name that is about to be given is claimed, so that nobody else gives it meanwhile: whoever makes a change sees to it
# that `apply` or `undo` is called, whatever happens.

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flight.core.errors import DecodeError, MisuseError, StorageError
from flight.core.future import Future
from flight.store.files.admission import Admission
from flight.store.files.catalogue import FileCatalogue
from flight.store.files.contents import FileContents, refusal_of
from flight.store.files.file_entry import LABEL_OCTETS_MAX, FileEntry, row_key
from flight.store.files.file_names import checked_directory, checked_name
from flight.store.files.refusal import FileRefused, Reason
from flight.store.vault import Vault


@dataclass(frozen=True, slots=True)
class FileChange:
    """A change to be stored with a command's outcome, as flight.contract.app.Durable has it.

    `changes` of the vault's rows go into one transaction, in the step in which the change was made. `apply` is called
    once that is durable, `undo` if it was not stored.
    """

    changes: Mapping[str, bytes | None]
    apply: Callable[[], None] = lambda: None
    undo: Callable[[], None] = lambda: None


class FileChanges:
    """Makes the changes of files that can be found."""

    def __init__(self, catalogue: FileCatalogue, contents: FileContents, admission: Admission, vault: Vault) -> None:
        self._catalogue = catalogue
        self._contents = contents
        self._admission = admission
        self._vault = vault

    def commit(self, change: FileChange) -> Future[None]:
        """Store a change by itself; return a future that is done when it is durable and applied. Raises FileRefused."""
        done: Future[None] = Future()

        def stored(synced: Future[None]) -> None:
            try:
                synced.result()
            except StorageError as error:
                change.undo()
                done.set_error(refusal_of(error))
            else:
                change.apply()
                done.set_result(None)

        try:
            committed = self._vault.commit(change.changes)
        except StorageError as error:
            change.undo()
            raise refusal_of(error) from None
        committed.add_callback(stored)
        return done

    def removal(self, entry: FileEntry) -> FileChange:
        """Return the change that deletes a file. Raises FileRefused if it is gone or locked."""
        found = self._current(entry)
        if found.locked:
            raise FileRefused(Reason.LOCKED, f"{found.path} is locked and cannot be deleted")

        def apply() -> None:
            self._catalogue.remove(found.number)
            self._contents.delete(found.number)

        return FileChange({row_key(found.number): None}, apply)

    def renaming(self, entry: FileEntry, directory: str, name: str) -> FileChange:
        """Return the change that renames a file. Raises FileRefused if it is gone or locked, or the name is taken."""
        found = self._current(entry)
        if found.locked:
            raise FileRefused(Reason.LOCKED, f"{found.path} is locked and cannot be renamed")
        path = checked_directory(directory), checked_name(name)
        self._admission.check(*path, replaces=False)
        if path in self._catalogue.claims:
            raise FileRefused(Reason.BUSY, f"{directory}/{name} is being written by somebody else")
        if directory != found.directory:
            self._admission.check_quota(directory, found.octets)
        claim = self._catalogue.claims[path] = Future()

        def end() -> None:
            del self._catalogue.claims[path]
            claim.set_result(None)

        def apply() -> None:
            end()
            self._refresh(found.number)

        renamed = dataclasses.replace(found, directory=directory, name=name)
        return FileChange({row_key(found.number): renamed.encode()}, apply, end)

    def locking(self, entry: FileEntry, locked: bool) -> FileChange:
        """Return the change that locks or unlocks a file: a locked one is neither deleted nor evicted nor replaced."""
        return self._changed(dataclasses.replace(self._current(entry), locked=locked))

    def labelling(self, entry: FileEntry, label: bytes) -> FileChange:
        """Return the change that sets the owner's own state of a file. Raises FileRefused if the file is gone."""
        if len(label) > LABEL_OCTETS_MAX:
            raise MisuseError(f"label of {len(label)} octets, should be at most {LABEL_OCTETS_MAX}")
        return self._changed(dataclasses.replace(self._current(entry), label=label))

    def _changed(self, entry: FileEntry) -> FileChange:
        return FileChange({row_key(entry.number): entry.encode()}, lambda: self._refresh(entry.number))

    def _current(self, entry: FileEntry) -> FileEntry:
        """Return a file as the vault has it. Raises FileRefused if it is gone, or about to go."""
        row = self._vault.get(row_key(entry.number))
        found = self._catalogue.of_number(entry.number)
        if row is None or found is None:
            raise FileRefused(Reason.ABSENT, f"there is no file {entry.path}")
        try:
            return FileEntry.decode(entry.number, row)
        except DecodeError:
            return found

    def _refresh(self, number: int) -> None:
        """Show a file as the vault has it now."""
        row, known = self._vault.get(row_key(number)), self._catalogue.of_number(number)
        if row is None or known is None:
            return
        entry = FileEntry.decode(number, row)
        holder = self._catalogue.find(entry.directory, entry.name)
        if holder is not None and holder.number != number:  # only after damage: see FileStore._recover
            entry = dataclasses.replace(entry, directory=known.directory, name=known.name)
        self._catalogue.add(entry, self._catalogue.damage_of(number))
