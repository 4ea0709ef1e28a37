"""Durable commands over a loss of power: each that was accepted has its terminal report, exactly one.

A row of the vault a command, `command.NUMBER`:

    (none) --open--> open --done--> done: holds the terminal report --emitted and kept elsewhere--> (none)
    (none) ----------done----------> done

`done` is in one transaction with what the command changed. A row that is open at boot was cut short: it is done now,
as interrupted, and never executed again. A row that is done at boot may or may not have been reported: its report is
emitted again, octet for octet the same, so that the ground takes it once. Rows go when their reports have left the
node, or stand durable in the recorder.

If the vault lost transactions, a row that is open may be one of the past: its command may have ended, and been
reported. Nobody knows, so no report is made up: such rows are given up, and an event names their commands. A row that
is done holds the report itself, which is true whenever it is emitted.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from flight.contract.failures import Failure
from flight.contract.service import Service, ServiceTask
from flight.core.errors import DecodeError, StorageError
from flight.core.future import Event, Future
from flight.core.step_budget import PACKETS
from flight.core.task import Task
from flight.link.pus import PusTm, RequestId
from flight.services.commanding.verification import COMPLETED, Verification
from flight.services.reporting.telemetry import Telemetry, Told
from flight.store.vault import Changes, Vault

_PREFIX = "command."
_OPEN, _DONE = 1, 2
_NUMBER = re.compile(r"[0-9a-f]{8}")
_STATE = struct.Struct(">B4s")
_AGAIN_S = 10.0
_CLOSE_S = 2.0  # more than a modem holds
ROWS_MAX = 256
_NAMED_MAX = 12  # commands that an event has room for
_URGENT_ROWS = 32  # of them, for urgent commands alone


@dataclass(frozen=True, slots=True)
class _Row:
    """A command as it is found at boot."""

    key: str
    state: int
    request: RequestId
    report: bytes

    @classmethod
    def decode(cls, key: str, value: bytes) -> Self:
        """Raises DecodeError for what is not a row of ours."""
        if not _NUMBER.fullmatch(key.removeprefix(_PREFIX)) or len(value) < _STATE.size:
            raise DecodeError(f"{key} of {len(value)} octets is no row of the command log")
        state, raw = _STATE.unpack_from(value)
        report = value[_STATE.size :]
        if state not in (_OPEN, _DONE):
            raise DecodeError(f"{key}: state {state}")
        if report:
            PusTm.decode(report)
        return cls(key, state, RequestId.decode(raw), report)


class CommandLog(Service):
    """`drained` tells whether everything handed to the links so far has left the node; `sync` is that of the whole
    storage, the recorder's part included.
    """

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
        self.foreign = 0  # rows that this version cannot read, left as they are
        self.uncertain: list[RequestId] = []  # commands whose end is gone, if they had one: not reported
        self._given_up: list[str] = []
        self._found = self._read()
        self._rows = {row.key for row in self._found}
        taken = [int(name, 16) for name, _ in vault.rows(_PREFIX) if _NUMBER.fullmatch(name)]
        self._next = max(taken, default=-1) + 1
        self._to_emit: deque[tuple[str, bytes]] = deque()
        self._emitted: list[str] = []
        self._unsaid: dict[str, bytes] = {}
        self._closable = Event()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def damage(self) -> list[str]:
        """What was found at boot that is not as it should be, in words."""
        out: list[str] = []
        if self.foreign:
            out.append(f"{self.foreign} rows are left as they are")
        if self.uncertain:
            names = name_commands([(one.apid, one.seq) for one in self.uncertain])
            out.append(f"{len(self.uncertain)} commands may have ended in what is gone and get no report: {names}")
        return out

    def full(self, urgent: bool) -> bool:
        return len(self._rows) >= (ROWS_MAX if urgent else ROWS_MAX - _URGENT_ROWS)

    def open(self, request: RequestId) -> tuple[str, Changes]:
        """A new row's key, and the change that makes it an open one."""
        key = f"{_PREFIX}{self._next & 0xFFFFFFFF:08x}"
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
        """Report; the row goes later. A report that nobody hears and nothing keeps is tried again."""
        if report:
            self._telemetry.emit(report, self.follow(key, report))
        else:
            self.follow(key, report)(True)

    def follow(self, key: str, report: bytes) -> Told:
        """Who is to be told whether the report was sent or recorded."""

        def told(said: bool) -> None:
            if said:
                self._emitted.append(key)
            else:
                self._unsaid[key] = report
            self._closable.set()

        return told

    def recover(self) -> None:
        """At boot, before anything is received: end what was cut short, report what may not have been: at once, or by
        `run` when it is stored, a few per step.

        Storage that does not write leaves the rows for the next boot.
        """
        changes: dict[str, bytes | None] = dict.fromkeys(self._given_up)
        reports: list[tuple[str, bytes]] = []
        for row in self._found:
            report = row.report
            if row.state == _OPEN:
                self.interrupted += 1
                report = self._verification.make_failure(
                    row.request, COMPLETED, Failure.INTERRUPTED, "it is not repeated"
                )
                changes |= self.done(row.key, row.request, report)
            else:
                self.reported_again += bool(report)
            reports.append((row.key, report))
        self._found = []
        if not changes:
            for key, report in reports:
                self.emit(key, report)
            return

        def stored(done: Future[None]) -> None:
            try:
                done.result()
            except StorageError:
                return
            self._to_emit.extend(reports)
            self._closable.set()

        try:
            self._vault.commit(changes).add_callback(stored)
        except StorageError:
            return

    def _read(self) -> list[_Row]:
        """What an earlier boot left, in order."""
        found: list[_Row] = []
        for name, value in self._vault.rows(_PREFIX):
            try:
                row = _Row.decode(_PREFIX + name, value)
            except DecodeError:
                self.foreign += 1
                continue
            if row.state == _OPEN and self._vault.is_stale(row.key):
                self.uncertain.append(row.request)
                self._given_up.append(row.key)
            else:
                found.append(row)
        return found

    def tasks(self) -> Iterable[ServiceTask]:
        return (ServiceTask("commands.close", self.run, deadline_s=1.0),)

    async def run(self, task: Task) -> None:
        """Give up rows whose reports are safe: what went to the recorder durable there, the rest out of the links."""
        while True:
            if self._unsaid:
                await task.sleep(_AGAIN_S)
                unsaid, self._unsaid = self._unsaid, {}
                self._to_emit.extend(unsaid.items())
                self._closable.set()
            await self._closable.wait()
            self._closable.clear()
            await self._emit_waiting(task)
            emitted, self._emitted = self._emitted, []
            if not emitted:
                continue
            # Out of the link's queues is not yet out of the modem: what it held then is gone a while later, or is back.
            drained = False
            while not (drained and self._drained()):
                drained = self._drained()
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

    async def _emit_waiting(self, task: Task) -> None:
        """Report what waits for it, a few in a step."""
        while self._to_emit:
            for _ in range(min(PACKETS, len(self._to_emit))):
                self.emit(*self._to_emit.popleft())
            await task.sleep(0)


def name_commands(ids: Sequence[tuple[int, int]]) -> str:
    """APIDs and sequence counts for the text of an event, the first few: `1/17, 1/18, ...`."""
    names = [f"{apid}/{seq}" for apid, seq in ids[:_NAMED_MAX]]
    return ", ".join([*names, "..."] if len(ids) > _NAMED_MAX else names)
