"""The index of a packet store: what is known of its segments without reading them, a row per segment.

Times are those of packets, and need not rise: hence a span, the earliest and the latest of all.
"""

# A row is entered when the first packet of a segment is stored, or when the segment is read, and is forgotten when the
# segment is gone. So memory grows with the segments that a store may have, not with its packets.
#
# What stands in a row is true of every packet of the segment that can be read. What does not stand there is unknown,
# and whoever needs it reads the segment. So an empty index, as after a boot, is never wrong: it only costs time.
# Nothing of it is stored.
#
# A search looks through INDEX_ROWS rows per call at most: a store may have thousands of segments, and a step is bounded
# (flight.core.step_budget). Only `forget` may look through all rows, once behind a gap in the indices that is longer.

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from flight.services.recorder.stored_packet import Stored
from flight.store.journal_state import Segment

INDEX_ROWS = 512  # that one call looks through at most


class SegmentIndex:
    """What is known of `segments`, the journal's own list, by the index of each segment.

    `spans` are the earliest and latest packet times, `first_ns` the time of the first packet, `unheard` how many
    unheard packets came before that one.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.spans: dict[int, list[int]] = {}
        self.first_ns: dict[int, int] = {}
        self.unheard: dict[int, int] = {}
        self._segments = segments
        self._known_from = 0  # nothing is known of segments before it

    def at(self, number: int) -> int:
        """Return the place in the list of the segment that holds the packet `number`, or of the next segment."""
        return bisect_right(self._segments, number, key=lambda segment: segment.end)

    def stored(self, segment: Segment, time_ns: int, unheard: int) -> None:
        """Take in that a packet was stored in the last segment, after `unheard` unheard ones."""
        span = self.spans.get(segment.index)
        if span is None:
            self.spans[segment.index] = [time_ns, time_ns]
            if segment.end == segment.first + 1:
                self._enter_first(segment, time_ns, unheard)
                self.forget()
        elif time_ns > span[1]:
            span[1] = time_ns
        elif time_ns < span[0]:
            span[0] = time_ns

    def read(self, segment: Segment, packets: Sequence[Stored]) -> None:
        """Take in that a segment was read and holds `packets`."""
        if packets:
            times = [stored.time_ns for stored in packets]
            self.spans[segment.index] = [min(times), max(times)]
            first = packets[0]
            # If the first packet is damaged, the first readable one says nothing of how the segment begins.
            if first.place.number == segment.first:
                self._enter_first(segment, first.time_ns, first.place.unheard)
        self.forget()

    def first_of_times(self, at: int, from_ns: int, to_ns: int) -> int:
        """Return the place of the first segment from `at` on that may hold a packet of `from_ns` .. `to_ns`.

        It may be the place of one ahead of that, if the search takes long: the next call goes on from there. The number
        of segments if there is none.
        """
        for place, segment in enumerate(self._segments[at : at + INDEX_ROWS], at):
            # A segment of which nothing is known may hold such a packet: its span is taken to be the one asked for.
            earliest, latest = self.spans.get(segment.index, (from_ns, to_ns))
            if latest >= from_ns and earliest <= to_ns:
                return place
        return min(at + INDEX_ROWS, len(self._segments))

    def forget(self) -> None:
        """Forget what is known of segments that are gone."""
        oldest = self._segments[0].index
        gone = range(self._known_from, oldest)
        for known in (self.spans, self.first_ns, self.unheard):
            # Indices usually follow each other. Behind a foreign segment there may be a gap of any size: then the rows
            # are looked through instead of the numbers.
            for index in gone if len(gone) <= INDEX_ROWS else [index for index in known if index < oldest]:
                known.pop(index, None)
        self._known_from = oldest

    def _enter_first(self, segment: Segment, time_ns: int, unheard: int) -> None:
        """Enter what the first packet of a segment tells."""
        self.first_ns[segment.index] = time_ns
        self.unheard[segment.index] = unheard
