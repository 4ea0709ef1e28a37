"""What a journal counts, and what it knows of each of its segments."""

from __future__ import annotations

from dataclasses import dataclass

from flight.store.segments import HEAD_OCTETS


@dataclass(slots=True)
class JournalStats:
    """What a journal has counted since the boot.

    `refused`: appends to a full journal that is not circular. `dropped`: segments that a circular one gave up for new
    ones. `damaged`: segments with unreadable octets, as far as they were read. `missing`: records that were lost, in
    damaged segments (counted when they are read) and between and behind segments (counted at boot). `spoilt`: the last
    segment ends in octets that no interrupted write can have left. `foreign`, `misplaced`, `unreadable`: names of
    segments that are left as they are, see flight/store/segments.py. `gone`: segments that were there and that no name
    holds any more. `unmarked`: segments begun without the mark, since storage refused it.
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
    """One segment: records `first` up to but not including `end`.

    `octets` is its length, of which the head takes `body`. `lost`: records of it that were found unreadable.
    """

    index: int
    first: int
    end: int
    octets: int
    body: int = HEAD_OCTETS
    lost: int = 0
