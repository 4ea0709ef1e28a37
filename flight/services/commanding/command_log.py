"""Durable commands over a loss of power: each one that was accepted gets its terminal report, exactly one.

A row of the vault per command, `command.NUMBER`:

    (none) --open--> open --done--> done: holds the terminal report --emitted and safe elsewhere--> (none)
    (none) ----------done----------> done

What is found at boot:

    open         the command was cut short: it is ended now as interrupted, and never executed again
    open, stale  the vault has lost transactions: the row is given up, and an event names its command
    done         its report may or may not have been sent: it is emitted again, octet for octet the same
    foreign      written by another version: left as it is, and counted
"""

# What callers may build on, and why it holds:
#
# - `done` is written in the same transaction as what the command changed. So after any loss of power either both are
#   there or neither is: a report never contradicts the state that it reports (ADR 0012).
# - The row holds the report itself, not the facts of it. Repeated after a boot it is the same octets with the same
#   sequence count and time, and the ground recognises it as one it has. "Exactly one" is a property of the report, not
#   of the transmission: whether a packet was heard in the second before the power went, nobody on board can know.
# - A row goes only when its report is safe, wherever it went: the links must be empty (`drained`, twice, with time for
#   the modem in between) and the recorder durable (`sync`). Until then the row keeps the report over a loss of power.
# - A command is never executed twice. An open row says that the handler may have begun; how far it came is unknown.
# - A stale open row may be of the past: the command may have ended and been reported in what is lost. A report made up
#   now could contradict that one, so none is made. A row that is done holds a report that was true when it was written.
#
# Room is reserved at admission (`reserve`), because between that and the opening of the row lies a queue: a bound that
# is looked at before the queue and used up behind it bounds nothing. A reservation ends with the row that takes its
# place, or with the command, if it never has one (`release`). Commands that the node holds are not queued: they look
# for room (`full`) in the step in which they open their row. Rows and reservations together never exceed ROWS_MAX, and
# commands that are not urgent leave _URGENT_ROWS of them free: a disk that hangs must not keep the node from being put
# into safe mode. Numbers go on behind the highest found at boot, foreign rows included, so no row is written over
# another one.

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
_AGAIN_S = 10.0  # until a report that was neither sent nor recorded is tried again
_CLOSE_S = 2.0  # longer than a modem takes to send what it holds
ROWS_MAX = 256
LOG_FULL = "too many durable commands wait for the disk"
_NAMED_MAX = 12  # commands that the text of an event names
_URGENT_ROWS = 32  # of ROWS_MAX, for urgent commands alone


@dataclass(frozen=True, slots=True)
class _Row:
    """A command as it is found at boot. `report` is empty while the row is open, or if its sender wants no report."""

    key: str
    state: int
    request: RequestId
    report: bytes

    @classmethod
    def decode(cls, key: str, value: bytes) -> Self:
        """Decode a row. Raises DecodeError for what is not a row of this log."""
        if not _NUMBER.fullmatch(key.removeprefix(_PREFIX)) or len(value) < _STATE.size:
            raise DecodeError(f"{key} of {len(value)} octets is not a row of the command log")
        state, raw = _STATE.unpack_from(value)
        report = value[_STATE.size :]
        if state not in (_OPEN, _DONE):
            raise DecodeError(f"{key}: state {state}, should be {_OPEN} (open) or {_DONE} (done)")
        if report:
            PusTm.decode(report)
        return cls(key, state, RequestId.decode(raw), report)


