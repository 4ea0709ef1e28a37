"""The recovery of a journal at boot: the segments that are there, and what is known of those that are not.

What is found is one or more of these:

    found nothing   neither mark nor segment: the journal is new
    cut             the newest segments were there, and are gone or cannot be read
    gone, missing   segments and records that were there, by what their neighbours, the mark and the numbers say
    torn            the last segment ends in a write that a power cut interrupted: what is ahead of it is sound
    spoilt          the last segment ends in octets that no interrupted write can have left: it takes no more records
    parted          a head names a segment that a power cut took before it was synced: nothing durable is missing
"""

# What is read: all heads, the last segment, and of a segment ahead of a gap its records too. So a boot is linear in the
# number of segments. What is gone from the end no segment can know; the high-water mark does
# (flight/store/high_water.py).
#
# The rule for numbers: none is given twice. After a loss at the end, numbers go on above all that can have been given:
# above the mark by _AHEAD, or above what the damaged octets can have held at one record per RECORD_OCTETS. One loss
# escapes: a newest segment that was shortened exactly at a record's end looks like writes that never were. Whoever
# passes numbers on keeps a mark of its own therefore, and enters it by `Journal.skip_to`.
#
# Torn or spoilt: an append writes its octets in order, so an interrupted one is a beginning of a record that says it is
# longer than what is left. Anything else behind the last sound record is damage. A torn tail may be cut off, since
# nothing in it was acknowledged; a spoilt one may hold records that were.
#
# Recovery writes nothing, so that a boot on a full or read-only disk succeeds, and a boot that is cut short changes
# nothing. What is to be mended waits for the first append. One exception: a name begun as the power failed, which never
# was durable, is deleted, since nobody else would ever take it away.

from __future__ import annotations

from contextlib import suppress

from flight.core.errors import StorageError
from flight.core.platform import Storage
from flight.store.generations import Presence
from flight.store.high_water import HighWater, Mark
from flight.store.journal_state import JournalStats, Segment
from flight.store.segments import (
    HEAD_OCTETS,
    NO_INDEX,
    RECORD_OCTETS,
    Chain,
    Found,
    Head,
    Kind,
    chain_of,
    is_write_cut_short,
    life_of,
    owner_of,
    read_octets,
    records,
    segment_indices,
    segment_name,
)

_AHEAD = 1 << 20  # numbers passed over if newest segments are gone: more than one that was lost can have held


