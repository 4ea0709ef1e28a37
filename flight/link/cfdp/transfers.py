"""CFDP class 1, unacknowledged: files into PDUs, PDUs in any order into files (CCSDS 727.0-B-5, 4.6.1).

Sender: METADATA -> FILE DATA, one segment per call -> EOF -> done.

A transaction at the receiver:

    none   --any PDU--> OPEN (if the table is full, the one longest without a PDU is ended: received if nothing of it
                        but the metadata is missing, else incomplete)
    OPEN   --EOF known, metadata known, no octet missing--> received, or incomplete: checksum
    OPEN   --EOF known and nothing missing, but no metadata, and `late_s` without a PDU--> received without name
    OPEN   --EOF known, octets missing, and `late_s` without a PDU--> incomplete: octets missing
    OPEN   --no EOF, `inactivity_s` without a PDU--> incomplete: no EOF
    OPEN   --EOF with a condition--> incomplete: cancelled
    ended  --metadata of another file--> OPEN again: the sender gave the number out twice
    ended  --any other PDU--> late, ignored

In class 1 the EOF ends a file. If the EOF is lost, only silence tells. So `inactivity_s` must be longer than the time
between two passes, over which a file may be spread.

Every PDU that is ignored is counted by reason, and `ignored` returns what there is to report: each reason at once, and
then, as long as there is more of it, once per `_REPORT_S`.
"""

# Nothing that a PDU claims costs memory or is believed beyond it. A size and an offset are claims: memory is taken by
# the octets that came (pieces.py), bounded per file and over all transactions, and a PDU that would go beyond is
# refused alone. An incomplete file is given out as the stretches that came, with their places: what is missing is not
# made up. PDUs that contradict earlier ones are refused, so that a forged or stale one cannot change what is known.
#
# A file is delivered as whole only if its EOF is known, no octet is missing and the checksum of the octets agrees. If
# the metadata was lost, the file still counts, under a name made of its number; it is waited for during `late_s`,
# because PDUs of one file may overtake each other.
#
# Which transactions have ended is remembered by their ids, the newest `_ENDED_MAX`: a number says nothing by its size,
# since senders begin where they like (numbers.py, ADR 0018). Of each its metadata is kept. So a late repetition of the
# same metadata is known from another file under a number that the sender gave out twice, which must not be lost.
#
# All of this is in memory. After a restart the receiver knows no transaction: further PDUs of one that was open begin a
# new one, which ends incomplete. Whoever sent a file up learns it from the node's event, or from the lack of one
# (ground/link/uploads.py).

from __future__ import annotations

from dataclasses import dataclass, field

from flight.core.config import key
from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS
from flight.link.cfdp.class1_pdu import (
    CHECKSUM_CRC32,
    CHECKSUM_MODULAR,
    CHECKSUMS,
    FILE_OCTETS_MAX,
    NO_ERROR,
    OFFSET_OCTETS,
    EndOfFile,
    FileData,
    Metadata,
    Pdu,
    TransactionId,
    decode_pdu,
    encode_pdu,
)
from flight.link.cfdp.pieces import Pieces

_ENDED_MAX = 1024
_REPORT_S = 60
LATE = "late"  # the one reason for which nothing is wrong with the PDU itself
# Why PDUs are ignored, by the reason's name in the counters.
_MEANINGS = {
    LATE: "their transaction has ended",
    "malformed": "they are not PDUs of class 1",
    "entity": "they are for another entity",
    "offset": "they go beyond the end of the file, or what one file may have",
    "memory": "the open transactions hold as many octets as they may",
    "ranges": "the file is in too many pieces",
    "conflict": "they contradict what came before",
}


