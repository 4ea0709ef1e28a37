"""A simulated disk: what was not synced is lost with the power, a write in progress is torn.

`Disk` outlives the node; `DiskSession` is the Storage of one boot. The disk counts operations (append, replace,
delete, and the commit behind each sync) and can cut the power at a chosen one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import Literal

from flight.core.errors import StorageError
from flight.core.future import Future
from sim_hw.loop import VirtualLoop


class PowerCut(BaseException):
    """The node lost power in the middle of what it was doing. Not an Exception: nothing on board catches it."""


_NAME = re.compile(r"[a-z0-9_.-]{1,100}")
_Operation = tuple[Literal["append", "replace", "delete"], str, bytes]


class Disk:
    """Octets that survive, by name. `note` is told of each commit, for the run's digest."""

    def __init__(
        self,
        random: Random,
        *,
        capacity_octets: int = 64_000_000,
        cut_at_operation: int | None = None,
        note: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        self.operations = 0
        self.durable: dict[str, bytes] = {}
        self.capacity_octets = capacity_octets
        self.cut_at_operation = cut_at_operation
        self.note = note
        self._random = random
        self._session: DiskSession | None = None

    def boot(self, loop: VirtualLoop, commit_s: float = 0.004) -> DiskSession:
        """The storage of a new boot; the session before it is gone."""
        if self._session is not None:
            self.cut()
        self._session = DiskSession(self, loop, round(commit_s * 1e9))
        return self._session

    def cut(self) -> None:
        """Power off now: a random part of what is pending reaches the medium, the last write of it torn."""
        session, self._session = self._session, None
        if session is None:
            return
        session.alive = False
        kept = self._random.randint(0, len(session.pending))
        for operation in session.pending[:kept]:
            apply(self.durable, operation)
        if kept < len(session.pending):
            kind, name, octets = session.pending[kept]
            if kind == "append":  # replace and delete are atomic: temporary file and rename
                torn = octets[: self._random.randint(0, len(octets))]
                apply(self.durable, (kind, name, torn))

    def count(self) -> None:
        self.operations += 1
        if self.operations == self.cut_at_operation:
            self.cut()
            raise PowerCut


class DiskSession:
    """flight.platform.Storage on a Disk, for one boot."""

    def __init__(self, disk: Disk, loop: VirtualLoop, commit_ns: int) -> None:
        self.alive = True
        self.pending: list[_Operation] = []
        self._disk = disk
        self._loop = loop
        self._commit_ns = commit_ns
        self._view: dict[str, bytearray] = {name: bytearray(octets) for name, octets in disk.durable.items()}
        self._octets = sum(len(octets) for octets in self._view.values())

    def names(self) -> list[str]:
        return sorted(self._view)

    def read(self, name: str) -> bytes | None:
        octets = self._view.get(name)
        return None if octets is None else bytes(octets)

    def append(self, name: str, octets: bytes) -> None:
        self._write(("append", name, octets))

    def replace(self, name: str, octets: bytes) -> None:
        self._write(("replace", name, octets))

    def delete(self, name: str) -> None:
        if name in self._view:
            self._write(("delete", name, b""))

    def sync(self) -> Future[None]:
        """Done one commit time later; syncs asked for meanwhile share nothing but the order."""
        done: Future[None] = Future()
        covered = len(self.pending)
        mark = self.pending[covered - 1] if covered else None
        self._loop.call_at(self._loop.now_ns() + self._commit_ns, lambda: self._commit(mark, done))
        return done

    def _write(self, operation: _Operation) -> None:
        if not self.alive:
            return  # clean-up of a node without power
        kind, name, octets = operation
        if not _NAME.fullmatch(name):
            raise StorageError(f"storage name {name!r}, must be 1 to 100 of a-z 0-9 _ . -")
        before = len(self._view.get(name, b""))
        grown = {"append": len(octets), "replace": len(octets) - before, "delete": -before}[kind]
        if self._octets + grown > self._disk.capacity_octets:
            raise StorageError(f"{name}: disk full, {self._disk.capacity_octets} octets")
        self.pending.append(operation)
        self._disk.count()
        self._octets += grown
        if kind == "append":
            self._view.setdefault(name, bytearray()).extend(octets)
        elif kind == "replace":
            self._view[name] = bytearray(octets)
        else:
            self._view.pop(name, None)

    def _commit(self, mark: _Operation | None, done: Future[None]) -> None:
        """Make everything up to `mark` durable, and say so."""
        if not self.alive:
            return
        self._disk.count()
        covered = next((i + 1 for i, one in enumerate(self.pending) if one is mark), 0)
        for operation in self.pending[:covered]:
            apply(self._disk.durable, operation)
            self._disk.note(operation[0].encode() + b" " + operation[1].encode() + b" " + operation[2])
        del self.pending[:covered]
        done.set_result(None)


def apply(files: dict[str, bytes], operation: _Operation) -> None:
    """What one operation does to the stored octets."""
    kind, name, octets = operation
    if kind == "append":
        files[name] = files.get(name, b"") + octets
    elif kind == "replace":
        files[name] = octets
    else:
        files.pop(name, None)
