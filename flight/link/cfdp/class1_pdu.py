"""CFDP protocol data units of class 1, unacknowledged, and the file checksums (CCSDS 727.0-B-5, 5 and 4.2.2)."""

# The header that all PDUs share (5.1), and what is written in it here:
#
#     version 3 = 1 | type 1 (1: file data) | direction 1 = 0 | mode 1 = 1 | CRC flag 1 = 0 | large file 1 = 0
#     data field octets 16
#     segmentation control 1 | entity id octets - 1 3 | segment metadata 1 | transaction number octets - 1 3
#     source entity | transaction number | destination entity
#
# Ours are one form of it: entity ids of 2 octets, numbers of 8 (numbers.py tells why so many), no CRC, because the
# frame around the packet has error control. The decoder takes every form that another sender of class 1 may choose: ids
# and numbers of 1 to 8 octets, the CRC, segment metadata, options. It skips what does not concern class 1, but walks
# through it: every length in a PDU is checked against the octets that are there before it is used.
#
# For any octets, `decode_pdu` returns a PDU or raises DecodeError. It holds a PDU to the lengths that it names, not to
# sense: sizes and offsets up to 2^32 - 1 are claims, and the receiver judges them (transfers.py).

from __future__ import annotations

import zlib
from dataclasses import dataclass

from flight.core.errors import DecodeError
from flight.kernels import crc16
from flight.link.space_packet import HEADER_OCTETS as PACKET_HEADER_OCTETS

ENTITY_OCTETS = 2
TRANSACTION_OCTETS = 8
HEADER_OCTETS = 4 + 2 * ENTITY_OCTETS + TRANSACTION_OCTETS
OFFSET_OCTETS = 4
FILE_OCTETS_MAX = 0xFFFFFFFF

CHECKSUM_MODULAR, CHECKSUM_CRC32, CHECKSUM_NULL = 0, 3, 15  # SANA registry of checksum identifiers
NO_ERROR = 0  # condition code, 5.2.2

_EOF, _METADATA = 0x04, 0x07  # directive codes, 5.2.1.1


@dataclass(frozen=True, slots=True)
class TransactionId:
    """The name of one transfer: the entity that sends, and its transaction number (2.1)."""

    source: int
    number: int


@dataclass(frozen=True, slots=True)
class Metadata:
    """The first PDU (5.2.5). `octets` is the file's size; `source_name` is its name at the sender, `name` here."""

    transaction: TransactionId
    destination: int
    octets: int
    checksum_type: int
    source_name: str
    name: str


@dataclass(frozen=True, slots=True)
class FileData:
    """The octets of the file from `offset` on (5.3)."""

    transaction: TransactionId
    destination: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class EndOfFile:
    """The last PDU (5.2.2). `condition` is 0 unless the sender gave up, `octets` the size of the whole file."""

    transaction: TransactionId
    destination: int
    condition: int
    checksum: int
    octets: int


Pdu = Metadata | FileData | EndOfFile


def checksum_crc32(data: bytes | bytearray | memoryview, before: int = 0, _offset: int = 0) -> int:
    """Return checksum type 3, the CRC-32 of IEEE 802.3. `before` is that of what comes before `data` in the file."""
    return zlib.crc32(data, before)


def checksum_modular(data: bytes | bytearray | memoryview, before: int = 0, offset: int = 0) -> int:
    """Return checksum type 0 (4.2.2): the sum of big-endian 32-bit words, the last padded with zeros, modulo 2^32.

    `before` is that of the `offset` octets that come before `data` in the file.
    """
    # Sum each of the 4 octet lanes: 4 sums in C instead of one per word. The padding would add nothing. Words begin at
    # multiples of 4 of the file, so the lane of an octet follows from its place there and not from that in `data`.
    words = sum(sum(data[lane::4]) << 24 - 8 * ((offset + lane) % 4) for lane in range(4))
    return (before + words) & 0xFFFFFFFF


def checksum_null(_data: bytes | bytearray | memoryview, _before: int = 0, _offset: int = 0) -> int:
    """Return checksum type 15, which is 0 for any file: the sender computed none."""
    return 0


# Each is given the octets, the checksum of those before them in the file, and how many those are.
CHECKSUMS = {CHECKSUM_MODULAR: checksum_modular, CHECKSUM_CRC32: checksum_crc32, CHECKSUM_NULL: checksum_null}


def segment_octets(data_octets: int) -> int:
    """Return how many file octets make a PDU whose packet exactly fills the `data_octets` of a telemetry frame."""
    return data_octets - PACKET_HEADER_OCTETS - HEADER_OCTETS - OFFSET_OCTETS


def _name(text: str) -> bytes:
    octets = text.encode()
    assert len(octets) <= 255, text
    return bytes((len(octets),)) + octets  # an LV field (5.1): length, value


def encode_pdu(pdu: Pdu) -> bytes:
    """Return the PDU's octets: 16-bit entity ids, 64-bit transaction number, no CRC (the frame has one)."""
    match pdu:
        case Metadata():
            body = bytes((_METADATA, pdu.checksum_type)) + pdu.octets.to_bytes(4, "big")
            body += _name(pdu.source_name) + _name(pdu.name)
        case EndOfFile():
            body = bytes((_EOF, pdu.condition << 4)) + pdu.checksum.to_bytes(4, "big") + pdu.octets.to_bytes(4, "big")
            if pdu.condition != NO_ERROR:
                # 5.2.2.1: the entity at which the fault came up, here the sender
                body += bytes((0x06, ENTITY_OCTETS)) + pdu.transaction.source.to_bytes(ENTITY_OCTETS, "big")
        case FileData():
            body = pdu.offset.to_bytes(OFFSET_OCTETS, "big") + pdu.data
    # 5.1: version 1, toward the receiver, unacknowledged
    first = 0b001_0_0_1_00 | isinstance(pdu, FileData) << 4
    lengths = ENTITY_OCTETS - 1 << 4 | TRANSACTION_OCTETS - 1
    return b"".join(
        (
            bytes((first,)),
            len(body).to_bytes(2, "big"),
            bytes((lengths,)),
            pdu.transaction.source.to_bytes(ENTITY_OCTETS, "big"),
            pdu.transaction.number.to_bytes(TRANSACTION_OCTETS, "big"),
            pdu.destination.to_bytes(ENTITY_OCTETS, "big"),
            body,
        )
    )


