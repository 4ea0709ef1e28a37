"""What pool and worker say to each other: small messages over a local socket that keeps their bounds.

The worker says first which guards it put up (Isolated, before the app is imported), then READY or NOT_READY, and one
Answer for each Request after that. Anything else is nonsense, and ends it.

Pixels, answer and product lie in the slot, a stretch of shared memory of fixed size that is made anew for every
process:

    input      uint16 [band, row, column]     written by the parent before the request
    answer     octets                         written by the worker before the reply; payloads/product/answers.py
    product    octets                         as above; payloads/product

Whoever has the last word owns the slot: the worker from request to reply, the parent otherwise. A worker may break
that, so the parent copies what lies there once and judges the copy.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Self

from flight.core.errors import DecodeError

DETAIL_OCTETS_MAX = 200
MESSAGE_OCTETS_MAX = 512
_PRODUCT_HEAD_MAX = 1 << 17  # with the longest declaration


class Status(IntEnum):
    """What a reply says. READY and NOT_READY come once, after start-up; one of the others for each request."""

    READY = 0
    NOT_READY = 1
    DONE = 2
    BAD_OUTPUT = 3
    APP_ERROR = 4


@dataclass(frozen=True, slots=True)
class SlotShape:
    """The largest tile and answer that a slot takes, and where its parts lie."""

    bands: int
    height: int
    width: int
    answer_octets: int

    @property
    def input_octets(self) -> int:
        return 2 * self.bands * self.height * self.width

    @property
    def product_octets(self) -> int:
        """More than a product of incompressible samples and answer takes: zlib adds under 0.1 % and a few octets."""
        packed = self.input_octets + self.answer_octets
        return packed + packed // 64 + _PRODUCT_HEAD_MAX

    @property
    def answer_at(self) -> int:
        return self.input_octets

    @property
    def product_at(self) -> int:
        return self.input_octets + self.answer_octets

    @property
    def octets(self) -> int:
        return self.product_at + self.product_octets


@dataclass(frozen=True, slots=True)
class Isolated:
    """The first message of a process: the guards that hold (payloads.worker.guards), as a number."""

    guards: int
    _STRUCT: ClassVar[struct.Struct] = struct.Struct(">4sI")
    MAGIC: ClassVar[bytes] = b"OBIS"

    def encode(self) -> bytes:
        return self._STRUCT.pack(self.MAGIC, self.guards)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Raises DecodeError."""
        if len(raw) != cls._STRUCT.size or raw[:4] != cls.MAGIC:
            raise DecodeError(f"first message of {len(raw)} octets beginning {raw[:4].hex()}, should be the guards")
        return cls(cls._STRUCT.unpack(raw)[1])


@dataclass(frozen=True, slots=True)
class Request:
    """Run the app on the tile in the slot. time_ns: capture, TAI; cloudy_frac: above it a mask goes without pixels."""

    sequence: int
    tile: int
    job: int
    time_ns: int
    bands: int
    height: int
    width: int
    cloudy_frac: float
    _STRUCT: ClassVar[struct.Struct] = struct.Struct(">4sIIIQHHHd")
    MAGIC: ClassVar[bytes] = b"OBRQ"

    def encode(self) -> bytes:
        return self._STRUCT.pack(
            self.MAGIC, self.sequence, self.tile, self.job, self.time_ns, self.bands, self.height, self.width,
            self.cloudy_frac,
        )  # fmt: skip

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        if len(raw) != cls._STRUCT.size or raw[:4] != cls.MAGIC:
            raise DecodeError(f"request of {len(raw)} octets beginning {raw[:4].hex()}, should be {cls._STRUCT.size}")
        return cls(*cls._STRUCT.unpack(raw)[1:])


@dataclass(frozen=True, slots=True)
class Answer:
    """The worker's word on `sequence`. infer_ns and pack_ns are wall time: for the summary, never for a decision."""

    status: Status
    sequence: int
    pid: int
    infer_ns: int = 0
    pack_ns: int = 0
    answer_octets: int = 0
    product_octets: int = 0
    detail: str = ""
    _STRUCT: ClassVar[struct.Struct] = struct.Struct(">4sBIIQQII")
    MAGIC: ClassVar[bytes] = b"OBAN"

    def encode(self) -> bytes:
        head = self._STRUCT.pack(
            self.MAGIC, self.status, self.sequence, self.pid, self.infer_ns, self.pack_ns, self.answer_octets,
            self.product_octets,
        )  # fmt: skip
        return head + self.detail.encode(errors="replace")[:DETAIL_OCTETS_MAX]

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Raises DecodeError: a worker whose memory went bad says anything."""
        if not cls._STRUCT.size <= len(raw) <= cls._STRUCT.size + DETAIL_OCTETS_MAX or raw[:4] != cls.MAGIC:
            raise DecodeError(f"answer of {len(raw)} octets beginning {raw[:4].hex()}")
        _, status, sequence, pid, infer_ns, pack_ns, answer_octets, product_octets = cls._STRUCT.unpack_from(raw)
        if status not in Status.__members__.values():
            raise DecodeError(f"answer with status {status}, highest is {max(Status)}")
        detail = raw[cls._STRUCT.size :].decode(errors="replace")
        return cls(Status(status), sequence, pid, infer_ns, pack_ns, answer_octets, product_octets, detail)
