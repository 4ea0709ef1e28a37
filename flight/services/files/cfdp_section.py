"""The mission section [cfdp]: who the two ends are, timers and limits of the node's entity (CCSDS 727.0-B-5)."""

# All times count in contact alone: a limit never runs out because the ground is below the horizon (ADR 0042). So the
# defaults need not know how long the gap between two passes is.
#
# The null checksum is left out on purpose: a file that is wrong must not pass as whole. What the ground sends with it
# is taken, since that is for the ground to decide.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flight.core.config import key, suggestion
from flight.link.cfdp.checksums import CRC32, CRC32C, MODULAR
from flight.link.cfdp.conditions import ConditionCode, FaultHandler
from flight.link.cfdp.transactions.entity_config import NAK_MODES, EntityConfig

# By the name that a mission file gives them.
_ONE_OCTET_MAX = 0xFF
CHECKSUM_TYPES = {"crc-32": CRC32, "crc-32c": CRC32C, "modular": MODULAR}
_HANDLERS = {handler.name.lower(): handler for handler in FaultHandler}
# Not faults: what a user asked for, and nothing at all.
_NO_FAULTS = (
    ConditionCode.NO_ERROR, ConditionCode.SUSPEND_REQUEST_RECEIVED, ConditionCode.CANCEL_REQUEST_RECEIVED
)  # fmt: skip
_CONDITIONS = {code.name.lower(): code for code in ConditionCode if code not in _NO_FAULTS}


@dataclass(frozen=True, slots=True)
class CfdpConfig:
    """Mission section [cfdp]."""

    entity: int = key(2, minimum=0, maximum=65535, text="CFDP entity of the node")
    ground_entity: int = key(1, minimum=0, maximum=65535, text="CFDP entity of the ground")
    checksum: str = key(
        "crc-32",
        choices=tuple(CHECKSUM_TYPES),
        text='checksum over each file; our ground knows all, some others only "modular", which notices less',
    )
    crc: bool = key(
        False,
        text="each PDU has a CRC-16 of its own; worth it on a link in clear, "
        "which does not show that 256 frames in a row were lost",
    )
    nak: str = key(
        "deferred",
        choices=NAK_MODES,
        text="when missing octets of a file are asked for before its end: `immediate` at each gap, `deferred` never, "
        "`prompted` when the sender asks",
    )
    transactions: int = key(64, minimum=2, maximum=1024, text="transactions open at a time, in each direction")
    ranges: int = key(4096, minimum=16, maximum=65536, text="stretches of one file that do not touch, at most")
    ended: int = key(256, minimum=16, maximum=4096, text="transactions remembered after their end")
    file_octets: int = key(1 << 40, minimum=1024, maximum=1 << 50, text="longest file that is taken")
    ack_s: float = key(
        10.0, minimum=0.5, maximum=36000, text="after so long without an answer EOF and Finished go again"
    )
    ack_limit: int = key(6, minimum=1, maximum=255, text="how often")
    nak_s: float = key(10.0, minimum=0.5, maximum=36000, text="missing octets are asked for again after so long")
    nak_limit: int = key(6, minimum=1, maximum=255, text="how often without any of them coming")
    inactivity_s: float = key(300.0, minimum=5, maximum=360_000, text="silence of the other end that is a fault")
    check_s: float = key(5.0, minimum=0.5, maximum=36000, text="class 1: how long missing octets are waited for")
    check_limit: int = key(3, minimum=1, maximum=255, text="class 1: how often")
    keep_alive_s: float = key(
        0.0, minimum=0, maximum=36000, text="a receiver tells its progress this often; 0: if asked"
    )
    keep_alive_octets: int = key(
        0, minimum=0, maximum=1 << 40, text="how far a receiver may lie behind; 0: any distance"
    )
    rest_s: float = key(
        300.0, minimum=1, maximum=360_000, text="in one contact a transaction at rest tries again after"
    )
    rests_max: int = key(10, minimum=1, maximum=255, text="rests without progress before a transaction is cancelled")
    rewind_octets: int = key(
        32_768, minimum=0, maximum=1 << 30, text="class 1: repeated after a contact, lest the modem still had it"
    )
    record_s: float = key(
        5.0, minimum=0.5, maximum=3600, text="progress is stored this often; a loss of power costs no more"
    )
    handlers: Mapping[str, str] = key(
        {}, text="by condition: `cancel`, `suspend`, `ignore` or `abandon`, if not the default"
    )

    def faults(self) -> list[tuple[str, str]]:
        """Return what contradicts: two ends of one number, handlers of faults that do not exist."""
        found = []
        if self.entity == self.ground_entity:
            found.append(("ground_entity", f"is {self.ground_entity} like entity, the two ends should differ"))
        for condition, handler in self.handlers.items():
            if condition not in _CONDITIONS:
                found.append(("handlers", f"{condition!r} is not a fault, {suggestion(condition, _CONDITIONS)}"))
            if handler not in _HANDLERS:
                found.append(("handlers", f"{condition} = {handler!r}, should be one of {', '.join(_HANDLERS)}"))
        return found

    def entity_config(self, pdu_octets: int) -> EntityConfig:
        """Return the node's entity. pdu_octets: what one packet of the downlink carries."""
        # Two octets less per PDU, if both ids fit: that is two in a thousand of the downlink.
        small = max(self.entity, self.ground_entity) <= _ONE_OCTET_MAX
        return EntityConfig(
            entity=self.entity,
            pdu_octets=pdu_octets,
            entity_octets=1 if small else 2,
            crc=self.crc,
            checksum_type=CHECKSUM_TYPES[self.checksum],
            nak=self.nak,
            transactions=self.transactions,
            ranges=self.ranges,
            ended=self.ended,
            file_octets=self.file_octets,
            ack_s=self.ack_s,
            ack_limit=self.ack_limit,
            nak_s=self.nak_s,
            nak_limit=self.nak_limit,
            inactivity_s=self.inactivity_s,
            check_s=self.check_s,
            check_limit=self.check_limit,
            keep_alive_s=self.keep_alive_s,
            keep_alive_octets=self.keep_alive_octets,
            rest_s=self.rest_s,
            rests_max=self.rests_max,
            rewind_octets=self.rewind_octets,
            handlers={_CONDITIONS[name]: _HANDLERS[handler] for name, handler in self.handlers.items()},
        )
