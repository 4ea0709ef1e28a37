"""An append log that survives power loss: numbered records, each with its CRC, in segments.

A segment is a stored name `NAME.%08d`: a head (magic, format, whose journal it is, number of its first record), then
records: length (u32), CRC-32 over length, number and content, content. A record's number is not stored: it is the
first one's plus its place, and the CRC holds it.

Damage costs the records it is in, and the rest of the segment where it takes many in a row: reading goes on with the
next sound record, or the next segment, whose head says how many are missing. A segment that belongs to another journal
or another format is left alone and counted. A torn tail, which a power cut leaves, is cut off at the first append after
recovery.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from zlib import crc32

from flight.core.errors import StorageError
from flight.core.future import Future
from flight.platform import Storage

_HEAD = struct.Struct(">4sBxHIQ")  # magic, format, whose it is, CRC-32 of magic, owner and number, first number
_RECORD = struct.Struct(">II")  # length of the content, CRC-32
_NUMBERED = struct.Struct(">IQ")
_pack_head, _pack_numbered = _RECORD.pack, _NUMBERED.pack
_MAGIC = b"ONJL"
_FORMAT = 1
_DROPPED = 2  # segments that a circular journal gives up for a new one, at most
_SEARCHED = 8  # records in a row that damage may take, and those behind it are still found
# A search costs the octets of each checksum that it tries, and so many for trying it. When it has cost so many times
# the segment, some milliseconds for 16 KiB, it is given up, and with it the rest of the segment.
_EFFORT = 1024
_EFFORT_MAX = 512
_NOT_ZERO = re.compile(rb"[^\0]")
HEAD_OCTETS = _HEAD.size
RECORD_OCTETS = _RECORD.size  # what a record takes beside its content


@dataclass(slots=True)
class JournalStats:
    """`refused`: appends to a full bounded journal. `dropped`: segments overwritten by a circular one. `damaged`:
    segments with unreadable octets, `missing`: records lost with them or between segments, both as far as they were
    read. `spoilt`: the last segment ended in a record that is all there and bad, which is no write cut short.
    `foreign`: segments that are not of this journal or of another format, left as they are."""

    appended: int = 0
    refused: int = 0
    dropped: int = 0
    damaged: int = 0
    missing: int = 0
    spoilt: int = 0
    foreign: int = 0


@dataclass(slots=True)
class Segment:
    """Records `first` up to but not including `end`; `octets` is its length, head included."""

    index: int
    first: int
    end: int
    octets: int


class Journal:
    """The log called `name`. Bounded: at most `segments_max` segments; when full, a circular journal gives up
    its oldest segment, any other refuses."""

    def __init__(
        self,
        storage: Storage,
        name: str,
        *,
        segment_octets: int = 65536,
        segments_max: int = 16,
        circular: bool = False,
    ) -> None:
        """Finds the segments by their heads and reads the last one: what it takes grows with their number alone."""
        assert segments_max >= 2, segments_max
        self.stats = JournalStats()
        self.segments: list[Segment] = []
        self._storage = storage
        self._prefix = f"{name}."
        self._owner = crc32(name.encode()) & 0xFFFF
        self._segment_octets = segment_octets
        self.segments_max = segments_max
        self._circular = circular
        self._next_index = 0
        self._end = 0
        self._closed_octets = 0  # of all segments but the last
        self._missed: dict[int, int] = {}  # segment index -> records of it that `read_segment` has counted as missing
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
        head = _pack_head(length, crc32(content, crc32(_pack_numbered(length, number))))
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

        A segment is read as a whole when its turn comes. What is damaged is passed over and counted.
        """
        expected = max(first, self.first)
        for segment in tuple(self.segments):
            if segment.end <= first:
                continue
            raw = self._torn if segment is self.segments[-1] and self._torn is not None else self._octets(segment)
            found = 0
            for number, _, content in _records(raw, segment.first):
                found += 1
                if number >= first:
                    self.stats.missing += max(0, number - expected)
                    expected = number + 1
                    yield number, content
            self.stats.damaged += found < segment.end - segment.first
        self.stats.missing += max(0, self._end - expected)

    def read_segment(self, segment: Segment, octets_max: int) -> list[tuple[int, bytes]]:
        """(number, content) of every readable record of one of `segments`, in order, and of no other: one read, of
        `octets_max` octets at most. What is damaged is passed over, and counted once, however often it is read."""
        if self._torn is not None and segment is self.segments[-1]:
            raw = self._torn
        else:
            raw = self._octets(segment, octets_max)
        found = [(number, content) for number, _, content in _records(raw, segment.first) if number < segment.end]
        missing = segment.end - segment.first - len(found)
        before = self._missed.get(segment.index, 0)
        if missing > before:
            self._missed[segment.index] = missing
            self.stats.missing += missing - before
            self.stats.damaged += not before
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
        self._storage.delete(self._name(segment.index))
        del self.segments[0]
        self._missed.pop(segment.index, None)
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
        if (not self._open or self.segments[-1].octets + octets > self._segment_octets) and not self._start():
            return False
        self._open_name = self._name(self.segments[-1].index)
        self._room_octets = self._segment_octets - self.segments[-1].octets
        return True

    def _start(self) -> bool:
        """Open a new segment; False where that would be one too many. A circular journal that has more than it may,
        having been made smaller, shrinks by one for each new one: a step deletes a few, however many they are."""
        for _ in range(_DROPPED):
            if len(self.segments) < self.segments_max:
                break
            if not self._circular:
                return False
            self._drop_oldest()
            self.stats.dropped += 1
        self._storage.append(self._name(self._next_index), self._head(self._end))
        self._closed_octets = self.octets
        self.segments.append(Segment(self._next_index, self._end, self._end, HEAD_OCTETS))
        self._next_index += 1
        self._open = True
        return True

    def _cut_tail(self, whole: bytes) -> None:
        """Put what stands of the last segment in its place, at once and as a whole."""
        self._storage.replace(self._name(self.segments[-1].index), whole)
        self._torn = None

    def _name(self, index: int) -> str:
        return f"{self._prefix}{index:08d}"

    def _head(self, first: int) -> bytes:
        crc = crc32(_MAGIC + _NUMBERED.pack(self._owner, first))
        return _HEAD.pack(_MAGIC, _FORMAT, self._owner, crc, first)

    def _find(self) -> None:
        """Segments by their heads. Numbers only rise from one to the next; one that does not fit is foreign."""
        tails = (n.removeprefix(self._prefix) for n in self._storage.names() if n.startswith(self._prefix))
        for index in sorted(int(tail) for tail in tails if len(tail) == 8 and tail.isdecimal() and tail.isascii()):
            self._next_index = index + 1
            octets = self._storage.size(self._name(index)) or 0
            if octets < HEAD_OCTETS:
                self._remove(index)  # power was lost when it was begun
                continue
            first = self._first(index)
            if first is None or (self.segments and first < self.segments[-1].first):
                self.stats.foreign += 1
                continue
            if self.segments:
                self.segments[-1].end = first
            self.segments.append(Segment(index, first, first, octets))
        if self.segments:
            self._scan_last(self.segments[-1])
        self._closed_octets = sum(one.octets for one in self.segments[:-1])

    def _remove(self, index: int) -> None:
        with suppress(StorageError):
            self._storage.delete(self._name(index))

    def _first(self, index: int) -> int | None:
        """Number of the segment's first record, None where its head is not one of ours or cannot be read."""
        try:
            head = self._storage.read(self._name(index), 0, HEAD_OCTETS) or b""
        except StorageError:
            return None
        if len(head) != HEAD_OCTETS:
            return None
        first: int = _HEAD.unpack(head)[-1]
        return first if head == self._head(first) else None

    def _octets(self, segment: Segment, octets_max: int | None = None) -> bytes:
        """What the segment holds; nothing where the medium does not give it back."""
        try:
            return self._storage.read(self._name(segment.index), 0, octets_max) or b""
        except StorageError:
            return b""

    def _scan_last(self, segment: Segment) -> None:
        """How far the last segment is good; the first append goes on from there."""
        raw = self._octets(segment)
        at, number = HEAD_OCTETS, segment.first
        for last, end, _ in _records(raw, number):
            at, number = end, last + 1
        self._end = segment.end = number
        segment.octets = at
        self._open = bool(raw)  # one that cannot be read is left alone
        if at != len(raw):
            self.stats.damaged += 1
            self.stats.spoilt += _has_whole_record(raw, at)
            self._torn = raw[:at] if raw else None


