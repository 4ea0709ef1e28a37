"""The index of a packet store: what is known of its segments without reading them, a row per segment.

A row is entered as the first packet of a segment is stored, or as the segment is read, and is forgotten when the
segment is gone: memory grows with the segments that a store may have, not with its packets. What stands in a row holds
for every packet of the segment that can be read; what does not is unknown, and whoever needs it reads the segment. So
an index that is empty, as after a boot, costs time and nothing else.

Times are those of packets, and need not rise: hence a span, the earliest and the latest of all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from flight.services.recorder.stored_packet import Stored
from flight.store.journal_state import Segment

INDEX_ROWS = 512  # that one call looks through


class SegmentIndex:
    """What is known of `segments`, the journal's own list, by their index: `spans` of packet times, `first_ns`, the
    time of the first packet, and `unheard`, how many unheard packets came before that.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.spans: dict[int, list[int]] = {}
        self.first_ns: dict[int, int] = {}
        self.unheard: dict[int, int] = {}
        self._segments = segments
        self._known_from = 0  # of no segment before it

    def at(self, number: int) -> int:
        """Place among the segments of the one that holds the packet `number`, or of the next one."""
        return bisect_right(self._segments, number, key=lambda segment: segment.end)

    def stored(self, segment: Segment, time_ns: int, unheard: int) -> None:
        """A packet was stored in the last segment, after `unheard` unheard ones."""
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
        """A segment was read, and holds `packets`."""
        if packets:
            times = [one.time_ns for one in packets]
            self.spans[segment.index] = [min(times), max(times)]
            first = packets[0]
            if first.place.number == segment.first:
                self._enter_first(segment, first.time_ns, first.place.unheard)
        self.forget()

    def first_of_times(self, at: int, from_ns: int, to_ns: int) -> int:
        """Place of the first segment from `at` on that may hold a packet of `from_ns` .. `to_ns`, or of one ahead of it
        if that takes long to find; the number of segments if there is none.
        """
        for place, segment in enumerate(self._segments[at : at + INDEX_ROWS], at):
            earliest, latest = self.spans.get(segment.index, (from_ns, to_ns))
            if latest >= from_ns and earliest <= to_ns:
                return place
        return min(at + INDEX_ROWS, len(self._segments))

    def forget(self) -> None:
        """Forget what is known of segments that are gone."""
        oldest = self._segments[0].index
        gone = range(self._known_from, oldest)
        for known in (self.spans, self.first_ns, self.unheard):
            # Indices of segments follow each other, but for those of foreign ones.
            for index in gone if len(gone) <= INDEX_ROWS else [index for index in known if index < oldest]:
                known.pop(index, None)
        self._known_from = oldest

    def _enter_first(self, segment: Segment, time_ns: int, unheard: int) -> None:
        """What the first packet of a segment tells."""
        self.first_ns[segment.index] = time_ns
        self.unheard[segment.index] = unheard
