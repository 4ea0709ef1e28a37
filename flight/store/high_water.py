"""The high-water mark of a journal: how far it had come, which no segment can tell when the newest ones are gone.

The mark is stored as `NAME.mark`, a record of two generations. A segment that it names was durable: if that segment is
not found it was lost, and is not one that a power cut kept from being written.
"""

# Why that holds: storage makes a replacement durable never before what was written ahead of it (flight.core.platform).
# A segment is written first and the mark after it, so no instant of a power cut leaves the mark without the segment.
#
# Each segment that is begun enters its index and first number, which costs one small replacement per segment and
# nothing per append (ADR 0007). A journal that gives up its last segment enters first that it holds none, so that
# nobody takes what was given up for lost. The first mark of a journal is entered twice, so that both generations have
# it: two generations that agree on the epoch cannot be outvoted by foreign segments (flight.store.segments.life_of).

from __future__ import annotations

import struct
from dataclasses import dataclass

from flight.core.platform import Storage
from flight.store.generations import Generations, Presence
from flight.store.segments import owner_of

_MARK = struct.Struct(">HQI?Q")  # owner, epoch, index of the newest segment, whether it is held, number


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the journal had come: segments up to `index` were begun, none if that is NO_INDEX.

    If `held`, `number` is the first one of that segment. If not, the journal held nothing, and numbers below `number`
    had been given.
    """

    owner: int
    epoch: int
    index: int
    held: bool
    number: int

    def encode(self) -> bytes:
        """Return the octets of the mark."""
        return _MARK.pack(self.owner, self.epoch, self.index, self.held, self.number)

    @classmethod
    def decode(cls, raw: bytes, owner: int) -> Mark | None:
        """Read the mark of the journal of that `owner`; return None if it is another journal's, or not a mark."""
        if len(raw) != _MARK.size:
            return None
        mark = cls(*_MARK.unpack(raw))
        return mark if mark.owner == owner else None


class HighWater:
    """The mark of the journal called `name`."""

    def __init__(self, storage: Storage, name: str) -> None:
        self._owner = owner_of(name)
        self._record = Generations(storage, f"{name}.mark")

    @property
    def found(self) -> Presence:
        """What has become of the record, after `load`."""
        return self._record.found

    @property
    def fault(self) -> str:
        """What is wrong with it, in words, after `load`; empty if nothing is."""
        return self._record.fault

    def load(self) -> list[Mark]:
        """Return every mark of this journal that can be read, the newest first."""
        marks = (Mark.decode(raw, self._owner) for raw in self._record.load_all())
        return [mark for mark in marks if mark is not None]

    def stage(self, epoch: int, index: int, held: bool, number: int) -> None:
        """Enter a mark, durable with the next sync. Raises StorageError."""
        self._record.stage(Mark(self._owner, epoch, index, held, number).encode())