def _records(raw: bytes, number: int) -> Iterator[tuple[int, int, bytes]]:
    """(number, end, content) of a segment's sound records, `end` where it ends in `raw`; the first is `number`."""
    at, effort = HEAD_OCTETS, _EFFORT_MAX * len(raw)
    while at + RECORD_OCTETS <= len(raw):
        end = _end_of_sound(raw, at, number)
        if end is not None:
            yield number, end, raw[at + RECORD_OCTETS : end]
            at, number = end, number + 1
            continue
        found, effort = _next_sound(raw, at + 1, number + 1, effort)
        if found is None:
            return
        at, number = found


def _end_of_sound(raw: bytes, at: int, number: int) -> int | None:
    """Where the record at `at` ends, None where no record of that number stands there whole."""
    length, crc = _RECORD.unpack_from(raw, at)
    end: int = at + RECORD_OCTETS + length
    if end > len(raw):
        return None
    sound = crc32(raw[at + RECORD_OCTETS : end], crc32(_NUMBERED.pack(length, number))) == crc
    return end if sound else None


def _next_sound(raw: bytes, at: int, number: int, effort: int) -> tuple[tuple[int, int] | None, int]:
    """Place and number of the first sound record from `at` on: one of the next few numbers, wherever it stands; and
    what is left of `effort`, with which the search ends."""
    numbers = range(number, number + _SEARCHED)
    empty = {crc32(_NUMBERED.pack(0, one)): one for one in numbers}  # what a record without content begins with
    lead = b"\0\0" if len(raw) <= 0xFFFF else b"\0"  # of the length of every record that fits in
    place = raw.find(lead, at)
    while 0 <= place <= len(raw) - RECORD_OCTETS and effort > 0:
        length, crc = _RECORD.unpack_from(raw, place)
        if length == 0 and crc in empty:
            return (place, empty[crc]), effort
        if length == crc == 0:
            # A hole: nothing can begin in it but right at its end.
            end = _NOT_ZERO.search(raw, place + RECORD_OCTETS)
            if end is None:
                break
            place = end.start() - RECORD_OCTETS
        elif 0 < length <= len(raw) - RECORD_OCTETS - place:
            effort -= _SEARCHED * (_EFFORT + length)
            for candidate in numbers:
                if _end_of_sound(raw, place, candidate) is not None:
                    return (place, candidate), effort
        place = raw.find(lead, place + 1)
    return None, effort


def _has_whole_record(raw: bytes, at: int) -> bool:
    """Whether the octets from `at` on are as long as their first record says: no write was cut short there."""
    return at + RECORD_OCTETS <= len(raw) and at + RECORD_OCTETS + _RECORD.unpack_from(raw, at)[0] <= len(raw)
