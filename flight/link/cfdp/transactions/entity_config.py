"""What an entity is told by its mission: ids, timers, limits, bounds, and what it does about faults."""

# Every time here is a time in contact (contact_clock.py): a limit never runs out because the peer is below the horizon.
#
# The three faults that say only "nothing came" (acknowledgements, requested octets, anything at all) suspend by
# default. The transaction then rests, and goes on when the next contact begins. After `rests_max` rests without
# progress it is cancelled, whatever the handler says, so that every transaction ends.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from flight.link.cfdp.checksums import CRC32
from flight.link.cfdp.conditions import ConditionCode, FaultHandler

TIMER_FAULTS = frozenset(
    {
        ConditionCode.ACK_LIMIT_REACHED,
        ConditionCode.NAK_LIMIT_REACHED,
        ConditionCode.INACTIVITY_DETECTED,
    }
)
PDU_OCTETS_MIN = 64  # a NAK with one request has room, whatever the widths of its ids
NAK_MODES = ("deferred", "immediate", "prompted")


@dataclass(frozen=True, slots=True)
class EntityConfig:
    """One entity. Counts are at least 1, times above 0; 0 means off if the text says so.

    entity: own id; PDUs for others are refused.
    pdu_octets: the largest PDU that fits into one packet of the link, PDU_OCTETS_MIN or more.
    crc: whether own transactions have a CRC-16 in each PDU.
    checksum_type: of own transactions, unless the request names another: 0, 2, 3 or 15.
    nak: when what is missing is asked for before the EOF: "immediate" at each gap, "deferred" never, "prompted" only
    when the sender asks. After the EOF all three ask until nothing is missing.
    transactions: open ones, in each direction.
    ranges: stretches of one file, at most. ended: transactions remembered after their end.
    file_octets: the longest file that is taken.
    ack_s, ack_limit: EOF and Finished are repeated so long after each other, so often.
    nak_s, nak_limit: what is missing is asked for again after so long without any of it, so often.
    nak_pdus: NAKs in a row; what they have no room for is asked for once the first part is here.
    inactivity_s: silence of the peer that is a fault.
    check_s, check_limit: class 1: how long and how often missing octets, or with closure the Finished, are waited for.
    keep_alive_s: a receiver tells its progress this often until the EOF; 0: only if asked.
    keep_alive_octets: how far a receiver may lie behind; 0: any distance.
    rest_s: after so long in one contact a resting transaction tries again, not only in the next contact.
    rests_max: rests without progress before a transaction is cancelled.
    resend_factor: a sender gives up once it was asked for so many times the octets of the file.
    rewind_octets: what a class 1 sender repeats after a contact ended: it may have been lost in the modem.
    handlers: what is done about a fault, if not what the essay above says; others are cancelled.
    """

    entity: int = 1
    pdu_octets: int = 1024
    entity_octets: int = 2
    number_octets: int = 8
    crc: bool = False
    checksum_type: int = CRC32
    nak: str = "deferred"
    transactions: int = 64
    ranges: int = 4096
    ended: int = 256
    file_octets: int = 1 << 40
    ack_s: float = 10.0
    ack_limit: int = 6
    nak_s: float = 10.0
    nak_limit: int = 6
    nak_pdus: int = 8
    inactivity_s: float = 300.0
    check_s: float = 5.0
    check_limit: int = 3
    keep_alive_s: float = 0.0
    keep_alive_octets: int = 0
    rest_s: float = 300.0
    rests_max: int = 10
    resend_factor: int = 64
    rewind_octets: int = 65536
    handlers: Mapping[ConditionCode, FaultHandler] = field(default_factory=lambda: MappingProxyType({}))

    def handler(self, condition: ConditionCode) -> FaultHandler:
        """Return what is done about a fault unless the transaction's metadata say otherwise."""
        default = FaultHandler.SUSPEND if condition in TIMER_FAULTS else FaultHandler.CANCEL
        return self.handlers.get(condition, default)
