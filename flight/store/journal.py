"""An append log that survives power loss, and damage to its files: numbered records in segments.

A record that was appended is durable once a later `sync` is done. A number is given to one record only, also after
damage (one loss escapes, see flight/store/journal_recovery.py). Damage costs the records that it is in; those behind it
are found again, unless it is so long that the search within its segment is given up. Records are given up by whole
segments, the oldest first.

Records go to the last segment, which is in one of three states:

    open     takes records until one does not fit --> a new segment, open
    torn     ends in a write that a power cut left --first append: that is cut off--> open
    closed   its tail is damaged, or numbers behind it were passed over --first append--> a new segment, open
"""

# Four files make up the journal (ADR 0007): what a segment looks like, and which of the names found belong to it, is in
# flight/store/segments.py; what a boot concludes about damaged and missing ones, in flight/store/journal_recovery.py;
# the mark that each new segment enters, in flight/store/high_water.py; appending, reading and giving up are here.
#
# What a power cut leaves, by the instant at which it comes:
#
#     an append, not synced       all of the record, a beginning of it, or nothing. A beginning is cut off with the next
#                                 append, as one replacement of the segment, so that a second cut finds old or new
#     a new segment, not synced   its name may be missing while a later segment's is there, since files of one commit
#                                 reach the medium apart from each other. Then heads are mended (`_join`), and nothing
#                                 durable was lost
#     after a completed sync      everything; what is missing then was damaged or taken away, and is reported
#     giving up the last segment  the mark says first that none is held, so nobody takes it for lost
#
# What must never happen: a number given to two records, a foreign segment read as ours, or damaged octets overwritten.
# A damaged tail is not cut off like a torn one, because nobody knows what it held: it stays for a person to look at,
# and a new segment is begun behind it. If damage takes many records in a row, the rest of that segment is lost too,
# since the search for the next sound record is bounded.

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

from flight.core.errors import StorageError
from flight.core.future import Future
from flight.core.platform import Storage
from flight.store.high_water import HighWater
from flight.store.journal_recovery import Recovery
from flight.store.journal_state import Segment
from flight.store.segments import (
    HEAD_OCTETS,
    NO_INDEX,
    RECORD_OCTETS,
    Head,
    owner_of,
    pack_numbered,
    pack_record_head,
    read_octets,
    records,
    segment_name,
)

# Segments that a circular journal gives up for a new one, at most: one step must not delete many (ADR 0022). Two, so
# that a journal whose `segments_max` was lowered shrinks by one per new segment.
_DROPPED = 2


