"""A simulated disk: what was not synced may be lost with the power, in part and out of order, as on a real one.

`Disk` outlives the node; `DiskSession` is the Storage of one boot. Faults are set at any time: `capacity_octets`,
`read_only`, `commit_s`, `fail_commits`, `unreadable`, `flip`.

After a power cut everything covered by a completed sync is there. Of everything else a part survives that the seed
chooses: of a file the beginning of what was appended to it, torn at any octet, whatever became of other files; if it
was also written at places, any part of each of these writes and appends, whatever became of the others; replacements
and deletions whole or not at all, in their order, none before data that was written ahead of it.
"""

# The disk is as unkind as a Linux file system may be, and no more, so that code which survives it survives a real one:
#
#     append      into the page cache: after a cut any beginning of it may be there, or none, or not even the name
#     write       the same pages, in any order: any of them may be there, or none; what is not there is what was there
#                 before, or zeros if the file grew past it
#     replace     temporary file, fsync, rename: the new octets or the old ones, never a mixture
#     delete      there or not there
#     order       names change after the data ahead of them is durable, and in the order they were asked for, as
#                 flight/linux/commit_thread.py does it; appends to different files have no order
#
# State of one session: `_view` is what the node reads (every write at once); `pending` are the operations since the
# last commit, in order; `Disk.durable` is the medium. A commit moves operations from `pending` to `durable`. A cut
# applies to `durable` what `survivors` chooses of `pending`, and ends the session: what the dead node still calls does
# nothing.
#
# Commits follow the platform's: one at a time, for all syncs asked for before it began (group commit); a sync names a
# prefix, and a commit takes only files under it, unless names came, changed or went, since a directory is synced as a
# whole. A failed commit is final, because after a failed fsync Linux may have dropped the dirty pages: what is on the
# medium is then unknown, and only a new boot finds out (flight/linux/storage.py).
#
# Power can be cut inside any operation: each one is counted, and `cut_at_operation` names the one that raises PowerCut
# after it has been entered into `pending` and before anybody was told. `make power-cut` goes through all of them.

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from random import Random
from typing import Literal, NamedTuple

from flight.core.errors import PowerLost, StorageError
from flight.core.future import Future
from flight.core.nanoseconds import ns
from flight.core.storage import (
    INPUT_OUTPUT_ERROR,
    NO_SPACE,
    READ_ONLY,
    StorageCounters,
    StorageFull,
    checked_name,
    enter_write,
    flash_octets,
)
from sim_hw.machine.loop import VirtualLoop


class PowerCut(PowerLost):
    """The node on `disk` lost power in the middle of what it was doing.

    The exception leaves the loop, on which other nodes may live. `disk` says to the caller which one went down.
    """

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self.disk = disk


class _Operation(NamedTuple):
    """`at`: the place of octets that were appended, or written there."""

    kind: Literal["append", "write", "replace", "delete"]
    name: str
    octets: bytes
    at: int = 0


