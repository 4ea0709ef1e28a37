"""Senders and receivers into their records, and after a reboot back."""

# A record that does not fit together is refused before anything is made of it: its owner drops it, and the transaction
# goes on as one whose record was lost. What of the world does not fit to a good record any more (the file is gone, or
# has another size; there is no room) is a fault of the transaction, as it would have been before the reboot.

from __future__ import annotations

from flight.core.errors import DecodeError
from flight.link.cfdp.checksums import CHECKSUMS
from flight.link.cfdp.conditions import ConditionCode, decode_code
from flight.link.cfdp.machines.receiver import Receiver
from flight.link.cfdp.machines.receiver_outcome import ReceiverState
from flight.link.cfdp.machines.record import RecordReader, RecordWriter, header_octets
from flight.link.cfdp.machines.sender import Sender, SenderState
from flight.link.cfdp.machines.transaction import Transaction, Workspace
from flight.link.cfdp.ranges import Ranges, RangesFull


def record_of(transaction: Transaction) -> bytes:
    """Return what must outlive a reboot of a sender or a receiver."""
    transaction.changed = False
    record = RecordWriter(transaction.role)
    if isinstance(transaction, Sender):
        _write_sender(record, transaction)
    else:
        assert isinstance(transaction, Receiver), transaction
        _write_receiver(record, transaction)
    return record.finish()


def _write_sender(record: RecordWriter, sender: Sender) -> None:
    file = sender.file
    record.octets(sender.metadata_raw)
    record.octets(sender.open_name.encode())
    record.octets(sender.text.encode())
    record.numbers(sender.state, sender.condition, sender.priority, sender.started, sender.suspended, sender.rests)
    record.numbers(file.offset, file.summed, file.checksum, file.asked_octets)


def _write_receiver(record: RecordWriter, receiver: Receiver) -> None:
    receiver.taken()
    file, is_decided = receiver.file, receiver.state in (ReceiverState.DECIDED, ReceiverState.FINISHED)
    record.octets(header_octets(receiver.header))
    record.octets(b"" if file.metadata is None else file.metadata.encode())
    record.octets(b"" if file.eof is None else file.eof.encode())
    record.octets(receiver.finished.encode() if is_decided else b"")
    record.octets(receiver.text.encode())
    record.numbers(receiver.suspended, receiver.rests)
    record.stretches(file.held)


def restored_sender(work: Workspace, record: RecordReader) -> Sender:
    """Return the sender of a record, which goes on where it was. Raises DecodeError."""
    metadata, open_name, text = record.metadata(), record.text(), record.text()
    state, condition, priority, started, suspended, rests = record.numbers(6)
    offset, summed, checksum, asked_octets = record.numbers(4)
    record.end()
    if metadata is None or metadata.checksum_type not in CHECKSUMS or state >= SenderState.ENDED:
        raise DecodeError("CFDP record of a sender: no metadata, or an unknown state or checksum type")
    if not offset <= summed <= metadata.octets or checksum >= 1 << 32 or started > 1 or suspended > 1:
        raise DecodeError("CFDP record of a sender: its numbers contradict each other")
    code = decode_code(ConditionCode, condition)
    sender = Sender(work, metadata, None, open_name, priority)
    sender.state, sender.condition, sender.text = SenderState(state), code, text
    sender.started, sender.rests = bool(started), rests
    file = sender.file
    file.offset, file.summed, file.checksum, file.asked_octets = offset, summed, checksum, asked_octets
    sender.go_on(bool(suspended))
    return sender


def restored_receiver(work: Workspace, record: RecordReader) -> Receiver:
    """Return the receiver of a record, which goes on where it was. Raises DecodeError."""
    header = record.header()
    metadata, eof, finished, text = record.metadata(), record.eof(), record.finished(), record.text()
    suspended, rests = record.numbers(2)
    stretches = record.stretches()
    record.end()
    receiver = Receiver(work, header)
    file = receiver.file
    try:
        file.held = Ranges(stretches, work.config.ranges)
    except RangesFull:
        raise DecodeError("CFDP record of a receiver: too many stretches") from None
    file.metadata = metadata
    receiver.text, receiver.rests = text, rests
    if metadata is not None:
        receiver.take_overrides(metadata.options)
        if metadata.octets:
            file.octets_max = min(file.octets_max, metadata.octets)
    if eof is not None:
        receiver.state = ReceiverState.MISSING
        file.take_eof(eof)
    if file.held.end > file.octets_max:
        raise DecodeError("CFDP record of a receiver: more octets than the file has")
    if finished is not None:
        receiver.state = ReceiverState.FINISHED
        receiver.condition, receiver.delivery = finished.condition, finished.delivery
        receiver.status, receiver.responses = finished.status, finished.responses
    receiver.go_on(bool(suspended))
    return receiver
