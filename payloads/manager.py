"""The payload manager: takes tiles, decides what runs when, accounts for every tile, octet and joule.

A job is WAITING (asked for by command, no picture yet), QUEUED (holds a tile), RUNNING, then DONE or DROPPED.
Tiles come from the capture task, which serves waiting jobs before it takes tiles of its own traffic classes; jobs
come in through the swarm. One task a worker takes the best job that admission lets start. A worker that dies,
hangs or gives nonsense costs the job one attempt of two. Everything on the node's timeline; processes are
payloads/worker/pool.py's business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

from flight.contract.app import AppContext, CommandRefused, Durable, NodeState
from flight.contract.dictionary import Declarations
from flight.contract.fields import Value
from flight.core.errors import StorageError
from flight.core.future import Event, Future
from flight.core.nanoseconds import ns
from flight.core.task import Task
from flight.swarm.protocol import Admission, JobRequest
from hal.base import HalError, Image
from payloads import assets
from payloads import declarations as names
from payloads.accounting import Counters, ProductInfo, Statistics, summarise
from payloads.admission import Admit, Delay, Gates, Refuse, admit, update_gates
from payloads.config import PayloadConfig
from payloads.jobs import DELAYS, DROPS, Job, JobQueue, Reason, State
from payloads.ledger import Ledger, Request
from payloads.worker.guards import Guard
from payloads.worker.pool import PoolConfig, Reply, Screened, WorkerFailure, WorkerPool

KIND = "screen"
_ATTEMPTS_MAX = 2
_DROPPED_IN_A_STEP = 32  # jobs; each tells an event, and forgets a row of the vault

ProductHook = Callable[[ProductInfo, bytes], None]


def pool_config(config: PayloadConfig) -> PoolConfig:
    """The workers that a mission asks for; raises SetupError where the model is missing or not what it should be."""
    return PoolConfig(
        model=assets.resolve_model(config.model),
        app=config.worker_app,
        workers=config.workers,
        threads=config.threads,
        bands=config.bands,
        height=config.height,
        width=config.width,
        cloudy_frac=config.cloudy_frac,
        hang_s=config.wall_limit_s,
        restarts_max=config.restarts_max,
        nice=config.nice,
        memory_mib=config.memory_mib,
        scratch_mib=config.scratch_mib,
        environment=config.environment,
        readable=config.readable,
        guards_off=config.guards_off,
    )


class InferenceManager:
    """The app (flight.contract.app.App). `on_product`, where set, sees every product and its mask, uint8 [row, column].

    pool: workers to use in place of those that the configuration asks for. Raises SetupError without a model.
    """

    CONFIG = PayloadConfig

    @staticmethod
    def declare(apid: int) -> Declarations:
        return names.declare(apid)

    def __init__(self, context: AppContext, pool: WorkerPool | None = None) -> None:
        self.on_product: ProductHook | None = None
        self.counters = Counters()
        self._context = context
        self._config: PayloadConfig = context.config
        self._platform = context.platform
        self._pool = pool or WorkerPool(pool_config(self._config))
        self._queue = JobQueue(self._config.queue_tiles)
        self._waiting = JobQueue(self._config.jobs_max)
        self._running: list[Job | None] = [None] * self._config.workers
        self._ended: deque[Job] = deque(maxlen=names.REPORTS_MAX)
        self._ledger = Ledger(context.vault)
        self._gates = Gates.open(self._config)
        self._changed = Event()
        self._traffic = {one.name: one for one in self._config.traffic}
        self._own_tiles = 0
        self._drawn_w = 0.0
        self._begun_j = [0.0] * self._config.workers
        self._accrued_ns = 0
        self._payload_on = True
        self._payload_cycles = 0
        self._given_up = False
        self._guards_missing = Guard(0)
        context.swarm.serve(KIND, self._on_request)
        context.commands.handle("submit_job", self._check_submit, self._submit)
        context.commands.handle("cancel_job", self._check_cancel, self._cancel)
        context.commands.handle("list_jobs", None, self._list)
        context.housekeeping.provide("payload", self._sample)
        context.housekeeping.provide("payload_energy", self._sample_energy)

    def start(self) -> None:
        """Start the workers and the tasks; restore what was asked for before a loss of power."""
        self._restore()
        self._pool.start()
        self._look_at_guards()
        spawn = self._context.scheduler.spawn
        if self._context.imager is not None:
            spawn("payload.capture", self._capture, deadline_s=1.0)
        for worker in range(self._config.workers):
            spawn(f"payload.worker{worker}", partial(self._work, worker), deadline_s=0.5)

    def close(self) -> None:
        """End the workers."""
        self._pool.close()

    @property
    def pool(self) -> WorkerPool:
        return self._pool

    @property
    def pending(self) -> int:
        """Tiles held: waiting for a worker or in work."""
        return len(self._queue) + self._busy

    def statistics(self) -> Statistics:
        """Everything counted since boot, for a summary."""
        self._accrue()
        stats = self._pool.stats
        return summarise(
            self.counters,
            pending=self.pending,
            waiting=len(self._waiting),
            energy_running_j=self._running_j,
            worker_restarts=stats.restarts,
            hang_limit_fired=stats.hang_limit_fired,
            guards_missing=self._pool.missing.labels,
        )

    @property
    def _busy(self) -> int:
        return sum(job is not None for job in self._running)

    @property
    def _running_j(self) -> float:
        """What attempts that have not ended have taken so far."""
        pairs = zip(self._running, self._begun_j, strict=True)
        return sum(job.energy_j - begun_j for job, begun_j in pairs if job is not None)

    # Tiles and jobs coming in

    async def _capture(self, task: Task) -> None:
        """One tile each period while the imager has something to see."""
        async for _ in task.every(self._config.capture_period_s):
            imager = self._context.imager
            assert imager is not None, "the task was started for it"
            try:
                image = imager.capture() if imager.ready() else None
            except HalError as error:
                self.counters.capture_faults += 1
                self._context.events.emit("capture_failed", str(error))
                continue
            if image is not None:
                self._on_capture(image)

    def _on_capture(self, image: Image) -> None:
        """A picture just taken goes to the best job that waits for one, else into the node's own traffic."""
        self._sweep(self._waiting)
        now_ns = self._platform.now_ns()
        for job in self._waiting:
            if job.deadline_ns > now_ns:
                self._waiting.remove(job)
                self._hold(job, image)
                return
        own = self._traffic[self._config.pattern[self._own_tiles % len(self._config.pattern)]]
        self._own_tiles += 1
        deadline_ns = self._platform.now_ns() + ns(own.deadline_s)
        self._context.swarm.submit(JobRequest(KIND, own.priority, deadline_ns, image))

    def _on_request(self, request: JobRequest) -> Admission:
        """A job from the swarm. Without a picture it waits for one, and is kept over a loss of power."""
        try:
            number = self._ledger.next_number()
        except StorageError as error:
            self._context.events.emit("ledger_failed", str(error))
            return Admission(None, str(error))
        job = Job(number, request.priority, request.deadline_ns, durable=request.image is None)
        if request.image is not None:
            self._hold(job, request.image)
        else:
            self.counters.requested += 1
            evicted = self._waiting.put(job)
            if evicted is not None:
                self._drop(evicted, Reason.QUEUE)
        if job.state is State.DROPPED:
            return Admission(None, job.reason.label)
        return Admission(job.number)

    def _hold(self, job: Job, image: Image) -> None:
        """Give `job` its tile. Where all places are taken the tile of lowest rank goes, perhaps this one."""
        self.counters.captured += 1
        self.counters.octets_captured += len(image.samples)
        job.image, job.state = image, State.QUEUED
        job.captured_tai_ns = self._context.tai_ns()
        config = self._config
        if (image.bands, image.height, image.width) != (config.bands, config.height, config.width):
            self._drop(job, Reason.SHAPE)
            return
        evicted = self._queue.put(job, taken=self._busy)
        if evicted is not None:
            self._drop(evicted, Reason.QUEUE)
        self._changed.set()

    # Decisions

    def _choose(self) -> tuple[Job, NodeState] | None:
        """The best job that may start now, taken out of the queue. Delays are counted once a job and reason."""
        state = self._context.state()
        if state is None:
            return None
        self._look(state)
        self._sweep(self._waiting)
        now_ns = self._platform.now_ns()
        room_octets = self._context.outbox.room_octets - self._busy * self._config.reserve_octets
        chosen: Job | None = None
        dropped = 0
        for job in self._queue:
            verdict = admit(job, now_ns, self._gates, self._config, state, room_octets)
            if isinstance(verdict, Refuse):
                self._queue.remove(job)
                self._drop(job, verdict.reason)
                dropped += 1
                if dropped == _DROPPED_IN_A_STEP:
                    break  # the rest at the next look
            elif isinstance(verdict, Delay):
                self._delay(job, verdict.reason)
            elif chosen is None:
                chosen = job
            assert isinstance(verdict, Admit | Delay | Refuse)
        if chosen is None or self._pool.given_up:
            return None
        self._queue.remove(chosen)
        chosen.reason = Reason.NONE
        return chosen, state

    def _look(self, state: NodeState) -> None:
        """Take in a new state: gates that shut or open, the payload switched on again."""
        gates = update_gates(self._gates, self._config, state)
        old = self._gates
        self._gates = gates
        changes = [(Reason.HEAT, -1, old.heat, gates.heat)]
        above = -1
        for rule, was, shut in zip(self._config.energy, old.energy, gates.energy, strict=True):
            changes.append((Reason.ENERGY, above, was, shut))
            above = rule.priority
        for reason, over, was, shut in changes:
            if was != shut:
                name = "gate_shut" if shut else "gate_open"
                self._context.events.emit(name, reason, over, state.soc_frac, state.board_c)
                self._note(f"{name} {reason.label} {over}")
        if (state.payload_on and not self._payload_on) or state.payload_cycles != self._payload_cycles:
            self._payload_cycles = state.payload_cycles
            self._pool.reset()
            self._given_up = False
        self._payload_on = state.payload_on
        if self._pool.given_up and not self._given_up:
            self._given_up = True
            self._context.events.emit("workers_given_up", self._pool.stats.restarts & 0xFFFF)

    def _sweep(self, queue: JobQueue) -> None:
        """Drop jobs whose deadline has passed; a few in one step, and more of them at the next look."""
        now_ns = self._platform.now_ns()
        for job in list(islice((one for one in queue if one.deadline_ns <= now_ns), _DROPPED_IN_A_STEP)):
            queue.remove(job)
            self._drop(job, Reason.DEADLINE)

    def _delay(self, job: Job, reason: Reason) -> None:
        job.reason = reason
        if reason not in job.delays:
            job.delays.add(reason)
            self.counters.delayed[reason] += 1
            self._note(f"job {job.number} delay {reason.label}")

    def _drop(self, job: Job, reason: Reason) -> None:
        """End a job without a product."""
        tile = 0 if job.image is None else job.image.number
        if job.image is not None:
            self.counters.dropped[reason] += 1
        if job.durable:
            self.counters.requested_dropped += 1
        self._end(job, State.DROPPED, reason)
        self._context.events.emit("job_dropped", job.number, tile, reason)
        self._note(f"job {job.number} drop {reason.label}")

    def _end(self, job: Job, state: State, reason: Reason) -> None:
        """Keep the ended job for reports, without its pixels."""
        if job.image is not None:
            job.image = Image(job.image.number, 0, 0, 0, b"")
        job.state, job.reason = state, reason
        self._ended.append(job)
        if job.durable:
            try:
                self._ledger.forget(job.number)
            except StorageError as error:
                self._context.events.emit("ledger_failed", str(error))

    def _note(self, text: str) -> None:
        self._platform.note("decision", text.encode())

    # Work

    async def _work(self, worker: int, task: Task) -> None:
        """Run one job after the other. Whatever ends the body, the job that it had in hand goes back to the queue."""
        while True:
            chosen = self._choose()
            if chosen is None:
                await task.wait(self._changed.wait(), self._config.decide_period_s)
                self._changed.clear()
                continue
            try:
                await self._screen(task, worker, *chosen)
            finally:
                if self._running[worker] is chosen[0]:
                    self._put_back(worker, chosen[0])
                    self._context.set_load(self._busy > 0)

    async def _screen(self, task: Task, worker: int, job: Job, state: NodeState) -> None:
        """One attempt at one job, from the worker and back."""
        assert job.image is not None, job.number
        self._accrue()
        self._running[worker] = job
        self._begun_j[worker] = job.energy_j
        job.state = State.RUNNING
        died = self._pool.stats.died
        work = self._pool.submit(job.image, job=job.number, time_ns=job.captured_tai_ns)
        if self._pool.stats.died > died:
            self._report_failure(job, WorkerFailure("died", "found dead before the job"))
        if work is None:
            self._put_back(worker, job)
            await task.sleep(self._config.decide_period_s)
            return
        job.attempts += 1
        self._note(f"job {job.number} tile {job.image.number} admit {state.mode.name}")
        self._context.set_load(True)
        future: Future[Reply] = self._platform.complete(work, state.mode.tile_s)
        limit_s = max(self._config.hang_s, 3.0 * state.mode.tile_s)
        end_ns = self._platform.now_ns() + ns(limit_s)
        # In slices, so that a change of mode or switch meanwhile is in the account of energy.
        while not future.done and (left_ns := end_ns - self._platform.now_ns()) > 0:
            await task.wait(future, min(self._config.decide_period_s, left_ns / 1e9))
            self._accrue()
        reply: Reply
        if future.done:
            reply = future.result()
        else:
            work.kill()
            reply = WorkerFailure("hung", f"no answer in {limit_s:g} s")
        self._accrue()
        self._look_at_guards()
        self._context.set_load(self._busy > 1)
        self._settle(worker, job, reply, job.energy_j - self._begun_j[worker])

    def _look_at_guards(self) -> None:
        """Say which of the guards that were asked for do not hold, once, and again when that changes."""
        missing = self._pool.missing
        if missing != self._guards_missing:
            self._guards_missing = missing
            self._context.events.emit("guards_missing", ", ".join(missing.labels) or "none")

    def _accrue(self) -> None:
        """Share what the payload drew since the last change among the jobs that ran meanwhile."""
        now_ns = self._platform.now_ns()
        running = [job for job in self._running if job is not None]
        if running:
            drawn_j = self._drawn_w * (now_ns - self._accrued_ns) / 1e9
            self.counters.energy_j += drawn_j
            for job in running:
                job.energy_j += drawn_j / len(running)
        self._accrued_ns = now_ns
        state = self._context.state()
        if state is not None:
            self._drawn_w = state.mode.payload_w if state.payload_on else 0.0

    def _settle(self, worker: int, job: Job, reply: Reply, energy_j: float) -> None:
        """Take the reply: a product, another attempt, or the end."""
        now = self._context.state()
        if now is not None and not now.payload_on:
            # The payload was switched off under it: whatever came back, the job is not to blame.
            job.attempts -= 1
            self.counters.interrupted += 1
            self.counters.energy_lost_j += energy_j
            self._put_back(worker, job)
        elif isinstance(reply, Screened):
            self._running[worker] = None
            self._deliver(job, reply, energy_j)
        else:
            self.counters.energy_lost_j += energy_j
            self._report_failure(job, reply)
            if job.attempts < _ATTEMPTS_MAX:
                self.counters.retried += 1
                self._put_back(worker, job)
            else:
                self._running[worker] = None
                self._drop(job, Reason.FAILED)

    def _report_failure(self, job: Job, failure: WorkerFailure) -> None:
        self.counters.failures[failure.reason] += 1
        which = names.FAILURE_LABELS.index(failure.reason)
        self._context.events.emit("worker_failed", job.number, which, job.attempts, failure.detail)
        self._note(f"job {job.number} worker {failure.reason}")

    def _put_back(self, worker: int, job: Job) -> None:
        """Back into the queue: its place there was kept."""
        self._running[worker] = None
        job.state = State.QUEUED
        evicted = self._queue.put(job, taken=self._busy)
        assert evicted is None, "a running job keeps its place"

    def _deliver(self, job: Job, reply: Screened, energy_j: float) -> None:
        assert job.image is not None, job.number
        tile = job.image.number
        name = f"screen-{tile:08d}-{job.number:08d}.obsp"
        if not self._context.outbox.put(name, reply.product):
            self.counters.energy_lost_j += energy_j
            self._drop(job, Reason.DOWNLINK)
            return
        counters, cloudy = self.counters, not reply.has_clear
        job.octets_product = len(reply.product)
        counters.screened += 1
        counters.cloudy += cloudy
        counters.octets_raw += len(job.image.samples)
        counters.octets_product += len(reply.product)
        counters.requested_done += job.durable
        counters.infer_s.append(reply.infer_s)
        counters.pack_s.append(reply.pack_s)
        self._end(job, State.DONE, Reason.NONE)
        self._note(f"job {job.number} done {reply.product[-32:].hex()}")
        if self.on_product is not None:
            info = ProductInfo(
                job.number, tile, job.priority, name, len(reply.product), reply.cloud_frac, cloudy, job.energy_j,
                job.attempts, self._platform.now_ns(),
            )  # fmt: skip
            self.on_product(info, reply.mask)

    # Requests that survive a loss of power

    def _open(self) -> list[Job]:
        """Jobs that have not ended, running ones first, then in order of rank."""
        running = [job for job in self._running if job is not None]
        return running + sorted((*self._queue, *self._waiting), key=lambda job: job.rank)

    def _restore(self) -> None:
        """Open requests of the boot before wait for their picture again."""
        offset_ns = self._context.tai_ns() - self._platform.now_ns()
        requests = self._ledger.load()
        if self._ledger.damaged:
            self._context.events.emit("ledger_failed", f"{self._ledger.damaged} rows are unreadable")
        for request in requests[: self._config.jobs_max]:
            job = Job(request.job, request.priority, request.deadline_tai_ns - offset_ns, durable=True)
            self.counters.requested += 1
            self.counters.restored += 1
            self._waiting.put(job)
        if requests:
            self._context.events.emit("jobs_restored", len(self._waiting))

    # Commands

    def _check_submit(self, tiles: int, priority: int, deadline_s: int) -> None:
        if self._context.imager is None:
            raise CommandRefused(names.JOB_REFUSED, "this node has no camera")
        open_jobs = sum(job.durable for job in self._open())
        if open_jobs + tiles > self._config.jobs_max:
            detail = f"{open_jobs} open, {tiles} asked for, {self._config.jobs_max} at most"
            raise CommandRefused(names.JOB_TABLE_FULL, detail)

    def _submit(self, tiles: int, priority: int, deadline_s: int) -> Durable:
        """Enter the jobs."""
        self._check_submit(tiles, priority, deadline_s)  # others may have come between acceptance and start
        deadline_ns = self._platform.now_ns() + ns(deadline_s)
        deadline_tai_ns = self._context.tai_ns() + ns(deadline_s)
        numbers: list[int] = []
        for _ in range(tiles):
            admission = self._context.swarm.submit(JobRequest(KIND, priority, deadline_ns))
            if admission.job is None:
                self._withdraw(numbers)
                raise CommandRefused(names.JOB_REFUSED, admission.reason)
            numbers.append(admission.job)
        return Durable(
            self._ledger.keep(Request(number, priority, deadline_tai_ns) for number in numbers),
            then=lambda: self._context.events.emit("jobs_submitted", numbers[0], numbers[-1], priority),
            undo=lambda: self._withdraw(numbers),
        )

    def _withdraw(self, numbers: Sequence[int]) -> None:
        """Cancel those of the jobs that have not started."""
        for job in self._open():
            if job.number in numbers and job.state is not State.RUNNING:
                self._remove(job, Reason.CANCELLED)

    def _remove(self, job: Job, reason: Reason) -> None:
        (self._waiting if job.state is State.WAITING else self._queue).remove(job)
        self._drop(job, reason)

    def _find(self, number: int) -> Job | None:
        return next((job for job in self._open() if job.number == number), None)

    def _check_cancel(self, number: int) -> None:
        job = self._find(number)
        if job is None:
            raise CommandRefused(names.UNKNOWN_JOB, f"job {number}")
        if job.state is State.RUNNING:
            raise CommandRefused(names.JOB_RUNNING, f"job {number}")

    def _cancel(self, number: int) -> Durable:
        """Drop the job, once that is durable."""
        self._check_cancel(number)  # it may have started or ended since acceptance
        return Durable(self._ledger.drop(number), then=lambda: self._drop_waiting(number))

    def _drop_waiting(self, number: int) -> None:
        """Drop the job, unless it has started or ended by itself meanwhile."""
        job = self._find(number)
        if job is not None and job.state is not State.RUNNING:
            self._remove(job, Reason.CANCELLED)

    def _list(self) -> None:
        """One report a job: open ones, then those ended last."""
        now_ns = self._platform.now_ns()
        for job in [*self._open(), *reversed(self._ended)][: names.REPORTS_MAX]:
            left_s = max(-(2**31), min(2**31 - 1, (job.deadline_ns - now_ns) // 1_000_000_000))
            self._context.reports.send(
                "job_status", job.number, job.state, job.priority, job.reason,
                0 if job.image is None else job.image.number, job.attempts, left_s, job.energy_j, job.octets_product,
            )  # fmt: skip

    # Housekeeping

    def _sample(self) -> Sequence[Value]:
        c = self.counters
        return (
            c.captured, c.screened, c.dropped.total(), self.pending, c.cloudy, self._busy, len(self._waiting),
            *(c.delayed[reason] for reason in DELAYS), *(c.dropped[reason] for reason in DROPS),
            self._pool.stats.restarts & 0xFFFF, c.failures.total() & 0xFFFF, c.capture_faults & 0xFFFF,
            self._pool.guards,
        )  # fmt: skip

    def _sample_energy(self) -> Sequence[Value]:
        self._accrue()
        c = self.counters
        useful_j = c.energy_j - c.energy_lost_j - self._running_j
        return (
            c.energy_j, c.energy_lost_j, useful_j / c.screened if c.screened else 0.0, c.octets_raw, c.octets_product,
            c.octets_product / c.octets_raw if c.octets_raw else 0.0,
        )  # fmt: skip
