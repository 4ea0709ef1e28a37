"""The open transactions of an entity, and how a PDU finds the one that it belongs to."""

# File data of an open transaction take the quick way: split_file_data gives the octets of the header that name the
# transaction, and `_routes` has its receiver by them. Everything else is decoded, and goes by kind: Finished, NAK, keep
# alive and the ACK of an EOF to a sender, the rest to a receiver. Their direction flag is not looked at.
#
# What belongs to no open transaction is late, or unknown, or opens one. Metadata, file data and an EOF without a fault
# open one; the rest cannot: an EOF that cancels what is not there is acknowledged, and that is all.
#
# Two senders with one id: the metadata that came first count, and the others are a conflict. A PDU of the
# other class is a conflict too.
#
# Noise and floods. What opens a transaction is bounded by a table. If it is full, a receiver that has neither metadata
# nor EOF, and was silent for as long as a peer takes to repeat itself, makes room; otherwise the PDU is refused. So
# noise costs at most the table, and no file whose metadata came. Own sends have a table of their own.

from __future__ import annotations

from collections.abc import Iterator

from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS
from flight.link.cfdp.conditions import AckStatus, ConditionCode
from flight.link.cfdp.directives import Ack, Directive, EndOfFile, Finished, KeepAlive, Metadata, Nak, Prompt
from flight.link.cfdp.file_data import FileData, data_key, split_file_data
from flight.link.cfdp.header import Header, Mode, TransactionId
from flight.link.cfdp.machines.receiver import Receiver
from flight.link.cfdp.machines.sender import Sender
from flight.link.cfdp.machines.transaction import Transaction, Workspace
from flight.link.cfdp.pdu import Pdu, decode_pdu
from flight.link.cfdp.transactions.ended import (
    EndedTransactions,
    answers_of_receiver,
    answers_of_sender,
    is_renewed,
)
from flight.link.cfdp.transactions.indications import LATE
from flight.link.cfdp.transactions.requests import Role
from flight.link.cfdp.transactions.turns import Turns

_KINDS = {
    FileData: "file_data", Metadata: "metadata", EndOfFile: "eof", Finished: "finished", Ack: "ack", Nak: "nak",
    Prompt: "prompt", KeepAlive: "keep_alive",
}  # fmt: skip


