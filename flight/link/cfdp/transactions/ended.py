"""Transactions that have ended: what is still said to their peers, and how late PDUs are told from new ones."""

# A peer may repeat its last PDU long after this end is done with: its answer was lost, or it came back from a reboot
# with an older record. So the outcome is remembered, of the newest `ended_max` transactions in each direction:
#
#     late at the receiver              answer
#     EOF, the same as before           ACK of the EOF, and Finished
#     EOF that cancels                  Finished if the file was kept, so that the sender learns it; else ACK of the EOF
#     prompt, metadata without a file   Finished
#     metadata of another file, or an   none: the sender has given the number out twice. The transaction begins again,
#     EOF of other octets               as a new one
#     metadata, file data, ACK          none, counted as late
#
#     late at the sender                answer
#     Finished                          ACK of the Finished
#     NAK, keep alive                   an EOF that cancels: the receiver is to end as well
#     ACK                               none, counted as late
#
# Of a transaction that nobody remembers the sender says the same, so that a receiver never waits for a sender that lost
# its memory. Not remembered are transactions in which nothing can come late: class 1 without closure at the sender.
#
# The metadata are remembered by their CRC-32. A forger could match it, but might as well
# forge an EOF.

from __future__ import annotations

import zlib
from dataclasses import dataclass

from flight.core.errors import DecodeError
from flight.link.cfdp.conditions import AckStatus, ConditionCode, decode_code
from flight.link.cfdp.directives import Ack, Directive, EndOfFile, Finished, KeepAlive, Metadata, Nak, Prompt
from flight.link.cfdp.header import Header, Mode, TransactionId
from flight.link.cfdp.machines.receiver import Receiver
from flight.link.cfdp.machines.record import RecordReader, RecordWriter, header_octets
from flight.link.cfdp.machines.sender import Sender
from flight.link.cfdp.pdu import Pdu
from flight.link.cfdp.transactions.requests import Role

_ENDED_KIND = 2  # after the two roles
_UNKNOWN = 1 << 32  # is not a CRC-32, and not a checksum


@dataclass(frozen=True, slots=True)
class Ended:
    """One transaction that has ended.

    finished: the Finished PDU, b"" at the sender and for class 1 without closure. metadata_crc, checksum: _UNKNOWN if
    that PDU never came.
    """

    role: Role
    header: Header
    condition: ConditionCode
    whole: bool
    name: str
    finished: bytes = b""
    metadata_crc: int = _UNKNOWN
    checksum: int = _UNKNOWN
    octets: int = 0


