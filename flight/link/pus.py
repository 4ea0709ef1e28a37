"""PUS-C telemetry and telecommand packets: secondary headers and packet error control (ECSS-E-ST-70-41C, 7.4)."""

# Behind the primary header of a space packet, whose data field these are:
#
#     telemetry    PUS version 4 = 2 | time status 4 | service 8 | subtype 8 | message type counter 16 |
#                  destination 16 | time 48 (time_code.py) | data | CRC 16
#     telecommand  PUS version 4 = 2 | acknowledgement flags 4 | service 8 | subtype 8 | source 16 | data | CRC 16
#
# For any octets a decoder returns a packet or raises DecodeError. A packet that it returns is whole (the length field
# agrees with the octets), of the type asked for, and its error control covers every octet: so a field that is read
# behind it is what the sender wrote. Service and subtype are not checked here: what they may be is the dictionary's.
#
# The CRC of a packet with its own CRC behind it is 0: `crc16(raw)` checks without cutting the packet in two.

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from flight.core.errors import DecodeError
from flight.kernels import crc16
from flight.link.space_packet import HEADER_OCTETS, PACKET_OCTETS_MAX
from flight.link.time.time_code import decode_cuc, encode_cuc

PUS_VERSION = 2
TM_SECONDARY_OCTETS = 13
TC_SECONDARY_OCTETS = 5
TM_DATA_OFFSET = HEADER_OCTETS + TM_SECONDARY_OCTETS
TC_DATA_OFFSET = HEADER_OCTETS + TC_SECONDARY_OCTETS
CRC_OCTETS = 2
TM_DATA_OCTETS_MAX = PACKET_OCTETS_MAX - TM_DATA_OFFSET - CRC_OCTETS
TC_DATA_OCTETS_MAX = PACKET_OCTETS_MAX - TC_DATA_OFFSET - CRC_OCTETS

# The acknowledgement flags of a telecommand (7.4.4.1): reports of success that the sender asks for.
ACK_ACCEPTANCE, ACK_START, ACK_PROGRESS, ACK_COMPLETION = 0b0001, 0b0010, 0b0100, 0b1000


def _check_common(raw: bytes | memoryview, name: str, is_command: bool, shortest: int) -> None:
    """Check what telemetry and telecommands have in common; raises DecodeError if one of it is wrong."""
    if len(raw) < shortest:
        raise DecodeError(f"{name} packet of {len(raw)} octets, shortest is {shortest}")
    word = raw[0] << 8 | raw[1]
    if word >> 13:
        raise DecodeError(f"{name} packet version {word >> 13}, only 0 is defined")
    if bool(word >> 12 & 1) != is_command:
        raise DecodeError(f"{name} packet expected, its type bit is {word >> 12 & 1}")
    if not word >> 11 & 1:
        raise DecodeError(f"{name} packet of APID {word & 0x7FF} without secondary header")
    if raw[2] >> 6 != 0b11:
        raise DecodeError(f"{name} packet with sequence flags {raw[2] >> 6}, only 3 (unsegmented) is used")
    length = (raw[4] << 8 | raw[5]) + 7
    if len(raw) != length:
        raise DecodeError(f"{name} packet: length field says {length} octets, got {len(raw)}")
    if crc16(raw):
        raise DecodeError(f"{name} packet of APID {word & 0x7FF}: packet error control (CRC-16) mismatch")
    if raw[6] >> 4 != PUS_VERSION:
        raise DecodeError(f"{name} packet of PUS version {raw[6] >> 4}, only {PUS_VERSION} (PUS-C) is used")


_TM_HEADER = struct.Struct(">HHHBBBHH")


