"""The CFDP entity's way to files (727.0-B-5, 4.9): whole files of the store on the way down, drafts on the way up.

What comes up goes into the directories `uploads` and `models`. The others are the node's own.
"""

# The entity knows transactions, the store knows numbers of contents. This file holds which belongs to which:
#
#     sources   the file that a transaction sends. It may be neither evicted nor deleted meanwhile; if it is gone all
#               the same, the next read says so, and the transaction is cancelled with these words.
#     drafts    what a transaction has received. It has a place on storage and no name, so nobody finds half a file.
#               Octets that come before the metadata go into a draft that gets its name later.
#     kept      contents that were made files before the record of their transaction said so: a loss of power came in
#               between. Such a transaction is complete, and nothing more is written for it.
#
# A file of this boot is what was stored. One of an earlier boot may have been damaged since, and what is read of it
# would go down with a checksum that fits: so its SHA-256 is compared first, once (`verify`).
#
# After a boot `resume` is told the number of the content that a stored record names, before the entity restores the
# transaction. If that content is gone, the record is worth nothing: its ranges would claim octets that are not there.

from __future__ import annotations

from flight.core.errors import StorageError
from flight.core.task import Task
from flight.link.cfdp.conditions import ConditionCode, FileStatus
from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.transactions.filestore import DestinationFile, FilestoreRefusal, SourceFile
from flight.store.files.draft import Draft
from flight.store.files.file_entry import FileEntry
from flight.store.files.file_names import MODELS, UPLOADS, split_path
from flight.store.files.file_store import FileStore
from flight.store.files.refusal import FileRefused, Reason

UPLOAD_DIRECTORIES = (UPLOADS, MODELS)
TEXTS_MAX = 8  # that are being sent from memory
_TEXT = "/memory/"  # no path of the store


class NodeFilestore:
    """flight.link.cfdp.transactions.filestore.Filestore over the node's file store."""

    def __init__(self, store: FileStore) -> None:
        self.store = store
        self.sources: dict[TransactionId, int] = {}  # numbers of files that are being sent
        self.drafts: dict[TransactionId, Draft] = {}
        self.kept: dict[TransactionId, int] = {}
        self.names: dict[TransactionId, str] = {}  # what the ground calls its files, also those that are refused
        self._verified: set[int] = set()
        self._texts: dict[str, bytes] = {}
        self._text_of: dict[TransactionId, str] = {}
        self._text = 0

    # Down

    def open_source(self, name: str) -> SourceFile:
        """Open a file by its path, or what is held in memory. Raises FilestoreRefusal."""
        if name in self._texts:
            return _Text(self._texts[name])
        return _StoredFile(self.store, self._stored(name))

    def sent_by(self, transaction: TransactionId, name: str) -> None:
        """Take in that a transaction sends what `name` opens, or nothing if it is empty. Raises FilestoreRefusal."""
        if name in self._texts:
            self._text_of[transaction] = name
        elif name:
            self.sources[transaction] = self._stored(name).number

    def _stored(self, name: str) -> FileEntry:
        try:
            entry = self.store.find(*split_path(name))
        except FileRefused as refused:
            raise _refusal(refused) from None
        if entry is None:
            raise FilestoreRefusal(f"there is no file {name}")
        return entry

    def is_source(self, entry: FileEntry) -> bool:
        """Return whether a transaction is sending the file."""
        return entry.number in self.sources.values()

    def is_trusted(self, entry: FileEntry) -> bool:
        """Return whether the file is known to be what was stored."""
        return entry.number in self._verified

    def trust(self, entry: FileEntry) -> None:
        """Take in that the file was stored in this boot."""
        self._verified.add(entry.number)

    async def verify(self, task: Task, entry: FileEntry) -> None:
        """Check the SHA-256 of a file of an earlier boot, in slices. Raises FileRefused."""
        if entry.number in self._verified:
            return
        for _ in self.store.verify(entry):
            await task.sleep(0)
        self._verified.add(entry.number)

    def hold(self, text: bytes) -> str:
        """Hold octets in memory that are to be sent, until their transaction is forgotten; return their name.

        Raises FilestoreRefusal if too many are on their way.
        """
        if len(self._texts) >= TEXTS_MAX:
            raise FilestoreRefusal(f"{TEXTS_MAX} texts are on their way from memory already")
        self._text += 1
        name = f"{_TEXT}{self._text}"
        self._texts[name] = text
        return name

    def drop(self, name: str) -> None:
        """Let go of octets in memory. Nothing happens if they are unknown."""
        self._texts.pop(name, None)

    # Up

    def resume(self, transaction: TransactionId, number: int, octets: int) -> None:
        """Go on with the content of a transaction of the boot before, which had grown to `octets`.

        Raises FileRefused if it is gone.
        """
        if self.store.of_number(number) is not None:
            self.kept[transaction] = number
            return
        self.drafts[transaction] = draft = self.store.adopt(number, UPLOADS, "", None, replaces=True)
        if draft.grown_octets < octets:
            raise FileRefused(Reason.DAMAGED, f"{draft.grown_octets} of {octets} octets are left of what had come")

    def number_of(self, transaction: TransactionId) -> int:
        """Return the number of the content that a transaction reads or writes, 0 for none."""
        draft = self.drafts.get(transaction)
        if draft is not None:
            return draft.number
        return self.kept.get(transaction, self.sources.get(transaction, 0))

    def grown_octets(self, transaction: TransactionId) -> int:
        """Return the length of what a transaction has received so far."""
        draft = self.drafts.get(transaction)
        return 0 if draft is None else draft.grown_octets

    def open_destination(self, transaction: TransactionId) -> DestinationFile:
        """Return the destination of the octets of the transaction. Raises FilestoreRefusal."""
        if transaction in self.kept:
            return _Whole()
        draft = self.drafts.get(transaction)
        if draft is None:
            try:
                draft = self.store.draft(UPLOADS, "", None, replaces=True)
            except FileRefused as refused:
                raise _refusal(refused) from None
            self.drafts[transaction] = draft
        return _Incoming(draft)

    def admit(self, transaction: TransactionId, name: str, octets: int) -> None:
        """Reserve room for a file under its name. Raises FilestoreRefusal: bad name, no room, a file that is locked."""
        self.names[transaction] = name
        if transaction in self.kept:
            return
        length = octets or None  # 0 is also what a sender says that does not know it yet
        try:
            directory, file = split_path(name)
            if directory not in UPLOAD_DIRECTORIES:
                raise FileRefused(Reason.DIRECTORY, f"nothing comes up into {directory}, only into uploads and models")
            draft = self.drafts.get(transaction)
            if draft is None:
                self.drafts[transaction] = self.store.draft(directory, file, length, replaces=True)
            else:
                self.store.rename_draft(draft, directory, file, length)
        except FileRefused as refused:
            raise _refusal(refused) from None

    def forget(self, transaction: TransactionId) -> None:
        """Let go of whatever a transaction had: it has ended. A draft that was not made a file is deleted."""
        self.sources.pop(transaction, None)
        self.kept.pop(transaction, None)
        self.names.pop(transaction, None)
        self.drop(self._text_of.pop(transaction, ""))
        draft = self.drafts.pop(transaction, None)
        if draft is not None:
            self.store.drop(draft)


