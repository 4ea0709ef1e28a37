"""How a receiver ends: the outcome, what of it waits for the disk, and what the sender is told (727.0-B-5, 4.6, 4.11).

The states are those of receiver.py, whose table also has these events.
"""

# What waits for the disk. Two things that the peer will rely on are stored before they are said: that the EOF is here
# (after its ACK the sender does not repeat it), and how the transaction ended (after Finished the sender deletes the
# file). `_version` counts what has to be stored, `_taken` is what the owner took last, so that `stored` for an older
# record confirms nothing. All else may be lost: it is asked for again.
#
# Once decided, an outcome stays, whatever comes: a cancel, a limit, an EOF that cancels. A receiver whose Finished is
# never acknowledged ends by the same outcome when its rests are used up.

from __future__ import annotations

from enum import IntEnum

from flight.link.cfdp.conditions import AckStatus, ConditionCode, DeliveryCode, FileStatus
from flight.link.cfdp.directives import Ack, Directive, Finished, KeepAlive
from flight.link.cfdp.header import Header, Mode
from flight.link.cfdp.machines.incoming_file import IncomingFile
from flight.link.cfdp.machines.nak_rounds import NakRounds
from flight.link.cfdp.machines.transaction import Transaction, Workspace
from flight.link.cfdp.tlv import TLVS_MAX, FilestoreResponse
from flight.link.cfdp.transactions.filestore import FilestoreRefusal
from flight.link.cfdp.transactions.indications import StoreRecord, TransactionFinished
from flight.link.cfdp.transactions.requests import GAPS_SHOWN, Refused, Retained, Role, TransactionStatus

_FINISHED_OCTETS = 14  # of a Finished besides header and responses: two codes, a fault location, a CRC


class ReceiverState(IntEnum):
    """The states of the table."""

    OPEN = 0
    MISSING = 1
    COMPLETE = 2
    DECIDED = 3
    FINISHED = 4
    ENDED = 5


