"""The book of jobs: where each job is, and how it ends. Every tile and every request is in it exactly once.

    state      where                                        pixels
    WAITING    `waiting`: asked for by command              none yet
    QUEUED     `queue`                                      held
    RUNNING    `running`, its place in the queue is kept    held
    DONE       `ended`, the newest ones, for reports        given up
    DROPPED    `ended`                                      given up

    (new)     --asked for by command----------------------------> WAITING
    (new)     --comes with its picture--------------------------> QUEUED
    WAITING   --its picture is taken----------------------------> QUEUED
    QUEUED    --chosen, and a worker takes it-------------------> RUNNING
    RUNNING   --no result, and it may be tried again------------> QUEUED
    RUNNING   --its product is durable in the outbox------------> DONE
    RUNNING   --no result, not to be tried again; no room-------> DROPPED (failed, downlink)
    QUEUED    --too late, cancelled, evicted by a better one----> DROPPED (deadline, cancelled, queue)
    QUEUED    --the tile has another shape than the mission's---> DROPPED (shape)
    WAITING   --too late, cancelled, evicted by a better one----> DROPPED (deadline, cancelled, queue)

Callers may rely on one bound: at most `queue_tiles` tiles are held, running ones included.
"""

# What bounds memory: raw tiles are the largest thing that a node holds. A running job keeps its place (`taken` in
# JobQueue.put), so that it can always be put back; an ended job keeps its number and gives up its pixels. When all
# places are taken, the job of lowest rank is evicted, which may be the new one: urgent work is never refused because
# the queue is full of routine.
#
# After a loss of power, pixels and the node's own tiles are gone. Durable jobs (asked for by command) are restored from
# the ledger as WAITING; their rows are removed when they end. That removal is not waited for: if power fails in
# between, a job is restored and done a second time, which costs a tile, while waiting for the disk would stop the
# worker's task. Counters start again at each boot.

from __future__ import annotations

from collections import deque
from itertools import islice

from flight.contract.app import AppContext
from flight.core.errors import StorageError
from flight.core.future import Event
from hal.base import Image
from payloads.accounting import Counters
from payloads.config import PayloadConfig
from payloads.declarations import REPORTS_MAX
from payloads.jobs import Job, JobQueue, Reason, State
from payloads.ledger import Ledger

DROPPED_IN_A_STEP = 32  # jobs; each costs an event and a row of the vault (ADR 0022)


class JobBook:
    """All jobs of one node: the open ones, and those that ended last. `changed` is set when a tile has come in."""

    def __init__(self, context: AppContext, config: PayloadConfig, counters: Counters, ledger: Ledger) -> None:
        self.queue = JobQueue(config.queue_tiles)
        self.waiting = JobQueue(config.jobs_max)
        self.running: list[Job | None] = [None] * config.workers  # by worker
        self.ended: deque[Job] = deque(maxlen=REPORTS_MAX)
        self.changed = Event()
        self._context = context
        self._config = config
        self._counters = counters
        self._ledger = ledger

    @property
    def busy(self) -> int:
        """The number of jobs in work."""
        return sum(job is not None for job in self.running)

    @property
    def pending(self) -> int:
        """The number of tiles held, waiting for a worker or in work."""
        return len(self.queue) + self.busy

    def open_jobs(self) -> list[Job]:
        """Return the jobs that have not ended: running ones first, then in order of rank."""
        running = [job for job in self.running if job is not None]
        return running + sorted((*self.queue, *self.waiting), key=lambda job: job.rank)

    def find(self, number: int) -> Job | None:
        """Return the open job of that number, or None."""
        return next((job for job in self.open_jobs() if job.number == number), None)

    # Coming in.

    def wait(self, job: Job) -> None:
        """Have `job` wait for its picture. If all places are taken, drop the job of lowest rank, perhaps this one."""
        evicted = self.waiting.put(job)
        if evicted is not None:
            self.drop(evicted, Reason.QUEUE)

    def hold(self, job: Job, image: Image) -> None:
        """Give `job` its tile. If all places are taken, drop the tile of lowest rank, perhaps this one."""
        # Counted even if it is dropped below: captured = screened + dropped + pending.
        self._counters.captured += 1
        self._counters.octets_captured += len(image.samples)
        job.image, job.state = image, State.QUEUED
        job.captured_tai_ns = self._context.tai_ns()
        config = self._config
        if (image.bands, image.height, image.width) != (config.bands, config.height, config.width):
            self.drop(job, Reason.SHAPE)
            return
        evicted = self.queue.put(job, taken=self.busy)
        if evicted is not None:
            self.drop(evicted, Reason.QUEUE)
        self.changed.set()

    def put_back(self, worker: int, job: Job) -> None:
        """Take `job` back from `worker` into the queue: its place there was kept."""
        self.running[worker] = None
        job.state = State.QUEUED
        evicted = self.queue.put(job, taken=self.busy)
        assert evicted is None, "a running job keeps its place"

    # Waiting and ending.

    def delay(self, job: Job, reason: Reason) -> None:
        """Note why `job` may not start now. Counted once per job and reason."""
        job.reason = reason
        # Once: the same job is asked about at every look, for minutes.
        if reason not in job.delays:
            job.delays.add(reason)
            self._counters.delayed[reason] += 1
            self.note(f"job {job.number} delay {reason.label}")

    def remove(self, job: Job, reason: Reason) -> None:
        """Drop a job that has not started."""
        (self.waiting if job.state is State.WAITING else self.queue).remove(job)
        self.drop(job, reason)

    def drop_overdue(self) -> None:
        """Drop jobs without a picture whose deadline has passed, DROPPED_IN_A_STEP of them at most."""
        now_ns = self._context.platform.now_ns()
        for job in list(islice((job for job in self.waiting if job.deadline_ns <= now_ns), DROPPED_IN_A_STEP)):
            self.remove(job, Reason.DEADLINE)

    def drop(self, job: Job, reason: Reason) -> None:
        """End a job without a product. The caller has taken it out of its queue."""
        tile = 0 if job.image is None else job.image.number
        if job.image is not None:
            self._counters.dropped[reason] += 1
        if job.durable:
            self._counters.requested_dropped += 1
        self._end(job, State.DROPPED, reason)
        self._context.events.emit("job_dropped", job.number, tile, reason)
        self.note(f"job {job.number} drop {reason.label}")

    def finish(self, job: Job) -> None:
        """End a job whose product is in the outbox."""
        self._counters.requested_done += job.durable
        self._end(job, State.DONE, Reason.NONE)

    def note(self, text: str) -> None:
        """Enter a decision into the platform's record, which the digest of a run covers."""
        self._context.platform.note("decision", text.encode())

    def _end(self, job: Job, state: State, reason: Reason) -> None:
        """Keep the ended job for reports, without its pixels."""
        if job.image is not None:
            job.image = Image(job.image.number, 0, 0, 0, b"")
        job.state, job.reason = state, reason
        self.ended.append(job)
        if job.durable:
            try:
                self._ledger.forget(job.number)
            except StorageError as error:
                self._context.events.emit("ledger_failed", str(error))
