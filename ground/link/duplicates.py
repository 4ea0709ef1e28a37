"""Packets that come down twice: played back once more after a power cut, or a report repeated by the next boot."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from hashlib import blake2b

KEPT = 65_536
_DIGEST_OCTETS = 8  # two of the packets kept are taken for one another once in 10^10 times


class Duplicates:
    """Knows the newest `kept` packets again, by all of their octets: APID, sequence count and time are among them."""

    def __init__(self, kept: int = KEPT) -> None:
        self._known: set[int] = set()
        self._order: deque[int] = deque()
        self._kept = kept
        self._unsettled = 0  # of the newest packets

    def is_new(self, octets: bytes) -> bool:
        """False where the same packet came before."""
        digest = _digest(octets)
        if digest in self._known:
            return False
        if len(self._order) == self._kept:
            self._known.discard(self._order.popleft())
        self._known.add(digest)
        self._order.append(digest)
        self._unsettled = min(self._unsettled + 1, self._kept)
        return True

    def recall(self, newest: Iterable[bytes]) -> None:
        """Packets of before, the newest first: they are stored. Call it before anything comes."""
        for octets in newest:
            digest = _digest(octets)
            if len(self._order) == self._kept:
                return
            if digest not in self._known:
                self._known.add(digest)
                self._order.appendleft(digest)

    def settle(self) -> None:
        """Every packet so far is stored."""
        self._unsettled = 0

    def forget(self) -> None:
        """What came since the last `settle` may not be stored: it is new when it comes again."""
        for _ in range(self._unsettled):
            self._known.discard(self._order.pop())
        self._unsettled = 0


def _digest(octets: bytes) -> int:
    return int.from_bytes(blake2b(octets, digest_size=_DIGEST_OCTETS).digest(), "big")
