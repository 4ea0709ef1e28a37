"""Transaction numbers that stay new: over starts, lost storage and clocks set back (CCSDS 727.0-B-5, 5.1: 8 octets).

A receiver takes a number that it has seen end for a repetition, so a number given out twice costs a file. Two sources
stand for its being new, and both must fail before one comes again:

    63        62 .. 48             47 .. 0
    0         starts, modulo 2^15  epoch, then one more for each transaction, modulo 2^48

`starts` is a mark kept on storage: how often the sender was started, counted up once at each start. So each start has
2^48 numbers set aside for it, and none runs over into the next one's. Storage that is lost, torn or cannot be written
repeats the mark. `epoch` is drawn at random at each start: two starts under one mark meet with a probability of less
than (files of both) / 2^48. The time is no source: clocks are set back, and files come faster than seconds.

The highest bit stays 0, for receivers that know only signed integers.
"""

from __future__ import annotations

EPOCH_BITS = 48
_START_BITS = 15


class TransactionNumbers:
    """The numbers of one start. starts: the stored mark, `epoch`: EPOCH_BITS random bits."""

    def __init__(self, starts: int, epoch: int) -> None:
        self._base = (starts % (1 << _START_BITS)) << EPOCH_BITS
        self._place = epoch

    def take(self) -> int:
        """A number that no transaction had before, 0 .. 2^63 - 1."""
        number = self._base | self._place % (1 << EPOCH_BITS)
        self._place += 1
        return number
