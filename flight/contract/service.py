"""What the node asks of a service: the commands it answers, the structures it fills, the tasks it runs, each as data.

A service is an object of its own file in a room of flight/services, and one row of flight/roster.py, which says what it
declares, which sections of mission.toml are its own, and how it is built.
"""

# Why data and not calls (ADR 0026): a service that registered itself would have to be named wherever that is done, in
# an order that matters without saying so. So the three methods return rows, and the node goes through them: it alone
# decides when commands are served, structures sampled and tasks started.

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from flight.contract.app import CommandTable, Handler, HousekeepingTable, Sample
from flight.core.task import Task


@dataclass(frozen=True, slots=True)
class CommandHandler:
    """What serves one declared command (flight.contract.app.CommandTable.handle)."""

    name: str
    check: Callable[..., None] | None
    execute: Handler


@dataclass(frozen=True, slots=True)
class Sampler:
    """What gives values of one housekeeping structure, all of them or a part."""

    structure: str
    sample: Callable[[], Sample]


@dataclass(frozen=True, slots=True)
class ServiceTask:
    """One task of a service, as the scheduler takes it.

    `deadline_s` counts from when it is ready or due. A node that loses a critical task ends, to be started again.
    """

    name: str
    run: Callable[[Task], Coroutine[Any, Any, None]]
    deadline_s: float
    critical: bool = False


class Service:
    """One service of the node. What it does not override it does not have."""

    def handlers(self) -> Iterable[CommandHandler]:
        """Return the commands that it serves."""
        return ()

    def samplers(self) -> Iterable[Sampler]:
        """Return the housekeeping structures of which it has values."""
        return ()

    def tasks(self) -> Iterable[ServiceTask]:
        """Return the tasks that run while the node does, in the order in which they start."""
        return ()


def hand_out(services: Iterable[Service], commands: CommandTable, structures: HousekeepingTable) -> None:
    """Give the handlers of `services` to `commands`, and their samplers to `structures`."""
    for service in services:
        for handler in service.handlers():
            commands.handle(handler.name, handler.check, handler.execute)
        for sampler in service.samplers():
            structures.provide(sampler.structure, sampler.sample)