class CfdpSender:
    """The sending end of one transaction: the PDUs of one file, each made when it is asked for.

    data: the whole file, up to 2^32 - 1 octets. `segment` octets of it go into one PDU. checksum_type: one of
    CHECKSUMS.
    """

    def __init__(
        self, source: int, destination: int, number: int, name: str, data: bytes, segment: int,
        *, checksum_type: int = CHECKSUM_CRC32,
    ) -> None:  # fmt: skip
        assert 0 <= source < 1 << 16, source
        assert 0 <= destination < 1 << 16, destination
        assert 0 <= number < 1 << 64, number
        assert 1 <= segment <= 65535 - OFFSET_OCTETS, segment
        assert len(data) <= FILE_OCTETS_MAX, len(data)
        self.transaction = TransactionId(source, number)
        self._destination = destination
        self._name = name
        self._data = data
        self._segment = segment
        self._offset = -1  # before the metadata
        self._checksum_type = checksum_type
        # Of what was given out so far. That of a long file at once would keep the loop's other tasks waiting.
        self._checksum = 0
        self._ended = False

    @property
    def done(self) -> bool:
        """Whether the EOF was given out."""
        return self._ended

    @property
    def pdus(self) -> int:
        """How many PDUs the whole transaction has."""
        return 2 + -(-len(self._data) // self._segment)

    @property
    def remaining_octets(self) -> int:
        """How many octets of the file were not given out yet."""
        return len(self._data) - max(self._offset, 0)

    def next_pdu(self) -> bytes | None:
        """Return the next PDU, or None after the EOF."""
        octets = len(self._data)
        if self._ended:
            return None
        if self._offset < 0:
            self._offset = 0
            name = self._name
            return encode_pdu(Metadata(self.transaction, self._destination, octets, self._checksum_type, name, name))
        if self._offset < octets:
            segment = self._data[self._offset : self._offset + self._segment]
            pdu = FileData(self.transaction, self._destination, self._offset, segment)
            self._checksum = CHECKSUMS[self._checksum_type](segment, self._checksum, self._offset)
            self._offset += len(segment)
            return encode_pdu(pdu)
        self._ended = True
        return encode_pdu(EndOfFile(self.transaction, self._destination, NO_ERROR, self._checksum, octets))

    def cancel(self, condition: int = 15) -> bytes:
        """Give up: return the EOF with this condition (15: cancel requested) and the checksum of what was sent."""
        assert 1 <= condition <= 15, condition
        self._ended = True
        eof = EndOfFile(self.transaction, self._destination, condition, self._checksum, max(self._offset, 0))
        return encode_pdu(eof)


@dataclass(frozen=True, slots=True)
class CfdpConfig:
    """Limits of the receiver. Each is at least 1, except the times."""

    entity: int = key(1, text="own entity id; PDUs for others are refused")
    transactions: int = key(16, text="files open at a time; if one more begins, the one longest without a PDU is ended")
    file_octets: int = key(8388608, text="octets of one file at most")
    total_octets: int = key(67108864, text="octets of all open files at most")
    ranges: int = key(
        4096, text="stretches of one file that do not touch, at most"
    )  # this bounds the list of gaps as well
    late_s: float = key(
        5.0, text="after the newest PDU of a file whose end has come, how long its missing parts are waited for"
    )
    inactivity_s: float = key(12000.0, text="silence that ends a file without its end, longer than from pass to pass")


@dataclass(frozen=True, slots=True)
class FileReceived:
    """A whole file whose checksum agrees. `name` is made of the transaction's number if the metadata was lost."""

    transaction: TransactionId
    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class FileIncomplete:
    """What arrived of a file: `pieces`, each with its place. `missing` are the stretches [start, end) that did not.

    octets: the file's length as its sender claims it, or the end of the last piece if no PDU claimed one.
    """

    transaction: TransactionId
    name: str
    octets: int
    pieces: tuple[tuple[int, bytes], ...]
    missing: tuple[tuple[int, int], ...]
    reason: str

    @property
    def octets_here(self) -> int:
        """How many octets arrived."""
        return sum(len(piece) for _, piece in self.pieces)


FileAction = FileReceived | FileIncomplete


@dataclass(frozen=True, slots=True)
class PdusIgnored:
    """How many PDUs were ignored for `reason`, and of which transaction the newest was.

    `transaction` is None if the PDU names none; `name` is that of its file, "" if it is not known.
    """

    reason: str
    count: int
    transaction: TransactionId | None
    name: str

    @property
    def meaning(self) -> str:
        """The reason in words: `their transaction has ended`."""
        return _MEANINGS[self.reason]


@dataclass(slots=True)
class CfdpCounters:
    """Counted since the receiver was made.

    `late` and `refused` PDUs were ignored, `refused` is by reason. `renewed` counts transactions under a number that
    the sender had given out before.
    """

    pdus: int = 0
    octets: int = 0
    files_received: int = 0
    files_incomplete: int = 0
    octets_missing: int = 0
    repeated: int = 0
    late: int = 0
    renewed: int = 0
    refused: dict[str, int] = field(default_factory=lambda: {reason: 0 for reason in _MEANINGS if reason != LATE})


@dataclass(slots=True)
class _Transaction:
    """An open transaction. `last_ns` is when its newest PDU came, `pieces` are the octets that came."""

    last_ns: int
    metadata: Metadata | None = None
    eof: EndOfFile | None = None
    pieces: Pieces = field(default_factory=Pieces)

    def size(self) -> int | None:
        """Return the file's size if a PDU has told it."""
        if self.eof is not None:
            return self.eof.octets
        return None if self.metadata is None else self.metadata.octets

    def whole(self) -> bool:
        return self.eof is not None and (not self.eof.octets or self.pieces.has(0, self.eof.octets))


@dataclass(slots=True)
class _Unreported:
    """PDUs ignored for one reason. `count` of them wait to be reported, from `due_ns` on (None: at once)."""

    due_ns: int | None = None
    count: int = 0
    transaction: TransactionId | None = None
    name: str = ""


class CfdpReceiver:
    """All transactions toward one entity. It holds at most `total_octets` of files, and tables of bounded length."""

    def __init__(self, config: CfdpConfig) -> None:
        self.config = config
        self.counters = CfdpCounters()
        self._open: dict[TransactionId, _Transaction] = {}
        self._ended: dict[TransactionId, Metadata | None] = {}  # the oldest first
        self._octets = 0  # held in all open transactions together
        self._unreported: dict[str, _Unreported] = {}

    @property
    def open(self) -> int:
        """Transactions that have begun and not ended."""
        return len(self._open)

    @property
    def next_time_ns(self) -> int | None:
        """When `on_time` wants to be called, None if nothing is open."""
        return min((self._deadline_ns(transfer) for transfer in self._open.values()), default=None)

    def on_pdu(self, raw: bytes, now_ns: int) -> list[FileAction]:
        """Take one PDU. What is not a PDU for us is counted by reason and otherwise ignored; see `ignored`."""
        try:
            pdu = decode_pdu(raw)
        except DecodeError:
            self._ignore("malformed")
            return []
        if pdu.destination != self.config.entity:
            self._ignore("entity", pdu.transaction)
            return []
        self.counters.pdus += 1
        if pdu.transaction in self._ended and not self._renew(pdu):
            self._ignore(LATE, pdu.transaction)
            return []
        actions: list[FileAction] = []
        transfer = self._open.get(pdu.transaction)
        if transfer is None:
            transfer = self._open_transaction(pdu.transaction, now_ns, actions)
        transfer.last_ns = now_ns  # also for a PDU that is refused below: the sender is there
        match pdu:
            case FileData():
                reason = self._on_file_data(transfer, pdu)
            case Metadata():
                reason = self._on_metadata(transfer, pdu)
            case EndOfFile():
                reason = self._on_eof(transfer, pdu)
        if reason:
            self._ignore(reason, pdu.transaction)
        if transfer.eof is not None and transfer.eof.condition != NO_ERROR:
            self._end(pdu.transaction, f"cancelled by the sender, condition {transfer.eof.condition}", actions)
        elif transfer.metadata is not None and transfer.whole():
            self._end(pdu.transaction, None, actions)
        return actions

    def on_time(self, now_ns: int) -> list[FileAction]:
        """End the transactions for which nothing came for too long."""
        actions: list[FileAction] = []
        for transaction, transfer in list(self._open.items()):
            if now_ns >= self._deadline_ns(transfer):
                self._end(transaction, self._verdict(transfer), actions)
        return actions

    def end_all(self) -> list[FileAction]:
        """End every open transaction: the ground closes down."""
        actions: list[FileAction] = []
        for transaction, transfer in list(self._open.items()):
            self._end(transaction, self._verdict(transfer), actions)
        return actions

    def ignored(self, now_ns: int) -> list[PdusIgnored]:
        """Return what was ignored since the last report of the same reason, if a report is due.

        Call it after `on_pdu`, and now and then.
        """
        reports: list[PdusIgnored] = []
        for reason, pending in self._unreported.items():
            if pending.count and (pending.due_ns is None or now_ns >= pending.due_ns):
                reports.append(PdusIgnored(reason, pending.count, pending.transaction, pending.name))
                pending.count, pending.due_ns = 0, now_ns + _REPORT_S * NS
        return reports

    def _ignore(self, reason: str, transaction: TransactionId | None = None) -> None:
        if reason == LATE:
            self.counters.late += 1
        else:
            self.counters.refused[reason] += 1
        known = None
        if transaction is not None:
            known = self._open[transaction].metadata if transaction in self._open else self._ended.get(transaction)
        pending = self._unreported.setdefault(reason, _Unreported())
        pending.count += 1
        pending.transaction, pending.name = transaction, known.name if known is not None else ""

    def _renew(self, pdu: Pdu) -> bool:
        """Forget a transaction that has ended, if the PDU begins another file under its number; return whether it does.

        Without the metadata of the ended one nothing tells the two files apart, so the PDU is taken for a late one.
        """
        before = self._ended[pdu.transaction]
        if not isinstance(pdu, Metadata) or before is None or pdu == before:
            return False
        del self._ended[pdu.transaction]
        self.counters.renewed += 1
        return True

    def _verdict(self, transfer: _Transaction) -> str | None:
        """Return why the transaction, ended now, is incomplete; None if it is whole."""
        if transfer.whole():
            return None
        return "octets missing" if transfer.eof is not None else "no EOF"

    def _deadline_ns(self, transfer: _Transaction) -> int:
        wait_s = self.config.inactivity_s if transfer.eof is None else self.config.late_s
        return transfer.last_ns + int(wait_s * NS)

    def _open_transaction(self, transaction: TransactionId, now_ns: int, actions: list[FileAction]) -> _Transaction:
        if len(self._open) >= self.config.transactions:
            # The new one is let in: a sender that is heard goes before one that has fallen silent.
            idlest = min(self._open, key=lambda name: self._open[name].last_ns)
            self._end(idlest, self._verdict(self._open[idlest]), actions)
        transfer = self._open[transaction] = _Transaction(now_ns)
        return transfer

    def _on_file_data(self, transfer: _Transaction, pdu: FileData) -> str:
        """Return why the segment is refused, empty if it is not; the same below."""
        config = self.config
        end = pdu.offset + len(pdu.data)
        size = transfer.size()
        if end > config.file_octets or (size is not None and end > size):
            return "offset"
        if not pdu.data:
            return ""
        pieces = transfer.pieces
        new_octets = sum(high - low for low, high in pieces.gaps(pdu.offset, end))
        if not new_octets:
            # What came first stays: a repeated PDU says the same, a forged one must not replace it.
            self.counters.repeated += 1
            return ""
        if self._octets + new_octets > config.total_octets:
            return "memory"
        # What lengthens the last stretch is taken at the limit as well: a file that goes on in order is not held up.
        if len(pieces.starts) >= config.ranges and pdu.offset != pieces.end:
            return "ranges"
        pieces.add(pdu.offset, pdu.data)
        self._octets += new_octets
        self.counters.octets += len(pdu.data)
        return ""

    def _on_metadata(self, transfer: _Transaction, pdu: Metadata) -> str:
        if transfer.metadata is not None:
            if transfer.metadata != pdu:
                return "conflict"
            self.counters.repeated += 1
        elif pdu.octets > self.config.file_octets:
            return "offset"
        elif transfer.eof is not None and transfer.eof.octets != pdu.octets:
            return "conflict"
        else:
            transfer.metadata = pdu
        return ""

    def _on_eof(self, transfer: _Transaction, pdu: EndOfFile) -> str:
        if transfer.eof is not None:
            if transfer.eof != pdu:
                return "conflict"
            self.counters.repeated += 1
        elif pdu.octets > self.config.file_octets:
            return "offset"
        # A sender that gave up names what it sent until then, not the size that its metadata announced.
        elif pdu.condition == NO_ERROR and transfer.metadata is not None and transfer.metadata.octets != pdu.octets:
            return "conflict"
        else:
            transfer.eof = pdu
        return ""

    def _end(self, transaction: TransactionId, reason: str | None, actions: list[FileAction]) -> None:
        """Deliver a transaction and forget all of it but its id and metadata.

        With `reason` None it is whole, and the checksum decides; else it is incomplete for that reason.
        """
        transfer = self._open.pop(transaction)
        self._octets -= transfer.pieces.octets
        if len(self._ended) == _ENDED_MAX:
            del self._ended[next(iter(self._ended))]
        self._ended[transaction] = transfer.metadata
        name = f"transaction-{transaction.source}-{transaction.number}"
        if transfer.metadata is not None and transfer.metadata.name:
            name = transfer.metadata.name
        size = transfer.size()
        if size is None:
            size = transfer.pieces.end
        pieces = transfer.pieces.cut(size)
        if reason is None:
            data = pieces[0][1] if pieces else b""
            reason = self._check(transfer, data)
            if reason is None:
                self.counters.files_received += 1
                actions.append(FileReceived(transaction, name, data))
                return
        missing = tuple(transfer.pieces.gaps(0, size))
        self.counters.files_incomplete += 1
        self.counters.octets_missing += sum(end - start for start, end in missing)
        actions.append(FileIncomplete(transaction, name, size, pieces, missing, reason))

    def _check(self, transfer: _Transaction, data: bytes) -> str | None:
        """Return what is wrong with a file of which no octet is missing; None if its checksum agrees."""
        assert transfer.eof is not None
        claimed = transfer.eof.checksum
        if transfer.metadata is None:
            # Only the metadata names the type. Without it either of the two that check anything may be meant.
            agrees = any(CHECKSUMS[kind](data) == claimed for kind in (CHECKSUM_CRC32, CHECKSUM_MODULAR))
            return None if agrees else "checksum mismatch"
        kind = transfer.metadata.checksum_type
        checksum = CHECKSUMS.get(kind)
        if checksum is None:
            return f"checksum type {kind} is unknown, should be one of {', '.join(map(str, CHECKSUMS))}"
        return None if checksum(data) == claimed else "checksum mismatch"
