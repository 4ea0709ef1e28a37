"""One packet store of ST[15] (ECSS-E-ST-70-41C, 6.15.2): telemetry packets on a journal of their own.

A packet is in one of three states:

    held     numbered from `first` on
    hidden   deleted by command: nobody reads it any more, and its segment goes when all of it is hidden (`discard`)
    gone     with its segment, which was discarded, made room for a new one, or was given up to others who need it

A circular store gives up its oldest segment for a new one, a bounded one refuses. Reading goes by whole segments of 16
KiB at most, and takes a budget (flight.core.step_budget). If that does not admit a segment, None comes back, and the
same call in the next step goes on.
"""

# Packets live on the storage, as stored_packet.py has them. In memory there is a row per segment (segment_index.py),
# whatever the store holds. Boot reads the heads of segments and the last segment that has anything readable: from its
# last packet follows how many unheard ones there were.
#
# Why segments and not packets are given up: deleting a file is one operation, its room comes back with the next commit,
# and a store of _SEGMENTS or more loses only a small part of itself. Why deletion only hides: deleting the segments of
# a whole store is more than one step may do, so they go a few per step, and the number below which all is hidden is
# stored first. A loss of power in between leaves segments whose packets stay hidden.
#
# Numbers are never given twice, also if everything is gone: `reserve` keeps new packets behind what was played back or
# deleted, since a pointer that stands at number N must not find another packet there (ADR 0018).
#
# A search that the budget ends is repeated in the next step. It goes on and does not begin again, because what was
# found out about a segment stays in the index or in `_unreadable_to`.

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from flight.contract.names import is_name, name_rule
from flight.core.config import key
from flight.core.errors import StorageError
from flight.core.platform import Storage
from flight.core.step_budget import Budget, in_steps
from flight.core.storage import StorageFull
from flight.link.time.time_code import decode_cuc
from flight.services.recorder.segment_index import SegmentIndex
from flight.services.recorder.stored_packet import (
    OVERHEAD_OCTETS,
    TIME,
    Place,
    Stored,
    pack_head,
    read_stored,
    time_at_head,
)
from flight.store.journal import Journal
from flight.store.journal_state import JournalStats, Segment
from flight.store.segments import HEAD_OCTETS, RECORD_OCTETS, segment_name

_SEGMENT_OCTETS_MAX = 16_384
_SEGMENTS = 16  # that a store has at least, so that a full circular one gives up a small part of itself
# Read to learn the time of a segment's first packet: most packets are shorter.
_PEEK_OCTETS = 1024
_NAME_CHARACTERS_MAX = 24  # it is a part of the names of files
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
        """Return a fault if the name cannot be a part of the names of files."""
        if not is_name(self.name, _NAME_CHARACTERS_MAX):
            return [("name", f"is {self.name!r}, should be {name_rule(_NAME_CHARACTERS_MAX)}")]
        return []


