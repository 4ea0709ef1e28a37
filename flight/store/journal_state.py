"""What a journal counts, and what it knows of each of its segments."""

from __future__ import annotations

from dataclasses import dataclass

from flight.store.segments import HEAD_OCTETS


@dataclass(slots=True)
class JournalStats:
    """`refused`: appends to a full bounded journal. `dropped`: segments overwritten by a circular one. `damaged`:
    segments with unreadable octets, as far as they were read. `missing`: records lost with them, which count when
    they are read, and between and behind segments, which count at once. `spoilt`: the last segment ends in octets
    that are no write cut short. Names of segments that are left as they are: `foreign`, `misplaced`, `unreadable`, see
    flight/store/segments.py. `gone`: segments that were, and that no name holds any more. `unmarked`: segments begun
    without the mark, storage having refused it.
    """

    appended: int = 0
    refused: int = 0
    dropped: int = 0
    damaged: int = 0
    missing: int = 0
    spoilt: int = 0
    foreign: int = 0
    misplaced: int = 0
    unreadable: int = 0
    gone: int = 0
    unmarked: int = 0


@dataclass(slots=True)
class Segment:
    """Records `first` up to but not including `end`; `octets` is its length, of which the head takes `body`. `lost`:
    records of it that were found unreadable.
    """

    index: int
    first: int
    end: int
    octets: int
    body: int = HEAD_OCTETS
    lost: int = 0
