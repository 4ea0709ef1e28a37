"""Whose turn it is to send: answers first, then directives, then what was asked again, then new data in order."""

# New data go by priority, and within one priority in the order in which the transactions began. That is strict: a file
# of a better priority overtakes at the next PDU, and those behind it wait.
#
# Directives go before data, and what was asked for again before new data, because a receiver holds the place for it.
# But not without end: a peer that keeps asking would stop all other files. A prompt of 20 octets may be worth 8 KiB of
# NAKs, and one NAK a whole file. So after three PDUs in a row one with new data goes, if there is any.
#
# The choice is made only if something has changed (`Workspace.stale`), since it looks at all senders. Between two
# changes a segment costs one comparison.

from __future__ import annotations

from collections.abc import Mapping

from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.machines.sender import Sender
from flight.link.cfdp.machines.transaction import Workspace

_URGENT_IN_A_ROW = 3
_ANSWERS_MAX = 64


class Turns:
    """What goes out next, of all that `senders` and the rest of an entity have to say."""

    def __init__(self, work: Workspace, senders: Mapping[TransactionId, Sender]) -> None:
        self._work = work
        self._senders = senders
        self._answers: dict[bytes, None] = {}  # to transactions that are not open, the oldest first
        self._new: Sender | None = None
        self._resending: Sender | None = None
        self._in_a_row = 0

    def answer(self, pdu: bytes) -> None:
        """Send an answer that belongs to no open transaction. If too many wait, the oldest is dropped."""
        self._answers[pdu] = None  # an answer that waits already is not said twice
        if len(self._answers) > _ANSWERS_MAX:
            del self._answers[next(iter(self._answers))]

    @property
    def has_new(self) -> bool:
        """Whether any sender has new data."""
        if self._work.stale:
            self._choose()
        return self._new is not None

    def next_pdu(self) -> bytes | None:
        """Return the next PDU, None if there is nothing to say."""
        if self._in_a_row < _URGENT_IN_A_ROW or not self.has_new:
            raw = self._next_directive()
            if raw is not None:
                self._in_a_row += 1
                return raw
        return self._next_data()

    def _next_directive(self) -> bytes | None:
        """Return the next PDU that is not file data. Transactions take turns."""
        if self._answers:
            answer = next(iter(self._answers))
            del self._answers[answer]
            return answer
        due = self._work.due
        while due:
            transaction = next(iter(due))
            del due[transaction]
            raw = transaction.next_directive()
            if raw is not None:
                due[transaction] = None
                return raw
        return None

    def _next_data(self) -> bytes | None:
        """Return the next PDU of a sender's file: its metadata, a segment, or its first EOF."""
        work = self._work
        # A file that cannot be read changes the choice, and there are only so many senders.
        while True:
            if work.stale:
                self._choose()
            again, new = self._resending, self._new
            if again is not None and (new is None or self._in_a_row < _URGENT_IN_A_ROW):
                self._in_a_row += 1
                raw = again.next_resent()
            elif new is not None:
                self._in_a_row = 0
                raw = new.next_new()
            else:
                return None
            if raw is not None:
                return raw

    def _choose(self) -> None:
        self._work.stale = False
        in_order = sorted(self._senders.values(), key=lambda sender: (sender.priority, sender.place))
        self._new = next((sender for sender in in_order if sender.has_new), None)
        self._resending = next((sender for sender in in_order if sender.has_resend), None)
