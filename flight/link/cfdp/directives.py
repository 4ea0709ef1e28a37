"""The file directives of CFDP: all PDUs but file data (CCSDS 727.0-B-5, 5.2)."""

# Which way a directive goes follows from its kind:
#
#     toward the receiver   metadata, EOF, prompt, ACK of Finished
#     toward the sender     Finished, NAK, keep alive, ACK of EOF
#
# A decoded directive is held to the lengths that it names, and to the order of the two ends of a stretch. Whether its
# sizes and offsets make sense for the file is for the machines to judge, which know the file.

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from flight.core.errors import DecodeError
from flight.link.cfdp.conditions import AckStatus, ConditionCode, DeliveryCode, FileStatus, decode_code
from flight.link.cfdp.header import CRC_OCTETS, Header
from flight.link.cfdp.tlv import EntityId, FieldReader, FilestoreResponse, Tlv, decode_tlvs, encode_tlvs, name_lv


class Directive(IntEnum):
    """The directive codes (table 5-4)."""

    EOF = 0x04
    FINISHED = 0x05
    ACK = 0x06
    METADATA = 0x07
    NAK = 0x08
    PROMPT = 0x09
    KEEP_ALIVE = 0x0C


_CLOSURE = 0x40


def _size(header: Header, octets: int) -> bytes:
    return octets.to_bytes(header.size_octets, "big")


@dataclass(frozen=True, slots=True)
class Metadata:
    """The first PDU (5.2.5). `octets` is the file's size, `source_name` its name at the sender, `name` at the receiver.

    Without names the transaction has no file, but options. `closure`: class 1, and the receiver is to say Finished.
    """

    header: Header
    octets: int
    checksum_type: int
    source_name: str
    name: str
    closure: bool = False
    options: tuple[Tlv, ...] = ()

    def encode(self) -> bytes:
        """Return the PDU; raises ValueError if a name or the options are too long."""
        flags = (_CLOSURE if self.closure else 0) | self.checksum_type
        parts = (
            bytes((Directive.METADATA, flags)),
            _size(self.header, self.octets),
            name_lv(self.source_name),
            name_lv(self.name),
            encode_tlvs(self.options),
        )
        return self.header.frame(b"".join(parts))

    @classmethod
    def decode(cls, header: Header, fields: FieldReader) -> Metadata:
        """Decode what follows the directive code."""
        flags, octets = fields.number(1), fields.number(header.size_octets)
        source_name, name = fields.name(), fields.name()
        return cls(header, octets, flags & 0xF, source_name, name, bool(flags & _CLOSURE), decode_tlvs(fields))


@dataclass(frozen=True, slots=True)
class EndOfFile:
    """The last PDU (5.2.2). With a condition other than 0 the sender gave up, and `octets` are what it sent until then.

    `fault_entity` is where the condition came up; without a condition it is not sent.
    """

    header: Header
    condition: ConditionCode
    checksum: int
    octets: int
    fault_entity: int | None = None

    def encode(self) -> bytes:
        """Return the PDU."""
        body = bytes((Directive.EOF, self.condition << 4)) + self.checksum.to_bytes(4, "big")
        body += _size(self.header, self.octets) + _fault_location(self.header, self.condition, self.fault_entity)
        return self.header.frame(body)

    @classmethod
    def decode(cls, header: Header, fields: FieldReader) -> EndOfFile:
        """Decode what follows the directive code. A fault location that is missing is None."""
        condition = decode_code(ConditionCode, fields.number(1) >> 4)
        checksum, octets = fields.number(4), fields.number(header.size_octets)
        tlvs = decode_tlvs(fields)
        if condition is ConditionCode.NO_ERROR and tlvs:
            raise DecodeError("CFDP EOF: a fault location without a fault")
        return cls(header, condition, checksum, octets, _fault_entity(fields, tlvs))


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of the transaction at the receiver (5.2.3); `responses` answer the metadata's filestore requests."""

    header: Header
    condition: ConditionCode
    delivery: DeliveryCode
    status: FileStatus
    responses: tuple[FilestoreResponse, ...] = ()
    fault_entity: int | None = None

    def encode(self) -> bytes:
        """Return the PDU; raises ValueError if the responses are too long."""
        body = bytes((Directive.FINISHED, self.condition << 4 | self.delivery << 2 | self.status))
        # 5.2.3: the sender chose the checksum, so the fault is not at an entity that would have to be named.
        located = self.condition is not ConditionCode.UNSUPPORTED_CHECKSUM_TYPE
        fault_entity = self.fault_entity if located else None
        body += encode_tlvs(self.responses) + _fault_location(self.header, self.condition, fault_entity)
        return self.header.frame(body, toward_sender=True)

    @classmethod
    def decode(cls, header: Header, fields: FieldReader) -> Finished:
        """Decode what follows the directive code."""
        codes = fields.number(1)
        tlvs = decode_tlvs(fields)
        responses = tuple(tlv for tlv in tlvs if isinstance(tlv, FilestoreResponse))
        return cls(
            header,
            decode_code(ConditionCode, codes >> 4),
            DeliveryCode(codes >> 2 & 1),
            FileStatus(codes & 3),
            responses,
            # The fault location stands behind all responses, so what is not a response must be this one TLV.
            _fault_entity(fields, tlvs[len(responses) :]),
        )


