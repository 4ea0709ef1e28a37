"""AOS transfer frames with packets (M_PDU), for high-rate payload channels (CCSDS 732.0-B-4, 4.1 and 4.1.4.2).

The header does not tell everything: whether there is an insert zone, an operational control field or frame error
control is agreed beforehand (managed parameters, `AosFormat`).
"""

# The frame, of one length per physical channel:
#
#     version 2 = 1 | spacecraft, lower 8 | channel 6 | count 24
#     replay 1 | cycle in use 1 | spacecraft, upper 2 | cycle 4 | insert zone | M_PDU | OCF 32 | FECF 16
#
# and the M_PDU: spare 5 | first header pointer 11 | packets.
#
# Why AOS beside TM: 64 channels instead of 8, and counts of 24 bits instead of 8. At 100 Mbit/s a TM count comes round
# in 23 ms, and a loss of 256 frames would pass unseen. The price is that there is no master count: what it does for TM,
# telling late frames and restarts, must be read from each channel's own count (ground/link/aos_session.py).
#
# On a protected link the security header stands ahead of the M_PDU and the MAC behind it (355.0-B-2, ADR 0039): the
# M_PDU's header is data to it, and may be encrypted.
#
# The optional error control over the header alone is not used: it would guard a header whose frame is damaged.

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from flight.kernels import crc16
from flight.link.sealing import Seal, Unseal
from flight.link.tm.tm_frame import FECF_OCTETS, IDLE_DATA, OCF_OCTETS, FrameError

HEADER_OCTETS = 6
M_PDU_HEADER_OCTETS = 2
VC_IDLE = 63  # 4.1.2.3.3: only idle data
VC_COUNTS = 1 << 24


@dataclass(frozen=True, slots=True)
class AosFormat:
    """What both ends agree on for one physical channel. Sizes in octets."""

    spacecraft_id: int
    frame_octets: int
    insert_octets: int = 0
    has_ocf: bool = True
    has_fecf: bool = True
    seal: Seal | None = None  # None on a link that is not protected
    overhead_octets: int = 0  # what `seal` adds to the M_PDU
    vc_counts: ClassVar[int] = VC_COUNTS

    @property
    def data_octets(self) -> int:
        """Room for packets in a frame."""
        return self.zone_octets - M_PDU_HEADER_OCTETS

    @property
    def zone_octets(self) -> int:
        """Octets of the M_PDU: its header and the packets."""
        taken = HEADER_OCTETS + self.insert_octets + OCF_OCTETS * self.has_ocf + FECF_OCTETS * self.has_fecf
        return self.frame_octets - taken - self.overhead_octets

    def encode(
        self, vcid: int, master_count: int, vc_count: int, first_header_pointer: int, data: bytes, ocf: bytes | None
    ) -> bytes:
        """Return the octets of one frame (flight.link.tm.downlink.FrameFormat)."""
        # AOS has none.
        del master_count
        return AosFrame(self.spacecraft_id, vcid, vc_count, first_header_pointer, data, ocf).encode(self)


@dataclass(frozen=True, slots=True)
class AosFrame:
    """One frame whose data field is an M_PDU, or idle data on channel 63.

    `spacecraft_id` 0..1023, of which the upper two bits travel in the signalling field; `first_header_pointer` as in
    TM frames (`IDLE_DATA` throughout on channel 63). `cycle` is the upper four bits of the count, None where not used.
    """

    spacecraft_id: int
    vcid: int
    vc_count: int
    first_header_pointer: int
    data: bytes
    ocf: bytes | None
    replay: bool = False
    cycle: int | None = None
    insert: bytes = b""
    _HEADER: ClassVar[struct.Struct] = struct.Struct(">HI")

    def encode(self, fmt: AosFormat) -> bytes:
        """Return the frame's octets; `data`, `insert` and `ocf` must be what the format has room for."""
        assert len(self.insert) == fmt.insert_octets, len(self.insert)
        assert (self.ocf is not None) == fmt.has_ocf, self.ocf
        head = self._HEADER.pack(
            0x4000 | (self.spacecraft_id & 0xFF) << 6 | self.vcid,
            self.vc_count << 8
            | self.replay << 7
            | (self.cycle is not None) << 6
            | self.spacecraft_id >> 8 << 4
            | (self.cycle or 0),
        )
        unit = self.first_header_pointer.to_bytes(M_PDU_HEADER_OCTETS, "big") + self.data
        if fmt.seal is not None:
            unit = fmt.seal(head + self.insert, unit)
        body = b"".join((head, self.insert, unit, self.ocf or b""))
        assert len(body) == fmt.frame_octets - FECF_OCTETS * fmt.has_fecf, (len(body), fmt)
        return body + crc16(body).to_bytes(2, "big") if fmt.has_fecf else body

    @classmethod
    def decode(cls, raw: bytes | memoryview, fmt: AosFormat, unseal: Unseal | None = None) -> Self:
        """Decode exactly `raw`. The caller checks whose frame it is. `unseal` is for protected links.

        Raises FrameError (a DecodeError), and what `unseal` raises.
        """
        if len(raw) != fmt.frame_octets:
            raise FrameError("length", f"frame of {len(raw)} octets, frames of this link have {fmt.frame_octets}")
        if fmt.data_octets < 1:
            raise FrameError("length", f"frames of {fmt.frame_octets} octets have no room for data")
        if fmt.has_fecf and crc16(raw):
            raise FrameError("crc", "frame error control (CRC-16) mismatch")
        first, signalling = cls._HEADER.unpack_from(raw)
        if first >> 14 != 1:
            raise FrameError("version", f"frame version {first >> 14}, only 1 (AOS) is used")
        at = HEADER_OCTETS + fmt.insert_octets
        end = at + fmt.zone_octets + fmt.overhead_octets
        unit = bytes(raw[at:end])
        if unseal is not None:
            unit = unseal(bytes(raw[:at]), unit)
        # On channel 63 the field is idle data throughout: no M_PDU header stands there, whatever its bits say.
        pointer = (unit[0] << 8 | unit[1]) & 0x7FF if first & 0x3F != VC_IDLE else IDLE_DATA
        data = unit[M_PDU_HEADER_OCTETS:]
        if len(data) <= pointer < IDLE_DATA:
            raise FrameError("pointer", f"first header pointer {pointer} is beyond the {len(data)} octets of data")
        return cls(
            (signalling >> 4 & 3) << 8 | first >> 6 & 0xFF,
            first & 0x3F,
            signalling >> 8,
            pointer,
            data,
            bytes(raw[end : end + OCF_OCTETS]) if fmt.has_ocf else None,
            bool(signalling & 0x80),
            signalling & 0x0F if signalling & 0x40 else None,
            bytes(raw[HEADER_OCTETS:at]),
        )


def spacecraft_of(header: bytes) -> int:
    """Return the spacecraft id in a primary header, for whoever must know it before the frame is unsealed."""
    first, signalling = header[0] << 8 | header[1], header[5]
    return (signalling >> 4 & 3) << 8 | first >> 6 & 0xFF
