"""What is stored and reported of a telecommand that was accepted, and in which order. No waiting, no handlers.

Nothing is reported of a durable command before it is durable, and nothing that a loss of power could contradict: the
stages and their transactions are in the table of flight/services/commanding/commands.py. If the disk refuses at once,
that is reported. If it fails later, nobody knows whether the outcome will be there after a boot, and an event says so:
the report comes after the boot or never.

A terminal report is made before it is stored, and its number with it: it is repeated octet for octet after a boot. So
what follows from a command, an event say, is put in force after the report has left: it bears a later number, and no
part of a chain overtakes an earlier one. What others made meanwhile waits behind the reports, a little while at most
(flight/services/reporting/telemetry.py); of an urgent command, whose handler has acted without the disk, nothing does.
"""

from __future__ import annotations

from collections.abc import Sequence

from flight.contract.app import CommandRefused, Durable
from flight.contract.failures import Failure
from flight.core.errors import StorageError
from flight.core.future import Future
from flight.link.pus import PusTc
from flight.services.commanding.command_counts import CommandCounts
from flight.services.commanding.command_log import CommandLog
from flight.services.commanding.handler_table import Telecommand
from flight.services.commanding.verification import ACCEPTED, COMPLETED, NONE, STARTED, Verification
from flight.services.reporting.events import Events
from flight.services.reporting.telemetry import Told
from flight.store.vault import Changes, Vault

_LOG_FULL = "too many durable commands wait for the disk"


