"""One job's way through a worker and back: an attempt, its energy account, and what becomes of the reply.

A worker that dies, hangs or answers nonsense costs the job one of its two attempts. If the payload was switched off
while a job ran, the job is not to blame: it goes back into the queue, whatever the reply.
"""

# One task per worker runs `Attempts.run`. An attempt in order:
#   1. The job is entered in `running` before it is handed over, so that it is in exactly one place at any moment.
#   2. `submit` hands the tile to a process. None means that all processes of the app are taken, or were given up since
#      the job was chosen: the job goes back, which does not count.
#   3. The reply reaches the node through `Platform.complete` at submission + tile_s (ADR 0001). In virtual time that is
#      when it is there, however long the process took; on a board it is there when the worker has answered.
#   4. The wait has a limit of hang_s, or three times the tabled duration if that is longer. Then the process is killed
#      and the attempt has failed as `hung`.
#   5. `_settle` decides: a product, another attempt, or the end.
#   6. A product is put into the outbox with the job's priority. The job ends when its product is durable there, and not
#      before: so of a job asked for by command either the request or the product survives a loss of power. If the power
#      goes between the two, both do, and the tile is made twice.
# Whatever ends the task's body, a bug of ours included, the job goes back into the queue (`finally`): a job must not be
# lost because a task was restarted.
#
# The energy of an attempt is lost unless its product is in the outbox. A found-dead worker is reported as a failure of
# this job, but costs no attempt: the process died before the job had it.

from __future__ import annotations

from collections.abc import Callable

from flight.contract.app import AppContext, NodeState
from flight.core.future import Future
from flight.core.nanoseconds import NS, ns
from flight.core.task import Task
from payloads.accounting import Counters, EnergyAccount, ProductInfo
from payloads.config import PayloadConfig
from payloads.declarations import FAILURE_LABELS, which_app
from payloads.job_book import JobBook
from payloads.jobs import Job, Reason, State
from payloads.pools import AppPools
from payloads.product.answers import Mask
from payloads.product.parts import mask_part
from payloads.selection import Selection
from payloads.worker.guards import Guard
from payloads.worker.pool import Answered, Reply, WorkerFailure

_ATTEMPTS_MAX = 2


