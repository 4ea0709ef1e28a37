"""One packet store of ST[15] (ECSS-E-ST-70-41C, 6.15.2): telemetry packets on a journal of their own.

Packets live on the storage; in memory there is an index with a row a segment, whatever the store holds. A record is
how many packets that nobody heard were stored before this one (u64), whether this one was heard as it was made (u8),
and the packet. So what waits for playback is one subtraction, and boot reads heads and the last segment alone.

A circular store gives up its oldest segment for a new one, a bounded one refuses. Reading goes by whole segments,
which are small enough to take less than 2 ms.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from flight.config import key
from flight.core.errors import StorageError
from flight.core.journal import Journal, JournalStats, Segment
from flight.core.segments import HEAD_OCTETS, RECORD_OCTETS
from flight.core.storage import StorageFull
from flight.kernels import crc16
from flight.link.space_packet import PACKET_OCTETS_MIN
from flight.link.time_code import decode_cuc
from flight.platform import Storage

_HEADER = struct.Struct(">QB")
_TIME = slice(13, 19)  # of a telemetry packet (7.4.3.1)
_SEGMENT_OCTETS = (4096, 16384)
_SEGMENTS = 16  # at least, so that a full circular store gives up a small part of itself
_PEEK_OCTETS = 1024
_NAME = re.compile(r"[a-z][a-z0-9_]{0,23}")
OWNER = "recorder"  # user of the storage, and prefix of every name and key


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """One `[[recorder.store]]`."""

    name: str = key(text="the store's name")
    capacity_octets: int = key(1_000_000, minimum=65_536, maximum=134_217_728, text="of storage, all included")
    kind: str = key("circular", choices=("circular", "bounded"), text="when full: the oldest go, or new ones")
    priority: int = key(1, minimum=0, maximum=9, text="in playback, 0 comes first")
    services: tuple[int, ...] = key((), minimum=1, maximum=255, text="services it takes; empty: all others")
    always: bool = key(False, text="true: keeps also what went down in contact, for retrieval by time range")

    def faults(self) -> list[tuple[str, str]]:
        if not _NAME.fullmatch(self.name):
            return [("name", f"is {self.name!r}, should be a letter and at most 23 more of a-z 0-9 _")]
        return []


class Place(NamedTuple):
    """Where one stands in a store: `number` of the next packet, and how many `unheard` ones came before it."""

    number: int
    unheard: int


class Stored(NamedTuple):
    """A packet as it was read back."""

    place: Place
    heard: bool
    time_ns: int
    packet: bytes


class PacketStore:
    """Packets in the order of storing. Counts are since boot; `refused`: the store was full, or the packet too long.
    `damage`: what was found at boot that is not as it was written, in words."""

    def __init__(self, storage: Storage, config: StoreConfig, deleted: int = 0, epoch: int = 0) -> None:
        """`deleted`: packets numbered below it are gone, whatever storage still holds of them. `epoch`: a random
        number, for a store that is new."""
        self.config = config
        self.name = config.name
        self.recorded = 0
        self.refused = 0
        self.newest_ns = 0
        self._storage = storage
        low, high = _SEGMENT_OCTETS
        segment_octets = min(high, max(low, config.capacity_octets // _SEGMENTS))
        self._packet_octets_max = segment_octets - HEAD_OCTETS - RECORD_OCTETS - _HEADER.size
        self._circular = config.kind == "circular"
        self._journal = Journal(
            storage,
            f"{OWNER}.{config.name}",
            segment_octets=segment_octets,
            segments_max=config.capacity_octets // segment_octets,
            circular=self._circular,
            epoch=epoch,
        )
        self.damage = self._journal.damage()
        self._spans: dict[int, list[int]] = {}  # segment index -> earliest and latest packet time
        self._first_ns: dict[int, int] = {}  # segment index -> time of its first packet
        self._gave_way = False
        self._deleted = deleted
        self.end = Place(self._journal.end, 0)
        self._find_end()
        self.delete_before(deleted)
        self.reserve(Place(deleted, 0))  # where all is gone, numbers go on

    @property
    def first(self) -> int:
        """Number of the oldest packet held; that of `end` where there is none."""
        return max(self._deleted, self._journal.first)

    @property
    def octets(self) -> int:
        return self._journal.octets

    @property
    def missing(self) -> int:
        """Packets that were found unreadable or gone, as far as somebody read."""
        return self._journal.stats.missing

    @property
    def stats(self) -> JournalStats:
        """Of the journal."""
        return self._journal.stats

    def filled_frac(self, number: int = 0) -> float:
        """The part of the capacity that the packets from `number` on take, the first segment in proportion."""
        octets = 0.0
        for segment in self._journal.segments[self._at(number) :]:
            count = segment.end - segment.first
            octets += segment.octets * (min(count, segment.end - number) / count if count else 1.0)
        return min(1.0, octets / self.config.capacity_octets)

    def reserve(self, place: Place) -> None:
        """Give new packets a place not before `place`: packets that were stored there are lost, but were played."""
        if place.number and self._journal.found_nothing and not self.damage:
            self.damage.append("nothing is left of it, and packets were stored")
        self._journal.skip_to(place.number)
        self.end = Place(self._journal.end, max(self.end.unheard, place.unheard))

    def store(self, packet: bytes, heard: bool) -> bool:
        """Add a packet; False, counted, where it is refused. Raises StorageError where storage does not take it."""
        unheard = self.end.unheard
        if len(packet) > self._packet_octets_max or not self._append(_HEADER.pack(unheard, heard) + packet):
            self.refused += 1
            return False
        self.recorded += 1
        segment, time_ns = self._journal.segments[-1], decode_cuc(packet[_TIME])
        self.end = Place(segment.end, unheard if heard else unheard + 1)
        self.newest_ns = time_ns
        span = self._spans.get(segment.index)
        if span is None:
            self._spans[segment.index] = [time_ns, time_ns]
        elif time_ns > span[1]:
            span[1] = time_ns
        elif time_ns < span[0]:
            span[0] = time_ns
        return True

    def synced(self) -> None:
        """What was written and deleted so far is durable."""
        self._gave_way = False

    def read_from(self, number: int) -> tuple[list[Stored], int]:
        """The readable packets from `number` on in its segment, and the number with which the next segment begins.

        Up to 16 KiB are read. Nothing, and the store's end, where there are no more.
        """
        number = max(number, self.first)
        at = self._at(number)
        if at == len(self._journal.segments):
            return [], self._journal.end
        segment = self._journal.segments[at]
        records = list(self._records(segment))
        times = [one.time_ns for one in records]
        if times:
            self._spans[segment.index] = [min(times), max(times)]
        self._prune()
        return [one for one in records if one.place.number >= number], segment.end

    def after_foreign_times(self, number: int, from_ns: int, to_ns: int) -> int:
        """`number`, or that of a later packet, up to which no packet is known to be of `from_ns` .. `to_ns`."""
        for segment in self._journal.segments[self._at(number) :]:
            earliest, latest = self._spans.get(segment.index, (from_ns, to_ns))
            if latest >= from_ns and earliest <= to_ns:
                return max(number, segment.first)
        return self._journal.end

    def oldest(self) -> Stored | None:
        """The first packet that can be read."""
        number = self.first
        while number < self._journal.end:
            records, number = self.read_from(number)
            if records:
                return records[0]
        return None

    def place_at(self, time_ns: int) -> Place:
        """The first packet not made before `time_ns`. Times are taken to rise in a store, as those of the clock do."""
        segments = self._journal.segments
        at = max(0, bisect_left(segments, time_ns, key=self._segment_ns) - 1)
        for segment in segments[at:]:
            for one in self._records(segment):
                if one.time_ns >= time_ns and one.place.number >= self.first:
                    return one.place
        return self.end

    def delete_before(self, number: int) -> None:
        """Give up packets numbered below `number`. Storage that does not delete keeps them, unseen."""
        self._deleted = max(self._deleted, number)
        try:
            self._journal.drop_before(number)
        except StorageError:
            return

    def give_up(self, before: int) -> int:
        """Give up the oldest segment where all its packets are numbered below `before`; octets gained.

        The segment that is being written stays. Raises StorageError.
        """
        segments = self._journal.segments
        if len(segments) < 2 or segments[0].end > before:
            return 0
        return self._journal.drop_oldest()

    def _append(self, content: bytes) -> bool:
        """A full disk takes the place of the oldest segment of a circular store, one until the next sync: the room of
        what was deleted comes free with it."""
        try:
            return self._journal.append(content)
        except StorageFull:
            if self._gave_way or not self._circular or not self.give_up(self._journal.end):
                raise
        self._gave_way = True
        return self._journal.append(content)

    def _at(self, number: int) -> int:
        """Index in the journal's segments of the one that holds `number`, or of the next one."""
        return bisect_right(self._journal.segments, number, key=lambda segment: segment.end)

    def _records(self, segment: Segment) -> Iterator[Stored]:
        if segment.end == segment.first:
            return
        for number, content in self._journal.read(segment.first):
            if number < segment.end:
                unheard, heard = _HEADER.unpack_from(content)
                packet = content[_HEADER.size :]
                yield Stored(Place(number, unheard), bool(heard), decode_cuc(packet[_TIME]), packet)
            if number >= segment.end - 1:  # else the journal would go on with the next segment
                return

    def _find_end(self) -> None:
        """How many unheard packets there were, from the last one that can be read."""
        for segment in reversed(self._journal.segments):
            records = list(self._records(segment))
            if records:
                last = records[-1]
                self.end = Place(self._journal.end, last.place.unheard + (not last.heard))
                self.newest_ns = last.time_ns
                times = [one.time_ns for one in records]
                self._spans[segment.index] = [min(times), max(times)]
                return

    def _segment_ns(self, segment: Segment) -> int:
        """Time of the segment's first packet, read once, a kibibyte as a rule. What cannot be read counts as new, so
        that a search begins before it."""
        time_ns = self._first_ns.get(segment.index)
        if time_ns is None:
            time_ns = self._peek(segment)
            if time_ns is None:
                time_ns = next((one.time_ns for one in self._records(segment)), self.newest_ns)
            self._first_ns[segment.index] = time_ns
        return time_ns

    def _peek(self, segment: Segment) -> int | None:
        """Time of the first packet, None where it is longer than what is read, or damaged."""
        at = segment.body + RECORD_OCTETS + _HEADER.size
        try:
            raw = self._storage.read(f"{OWNER}.{self.name}.{segment.index:08d}", at, _PEEK_OCTETS) or b""
        except StorageError:
            return None
        if len(raw) < _TIME.stop:
            return None
        packet = raw[: (raw[4] << 8 | raw[5]) + PACKET_OCTETS_MIN]
        return None if crc16(packet) else decode_cuc(packet[_TIME])

    def _prune(self) -> None:
        """Forget what is known of segments that are gone."""
        for known in (self._spans, self._first_ns):
            if len(known) > len(self._journal.segments):
                oldest = self._journal.segments[0].index
                for index in [index for index in known if index < oldest]:
                    del known[index]
