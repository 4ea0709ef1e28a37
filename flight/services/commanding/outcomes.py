"""What is stored and reported of a telecommand that was accepted, and in which order.

No handler runs here, and nothing but `refuse_held` waits for the disk.

The stages and their transactions are in the table of flight/services/commanding/commands.py. Handlers are run by
flight/services/commanding/execution.py, which says here what came of them.
"""

# The rule: nothing is reported of a durable command before it is durable, and nothing that a loss of power could
# contradict. Hence two ways in which a disk can fail:
#
#     it refuses at once   nothing was written: that is reported, with a failure code
#     it fails later       the row may be there after a boot or not: an event says so, and no report is made now. The
#                          report comes after the boot, from the row, or never
#
# Order of packets: a terminal report is made before it is stored, and its sequence count with it, because the same
# octets are repeated after a boot. What follows from the command, an event say, is put in force after the report has
# been emitted. So it bears a later number, and no part of a chain overtakes an earlier one. What others make meanwhile
# waits behind the report, for HOLD_S at most (reporting/telemetry.py). Nothing waits behind an urgent command, whose
# handler has acted without the disk.
#
# `undo` is called whenever `apply` is not: an app or a service that has prepared something must not go on with what is
# not stored. Neither can fail the command any more.

from __future__ import annotations

from collections.abc import Sequence

from flight.contract.app import CommandRefused, Durable
from flight.contract.failures import Failure
from flight.core.errors import StorageError
from flight.core.future import Future
from flight.link.pus import PusTc
from flight.services.commanding.command_counts import CommandCounts
from flight.services.commanding.command_log import LOG_FULL, CommandLog
from flight.services.commanding.handler_table import Telecommand
from flight.services.commanding.verification import ACCEPTED, COMPLETED, NONE, STARTED, Verification
from flight.services.reporting.events import Events
from flight.services.reporting.telemetry import Told
from flight.store.vault import Changes, Vault


class Outcomes:
    """Opens rows of the command log, ends them, and reports each stage once that may be said."""

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
        """Report the start of a command that is not stored."""
        self._verification.success(tc.request, STARTED)

    def store_open(self, tc: Telecommand, changes: Changes) -> Future[None]:
        """Store that the command is accepted, together with `changes`. Raises StorageError."""
        # What came over the link has its room since admission. What the node held was in no queue.
        if not tc.reserved and self._log.full(tc.served.command.urgent):
            raise StorageError(LOG_FULL)
        row, opening = self._open_row(tc)
        try:
            stored = self._vault.commit({**changes, **opening})
        except StorageError:
            self._log.forget(row)
            raise
        tc.row = row
        return stored

    def forget_open(self, tc: Telecommand) -> None:
        """Forget a row that never became durable: the command was never accepted."""
        self._log.forget(tc.row)

    def accept_open(self, tc: Telecommand) -> None:
        """Report the acceptance and the start of a command that is durable as open."""
        tc.opened = True
        self._verification.success(tc.request, ACCEPTED)
        self._verification.success(tc.request, STARTED)

    async def refuse_held(self, request: PusTc, refusal: CommandRefused, changes: Changes) -> None:
        """End a command that the node held, without executing it.

        `changes` and the refusal are stored in one transaction, then the refusal is reported. Raises StorageError if
        that is not stored: nothing is reported then, and the command is still held.
        """
        # The report needs a row, and held commands never take those kept for urgent ones.
        if self._log.full(urgent=False):
            raise StorageError(LOG_FULL)
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
        """Refuse a command of which nothing is in force and nothing was said."""
        self._verification.failure(tc.request, ACCEPTED, Failure.STORAGE, reason)
        self._close(tc, Failure.STORAGE)

    def refuse_overdue(self, tc: Telecommand) -> None:
        """Refuse a command whose open row is not durable in time.

        That row may still become durable, but never without the transaction behind it, which says that the command was
        refused.
        """
        # Closed before it is stored: the lane goes on, and the report comes whenever the disk answers.
        self._close(tc, Failure.STORAGE)
        detail = "the disk has not answered in time"
        report = self._verification.make_failure(tc.request.request_id, ACCEPTED, Failure.STORAGE, detail)
        try:
            self._store_report(tc, Durable(), [], ACCEPTED, Failure.STORAGE, report)
        except StorageError as error:
            self.leave_unknown(tc, str(error), Failure.STORAGE)

    def leave_unknown(self, tc: Telecommand, reason: str, refused: int = NONE) -> None:
        """Report nothing that a later report could contradict: nobody knows whether the row will be there after a boot.

        An event says so. `refused` is the failure code if the command was not executed.
        """
        self._events.emit("outcome_not_stored", tc.name, reason)
        self._close(tc, refused)

    # When the handler is through

    def end(self, tc: Telecommand, kept: Durable, code: int, detail: str, *, waited_for: bool = False) -> None:
        """Store what the handler leaves, then report the completion, or its failure with `code` and `detail`.

        waited_for: the caller waits for that, and in time lets go of what is held back behind the reports.
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
                    self.let_go(tc)  # a fault of ours: nobody lets go later, and all telemetry would stand still
            return
        kept.apply()
        if code == NONE:
            self._verification.success(tc.request, COMPLETED)
        else:
            self._verification.failure(tc.request, COMPLETED, code, detail)
        self._close(tc)

    def _end_durable(self, tc: Telecommand, kept: Durable, code: int, detail: str) -> None:
        """Make the reports, and have them stored with what the handler leaves."""
        request = tc.request
        # An open command has been reported as accepted and started; any other says all its stages at once, now.
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
        """Hold nothing back behind this command's reports any more: the disk takes too long."""
        if tc.place is not None:
            self._verification.let_go(tc.place)

    def _store_report(
        self, tc: Telecommand, kept: Durable, before: Sequence[tuple[int, bytes]], stage: int, code: int, report: bytes
    ) -> None:
        """Store the command's terminal report together with what the handler leaves.

        When that is durable, emit the reports of the stages `before` it and the report itself, then put in force what
        was stored: all in one step, so whatever that causes is made after the reports and leaves after them.
        """
        request = tc.request.request_id
        if not tc.row:
            tc.row, _ = self._open_row(tc)

        def stored(done: Future[None]) -> None:
            try:
                done.result()
            except StorageError as error:
                kept.undo()
                self.leave_unknown(tc, str(error))
                return
            self._report(tc, before, stage, code, report)
            kept.apply()
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
            self._log.emit(tc.row, report)  # nothing to follow: the row may go

    def _end_unstored(self, tc: Telecommand, code: int, detail: str, reason: str) -> None:
        """End a command whose outcome the disk refused at once.

        An urgent command has acted all the same, and says so. Of any other nothing is in force. A command that is
        stored as open gets its terminal report after the next boot, which finds its row.
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

    def _open_row(self, tc: Telecommand) -> tuple[str, Changes]:
        """Open the command's row. It takes the place of the reservation, if there is one."""
        self._release(tc)
        return self._log.open(tc.request.request_id)

    def _release(self, tc: Telecommand) -> None:
        if tc.reserved:
            tc.reserved = False
            self._log.release()

    def _close(self, tc: Telecommand, refused: int = NONE) -> None:
        """Close the command: nothing more is said of it. `refused` is the failure code if it was not executed."""
        # A command that was refused as overdue was closed before its transaction was stored.
        if tc.closed.done:
            return
        self.let_go(tc)  # if no report was emitted, its place is still held
        self._release(tc)  # if it never had a row
        self._counts.waiting -= 1
        if refused == NONE:
            self._counts.executed += 1
        else:
            self._counts.refused[refused] += 1
        tc.closed.set_result(None)