class Attempts:
    """Runs the chosen jobs. `on_product` is called with every product and the octets of its answer, as declared."""

    def __init__(  # noqa: PLR0917 - the manager's own parts, no two of one type
        self,
        context: AppContext,
        config: PayloadConfig,
        counters: Counters,
        jobs: JobBook,
        pools: AppPools,
        energy: EnergyAccount,
        on_product: Callable[[ProductInfo, bytes], None],
    ) -> None:
        self._context = context
        self._platform = context.platform
        self._config = config
        self._counters = counters
        self._jobs = jobs
        self._pools = pools
        self._energy = energy
        self._on_product = on_product
        self._selection = Selection(context, config, jobs, pools)
        self._guards_missing = Guard(0)

    async def run(self, worker: int, task: Task) -> None:
        """Run one job after the other, for ever. If this ends, the job in work goes back into the queue."""
        while True:
            chosen = self._selection.choose()
            if chosen is None:
                await task.wait(self._jobs.changed.wait(), self._config.decide_period_s)
                self._jobs.changed.clear()
                continue
            try:
                await self._attempt(task, worker, *chosen)
            finally:
                if self._jobs.running[worker] is chosen[0]:
                    self._jobs.put_back(worker, chosen[0])
                    self._context.set_load(self._jobs.busy > 0)

    def look_at_guards(self) -> None:
        """Report which of the guards that were asked for do not hold: once, and again whenever that changes."""
        missing = self._pools.missing
        if missing != self._guards_missing:
            self._guards_missing = missing
            self._context.events.emit("guards_missing", ", ".join(missing.labels) or "none")

    async def _attempt(self, task: Task, worker: int, job: Job, state: NodeState) -> None:
        """Make one attempt at one job, from the worker and back."""
        assert job.image is not None, job.number
        self._energy.accrue()
        self._jobs.running[worker] = job
        self._energy.begin(worker, job)
        job.state = State.RUNNING
        stats = self._pools[job.app].stats
        died = stats.died
        work = self._pools[job.app].submit(job.image, job=job.number, time_ns=job.captured_tai_ns)
        # The pool replaced a process that it found dead. Nobody else would report that death.
        if stats.died > died:
            self._report_failure(job, WorkerFailure("died", "found dead before the job"))
        if work is None:
            self._jobs.put_back(worker, job)
            await task.sleep(self._config.decide_period_s)
            return
        job.attempts += 1
        self._jobs.note(f"job {job.number} tile {job.image.number} admit {state.mode.name}")
        self._context.set_load(True)
        tile_s = state.mode.tile_s * self._config.app(job.app).time_frac
        future: Future[Reply] = self._platform.complete(work, tile_s)
        limit_s = max(self._config.hang_s, 3.0 * tile_s)
        end_ns = self._platform.now_ns() + ns(limit_s)
        # In slices, so that a change of mode or switch in between enters the account of energy.
        while not future.done and (remaining_ns := end_ns - self._platform.now_ns()) > 0:
            await task.wait(future, min(self._config.decide_period_s, remaining_ns / NS))
            self._energy.accrue()
        reply: Reply
        if future.done:
            reply = future.result()
        else:
            work.kill()
            reply = WorkerFailure("hung", f"no answer in {limit_s:g} s")
        self._energy.accrue()
        self.look_at_guards()
        self._context.set_load(self._jobs.busy > 1)  # this job still counts as running
        await self._settle(worker, job, reply, self._energy.attempt_j(worker, job))

    async def _settle(self, worker: int, job: Job, reply: Reply, energy_j: float) -> None:
        """Decide what becomes of the job: a product, another attempt, or the end."""
        state = self._context.state()
        if state is not None and not state.payload_on:
            job.attempts -= 1  # not the job's fault, so not an attempt
            self._counters.interrupted += 1
            self._counters.energy_lost_j += energy_j
            self._jobs.put_back(worker, job)
        elif isinstance(reply, Answered):
            await self._deliver(worker, job, reply, energy_j)
        else:
            self._counters.energy_lost_j += energy_j
            self._report_failure(job, reply)
            if job.attempts < _ATTEMPTS_MAX:
                self._counters.retried += 1
                self._jobs.put_back(worker, job)
            else:
                self._jobs.running[worker] = None
                self._jobs.drop(job, Reason.FAILED)

    def _report_failure(self, job: Job, failure: WorkerFailure) -> None:
        self._counters.failures[failure.reason] += 1
        self._counters.first_failure = self._counters.first_failure or failure.detail
        self._counters.by_app[job.app].failed += 1
        which = FAILURE_LABELS.index(failure.reason)
        app = which_app(self._config, self._config.app_names.index(job.app))
        self._context.events.emit("worker_failed", job.number, which, job.attempts, failure.detail, *app)
        self._jobs.note(f"job {job.number} worker {failure.reason}")

    async def _deliver(self, worker: int, job: Job, reply: Answered, energy_j: float) -> None:
        """Put the product into the outbox and end the job. A full outbox drops it: admission had reserved its room."""
        assert job.image is not None, job.number
        tile = job.image.number
        answer = self._pools[job.app].answer
        suffix = "obsp" if isinstance(answer, Mask) else "obrp"
        name = f"{job.app}-{tile:08d}-{job.number:08d}.{suffix}"
        durable = await self._put(job, name, reply.product)
        self._jobs.running[worker] = None
        if not durable:
            self._counters.energy_lost_j += energy_j
            self._jobs.drop(job, Reason.DOWNLINK)
            return
        counters, of_app = self._counters, self._counters.by_app[job.app]
        of_app.done += 1
        of_app.octets_product += len(reply.product)
        job.octets_product = len(reply.product)
        counters.screened += 1
        counters.cloudy += reply.pixels_withheld
        counters.octets_raw += len(job.image.samples)
        counters.octets_product += len(reply.product)
        counters.infer_s.append(reply.infer_s)
        counters.pack_s.append(reply.pack_s)
        self._jobs.finish(job)
        self._jobs.note(f"job {job.number} done {reply.product[-32:].hex()}")
        info = ProductInfo(
            job.number, tile, job.priority, job.app, answer, name, len(reply.product), reply.pixels_withheld,
            job.energy_j, job.attempts, self._platform.now_ns(),
        )  # fmt: skip
        self._on_product(info, reply.answer)

    def _put(self, job: Job, name: str, product: bytes) -> Future[bool]:
        """Put the product into the outbox, and before it its mask if it is too large for a short contact."""
        outbox, app = self._context.outbox, self._config.app(job.app)
        if 0 < app.progressive_octets < len(product) and (first := mask_part(product)) is not None:
            # As much worth in fewer octets: of one priority it goes first. If it is refused, an event says so, and the
            # product has the mask in any case.
            stem, _, suffix = name.rpartition(".")
            outbox.put(f"{stem}-mask.{suffix}", first, priority=job.priority, value=app.value)
        return outbox.put(name, product, priority=job.priority, value=app.value)