def decode_pdu(raw: bytes) -> Pdu:
    """Decode exactly `raw`, with ids of any length.

    Raises DecodeError if that is not a PDU, and for acknowledged mode, PDUs toward the sender, 64-bit files and
    directives of class 2.
    """
    if len(raw) < 4:
        raise DecodeError(f"CFDP PDU of {len(raw)} octets, its fixed header takes 4")
    first, flags = raw[0], raw[3]
    if first >> 5 != 1:
        raise DecodeError(f"CFDP version {first >> 5}, only 1 is used")
    if first & 0x08:
        raise DecodeError("CFDP PDU toward the sender: class 1 has none")
    if not first & 0x04:
        raise DecodeError("CFDP PDU of acknowledged mode, only class 1 is accepted")
    if first & 0x01:
        raise DecodeError("CFDP PDU of a 64-bit file, only 32-bit files are accepted")
    entity, number = (flags >> 4 & 7) + 1, (flags & 7) + 1
    start = 4 + 2 * entity + number
    octets = start + (raw[1] << 8 | raw[2])
    if len(raw) != octets or octets < start + 1:  # no PDU is empty: `body[0]` below is there
        raise DecodeError(f"CFDP PDU: header says {octets} octets, got {len(raw)}")
    if first & 0x02:
        if octets < start + 3 or crc16(raw):  # a CRC of its own behind a body of 1 octet or more
            raise DecodeError("CFDP PDU: CRC-16 mismatch")
        octets -= 2
    source = int.from_bytes(raw[4 : 4 + entity], "big")
    transaction = TransactionId(source, int.from_bytes(raw[4 + entity : 4 + entity + number], "big"))
    destination = int.from_bytes(raw[start - entity : start], "big")
    body = raw[start:octets]
    if first & 0x10:
        return _decode_file_data(transaction, destination, body, bool(flags & 0x08))
    if body[0] == _METADATA:
        return _decode_metadata(transaction, destination, body)
    if body[0] == _EOF:
        return _decode_eof(transaction, destination, body)
    raise DecodeError(f"CFDP directive {body[0]}, class 1 sends only metadata ({_METADATA}) and EOF ({_EOF})")


def _decode_file_data(transaction: TransactionId, destination: int, body: bytes, segment_metadata: bool) -> FileData:
    # 5.3: with the flag, segment metadata stands in front of the offset, behind 1 octet: 2 bits of record continuation
    # state and 6 of the metadata's length.
    at = 1 + (body[0] & 0x3F) if segment_metadata else 0
    if len(body) < at + OFFSET_OCTETS:
        raise DecodeError(f"CFDP file data of {len(body)} octets, its header takes {at + OFFSET_OCTETS}")
    offset = int.from_bytes(body[at : at + OFFSET_OCTETS], "big")
    return FileData(transaction, destination, offset, body[at + OFFSET_OCTETS :])


def _decode_metadata(transaction: TransactionId, destination: int, body: bytes) -> Metadata:
    if len(body) < 8:
        raise DecodeError(f"CFDP metadata of {len(body)} octets, shortest is 8")
    source_name, at = _decode_name(body, 6)
    name, at = _decode_name(body, at)
    while at < len(body):
        # Options are type, length, value. None concerns class 1. Half a header of one steps beyond the end on purpose.
        at += 2 + body[at + 1] if at + 2 <= len(body) else len(body) + 1
    if at != len(body):
        raise DecodeError("CFDP metadata: an option runs over the end")
    octets = int.from_bytes(body[2:6], "big")
    return Metadata(transaction, destination, octets, body[1] & 0xF, source_name, name)


def _decode_name(body: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + body[at] if at < len(body) else len(body) + 1  # without a length octet, beyond the end
    if end > len(body):
        raise DecodeError(f"CFDP metadata: a file name ends at octet {end} of {len(body)}")
    try:
        return body[at + 1 : end].decode(), end
    except UnicodeDecodeError as error:
        raise DecodeError(f"CFDP metadata: file name is not UTF-8 ({error.reason})") from None


def _decode_eof(transaction: TransactionId, destination: int, body: bytes) -> EndOfFile:
    if len(body) < 10:
        raise DecodeError(f"CFDP EOF of {len(body)} octets, shortest is 10")
    condition = body[1] >> 4
    # 5.2.2.1: behind the size of a file that was given up stands the fault location: type 6, length, entity id. It may
    # be missing, but nothing else may stand there.
    fault = body[10:]
    if fault and (condition == NO_ERROR or len(fault) < 2 or fault[0] != 0x06 or fault[1] != len(fault) - 2):
        raise DecodeError(f"CFDP EOF: {len(fault)} octets after the file size are not a fault location")
    checksum, octets = int.from_bytes(body[2:6], "big"), int.from_bytes(body[6:10], "big")
    return EndOfFile(transaction, destination, condition, checksum, octets)
