"""Jobs asked for by command, kept over a loss of power until they end; and job numbers that never come twice."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from flight.contract.names import OWNER_CHARACTERS_MAX, is_name
from flight.store.vault import Changes
from flight.store.vault_view import VaultView

# Numbers are set aside in blocks, so that a job of the node's own costs no write.
NUMBERS_BLOCK = 1024
_NUMBERS_LOST = 1 << 20  # passed over if the vault has lost transactions: far more than one of its segments has used
_JOB = "job."
_NEXT = "next"
_NUMBER = struct.Struct(">I")
_NAME = re.compile(r"[0-9]{10}")
_JOB_MAX = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Request:
    """One open job. deadline_tai_ns: TAI since 1958; the node's own timeline begins anew at boot. app: the worker app's
    name, "" for the mission's first one.
    """

    job: int
    priority: int
    deadline_tai_ns: int
    app: str = ""
    STRUCT: ClassVar[struct.Struct] = struct.Struct(">BQ")


class Ledger:
    """The app's rows of the vault: one per request, and the first number that no job of an earlier boot can have had.

    `damaged` counts rows that this version cannot read. Requests among them are left as they are.
    """

    def __init__(self, vault: VaultView) -> None:
        self.damaged = 0
        self._vault = vault
        self._requests = tuple(self._read())
        stored = vault.get(_NEXT)
        known = 1
        if stored is not None and len(stored) == _NUMBER.size:
            (known,) = _NUMBER.unpack(stored)
        elif stored is not None:
            self.damaged += 1
        if vault.is_stale(_NEXT) or (stored is not None and known == 1):
            known += _NUMBERS_LOST  # what is gone, or cannot be read, may have set further ones aside
        self._next: int = max(known, *(one.job + 1 for one in self._requests), 1)
        self._set_aside = self._next

    def load(self) -> tuple[Request, ...]:
        """Requests that were open at the last loss of power."""
        return self._requests

    def _read(self) -> Iterator[Request]:
        for name, octets in self._vault.rows(_JOB):
            app = octets[Request.STRUCT.size :].decode(errors="replace")
            whole = len(octets) >= Request.STRUCT.size and (not app or is_name(app, OWNER_CHARACTERS_MAX))
            if whole and _NAME.fullmatch(name) and int(name) <= _JOB_MAX:
                priority, deadline_tai_ns = Request.STRUCT.unpack_from(octets)
                yield Request(int(name), priority, deadline_tai_ns, app)
            else:
                self.damaged += 1

    def next_number(self) -> int:
        """A number that no job had before. Raises StorageError where no further ones can be set aside."""
        if self._set_aside - self._next < NUMBERS_BLOCK // 4:
            self._vault.stage({_NEXT: _NUMBER.pack(self._next + NUMBERS_BLOCK)})
            self._set_aside = self._next + NUMBERS_BLOCK
        number = self._next
        self._next += 1
        return number

    @staticmethod
    def keep(requests: Iterable[Request]) -> Changes:
        """What stores `requests`."""
        return {
            f"{_JOB}{r.job:010d}": Request.STRUCT.pack(r.priority, r.deadline_tai_ns) + r.app.encode() for r in requests
        }

    def forget(self, job: int) -> None:
        """The job has ended. Nobody waits for the disk to know it; raises StorageError where it takes no more."""
        self._vault.commit(self.drop(job))

    @staticmethod
    def drop(job: int) -> Changes:
        """What makes the job's request forgotten."""
        return {f"{_JOB}{job:010d}": None}