class Disk:
    """Octets that survive, by name.

    `note` is called with each operation that a commit makes durable, for the run's digest. `trace`, once it is a list,
    receives (number, kind, name) of every operation; a commit has no name.
    """

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
        self.read_only = False
        self.commit_s = 0.004  # virtual time from the start of a commit to its end
        self.fail_commits = False
        self.unreadable: set[str] = set()
        self.cut_at_operation = cut_at_operation
        self.trace: list[tuple[int, str, str]] | None = None
        self.note = note
        self._random = random
        self._session: DiskSession | None = None

    def boot(self, loop: VirtualLoop) -> DiskSession:
        """Return the storage of a new boot; a session that is still open loses its power."""
        if self._session is not None:
            self.cut()
        self._session = DiskSession(self, loop)
        return self._session

    def cut(self) -> None:
        """Cut the power now. Harmless if there is none."""
        session, self._session = self._session, None
        if session is not None:
            session.alive = False
            apply(self.durable, survivors(session.pending, self._random))

    def flip(self, name: str, bit: int | None = None) -> int:
        """Invert one bit of durable octets, a random one if none is given; return the number of the bit.

        The node sees it after its next boot: until then it reads from memory.
        """
        content = bytearray(self.durable[name])
        chosen = self._random.randrange(8 * len(content)) if bit is None else bit
        content[chosen // 8] ^= 0x80 >> chosen % 8
        self.durable[name] = bytes(content)
        return chosen

    def count(self, kind: str, name: str) -> None:
        """Count one operation; raises PowerCut inside the chosen one."""
        self.operations += 1
        if self.trace is not None:
            self.trace.append((self.operations, kind, name))
        if self.operations == self.cut_at_operation:
            self.cut()
            raise PowerCut(self)


class _Window:
    """What one commit covers, for the count of its wear.

    `dirty` are files with new octets, and from which octet on, `patches` stretches written ahead of that; `changed` are
    names that were replaced or deleted; `folder` is whether the directory has to be written for a name that comes back.
    """

    __slots__ = ("changed", "dirty", "folder", "patches")

    def __init__(self) -> None:
        self.dirty: dict[str, int] = {}
        self.patches: dict[str, list[tuple[int, int]]] = {}
        self.changed: set[str] = set()
        self.folder = False


class DiskSession:
    """flight.core.platform.Storage on a Disk, for one boot; see the head of the file for commits and power cuts."""

    def __init__(self, disk: Disk, loop: VirtualLoop) -> None:
        self.alive = True
        self.counters = StorageCounters()
        self.pending: deque[_Operation] = deque()
        self._disk = disk
        self._loop = loop
        self._view: dict[str, bytearray] = {name: bytearray(octets) for name, octets in disk.durable.items()}
        self._octets = sum(len(octets) for octets in self._view.values())
        self._window = _Window()
        self._committing: _Window | None = None
        self._wanted = False
        self._waiting: list[tuple[str, Future[None]]] = []
        self._failed: str | None = None

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(self._view)

    def size(self, name: str) -> int | None:
        """Return the number of octets under a name, or None if there is no such name."""
        content = self._content(name)
        return None if content is None else len(content)

    def read(self, name: str, at: int = 0, octets: int | None = None) -> bytes | None:
        """Return octets from `at` on, or None if there is no such name; raises StorageError if they are unreadable."""
        assert at >= 0 and (octets is None or octets >= 0), (at, octets)
        content = self._content(name)
        if content is None:
            return None
        if name in self._disk.unreadable:
            raise StorageError(f"cannot read {name}: {INPUT_OUTPUT_ERROR}")
        return bytes(content[at : None if octets is None else at + octets])

    def append(self, name: str, octets: bytes) -> None:
        """Add octets at the end of a name, which is made if it is new; raises StorageError."""
        if not self._admit("append to", name, len(octets)):
            return
        # Pending first: a cut inside this operation may leave a part of it.
        self.pending.append(_Operation("append", name, octets, len(self._view.get(name, b""))))
        self._disk.count("append", name)
        content = self._content_to_write(name)
        self._window.dirty.setdefault(name, len(content))
        content += octets
        self._octets += len(octets)
        self.counters.octets += len(octets)

    def write(self, name: str, at: int, octets: bytes | memoryview) -> None:
        """Put octets at a place, in a name that is made if it is new; raises StorageError."""
        assert at >= 0, at
        before = len(self._content(name) or b"")
        end = max(before, at + len(octets)) if octets else before
        if not self._admit("write to", name, end - before):
            return
        self.pending.append(_Operation("write", name, bytes(octets), at))
        self._disk.count("write", name)
        content = self._content_to_write(name)
        if octets:
            content += bytes(max(0, at - before))
            content[at : at + len(octets)] = octets
            enter_write(self._window.dirty, self._window.patches, name, at, at + len(octets), before)
        else:
            self._window.dirty.setdefault(name, before)
        self._octets += end - before
        self.counters.octets += len(octets)

    def replace(self, name: str, octets: bytes) -> None:
        """Put octets in the place of what stands under a name; raises StorageError."""
        before = self._content(name) or b""
        if not self._admit("replace", name, len(octets) - len(before)):
            return
        self.pending.append(_Operation("replace", name, octets))
        self._disk.count("replace", name)
        self._view[name] = bytearray(octets)
        self._window.patches.pop(name, None)
        self._window.dirty[name] = 0
        self._window.changed.add(name)
        self._octets += len(octets) - len(before)
        self.counters.octets += len(octets)

    def delete(self, name: str) -> None:
        """Delete a name if there is one; raises StorageError."""
        content = self._content(name)
        if content is None or not self._admit("delete", name, -len(content)):
            return
        self.pending.append(_Operation("delete", name, b""))
        self._disk.count("delete", name)
        del self._view[name]
        self._window.dirty.pop(name, None)
        self._window.patches.pop(name, None)
        self._window.changed.add(name)
        self._octets -= len(content)

    def sync(self, prefix: str = "") -> Future[None]:
        """Return a future of the commit of all names under `prefix`; it fails with StorageError if the commit does.

        As on Linux a commit takes everything if names have come, changed or gone.
        """
        done: Future[None] = Future()
        self.counters.syncs += 1
        if self._failed is not None:
            done.set_error(StorageError(self._failed))
        elif not any(operation.name.startswith(prefix) for operation in self.pending):  # nothing to wait for
            done.set_result(None)
        else:
            self._waiting.append((prefix, done))
            self._want_commit()
        return done

    def free_octets(self) -> int:
        """Return how many octets still fit."""
        return max(0, self._disk.capacity_octets - self._octets)

    def _content_to_write(self, name: str) -> bytearray:
        """Return the content of a name, which is made if it is new."""
        content, window = self._view.get(name), self._window
        if content is None:
            content = self._view[name] = bytearray()
            if name in window.changed or (self._committing is not None and name in self._committing.changed):
                # The deletion of the old file is still to be committed, so the new one is made under another name and
                # renamed: it counts as a replacement.
                window.changed.add(name)
            window.folder = True
        return content

    def _content(self, name: str) -> bytearray | None:
        content = self._view.get(name)
        if content is None:
            checked_name(name)
        return content

    def _admit(self, act: str, name: str, grown: int) -> bool:
        """Return whether there is power; raises StorageError for what the disk refuses."""
        checked_name(name)
        if not self.alive:
            return False  # clean-up code of a node that has lost its power
        refusal: StorageError | None = None
        if self._failed is not None:
            refusal = StorageError(self._failed)
        elif self._disk.read_only:
            refusal = StorageError(f"cannot {act} {name}: {READ_ONLY}")
        elif grown > 0 and self._octets + grown > self._disk.capacity_octets:
            refusal = StorageFull(f"cannot {act} {name}: {NO_SPACE}")
        if refusal is not None:
            self.counters.refused += 1
            raise refusal
        return True

    def _want_commit(self) -> None:
        if not self._wanted and self._committing is None:
            self._wanted = True
            # In a call of its own: syncs of the same instant join this commit.
            self._loop.call_at(self._loop.now_ns(), self._start_commit)

    def _start_commit(self) -> None:
        self._wanted = False
        if not self.alive:
            return
        waiting, window = [future for _, future in self._waiting], self._window
        scope = tuple({prefix for prefix, _ in self._waiting})
        if window.folder or window.changed or any(name not in self._disk.durable for name in window.dirty):
            scope = ("",)
        covered = [operation for operation in self.pending if operation.name.startswith(scope)]
        later = _Window()  # dirty files outside the scope wait for a commit of theirs
        later.dirty = {name: start for name, start in window.dirty.items() if not name.startswith(scope)}
        for name in later.dirty:
            del window.dirty[name]
            if name in window.patches:
                later.patches[name] = window.patches.pop(name)
        extents = [
            [(start, len(self._view[name])), *window.patches.get(name, ())] for name, start in window.dirty.items()
        ]
        flash = flash_octets(extents, len(window.changed), window.folder or bool(window.changed))
        self._committing, self._window, self._waiting = window, later, []
        start_ns = self._loop.now_ns()
        end_ns = start_ns + ns(self._disk.commit_s)

        def finish() -> None:
            if self.alive:  # the power may have gone while the commit ran
                self._disk.count("commit", "")
                self.counters.enter_commit(flash, end_ns - start_ns)
                self._finish_commit(covered, scope, waiting)

        self._loop.call_at(end_ns, finish)

    def _finish_commit(
        self, covered: Sequence[_Operation], scope: tuple[str, ...], waiting: list[Future[None]]
    ) -> None:
        """Make the operations `covered` durable, and tell those who wait.

        `covered` are the first operations under names in `scope`: others may have been added since the commit began.
        """
        self._committing = None
        if self._disk.fail_commits or self._disk.read_only:
            reason = READ_ONLY if self._disk.read_only else INPUT_OUTPUT_ERROR
            self._failed = f"storage failed, restart the node: {reason}"
            self.counters.failures += 1
            waiting, self._waiting = waiting + [future for _, future in self._waiting], []
            for future in waiting:
                future.set_error(StorageError(self._failed))
            return
        uncovered: list[_Operation] = []
        taken = 0
        while taken < len(covered):
            operation = self.pending.popleft()
            if operation.name.startswith(scope):
                taken += 1
            else:
                uncovered.append(operation)
        self.pending.extendleft(reversed(uncovered))
        apply(self._disk.durable, covered)
        for kind, name, octets, at in covered:
            place = b" %d" % at if kind == "write" else b""
            self._disk.note(kind.encode() + b" " + name.encode() + place + b" " + octets)
        for future in waiting:
            future.set_result(None)
        if self._waiting:
            self._want_commit()


def survivors(pending: Sequence[_Operation], random: Random) -> list[_Operation]:
    """Choose what a power cut leaves on the medium of the operations after the last commit."""
    # Changes of names keep their order, so a beginning of them survives. Everything ahead of the last one that does was
    # synced for it, and is whole.
    changes = [i for i, operation in enumerate(pending) if operation.kind in ("replace", "delete")]
    kept = random.randint(0, len(changes))
    ahead = changes[kept - 1] + 1 if kept else 0
    landed = list(islice(pending, ahead))
    written: dict[str, list[_Operation]] = {}
    lost: set[str] = set()  # what follows a lost change of the same name went into a file that has no name
    for operation in islice(pending, ahead, None):
        if operation.kind in ("replace", "delete"):
            lost.add(operation.name)
        elif operation.name not in lost:
            written.setdefault(operation.name, []).append(operation)
    for name, parts in written.items():  # files do not depend on one another
        if any(part.kind == "write" for part in parts):
            landed += _pages_that_landed(name, parts, random)
            continue
        # Of appends alone a beginning, the last of them torn.
        whole = random.randint(-1, len(parts))  # -1: not even a new name is there
        landed += parts[: max(0, whole)]
        if 0 <= whole < len(parts):
            octets = parts[whole].octets
            landed.append(_Operation("append", name, octets[: random.randint(0, len(octets))]))
    return landed


def _pages_that_landed(name: str, parts: Sequence[_Operation], random: Random) -> list[_Operation]:
    """Choose what is left of writes at places, and of the appends among them: any stretch of each, or none."""
    landed: list[_Operation] = []
    if random.getrandbits(1):  # the name at least
        landed.append(_Operation("write", name, b""))
    for part in parts:
        fate = random.randint(0, 3)
        if fate == 0:
            continue
        start, end = (0, len(part.octets)) if fate == 1 else sorted(random.randint(0, len(part.octets)) for _ in "12")
        landed.append(_Operation("write", name, part.octets[start:end], part.at + start))
    return landed


def apply(files: dict[str, bytes], operations: Iterable[_Operation]) -> None:
    """Do the operations, in order, to the octets in `files`."""
    # Through bytearrays, so that a thousand appends to one file do not copy it a thousand times; None is deleted.
    contents: dict[str, bytearray | None] = {}
    for kind, name, octets, at in operations:
        content = contents[name] if name in contents else bytearray(files.get(name, b""))
        if kind == "append" and content is not None:
            content += octets
        elif kind == "write":
            content = bytearray() if content is None else content
            if octets:
                content += bytes(max(0, at - len(content)))
                content[at : at + len(octets)] = octets
        else:
            content = None if kind == "delete" else bytearray(octets)
        contents[name] = content
    for name, content in contents.items():
        if content is None:
            files.pop(name, None)
        else:
            files[name] = bytes(content)