class Journal:
    """The log called `name`, of at most `segments_max` segments of `segment_octets`.

    When full, a circular journal gives up its oldest segment, any other refuses. `epoch`: a random number for a new
    journal; one that is found keeps its own.
    """

    def __init__(
        self,
        storage: Storage,
        name: str,
        *,
        segment_octets: int = 65536,
        segments_max: int = 16,
        circular: bool = False,
        epoch: int = 0,
    ) -> None:
        """Find the segments by their heads, and read the last one and those ahead of a gap.

        Writes nothing. Deletes at most a name that was begun as the power failed.
        """
        assert segments_max >= 2, segments_max  # with one alone, giving up the oldest would give up everything
        self.segments_max = segments_max
        self._segment_octets = segment_octets
        self._circular = circular
        self._storage = storage
        self._name = name
        self._owner = owner_of(name)
        self._high_water = HighWater(storage, name)
        found = Recovery(storage, name, self._high_water, segment_octets, epoch)
        self.stats = found.stats
        self.segments = found.segments
        self.epoch = found.epoch
        self.cut = found.cut
        self.found_nothing = found.found_nothing
        self._end = found.end
        self._next_index = found.next_index
        self._open = found.is_open  # the last segment takes more records
        # What the first append has to mend: the sound part of the last segment if its tail is torn, segments whose head
        # names another one than is ahead of them, and whether the mark does not know the last segment.
        self._torn, self._parted, self._unmarked = found.torn, found.parted, found.unmarked
        self._closed_octets = sum(segment.octets for segment in self.segments[:-1])
        self._open_name = ""  # of the segment that the next record goes to, if `_room_octets` says that it fits
        self._room_octets = 0

    @property
    def first(self) -> int:
        """Number of the oldest record held; `end` if there is none."""
        return self.segments[0].first if self.segments else self.end

    @property
    def end(self) -> int:
        """Number that the next record will have."""
        return self._end

    @property
    def octets(self) -> int:
        """Octets of all segments, heads included."""
        return self._closed_octets + (self.segments[-1].octets if self.segments else 0)

    def damage(self) -> list[str]:
        """Say in words what was found that is not as it was written; empty if all is as it was."""
        stats, out = self.stats, list[str]()
        if self.cut:
            behind = self.segments[-1].end if self.segments else 0
            out.append(f"its newest records, from number {behind} on, were stored and are gone")
        if stats.gone:
            out.append(f"segments that are gone: {stats.gone}")
        if stats.unreadable:
            out.append(f"segments with an unreadable head, left alone: {stats.unreadable}")
        if stats.misplaced:
            out.append(f"segments under a name that is not theirs, left alone: {stats.misplaced}")
        if stats.foreign:
            out.append(f"foreign segments, left alone: {stats.foreign}")
        if self._high_water.fault:
            out.append(f"its high-water mark: {self._high_water.fault}")
        return out

    def begin(self) -> None:
        """Enter the mark of a journal that is new, durable with the next sync, before there is a record."""
        if self.found_nothing:
            self._enter_mark(NO_INDEX, False, self._end)

    def skip_to(self, number: int) -> None:
        """Give the next record at least this number: another store knows that lower ones were given out."""
        if number > self._end:
            self._end = number
            # A record's number is its place behind the head's, so passing numbers over takes a new segment.
            self._open, self._room_octets = False, 0

    def append(self, content: bytes) -> bool:
        """Add a record, numbered `end`, durable when a later `sync` is done. Returns False if the journal is full.

        Raises StorageError if the storage does not take it. No number is used up then, but a tail may have been cut
        off, or the oldest segment of a circular journal given up for the new one.
        """
        # The busiest path of the storage: what does not change from record to record, `_make_room` has looked up.
        length, number = len(content), self._end
        octets = RECORD_OCTETS + length
        if octets > self._room_octets and not self._make_room(octets):
            self.stats.refused += 1
            return False
        head = pack_record_head(length, crc32(content, crc32(pack_numbered(length, number))))
        self._storage.append(self._open_name, head + content)
        self._room_octets -= octets
        segment = self.segments[-1]
        segment.octets += octets
        self._end = segment.end = number + 1
        self.stats.appended += 1
        return True

    def sync(self) -> Future[None]:
        """Return a future that is done when every record appended so far is durable."""
        return self._storage.sync()

    def read(self, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield (number, content) of every readable record from `first` on, in order.

        A segment is read as a whole when its turn comes. What is damaged is passed over, and counted once.
        """
        for segment in tuple(self.segments):  # a copy: the caller may drop segments meanwhile
            if segment.end <= first:
                continue
            for number, content in self.read_segment(segment):
                if number >= first:
                    yield number, content

    def read_segment(self, segment: Segment, octets_max: int | None = None) -> list[tuple[int, bytes]]:
        """Return (number, content) of every readable record of one of `segments`, in order.

        That is one read of `octets_max` octets at most. What is damaged is passed over, and counted once, however often
        it is read.
        """
        # The torn tail still stands on storage; a record that begins in it must not be read.
        if self._torn is not None and segment is self.segments[-1]:
            raw = self._torn
        else:
            raw = read_octets(self._storage, self._segment_name(segment.index), octets_max)
        read = records(raw, segment.body, segment.first)
        found = [(number, content) for number, _, content in read if number < segment.end]
        lost = segment.end - segment.first - len(found)
        if lost > segment.lost:
            self.stats.damaged += not segment.lost
            self.stats.missing += lost - segment.lost
            segment.lost = lost
        return found

    def drop_before(self, number: int) -> None:
        """Give up the segments whose records are all below `number`; durable after the next sync."""
        while self.segments and self.segments[0].end <= number:
            self._drop_oldest()

    def drop_oldest(self) -> int:
        """Give up the oldest segment; return the octets gained, 0 if there is none."""
        return self._drop_oldest() if self.segments else 0

    def clear(self) -> None:
        """Forget every record; durable after the next sync. Numbers go on."""
        while self.segments:
            self._drop_oldest()

    def _drop_oldest(self) -> int:
        segment = self.segments[0]
        # The mark first: a boot after a cut in between finds a segment too many, and not one that is missing.
        if len(self.segments) == 1:
            self._high_water.stage(self.epoch, segment.index, False, self._end)
        self._storage.delete(self._segment_name(segment.index))
        del self.segments[0]
        if self.segments:
            self._closed_octets -= segment.octets
        else:
            self._torn, self._open, self._room_octets = None, False, 0
        return segment.octets

    def _make_room(self, octets: int) -> bool:
        """Have an open segment for a record of `octets`, a new one if need be; return False if the journal is full.

        A record longer than a segment gets a segment of its own.
        """
        if self._torn is not None:
            self._cut_tail(self._torn)
        if self._parted:
            self._join()
        if (not self._open or self.segments[-1].octets + octets > self._segment_octets) and not self._start():
            return False
        last = self.segments[-1]
        if self._unmarked:
            self._enter_mark(last.index, True, last.first)
        self._open_name = self._segment_name(last.index)
        self._room_octets = self._segment_octets - last.octets
        return True

    def _start(self) -> bool:
        """Open a new segment under a free name; return False if the journal is full."""
        for _ in range(_DROPPED):
            if len(self.segments) < self.segments_max:
                break
            if not self._circular:
                return False
            self._drop_oldest()
            self.stats.dropped += 1
        # Something foreign may have the next name. It is left alone, whatever it is.
        while self._storage.size(self._segment_name(self._next_index)) is not None:
            self._next_index += 1
        index, last = self._next_index, self.segments[-1] if self.segments else None
        before, skipped = (NO_INDEX, 0) if last is None else (last.index, self._end - last.end)
        head = Head(self._owner, self._end, skipped, self.epoch, index, before)
        self._storage.append(self._segment_name(index), head.encode())
        self._closed_octets = self.octets
        self.segments.append(Segment(index, self._end, self._end, HEAD_OCTETS))
        self._next_index += 1
        self._open = True
        self._unmarked = True
        return True

    def _enter_mark(self, index: int, held: bool, number: int) -> None:
        """Enter the mark, the very first one twice. Storage that refuses it keeps nobody from writing records."""
        try:
            # Twice, so that both generations agree on the journal's life from the beginning.
            for _ in range(2 if self.found_nothing else 1):
                self._high_water.stage(self.epoch, index, held, number)
            self.found_nothing = self._unmarked = False
        except StorageError:
            self.stats.unmarked += 1  # tried again with the next segment

    def _cut_tail(self, whole: bytes) -> None:
        """Replace the last segment by its sound part, as a whole: a cut meanwhile leaves the old one or the new one."""
        self._storage.replace(self._segment_name(self.segments[-1].index), whole)
        self._torn = None

    def _join(self) -> None:
        """Rewrite the heads behind a gap that a power cut left, so that they name the segment that is ahead of them."""
        for at, segment in enumerate(self.segments):
            if segment in self._parted and at:
                last = self.segments[at - 1]
                head = Head(
                    self._owner, segment.first, segment.first - last.end, self.epoch, segment.index, last.index
                )  # fmt: skip
                raw = read_octets(self._storage, self._segment_name(segment.index))
                if raw:
                    self._storage.replace(self._segment_name(segment.index), head.encode() + raw[segment.body :])
        self._parted = []

    def _segment_name(self, index: int) -> str:
        return segment_name(self._name, index)
