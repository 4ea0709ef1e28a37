"""The recovery of a journal at boot: the segments that are there, and what is known of those that are not.

Heads are read, and the last segment; of a segment ahead of a gap its records too. What is gone from the end no segment
can tell, the high-water mark does (flight/store/high_water.py). What is found is one or more of these:

    found nothing   neither mark nor segment: the journal never was
    cut             the newest segments were and are gone, or are damaged where records stood
    gone, missing   segments and records that were, as their neighbours, mark and numbers tell
    torn            the last segment ends in a write that the power cut short: what stands of it is good
    spoilt          it ends in octets that are no write cut short: it takes nothing more
    parted          its head names a segment that a power cut took before it was synced: nothing durable is missing

No number is given twice: after a loss at the end numbers go on above all that can have been given. What escapes this is
a newest segment that was shortened at a record's end: who must know puts its own mark higher by `Journal.skip_to`.

Recovery writes nothing: what is to be mended waits for the first append. A name begun as the power failed, which never
was durable, is deleted.
"""

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

_AHEAD = 1 << 20  # numbers passed over if a newest segment is gone: more than those that were lost can have held


class Recovery:
    """What was found of the journal called `name`.

    `segments`: those that make it up, in order. `stats`: what was counted of the others, and of damage. `epoch`: of its
    life, the one given if it is new. `end`, `next_index`: of the next record and the next segment. `is_open`: the last
    segment takes more, once `torn`, what stands of it, is put in its place. `parted`: those whose head names another
    one than is ahead of them. `unmarked`: the mark does not know the last segment.
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
        """Octets and head of a stored name."""
        name = segment_name(self._name, index)
        octets = self._storage.size(name) or 0
        try:
            return octets, Head.read(self._storage.read(name, 0, HEAD_OCTETS) or b"")
        except StorageError:
            return octets, Kind.UNREADABLE

    def _enter_segments(self, chain: Chain, mark: Mark | None) -> None:
        """Each ends where the next one says. Ahead of a gap only its records tell; what is between is lost, or was
        never synced: appends to two files survive a power cut one without the other, a whole mark not without them.
        """
        synced = NO_INDEX if mark is None else -1 if mark.index == NO_INDEX else mark.index
        for found, head in chain.links:
            parted = False
            if self.segments:
                last = self.segments[-1]
                last.end = max(last.first, head.first - head.skipped)
                before = found.index - 1 if head.epoch is None else head.before
                if before != last.index:
                    end, last.end = last.end, min(self._end_of(last), head.first)
                    if head.epoch is not None and found.index > synced:
                        parted = True
                    elif before != NO_INDEX:  # else none was held as it was begun: what is ahead of it was given up
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
        """The number behind the last record that can be read."""
        end = segment.first
        for number, _, _ in records(self._octets(segment), segment.body, segment.first):
            end = number + 1
        return end

    def _scan_last(self, segment: Segment) -> None:
        """How far the last segment is good; the first append goes on from there, if only a write was cut short."""
        raw = self._octets(segment)
        at, number = segment.body, segment.first
        for last, end, _ in records(raw, at, number):
            at, number = end, last + 1
        self.end = segment.end = number
        self.is_open = bool(raw)
        if not raw:
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
        """Whether there was more behind the last segment, and which numbers must not be given again."""
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
            if kind is Kind.UNREADABLE and found.index > max(last, begun):  # a whole head is no write cut short
                self.cut, reach = True, max(reach, self.end + _AHEAD)
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
    """How many segments behind `last`, up to `newest`, are under no name. Names that something foreign has were passed
    over when they were given, but for that of `newest`, which was a segment's.
    """
    there: set[int] = set()
    for found, kind in chain.others:
        if found.index < newest or kind in (Kind.UNREADABLE, Kind.TORN):
            there.add(found.index)
        if kind is Kind.MISPLACED and isinstance(found.head, Head):
            there.add(found.head.index)
    return max(0, newest - last - sum(last < index <= newest for index in there))
