"""How a draft becomes a file: hashed in slices, its content made durable, then its row stored."""

# A slice is BLOCK_OCTETS, and others have their turn between two of them. What the draft has hashed as it came in is
# not read again, unless somebody wants to see every block.

from __future__ import annotations

from collections.abc import Callable

from flight.core.errors import StorageError
from flight.core.future import Future
from flight.core.task import Task
from flight.store.files.admission import Admission
from flight.store.files.catalogue import FileCatalogue
from flight.store.files.contents import FileContents, refusal_of
from flight.store.files.draft import Draft, DraftState
from flight.store.files.file_entry import FileEntry, row_key
from flight.store.files.refusal import FileRefused, Reason
from flight.store.vault import Vault

BLOCK_OCTETS = 65_536  # read and hashed in one step: less than 1 ms on a Raspberry Pi 4 (ADR 0022)


class Finisher:
    """Makes drafts files."""

    def __init__(
        self,
        catalogue: FileCatalogue,
        contents: FileContents,
        admission: Admission,
        vault: Vault,
        tai_ns: Callable[[], int],
    ) -> None:
        self._catalogue = catalogue
        self._contents = contents
        self._admission = admission
        self._vault = vault
        self._tai_ns = tai_ns

    async def finish(self, task: Task, draft: Draft, check: Callable[[bytes], None] | None = None) -> FileEntry:
        """Make a draft a file: hash it in slices, make the content durable, then its row. Raises FileRefused.

        `check` is given every block in order, and may raise FileRefused. A draft that is refused stays a draft, unless
        the storage itself has failed. All octets up to the announced length must have been written.
        """
        self._close(draft)
        try:
            await self._hash_draft(task, draft, check)
            if draft.grown_octets == 0:
                self._put_empty(draft)
            await self._synced()
            while (claim := self._catalogue.claims.get((draft.directory, draft.name))) is not None:
                await task.first((claim,))
            self._go_on(draft)
            return await self._store(draft)
        finally:
            if draft.state is DraftState.FINISHING:
                draft.state = DraftState.OPEN

    def _close(self, draft: Draft) -> None:
        if draft.state is not DraftState.OPEN:
            raise FileRefused(Reason.BUSY, f"{draft.path} is {draft.state.value}")
        if not draft.name:
            raise FileRefused(Reason.NAME, f"{draft.path} has no name yet")
        if draft.octets is not None and draft.grown_octets < draft.octets:
            text = f"{draft.path} has {draft.grown_octets} of {draft.octets} octets"
            raise FileRefused(Reason.LENGTH, text)
        self._admission.check_name(draft.directory, draft.name, draft.terms.replaces)
        draft.state = DraftState.FINISHING

    def _go_on(self, draft: Draft) -> None:
        """Raise FileRefused if a draft was dropped while others had their turn."""
        if draft.state is not DraftState.FINISHING:
            raise FileRefused(Reason.ABSENT, f"{draft.path} was dropped")

    async def _hash_draft(self, task: Task, draft: Draft, check: Callable[[bytes], None] | None) -> None:
        at = draft.hashed_octets if check is None else 0
        while at < draft.grown_octets:
            block = self._contents.read(draft.number, at, min(BLOCK_OCTETS, draft.grown_octets - at))
            if not block:
                raise FileRefused(Reason.DAMAGED, f"{draft.path} ends at {at} of {draft.grown_octets} octets")
            if check is not None:
                check(block)
            at += len(block)
            if at > draft.hashed_octets:
                draft.hash.update(memoryview(block)[draft.hashed_octets - at :])
                draft.hashed_octets = at
            await task.sleep(0)
            self._go_on(draft)

    def _put_empty(self, draft: Draft) -> None:
        """Make the content of a file without octets, so that every file has one."""
        try:
            self._contents.write(draft.number, 0, b"")
        except StorageError as error:
            raise refusal_of(error) from None

    async def _synced(self) -> None:
        try:
            await self._contents.sync()
        except StorageError as error:
            raise refusal_of(error) from None

    def _store(self, draft: Draft) -> Future[FileEntry]:
        """Store the row of a draft whose content is durable; return a future of the file. Raises FileRefused."""
        path = draft.directory, draft.name
        former = self._admission.check_name(*path, draft.terms.replaces)
        entry = FileEntry(
            draft.number, *path, draft.grown_octets, draft.hash.digest(), self._tai_ns(),
            draft.terms.priority, draft.terms.value, label=draft.terms.label,
        )  # fmt: skip
        changes: dict[str, bytes | None] = {row_key(entry.number): entry.encode()}
        if former is not None:
            changes[row_key(former.number)] = None
        outcome: Future[FileEntry] = Future()

        # By a callback, so that a file that is stored is there also if the task has been cancelled meanwhile.
        def stored(synced: Future[None]) -> None:
            del self._catalogue.claims[path]
            draft.state = DraftState.ENDED
            self._admission.leave(draft)
            try:
                synced.result()
            except StorageError as error:
                outcome.set_error(refusal_of(error))  # the next boot finds out whether the row is there
                return
            if former is not None:
                self._catalogue.remove(former.number)
                self._contents.delete(former.number)
            self._catalogue.add(entry)
            outcome.set_result(entry)

        try:
            done = self._vault.commit(changes)
        except StorageError as error:
            raise refusal_of(error) from None
        draft.state = DraftState.STORED
        self._catalogue.claims[path] = done
        done.add_callback(stored)
        return outcome
