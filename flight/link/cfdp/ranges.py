"""Stretches of a file: which octets are there, or which are to be sent again. Sorted, disjoint, and bounded."""

# Two lists say the same as a set of all the octets would: `_starts` and `_ends` of the stretches, which are maximal,
# sorted and never touch, so that bisection finds a place among them. What comes in order lengthens the last stretch and
# costs no search; what is taken from the front, as a sender does that sends again, costs none either.
#
# The bound is on the number of stretches: a peer that sends every second octet must not fill the memory.

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

RANGES_MAX = 4096


class RangesFull(Exception):
    """Another stretch would be one too many. Nothing was changed."""


class Ranges:
    """Stretches [start, end) of octets, at most `ranges_max` of them. `total` is how many octets they have in all."""

    __slots__ = ("_ends", "_starts", "ranges_max", "total")

    def __init__(self, stretches: Iterable[tuple[int, int]] = (), ranges_max: int = RANGES_MAX) -> None:
        self.ranges_max = ranges_max
        self.total = 0
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in stretches:
            self.add(start, end)

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self._starts == other._starts and self._ends == other._ends

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Ranges({list(self)})"

    @property
    def end(self) -> int:
        """Where the last stretch ends, 0 if there is none."""
        return self._ends[-1] if self._ends else 0

    @property
    def first(self) -> tuple[int, int] | None:
        """The first stretch, None if there is none."""
        return (self._starts[0], self._ends[0]) if self._starts else None

    def contains(self, start: int, end: int) -> bool:
        """Return whether all octets of [start, end) are in; nothing is in everything."""
        if start >= end:
            return True
        at = bisect_right(self._starts, start) - 1
        return at >= 0 and self._ends[at] >= end

    def overlaps(self, start: int, end: int) -> bool:
        """Return whether any octet of [start, end) is in."""
        at = bisect_right(self._ends, start)
        return start < end and at < len(self._starts) and self._starts[at] < end

    def gaps(self, start: int, end: int, gaps_max: int | None = None) -> list[tuple[int, int]]:
        """Return the stretches of [start, end) that are not in, in order; the first `gaps_max` of them if given."""
        found: list[tuple[int, int]] = []
        at = start
        for index in range(bisect_right(self._ends, start), len(self._starts)):
            if self._starts[index] >= end or len(found) == gaps_max:
                break
            if at < self._starts[index]:
                found.append((at, self._starts[index]))
            at = self._ends[index]
        if at < end and len(found) != gaps_max:
            found.append((at, end))
        return found

    def first_gap(self, end: int) -> tuple[int, int] | None:
        """Return the first stretch of [0, end) that is not in, None if all of it is in."""
        gaps = self.gaps(0, end, 1)
        return gaps[0] if gaps else None

    def add(self, start: int, end: int) -> int:
        """Add [start, end); return how many of its octets are new. Raises RangesFull."""
        starts, ends = self._starts, self._ends
        if start >= end:
            return 0
        if ends and start == ends[-1]:
            ends[-1] = end
            self.total += end - start
            return end - start
        # The stretches low..high-1 touch the new one: they end at its start or later, and start at its end or before.
        low = bisect_left(ends, start)
        high = bisect_right(starts, end, lo=low)
        if low == high and len(starts) >= self.ranges_max:
            raise RangesFull(f"{len(starts)} stretches, {self.ranges_max} at most")
        held = sum(ends[low:high]) - sum(starts[low:high])
        if low < high:
            start, end = min(start, starts[low]), max(end, ends[high - 1])
        starts[low:high], ends[low:high] = [start], [end]
        self.total += end - start - held
        return end - start - held

    def remove(self, start: int, end: int) -> int:
        """Remove [start, end); return how many of its octets were in.

        Raises RangesFull: a stretch whose middle goes leaves two.
        """
        starts, ends = self._starts, self._ends
        if start >= end:
            return 0
        # The stretches low..high-1 have octets in common with it.
        low = bisect_right(ends, start)
        high = bisect_left(starts, end, lo=low)
        if low == high:
            return 0
        rest = [(starts[low], start)] if starts[low] < start else []
        if end < ends[high - 1]:
            rest.append((end, ends[high - 1]))
        if len(starts) - (high - low) + len(rest) > max(self.ranges_max, len(starts)):
            raise RangesFull(f"{len(starts)} stretches, {self.ranges_max} at most")
        held = sum(ends[low:high]) - sum(starts[low:high]) - sum(high_end - low_end for low_end, high_end in rest)
        starts[low:high] = [stretch[0] for stretch in rest]
        ends[low:high] = [stretch[1] for stretch in rest]
        self.total -= held
        return held

    def clear(self) -> None:
        """Remove everything."""
        self._starts.clear()
        self._ends.clear()
        self.total = 0