class EndedTransactions:
    """The newest transactions that have ended, at most `ended_max` in each direction."""

    def __init__(self, ended_max: int) -> None:
        self._ended_max = ended_max
        self._of: dict[Role, dict[TransactionId, Ended]] = {Role.SENDER: {}, Role.RECEIVER: {}}

    def find(self, role: Role, transaction: TransactionId) -> Ended | None:
        """Return how this transaction ended, None if it is not remembered."""
        return self._of[role].get(transaction)

    def forget(self, role: Role, transaction: TransactionId) -> None:
        """Forget it: its number is in use again."""
        self._of[role].pop(transaction, None)

    def remember_sender(self, sender: Sender) -> None:
        """Remember how a sender ended, if its peer may still say something."""
        metadata = sender.metadata
        if sender.header.mode is Mode.ACKNOWLEDGED or metadata.closure:
            self._remember(Ended(Role.SENDER, sender.header, sender.condition, False, metadata.name))

    def remember_receiver(self, receiver: Receiver) -> None:
        """Remember how a receiver ended, unless it was given up."""
        if receiver.forgotten:
            return
        metadata, eof = receiver.file.metadata, receiver.file.eof
        closure = metadata is not None and metadata.closure
        self._remember(
            Ended(
                Role.RECEIVER, receiver.header, receiver.condition, receiver.is_kept,
                receiver.name,
                receiver.finished.encode() if closure or receiver.header.mode is Mode.ACKNOWLEDGED else b"",
                _metadata_crc(metadata) if metadata is not None else _UNKNOWN,
                eof.checksum if eof is not None else _UNKNOWN,
                eof.octets if eof is not None else 0,
            )
        )  # fmt: skip

    def _remember(self, ended: Ended) -> None:
        rows = self._of[ended.role]
        transaction = ended.header.transaction
        rows.pop(transaction, None)
        if len(rows) >= self._ended_max:
            del rows[next(iter(rows))]
        rows[transaction] = ended

    def record(self) -> bytes:
        """Return what `restore` takes."""
        record = RecordWriter(_ENDED_KIND)
        rows = [row for rows in self._of.values() for row in rows.values()]
        record.numbers(len(rows))
        for row in rows:
            record.octets(header_octets(row.header))
            record.octets(row.name.encode())
            record.octets(row.finished)
            record.numbers(row.role, row.condition, row.whole, row.metadata_crc, row.checksum, row.octets)
        return record.finish()

    def restore(self, raw: bytes) -> None:
        """Remember what the life before remembered. Raises DecodeError, with nothing changed."""
        record = RecordReader(raw)
        if record.kind != _ENDED_KIND:
            raise DecodeError(f"CFDP record of kind {record.kind}, should be {_ENDED_KIND}: ended transactions")
        rows: list[Ended] = []
        for _ in range(record.numbers(1)[0]):
            header, name, finished = record.header(), record.text(), record.finished()
            role, condition, whole, metadata_crc, checksum, octets = record.numbers(6)
            if role > Role.RECEIVER:
                raise DecodeError(f"CFDP record of ended transactions: role {role}")
            reply = b"" if finished is None else finished.encode()
            condition_code = decode_code(ConditionCode, condition)
            rows.append(
                Ended(Role(role), header, condition_code, bool(whole), name, reply, metadata_crc, checksum, octets)
            )
        record.end()
        for row in rows:
            self._remember(row)


def _metadata_crc(metadata: Metadata) -> int:
    return zlib.crc32(metadata.encode())


def is_renewed(ended: Ended, pdu: Pdu) -> bool:
    """Return whether this PDU begins another transaction under the number of one that a receiver has ended."""
    if isinstance(pdu, Metadata):
        return ended.metadata_crc not in (_UNKNOWN, _metadata_crc(pdu))
    if isinstance(pdu, EndOfFile) and pdu.condition is ConditionCode.NO_ERROR:
        return ended.checksum != _UNKNOWN and (ended.checksum, ended.octets) != (pdu.checksum, pdu.octets)
    return False


def answers_of_receiver(ended: Ended, pdu: Pdu) -> list[bytes]:
    """Return what is said to the sender of a late PDU, nothing if there is no need."""
    ended_as_told = [ended.finished] if ended.finished else []
    if isinstance(pdu, EndOfFile):
        if ended.header.mode is not Mode.ACKNOWLEDGED:
            return ended_as_told
        ack = Ack(ended.header, Directive.EOF, pdu.condition, AckStatus.TERMINATED).encode()
        if pdu.condition is ConditionCode.NO_ERROR:
            return [ack, *ended_as_told]
        return ended_as_told if ended.whole else [ack]
    # Peers that send no EOF after metadata without a file repeat the metadata until the Finished comes.
    if isinstance(pdu, Prompt) or (isinstance(pdu, Metadata) and not pdu.source_name and not pdu.name):
        return ended_as_told
    return []


def answers_of_sender(header: Header, ended: Ended | None, pdu: Pdu, entity: int) -> list[bytes]:
    """Return what is said to the sender of a PDU of a transaction of ours that has ended, or that nobody knows."""
    if header.mode is not Mode.ACKNOWLEDGED:
        return []
    if isinstance(pdu, Finished):
        status = AckStatus.UNRECOGNIZED if ended is None else AckStatus.TERMINATED
        return [Ack(header, Directive.FINISHED, pdu.condition, status).encode()]
    if isinstance(pdu, Nak | KeepAlive):
        condition = ConditionCode.NO_ERROR if ended is None else ended.condition
        if condition is ConditionCode.NO_ERROR:
            condition = ConditionCode.CANCEL_REQUEST_RECEIVED
        return [EndOfFile(header, condition, 0, 0, entity).encode()]
    return []
