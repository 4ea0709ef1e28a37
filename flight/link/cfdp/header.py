"""The header that all PDUs of a CFDP transaction share (CCSDS 727.0-B-5, 5.1)."""

# The header on the wire:
#
#     version 3 = 1 | type 1 (1: file data) | direction 1 (1: toward the sender) | mode 1 | CRC flag 1 | large file 1
#     data field octets 16, the CRC included
#     segmentation control 1 | entity id octets - 1 3 | segment metadata 1 | transaction number octets - 1 3
#     source entity | transaction number | destination entity
#
# What differs from PDU to PDU of one transaction is not in `Header`: the type and the direction follow from the kind of
# PDU, and the two flags about records belong to file data alone. The direction of a PDU that is decoded is not looked
# at: it says nothing that the kind does not say, and so a peer that sets it wrongly is understood all the same.
#
# Ids and numbers have 1 to 8 octets. One that needs more octets than the header names is widened, never cut.

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from flight.core.errors import DecodeError
from flight.kernels import crc16

FIXED_OCTETS = 4
CRC_OCTETS = 2
ID_OCTETS_MAX = 8
DATA_FIELD_OCTETS_MAX = 0xFFFF

_VERSION = 0b001_00000
_FILE_DATA, _TOWARD_SENDER, _UNACKNOWLEDGED, _CRC, _LARGE = 0x10, 0x08, 0x04, 0x02, 0x01
RECORDS, SEGMENT_METADATA = 0x80, 0x08  # flags in the fourth octet, of file data alone


class Mode(IntEnum):
    """Transmission mode (5.1). Acknowledged is class 2, unacknowledged class 1."""

    ACKNOWLEDGED = 0
    UNACKNOWLEDGED = 1

    @property
    def service_class(self) -> int:
        """The class by its number."""
        return 2 - self


@dataclass(frozen=True, slots=True)
class TransactionId:
    """The name of one transaction: the entity that sends, and its transaction number (2.1)."""

    source: int
    number: int


@dataclass(frozen=True, slots=True)
class Header:
    """What all PDUs of a transaction have in common.

    `large` files have sizes and offsets of 64 bits instead of 32. With `crc` each PDU ends with a CRC-16 of its own.
    """

    transaction: TransactionId
    destination: int
    mode: Mode = Mode.UNACKNOWLEDGED
    large: bool = False
    crc: bool = False
    entity_octets: int = 2
    number_octets: int = 8

    @property
    def octets(self) -> int:
        """How many octets the header takes."""
        return FIXED_OCTETS + 2 * self.entity_width + self.number_width

    @property
    def size_octets(self) -> int:
        """How many octets sizes and offsets of the file take: 4 or 8."""
        return 8 if self.large else 4

    @property
    def octets_max(self) -> int:
        """The longest file whose sizes and offsets these PDUs can name."""
        return (1 << 8 * self.size_octets) - 1

    @property
    def entity_width(self) -> int:
        """Octets of an entity id: as many as the header names, or as the ids need."""
        return max(self.entity_octets, _octets_for(self.transaction.source), _octets_for(self.destination))

    @property
    def number_width(self) -> int:
        """Octets of the transaction number: as many as the header names, or as the number needs."""
        return max(self.number_octets, _octets_for(self.transaction.number))

    def first_octet(self, *, file_data: bool = False, toward_sender: bool = False) -> int:
        """Return the first octet of a PDU."""
        first = _VERSION | (self.mode and _UNACKNOWLEDGED) | (self.crc and _CRC) | (self.large and _LARGE)
        return first | (file_data and _FILE_DATA) | (toward_sender and _TOWARD_SENDER)

    def ids(self, flags: int = 0) -> bytes:
        """Return what follows the data field length: the octet of lengths and `flags`, and the three ids."""
        entity, number = self.entity_width, self.number_width
        return b"".join(
            (
                bytes((flags | entity - 1 << 4 | number - 1,)),
                self.transaction.source.to_bytes(entity, "big"),
                self.transaction.number.to_bytes(number, "big"),
                self.destination.to_bytes(entity, "big"),
            )
        )

    def frame(self, body: bytes, *, file_data: bool = False, toward_sender: bool = False, flags: int = 0) -> bytes:
        """Return the PDU of `body`, with its header and its CRC; raises ValueError if the body is too long for one."""
        octets = len(body) + (CRC_OCTETS if self.crc else 0)
        if octets > DATA_FIELD_OCTETS_MAX:
            raise ValueError(f"CFDP PDU with {octets} octets of data, {DATA_FIELD_OCTETS_MAX} at most")
        first = self.first_octet(file_data=file_data, toward_sender=toward_sender)
        raw = b"".join((bytes((first,)), octets.to_bytes(2, "big"), self.ids(flags), body))
        return raw + crc16(raw).to_bytes(CRC_OCTETS, "big") if self.crc else raw


class FramedBody(NamedTuple):
    """A PDU taken apart: its header, its kind, and where in its octets the body stands. The CRC has been checked."""

    header: Header
    is_file_data: bool
    records: bool
    has_segment_metadata: bool
    start: int
    end: int


def decode_header(raw: bytes | memoryview) -> FramedBody:
    """Take the header off exactly one PDU, whose body has 1 octet or more; raises DecodeError if `raw` is not that."""
    if len(raw) < FIXED_OCTETS:
        raise DecodeError(f"CFDP PDU of {len(raw)} octets, its fixed header takes {FIXED_OCTETS}")
    first, flags = raw[0], raw[3]
    if first >> 5 != _VERSION >> 5:
        raise DecodeError(f"CFDP version {first >> 5}, only 1 is used")
    entity, number = (flags >> 4 & 7) + 1, (flags & 7) + 1
    start = FIXED_OCTETS + 2 * entity + number
    end = start + (raw[1] << 8 | raw[2])
    if len(raw) != end:
        raise DecodeError(f"CFDP PDU: header says {end} octets, got {len(raw)}")
    if end == start:
        raise DecodeError("CFDP PDU without a body")
    if first & _CRC:
        if end < start + 1 + CRC_OCTETS or crc16(raw):
            raise DecodeError("CFDP PDU: CRC-16 mismatch")
        end -= CRC_OCTETS
    number_at, destination_at = FIXED_OCTETS + entity, start - entity
    header = Header(
        TransactionId(
            int.from_bytes(raw[FIXED_OCTETS:number_at], "big"), int.from_bytes(raw[number_at:destination_at], "big")
        ),
        int.from_bytes(raw[destination_at:start], "big"),
        Mode.UNACKNOWLEDGED if first & _UNACKNOWLEDGED else Mode.ACKNOWLEDGED,
        bool(first & _LARGE),
        bool(first & _CRC),
        entity,
        number,
    )
    return FramedBody(
        header, bool(first & _FILE_DATA), bool(flags & RECORDS), bool(flags & SEGMENT_METADATA), start, end
    )


def _octets_for(number: int) -> int:
    octets = (number.bit_length() + 7) // 8 or 1
    assert number >= 0 and octets <= ID_OCTETS_MAX, number
    return octets
