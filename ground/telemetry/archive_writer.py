"""Writing to the archive: a full or broken disk must not end the pass. Knows which packets are safely in it."""

from __future__ import annotations

from collections.abc import Callable

from flight.core.errors import OrbitnodeError
from ground.changes import Change, Listeners
from ground.counters import StationCounters
from ground.link.duplicates import Duplicates
from ground.telemetry.node_archive import NodeArchive


class ArchiveWriter:
    """Makes every write; what cannot be written is counted and told. Without an archive nothing is kept."""

    def __init__(self, archive: NodeArchive | None, counters: StationCounters, listeners: Listeners) -> None:
        self.archive = archive
        self._counters = counters
        self._listeners = listeners
        self._duplicates = Duplicates()
        if archive is not None:
            archive.on_loss(self._duplicates.forget)  # rows of this node may be lost with another's

    def is_new(self, packet: bytes) -> bool:
        """False, counted, if the same packet came before and is in the archive, or on its way there."""
        new = self._duplicates.is_new(packet)
        self._counters.packets_duplicate += not new
        return new

    def write(self, write: Callable[[NodeArchive], None]) -> None:
        """Do this to the archive."""
        if self.archive is None:
            return
        try:
            write(self.archive)
        except OrbitnodeError as error:
            self._duplicates.forget()  # what is lost here can be had of the node again
            self.fault(error)
            return
        if not self.archive.pending:
            self._duplicates.settle()

    def fault(self, error: OrbitnodeError) -> None:
        """Something could not be stored: count and tell it."""
        self._counters.storage_faults += 1
        self._listeners.tell(Change.NOTE, str(error))
