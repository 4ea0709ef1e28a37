"""CFDP class 1, unacknowledged: files into PDUs, PDUs in any order into files (CCSDS 727.0-B-5, 4.6.1).

Sender: METADATA -> FILE DATA, one segment a call -> EOF -> done.

A transaction at the receiver:

    none   --any PDU--> OPEN (where the table is full, the one longest without a PDU is ended incomplete)
    OPEN   --EOF known, metadata known, no octet missing--> received, or incomplete: checksum
    OPEN   --EOF known and nothing missing, but no metadata, and `late_s` without a PDU--> received without name
    OPEN   --EOF known, octets missing, and `late_s` without a PDU--> incomplete: octets missing
    OPEN   --no EOF, `inactivity_s` without a PDU--> incomplete: no EOF
    OPEN   --EOF with a condition--> incomplete: cancelled
    ended  --metadata of another file--> OPEN anew: the sender gave the number out twice
    ended  --any other PDU--> late, ignored

The end of a file in class 1 is its EOF; that one lost, only silence tells. `inactivity_s` must therefore be longer
than the time between two passes, over which a file may be spread.

How long a file is, and where in it an octet stands, is what PDUs claim: memory goes by the octets that came, and an
incomplete file is given out as those, in stretches with their places (pieces.py). What is missing is not made up.

A number says nothing by its size: senders begin where they like (numbers.py). The newest `_ENDED_MAX` transactions
that ended are known by their ids. Whatever is ignored is counted by reason, and `ignored` gives it to be told: each
reason at once, and then, as long as there is more of it, once in `_TELL_S`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flight.core.config import key
from flight.core.errors import DecodeError
from flight.core.nanoseconds import NS
from flight.link.cfdp.pdu import (
    CHECKSUM_CRC32,
    CHECKSUMS,
    FILE_OCTETS_MAX,
    NO_ERROR,
    OFFSET_OCTETS,
    EndOfFile,
    FileData,
    Metadata,
    Pdu,
    TransactionId,
    checksum_crc32,
    decode_pdu,
    encode_pdu,
)
from flight.link.cfdp.pieces import Pieces

_ENDED_MAX = 1024
_TELL_S = 60
LATE = "late"  # of the reasons why PDUs are ignored the one that says nothing of the PDU itself
_MEANINGS = {
    LATE: "their transaction has ended",
    "malformed": "no PDU of class 1 can be read",
    "entity": "they are for another entity",
    "offset": "they go beyond the end of the file, or what one file may have",
    "memory": "the open transactions hold as much as they may",
    "ranges": "the file is in too many pieces",
    "conflict": "they contradict what came before",
}


class CfdpSender:
    """One file, one transaction: PDUs one at a time, made when asked for.

    data: the whole file, up to 2^32 - 1 octets. `segment` octets of it go into one PDU.
    """

    def __init__(self, source: int, destination: int, number: int, name: str, data: bytes, segment: int) -> None:
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
        self._checksum = 0  # CRC-32 of what was given out: that of a long file at once would keep others waiting
        self._ended = False

    @property
    def done(self) -> bool:
        """True once the EOF was given out."""
        return self._ended

    @property
    def pdus(self) -> int:
        """How many PDUs the whole transaction has."""
        return 2 + -(-len(self._data) // self._segment)

    @property
    def remaining_octets(self) -> int:
        """Octets of the file that were not given out yet."""
        return len(self._data) - max(self._offset, 0)

    def next_pdu(self) -> bytes | None:
        """The next PDU, None after the EOF."""
        octets = len(self._data)
        if self._ended:
            return None
        if self._offset < 0:
            self._offset = 0
            name = self._name
            metadata = Metadata(self.transaction, self._destination, octets, CHECKSUM_CRC32, name, name)
            return encode_pdu(metadata)
        if self._offset < octets:
            segment = self._data[self._offset : self._offset + self._segment]
            pdu = FileData(self.transaction, self._destination, self._offset, segment)
            self._offset += len(segment)
            self._checksum = checksum_crc32(segment, self._checksum)
            return encode_pdu(pdu)
        self._ended = True
        return encode_pdu(EndOfFile(self.transaction, self._destination, NO_ERROR, self._checksum, octets))

    def cancel(self, condition: int = 15) -> bytes:
        """Give up: the EOF with this condition (15: cancel requested) and the checksum of what was sent."""
        assert 1 <= condition <= 15, condition
        self._ended = True
        eof = EndOfFile(self.transaction, self._destination, condition, self._checksum, max(self._offset, 0))
        return encode_pdu(eof)


@dataclass(frozen=True, slots=True)
class CfdpConfig:
    """Limits of the receiver, each at least 1 but for the times."""

    entity: int = key(1, text="own entity id; PDUs for others are refused")
    transactions: int = key(
        16, text="files open at a time; where one more begins, the one longest without a PDU is ended"
    )
    file_octets: int = key(8388608, text="octets of one file at most")
    total_octets: int = key(67108864, text="octets of all open files at most")
    ranges: int = key(4096, text="stretches of one file that do not touch, at most")  # and so what lies between them
    late_s: float = key(5.0, text="how long after the end of a file what is missing of it is waited for")
    inactivity_s: float = key(12000.0, text="silence that ends a file without its end, longer than from pass to pass")


@dataclass(frozen=True, slots=True)
class FileReceived:
    """A whole file whose checksum fits. `name` is made of the transaction's number where the metadata was lost."""

    transaction: TransactionId
    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class FileIncomplete:
    """What arrived of a file: `pieces`, each with its place. `missing` are the stretches [start, end) that did not.

    octets: the file's length as its sender claims it, and where nothing did, where the last piece ends.
    """

    transaction: TransactionId
    name: str
    octets: int
    pieces: tuple[tuple[int, bytes], ...]
    missing: tuple[tuple[int, int], ...]
    reason: str

    @property
    def octets_here(self) -> int:
        """Octets that arrived."""
        return sum(len(piece) for _, piece in self.pieces)


