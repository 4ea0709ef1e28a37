"""Telecommand transfer frames and the two control commands (CCSDS 232.0-B-4, 4.1)."""

# The primary header, 5 octets (4.1.2):
#
#     version 2 | bypass 1 | control 1 | spare 2 | spacecraft 10 | channel 6 | length - 1 10 | N(S) 8
#
# A frame says how long it is, because the codeblocks around it end on a multiple of 7 octets: what the CLTU gives back
# is the frame and up to 6 octets of fill. So `decode` reads the length first, takes that many octets, and checks the
# error control over these alone. It looks at the rest only once the error control is right: of a damaged frame no
# field says anything.
#
# `data` is everything between the primary header and the error control. What stands in it is the link's business: whole
# packets one after the other, or a segment header and a segment (flight/link/segments.py), or a control command.

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Self

from flight.core.errors import DecodeError
from flight.kernels import crc16
from flight.link.sealing import Seal

HEADER_OCTETS = 5
FECF_OCTETS = 2
FRAME_OCTETS_MIN = HEADER_OCTETS + 1 + FECF_OCTETS
FRAME_OCTETS_MAX = 1024
DATA_OCTETS_MAX = FRAME_OCTETS_MAX - HEADER_OCTETS - FECF_OCTETS

# In the first two octets of the header.
BYPASS, CONTROL = 0x2000, 0x1000

UNLOCK = b"\x00"  # 4.1.3.3.2


def set_vr_command(vr: int) -> bytes:
    """Return the control command that sets the receiver's V(R) to `vr`, 0..255 (4.1.3.3.3)."""
    return bytes((0x82, 0x00, vr))


class FrameKind(Enum):
    """What COP-1 does with a frame: AD in sequence, BD data past the sequence, BC a control command."""

    AD = "AD"
    BD = "BD"
    BC = "BC"


@dataclass(frozen=True, slots=True)
class TcFrame:
    """One frame with error control. AD: neither flag; BD: `bypass`; BC: `bypass` and `control`.

    `seq` is N(S), 0..255, and 0 in bypass frames. `data` is 1..1017 octets: packets, a segment, or a control command.
    """

    spacecraft_id: int
    vcid: int
    seq: int
    data: bytes
    bypass: bool = False
    control: bool = False
    HEADER: ClassVar[struct.Struct] = struct.Struct(">HHB")

    def encode(self, seal: Seal | None = None, overhead_octets: int = 0, ahead_octets: int = 0) -> bytes:
        """Return the frame's octets, 8..1024 of them.

        On a protected link (ADR 0039) `seal` stands for what protects the frame, `overhead_octets` is what it adds, and
        the first `ahead_octets` of the data, a segment header, stand ahead of what it adds and are not encrypted.
        """
        assert 0 <= self.spacecraft_id < 0x400, self.spacecraft_id
        assert 0 <= self.vcid < 0x40, self.vcid
        assert 0 <= self.seq < 0x100, self.seq
        assert 1 <= len(self.data) + overhead_octets <= DATA_OCTETS_MAX, len(self.data)
        octets = HEADER_OCTETS + len(self.data) + overhead_octets + FECF_OCTETS
        flags = self.bypass << 13 | self.control << 12
        body = self.HEADER.pack(flags | self.spacecraft_id, self.vcid << 10 | octets - 1, self.seq)
        if seal is None:
            body += self.data
        else:
            body += self.data[:ahead_octets]
            body += seal(body, self.data[ahead_octets:])
        return body + crc16(body).to_bytes(2, "big")

    @classmethod
    def decode(cls, raw: bytes | memoryview) -> Self:
        """Decode the frame at the start of `raw`; what follows it (fill, or the next frame) is left to the caller.

        Makes the checks of 232.0-B-4, 4.3.4 (frame validation) except those of the ids, which only the link knows.
        Raises DecodeError if one of them fails.
        """
        if len(raw) < FRAME_OCTETS_MIN:
            raise DecodeError(f"telecommand frame of {len(raw)} octets, shortest is {FRAME_OCTETS_MIN}")
        first, second, seq = cls.HEADER.unpack_from(raw)
        octets = (second & 0x3FF) + 1
        if octets < FRAME_OCTETS_MIN:
            raise DecodeError(f"telecommand frame: length field says {octets} octets, least is {FRAME_OCTETS_MIN}")
        if octets > len(raw):
            raise DecodeError(f"telecommand frame: length field says {octets} octets, got {len(raw)}")
        if crc16(raw[:octets]):
            raise DecodeError("telecommand frame: frame error control (CRC-16) mismatch")
        if first >> 14:
            raise DecodeError(f"telecommand frame version {first >> 14}, only 0 is defined")
        bypass, control = bool(first & BYPASS), bool(first & CONTROL)
        if control and not bypass:
            raise DecodeError("telecommand frame: control command without bypass flag")
        if first & 0x0C00:
            raise DecodeError("telecommand frame: spare bits set")
        data = bytes(raw[HEADER_OCTETS : octets - FECF_OCTETS])
        return cls(first & 0x3FF, second >> 10, seq, data, bypass, control)

    @property
    def kind(self) -> FrameKind:
        """What COP-1 does with the frame."""
        if not self.bypass:
            return FrameKind.AD
        return FrameKind.BC if self.control else FrameKind.BD

    @property
    def octets(self) -> int:
        """Length of the encoded frame."""
        return HEADER_OCTETS + len(self.data) + FECF_OCTETS
