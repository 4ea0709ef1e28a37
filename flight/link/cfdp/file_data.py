"""File data PDUs (CCSDS 727.0-B-5, 5.3): nearly all of what a transfer sends, so there is a quick way to both ends.

`FileData` takes every form of them. `DataEncoder` and `split_file_data` do the plain form for a transaction that is
under way, in about a microsecond.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from flight.core.errors import DecodeError
from flight.kernels import crc16
from flight.link.cfdp.header import CRC_OCTETS, FIXED_OCTETS, RECORDS, SEGMENT_METADATA, FramedBody, Header

SEGMENT_METADATA_OCTETS_MAX = 63

# The first four octets, as one number, of what goes the quick way: version 1, file data; any mode, direction, CRC flag
# and offset size; no records, no segment metadata.
_PLAIN_MASK, _PLAIN = 0xF0000000 | RECORDS | SEGMENT_METADATA, 0x30000000
_CRC, _LARGE = 0x02000000, 0x01000000
_START = tuple(FIXED_OCTETS + 2 * ((flags >> 4 & 7) + 1) + (flags & 7) + 1 for flags in range(256))
_word = struct.Struct(">I").unpack_from
_offset_64 = struct.Struct(">Q").unpack_from


@dataclass(frozen=True, slots=True)
class FileData:
    """The octets of the file from `offset` on. Decoded from a memoryview, `data` is a view of the same memory.

    `records` is the segmentation control: whether segments keep to the boundaries of records. `record_continuation` is
    None without segment metadata; with it, bit 0 says that a record starts here, and bit 1 that one ends.
    """

    header: Header
    offset: int
    data: bytes | memoryview
    records: bool = False
    record_continuation: int | None = None
    segment_metadata: bytes = b""

    def encode(self) -> bytes:
        """Return the PDU. Raises ValueError if data or segment metadata are too long."""
        body = self.offset.to_bytes(self.header.size_octets, "big") + self.data
        flags = RECORDS if self.records else 0
        if self.record_continuation is not None:
            octets = len(self.segment_metadata)
            if octets > SEGMENT_METADATA_OCTETS_MAX:
                raise ValueError(f"segment metadata of {octets} octets, {SEGMENT_METADATA_OCTETS_MAX} at most")
            flags |= SEGMENT_METADATA
            body = bytes((self.record_continuation << 6 | octets,)) + self.segment_metadata + body
        return self.header.frame(body, file_data=True, flags=flags)

    @classmethod
    def decode(cls, framed: FramedBody, raw: bytes | memoryview) -> FileData:
        """Decode the body that `framed` found in `raw`."""
        at, continuation, metadata = framed.start, None, b""
        if framed.has_segment_metadata:
            continuation, length = raw[at] >> 6, raw[at] & SEGMENT_METADATA_OCTETS_MAX
            metadata = bytes(raw[at + 1 : min(at + 1 + length, framed.end)])
            at += 1 + length
        data_at = at + framed.header.size_octets
        if data_at > framed.end:
            octets = framed.end - framed.start
            raise DecodeError(f"CFDP file data of {octets} octets, its header takes {data_at - framed.start}")
        offset = int.from_bytes(raw[at:data_at], "big")
        return cls(framed.header, offset, raw[data_at : framed.end], framed.records, continuation, metadata)


class DataEncoder:
    """Encodes the file data of one transaction. What stays the same from PDU to PDU is built once."""

    __slots__ = ("_crc", "_extra_octets", "_first", "_ids", "_pack")

    def __init__(self, header: Header) -> None:
        self._ids = header.ids()
        self._first = header.first_octet(file_data=True)
        self._crc = header.crc
        self._extra_octets = header.size_octets + (CRC_OCTETS if header.crc else 0)
        self._pack = struct.Struct(f">BH{len(self._ids)}s{'Q' if header.large else 'I'}").pack

    def encode(self, offset: int, data: bytes | memoryview) -> bytes:
        """Return the PDU of `data`, octets that go into a PDU, at an `offset` that the header can say."""
        raw = self._pack(self._first, len(data) + self._extra_octets, self._ids, offset) + data
        return raw + crc16(raw).to_bytes(CRC_OCTETS, "big") if self._crc else raw


def octets_of_data(header: Header, room: int) -> int:
    """Return how many octets of a file fill a PDU of `room` octets; 0 or less if there is no room for any."""
    return room - header.octets - header.size_octets - (CRC_OCTETS if header.crc else 0)


def data_key(header: Header) -> bytes:
    """Return the key under which `split_file_data` gives the file data of this transaction."""
    return header.ids()


def split_file_data(raw: bytes | memoryview) -> tuple[bytes, int, bytes | memoryview] | None:
    """Return (key, offset, data) of a plain file data PDU, None for everything else.

    The key is the transaction's `data_key` if the sender writes its ids in as many octets as before. None means that
    `decode_pdu` has to look: at another kind of PDU, at records, or at what is not a PDU at all.
    """
    end = len(raw)
    if end < FIXED_OCTETS:
        return None
    (word,) = _word(raw)
    start = _START[word & 0xFF]
    if word & _PLAIN_MASK != _PLAIN or start + (word >> 8 & 0xFFFF) != end:
        return None
    if word & _CRC:
        if end < start + CRC_OCTETS or crc16(raw):
            return None
        end -= CRC_OCTETS
    data_at = start + (8 if word & _LARGE else 4)
    if data_at > end:
        return None
    (offset,) = (_offset_64 if word & _LARGE else _word)(raw, start)
    return bytes(raw[3:start]), offset, raw[data_at:end]
