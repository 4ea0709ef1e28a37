"""The payload manager: takes tiles, decides what runs when, accounts for every tile, octet and joule.

Tiles and jobs come in by intake.py, which serves jobs that wait for a picture before it takes tiles of the node's own
traffic; job_commands.py has those by command. One task per worker takes the best job that admission lets start
(selection.py), and sees it through a worker of its app and back (attempts.py). job_book.py has the states of a job,
accounting.py its energy. Everything is on the node's timeline; processes are the business of pools.py and worker/.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from flight.contract.app import AppContext, Sample
from flight.contract.dictionary import Declarations
from payloads import declarations
from payloads.accounting import AppCounters, Counters, EnergyAccount, ProductInfo, Statistics, summarise
from payloads.attempts import Attempts
from payloads.config import PayloadConfig
from payloads.intake import Intake
from payloads.job_book import JobBook
from payloads.job_commands import JobCommands
from payloads.jobs import DELAYS, DROPS
from payloads.ledger import Ledger
from payloads.pools import AppPools, worker_faults

ProductHook = Callable[[ProductInfo, bytes], None]


class InferenceManager:
    """The app (flight.contract.app.App). `on_product`, if set, sees every product and its answer, octets as declared.

    pools: workers to use in place of those that the configuration asks for. Raises SetupError without a model.
    """

    CONFIG = PayloadConfig

    @staticmethod
    def declare(apid: int, config: PayloadConfig) -> Declarations:
        """Declare what the app says and can be told."""
        return declarations.declare(apid, config)

    @staticmethod
    def section_faults(config: PayloadConfig) -> list[tuple[tuple[str | int, ...], str]]:
        """The code and the models of worker apps that cannot be used on this machine."""
        return worker_faults(config)

    def __init__(self, context: AppContext, pools: AppPools | None = None) -> None:
        self.on_product: ProductHook | None = None
        self._context = context
        self._config: PayloadConfig = context.config
        config = self._config
        self.counters = counters = Counters(by_app={name: AppCounters() for name in config.app_names})
        self.pools = pools or AppPools.of(config)
        ledger = Ledger(context.vault)
        self.jobs = JobBook(context, config, counters, ledger)
        self._energy = EnergyAccount(counters, self.jobs.running, context.platform.now_ns, context.state)
        self._intake = Intake(context, config, counters, ledger, self.jobs)
        self._commands = JobCommands(context, config, counters, ledger, self.jobs)
        self._attempts = Attempts(context, config, counters, self.jobs, self.pools, self._energy, self._tell_product)
        context.housekeeping.provide("payload", self._sample)
        context.housekeeping.provide("payload_energy", self._sample_energy)
        if len(config.worker_app) > 1:
            context.housekeeping.provide("payload_apps", self._sample_apps)

    def start(self) -> None:
        """Start the workers and the tasks; restore what was asked for before a loss of power."""
        self._commands.restore()
        self.pools.start()
        self._attempts.look_at_guards()
        name, spawn, imager = self._context.name, self._context.scheduler.spawn, self._context.imager
        if imager is not None:
            spawn(f"{name}.capture", partial(self._intake.capture, imager), deadline_s=1.0)
        for worker in range(self._config.workers):
            spawn(f"{name}.worker{worker}", partial(self._attempts.run, worker), deadline_s=0.5)

    def close(self) -> None:
        """End the workers."""
        self.pools.close()

    def statistics(self) -> Statistics:
        """Everything counted since boot, for a summary."""
        self._energy.accrue()
        stats = self.pools.stats
        return summarise(
            self.counters,
            pending=self.jobs.pending,
            waiting=len(self.jobs.waiting),
            energy_running_j=self._energy.running_j,
            worker_restarts=stats.restarts,
            hang_limit_fired=stats.hang_limit_fired,
            guards_missing=self.pools.missing.labels,
        )

    def _tell_product(self, info: ProductInfo, answer: bytes) -> None:
        if self.on_product is not None:
            self.on_product(info, answer)

    def _sample(self) -> Sample:
        counters, jobs = self.counters, self.jobs
        return {
            "captured": counters.captured,
            "screened": counters.screened,
            "dropped": counters.dropped.total(),
            "pending": jobs.pending,
            "cloudy": counters.cloudy,
            "running": jobs.busy,
            "waiting": len(jobs.waiting),
            **{f"delayed_{reason.label}": counters.delayed[reason] for reason in DELAYS},
            **{f"dropped_{reason.label}": counters.dropped[reason] for reason in DROPS},
            "worker_restarts": self.pools.stats.restarts,
            "worker_failures": counters.failures.total(),
            "capture_faults": counters.capture_faults,
            "isolation": self.pools.guards,
        }

    def _sample_energy(self) -> Sample:
        self._energy.accrue()
        counters = self.counters
        useful_j = counters.energy_j - counters.energy_lost_j - self._energy.running_j
        return {
            "energy_j": counters.energy_j,
            "energy_lost_j": counters.energy_lost_j,
            "tile_energy_j": useful_j / counters.screened if counters.screened else 0.0,
            "octets_raw": counters.octets_raw,
            "octets_product": counters.octets_product,
            "product_frac": counters.octets_product / counters.octets_raw if counters.octets_raw else 0.0,
        }

    def _sample_apps(self) -> Sample:
        return {
            f"{name}_{key}": value
            for name, one in self.counters.by_app.items()
            for key, value in (("done", one.done), ("failed", one.failed), ("octets", one.octets_product))
        }
