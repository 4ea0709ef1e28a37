"""The payload manager: takes tiles, decides what runs when, accounts for every tile, octet and joule.

Tiles and jobs come in by intake.py, which serves jobs that wait for a picture before it takes tiles of the node's own
traffic; job_commands.py has those by command. One task per worker takes the best job that admission lets start
(selection.py), and sees it through a worker and back (screening.py). job_book.py has the states of a job, accounting.py
its energy. Everything is on the node's timeline; processes are payloads/worker/pool.py's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from flight.contract.app import AppContext
from flight.contract.dictionary import Declarations
from flight.contract.fields import Value
from payloads import assets, declarations
from payloads.accounting import Counters, EnergyAccount, ProductInfo, Statistics, summarise
from payloads.config import PayloadConfig
from payloads.intake import Intake
from payloads.job_book import JobBook
from payloads.job_commands import JobCommands
from payloads.jobs import DELAYS, DROPS
from payloads.ledger import Ledger
from payloads.screening import Screening
from payloads.worker.pool import PoolConfig, WorkerPool

ProductHook = Callable[[ProductInfo, bytes], None]


def pool_config(config: PayloadConfig) -> PoolConfig:
    """The workers that a mission asks for; raises SetupError if the model is missing or not what it should be."""
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
    """The app (flight.contract.app.App). `on_product`, if set, sees every product and its mask, uint8 [row, column].

    pool: workers to use in place of those that the configuration asks for. Raises SetupError without a model.
    """

    CONFIG = PayloadConfig

    @staticmethod
    def declare(apid: int) -> Declarations:
        """Declare what the app says and can be told."""
        return declarations.declare(apid)

    def __init__(self, context: AppContext, pool: WorkerPool | None = None) -> None:
        self.on_product: ProductHook | None = None
        self.counters = counters = Counters()
        self._context = context
        self._config: PayloadConfig = context.config
        config = self._config
        self.pool = pool or WorkerPool(pool_config(config))
        ledger = Ledger(context.vault)
        self.jobs = JobBook(context, config, counters, ledger)
        self._energy = EnergyAccount(counters, self.jobs.running, context.platform.now_ns, context.state)
        self._intake = Intake(context, config, counters, ledger, self.jobs)
        self._commands = JobCommands(context, config, counters, ledger, self.jobs)
        self._screening = Screening(context, config, counters, self.jobs, self.pool, self._energy, self._tell_product)
        context.housekeeping.provide("payload", self._sample)
        context.housekeeping.provide("payload_energy", self._sample_energy)

    def start(self) -> None:
        """Start the workers and the tasks; restore what was asked for before a loss of power."""
        self._commands.restore()
        self.pool.start()
        self._screening.look_at_guards()
        spawn, imager = self._context.scheduler.spawn, self._context.imager
        if imager is not None:
            spawn("payload.capture", partial(self._intake.capture, imager), deadline_s=1.0)
        for worker in range(self._config.workers):
            spawn(f"payload.worker{worker}", partial(self._screening.run, worker), deadline_s=0.5)

    def close(self) -> None:
        """End the workers."""
        self.pool.close()

    def statistics(self) -> Statistics:
        """Everything counted since boot, for a summary."""
        self._energy.accrue()
        stats = self.pool.stats
        return summarise(
            self.counters,
            pending=self.jobs.pending,
            waiting=len(self.jobs.waiting),
            energy_running_j=self._energy.running_j,
            worker_restarts=stats.restarts,
            hang_limit_fired=stats.hang_limit_fired,
            guards_missing=self.pool.missing.labels,
        )

    def _tell_product(self, info: ProductInfo, mask: bytes) -> None:
        if self.on_product is not None:
            self.on_product(info, mask)

    def _sample(self) -> Sequence[Value]:
        c, jobs = self.counters, self.jobs
        return (
            c.captured, c.screened, c.dropped.total(), jobs.pending, c.cloudy, jobs.busy, len(jobs.waiting),
            *(c.delayed[reason] for reason in DELAYS), *(c.dropped[reason] for reason in DROPS),
            self.pool.stats.restarts & 0xFFFF, c.failures.total() & 0xFFFF, c.capture_faults & 0xFFFF,
            self.pool.guards,
        )  # fmt: skip

    def _sample_energy(self) -> Sequence[Value]:
        self._energy.accrue()
        c = self.counters
        useful_j = c.energy_j - c.energy_lost_j - self._energy.running_j
        return (
            c.energy_j, c.energy_lost_j, useful_j / c.screened if c.screened else 0.0, c.octets_raw, c.octets_product,
            c.octets_product / c.octets_raw if c.octets_raw else 0.0,
        )  # fmt: skip
