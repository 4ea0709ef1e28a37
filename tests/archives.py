"""An archive with one node, for tests of who writes to it and of what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flight.contract.dictionary import Dictionary
from ground.telemetry.archive import Archive
from ground.telemetry.node_archive import NodeArchive


@contextmanager
def entered(path: Path, dictionary: Dictionary) -> Iterator[NodeArchive]:
    """Open the archive at `path`, to write to it as the node of the dictionary."""
    with Archive(path) as archive:
        yield archive.enter(dictionary)


@contextmanager
def reading(path: Path, node: str = "") -> Iterator[NodeArchive]:
    """Open the archive at `path` read-only, as the view of that node, or of the only node in it."""
    with Archive(path, read_only=True) as archive:
        yield archive.of(node)
