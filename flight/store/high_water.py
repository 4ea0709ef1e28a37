"""The high-water mark of a journal: how far it had come, which no segment can tell when the newest ones are gone.

Each segment that is begun enters the mark `NAME.mark`, a record of two generations: that it is there, and its first
number. The mark is a replacement, which storage makes durable never before what was written ahead of it: a segment that
the mark names was durable, and is gone if it is not found. That costs one small replacement per segment, nothing per
append. A journal that gives up its last segment enters first that it holds none, so that nobody takes what was given up
for lost.

The first mark of a journal is entered twice, so that both generations have it: two that agree cannot be outvoted.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from flight.core.platform import Storage
from flight.store.generations import Generations, Presence
from flight.store.segments import owner_of

_MARK = struct.Struct(">HQI?Q")  # owner, epoch, index of the newest segment, whether it is held, number


@dataclass(frozen=True, slots=True)
class Mark:
    """Segments up to `index` were begun, none if that is NO_INDEX. If `held`, that one with `number`; else nothing was
    held, and numbers below `number` were given.
    """

    owner: int
    epoch: int
    index: int
    held: bool
    number: int

    def encode(self) -> bytes:
        return _MARK.pack(self.owner, self.epoch, self.index, self.held, self.number)

    @classmethod
    def decode(cls, raw: bytes, owner: int) -> Mark | None:
        """The mark of the journal of that `owner`; None if it is of another one, or not a mark."""
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
        """What is wrong with it in words, empty if nothing is, after `load`."""
        return self._record.fault

    def load(self) -> list[Mark]:
        """Every mark of this journal that can be read, the newest first."""
        marks = (Mark.decode(raw, self._owner) for raw in self._record.load_all())
        return [mark for mark in marks if mark is not None]

    def stage(self, epoch: int, index: int, held: bool, number: int) -> None:
        """Enter a mark, durable with the next sync. Raises StorageError."""
        self._record.stage(Mark(self._owner, epoch, index, held, number).encode())
