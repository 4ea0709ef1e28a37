"""What every Storage has in common: which names it takes, how it refuses, what it counts, and how wear is estimated.

Wear is estimated by a model of a page-oriented medium (eMMC, SD card, SSD) under a file system. The model is the same
for every Storage. A commit writes, in pages of PAGE_OCTETS:

- the pages of each dirty file that hold octets written since the commit before, each page once, however many
  appends and positional writes went into it (a gap that was never written has no pages);
- one page for the inode of each dirty file;
- one page for each rename and each deletion, and one for the folder if names came, changed or went.

What was replaced or deleted again before its commit is never written. Write amplification is flash_octets / octets:
about 80 for a commit of one record of 100 octets, close to 1 if large appends share a commit.
"""

# Why a model (ADR 0011): a medium does not tell how much it writes for what it is asked, and the figure must be the
# same on the simulated disk and on a board, so that wear can be compared before launch. Erase blocks and the medium's
# own garbage collection are not in it: they multiply the real wear by a factor that only its maker knows.

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from flight.core.errors import StorageError

PAGE_OCTETS = 4096
NO_SPACE = "disk full, no space left"
READ_ONLY = "the file system is read-only"
INPUT_OUTPUT_ERROR = "the disk reports an input/output error"
_PATCHES_MAX = 256  # per file; more of them are counted as one, with what lies between
_K = TypeVar("_K")
# Lower case alone, since a file system may not tell cases apart. Upper case and "~" are left for a storage's own files.
_NAME = re.compile(r"[a-z0-9_.-]{1,100}")


class StorageFull(StorageError):
    """The medium has no room for what was to be written, and nothing of it was written. Deleting makes room."""


@dataclass(slots=True)
class StorageCounters:
    """What a Storage did since its boot.

    syncs, commits: syncs asked for, and commits made for them (fewer: shared).
    octets, flash_octets: asked to be written, and what the medium writes for them by the model above.
    commit_last_ns, commit_max_ns: how long the newest and the slowest commit took.
    failures: commits that failed. refused: writes of any kind and deletions that raised StorageError.
    """

    syncs: int = 0
    commits: int = 0
    octets: int = 0
    flash_octets: int = 0
    commit_last_ns: int = 0
    commit_max_ns: int = 0
    failures: int = 0
    refused: int = 0

    @property
    def write_amplification(self) -> float:
        """Octets written by the medium per octet asked for; 0 if none was asked for."""
        return self.flash_octets / self.octets if self.octets else 0.0

    def enter_commit(self, flash_octets: int, duration_ns: int) -> None:
        """Count one commit, failed or not."""
        self.commits += 1
        self.flash_octets += flash_octets
        self.commit_last_ns = duration_ns
        self.commit_max_ns = max(self.commit_max_ns, duration_ns)


def flash_octets(dirty: Iterable[Iterable[tuple[int, int]]], changes: int, folder: bool) -> int:
    """Return the octets that one commit makes the medium write, by the model at the head of this file.

    `dirty` holds, per dirty file, the stretches of octets not yet committed, each with its first octet and its end.
    `changes` counts renames and deletions. `folder` says whether names came, changed or went.
    """
    pages = changes + folder
    for stretches in dirty:
        pages += 1  # the inode
        counted = 0  # pages below this one
        for start, end in sorted(stretches):
            if end > start:
                first, behind = max(counted, start // PAGE_OCTETS), (end - 1) // PAGE_OCTETS + 1
                pages += max(0, behind - first)
                counted = max(counted, behind)
    return pages * PAGE_OCTETS


def enter_write(
    tails: dict[_K, int], patches: dict[_K, list[tuple[int, int]]], file: _K, at: int, end: int, before: int
) -> None:
    """Note that octets `at` up to `end` were written to a file that had `before` octets.

    What is dirty of a file is everything from its place in `tails` to its end, which appends leave as it is, and the
    stretches in `patches`. More than _PATCHES_MAX of these are counted as one tail, gaps included.
    """
    start = tails.setdefault(file, before)
    if at > before:  # a gap stays behind, and is not written: the tail begins behind it
        tails[file] = at
        at, end = start, before
    elif at < start:
        end = min(end, start)
    else:
        return
    if at >= end:
        return
    stretches = patches.setdefault(file, [])
    if stretches and stretches[-1][1] == at:
        stretches[-1] = stretches[-1][0], end
    elif len(stretches) < _PATCHES_MAX:
        stretches.append((at, end))
    else:
        tails[file] = min(at, start, *(first for first, _ in stretches))
        del patches[file]


def is_name(name: str) -> bool:
    """Return whether a Storage may hold `name`."""
    return _NAME.fullmatch(name) is not None and name not in (".", "..")


def checked_name(name: str) -> str:
    """Return `name` if a Storage may hold it. Raises StorageError if not."""
    if not is_name(name):
        raise StorageError(f"storage name {name!r} should be 1 to 100 characters of a-z 0-9 _ . -")
    return name
