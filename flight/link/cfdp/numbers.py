"""Transaction numbers that stay new: over starts, lost storage and clocks set back (CCSDS 727.0-B-5, 5.1: 8 octets).

If a number comes again whose transaction has ended, the receiver takes its PDUs for late ones, unless the metadata show
that they are of another file. So a number given out twice can cost a file. Two sources make a number new, and both must
fail before one comes again:

    63        62 .. 48             47 .. 0
    0         starts, modulo 2^15  epoch, then one more for each transaction, modulo 2^48

`starts` is a mark kept on storage: how often the sender was started, counted up once at each start. So each start has
2^48 numbers of its own, and never runs over into those of the next. Storage that is lost, torn or cannot be written
repeats the mark. `epoch` is drawn at random at each start: two starts under one mark meet with a probability of less
than (files of both) / 2^48. The time is not used: clocks are set back, and files come faster than seconds.

The highest bit stays 0, for receivers that know only signed integers.
"""

# One durable write per start, not per file: a transfer never waits for the disk (ADR 0018). The epoch is where counting
# begins in the 48 bits, not a field of its own beside a count. So all 48 bits serve to make two starts differ: their
# numbers meet only if the two epochs lie closer together than the number of files sent.

from __future__ import annotations

EPOCH_BITS = 48
_START_BITS = 15


class TransactionNumbers:
    """The numbers of one start. `starts` is the stored mark, `epoch` EPOCH_BITS random bits."""

    def __init__(self, starts: int, epoch: int) -> None:
        self._base = (starts % (1 << _START_BITS)) << EPOCH_BITS
        self._place = epoch

    def take(self) -> int:
        """Return a number that no transaction had before, 0 .. 2^63 - 1."""
        number = self._base | self._place % (1 << EPOCH_BITS)
        self._place += 1
        return number