class ReceiverOutcome(Transaction):
    """The half of a receiver that knows how it ends. `forgotten`: it was given up for another, and may begin again."""

    role = Role.RECEIVER

    def __init__(self, work: Workspace, header: Header) -> None:
        super().__init__(work, header)
        self.state = ReceiverState.OPEN
        self.file = IncomingFile(work, header)
        self.delivery = DeliveryCode.INCOMPLETE
        self.status = FileStatus.DISCARDED
        self.responses: tuple[FilestoreResponse, ...] = ()
        self.forgotten = False
        self._class2 = header.mode is Mode.ACKNOWLEDGED
        self._rounds = NakRounds(work.config, header)
        self._version = self._taken = 0
        self._eof_unconfirmed = False
        self._ack_due: ConditionCode | None = None  # the condition of the EOF that is to be acknowledged
        self._finished_due = self._keep_alive_due = False

    # The outcome

    def settle(self, outcome: Retained | Refused) -> None:
        """Handle E9 and E10."""
        if self.state is not ReceiverState.COMPLETE:
            return
        self.responses = self._fitting(outcome.responses)
        if isinstance(outcome, Retained):
            self.delivery = DeliveryCode.COMPLETE
            self.status = FileStatus.RETAINED if self.file.has_file else FileStatus.UNREPORTED
            self._decide(ConditionCode.NO_ERROR, "")
            return
        self.state = ReceiverState.MISSING
        self.refused(FilestoreRefusal(outcome.text, outcome.condition, outcome.status))

    def _fitting(self, responses: tuple[FilestoreResponse, ...]) -> tuple[FilestoreResponse, ...]:
        """Return as many of the responses as a Finished has room for; the peer sees which are not there."""
        room = self.work.config.pdu_octets - self.header.octets - _FINISHED_OCTETS
        octets = 0
        responses = responses[: TLVS_MAX - 1]  # and a fault location
        for i, response in enumerate(responses):
            octets += len(response.encode())
            if octets > room:
                return responses[:i]
        return responses

    def refused(self, refusal: FilestoreRefusal) -> None:
        """Do what is done about a filestore that refuses, and remember what becomes of the file."""
        self.status = refusal.status
        super().refused(refusal)

    def cancel(self, condition: ConditionCode, text: str = "") -> None:
        """Handle E12, and limits that were reached after the outcome was decided: that one stays."""
        if self.state <= ReceiverState.MISSING:
            self._decide(condition, text)
        elif self.state is ReceiverState.FINISHED and condition is ConditionCode.ACK_LIMIT_REACHED:
            self._end(self.condition, self.text)
        elif self.suspended:
            self.resume()  # the outcome stays, but whoever cancels wants an end

    def abandon(self, condition: ConditionCode, text: str = "") -> None:
        """Handle E19."""
        if self.state > ReceiverState.COMPLETE:
            condition, text = self.condition, self.text
        self._end(condition, text)

    def _decide(self, condition: ConditionCode, text: str) -> None:
        self.condition, self.text = condition, text
        self.resting = self._keep_alive_due = False
        self.suspended &= condition is ConditionCode.NO_ERROR  # the sender is to learn of a cancel
        self._rounds.stop()
        self.tries = self.rests = 0
        metadata = self.file.metadata
        if not self._class2 and (metadata is None or not metadata.closure):
            self._end(condition, text)
            return
        self.state = ReceiverState.DECIDED
        self._store()
        self.start_timer(self.work.ack_ns)

    def _end(self, condition: ConditionCode, text: str) -> None:
        self.condition, self.text = condition, text
        self.state = ReceiverState.ENDED
        file, delivery = self.file, self.delivery
        missing = file.missing() if delivery is DeliveryCode.INCOMPLETE else ()
        self.work.told.append(
            TransactionFinished(
                self.id, self.role, condition, delivery, self.status, self.name, file.octets, missing, self.responses,
                text,
            )
        )  # fmt: skip
        self.leave()

    # What is said to the sender, and what of it waits for the disk

    def _store(self) -> None:
        self._version += 1
        self.changed = True
        self.work.told.append(StoreRecord(self.id))

    def taken(self) -> None:
        """Take in that the owner takes the record as it is now."""
        self._taken = self._version

    def stored(self) -> None:
        """Handle E11."""
        if self._taken < self._version:
            return
        if self.state is ReceiverState.DECIDED:
            self.state = ReceiverState.FINISHED
            self.timer_ns = None
            self._say_finished()
        if self._eof_unconfirmed:
            self._eof_unconfirmed = False
            self._acknowledge_eof()

    def _wait_for_disk(self) -> None:
        self.work.told.append(StoreRecord(self.id))
        self.start_timer(self.work.ack_ns)

    def _acknowledge_eof(self) -> None:
        """Do E5, and E4 after the outcome was decided without an EOF."""
        if self.state is ReceiverState.DECIDED and self.file.eof is None:
            self._eof_unconfirmed = self._class2
        if self._eof_unconfirmed:
            self.work.told.append(StoreRecord(self.id))
        elif self._class2:
            self._ack_due = ConditionCode.NO_ERROR
            self.has_due()

    def _say_finished(self) -> None:
        if self.state is ReceiverState.FINISHED:
            self._finished_due = True
            self.has_due()

    def _finish_again(self) -> None:
        self.tries += 1
        if self.tries >= self.work.config.ack_limit:
            self.fault(ConditionCode.ACK_LIMIT_REACHED)
        else:
            self._say_finished()

    @property
    def finished(self) -> Finished:
        """What the sender is told about the end."""
        entity = None if self.condition is ConditionCode.NO_ERROR else self.work.config.entity
        return Finished(self.header, self.condition, self.delivery, self.status, self.responses, entity)

    def next_directive(self) -> bytes | None:
        """Return the directive that is due."""
        if self._ack_due is not None:
            condition, self._ack_due = self._ack_due, None
            status = AckStatus.TERMINATED if self.ended else AckStatus.ACTIVE
            return Ack(self.header, Directive.EOF, condition, status).encode()
        if self.suspended or self.ended:
            return None
        if self._keep_alive_due:
            self._keep_alive_due = False
            return KeepAlive(self.header, self.file.held.end).encode()
        if self._finished_due:
            self._finished_due = False
            raw = self.finished.encode()
            if not self._class2:
                self._end(self.condition, self.text)
            elif self.timer_ns is None:  # a sender that keeps asking must not put the limit off
                self.start_timer(self.work.ack_ns)
            return raw
        size = self.file.eof.octets if self.file.eof is not None else None
        return self._rounds.next_nak(self.file.held, size, self.file.metadata is not None)

    # Report

    @property
    def name(self) -> str:
        """What the sender calls the file here, "" before the metadata."""
        return self.file.name

    @property
    def is_kept(self) -> bool:
        """Whether it ended without a fault, and all of the file was delivered."""
        return self.condition is ConditionCode.NO_ERROR and self.delivery is DeliveryCode.COMPLETE

    @property
    def octets_done(self) -> int:
        """Octets that are here."""
        return self.file.held.total

    def report(self) -> TransactionStatus:
        """Return how it stands."""
        file = self.file
        return TransactionStatus(
            self.id, self.role, self.header.mode, self.id.source, self.state.name.lower(),
            file.metadata.source_name if file.metadata is not None else "", self.name,
            file.size, file.held.total, file.missing(GAPS_SHOWN), self.condition, self.suspended, self.resting,
        )  # fmt: skip
