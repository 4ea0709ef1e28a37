"""One transfer of a file as an operator sees it at one moment, and how fast it goes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from flight.core.nanoseconds import NS
from flight.link.cfdp.header import TransactionId

UP, DOWN = "up", "down"
# States of a transfer that is open.
WAITING, GOING, CHECKING, RESTING, SUSPENDED = "waiting", "going", "checking", "resting", "suspended"
_RATE_S = 10  # over which a rate is taken
_DIGITS_MAX = 20  # of a number of 64 bits

Stretch = tuple[int, int]  # octets [start, end) of a file


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer, open or ended.

    transaction: SOURCE.NUMBER of CFDP. way: UP or DOWN. name: at its destination, "" if it is not known yet.
    octets: the size of the file, None if it is not known yet. octets_there: those that have arrived, or were sent and
    not asked for again. missing: the stretches that are not, the first of them if there are many.
    mode: the class of CFDP, 1 or 2.
    state: one of the words above while it is open: WAITING for a contact, RESTING until the next; else its outcome,
    "completed", "failed" or "unconfirmed" (class 1: everything was sent, and nothing tells whether it arrived).
    reason: why it is not completed, or not going. path: the file here. began_ns, ended_ns: TAI.
    """

    transaction: str
    way: str
    name: str
    octets: int | None
    octets_there: int
    missing: tuple[Stretch, ...]
    mode: int
    state: str
    reason: str
    path: str
    octets_per_s: float
    began_ns: int
    ended_ns: int | None


def transaction_text(transaction: TransactionId) -> str:
    """Return SOURCE.NUMBER, as people name a transaction."""
    return f"{transaction.source}.{transaction.number}"


def transaction_in(text: str) -> TransactionId | None:
    """Return the transaction that a text names as SOURCE.NUMBER, None if it names none."""
    source, _, number = text.partition(".")
    if not all(part.isascii() and part.isdecimal() and len(part) <= _DIGITS_MAX for part in (source, number)):
        return None
    return TransactionId(int(source), int(number))


@dataclass(slots=True)
class RateMeter:
    """How many octets arrive per second, over the last `_RATE_S` seconds in which it was told."""

    _seen: deque[tuple[int, int]] = field(default_factory=deque)

    def note(self, octets: int, now_ns: int) -> None:
        """Take in how many octets are there now."""
        seen = self._seen
        if seen and now_ns <= seen[-1][0]:
            return
        seen.append((now_ns, octets))
        while len(seen) > 2 and now_ns - seen[1][0] >= _RATE_S * NS:
            seen.popleft()

    def octets_per_s(self, now_ns: int) -> float:
        """Return the rate, 0 if nothing was noted for long."""
        if len(self._seen) < 2 or now_ns - self._seen[-1][0] > _RATE_S * NS:
            return 0.0
        (first_ns, first), (last_ns, last) = self._seen[0], self._seen[-1]
        return max(0, last - first) * NS / (last_ns - first_ns)
