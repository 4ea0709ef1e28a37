"""Durable commands over a loss of power: each that was accepted has its terminal report, exactly one.

A row of the vault a command, `command.NUMBER`:

    (none) --open--> open --done--> done: holds the terminal report --emitted and kept elsewhere--> (none)
    (none) ----------done----------> done

`done` is in one transaction with what the command changed. A row that is open at boot was cut short: it is done now,
as interrupted, and never executed again. A row that is done at boot may or may not have been reported: its report is
emitted again, octet for octet the same, so that the ground takes it once. Rows go when their reports have left the
node, or stand durable in the recorder.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from flight.core.errors import DecodeError, StorageError
from flight.core.future import Event, Future
from flight.core.scheduler import Task
from flight.core.vault import Changes, Vault
from flight.link.pus import RequestId
from flight.services.telemetry import Telemetry
from flight.services.verification import COMPLETED, INTERRUPTED, Verification

_PREFIX = "command."
_OPEN, _DONE = 1, 2
_STATE = struct.Struct(">B4s")
_CLOSE_S = 2.0  # more than a modem holds
ROWS_MAX = 256
_URGENT_ROWS = 32  # of them, for urgent commands alone


class CommandLog:
    """`drained` tells whether everything handed to the links so far has left the node; `sync` is that of the whole
    storage, the recorder's part included."""

    def __init__(
        self,
        vault: Vault,
        telemetry: Telemetry,
        verification: Verification,
        drained: Callable[[], bool],
        sync: Callable[[], Future[None]],
    ) -> None:
        self.interrupted = 0
        self.reported_again = 0
        self._vault = vault
        self._telemetry = telemetry
        self._verification = verification
        self._drained = drained
        self._sync = sync
        self._rows: set[str] = {_PREFIX + name for name, _ in vault.rows(_PREFIX)}
        numbers = [int(name.removeprefix(_PREFIX), 16) for name in self._rows]
        self._next = max(numbers, default=-1) + 1
        self._emitted: list[str] = []
        self._closable = Event()

    def __len__(self) -> int:
        return len(self._rows)

    def full(self, urgent: bool) -> bool:
        return len(self._rows) >= (ROWS_MAX if urgent else ROWS_MAX - _URGENT_ROWS)

    def open(self, request: RequestId) -> tuple[str, Changes]:
        """A new row's key, and the change that makes it an open one."""
        key = f"{_PREFIX}{self._next:08x}"
        self._next += 1
        self._rows.add(key)
        return key, {key: _STATE.pack(_OPEN, request.encode())}

    def done(self, key: str, request: RequestId, report: bytes) -> Changes:
        """The change that ends a command; `report` is its terminal report, empty where its sender wants none."""
        return {key: _STATE.pack(_DONE, request.encode()) + report}

    def forget(self, key: str) -> None:
        """The row never became durable."""
        self._rows.discard(key)

    def emit(self, key: str, report: bytes) -> None:
        """Report; the row goes later."""
        if report:
            self._telemetry.emit(report)
        self._emitted.append(key)
        self._closable.set()

    def recover(self) -> None:
        """At boot, before anything is received: end what was cut short, report what may not have been.

        Storage that does not write leaves the rows for the next boot.
        """
        changes: dict[str, bytes | None] = {}
        reports: list[tuple[str, bytes]] = []
        for name, value in self._vault.rows(_PREFIX):
            key = _PREFIX + name
            try:
                state, raw = _STATE.unpack_from(value)
                request = RequestId.decode(raw)
            except (DecodeError, struct.error):
                changes[key] = None  # written by another version: there is nobody to report to
                self._rows.discard(key)
                continue
            report = value[_STATE.size :]
            if state == _OPEN:
                self.interrupted += 1
                self._verification.count(COMPLETED, INTERRUPTED)
                report = self._verification.make_failure(request, COMPLETED, INTERRUPTED, "it is not repeated")
                changes |= self.done(key, request, report)
            else:
                self.reported_again += bool(report)
            reports.append((key, report))
        if not changes:
            self._emit_all(reports)
            return

        def stored(done: Future[None]) -> None:
            try:
                done.result()
            except StorageError:
                return
            self._emit_all(reports)

        try:
            self._vault.commit(changes).add_callback(stored)
        except StorageError:
            return

    def _emit_all(self, reports: list[tuple[str, bytes]]) -> None:
        for key, report in reports:
            self.emit(key, report)

    async def run(self, task: Task) -> None:
        """Give up rows whose reports are safe: what went to the recorder durable there, the rest out of the links."""
        while True:
            await self._closable.wait()
            self._closable.clear()
            emitted, self._emitted = self._emitted, []
            # Out of the link's queues is not yet out of the modem: what it held then is gone a while later.
            while not self._drained():
                await task.sleep(_CLOSE_S)
            await task.sleep(_CLOSE_S)
            try:
                await self._sync()
                self._vault.stage(dict.fromkeys(emitted))
            except StorageError:
                # A disk that is full or read-only may recover; otherwise they are reported again after the next boot.
                self._emitted = emitted + self._emitted
                self._closable.set()
                continue
            self._rows.difference_update(emitted)
