"""Files that have come up: what is told of them, and their octets for commands that use them.

    PDUs --all octets here, checksum fits--> file of the store, event `upload_received`
         --otherwise-----------------------> dropped, event `upload_failed`
    PDUs of a transfer that has ended, or that cannot be taken --> ignored, event `upload_ignored`

Each event names the transaction, so that the ground knows which of its files is meant.
"""

# A file that is there does nothing. A command names it and says what it is for, and is checked and stored like any
# other: so a file cannot bypass admission, and what a command made of it is as durable as that command.
#
# A file is visible only once it is whole and its checksum was compared. Whoever uses it later has its SHA-256 checked
# again as it is read: a medium may lose what it had.

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from flight.contract.app import CommandRefused, EventSink, Sample
from flight.contract.failures import Failure
from flight.contract.service import Sampler, Service
from flight.core.config import key
from flight.link.cfdp.transactions.entity import Entity
from flight.link.cfdp.transactions.indications import FileComplete, TransactionFinished
from flight.store.files.file_entry import FileEntry
from flight.store.files.file_names import split_path
from flight.store.files.file_store import FileStore
from flight.store.files.refusal import FileRefused


@dataclass(frozen=True, slots=True)
class UploadsConfig:
    """Mission section [uploads]."""

    ELSEWHERE: ClassVar[Mapping[str, str]] = {
        "capacity_octets": "uploads are on storage now, their quota is files.uploads.quota_octets",
        "silence_s": "the limits of transfers are cfdp.inactivity_s and cfdp.rests_max",
    }

    table_octets: int = key(
        65536, minimum=1024, maximum=1_000_000,
        text="octets at most of a file that a command reads whole, such as a parameter table",
    )  # fmt: skip


class Uploads(Service):
    """What has come up since boot, and access to the files by name."""

    def __init__(self, config: UploadsConfig, store: FileStore, entity: Entity, events: EventSink) -> None:
        self.received = 0
        self.failed = 0
        self._config = config
        self._store = store
        self._entity = entity
        self._events = events

    @property
    def refused(self) -> int:
        """PDUs of which nothing was kept, for whatever reason."""
        return self._entity.counters.ignored.total()

    def received_file(self, complete: FileComplete, entry: FileEntry) -> None:
        """Take in that a file has come up and is durable."""
        self.received += 1
        self._events.emit("upload_received", complete.name, entry.octets, complete.transaction.number)

    def not_received(self, finished: TransactionFinished, name: str) -> None:
        """Take in that a file did not come up. name: "" if it is not known."""
        self.failed += 1
        missing = sum(end - start for start, end in finished.missing)
        reason = finished.text or finished.condition.text
        if missing:
            reason = f"{reason}, {missing} of {finished.octets} octets missing"
        name = name or f"transaction {finished.transaction.number}"
        self._events.emit("upload_failed", name, reason, finished.transaction.number)

    def octets(self, name: str) -> bytes:
        """Return the octets of a small file, by a path, or a name in uploads. Raises CommandRefused."""
        try:
            directory, file = split_path(name)
            entry = self._store.find(directory, file)
            if entry is None:
                raise CommandRefused(Failure.BAD_VALUE, f"no file {directory}/{file}")
            if entry.octets > self._config.table_octets:
                most = f"{entry.octets} octets, uploads.table_octets is {self._config.table_octets}"
                raise CommandRefused(Failure.BAD_VALUE, f"{entry.path} has {most}")
            slices = self._store.load(entry)
            while True:  # small enough for one step
                try:
                    next(slices)
                except StopIteration as whole:
                    octets: bytes = whole.value
                    return octets
        except FileRefused as refused:
            raise CommandRefused(Failure.BAD_VALUE, refused.text) from None

    def samplers(self) -> Iterable[Sampler]:
        """Return the sampler of the uploads' fields of the structure "link"."""
        return (Sampler("link", self.sample),)

    def sample(self) -> Sample:
        """Return what the structure "link" says of files on their way up."""
        return {
            "files_received": self.received,
            "files_failed": self.failed,
            "file_pdus_refused": self.refused,
        }