@dataclass(frozen=True, slots=True)
class Ack:
    """The acknowledgement of an EOF or of a Finished (5.2.4), whose condition it repeats."""

    header: Header
    directive: Directive
    condition: ConditionCode
    status: AckStatus

    def encode(self) -> bytes:
        """Return the PDU."""
        finished = self.directive == Directive.FINISHED  # whose subtype is 1
        body = bytes((Directive.ACK, self.directive << 4 | finished, self.condition << 4 | self.status))
        return self.header.frame(body, toward_sender=not finished)

    @classmethod
    def decode(cls, header: Header, fields: FieldReader) -> Ack:
        """Decode what follows the directive code."""
        directive, codes = fields.number(1) >> 4, fields.number(1)
        fields.end()
        if directive not in (Directive.EOF, Directive.FINISHED):
            raise DecodeError(f"CFDP ACK of directive {directive}, only EOF and Finished are acknowledged")
        return cls(header, Directive(directive), decode_code(ConditionCode, codes >> 4), AckStatus(codes & 3))


@dataclass(frozen=True, slots=True)
class Nak:
    """What is missing of the octets from `start` to `end` (5.2.6): `requests` are stretches [start, end).

    The request (0, 0) asks for the metadata.
    """

    header: Header
    start: int
    end: int
    requests: tuple[tuple[int, int], ...] = ()

    def encode(self) -> bytes:
        """Return the PDU; raises ValueError if there are too many requests for one."""
        bounds = [self.start, self.end]
        for request in self.requests:
            bounds += request
        body = struct.pack(f">B{len(bounds)}{'Q' if self.header.large else 'I'}", Directive.NAK, *bounds)
        return self.header.frame(body, toward_sender=True)

    @classmethod
    def decode(cls, header: Header, fields: FieldReader) -> Nak:
        """Decode what follows the directive code."""
        octets = fields.remaining
        pairs, rest = divmod(octets, 2 * header.size_octets)
        if rest or not pairs:
            raise DecodeError(f"CFDP NAK of {octets} octets, should be a multiple of {2 * header.size_octets}")
        bounds = struct.unpack(f">{2 * pairs}{'Q' if header.large else 'I'}", fields.octets(octets))
        scope, *requests = zip(bounds[::2], bounds[1::2], strict=True)
        for start, end in (scope, *requests):
            if end < start:
                raise DecodeError(f"CFDP NAK: a stretch from {start} ends before, at {end}")
        return cls(header, *scope, tuple(requests))

    @classmethod
    def split(cls, header: Header, start: int, end: int, requests: Sequence[tuple[int, int]], room: int) -> list[Nak]:
        """Return NAKs of at most `room` octets each for the requests, which are in order.

        Their scopes follow one another without a gap, from `start` to `end`: what a NAK's scope holds and its requests
        do not name is there. Raises ValueError if not even one request fits into `room`.
        """
        octets = 2 * header.size_octets
        most = (room - header.octets - 1 - octets - (CRC_OCTETS if header.crc else 0)) // octets
        if most < 1:
            raise ValueError(f"a NAK with one request does not fit into {room} octets")
        naks: list[Nak] = []
        for at in range(0, max(len(requests), 1), most):
            some = tuple(requests[at : at + most])
            until = end if at + most >= len(requests) else max(start, some[-1][1])
            naks.append(cls(header, start, until, some))
            start = until
        return naks


@dataclass(frozen=True, slots=True)
class Prompt:
    """Asks the receiver for a keep alive, or else for a NAK (5.2.7)."""

    header: Header
    keep_alive: bool

    def encode(self) -> bytes:
        """Return the PDU."""
        return self.header.frame(bytes((Directive.PROMPT, 0x80 if self.keep_alive else 0)))

    @classmethod
    def decode(cls, header: Header, fields: FieldReader) -> Prompt:
        """Decode what follows the directive code."""
        keep_alive = bool(fields.number(1) & 0x80)
        fields.end()
        return cls(header, keep_alive)


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """How far the receiver has come: `progress` is the offset behind the last octet that arrived (5.2.8)."""

    header: Header
    progress: int

    def encode(self) -> bytes:
        """Return the PDU."""
        return self.header.frame(bytes((Directive.KEEP_ALIVE,)) + _size(self.header, self.progress), toward_sender=True)

    @classmethod
    def decode(cls, header: Header, fields: FieldReader) -> KeepAlive:
        """Decode what follows the directive code."""
        progress = fields.number(header.size_octets)
        fields.end()
        return cls(header, progress)


def _fault_location(header: Header, condition: ConditionCode, entity: int | None) -> bytes:
    if condition is ConditionCode.NO_ERROR or entity is None:
        return b""
    return EntityId(entity, header.entity_width).encode()


def _fault_entity(fields: FieldReader, tlvs: Sequence[Tlv]) -> int | None:
    if not tlvs:
        return None
    location = tlvs[0]
    if len(tlvs) > 1 or not isinstance(location, EntityId):
        raise DecodeError(f"CFDP {fields.what}: what stands at its end is not a fault location")
    return location.entity
