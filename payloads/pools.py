"""The workers of all worker apps: one pool per app, each with as many worker processes as jobs may run at a time."""

# Why each app has processes of its own (ADR 0030): an app whose workers die too often is given up alone, while jobs of
# the others go on; and no model is loaded again because another app's job was in its place. Idle processes cost memory
# only. At most `workers` jobs run at a time over all apps, which the manager sees to; so a job never waits
# because its own pool is too small.
#
# A mission is looked at twice. `worker_faults` collects what is wrong, by key, for the list of a mission's faults;
# `AppPools.of` raises at the first fault, when the node is built.

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import fields

from flight.core.errors import SetupError
from payloads.assets.models import resolve_model
from payloads.config import PayloadConfig, WorkerAppConfig
from payloads.worker.guards import Guard
from payloads.worker.pool import PoolConfig, PoolStats, WorkerPool
from payloads.worker.settings import declared_answer, settings_fault


def pool_config(config: PayloadConfig, app: WorkerAppConfig) -> PoolConfig:
    """Return the settings of one app's workers. Raises SetupError if its model is missing or not what it should be."""
    return PoolConfig(
        name=app.name,
        code=app.code,
        model=resolve_model(app.model) if app.model else None,
        workers=config.workers,
        threads=app.threads,
        bands=config.bands,
        height=config.height,
        width=config.width,
        cloudy_frac=config.cloudy_frac,
        hang_s=config.wall_limit_s,  # of wall time; the limit on the node's timeline is in attempts.py
        restarts_max=config.restarts_max,
        nice=config.nice,
        memory_mib=app.memory_mib,
        scratch_mib=app.scratch_mib,
        environment=app.environment,
        readable=app.readable,
        guards_off=app.guards_off,
    )


def check_models(config: PayloadConfig) -> None:
    """Raise SetupError if the model of any app is missing or not what it should be."""
    for app in config.worker_app:
        pool_config(config, app)


def worker_faults(config: PayloadConfig) -> list[tuple[tuple[str | int, ...], str]]:
    """Return the key and the fault of each worker app whose code or model cannot be used."""
    return [
        (("worker_app", place, key), text)
        for place, app in enumerate(config.worker_app)
        for key, text in _faults_of(app).items()
    ]


def _faults_of(app: WorkerAppConfig) -> dict[str, str]:
    faults: dict[str, str] = {}
    model = ""  # an app may do without one
    try:
        declared_answer(app.code)
    except SetupError as error:
        faults["code"] = str(error)
    try:
        model = str(resolve_model(app.model).absolute()) if app.model else ""
    except SetupError as error:
        faults["model"] = str(error)
    # Only if both were found: else the app would complain of the same once more.
    return faults or settings_fault(app.code, model, app.threads)


class AppPools:
    """The pools, by the name of their app."""

    def __init__(self, pools: Mapping[str, WorkerPool]) -> None:
        self._pools = dict(pools)

    @classmethod
    def of(cls, config: PayloadConfig) -> AppPools:
        """Make the pools that a mission asks for. Raises SetupError if an app or its model cannot be used."""
        return cls({app.name: WorkerPool(pool_config(config, app)) for app in config.worker_app})

    def start(self) -> None:
        """Start every process. If one cannot be started, end the others and raise SetupError."""
        with ExitStack() as undo:
            undo.callback(self.close)
            for pool in self._pools.values():
                pool.start()
            undo.pop_all()

    def __getitem__(self, app: str) -> WorkerPool:
        """Return the workers of `app`, which the mission must have."""
        return self._pools[app]

    @property
    def stats(self) -> PoolStats:
        """The counters of all pools together."""
        pools = [pool.stats for pool in self._pools.values()]
        return PoolStats(*(sum(getattr(pool, field.name) for pool in pools) for field in fields(PoolStats)))

    @property
    def guards(self) -> Guard:
        """The guards that hold for every worker of every app."""
        held = Guard.every()
        for pool in self._pools.values():
            held &= pool.guards
        return held

    @property
    def missing(self) -> Guard:
        """The guards that were asked for, for any app, and do not hold."""
        missing = Guard(0)
        for pool in self._pools.values():
            missing |= pool.missing
        return missing

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers that run."""
        return tuple(pid for pool in self._pools.values() for pid in pool.pids)

    def reset(self) -> None:
        """Let workers that were given up try again, as after a power cycle."""
        for pool in self._pools.values():
            pool.reset()

    def close(self) -> None:
        """End every process and give back all shared memory. May be called twice."""
        with ExitStack() as closing:  # closes the others as well if one raises
            for pool in self._pools.values():
                closing.callback(pool.close)
