"""An append log that survives power loss and what else happens to its files: numbered records in segments.

A segment is a stored name `NAME.%08d`; what stands in it, and which of the names found make up the journal, is told in
flight/store/segments.py. Damage costs the records it is in, and the rest of the segment if it takes many in a row:
reading goes on with the next sound record, or the next segment. A segment that does not belong where it stands is left
alone, reported by its kind, and costs its own records. A torn tail, which a power cut leaves, is cut off at the first
append after recovery; a tail that is damaged stays as it is, and writing goes on in a new segment.

What is gone from the end no segment can tell. So each segment that is begun enters the high-water mark `NAME.mark`, a
record of two generations: that it is there, and its first number. The mark is a replacement, which storage makes
durable never before what was written ahead of it: a segment that the mark names was durable, and is gone if it is
not found. That costs one small replacement per segment, nothing per append. A journal that gives up its last segment
enters first that it holds none.

    found nothing   neither mark nor segment: the journal never was
    cut             the newest segments were and are gone, or are damaged where records stood: `cut`
    gone, missing   segments and records that were, as their neighbours, mark and numbers tell

No number is given twice: after a loss at the end numbers go on above all that can have been given. What escapes this
is a newest segment that was shortened at a record's end: who must know puts its own mark higher by `skip_to`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from zlib import crc32

from flight.core.errors import StorageError
from flight.core.future import Future
from flight.core.platform import Storage
from flight.store.generations import Generations, Presence
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
    pack_numbered,
    pack_record_head,
    records,
)

_MARK = struct.Struct(">HQI?Q")  # owner, epoch, index of the newest segment, whether it is held, number
_AHEAD = 1 << 20  # numbers passed over if a newest segment is gone: more than those that were lost can have held
_DROPPED = 2  # segments that a circular journal gives up for a new one, at most


@dataclass(slots=True)
class JournalStats:
    """`refused`: appends to a full bounded journal. `dropped`: segments overwritten by a circular one. `damaged`:
    segments with unreadable octets, as far as they were read. `missing`: records lost with them, which count when
    they are read, and between and behind segments, which count at once. `spoilt`: the last segment ends in octets
    that are no write cut short. Names of segments that are left as they are: `foreign`, `misplaced`, `unreadable`, see
    flight/store/segments.py. `gone`: segments that were, and that no name holds any more. `unmarked`: segments begun
    without the mark, storage having refused it."""

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
    records of it that were found unreadable."""

    index: int
    first: int
    end: int
    octets: int
    body: int = HEAD_OCTETS
    lost: int = 0


@dataclass(frozen=True, slots=True)
class _Mark:
    """Segments up to `index` were begun. If `held`, that one with `number`; else nothing was held, and numbers
    below `number` were given."""

    owner: int
    epoch: int
    index: int
    held: bool
    number: int

    def encode(self) -> bytes:
        return _MARK.pack(self.owner, self.epoch, self.index, self.held, self.number)