class Outcomes:
    """Opens rows of the command log, ends them, and reports each stage when that may be said."""

    def __init__(
        self, vault: Vault, log: CommandLog, verification: Verification, events: Events, counts: CommandCounts
    ) -> None:
        self._vault = vault
        self._log = log
        self._verification = verification
        self._events = events
        self._counts = counts

    # Before the handler is through

    def start(self, tc: Telecommand) -> None:
        """Report the start of one that is not stored."""
        self._verification.success(tc.request, STARTED)

    def store_open(self, tc: Telecommand, changes: Changes) -> Future[None]:
        """Store that the command is accepted, together with `changes`. Raises StorageError."""
        if self._log.full(tc.served.command.urgent):
            raise StorageError(_LOG_FULL)
        row, opening = self._log.open(tc.request.request_id)
        try:
            stored = self._vault.commit({**changes, **opening})
        except StorageError:
            self._log.forget(row)
            raise
        tc.row = row
        return stored

    def forget_open(self, tc: Telecommand) -> None:
        """Its row never became durable: it was never accepted."""
        self._log.forget(tc.row)

    def accept_open(self, tc: Telecommand) -> None:
        """Report the acceptance and start of one that is durable as open."""
        tc.opened = True
        self._verification.success(tc.request, ACCEPTED)
        self._verification.success(tc.request, STARTED)

    async def refuse_held(self, request: PusTc, refusal: CommandRefused, changes: Changes) -> None:
        """End a command that the node held, unexecuted: `changes` and the refusal in one transaction, then the report.
        Raises StorageError if that is not stored: nothing is reported, and it is held still.
        """
        if self._log.full(urgent=False):
            raise StorageError(_LOG_FULL)
        report = self._verification.make_failure(request.request_id, ACCEPTED, refusal.code, str(refusal))
        row, _ = self._log.open(request.request_id)
        try:
            await self._vault.commit({**changes, **self._log.done(row, request.request_id, report)})
        except StorageError:
            self._log.forget(row)
            raise
        self._counts.received += 1
        self._counts.refused[refusal.code] += 1
        self._verification.count(ACCEPTED, refusal.code)
        self._log.emit(row, report)

    def refuse_unstored(self, tc: Telecommand, reason: str) -> None:
        """Refuse one of which nothing is in force, and nothing was said."""
        self._verification.failure(tc.request, ACCEPTED, Failure.STORAGE, reason)
        self._close(tc, Failure.STORAGE)

    def refuse_overdue(self, tc: Telecommand) -> None:
        """Refuse one whose row, handed to the disk, is not durable in time. It may become durable as open yet, but not
        without the transaction after it, which says that it was refused.
        """
        self._close(tc, Failure.STORAGE)
        detail = "the disk has not answered in time"
        report = self._verification.make_failure(tc.request.request_id, ACCEPTED, Failure.STORAGE, detail)
        try:
            self._store_report(tc, Durable(), [], ACCEPTED, Failure.STORAGE, report)
        except StorageError as error:
            self.leave_unknown(tc, str(error), Failure.STORAGE)

    def leave_unknown(self, tc: Telecommand, reason: str, refused: int = NONE) -> None:
        """Report nothing now that another report could contradict: whether the row is there after a boot is not known.
        An event says so. `refused`: why it was not executed.
        """
        self._events.emit("outcome_not_stored", tc.name, reason)
        self._close(tc, refused)

    # When the handler is through

    def end(self, tc: Telecommand, kept: Durable, code: int, detail: str, *, waited_for: bool = False) -> None:
        """Store what the handler leaves, then report completion, or its failure with `code` and `detail`. waited_for:
        somebody waits for that, and lets go in time of what is held for the reports.
        """
        if tc.served.command.durable or tc.opened:
            if waited_for:
                tc.place = self._verification.hold()
            ending = False
            try:
                self._end_durable(tc, kept, code, detail)
                ending = True
            finally:
                if not ending:
                    self.let_go(tc)  # a fault of ours: nobody waits for the disk then, and all others would
            return
        kept.then()
        if code == NONE:
            self._verification.success(tc.request, COMPLETED)
        else:
            self._verification.failure(tc.request, COMPLETED, code, detail)
        self._close(tc)

    def _end_durable(self, tc: Telecommand, kept: Durable, code: int, detail: str) -> None:
        request = tc.request
        stages = () if tc.opened else (ACCEPTED, STARTED)
        before = [(stage, self._verification.make_success(request, stage)) for stage in stages]
        if code == NONE:
            report = self._verification.make_success(request, COMPLETED)
        else:
            report = self._verification.make_failure(request.request_id, COMPLETED, code, detail)

        try:
            self._store_report(tc, kept, before, COMPLETED, code, report)
        except StorageError as error:
            kept.undo()
            self._end_unstored(tc, code, detail, str(error))

    def let_go(self, tc: Telecommand) -> None:
        """The disk takes too long: what was made after the command's reports waits no more for them."""
        if tc.place is not None:
            self._verification.let_go(tc.place)

    def _store_report(
        self, tc: Telecommand, kept: Durable, before: Sequence[tuple[int, bytes]], stage: int, code: int, report: bytes
    ) -> None:
        """Store the command's terminal report with what it leaves. When that is durable, emit the reports of the stages
        `before` it, the report itself, and then put in force what was stored: all in this one step, and whatever that
        tells was made after the reports and leaves after them.
        """
        request = tc.request.request_id
        if not tc.row:
            tc.row, _ = self._log.open(request)

        def stored(done: Future[None]) -> None:
            try:
                done.result()
            except StorageError as error:
                kept.undo()
                self.leave_unknown(tc, str(error))
                return
            self._report(tc, before, stage, code, report)
            kept.then()
            self._close(tc)

        self._vault.commit({**kept.changes, **self._log.done(tc.row, request, report)}).add_callback(stored)

    def _report(
        self, tc: Telecommand, before: Sequence[tuple[int, bytes]], stage: int, code: int, report: bytes
    ) -> None:
        """Report all stages of a command that is stored, in the place that was held for them."""
        for earlier, _ in before:
            self._verification.count(earlier, NONE)
        self._verification.count(stage, code)
        place = tc.place if tc.place is not None else self._verification.hold()
        packets: list[tuple[bytes, Told]] = [(packet, lambda _: None) for _, packet in before if packet]
        if report:
            packets.append((report, self._log.follow(tc.row, report)))
        self._verification.settle(place, packets)
        if not report:
            self._log.emit(tc.row, report)

    def _end_unstored(self, tc: Telecommand, code: int, detail: str, reason: str) -> None:
        """End one whose outcome the disk refused. An urgent command has acted all the same; of any other nothing is in
        force. One that is stored as open has its terminal report after the next boot, which finds it so.
        """
        if tc.opened:
            self.leave_unknown(tc, reason)
            return
        self._log.forget(tc.row)
        if not tc.served.command.urgent:
            self.refuse_unstored(tc, reason)
            return
        self._verification.success(tc.request, ACCEPTED)
        self._verification.success(tc.request, STARTED)
        if code == NONE:
            code, detail = Failure.STORAGE, f"in force until the next boot: {reason}"
        self._verification.failure(tc.request, COMPLETED, code, detail)
        self._close(tc)

    def _close(self, tc: Telecommand, refused: int = NONE) -> None:
        """Nothing more is to be said, or waited for; `refused` is why it was not executed."""
        if tc.closed.done:
            return
        self.let_go(tc)  # of what is not said
        self._counts.waiting -= 1
        if refused == NONE:
            self._counts.executed += 1
        else:
            self._counts.refused[refused] += 1
        tc.closed.set_result(None)
