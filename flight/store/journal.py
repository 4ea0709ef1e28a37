"""An append log that survives power loss and what else happens to its files: numbered records in segments.

What a segment looks like, and which of the names found make up the journal, is told in flight/store/segments.py; what
is known at boot of those that are damaged or gone, in flight/store/journal_recovery.py; the mark that each new segment
enters, in flight/store/high_water.py.

Records go to the last segment, which is in one of three states:

    open     takes records until one does not fit --> a new segment, open
    torn     ends in a write that a power cut left --first append: that is cut off--> open
    closed   its tail is damaged, or numbers behind it were passed over --first append--> a new segment, open

Damage costs the records it is in, and the rest of the segment if it takes many in a row: reading goes on with the next
sound record, or the next segment. A segment that does not belong where it stands is left alone, reported by its kind,
and costs its own records; what is damaged stays as it is. Records are given up by whole segments, the oldest first.
"""

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

_DROPPED = 2  # segments that a circular journal gives up for a new one, at most


class Journal:
    """The log called `name`. Bounded: at most `segments_max` segments; when full, a circular journal gives up
    its oldest segment, any other refuses. `epoch`: a random number for a journal that is new; one that is there keeps
    the one that it has.
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
        """Finds the segments by their heads and reads the last one, and those ahead of a gap."""
        assert segments_max >= 2, segments_max
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
        self._open = found.is_open  # the last segment takes more
        # What is left to be mended: what stands of the last segment if its tail is torn, segments whose head names
        # another one than is ahead of them, and whether the mark does not know the last segment.
        self._torn, self._parted, self._unmarked = found.torn, found.parted, found.unmarked
        self._closed_octets = sum(segment.octets for segment in self.segments[:-1])
        self._open_name = ""  # of the segment that the next record goes to, while `_room_octets` says that it fits
        self._room_octets = 0

    @property
    def first(self) -> int:
        """Number of the oldest record held; `end` where there is none."""
        return self.segments[0].first if self.segments else self.end

    @property
    def end(self) -> int:
        """Number that the next record will have."""
        return self._end

    @property
    def octets(self) -> int:
        return self._closed_octets + (self.segments[-1].octets if self.segments else 0)

    def damage(self) -> list[str]:
        """What was found that is not as it was written, in words; empty if all is."""
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
        """Let a journal that never was leave its mark, durable with the next sync, before there is a record."""
        if self.found_nothing:
            self._enter_mark(NO_INDEX, False, self._end)

    def skip_to(self, number: int) -> None:
        """Let the next record have at least this number: another store knows that lower ones were given out."""
        if number > self._end:
            self._end = number
            self._open, self._room_octets = False, 0

    def append(self, content: bytes) -> bool:
        """Add a record, numbered `end`; durable when a later `sync` is done. False where the journal is full.

        Raises StorageError where the storage does not take it; the journal is then as before.
        """
        # The busiest path of the storage: everything that does not change from record to record is looked up before.
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
        return self._storage.sync()

    def read(self, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """(number, content) of every readable record from `first` on, in order.

        A segment is read as a whole when its turn comes. What is damaged is passed over and counted, once.
        """
        for segment in tuple(self.segments):
            if segment.end <= first:
                continue
            for number, content in self.read_segment(segment):
                if number >= first:
                    yield number, content

    def read_segment(self, segment: Segment, octets_max: int | None = None) -> list[tuple[int, bytes]]:
        """(number, content) of every readable record of one of `segments`, in order, and of no other: one read, of
        `octets_max` octets at most. What is damaged is passed over, and counted once, however often it is read.
        """
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
        """Give up whole segments whose records are all below `number`; durable after the next sync."""
        while self.segments and self.segments[0].end <= number:
            self._drop_oldest()

    def drop_oldest(self) -> int:
        """Give up the oldest segment; octets gained, 0 where there is none."""
        return self._drop_oldest() if self.segments else 0

    def clear(self) -> None:
        """Forget every record; durable after the next sync. Numbers go on."""
        while self.segments:
            self._drop_oldest()

    def _drop_oldest(self) -> int:
        segment = self.segments[0]
        if len(self.segments) == 1:  # first, so that nobody takes what was given up for lost
            self._high_water.stage(self.epoch, segment.index, False, self._end)
        self._storage.delete(self._segment_name(segment.index))
        del self.segments[0]
        if self.segments:
            self._closed_octets -= segment.octets
        else:
            self._torn, self._open, self._room_octets = None, False, 0
        return segment.octets

    def _make_room(self, octets: int) -> bool:
        """Have an open segment for a record of `octets`, a new one where it does not fit; False where that is one
        too many. A record longer than a segment gets one of its own.
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
        """Open a new segment, under a name that nothing has; False if that would be one too many. A circular
        journal that has more than it may, having been made smaller, shrinks by one for each new one: a step deletes a
        few, however many they are.
        """
        for _ in range(_DROPPED):
            if len(self.segments) < self.segments_max:
                break
            if not self._circular:
                return False
            self._drop_oldest()
            self.stats.dropped += 1
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
        """The first one twice. Storage that refuses it keeps nobody from writing."""
        try:
            for _ in range(2 if self.found_nothing else 1):
                self._high_water.stage(self.epoch, index, held, number)
            self.found_nothing = self._unmarked = False
        except StorageError:
            self.stats.unmarked += 1  # tried again with the next segment

    def _cut_tail(self, whole: bytes) -> None:
        """Put what stands of the last segment in its place, at once and as a whole."""
        self._storage.replace(self._segment_name(self.segments[-1].index), whole)
        self._torn = None

    def _join(self) -> None:
        """Have the heads behind a gap that a power cut left name the segment that is ahead of them."""
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
