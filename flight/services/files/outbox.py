"""Products on their way to the ground: a bounded outbox, sent file by file as CFDP class 1 (CCSDS 727.0-B-5).

put --> waiting --the link has room--> in transfer, PDU by PDU --last PDU handed to the link--> forgotten
"""

# Class 1 has no acknowledgement: a file is sent once. Files are held in memory alone and are lost with the power, and a
# job's stored request ends when its product is made, not when that has come down (ADR 0007): ground has to ask again
# for what is lost. A full outbox refuses at once, with an event, instead of dropping a file that it has taken.
#
# A transaction number is made of the boot count and a random epoch, since one of the two may fail: numbers of another
# boot must never look like these to a receiver that remembers them (ADR 0018).

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from flight.contract.app import EventSink, Sample
from flight.contract.dictionary import Declarations, EventDefinition
from flight.contract.fields import Field
from flight.contract.service import Sampler, Service
from flight.core.config import key
from flight.link.cfdp.class1_pdu import CHECKSUM_CRC32, CHECKSUM_MODULAR
from flight.link.cfdp.numbers import TransactionNumbers
from flight.link.cfdp.transfers import CfdpSender
from flight.link.space_packet import SpacePacket
from flight.services.reporting.telemetry import SEQUENCE_MODULUS

# Of CFDP, by the name that a mission file gives them. "null" is left out: a file that is wrong must not pass.
CHECKSUM_TYPES = {"crc-32": CHECKSUM_CRC32, "modular": CHECKSUM_MODULAR}


@dataclass(frozen=True, slots=True)
class OutboxConfig:
    """Mission section [outbox]."""

    capacity_octets: int = key(8_000_000, minimum=100_000, maximum=4_000_000_000, text="files held at most")
    files: int = key(256, minimum=1, maximum=65536, text="number of files held at most")
    entity: int = key(2, minimum=0, maximum=65535, text="CFDP entity of the node")
    ground_entity: int = key(1, minimum=0, maximum=65535, text="CFDP entity of the ground")
    checksum: str = key(
        "crc-32",
        choices=tuple(CHECKSUM_TYPES),
        text='checksum over each file; our ground knows both, some others only "modular", which notices less',
    )

    def faults(self) -> list[tuple[str, str]]:
        """Return a fault if both ends have the same CFDP entity."""
        if self.entity == self.ground_entity:
            return [("ground_entity", f"is {self.ground_entity} like entity, the two ends should differ")]
        return []


def declare(apid: int) -> Declarations:
    """Return the event of a full outbox."""
    return Declarations(
        events=(
            EventDefinition(
                apid, 50, "outbox_full", "low", "{name} of {octets} octets refused, {waiting} wait",
                (Field("name", "str"), Field("octets", "u32", "octet"), Field("waiting", "u32", "octet")),
            ),
        )
    )  # fmt: skip


class Outbox(Service):
    """Files in order of arrival. Their octets count until the last PDU was handed to the link.

    segment_octets: file octets in one PDU. The transaction numbers are made of boot_count and of boot_epoch, for a
    count that comes again: numbers of another boot must not look like these to the receiver.
    """

    def __init__(
        self, config: OutboxConfig, apid: int, segment_octets: int, boot_count: int, events: EventSink,
        boot_epoch: int = 0,
    ) -> None:  # fmt: skip
        self.sent = 0
        self.sent_octets = 0
        self.refused = 0
        self._config = config
        self._apid = apid
        self._events = events
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._waiting_octets = 0
        self._sender: CfdpSender | None = None
        self._segment_octets = segment_octets
        self._numbers = TransactionNumbers(boot_count, boot_epoch)
        self._sequence = 0

    @property
    def waiting(self) -> int:
        """Files not wholly handed to the link yet, the one in transfer included."""
        return len(self._waiting) + (self._sender is not None)

    @property
    def begun(self) -> int:
        """Files of which the link has at least the first PDU."""
        return self.sent + (self._sender is not None)

    @property
    def backlog_octets(self) -> int:
        """File octets that wait or are in transfer."""
        return self._waiting_octets + (self._sender.remaining_octets if self._sender else 0)

    @property
    def room_octets(self) -> int:
        """File octets that `put` would take now."""
        if len(self._waiting) >= self._config.files:
            return 0
        return self._config.capacity_octets - self.backlog_octets

    def samplers(self) -> Iterable[Sampler]:
        """Return the sampler of the outbox's fields of the structure "link"."""
        return (Sampler("link", self.sample),)

    def sample(self) -> Sample:
        """Return what the structure "link" says of files on their way down."""
        return {"outbox_octets": self.backlog_octets, "files_sent": self.sent}

    def put(self, name: str, octets: bytes) -> bool:
        """Queue a file. Return False, with an event, if the outbox is full."""
        if len(octets) > self.room_octets:
            self.refused += 1
            self._events.emit("outbox_full", name, len(octets), self.backlog_octets)
            return False
        self._waiting.append((name, octets))
        self._waiting_octets += len(octets)
        return True

    def take(self) -> bytes | None:
        """Take the next packet for the products channel, or return None if nothing waits."""
        sender = self._sender or self._start()
        if sender is None:
            return None
        pdu = sender.next_pdu()
        assert pdu is not None, "a transfer that is done is forgotten with its last PDU"
        # A file counts as sent when the link has all of it. Whether it was heard, only the ground knows.
        self._sender = None if sender.done else sender
        self.sent += sender.done
        packet = SpacePacket(self._apid, self._sequence, pdu).encode()
        self._sequence = (self._sequence + 1) % SEQUENCE_MODULUS
        return packet

    def _start(self) -> CfdpSender | None:
        """Begin a transaction for the file that has waited longest. Return None if none waits."""
        if not self._waiting:
            return None
        name, octets = self._waiting.popleft()
        self._waiting_octets -= len(octets)
        self.sent_octets += len(octets)
        config = self._config
        return CfdpSender(
            config.entity, config.ground_entity, self._numbers.take(), name, octets, self._segment_octets,
            checksum_type=CHECKSUM_TYPES[config.checksum],
        )  # fmt: skip
