"""The transfers of a desk as operators see them: those that are open, and the newest that have ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from flight.link.cfdp.conditions import ConditionCode
from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.transactions.entity import Entity
from flight.link.cfdp.transactions.indications import Faulted, TransactionFinished
from flight.link.cfdp.transactions.requests import Role, TransactionStatus
from ground.files.ground_filestore import GroundFilestore
from ground.files.transfer import (
    CHECKING,
    DOWN,
    GOING,
    RESTING,
    SUSPENDED,
    UP,
    WAITING,
    RateMeter,
    Transfer,
    transaction_text,
)
from ground.files.transfer_records import TransferRecords
from ground.operator import COMPLETED

RECENT_MAX = 64


class TransferList:
    """See the head of the file. `recent`: the oldest first. in_contact: whether PDUs can go up.

    words: open transactions that brought a word of the node and no file: when they end, there is nothing to show.
    """

    def __init__(self, entity: Entity, filestore: GroundFilestore, records: TransferRecords) -> None:
        self.recent: deque[Transfer] = deque(maxlen=RECENT_MAX)
        self.in_contact = False
        self.words: set[TransactionId] = set()
        self._entity = entity
        self._filestore = filestore
        self._records = records
        self._faults: dict[TransactionId, str] = {}
        self._meters: dict[TransactionId, RateMeter] = {}

    def open(self, now_ns: int, checking: Collection[TransactionId]) -> list[Transfer]:
        """Return the open transfers. `checking` have all their octets and are compared with their checksum."""
        every = self._entity.transactions()
        return [self._transfer(status, now_ns, status.transaction in checking) for status in every]

    def note_progress(self, now_ns: int) -> None:
        """Take in how far each transfer is, for its rate."""
        for status in self._entity.transactions():
            self._meters.setdefault(status.transaction, RateMeter()).note(status.octets_done, now_ns)

    def note_fault(self, fault: Faulted) -> None:
        """Keep why a transfer does not go on."""
        self._faults[fault.transaction] = fault.text or fault.condition.text

    def note_end(self, finished: TransactionFinished, outcome: str, reason: str, at_ns: int) -> None:
        """Keep how a transfer ended. Call it while the files still know it."""
        name = finished.transaction
        self._faults.pop(name, None)
        self._meters.pop(name, None)
        if name in self.words:
            self.words.discard(name)
            return
        outgoing, arriving = self._records.outgoing.get(name), self._filestore.arriving.get(name)
        path, began_ns, mode, named = "", at_ns, 0, finished.name
        if outgoing is not None:
            path, began_ns, mode, named = outgoing.local, outgoing.began_ns, outgoing.mode, outgoing.shown_name
        elif arriving is not None:
            path, began_ns, mode, named = arriving.kept, arriving.began_ns, arriving.mode, named or arriving.name
        lacking = sum(end - start for start, end in finished.missing)
        self.recent.append(
            Transfer(
                transaction=transaction_text(name),
                way=UP if finished.role is Role.SENDER else DOWN,
                name=named,
                octets=finished.octets,
                octets_there=finished.octets if outcome == COMPLETED else finished.octets - lacking,
                missing=finished.missing,
                mode=mode,
                state=outcome,
                reason=reason,
                path=path,
                octets_per_s=0.0,
                began_ns=began_ns,
                ended_ns=at_ns,
            )
        )

    def _transfer(self, status: TransactionStatus, now_ns: int, is_checked: bool) -> Transfer:
        name = status.transaction
        outgoing, arriving = self._records.outgoing.get(name), self._filestore.arriving.get(name)
        meter = self._meters.get(name)
        path, began_ns = "", self._filestore.tai_ns
        if outgoing is not None:
            path, began_ns = outgoing.local, outgoing.began_ns
        elif arriving is not None:
            path, began_ns = arriving.kept, arriving.began_ns
            arriving.mode = status.mode.service_class
        state, reason = self._state(status, is_checked)
        if arriving is not None and arriving.kept and state != SUSPENDED:
            state, reason = COMPLETED, ""  # the file is here; only the last words of the two ends are still to come
        return Transfer(
            transaction=transaction_text(name),
            way=UP if status.role is Role.SENDER else DOWN,
            name=outgoing.shown_name if outgoing is not None else status.name,
            octets=status.octets,
            octets_there=status.octets_done,
            missing=status.gaps,
            mode=status.mode.service_class,
            state=state,
            reason=reason,
            path=path,
            octets_per_s=0.0 if meter is None else meter.octets_per_s(now_ns),
            began_ns=began_ns,
            ended_ns=None,
        )

    def _state(self, status: TransactionStatus, is_checked: bool) -> tuple[str, str]:
        fault = "" if status.condition is ConditionCode.NO_ERROR else status.condition.text
        why = self._faults.get(status.transaction, fault)
        if status.suspended:
            return SUSPENDED, why
        if is_checked:
            return CHECKING, ""
        if status.resting:
            return RESTING, why
        return (GOING, "") if self.in_contact else (WAITING, "no contact")
