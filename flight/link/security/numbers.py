"""Sequence numbers of one association: what a sender may use, what a receiver takes, and what must be stored for it.

Numbers rise from 1. A limit is a number that is on storage, and all that is below it may have been used:

    sender      uses a number only below its limit; after a reboot it begins at the limit
    receiver    takes a number only if it is above all that it took, and below its limit; after a reboot everything
                below the limit counts as taken
"""

# So no number is used twice and none is taken twice, whenever the power goes, and storage is written once per block of
# numbers instead of once per frame. The price: a reboot jumps over what was left of the block.
#
# The rule for limits, with block B: when number s is used or taken, the limit shall become (s // B + 2) * B. It is
# asked for early, in the last half of the last block below the limit, while frames go on; and with the frame waiting if
# s is not below the limit at all. Both ends of an uplink have the same B, and that gives the sender a way back after
# the receiver's reboot without knowing its limit: the limit came from a number that the sender had used, so it is at
# most (next // B + 2) * B, and `skip` goes there.
#
# `wanted` is the limit that should be on storage, `limit` the one that is. Between them stands a write whose end is
# reported to `durable`. A write that failed may still be on the medium: then more is lost, never less.
#
# A receiver of telemetry has no such way back: the sender does not hear of its reboot, and what it refuses after one is
# lost. At one frame in five seconds ten frames are a minute. So it begins with a small block, and doubles it whenever
# storage is too slow for that: if a frame must wait although frames had been taken before, and by `widen`.

from __future__ import annotations

from abc import ABC, abstractmethod

from flight.core.nanoseconds import NS

UP_BLOCK = 256
"""Both ends of an uplink: a store per 256 commands, and at most 512 numbers jumped over by a reboot."""
DOWN_SEND_BLOCK = 65536
"""The node sends more telemetry frames in a minute than commands come in a day."""
DOWN_RECEIVE_BLOCK, DOWN_RECEIVE_BLOCK_MAX = 4, 65536
"""After a crash the ground refuses up to two blocks of frames that it may have taken before."""

CLOCK_HZ = 65_536
"""How fast the number that the clock stands for rises: more than frames in a second."""

NUMBER_SET_MAX, NUMBER_STEP_MAX = 1 << 49, 1 << 20
"""No command sets a number beyond what the clock stands for in 2230, so that a clock leads beyond every one. A step of
so many is allowed wherever a number is: more than `skip` and a block go."""

BLOCKS_OF_A_WRITE = 2
"""A write moves a limit by two blocks at most, if numbers come one after the other."""


def clock_number(tai_ns: int) -> int:
    """Return the number that a time stands for, TAI in ns since 1958: above all that were used before that time."""
    return tai_ns * CLOCK_HZ // NS


class Numbers(ABC):
    """What sender and receiver share: `limit` is stored, `wanted` should be, `due` says that nobody was told yet."""

    __slots__ = ("block", "due", "early", "end", "limit", "wanted")

    def __init__(self, block: int, end: int, limit: int) -> None:
        assert block & block - 1 == 0, block
        self.block = block
        self.end = end
        self.limit = min(limit, end)
        self.wanted = self.limit
        self.early = self.wanted - block // 2
        self.due = False

    @property
    @abstractmethod
    def last(self) -> int:
        """The last number that counts as used, or as taken."""

    def ask(self, number: int) -> None:
        """Want the limit that goes with `number`."""
        wanted = min((number // self.block + 2) * self.block, self.end)
        if wanted > self.wanted:
            self.wanted = wanted
            self.early = wanted - self.block // 2
            self.due = True

    @abstractmethod
    def advance(self, number: int) -> None:
        """Count all below `number`, and for a receiver `number` as well, as used; numbers never go back."""

    def durable(self, limit: int) -> None:
        """Take note that `limit` is on storage."""
        self.limit = max(self.limit, limit)


class SendNumbers(Numbers):
    """The sender's numbers: `next` is the one that the next frame gets."""

    __slots__ = ("next", "skipped")

    def __init__(self, block: int, end: int, limit: int = 0) -> None:
        super().__init__(block, end, limit)
        self.next = max(self.limit, 1)
        self.skipped = False  # and nothing was used since

    @property
    def exhausted(self) -> bool:
        """Whether all numbers are used: then only another key helps."""
        return self.next >= self.end

    def take(self) -> int | None:
        """Return the next number and count it as used; None if it is not below the stored limit."""
        number = self.next
        if number >= self.limit:
            self.ask(number)
            return None
        self.next = number + 1
        self.skipped = False
        if number >= self.early:
            self.ask(number)
        return number

    def skip(self) -> bool:
        """Go beyond whatever limit a receiver can have stored; return False if that is where it is already."""
        if self.skipped:
            return False
        self.advance((self.next // self.block + 2) * self.block)
        self.skipped = True
        return True

    def advance(self, number: int) -> None:
        """Go on with `number` if it is ahead; numbers never go back."""
        self.next = min(max(self.next, number), self.end)
        if self.next >= self.limit:
            self.ask(self.next)

    @property
    def last(self) -> int:
        """The last number that was used or jumped over."""
        return self.next - 1


class ReceiveNumbers(Numbers):
    """The receiver's numbers: `spent` and everything below it is never taken again."""

    __slots__ = ("_block_max", "_count", "spent")

    def __init__(self, block: int, end: int, limit: int = 0, block_max: int = 0) -> None:
        super().__init__(block, end, limit)
        self.spent = max(self.limit - 1, 0)
        self._block_max = block_max or block
        self._count = 0

    def wait(self, number: int) -> None:
        """Ask for the store that `number`, which is not below the limit, must wait for."""
        # Only frames that came after others can show that the block is too small; a first one always waits.
        if self._count > self.block // 2 and number < self.limit + self.block:
            self.widen()
        self.ask(number)

    def widen(self) -> None:
        """Ask for a store half as often from now on, if that is allowed."""
        if self.block < self._block_max:
            self.block *= 2
            self._count = 0

    def spend(self, number: int) -> None:
        """Count `number`, which is above all that were taken, and all below it as taken."""
        self.spent = number
        self._count += 1
        if number >= self.early:
            self.ask(number)

    def advance(self, number: int) -> None:
        """Take nothing up to and including `number`; numbers never go back."""
        self.spent = min(max(self.spent, number), self.end)
        self.ask(self.spent)

    @property
    def last(self) -> int:
        """The last number that was taken or counts as taken."""
        return self.spent
