"""The other end of file transfers: a CFDP entity over files in memory, and PDUs of one file made by hand."""

from __future__ import annotations

from dataclasses import dataclass, field

from flight.link.cfdp.checksums import CHECKSUMS, CRC32
from flight.link.cfdp.conditions import ConditionCode, DeliveryCode, FileStatus
from flight.link.cfdp.directives import EndOfFile, Metadata
from flight.link.cfdp.file_data import FileData
from flight.link.cfdp.header import Header, Mode, TransactionId
from flight.link.cfdp.messages import OriginatingTransactionId, ProxyPutRequest, ProxyPutResponse, decode_message
from flight.link.cfdp.numbers import TransactionNumbers
from flight.link.cfdp.transactions.entity import Entity
from flight.link.cfdp.transactions.entity_config import EntityConfig
from flight.link.cfdp.transactions.filestore import FilestoreRefusal
from flight.link.cfdp.transactions.indications import (
    FileComplete,
    Indication,
    MetadataReceived,
    StoreRecord,
    TransactionFinished,
)
from flight.link.cfdp.transactions.requests import PutRefused, PutRequest, Refused, Retained

NODE, GROUND = 2, 1


def pdus_of(name: str, data: bytes, number: int, *, segment_octets: int = 500, mode: Mode = Mode.UNACKNOWLEDGED,
            checksum: int | None = None) -> list[bytes]:  # fmt: skip
    """Return the PDUs of a file that the node sends to the ground, in order. `checksum`: another one than is right."""
    header = Header(TransactionId(NODE, number), GROUND, mode)
    pdus = [Metadata(header, len(data), CRC32, name, name).encode()]
    for at in range(0, len(data), segment_octets):
        pdus.append(FileData(header, at, data[at : at + segment_octets]).encode())
    value = CHECKSUMS[CRC32].of(data) if checksum is None else checksum
    pdus.append(EndOfFile(header, ConditionCode.NO_ERROR, value, len(data)).encode())
    return pdus


@dataclass(slots=True)
class MemoryFile:
    """A file in memory, for both ways."""

    content: bytearray = field(default_factory=bytearray)

    @property
    def octets(self) -> int:
        """How long it is."""
        return len(self.content)

    def read(self, at: int, octets: int) -> bytes:
        """Return octets of it."""
        return bytes(self.content[at : at + octets])

    def write(self, at: int, data: bytes | memoryview) -> None:
        """Put octets at their place."""
        if len(self.content) < at:
            self.content.extend(bytes(at - len(self.content)))
        self.content[at : at + len(data)] = data


class FileEnd:
    """An entity that keeps whatever comes, and sends what it has: a node as far as files go.

    files: (name, content) of those that came whole, in order. finished: how transactions ended. refuses: names of files
    that it does not take. Files that are asked for by `get`-like requests are in `has`, by name.
    """

    def __init__(self, config: EntityConfig | None = None, number: int = 1) -> None:
        self.files: list[tuple[str, bytes]] = []
        self.finished: list[TransactionFinished] = []
        self.seen: list[Indication] = []
        self.refuses: set[str] = set()
        self.has: dict[str, bytes] = {}
        self._now_ns = 0
        self._arriving: dict[TransactionId, MemoryFile] = {}
        self.entity = Entity(config or EntityConfig(entity=NODE), self, TransactionNumbers(number, 0))

    # The port

    def open_source(self, name: str) -> MemoryFile:
        """Open a file that it has."""
        if name not in self.has:
            raise FilestoreRefusal(f"no file {name}")
        return MemoryFile(bytearray(self.has[name]))

    def open_destination(self, transaction: TransactionId) -> MemoryFile:
        """Open a file that comes."""
        return self._arriving.setdefault(transaction, MemoryFile())

    def admit(self, transaction: TransactionId, name: str, octets: int) -> None:  # noqa: ARG002 - of the port
        """Take any file but those in `refuses`."""
        if name in self.refuses:
            raise FilestoreRefusal(f"{name} is not wanted")

    # Its owner

    def send(self, name: str, data: bytes, now_ns: int, mode: Mode = Mode.ACKNOWLEDGED) -> TransactionId:
        """Begin to send a file to the ground."""
        self.has[name] = data
        transaction = self.entity.put(PutRequest(GROUND, name, name, mode), now_ns)
        self.store(now_ns)
        return transaction

    def on_pdu(self, raw: bytes, now_ns: int) -> None:
        """Take a PDU and do what follows from it."""
        self.take(self.entity.on_pdu(raw, now_ns), now_ns)

    def on_time(self, now_ns: int) -> None:
        """Let timers run out."""
        self.take(self.entity.on_time(now_ns), now_ns)

    def set_contact(self, in_contact: bool, now_ns: int) -> None:
        """Take in that a contact begins or ends."""
        self.take(self.entity.set_contact(in_contact, now_ns), now_ns)

    def store(self, now_ns: int) -> None:
        """Store what has changed, which takes no time here."""
        for transaction, _ in self.entity.records():
            self.take(self.entity.stored(transaction, now_ns), now_ns)

    def take(self, indications: list[Indication], now_ns: int) -> None:
        """Do what indications ask for."""
        self._now_ns = now_ns
        for indication in indications:
            self.seen.append(indication)
            match indication:
                case StoreRecord(transaction):
                    self.entity.records()
                    self.take(self.entity.stored(transaction, now_ns), now_ns)
                case FileComplete():
                    self.take(self.entity.settle(indication.transaction, self._answer(indication), now_ns), now_ns)
                case TransactionFinished():
                    self.finished.append(indication)
                case MetadataReceived() | _:
                    pass

    def _serve(self, complete: FileComplete) -> None:
        """Send the file that a proxy put request asks for, or say that there is none."""
        for message in complete.messages:
            asked = decode_message(message)
            if isinstance(asked, ProxyPutRequest):
                origin = OriginatingTransactionId(complete.transaction).encode()
                try:
                    request = PutRequest(asked.destination, asked.source_name, asked.name, options=(origin,))
                    self.entity.put(request, self._now_ns)
                except PutRefused:
                    code, status = ConditionCode.FILESTORE_REJECTION, FileStatus.REJECTED
                    said = ProxyPutResponse(code, DeliveryCode.INCOMPLETE, status).encode()
                    self.entity.put(PutRequest(asked.destination, "", "", options=(said, origin)), self._now_ns)

    def _answer(self, complete: FileComplete) -> Retained | Refused:
        if not complete.has_file:
            self._serve(complete)
            return Retained()
        content = bytes(self._arriving.get(complete.transaction, MemoryFile()).content)
        kind = CRC32 if complete.checksum_type is None else complete.checksum_type
        if CHECKSUMS[kind].of(content) != complete.checksum:
            return Refused("checksum mismatch")
        self.files.append((complete.name, content))
        return Retained()