FileAction = FileReceived | FileIncomplete


@dataclass(frozen=True, slots=True)
class PdusIgnored:
    """How many PDUs were ignored for `reason`, and of which transaction the newest was: None and "" if it names
    none, `name` that of its file as far as it is known.
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
    """Since the receiver was made. `late` and `refused` were ignored, `refused` is by reason; `renewed` counts
    transactions under a number that the sender had given out before.
    """

    pdus: int = 0
    octets: int = 0
    files_received: int = 0
    files_incomplete: int = 0
    octets_missing: int = 0
    repeated: int = 0
    late: int = 0
    renewed: int = 0
    refused: dict[str, int] = field(default_factory=lambda: {one: 0 for one in _MEANINGS if one != LATE})


@dataclass(slots=True)
class _Transaction:
    """An open transaction; `pieces` are the octets that came."""

    last_ns: int
    metadata: Metadata | None = None
    eof: EndOfFile | None = None
    pieces: Pieces = field(default_factory=Pieces)

    def size(self) -> int | None:
        """The file's size where a PDU has told it."""
        if self.eof is not None:
            return self.eof.octets
        return None if self.metadata is None else self.metadata.octets

    def whole(self) -> bool:
        return self.eof is not None and (not self.eof.octets or self.pieces.has(0, self.eof.octets))


@dataclass(slots=True)
class _Untold:
    """PDUs ignored for one reason, `count` of them not told yet; they may be from `due_ns` on, None for at once."""

    due_ns: int | None = None
    count: int = 0
    transaction: TransactionId | None = None
    name: str = ""


