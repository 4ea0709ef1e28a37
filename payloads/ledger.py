"""Jobs asked for by command, kept over a loss of power until they end; and job numbers that are never used twice."""

# Rows of the app's part of the vault (flight/store/vault.py):
#
#     job.NNNNNNNNNN   one open request: priority (u8), deadline (u64, TAI in ns), and the app's name in ASCII, which is
#                      empty for the mission's first one
#     next             u32: the first number that was not set aside
#
# A number must never be used twice, also over boots: products, reports and the ground's archive know a job by it.
# Numbers are set aside in blocks, so that a job of the node's own costs no write; those of a block that were not used
# when power failed are skipped. The row is written when a quarter of the block remains, and becomes durable with
# whatever is synced next, so no job waits for it. Only if power fails before the first row of a boot is durable can
# numbers repeat: names of product files on the ground allow for that (ADR 0018).
#
# If the vault has lost transactions, or `next` cannot be read, numbers may have been given out that nothing here knows
# of. Then a million numbers are passed over: far more than one lost segment can have set aside (ADR 0018).
#
# Rows that this version cannot read are counted and left as they are: another version may have written them.

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
_NUMBERS_LOST = 1 << 20  # passed over if the vault has lost transactions
_JOB = "job."
_NEXT = "next"
_NUMBER = struct.Struct(">I")
_NAME = re.compile(r"[0-9]{10}")
_JOB_MAX = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Request:
    """One open job.

    deadline_tai_ns: TAI since 1958, because the node's own timeline begins again at each boot. app: name of the worker
    app, "" for the mission's first one.
    """

    job: int
    priority: int
    deadline_tai_ns: int
    app: str = ""
    STRUCT: ClassVar[struct.Struct] = struct.Struct(">BQ")


class Ledger:
    """The app's rows of the vault: one per request, and the first number that no job of an earlier boot can have had.

    `damaged` counts rows that this version cannot read.
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
            known += _NUMBERS_LOST  # what is gone, or cannot be read, may have set more of them aside
        self._next: int = max(known, *(request.job + 1 for request in self._requests), 1)
        self._set_aside = self._next  # none: the first number asked for sets a block aside

    def load(self) -> tuple[Request, ...]:
        """Return the requests that were open at the last loss of power."""
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
        """Return a number that no job has had before. Raises StorageError if no further ones can be set aside."""
        if self._set_aside - self._next < NUMBERS_BLOCK // 4:
            self._vault.stage({_NEXT: _NUMBER.pack(self._next + NUMBERS_BLOCK)})
            self._set_aside = self._next + NUMBERS_BLOCK
        number = self._next
        self._next += 1
        return number

    @staticmethod
    def keep(requests: Iterable[Request]) -> Changes:
        """Return the changes that store `requests`."""
        return {
            f"{_JOB}{r.job:010d}": Request.STRUCT.pack(r.priority, r.deadline_tai_ns) + r.app.encode() for r in requests
        }

    def forget(self, job: int) -> None:
        """Remove the request of a job that has ended, without waiting for the disk. Raises StorageError."""
        self._vault.commit(self.drop(job))

    @staticmethod
    def drop(job: int) -> Changes:
        """Return the changes that remove the job's request."""
        return {f"{_JOB}{job:010d}": None}