class Recovery:
    """What was found of the journal called `name`.

    `segments`: those that make it up, in order. `stats`: counts of the others, and of damage. `epoch`: that of its
    life, or the one given if it is new. `end`, `next_index`: number of the next record, index of the next segment.
    `is_open`: the last segment takes more records, once `torn`, its sound part, has replaced it. `parted`: segments
    whose head names another one than is ahead of them. `unmarked`: the mark does not know the last segment.
    """

    def __init__(self, storage: Storage, name: str, high_water: HighWater, segment_octets: int, epoch: int) -> None:
        assert segment_octets // RECORD_OCTETS < _AHEAD, segment_octets
        self.stats = JournalStats()
        self.segments: list[Segment] = []
        self.parted: list[Segment] = []
        self.cut = False
        self.unmarked = False
        self.is_open = False
        self.torn: bytes | None = None
        self.end = 0
        self.next_index = 0
        self._storage = storage
        self._name = name
        self._owner = owner_of(name)
        self._segment_octets = segment_octets
        marks = high_water.load()
        found = [Found(index, *self._look(index)) for index in segment_indices(storage.names(), name)]
        self.found_nothing = not found and high_water.found is Presence.NOTHING
        self.epoch = life_of(found, self._owner, [mark.epoch for mark in marks], epoch)
        mark = next((mark for mark in marks if mark.epoch == self.epoch), None)
        chain = chain_of(found, self._owner, self.epoch)
        whole = high_water.found is Presence.WHOLE
        self._enter_segments(chain, mark if whole else None)
        if self.segments:
            self._scan_last(self.segments[-1])
            # A mark of which one generation is lost is entered again too: the other stands alone until then.
            known = mark is not None and mark.held and mark.index >= self.segments[-1].index
            self.unmarked = not known or not whole
        self._judge_end(chain, mark)

    def _look(self, index: int) -> tuple[int, Head | Kind]:
        """Return length and head of a stored name."""
        name = segment_name(self._name, index)
        octets = self._storage.size(name) or 0
        try:
            return octets, Head.read(self._storage.read(name, 0, HEAD_OCTETS) or b"")
        except StorageError:
            return octets, Kind.UNREADABLE

    def _enter_segments(self, chain: Chain, mark: Mark | None) -> None:
        """Enter the segments of the chain, and say of each gap whether it was a loss or a power cut.

        A segment ends at the number that the next one's head says. Ahead of a gap only its records can tell.
        """
        # Appends to two files survive a power cut one without the other, a mark never without what was ahead of it. So
        # a gap behind the segment that a whole mark names may be one that was never synced; one before it is a loss.
        synced = NO_INDEX if mark is None else -1 if mark.index == NO_INDEX else mark.index
        for found, head in chain.links:
            parted = False
            if self.segments:
                last = self.segments[-1]
                last.end = max(last.first, head.first - head.skipped)
                before = found.index - 1 if head.epoch is None else head.before  # format 1 does not say
                if before != last.index:
                    end, last.end = last.end, min(self._end_of(last), head.first)
                    if head.epoch is not None and found.index > synced:
                        parted = True
                    # NO_INDEX: no segment was held when it was begun, so those ahead of it had been given up.
                    elif before != NO_INDEX:
                        self.stats.missing += max(0, end - last.end)
                        self.stats.gone += _gone(chain, last.index, before)
            self.segments.append(Segment(found.index, head.first, head.first, found.octets, head.octets))
            if parted:
                self.parted.append(self.segments[-1])
        if self.segments:
            self.next_index = self.segments[-1].index + 1

    def _octets(self, segment: Segment) -> bytes:
        return read_octets(self._storage, segment_name(self._name, segment.index))

    def _end_of(self, segment: Segment) -> int:
        """Return the number behind the last record that can be read."""
        end = segment.first
        for number, _, _ in records(self._octets(segment), segment.body, segment.first):
            end = number + 1
        return end

    def _scan_last(self, segment: Segment) -> None:
        """Find out how far the last segment is sound: behind an interrupted write, the first append goes on there."""
        raw = self._octets(segment)
        at, number = segment.body, segment.first
        for last, end, _ in records(raw, at, number):
            at, number = end, last + 1
        self.end = segment.end = number
        self.is_open = bool(raw)
        if not raw:  # the medium does not give it back: as many numbers may be gone as empty records fit in it
            self.stats.damaged += 1
            self.cut = True
            self.end += segment.octets // RECORD_OCTETS
        elif at != len(raw):
            self.stats.damaged += 1
            if is_write_cut_short(raw, at, self._segment_octets):
                self.torn, segment.octets = raw[:at], at
            else:
                self.stats.spoilt += 1
                self.is_open = False
                self.end += (len(raw) - at) // RECORD_OCTETS

    def _judge_end(self, chain: Chain, mark: Mark | None) -> None:
        """Decide whether there was more behind the last segment, and which numbers must not be given again."""
        last = self.segments[-1].index if self.segments else -1
        held = mark.index if mark is not None and mark.held else -1
        begun = last if mark is None else -1 if mark.index == NO_INDEX else mark.index
        reach = 0
        for found, kind in chain.others:
            if kind is Kind.TORN and found.index > begun:  # never durable
                with suppress(StorageError):
                    self._storage.delete(segment_name(self._name, found.index))
                continue
            self._count(kind)
            # A head of full length was written whole, so this is damage and not a write that was interrupted.
            if kind is Kind.UNREADABLE and found.index > max(last, begun):
                self.cut, reach = True, max(reach, self.end + _AHEAD)
            # A copy of a segment that is gone itself still tells how far numbers had come.
            if kind is Kind.MISPLACED and isinstance(found.head, Head) and found.head.first >= self.end:
                reach = max(reach, found.head.first + found.octets // RECORD_OCTETS)
        if mark is not None:
            reach = max(reach, mark.number)
            if mark.index != NO_INDEX:
                self.next_index = max(self.next_index, mark.index + 1)
        if mark is not None and held > last:
            self.cut, reach = True, max(reach, mark.number + _AHEAD)
            self.stats.gone += _gone(chain, last if self.segments else held - 1, held)
            if self.segments:
                self.stats.missing += max(0, mark.number - self.end)
        if self.cut or reach > self.end:
            self.is_open, self.torn = False, None
            self.end = max(self.end, reach)

    def _count(self, kind: Kind) -> None:
        self.stats.foreign += kind is Kind.FOREIGN
        self.stats.misplaced += kind is Kind.MISPLACED
        self.stats.unreadable += kind in (Kind.UNREADABLE, Kind.TORN)


def _gone(chain: Chain, last: int, newest: int) -> int:
    """Return how many segments behind `last`, up to `newest`, are under no name.

    Names that something foreign has were passed over as segments were named, except that of `newest`, which was a
    segment's.
    """
    there: set[int] = set()
    for found, kind in chain.others:
        if found.index < newest or kind in (Kind.UNREADABLE, Kind.TORN):
            there.add(found.index)
        if kind is Kind.MISPLACED and isinstance(found.head, Head):
            there.add(found.head.index)
    return max(0, newest - last - sum(last < index <= newest for index in there))