class OpenTransactions:
    """The tables of an entity. `senders` and `receivers` are in the order in which they began."""

    def __init__(self, work: Workspace) -> None:
        self._work = work
        self._entity = work.config.entity
        self.senders: dict[TransactionId, Sender] = {}
        self.receivers: dict[TransactionId, Receiver] = {}
        self.ended = EndedTransactions(work.config.ended)
        self.turns = Turns(work, self.senders)
        self._routes: dict[bytes, Receiver] = {}
        self._places = 0

    def __iter__(self) -> Iterator[Transaction]:
        yield from self.senders.values()
        yield from self.receivers.values()

    def find(self, transaction: TransactionId) -> list[Transaction]:
        """Return what is open under this id: two only if the entity sends to itself."""
        ends = (self.senders.get(transaction), self.receivers.get(transaction))
        return [end for end in ends if end is not None]

    def add_sender(self, sender: Sender) -> None:
        """Add a sender behind the others of its priority."""
        self._places += 1
        sender.place = self._places
        self.senders[sender.id] = sender
        self._work.stale = True

    def add_receiver(self, receiver: Receiver) -> None:
        """Add a receiver."""
        self.receivers[receiver.id] = receiver
        self._routes[data_key(receiver.header)] = receiver

    def collect(self) -> None:
        """Take off what has ended, and remember how."""
        work = self._work
        for transaction in work.finished:
            # What it still has to say waits with the other answers, of which there are only so many.
            if transaction in work.due:
                del work.due[transaction]
                if (answer := transaction.next_directive()) is not None:
                    self.turns.answer(answer)
            if isinstance(transaction, Sender):
                del self.senders[transaction.id]
                self.ended.remember_sender(transaction)
                outcome = "sent" if transaction.condition is ConditionCode.NO_ERROR else "send_failed"
            else:
                assert isinstance(transaction, Receiver), transaction
                del self.receivers[transaction.id]
                del self._routes[data_key(transaction.header)]
                self.ended.remember_receiver(transaction)
                outcome = "received" if transaction.is_kept else "receive_failed"
            work.counters.ended[outcome] += 1
        work.finished.clear()

    # PDUs

    def on_pdu(self, raw: bytes | memoryview) -> None:
        """Take one PDU, whatever its octets."""
        work = self._work
        split = split_file_data(raw)
        if split is not None:
            receiver = self._routes.get(split[0])
            if receiver is not None and raw[0] == receiver.first_octet:
                work.counters.data_in += 1
                receiver.heard_ns = work.at_ns
                if receiver.resting:
                    receiver.heard()
                receiver.on_data(split[1], split[2])
                return
        try:
            pdu = decode_pdu(raw)
        except DecodeError:
            work.ignored.add("malformed")
            return
        header = pdu.header
        to_sender = isinstance(pdu, Finished | Nak | KeepAlive) or (
            isinstance(pdu, Ack) and pdu.directive is Directive.EOF
        )
        if self._entity != (header.transaction.source if to_sender else header.destination):
            work.ignored.add("entity", header.transaction)
            return
        work.counters.pdus_in[_KINDS[type(pdu)]] += 1
        if to_sender:
            self._to_sender(header, pdu)
        else:
            self._to_receiver(header, pdu)

    def _to_sender(self, header: Header, pdu: Pdu) -> None:
        sender = self.senders.get(header.transaction)
        if sender is None:
            ended = self.ended.find(Role.SENDER, header.transaction)
            name = "" if ended is None else ended.name
            self._work.ignored.add("unknown" if ended is None else LATE, header.transaction, name)
            for answer in answers_of_sender(header, ended, pdu, self._entity):
                self.turns.answer(answer)
            return
        if _differs(header, sender.header):
            sender.ignore("conflict")
            return
        sender.heard()
        match pdu:
            case Ack():
                sender.on_ack(pdu)
            case Nak():
                sender.on_nak(pdu)
            case KeepAlive():
                sender.on_keep_alive(pdu)
            case Finished():
                if sender.on_finished(pdu):
                    self.turns.answer(Ack(header, Directive.FINISHED, pdu.condition, AckStatus.TERMINATED).encode())

    def _to_receiver(self, header: Header, pdu: Pdu) -> None:
        receiver = self.receivers.get(header.transaction) or self._open(header, pdu)
        if receiver is None:
            return
        if _differs(header, receiver.header):
            receiver.ignore("conflict")
            return
        receiver.heard()
        match pdu:
            case FileData() if pdu.records:
                receiver.on_records()
            case FileData():
                receiver.on_data(pdu.offset, pdu.data)
            case Metadata():
                receiver.on_metadata(pdu)
            case EndOfFile():
                receiver.on_eof(pdu)
            case Ack():
                receiver.on_ack(pdu)
            case Prompt():
                receiver.on_prompt(pdu)

    def _open(self, header: Header, pdu: Pdu) -> Receiver | None:
        """Open a receiver if this PDU may; else answer it if need be, and return None."""
        work, transaction = self._work, header.transaction
        ended = self.ended.find(Role.RECEIVER, transaction)
        if ended is not None:
            if not is_renewed(ended, pdu):
                work.ignored.add(LATE, transaction, ended.name)
                for answer in answers_of_receiver(ended, pdu):
                    self.turns.answer(answer)
                return None
            self.ended.forget(Role.RECEIVER, transaction)
            work.counters.renewed += 1
        cancels = isinstance(pdu, EndOfFile) and pdu.condition is not ConditionCode.NO_ERROR
        if cancels or isinstance(pdu, Ack | Prompt):
            work.ignored.add("unknown", transaction)
            if isinstance(pdu, EndOfFile) and header.mode is Mode.ACKNOWLEDGED:
                self.turns.answer(Ack(header, Directive.EOF, pdu.condition, AckStatus.UNRECOGNIZED).encode())
            return None
        if len(self.receivers) >= work.config.transactions and not self._make_room():
            work.ignored.add("table", transaction)
            return None
        receiver = Receiver(work, header)
        self.add_receiver(receiver)
        return receiver

    def _make_room(self) -> bool:
        """Give up the receiver that was silent longest of those that may be noise; return whether there is one."""
        silent_ns = self._work.at_ns - int(self._work.config.ack_s * NS)
        noise = [
            receiver
            for receiver in self.receivers.values()
            if receiver.file.metadata is None and receiver.file.eof is None and receiver.heard_ns <= silent_ns
        ]
        if not noise:
            return False
        victim = min(noise, key=lambda receiver: receiver.heard_ns)
        victim.forgotten = True
        victim.abandon(ConditionCode.INACTIVITY_DETECTED, "given up for a new transaction")
        self.collect()
        return True


def _differs(header: Header, known: Header) -> bool:
    """Return whether a PDU is of another transaction than the one whose id it has."""
    return header.mode is not known.mode or header.destination != known.destination
