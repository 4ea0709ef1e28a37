"""The payload manager: takes tiles, decides what runs when, and accounts for every tile, octet and joule.

It is an app of the node (flight.contract.app.App), named in mission.toml. Its parts, each in a file of its own:

    intake.py         tiles from the camera and jobs from the swarm
    job_commands.py   jobs by command, and those that a loss of power left open (ledger.py)
    job_book.py       where each job is, and the states that it goes through
    selection.py      which job a free worker takes next, by the rules of admission.py
    attempts.py       a job's way through a worker and back
    accounting.py     counters and energy
    pools.py          the worker processes; worker/ has all that knows them

Everything here is on the node's timeline. What happens in processes reaches it as replies at a time of that timeline,
so that a run in virtual time is repeatable.
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
    """The app. `on_product`, if set, is called with every product and the octets of its answer, as declared.

    pools: workers to use instead of those that the configuration asks for. Raises SetupError if a worker app, or its
    model, is missing or cannot be used.
    """

    CONFIG = PayloadConfig

    @staticmethod
    def declare(apid: int, config: PayloadConfig) -> Declarations:
        """Declare what the app reports and can be commanded to do."""
        return declarations.declare(apid, config)

    @staticmethod
    def section_faults(config: PayloadConfig) -> list[tuple[tuple[str | int, ...], str]]:
        """Return the worker apps whose code or model cannot be used on this machine, by key, and why."""
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
        self._attempts = Attempts(context, config, counters, self.jobs, self.pools, self._energy, self._pass_on_product)
        context.housekeeping.provide("payload", self._sample)
        context.housekeeping.provide("payload_energy", self._sample_energy)
        if len(config.worker_app) > 1:
            context.housekeeping.provide("payload_apps", self._sample_apps)

    def start(self) -> None:
        """Restore what was asked for before a loss of power; start the workers and the tasks. Raises SetupError."""
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
        """Return everything counted since boot, for a summary."""
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

    def _pass_on_product(self, info: ProductInfo, answer: bytes) -> None:
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
            for name, of_app in self.counters.by_app.items()
            for key, value in (("done", of_app.done), ("failed", of_app.failed), ("octets", of_app.octets_product))
        }
