"""Jobs by command: submit, cancel, list; and requests that were open when power was lost."""

# What is reported as done must survive a loss of power. A handler therefore returns Durable: the command service stores
# the change together with the command's outcome and calls `apply` once that is durable, or `undo` if it was not stored.
# So submitted jobs are entered first and withdrawn if they cannot be stored, while a cancelled job is dropped only once
# its row is surely gone: otherwise a reboot would bring it back.
#
# Checks run twice, at acceptance and at the start of execution, because other commands may come in between.
#
# Deadlines are stored as TAI, since the node's own timeline begins again at each boot.

from __future__ import annotations

from collections.abc import Sequence

from flight.contract.app import AppContext, CommandRefused, Durable
from flight.core.nanoseconds import NS, ns
from flight.swarm.protocol import JobRequest
from payloads.accounting import Counters
from payloads.config import PayloadConfig
from payloads.declarations import REPORTS_MAX, JobFailure, which_app
from payloads.job_book import JobBook
from payloads.jobs import Job, Reason, State
from payloads.ledger import Ledger, Request


class JobCommands:
    """Serves the app's commands. A request, and its end by command, is durable before it is reported."""

    def __init__(
        self, context: AppContext, config: PayloadConfig, counters: Counters, ledger: Ledger, jobs: JobBook
    ) -> None:
        self._context = context
        self._config = config
        self._counters = counters
        self._ledger = ledger
        self._jobs = jobs
        context.commands.handle("submit_job", self._check_submit, self._submit)
        context.commands.handle("cancel_job", self._check_cancel, self._cancel)
        context.commands.handle("list_jobs", None, self._list)

    def restore(self) -> None:
        """Have requests that were open in the last boot wait for their picture again."""
        offset_ns = self._context.tai_ns() - self._context.platform.now_ns()
        requests = self._ledger.load()
        if self._ledger.damaged:
            self._context.events.emit("ledger_failed", f"{self._ledger.damaged} rows are unreadable")
        for request in requests[: self._config.jobs_max]:
            app = request.app or self._config.app_names[0]
            if app not in self._config.app_names:
                # Its row stays: another mission file may have the app again.
                text = f"job {request.job} is for {app}, which this mission does not have"
                self._context.events.emit("ledger_failed", text)
                continue
            job = Job(request.job, request.priority, request.deadline_tai_ns - offset_ns, app, durable=True)
            self._counters.requested += 1
            self._counters.restored += 1
            self._jobs.wait(job)
        if requests:
            self._context.events.emit("jobs_restored", len(self._jobs.waiting))

    def _check_submit(self, tiles: int, _priority: int, _deadline_s: int, _app: int = 0) -> None:
        if self._context.imager is None:
            raise CommandRefused(JobFailure.JOB_REFUSED, "this node has no camera")
        open_jobs = sum(job.durable for job in self._jobs.open_jobs())
        if open_jobs + tiles > self._config.jobs_max:
            detail = f"{open_jobs} open, {tiles} asked for, {self._config.jobs_max} at most"
            raise CommandRefused(JobFailure.JOB_TABLE_FULL, detail)

    def _submit(self, tiles: int, priority: int, deadline_s: int, app: int = 0) -> Durable:
        """Enter the jobs, for the worker app of that number."""
        self._check_submit(tiles, priority, deadline_s)  # others may have come between acceptance and this
        deadline_ns = self._context.platform.now_ns() + ns(deadline_s)
        deadline_tai_ns = self._context.tai_ns() + ns(deadline_s)
        name = self._config.app_names[app]
        stored = "" if app == 0 else name  # as rows had it before there could be several apps
        numbers: list[int] = []
        for _ in range(tiles):
            admission = self._context.swarm.submit(JobRequest(name, priority, deadline_ns))
            if admission.job is None:  # all of them or none
                self._withdraw(numbers)
                raise CommandRefused(JobFailure.JOB_REFUSED, admission.reason)
            numbers.append(admission.job)
        return Durable(
            self._ledger.keep(Request(number, priority, deadline_tai_ns, stored) for number in numbers),
            apply=lambda: self._context.events.emit("jobs_submitted", numbers[0], numbers[-1], priority),
            undo=lambda: self._withdraw(numbers),
        )

    def _withdraw(self, numbers: Sequence[int]) -> None:
        """Cancel the jobs of these numbers that have not started."""
        for job in self._jobs.open_jobs():
            if job.number in numbers and job.state is not State.RUNNING:
                self._jobs.remove(job, Reason.CANCELLED)

    def _check_cancel(self, number: int) -> None:
        job = self._jobs.find(number)
        if job is None:
            raise CommandRefused(JobFailure.UNKNOWN_JOB, f"job {number}")
        if job.state is State.RUNNING:
            raise CommandRefused(JobFailure.JOB_RUNNING, f"job {number}")

    def _cancel(self, number: int) -> Durable:
        """Drop the job, once that is durable."""
        self._check_cancel(number)  # it may have started or ended since acceptance
        return Durable(self._ledger.drop(number), apply=lambda: self._withdraw((number,)))

    def _list(self) -> None:
        """Send one report per job: open ones, then those ended last."""
        now_ns = self._context.platform.now_ns()
        for job in [*self._jobs.open_jobs(), *reversed(self._jobs.ended)][:REPORTS_MAX]:
            # Cut to the field's 32 bits; a restored job may be overdue by any time.
            remaining_s = max(-(2**31), min(2**31 - 1, (job.deadline_ns - now_ns) // NS))
            self._context.reports.send(
                "job_status", job.number, job.state, job.priority, job.reason,
                0 if job.image is None else job.image.number, job.attempts, remaining_s, job.energy_j,
                job.octets_product, *which_app(self._config, self._config.app_names.index(job.app)),
            )  # fmt: skip
