"""The stored form of transactions: what an entity must know of them after a reboot."""

# A record is at most a few hundred octets and 16 per stretch of the file. It holds whole PDUs for what came as a PDU,
# so that what is restored went through the same decoder, and no field has two forms. What it does not hold: times (the
# contact clock begins again), what the peer asked to have sent again (it asks again), and what is on its way.
#
# A record may be older than what was last done, by the time between two checkpoints. That costs octets sent twice and
# never more: file content is durable before the record that speaks of it, and what the peer was told to rely on (that
# the EOF is here, how the transaction ended) was stored before it was told.

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import TypeVar

from flight.core.errors import DecodeError
from flight.link.cfdp.directives import EndOfFile, Finished, Metadata, Prompt
from flight.link.cfdp.header import Header
from flight.link.cfdp.pdu import FileDirective, decode_pdu

_FORMAT = 1
_CRC_OCTETS = 4
_Directive = TypeVar("_Directive", bound=FileDirective)


class RecordWriter:
    """Puts fields one behind the other: numbers of 8 octets, octets with their length, stretches."""

    def __init__(self, kind: int) -> None:
        self._parts = [bytes((_FORMAT, kind))]

    def numbers(self, *values: int) -> None:
        """Write numbers of up to 64 bits."""
        self._parts.append(struct.pack(f">{len(values)}Q", *values))

    def octets(self, value: bytes) -> None:
        """Write octets, none for what is not there."""
        self._parts += (len(value).to_bytes(4, "big"), value)

    def stretches(self, stretches: Iterable[tuple[int, int]]) -> None:
        """Write the stretches of a file."""
        bounds = [bound for stretch in stretches for bound in stretch]
        self.octets(struct.pack(f">{len(bounds)}Q", *bounds))

    def finish(self) -> bytes:
        """Return the record."""
        raw = b"".join(self._parts)
        return raw + zlib.crc32(raw).to_bytes(_CRC_OCTETS, "big")


class RecordReader:
    """Reads what RecordWriter wrote. Raises DecodeError if the octets are something else, and nothing but that."""

    def __init__(self, raw: bytes) -> None:
        body = raw[:-_CRC_OCTETS]
        if len(raw) < 2 + _CRC_OCTETS or zlib.crc32(body) != int.from_bytes(raw[-_CRC_OCTETS:], "big"):
            raise DecodeError(f"CFDP record of {len(raw)} octets: CRC-32 mismatch")
        if body[0] != _FORMAT:
            raise DecodeError(f"CFDP record of format {body[0]}, only {_FORMAT} is known")
        self.kind = body[1]
        self._body = body
        self._at = 2

    def _take(self, count: int) -> bytes:
        if self._at + count > len(self._body):
            raise DecodeError(f"CFDP record: octet {self._at + count} is needed, there are {len(self._body)}")
        self._at += count
        return self._body[self._at - count : self._at]

    def numbers(self, count: int) -> tuple[int, ...]:
        """Read `count` numbers."""
        return struct.unpack(f">{count}Q", self._take(8 * count))

    def octets(self) -> bytes:
        """Read octets with their length."""
        return self._take(int.from_bytes(self._take(4), "big"))

    def text(self) -> str:
        """Read a text."""
        try:
            return self.octets().decode()
        except UnicodeDecodeError as error:
            raise DecodeError(f"CFDP record: text is not UTF-8 ({error.reason})") from None

    def stretches(self) -> list[tuple[int, int]]:
        """Read stretches, which are sorted and do not touch."""
        raw = self.octets()
        if len(raw) % 16:
            raise DecodeError(f"CFDP record: stretches of {len(raw)} octets, should be a multiple of 16")
        bounds = struct.unpack(f">{len(raw) // 8}Q", raw)
        if any(bounds[i] >= bounds[i + 1] for i in range(len(bounds) - 1)):
            raise DecodeError("CFDP record: stretches are not in order")
        return list(zip(bounds[::2], bounds[1::2], strict=True))

    def end(self) -> None:
        """Raise DecodeError if anything is left."""
        if self._at != len(self._body):
            raise DecodeError(f"CFDP record: {len(self._body) - self._at} octets too many")

    def first_header(self) -> Header:
        """Return the header of the PDU that a record begins with, without reading on."""
        at = self._at
        header = decode_pdu(self.octets()).header
        self._at = at
        return header

    def header(self) -> Header:
        """Read the header of a transaction."""
        return self._directive(Prompt, self.octets()).header

    def metadata(self) -> Metadata | None:
        """Read metadata, None if they are not there."""
        raw = self.octets()
        return self._directive(Metadata, raw) if raw else None

    def eof(self) -> EndOfFile | None:
        """Read an EOF, None if it is not there."""
        raw = self.octets()
        return self._directive(EndOfFile, raw) if raw else None

    def finished(self) -> Finished | None:
        """Read a Finished, None if it is not there."""
        raw = self.octets()
        return self._directive(Finished, raw) if raw else None

    @staticmethod
    def _directive(kind: type[_Directive], raw: bytes) -> _Directive:
        pdu = decode_pdu(raw)
        if not isinstance(pdu, kind):
            raise DecodeError(f"CFDP record: {type(pdu).__name__} stands for {kind.__name__}")
        return pdu


def header_octets(header: Header) -> bytes:
    """Return a header as `RecordReader.header` reads it: the shortest PDU that has one."""
    return Prompt(header, keep_alive=False).encode()
