"""Telemetry transfer frames: fixed length, operational control field, frame error control (CCSDS 132.0-B-3, 4.1)."""

# The frame (4.1.2 to 4.1.6), of one length per link, because receivers find the next marker by it:
#
#     version 2 = 0 | spacecraft 10 | channel 3 | OCF flag 1 | master count 8 | channel count 8
#     secondary header 1 = 0 | sync 1 = 0 | packet order 1 = 0 | segment length 2 = 3 | first header pointer 11
#     data | OCF 32 | FECF 16
#
# The first header pointer is what makes packets over frames possible: it names the octet of the data at which the first
# packet begins, so that after a missing frame a receiver finds its way again without the packet that was in hand.
#
# On a protected link (355.0-B-2, ADR 0039) a security header stands ahead of the data and a MAC behind it, both inside
# what the frame has for data. Whoever makes or reads frames is given a function for that (flight/link/sealing.py).
# The control field and the error control are outside, so that the error control alone still says whether a frame
# arrived as it was sent.
#
# For any octets `decode` returns a frame or raises FrameError. A frame that it returns has the length of the link,
# error control that agrees (unless the link has none), and a pointer that lies in the data or is one of the two values
# that name no place. Whose frame it is, the caller checks.

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from flight.core.errors import DecodeError
from flight.kernels import crc16
from flight.link.sealing import Seal, Unseal

HEADER_OCTETS = 6
OCF_OCTETS = 4
FECF_OCTETS = 2
FRAME_OCTETS_MAX = 2048
NO_PACKET_START = 0x7FF  # 4.1.2.7.6.4: no packet starts in this frame
IDLE_DATA = 0x7FE  # 4.1.2.7.6.5: only idle data in this frame
_HEADER = struct.Struct(">HBBH")


class FrameError(DecodeError):
    """Octets that are not a frame of this link. `reason` is the key under which they are counted."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def data_octets(frame_octets: int) -> int:
    """Return the octets of the data field of a frame with control field and error control."""
    return frame_octets - HEADER_OCTETS - OCF_OCTETS - FECF_OCTETS


@dataclass(frozen=True, slots=True)
class TmFormat:
    """TM frames of one spacecraft and length, for a multiplexer (flight.link.tm.downlink.FrameFormat)."""

    spacecraft_id: int
    frame_octets: int
    seal: Seal | None = None  # None on a link that is not protected
    overhead_octets: int = 0  # what `seal` adds to the data
    vc_counts: ClassVar[int] = 256

    @property
    def data_octets(self) -> int:
        """Room for packets in a frame with control field, octets."""
        return data_octets(self.frame_octets) - self.overhead_octets

    def encode(
        self, vcid: int, master_count: int, vc_count: int, first_header_pointer: int, data: bytes, ocf: bytes | None
    ) -> bytes:
        """Return the octets of one frame. No TmFrame is made on the way: that would cost more than the octets."""
        header = _HEADER.pack(
            self.spacecraft_id << 4 | vcid << 1 | (ocf is not None),
            master_count,
            vc_count,
            # 4.1.2.7: no secondary header, packets in order, segment length 3 (required of frames of packets)
            0x1800 | first_header_pointer,
        )
        sealed = data if self.seal is None else self.seal(header, data)
        body = b"".join((header, sealed, ocf or b""))
        assert len(body) == self.frame_octets - FECF_OCTETS, (len(body), self.frame_octets)
        return body + crc16(body).to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class TmFrame:
    """One frame of packets (not of virtual channel access data), without secondary header.

    `first_header_pointer` is the octet of `data` at which the first packet starts, NO_PACKET_START or IDLE_DATA.
    `ocf` is 4 octets or None.
    """

    spacecraft_id: int
    vcid: int
    master_count: int
    vc_count: int
    first_header_pointer: int
    data: bytes
    ocf: bytes | None

    def encode(self, octets: int) -> bytes:
        """Return the frame as exactly `octets` octets, which `data` must fill."""
        return TmFormat(self.spacecraft_id, octets).encode(
            self.vcid, self.master_count, self.vc_count, self.first_header_pointer, self.data, self.ocf
        )

    @classmethod
    def decode(
        cls, raw: bytes | memoryview, octets: int, *, has_fecf: bool = True, unseal: Unseal | None = None
    ) -> Self:
        """Decode exactly `raw`, a frame of a link whose frames are `octets` long.

        `has_fecf=False` is for links on which Reed-Solomon alone guards the frame, `unseal` for protected ones.
        Raises FrameError (a DecodeError), and what `unseal` raises.
        """
        if len(raw) != octets:
            raise FrameError("length", f"frame of {len(raw)} octets, frames of this link have {octets}")
        if octets < HEADER_OCTETS + 1 + OCF_OCTETS + FECF_OCTETS:
            raise FrameError("length", f"frames of {octets} octets have no room for data")
        if has_fecf and crc16(raw):
            raise FrameError("crc", "frame error control (CRC-16) mismatch")
        first, master_count, vc_count, status = _HEADER.unpack_from(raw)
        if first >> 14:
            raise FrameError("version", f"frame version {first >> 14}, only 0 (TM) is used")
        if status & 0xC000:
            raise FrameError("status", f"data field status {status:#06x}: a secondary header, or data without packets")
        end = octets - FECF_OCTETS * has_fecf
        ocf = None
        if first & 1:
            end -= OCF_OCTETS
            ocf = bytes(raw[end : end + OCF_OCTETS])
        pointer = status & 0x7FF
        data = bytes(raw[HEADER_OCTETS:end])
        if unseal is not None:
            data = unseal(bytes(raw[:HEADER_OCTETS]), data)
        if len(data) <= pointer < IDLE_DATA:  # the two values above are not places in the data
            raise FrameError("pointer", f"first header pointer {pointer} is beyond the {len(data)} octets of data")
        return cls(first >> 4 & 0x3FF, first >> 1 & 7, master_count, vc_count, pointer, data, ocf)


def spacecraft_of(header: bytes) -> int:
    """Return the spacecraft id in a primary header, for whoever must know it before the frame is unsealed."""
    return (header[0] & 0x3F) << 4 | header[1] >> 4
