"""The ground's filestore, as its CFDP entity sees it: working files of what comes down, copies of what goes up."""

# What a peer calls a file is not a name here: octets go into the working file of their transaction, and a source is
# found by the key in front of the name that our own request gave it (`source_name`).
#
# A file is admitted if the products have room for it, by what its sender claims, and the disk has, by what it lacks
# still. The disk is looked at again every `LOOK_OCTETS` that come: others write there too, and octets may come of a
# file whose metadata were lost.

from __future__ import annotations

import re
from dataclasses import dataclass

from flight.link.cfdp.conditions import ConditionCode
from flight.link.cfdp.header import TransactionId
from flight.link.cfdp.transactions.filestore import FilestoreRefusal
from ground.files.transfer_folder import TransferFolder
from ground.files.working_file import FolderFault, WorkingFile
from ground.products.product_store import ProductStore

LOOK_OCTETS = 8 << 20
NAME_OCTETS_MAX = 255
_KEY = re.compile(r"up-\d+")
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]")


def arriving_key(transaction: TransactionId) -> str:
    """Return the key of a transfer that comes down."""
    return f"down-{transaction.source}-{transaction.number}"


def source_name(key: str, local: str) -> str:
    """Return the name under which a copy goes up: its key, and for people the name that the file had here."""
    return f"{key}-{_UNSAFE.sub('_', local.rpartition('/')[2])}"[:NAME_OCTETS_MAX]


class SourceCopyFile:
    """A copy that goes up (flight.link.cfdp.transactions.filestore.SourceFile)."""

    def __init__(self, working: WorkingFile) -> None:
        self.working = working
        self.octets = working.octets

    def read(self, at: int, octets: int) -> bytes:
        """Return exactly these octets. Raises FilestoreRefusal."""
        try:
            data = self.working.read(at, octets)
        except FolderFault as fault:
            raise FilestoreRefusal(str(fault)) from None
        if len(data) != octets:
            raise FilestoreRefusal(f"{self.working.path} is shorter than it was", ConditionCode.FILE_SIZE_ERROR)
        return data


@dataclass(slots=True)
class ArrivingFile:
    """A file that comes down (flight.link.cfdp.transactions.filestore.DestinationFile).

    refused: why it is not taken, "" if it is. began_ns: TAI. kept: the name under which it is among the products, ""
    as long as it is not; `digest` is its SHA-256 then. mode: the class of CFDP, 0 if it is not known.
    is_cancelled: an operator has given it up. is_told: that it is kept may be told, and is stored.
    """

    transaction: TransactionId
    key: str
    working: WorkingFile
    folder: TransferFolder
    began_ns: int
    name: str = ""
    octets: int = 0
    refused: str = ""
    kept: str = ""
    digest: str = ""
    is_cancelled: bool = False
    is_told: bool = False
    mode: int = 0
    _unlooked: int = LOOK_OCTETS

    def write(self, at: int, data: bytes | memoryview) -> None:
        """Put octets at their place. Raises FilestoreRefusal."""
        self._unlooked += len(data)
        if self._unlooked >= LOOK_OCTETS:
            self._unlooked = 0
            if not self.folder.free_octets:
                self._refuse(f"{self.folder.path} has no more room on its disk")
        try:
            self.working.write(at, data)
        except FolderFault as fault:
            self._refuse(str(fault))

    def _refuse(self, text: str) -> None:
        self._unlooked = LOOK_OCTETS
        self.refused = text
        raise FilestoreRefusal(text)

    def as_facts(self) -> dict[str, object]:
        """Return what is stored of it beside the entity's record."""
        return {"began_ns": self.began_ns, "kept": self.kept if self.is_told else "", "sha256": self.digest}


class GroundFilestore:
    """See the head of the file (flight.link.cfdp.transactions.filestore.Filestore). `arriving` has all that comes."""

    def __init__(self, folder: TransferFolder, products: ProductStore) -> None:
        self.arriving: dict[TransactionId, ArrivingFile] = {}
        self.sources: dict[str, SourceCopyFile] = {}
        self.tai_ns = 0  # now; its owner sets it before each call of the entity
        self._folder = folder
        self._products = products

    def arrival(self, transaction: TransactionId) -> ArrivingFile:
        """Return the file of this transaction, which begins if it is not there."""
        arriving = self.arriving.get(transaction)
        if arriving is None:
            key = arriving_key(transaction)
            arriving = ArrivingFile(transaction, key, self._folder.working(key), self._folder, self.tai_ns)
            self.arriving[transaction] = arriving
        return arriving

    def leave(self, transaction: TransactionId) -> ArrivingFile | None:
        """Take the file of a transaction that has ended out, with its room; return it, None if there was none."""
        arriving = self.arriving.pop(transaction, None)
        if arriving is not None:
            arriving.working.close()
            self._products.release(arriving.key)
        return arriving

    def close_source(self, key: str) -> None:
        """Give a copy's descriptor back: its transfer has ended."""
        source = self.sources.pop(key, None)
        if source is not None:
            source.working.close()

    # What the entity asks

    def open_source(self, name: str) -> SourceCopyFile:
        """Open the copy that a put request or a stored record names. Raises FilestoreRefusal."""
        key = _KEY.match(name)
        if key is None or not self._folder.has_octets(key[0]):
            raise FilestoreRefusal(f"there is no copy of {name} any more")
        source = self.sources.get(key[0])
        if source is None:
            source = self.sources[key[0]] = SourceCopyFile(self._folder.working(key[0]))
        return source

    def open_destination(self, transaction: TransactionId) -> ArrivingFile:
        """Open the working file of this transaction."""
        return self.arrival(transaction)

    def admit(self, transaction: TransactionId, name: str, octets: int) -> None:
        """Take the name and the size that the metadata state. Raises FilestoreRefusal if there is no room."""
        arriving = self.arrival(transaction)
        arriving.name, arriving.octets = name, octets
        if arriving.kept:
            return  # an earlier ground has it already, and only the peer's last word is awaited
        if not self._products.reserve(arriving.key, name or "a file without a name", octets):
            arriving.refused = "the products have no room for it"
            raise FilestoreRefusal(arriving.refused)
        under_way = [file for file in self.arriving.values() if not file.kept]
        lacking = sum(max(0, file.octets - file.working.octets) for file in under_way)
        if lacking > self._folder.free_octets:
            self._products.release(arriving.key)
            arriving.refused = (
                f"files under way lack {lacking:,} octets, with it, and {self._folder.path} has room for "
                f"{self._folder.free_octets:,} more"
            )
            raise FilestoreRefusal(arriving.refused)
