"""The archive: everything the ground heard and did, of one node or of several, in one SQLite file.

One process writes, over one connection, while others may read. Each node has rows of its own, and a view of them that
does not know of other nodes: a station's by `enter`, a reader's by `of`. Whoever owns the time calls `commit`: each
second in real time, at the end of a step in virtual time. Times are TAI nanoseconds since 1958-01-01.
"""

# One file for all nodes of a process (ADR 0033): a query over several nodes is what an archive of several is for, and
# one connection means one commit per second, however many nodes there are. The price: if a full disk makes SQLite roll
# back, rows of every node are lost, whoever's write found the disk full. `on_loss` therefore reaches all of them.

from __future__ import annotations

from types import TracebackType
from typing import Self

from flight.contract.dictionary import Dictionary
from flight.core.errors import OrbitnodeError
from ground.telemetry.archive_file import ArchiveFile
from ground.telemetry.node_archive import NodeArchive


class Archive(ArchiveFile):
    """One archive file with the nodes in it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of the nodes, in the order in which they were first entered."""
        return tuple(name for (name,) in self.query("SELECT name FROM nodes ORDER BY id"))

    def enter(self, dictionary: Dictionary) -> NodeArchive:
        """Return the node that `dictionary` describes, to write to. A new one is created; the dictionary is kept."""
        self.write("INSERT OR IGNORE INTO nodes (name) VALUES (?)", [(dictionary.mission,)])
        node = self._view(dictionary.mission)
        node.put_dictionary(dictionary)
        return node

    def of(self, name: str = "") -> NodeArchive:
        """Return the node of that name, without a name the only one. Raises OrbitnodeError, which lists the nodes."""
        nodes = self.nodes
        if name in nodes:
            return self._view(name)
        if not name and len(nodes) == 1:
            return self._view(nodes[0])
        wrong = f"no node {name!r}" if name else "which node? name one"
        raise OrbitnodeError(f"archive {self.path}: {wrong}, known: {', '.join(nodes) or 'none'}")

    def _view(self, name: str) -> NodeArchive:
        ((number,),) = self.query("SELECT id FROM nodes WHERE name = ?", (name,))
        return NodeArchive(self, number, name)