class PacketStore:
    """Packets in the order of storing. Counts are since boot.

    `refused`: the store was full, or the packet too long. `damage`: what was found at boot that is not as it was
    written, in words.
    """

    def __init__(self, storage: Storage, config: StoreConfig, deleted: int = 0, epoch: int = 0) -> None:
        """Open the store, or begin a new one.

        `deleted`: packets numbered below it are gone, whatever storage still holds of them. `epoch`: a random number,
        for a store that is new.
        """
        self.config = config
        self.name = config.name
        self.recorded = 0
        self.refused = 0
        self.newest_ns = 0
        self._storage = storage
        segment_octets = min(_SEGMENT_OCTETS_MAX, config.capacity_octets // _SEGMENTS)
        self._packet_octets_max = segment_octets - HEAD_OCTETS - RECORD_OCTETS - OVERHEAD_OCTETS
        self._circular = config.kind == "circular"
        self.journal = Journal(
            storage,
            f"{OWNER}.{config.name}",
            segment_octets=segment_octets,
            segments_max=config.capacity_octets // segment_octets,
            circular=self._circular,
            epoch=epoch,
        )
        self.damage = self.journal.damage()
        self.index = SegmentIndex(self.journal.segments)
        self._unreadable_to = 0  # no packet numbered below can be read
        self._gave_way = False  # a segment was given up to a full disk since the last sync
        self._deleted = deleted
        self.end = Place(self.journal.end, 0)
        self._find_end()
        self.reserve(Place(deleted, 0))  # if all is gone, numbers go on behind it

    @property
    def first(self) -> int:
        """Number of the oldest packet held, or that of `end` if there is none."""
        return max(self._deleted, self.journal.first)

    @property
    def octets(self) -> int:
        """Octets of storage that the store takes."""
        return self.journal.octets

    @property
    def missing(self) -> int:
        """Packets that were found unreadable or gone, as far as anybody has read."""
        return self.journal.stats.missing

    @property
    def stats(self) -> JournalStats:
        """Of the journal."""
        return self.journal.stats

    def filled_frac(self, number: int = 0) -> float:
        """Return the part of the capacity that the packets from `number` on take.

        The segment in which they begin counts in proportion.
        """
        segments, number = self.journal.segments, max(number, self.first)
        at = self.index.at(number)
        octets = float(self.octets - sum(segment.octets for segment in segments[:at]))
        if at < len(segments):
            segment = segments[at]
            octets -= segment.octets * max(0, number - segment.first) / max(1, segment.end - segment.first)
        return min(1.0, octets / self.config.capacity_octets)

    def reserve(self, place: Place) -> None:
        """Give new packets no place before `place`: packets that were stored there are lost, but were played back."""
        if place.number and self.journal.found_nothing and not self.damage:
            self.damage.append("nothing is left of it, though packets were stored")
        self.journal.skip_to(place.number)
        # Counts of unheard packets never go back: what waits is a difference of two of them.
        self.end = Place(self.journal.end, max(self.end.unheard, place.unheard))

    def store(self, packet: bytes, heard: bool) -> bool:
        """Add a packet, or return False and count it as refused. Raises StorageError if storage does not take it."""
        unheard = self.end.unheard
        if len(packet) > self._packet_octets_max or not self._append(pack_head(unheard, heard) + packet):
            self.refused += 1
            return False
        self.recorded += 1
        segment, time_ns = self.journal.segments[-1], decode_cuc(packet[TIME])
        self.end = Place(segment.end, unheard if heard else unheard + 1)
        self.newest_ns = time_ns
        self.index.stored(segment, time_ns, unheard)
        return True

    def synced(self) -> None:
        """Take in that everything written and deleted so far is durable."""
        self._gave_way = False

    def read_from(self, number: int, budget: Budget) -> tuple[list[Stored], int] | None:
        """Return the readable packets of a segment from `number` on, and the number with which the next one begins.

        Nothing, and the store's end, if there are no more. None if the budget does not admit the read.
        """
        number = max(number, self.first)
        at = self.index.at(number)
        if at == len(self.journal.segments):
            return [], self.journal.end
        segment = self.journal.segments[at]
        records = self._records(segment, budget)
        if records is None:
            return None
        return [stored for stored in records if stored.place.number >= number], segment.end

    def after_foreign_times(self, number: int, from_ns: int, to_ns: int) -> int:
        """Return `number`, or a later one, up to which no packet is known to be of `from_ns` .. `to_ns`.

        It may stop before it has to.
        """
        segments = self.journal.segments
        at = self.index.first_of_times(self.index.at(number), from_ns, to_ns)
        return max(number, segments[at].first) if at < len(segments) else self.journal.end

    def oldest(self, budget: Budget) -> Stored | None:
        """Return the first packet that can be read.

        None if there is none, or if none was found before the budget was spent: the next call goes on from there.
        """
        self._unreadable_to = max(self._unreadable_to, self.first)
        while self._unreadable_to < self.journal.end:
            read = self.read_from(self._unreadable_to, budget)
            if read is None:
                return None
            if read[0]:
                return read[0][0]
            self._unreadable_to = read[1]
        return None

    def first_place(self, budget: Budget) -> Place | None:
        """Return the place at which the held packets begin, or None if the budget was spent before it was known."""
        first, at = self.first, self.index.at(self.first)
        if at == len(self.journal.segments):
            return self.end
        unheard = self.index.unheard.get(self.journal.segments[at].index)
        if unheard is not None and self.journal.segments[at].first == first:
            return Place(first, unheard)
        oldest = self.oldest(budget)
        if oldest is not None:
            return oldest.place
        return None if self._unreadable_to < self.journal.end else self.end

    def place_at(self, time_ns: int, budget: Budget) -> Generator[None, None, Place]:
        """Find the first packet not made before `time_ns`, in as many steps as the search takes.

        Times are taken to rise within a store, as those of the clock do.
        """
        number = yield from in_steps(lambda remaining: self._number_before(time_ns, remaining), budget)
        while number < self.journal.end:
            read = self.read_from(number, budget)
            if read is None:
                yield
                budget.renew()
                continue
            records, number = read
            for stored in records:
                if stored.time_ns >= time_ns:
                    return stored.place
        return self.end

    def delete_before(self, number: int) -> None:
        """Hide the packets numbered below `number`. `discard` gives up their segments."""
        self._deleted = max(self._deleted, number)

    def discard(self, budget: Budget) -> None:
        """Give up segments that hold only deleted packets, and those for which a smaller capacity has no room.

        What the budget does not admit stays for the next call. So does what storage does not delete now: StorageError
        is raised.
        """
        while self._is_to_discard() and budget.take():
            self.journal.drop_oldest()

    def _is_to_discard(self) -> bool:
        segments = self.journal.segments
        if not segments:
            return False
        if segments[0].end <= self._deleted:
            return True
        return self._circular and len(segments) > 1 and self.octets > self.config.capacity_octets

    def give_up(self, before: int) -> int:
        """Give up the oldest segment if all its packets are numbered below `before`. Return the octets gained.

        The segment that is being written stays. Raises StorageError.
        """
        segments = self.journal.segments
        if len(segments) < 2 or segments[0].end > before:
            return 0
        return self.journal.drop_oldest()

    def _append(self, content: bytes) -> bool:
        """Append a record, making room for it if the store or the disk is full.

        If the store is full, a segment of deleted packets goes. If the disk is full, a circular store gives up its
        oldest segment, one until the next sync: the room of what was deleted comes free with it.
        """
        try:
            if self.journal.append(content):
                return True
            segments = self.journal.segments
            # Only what a command has deleted: a bounded store never gives up a packet by itself.
            if segments[0].end > self._deleted or not self.journal.drop_oldest():
                return False
            return self.journal.append(content)
        except StorageFull:
            if self._gave_way or not self._circular or not self.give_up(self.journal.end):
                raise
        self._gave_way = True
        return self.journal.append(content)

    def _records(self, segment: Segment, budget: Budget) -> list[Stored] | None:
        """Return the readable packets of a segment, or None if the budget does not admit the read."""
        if segment.end == segment.first:
            return []
        if not budget.take(min(segment.octets, _SEGMENT_OCTETS_MAX)):
            return None
        read = self.journal.read_segment(segment, _SEGMENT_OCTETS_MAX)
        packets = [stored for number, content in read if (stored := read_stored(number, content)) is not None]
        self.index.read(segment, packets)
        return packets

    def _find_end(self) -> None:
        """Find at boot how many unheard packets there were, from the last one that can be read."""
        for segment in reversed(self.journal.segments):
            records = self._records(segment, Budget.of_boot())
            if records:
                last = records[-1]
                self.end = Place(self.journal.end, last.place.unheard + (not last.heard))
                self.newest_ns = last.time_ns
                return

    def _number_before(self, time_ns: int, budget: Budget) -> int:
        """Return the number of the first packet in the last segment that begins before `time_ns`.

        The number is meaningless if the budget was spent.
        """
        segments = self.journal.segments
        low, high = 0, len(segments)
        while low < high:
            middle = (low + high) // 2
            begin_ns = self._segment_ns(segments[middle], budget)
            if begin_ns is None:
                return 0
            if begin_ns < time_ns:
                low = middle + 1
            else:
                high = middle
        # The packet may be in the segment before the one that begins too late.
        return segments[max(0, low - 1)].first if segments else self.journal.end

    def _segment_ns(self, segment: Segment, budget: Budget) -> int | None:
        """Return the time of the segment's first packet, or None if the budget was spent. It is read once.

        What cannot be read counts as new, so that a search begins before it.
        """
        time_ns = self.index.first_ns.get(segment.index)
        if time_ns is not None:
            return time_ns
        if not budget.take(_PEEK_OCTETS):
            return None
        # A kibibyte as a rule. The whole segment is read only if the first packet is longer or damaged.
        time_ns = self._peek(segment)
        if time_ns is None:
            records = self._records(segment, budget)
            if records is None:
                return None
            time_ns = records[0].time_ns if records else self.newest_ns
        self.index.first_ns[segment.index] = time_ns
        return time_ns

    def _peek(self, segment: Segment) -> int | None:
        """Return the time of the first packet, or None if it is longer than what is read, or damaged."""
        at = segment.body + RECORD_OCTETS + OVERHEAD_OCTETS
        try:
            raw = self._storage.read(segment_name(f"{OWNER}.{self.name}", segment.index), at, _PEEK_OCTETS) or b""
        except StorageError:
            return None
        return time_at_head(raw)
