"""Jobs asked for by command, kept over a loss of power until they end; and job numbers that never come twice."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from flight.core.errors import DecodeError
from flight.core.future import Future
from flight.core.generations import Generations
from flight.platform import Storage

# Numbers are set aside in blocks, so that a job of the node's own costs no write.
NUMBERS_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One open job. deadline_tai_ns: TAI since 1958; the node's own timeline begins anew at boot."""

    job: int
    priority: int
    deadline_tai_ns: int
    STRUCT: ClassVar[struct.Struct] = struct.Struct(">IBQ")


@dataclass(frozen=True, slots=True)
class Page:
    """What is stored. next_job: the first number that no job of an earlier boot can have had."""

    next_job: int
    requests: tuple[Request, ...]
    _HEAD: ClassVar[struct.Struct] = struct.Struct(">BIH")
    _VERSION: ClassVar[int] = 1

    def encode(self) -> bytes:
        head = self._HEAD.pack(self._VERSION, self.next_job, len(self.requests))
        return head + b"".join(Request.STRUCT.pack(r.job, r.priority, r.deadline_tai_ns) for r in self.requests)

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Raises DecodeError."""
        if len(raw) < cls._HEAD.size:
            raise DecodeError(f"job ledger of {len(raw)} octets, shortest is {cls._HEAD.size}")
        version, next_job, count = cls._HEAD.unpack_from(raw)
        if version != cls._VERSION:
            raise DecodeError(f"job ledger version {version}, only {cls._VERSION} is known")
        if len(raw) != cls._HEAD.size + count * Request.STRUCT.size:
            raise DecodeError(f"job ledger of {len(raw)} octets does not hold {count} requests")
        return cls(next_job, tuple(Request(*values) for values in Request.STRUCT.iter_unpack(raw[cls._HEAD.size :])))


class Ledger:
    """The stored page and the numbers it gives out."""

    def __init__(self, storage: Storage) -> None:
        self._record = Generations(storage, "payload-jobs")
        self._next = 1
        self._set_aside = 1
        self.damaged = ""

    def load(self) -> tuple[Request, ...]:
        """Requests that were open at the last loss of power. Once, at boot. Damage is said in `damaged`."""
        raw = self._record.load()
        if self._record.damaged:
            self.damaged = "one generation was unreadable"
        if raw is None:
            return ()
        try:
            page = Page.decode(raw)
        except DecodeError as error:
            self.damaged = str(error)
            return ()
        self._next = self._set_aside = max(1, page.next_job)
        return page.requests

    def next_number(self) -> int:
        """A number that no job had before."""
        number = self._next
        self._next += 1
        return number

    @property
    def low(self) -> bool:
        """True where few of the numbers set aside are left, and `save` is due to set aside more."""
        return self._set_aside - self._next < NUMBERS_BLOCK // 4

    def save(self, requests: tuple[Request, ...]) -> Future[None]:
        """Store the open requests; done when durable. Raises StorageError, now or in the future."""
        if self.low:
            self._set_aside = self._next + NUMBERS_BLOCK
        return self._record.save(Page(self._set_aside, requests).encode())
