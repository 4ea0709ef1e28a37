"""A desk of files and a node at the other end, over a link that loses, in a time that a test moves on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from flight.core.nanoseconds import NS
from flight.link.cfdp.header import Mode
from flight.link.cfdp.numbers import TransactionNumbers
from flight.link.cfdp.transactions.entity_config import EntityConfig
from ground.files.file_desk import FileDesk
from ground.files.kept_files import Result
from ground.files.transfer import Transfer, transaction_text
from ground.files.transfer_folder import TransferFolder
from ground.link.ground_link import GroundLink
from ground.products.product_store import ProductStore
from ground.telemetry.archive_rows import ProductRow
from tests.file_ends import FileEnd

QUICK = EntityConfig(entity=1, ack_s=2.0, nak_s=2.0, check_s=1.0, inactivity_s=30.0, rest_s=20.0)
TURN_NS = NS // 10


class Way:
    """What a desk asks of the link: how much fits a frame, and whether there is a way up."""

    refusal = ""
    room_octets = 262


class DeskRig:
    """`loses(way)` says of each PDU, "up" or "down", whether it is lost. `start` begins the ground's next life."""

    def __init__(
        self, folder: Path, loses: Callable[[str], bool] = lambda _: False, octets_max: int = 1 << 40, *,
        durable: bool = False,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.now_ns = 0
        self.loses = loses
        self.node = FileEnd(EntityConfig(entity=2, ack_s=2.0, nak_s=2.0, check_s=1.0, pdu_octets=256, rest_s=20.0))
        self.results: list[Result] = []
        self.pdus = {"up": 0, "down": 0}
        self.in_contact = False
        self._octets_max = octets_max
        self._lives = 0
        self._durable = durable
        self.start()

    def start(self) -> None:
        """Begin another life of the ground; whatever the one before had not stored is lost, as by a kill."""
        self._lives += 1
        self.desk = FileDesk(
            QUICK, 2, TransactionNumbers(self._lives, 0), session=cast("GroundLink", Way()),
            folder=TransferFolder(self.folder / "transfers", durable=self._durable),
            products=ProductStore(self.folder / "products", octets_max=self._octets_max), tai_ns=lambda now_ns: now_ns,
        )  # fmt: skip
        if self.in_contact:
            self.contact(True)

    def contact(self, in_contact: bool) -> None:
        """Begin or end a contact."""
        self.in_contact = in_contact
        self.results += self.desk.set_contact(in_contact, self.now_ns)
        self.node.set_contact(in_contact, self.now_ns)

    def turn(self, pdus: int = 10) -> None:
        """Let a tenth of a second pass, in which each end sends at most so many PDUs."""
        self.now_ns += TURN_NS
        self.results += self.desk.on_time(self.now_ns)
        self.node.on_time(self.now_ns)
        self.node.store(self.now_ns)
        for _ in range(pdus):
            up, down = self.desk.next_pdu(self.now_ns), self.node.entity.next_pdu(self.now_ns)
            if up is not None:
                self.pdus["up"] += 1
                if not self.loses("up"):
                    self.node.on_pdu(up, self.now_ns)
            if down is not None:
                self.pdus["down"] += 1
                if not self.loses("down"):
                    self.results += self.desk.on_pdu(down, self.now_ns)

    def run(self, s: float, pdus: int = 10) -> None:
        """Let this time pass."""
        for _ in range(round(s * NS / TURN_NS)):
            self.turn(pdus)

    def put(self, name: str, content: bytes, mode: Mode = Mode.ACKNOWLEDGED) -> str:
        """Send octets up; return the transaction."""
        key = self.desk.folder.keep(content)
        digest = hashlib.sha256(content).hexdigest()
        return transaction_text(
            self.desk.put(key, name=name, local="", octets=len(content), digest=digest, mode=mode, now_ns=self.now_ns)
        )

    def transfer(self, transaction: str) -> Transfer:
        """Return how a transfer is, which must be known."""
        transfer = self.desk.transfer(transaction, self.now_ns)
        assert transfer is not None
        return transfer

    @property
    def rows(self) -> list[ProductRow]:
        """The rows of files that came, in order."""
        return [result for result in self.results if isinstance(result, ProductRow)]

    @property
    def faults(self) -> list[str]:
        """What kept files from being stored."""
        return [str(result) for result in self.results if not isinstance(result, ProductRow)]

    def products(self) -> dict[str, bytes]:
        """Return name and content of each product."""
        return {path.name: path.read_bytes() for path in (self.folder / "products").iterdir()}

    def working(self) -> list[str]:
        """Return the names in the folder of transfers, without the list of those that ended."""
        names = sorted(path.name for path in (self.folder / "transfers").iterdir())
        return [name for name in names if name != "ended.record"]
