"""Packets that come down twice: played back once more after a power cut, or a report repeated by the next boot."""

# A sequence count does not make a packet known again, because counts begin at 0 at each boot and come round (ADR 0018).
# All octets do: the time is among them. Only digests are kept, of the newest packets: 8 octets each instead of
# hundreds.
#
# "Known" must not come before "stored". A packet that is taken for known is not stored again, so if the archive loses
# what it had not yet committed, the packets since the last commit must be new when they come once more. `settle` is
# called when they are durable, `forget` when they may be lost. After a restart of the ground `recall` reads the newest
# back from the archive.

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
        self._unsettled = 0  # how many of the newest packets may not be stored yet

    def is_new(self, octets: bytes) -> bool:
        """Note a packet; return False if the same one came before."""
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
        """Note packets of before, the newest first, as stored. Call it before anything comes."""
        for octets in newest:
            digest = _digest(octets)
            if len(self._order) == self._kept:
                return
            if digest not in self._known:
                self._known.add(digest)
                self._order.appendleft(digest)

    def settle(self) -> None:
        """Note that every packet so far is stored."""
        self._unsettled = 0

    def forget(self) -> None:
        """Forget what came since the last `settle`: it may not be stored, so it is new when it comes again."""
        for _ in range(self._unsettled):
            self._known.discard(self._order.pop())
        self._unsettled = 0


def _digest(octets: bytes) -> int:
    return int.from_bytes(blake2b(octets, digest_size=_DIGEST_OCTETS).digest(), "big")