class CfdpReceiver:
    """All transactions toward one entity. Memory is at most `total_octets` and bounded tables."""

    def __init__(self, config: CfdpConfig) -> None:
        self.config = config
        self.counters = CfdpCounters()
        self._open: dict[TransactionId, _Transaction] = {}
        self._ended: dict[TransactionId, Metadata | None] = {}  # the oldest first
        self._octets = 0
        self._untold: dict[str, _Untold] = {}

    @property
    def open(self) -> int:
        """Transactions that have begun and not ended."""
        return len(self._open)

    @property
    def next_time_ns(self) -> int | None:
        """When `on_time` wants to be called, None where nothing is open."""
        return min((self._deadline_ns(one) for one in self._open.values()), default=None)

    def on_pdu(self, raw: bytes, now_ns: int) -> list[FileAction]:
        """Take one PDU; what is not a PDU for us is counted by reason and otherwise ignored: see `ignored`."""
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
        one = self._open.get(pdu.transaction)
        if one is None:
            one = self._open_transaction(pdu.transaction, now_ns, actions)
        one.last_ns = now_ns
        match pdu:
            case FileData():
                reason = self._on_file_data(one, pdu)
            case Metadata():
                reason = self._on_metadata(one, pdu)
            case EndOfFile():
                reason = self._on_eof(one, pdu)
        if reason:
            self._ignore(reason, pdu.transaction)
        if one.eof is not None and one.eof.condition != NO_ERROR:
            self._end(pdu.transaction, f"cancelled by the sender, condition {one.eof.condition}", actions)
        elif one.metadata is not None and one.whole():
            self._end(pdu.transaction, None, actions)
        return actions

    def on_time(self, now_ns: int) -> list[FileAction]:
        """End the transactions for which nothing came for too long."""
        actions: list[FileAction] = []
        for transaction, one in list(self._open.items()):
            if now_ns >= self._deadline_ns(one):
                self._end(transaction, self._verdict(one), actions)
        return actions

    def end_all(self) -> list[FileAction]:
        """End every open transaction: the ground closes down."""
        actions: list[FileAction] = []
        for transaction, one in list(self._open.items()):
            self._end(transaction, self._verdict(one), actions)
        return actions

    def ignored(self, now_ns: int) -> list[PdusIgnored]:
        """What was ignored since it was told last, as far as it is due; call it after `on_pdu` and now and then."""
        told: list[PdusIgnored] = []
        for reason, one in self._untold.items():
            if one.count and (one.due_ns is None or now_ns >= one.due_ns):
                told.append(PdusIgnored(reason, one.count, one.transaction, one.name))
                one.count, one.due_ns = 0, now_ns + _TELL_S * NS
        return told

    def _ignore(self, reason: str, transaction: TransactionId | None = None) -> None:
        if reason == LATE:
            self.counters.late += 1
        else:
            self.counters.refused[reason] += 1
        known = None
        if transaction is not None:
            known = self._open[transaction].metadata if transaction in self._open else self._ended.get(transaction)
        one = self._untold.setdefault(reason, _Untold())
        one.count += 1
        one.transaction, one.name = transaction, known.name if known is not None else ""

    def _renew(self, pdu: Pdu) -> bool:
        """Whether the PDU begins another file under the number of a transaction that has ended: that is forgotten."""
        before = self._ended[pdu.transaction]
        if not isinstance(pdu, Metadata) or before is None or pdu == before:
            return False
        del self._ended[pdu.transaction]
        self.counters.renewed += 1
        return True

    def _verdict(self, one: _Transaction) -> str | None:
        """Why the transaction, ended now, is incomplete; None where it is whole."""
        if one.whole():
            return None
        return "octets missing" if one.eof is not None else "no EOF"

    def _deadline_ns(self, one: _Transaction) -> int:
        wait_s = self.config.inactivity_s if one.eof is None else self.config.late_s
        return one.last_ns + int(wait_s * NS)

    def _open_transaction(self, transaction: TransactionId, now_ns: int, actions: list[FileAction]) -> _Transaction:
        if len(self._open) >= self.config.transactions:
            idlest = min(self._open, key=lambda name: self._open[name].last_ns)
            self._end(idlest, self._verdict(self._open[idlest]), actions)
        one = self._open[transaction] = _Transaction(now_ns)
        return one

    def _on_file_data(self, one: _Transaction, pdu: FileData) -> str:
        """Why the segment is refused, empty if it is not; the same below."""
        config = self.config
        end = pdu.offset + len(pdu.data)
        size = one.size()
        if end > config.file_octets or (size is not None and end > size):
            return "offset"
        if not pdu.data:
            return ""
        pieces = one.pieces
        new_octets = sum(high - low for low, high in pieces.gaps(pdu.offset, end))
        if not new_octets:
            # What came first stays: a repeated PDU says the same, a forged one must not replace it.
            self.counters.repeated += 1
            return ""
        if self._octets + new_octets > config.total_octets:
            return "memory"
        if len(pieces.starts) >= config.ranges and pdu.offset != pieces.end:
            return "ranges"
        pieces.add(pdu.offset, pdu.data)
        self._octets += new_octets
        self.counters.octets += len(pdu.data)
        return ""

    def _on_metadata(self, one: _Transaction, pdu: Metadata) -> str:
        if one.metadata is not None:
            if one.metadata != pdu:
                return "conflict"
            self.counters.repeated += 1
        elif pdu.octets > self.config.file_octets:
            return "offset"
        elif one.eof is not None and one.eof.octets != pdu.octets:
            return "conflict"
        else:
            one.metadata = pdu
        return ""

    def _on_eof(self, one: _Transaction, pdu: EndOfFile) -> str:
        if one.eof is not None:
            if one.eof != pdu:
                return "conflict"
            self.counters.repeated += 1
        elif pdu.octets > self.config.file_octets:
            return "offset"
        elif pdu.condition == NO_ERROR and one.metadata is not None and one.metadata.octets != pdu.octets:
            return "conflict"
        else:
            one.eof = pdu
        return ""

    def _end(self, transaction: TransactionId, reason: str | None, actions: list[FileAction]) -> None:
        """Deliver as whole (`reason` None, the checksum decides) or as incomplete, and forget but the number."""
        one = self._open.pop(transaction)
        self._octets -= one.pieces.octets
        if len(self._ended) == _ENDED_MAX:
            del self._ended[next(iter(self._ended))]
        self._ended[transaction] = one.metadata
        name = f"transaction-{transaction.source}-{transaction.number}"
        if one.metadata is not None and one.metadata.name:
            name = one.metadata.name
        size = one.size()
        if size is None:
            size = one.pieces.end
        pieces = one.pieces.cut(size)
        if reason is None:
            data = pieces[0][1] if pieces else b""
            reason = self._check(one, data)
            if reason is None:
                self.counters.files_received += 1
                actions.append(FileReceived(transaction, name, data))
                return
        missing = tuple(one.pieces.gaps(0, size))
        self.counters.files_incomplete += 1
        self.counters.octets_missing += sum(end - start for start, end in missing)
        actions.append(FileIncomplete(transaction, name, size, pieces, missing, reason))

    def _check(self, one: _Transaction, data: bytes) -> str | None:
        """What is wrong with a file of which no octet is missing; None where its checksum fits."""
        assert one.eof is not None
        # Without metadata the type is not known; ours is CRC-32.
        kind = CHECKSUM_CRC32 if one.metadata is None else one.metadata.checksum_type
        checksum = CHECKSUMS.get(kind)
        if checksum is None:
            return f"checksum type {kind} is not known, {', '.join(map(str, CHECKSUMS))} are"
        return None if checksum(data) == one.eof.checksum else "checksum does not fit"
