"""CFDP protocol data units of class 1, unacknowledged, and the file checksums (CCSDS 727.0-B-5, 5 and 4.2.2)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from flight.core.errors import DecodeError
from flight.kernels import crc16
from flight.link.space_packet import HEADER_OCTETS as PACKET_HEADER_OCTETS
from flight.link.tm.tm_frame import data_octets

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
    """Names one transfer: the entity that sends, and its transaction number (2.1)."""

    source: int
    number: int


@dataclass(frozen=True, slots=True)
class Metadata:
    """5.2.5. `octets` is the file's size; `source_name` and `name` are the file's names here and there."""

    transaction: TransactionId
    destination: int
    octets: int
    checksum_type: int
    source_name: str
    name: str


@dataclass(frozen=True, slots=True)
class FileData:
    """5.3: the octets of the file from `offset` on."""

    transaction: TransactionId
    destination: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class EndOfFile:
    """5.2.2. `condition` is 0 unless the sender gave up."""

    transaction: TransactionId
    destination: int
    condition: int
    checksum: int
    octets: int


Pdu = Metadata | FileData | EndOfFile


def checksum_crc32(data: bytes | bytearray | memoryview, before: int = 0) -> int:
    """Checksum type 3: CRC-32 of IEEE 802.3; of a file in parts if `before` is that of what comes before `data`."""
    return zlib.crc32(data, before)


def checksum_modular(data: bytes | bytearray | memoryview) -> int:
    """Checksum type 0 (4.2.2): the sum of big-endian 32-bit words, the last one padded with zeros, modulo 2^32."""
    # Sum of each octet lane: four sums in C instead of one per word. What the last word lacks would add nothing.
    return sum(sum(data[lane::4]) << 24 - 8 * lane for lane in range(4)) & 0xFFFFFFFF


def checksum_null(_data: bytes | bytearray | memoryview) -> int:
    """Checksum type 15: none."""
    return 0


CHECKSUMS = {CHECKSUM_MODULAR: checksum_modular, CHECKSUM_CRC32: checksum_crc32, CHECKSUM_NULL: checksum_null}


def segment_octets(frame_octets: int) -> int:
    """File octets of one PDU whose packet fills the data field of one telemetry frame exactly."""
    return data_octets(frame_octets) - PACKET_HEADER_OCTETS - HEADER_OCTETS - OFFSET_OCTETS


def _name(text: str) -> bytes:
    octets = text.encode()
    assert len(octets) <= 255, text
    return bytes((len(octets),)) + octets


def encode_pdu(pdu: Pdu) -> bytes:
    """The PDU's octets: 16-bit entity ids, 64-bit transaction number, no CRC (the frame has one)."""
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
    """The PDU that is exactly `raw`, ids of any length; raises DecodeError.

    Refused: acknowledged mode, PDUs toward the sender, 64-bit files, directives of class 2.
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
    if len(raw) != octets or octets < start + 1:
        raise DecodeError(f"CFDP PDU: header says {octets} octets, got {len(raw)}")
    if first & 0x02:
        if octets < start + 3 or crc16(raw):
            raise DecodeError("CFDP PDU: its CRC does not fit")
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
    # 5.3: with the flag, one octet of record continuation state and length stands before the metadata.
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
        # options: type, length, value; none concerns class 1
        at += 2 + body[at + 1] if at + 2 <= len(body) else len(body) + 1
    if at != len(body):
        raise DecodeError("CFDP metadata: an option runs over the end")
    octets = int.from_bytes(body[2:6], "big")
    return Metadata(transaction, destination, octets, body[1] & 0xF, source_name, name)


def _decode_name(body: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + body[at] if at < len(body) else len(body) + 1
    if end > len(body):
        raise DecodeError(f"CFDP metadata: a file name ends at octet {end} of {len(body)}")
    try:
        return body[at + 1 : end].decode(), end
    except UnicodeDecodeError as error:
        raise DecodeError(f"CFDP metadata: file name is no UTF-8 ({error.reason})") from None


def _decode_eof(transaction: TransactionId, destination: int, body: bytes) -> EndOfFile:
    if len(body) < 10:
        raise DecodeError(f"CFDP EOF of {len(body)} octets, shortest is 10")
    condition = body[1] >> 4
    rest = body[10:]
    if rest and (condition == NO_ERROR or len(rest) < 2 or rest[0] != 0x06 or rest[1] != len(rest) - 2):
        raise DecodeError(f"CFDP EOF: {len(rest)} octets after the file size are no fault location")
    checksum, octets = int.from_bytes(body[2:6], "big"), int.from_bytes(body[6:10], "big")
    return EndOfFile(transaction, destination, condition, checksum, octets)
