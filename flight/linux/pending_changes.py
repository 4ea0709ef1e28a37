"""What waits for the next commit: written octets, and renames and deletions in the order they were asked for."""

# A commit takes everything, or only the files that those who wait asked for: an urgent record does not wait for a
# recorder's megabytes. The second form is allowed only if no name has come, changed or gone. With names the order
# counts: a replacement must never be durable before what was written ahead of it, so the commit takes all of that too.
#
# What was replaced or deleted again before its commit never reaches the disk: an earlier temporary content of the same
# name is removed when a later one takes its place.

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from flight.core.future import Future
from flight.core.storage import enter_write, flash_octets
from flight.linux.open_files import File


@dataclass(frozen=True, slots=True)
class Commit:
    """What one commit does, in the order of these fields."""

    dirty: tuple[int, ...]  # descriptors to make durable
    changes: tuple[tuple[str, str | None], ...]  # (path, new path), None deletes
    folder: bool  # names were added, renamed or deleted
    retired: tuple[int, ...]  # descriptors to close afterwards
    waiting: tuple[Future[None], ...]
    flash_octets: int
    leaving_octets: int  # held by the file system until this is done


class PendingChanges:
    """Changes that readers see already, and that are not durable."""

    def __init__(self) -> None:
        # Octets that no commit has covered, as flight.core.storage.enter_write has it: per file, all from this one on,
        # and stretches ahead of it.
        self.dirty: dict[File, int] = {}
        self.patches: dict[File, list[tuple[int, int]]] = {}
        self.changes: list[tuple[str, str | None]] = []
        self.folder_changed = False  # by a new file
        self.leaving_octets = 0
        self._retired: list[int] = []

    @property
    def renaming(self) -> bool:
        """Whether names have come, changed or gone."""
        return bool(self.changes or self.folder_changed)

    def dirty_under(self, prefixes: tuple[str, ...]) -> dict[File, int]:
        """Return the files whose names begin so and that are not committed, each with its first uncommitted octet."""
        return {file: start for file, start in self.dirty.items() if os.path.basename(file.path).startswith(prefixes)}

    def enter_write(self, file: File, at: int, octets: int) -> None:
        """Note that so many octets were written at octet `at` of a file, and how long that has made it."""
        before = file.octets
        if octets:
            file.octets = max(before, at + octets)
            enter_write(self.dirty, self.patches, file, at, at + octets, before)
        else:
            self.dirty.setdefault(file, before)

    def change(self, path: str, new_path: str | None) -> None:
        """Enter a rename, or a deletion if `new_path` is None. A content that it replaces uncommitted is dropped."""
        target = new_path or path
        for earlier, earlier_target in tuple(self.changes):
            if earlier_target == target:
                with contextlib.suppress(OSError):  # a temporary file that stays is removed at the next start
                    os.unlink(earlier)
                self.changes.remove((earlier, earlier_target))
        if new_path is None and (path, None) in self.changes:
            self.changes.remove((path, None))
        self.changes.append((path, new_path))

    def retire(self, file: File) -> None:
        """Close the descriptor of a content that nobody can reach any more, once no commit uses it."""
        self.leaving_octets += file.octets
        if file.fileno is not None:
            self.dirty.pop(file, None)
            self.patches.pop(file, None)
            self._retired.append(file.fileno)
            file.fileno = None

    def take(self, waiting: Sequence[tuple[str, Future[None]]]) -> Commit:
        """Take out what those who wait have asked for, or everything if names have changed or nobody waits.

        `waiting` has the prefix of names that each asked for, and the future to resolve.
        """
        folder = self.renaming
        scope = ("",) if folder or not waiting else tuple({prefix for prefix, _ in waiting})
        dirty = self.dirty_under(scope)
        extents = ([(start, file.octets), *self.patches.pop(file, ())] for file, start in dirty.items())
        commit = Commit(
            tuple(file.fileno for file in dirty if file.fileno is not None), tuple(self.changes), folder,
            tuple(self._retired), tuple(future for _, future in waiting),
            flash_octets(extents, len(self.changes), folder), self.leaving_octets,
        )  # fmt: skip
        # From here on a file whose rename is on its way may be under either name: only its descriptor is used.
        self.dirty = {file: start for file, start in self.dirty.items() if file not in dirty}
        self.changes, self._retired = [], []
        self.folder_changed, self.leaving_octets = False, 0
        return commit
