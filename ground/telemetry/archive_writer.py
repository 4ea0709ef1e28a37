"""Writing to the archive: a full or broken disk must not end the pass. Knows which packets are safely stored."""

# A write that fails is counted and announced, and the pass goes on. The node can send what was lost once more, so after
# any failure the writer forgets which packets it has seen: the same packet must then count as new.
#
# Repetitions are recognised by the octets of the newest KEPT packets, time included (ADR 0018). A node plays back again
# what it does not know to have arrived, over a restart of the ground as well: so the packets that an earlier ground has
# archived are read back first. A packet counts as stored once the commit with it has succeeded (`settle`).

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flight.core.errors import OrbitnodeError
from ground.changes import Change, Listeners
from ground.counters import StationCounters
from ground.link.duplicates import KEPT, Duplicates
from ground.telemetry.node_archive import NodeArchive


class ArchiveWriter:
    """Makes every write; what cannot be written is counted and announced. Without an archive nothing is kept."""

    def __init__(self, archive: NodeArchive | None, counters: StationCounters, listeners: Listeners) -> None:
        """Whoever has something to write with each commit may set `before_commit`. Raises OrbitnodeError."""
        self.archive = archive
        self.before_commit: Callable[[NodeArchive], None] = lambda _: None
        self._counters = counters
        self._listeners = listeners
        self._duplicates = Duplicates()
        if archive is not None:
            archive.on_loss(self._duplicates.forget)  # a write of another node may cost rows of this one
            archive.around_commit(lambda: self.before_commit(archive), self._duplicates.settle)
            self._duplicates.recall(archive.open_rows.newest_packets(KEPT))

    def is_new(self, packet: bytes) -> bool:
        """Return False, and count it, if the same packet came before and is in the archive or on its way there."""
        new = self._duplicates.is_new(packet)
        self._counters.packets_duplicate += not new
        return new

    @contextmanager
    def unit(self) -> Iterator[None]:
        """Commit what is written in this block together, so that a kill at any instant leaves all of it or nothing."""
        if self.archive is None:
            yield
            return
        # `hold` and not `together`: one write that fails must not take the others of this unit along.
        self.archive.hold()
        try:
            yield
        finally:
            self._guarded(self.archive.release)

    def write(self, write: Callable[[NodeArchive], None]) -> bool:
        """Call `write` with the archive; what it writes is kept as a whole or not at all. Return whether it is kept."""
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
            self._duplicates.forget()  # what is lost here may come from the node once more, and must be taken then
            self.fault(error)
            return False
        return True

    def fault(self, error: OrbitnodeError) -> None:
        """Count and announce that something could not be stored."""
        self._counters.storage_faults += 1
        self._listeners.announce(Change.NOTE, str(error))