class _StoredFile:
    """A SourceFile of the store."""

    __slots__ = ("_entry", "_store", "octets")

    def __init__(self, store: FileStore, entry: FileEntry) -> None:
        self.octets = entry.octets
        self._store = store
        self._entry = entry

    def read(self, at: int, octets: int) -> bytes:
        """Return exactly these octets. Raises FilestoreRefusal if the content is gone or damaged."""
        try:
            return self._store.read(self._entry, at, octets)
        except FileRefused as refused:
            raise _refusal(refused) from None


class _Text:
    """A SourceFile in memory."""

    __slots__ = ("_text", "octets")

    def __init__(self, text: bytes) -> None:
        self.octets = len(text)
        self._text = text

    def read(self, at: int, octets: int) -> bytes:
        """Return exactly these octets."""
        return self._text[at : at + octets]


class _Incoming:
    """A DestinationFile: a draft of the store."""

    __slots__ = ("_draft",)

    def __init__(self, draft: Draft) -> None:
        self._draft = draft

    def write(self, at: int, data: bytes | memoryview) -> None:
        """Put `data` at its place. Raises FilestoreRefusal."""
        try:
            self._draft.write(at, data)
        except FileRefused as refused:
            raise _refusal(refused) from None
        except StorageError as error:
            raise FilestoreRefusal(str(error)) from None


class _Whole:
    """A DestinationFile that is a whole file by now: whatever comes for it is here already."""

    def write(self, at: int, data: bytes | memoryview) -> None:
        """Do nothing."""


def _refusal(refused: FileRefused) -> FilestoreRefusal:
    if refused.reason is Reason.LENGTH:
        return FilestoreRefusal(refused.text, ConditionCode.FILE_SIZE_ERROR, FileStatus.DISCARDED)
    return FilestoreRefusal(refused.text)
