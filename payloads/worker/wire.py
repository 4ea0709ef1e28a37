"""What pool and worker say to each other: small messages over a local socket that keeps them apart.

The worker first reports which guards it has put up (Isolated, before the app is imported), then READY or NOT_READY, and
after that one Answer per Request. The pool ends a worker that says anything else.

Pixels, answer and product lie in the slot, shared memory of fixed size, a new one per process:

    input      uint16 [band, row, column]     written by the node before the request
    answer     octets                         written by the worker before the reply; payloads/product/answers.py
    product    octets                         as above; payloads/product
"""

# Whoever was spoken to last owns the slot: the worker from request to reply, the node otherwise. A worker may break
# that rule and write at any time, so the node copies what lies there once, and judges the copy.
#
# Messages carry a magic and have a fixed size but for a text at the end. The socket is SOCK_SEQPACKET: it never splits
# or joins messages, so no length or marker is needed. `sequence` ties an answer to its request, so that an answer to an
# earlier one is found out.
#
# The slot is as large as the largest product can become, so that a worker never has to say that its product does not
# fit.

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
    """What a reply says. READY or NOT_READY comes once, after start-up; one of the others comes per request."""

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
        """The octets of the largest tile."""
        return 2 * self.bands * self.height * self.width

    @property
    def product_octets(self) -> int:
        """More than the octets of a product of incompressible samples and answer."""
        # zlib adds less than 0.1 % and a few octets; 1/64 is granted.
        packed = self.input_octets + self.answer_octets
        return packed + packed // 64 + _PRODUCT_HEAD_MAX

    @property
    def answer_at(self) -> int:
        """Where the answer begins, in octets."""
        return self.input_octets

    @property
    def product_at(self) -> int:
        """Where the product begins, in octets."""
        return self.input_octets + self.answer_octets

    @property
    def octets(self) -> int:
        """The size of the slot, in octets."""
        return self.product_at + self.product_octets


@dataclass(frozen=True, slots=True)
class Isolated:
    """The first message of a process: the guards that hold (payloads.worker.guards), as a number."""

    guards: int
    _STRUCT: ClassVar[struct.Struct] = struct.Struct(">4sI")
    MAGIC: ClassVar[bytes] = b"OBIS"

    def encode(self) -> bytes:
        """Return the message."""
        return self._STRUCT.pack(self.MAGIC, self.guards)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Read the message. Raises DecodeError."""
        if len(raw) != cls._STRUCT.size or raw[:4] != cls.MAGIC:
            raise DecodeError(f"first message of {len(raw)} octets beginning {raw[:4].hex()}, should be the guards")
        return cls(cls._STRUCT.unpack(raw)[1])


@dataclass(frozen=True, slots=True)
class Request:
    """Run the app on the tile in the slot.

    time_ns: its capture, TAI. cloudy_frac: share of class 1 above which a mask's product carries no pixels.
    """

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
        """Return the message."""
        return self._STRUCT.pack(
            self.MAGIC, self.sequence, self.tile, self.job, self.time_ns, self.bands, self.height, self.width,
            self.cloudy_frac,
        )  # fmt: skip

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Read the message. Raises DecodeError."""
        if len(raw) != cls._STRUCT.size or raw[:4] != cls.MAGIC:
            raise DecodeError(f"request of {len(raw)} octets beginning {raw[:4].hex()}, should be {cls._STRUCT.size}")
        return cls(*cls._STRUCT.unpack(raw)[1:])


@dataclass(frozen=True, slots=True)
class Answer:
    """The worker's answer to request `sequence`. infer_ns, pack_ns: wall time for the summary, never for a decision."""

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
        """Return the message, its text cut to DETAIL_OCTETS_MAX."""
        head = self._STRUCT.pack(
            self.MAGIC, self.status, self.sequence, self.pid, self.infer_ns, self.pack_ns, self.answer_octets,
            self.product_octets,
        )  # fmt: skip
        return head + self.detail.encode(errors="replace")[:DETAIL_OCTETS_MAX]

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Read the message. Raises DecodeError: a worker whose memory is damaged may say anything."""
        if not cls._STRUCT.size <= len(raw) <= cls._STRUCT.size + DETAIL_OCTETS_MAX or raw[:4] != cls.MAGIC:
            raise DecodeError(f"answer of {len(raw)} octets beginning {raw[:4].hex()}")
        _, status, sequence, pid, infer_ns, pack_ns, answer_octets, product_octets = cls._STRUCT.unpack_from(raw)
        if status not in Status.__members__.values():
            raise DecodeError(f"answer with status {status}, highest is {max(Status)}")
        detail = raw[cls._STRUCT.size :].decode(errors="replace")
        return cls(Status(status), sequence, pid, infer_ns, pack_ns, answer_octets, product_octets, detail)
