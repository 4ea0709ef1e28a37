"""The octets of a file as they came: pieces at their places, and nothing of what lies between them.

How long a file is, and where in it an octet stands, is what a PDU claims. So no claim costs memory here: it is what
came that is held, whatever the distance from one piece to the next. What came first stays: of a piece that overlaps
others, only what was not here is taken.

Pieces that follow each other grow into one. Those that come backwards are joined now and then, so that there are never
more than `JOINED_MAX` of them beyond the stretches of the file.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

JOINED_MAX = 1024


class Pieces:
    """`starts` and `ends` are the stretches that are here: sorted, apart from each other. `octets` are held."""

    __slots__ = ("_octets", "_places", "ends", "octets", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.octets = 0
        self._places: list[int] = []  # of the pieces, in order
        self._octets: list[bytearray] = []  # theirs

    @property
    def end(self) -> int:
        """Where the last octet that is here ends."""
        return self.ends[-1] if self.ends else 0

    def has(self, start: int, end: int) -> bool:
        """Whether all of [start, end) is here."""
        at = bisect_right(self.starts, start) - 1
        return at >= 0 and self.ends[at] >= end

    def gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """What of [start, end) is not here."""
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
        """Take of `data`, which begins at `start`, what is not here."""
        for low, high in self.gaps(start, start + len(data)):
            self._insert(low, data[low - start : high - start])
        if len(self._places) > len(self.starts) + JOINED_MAX:
            self._join()

    def cut(self, size: int) -> tuple[tuple[int, bytes], ...]:
        """The stretches of [0, size) that are here, each with its place."""
        self._join()
        return tuple(
            (place, bytes(memoryview(octets)[: size - place]))
            for place, octets in zip(self._places, self._octets, strict=True)
            if place < size
        )

    def _insert(self, start: int, data: bytes) -> None:
        """A piece that touches nothing but the ends of others."""
        at = bisect_right(self._places, start)
        if at and self._places[at - 1] + len(self._octets[at - 1]) == start:
            self._octets[at - 1] += data
        else:
            self._places.insert(at, start)
            self._octets.insert(at, bytearray(data))
        self.octets += len(data)
        end = start + len(data)
        starts, ends = self.starts, self.ends
        low = bisect_left(ends, start)
        high = bisect_right(starts, end)
        if low < high:
            start, end = min(start, starts[low]), max(end, ends[high - 1])
        starts[low:high], ends[low:high] = [start], [end]

    def _join(self) -> None:
        """Make one piece of each stretch."""
        if len(self._places) == len(self.starts):
            return
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
