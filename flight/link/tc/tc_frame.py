"""Telecommand transfer frames and the two control commands (CCSDS 232.0-B-4, 4.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from flight.core.errors import DecodeError
from flight.kernels import crc16

HEADER_OCTETS = 5
FECF_OCTETS = 2
FRAME_OCTETS_MIN = HEADER_OCTETS + 1 + FECF_OCTETS
FRAME_OCTETS_MAX = 1024
DATA_OCTETS_MAX = FRAME_OCTETS_MAX - HEADER_OCTETS - FECF_OCTETS

UNLOCK = b"\x00"  # 4.1.3.3.2


def set_vr_command(vr: int) -> bytes:
    """The control command Set V(R) (4.1.3.3.3)."""
    return bytes((0x82, 0x00, vr))


@dataclass(frozen=True, slots=True)
class TcFrame:
    """One frame with error control. AD: neither flag; BD: `bypass`; BC: `bypass` and `control`.

    `seq` is N(S), 0..255, and 0 in bypass frames. `data` is 1..1017 octets: whole packets, or a control command.
    """

    spacecraft_id: int
    vcid: int
    seq: int
    data: bytes
    bypass: bool = False
    control: bool = False
    _HEADER: ClassVar[struct.Struct] = struct.Struct(">HHB")

    def encode(self) -> bytes:
        """The frame's octets, 8..1024."""
        assert 0 <= self.spacecraft_id < 0x400, self.spacecraft_id
        assert 0 <= self.vcid < 0x40, self.vcid
        assert 0 <= self.seq < 0x100, self.seq
        assert 1 <= len(self.data) <= DATA_OCTETS_MAX, len(self.data)
        octets = HEADER_OCTETS + len(self.data) + FECF_OCTETS
        flags = self.bypass << 13 | self.control << 12
        body = self._HEADER.pack(flags | self.spacecraft_id, self.vcid << 10 | octets - 1, self.seq) + self.data
        return body + crc16(body).to_bytes(2, "big")

    @classmethod
    def decode(cls, raw: bytes | memoryview) -> Self:
        """The frame at the start of `raw`, which may go on with less than a codeblock of fill; raises DecodeError.

        Checks of 232.0-B-4, 4.3.4 (frame validation) but for the ids, which are the link's to know.
        """
        if len(raw) < FRAME_OCTETS_MIN:
            raise DecodeError(f"telecommand frame of {len(raw)} octets, shortest is {FRAME_OCTETS_MIN}")
        first, second, seq = cls._HEADER.unpack_from(raw)
        octets = (second & 0x3FF) + 1
        if octets < FRAME_OCTETS_MIN:
            raise DecodeError(f"telecommand frame: length field says {octets} octets, least is {FRAME_OCTETS_MIN}")
        if octets > len(raw):
            raise DecodeError(f"telecommand frame: length field says {octets} octets, got {len(raw)}")
        if crc16(raw[:octets]):
            raise DecodeError("telecommand frame: frame error control does not fit")
        if first >> 14:
            raise DecodeError(f"telecommand frame version {first >> 14}, only 0 is defined")
        bypass, control = bool(first >> 13 & 1), bool(first >> 12 & 1)
        if control and not bypass:
            raise DecodeError("telecommand frame: control command without bypass flag")
        if first & 0x0C00:
            raise DecodeError("telecommand frame: spare bits set")
        data = bytes(raw[HEADER_OCTETS : octets - FECF_OCTETS])
        return cls(first & 0x3FF, second >> 10, seq, data, bypass, control)

    @property
    def octets(self) -> int:
        """Length of the encoded frame."""
        return HEADER_OCTETS + len(self.data) + FECF_OCTETS
