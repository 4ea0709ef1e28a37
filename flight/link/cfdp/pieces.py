"""The octets of a file as they came: pieces at their places, and nothing of what lies between them.

PDUs claim how long a file is, and where in it an octet stands. No claim costs memory here: only octets that came are
held, however far apart the pieces lie. What came first stays: of a piece that overlaps others, only the octets that are
missing are taken.

Pieces that follow each other grow into one. Those that come backwards are joined now and then, so that there are never
more than `JOINED_MAX` of them beyond the stretches of the file.
"""

# Two pairs of lists describe the same octets. `starts` and `ends` are the stretches: maximal, sorted, never touching,
# so that bisection finds a place among them. `_places` and `_octets` are the buffers: sorted, never overlapping, but a
# stretch may consist of several of them, one behind the other.
#
# Why not one buffer per stretch: a file that comes backwards would copy all of what is held at each PDU, which is
# quadratic. In order, a piece is appended to the buffer before it, and nothing else is copied. Backwards, buffers pile
# up until `JOINED_MAX`, and one pass joins those of each stretch: many PDUs share the cost of one copy.
#
# What came first stays because a repeated PDU says the same again, while a forged one must not replace what is here.

from __future__ import annotations

from bisect import bisect_left, bisect_right

JOINED_MAX = 1024


class Pieces:
    """Octets of one file. `starts` and `ends`: the stretches held, sorted and apart; `octets`: how many in all."""

    __slots__ = ("_octets", "_places", "ends", "octets", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.octets = 0
        self._places: list[int] = []  # where each buffer begins in the file, in order
        self._octets: list[bytearray] = []  # the buffers

    @property
    def end(self) -> int:
        """Where the last octet that is held ends, 0 if none is."""
        return self.ends[-1] if self.ends else 0

    def has(self, start: int, end: int) -> bool:
        """Return whether all of [start, end) is held."""
        at = bisect_right(self.starts, start) - 1
        return at >= 0 and self.ends[at] >= end

    def gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the stretches of [start, end) that are missing, in order."""
        found: list[tuple[int, int]] = []
        at = start
        for index in range(bisect_right(self.ends, start), len(self.starts)):
            if self.starts[index] >= end:
                break
            if at < self.starts[index]:
                found.append((at, self.starts[index]))
            at = self.ends[index]
        if at < end:
            found.append((at, end))
        return found

    def add(self, start: int, data: bytes) -> None:
        """Take of `data`, which begins at `start`, what is missing."""
        for low, high in self.gaps(start, start + len(data)):
            self._insert(low, data[low - start : high - start])
        if len(self._places) > len(self.starts) + JOINED_MAX:
            self._join()

    def cut(self, size: int) -> tuple[tuple[int, bytes], ...]:
        """Return the stretches of [0, size) that are held, each with its place."""
        self._join()
        # A piece may run beyond `size`: it came before a PDU told how long the file is. What is beyond is cut off.
        return tuple(
            (place, bytes(memoryview(octets)[: size - place]))
            for place, octets in zip(self._places, self._octets, strict=True)
            if place < size
        )

    def _insert(self, start: int, data: bytes) -> None:
        """Hold a piece that overlaps no other. It may touch its neighbours, and then joins their stretches."""
        at = bisect_right(self._places, start)
        if at and self._places[at - 1] + len(self._octets[at - 1]) == start:
            self._octets[at - 1] += data
        else:
            self._places.insert(at, start)
            self._octets.insert(at, bytearray(data))
        self.octets += len(data)
        end = start + len(data)
        starts, ends = self.starts, self.ends
        # The stretches low..high-1 touch the piece: those that end at its start or later, and start at its end or
        # before.
        low = bisect_left(ends, start)
        high = bisect_right(starts, end)
        if low < high:
            start, end = min(start, starts[low]), max(end, ends[high - 1])
        starts[low:high], ends[low:high] = [start], [end]

    def _join(self) -> None:
        """Make one buffer of each stretch."""
        if len(self._places) == len(self.starts):
            return  # it is so already
        places: list[int] = []
        joined: list[bytearray] = []
        end = -1
        for place, octets in zip(self._places, self._octets, strict=True):
            if place == end:
                joined[-1] += octets
            else:
                places.append(place)
                joined.append(octets)
            end = place + len(octets)
        self._places, self._octets = places, joined
