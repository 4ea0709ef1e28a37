"""What the outbox keeps in the label of a file, how that changes as transfers end, and in which order files go down."""

# The label is stored in the file's row, so it is as durable as the file, and there is no list of what waits that could
# contradict the files. A label of another length or version is not the outbox's: such a file is left alone.

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from flight.contract.app import EventSink
from flight.core.errors import StorageError
from flight.link.cfdp.conditions import ConditionCode, FileStatus
from flight.link.cfdp.header import Mode
from flight.link.cfdp.transactions.entity_config import TIMER_FAULTS
from flight.link.cfdp.transactions.indications import TransactionFinished
from flight.store.files.file_changes import FileChange
from flight.store.files.file_entry import FileEntry
from flight.store.files.file_store import FileStore
from flight.store.files.refusal import FileRefused
from flight.store.vault import Vault

PRIORITY_MAX = 255
_REFUSALS_MAX = 255
_LABEL = struct.Struct(">BBBBBB")
_VERSION = 1
_ARRIVE = {None: 0, True: 1, False: 2}
_ARRIVES = {number: arrive for arrive, number in _ARRIVE.items()}
_WORTH = struct.Struct(">f")
_WORTH_MAX = 3e38  # within single precision
WITHIN_PRIORITY = 0xFFFFFFFF  # the part of a rank that orders files of one priority


class State(IntEnum):
    """Where a file of the outbox stands, as its label says."""

    WAITING = 1
    SENT = 2  # by class 1: nobody knows whether it arrived
    RESTS = 3


@dataclass(frozen=True, slots=True)
class Label:
    """What the outbox knows of a file. keeps: the file stays on board when the ground has it."""

    state: State
    priority: int
    arrive: bool | None = None
    refusals: int = 0
    keeps: bool = False

    def encode(self) -> bytes:
        """Return the label."""
        return _LABEL.pack(_VERSION, self.state, self.priority, _ARRIVE[self.arrive], self.refusals, self.keeps)

    @classmethod
    def of(cls, entry: FileEntry) -> Label | None:
        """Return the label of a file, None if it is not one of the outbox."""
        if len(entry.label) != _LABEL.size:
            return None
        version, state, priority, arrive, refusals, keeps = _LABEL.unpack(entry.label)
        if version != _VERSION or state not in tuple(State) or arrive not in _ARRIVES:
            return None
        return cls(State(state), priority, _ARRIVES[arrive], refusals, bool(keeps))

    def rank(self, entry: FileEntry) -> int:
        """Return the place of its file in the order of sending."""
        return rank_of(self.priority, entry.value, entry.octets)

    def mode(self, arrives: bool) -> Mode:
        """Return the class in which its file goes down. arrives: what holds if the label does not say it."""
        arrive = arrives if self.arrive is None else self.arrive
        return Mode.ACKNOWLEDGED if arrive else Mode.UNACKNOWLEDGED

    def after_failure(self, finished: TransactionFinished, refusals_max: int, *, rests: bool) -> Label:
        """Return the label of a file whose transfer has failed. rests: the file is not to be sent again in any case."""
        if rests:
            return replace(self, state=State.RESTS)
        if finished.condition in TIMER_FAULTS:  # the link did not carry it, which is nobody's refusal
            return self
        refusals = min(self.refusals + 1, _REFUSALS_MAX)
        state = State.RESTS if refusals >= refusals_max else self.state
        return replace(self, state=state, refusals=refusals)


@dataclass(frozen=True, slots=True)
class Ended:
    """How the transfer of the file `number` ended. stopped: by command, so that the file is not sent again."""

    finished: TransactionFinished
    number: int
    stopped: bool


class Endings:
    """Stores what follows from the ends of transfers, and says what went wrong. `acknowledged` counts files."""

    def __init__(self, refusals_max: int, store: FileStore, vault: Vault, events: EventSink) -> None:
        self.acknowledged = 0
        self._refusals_max = refusals_max
        self._store = store
        self._vault = vault
        self._events = events

    async def settle(self, ended: Sequence[Ended]) -> bool:
        """Store in one transaction what follows from all of these; return False, with events, if it is not stored."""
        changes = [change for change in map(self._change, ended) if change is not None]
        try:
            if changes:
                await self._vault.commit({key: value for change in changes for key, value in change.changes.items()})
        except StorageError as error:
            for change in changes:
                change.undo()
            for each in ended:
                reason = f"the ground has it, which could not be stored: {error}" if each.finished.whole else str(error)
                self._events.emit("file_not_sent", each.finished.name, reason, each.finished.transaction.number)
            return False
        self.acknowledged += sum(each.finished.whole for each in ended)
        for change in changes:
            change.apply()
        return True

    def _change(self, ended: Ended) -> FileChange | None:
        """Return what is to be stored because a transfer ended so, None for nothing."""
        entry, finished = self._store.of_number(ended.number), ended.finished
        label = None if entry is None else Label.of(entry)
        if entry is None or label is None:
            if not finished.whole:  # most likely an upload of that name has taken its place meanwhile
                reason = finished.text or finished.condition.text
                self._events.emit("file_not_sent", finished.name, reason, finished.transaction.number)
            return None
        try:
            if finished.whole:
                if label.keeps or entry.locked:
                    return self._store.labelling(entry, b"")
                return self._store.removal(entry)
            if finished.condition is ConditionCode.NO_ERROR and finished.status is FileStatus.UNREPORTED:
                sent = b"" if label.keeps else replace(label, state=State.SENT).encode()
                return self._store.labelling(entry, sent)
            new = self._after_failure(entry, label, ended)
            return None if new == label else self._store.labelling(entry, new.encode())
        except FileRefused as refused:
            self._events.emit("file_damaged", entry.path, refused.text)
            return None

    def _after_failure(self, entry: FileEntry, label: Label, ended: Ended) -> Label:
        """Return the label of a file that did not arrive, and say so."""
        finished = ended.finished
        reason = finished.text or finished.condition.text
        self._events.emit("file_not_sent", entry.path, reason, finished.transaction.number)
        if damage := self._store.damage_of(entry):
            self._events.emit("file_damaged", entry.path, damage)
        new = label.after_failure(finished, self._refusals_max, rests=ended.stopped or bool(damage))
        if new.refusals > label.refusals and new.state is State.RESTS:
            self._events.emit("product_rests", entry.path, new.refusals, reason)
        return new


def is_spent(entry: FileEntry) -> bool:
    """Return whether a file was sent by class 1 and serves only if the ground asks for it again."""
    label = Label.of(entry)
    return label is not None and label.state is State.SENT and not label.keeps


def rank_of(priority: int, value: float, octets: int) -> int:
    """Return the place of a file in the order of sending, the lowest first."""
    # The octets of a single-precision number that is not negative, read as a whole number, are in its order.
    worth = min(value / max(1, octets), _WORTH_MAX)
    return priority << 32 | 0x7FFFFFFF - int.from_bytes(_WORTH.pack(worth), "big")