class Journal:
    """The log called `name`. Bounded: at most `segments_max` segments; when full, a circular journal gives up
    its oldest segment, any other refuses. `epoch`: a random number for a journal that is new; one that is there keeps
    the one that it has."""

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
        assert segment_octets // RECORD_OCTETS < _AHEAD, segment_octets
        self.stats = JournalStats()
        self.segments: list[Segment] = []
        self.epoch = epoch
        self.cut = False
        self.found_nothing = False
        self._storage = storage
        self._prefix = f"{name}."
        self._owner = owner_of(name)
        self._marks = Generations(storage, f"{name}.mark")
        self._segment_octets = segment_octets
        self.segments_max = segments_max
        self._circular = circular
        self._next_index = 0
        self._end = 0
        self._unmarked = False  # the mark does not know the last segment
        self._parted: list[Segment] = []  # those whose head still names one that a power cut took before it was synced
        self._closed_octets = 0  # of all segments but the last
        self._torn: bytes | None = None  # what stands of the last segment where its tail is torn
        self._open = False  # the last segment takes more
        self._open_name = ""  # of the segment that the next record goes to, while `_room_octets` says that it fits
        self._room_octets = 0
        self._find()

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
        if self._marks.fault:
            out.append(f"its high-water mark: {self._marks.fault}")
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
        `octets_max` octets at most. What is damaged is passed over, and counted once, however often it is read."""
        if self._torn is not None and segment is self.segments[-1]:
            raw = self._torn
        else:
            raw = self._octets(segment, octets_max)
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
            self._marks.stage(_Mark(self._owner, self.epoch, segment.index, False, self._end).encode())
        self._storage.delete(self._name(segment.index))
        del self.segments[0]
        if self.segments:
            self._closed_octets -= segment.octets
        else:
            self._torn, self._open, self._room_octets = None, False, 0
        return segment.octets

    def _make_room(self, octets: int) -> bool:
        """Have an open segment for a record of `octets`, a new one where it does not fit; False where that is one
        too many. A record longer than a segment gets one of its own."""
        if self._torn is not None:
            self._cut_tail(self._torn)
        if self._parted:
            self._join()
        if (not self._open or self.segments[-1].octets + octets > self._segment_octets) and not self._start():
            return False
        last = self.segments[-1]
        if self._unmarked:
            self._enter_mark(last.index, True, last.first)
        self._open_name = self._name(last.index)
        self._room_octets = self._segment_octets - last.octets
        return True

    def _start(self) -> bool:
        """Open a new segment, under a name that nothing has; False if that would be one too many. A circular
        journal that has more than it may, having been made smaller, shrinks by one for each new one: a step deletes a
        few, however many they are."""
        for _ in range(_DROPPED):
            if len(self.segments) < self.segments_max:
                break
            if not self._circular:
                return False
            self._drop_oldest()
            self.stats.dropped += 1
        while self._storage.size(self._name(self._next_index)) is not None:
            self._next_index += 1
        index, last = self._next_index, self.segments[-1] if self.segments else None
        before, skipped = (NO_INDEX, 0) if last is None else (last.index, self._end - last.end)
        head = Head(self._owner, self._end, skipped, self.epoch, index, before)
        self._storage.append(self._name(index), head.encode())
        self._closed_octets = self.octets
        self.segments.append(Segment(index, self._end, self._end, HEAD_OCTETS))
        self._next_index += 1
        self._open = True
        self._unmarked = True
        return True

    def _enter_mark(self, index: int, held: bool, number: int) -> None:
        """Storage that refuses it keeps nobody from writing. The first mark goes to both generations: two that agree
        cannot be outvoted."""
        mark = _Mark(self._owner, self.epoch, index, held, number).encode()
        try:
            for _ in range(2 if self.found_nothing else 1):
                self._marks.stage(mark)
            self.found_nothing = self._unmarked = False
        except StorageError:
            self.stats.unmarked += 1  # tried again with the next segment

    def _cut_tail(self, whole: bytes) -> None:
        """Put what stands of the last segment in its place, at once and as a whole."""
        self._storage.replace(self._name(self.segments[-1].index), whole)
        self._torn = None

    def _join(self) -> None:
        """Have the heads behind a gap that a power cut left name the segment that is ahead of them."""
        for at, segment in enumerate(self.segments):
            if segment in self._parted and at:
                last = self.segments[at - 1]
                head = Head(
                    self._owner, segment.first, segment.first - last.end, self.epoch, segment.index, last.index
                )  # fmt: skip
                raw = self._octets(segment)
                if raw:
                    self._storage.replace(self._name(segment.index), head.encode() + raw[segment.body :])
        self._parted = []

    def _name(self, index: int) -> str:
        return f"{self._prefix}{index:08d}"

    # Recovery

    def _find(self) -> None:
        """The segments, and what is known of those that are not there."""
        marks = [mark for mark in map(self._decode_mark, self._marks.load_all()) if mark is not None]
        found = [Found(index, *self._look(index)) for index in self._indices()]
        self.found_nothing = not found and self._marks.found is Presence.NOTHING
        self.epoch = life_of(found, self._owner, [mark.epoch for mark in marks], self.epoch)
        mark = next((mark for mark in marks if mark.epoch == self.epoch), None)
        chain = chain_of(found, self._owner, self.epoch)
        self._enter_segments(chain, mark)
        if self.segments:
            self._scan_last(self.segments[-1])
            # A mark of which one generation is lost is entered again too: the other stands alone until then.
            known = mark is not None and mark.held and mark.index >= self.segments[-1].index
            self._unmarked = not known or self._marks.found is not Presence.WHOLE
        self._judge_end(chain, mark)
        self._closed_octets = sum(one.octets for one in self.segments[:-1])

    def _decode_mark(self, raw: bytes) -> _Mark | None:
        if len(raw) != _MARK.size:
            return None
        mark = _Mark(*_MARK.unpack(raw))
        return mark if mark.owner == self._owner else None

    def _indices(self) -> list[int]:
        """Of the names that could be a segment's, in order."""
        tails = (n.removeprefix(self._prefix) for n in self._storage.names() if n.startswith(self._prefix))
        numbers = ((tail, int(tail)) for tail in tails if tail.isdecimal())
        return sorted(index for tail, index in numbers if tail == f"{index:08d}" and index < NO_INDEX)

    def _look(self, index: int) -> tuple[int, Head | Kind]:
        """Octets and head of a stored name."""
        name = self._name(index)
        octets = self._storage.size(name) or 0
        try:
            return octets, Head.read(self._storage.read(name, 0, HEAD_OCTETS) or b"")
        except StorageError:
            return octets, Kind.UNREADABLE

    def _enter_segments(self, chain: Chain, mark: _Mark | None) -> None:
        """Each ends where the next one says. Ahead of a gap only its records tell; what is between is lost, or was
        never synced: appends to two files survive a power cut one without the other, the mark not without them."""
        whole = mark is not None and self._marks.found is Presence.WHOLE
        synced = NO_INDEX if mark is None or not whole else -1 if mark.index == NO_INDEX else mark.index
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
                self._parted.append(self.segments[-1])
        if self.segments:
            self._next_index = self.segments[-1].index + 1

    def _octets(self, segment: Segment, octets_max: int | None = None) -> bytes:
        """What the segment holds; nothing where the medium does not give it back."""
        try:
            return self._storage.read(self._name(segment.index), 0, octets_max) or b""
        except StorageError:
            return b""

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
        self._end = segment.end = number
        self._open = bool(raw)
        if not raw:
            self.stats.damaged += 1
            self.cut = True
            self._end += segment.octets // RECORD_OCTETS
        elif at != len(raw):
            self.stats.damaged += 1
            if is_write_cut_short(raw, at, self._segment_octets):
                self._torn, segment.octets = raw[:at], at
            else:
                self.stats.spoilt += 1
                self._open = False
                self._end += (len(raw) - at) // RECORD_OCTETS

    def _judge_end(self, chain: Chain, mark: _Mark | None) -> None:
        """Whether there was more behind the last segment, and which numbers must not be given again."""
        last = self.segments[-1].index if self.segments else -1
        held = mark.index if mark is not None and mark.held else -1
        begun = last if mark is None else -1 if mark.index == NO_INDEX else mark.index
        reach = 0
        for found, kind in chain.others:
            if kind is Kind.TORN and found.index > begun:  # never durable
                with suppress(StorageError):
                    self._storage.delete(self._name(found.index))
                continue
            self._count(kind)
            if kind is Kind.UNREADABLE and found.index > max(last, begun):  # a whole head is no write cut short
                self.cut, reach = True, max(reach, self._end + _AHEAD)
            if kind is Kind.MISPLACED and isinstance(found.head, Head) and found.head.first >= self._end:
                reach = max(reach, found.head.first + found.octets // RECORD_OCTETS)
        if mark is not None:
            reach = max(reach, mark.number)
            if mark.index != NO_INDEX:
                self._next_index = max(self._next_index, mark.index + 1)
        if mark is not None and held > last:
            self.cut, reach = True, max(reach, mark.number + _AHEAD)
            self.stats.gone += _gone(chain, last if self.segments else held - 1, held)
            if self.segments:
                self.stats.missing += max(0, mark.number - self._end)
        if self.cut or reach > self._end:
            self._open, self._torn = False, None
            self._end = max(self._end, reach)

    def _count(self, kind: Kind) -> None:
        self.stats.foreign += kind is Kind.FOREIGN
        self.stats.misplaced += kind is Kind.MISPLACED
        self.stats.unreadable += kind in (Kind.UNREADABLE, Kind.TORN)


def _gone(chain: Chain, last: int, newest: int) -> int:
    """How many segments behind `last`, up to `newest`, are under no name. Names that something foreign has were passed
    over when they were given, but for that of `newest`, which was a segment's."""
    there: set[int] = set()
    for found, kind in chain.others:
        if found.index < newest or kind in (Kind.UNREADABLE, Kind.TORN):
            there.add(found.index)
        if kind is Kind.MISPLACED and isinstance(found.head, Head):
            there.add(found.head.index)
    return max(0, newest - last - sum(last < index <= newest for index in there))