def encode_tm(
    apid: int,
    seq: int,
    service: int,
    subtype: int,
    data: bytes,
    time_ns: int,
    *,
    counter: int = 0,
    destination: int = 0,
    time_status: int = 0,
) -> bytes:
    """Return the octets of a `PusTm` of these values, CRC-16 at the end; without making one, which costs more."""
    assert 0 <= apid < 0x800, apid
    assert 0 <= seq < 0x4000, seq
    assert 0 <= time_status < 16, time_status
    octets = len(data)
    assert octets <= TM_DATA_OCTETS_MAX, octets
    header = _TM_HEADER.pack(
        0x0800 | apid,
        0xC000 | seq,
        TM_SECONDARY_OCTETS + CRC_OCTETS - 1 + octets,
        PUS_VERSION << 4 | time_status,
        service,
        subtype,
        counter,
        destination,
    )
    body = header + encode_cuc(time_ns) + data
    return body + crc16(body).to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class PusTm:
    """A telemetry packet (7.4.3). `time_ns` is TAI since 1958; `counter` the message type counter.

    `time_status` is the time reference status, 0..15.
    """

    apid: int
    seq: int
    service: int
    subtype: int
    data: bytes
    time_ns: int
    counter: int = 0
    destination: int = 0
    time_status: int = 0

    def encode(self) -> bytes:
        """Return the packet's octets, CRC-16 at the end."""
        return encode_tm(
            self.apid,
            self.seq,
            self.service,
            self.subtype,
            self.data,
            self.time_ns,
            counter=self.counter,
            destination=self.destination,
            time_status=self.time_status,
        )

    @classmethod
    def decode(cls, raw: bytes | memoryview) -> Self:
        """Decode exactly `raw`; raises DecodeError if it is not a telemetry packet."""
        _check_common(raw, "telemetry", False, TM_DATA_OFFSET + CRC_OCTETS)
        word, control, _, status, service, subtype, counter, destination = _TM_HEADER.unpack_from(raw)
        return cls(
            word & 0x7FF,
            control & 0x3FFF,
            service,
            subtype,
            bytes(raw[TM_DATA_OFFSET:-CRC_OCTETS]),
            decode_cuc(raw[13:19]),
            counter,
            destination,
            status & 0xF,
        )


@dataclass(frozen=True, slots=True)
class PusTc:
    """A telecommand packet (7.4.4). `ack` asks for reports: 1 acceptance, 2 start, 4 progress, 8 completion."""

    apid: int
    seq: int
    service: int
    subtype: int
    data: bytes
    ack: int = ACK_ACCEPTANCE | ACK_COMPLETION
    source: int = 0
    _HEADER: ClassVar[struct.Struct] = struct.Struct(">HHHBBBH")

    def encode(self) -> bytes:
        """Return the packet's octets, CRC-16 at the end."""
        assert 0 <= self.apid < 0x800, self.apid
        assert 0 <= self.seq < 0x4000, self.seq
        assert 0 <= self.ack < 16, self.ack
        assert len(self.data) <= TC_DATA_OCTETS_MAX, len(self.data)
        header = self._HEADER.pack(
            0x1800 | self.apid,
            0xC000 | self.seq,
            TC_SECONDARY_OCTETS + len(self.data) + CRC_OCTETS - 1,
            PUS_VERSION << 4 | self.ack,
            self.service,
            self.subtype,
            self.source,
        )
        body = header + self.data
        return body + crc16(body).to_bytes(2, "big")

    @classmethod
    def decode(cls, raw: bytes | memoryview) -> Self:
        """Decode exactly `raw`; raises DecodeError if it is not a telecommand packet."""
        _check_common(raw, "telecommand", True, TC_DATA_OFFSET + CRC_OCTETS)
        word, control, _, status, service, subtype, source = cls._HEADER.unpack_from(raw)
        data = bytes(raw[TC_DATA_OFFSET:-CRC_OCTETS])
        return cls(word & 0x7FF, control & 0x3FFF, service, subtype, data, status & 0xF, source)

    @property
    def request_id(self) -> RequestId:
        """The name that verification reports have for this telecommand."""
        return RequestId(self.apid, self.seq)


@dataclass(frozen=True, slots=True)
class RequestId:
    """The name of a telecommand in ST[01] reports: its first four octets (8.1.2.1)."""

    apid: int
    seq: int

    def encode(self) -> bytes:
        """Return packet identification and sequence control as they stood in the telecommand."""
        return (0x1800 | self.apid).to_bytes(2, "big") + (0xC000 | self.seq).to_bytes(2, "big")

    @classmethod
    def decode(cls, raw: bytes | memoryview) -> Self:
        """Read it from the first four octets of a telecommand or of a report's data; raises DecodeError."""
        if len(raw) < 4:
            raise DecodeError(f"request id of {len(raw)} octets, it takes 4")
        word, control = raw[0] << 8 | raw[1], raw[2] << 8 | raw[3]
        if word >> 11 != 0b00011 or control >> 14 != 0b11:
            raise DecodeError(f"request id {word:04x} {control:04x} is not that of an unsegmented telecommand")
        return cls(word & 0x7FF, control & 0x3FFF)


def packet_apid(packet: bytes | memoryview) -> int:
    """Return the APID of a packet of at least two octets."""
    return (packet[0] & 0x07) << 8 | packet[1]