class CommandLog(Service):
    """The rows of durable commands, their reports on the way to the ground, and what a boot makes of both.

    `drained` says whether everything handed to the links so far has left the node. `sync` makes the whole storage
    durable, the recorder's part included.
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
        self.uncertain: list[RequestId] = []  # may have ended in lost transactions: nothing is reported of them
        self._given_up: list[str] = []
        self._found = self._read()
        self._rows = {row.key for row in self._found}
        self._reserved = 0  # rows that queued commands will open
        taken = [int(name, 16) for name, _ in vault.rows(_PREFIX) if _NUMBER.fullmatch(name)]
        self._next = max(taken, default=-1) + 1
        self._to_emit: deque[tuple[str, bytes]] = deque()
        self._emitted: list[str] = []  # rows to delete once their reports are safe
        self._undelivered: dict[str, bytes] = {}  # reports that neither a link nor the recorder took
        self._closable = Event()  # there is something to emit or to delete

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def damage(self) -> list[str]:
        """What was found at boot that is not as it should be, in words."""
        out: list[str] = []
        if self.foreign:
            out.append(f"foreign rows left as they are: {self.foreign}")
        if self.uncertain:
            names = name_commands([(request.apid, request.seq) for request in self.uncertain])
            out.append(f"{len(self.uncertain)} of the commands may have ended in what is gone: no report for {names}")
        return out

    def full(self, urgent: bool) -> bool:
        """Whether there is no room for one more row. Urgent commands have a few rows of their own."""
        return len(self._rows) + self._reserved >= (ROWS_MAX if urgent else ROWS_MAX - _URGENT_ROWS)

    def reserve(self, urgent: bool) -> bool:
        """Keep room for the row that a command will open later. Return False if there is none."""
        if self.full(urgent):
            return False
        self._reserved += 1
        return True

    def release(self) -> None:
        """Give back the room of a command that has been given its row, or ends without one."""
        assert self._reserved > 0, "released twice"
        self._reserved -= 1

    def open(self, request: RequestId) -> tuple[str, Changes]:
        """Return a new row's key, and the change that stores the row as open.

        The caller has made sure of the room: by `full` in the same step, or by a reservation, which it releases.
        """
        # Eight digits sort as the numbers do, so `rows` gives commands in order of their opening.
        key = f"{_PREFIX}{self._next & 0xFFFFFFFF:08x}"
        self._next += 1
        self._rows.add(key)
        return key, {key: _STATE.pack(_OPEN, request.encode())}

    def done(self, key: str, request: RequestId, report: bytes) -> Changes:
        """Return the change that ends a command. `report` is its terminal report, empty if its sender wants none."""
        # The request id stands by itself, since the report, which names it too, may be empty.
        return {key: _STATE.pack(_DONE, request.encode()) + report}

    def forget(self, key: str) -> None:
        """Take a row off the count that never became durable."""
        self._rows.discard(key)

    def emit(self, key: str, report: bytes) -> None:
        """Emit a terminal report. The row stays until the report is safe.

        A report that is neither sent nor recorded is tried again later.
        """
        if report:
            self._telemetry.emit(report, self.follow(key, report))
        else:
            # There is nothing to send, so nothing can be lost: the row may go.
            self.follow(key, report)(True)

    def follow(self, key: str, report: bytes) -> Told:
        """Return the callback that learns whether the report was sent or recorded, and deals with the row."""

        def told(delivered: bool) -> None:
            if delivered:
                self._emitted.append(key)
            else:
                self._undelivered[key] = report
            self._closable.set()

        return told

    def recover(self) -> None:
        """End at boot what was cut short, and report again what may not have been heard.

        Called before anything is received. If there is nothing to store, the reports go out at once. Otherwise `run`
        emits them when the changes are stored, a few per step. If storage does not write, the rows stay for the next
        boot.
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
                # Whether the ground has heard this report, nobody on board knows.
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
            # Only now: a report of an interruption that is not stored could be contradicted after another boot.
            self._to_emit.extend(reports)
            self._closable.set()

        try:
            self._vault.commit(changes).add_callback(stored)
        except StorageError:
            return

    def _read(self) -> list[_Row]:
        """Read the rows of an earlier boot, in order of their keys, and sort out foreign and uncertain ones."""
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
        """Return the task that deletes rows."""
        return (ServiceTask("commands.close", self.run, deadline_s=1.0),)

    async def run(self, task: Task) -> None:
        """Delete the rows whose reports are safe: durable in the recorder, or out of the links."""
        while True:
            if self._undelivered:
                await task.sleep(_AGAIN_S)
                undelivered, self._undelivered = self._undelivered, {}
                self._to_emit.extend(undelivered.items())
                self._closable.set()
            await self._closable.wait()
            self._closable.clear()
            await self._emit_waiting(task)
            emitted, self._emitted = self._emitted, []
            if not emitted:
                continue
            # A frame that left the queues may still be in the modem. One period later it has been sent, or the contact
            # has ended and its packets are back in the recorder. Hence `drained` must hold at two looks in a row.
            drained = False
            while not (drained and self._drained()):
                drained = self._drained()
                await task.sleep(_CLOSE_S)
            try:
                await self._sync()
                self._vault.stage(dict.fromkeys(emitted))
            except StorageError:
                # A disk that is full or read-only may recover. If it does not, the next boot reports them again.
                self._emitted = emitted + self._emitted
                self._closable.set()
                continue
            self._rows.difference_update(emitted)

    async def _emit_waiting(self, task: Task) -> None:
        """Emit the reports that wait, a few per step."""
        while self._to_emit:
            for _ in range(min(PACKETS, len(self._to_emit))):
                self.emit(*self._to_emit.popleft())
            await task.sleep(0)


def name_commands(ids: Sequence[tuple[int, int]]) -> str:
    """Return `1/17, 1/18, ...` for APIDs and sequence counts: the first few, for the text of an event."""
    names = [f"{apid}/{seq}" for apid, seq in ids[:_NAMED_MAX]]
    return ", ".join([*names, "..."] if len(ids) > _NAMED_MAX else names)
