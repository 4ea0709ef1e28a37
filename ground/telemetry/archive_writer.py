"""Writing to the archive: a full or broken disk must not end the pass. Knows which packets are safely in it.

What came twice is told by the newest packets, those that a ground before this one has archived included: a node plays
back again what it does not know to have arrived, and a ground that was killed must not archive that once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flight.core.errors import OrbitnodeError
from ground.changes import Change, Listeners
from ground.counters import StationCounters
from ground.link.duplicates import KEPT, Duplicates
from ground.telemetry.node_archive import NodeArchive


class ArchiveWriter:
    """Makes every write; what cannot be written is counted and told. Without an archive nothing is kept."""

    def __init__(self, archive: NodeArchive | None, counters: StationCounters, listeners: Listeners) -> None:
        """`before_commit` of the object may be set by whoever has something to write with each commit."""
        self.archive = archive
        self.before_commit: Callable[[NodeArchive], None] = lambda _: None
        self._counters = counters
        self._listeners = listeners
        self._duplicates = Duplicates()
        if archive is not None:
            archive.on_loss(self._duplicates.forget)  # rows of this node may be lost with another's
            archive.around_commit(lambda: self.before_commit(archive), self._duplicates.settle)
            self._duplicates.recall(archive.open_rows.newest_packets(KEPT))

    def is_new(self, packet: bytes) -> bool:
        """False, counted, if the same packet came before and is in the archive, or on its way there."""
        new = self._duplicates.is_new(packet)
        self._counters.packets_duplicate += not new
        return new

    @contextmanager
    def unit(self) -> Iterator[None]:
        """What is written in this block is in the archive together, or not at all, whenever the process is killed."""
        if self.archive is None:
            yield
            return
        self.archive.hold()
        try:
            yield
        finally:
            self._guarded(self.archive.release)

    def write(self, write: Callable[[NodeArchive], None]) -> bool:
        """Do this to the archive: all of it, or nothing. False if that could not be done."""
        archive = self.archive
        if archive is None:
            return True

        def whole() -> None:
            with archive.together():
                write(archive)

        return self._guarded(whole)

    def commit(self, *, promptly: bool = False) -> None:
        """Make everything so far durable against a kill; see ArchiveFile.commit and commit_promptly."""
        if self.archive is not None:
            self._guarded(self.archive.commit_promptly if promptly else self.archive.commit)

    def _guarded(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except OrbitnodeError as error:
            self._duplicates.forget()  # what is lost here can be had of the node again
            self.fault(error)
            return False
        return True

    def fault(self, error: OrbitnodeError) -> None:
        """Something could not be stored: count and tell it."""
        self._counters.storage_faults += 1
        self._listeners.tell(Change.NOTE, str(error))
