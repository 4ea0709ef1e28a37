"""Our entity as one end, over a plain folder, with the owner's part done as simply as it can be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flight.link.cfdp.checksums import CHECKSUMS
from flight.link.cfdp.conditions import FileStatus
from flight.link.cfdp.header import Mode, TransactionId
from flight.link.cfdp.numbers import TransactionNumbers
from flight.link.cfdp.transactions.entity import Entity
from flight.link.cfdp.transactions.entity_config import EntityConfig
from flight.link.cfdp.transactions.indications import (
    Faulted,
    FileComplete,
    Indication,
    StoreRecord,
    TransactionFinished,
)
from flight.link.cfdp.transactions.requests import PutRequest, Refused, Retained, Role
from tests.peers.endings import Ending
from tests.peers.plain_files import BLOCK_OCTETS, PlainFiles


class OurEnd:
    """Our entity over `folder`. `finished` has how its transactions ended, `endings` the same in the peers' words."""

    def __init__(
        self, folder: Path, config: EntityConfig, *, first_number: int = 1, files: PlainFiles | None = None
    ) -> None:
        self.folder = folder
        self.files = files or PlainFiles(folder)
        self.entity = Entity(config, self.files, TransactionNumbers(0, first_number))
        self.finished: list[TransactionFinished] = []
        self.faults: list[Faulted] = []
        self.endings: list[Ending] = []
        self.transactions: list[TransactionId] = []
        self._in_contact = False

    def put(
        self, source_name: str, name: str, destination: int, *, acknowledged: bool = True, closure: bool = False,
        checksum: int | None = None,
    ) -> TransactionId:  # fmt: skip
        """Begin to send a file."""
        mode = Mode.ACKNOWLEDGED if acknowledged else Mode.UNACKNOWLEDGED
        transaction = self.entity.put(
            PutRequest(destination, source_name, name, mode, closure, checksum_type=checksum), 0
        )
        self.transactions.append(transaction)
        return transaction

    def cancel(self, now_ns: int = 0) -> None:
        """Cancel every transaction that is open."""
        for status in self.entity.transactions():
            self.told(self.entity.cancel(status.transaction, now_ns), now_ns)

    @property
    def idle(self) -> bool:
        """No transaction is open."""
        return not self.entity.transactions()

    def take(self, now_ns: int) -> bytes | None:
        """Return the next PDU."""
        self._begin(now_ns)
        return self.entity.next_pdu(now_ns)

    def give(self, raw: bytes, now_ns: int) -> None:
        """Take in a PDU."""
        self._begin(now_ns)
        self.told(self.entity.on_pdu(raw, now_ns), now_ns)

    def on_time(self, now_ns: int) -> None:
        """Do what is due."""
        self._begin(now_ns)
        self.told(self.entity.on_time(now_ns), now_ns)

    def _begin(self, now_ns: int) -> None:
        if not self._in_contact:
            self._in_contact = True
            self.told(self.entity.set_contact(True, now_ns), now_ns)

    def told(self, indications: Sequence[Indication], now_ns: int) -> None:
        """Do an owner's part about what the entity says."""
        for indication in indications:
            match indication:
                case StoreRecord(transaction):
                    self.entity.records()  # no reboot comes here, so nobody keeps them
                    self.told(self.entity.stored(transaction, now_ns), now_ns)
                case FileComplete():
                    self._complete(indication, now_ns)
                case Faulted():
                    self.faults.append(indication)
                case TransactionFinished():
                    self._ended(indication)
                case _:
                    pass

    def _complete(self, complete: FileComplete, now_ns: int) -> None:
        kind = CHECKSUMS[complete.checksum_type or 0]
        path, value, at = self.files.working(complete.transaction), 0, 0
        if complete.has_file and complete.octets:
            with path.open("rb") as file:
                while block := file.read(BLOCK_OCTETS):
                    value = kind.add(block, value, at)
                    at += len(block)
        if complete.has_file and value != complete.checksum:
            self.told(self.entity.settle(complete.transaction, Refused("checksum mismatch"), now_ns), now_ns)
            return
        if complete.has_file:
            self.files.keep(complete.transaction, complete.name)
        self.told(self.entity.settle(complete.transaction, Retained(), now_ns), now_ns)

    def _ended(self, ending: TransactionFinished) -> None:
        self.finished.append(ending)
        if ending.role is Role.RECEIVER and ending.status is not FileStatus.RETAINED:
            self.files.drop(ending.transaction)
        role = "source" if ending.role is Role.SENDER else "destination"
        key = ending.transaction.source, ending.transaction.number
        self.endings.append(Ending(role, key, int(ending.condition), int(ending.delivery), int(ending.status)))
